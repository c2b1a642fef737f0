//! TCP: held, woken once, served; refused with the reason; nothing lost when agent or game come and go.

use std::time::Duration;

use roost::model::games::Protocol;
use roost::model::time::{Clock, Millis};
use roost::proxy::Bounds;
use roost::wire::door::{GameIs, Verdict};
use roost::wire::wake::{Disbelief, Signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::door::{Door, Plan, RealClock, SOON, exchange, rest_of, until};

#[tokio::test]
async fn a_client_of_a_sleeping_game_is_held_and_served_when_it_is_up() {
    let door = Door::open(Plan::default());
    let mut client = door.connect().await;
    client.write_all(b"hello").await.unwrap();
    door.wakes(1).await;
    let request = door.mind().wakes[0].clone();
    assert_eq!((request.client.as_str(), request.protocol, request.port), ("127.0.0.1", Protocol::Tcp, door.addresses[0].port()));
    let game = door.start_echo().await;
    door.set_game(GameIs::Up);
    let mut answer = [0; 5];
    timeout(SOON, client.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HELLO");
    assert_eq!(exchange(&mut client, b"again").await, b"AGAIN");
    assert_eq!(exchange(&mut door.connect().await, b"second").await, b"SECOND");
    assert_eq!(door.mind().wakes.len(), 1);
    drop(game);
}

#[tokio::test]
async fn many_held_clients_cause_one_wake_and_are_all_served() {
    let door = Door::open(Plan::default());
    let mut clients: Vec<TcpStream> = Vec::new();
    for n in 0..300 {
        let mut client = door.connect().await;
        client.write_all(format!("client {n:3}").as_bytes()).await.unwrap();
        clients.push(client);
    }
    door.wakes(1).await;
    door.reported("all of them", |report| report.connections == 300).await;
    let _game = door.start_echo().await;
    door.set_game(GameIs::Up);
    for (n, client) in clients.iter_mut().enumerate() {
        let mut answer = [0; 10];
        timeout(SOON, client.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, format!("CLIENT {n:3}").as_bytes());
    }
    assert_eq!(door.mind().wakes.len(), 1);
}

#[tokio::test]
async fn a_refused_client_is_closed_cleanly_and_the_agent_is_not_asked_again_at_once() {
    let verdict = Verdict::Refused { reason: "Its owner has run out of credits.".to_owned() };
    let door = Door::open(Plan { verdict, ..Plan::default() });
    for _ in 0..5 {
        let mut client = door.connect().await;
        client.write_all(b"hello").await.unwrap();
        assert!(rest_of(&mut client).await.is_empty());
    }
    assert_eq!(door.mind().wakes.len(), 1);
}

#[tokio::test]
async fn an_agent_that_is_away_is_asked_until_it_is_back() {
    let mut door = Door::open(Plan::default());
    door.agent_goes();
    let mut client = door.connect().await;
    client.write_all(b"hello").await.unwrap();
    // Held, not closed: nothing comes for a while.
    assert!(timeout(Duration::from_millis(300), client.read(&mut [0; 8])).await.is_err());
    door.agent_comes();
    door.wakes(1).await;
    let _game = door.start_echo().await;
    door.set_game(GameIs::Up);
    let mut answer = [0; 5];
    timeout(SOON, client.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HELLO");
}

#[tokio::test]
async fn an_open_connection_does_not_notice_an_agent_that_restarts() {
    let mut door = Door::open(Plan::default());
    let _game = door.start_echo().await;
    door.set_game(GameIs::Up);
    let mut client = door.connect().await;
    assert_eq!(exchange(&mut client, b"before").await, b"BEFORE");
    door.agent_goes();
    assert_eq!(exchange(&mut client, b"while").await, b"WHILE");
    door.agent_comes();
    assert_eq!(exchange(&mut client, b"after").await, b"AFTER");
    assert!(door.mind().wakes.is_empty());
}

#[tokio::test]
async fn a_half_closed_client_gets_the_whole_answer_even_if_it_was_held() {
    let door = Door::open(Plan::default());
    let mut client = door.connect().await;
    client.write_all(b"one question").await.unwrap();
    client.shutdown().await.unwrap();
    door.wakes(1).await;
    let _game = door.start_echo().await;
    door.set_game(GameIs::Up);
    assert_eq!(rest_of(&mut client).await, b"ONE QUESTION");
}

#[tokio::test]
async fn a_large_transfer_arrives_whole_both_ways() {
    let door = Door::open(Plan::default());
    let _game = door.start_echo().await;
    door.set_game(GameIs::Up);
    let (mut read, mut write) = door.connect().await.into_split();
    let sent: Vec<u8> = (0..48_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[..1].to_vec()).collect();
    let mut expected = sent.clone();
    expected.make_ascii_uppercase();
    let mut sender = JoinSet::new();
    sender.spawn(async move {
        for piece in sent.chunks(1 << 20) {
            write.write_all(piece).await.unwrap();
        }
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    timeout(SOON * 3, read.read_to_end(&mut got)).await.unwrap().unwrap();
    assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
    let total = expected.len() as u64;
    door.reported("all bytes", |report| report.bytes_in == total && report.bytes_out == total).await;
}

#[tokio::test]
async fn activity_is_reported_at_once_when_the_first_comes_and_the_last_goes() {
    let bounds = Bounds { activity_every: Duration::from_hours(1), ..Bounds::default() };
    let door = Door::open(Plan { bounds, ..Plan::default() });
    let _game = door.start_echo().await;
    door.set_game(GameIs::Up);
    door.reported("an empty door", |report| report.connections == 0).await;
    let mut client = door.connect().await;
    assert_eq!(exchange(&mut client, b"x").await, b"X");
    door.reported("one player", |report| report.connections == 1).await;
    drop(client);
    door.reported("nobody", |report| report.connections == 0).await;
    assert!(door.mind().disbelieved.is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_is_forgotten_and_over_the_limit_is_closed() {
    let bounds = Bounds { connections: 2, ..Bounds::default() };
    let door = Door::open(Plan { bounds, ..Plan::default() });
    door.mind().answers = false;
    let (first, _second) = (door.connect().await, door.connect().await);
    door.reported("two", |report| report.connections == 2).await;
    assert!(rest_of(&mut door.connect().await).await.is_empty());
    drop(first);
    door.mind().answers = true;
    let _game = door.start_echo().await;
    door.set_game(GameIs::Up);
    until("a free place", || (door.mind().reports.last()?.connections == 1).then_some(())).await;
    assert_eq!(exchange(&mut door.connect().await, b"third").await, b"THIRD");
}

#[tokio::test]
async fn one_source_cannot_wake_for_ever() {
    let bounds = Bounds { wakes_per_minute: 2, ..Bounds::default() };
    let door = Door::open(Plan { bounds, ..Plan::default() });
    for n in 1..=4 {
        door.set_game(GameIs::Down);
        let client = door.connect().await;
        if n <= 2 {
            door.wakes(n).await;
            let game = door.start_echo().await;
            door.set_game(GameIs::Up);
            let mut client = client;
            assert_eq!(exchange(&mut client, b"x").await, b"X");
            drop((client, game));
        } else {
            let mut client = client;
            assert!(rest_of(&mut client).await.is_empty());
        }
    }
    assert_eq!(door.mind().wakes.len(), 2);
}

#[tokio::test]
async fn a_client_is_let_go_when_the_game_does_not_come_in_time() {
    let door = Door::open(Plan { hold_secs: 1, ..Plan::default() });
    let mut client = door.connect().await;
    assert!(rest_of(&mut client).await.is_empty());
    assert!(!door.mind().wakes.is_empty());
}

#[tokio::test]
async fn without_a_state_file_the_answers_say_whether_the_game_is_there() {
    let door = Door::open(Plan { state_file: false, ..Plan::default() });
    let mut client = door.connect().await;
    door.wakes(1).await;
    let _game = door.start_echo().await;
    door.set_game(GameIs::Up);
    assert_eq!(exchange(&mut client, b"hello").await, b"HELLO");
}

#[tokio::test]
async fn an_open_port_lets_nobody_in_before_the_agents_word() {
    for state_file in [true, false] {
        let door = Door::open(Plan { state_file, ..Plan::default() });
        // It opens its port at once and is not ready for a while.
        let _game = door.start_echo().await;
        let mut client = door.connect().await;
        client.write_all(b"hello").await.unwrap();
        door.wakes(1).await;
        let mut later = door.connect().await;
        later.write_all(b"me too").await.unwrap();
        assert!(timeout(Duration::from_millis(600), client.read(&mut [0; 5])).await.is_err(), "let in before the game was ready");
        door.set_game(GameIs::Up);
        let (mut first, mut second) = ([0; 5], [0; 6]);
        timeout(SOON, client.read_exact(&mut first)).await.unwrap().unwrap();
        timeout(SOON, later.read_exact(&mut second)).await.unwrap().unwrap();
        assert_eq!((&first, &second), (b"HELLO", b"ME TOO"));
        assert_eq!(door.mind().wakes.len(), 1);
    }
}

#[tokio::test]
async fn a_state_file_that_could_not_be_written_locks_nobody_out() {
    let door = Door::open(Plan::default());
    let mut client = door.connect().await;
    client.write_all(b"hello").await.unwrap();
    door.wakes(1).await;
    let _game = door.start_echo().await;
    // The disk is full: the agent knows better than the file.
    door.say_only(GameIs::Up);
    let mut answer = [0; 5];
    timeout(SOON, client.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HELLO");
}

#[tokio::test]
async fn a_minecraft_list_sees_that_it_sleeps_and_wakes_nobody_and_a_join_wakes() {
    let door = Door::open(Plan { helper: Some("minecraft-java"), ..Plan::default() });
    let hello = |intent: u8| [&[16, 0, 0xff, 5, 9][..], b"localhost", &[0x63, 0xdd, intent]].concat();
    let mut looker = door.connect().await;
    looker.write_all(&[&hello(1)[..], &[1, 0], &[9, 1, 1, 2, 3, 4, 5, 6, 7, 8]].concat()).await.unwrap();
    let answer = rest_of(&mut looker).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("Valley of Echoes is asleep, join to wake"), "{text}");
    assert!(answer.ends_with(&[9, 1, 1, 2, 3, 4, 5, 6, 7, 8]));
    assert!(
        rest_of(&mut {
            let mut scanner = door.connect().await;
            scanner.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            scanner
        })
        .await
        .is_empty()
    );
    assert!(door.mind().wakes.is_empty());

    let mut player = door.connect().await;
    let join = hello(2);
    player.write_all(&join).await.unwrap();
    door.wakes(1).await;
    let _game = door.start_echo().await;
    door.set_game(GameIs::Up);
    let mut answer = vec![0; join.len()];
    timeout(SOON, player.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, join.to_ascii_uppercase());
}

#[tokio::test]
async fn a_refused_minecraft_player_reads_why() {
    let verdict = Verdict::Refused { reason: "Its owner has run out of credits.".to_owned() };
    let door = Door::open(Plan { helper: Some("minecraft-java"), verdict, ..Plan::default() });
    let mut player = door.connect().await;
    player.write_all(&[&[16, 0, 0xff, 5, 9][..], b"localhost", &[0x63, 0xdd, 2]].concat()).await.unwrap();
    let answer = rest_of(&mut player).await;
    assert_eq!(usize::from(answer[0]), answer.len() - 1);
    assert_eq!(&answer[3..], br#"{"text":"Its owner has run out of credits."}"#);
}

#[tokio::test]
async fn a_game_that_went_down_behind_its_agents_back_is_asked_for() {
    let door = Door::open(Plan::default());
    door.set_game(GameIs::Up);
    let mut client = door.connect().await;
    door.wakes(1).await;
    let _game = door.start_echo().await;
    assert_eq!(exchange(&mut client, b"hello").await, b"HELLO");
}

#[tokio::test]
async fn old_pings_and_long_handshakes_begin_alike_and_are_told_apart() {
    let door = Door::open(Plan { helper: Some("minecraft-java"), ..Plan::default() });
    for ping in [&[0xfe][..], &[0xfe, 1], &[0xfe, 1, 0xfa, 0, 11]] {
        let mut looker = door.connect().await;
        looker.write_all(ping).await.unwrap();
        let answer = rest_of(&mut looker).await;
        assert_eq!(answer.first(), Some(&0xff), "{ping:?}");
    }
    assert!(door.mind().wakes.is_empty());
    // A handshake of 254 bytes, as mods make them, in two pieces of which the first looks like an old ping.
    let address = "a".repeat(246);
    let join = [&[0, 0xff, 5, 0xf6, 1][..], address.as_bytes(), &[0x63, 0xdd, 2]].concat();
    assert_eq!(join.len(), 254);
    let mut player = door.connect().await;
    player.write_all(&[0xfe, 1]).await.unwrap();
    player.flush().await.unwrap();
    player.write_all(&join).await.unwrap();
    door.wakes(1).await;
}

#[tokio::test]
async fn a_request_of_the_sidecar_is_believed_once_and_for_its_own_words_only() {
    let door = Door::open(Plan::default());
    let _client = door.connect().await;
    door.wakes(1).await;
    door.reported("a client", |report| report.connections == 1).await;
    let mut mind = door.mind();
    let ([time, nonce, signature, body], secret) = (mind.last.clone(), mind.secret.clone());
    let mut again = |body: &str, at: Millis| {
        let signed = Signed { timestamp: &time, nonce: &nonce, signature: &signature, body: body.as_bytes() };
        mind.nonces.verify(&secret, &signed, at)
    };
    assert_eq!(again(&body, RealClock.now()), Err(Disbelief::Replayed));
    assert_eq!(again(&body.replace("\"connections\":1", "\"connections\":0"), RealClock.now()), Err(Disbelief::Forged));
    assert_eq!(again(&body, RealClock.now() + 31_000), Err(Disbelief::Stale));
}

#[tokio::test]
async fn told_to_go_it_takes_nobody_new_and_lets_an_open_connection_end() {
    let mut door = Door::open(Plan::default());
    let _game = door.start_echo().await;
    door.set_game(GameIs::Up);
    let mut client = door.connect().await;
    assert_eq!(exchange(&mut client, b"before").await, b"BEFORE");
    door.tell_sidecar_to_go();
    let address = door.addresses[0];
    until("a closed port", || std::net::TcpStream::connect(address).is_err().then_some(())).await;
    assert_eq!(exchange(&mut client, b"last words").await, b"LAST WORDS");
    drop(client);
    door.sidecar_is_gone().await;
}
