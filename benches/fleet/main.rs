//! A whole fleet on one panel: 1,000 machines that beat every 5 s and 20,000 servers, one in ten of them awake with measurements, while
//! people read pages. The machines are simulated at the real wire: each is a WebSocket of its own over mutual TLS, with a certificate of
//! the panel's authority, and says what an agent says; nothing runs behind it. The panel is a process of its own, `roost serve` without
//! its embedded node, so that what it takes is read from the kernel and the load generator's own share is not counted.
//!
//! `cargo bench --bench fleet -- --database postgres` (`ROOST_TEST_PG` names the server; a database is made and dropped), `--database sqlite`
//! for the other one, which has no aim but a limit: found by doubling the sizes until it does not keep up; `--nodes N --servers M --seconds S` for other sizes. Nothing here fails on a time.
#![allow(clippy::print_stdout, missing_docs)]

mod fill;
mod kernel;
mod machines;
mod readers;
#[allow(dead_code, reason = "each bench needs a part of it")]
#[path = "../site.rs"]
mod site;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fill::Place;
use machines::{Counts, Machine};
use readers::Readers;
use site::{Failure, Panel};

/// Heartbeats come this often.
const BEAT_EVERY: Duration = Duration::from_secs(roost::wire::agent::HEARTBEAT_SECS);
/// Longest wait until every machine has been heard within [`FRESH`].
const UP_WITHIN: Duration = Duration::from_mins(10);
/// A machine that was heard this long ago, in milliseconds, is heard in time.
const FRESH: i64 = 7_000;
/// Everybody has been heard; so long until it is measured.
const SETTLES: Duration = Duration::from_secs(20);
/// Requests for pages, together.
const PAGES_A_SECOND: u32 = 20;

struct Asked {
    nodes: usize,
    servers: usize,
    seconds: u64,
    postgres: bool,
}

fn asked() -> Result<Asked, Failure> {
    let mut asked = Asked { nodes: 1_000, servers: 20_000, seconds: 60, postgres: true };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().ok_or("every option has a value")?;
        match word.as_str() {
            "--nodes" => asked.nodes = value.parse()?,
            "--servers" => asked.servers = value.parse()?,
            "--seconds" => asked.seconds = value.parse()?,
            "--database" if value == "sqlite" => asked.postgres = false,
            "--database" if value == "postgres" => asked.postgres = true,
            other => return Err(format!("{other} {value} is not understood").into()),
        }
    }
    Ok(asked)
}

fn now() -> Result<i64, Failure> {
    Ok(i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?)
}

/// When each machine was heard, asked again and again.
#[derive(Default)]
struct Hearing {
    last: HashMap<String, i64>,
    /// Heartbeats that were taken in since this was made.
    taken: u64,
    /// The oldest that any machine's last heartbeat ever was, in milliseconds.
    oldest: i64,
}

impl Hearing {
    async fn look(&mut self, place: &mut Place) -> Result<i64, Failure> {
        let heard = place.heard().await?;
        let now = now()?;
        let oldest = heard.values().map(|at| now - at).max().unwrap_or(i64::MAX);
        if !self.last.is_empty() {
            self.taken += heard.iter().filter(|(id, at)| self.last.get(*id) != Some(at)).count() as u64;
            self.oldest = self.oldest.max(oldest);
        }
        self.last = heard;
        Ok(oldest)
    }
}

struct Taken {
    hearing: Hearing,
    sent: u64,
    lost: u64,
    panel: f64,
    database: f64,
    seconds: f64,
    pages: readers::Times,
}

async fn measure(asked: &Asked, panel: &Panel, place: &mut Place, readers: Readers, counts: &Counts) -> Result<Taken, Failure> {
    let pid = panel.child.id();
    let mut hearing = Hearing::default();
    let (mut database, mut seen) = (0.0, place.cpu().await?);
    hearing.look(place).await?;
    let (before, sent, begin) = (kernel::cpu_secs(pid)?, counts.sent.load(Ordering::Relaxed), Instant::now());
    let lost = counts.lost.load(Ordering::Relaxed);
    let pages = readers.read(PAGES_A_SECOND, Duration::from_secs(asked.seconds));
    while begin.elapsed().as_secs() < asked.seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        hearing.look(place).await?;
        // Connections come and go: what each took is added up while it is there.
        let now = place.cpu().await?;
        database += now.iter().filter_map(|(pid, secs)| Some(secs - seen.get(pid)?)).sum::<f64>();
        seen = now;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let (after, sent) = (kernel::cpu_secs(pid)?, counts.sent.load(Ordering::Relaxed) - sent);
    let lost = counts.lost.load(Ordering::Relaxed) - lost;
    Ok(Taken { hearing, sent, lost, panel: (after - before) / seconds, database: database / seconds, seconds, pages: pages.await? })
}

/// Waits until every machine has been heard in time; gives how long that took.
async fn until_heard(place: &mut Place, counts: &Counts, machines: usize) -> Result<Duration, Failure> {
    let begin = Instant::now();
    let mut hearing = Hearing::default();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let oldest = hearing.look(place).await?;
        if hearing.last.len() == machines && oldest < FRESH {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > UP_WITHIN {
            let linked = counts.linked.load(Ordering::Relaxed);
            return Err(format!(
                "{linked} of {machines} machines are linked, the oldest heartbeat is {oldest} ms old: it does not keep up"
            )
            .into());
        }
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn report(asked: &Asked, taken: &Taken, pss: f64) {
    let rate = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX)) / taken.seconds;
    println!(
        "  heartbeats      {:6.1}/s sent, {:6.1}/s taken in, the oldest was {} ms old",
        rate(taken.sent),
        rate(taken.hearing.taken),
        taken.hearing.oldest
    );
    let aim = if asked.postgres { format!("   (aim: under 0.5: {})", verdict(taken.panel < 0.5)) } else { String::new() };
    println!("  panel           {:6.3} cores, {pss:.1} MiB (PSS){aim}", taken.panel);
    if asked.postgres {
        println!("  PostgreSQL      {:6.3} cores beside it", taken.database);
    }
    println!("  pages, {PAGES_A_SECOND}/s together, one list of nodes open      p50      p99  slowest, ms");
    for (page, times) in taken.pages.by_page() {
        println!("    {page:<44} {:8.1} {:8.1} {:8.1}", times.0, times.1, times.2);
    }
    let all = taken.pages.all();
    println!("    {:<44} {:8.1} {:8.1} {:8.1}   (aim: p99 under 50: {})", "all", all.0, all.1, all.2, verdict(all.1 < 50.0));
    let keeps_up = taken.hearing.oldest < 2 * i64::try_from(BEAT_EVERY.as_millis()).unwrap_or(i64::MAX);
    println!(
        "  keeps up: {}   (no heartbeat later than one after it was due, and no more than a core)",
        if keeps_up && taken.panel < 1.0 { "yes" } else { "NO" }
    );
}

async fn fleet(asked: &Asked) -> Result<(), Failure> {
    let kind = if asked.postgres { "PostgreSQL" } else { "SQLite" };
    println!("{} nodes that beat every 5 s, {} servers, {kind}, {} s", asked.nodes, asked.servers, asked.seconds);
    let folder = tempfile::tempdir()?;
    let mut place = Place::make(asked.postgres, folder.path()).await?;
    let begin = Instant::now();
    let mut machines: Vec<Machine> = fill::fill(&place.url, folder.path(), asked.nodes, asked.servers).await?;
    println!("  filled in       {:6.1} s", begin.elapsed().as_secs_f64());
    let door = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let settings =
        [("EMBEDDED_NODE", "false"), ("DATABASE_URL", place.url.as_str()), ("NODE_LISTEN", door.as_str()), ("LOG_LEVEL", "warn")];
    let panel = Panel::over(folder, &settings)?;
    let readers = Readers::sign_in(&panel.url, &mut place).await?;
    let _watcher = readers.watch().await?;
    let counts = Arc::new(Counts::default());
    for machine in &mut machines {
        machine.identity.address.clone_from(&door);
    }
    let number = machines.len();
    let links = machines::start(machines, &counts, BEAT_EVERY);
    let up = until_heard(&mut place, &counts, number).await?;
    println!(
        "  all linked and heard {:.1} s after the panel was up, {} commands answered",
        up.as_secs_f64(),
        counts.answered.load(Ordering::Relaxed)
    );
    tokio::time::sleep(SETTLES).await;
    let taken = measure(asked, &panel, &mut place, readers, &counts).await?;
    report(asked, &taken, kernel::pss_mib(panel.child.id())?);
    println!("  links lost      {:6}   load average {}", taken.lost, kernel::load_average()?);
    drop(links);
    drop(panel);
    place.drop().await
}

fn main() -> Result<(), Failure> {
    roost::trust::install();
    let asked = asked()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(fleet(&asked))
}
