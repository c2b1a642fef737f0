//! Waking through the real sidecar, refusals, and the sidecar's socket as a forger would use it.

use std::time::{Duration, Instant};

use roost::model::servers::Seen;
use roost::wire::agent::{Action, Event, EventKind};
use roost::wire::door::{ACTIVITY_PATH, BODY_BYTES_MAX, Verdict, WAKE_PATH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixStream};

use super::site::{Site, docker, docker_is_wanted};

async fn greeting(port: u16) -> (TcpStream, String) {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut text = vec![0; 5];
    tokio::time::timeout(Duration::from_secs(20), client.read_exact(&mut text)).await.expect("the game greets").unwrap();
    (client, String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn a_sleeping_server_is_woken_by_tcp_without_a_panel() {
    if !docker_is_wanted("a_sleeping_server_is_woken_by_tcp_without_a_panel") {
        return;
    }
    let mut site = Site::open(false).await;
    let (spec, _) = site.prepared().await;
    // The panel goes: the agent starts anew and nobody says welcome.
    site.kill();
    site.switch_on();
    site.report("asleep", &spec.server, |report| (report.seen == Seen::Asleep).then_some(())).await;
    let (client, text) = greeting(spec.ports[0].public).await;
    assert_eq!(text, "hello");
    let woken = site.event("wake", &spec.server, |event| match &event.kind {
        EventKind::Wake { client, port, started } => Some((client.clone(), *port, *started)),
        _ => None,
    });
    let (from, port, started) = woken.await;
    assert!(started && port == spec.ports[0].public && !from.is_empty(), "{from} {port} {started}");
    let report = site.event("running by itself", &spec.server, |event| match (&event.kind, &event.command) {
        (EventKind::Running(report), None) => Some(report.clone()),
        _ => None,
    });
    let report = report.await;
    assert!(report.woken_at.is_some() && report.runs.len() == 1, "{report:?}");

    // Somebody is connected: the panel may not put it to sleep.
    let gentle = Action::StopInstance { keep_door: true, unless_busy: true };
    site.welcome().await;
    site.report("a player", &spec.server, |report| report.sample.is_some_and(|sample| sample.players == Some(1)).then_some(())).await;
    assert_eq!(site.ask(&spec.server, gentle.clone()).await, EventKind::Busy { players: 1 });
    drop(client);
    site.report("nobody", &spec.server, |report| report.sample.is_some_and(|sample| sample.players == Some(0)).then_some(())).await;
    let answer = site.ask(&spec.server, gentle).await;
    assert!(matches!(&answer, EventKind::Stopped(report) if report.seen == Seen::Asleep), "{answer:?}");
}

#[tokio::test]
async fn a_sleeping_server_is_woken_by_a_datagram() {
    if !docker_is_wanted("a_sleeping_server_is_woken_by_a_datagram") {
        return;
    }
    let mut site = Site::open(false).await;
    let (spec, _) = site.prepared().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", spec.ports[0].public)).await.unwrap();
    socket.send(b"anybody?").await.unwrap();
    let mut answer = [0; 32];
    let n = tokio::time::timeout(Duration::from_secs(20), socket.recv(&mut answer)).await.expect("an echo").unwrap();
    assert_eq!(&answer[..n], b"anybody?");
    site.event("running", &spec.server, |event| matches!(event.kind, EventKind::Running(_)).then_some(())).await;
}

#[tokio::test]
async fn a_server_that_may_not_wake_stays_asleep_and_the_panel_hears_of_it_once() {
    if !docker_is_wanted("a_server_that_may_not_wake_stays_asleep_and_the_panel_hears_of_it_once") {
        return;
    }
    let mut site = Site::open(false).await;
    let mut spec = site.demo();
    spec.wake = Verdict::Refused { reason: "Its owner has run out of credits.".to_owned() };
    site.prepare(&spec).await;
    for _ in 0..3 {
        let mut client = TcpStream::connect(("127.0.0.1", spec.ports[0].public)).await.unwrap();
        let mut nothing = Vec::new();
        let _refused = tokio::time::timeout(Duration::from_secs(20), client.read_to_end(&mut nothing)).await.expect("it is sent away");
        assert!(nothing.is_empty(), "the game did not speak");
    }
    let refused = |event: &Event| matches!(event.kind, EventKind::Wake { started: false, .. }).then_some(());
    site.event("a refusal", &spec.server, refused).await;
    // What waits in the pipe may be older than that: two heartbeats later nothing does.
    for _ in 0..2 {
        let seen = site.report("a look", &spec.server, |report| Some(report.seen)).await;
        assert_eq!(seen, Seen::Asleep);
    }
    let told = site.events.iter().filter(|event| matches!(event.kind, EventKind::Wake { started: false, .. })).count();
    assert_eq!(told, 1);
    // Allowed again: the same client wakes it, once the sidecar has forgotten its last refusal.
    spec.wake = Verdict::Allowed;
    site.prepare(&spec).await;
    let greeted = async {
        // It also counts the knocks of each source, so that it is not asked more often than this.
        let mut tries = tokio::time::interval(Duration::from_secs(1));
        loop {
            tries.tick().await;
            let mut client = TcpStream::connect(("127.0.0.1", spec.ports[0].public)).await.unwrap();
            let mut text = [0; 5];
            if client.read_exact(&mut text).await.is_ok() {
                return text;
            }
        }
    };
    assert_eq!(&tokio::time::timeout(Duration::from_secs(20), greeted).await.expect("it wakes now"), b"hello");
}

#[tokio::test]
async fn a_knock_while_the_game_is_being_stopped_wakes_it_again() {
    if !docker_is_wanted("a_knock_while_the_game_is_being_stopped_wakes_it_again") {
        return;
    }
    let mut site = Site::open(false).await;
    let mut spec = site.demo();
    // A command that the game does not know: the wait for it is the time to knock in.
    spec.stop.command = Some("what".to_owned());
    spec.stop.wait_secs = 2;
    site.prepare(&spec).await;
    site.start(&spec.server).await;
    let stop = site.command(&spec.server, Action::StopInstance { keep_door: true, unless_busy: false }).await;
    site.event("accepted", &spec.server, |event| (event.kind == EventKind::Accepted).then_some(())).await;
    let state = site.home(&spec.server).join("door").join("state.json");
    while !std::fs::read_to_string(&state).unwrap().contains("down") {
        tokio::task::yield_now().await;
    }
    let knock = greeting(spec.ports[0].public);
    let (stopped, (_client, text)) = tokio::join!(site.answer(&stop), knock);
    assert!(matches!(stopped, EventKind::Stopped(_)), "{stopped:?}");
    assert_eq!(text, "hello");
    let report = site.report("running", &spec.server, |report| matches!(report.seen, Seen::Running { .. }).then(|| report.clone()));
    assert_eq!(report.await.runs.len(), 2);
}

async fn post(site: &Site, spec: &roost::wire::spec::InstanceSpec, path: &str, headers: &str, body: &str) -> String {
    let mut socket = UnixStream::connect(site.home(&spec.server).join("door").join("agent.sock")).await.unwrap();
    let length = body.len();
    let text = format!("POST {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    // What is too long is refused before it has been read to its end.
    let _written = socket.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _read = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_forger_at_the_socket_gets_nowhere_and_learns_nothing() {
    if !docker_is_wanted("a_forger_at_the_socket_gets_nowhere_and_learns_nothing") {
        return;
    }
    let mut site = Site::open(false).await;
    let (spec, _) = site.prepared().await;
    let config = std::fs::read_to_string(site.home(&spec.server).join("door").join("door.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let secret = hex::decode(config["servers"][0]["secret"].as_str().unwrap()).unwrap();
    let body = format!(r#"{{"server":"{}","connections":3,"sessions":0,"bytes_in":1,"bytes_out":1}}"#, spec.server);
    let signed = |nonce: &str, secret: &[u8], body: &str| {
        let at = roost::model::time::Clock::now(&super::site::MachineClock).0.to_string();
        let signature = roost::wire::wake::sign(secret, &at, nonce, body.as_bytes());
        let server = &spec.server;
        format!("x-roost-server: {server}\r\nx-roost-timestamp: {at}\r\nx-roost-nonce: {nonce}\r\nx-roost-signature: {signature}\r\n")
    };
    let good = signed(&"0a".repeat(16), &secret, &body);
    let answer = post(&site, &spec, ACTIVITY_PATH, &good, &body).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""game":"down""#), "{answer}");
    let forged = signed(&"0b".repeat(16), &[0; 32], &body);
    for (headers, body) in
        [(&good, body.as_str()), (&forged, &body), (&String::new(), &body), (&signed(&"0c".repeat(16), &secret, "x"), &body)]
    {
        let answer = post(&site, &spec, WAKE_PATH, headers, body).await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
    let answer = post(&site, &spec, WAKE_PATH, "", &"x".repeat(BODY_BYTES_MAX + 1)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let other = body.replace(spec.server.as_str(), "somebody-else");
    let answer = post(&site, &spec, ACTIVITY_PATH, &signed(&"0d".repeat(16), &secret, &other), &other).await;
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    let (_, seen) = (site.events.len(), site.report("a look", &spec.server, |report| Some(report.seen)).await);
    assert_eq!(seen, Seen::Asleep);
}

#[tokio::test]
async fn waking_costs_little_more_than_dockers_own_start() {
    if !docker_is_wanted("waking_costs_little_more_than_dockers_own_start") {
        return;
    }
    let mut site = Site::open(true).await;
    let (spec, _) = site.prepared().await;
    let game = format!("roost-{}-game", spec.server);
    let (mut woken, mut direct) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let begin = Instant::now();
        let (client, _) = greeting(spec.ports[0].public).await;
        woken.push(begin.elapsed());
        drop(client);
        site.event("running", &spec.server, |event| matches!(event.kind, EventKind::Running(_)).then_some(())).await;
        site.put_to_sleep(&spec.server).await;
        let address = docker(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAMConfig.IPv4Address}}{{end}}", &game]);
        let begin = Instant::now();
        docker(&["start", &game]);
        loop {
            let Ok(mut client) = TcpStream::connect((address.as_str(), 7777)).await else { continue };
            let mut text = [0; 5];
            client.read_exact(&mut text).await.unwrap();
            break;
        }
        direct.push(begin.elapsed());
        site.event("running", &spec.server, |event| matches!(event.kind, EventKind::Running(_)).then_some(())).await;
        site.put_to_sleep(&spec.server).await;
    }
    woken.sort();
    direct.sort();
    println!("first byte through the door {:?}, docker start and first byte {:?} (medians of 5)", woken[2], direct[2]);
    assert!(woken[2] < direct[2] + Duration::from_millis(250), "{woken:?} {direct:?}");
}

#[tokio::test]
async fn a_held_player_goes_in_at_the_games_own_word_and_not_when_its_port_opens() {
    if !docker_is_wanted("a_held_player_goes_in_at_the_games_own_word_and_not_when_its_port_opens") {
        return;
    }
    let mut site = Site::open(false).await;
    super::busybox::image();
    let mut spec = site.demo();
    spec.image = super::busybox::IMAGE.to_owned();
    let script = "/busybox nc -ll -p 7777 -e /busybox cat & /busybox sleep 3; echo the world is open; wait";
    spec.args = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
    spec.ready = roost::model::games::Ready::LogLine { contains: "the world is open".to_owned() };
    spec.stop.signal = "SIGKILL".to_owned();
    site.prepare(&spec).await;
    let knocked = Instant::now();
    let mut player = TcpStream::connect(("127.0.0.1", spec.ports[0].public)).await.unwrap();
    player.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    tokio::time::timeout(Duration::from_secs(20), player.read_exact(&mut answer)).await.expect("it is let in").unwrap();
    assert_eq!(&answer, b"hello");
    assert!(knocked.elapsed() >= Duration::from_secs(3), "let in after {:?}, before the world was open", knocked.elapsed());
    site.event("running", &spec.server, |event| matches!(event.kind, EventKind::Running(_)).then_some(())).await;
}

/// What a server list reads of a Minecraft server.
async fn looked_at(port: u16) -> String {
    let mut looker = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let hello = [&[16, 0, 0xff, 5, 9][..], b"localhost", &[0x63, 0xdd, 1], &[1, 0], &[9, 1, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    looker.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    let _read = tokio::time::timeout(Duration::from_secs(5), looker.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn whoever_hears_that_it_sleeps_finds_a_door_that_says_the_same() {
    if !docker_is_wanted("whoever_hears_that_it_sleeps_finds_a_door_that_says_the_same") {
        return;
    }
    let mut site = Site::open(false).await;
    let mut spec = site.demo();
    spec.door = Some("minecraft-java".to_owned());
    site.prepare(&spec).await;
    for _ in 0..3 {
        site.start(&spec.server).await;
        site.put_to_sleep(&spec.server).await;
        let words = looked_at(spec.ports[0].public).await;
        assert!(words.contains("is asleep, join to wake"), "{words}");
    }
    // Also where it fell asleep by itself: the game was ended by somebody else, and is looked at as soon as the panel hears of it.
    site.start(&spec.server).await;
    docker(&["kill", &format!("roost-{}-game", spec.server)]);
    site.event("its end", &spec.server, |event| matches!(event.kind, EventKind::Exited(_)).then_some(())).await;
    let words = looked_at(spec.ports[0].public).await;
    assert!(words.contains("is asleep, join to wake"), "{words}");
}
