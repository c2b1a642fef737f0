//! The program killed at random moments: nothing is lost, nothing is doubled.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use roost::model::money::Credits;
use sqlx::{Connection, FromRow, SqliteConnection};

use crate::program::{Api, Program, docker};

/// Kills of one run.
const ROUNDS: u64 = 50;
/// Longest time between doing something and the kill, in milliseconds.
const MOMENT_MAX: u64 = 1_200;
/// How long the last deletions may take.
const AT_LAST: Duration = Duration::from_mins(2);

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[derive(Debug, FromRow)]
struct Span {
    server: String,
    from_ms: i64,
    to_ms: Option<i64>,
    settled: i64,
    per_hour: i64,
}

#[derive(Debug, FromRow)]
struct Number {
    number: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_nothing_is_lost_or_doubled() {
    let Some(engine) = crate::services::docker("killed_at_random_moments_nothing_is_lost_or_doubled") else { return };
    let mut program = Program::start(&engine, &[("BILLING_INTERVAL", "1s")]);
    let api = Api::register(&program, "ada@example.org").await;
    let mut dice = Dice(0x5eed);
    let mut living: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let doing = something(&api, &living, &mut dice, round);
        let moment = Duration::from_millis(dice_moment(round));
        // The kill comes at its moment, whether what was asked has been answered or not.
        let _ = tokio::time::timeout(moment, doing).await;
        program.kill_and_start();
        living = known(&api).await;
    }
    for id in known(&api).await {
        let _ = api.try_ask(Method::DELETE, &format!("/api/servers/{id}"), None).await;
    }
    for id in known(&api).await {
        api.wait_gone(&id, AT_LAST).await;
    }
    nothing_is_left(&program);
    wait_settled(&program).await;
    program.kill();
    every_run_is_paid_once(&program).await;
}

/// The last spans are posted by the next tick.
async fn wait_settled(program: &Program) {
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", program.database().display())).await.expect("the database opens");
    let begin = Instant::now();
    let open = "SELECT COUNT(*) AS number FROM usage WHERE settled <> 1";
    while sqlx::query_as::<_, Number>(open).fetch_one(&mut db).await.expect("counted").number > 0 {
        assert!(begin.elapsed() < AT_LAST, "spans are never posted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn dice_moment(round: u64) -> u64 {
    Dice(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).below(MOMENT_MAX)
}

/// Ids of all servers, as the panel tells them; kept for the last look.
async fn known(api: &Api) -> Vec<String> {
    let (status, body) = api.ask(Method::GET, "/api/servers", None).await;
    assert_eq!(status, 200, "{body}");
    let servers = body["servers"].as_array().or(body.as_array()).expect("a list").clone();
    let ids: Vec<String> = servers.iter().filter_map(|server| server["id"].as_str().map(str::to_owned)).collect();
    api.remember(&ids);
    ids
}

async fn something(api: &Api, living: &[String], dice: &mut Dice, round: u64) {
    if living.len() < 3 {
        let body = serde_json::json!({"name": format!("round {round}"), "game": "demo", "plan": "small"});
        let _ = api.try_ask(Method::POST, "/api/servers", Some(body)).await;
    } else {
        let which = usize::try_from(dice.below(living.len() as u64)).expect("small");
        let id = &living[which];
        let (method, path) = match dice.below(5) {
            0 => (Method::DELETE, format!("/api/servers/{id}")),
            1 => (Method::POST, format!("/api/servers/{id}/hibernate")),
            2 => (Method::POST, format!("/api/servers/{id}/wake")),
            3 => (Method::POST, format!("/api/servers/{id}/stop")),
            _ => (Method::POST, format!("/api/servers/{id}/start")),
        };
        let _ = api.try_ask(method, &path, None).await;
    }
    std::future::pending::<()>().await;
}

fn nothing_is_left(program: &Program) {
    let made = program.made.lock().expect("whole").clone();
    assert!(made.len() >= 3, "servers were made: {made:?}");
    let names = docker(&["ps", "-a", "--format", "{{.Names}}"]) + &docker(&["network", "ls", "--format", "{{.Name}}"]);
    let names: BTreeSet<&str> = names.lines().collect();
    for id in &made {
        let left: Vec<&&str> = names.iter().filter(|name| name.contains(id.as_str())).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let folder = program.folder.path().join("data/instances").join(id);
        assert!(!folder.exists(), "left behind: {}", folder.display());
    }
}

/// Every span that was billed lies within a run that the engine saw, no two overlap, and the ledger holds each once.
async fn every_run_is_paid_once(program: &Program) {
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", program.database().display())).await.expect("the database opens");
    let count = |sql: &'static str| sqlx::query_as::<_, Number>(sql);
    let ports = count("SELECT COUNT(*) AS number FROM ports").fetch_one(&mut db).await.expect("counted");
    assert_eq!(ports.number, 0, "ports are free again");
    let spans: Vec<Span> = sqlx::query_as("SELECT server, from_ms, to_ms, settled, per_hour FROM usage ORDER BY server, from_ms")
        .fetch_all(&mut db)
        .await
        .expect("read");
    assert!(!spans.is_empty(), "something ran");
    for pair in spans.windows(2) {
        let overlap = pair[0].server == pair[1].server && pair[0].to_ms.is_none_or(|to| to > pair[1].from_ms);
        assert!(!overlap, "{pair:?}");
    }
    let mut due = 0;
    for span in &spans {
        let to = span.to_ms.unwrap_or_else(|| panic!("{span:?} never ended"));
        assert!(to >= span.from_ms, "{span:?}");
        assert_eq!(span.settled, 1, "{span:?}");
        due += (to - span.from_ms) * span.per_hour / 3_600_000;
    }
    let charged = count("SELECT CAST(COALESCE(-SUM(amount), 0) AS BIGINT) AS number FROM transactions WHERE kind = 'charge'");
    assert_eq!(charged.fetch_one(&mut db).await.expect("summed").number, due, "charged is what ran");
    let balance = count("SELECT balance AS number FROM users WHERE email = 'ada@example.org'").fetch_one(&mut db).await.expect("read");
    assert_eq!(Credits(balance.number), Credits::whole(100) - Credits(due));
}
