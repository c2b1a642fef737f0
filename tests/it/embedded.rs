//! The agent inside a panel: whatever ends it, the panel goes on and games play on; and it never outlives its panel.

use std::time::{Duration, Instant};

use reqwest::Method;

use crate::program::{Api, Program, docker};

/// How long an agent may take to be back, or gone.
const SOON: Duration = Duration::from_secs(30);

/// Processes that a process has started.
pub fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks.flatten().flat_map(|task| of(task).split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()).collect()
}

async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < SOON, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_breaks_off_takes_neither_the_panel_nor_a_game_with_it() {
    let Some(engine) = crate::services::docker("an_agent_that_breaks_off_takes_neither_the_panel_nor_a_game_with_it") else { return };
    let mut program = Program::start(&engine, &[]);
    let api = Api::register(&program, "ada@example.org").await;
    let body = serde_json::json!({"name": "Steady", "game": "demo", "plan": "small"});
    let (status, server) = api.ask(Method::POST, "/api/servers", Some(body)).await;
    assert_eq!(status, 201, "{server}");
    let id = server["id"].as_str().expect("an id").to_owned();
    api.remember(std::slice::from_ref(&id));
    api.wait_phase(&id, "running", SOON).await;
    let started = docker(&["inspect", "-f", "{{.State.StartedAt}}", &format!("roost-{id}-game")]);

    for signal in [rustix::process::Signal::ABORT, rustix::process::Signal::KILL] {
        let [agent] = children(program.pid())[..] else { panic!("one agent: {:?}", children(program.pid())) };
        let pid = rustix::process::Pid::from_raw(agent.cast_signed()).expect("a process");
        rustix::process::kill_process(pid, signal).expect("it can be ended");
        let after = until("another agent", async || children(program.pid()).into_iter().find(|child| *child != agent)).await;
        assert_ne!(after, agent);
        assert_eq!(api.ask(Method::GET, &format!("/api/servers/{id}"), None).await.0, 200, "the panel answers");
    }
    assert_eq!(docker(&["inspect", "-f", "{{.State.StartedAt}}", &format!("roost-{id}-game")]), started, "the game played on");
    // The new agent has taken up what the one before left.
    let (status, body) = api.ask(Method::POST, &format!("/api/servers/{id}/hibernate"), None).await;
    assert_eq!(status, 202, "{body}");
    api.wait_phase(&id, "sleeping", SOON).await;

    let [agent] = children(program.pid())[..] else { panic!("one agent: {:?}", children(program.pid())) };
    program.kill_and_start();
    until("the end of the agent of the panel that was killed", async || {
        (!std::path::Path::new(&format!("/proc/{agent}")).exists()).then_some(())
    })
    .await;
    api.ask(Method::DELETE, &format!("/api/servers/{id}"), None).await;
    api.wait_gone(&id, SOON).await;
    assert!(program.log().contains("the agent of this machine has ended"), "it is said");
}
