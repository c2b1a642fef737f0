//! The whole main job, with the real program, a real browser, a real Docker Engine and real games.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::browser::{SOON, Window};
use crate::program::{Api, Program, docker, port};
use crate::services;

const AWAKE: Duration = Duration::from_mins(1);
/// One minute of quiet, and the looks around it.
const ASLEEP: Duration = Duration::from_secs(150);

/// Where the README's pictures are, when they shall be made anew.
fn pictures() -> Option<PathBuf> {
    let wanted = std::env::var("ROOST_PICTURES").is_ok_and(|value| value == "1");
    wanted.then(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/pictures"))
}

fn player(address: &str) -> (BufReader<TcpStream>, TcpStream) {
    let stream = TcpStream::connect(address).expect("the door opens");
    stream.set_read_timeout(Some(AWAKE)).expect("set");
    (BufReader::new(stream.try_clone().expect("cloned")), stream)
}

fn read_until(reader: &mut BufReader<TcpStream>, text: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        let read = reader.read_line(&mut line).unwrap_or_else(|error| panic!("waiting for {text:?}: {error}"));
        assert!(read > 0, "the door closed before {text:?}");
        if line.contains(text) {
            return line;
        }
    }
}

/// Fills the form in and sends it; gives the new server's id.
async fn make(window: &Window, name: &str) -> String {
    window.go("/servers/create").await;
    window.click("a[href^='/servers/create?game=demo']").await;
    window.fill("input[name=name]", name).await;
    window.fill("input[name=idle_minutes]", "1").await;
    window.click("form#form button.warm").await;
    window.sees("#title", name, SOON).await;
    window.path().await.trim_start_matches("/servers/").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_makes_a_server_plays_leaves_and_it_sleeps_until_the_next_player() {
    let name = "a_newcomer_makes_a_server_plays_leaves_and_it_sleeps_until_the_next_player";
    let (Some(engine), Some(browser)) = (services::docker(name), services::browser(name)) else { return };
    let program = Program::start(&engine, &[("AUTO_SLEEP_INTERVAL", "2s"), ("AWAKE_MINUTES", "0"), ("BILLING_INTERVAL", "1s")]);
    let window = Window::open(&browser, &program.url, 1280).await;

    // An account.
    window.go("/auth/register").await;
    window.fill("input[name=email]", "ada@example.org").await;
    window.fill("input[name=password]", "correct horse battery").await;
    window.click("form[action='/auth/register'] button").await;
    window.sees("h1", "", SOON).await;
    assert_eq!(window.path().await, "/dashboard");

    // A server.
    window.click("a[href^='/servers/create']").await;
    let id = make(&window, "Valley of Echoes").await;
    program.made.lock().expect("whole").insert(id.clone());
    window.sees("#head .state", "Awake", AWAKE).await;
    let address = window.text("#head .address code").await;

    // A player, the log live, and a word from the console.
    let (mut reader, mut stream) = player(&address);
    read_until(&mut reader, "Welcome");
    stream.write_all(b"is anybody there?\n").expect("said");
    window.sees("#log", "is anybody there?", SOON).await;
    window.fill("#line", "say good evening").await;
    window.click("#console button").await;
    read_until(&mut reader, "good evening");
    window.sees("#stats", "1", SOON).await;
    if let Some(folder) = pictures() {
        // The charts want a few measurements, and the history of a server that has lived a little.
        tokio::time::sleep(Duration::from_mins(1)).await;
        window.client.execute("window.scrollTo(0, 0)", Vec::new()).await.expect("scrolled");
        window.picture(&folder.join("server.png")).await;
    }

    // The player leaves; it falls asleep by itself, on a page that nobody reloads.
    drop((reader, stream));
    window.sees("#head .state", "Asleep", ASLEEP).await;
    assert_eq!(docker(&["inspect", "-f", "{{.State.Running}}", &format!("roost-{id}-game")]).trim(), "false");

    // The next one wakes it and is held until it answers.
    let begin = Instant::now();
    let (mut reader, stream) = player(&address);
    read_until(&mut reader, "Welcome");
    println!("the sleeping server answered after {:?}", begin.elapsed());
    window.sees("#head .state", "Awake", AWAKE).await;
    drop((reader, stream));

    // What it cost, in words.
    let begin = Instant::now();
    loop {
        window.go("/billing").await;
        if window.text("main").await.contains("Valley of Echoes ran") {
            break;
        }
        assert!(begin.elapsed() < SOON, "the run is never charged");
    }
    window.go("/dashboard").await;
    window.sees("main", "Valley of Echoes", SOON).await;
    if let Some(folder) = pictures() {
        for (name, path) in [("Harbour at Dawn", "hibernate"), ("Night Shift", "stop"), ("Tuesday Crew", "restart")] {
            let id = make(&window, name).await;
            program.made.lock().expect("whole").insert(id.clone());
            window.sees("#head .state", "Awake", AWAKE).await;
            window.click(&format!("form[action='/servers/{id}/{path}'] button")).await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        window.go("/dashboard").await;
        window.picture(&folder.join("dashboard.png")).await;
    }

    // And away with it.
    window.go(&format!("/servers/{id}")).await;
    window.click("#delete summary").await;
    window.fill("#delete input[name=confirm]", "Valley of Echoes").await;
    window.click("#delete button.danger").await;
    let begin = Instant::now();
    while docker(&["ps", "-a", "--format", "{{.Names}}"]).contains(&id) || docker(&["network", "ls", "--format", "{{.Name}}"]).contains(&id)
    {
        assert!(begin.elapsed() < AWAKE, "containers and network are still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks with the game's own program; true when it was answered.
fn answers(program: &str, arguments: &[&str], expected: &str) -> bool {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    said.contains(expected)
}

fn asked_until_answered(program: &str, arguments: &[&str], expected: &str, within: Duration) {
    let begin = Instant::now();
    while !answers(program, arguments, expected) {
        assert!(begin.elapsed() < within, "{program} {arguments:?} gets no answer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_real_games_wake_for_their_own_clients() {
    let name = "two_real_games_wake_for_their_own_clients";
    let (Some(engine), Some(_)) = (services::docker(name), services::games(name)) else { return };
    let games = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/games");
    let program = Program::start(&engine, &[("GAMES_DIR", games)]);
    let api = Api::register(&program, "ada@example.org").await;
    for (game, client) in [("bzflag", "bzfquery"), ("openarena", "quakestat")] {
        let id = api.create(game, game, "small").await;
        let awake = api.wait_phase(&id, "running", AWAKE).await;
        let address = format!("127.0.0.1:{}", port(&awake));
        let (arguments, expected): (Vec<&str>, &str) = match game {
            "bzflag" => (vec![&address], "style"),
            _ => (vec!["-q3s", &address, "-retry", "1", "-interval", "2"], "oa_dm1"),
        };
        asked_until_answered(client, &arguments, expected, AWAKE);
        assert_eq!(api.power(&id, "hibernate").await.0, 202);
        api.wait_phase(&id, "sleeping", AWAKE).await;
        asked_until_answered(client, &arguments, expected, AWAKE);
        let woken = api.wait_phase(&id, "running", AWAKE).await;
        assert_eq!(woken["wanted"], "running");
        assert_eq!(api.ask(reqwest::Method::DELETE, &format!("/api/servers/{id}"), None).await.0, 202);
        api.wait_gone(&id, AWAKE).await;
    }
}
