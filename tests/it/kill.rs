//! The program, its own agent and a second machine's agent killed at random moments, while several people create, wake, sleep, back up,
//! restore, move and delete: nothing is lost, nothing is doubled, and in the end rows, nodes, outbox, ports, networks, folders and objects
//! agree. On both databases. `ROOST_KILLS` says how many kills; a run of the whole suite makes a few.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use roost::model::money::Credits;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection, SqliteConnection};

use crate::embedded::children;
use crate::machines::Agent;
use crate::program::{Api, Program, docker};
use crate::services;
use crate::world::Database;

/// Kills of one run where nothing else is said.
const ROUNDS: u64 = 40;
/// Longest time between doing something and the kill, in milliseconds.
const MOMENT_MAX: u64 = 1_200;
/// Most servers of one person at once.
const SERVERS_MAX: usize = 3;
/// How long the last deletions may take.
const AT_LAST: Duration = Duration::from_mins(4);
/// People who use the panel.
const PEOPLE: [&str; 3] = ["ada@example.org", "bob@example.org", "cleo@example.org"];
/// What a new account gets, in credits.
const SIGNUP: i64 = 100;

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

/// The panel's database, of either kind.
enum Books {
    Lite(SqliteConnection),
    Pg(PgConnection),
}

impl Books {
    async fn open(program: &Program, database: Option<&Database>) -> Books {
        if let Some(database) = database {
            Books::Pg(PgConnection::connect(&database.url).await.expect("the database opens"))
        } else {
            let url = format!("sqlite://{}", program.database().display());
            Books::Lite(SqliteConnection::connect(&url).await.expect("the database opens"))
        }
    }

    /// The number that a question comes to.
    async fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(format!("SELECT CAST(({sql}) AS BIGINT) AS number"));
        let row: Number = match self {
            Books::Lite(db) => sqlx::query_as(sql).fetch_one(db).await.expect("counted"),
            Books::Pg(db) => sqlx::query_as(sql).fetch_one(db).await.expect("counted"),
        };
        row.number
    }

    async fn spans(&mut self) -> Vec<Span> {
        let sql = "SELECT server, from_ms, to_ms, settled, per_hour FROM usage ORDER BY server, from_ms";
        match self {
            Books::Lite(db) => sqlx::query_as(sql).fetch_all(db).await.expect("read"),
            Books::Pg(db) => sqlx::query_as(sql).fetch_all(db).await.expect("read"),
        }
    }

    /// Waits until a question comes to nothing.
    async fn until_none(&mut self, sql: &str) {
        let begin = Instant::now();
        while self.number(sql).await > 0 {
            assert!(begin.elapsed() < AT_LAST, "never nothing: {sql}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_nothing_is_lost_or_doubled() {
    let Some(engine) = services::docker("killed_at_random_moments_nothing_is_lost_or_doubled") else { return };
    killed(&engine, None, 0x5eed, 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_nothing_is_lost_or_doubled_on_postgresql() {
    let test = "killed_at_random_moments_nothing_is_lost_or_doubled_on_postgresql";
    let (Some(engine), Some(postgres)) = (services::docker(test), services::postgres(test)) else { return };
    let database = Database::make(&postgres).await;
    killed(&engine, Some(&database), 0xbead, 8).await;
    database.drop().await;
}

async fn killed(engine: &services::Docker, database: Option<&Database>, seed: u64, nth: u16) {
    let rounds = std::env::var("ROOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let door = services::free_port(&services::LISTENERS);
    let mut more = vec![("BILLING_INTERVAL", "1s".to_owned()), ("NODE_LISTEN", format!("127.0.0.1:{door}"))];
    more.extend(database.map(|database| ("DATABASE_URL", database.url.clone())));
    let mut program = Program::start(engine, &more.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
    let admin = Api::admin(&program, "root@example.org").await;
    let (status, made) = admin.ask(Method::POST, "/api/nodes/tokens", Some(json!({"name": "Second"}))).await;
    assert_eq!(status, 201, "{made}");
    let mut agent = Agent::nth(engine, nth);
    assert!(agent.join(made["token"].as_str().expect("a token")).status.success());
    agent.start();
    let mut people = Vec::new();
    for email in PEOPLE {
        people.push(Api::register(&program, email).await);
    }
    let mut dice = Dice(seed);
    for round in 0..rounds {
        let mut doing = Vec::new();
        for person in &people {
            let living = known(person).await;
            doing.push(something(person.clone(), living, dice.below(u64::MAX), round));
        }
        let moved = move_all(admin.clone(), dice.below(8));
        // The kill comes at its moment, whether what was asked has been answered or not.
        let moment = Duration::from_millis(dice.below(MOMENT_MAX));
        let _ = tokio::time::timeout(moment, async {
            tokio::join!(futures_util::future::join_all(doing), moved);
            std::future::pending::<()>().await;
        })
        .await;
        match dice.below(6) {
            0 => {
                agent.kill();
                agent.start();
            }
            1 => {
                if let Some(inside) = children(program.pid()).first().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
                    let _gone_already = rustix::process::kill_process(inside, rustix::process::Signal::KILL);
                }
            }
            _panel => program.kill_and_start(),
        }
    }
    for node in ["local", "second"] {
        admin.ask(Method::POST, &format!("/api/nodes/{node}/drain"), Some(json!({"on": false}))).await;
    }
    for person in &people {
        for id in known(person).await {
            let _ = person.try_ask(Method::DELETE, &format!("/api/servers/{id}"), None).await;
        }
    }
    for person in &people {
        for id in known(person).await {
            person.wait_gone(&id, AT_LAST).await;
        }
    }
    let mut books = Books::open(&program, database).await;
    for left in ["usage WHERE settled <> 1", "node_commands WHERE answered_at IS NULL", "backups", "ports", "servers"] {
        books.until_none(&format!("SELECT COUNT(*) FROM {left}")).await;
    }
    nothing_is_left(&program, &agent).await;
    let doctor = program.run(&["doctor"]);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    program.kill();
    every_run_is_paid_once(&mut books).await;
}

/// Ids of all servers of somebody, as the panel tells them; kept for the last look.
async fn known(api: &Api) -> Vec<String> {
    let begin = Instant::now();
    // The agent or the panel that was killed a moment ago may take a moment.
    let body = loop {
        match api.try_ask(Method::GET, "/api/servers", None).await {
            Some((200, body)) => break body,
            other => assert!(begin.elapsed() < AT_LAST, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let servers = body["servers"].as_array().or(body.as_array()).expect("a list").clone();
    let ids: Vec<String> = servers.iter().filter_map(|server| server["id"].as_str().map(str::to_owned)).collect();
    api.remember(&ids);
    ids
}

async fn something(api: Api, living: Vec<String>, chance: u64, round: u64) {
    let mut dice = Dice(chance | 1);
    if living.len() < SERVERS_MAX && dice.below(3) > 0 || living.is_empty() {
        let body = json!({"name": format!("round {round}"), "game": "demo", "plan": "small"});
        let _ = api.try_ask(Method::POST, "/api/servers", Some(body)).await;
        return;
    }
    let which = usize::try_from(dice.below(living.len() as u64)).expect("small");
    let id = &living[which];
    let post = |what: &str| (Method::POST, format!("/api/servers/{id}/{what}"));
    let (method, path) = match dice.below(10) {
        0 | 1 => (Method::DELETE, format!("/api/servers/{id}")),
        2 => post("hibernate"),
        3 => post("wake"),
        4 => post("stop"),
        5 => post("start"),
        6 | 7 => post("backup"),
        8 => post("undo-restore"),
        _restore => {
            let list = api.try_ask(Method::GET, &format!("/api/servers/{id}/backups"), None).await.map_or(Value::Null, |(_, list)| list);
            let done = list["backups"].as_array().and_then(|all| all.iter().find(|one| one["state"] == "done").cloned());
            let Some(backup) = done.and_then(|one| one["id"].as_str().map(str::to_owned)) else { return };
            post(&format!("backups/{backup}/{}", if dice.below(2) == 0 { "restore" } else { "try" }))
        }
    };
    let _ = api.try_ask(method, &path, None).await;
}

/// Now and then one of the machines is emptied, and then takes servers again.
async fn move_all(admin: Api, chance: u64) {
    let (node, on) = match chance {
        0 => ("local", true),
        1 => ("second", true),
        2 | 3 => ("local", false),
        4 | 5 => ("second", false),
        _none => return,
    };
    let _ = admin.try_ask(Method::POST, &format!("/api/nodes/{node}/drain"), Some(json!({"on": on}))).await;
}

/// Names of files and folders, or none where there is no such folder.
fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

async fn nothing_is_left(program: &Program, agent: &Agent) {
    let made = program.made.lock().expect("whole").clone();
    assert!(made.len() >= 3, "servers were made: {made:?}");
    let data = [program.folder.path().join("data"), agent.folder.path().join("data")];
    let begin = Instant::now();
    loop {
        let listed = docker(&["ps", "-a", "--format", "{{.Names}}"]) + &docker(&["network", "ls", "--format", "{{.Name}}"]);
        let names_of_docker: BTreeSet<&str> = listed.lines().collect();
        let mut left: Vec<String> =
            names_of_docker.iter().filter(|name| made.iter().any(|id| name.contains(id.as_str()))).map(|name| (*name).to_owned()).collect();
        for folder in &data {
            left.extend(names(&folder.join("instances")));
            left.extend(names(&folder.join("orphans")));
        }
        left.extend(names(&data[0].join("objects/backups")));
        if left.is_empty() {
            return;
        }
        // A machine that was killed last removes what is left once it is linked again.
        assert!(begin.elapsed() < AT_LAST, "left behind: {left:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Every span that was billed lies within a run that the engine saw, no two overlap, and the ledger holds each once.
async fn every_run_is_paid_once(books: &mut Books) {
    let spans = books.spans().await;
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
    let charged = books.number("SELECT COALESCE(-SUM(amount), 0) FROM transactions WHERE kind = 'charge'").await;
    assert_eq!(charged, due, "charged is what ran");
    let emails = PEOPLE.map(|email| format!("'{email}'")).join(", ");
    let balance = books.number(&format!("SELECT SUM(balance) FROM users WHERE email IN ({emails})")).await;
    let people = i64::try_from(PEOPLE.len()).expect("few");
    assert_eq!(Credits(balance), Credits::whole(SIGNUP * people) - Credits(due));
}
