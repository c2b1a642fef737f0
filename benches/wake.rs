//! How much later a sleeping server answers through its sidecar than its container would without us.
//!
//! 20 rounds each, on the same container: first byte through the public port of a sleeping `demo` server; and, with the panel
//! stopped, from asking the engine to start that container until it answers directly. `cargo bench --bench wake`, with
//! `PROXY_BINARY` naming the static `roost-proxy` and a Docker Engine. Nothing here fails on a time.
#![allow(clippy::print_stdout, missing_docs)]

#[allow(dead_code, reason = "each bench needs a part of it")]
mod site;

use std::io::Read;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bollard::Docker;
use serde_json::{Value, json};
use site::{Failure, Panel, median};

const ROUNDS: usize = 20;
const SOON: Duration = Duration::from_secs(30);
/// One source may wake a server ten times a minute; the rounds keep to that.
const BETWEEN_WAKES: Duration = Duration::from_millis(6_500);

struct Api {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Api {
    async fn register(url: &str) -> Result<Api, Failure> {
        let _already = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
        let body = json!({"email": "ada@example.org", "password": "correct horse battery"});
        let answer: Value = client.post(format!("{url}/auth/register")).json(&body).send().await?.json().await?;
        Ok(Api { client, url: url.to_owned(), token: answer["token"].as_str().ok_or("no token")?.to_owned() })
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        Ok(self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(&body).send().await?.json().await?)
    }

    /// Waits until the node inside the panel has said what it has.
    async fn node_is_there(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        while begin.elapsed() < SOON {
            let ready: Value = self.client.get(format!("{}/ready", self.url)).send().await?.json().await?;
            if ready["nodes"]["online"] == 1 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("the node is not there".into())
    }

    async fn wait(&self, id: &str, phase: &str) -> Result<Value, Failure> {
        let begin = Instant::now();
        while begin.elapsed() < SOON {
            let server: Value =
                self.client.get(format!("{}/api/servers/{id}", self.url)).bearer_auth(&self.token).send().await?.json().await?;
            if server["phase"] == phase {
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("{id} is not {phase}").into())
    }
}

/// Connects, again and again if it must, until the first byte comes.
fn first_byte(address: &str) -> Result<(), Failure> {
    let begin = Instant::now();
    while begin.elapsed() < SOON {
        if let Ok(mut stream) = TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(1)) {
            stream.set_read_timeout(Some(SOON))?;
            if stream.read(&mut [0; 1])? == 1 {
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    Err("no byte came".into())
}

async fn run() -> Result<(), Failure> {
    let mut panel = Panel::start(&[("SUBNET_POOL", "10.118.0.0/24"), ("PORT_RANGE", "26900-26939")])?;
    let api = Api::register(&panel.url).await?;
    api.node_is_there().await?;
    let made = api.post("/api/servers", json!({"name": "wake", "game": "demo", "plan": "small"})).await?;
    let id = made["id"].as_str().ok_or("not made")?.to_owned();
    let awake = api.wait(&id, "running").await?;
    let door = format!("127.0.0.1:{}", awake["address"]["port"]);
    let mut through = Vec::new();
    for _ in 0..ROUNDS {
        api.post(&format!("/api/servers/{id}/hibernate"), json!({})).await?;
        api.wait(&id, "sleeping").await?;
        tokio::time::sleep(BETWEEN_WAKES).await;
        let begin = Instant::now();
        first_byte(&door)?;
        through.push(begin.elapsed().as_secs_f64() * 1_000.0);
        api.wait(&id, "running").await?;
    }
    api.post(&format!("/api/servers/{id}/hibernate"), json!({})).await?;
    api.wait(&id, "sleeping").await?;
    // The panel ends without a word and its folder stays: the container needs its data.
    panel.child.kill()?;

    let engine = Docker::connect_with_defaults()?;
    let name = format!("roost-{id}-game");
    let mut direct = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        engine.start_container(&name, None).await?;
        let details = engine.inspect_container(&name, None).await?;
        let networks = details.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let address = networks.into_values().find_map(|network| network.ip_address).ok_or("no address")?;
        first_byte(&format!("{address}:7777"))?;
        direct.push(begin.elapsed().as_secs_f64() * 1_000.0);
        engine.stop_container(&name, None).await?;
    }
    for part in ["game", "door"] {
        Command::new("docker").args(["rm", "-f", &format!("roost-{id}-{part}")]).stdout(Stdio::null()).status()?;
    }
    Command::new("docker").args(["network", "rm", &format!("roost-{id}")]).stdout(Stdio::null()).status()?;
    let (through, direct) = (median(through), median(direct));
    println!("first byte of a sleeping demo server, median of {ROUNDS}");
    println!("  through the sidecar, asleep          {through:7.1} ms");
    println!("  the same container, started by hand  {direct:7.1} ms");
    println!("  difference                           {:7.1} ms   (aim: at most 50)", through - direct);
    Ok(())
}

fn main() -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}
