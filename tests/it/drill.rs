//! The drill: the panel's machine burns down while games run on another one, and comes back from its backup.
//!
//! Real programs, a real Docker Engine, both databases. Nothing that runs may notice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::machines::{Agent, node, two_beats};
use crate::program::{Api, Program, docker, port};
use crate::services;
use crate::world::Database;

/// Longest wait for anything.
const SOON: Duration = Duration::from_mins(1);

/// Somebody who plays on while it burns.
struct Player(BufReader<TcpStream>);

impl Player {
    fn join(port: u16) -> Player {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the door opens");
        stream.set_read_timeout(Some(SOON)).expect("set");
        let mut player = Player(BufReader::new(stream));
        player.hears("Welcome");
        player
    }

    fn hears(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let read = self.0.read_line(&mut line).unwrap_or_else(|error| panic!("waiting for {text:?}: {error}"));
            assert!(read > 0, "the game closed before {text:?}");
        }
    }

    fn is_answered(&mut self) {
        self.0.get_mut().write_all(b"/who\n").expect("said");
        self.hears("Here: ");
    }
}

/// What stands on the engine for a server, and since when: any restart changes it.
fn stands(server: &str) -> String {
    let names = [format!("roost-{server}-game"), format!("roost-{server}-door")];
    docker(&["inspect", "-f", "{{.Name}} {{.Id}} {{.State.StartedAt}} {{.State.Running}} {{.RestartCount}}", &names[0], &names[1]])
}

/// The ledger: what was posted under which key.
async fn ledger(api: &Api) -> BTreeMap<String, Value> {
    let (status, page) = api.ask(Method::GET, "/api/billing/transactions", None).await;
    assert_eq!(status, 200, "{page}");
    let entries = page["transactions"].as_array().expect("a list").clone();
    entries.into_iter().map(|entry| (entry["key"].as_str().expect("a key").to_owned(), entry["amount"].clone())).collect()
}

/// Waits until so many runs are charged.
async fn charged(api: &Api, runs: usize) -> (BTreeMap<String, Value>, Value) {
    let begin = Instant::now();
    loop {
        let entries = ledger(api).await;
        let charges = entries.keys().filter(|key| key.starts_with("charge:")).count();
        assert!(charges <= runs, "charged twice: {entries:?}");
        if charges == runs {
            let (_, billing) = api.ask(Method::GET, "/api/billing", None).await;
            return (entries, billing["balance"].clone());
        }
        assert!(begin.elapsed() < SOON, "never charged: {entries:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn nap(api: &Api, server: &str) {
    assert_eq!(api.power(server, "wake").await.0, 202);
    api.wait_phase(server, "running", SOON).await;
    assert_eq!(api.power(server, "hibernate").await.0, 202);
    api.wait_phase(server, "sleeping", SOON).await;
}

async fn wait_no_container(server: &str) {
    let begin = Instant::now();
    while docker(&["ps", "-a", "--format", "{{.Names}}"]).contains(server) {
        assert!(begin.elapsed() < SOON, "{server} is never removed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the node has moved the data of a server aside.
async fn wait_aside(agent: &Agent, server: &str) {
    let begin = Instant::now();
    let folder = agent.folder.path().join("data/orphans");
    let is_there = || {
        let mut names = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.expect("one").file_name());
        names.any(|name| name.to_string_lossy().starts_with(server))
    };
    while !is_there() {
        assert!(begin.elapsed() < SOON, "the data of {server} are not in {}", folder.display());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The panel is lost, wholly.
async fn burn_down(program: &mut Program, database: Option<&Database>) {
    program.kill();
    std::fs::remove_dir_all(program.folder.path().join("data")).expect("the data folder goes");
    if let Some(database) = database {
        database.empty().await;
    }
}

fn restore(program: &Program, file: &str) {
    let done = program.run(&["restore", file]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.contains("Restored"), "{said}");
    let again = program.run(&["restore", file]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is not empty"));
}

/// A panel without a node of its own, and a machine that has joined it.
async fn begin(engine: &services::Docker, number: u16, database: Option<&Database>) -> (Program, Api, Agent) {
    let door = services::free_port(&services::LISTENERS);
    let mut more = vec![
        ("NODE_LISTEN", format!("127.0.0.1:{door}")),
        ("NODE_ADDRESS", format!("127.0.0.1:{door}")),
        ("EMBEDDED_NODE", "false".to_owned()),
        ("BILLING_INTERVAL", "1s".to_owned()),
    ];
    more.extend(database.map(|database| ("DATABASE_URL", database.url.clone())));
    let program = Program::start(engine, &more.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
    let api = Api::admin(&program, "ada@example.org").await;
    let (status, made) = api.ask(Method::POST, "/api/nodes/tokens", Some(json!({"name": "Second"}))).await;
    assert_eq!(status, 201, "{made}");
    let mut agent = Agent::nth(engine, number);
    let joined = agent.join(made["token"].as_str().expect("a token"));
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    agent.start();
    node(&api, "second", "online", |node| node["online"] == true && node["engine"] != "").await;
    (program, api, agent)
}

async fn drill(engine: &services::Docker, number: u16, database: Option<&Database>) {
    let (mut program, api, agent) = begin(engine, number, database).await;
    // One plays, one sleeps and has been paid for once.
    let awake = api.create("awake", "demo", "small").await;
    let asleep = api.create("asleep", "demo", "small").await;
    let address = port(&api.wait_phase(&awake, "running", SOON).await);
    let door_of_asleep = port(&api.wait_phase(&asleep, "running", SOON).await);
    assert_eq!(api.power(&asleep, "hibernate").await.0, 202);
    api.wait_phase(&asleep, "sleeping", SOON).await;
    let at_backup = charged(&api, 1).await;
    let mut player = Player::join(address);

    let file = program.folder.path().join("panel.tar.zst").display().to_string();
    let done = program.run(&["backup", &file]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    // What nobody will remember but the node: commands with higher generations, a run, and a server.
    for _ in 0..2 {
        nap(&api, &asleep).await;
    }
    let late = api.create("late", "demo", "small").await;
    api.wait_phase(&late, "running", SOON).await;
    two_beats(&api, "second").await;
    let at_the_end = charged(&api, 3).await;
    assert_ne!(at_the_end.1, at_backup.1);
    let before = (stands(&awake), stands(&asleep));
    assert!(before.0.contains(" true ") && before.1.contains(" false "), "{before:?}");

    burn_down(&mut program, database).await;
    player.is_answered();
    Player::join(address).is_answered();
    restore(&program, &file);
    player.is_answered();
    program.kill_and_start();

    // The same account, token and password; the node comes by itself; all is seen as it is.
    let client = reqwest::Client::new();
    let body = json!({"email": "ada@example.org", "password": "correct horse battery"});
    let login = client.post(format!("{}/auth/login", program.url)).json(&body).send().await.expect("answered");
    assert!(login.status().is_success(), "{}", login.status());
    two_beats(&api, "second").await;
    node(&api, "second", "back", |node| node["online"] == true && node["refused"].is_null()).await;
    api.wait_phase(&awake, "running", SOON).await;
    api.wait_phase(&asleep, "sleeping", SOON).await;
    let (status, _) = api.ask(Method::GET, &format!("/api/servers/{late}"), None).await;
    assert_eq!(status, 404, "it was made after the backup");
    wait_no_container(&late).await;
    wait_aside(&agent, &late).await;
    two_beats(&api, "second").await;
    assert_eq!((stands(&awake), stands(&asleep)), before, "nothing was restarted");
    player.is_answered();
    // Runs since the backup are posted as they were, and none a second time.
    let after = charged(&api, 3).await;
    assert_eq!(after, at_the_end);

    Player::join(door_of_asleep).is_answered();
    obeys(&api, &awake, &asleep).await;
    assert!(!agent.log().contains("outdated"), "{}", agent.log());
    drop((agent, program));
}

/// The node takes commands; a player has just woken what slept.
async fn obeys(api: &Api, awake: &str, asleep: &str) {
    api.wait_phase(asleep, "running", SOON).await;
    assert_eq!(api.power(awake, "hibernate").await.0, 202);
    api.wait_phase(awake, "sleeping", SOON).await;
    nap(api, awake).await;
    for id in [awake, asleep] {
        api.ask(Method::DELETE, &format!("/api/servers/{id}"), None).await;
        api.wait_gone(id, SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_panel_on_sqlite_comes_back_and_no_player_notices() {
    let Some(engine) = services::docker("a_lost_panel_on_sqlite_comes_back_and_no_player_notices") else { return };
    drill(&engine, 1, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_panel_on_postgresql_comes_back_and_no_player_notices() {
    let test = "a_lost_panel_on_postgresql_comes_back_and_no_player_notices";
    let (Some(engine), Some(server)) = (services::docker(test), services::postgres(test)) else { return };
    let database = Database::make(&server).await;
    drill(&engine, 2, Some(&database)).await;
    database.drop().await;
}
