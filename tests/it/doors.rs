//! Sidecars that reach the panel itself: the real `roost-proxy`, whose agent is the site.

use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use roost::domain::servers::{Power, power};
use roost::domain::{Actor, doors};
use roost::model::games::Protocol;
use roost::model::ids::ServerId;
use roost::model::secrets::Secret;
use roost::model::servers::{Phase, Server};
use roost::model::time::{Clock, SECOND};
use roost::wire::door::{BODY_BYTES_MAX, DoorConfig, DoorServer, GameIs, Route, Verdict, WakeAnswer};
use roost::wire::wake::{NONCE, SERVER, SIGNATURE, TIMESTAMP, sign};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, PATIENCE, on_site};
use crate::services;

/// A sidecar's process, ended with its test.
struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sidecar in front of `target`, whose agent is the panel.
fn sidecar(app: &App, server: &ServerId, target: u16) -> (Sidecar, u16, tempfile::TempDir) {
    let listen = services::free_port(&services::LISTENERS);
    let route = Route { listen: format!("127.0.0.1:{listen}"), protocol: Protocol::Tcp, target: format!("127.0.0.1:{target}"), door: None };
    let config = DoorConfig {
        servers: vec![DoorServer {
            server: server.clone(),
            agent: app.url.clone(),
            state_file: None,
            secret: hex::encode(doors::key(&app.world.ctx, server).bytes()),
            hold_secs: 20,
            routes: vec![route],
        }],
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("door.json");
    std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    let child =
        Command::new(env!("CARGO_BIN_EXE_roost-proxy")).arg("--config").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    (Sidecar(child.unwrap()), listen, folder)
}

/// A server that sleeps, on a site whose clock shows the time of day: sidecars have no other.
async fn asleep(app: &mut App, email: &str) -> (Actor, Server) {
    #[expect(clippy::disallowed_methods, reason = "the sidecar lives in real time")]
    let real = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    app.world.clock.pass(real - app.world.clock.now().0);
    let owner = app.world.player(email).await;
    let server = app.world.create(&owner, "Valley of Echoes").await;
    app.world.settle().await;
    power(&app.world.ctx, &owner, &server.id, Power::Hibernate).await.unwrap();
    app.world.settle().await;
    let server = app.world.server(&server.id).await.unwrap();
    assert_eq!(server.life.phase, Phase::Sleeping);
    (owner, server)
}

async fn connect(port: u16) -> TcpStream {
    let begin = std::time::Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => return stream,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "the sidecar does not listen: {error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_sidecar_that_shares_no_folder_wakes_its_server_through_the_panel() {
    on_site("a_sidecar_that_shares_no_folder_wakes_its_server_through_the_panel", |mut app| async move {
        let (_, server) = Box::pin(asleep(&mut app, "ada@example.org")).await;
        let target = services::free_port(&services::LISTENERS);
        let (_sidecar, port, _folder) = sidecar(&app, &server.id, target);
        let mut client = connect(port).await;
        client.write_all(b"hello").await.unwrap();
        let begin = std::time::Instant::now();
        while app.world.server(&server.id).await.unwrap().life.phase != Phase::Starting {
            assert!(begin.elapsed() < PATIENCE, "the panel was not asked");
            tokio::task::yield_now().await;
        }
        // The game comes up only now; the client has been held all the while.
        let game = tokio::net::TcpListener::bind(("127.0.0.1", target)).await.unwrap();
        app.world.settle().await;
        let (mut inside, _) = tokio::time::timeout(PATIENCE, game.accept()).await.expect("nobody came").unwrap();
        let mut heard = [0; 5];
        inside.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        inside.write_all(b"HELLO").await.unwrap();
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"HELLO");
        let server = app.world.server(&server.id).await.unwrap();
        assert_eq!(server.life.phase, Phase::Running);
        // The connection is reported, and what is in use is not quiet.
        let begin = std::time::Instant::now();
        while app.world.server(&server.id).await.unwrap().players != Some(1) {
            assert!(begin.elapsed() < PATIENCE, "no activity was reported");
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A request as a sidecar would sign it.
struct Forged<'a> {
    server: &'a str,
    key: Secret,
    at: i64,
    nonce: &'a str,
    body: String,
}

impl Forged<'_> {
    async fn send(&self, app: &App, path: &str) -> reqwest::Response {
        crate::services::ring();
        let at = self.at.to_string();
        let signature = sign(self.key.bytes(), &at, self.nonce, self.body.as_bytes());
        let request = reqwest::Client::new().post(format!("{}/api/webhook/{path}", app.url));
        let request = request.header(SERVER, self.server).header(TIMESTAMP, at).header(NONCE, self.nonce).header(SIGNATURE, signature);
        request.body(self.body.clone()).send().await.unwrap()
    }
}

#[tokio::test]
async fn a_forger_at_the_panels_webhook_wakes_nothing_and_learns_nothing() {
    on_site("a_forger_at_the_panels_webhook_wakes_nothing_and_learns_nothing", |mut app| async move {
        let (_, server) = Box::pin(asleep(&mut app, "ada@example.org")).await;
        let other = app.world.player("grace@example.org").await;
        let other = Box::pin(app.world.create(&other, "Elsewhere")).await;
        let now = app.world.clock.now();
        let ctx = &app.world.ctx;
        let body = |id: &ServerId| format!(r#"{{"server":"{id}","client":"192.0.2.7","port":25000,"protocol":"tcp"}}"#);
        let (nonces, good) = (["0a", "0b", "0c", "0d", "0e", "0f", "10"].map(|byte| byte.repeat(16)), doors::key(ctx, &server.id));
        let request =
            |n: usize| Forged { server: server.id.as_str(), key: good.clone(), at: now.0, nonce: &nonces[n], body: body(&server.id) };
        let table = [
            (Forged { key: doors::key(ctx, &other.id), ..request(0) }, StatusCode::UNAUTHORIZED),
            (Forged { key: Secret::new([0; 32]), ..request(0) }, StatusCode::UNAUTHORIZED),
            (Forged { server: "nobody-de-000000", ..request(0) }, StatusCode::UNAUTHORIZED),
            (Forged { server: "../../etc", ..request(0) }, StatusCode::UNAUTHORIZED),
            (Forged { at: now.0 - 31 * SECOND, ..request(0) }, StatusCode::UNAUTHORIZED),
            (Forged { at: now.0 + 31 * SECOND, ..request(0) }, StatusCode::UNAUTHORIZED),
            (Forged { nonce: "short", ..request(0) }, StatusCode::UNAUTHORIZED),
            (Forged { body: "x".repeat(BODY_BYTES_MAX + 1), ..request(1) }, StatusCode::PAYLOAD_TOO_LARGE),
            (Forged { body: "{}".to_owned(), ..request(2) }, StatusCode::UNPROCESSABLE_ENTITY),
            (Forged { body: body(&other.id), ..request(3) }, StatusCode::UNPROCESSABLE_ENTITY),
        ];
        for (n, (forged, expected)) in table.iter().enumerate() {
            let answer = forged.send(&app, "wake").await;
            assert_eq!(answer.status(), *expected, "row {n}");
            assert_eq!(answer.text().await.unwrap(), "", "row {n}");
        }
        assert_eq!(app.world.server(&server.id).await.unwrap().life.phase, Phase::Sleeping);

        let answer = request(4).send(&app, "wake").await;
        let said: WakeAnswer = answer.json().await.unwrap();
        assert!(said.started && said.state.game == GameIs::Starting, "{said:?}");
        assert_eq!(request(4).send(&app, "wake").await.status(), StatusCode::UNAUTHORIZED, "a request counts once");
        assert_eq!(request(4).send(&app, "activity").await.status(), StatusCode::UNAUTHORIZED, "whatever it is sent for");
    })
    .await;
}

#[tokio::test]
async fn a_stopped_server_is_not_woken_through_the_panel_and_players_are_told_why() {
    on_site("a_stopped_server_is_not_woken_through_the_panel_and_players_are_told_why", |mut app| async move {
        let (owner, server) = asleep(&mut app, "ada@example.org").await;
        power(&app.world.ctx, &owner, &server.id, Power::Stop).await.unwrap();
        app.world.settle().await;
        let asked = Forged {
            server: server.id.as_str(),
            key: doors::key(&app.world.ctx, &server.id),
            at: app.world.clock.now().0,
            nonce: &"1b".repeat(16),
            body: format!(r#"{{"server":"{}","client":"192.0.2.7","port":25000,"protocol":"tcp"}}"#, server.id),
        };
        let said: WakeAnswer = asked.send(&app, "wake").await.json().await.unwrap();
        assert_eq!(said.state.wake, Verdict::Refused { reason: "Its owner has stopped it.".to_owned() });
        assert!(!said.started);
        assert_eq!(app.world.server(&server.id).await.unwrap().life.phase, Phase::Stopped);
    })
    .await;
}
