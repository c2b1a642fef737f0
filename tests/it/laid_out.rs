//! A server out of layers with nothing in anybody's place: the real program, a real Docker Engine, a real S3 server, a real game whose
//! own client sees what the layers say.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::program::{Api, Program, docker, port};
use crate::services;
use crate::templates::tar;

const AWAKE: Duration = Duration::from_mins(1);

/// The arena of the other tests, told to read what its layers bring.
const GAME: &str = r#"
id = "arena"
name = "Arena"
summary = "An arena out of layers."
join_hint = "Join {address}."
image = "roost-test/openarena:1"
args = ["/usr/lib/ioquake3/ioq3ded", "+set", "dedicated", "1", "+set", "com_standalone", "1", "+set", "com_basegame", "baseoa", "+set", "vm_game", "0", "+set", "fs_basepath", "/usr/lib/openarena-server", "+set", "fs_homepath", "/data", "+set", "bot_enable", "0", "+exec", "server.cfg", "+map", "oa_dm1"]
data_path = "/data"
user = "1000:1000"
ready_within_secs = 60
ready = { by = "udp_answer", port = 27960, send_hex = "ffffffff676574737461747573" }
stop = { signal = "SIGTERM", wait_secs = 10 }

[[ports]]
name = "game"
port = 27960
protocol = "udp"

[[plans]]
id = "small"
name = "Small"
players = "1-8"
cpu_millis = 1000
memory_mib = 512
storage_mib = 256
month_cents = 100
per_hour = 500000
"#;

/// A real S3 server with a bucket, ended with its test.
pub struct S3 {
    child: Child,
    endpoint: String,
    folder: tempfile::TempDir,
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl S3 {
    /// What a panel is told of it.
    pub fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("S3_ENDPOINT", self.endpoint.clone()),
            ("S3_BUCKET", "roost".to_owned()),
            ("AWS_ACCESS_KEY_ID", "who".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "it-is".to_owned()),
        ]
    }
}

pub fn s3(program: &Path) -> S3 {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("roost")).unwrap();
    let port = services::free_port(&services::LISTENERS);
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--access-key", "who", "--secret-key", "it-is"]);
    let child = command.arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    S3 { child, endpoint: format!("http://127.0.0.1:{port}"), folder }
}

async fn template(api: &Api, name: &str, kind: &str, version: &str, files: &[(&str, &str)]) {
    let (status, made) = api.ask(Method::POST, "/api/templates", Some(json!({"name": name, "kind": kind, "game": "arena"}))).await;
    assert_eq!(status, 201, "{made}");
    upload(api, made["id"].as_str().unwrap(), version, files).await;
}

async fn upload(api: &Api, id: &str, version: &str, files: &[(&str, &str)]) {
    let (status, answer) = api.send(&format!("/api/templates/{id}/versions?version={version}"), tar(files)).await;
    assert_eq!(status, 201, "{answer}");
}

/// Asks the game through its sidecar, as its own client does, until it answers.
fn client(address: &str) -> String {
    let begin = Instant::now();
    loop {
        let output = Command::new("quakestat").args(["-q3s", address, "-R", "-P", "-retry", "1", "-interval", "2"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said.contains("oa_dm1") {
            return said;
        }
        assert!(begin.elapsed() < AWAKE, "no answer: {said}");
    }
}

async fn history(api: &Api, id: &str) -> Value {
    api.ask(Method::GET, &format!("/api/servers/{id}/events"), None).await.1
}

/// Waits until the node's cache shows this.
async fn cache(api: &Api, what: &str, shows: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let (_, node) = api.ask(Method::GET, "/api/nodes/local", None).await;
        if shows(&node["node"]["cache"]) {
            return node["node"]["cache"].clone();
        }
        assert!(begin.elapsed() < AWAKE, "never {what}: {node}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_game_gets_its_configuration_out_of_three_layers_and_its_own_client_sees_the_name() {
    let name = "a_real_game_gets_its_configuration_out_of_three_layers_and_its_own_client_sees_the_name";
    let (Some(engine), Some(_), Some(program)) = (services::docker(name), services::games(name), services::s3(name)) else { return };
    let s3 = s3(&program);
    let games = tempfile::tempdir().unwrap();
    std::fs::write(games.path().join("arena.toml"), GAME).unwrap();
    let bucket = s3.settings();
    let mut settings: Vec<(&str, &str)> = bucket.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.push(("GAMES_DIR", games.path().to_str().unwrap()));
    let mut program = Program::start(&engine, &settings);
    let api = Api::admin(&program, "admin@example.org").await;
    let server_cfg = "set sv_hostname \"${SERVER_NAME} on ${NODE_NAME}\"\nsets told_port \"${PORT}\"\nsets kept \"$${PORT}\"\nsets odd \"${NOBODY}\"\nexec mode.cfg\n";
    template(&api, "Base", "master", "1", &[("baseoa/server.cfg", server_cfg), ("baseoa/mode.cfg", "sets mode base\n")]).await;
    template(&api, "Duel", "gamemode", "1", &[("baseoa/mode.cfg", "sets mode duel\nexec map.cfg\n")]).await;
    template(&api, "Valley", "map", "1", &[("baseoa/map.cfg", "sets arena valley\n")]).await;
    assert!(s3.folder.path().join("roost/templates/base").is_dir(), "the archives lie in the bucket");

    let body = json!({
        "name": "Valley of Echoes", "game": "arena", "plan": "small", "auto_sleep": false,
        "layers": [{"template": "base"}, {"template": "duel", "version": "1"}, {"template": "valley"}]
    });
    let (status, made) = api.ask(Method::POST, "/api/servers", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let awake = api.wait_phase(&id, "running", AWAKE).await;
    let address = format!("127.0.0.1:{}", port(&awake));
    let said = client(&address);
    for expected in ["Valley of Echoes on local", "told_port=27960", "kept=${PORT}", "odd=${NOBODY}", "mode=duel", "arena=valley"] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    let events = history(&api, &id).await.to_string();
    assert!(events.contains("${NOBODY} in baseoa/server.cfg"), "the owner is told of what nobody knows: {events}");

    // Asleep, its sidecar wakes it with the same folder; what it wrote is its own and in no layer.
    let home = program.folder.path().join("data/instances").join(&id);
    assert_eq!(api.power(&id, "hibernate").await.0, 202);
    api.wait_phase(&id, "sleeping", AWAKE).await;
    std::fs::write(home.join("data/own"), "precious").unwrap();
    assert!(client(&address).contains("mode=duel"));
    api.wait_phase(&id, "running", AWAKE).await;

    // The panel is killed; the new one finds everything as it was.
    program.kill_and_start();
    api.wait_phase(&id, "running", AWAKE).await;
    assert!(client(&address).contains("Valley of Echoes on local"));

    // A second server of the same layers shares them.
    let (_, second) = api
        .ask(
            Method::POST,
            "/api/servers",
            Some(json!({"name": "Second", "game": "arena", "plan": "small", "layers": [{"template": "base"}, {"template": "duel"}]})),
        )
        .await;
    let second = second["id"].as_str().unwrap().to_owned();
    let awake = api.wait_phase(&second, "running", AWAKE).await;
    let said = client(&format!("127.0.0.1:{}", port(&awake)));
    assert!(said.contains("Second on local") && said.contains("mode=duel") && !said.contains("arena=valley"), "{said}");

    // The node's cache: three layers, all in use; dev mode fetches anew; a purge keeps what servers are made of.
    // Its agent was killed with the panel: the second server found both of its layers there.
    let found = |cache: &Value| cache["layers"].as_array().is_some_and(|all| all.len() == 3) && cache["hits"] == 2;
    let cache = cache(&api, "three layers, two of which were found there", found).await;
    assert_eq!((&cache["way"], &cache["misses"]), (&json!("overlay"), &json!(0)), "{cache}");
    assert_eq!(api.ask(Method::POST, "/api/nodes/local/dev-mode", Some(json!({"on": true}))).await.0, 204);
    self::cache(&api, "dev mode", |cache| cache["dev_mode"] == true).await;
    let (_, third) = api
        .ask(
            Method::POST,
            "/api/servers",
            Some(json!({"name": "Third", "game": "arena", "plan": "small", "layers": [{"template": "base"}]})),
        )
        .await;
    let third = third["id"].as_str().unwrap().to_owned();
    api.wait_phase(&third, "running", AWAKE).await;
    self::cache(&api, "a fetch in spite of the cache", |cache| cache["misses"] == 1).await;
    assert_eq!(api.ask(Method::POST, "/api/nodes/local/dev-mode", Some(json!({"on": false}))).await.0, 204);
    assert_eq!(api.ask(Method::POST, "/api/nodes/local/purge-cache", None).await.0, 202);
    let kept = self::cache(&api, "a purge", |cache| !cache["purged"].is_null()).await["purged"].clone();
    assert_eq!((&kept["freed"], kept["kept"].as_array().map(Vec::len)), (&json!(0), Some(4)), "{kept}");

    let metrics = api.text("/metrics").await;
    for line in
        ["roost_node_cache_hits{node=\"local\"} ", "roost_objects_requests_total{store=\"s3\"", "roost_node_cache_misses{node=\"local\"} 1"]
    {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    for id in [&id, &second, &third] {
        api.ask(Method::DELETE, &format!("/api/servers/{id}"), None).await;
        api.wait_gone(id, AWAKE).await;
        assert_eq!(docker(&["volume", "ls", "-q", "--filter", &format!("name=roost-{id}")]), "", "no volume is left");
    }
    assert!(!home.exists(), "nor its folder");
    assert_eq!(api.ask(Method::POST, "/api/nodes/local/purge-cache", Some(json!({"templates": ["base"]}))).await.0, 202);
    let freed = |cache: &Value| cache["purged"]["removed"] == 2 && cache["purged"]["freed"].as_u64().is_some_and(|bytes| bytes > 0);
    self::cache(&api, "a purge of one template", freed).await;
}
