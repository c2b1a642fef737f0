//! An engine that goes away and comes back, seen through a socket of the test's own; and many servers at once.

use std::path::Path;
use std::time::Duration;

use roost::model::servers::Seen;
use roost::wire::agent::{Action, EventKind, FromNode};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::site::{PATIENCE, Site, docker, docker_is_wanted, prepare};

/// Passes everything on to the real engine until it is dropped, and every connection with it.
fn passage(path: &Path) -> JoinSet<()> {
    let _old = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            open.spawn(async move {
                if let Ok(mut far) = UnixStream::connect("/var/run/docker.sock").await {
                    let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    tasks
}

#[tokio::test]
async fn an_engine_that_comes_back_is_found_again_with_what_happened_meanwhile() {
    if !docker_is_wanted("an_engine_that_comes_back_is_found_again_with_what_happened_meanwhile") {
        return;
    }
    let mut site = Site::new(false);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    site.config.docker_socket = Some(socket.to_str().unwrap().to_owned());
    let mut engine = passage(&socket);
    site.switch_on();
    site.welcome().await;
    let (spec, _) = site.prepared().await;
    site.start(&spec.server).await;

    engine.shutdown().await;
    let away = site.until("an incomplete heartbeat", |message| match message {
        FromNode::Heartbeat { complete: false, load, instances, .. } => Some((load.trouble.clone(), instances[0].seen)),
        FromNode::Heartbeat { .. }
        | FromNode::RegisterNode { .. }
        | FromNode::WantUrl { .. }
        | FromNode::LayersLook { .. }
        | FromNode::Event(_) => None,
    });
    let (trouble, seen) = away.await;
    assert!(trouble.is_some_and(|words| words.contains("systemctl start docker")));
    assert!(matches!(seen, Seen::Running { .. }), "the last known state is told as it was: {seen:?}");
    let answer = site.ask(&spec.server, Action::StopInstance { keep_door: true, unless_busy: false }).await;
    assert!(matches!(answer, EventKind::Failed { retryable: true, .. }), "{answer:?}");
    let game = format!("roost-{}-game", spec.server);
    docker(&["kill", &game]);
    let finished = docker(&["inspect", "-f", "{{.State.FinishedAt}}", &game]);

    let _engine = passage(&socket);
    let report = site.event("its end", &spec.server, |event| match &event.kind {
        EventKind::Exited(report) => Some(report.clone()),
        _ => None,
    });
    let report = report.await;
    let Seen::Exited { code: 137, oom: false, at } = report.seen else { panic!("{report:?}") };
    assert_eq!(report.runs.last().unwrap().to, Some(at));
    assert!(finished.contains(&format!(".{:03}", at.0 % 1_000)), "Docker's own word counts: {finished} {at}");
    site.until("a complete heartbeat", |message| matches!(message, FromNode::Heartbeat { complete: true, .. }).then_some(())).await;
    site.start(&spec.server).await;
}

#[tokio::test]
async fn servers_do_not_wait_for_each_other() {
    if !docker_is_wanted("servers_do_not_wait_for_each_other") {
        return;
    }
    let mut site = Site::open(false).await;
    let mut slow = site.demo();
    slow.env.insert("START_DELAY_MS".to_owned(), "15000".to_owned());
    slow.stop.command = Some("what".to_owned());
    site.prepare(&slow).await;
    let waiting = site.command(&slow.server, Action::StartInstance).await;
    let quick: Vec<_> = (0..5).map(|_| site.demo()).collect();
    for spec in &quick {
        site.command(&spec.server, prepare(spec)).await;
        site.command(&spec.server, Action::StartInstance).await;
    }
    let all_quick_run = |site: &Site| {
        quick.iter().all(|spec| site.events.iter().any(|event| event.server == spec.server && matches!(event.kind, EventKind::Running(_))))
    };
    let all = async {
        while !all_quick_run(&site) {
            site.next().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all quick servers run");
    assert!(!site.events.iter().any(|event| event.command.as_ref() == Some(&waiting) && event.kind != EventKind::Accepted));
    // A start that waits is given up for a stop, at once and not at its deadline.
    let stop = site.command(&slow.server, Action::StopInstance { keep_door: false, unless_busy: false }).await;
    let given_up = tokio::time::timeout(Duration::from_secs(20), site.answer(&waiting)).await.unwrap();
    assert!(matches!(&given_up, EventKind::Failed { .. } | EventKind::Running(_)), "{given_up:?}");
    assert!(matches!(site.answer(&stop).await, EventKind::Stopped(report) if report.seen == Seen::Absent));
}
