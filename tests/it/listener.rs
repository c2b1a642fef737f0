//! Strangers at the listeners: crowds that say nothing, heads and bodies that never end, HTTP/2 as nobody means it. Others go on being
//! served, and pages keep their sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use roost::domain::Policy;
use roost::http::WebSettings;
use roost::http::listener::{Bounds, Waits};
use roost::trust::Authority;
use rustix::process::{Resource, Rlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::app::{App, PASSWORD, PATIENCE};
use crate::services;
use crate::world::{TestClock, World};

/// Where the strangers are, and where everybody else is.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// As many as a process may commonly have open.
const DESCRIPTORS: u64 = 1_024;
/// Lines of one address that say nothing.
const CROWD: usize = 990;

async fn line(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from, 0)).expect("an address of this machine");
    socket.connect(to).await.expect("the listener takes it")
}

fn client(from: IpAddr) -> reqwest::Client {
    services::ring();
    reqwest::Client::builder().local_address(from).timeout(Duration::from_secs(3)).build().expect("a client")
}

/// The real program under a common limit of descriptors.
struct Panel {
    child: Child,
    web: SocketAddr,
    nodes: SocketAddr,
    folder: tempfile::TempDir,
}

impl Panel {
    async fn start() -> Panel {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (web, nodes) = (at(services::free_port(&services::LISTENERS)), at(services::free_port(&services::LISTENERS)));
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" serve"), env!("CARGO_BIN_EXE_roost")])
            .current_dir(folder.path())
            .env("LISTEN", web.to_string())
            .env("BACKEND_URL", format!("http://{web}"))
            .env("NODE_LISTEN", nodes.to_string())
            .env("DATA_DIR", folder.path().join("data"))
            .env("EMBEDDED_NODE", "false")
            .env("LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("cloned"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let panel = Panel { child, web, nodes, folder };
        let begin = Instant::now();
        while TcpStream::connect(web).await.is_err() {
            assert!(begin.elapsed() < PATIENCE, "the panel does not come up: {}", panel.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panel
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A token of the first admin.
    async fn admin(&self) -> String {
        let begin = Instant::now();
        let secret = loop {
            // It listens before it says so; the line has come as a whole when something stands behind it.
            let log = self.log();
            if let Some((secret, _)) = log.split_once("setup=").and_then(|(_, rest)| rest.split_once('\n')) {
                break secret.trim().to_owned();
            }
            assert!(begin.elapsed() < PATIENCE, "no setup link: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let body = json!({"email": "admin@example.org", "password": PASSWORD, "setup": secret});
        let answer = client(ELSEWHERE).post(format!("http://{}/auth/register", self.web)).json(&body).send().await.expect("answered");
        let answer: Value = answer.json().await.expect("JSON");
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// Somebody at this address asks the listener for nodes, and is told what is wrong.
    async fn ask_the_door(&self, from: IpAddr, now: i64) {
        let authority = Authority::open(&self.folder.path().join("data").join("ca"), now).expect("the authority");
        let mut stream = roost::trust::dial_pinned(&authority.fingerprint(), now, line(from, self.nodes).await).await.expect("TLS");
        stream.write_all(b"POST /join HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}").await.expect("sent");
        let mut answer = [0; 12];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 400");
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "the program goes by the system's clock")]
fn now_secs() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("small")
}

#[tokio::test]
async fn a_crowd_at_one_address_shuts_the_panel_for_nobody_else() {
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("enough descriptors for the crowd");
    let panel = Panel::start().await;
    let token = panel.admin().await;
    panel.ask_the_door(ELSEWHERE, now_secs()).await;

    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let mut stream = line(HERE, panel.web).await;
        match number % 3 {
            0 => {}
            1 => drop(stream.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nx-slow: ").await),
            _ => drop(stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await),
        }
        crowd.push(stream);
    }
    // The same at the listener for nodes.
    for _ in 0..CROWD / 3 {
        crowd.push(line(HERE, panel.nodes).await);
    }
    let elsewhere = client(ELSEWHERE);
    for path in ["/health", "/ready", "/auth/login", "/health"] {
        let answer = elsewhere.get(format!("http://{}{path}", panel.web)).send().await.expect("served as if nothing were");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    panel.ask_the_door(ELSEWHERE, now_secs()).await;

    let metrics = elsewhere.get(format!("http://{}/metrics", panel.web)).bearer_auth(token).send().await.expect("answered");
    let metrics = metrics.text().await.expect("text");
    let refused =
        |line: &&str| line.starts_with("roost_connections_refused_total{") && line.contains("\"web\"") && line.contains("\"address\"");
    let refused = metrics.lines().find(refused).and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).expect("counted");
    assert!(refused > CROWD / 2, "{refused} of {CROWD} were turned away");
    let answered: Vec<String> = panel.log().lines().filter(|line| line.contains("answered")).map(str::to_owned).collect();
    assert!(answered.iter().all(|line| !line.contains("/health") && !line.contains("/ready")), "{answered:?}");
    assert!(answered.iter().any(|line| line.contains("/metrics")), "somebody known has a line: {answered:?}");
    let said = panel.log().lines().filter(|line| line.contains("turned away") && line.contains("\"web\"")).count();
    assert_eq!(said, 1, "one line a minute");
}

/// Short waits, few places.
async fn held() -> (App, SocketAddr, tempfile::TempDir) {
    let folder = crate::world::folder();
    let url = format!("sqlite://{}/roost.db", folder.path().display());
    let world = World::open(&url, Arc::new(TestClock::default()), Policy::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let second = Duration::from_secs(1);
    let waits = Waits { head: second, idle: second, body: second, reader: second };
    let bounds = Bounds { all: 400, of_address: Some(100) };
    (App::held(world, WebSettings::default(), listener, format!("http://{address}"), bounds, waits), address, folder)
}

/// Reads until the other side ends; gives what came, and after how long.
async fn ended(stream: &mut TcpStream) -> (Vec<u8>, Duration) {
    let begin = Instant::now();
    let mut all = Vec::new();
    let mut buffer = [0; 4_096];
    let reading = async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => all.extend_from_slice(&buffer[..read]),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the panel ends it");
    (all, begin.elapsed())
}

/// Says one byte after the other until the other side ends; gives what came.
async fn trickle(mut stream: TcpStream) -> Vec<u8> {
    let begin = Instant::now();
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        assert!(begin.elapsed() < PATIENCE, "the panel lets it trickle on");
        match tokio::time::timeout(Duration::from_millis(100), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return answer,
            Ok(Ok(read)) => answer.extend_from_slice(&buffer[..read]),
            Err(_) => drop(stream.write_all(b"x").await),
        }
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// `GET /` of host `a`, compressed as HTTP/2 has it.
const HEADERS: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn heads_and_bodies_that_never_end_are_ended_and_sockets_of_pages_stay() {
    let (app, address, _folder) = held().await;
    let ada = app.player("ada@example.org").await;
    let mut socket = ada.socket("/dashboard/live").await.expect("open");
    socket.next().await.expect("the first update");

    let silent = async { ended(&mut line(HERE, address).await).await.0 };
    let mut begun = line(HERE, address).await;
    begun.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nx: ").await.expect("sent");
    let mut slow_body = line(HERE, address).await;
    slow_body.write_all(b"POST /webhooks/stripe HTTP/1.1\r\nhost: a\r\ncontent-length: 60000\r\n\r\n").await.expect("sent");
    let mut kept = line(HERE, address).await;
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    let (silent, begun, slow_body, (kept, kept_for)) = tokio::join!(silent, trickle(begun), trickle(slow_body), ended(&mut kept));
    assert_eq!((silent.len(), begun.len()), (0, 0), "nothing was asked, nothing is answered");
    assert!(slow_body.is_empty() || slow_body.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&slow_body));
    assert!(kept.starts_with(b"HTTP/1.1 200") && kept_for >= Duration::from_millis(900), "kept for {kept_for:?} after its answer");

    let answer = client(ELSEWHERE).get(format!("{}/health", app.url)).send().await.expect("served");
    assert_eq!(answer.status(), StatusCode::OK);
    let more = tokio::time::timeout(Duration::from_secs(2), socket.next()).await;
    assert!(!matches!(more, Ok(None)), "the socket of a page outlives every wait");
    assert_eq!(ada.get("/dashboard").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_listener_for_every_address_knows_people_by_the_same_address_in_both_families() {
    let folder = crate::world::folder();
    let url = format!("sqlite://{}/roost.db", folder.path().display());
    let world = World::open(&url, Arc::new(TestClock::default()), Policy::default()).await;
    let Ok(listener) = TcpListener::bind("[::]:0").await else { return };
    let port = listener.local_addr().expect("an address").port();
    let bounds = Bounds { all: 100, of_address: Some(1) };
    let app = App::held(world, WebSettings::default(), listener, format!("http://127.0.0.1:{port}"), bounds, Waits::default());
    let answer = client(HERE).get(format!("http://127.0.0.1:{port}/health")).send().await.expect("IPv4 is answered");
    assert_eq!(answer.status(), StatusCode::OK);
    let six =
        reqwest::Client::new().get(format!("http://[::1]:{port}/health")).send().await.expect("IPv6 is answered, and is somebody else");
    assert_eq!(six.status(), StatusCode::OK);
    drop(app);
}

#[tokio::test]
async fn http2_is_held_to_the_same() {
    let (app, address, _folder) = held().await;
    let (mut silent, mut open_head) = (line(HERE, address).await, line(HERE, address).await);
    silent.write_all(PREFACE).await.expect("sent");
    // A head whose end never comes: HEADERS without END_HEADERS.
    open_head.write_all(&[PREFACE, &frame(1, 0, 1, &HEADERS)].concat()).await.expect("sent");
    // Requests that are taken back at once, by the hundreds.
    let mut flood = PREFACE.to_vec();
    for stream in (1..2_000).step_by(2) {
        flood.extend(frame(1, 5, stream, &HEADERS));
        flood.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let mut resetting = line(HERE, address).await;
    resetting.write_all(&flood).await.expect("sent");
    // One that is meant.
    let mut honest = line(ELSEWHERE, address).await;
    honest.write_all(&[PREFACE, &frame(1, 5, 1, &HEADERS)].concat()).await.expect("sent");

    let (silent, open_head, resetting, honest) =
        tokio::join!(ended(&mut silent), ended(&mut open_head), ended(&mut resetting), ended(&mut honest));
    for (what, (_, after)) in [("silent", silent), ("an open head", open_head)] {
        assert!(after < Duration::from_secs(5), "{what}: {after:?}");
    }
    let (said, after) = resetting;
    // GOAWAY with ENHANCE_YOUR_CALM.
    let calm = said.windows(9).any(|bytes| bytes[3] == 7 && bytes[..3] != [0; 3]) && said.windows(4).any(|code| code == [0, 0, 0, 0xb]);
    assert!(calm && after < Duration::from_secs(1), "a flood of resets ends the connection: {after:?}");
    let (answered, _) = honest;
    assert!(answered.windows(9).any(|bytes| bytes[3] == 1 && bytes[5..] == [0, 0, 0, 1]), "an answer's HEADERS came");
    drop(app);
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up() {
    let (app, address, _folder) = held().await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("small");
    let mut stream = socket.connect(address).await.expect("a line");
    // Far more than the buffers between the two hold, and none of it is read.
    let asked = b"GET /static/roost.css HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2_000);
    let sent = tokio::time::timeout(PATIENCE, async {
        loop {
            if stream.write_all(&asked).await.is_err() {
                return;
            }
        }
    });
    sent.await.expect("the panel ends it");
    drop(app);
}
