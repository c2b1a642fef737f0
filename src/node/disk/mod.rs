//! Measures what servers' files take on this machine's disk, because the file system holds no limit for them: those of games that run
//! at most a minute late, and at once where the free space of the disk shrinks quickly.
//!
//! | file | what it does |
//! | --- | --- |
//! | `walk` | counts what is in a folder |
//! | `held` | counts files without a name that a game still holds |

mod held;
mod walk;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::agent::Agent;
use super::instance::{Instance, game_name};
use crate::model::disk::DiskUse;
use crate::model::ids::ServerId;
use walk::{Tally, measure};

/// Between two looks for servers that are due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two measurements of a server whose game runs: with the look and the walk it stays within a minute.
const RUNNING_EVERY: Duration = Duration::from_secs(45);
/// Between two measurements of one whose game does not run.
const RESTING_EVERY: Duration = Duration::from_mins(10);
/// Where this many bytes of the disk went since the last look, whoever runs is measured now.
const QUICK_LOSS: u64 = 64 << 20;

/// When a server was measured last, and whether its game ran then.
struct Last {
    at: Instant,
    ran: bool,
}

/// Measures whoever is due until the agent ends.
pub async fn watch(agent: Arc<Agent>) {
    let mut last: HashMap<ServerId, Last> = HashMap::new();
    let mut free_before = None;
    let looks = async {
        loop {
            let free = rustix::fs::statvfs(&agent.ctx.config.data_dir).ok().map(|said| said.f_bavail.saturating_mul(said.f_frsize));
            let quickly = free_before.zip(free).is_some_and(|(before, now): (u64, u64)| before.saturating_sub(now) >= QUICK_LOSS);
            free_before = free;
            let servers = agent.servers.list();
            last.retain(|server, _| agent.servers.get(server).is_some());
            for instance in servers {
                let view = instance.view();
                let runs = view.pid.is_some();
                let due = match last.get(&instance.server) {
                    None => true,
                    Some(last) if runs => last.at.elapsed() >= RUNNING_EVERY || quickly,
                    Some(last) => last.ran || last.at.elapsed() >= RESTING_EVERY,
                };
                if view.gone || !due {
                    continue;
                }
                match one(&agent, &instance).await {
                    Ok(used) => *instance.disk.lock().unwrap_or_else(PoisonError::into_inner) = Some(used),
                    Err(error) => {
                        tracing::warn!(server = %instance.server, error = &error as &dyn std::error::Error, "what a server's files take cannot be measured");
                    }
                }
                last.insert(instance.server.clone(), Last { at: Instant::now(), ran: runs });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = agent.ctx.stop.cancelled() => {}
        () = looks => {}
    }
}

/// The data, what the game wrote beside them into its container, and what it has deleted and still holds.
async fn one(agent: &Agent, instance: &Instance) -> Result<DiskUse, super::error::StepError> {
    let ctx = &agent.ctx;
    let mut folders: Vec<PathBuf> = vec![instance.folder.data()];
    // An engine that does not answer costs that part, which is told again with the next measurement.
    folders.extend(ctx.engine.written_folder(&game_name(&instance.server)).await.ok().flatten());
    let (data, pid) = (instance.folder.data(), instance.view().pid);
    let count = move || {
        let mut tally = Tally { bytes: 0, files: 0, whole: true };
        folders.iter().try_for_each(|folder| measure(folder, &mut tally))?;
        if let Some(pid) = pid {
            held::add(pid, &data, &mut tally);
        }
        Ok(tally)
    };
    let tally = ctx.blocking("measure the server's files", count).await?;
    Ok(DiskUse { bytes: tally.bytes, files: tally.files, whole: tally.whole, at: ctx.clock.now() })
}
