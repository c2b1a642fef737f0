//! The look: what is there, whatever anybody believed, and what follows from it.
//!
//! Asked for at the start, after Docker's events, when a heartbeat finds a difference, and around every command. Docker's word about
//! the process beats the record; the record says what an end meant.

use std::time::Duration;

use super::parts::{door_name, game_name, network_name};
use super::worker::Worker;
use crate::model::servers::Seen;
use crate::model::time::Millis;
use crate::node::console::Console;
use crate::node::docker::Container;
use crate::node::error::{StepError, ended_words};
use crate::node::record::{Exit, Intent};
use crate::wire::agent::EventKind;

/// Exit code of a process that was killed.
const KILLED: i64 = 137;
/// How often, and how many times, it is asked whether memory was the reason.
const OOM_EVERY: Duration = Duration::from_millis(50);
const OOM_TRIES: u32 = 10;

impl Worker {
    /// Looks, records, shows and tells.
    pub(super) async fn look(&mut self) -> Result<(), StepError> {
        if self.record.intent == Intent::Gone {
            self.publish(Seen::Gone).await;
            return Ok(());
        }
        let game = self.ctx.engine.inspect(&game_name(&self.record.server)).await?;
        self.sweep_old_data().await;
        if game.as_ref().is_some_and(|game| game.running && game.paused) && !self.holds_game() {
            // Held still for a backup by an agent that was killed meanwhile.
            tracing::info!(server = %self.record.server, "a game that was held still is let go");
            self.ctx.engine.unpause(&game_name(&self.record.server)).await?;
        }
        let running = game.as_ref().filter(|game| game.running);
        self.instance.show(|view| {
            view.pid = running.and_then(|game| game.pid);
            view.started = running.map(|game| game.started.clone()).unwrap_or_default();
            // As it was made, not as it will be.
            view.tty = game.as_ref().map_or(view.tty, |game| game.tty);
        });
        match game {
            Some(game) if game.running => self.look_running(&game).await,
            Some(game) => self.look_ended(&game).await,
            None => self.look_absent().await,
        }
    }

    async fn look_running(&mut self, game: &Container) -> Result<(), StepError> {
        let now = self.now();
        self.instance.show(|view| view.alive_at = Some(now));
        if self.record.intent != Intent::Up {
            // Woken just before a kill, or started by hand: what runs, runs, and the panel hears of it.
            self.record.intent = Intent::Up;
            self.record.woken_at = game.started_at.or(Some(now));
            self.record.exited = None;
            self.save().await?;
        }
        if self.instance.console.ear().is_none() {
            // Of an agent that has come later than the game: it hears what comes from now on.
            Console::listen(&self.ctx, &self.instance, game.tty, self.word(), false).await;
        }
        let since = game.started_at.unwrap_or(now);
        if self.record.open_run().is_some_and(|run| run.from < since) {
            // The process of that run ended and another one began while nobody looked.
            let ended = game.finished_at.filter(|end| *end <= since).unwrap_or(since);
            self.record.run_ends(ended);
            self.save().await?;
        }
        match (self.record.open_run(), self.record.spec.clone()) {
            (Some(run), _) => self.publish(Seen::Running { since: run.from }).await,
            (None, Some(spec)) => {
                let new = self.record.start_begins(since);
                self.publish(Seen::Starting { since }).await;
                self.begin_waiting(&spec, &game.started)?;
                if new {
                    self.save().await?;
                }
            }
            (None, None) => self.publish(Seen::Starting { since }).await,
        }
        if let Err(error) = self.heal_network(game).await {
            tracing::warn!(server = %self.record.server, %error, "the game has lost its network and could not be given it back");
        }
        self.heal_door().await;
        Ok(())
    }

    async fn look_ended(&mut self, game: &Container) -> Result<(), StepError> {
        let ended = game.finished_at.or(self.record.alive_at);
        if let (true, Some(at)) = (self.record.open_run().is_some() || self.record.open_start().is_some(), ended) {
            self.record.run_ends(at);
            self.record.start_ends(at);
            self.save().await?;
        }
        let never_started = game.unstarted || game.started == self.record.started_before;
        if self.record.intent == Intent::Up && never_started {
            self.record.intent = Intent::Down;
            self.save().await?;
        }
        if self.record.intent != Intent::Up {
            self.waiting = None;
            let door = self.heal_door().await;
            // Without its door it would not wake: then it has to be prepared again, which says why.
            self.publish(if door { Seen::Asleep } else { Seen::Absent }).await;
            return Ok(());
        }
        let at = game.finished_at.unwrap_or_else(|| self.now());
        let known = self.record.exited.is_some_and(|exit| exit.at == at && exit.oom);
        let oom = game.oom || known || self.told_of_memory(game).await;
        let exit = Exit { code: game.exit_code, oom, at };
        let news = self.record.exited != Some(exit);
        self.record.exited = Some(exit);
        self.publish(Seen::Exited { code: exit.code, oom: exit.oom, at: exit.at }).await;
        if news {
            self.save().await?;
            let memory = self.record.spec.as_ref().map_or(0, |spec| spec.memory_mib);
            self.disappoint(&StepError::Ended(ended_words(exit.code, exit.oom, memory))).await;
            self.ctx.tell(&self.record.server, None, EventKind::Exited(self.instance.report())).await;
        }
        self.heal_door().await;
        Ok(())
    }

    /// Docker sometimes notes a process's end before it hears from the kernel why, and then only its event says it, a little later.
    async fn told_of_memory(&self, game: &Container) -> bool {
        if game.exit_code != KILLED {
            return false;
        }
        // An end that has been told already is only corrected, not waited for.
        let told_before = self.record.exited.is_some_and(|exit| Some(exit.at) == game.finished_at);
        for _ in 0..if told_before { 1 } else { OOM_TRIES } {
            let told = self.instance.view().oom_at;
            if told.is_some_and(|at| game.started_at.is_none_or(|started| at >= started)) {
                return true;
            }
            tokio::time::sleep(OOM_EVERY).await;
        }
        false
    }

    async fn look_absent(&mut self) -> Result<(), StepError> {
        self.game_made = None;
        let alive_at = self.instance.view().alive_at.or(self.record.alive_at);
        let expected = self.record.intent != Intent::Absent;
        self.record.start_ends(alive_at.unwrap_or(Millis(0)));
        let was_up = self.record.intent == Intent::Up;
        if self.record.open_run().is_some() {
            self.record.run_ends(alive_at.unwrap_or(Millis(0)));
        }
        if was_up {
            self.record.intent = Intent::Down;
            self.record.exited = None;
        }
        let news = self.seen != Seen::Absent;
        self.publish(Seen::Absent).await;
        if expected && was_up {
            self.save().await?;
        }
        self.disappoint(&StepError::Ended("The game's container was removed by somebody else on the node".to_owned())).await;
        if expected && was_up && news {
            self.ctx.tell(&self.record.server, None, EventKind::Exited(self.instance.report())).await;
        }
        if self.record.intent == Intent::Absent && self.record.spec.is_some() {
            // What a kill in the middle of a stop has left.
            self.ctx.engine.remove(&door_name(&self.record.server)).await?;
            self.ctx.engine.remove_network(&network_name(&self.record.server)).await?;
        }
        Ok(())
    }

    /// Gives a running game its network back, where somebody took it away: its process runs, and nobody could reach it.
    async fn heal_network(&mut self, game: &Container) -> Result<(), StepError> {
        let Some(spec) = self.record.spec.clone() else { return Ok(()) };
        let network = network_name(&spec.server);
        if game.networks.contains(&network) {
            return Ok(());
        }
        if self.ctx.engine.network(&network).await?.is_none() {
            self.ensure_network(&spec).await?;
        }
        let address = self.subnet(&spec)?.game().to_string();
        self.ctx.engine.connect(&network, &game_name(&spec.server), &address).await?;
        let text = "The game had lost its network, so nobody could reach it. It has it back.".to_owned();
        self.ctx.tell(&self.record.server, None, EventKind::Note { text }).await;
        Ok(())
    }

    /// Brings the sidecar back where it should be and is not. True: it is there, or not expected.
    async fn heal_door(&mut self) -> bool {
        let Some(spec) = self.record.spec.clone().filter(|_| self.record.intent != Intent::Absent) else { return true };
        match self.ctx.engine.inspect(&door_name(&spec.server)).await {
            Ok(Some(door)) if door.running && door.networks.contains(&network_name(&spec.server)) => true,
            Ok(door) => match self.ensure_door_and_network(&spec, door.is_some_and(|door| door.running)).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(server = %spec.server, %error, "the sidecar is away and could not be brought back");
                    false
                }
            },
            Err(_) => true,
        }
    }

    /// `cut_off`: it runs without its network, and its ports went with that. Whoever played through it is gone already.
    async fn ensure_door_and_network(&mut self, spec: &crate::wire::spec::InstanceSpec, cut_off: bool) -> Result<(), StepError> {
        if cut_off {
            self.ctx.engine.remove(&door_name(&spec.server)).await?;
        }
        if self.ctx.engine.network(&network_name(&spec.server)).await?.is_none() {
            self.ensure_network(spec).await?;
        }
        self.ensure_door(spec).await
    }
}
