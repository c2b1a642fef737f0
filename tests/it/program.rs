//! The real program on a real Docker Engine: started, killed and started again by a test, and left without a trace.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::services::{self, Docker};

/// How long the program may take to answer after its start.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// Public ports of one program.
const PORTS: u16 = 40;

/// A panel with its embedded node.
pub struct Program {
    child: Child,
    env: Vec<(String, String)>,
    pub url: String,
    pub folder: tempfile::TempDir,
    /// Servers that were made, for the last look at what is left.
    pub made: Arc<Mutex<BTreeSet<String>>>,
}

impl Program {
    /// Starts one with its own folder, ports and networks.
    pub fn start(docker: &Docker, more: &[(&str, &str)]) -> Program {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        // Docker mounts what is in the folder: it has to be on a disk that the engine sees.
        let folder = tempfile::tempdir().expect("a folder");
        let port = services::free_port(&services::LISTENERS);
        let url = format!("http://127.0.0.1:{port}");
        let first = 27_000 + (u16::try_from(std::process::id() % 20).expect("small") + count) * PORTS;
        let pool = format!("10.{}.{}.0/24", 120 + std::process::id() % 100, count);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut env: Vec<(String, String)> = [
            ("LISTEN", format!("127.0.0.1:{port}")),
            ("BACKEND_URL", url.clone()),
            ("PUBLIC_HOST", "127.0.0.1".to_owned()),
            ("DATA_DIR", path("data")),
            ("PORT_RANGE", format!("{first}-{}", first + PORTS - 1)),
            ("SUBNET_POOL", pool),
            ("PROXY_BINARY", docker.proxy_binary().display().to_string()),
            ("LOG_LEVEL", "info".to_owned()),
            ("NODE_LISTEN", "127.0.0.1:0".to_owned()),
            // Tests ask on and on.
            ("REQUESTS_PER_MINUTE", "0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let child = spawn(&env, folder.path());
        let program = Program { child, env, url, folder, made: Arc::default() };
        program.wait_up();
        program
    }

    /// Kills it without a word and starts it again.
    pub fn kill_and_start(&mut self) {
        self.kill();
        self.child = spawn(&self.env, self.folder.path());
        self.wait_up();
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is gone");
    }

    /// Runs another subcommand with the same settings.
    pub fn run(&self, words: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
        command.args(words).current_dir(self.folder.path()).envs(self.env.iter().cloned()).output().expect("it runs")
    }

    fn wait_up(&self) {
        let address = self.url.trim_start_matches("http://").to_owned();
        let begin = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(begin.elapsed() < UP_WITHIN, "the panel does not come up; its log: {}", self.log());
            std::thread::yield_now();
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Where its database is.
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("data/roost.db")
    }
}

fn spawn(env: &[(String, String)], folder: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
    Command::new(env!("CARGO_BIN_EXE_roost"))
        .arg("serve")
        .current_dir(folder)
        .envs(env.iter().cloned())
        .stdout(log.try_clone().expect("cloned"))
        .stderr(log)
        .spawn()
        .expect("the program starts")
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let end: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("the end of the program's log:\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        for id in self.made.lock().expect("whole").iter() {
            docker(&["rm", "-f", &format!("roost-{id}-game"), &format!("roost-{id}-door")]);
            docker(&["network", "rm", &format!("roost-{id}")]);
        }
        // Games nest folders deeper than the library that removes the folder can follow.
        let _ = Command::new("rm").arg("-rf").arg(self.folder.path().join("data")).status();
    }
}

/// Runs the engine's client; gives what it printed.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("the client runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Somebody who uses the API.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
    token: String,
    made: Arc<Mutex<BTreeSet<String>>>,
}

impl Api {
    /// Makes an account and logs in with it.
    pub async fn register(program: &Program, email: &str) -> Api {
        crate::services::ring();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().expect("a client");
        let body = serde_json::json!({"email": email, "password": "correct horse battery"});
        let answer = client.post(format!("{}/auth/register", program.url)).json(&body).send().await.expect("answered");
        assert!(answer.status().is_success(), "registered: {}", answer.status());
        let answer: Value = answer.json().await.expect("JSON");
        let token = answer["token"].as_str().expect("a token").to_owned();
        Api { client, url: program.url.clone(), token, made: program.made.clone() }
    }

    /// The first admin, by the link that the program's first start has printed.
    pub async fn admin(program: &Program, email: &str) -> Api {
        let begin = Instant::now();
        let setup = loop {
            // The line has come as a whole when something stands behind it.
            let log = program.log();
            let line = log.split_once("setup=").and_then(|(_, rest)| rest.split_once('\n'));
            if let Some((secret, _)) = line {
                break secret.to_owned();
            }
            assert!(begin.elapsed() < UP_WITHIN, "no link to the first admin: {log}");
            std::thread::yield_now();
        };
        crate::services::ring();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().expect("a client");
        let body = serde_json::json!({"email": email, "password": "correct horse battery", "setup": setup});
        let answer = client.post(format!("{}/auth/register", program.url)).json(&body).send().await.expect("answered");
        let answer: Value = answer.json().await.expect("JSON");
        let token = answer["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        Api { client, url: program.url.clone(), token, made: program.made.clone() }
    }

    /// Asks; gives status and body, or nothing when the panel is not there.
    pub async fn try_ask(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        if let Some(id) = body["id"].as_str() {
            self.made.lock().expect("whole").insert(id.to_owned());
        }
        Some((status, body))
    }

    /// An answer that is no JSON.
    pub async fn text(&self, path: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        request.send().await.expect("the panel answers").text().await.expect("text")
    }

    /// Sends bytes as they are.
    pub async fn send(&self, path: &str, bytes: Vec<u8>) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token).body(bytes);
        let answer = request.send().await.expect("the panel answers");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    pub async fn ask(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.try_ask(method, path, body).await.expect("the panel answers")
    }

    /// Servers that the last look shall look for.
    pub fn remember(&self, ids: &[String]) {
        self.made.lock().expect("whole").extend(ids.iter().cloned());
    }

    /// Makes a server; gives its id.
    pub async fn create(&self, name: &str, game: &str, plan: &str) -> String {
        let body = serde_json::json!({"name": name, "game": game, "plan": plan});
        let (status, body) = self.ask(reqwest::Method::POST, "/api/servers", Some(body)).await;
        assert!(matches!(status, 201 | 202), "{status}: {body}");
        body["id"].as_str().expect("an id").to_owned()
    }

    pub async fn power(&self, id: &str, button: &str) -> (u16, Value) {
        self.ask(reqwest::Method::POST, &format!("/api/servers/{id}/{button}"), None).await
    }

    /// Waits until a server is in a phase; gives it.
    pub async fn wait_phase(&self, id: &str, phase: &str, within: Duration) -> Value {
        let begin = Instant::now();
        let mut last = Value::Null;
        while begin.elapsed() < within {
            if let Some((200, body)) = self.try_ask(reqwest::Method::GET, &format!("/api/servers/{id}"), None).await {
                if body["phase"] == phase {
                    return body;
                }
                last = body;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{id} is not {phase} within {within:?}: {last}");
    }

    /// Waits until a server is gone.
    pub async fn wait_gone(&self, id: &str, within: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < within {
            if let Some((404, _)) = self.try_ask(reqwest::Method::GET, &format!("/api/servers/{id}"), None).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{id} is not gone within {within:?}");
    }
}

/// The public port of a server.
pub fn port(server: &Value) -> u16 {
    server["address"]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("an address")
}
