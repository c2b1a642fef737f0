//! Backups and what is brought back, beside the worker: they hold up no wake, no start and no stop.
//!
//! One at a time for each server. Whatever changes the data or the game's life breaks off a backup that still reads, waits until nobody
//! holds on to the data, and goes on; the backup's own command is answered when the worker has time for it.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::parts::game_name;
use super::worker::{Done, Worker};
use crate::model::backups::{Archived, BackupRef, UNDO_KEPT};
use crate::model::games::Save;
use crate::model::ids::{BackupId, CommandId};
use crate::model::time::HOUR;
use crate::node::backups::swap::{self, RESTORED};
use crate::node::backups::{BackupError, Bring, Course, Order, back_up, bring, most};
use crate::node::error::StepError;
use crate::node::layers::Layers;
use crate::node::record::{Answer, Intent};

/// Between two looks for data from before a restore that are too old, in milliseconds.
const SWEEP_EVERY: i64 = HOUR;

/// What goes on beside the worker.
pub struct Beside {
    /// Whose answer it is.
    pub command: CommandId,
    course: Arc<Course>,
    reads: bool,
    end: JoinHandle<BesideEnd>,
}

/// How it ended.
pub enum BesideEnd {
    /// A backup is stored, or not.
    BackedUp(Result<Archived, BackupError>),
    /// A backup lies unpacked beside the data, or not.
    Brought {
        /// Only to see whether it can be done.
        try_only: bool,
        /// What came of it.
        brought: Result<(), BackupError>,
    },
    /// Its task died.
    Lost(String),
}

/// Comes when what goes on beside the worker has ended.
pub async fn beside_end(beside: Option<&mut Beside>) -> BesideEnd {
    match beside {
        Some(beside) => (&mut beside.end).await.unwrap_or_else(|error| BesideEnd::Lost(error.to_string())),
        None => std::future::pending().await,
    }
}

impl Worker {
    /// Ends what a kill has left of an exchange of data.
    pub(super) async fn settle(&self) -> Result<(), StepError> {
        if self.beside.is_some() {
            return Ok(());
        }
        let home = self.instance.folder.home();
        self.ctx.blocking("end an exchange of the server's data", move || swap::settle(&home)).await
    }

    pub(super) async fn begin_backup(&mut self, command: &CommandId, backup: &BackupId, save: Option<&Save>) -> Result<Done, StepError> {
        if self.beside.is_some() {
            return Err(BackupError::Busy.into());
        }
        self.settle().await?;
        let (home, data_dir) = (self.instance.folder.home(), self.ctx.config.data_dir.clone());
        let (gone, data) = (self.record.intent == Intent::Gone, self.instance.folder.data());
        let look = move || {
            let there = !gone && home.join("data").is_dir() && !swap::is_only_a_place(&home);
            if there { Layers::below(&data_dir, &home).map(Some) } else { Ok(None) }
        };
        let lower = self.ctx.blocking("see what the server's data are made of", look).await?.ok_or(BackupError::NoData)?;
        let order = Order {
            server: self.record.server.clone(),
            backup: backup.clone(),
            command: command.clone(),
            data,
            lower,
            most: self.record.spec.as_ref().map_or(u64::MAX, |spec| most(spec.storage_mib)),
            save: save.cloned(),
            game: game_name(&self.record.server),
            tty: self.instance.view().tty,
        };
        let course = Course::new(&self.ctx.stop);
        let (ctx, shared) = (Arc::clone(&self.ctx), Arc::clone(&course));
        let end = self.ctx.tasks.spawn(async move {
            // Also when it ends before its time: whoever waits goes on.
            let _let_go = shared.let_go.clone().drop_guard();
            BesideEnd::BackedUp(back_up(&ctx, order, shared).await)
        });
        self.beside = Some(Beside { command: command.clone(), course, reads: true, end });
        Ok(Done::Beside)
    }

    pub(super) async fn begin_restore(&mut self, command: &CommandId, backup: &BackupRef, try_only: bool) -> Result<Done, StepError> {
        if self.record.intent == Intent::Gone {
            return Err(BackupError::Removed.into());
        }
        if !try_only {
            self.break_off_reading().await;
            self.beside_is_over().await;
        }
        if self.beside.is_some() {
            return Err(BackupError::Busy.into());
        }
        self.settle().await?;
        // Makes the home of a server that was never prepared here.
        self.save().await?;
        let order = Bring {
            server: self.record.server.clone(),
            backup: backup.clone(),
            command: Some(command.clone()),
            folder: self.instance.folder.home().join(RESTORED),
            // Layers are none of the plan's, and are in the backup.
            most: self.record.spec.as_ref().filter(|spec| spec.layers.is_empty()).map(|spec| most(spec.storage_mib)),
        };
        let course = Course::new(&self.ctx.stop);
        let (ctx, shared) = (Arc::clone(&self.ctx), Arc::clone(&course));
        let end = self.ctx.tasks.spawn(async move {
            let _let_go = shared.let_go.clone().drop_guard();
            BesideEnd::Brought { try_only, brought: bring(&ctx, order, shared).await }
        });
        self.beside = Some(Beside { command: command.clone(), course, reads: false, end });
        Ok(Done::Beside)
    }

    /// Breaks off a backup that still reads, and waits until it has let go. One that has read all is only sent, and stays.
    pub(super) async fn break_off_reading(&self) {
        if let Some(beside) = self.beside.as_ref().filter(|beside| beside.reads) {
            if !beside.course.is_all_read() {
                beside.course.cancel.cancel();
            }
            beside.course.let_go.cancelled().await;
        }
    }

    /// Breaks off whatever goes on beside.
    pub(super) async fn break_off(&self) {
        if let Some(beside) = &self.beside {
            beside.course.cancel.cancel();
            beside.course.let_go.cancelled().await;
        }
    }

    /// Answers for a backup that was broken off, without waiting for one that is being sent.
    async fn beside_is_over(&mut self) {
        if self.beside.as_ref().is_some_and(|beside| beside.course.cancel.is_cancelled()) {
            let end = beside_end(self.beside.as_mut()).await;
            self.beside_ended(end).await;
        }
    }

    /// A backup holds the game, or may at any moment.
    pub(super) fn holds_game(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.reads && !beside.course.let_go.is_cancelled())
    }

    /// What went on beside has ended: its command is answered.
    pub(super) async fn beside_ended(&mut self, end: BesideEnd) {
        let Some(beside) = self.beside.take() else { return };
        let answer = match end {
            BesideEnd::BackedUp(Ok(archived)) => Ok(Answer::BackedUp(archived)),
            BesideEnd::BackedUp(Err(error)) | BesideEnd::Brought { brought: Err(error), .. } => Err(error.into()),
            BesideEnd::Brought { try_only: true, brought: Ok(()) } => self.settle().await.map(|()| Answer::Restored),
            BesideEnd::Brought { try_only: false, brought: Ok(()) } => self.put_in_place().await.map(|()| Answer::Restored),
            BesideEnd::Lost(words) => Err(BackupError::Disk { what: "finish it", source: std::io::Error::other(words) }.into()),
        };
        let answer = answer.unwrap_or_else(|error: StepError| {
            tracing::info!(server = %self.record.server, %error, "a backup or restore failed");
            // Should a game still be held still, the look lets it go.
            self.instance.look_soon();
            Answer::Failed { reason: error.to_string(), retryable: error.retryable() }
        });
        self.conclude_archive(&beside.command, answer).await;
    }

    /// Now and then forgets data from before a restore.
    pub(super) async fn sweep_old_data(&mut self) {
        let now = self.now();
        if self.swept.is_some_and(|at| now.since(at) < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        let home = self.instance.folder.home();
        let swept = self.ctx.blocking("forget old data", move || swap::forget_older(&home, now.0 - UNDO_KEPT)).await;
        if let Err(error) = swept {
            tracing::warn!(server = %self.record.server, %error, "data from before a restore could not be removed");
        }
    }
}
