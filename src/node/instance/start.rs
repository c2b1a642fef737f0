//! Start and wake: the game's process, the wait for its first answer, the run that is paid for.

use super::parts::game_name;
use super::probe::Probe;
use super::worker::{Waiting, Worker};
use crate::model::games::Ready;
use crate::model::ids::CommandId;
use crate::model::servers::Seen;
use crate::node::console::{Console, TTY_WINDOW};
use crate::node::docker::DockerError;
use crate::node::error::StepError;
use crate::node::record::{Answer, Intent};
use crate::wire::agent::EventKind;
use crate::wire::door::GameIs;
use crate::wire::spec::InstanceSpec;

/// Seconds that a game which never answered is given to end before it is killed.
const LATE_WAIT_SECS: u32 = 10;

impl Worker {
    /// None: the answer comes when the game does.
    pub(super) async fn start(&mut self, command: &CommandId) -> Result<Option<Answer>, StepError> {
        let spec = self.spec()?;
        if !matches!(self.record.intent, Intent::Up | Intent::Down) {
            return Err(StepError::NotPrepared);
        }
        self.look().await?;
        match self.game {
            GameIs::Up => return Ok(Some(Answer::Running)),
            GameIs::Starting if self.waiting.is_some() => return Ok(None),
            GameIs::Starting | GameIs::Down => {}
        }
        self.break_off_reading().await;
        let ctx = std::sync::Arc::clone(&self.ctx);
        let _turn = ctx.turns.acquire().await;
        self.ctx.firewall.ensure().await?;
        self.ensure_network(&spec).await?;
        self.ensure_door(&spec).await?;
        self.know_image(&spec, false).await?;
        self.ensure_data(&spec, Some(command)).await?;
        self.ensure_volumes(&spec).await?;
        self.ensure_game(&spec).await?;
        let before = self.ctx.engine.inspect(&game_name(&spec.server)).await?.map(|game| game.started).unwrap_or_default();
        self.record.started_before = before;
        self.record.intent = Intent::Up;
        self.record.exited = None;
        self.save().await?;
        self.publish(Seen::Starting { since: self.now() }).await;
        self.run_game(&spec).await?;
        self.watch(&spec).await?;
        Ok(None)
    }

    /// The short way: Docker's start and nothing before it. A kill in here leaves a running game and a record that says down; the
    /// next look takes that for what it is.
    pub(super) async fn wake_up(&mut self) -> Result<(), StepError> {
        let spec = self.spec()?;
        self.break_off_reading().await;
        self.know_image(&spec, false).await?;
        if !self.data_is_made(&spec) {
            self.ensure_data(&spec, None).await?;
        }
        self.ensure_volumes(&spec).await?;
        let (_, revision) = self.game_plan(&spec)?;
        if self.game_made.as_ref() != Some(&revision) {
            self.ctx.firewall.ensure().await?;
            self.ensure_network(&spec).await?;
            self.ensure_game(&spec).await?;
        }
        match self.run_game(&spec).await {
            Err(StepError::Docker(DockerError::NotFound(_))) => {
                self.ensure_network(&spec).await?;
                self.ensure_game(&spec).await?;
                self.run_game(&spec).await?;
            }
            other => other?,
        }
        let now = self.now();
        self.record.intent = Intent::Up;
        self.record.exited = None;
        self.record.woken_at = Some(now);
        self.publish(Seen::Starting { since: now }).await;
        Ok(())
    }

    /// Docker's start of the game that was made, heard from its first word on.
    async fn run_game(&mut self, spec: &InstanceSpec) -> Result<(), StepError> {
        let name = game_name(&spec.server);
        Console::listen(&self.ctx, &self.instance, spec.tty, self.word(), true).await;
        match self.ctx.engine.start(&name).await {
            Err(error) if self.ctx.bounds_refused.note(error.words()) => {
                tracing::warn!(server = %spec.server, %error, "this machine does not take one of the bounds; games go on without it");
                self.ensure_game(spec).await?;
                Console::listen(&self.ctx, &self.instance, spec.tty, self.word(), true).await;
                self.ctx.engine.start(&name).await?;
            }
            other => other?,
        }
        if spec.tty
            && let Err(error) = self.ctx.engine.resize(&name, TTY_WINDOW).await
        {
            tracing::info!(server = %spec.server, %error, "the game's terminal keeps the engine's size");
        }
        Ok(())
    }

    /// What the game says when it is ready, where that is the way to know.
    pub(super) fn word(&self) -> Option<String> {
        match &self.record.spec.as_ref()?.ready {
            Ready::LogLine { contains } => Some(contains.clone()),
            Ready::TcpAccept { .. } | Ready::UdpAnswer { .. } => None,
        }
    }

    /// What a wake has left for after the sidecar's answer.
    pub(super) async fn after_wake(&mut self) {
        if self.waiting.is_some() || self.game == GameIs::Up {
            return;
        }
        if let Err(error) = self.save().await {
            tracing::warn!(server = %self.record.server, %error, "could not write the record");
        }
        if let Err(error) = self.look().await {
            tracing::warn!(server = %self.record.server, %error, "could not look at a game that was woken");
        }
    }

    /// Watches a game that has been started until it answers.
    async fn watch(&mut self, spec: &InstanceSpec) -> Result<(), StepError> {
        self.look().await?;
        if self.waiting.is_none() && self.game == GameIs::Down {
            let words = match self.seen {
                Seen::Exited { code, oom, .. } => crate::node::error::ended_words(code, oom, spec.memory_mib),
                Seen::Unknown | Seen::Absent | Seen::Asleep | Seen::Starting { .. } | Seen::Running { .. } | Seen::Gone => {
                    "The game's container went away while it started".to_owned()
                }
            };
            return Err(StepError::Ended(words));
        }
        Ok(())
    }

    /// Begins to wait for the first answer of a game whose process is up.
    pub(super) fn begin_waiting(&mut self, spec: &InstanceSpec, started: &str) -> Result<(), StepError> {
        if self.waiting.is_none() {
            let address = self.subnet(spec)?.game();
            let probe = Probe::new(&self.ctx, spec, address, started.to_owned(), self.instance.console.ear());
            self.waiting = Some(Waiting { commands: std::collections::VecDeque::new(), probe });
        }
        self.instance.started.notify_waiters();
        Ok(())
    }

    /// It answers.
    pub(super) async fn ready(&mut self, now: crate::model::time::Millis) {
        let commands = self.waiting.take().map(|waiting| waiting.commands).unwrap_or_default();
        self.record.start_ends(now);
        self.record.run_begins(now);
        let since = self.record.open_run().map_or(now, |run| run.from);
        self.instance.show(|view| view.alive_at = Some(now));
        self.publish(Seen::Running { since }).await;
        if let Err(error) = self.save().await {
            tracing::warn!(server = %self.record.server, %error, "could not write the record");
        }
        if commands.is_empty() {
            self.ctx.tell(&self.record.server, None, EventKind::Running(self.instance.report())).await;
        }
        for command in commands {
            self.conclude(&command, Answer::Running).await;
        }
    }

    /// It never answered: it is ended, so that a retry starts from the beginning.
    pub(super) async fn late(&mut self, secs: u32) {
        let waiting = self.waiting.take();
        let ended = self.end_game(Some(LATE_WAIT_SECS)).await;
        if let Err(error) = ended {
            tracing::warn!(server = %self.record.server, %error, "could not end a game that did not answer");
        }
        let _looked = self.look().await;
        let error = StepError::NotReady(secs);
        if let Some(waiting) = waiting.filter(|waiting| !waiting.commands.is_empty()) {
            self.waiting = Some(waiting);
            self.disappoint(&error).await;
        } else {
            let kind = EventKind::Failed { reason: error.to_string(), retryable: error.retryable(), report: Some(self.instance.report()) };
            self.ctx.tell(&self.record.server, None, kind).await;
        }
    }
}
