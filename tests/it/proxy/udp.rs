//! UDP: kept in order while the game wakes, muted when it is put to sleep under a stream, bounded.

use std::time::Duration;

use roost::model::games::Protocol;
use roost::proxy::Bounds;
use roost::wire::door::GameIs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::door::{Door, Plan, SOON, exchange, until};

fn udp() -> Plan {
    Plan { protocol: Protocol::Udp, ..Plan::default() }
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let n = timeout(SOON, socket.recv(&mut buffer)).await.expect("no datagram").unwrap();
    buffer.truncate(n);
    buffer
}

#[tokio::test]
async fn datagrams_are_kept_in_order_while_the_game_wakes() {
    let door = Door::open(udp());
    let client = door.udp_client().await;
    for n in 0..20_u8 {
        client.send(&[n; 9]).await.unwrap();
    }
    door.wakes(1).await;
    door.reported("one session", |report| report.sessions == 1).await;
    let (_game, heard) = door.start_udp().await;
    assert!(heard.lock().unwrap().is_empty());
    door.set_game(GameIs::Up);
    for n in 0..20_u8 {
        assert_eq!(receive(&client).await, [n; 9]);
    }
    client.send(b"then").await.unwrap();
    assert_eq!(receive(&client).await, b"then");
    assert_eq!(door.mind().wakes.len(), 1);
}

#[tokio::test]
async fn each_peer_gets_its_own_answers() {
    let door = Door::open(udp());
    let (_game, _) = door.start_udp().await;
    door.set_game(GameIs::Up);
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(door.udp_client().await);
    }
    for (n, client) in clients.iter().enumerate() {
        client.send(format!("client {n}").as_bytes()).await.unwrap();
    }
    for (n, client) in clients.iter().enumerate() {
        assert_eq!(receive(client).await, format!("client {n}").as_bytes());
    }
    door.reported("all sessions", |report| report.sessions == 50).await;
    assert!(door.mind().wakes.is_empty());
}

#[tokio::test]
async fn what_is_kept_for_a_peer_is_bounded() {
    let bounds = Bounds { datagrams: 3, datagram_bytes: 1_000, sessions: 1, ..Bounds::default() };
    let door = Door::open(Plan { bounds, ..udp() });
    let client = door.udp_client().await;
    for size in [400, 500, 200, 50, 60, 70] {
        client.send(&vec![1; size]).await.unwrap();
    }
    door.wakes(1).await;
    let stranger = door.udp_client().await;
    stranger.send(b"one peer too many").await.unwrap();
    let (_game, heard) = door.start_udp().await;
    door.set_game(GameIs::Up);
    until("what was kept", || (heard.lock().unwrap().len() == 3).then_some(())).await;
    client.send(b"last").await.unwrap();
    until("the last one", || heard.lock().unwrap().iter().any(|data| data == b"last").then_some(())).await;
    let sizes: Vec<usize> = heard.lock().unwrap().iter().map(Vec::len).collect();
    // 200 would be too many bytes, and after 50 it is three.
    assert_eq!(sizes, [400, 500, 50, 4]);
}

#[tokio::test]
async fn a_stream_does_not_undo_the_owners_sleep_and_later_is_a_new_knock() {
    let bounds = Bounds { mute: Duration::from_millis(1_500), ..Bounds::default() };
    let door = Door::open(Plan { bounds, ..udp() });
    let (game, _) = door.start_udp().await;
    door.set_game(GameIs::Up);
    let client = door.udp_client().await;
    client.send(b"hello").await.unwrap();
    assert_eq!(receive(&client).await, b"hello");
    door.set_game(GameIs::Down);
    drop(game);
    let asleep = std::time::Instant::now();
    until("the knock after the silence", || {
        let _ = client.try_send(b"stream");
        (!door.mind().wakes.is_empty()).then_some(())
    })
    .await;
    assert!(asleep.elapsed() >= Duration::from_millis(1_400), "{:?}", asleep.elapsed());
    assert_eq!(door.mind().wakes.len(), 1);
    let other = door.udp_client().await;
    other.send(b"others are not muted").await.unwrap();
}

#[tokio::test]
async fn a_silent_peer_is_forgotten() {
    let bounds = Bounds { session_idle: Duration::from_millis(500), ..Bounds::default() };
    let door = Door::open(Plan { bounds, ..udp() });
    let (_game, _) = door.start_udp().await;
    door.set_game(GameIs::Up);
    let client = door.udp_client().await;
    client.send(b"hello").await.unwrap();
    assert_eq!(receive(&client).await, b"hello");
    door.reported("one session", |report| report.sessions == 1).await;
    door.reported("no session", |report| report.sessions == 0).await;
    client.send(b"back").await.unwrap();
    assert_eq!(receive(&client).await, b"back");
}

#[tokio::test]
async fn a_source_query_is_answered_in_the_games_place_and_anything_else_wakes() {
    let door = Door::open(Plan { helper: Some("source-query"), ..udp() });
    let client = door.udp_client().await;
    let info = b"\xff\xff\xff\xffTSource Engine Query\0";
    client.send(info).await.unwrap();
    let challenge = receive(&client).await;
    assert_eq!((challenge.len(), challenge[4]), (9, 0x41));
    client.send(&[&info[..], &challenge[5..]].concat()).await.unwrap();
    let answer = receive(&client).await;
    assert!(String::from_utf8_lossy(&answer).contains("Valley of Echoes is asleep, join to wake"));
    assert!(door.mind().wakes.is_empty());
    client.send(b"join").await.unwrap();
    door.wakes(1).await;
}

#[tokio::test]
async fn looks_at_a_running_game_pass_and_are_not_players() {
    let door = Door::open(Plan { helper: Some("source-query"), ..udp() });
    let (_game, _) = door.start_udp().await;
    door.set_game(GameIs::Up);
    let client = door.udp_client().await;
    let info = b"\xff\xff\xff\xffTSource Engine Query\0";
    client.send(info).await.unwrap();
    assert_eq!(receive(&client).await, info);
    assert_eq!(door.mind().reports.last().map_or(0, |report| report.sessions), 0);
    client.send(b"join").await.unwrap();
    assert_eq!(receive(&client).await, b"join");
    door.reported("a player", |report| report.sessions == 1).await;
}

#[tokio::test]
async fn all_ports_of_a_server_wake_it_once_together() {
    let door = Door::open(Plan { udp_too: true, ..Plan::default() });
    door.mind().answers = false;
    let mut tcp = door.connect().await;
    door.wakes(1).await;
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.send_to(b"datagram", door.addresses[1]).await.unwrap();
    door.reported("both", |report| (report.connections, report.sessions) == (1, 1)).await;
    door.mind().answers = true;
    let (_tcp_game, (_udp_game, _)) = (door.start_echo().await, door.start_udp().await);
    door.set_game(GameIs::Up);
    assert_eq!(exchange(&mut tcp, b"stream").await, b"STREAM");
    assert_eq!(receive(&udp).await, b"datagram");
    assert_eq!(door.mind().wakes.len(), 1);
}

#[tokio::test]
async fn datagrams_in_a_players_name_do_not_shut_the_door_for_that_player() {
    let bounds = Bounds { wakes_per_minute: 2, mute: Duration::from_millis(100), ..Bounds::default() };
    let door = Door::open(Plan { bounds, udp_too: true, ..Plan::default() });
    // All tests speak from one address, so that a stranger's datagrams carry the player's name.
    for n in 1..=3 {
        door.set_game(GameIs::Down);
        let forged = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        until("a wake for each", || {
            let _ = forged.try_send_to(b"forged", door.addresses[1]);
            (door.mind().wakes.len() >= n).then_some(())
        })
        .await;
        door.set_game(GameIs::Up);
    }
    door.set_game(GameIs::Down);
    let _game = door.start_echo().await;
    let mut player = door.connect().await;
    player.write_all(b"hello").await.unwrap();
    door.wakes(4).await;
    door.set_game(GameIs::Up);
    let mut answer = [0; 5];
    timeout(SOON, player.read_exact(&mut answer)).await.expect("the door is shut").unwrap();
    assert_eq!(&answer, b"HELLO");
}

#[tokio::test]
async fn a_table_full_of_strangers_single_datagrams_keeps_no_player_out() {
    let bounds = Bounds { sessions: 4, ..Bounds::default() };
    let door = Door::open(Plan { bounds, ..udp() });
    let (_game, _) = door.start_udp().await;
    door.set_game(GameIs::Up);
    let mut there = door.udp_client().await;
    for _ in 0..2 {
        there.send(b"I play").await.unwrap();
        assert_eq!(receive(&there).await, b"I play");
    }
    let mut strangers = Vec::new();
    for _ in 0..8 {
        let stranger = door.udp_client().await;
        stranger.send(b"once").await.unwrap();
        assert_eq!(receive(&stranger).await, b"once");
        strangers.push(stranger);
    }
    there.send(b"still here").await.unwrap();
    assert_eq!(receive(&there).await, b"still here");
    there = door.udp_client().await;
    there.send(b"a new player").await.unwrap();
    assert_eq!(receive(&there).await, b"a new player");
}
