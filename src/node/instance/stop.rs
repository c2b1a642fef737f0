//! Stop, destroy, and the removal of what nobody knows any more.

use std::time::Duration;

use super::parts::{game_name, network_name, volume_name};
use super::worker::Worker;
use super::{Players, locked};
use crate::model::servers::Seen;
use crate::node::console::entered;
use crate::node::error::StepError;
use crate::node::record::{Answer, Intent};

/// Where the game has a stop command, seconds that it has after the signal that follows an unheard command.
const SIGNAL_WAIT_SECS: u32 = 10;
/// Most seconds that a description can ask for.
const STOP_WAIT_SECS_MAX: u32 = 600;
/// Wait for the kernel to end a killed game.
const KILL_WAIT: Duration = Duration::from_secs(10);

impl Worker {
    pub(super) async fn stop(&mut self, keep_door: bool, unless_busy: bool) -> Result<Answer, StepError> {
        self.look().await?;
        if unless_busy && matches!(self.seen, Seen::Running { .. } | Seen::Starting { .. }) {
            match self.instance.players(self.now()) {
                Players::Known(0) => {}
                Players::Known(players) => return Ok(Answer::Busy { players }),
                // Nobody is put to sleep on a guess.
                Players::Unknown => return Ok(Answer::Busy { players: 0 }),
            }
        }
        if self.record.intent == Intent::Gone {
            return Ok(Answer::Stopped);
        }
        self.end_game(None).await?;
        if keep_door {
            if let Some(spec) = self.record.spec.clone().filter(|_| self.record.intent == Intent::Down) {
                self.ensure_door(&spec).await?;
            }
        } else {
            self.record.intent = Intent::Absent;
            self.save_if_room().await?;
            self.remove_all().await?;
        }
        self.look().await?;
        Ok(Answer::Stopped)
    }

    /// Ends the game's process: by its own command, by a signal, by force. `at_most`: shorter than its description says.
    pub(super) async fn end_game(&mut self, at_most: Option<u32>) -> Result<(), StepError> {
        if self.record.intent == Intent::Up {
            self.record.intent = Intent::Down;
            self.record.exited = None;
            self.save_if_room().await?;
        }
        self.game = crate::wire::door::GameIs::Down;
        self.tell_door().await;
        self.disappoint(&StepError::Superseded).await;
        let name = game_name(&self.record.server);
        let Some(game) = self.ctx.engine.inspect(&name).await? else { return Ok(()) };
        if game.running {
            self.break_off_reading().await;
            if game.paused {
                self.ctx.engine.unpause(&name).await?;
            }
            self.ask_to_end(&name, at_most).await?;
        }
        if let Some(ended) = self.ctx.engine.inspect(&name).await?.and_then(|game| game.finished_at) {
            self.record.run_ends(ended);
            self.record.start_ends(ended);
        }
        self.save_if_room().await?;
        Ok(())
    }

    async fn ask_to_end(&self, name: &str, at_most: Option<u32>) -> Result<(), StepError> {
        let stop = self.record.spec.as_ref().map(|spec| spec.stop.clone());
        let (command, signal, wait_secs) =
            stop.map_or((None, "SIGTERM".to_owned(), SIGNAL_WAIT_SECS), |stop| (stop.command, stop.signal, stop.wait_secs));
        let wait_secs = at_most.unwrap_or(wait_secs).min(wait_secs).clamp(1, STOP_WAIT_SECS_MAX);
        let mut signal_wait_secs = wait_secs;
        if let Some(line) = command {
            signal_wait_secs = SIGNAL_WAIT_SECS.min(wait_secs);
            let typed = entered(&line, self.instance.view().tty);
            match self.ctx.engine.write_stdin(name, &typed).await {
                Ok(()) if self.ctx.engine.wait_end(name, secs(wait_secs)).await? => return Ok(()),
                Ok(()) => {}
                Err(error) => tracing::info!(server = %self.record.server, %error, "the stop command could not be sent"),
            }
        }
        match self.ctx.engine.kill(name, &signal).await {
            Ok(()) if self.ctx.engine.wait_end(name, secs(signal_wait_secs)).await? => return Ok(()),
            Ok(()) => {}
            Err(error) => tracing::info!(server = %self.record.server, %error, "the signal could not be sent"),
        }
        self.ctx.engine.kill(name, "SIGKILL").await?;
        if self.ctx.engine.wait_end(name, KILL_WAIT).await? {
            Ok(())
        } else {
            Err(StepError::Docker(crate::node::docker::DockerError::Slow))
        }
    }

    async fn remove_all(&mut self) -> Result<(), StepError> {
        self.door_socket = None;
        self.remove_containers().await?;
        self.data = None;
        self.ctx.engine.remove_volume(&volume_name(&self.record.server)).await?;
        self.ctx.engine.remove_network(&network_name(&self.record.server)).await?;
        Ok(())
    }

    pub(super) async fn destroy(&mut self) -> Result<Answer, StepError> {
        self.break_off().await;
        if self.record.intent != Intent::Gone {
            self.waiting = None;
            // A run is closed by what Docker knows of its end, so the game ends before its container goes.
            self.end_game(Some(SIGNAL_WAIT_SECS)).await?;
            self.record.intent = Intent::Absent;
            self.save_if_room().await?;
        }
        self.remove_all().await?;
        // Only once the containers are gone is nothing left: a kill before this line leaves a record that still knows them.
        self.record.intent = Intent::Gone;
        self.record.spec = None;
        let written = self.save_if_room().await?;
        let folder = self.instance.folder.clone();
        self.ctx.blocking("remove the server's data", move || folder.destroy()).await?;
        if !written {
            // Now there is room.
            self.save_if_room().await?;
        }
        self.publish(Seen::Gone).await;
        Ok(Answer::Destroyed)
    }

    /// Containers and network go; data are never removed on a list's say-so, only moved aside. True: done.
    pub(super) async fn orphan(&mut self) -> bool {
        self.break_off().await;
        self.waiting = None;
        let removed = async {
            self.remove_all().await?;
            let (folder, now) = (self.instance.folder.clone(), self.now());
            let moved = self.ctx.blocking("move an unknown server's data aside", move || {
                folder.move_aside(now)?;
                folder.forget()
            });
            moved.await
        };
        match removed.await {
            Ok(()) => {
                tracing::info!(server = %self.record.server, "removed the containers of a server that the panel does not know");
                *locked(&self.instance.sample) = None;
                true
            }
            Err(error) => {
                tracing::warn!(server = %self.record.server, %error, "could not remove the containers of an unknown server");
                false
            }
        }
    }
}

fn secs(secs: u32) -> Duration {
    Duration::from_secs(u64::from(secs))
}
