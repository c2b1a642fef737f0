//! The dashboard of an account with 20 servers at 64 connections, and beside it, in the same run, a bare axum route that renders
//! the same page from memory: what the web framework and the template cost without us. Then the panel's memory when idle.
//!
//! `cargo bench --bench panel`; needs `wrk` (Debian package). Nothing here fails on a time.
#![allow(clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use askama::Template;
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use roost::http::pages::dashboard::Dashboard;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};

const SERVERS: usize = 20;
const CONNECTIONS: &str = "-c64";
const ROUNDS: usize = 3;
const SECONDS: &str = "-d8s";
const UP_WITHIN: Duration = Duration::from_secs(20);

type Failure = Box<dyn std::error::Error>;

struct Panel {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Drop for Panel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start() -> Result<Panel, Failure> {
    let folder = tempfile::tempdir()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("http://127.0.0.1:{port}");
    let child = Command::new(env!("CARGO_BIN_EXE_roost"))
        .arg("serve")
        .current_dir(folder.path())
        .env("LISTEN", format!("127.0.0.1:{port}"))
        .env("BACKEND_URL", &url)
        .env("DATA_DIR", folder.path().join("data"))
        .env("EMBEDDED_NODE", "false")
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.path().join("log"))?)
        .spawn()?;
    let begin = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begin.elapsed() > UP_WITHIN {
            return Err("the panel does not come up".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Panel { child, url, folder })
}

/// Makes the account and its servers, awake and asleep in turn; gives the cookie of its session.
async fn fill(panel: &Panel) -> Result<String, Failure> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let account = [("email", "ada@example.org"), ("password", "correct horse battery")];
    let answer = client.post(format!("{}/auth/register", panel.url)).header("Origin", &panel.url).form(&account).send().await?;
    let cookie = answer.headers().get_all("set-cookie").iter().find_map(|value| value.to_str().ok()).ok_or("no session")?;
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let login = client.post(format!("{}/auth/login", panel.url)).json(&json!({"email": account[0].1, "password": account[1].1}));
    let token: serde_json::Value = login.send().await?.json().await?;
    let token = token["token"].as_str().ok_or("no token")?.to_owned();
    for n in 0..SERVERS {
        let body = json!({"name": format!("Valley of Echoes {n}"), "game": "demo", "plan": "small"});
        let answer = client.post(format!("{}/api/servers", panel.url)).bearer_auth(&token).json(&body).send().await?;
        if !answer.status().is_success() {
            return Err(format!("a server was not made: {}", answer.text().await?).into());
        }
    }
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", panel.folder.path().join("data/roost.db").display())).await?;
    for (phase, wanted, odd) in [("running", "running", 1), ("sleeping", "asleep", 0)] {
        let seen = if phase == "running" { r#"{"state":"running","since":1}"# } else { r#"{"state":"asleep"}"# };
        sqlx::query("UPDATE servers SET phase = $1, wanted = $2, seen = $3, doing = NULL, players = 3, due_at = 9223372036854775807 WHERE rowid % 2 = $4")
            .bind(phase)
            .bind(wanted)
            .bind(seen)
            .bind(odd)
            .execute(&mut db)
            .await?;
    }
    db.close().await?;
    Ok(cookie)
}

/// Requests a second and the 99th percentile in milliseconds, as `wrk` tells them.
fn load(url: &str, cookie: &str) -> Result<(f64, f64), Failure> {
    let output = Command::new("wrk").args(["-t1", CONNECTIONS, SECONDS, "--latency", "-H", &format!("Cookie: {cookie}"), url]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if said.contains("Non-2xx") {
        return Err(format!("not every answer was a page:\n{said}").into());
    }
    let after = |label: &str| said.lines().find_map(|line| line.trim().strip_prefix(label).map(|rest| rest.trim().to_owned()));
    let rate = after("Requests/sec:").ok_or("no rate")?.parse()?;
    let worst = after("99%").ok_or("no percentile")?;
    let worst = match worst.strip_suffix("ms") {
        Some(ms) => ms.parse()?,
        None => match worst.strip_suffix("us") {
            Some(us) => us.parse::<f64>()? / 1_000.0,
            None => worst.trim_end_matches('s').parse::<f64>()? * 1_000.0,
        },
    };
    Ok((rate, worst))
}

/// The dashboard with 20 cards, out of the samples that the page's own tests render.
fn page() -> Dashboard {
    let mut samples = Dashboard::samples();
    let (_, mut page) = samples.swap_remove(0);
    while page.cards.len() < SERVERS {
        let more = page.cards.clone();
        page.cards.extend(more);
    }
    page.cards.truncate(SERVERS);
    page
}

async fn bare() -> Result<String, Failure> {
    let page = std::sync::Arc::new(page());
    let route = get(move || {
        let page = page.clone();
        async move { Html(page.render().unwrap_or_default()) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router: Router = Router::new().route("/dashboard", route);
    #[allow(clippy::disallowed_methods, reason = "the bench ends with its process")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

fn pss_mib(pid: u32) -> Result<f64, Failure> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).ok_or("no Pss")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib / 1_024.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let panel = start()?;
    let idle = pss_mib(panel.child.id())?;
    let cookie = runtime.block_on(fill(&panel))?;
    let peer = runtime.block_on(bare())?;
    let bytes = runtime.block_on(async {
        let client = reqwest::Client::new();
        let ours = client.get(format!("{}/dashboard", panel.url)).header("Cookie", &cookie).send().await?.text().await?.len();
        let bare = client.get(format!("{peer}/dashboard")).send().await?.text().await?.len();
        Ok::<_, reqwest::Error>((ours, bare))
    })?;
    let (mut ours, mut theirs) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for _ in 0..ROUNDS {
        let (rate, worst) = load(&format!("{}/dashboard", panel.url), &cookie)?;
        ours.0.push(rate);
        ours.1.push(worst);
        let (rate, worst) = load(&format!("{peer}/dashboard"), &cookie)?;
        theirs.0.push(rate);
        theirs.1.push(worst);
    }
    let (rate, bare_rate) = (median(ours.0), median(theirs.0));
    println!("dashboard of {SERVERS} servers, 64 connections, load generator on the same cores, median of {ROUNDS}");
    println!("  roost       {rate:8.0} requests/s   p99 {:6.1} ms   {} bytes   (aim: 4000, 20 ms)", median(ours.1), bytes.0);
    println!("  bare axum   {bare_rate:8.0} requests/s   p99 {:6.1} ms   {} bytes", median(theirs.1), bytes.1);
    println!("  share       {:8.2}              (aim: 0.25)", rate / bare_rate);
    println!("memory (PSS): {idle:.1} MiB idle, {:.1} MiB after the load   (aim: 60 idle)", pss_mib(panel.child.id())?);
    Ok(())
}
