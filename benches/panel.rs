//! The dashboard of an account with 20 servers at 64 connections, and beside it, in the same run, a bare axum route that renders
//! the same page from memory: what the web framework and the template cost without us. Then the panel's memory when idle,
//! and the slowest pages while Docker is gone or the database is locked.
//!
//! `cargo bench --bench panel`; needs `wrk` (Debian package). Nothing here fails on a time.
#![allow(clippy::print_stdout, missing_docs)]

#[allow(dead_code, reason = "each bench needs a part of it")]
mod site;

use std::path::Path;
use std::process::Command;

use askama::Template;
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use roost::http::pages::dashboard::Dashboard;
use serde_json::json;
use site::{Failure, Panel, median};
use sqlx::{Connection, SqliteConnection};

const SERVERS: usize = 20;
const CONNECTIONS: &str = "-c64";
const ROUNDS: usize = 3;
const SECONDS: &str = "-d8s";
const READERS: &str = "-c8";

fn database(panel: &Panel) -> String {
    format!("sqlite://{}", panel.folder.path().join("data/roost.db").display())
}

/// Makes the account and its servers, awake and asleep in turn; gives the cookie of its session and the id of one of them.
async fn fill(panel: &Panel) -> Result<(String, String), Failure> {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let account = [("email", "ada@example.org"), ("password", "correct horse battery")];
    let answer = client.post(format!("{}/auth/register", panel.url)).header("Origin", &panel.url).form(&account).send().await?;
    let cookie = answer.headers().get_all("set-cookie").iter().find_map(|value| value.to_str().ok()).ok_or("no session")?;
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let login = client.post(format!("{}/auth/login", panel.url)).json(&json!({"email": account[0].1, "password": account[1].1}));
    let token: serde_json::Value = login.send().await?.json().await?;
    let token = token["token"].as_str().ok_or("no token")?.to_owned();
    // A machine with room, heard of just now: no node runs here.
    let mut db = SqliteConnection::connect(&database(panel)).await?;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    let specs = r#"{"cpu_millis":64000,"memory_mib":262144,"disk_mib":1000000,"engine":"","system":""}"#;
    sqlx::query("UPDATE nodes SET seen_at = $1, specs = $2").bind(now).bind(specs).execute(&mut db).await?;
    let mut last = String::new();
    for n in 0..SERVERS {
        let body = json!({"name": format!("Valley of Echoes {n}"), "game": "demo", "plan": "small"});
        let answer = client.post(format!("{}/api/servers", panel.url)).bearer_auth(&token).json(&body).send().await?;
        if !answer.status().is_success() {
            return Err(format!("a server was not made: {}", answer.text().await?).into());
        }
        answer.json::<serde_json::Value>().await?["id"].as_str().unwrap_or_default().clone_into(&mut last);
    }
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
    Ok((cookie, last))
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
    Ok((rate, milliseconds(&after("99%").ok_or("no percentile")?)?))
}

/// Reads `1.23ms`, `820us`, `1.02s`.
fn milliseconds(text: &str) -> Result<f64, Failure> {
    let factor = if text.ends_with("ms") {
        1.0
    } else if text.ends_with("us") {
        0.001
    } else {
        1_000.0
    };
    Ok(text.trim_end_matches(char::is_alphabetic).parse::<f64>()? * factor)
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

/// The slowest page in milliseconds, of a few readers at once: `wrk` tells it as the last percentile.
fn slowest(url: &str, cookie: &str) -> Result<(f64, f64), Failure> {
    let output = Command::new("wrk").args(["-t1", READERS, SECONDS, "--latency", "-H", &format!("Cookie: {cookie}"), url]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if said.contains("Non-2xx") {
        return Err(format!("not every answer was a page:\n{said}").into());
    }
    let worst = said.lines().find_map(|line| line.trim().strip_prefix("Latency").map(str::trim)).ok_or("no latency")?;
    let slowest = worst.split_whitespace().nth(2).ok_or("no slowest")?;
    let p99 = said.lines().find_map(|line| line.trim().strip_prefix("99%").map(str::trim)).ok_or("no percentile")?;
    Ok((milliseconds(p99)?, milliseconds(slowest)?))
}

/// What is wrong while pages are read.
struct Fault {
    what: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// Somebody else writes into the database and does not end.
    locked: bool,
}

const FAULTS: [Fault; 4] = [
    Fault { what: "nothing is wrong", settings: &[("EMBEDDED_NODE", "false")], locked: false },
    Fault { what: "Docker is gone", settings: &[("DOCKER_HOST", "unix:///nowhere/docker.sock")], locked: false },
    Fault { what: "database locked", settings: &[("EMBEDDED_NODE", "false")], locked: true },
    Fault { what: "both", settings: &[("DOCKER_HOST", "unix:///nowhere/docker.sock")], locked: true },
];

/// Pages while something is broken, beside the same pages while nothing is.
async fn faults() -> Result<(), Failure> {
    println!("pages under faults, 8 readers: 99th percentile and slowest in ms   (aim: none slower than 100)");
    for fault in FAULTS {
        let whole = Panel::start(&[("EMBEDDED_NODE", "false")])?;
        let (cookie, server) = fill(&whole).await?;
        let panel = whole.again(fault.settings)?;
        let mut lock = SqliteConnection::connect(&database(&panel)).await?;
        if fault.locked {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await?;
        }
        let dashboard = slowest(&format!("{}/dashboard", panel.url), &cookie)?;
        let detail = slowest(&format!("{}/servers/{server}", panel.url), &cookie)?;
        println!("  {:<18} dashboard {:6.1} {:6.1}   server {:6.1} {:6.1}", fault.what, dashboard.0, dashboard.1, detail.0, detail.1);
        lock.close().await?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let panel = Panel::start(&[("EMBEDDED_NODE", "false")])?;
    let idle = pss_mib(panel.child.id())?;
    let (cookie, _) = runtime.block_on(fill(&panel))?;
    let peer = runtime.block_on(bare())?;
    let bytes = runtime.block_on(async {
        let _already = rustls::crypto::ring::default_provider().install_default();
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
    drop(panel);
    runtime.block_on(faults())
}
