//! Data that come back: a backup takes the data's place, the way back, and data that come from another node.

use std::sync::Arc;

use super::worker::Worker;
use crate::model::backups::BackupRef;
use crate::model::ids::CommandId;
use crate::node::backups::swap::{self, RESTORED};
use crate::node::backups::{BackupError, Bring, Course, bring, fit};
use crate::node::error::StepError;
use crate::node::layers::Layers;
use crate::node::record::{Answer, Intent};
use crate::wire::spec::InstanceSpec;

impl Worker {
    /// What was unpacked beside the data takes their place. The game is not started: the panel sees that it is down.
    pub(super) async fn put_in_place(&mut self) -> Result<(), StepError> {
        let placed = self.exchange(true).await;
        if placed.is_err() {
            self.settle().await?;
        }
        self.look().await?;
        placed
    }

    async fn exchange(&mut self, keep: bool) -> Result<(), StepError> {
        self.fit_restored().await?;
        self.end_game(None).await?;
        let home = self.instance.folder.home();
        self.ctx.blocking("put the backup in the data's place", move || swap::exchange(&home, keep)).await
    }

    async fn fit_restored(&self) -> Result<(), StepError> {
        let (home, data_dir) = (self.instance.folder.home(), self.ctx.config.data_dir.clone());
        let fitted = tokio::task::spawn_blocking(move || {
            let lower = Layers::below(&data_dir, &home).map_err(BackupError::disk("see what the server's data are made of"))?;
            fit(&home.join(RESTORED), &lower)
        });
        let lost = |error| Err(BackupError::Disk { what: "fit the backup", source: std::io::Error::other(error) });
        Ok(fitted.await.unwrap_or_else(lost)?)
    }

    /// Puts the data back that the last exchange took away.
    pub(super) async fn undo_restore(&mut self) -> Result<Answer, StepError> {
        if self.record.intent == Intent::Gone {
            return Err(BackupError::NothingToUndo.into());
        }
        self.break_off_reading().await;
        self.settle().await?;
        let home = self.instance.folder.home();
        if !home.join(swap::BEFORE).is_dir() {
            return Err(BackupError::NothingToUndo.into());
        }
        self.end_game(None).await?;
        let undone = self.ctx.blocking("put the data of before back", move || swap::undo(&home)).await?;
        self.look().await?;
        if undone { Ok(Answer::Restored) } else { Err(BackupError::NothingToUndo.into()) }
    }

    /// Says what has to come from another node before anything of this server may be started here; none: nothing has to.
    pub(super) async fn expect_origin(&self, spec: &InstanceSpec) -> Result<Option<BackupRef>, StepError> {
        let Some(origin) = spec.origin.clone() else { return Ok(None) };
        let home = self.instance.folder.home();
        let expect = move || {
            let awaits = swap::awaits_origin(&home);
            if awaits {
                swap::expect_origin(&home)?;
            }
            Ok(awaits)
        };
        let awaits = self.ctx.blocking("make a place for the server's data", expect).await?;
        Ok(awaits.then_some(origin))
    }

    /// Brings what has to come; the data lie where they belong when this returns without an error.
    pub(super) async fn bring_origin(&mut self, origin: Option<BackupRef>, command: Option<&CommandId>) -> Result<(), StepError> {
        let Some(backup) = origin else { return Ok(()) };
        // It would be unpacked to the same place.
        self.break_off().await;
        let course = Course::new(&self.ctx.stop);
        let folder = self.instance.folder.home().join(RESTORED);
        let order = Bring { server: self.record.server.clone(), backup, command: command.cloned(), folder, most: None };
        let (ctx, shared) = (Arc::clone(&self.ctx), Arc::clone(&course));
        let mut task = self.ctx.tasks.spawn(async move { bring(&ctx, order, shared).await });
        let brought = tokio::select! {
            brought = &mut task => brought,
            () = self.instance.something_else_wanted() => {
                course.cancel.cancel();
                let _ended = task.await;
                return Err(StepError::Superseded);
            }
        };
        let lost = |error| Err(BackupError::Disk { what: "finish it", source: std::io::Error::other(error) });
        brought.unwrap_or_else(lost)?;
        self.exchange(false).await
    }
}
