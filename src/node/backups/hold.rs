//! A running game while its data are read: it writes everything down by its own command, or is held still for a moment.
//!
//! What was begun is ended whatever happens between: lines that follow are sent, and a game that is held is let go. After a kill of the
//! agent, the worker's look lets it go.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Order;
use crate::model::games::Save;
use crate::node::console::{Lines, entered};
use crate::node::ctx::Ctx;
use crate::node::docker::DockerError;

/// Longest time that a game without a save command is held still; what is read later may change while it is read.
pub const HELD_MAX: Duration = Duration::from_secs(20);
/// Most seconds that a save command is waited for.
const SAVE_SECS_MAX: u32 = 120;
/// Between two tries to read the log.
const LOG_AGAIN: Duration = Duration::from_millis(250);

/// What is owed to the game.
pub struct Hold<'a> {
    ctx: &'a Ctx,
    order: &'a Order,
    paused: bool,
    saved: bool,
    /// For the owner.
    pub note: Option<String>,
}

impl<'a> Hold<'a> {
    pub fn new(ctx: &'a Ctx, order: &'a Order) -> Hold<'a> {
        Hold { ctx, order, paused: false, saved: false, note: None }
    }

    /// The game is held still now.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Makes the data stay as they are, as far as it can be had. A game that does not run is left alone.
    pub async fn begin(&mut self, cancel: &CancellationToken) -> Result<(), DockerError> {
        let game = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            game = self.ctx.engine.inspect(&self.order.game) => game?,
        };
        if !game.is_some_and(|game| game.running) {
            return Ok(());
        }
        if let Some(save) = &self.order.save {
            let since = u64::try_from(self.ctx.clock.now().0).unwrap_or_default().saturating_mul(1_000_000);
            self.saved = true;
            self.write(&save.before).await;
            tokio::select! {
                () = cancel.cancelled() => {}
                done = self.saved(save, since) => if !done {
                    self.note = Some(format!("The game did not say within {} seconds that it had saved", save.wait_secs));
                },
            }
        } else {
            // Not broken off: a pause that comes after its end would last. Owed from now on: an engine that says nothing may have done it.
            self.paused = true;
            self.paused = self.ctx.engine.pause(&self.order.game).await?;
        }
        Ok(())
    }

    async fn write(&self, lines: &[String]) {
        for line in lines {
            let typed = entered(line, self.order.tty);
            if let Err(error) = self.ctx.engine.write_stdin(&self.order.game, &typed).await {
                tracing::info!(server = %self.order.server, %error, "a line about saving could not be sent to the game");
            }
        }
    }

    /// False: the game has not said it in time.
    async fn saved(&self, save: &Save, since: u64) -> bool {
        let at_most = Duration::from_secs(u64::from(save.wait_secs.min(SAVE_SECS_MAX)));
        if let Some(words) = &save.done {
            return timeout(at_most, self.says(words, since)).await.is_ok();
        }
        tokio::time::sleep(at_most).await;
        true
    }

    async fn says(&self, words: &str, since: u64) {
        let since_secs = i32::try_from(since / 1_000_000_000).unwrap_or_default();
        loop {
            if let Ok(mut log) = self.ctx.engine.logs(&self.order.game, since_secs, None, true).await {
                let mut reader = Lines::default();
                while let Ok(Some(entry)) = log.entry().await {
                    // An earlier save in the same second does not count.
                    if reader.take(&entry).any(|line| line.seq >= since && line.text.contains(words)) {
                        return;
                    }
                }
            }
            tokio::time::sleep(LOG_AGAIN).await;
        }
    }

    /// Lets the game go; asked again, it does nothing.
    pub async fn end(&mut self) {
        if std::mem::take(&mut self.paused)
            && let Err(error) = self.ctx.engine.unpause(&self.order.game).await
        {
            tracing::warn!(server = %self.order.server, %error, "a game that was held still could not be let go; the next look tries again");
        }
        if std::mem::take(&mut self.saved)
            && let Some(save) = &self.order.save
        {
            self.write(&save.after).await;
        }
    }
}
