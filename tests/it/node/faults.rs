//! What goes wrong: games that end by themselves, containers that others remove, ports and ranges that others hold, kills at any moment.

use std::net::TcpListener;
use std::time::Duration;

use roost::model::games::{Protocol, Ready};
use roost::model::servers::Seen;
use roost::wire::agent::{Action, EventKind, FromNode, ToNode};

use super::site::{Site, docker, docker_is_wanted, prepare};

#[tokio::test]
async fn a_crash_is_told_with_its_code_and_ends_the_run() {
    if !docker_is_wanted("a_crash_is_told_with_its_code_and_ends_the_run") {
        return;
    }
    let mut site = Site::open(false).await;
    let (spec, _) = site.prepared().await;
    site.start(&spec.server).await;
    site.send(ToNode::ConsoleInput { server: spec.server.clone(), line: "crash 7".to_owned() }).await;
    let report = site.event("exited", &spec.server, |event| match &event.kind {
        EventKind::Exited(report) => Some(report.clone()),
        _ => None,
    });
    let report = report.await;
    let Seen::Exited { code: 7, oom: false, at } = report.seen else { panic!("{report:?}") };
    assert_eq!(report.runs.last().unwrap().to, Some(at));
    let report = site.start(&spec.server).await;
    assert_eq!(report.runs.len(), 2, "a crashed game can be started again");
}

#[tokio::test]
async fn a_game_that_ends_before_it_answers_fails_its_start_with_the_code() {
    if !docker_is_wanted("a_game_that_ends_before_it_answers_fails_its_start_with_the_code") {
        return;
    }
    let mut site = Site::open(false).await;
    let mut spec = site.demo();
    spec.args = ["/roost-proxy", "nonsense"].map(str::to_owned).to_vec();
    site.prepare(&spec).await;
    let answer = site.ask(&spec.server, Action::StartInstance).await;
    let EventKind::Failed { reason, retryable: true, report: Some(report) } = answer else { panic!("{answer:?}") };
    assert!(reason.contains("exit code 2"), "{reason}");
    assert!(matches!(report.seen, Seen::Exited { code: 2, .. }), "{report:?}");
    assert!(report.runs.is_empty(), "what never answered is not paid for");
}

#[tokio::test]
async fn a_game_that_never_answers_is_ended_at_its_deadline() {
    if !docker_is_wanted("a_game_that_never_answers_is_ended_at_its_deadline") {
        return;
    }
    let mut site = Site::open(false).await;
    let mut spec = site.demo();
    (spec.ready, spec.ready_within_secs) = (Ready::TcpAccept { port: 9 }, 2);
    site.prepare(&spec).await;
    let answer = site.ask(&spec.server, Action::StartInstance).await;
    let EventKind::Failed { reason, retryable: true, report: Some(report) } = answer else { panic!("{answer:?}") };
    assert!(reason.contains("within 2 seconds"), "{reason}");
    assert_eq!((report.seen, report.runs.len()), (Seen::Asleep, 0));
}

#[tokio::test]
async fn readiness_is_seen_by_datagram_and_by_log_line() {
    if !docker_is_wanted("readiness_is_seen_by_datagram_and_by_log_line") {
        return;
    }
    let mut site = Site::open(false).await;
    for ready in [Ready::UdpAnswer { port: 7777, send_hex: "ffff".to_owned() }, Ready::LogLine { contains: "The room is open".to_owned() }]
    {
        let mut spec = site.demo();
        spec.env.insert("START_DELAY_MS".to_owned(), "700".to_owned());
        spec.ready = ready;
        site.prepare(&spec).await;
        let id = site.command(&spec.server, Action::StartInstance).await;
        let starting = site.event("starting", &spec.server, |event| match &event.kind {
            EventKind::Accepted => Some(()),
            _ => None,
        });
        starting.await;
        let answer = site.answer(&id).await;
        let EventKind::Running(report) = answer else { panic!("{answer:?}") };
        let game = docker(&["inspect", "-f", "{{.State.StartedAt}}", &format!("roost-{}-game", spec.server)]);
        let second = |text: &str| text[17..23].parse::<f64>().unwrap();
        let from = report.runs[0].from.0 % 60_000;
        #[expect(clippy::cast_precision_loss, reason = "less than 60,000")]
        let waited = (from as f64 / 1_000.0 - second(&game)).rem_euclid(60.0);
        assert!((0.69..3.0).contains(&waited), "ready {waited} s after the start, with a delay of 0.7 s");
    }
}

#[tokio::test]
async fn too_much_memory_is_told_apart_from_a_crash() {
    if !docker_is_wanted("too_much_memory_is_told_apart_from_a_crash") {
        return;
    }
    let mut site = Site::open(false).await;
    super::busybox::image();
    let mut spec = site.demo();
    spec.image = super::busybox::IMAGE.to_owned();
    // `tail` keeps an endless line in memory.
    spec.args = ["/busybox", "sh", "-c", "/busybox sleep 1; exec /busybox tail /dev/zero"].map(str::to_owned).to_vec();
    spec.memory_mib = 16;
    site.prepare(&spec).await;
    let answer = site.ask(&spec.server, Action::StartInstance).await;
    let EventKind::Failed { reason, report: Some(report), .. } = answer else { panic!("{answer:?}") };
    assert!(matches!(report.seen, Seen::Exited { oom: true, .. }), "{report:?}");
    assert!(reason.contains("16 MiB"), "{reason}");
}

#[tokio::test]
async fn a_container_removed_behind_our_back_is_told_and_made_again() {
    if !docker_is_wanted("a_container_removed_behind_our_back_is_told_and_made_again") {
        return;
    }
    let mut site = Site::open(false).await;
    let (spec, _) = site.prepared().await;
    site.start(&spec.server).await;
    docker(&["rm", "-f", &format!("roost-{}-game", spec.server)]);
    let report = site.event("its end", &spec.server, |event| match &event.kind {
        EventKind::Exited(report) if report.seen == Seen::Absent => Some(report.clone()),
        _ => None,
    });
    let report = report.await;
    assert!(report.runs.iter().all(|run| run.to.is_some()), "{report:?}");
    site.prepare(&spec).await;
    site.start(&spec.server).await;

    docker(&["rm", "-f", &format!("roost-{}-door", spec.server)]);
    let door = format!("roost-{}-door", spec.server);
    let healed = site.until("a new sidecar", |_| super::site::program("docker", &["inspect", &door]).0.then_some(()));
    healed.await;
    let running = site.report("running", &spec.server, |report| matches!(report.seen, Seen::Running { .. }).then_some(report.runs.len()));
    assert_eq!(running.await, 2, "the game ran on without its door");
}

#[tokio::test]
async fn a_game_or_sidecar_that_loses_its_network_gets_it_back_and_the_game_runs_on() {
    if !docker_is_wanted("a_game_or_sidecar_that_loses_its_network_gets_it_back_and_the_game_runs_on") {
        return;
    }
    let mut site = Site::open(false).await;
    let (spec, _) = site.prepared().await;
    site.start(&spec.server).await;
    let network = format!("roost-{}", spec.server);
    let networks = |name: &str| docker(&["inspect", "-f", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}", name]);
    let started = |name: &str| docker(&["inspect", "-f", "{{.State.StartedAt}}", name]);
    let game = format!("{network}-game");
    let before = started(&game);
    for part in ["game", "door"] {
        let name = format!("{network}-{part}");
        docker(&["network", "disconnect", "-f", &network, &name]);
        assert_eq!(networks(&name).trim(), "", "it is cut off");
        // Whatever is asked next, or the look of every minute, finds it.
        site.start(&spec.server).await;
        site.until("its network again", |_| (networks(&name).trim() == network).then_some(())).await;
        let port = spec.ports[0].public;
        site.until("an open port", |_| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())).await;
    }
    assert_eq!(started(&game), before, "the game ran on");
}

/// Sends a signal to every process of a game.
fn signal_all(game: &str, signal: rustix::process::Signal) {
    for id in docker(&["top", game, "-o", "pid"]).lines().skip(1) {
        let pid = id.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process");
        rustix::process::kill_process(pid, signal).expect("it is there");
    }
}

#[tokio::test]
async fn a_game_that_hangs_is_told_apart_from_one_that_runs() {
    if !docker_is_wanted("a_game_that_hangs_is_told_apart_from_one_that_runs") {
        return;
    }
    let mut site = Site::new(false);
    site.config.look_every = std::time::Duration::from_secs(1);
    site.switch_on();
    site.welcome().await;
    let (spec, _) = site.prepared().await;
    site.start(&spec.server).await;
    let game = format!("roost-{}-game", spec.server);
    let answers = site
        .report("a game that answers", &spec.server, |report| matches!(report.seen, Seen::Running { .. }).then_some(report.silent_since));
    assert_eq!(answers.await, None);
    signal_all(&game, rustix::process::Signal::STOP);
    site.report("a game that hangs", &spec.server, |report| report.silent_since).await;
    signal_all(&game, rustix::process::Signal::CONT);
    let again = |report: &roost::wire::agent::InstanceReport| report.silent_since.is_none().then_some(report.runs.clone());
    let runs = site.report("a game that answers again", &spec.server, again).await;
    assert!(runs.len() == 1 && runs[0].to.is_none(), "it ran all the while: {runs:?}");
}

#[tokio::test]
async fn a_port_or_range_that_somebody_else_has_is_named() {
    if !docker_is_wanted("a_port_or_range_that_somebody_else_has_is_named") {
        return;
    }
    let mut site = Site::open(false).await;
    let spec = site.demo();
    let port = spec.ports[0].public;
    let foreign = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let answer = site.ask(&spec.server, prepare(&spec)).await;
    let EventKind::Failed { reason, retryable: true, .. } = answer else { panic!("{answer:?}") };
    assert!(reason.contains(&format!("Port {port} ")), "{reason}");
    drop(foreign);
    site.prepare(&spec).await;

    let mut other = site.demo();
    other.subnet = spec.subnet;
    let answer = site.ask(&other.server, prepare(&other)).await;
    let EventKind::Failed { reason, retryable: true, .. } = answer else { panic!("{answer:?}") };
    assert!(reason.contains("/29"), "{reason}");
    other.subnet = 9_999;
    let answer = site.ask(&other.server, prepare(&other)).await;
    assert!(matches!(answer, EventKind::Failed { retryable: false, .. }), "{answer:?}");
    (other.subnet, other.capabilities) = (7, vec!["SYS_ADMIN".to_owned()]);
    let answer = site.ask(&other.server, prepare(&other)).await;
    assert!(matches!(answer, EventKind::Failed { retryable: false, .. }), "{answer:?}");
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_explained() {
    if !docker_is_wanted("an_image_that_cannot_be_pulled_is_explained") {
        return;
    }
    let mut site = Site::open(false).await;
    let mut spec = site.demo();
    // Nobody listens there: a registry that cannot be reached.
    spec.image = "127.0.0.1:9/nobody/nothing:1".to_owned();
    let id = site.command(&spec.server, prepare(&spec)).await;
    let progress = site.event("progress", &spec.server, |event| match &event.kind {
        EventKind::Progress { text, .. } => Some(text.clone()),
        _ => None,
    });
    assert!(progress.await.starts_with("pulling 127.0.0.1:9/nobody/nothing"));
    let answer = site.answer(&id).await;
    let EventKind::Failed { reason, retryable: true, .. } = answer else { panic!("{answer:?}") };
    assert!(reason.contains("cannot be reached from this node"), "{reason}");
}

#[tokio::test]
async fn servers_that_the_panel_does_not_know_go_but_their_data_stay() {
    if !docker_is_wanted("servers_that_the_panel_does_not_know_go_but_their_data_stay") {
        return;
    }
    let mut site = Site::open(false).await;
    let (known, _) = site.prepared().await;
    let (orphan, _) = site.prepared().await;
    site.start(&orphan.server).await;
    std::fs::write(site.home(&orphan.server).join("data").join("world"), "precious").unwrap();
    let stranger = format!("stranger-{}", site.panel);
    docker(&["create", "--name", &stranger, "--label", "roost.panel=another", "--label", "roost.server=another", "roost/demo:1"]);
    site.kill();
    site.servers.retain(|server| *server == known.server);
    site.switch_on();
    site.welcome().await;
    let name = format!("roost-{}", orphan.server);
    let mut left = Vec::new();
    for _ in 0..6 {
        site.until("a heartbeat", |message| matches!(message, FromNode::Heartbeat { .. }).then_some(())).await;
        left = site.left();
        if !left.iter().any(|left| left.starts_with(&name)) {
            break;
        }
    }
    assert_eq!(left.len(), 3, "{left:?}");
    let stays = docker(&["ps", "-aq", "--filter", &format!("name={stranger}")]);
    docker(&["rm", "-f", &stranger]);
    assert!(!stays.is_empty(), "another panel's container is not touched");
    let orphans = site.config.data_dir.join("orphans");
    let aside = || std::fs::read_dir(&orphans).ok().and_then(|mut all| all.next()).map(|entry| entry.unwrap().path());
    let aside = site.until("its data aside", |_| aside()).await;
    assert_eq!(std::fs::read_to_string(aside.join("data").join("world")).unwrap(), "precious");
}

#[tokio::test]
async fn an_agent_killed_at_any_moment_ends_where_the_panel_wants_it() {
    if !docker_is_wanted("an_agent_killed_at_any_moment_ends_where_the_panel_wants_it") {
        return;
    }
    let mut site = Site::open(false).await;
    let spec = site.demo();
    let stop = |keep_door| Action::StopInstance { keep_door, unless_busy: false };
    let story =
        [prepare(&spec), Action::StartInstance, stop(true), Action::StartInstance, stop(false), prepare(&spec), Action::DestroyInstance];
    // One kill within each step, each time a little later in it.
    for (n, action) in story.iter().cycle().take(3 * story.len()).enumerate() {
        let id = site.command(&spec.server, action.clone()).await;
        tokio::time::sleep(Duration::from_millis(u64::try_from(n * 37 % 400).unwrap())).await;
        site.kill();
        site.switch_on();
        site.welcome().await;
        let generation = site.generation();
        site.command_as(&id, generation, &spec.server, action.clone()).await;
        let answer = site.answer(&id).await;
        let as_wanted = match (&answer, action) {
            (EventKind::Prepared(report), Action::PrepareInstance { .. }) => report.seen == Seen::Asleep,
            (EventKind::Running(report), Action::StartInstance) => matches!(report.seen, Seen::Running { .. }),
            (EventKind::Stopped(report), Action::StopInstance { keep_door: true, .. }) => report.seen == Seen::Asleep,
            (EventKind::Stopped(report), Action::StopInstance { keep_door: false, .. }) => report.seen == Seen::Absent,
            (EventKind::Destroyed, Action::DestroyInstance) => site.left().is_empty(),
            _ => false,
        };
        assert!(as_wanted, "step {n}: {action:?} was answered {answer:?}");
        if let EventKind::Stopped(report) = &answer {
            let runs = &report.runs;
            assert!(runs.iter().all(|run| run.to.is_some()), "step {n}: {runs:?}");
            assert!(runs.windows(2).all(|pair| pair[0].to.unwrap() <= pair[1].from), "step {n}: runs overlap: {runs:?}");
        }
    }
    assert_eq!(site.left(), [""; 0]);
    assert_eq!(spec.ports[0].protocol, Protocol::Tcp);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_start_leaves_nothing_that_somebody_has_to_try_again() {
    if !docker_is_wanted("a_kill_in_the_middle_of_a_start_leaves_nothing_that_somebody_has_to_try_again") {
        return;
    }
    let mut site = Site::open(false).await;
    let (spec, _) = site.prepared().await;
    for n in 0..10 {
        site.command(&spec.server, Action::StartInstance).await;
        site.event("accepted", &spec.server, |event| (event.kind == EventKind::Accepted).then_some(())).await;
        let cut = std::time::Instant::now();
        while cut.elapsed() < Duration::from_millis(n * 35) {
            tokio::task::yield_now().await;
        }
        site.kill();
        site.switch_on();
        site.welcome().await;
        // Asked again, as the panel does with what has no answer.
        let answer = site.ask(&spec.server, Action::StartInstance).await;
        assert!(matches!(answer, EventKind::Running(_)), "try {n}: {answer:?}");
        let crashed = site.events.iter().filter(|event| matches!(event.kind, EventKind::Exited(_))).count();
        assert_eq!(crashed, 0, "try {n}: {:#?}", site.events);
        site.put_to_sleep(&spec.server).await;
    }
}

#[tokio::test]
async fn an_engine_that_is_away_is_explained_and_nothing_is_said_about_servers() {
    if !docker_is_wanted("an_engine_that_is_away_is_explained_and_nothing_is_said_about_servers") {
        return;
    }
    let mut site = Site::new(false);
    site.config.docker_socket = Some("/nowhere/docker.sock".to_owned());
    site.switch_on();
    site.welcome().await;
    let trouble = site.until("trouble", |message| match message {
        FromNode::Heartbeat { load, complete: false, .. } => load.trouble.clone(),
        FromNode::Heartbeat { .. }
        | FromNode::RegisterNode { .. }
        | FromNode::WantUrl { .. }
        | FromNode::LayersLook { .. }
        | FromNode::Event(_) => None,
    });
    assert_eq!(trouble.await, "Docker does not answer at /nowhere/docker.sock: start it with `systemctl start docker`");
    let spec = site.demo();
    let answer = site.ask(&spec.server, prepare(&spec)).await;
    assert!(matches!(&answer, EventKind::Failed { retryable: true, reason, .. } if reason.contains("systemctl")), "{answer:?}");
}
