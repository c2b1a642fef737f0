//! A second machine, with the real programs: a panel with its own node, and an agent that joins it, on one Docker Engine.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::linked::Wire;
use crate::program::{Api, Program, docker};
use crate::services;
use crate::templates::tar;
use crate::world::Database;

/// Longest wait for anything.
const SOON: Duration = Duration::from_mins(1);

/// An agent of its own on this machine.
pub struct Agent {
    pub folder: tempfile::TempDir,
    env: Vec<(String, String)>,
    pool: String,
    child: Option<Child>,
}

impl Agent {
    fn new(engine: &services::Docker) -> Agent {
        Agent::nth(engine, 0)
    }

    /// One with its own networks and ports: each of a test program takes another number, up to 9.
    pub fn nth(engine: &services::Docker, n: u16) -> Agent {
        let folder = tempfile::tempdir().expect("a folder");
        let pool = format!("10.{}.{n}.0/24", 20 + std::process::id() % 60);
        let first = 29_600 + 40 * n;
        let env = [
            ("DATA_DIR", folder.path().join("data").display().to_string()),
            ("SUBNET_POOL", pool.clone()),
            ("PORT_RANGE", format!("{first}-{}", first + 39)),
            ("PROXY_BINARY", engine.proxy_binary().display().to_string()),
            ("PUBLIC_HOST", "127.0.0.1".to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Agent { folder, env, pool, child: None }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
        command.arg("node").args(words).current_dir(self.folder.path()).envs(self.env.iter().cloned()).stdin(Stdio::null());
        command
    }

    pub fn join(&self, token: &str) -> Output {
        self.command(&["join", token]).output().expect("it runs")
    }

    pub fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_file()).expect("a log");
        let mut command = self.command(&["--region", "eu-west", "--tags", "ssd,fast", "--slots", "3"]);
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts"));
    }

    fn log_file(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Without a word.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it is gone");
        }
    }

    fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("asked").is_none())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let end: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the end of the agent's log:\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        let pool = self.pool.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // A runtime must not be entered from within another one: the rules go from a thread of their own.
        let done = std::thread::spawn(move || runtime.map(|runtime| runtime.block_on(roost::node::remove_firewall(&pool)))).join();
        drop(done);
    }
}

/// Waits until a node's document shows this.
pub async fn node(api: &Api, id: &str, what: &str, shows: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    let mut last = Value::Null;
    while begin.elapsed() < SOON {
        if let Some((200, body)) = api.try_ask(Method::GET, &format!("/api/nodes/{id}"), None).await {
            if shows(&body["node"]) {
                return body["node"].clone();
            }
            last = body;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{id} is never {what}: {last}");
}

/// Waits for two further heartbeats: whatever an agent does by itself, it has done by then.
pub async fn two_beats(api: &Api, id: &str) {
    for _ in 0..2 {
        let seen = node(api, id, "there", |node| node["online"] == true).await["seen_at"].clone();
        node(api, id, "heard again", |node| node["seen_at"] != seen).await;
    }
}

/// Makes a demo server out of layers, where the wish says; gives its id.
async fn laid_out(api: &Api, name: &str, wish: Value) -> String {
    let mut body = json!({"name": name, "game": "demo", "plan": "small", "layers": [{"template": "base"}, {"template": "words"}]});
    body.as_object_mut().expect("an object").extend(wish.as_object().expect("an object").clone());
    let (status, made) = api.ask(Method::POST, "/api/servers", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().expect("an id").to_owned()
}

/// A file of a server's data, as its container has it.
fn file(server: &str, path: &str) -> String {
    docker(&["cp", &format!("roost-{server}-game:/data/{path}"), "-"])
}

fn containers() -> String {
    docker(&["ps", "--no-trunc", "--format", "{{.Names}} {{.ID}}"])
}

fn container<'a>(listed: &'a str, server: &str) -> Option<&'a str> {
    listed.lines().find_map(|line| line.strip_prefix(&format!("roost-{server}-game "))).map(str::trim)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_machine_joins_and_holds_its_servers_whatever_is_killed() {
    let test = "a_second_machine_joins_and_holds_its_servers_whatever_is_killed";
    let (Some(engine), Some(postgres), Some(s3)) = (services::docker(test), services::postgres(test), services::s3(test)) else { return };
    let (database, s3) = (Database::make(&postgres).await, crate::laid_out::s3(&s3));
    let door = services::free_port(&services::LISTENERS);
    let wire = Wire::to(([127, 0, 0, 1], door).into()).await;
    let mut more = vec![
        ("NODE_LISTEN", format!("127.0.0.1:{door}")),
        ("NODE_ADDRESS", wire.address.to_string()),
        ("DATABASE_URL", database.url.clone()),
    ];
    more.extend(s3.settings());
    let mut program = Program::start(&engine, &more.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
    let api = Api::admin(&program, "ada@example.org").await;

    // Joining, once.
    let (status, made) = api.ask(Method::POST, "/api/nodes/tokens", Some(json!({"name": "Second", "region": "eu"}))).await;
    assert_eq!((status, made["node"]["standing"].as_str()), (201, Some("invited")), "{made}");
    let token = made["token"].as_str().expect("a token").to_owned();
    let mut agent = Agent::new(&engine);
    let joined = agent.join(&token);
    let said = String::from_utf8_lossy(&joined.stdout).into_owned();
    assert!(joined.status.success() && said.contains("roost node"), "{said}{}", String::from_utf8_lossy(&joined.stderr));
    let again = agent.join(&token);
    let words = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && words.contains("has been used"), "{words}");
    agent.start();
    let seen = node(&api, "second", "online", |node| node["online"] == true && node["engine"] != "").await;
    assert_eq!((&seen["region"], &seen["tags"], &seen["slots"]), (&json!("eu-west"), &json!(["ssd", "fast"]), &json!(3)));
    assert!(seen["clock_ahead_ms"].as_i64().is_some_and(|ms| ms.abs() <= 2_000), "{seen}");

    // Two agents of one panel on one engine leave each other's containers alone.
    for (name, files) in
        [("Base", [("hello", "nobody"), ("base", "x")]), ("Words", [("hello", "${SERVER_NAME} in ${REGION} on ${NODE_NAME}"), ("w", "x")])]
    {
        let (status, made) = api.ask(Method::POST, "/api/templates", Some(json!({"name": name, "kind": "custom"}))).await;
        assert_eq!(status, 201, "{made}");
        let path = format!("/api/templates/{}/versions?version=1", made["id"].as_str().expect("an id"));
        assert_eq!(api.send(&path, tar(&files)).await.0, 201);
    }
    let near = laid_out(&api, "near", json!({})).await;
    assert_eq!(api.wait_phase(&near, "running", SOON).await["node"], "local");
    let far = laid_out(&api, "far", json!({"region": "eu-west", "tags": ["fast"]})).await;
    assert_eq!(api.wait_phase(&far, "running", SOON).await["node"], "second");
    assert!(file(&near, "hello").contains("near in  on local"), "{}", file(&near, "hello"));
    assert!(file(&far, "hello").contains("far in eu-west on second"), "{}", file(&far, "hello"));
    let before = containers();
    two_beats(&api, "local").await;
    two_beats(&api, "second").await;
    let after = containers();
    for id in [&near, &far] {
        assert!(container(&before, id).is_some() && container(&before, id) == container(&after, id), "{before}\n{after}");
    }

    // The agent is killed while it is told to stop a server.
    assert_eq!(api.power(&far, "hibernate").await.0, 202);
    agent.kill();
    agent.start();
    api.wait_phase(&far, "sleeping", SOON).await;
    // The panel is killed while it tells it to start again.
    assert_eq!(api.power(&far, "wake").await.0, 202);
    program.kill_and_start();
    api.wait_phase(&far, "running", SOON).await;
    // The line is cut before it is told.
    wire.cut();
    assert_eq!(api.power(&far, "hibernate").await.0, 202);
    wire.mend();
    api.wait_phase(&far, "sleeping", SOON).await;
    assert_eq!(api.wait_phase(&near, "running", SOON).await["node"], "local");

    // Turned away, the agent lives on, knows why, and touches nothing.
    assert_eq!(api.power(&far, "wake").await.0, 202);
    api.wait_phase(&far, "running", SOON).await;
    let (status, revoked) = api.ask(Method::POST, "/api/nodes/second/revoke", None).await;
    assert_eq!((status, revoked["standing"].as_str()), (200, Some("revoked")), "{revoked}");
    node(&api, "second", "turned away", |node| node["refused"].as_str().is_some_and(|why| why.contains("revoked"))).await;
    assert!(agent.runs() && agent.log().contains("revoked"), "{}", agent.log());
    assert!(container(&containers(), &far).is_some());
    // And comes back, the same node with the same server.
    let (status, made) = api.ask(Method::POST, "/api/nodes/tokens", Some(json!({"node": "second"}))).await;
    assert_eq!(status, 201, "{made}");
    assert!(agent.join(made["token"].as_str().expect("a token")).status.success());
    node(&api, "second", "back", |node| node["online"] == true && node["refused"].is_null() && node["standing"] == "joined").await;
    assert_eq!(api.power(&far, "hibernate").await.0, 202);
    api.wait_phase(&far, "sleeping", SOON).await;
    assert!(file(&far, "hello").contains("far in eu-west on second"), "its folder is what it was");
    for id in [&near, &far] {
        api.ask(Method::DELETE, &format!("/api/servers/{id}"), None).await;
        api.wait_gone(id, SOON).await;
    }
    drop((agent, program));
    database.drop().await;
}
