//! The one who acts on a server: takes one job after the other, while a game that is starting is watched beside them.
//!
//! Whatever is broken off here, by a kill or by a newer command, is found again by the next look: nothing is remembered only in
//! memory that the next job needs.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;

use super::backup::{Beside, BesideEnd, beside_end};
use super::data::Data;
use super::health::Health;
use super::probe::{Probe, ProbeEnd};
use super::{Instance, Job};
use crate::model::ids::CommandId;
use crate::model::servers::Seen;
use crate::model::time::{MINUTE, Millis};
use crate::node::ctx::Ctx;
use crate::node::error::StepError;
use crate::node::record::{Answer, Intent, Record};
use crate::wire::agent::{Action, Command, EventKind};
use crate::wire::door::{GameIs, Verdict, WakeAnswer, WakeRequest, Word};

/// A refused wake is told once in this time.
const REFUSAL_EVERY: i64 = MINUTE;
/// Commands that wait for one start; more than these get their answer from the record.
const WAITING_MAX: usize = 16;

/// A game that has been started and has not answered yet.
pub struct Waiting {
    /// Whom to answer; empty: it woke by itself.
    pub commands: VecDeque<CommandId>,
    /// Watches it.
    pub probe: Probe,
}

/// Owns the record of one server.
pub struct Worker {
    pub(super) ctx: Arc<Ctx>,
    pub(super) instance: Arc<Instance>,
    pub(super) record: Record,
    pub(super) seen: Seen,
    pub(super) game: GameIs,
    /// The last word to the sidecar.
    pub(super) word: Word,
    pub(super) waiting: Option<Waiting>,
    pub(super) door_socket: Option<DropGuard>,
    /// Hash of the game container that exists, as far as known: a wake need not look first.
    pub(super) game_made: Option<String>,
    /// The data as they were made last, as far as known.
    pub(super) data: Option<Data>,
    /// A backup that is made, or one that is brought here.
    pub(super) beside: Option<Beside>,
    /// Whether it answers while it runs.
    pub(super) health: Health,
    /// When it was last looked whether there are old data to forget.
    pub(super) swept: Option<Millis>,
}

/// What became of a command.
pub(super) enum Done {
    /// This is the answer.
    Answer(Answer),
    /// The game's first answer is the answer.
    WithGame,
    /// It goes on beside the worker, which is told of its end.
    Beside,
}

enum Turn {
    Job(Option<Job>),
    Probe(ProbeEnd),
    Beside(BesideEnd),
}

async fn probe_end(waiting: Option<&mut Waiting>) -> ProbeEnd {
    match waiting {
        Some(waiting) => (&mut waiting.probe).await,
        None => std::future::pending().await,
    }
}

impl Worker {
    pub(super) fn new(ctx: Arc<Ctx>, instance: Arc<Instance>, record: Record) -> Worker {
        let seen = instance.view().report.seen;
        let mut random = [0; 8];
        // Without randomness the sidecar takes whatever it hears last.
        let agent = getrandom::fill(&mut random).map_or(0, |()| u64::from_le_bytes(random));
        Worker {
            ctx,
            instance,
            record,
            seen,
            game: GameIs::Down,
            word: Word { agent, number: 0 },
            waiting: None,
            door_socket: None,
            game_made: None,
            data: None,
            beside: None,
            health: Health::default(),
            swept: None,
        }
    }

    pub(super) async fn run(mut self, queue: &mut mpsc::Receiver<Job>) {
        let stop = self.ctx.stop.clone();
        if self.record.spec.is_some() && !matches!(self.record.intent, Intent::Gone) {
            self.open_door_socket();
        }
        if let Err(error) = self.settle().await {
            tracing::error!(server = %self.record.server, %error, "an exchange of data that was broken off cannot be ended");
        }
        loop {
            let turn = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                end = probe_end(self.waiting.as_mut()) => Turn::Probe(end),
                end = beside_end(self.beside.as_mut()) => Turn::Beside(end),
                job = queue.recv() => Turn::Job(job),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                goes_on = self.turn(turn) => if !goes_on { return },
            }
        }
    }

    async fn turn(&mut self, turn: Turn) -> bool {
        match turn {
            Turn::Job(None) => return false,
            Turn::Job(Some(Job::Orphan)) => return !self.orphan().await,
            Turn::Job(Some(Job::Command(command))) => {
                self.instance.dequeued(&command.id, super::ends(&command.action));
                self.command(&command).await;
            }
            Turn::Job(Some(Job::Wake { request, reply, place })) => {
                drop(place);
                self.wake(&request, reply).await;
            }
            Turn::Job(Some(Job::Look)) => {
                self.instance.look_queued.store(false, std::sync::atomic::Ordering::SeqCst);
                let ctx = Arc::clone(&self.ctx);
                let turn = ctx.turns.acquire().await;
                if let Err(error) = self.look().await {
                    tracing::debug!(server = %self.record.server, %error, "could not look");
                }
                drop(turn);
                self.check_health().await;
            }
            Turn::Probe(end) => self.probed(end).await,
            Turn::Beside(end) => self.beside_ended(end).await,
        }
        true
    }

    async fn command(&mut self, command: &Command) {
        let server = self.record.server.clone();
        let archival = super::is_archival(&command.action);
        let known = if archival { &self.record.last_archive_answer } else { &self.record.last_answer };
        if let Some((id, answer)) = known
            && *id == command.id
        {
            let answer = answer.clone();
            self.answer(&command.id, &answer).await;
            return;
        }
        let waits = self.waiting.as_ref().is_some_and(|waiting| waiting.commands.contains(&command.id));
        if waits || self.beside.as_ref().is_some_and(|beside| beside.command == command.id) {
            return self.ctx.tell(&server, Some(&command.id), EventKind::Accepted).await;
        }
        if !archival {
            if command.generation < self.record.generation {
                let answer = Answer::Failed { reason: StepError::Outdated.to_string(), retryable: false };
                return self.answer(&command.id, &answer).await;
            }
            self.record.generation = command.generation;
        }
        self.ctx.tell(&server, Some(&command.id), EventKind::Accepted).await;
        let done = match self.carry_out(command).await {
            Ok(Done::Answer(answer)) => answer,
            Ok(Done::WithGame) => return self.wait_too(&command.id),
            Ok(Done::Beside) => return,
            Err(error) => {
                if matches!(command.action, Action::DestroyInstance) {
                    tracing::warn!(%server, %error, "a server could not be removed; the panel asks again");
                } else {
                    tracing::info!(%server, %error, "a command failed");
                }
                let _looked = self.look().await;
                Answer::Failed { reason: error.to_string(), retryable: error.retryable() }
            }
        };
        if archival { self.conclude_archive(&command.id, done).await } else { self.conclude(&command.id, done).await }
    }

    async fn carry_out(&mut self, command: &Command) -> Result<Done, StepError> {
        match &command.action {
            Action::PrepareInstance { spec } => self.prepare(&command.id, spec).await.map(Done::Answer),
            Action::StartInstance => Ok(self.start(&command.id).await?.map_or(Done::WithGame, Done::Answer)),
            Action::StopInstance { keep_door, unless_busy } => self.stop(*keep_door, *unless_busy).await.map(Done::Answer),
            Action::DestroyInstance => self.destroy().await.map(Done::Answer),
            Action::BackupInstance { backup, save } => self.begin_backup(&command.id, backup, save.as_ref()).await,
            Action::RestoreInstance { backup, try_only } => self.begin_restore(&command.id, backup, *try_only).await,
            Action::UndoRestore => self.undo_restore().await.map(Done::Answer),
        }
    }

    fn wait_too(&mut self, command: &CommandId) {
        if let Some(waiting) = &mut self.waiting {
            if waiting.commands.len() >= WAITING_MAX {
                waiting.commands.pop_front();
            }
            waiting.commands.push_back(command.clone());
        }
    }

    /// Somebody is at the door. The way from here to Docker's start is as short as can be: nothing is written before it.
    async fn wake(&mut self, request: &WakeRequest, reply: oneshot::Sender<WakeAnswer>) {
        let verdict = self.record.spec.as_ref().map(|spec| spec.wake.clone());
        let started = match (&self.game, self.record.intent, &verdict) {
            (GameIs::Up | GameIs::Starting, Intent::Up, _) => {
                // The sidecar asks because nobody answered it: perhaps the game has just ended.
                self.instance.look_soon();
                true
            }
            (_, Intent::Down, Some(Verdict::Allowed)) => {
                self.tell_wake(request, true);
                match self.wake_up().await {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::warn!(server = %self.record.server, %error, "could not wake");
                        let reason = error.to_string();
                        let _looked = self.look().await;
                        let kind = EventKind::Failed { reason, retryable: error.retryable(), report: Some(self.instance.report()) };
                        self.ctx.tell(&self.record.server, None, kind).await;
                        false
                    }
                }
            }
            (GameIs::Down | GameIs::Starting | GameIs::Up, Intent::Up | Intent::Down | Intent::Absent | Intent::Gone, _) => {
                self.tell_wake(request, false);
                false
            }
        };
        let state = self.instance.view().door;
        // The sidecar may have given up meanwhile; then nobody waits for the answer.
        let _sent = reply.send(WakeAnswer { started, state });
        if started {
            self.after_wake().await;
        }
    }

    fn tell_wake(&self, request: &WakeRequest, started: bool) {
        let now = self.ctx.clock.now();
        if !started {
            let mut side = self.instance.door_side();
            if side.refusal_told.is_some_and(|at| now.since(at) < REFUSAL_EVERY) {
                return;
            }
            side.refusal_told = Some(now);
        }
        let client = request.client.chars().filter(|c| !c.is_control()).take(64).collect();
        self.ctx.tell_now(&self.record.server, None, EventKind::Wake { client, port: request.port, started });
    }

    /// The game has ended for good or its wait has: who waited for its start is answered.
    pub(super) async fn disappoint(&mut self, error: &StepError) {
        let Some(waiting) = self.waiting.take() else { return };
        for command in waiting.commands {
            self.conclude(&command, Answer::Failed { reason: error.to_string(), retryable: error.retryable() }).await;
        }
    }

    async fn probed(&mut self, end: ProbeEnd) {
        let now = self.ctx.clock.now();
        match end {
            ProbeEnd::Ready => self.ready(now).await,
            ProbeEnd::Ended => {
                if let Err(error) = self.look().await {
                    tracing::debug!(server = %self.record.server, %error, "could not look");
                }
            }
            ProbeEnd::Late(secs) => self.late(secs).await,
        }
    }

    pub(super) fn now(&self) -> Millis {
        self.ctx.clock.now()
    }
}
