//! Machines: what they have, and how they do.

use serde::{Deserialize, Serialize};

use super::ids::NodeId;
use super::time::{Millis, SECOND};

/// A node silent for this long is offline.
pub const OFFLINE_AFTER: i64 = 20 * SECOND;

/// What a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Specs {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// MiB.
    pub memory_mib: u32,
    /// MiB of the disk that holds the data folder.
    pub disk_mib: u32,
    /// Such as `Docker 20.10.24, API 1.41`; empty while it does not answer.
    pub engine: String,
    /// Such as `Debian GNU/Linux 12, linux 6.1`.
    pub system: String,
}

/// How it does right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Load {
    /// Thousandths of a core in use.
    pub cpu_millis: u32,
    /// MiB in use.
    pub memory_mib: u32,
    /// MiB free where the data are.
    pub disk_free_mib: u32,
    /// Why no server can be started here now, in words with what to do; none when all is well.
    pub trouble: Option<String>,
}

/// A node's row.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Host name or address that players use.
    pub public_host: String,
    /// What it said when it registered.
    pub specs: Specs,
    /// What it said last.
    pub load: Load,
    /// When it said it.
    pub seen_at: Option<Millis>,
    /// Up to when it has confirmed, by naming all that it runs, that what runs is still running.
    pub confirmed_at: Option<Millis>,
    /// Since when the trouble stands.
    pub trouble_since: Option<Millis>,
}

impl Node {
    /// Heard of within [`OFFLINE_AFTER`].
    pub fn online(&self, now: Millis) -> bool {
        self.seen_at.is_some_and(|at| now.since(at) <= OFFLINE_AFTER)
    }
}
