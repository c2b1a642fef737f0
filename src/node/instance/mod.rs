//! One server on this node: a handle that anybody may hold, and a worker that alone acts on it, one job after the other.
//!
//! The handle takes jobs into a bounded queue and shows the last known state without waiting. The worker owns the record.

mod answer;
mod backup;
mod data;
mod health;
mod listens;
mod look;
mod parts;
mod prepare;
mod probe;
mod restore;
mod start;
mod stop;
mod volumes;
mod worker;

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub use parts::{game_name, ids};
pub use volumes::Declared;

use super::ctx::Ctx;
use super::record::{Folder, Intent, Record};
use crate::model::disk::DiskUse;
use crate::model::idleness::Sample;
use crate::model::ids::{CommandId, ServerId};
use crate::model::servers::Seen;
use crate::model::time::{Millis, SECOND};
use crate::wire::agent::{Action, Command, InstanceReport};
use crate::wire::door::{ACTIVITY_SECS, ActivityReport, DoorState, GameIs, Verdict, WakeAnswer, WakeRequest, Word};
use crate::wire::wake::Nonces;

/// Jobs that wait for one server's worker.
const JOBS_MAX: usize = 64;
/// First and longest wait before a worker that panicked begins anew.
const WORKER_WAIT_FIRST: Duration = Duration::from_secs(1);
const WORKER_WAIT_MAX: Duration = Duration::from_mins(1);
/// Wakes among them: a sidecar that has gone mad leaves room for the panel's commands.
const WAKES_MAX: usize = 16;
/// Fresh is what a sidecar reported within this many milliseconds.
const ACTIVITY_FRESH: i64 = 2 * ACTIVITY_SECS.cast_signed() * SECOND;

/// Something for the worker.
pub enum Job {
    /// From the panel.
    Command(Command),
    /// From the sidecar.
    Wake {
        /// Who knocks.
        request: WakeRequest,
        /// For the sidecar.
        reply: oneshot::Sender<WakeAnswer>,
        /// Its place in the queue.
        place: OwnedSemaphorePermit,
    },
    /// Something may have changed behind our back.
    Look,
    /// Nobody knows this server any more: its containers go, its data are moved aside.
    Orphan,
}

/// What is known right now, for those who must not wait.
#[derive(Debug, Clone)]
pub struct View {
    /// For the panel; without a sample.
    pub report: InstanceReport,
    /// For the sidecar.
    pub door: DoorState,
    /// Key of the sidecar's signatures.
    pub secret: Vec<u8>,
    /// Process of the running game.
    pub pid: Option<i64>,
    /// Last start of the game's process, as Docker writes it.
    pub started: String,
    /// The game's container has a terminal.
    pub tty: bool,
    /// Memory of the plan, for advice.
    pub memory_mib: u32,
    /// Nothing is left of it but its generation.
    pub gone: bool,
    /// The sidecar is expected to be there.
    pub door_expected: bool,
    /// When the game was last seen alive.
    pub alive_at: Option<Millis>,
    /// When Docker last told that the kernel ended a process of the game for its memory.
    pub oom_at: Option<Millis>,
}

/// What the sidecar said last, and the guard against replays.
#[derive(Debug, Default)]
pub struct DoorSide {
    activity: Option<(ActivityReport, Millis)>,
    /// Nonces of this server's sidecar.
    pub nonces: Nonces,
    /// When a refused wake was last told to the panel.
    pub refusal_told: Option<Millis>,
}

/// Players as far as the sidecar has said lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Players {
    /// So many.
    Known(u32),
    /// It has not reported, or not lately.
    Unknown,
}

/// A server on this node.
pub struct Instance {
    /// Whose.
    pub server: ServerId,
    /// Where its files are.
    pub folder: Folder,
    jobs: mpsc::Sender<Job>,
    queued: Mutex<HashSet<CommandId>>,
    /// A look waits in the queue: one is enough.
    look_queued: AtomicBool,
    /// Commands in the queue that end a server.
    ends_queued: AtomicUsize,
    wakes: Arc<Semaphore>,
    view: Mutex<View>,
    door_side: Mutex<DoorSide>,
    /// Last measurement.
    pub sample: Mutex<Option<Sample>>,
    /// What its files took when they were measured last.
    pub disk: Mutex<Option<DiskUse>>,
    /// The game was started: followers of its log look again.
    pub started: Notify,
    /// A command came that ends the server: a long pull gives up.
    pub superseded: Notify,
    /// Whoever follows or writes.
    pub console: super::console::Console,
}

/// Nobody goes on after another thread's panic with half a value: all values behind these locks are replaced as a whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Instance {
    /// Starts the worker of a server.
    pub fn launch(ctx: &Arc<Ctx>, record: Record) -> Arc<Instance> {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let server = record.server.clone();
        let instance = Arc::new(Instance {
            folder: Folder::new(&ctx.config.data_dir, &server),
            jobs,
            queued: Mutex::default(),
            look_queued: AtomicBool::new(false),
            ends_queued: AtomicUsize::new(0),
            wakes: Arc::new(Semaphore::new(WAKES_MAX)),
            view: Mutex::new(first_view(&record)),
            door_side: Mutex::default(),
            sample: Mutex::default(),
            disk: Mutex::default(),
            started: Notify::new(),
            superseded: Notify::new(),
            console: super::console::Console::default(),
            server,
        });
        ctx.tasks.spawn(work(Arc::clone(ctx), Arc::clone(&instance), record, queue));
        instance
    }

    /// Takes a command; false: it is queued already, or the queue is full (then it is asked again).
    pub fn command(&self, command: Command) -> bool {
        let ends = ends(&command.action);
        let id = command.id.clone();
        if !locked(&self.queued).insert(id.clone()) {
            return false;
        }
        if ends {
            self.ends_queued.fetch_add(1, Ordering::SeqCst);
        }
        let taken = self.jobs.try_send(Job::Command(command)).is_ok();
        if !taken {
            self.dequeued(&id, ends);
        } else if ends {
            self.superseded.notify_waiters();
        }
        taken
    }

    /// The worker takes this command up; asked again from now on, it is queued again and gets its answer from the record.
    fn dequeued(&self, id: &CommandId, ends: bool) {
        locked(&self.queued).remove(id);
        if ends {
            self.ends_queued.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Comes when a command waits that ends the server.
    async fn something_else_wanted(&self) {
        let told = self.superseded.notified();
        tokio::pin!(told);
        told.as_mut().enable();
        if self.ends_queued.load(Ordering::SeqCst) == 0 {
            told.await;
        }
    }

    /// Asks the worker to look, soon. One look that waits is enough.
    pub fn look_soon(&self) {
        if !self.look_queued.swap(true, Ordering::SeqCst) && self.jobs.try_send(Job::Look).is_err() {
            self.look_queued.store(false, Ordering::SeqCst);
        }
    }

    /// Asks the worker to wake; none: too many wakes wait already.
    pub fn wake(&self, request: WakeRequest) -> Option<oneshot::Receiver<WakeAnswer>> {
        let place = Arc::clone(&self.wakes).try_acquire_owned().ok()?;
        let (reply, answered) = oneshot::channel();
        self.jobs.try_send(Job::Wake { request, reply, place }).ok()?;
        Some(answered)
    }

    /// Asks the worker to take the server away: nobody knows it. Asked again with every heartbeat until it is gone.
    pub fn orphaned(&self) {
        if self.jobs.capacity() == JOBS_MAX && self.jobs.try_send(Job::Orphan).is_err() {
            tracing::debug!(server = %self.server, "an unknown server's worker is busy");
        }
    }

    /// Its worker has ended: nothing is left to do for it.
    pub fn ended(&self) -> bool {
        self.jobs.is_closed()
    }

    /// What is known right now.
    pub fn view(&self) -> View {
        locked(&self.view).clone()
    }

    /// Changes what is shown.
    pub fn show(&self, change: impl FnOnce(&mut View)) {
        change(&mut locked(&self.view));
    }

    /// What the sidecar said.
    pub fn door_side(&self) -> MutexGuard<'_, DoorSide> {
        locked(&self.door_side)
    }

    /// Notes what the sidecar reports.
    pub fn heard(&self, report: ActivityReport, now: Millis) {
        self.door_side().activity = Some((report, now));
    }

    /// How many play, as far as it was reported lately.
    pub fn players(&self, now: Millis) -> Players {
        match &self.door_side().activity {
            Some((report, at)) if now.since(*at) <= ACTIVITY_FRESH => Players::Known(report.connections.saturating_add(report.sessions)),
            Some(_) | None => Players::Unknown,
        }
    }

    /// The report with the last measurement in it.
    pub fn report(&self) -> InstanceReport {
        let mut report = self.view().report;
        let runs = matches!(report.seen, Seen::Running { .. } | Seen::Starting { .. });
        report.sample = locked(&self.sample).filter(|_| runs);
        report.disk = *locked(&self.disk);
        report
    }
}

/// Keeps a worker at work. One that panics costs its server a moment, and the agent's other servers nothing: the next one begins with
/// what the record says, as after a kill.
async fn work(ctx: Arc<Ctx>, instance: Arc<Instance>, record: Record, mut queue: mpsc::Receiver<Job>) {
    let (mut begun, mut wait) = (record, WORKER_WAIT_FIRST);
    loop {
        let worker = worker::Worker::new(Arc::clone(&ctx), Arc::clone(&instance), begun.clone());
        if AssertUnwindSafe(worker.run(&mut queue)).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!(server = %instance.server, again_in_ms = wait.as_millis(), "the worker of a server broke off; it begins anew");
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(WORKER_WAIT_MAX);
        let folder = instance.folder.clone();
        match ctx.blocking("read the server's record", move || folder.load()).await {
            Ok(Some(record)) => begun = record,
            Ok(None) => {}
            Err(error) => {
                tracing::error!(server = %instance.server, %error, "a server's record cannot be read; the one from before counts");
            }
        }
        instance.look_soon();
    }
}

/// Backups and what belongs to them stand beside the steps of a server's life, which alone have an order.
fn is_archival(action: &Action) -> bool {
    match action {
        Action::BackupInstance { .. } | Action::RestoreInstance { .. } | Action::UndoRestore => true,
        Action::PrepareInstance { .. } | Action::StartInstance | Action::StopInstance { .. } | Action::DestroyInstance => false,
    }
}

/// Nobody waits for a pull once the server is to be stopped or destroyed.
fn ends(action: &Action) -> bool {
    match action {
        Action::StopInstance { .. } | Action::DestroyInstance => true,
        Action::PrepareInstance { .. }
        | Action::StartInstance
        | Action::BackupInstance { .. }
        | Action::RestoreInstance { .. }
        | Action::UndoRestore => false,
    }
}

fn first_view(record: &Record) -> View {
    let spec = record.spec.as_ref();
    let gone = record.intent == Intent::Gone;
    View {
        report: InstanceReport {
            server: record.server.clone(),
            seen: if gone { Seen::Gone } else { Seen::Unknown },
            revision: String::new(),
            runs: record.runs.clone(),
            woken_at: record.woken_at,
            starts: record.starts.clone(),
            sample: None,
            disk: None,
            silent_since: None,
        },
        door: DoorState {
            game: GameIs::Down,
            name: spec.map(|spec| spec.name.clone()).unwrap_or_default(),
            wake: spec.map_or(Verdict::Refused { reason: "This server is being set up.".to_owned() }, |spec| spec.wake.clone()),
            word: Word::default(),
        },
        secret: hex::decode(&record.secret).unwrap_or_default(),
        pid: None,
        started: String::new(),
        tty: spec.is_some_and(|spec| spec.tty),
        memory_mib: spec.map_or(0, |spec| spec.memory_mib),
        gone,
        door_expected: false,
        alive_at: record.alive_at,
        oom_at: None,
    }
}
