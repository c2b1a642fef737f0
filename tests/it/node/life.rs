//! A whole life, and what commands promise: each may be asked twice, and an old one undoes nothing.

use roost::model::servers::Seen;
use roost::wire::agent::{Action, EventKind, FromNode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::site::{Site, docker, docker_is_wanted, prepare};

#[tokio::test]
async fn a_server_lives_from_prepare_to_destroy() {
    if !docker_is_wanted("a_server_lives_from_prepare_to_destroy") {
        return;
    }
    let mut site = Site::open(true).await;
    let specs = site.until("register_node", |message| match message {
        FromNode::RegisterNode { specs, .. } => Some(specs.clone()),
        FromNode::Heartbeat { .. } | FromNode::WantUrl { .. } | FromNode::LayersLook { .. } | FromNode::Event(_) => None,
    });
    let specs = specs.await;
    assert!(specs.engine.starts_with("Docker ") && specs.cpu_millis >= 1_000 && !specs.system.is_empty(), "{specs:?}");

    let (spec, report) = site.prepared().await;
    assert_eq!((report.seen, report.revision.as_str()), (Seen::Asleep, spec.revision().as_str()));
    let game = format!("roost-{}-game", spec.server);
    let limits = docker(&[
        "inspect",
        "-f",
        "{{.HostConfig.Privileged}} {{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}",
        &game,
    ]);
    assert_eq!(limits, "false [ALL] [] [no-new-privileges:true] 67108864 67108864 500000000 512 no");

    let report = site.start(&spec.server).await;
    assert!(matches!(report.seen, Seen::Running { .. }), "{report:?}");
    assert_eq!(report.runs.len(), 1);
    let mut client = TcpStream::connect(("127.0.0.1", spec.ports[0].public)).await.unwrap();
    let mut hello = vec![0; 14];
    client.read_exact(&mut hello).await.unwrap();
    assert_eq!(hello, b"hello '\"; $(x)", "the environment arrives as it was written");
    client.write_all(b"hi\n").await.unwrap();
    let sample = site.report("a whole measurement", &spec.server, |report| {
        report.sample.filter(|sample| sample.cpu_millis.is_some() && sample.players.is_some())
    });
    let sample = sample.await;
    assert!(sample.memory_mib.is_some_and(|mib| mib < 64), "{sample:?}");
    drop(client);

    let report = site.put_to_sleep(&spec.server).await;
    assert_eq!(report.seen, Seen::Asleep);
    let run = *report.runs.last().unwrap();
    assert!(run.to.is_some_and(|to| to > run.from), "{run:?}");

    let stopped = site.ask(&spec.server, Action::StopInstance { keep_door: false, unless_busy: false }).await;
    assert!(matches!(stopped, EventKind::Stopped(report) if report.seen == Seen::Absent && report.revision.is_empty()));
    assert_eq!(site.left(), [""; 0]);
    assert!(site.home(&spec.server).join("data").is_dir(), "the data stay");

    assert_eq!(site.ask(&spec.server, Action::DestroyInstance).await, EventKind::Destroyed);
    assert!(!site.home(&spec.server).exists());
    let seen = site.report("gone", &spec.server, |report| (report.seen == Seen::Gone).then_some(())).await;
    assert_eq!(seen, ());
}

#[tokio::test]
async fn a_command_asked_twice_is_answered_alike_and_an_old_one_is_refused() {
    if !docker_is_wanted("a_command_asked_twice_is_answered_alike_and_an_old_one_is_refused") {
        return;
    }
    let mut site = Site::open(false).await;
    let spec = site.demo();
    let id = site.command(&spec.server, prepare(&spec)).await;
    assert!(matches!(site.answer(&id).await, EventKind::Prepared(_)));
    let generation = site.generation();
    site.start(&spec.server).await;
    let started = docker(&["inspect", "-f", "{{.State.StartedAt}}", &format!("roost-{}-game", spec.server)]);

    let start = site.command(&spec.server, Action::StartInstance).await;
    assert!(matches!(site.answer(&start).await, EventKind::Running(_)));
    site.command_as(&start, site.generation(), &spec.server, Action::StartInstance).await;
    assert!(matches!(site.answer(&start).await, EventKind::Running(report) if report.runs.len() == 1));

    let late = "anoldcommand".parse().unwrap();
    site.command_as(&late, generation, &spec.server, Action::DestroyInstance).await;
    let answer = site.answer(&late).await;
    assert!(matches!(answer, EventKind::Failed { retryable: false, .. }), "{answer:?}");
    assert_eq!(docker(&["inspect", "-f", "{{.State.StartedAt}}", &format!("roost-{}-game", spec.server)]), started);

    assert_eq!(site.ask(&spec.server, Action::DestroyInstance).await, EventKind::Destroyed);
    assert_eq!(site.ask(&spec.server, Action::DestroyInstance).await, EventKind::Destroyed);
    site.command_as(&"older".parse().unwrap(), generation, &spec.server, prepare(&spec)).await;
    let answer = site.answer(&"older".parse().unwrap()).await;
    assert!(matches!(answer, EventKind::Failed { retryable: false, .. }), "an old prepare does not bring a destroyed server back");
    assert_eq!(site.left(), [""; 0]);
}
