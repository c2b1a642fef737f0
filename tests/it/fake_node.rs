//! A node that a test plays: keeps state as a faithful agent would, and can be told to fail, to lose messages or to crash games.

use std::collections::BTreeMap;

use roost::model::disk::DiskUse;
use roost::model::idleness::Sample;
use roost::model::ids::{CommandId, NodeId, ServerId};
use roost::model::nodes::Load;
use roost::model::servers::{Run, Seen};
use roost::model::time::Millis;
use roost::wire::agent::{Action, Command, Event, EventKind, FromNode, InstanceReport, RUNS_KEPT, ToNode};
use roost::wire::door::Verdict;

#[derive(Debug, Clone)]
pub struct Instance {
    pub seen: Seen,
    pub revision: String,
    pub runs: Vec<Run>,
    pub all_runs: Vec<Run>,
    pub wake: Verdict,
    pub woken_at: Option<Millis>,
    pub generation: i64,
    pub players: u32,
    pub cpu_millis: u32,
    pub disk: Option<DiskUse>,
    pub starts: Vec<Run>,
    pub silent_since: Option<Millis>,
}

/// What the node has, and what it shall do wrong.
#[derive(Default)]
pub struct FakeNode {
    pub instances: BTreeMap<ServerId, Instance>,
    /// Every run that ever was, of servers that are gone too.
    pub past_runs: Vec<(ServerId, Run)>,
    /// Fail the next so many commands with this reason.
    pub failures: u32,
    pub commands: Vec<Command>,
    /// Commands whose answers get lost.
    pub lose_answers: u32,
    /// What games have written; where nothing stands here, the server's id.
    pub data: BTreeMap<ServerId, String>,
    /// The same from before the last restore.
    pub before: BTreeMap<ServerId, String>,
    /// What would give way to any other layers.
    pub own_files: Vec<String>,
    /// Fail the next so many backups and restores with this, worth another try or not.
    pub archive_failures: Vec<(String, bool)>,
}

impl FakeNode {
    pub fn carry_out(&mut self, messages: Vec<(NodeId, ToNode)>, now: Millis) -> Vec<FromNode> {
        let mut answers = Vec::new();
        for (_, message) in messages {
            let ToNode::Command(command) = message else { continue };
            self.commands.push(command.clone());
            let kind = self.answer(&command, now);
            if self.lose_answers > 0 {
                self.lose_answers -= 1;
                continue;
            }
            answers.push(event(&command.server, Some(&command.id), now, kind));
        }
        answers
    }

    fn answer(&mut self, command: &Command, now: Millis) -> EventKind {
        if self.failures > 0 {
            self.failures -= 1;
            let report = self.instances.get(&command.server).map(|instance| report(&command.server, instance, now));
            return EventKind::Failed { reason: "the disk is full".to_owned(), retryable: true, report };
        }
        let stale = self.instances.get(&command.server).is_some_and(|instance| instance.generation > command.generation);
        if stale {
            return EventKind::Failed { reason: "an older command".to_owned(), retryable: false, report: None };
        }
        let id = &command.server;
        match &command.action {
            Action::PrepareInstance { spec } => {
                let instance = self.instances.entry(id.clone()).or_insert_with(|| Instance {
                    seen: Seen::Asleep,
                    revision: String::new(),
                    runs: Vec::new(),
                    all_runs: Vec::new(),
                    wake: spec.wake.clone(),
                    woken_at: None,
                    generation: 0,
                    players: 0,
                    cpu_millis: 0,
                    disk: None,
                    starts: Vec::new(),
                    silent_since: None,
                });
                instance.generation = command.generation;
                instance.revision = spec.revision();
                instance.wake = spec.wake.clone();
                if matches!(instance.seen, Seen::Absent) {
                    instance.seen = Seen::Asleep;
                }
                EventKind::Prepared(report(id, instance, now))
            }
            Action::StartInstance => match self.instances.get_mut(id) {
                Some(instance) => {
                    instance.generation = command.generation;
                    start(instance, now);
                    EventKind::Running(report(id, instance, now))
                }
                None => EventKind::Failed { reason: "not prepared".to_owned(), retryable: true, report: None },
            },
            Action::StopInstance { keep_door, unless_busy } => self.stop(id, command.generation, *keep_door, *unless_busy, now),
            Action::DestroyInstance => {
                self.instances.remove(id);
                EventKind::Destroyed
            }
            // `World::archive` plays these, because they need addresses.
            Action::BackupInstance { .. } | Action::RestoreInstance { .. } | Action::UndoRestore => EventKind::Accepted,
        }
    }

    fn stop(&mut self, id: &ServerId, generation: i64, keep_door: bool, unless_busy: bool, now: Millis) -> EventKind {
        let Some(instance) = self.instances.get_mut(id) else {
            return EventKind::Failed { reason: "nothing to stop".to_owned(), retryable: true, report: None };
        };
        instance.generation = generation;
        if unless_busy && instance.players > 0 {
            return EventKind::Busy { players: instance.players };
        }
        end(instance, if keep_door { Seen::Asleep } else { Seen::Absent }, now);
        self.note_runs();
        EventKind::Stopped(report(id, &self.instances[id], now))
    }

    fn note_runs(&mut self) {
        for (id, instance) in &mut self.instances {
            for run in instance.all_runs.drain(..) {
                self.past_runs.push((id.clone(), run));
            }
        }
    }

    /// Somebody knocks; gives what the node tells the panel.
    pub fn knock(&mut self, id: &ServerId, now: Millis) -> Vec<FromNode> {
        let Some(instance) = self.instances.get_mut(id) else { return Vec::new() };
        let asleep = matches!(instance.seen, Seen::Asleep);
        if !asleep {
            return Vec::new();
        }
        let started = instance.wake == Verdict::Allowed;
        let wake = EventKind::Wake { client: "192.0.2.7".to_owned(), port: 25_000, started };
        let mut told = vec![event(id, None, now, wake)];
        if started {
            instance.woken_at = Some(now);
            start(instance, now);
            told.push(event(id, None, now, EventKind::Running(report(id, instance, now))));
        }
        told
    }

    /// The game ends by itself.
    pub fn crash(&mut self, id: &ServerId, code: i64, now: Millis) -> Vec<FromNode> {
        let Some(instance) = self.instances.get_mut(id) else { return Vec::new() };
        if !matches!(instance.seen, Seen::Running { .. } | Seen::Starting { .. }) {
            return Vec::new();
        }
        end(instance, Seen::Exited { code, oom: code == 137, at: now }, now);
        self.note_runs();
        vec![event(id, None, now, EventKind::Exited(report(id, &self.instances[id], now)))]
    }

    pub fn heartbeat(&self, now: Millis) -> FromNode {
        let instances = self.instances.iter().map(|(id, instance)| report(id, instance, now)).collect();
        FromNode::Heartbeat { at: now, load: Load::default(), complete: true, instances }
    }
}

fn start(instance: &mut Instance, now: Millis) {
    if !matches!(instance.seen, Seen::Running { .. }) {
        // The test's clock may stand still; no two runs of a real game begin in one moment.
        let from = instance.runs.last().and_then(|run| run.to).map_or(now, |to| now.max(to + 1));
        instance.seen = Seen::Running { since: from };
        instance.runs.push(Run { from, to: None });
        if instance.runs.len() > RUNS_KEPT {
            instance.runs.remove(0);
        }
    }
}

fn end(instance: &mut Instance, seen: Seen, now: Millis) {
    if let Some(run) = instance.runs.last_mut().filter(|run| run.to.is_none()) {
        run.to = Some(now.max(run.from));
        instance.all_runs.push(*run);
    }
    instance.seen = seen;
    instance.players = 0;
}

pub fn report(id: &ServerId, instance: &Instance, now: Millis) -> InstanceReport {
    let running = matches!(instance.seen, Seen::Running { .. });
    let sample =
        running.then_some(Sample { at: now, cpu_millis: Some(instance.cpu_millis), memory_mib: Some(10), players: Some(instance.players) });
    InstanceReport {
        server: id.clone(),
        seen: instance.seen,
        revision: instance.revision.clone(),
        runs: instance.runs.clone(),
        woken_at: instance.woken_at,
        starts: instance.starts.clone(),
        sample,
        silent_since: instance.silent_since,
        disk: instance.disk,
    }
}

pub fn event(server: &ServerId, command: Option<&CommandId>, at: Millis, kind: EventKind) -> FromNode {
    FromNode::Event(Event { server: server.clone(), at, command: command.cloned(), kind })
}
