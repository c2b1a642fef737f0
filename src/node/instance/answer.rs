//! How the worker shows, remembers and tells: the view for everybody, the record on the disk, the answer to the panel.

use super::worker::Worker;
use crate::model::ids::CommandId;
use crate::model::servers::Seen;
use crate::node::ctx::Ctx;
use crate::node::error::StepError;
use crate::node::record::{self, Answer, Intent};
use crate::wire::agent::EventKind;
use crate::wire::door::{DoorState, GameIs, STATE_FILE, Verdict};

impl Worker {
    /// Answers a command for the first time: remembered before it is told, so that it can be told again.
    pub(super) async fn conclude(&mut self, command: &CommandId, answer: Answer) {
        self.record.last_answer = Some((command.clone(), answer.clone()));
        self.keep_and_tell(command, &answer).await;
    }

    /// The same for backups, restores and their undoing: the steps of life have their own last answer.
    pub(super) async fn conclude_archive(&mut self, command: &CommandId, answer: Answer) {
        self.record.last_archive_answer = Some((command.clone(), answer.clone()));
        self.keep_and_tell(command, &answer).await;
    }

    async fn keep_and_tell(&mut self, command: &CommandId, answer: &Answer) {
        if let Err(error) = self.save().await {
            tracing::warn!(server = %self.record.server, %error, "could not write the record");
        }
        self.answer(command, answer).await;
    }

    /// Tells an answer, with what is there now.
    pub(super) async fn answer(&self, command: &CommandId, answer: &Answer) {
        let report = self.instance.report();
        let kind = match answer {
            Answer::Prepared => EventKind::Prepared(report),
            Answer::Running => EventKind::Running(report),
            Answer::Stopped => EventKind::Stopped(report),
            Answer::Busy { players } => EventKind::Busy { players: *players },
            Answer::Destroyed => EventKind::Destroyed,
            Answer::BackedUp(archived) => EventKind::BackedUp(archived.clone()),
            Answer::Restored => EventKind::Restored(report),
            Answer::Failed { reason, retryable } => {
                EventKind::Failed { reason: reason.clone(), retryable: *retryable, report: Some(report) }
            }
        };
        self.ctx.tell(&self.record.server, Some(command), kind).await;
    }

    /// Writes the record; it is on the disk when this returns.
    pub(super) async fn save(&mut self) -> Result<(), StepError> {
        self.record.alive_at = self.instance.view().alive_at.or(self.record.alive_at);
        let (folder, record) = (self.instance.folder.clone(), self.record.clone());
        self.ctx.blocking("write the server's record", move || folder.save(&record)).await
    }

    /// The same for steps that end something: that the disk is full must not keep a game running or its data from going. Until there
    /// is room, a kill of the agent forgets it, and the next look and the panel's next command find out again. True: it was written.
    pub(super) async fn save_if_room(&mut self) -> Result<bool, StepError> {
        match self.save().await {
            Err(error) if error.is_full_disk() => {
                tracing::warn!(server = %self.record.server, %error, "the record could not be written; going on without");
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }

    /// Shows what was seen, to the panel's heartbeat and to the sidecar.
    pub(super) async fn publish(&mut self, seen: Seen) {
        self.seen = seen;
        self.game = match seen {
            Seen::Running { .. } => GameIs::Up,
            Seen::Starting { .. } => GameIs::Starting,
            Seen::Unknown | Seen::Absent | Seen::Asleep | Seen::Exited { .. } | Seen::Gone => GameIs::Down,
        };
        self.tell_door().await;
    }

    /// Tells the sidecar first and everybody else then: who hears that it sleeps finds a door that says the same.
    pub(super) async fn tell_door(&mut self) {
        let door = self.door_state();
        self.write_state(&door).await;
        self.refresh(door);
    }

    fn door_state(&mut self) -> DoorState {
        let spec = self.record.spec.as_ref();
        self.word.number += 1;
        DoorState {
            game: self.game,
            name: spec.map(|spec| spec.name.clone()).unwrap_or_default(),
            wake: spec.map_or(Verdict::Refused { reason: "This server is being set up.".to_owned() }, |spec| spec.wake.clone()),
            word: self.word,
        }
    }

    /// Puts the record's and the worker's knowledge into the view.
    fn refresh(&self, door: DoorState) {
        let spec = self.record.spec.as_ref();
        let prepared = !matches!(self.seen, Seen::Absent | Seen::Gone | Seen::Unknown);
        let revision = spec.filter(|_| prepared).map(crate::wire::spec::InstanceSpec::revision).unwrap_or_default();
        let record = &self.record;
        let seen = self.seen;
        self.instance.show(|view| {
            view.report.seen = seen;
            view.report.revision = revision;
            view.report.runs.clone_from(&record.runs);
            view.report.starts.clone_from(&record.starts);
            view.report.woken_at = record.woken_at;
            view.door = door;
            view.memory_mib = spec.map_or(0, |spec| spec.memory_mib);
            view.gone = record.intent == Intent::Gone;
            view.door_expected = matches!(record.intent, Intent::Up | Intent::Down) && spec.is_some();
        });
    }

    /// Rewrites the sidecar's state file. It is a hint that saves the sidecar a question: that it fails stops nothing.
    async fn write_state(&self, state: &DoorState) {
        let folder = self.instance.folder.door();
        if !matches!(self.record.intent, Intent::Up | Intent::Down) || !folder.is_dir() {
            return;
        }
        let Ok(text) = serde_json::to_vec(state) else { return };
        let path = folder.join(STATE_FILE);
        let owner = Ctx::door_owner();
        let write = move || record::replace(&path, &text, 0o600, owner, false);
        if let Err(error) = self.ctx.blocking("write the door's state", write).await {
            tracing::warn!(server = %self.record.server, %error, "could not write the door's state");
        }
    }

    /// Opens the socket that the sidecar speaks to, if it is not open.
    pub(super) fn open_door_socket(&mut self) {
        if self.door_socket.is_some() {
            return;
        }
        let end = self.ctx.stop.child_token();
        match crate::node::door::open(&self.ctx, &self.instance, end.clone()) {
            Ok(()) => self.door_socket = Some(end.drop_guard()),
            Err(error) => tracing::warn!(server = %self.record.server, %error, "the sidecar's socket cannot be opened"),
        }
    }
}
