//! Backups of a server's data: written as one archive into the object store, and brought back from there.
//!
//! Called by the server's worker, beside which the long parts run. Nothing in here knows about commands or about Docker but `hold`. What
//! must stay true: no link that a game plants leads out of its data; no archive lies on this disk; data are exchanged only for an
//! archive that came whole, and after a kill at any point they are the old ones or the new ones.
//!
//! | file | what it does |
//! | --- | --- |
//! | `walk`, `archive` | the data as the game sees them, and the archive of them |
//! | `send` | the archive's parts on their way to the object store |
//! | `hold` | a running game saves, or is held still |
//! | `fetch`, `unpack` | a backup is brought here and unpacked beside the data |
//! | `fit` | what was unpacked is made to lie on top of layers |
//! | `swap` | it takes the data's place, and the way back |

mod archive;
mod fetch;
mod fit;
mod hold;
mod send;
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

/// Backups that a node makes together: each reads from the disk and holds some parts in memory.
pub const TOGETHER_MAX: usize = 2;
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
            | BackupError::Disk { .. }
            | BackupError::Busy => true,
            BackupError::NoData
            | BackupError::TooLarge { .. }
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
    /// How the game saves.
    pub save: Option<Save>,
    /// Name of the game's container.
    pub game: String,
    /// The game has a terminal.
    pub tty: bool,
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
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
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
