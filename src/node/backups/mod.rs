//! Backups of a server's data: written as one archive into the object store, and brought back from there.
//!
//! Called by the server's worker, beside which the long parts run. Nothing in here knows about commands or about Docker but `hold`. What
//! must stay true: no link that a game plants leads out of its data; no archive lies on this disk; data are exchanged only for an
//! archive that came whole, and after a kill at any point they are the old ones or the new ones.
//!
//! | file | what it does |
//! | --- | --- |
//! | `walk`, `archive`, `sparse` | the data as the game sees them, the archive of them, files with holes |
//! | `send` | the archive's parts on their way to the object store |
//! | `hold` | a running game saves, or is held still |
//! | `fetch`, `room`, `unpack` | a backup is brought here, where there is room for it, and unpacked beside the data |
//! | `fit` | what was unpacked is made to lie on top of layers |
//! | `swap` | it takes the data's place, and the way back |

mod archive;
mod fetch;
mod fit;
mod hold;
mod room;
mod send;
mod sparse;
pub mod swap;
#[cfg(test)]
mod tests;
mod unpack;
mod walk;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use fetch::{Bring, bring};
pub use fit::fit;
pub use send::back_up;

use super::ctx::Ctx;
use super::docker::DockerError;
use crate::model::games::Save;
use crate::model::ids::{BackupId, CommandId, ServerId};
use crate::wire::agent::EventKind;

/// Backups that a node makes together, of those with few bytes and of the others: each reads from the disk and holds some parts in
/// memory. Two kinds of places, so that large ones leave room for the small ones.
pub const SMALL_TOGETHER_MAX: usize = 2;
/// See [`SMALL_TOGETHER_MAX`].
pub const LARGE_TOGETHER_MAX: usize = 1;
/// Servers whose data are measured together before a backup.
pub const MEASURED_TOGETHER_MAX: usize = 2;
/// What has fewer bytes than this is small.
const SMALL_BYTES: u64 = 1 << 30;
/// Longest time of one backup from its turn on, and of one restore or try: whoever takes longer gives way to the others.
const WITHIN: Duration = Duration::from_hours(6);
/// A backup holds at most so many times the storage of the server's plan: the limit on the disk is measured, and what was written since
/// the last measurement has to find room in a backup too. What can be backed up can be brought back.
const PLANS_MAX: u64 = 2;
/// Most folders in each other; each costs an open handle.
pub const DEPTH_MAX: usize = 256;
/// Most files, folders and links of a backup.
pub const ENTRIES_MAX: u64 = 5_000_000;
/// Most bytes of a path below the data.
pub const PATH_BYTES_MAX: usize = 32 << 10;

/// Between two words about how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Why a backup was not made or not brought back, in words for the server's owner.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There are no data.
    #[error("Nothing of this server is on this node: there are no data to back up. Start it once first")]
    NoData,
    /// Something changes the data or the game's life.
    #[error("Given up because the server was woken, started, stopped or changed meanwhile; it is tried again")]
    BrokenOff,
    /// Too many parts.
    #[error("The archive would have more than {parts} parts: the server has too much data for a backup")]
    TooLarge {
        /// Most of them.
        parts: u32,
    },
    /// More than the plan has room for.
    #[error("The data take {} MB, and a backup of this plan holds at most {} MB. Remove what is not needed, or choose a larger plan", mb(*.bytes), mb(*.most))]
    OverPlan {
        /// Bytes of the data.
        bytes: u64,
        /// Most of them.
        most: u64,
    },
    /// The same of a backup that is to come back.
    #[error("The backup unpacks to {} MB, and this plan has room for at most {} MB of it. Nothing was changed; choose a larger plan first", mb(*.bytes), mb(*.most))]
    BackOverPlan {
        /// Bytes of the backup.
        bytes: u64,
        /// Most of them.
        most: u64,
    },
    /// The disk has no room.
    #[error("The backup unpacks to {} MB beside the data, and the node has {} MB free. Nothing was changed; free some space on the node", mb(*.bytes), mb(*.free))]
    NoRoom {
        /// Bytes of the backup.
        bytes: u64,
        /// Bytes that may be used.
        free: u64,
    },
    /// It took too long.
    #[error("It was given up after {} hours, so that others get their turn. See the node's disk and the network to the object store", WITHIN.as_secs() / 3_600)]
    TooSlow,
    /// Something in the data is past a limit.
    #[error("The data cannot be archived: {0}")]
    Limit(String),
    /// Docker, about the running game.
    #[error("The game cannot be held still: {0}")]
    Hold(#[from] DockerError),
    /// The panel gave no address.
    #[error("The panel gives no address for the backup: {0}")]
    Url(String),
    /// A part cannot be stored.
    #[error("Part {number} of the backup cannot be stored: {words}. See the network between this node and the object store")]
    Store {
        /// Which.
        number: u32,
        /// What the last try said.
        words: String,
    },
    /// The object is not there.
    #[error("The backup is not in the object store any more. Nothing was changed; choose another one")]
    Gone,
    /// It does not arrive.
    #[error("The backup cannot be downloaded: {0}. Nothing was changed. See the network between this node and the object store")]
    Download(String),
    /// What arrives is something else.
    #[error("The backup in the object store is not the one that was made: {0}. Nothing was changed; choose another one")]
    Wrong(String),
    /// It cannot be unpacked.
    #[error("The backup cannot be unpacked: {0}. Nothing was changed; choose another one")]
    Damaged(String),
    /// No space.
    #[error("The disk of the node is full: a backup is unpacked beside the data. Free some space on the node; nothing was changed")]
    Full,
    /// A file or folder.
    #[error("The node cannot {what}: {source}. See the node's disk and the rights of its data folder")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// There is nothing to go back to.
    #[error("There are no data from before a restore on this node: they are kept for 7 days")]
    NothingToUndo,
    /// One thing at a time.
    #[error("Another backup or restore of this server is under way; it is tried again")]
    Busy,
    /// Destroyed.
    #[error("The server has been removed from this node")]
    Removed,
}

fn mb(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

impl BackupError {
    /// Of a file operation.
    pub(super) fn disk(what: &'static str) -> impl Fn(io::Error) -> BackupError {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BackupError::Full,
            _ => BackupError::Disk { what, source },
        }
    }

    /// Worth trying again without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            BackupError::BrokenOff
            | BackupError::Hold(_)
            | BackupError::Url(_)
            | BackupError::Store { .. }
            | BackupError::Download(_)
            | BackupError::Full
            | BackupError::NoRoom { .. }
            | BackupError::Disk { .. }
            | BackupError::Busy => true,
            BackupError::NoData
            | BackupError::TooLarge { .. }
            | BackupError::OverPlan { .. }
            | BackupError::BackOverPlan { .. }
            | BackupError::TooSlow
            | BackupError::Limit(_)
            | BackupError::Gone
            | BackupError::Wrong(_)
            | BackupError::Damaged(_)
            | BackupError::NothingToUndo
            | BackupError::Removed => false,
        }
    }
}

/// A backup to be made.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose.
    pub server: ServerId,
    /// Which.
    pub backup: BackupId,
    /// For the words on the way.
    pub command: CommandId,
    /// The folder that the game writes to.
    pub data: PathBuf,
    /// What lies below it, the highest first; none: the folder is everything.
    pub lower: Vec<PathBuf>,
    /// Most bytes of what the server has written itself.
    pub most: u64,
    /// How the game saves.
    pub save: Option<Save>,
    /// Name of the game's container.
    pub game: String,
    /// The game has a terminal.
    pub tty: bool,
}

/// Most bytes of a server's own data in a backup, by the storage of its plan.
pub fn most(storage_mib: u32) -> u64 {
    (u64::from(storage_mib) << 20).saturating_mul(PLANS_MAX)
}

/// Ends work that takes too long, and waits until it has ended.
async fn within<T>(course: &Course, work: impl Future<Output = Result<T, BackupError>>) -> Result<T, BackupError> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        () = tokio::time::sleep(WITHIN) => {
            course.cancel.cancel();
            drop(work.await);
            Err(BackupError::TooSlow)
        }
    }
}

/// How far something is, and the ways to end it, shared by a thread, its task and the worker.
#[derive(Debug, Default)]
pub struct Course {
    /// Give up.
    pub cancel: CancellationToken,
    /// Nothing of the data is read or written any more, and the game is let go.
    pub let_go: CancellationToken,
    /// Nobody reads any more, whether everything was read or not.
    read_over: CancellationToken,
    /// Everything has been read; what is left is sending it.
    all_read: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
}

impl Course {
    /// Ends when `stop` does.
    pub fn new(stop: &CancellationToken) -> Arc<Course> {
        Arc::new(Course { cancel: stop.child_token(), ..Course::default() })
    }

    /// True: nobody holds on to the data any more, though it is not over.
    pub fn is_all_read(&self) -> bool {
        self.all_read.load(Ordering::SeqCst)
    }

    fn read_all(&self) {
        self.all_read.store(true, Ordering::SeqCst);
        self.read_over.cancel();
    }

    fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn expect(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    /// Such as `backing up: 120 of 340 MB`, and how many of a hundred.
    pub fn words(&self, doing: &str) -> (String, Option<u8>) {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        if total == 0 {
            return (format!("{doing}: waiting for its turn"), None);
        }
        let percent = u8::try_from(done.min(total).saturating_mul(100) / total).ok();
        (format!("{doing}: {} of {} MB", mb(done.min(total)), mb(total)), percent)
    }
}

/// Does work, and tells the panel on the way how far it is.
pub async fn telling<T>(
    ctx: &Ctx,
    server: &ServerId,
    command: Option<&CommandId>,
    course: &Course,
    doing: &str,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(TELL_EVERY) => {
                let (text, percent) = course.words(doing);
                ctx.tell_now(server, command, EventKind::Progress { text, percent });
            }
        }
    }
}
