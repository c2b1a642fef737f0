//! Backups of servers whose games run, or are woken meanwhile.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use roost::model::games::{Ready, Save};
use roost::model::servers::Seen;
use roost::wire::agent::{Action, EventKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::busybox;
use super::super::site::docker;
use super::vault::{self, fresh, noise, order, refused, site};

fn paused(server: &impl std::fmt::Display) -> bool {
    docker(&["inspect", "-f", "{{.State.Paused}}", &format!("roost-{server}-game")]) == "true"
}

async fn greeted(port: u16) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut text = [0; 5];
    tokio::time::timeout(Duration::from_secs(20), client.read_exact(&mut text)).await.expect("the game greets").unwrap();
    assert_eq!(&text, b"hello");
    client
}

#[tokio::test]
async fn a_running_game_is_held_for_a_moment_and_its_players_stay() {
    let Some(vault) = vault::open("a_running_game_is_held_for_a_moment_and_its_players_stay").await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    noise(&site.home(&spec.server).join("data/large"), 12 << 20);
    site.start(&spec.server).await;
    let mut client = greeted(spec.ports[0].public).await;
    let begin = docker(&["info", "-f", "{{.SystemTime}}"]);
    let (backup, archived) = vault.back_up(&mut site, &spec.server).await;
    assert_eq!((archived.note, backup.unpacked >= 12 << 20), (None, true));
    let name = format!("roost-{}-game", spec.server);
    let until = docker(&["info", "-f", "{{.SystemTime}}"]);
    let filter = format!("container={name}");
    let format = "{{.Action}} {{.TimeNano}}";
    let events = docker(&["events", "--since", &begin, "--until", &until, "--filter", &filter, "--format", format]);
    let at = |action: &str| -> i64 {
        let line = events.lines().find(|line| line.starts_with(action)).unwrap_or_else(|| panic!("no {action} in {events}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let held = Duration::from_nanos((at("unpause") - at("pause")).try_into().unwrap());
    assert!(held < Duration::from_secs(5), "held for {held:?}");
    client.write_all(b"still here\n").await.unwrap();
    let mut said = Vec::new();
    let heard = async {
        let mut buffer = [0; 1_024];
        while !String::from_utf8_lossy(&said).contains("still here") {
            let read = client.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the connection ended");
            said.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.expect("the game answers");
    let running = site.report("running", &spec.server, |report| matches!(report.seen, Seen::Running { .. }).then_some(report.runs.len()));
    assert_eq!(running.await, 1);
}

#[tokio::test]
async fn a_game_held_by_an_agent_that_was_killed_is_let_go() {
    let Some(vault) = vault::open("a_game_held_by_an_agent_that_was_killed_is_let_go").await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    // More than fits into memory, while no part is taken.
    noise(&site.home(&spec.server).join("data/large"), 60 << 20);
    site.start(&spec.server).await;
    vault.silent.store(true, Ordering::SeqCst);
    site.command(&spec.server, order(&fresh(), None)).await;
    site.until("the first part", |_| (!vault.asked.lock().unwrap().is_empty()).then_some(())).await;
    assert!(paused(&spec.server));
    site.kill();
    assert!(paused(&spec.server), "nobody lets it go");
    site.switch_on();
    site.welcome().await;
    site.until("it plays", |_| (!paused(&spec.server)).then_some(())).await;

    // A stop lets go as well, and is not held up.
    site.command(&spec.server, order(&fresh(), None)).await;
    site.until("it is held", |_| paused(&spec.server).then_some(())).await;
    let begin = Instant::now();
    let stopped = site.put_to_sleep(&spec.server).await;
    assert!(stopped.seen == Seen::Asleep && begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_game_is_held_for_twenty_seconds_at_most_and_the_rest_is_read_while_it_plays() {
    let test = "a_game_is_held_for_twenty_seconds_at_most_and_the_rest_is_read_while_it_plays";
    let Some(vault) = vault::open(test).await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    noise(&site.home(&spec.server).join("data/large"), 60 << 20);
    site.start(&spec.server).await;
    vault.silent.store(true, Ordering::SeqCst);
    let backup = fresh();
    let id = site.command(&spec.server, order(&backup, None)).await;
    site.until("it is held", |_| paused(&spec.server).then_some(())).await;
    let begin = Instant::now();
    site.until("it plays", |_| (!paused(&spec.server)).then_some(())).await;
    assert!((15..28).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    std::fs::OpenOptions::new().write(true).open(site.home(&spec.server).join("data/large")).unwrap().set_len(58 << 20).unwrap();
    vault.silent.store(false, Ordering::SeqCst);
    let answer = site.answer(&id).await;
    let EventKind::BackedUp(archived) = answer else { panic!("{answer:?}") };
    let note = archived.note.clone().unwrap();
    assert!(note.contains("1 file changed while they were read: large") && note.contains("held still for 20 seconds"), "{note}");
    let backup = vault.finish(&spec.server, &archived).await;
    assert!(backup.unpacked >= 60 << 20);
    vault::restore(&mut site, &spec.server, &backup).await;
    assert_eq!(std::fs::metadata(site.home(&spec.server).join("data/large")).unwrap().len(), 60 << 20, "its length is what was announced");
}

#[tokio::test]
async fn a_wake_breaks_a_backup_off_and_does_not_wait_for_it() {
    let Some(vault) = vault::open("a_wake_breaks_a_backup_off_and_does_not_wait_for_it").await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    noise(&site.home(&spec.server).join("data/large"), 60 << 20);
    vault.silent.store(true, Ordering::SeqCst);
    let id = site.command(&spec.server, order(&fresh(), None)).await;
    site.until("the first part", |_| (!vault.asked.lock().unwrap().is_empty()).then_some(())).await;
    let begin = Instant::now();
    drop(greeted(spec.ports[0].public).await);
    let woken = begin.elapsed();
    let (words, retryable) = refused(&mut site, &id).await;
    assert!(words.contains("woken") && retryable, "{words}");
    assert!(woken < Duration::from_secs(3), "woken after {woken:?}");
    vault.silent.store(false, Ordering::SeqCst);
    site.report("running", &spec.server, |report| matches!(report.seen, Seen::Running { .. }).then_some(())).await;
    vault.back_up(&mut site, &spec.server).await;
}

#[tokio::test]
async fn a_game_that_can_save_is_told_to_and_is_not_held() {
    let Some(vault) = vault::open("a_game_that_can_save_is_told_to_and_is_not_held").await else { return };
    let mut site = site(&vault).await;
    busybox::image();
    let mut spec = site.demo();
    spec.image = busybox::IMAGE.to_owned();
    // Says what it hears, and saves after a while.
    let script = "echo open; while read line; do echo \"heard $line\"; \
        if [ \"$line\" = save-all ]; then /busybox sleep 1; echo saved > /data/level; echo 'Saved the game'; fi; done";
    spec.args = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
    spec.ready = Ready::LogLine { contains: "open".to_owned() };
    site.prepare(&spec).await;
    site.start(&spec.server).await;
    let lines = |list: &[&str]| list.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let save = Save {
        before: lines(&["save-off", "save-all"]),
        done: Some("Saved the game".to_owned()),
        wait_secs: 20,
        after: lines(&["save-on"]),
    };
    let answer = site.ask(&spec.server, order(&fresh(), Some(save.clone()))).await;
    let EventKind::BackedUp(archived) = answer else { panic!("{answer:?}") };
    assert_eq!(archived.note, None);
    let backup = vault.finish(&spec.server, &archived).await;
    let name = format!("roost-{}-game", spec.server);
    let begin = Instant::now();
    while !docker(&["logs", &name]).contains("heard save-on") {
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
    let log = docker(&["logs", &name]);
    assert!(log.contains("heard save-off\nheard save-all\nSaved the game\nheard save-on"), "{log}");
    vault::restore(&mut site, &spec.server, &backup).await;
    let level = std::fs::read_to_string(site.home(&spec.server).join("data/level")).unwrap();
    assert_eq!(level, "saved\n", "it was read after it was saved");

    // One that never says it is waited for as long as was said, and is told to go on as well.
    site.start(&spec.server).await;
    let deaf = Save { done: Some("never said".to_owned()), wait_secs: 1, ..save };
    let answer = site.ask(&spec.server, order(&fresh(), Some(deaf))).await;
    assert!(
        matches!(&answer, EventKind::BackedUp(archived) if archived.note.as_ref().unwrap().contains("did not say within 1 seconds")),
        "{answer:?}"
    );
    let stop = Action::StopInstance { keep_door: true, unless_busy: false };
    assert!(matches!(site.ask(&spec.server, stop).await, EventKind::Stopped(_)));
}
