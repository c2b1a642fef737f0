//! Data of servers that the panel does not know, in the folder `orphans`: moved there by [`super::record`], counted for the node's page,
//! and removed when they are old enough that nobody will miss them.
//!
//! They come from a panel whose database is older than its nodes. What is removed by its owner never comes here.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::ctx::Ctx;
use crate::archives::remove::remove;
use crate::model::ids::ServerId;
use crate::model::nodes::Aside;
use crate::model::time::{DAY, Millis};

/// Beside the servers' folders.
pub const FOLDER: &str = "orphans";
/// So long the data are kept, in milliseconds.
pub const KEPT: i64 = 14 * DAY;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Name of the folder of one server that was moved aside at a moment.
pub fn name(server: &ServerId, at: Millis) -> String {
    format!("{server}-{}", at.0)
}

/// When a folder was moved here, by its name; none: it is none of the agent's.
fn moved_at(name: &str) -> Option<Millis> {
    let (server, at) = name.rsplit_once('-')?;
    server.parse::<ServerId>().ok()?;
    at.parse().ok().map(Millis)
}

/// Looks now and then until the agent ends. Beside the heartbeat, because to remove much takes long.
pub async fn watch(ctx: Arc<Ctx>) {
    let looks = async {
        loop {
            let (data_dir, now) = (ctx.config.data_dir.clone(), ctx.clock.now());
            match ctx.blocking("look at the data set aside", move || sweep(&data_dir, now)).await {
                Ok(aside) => *ctx.aside.lock().unwrap_or_else(PoisonError::into_inner) = aside,
                Err(error) => tracing::warn!(%error, "the data of unknown servers cannot be looked at"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = ctx.stop.cancelled() => {}
        () = looks => {}
    }
}

/// Removes what has been kept for long enough, and counts the rest. One that cannot be removed is tried again with the next look.
pub fn sweep(data_dir: &Path, now: Millis) -> io::Result<Option<Aside>> {
    let entries = match fs::read_dir(data_dir.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut aside: Option<Aside> = None;
    for entry in entries {
        let entry = entry?;
        let Some(at) = entry.file_name().to_str().and_then(moved_at) else { continue };
        if now.since(at) >= KEPT {
            match remove(&entry.path()) {
                Ok(()) => {
                    tracing::info!(folder = %entry.path().display(), "data of a server that nobody knew are removed");
                    continue;
                }
                Err(error) => tracing::warn!(folder = %entry.path().display(), %error, "old data cannot be removed; tried again"),
            }
        }
        let folders = aside.map_or(0, |aside| aside.folders).saturating_add(1);
        let next_goes = aside.map_or(at + KEPT, |aside| aside.next_goes.min(at + KEPT));
        aside = Some(Aside { folders, next_goes });
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_set_aside_are_counted_and_go_when_they_are_old_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(sweep(dir.path(), Millis(0)).unwrap(), None);
        let (old, young): (ServerId, ServerId) = ("own-de-old".parse().unwrap(), "own-de-new".parse().unwrap());
        let now = Millis(100 * DAY);
        let all = dir.path().join(FOLDER);
        let (old, young) = (all.join(name(&old, now - KEPT)), all.join(name(&young, now - DAY)));
        for folder in [&old, &young, &all.join("by-hand")] {
            fs::create_dir_all(folder.join("data/deep")).unwrap();
            fs::write(folder.join("data/deep/world"), "x").unwrap();
        }
        assert_eq!(sweep(dir.path(), now).unwrap(), Some(Aside { folders: 1, next_goes: now - DAY + KEPT }));
        assert!(!old.exists() && young.exists() && all.join("by-hand").exists());
    }
}
