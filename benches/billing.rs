//! One billing tick over 100,000 running servers on SQLite, and beside it, in the same run, what the database itself takes to
//! copy as many rows of the same shape in one statement: the floor under any way to do it.
//!
//! `cargo bench --bench billing` prints a table; nothing here fails on a time.
#![allow(clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roost::domain::{Ctx, Outside, Policy, billing};
use roost::engines::fake::FakeEngine;
use roost::identity::Providers;
use roost::model::time::{Clock, HOUR, Millis};
use roost::objects::folder::FolderStore;
use roost::store::Db;
use sqlx::{Connection, SqliteConnection};

const SERVERS: u32 = 100_000;
const OWNERS: u32 = 5_000;
const ROUNDS: usize = 5;
const START: i64 = 1_767_268_800_000;

struct Stands(i64);

impl Clock for Stands {
    fn now(&self) -> Millis {
        Millis(self.0)
    }
}

/// Owners with enough credits, and servers that have run since a little more than an hour ago.
async fn fill(path: &str) -> Result<(), sqlx::Error> {
    let mut db = SqliteConnection::connect(&format!("sqlite://{path}")).await?;
    let owners = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
        INSERT INTO users (id, email, password_hash, role, balance, created_at, sessions_from) SELECT 'owner' || i, 'owner' || i || '@example.org', '', 'player', 1000000000000, $2, $2 FROM n";
    sqlx::query(owners).bind(OWNERS).bind(START).execute(&mut db).await?;
    sqlx::query(
        "INSERT INTO transactions (key, user_id, at, amount, kind, note) SELECT 'signup:' || id, id, $1, balance, 'signup', '' FROM users",
    )
    .bind(START)
    .execute(&mut db)
    .await?;
    let spans = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
        INSERT INTO usage (server, from_ms, node, user_id, server_name, per_hour, to_ms, charged_to, settled) \
        SELECT 'owner-de-' || i, $2 - i, 'local', 'owner' || (i % $3 + 1), 'Valley of Echoes', 500000, NULL, $2 - i, 0 FROM n";
    sqlx::query(spans).bind(SERVERS).bind(START).bind(OWNERS).execute(&mut db).await?;
    let node = "INSERT INTO nodes (id, public_host, specs, load, confirmed_at) \
        VALUES ('local', 'localhost', '{\"cpu_millis\":0,\"memory_mib\":0,\"disk_mib\":0,\"engine\":\"\",\"system\":\"\"}', \
        '{\"cpu_millis\":0,\"memory_mib\":0,\"disk_free_mib\":0,\"trouble\":null}', $1)";
    sqlx::query(node).bind(START + HOUR).execute(&mut db).await?;
    db.close().await
}

async fn tick(path: &str) -> Result<(Duration, u64), Box<dyn std::error::Error>> {
    let db = Db::open(&format!("sqlite://{path}")).await?;
    let objects = FolderStore::open(&Path::new(path).with_extension("objects"), "", b"bench", Arc::new(Stands(START))).await?;
    let outside = Outside {
        objects: Arc::new(objects),
        engine: Arc::new(FakeEngine::default()),
        mail: None,
        stripe: None,
        providers: Providers::default(),
    };
    let ctx = Ctx::new(db, Arc::new(Stands(START + HOUR)), outside, Policy::default()).await?;
    let begin = Instant::now();
    let spans = billing::tick(&ctx).await?;
    let took = begin.elapsed();
    ctx.db.close().await;
    Ok((took, spans))
}

/// The floor: as many entries copied by one statement in one transaction.
async fn copy(path: &str) -> Result<(Duration, u64), sqlx::Error> {
    let mut db = SqliteConnection::connect(&format!("sqlite://{path}")).await?;
    sqlx::query("CREATE TABLE copied (key TEXT PRIMARY KEY, user_id TEXT, at BIGINT, amount BIGINT, kind TEXT, server TEXT, server_name TEXT, from_ms BIGINT, to_ms BIGINT, note TEXT)")
        .execute(&mut db)
        .await?;
    sqlx::query("CREATE INDEX copied_user ON copied (user_id, at, key)").execute(&mut db).await?;
    let begin = Instant::now();
    let rows = sqlx::query("INSERT INTO copied SELECT * FROM transactions WHERE kind = 'charge'").execute(&mut db).await?.rows_affected();
    let took = begin.elapsed();
    db.close().await?;
    Ok((took, rows))
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1_000.0
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("roost.db").display().to_string();
        runtime.block_on(async {
            Db::open(&format!("sqlite://{path}")).await?.close().await;
            fill(&path).await?;
            let (took, spans) = tick(&path).await?;
            assert_eq!(spans, u64::from(SERVERS), "every span is charged once");
            ours.push(took);
            let (took, rows) = copy(&path).await?;
            assert_eq!(rows, u64::from(SERVERS), "one entry for each");
            floor.push(took);
            Ok::<(), Box<dyn std::error::Error>>(())
        })?;
    }
    println!("one billing tick, {SERVERS} running servers of {OWNERS} owners, SQLite on disk, median of {ROUNDS}");
    println!("  roost tick                      {:8.0} ms   (aim: at most 3000)", median(&mut ours));
    println!("  copying as many rows, one statement {:4.0} ms", median(&mut floor));
    Ok(())
}
