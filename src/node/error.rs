//! Why a step with a server failed, in words for its owner, and whether it is worth trying again.

use std::io;

use super::backups::BackupError;
use super::docker::DockerError;
use super::firewall::FirewallError;
use super::layers::LayersError;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Docker.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The packet filter.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// A file or folder of the agent.
    #[error("The node cannot {what}: {source}. {}", hint(source))]
    Folder {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The image cannot be had.
    #[error("{words}")]
    Image {
        /// What and what to do.
        words: String,
        /// Worth trying again.
        retryable: bool,
    },
    /// A public port is taken.
    #[error("Port {port} is used by another program on this machine. Stop that program (`ss -lptun` names it), then retry")]
    PortTaken {
        /// Which, as Docker says it.
        port: String,
    },
    /// The address range is taken.
    #[error("The address range {subnet} is used by another network on this machine. The server gets another one with the next try")]
    RangeTaken {
        /// Which.
        subnet: String,
    },
    /// The description cannot be carried out here.
    #[error("This server's description cannot be carried out: {0}")]
    Spec(String),
    /// Start without prepare.
    #[error("The server has not been prepared on this node")]
    NotPrepared,
    /// Its layers.
    #[error(transparent)]
    Layers(#[from] LayersError),
    /// Its backups.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A newer command of another kind came.
    #[error("Given up because something else was asked for meanwhile")]
    Superseded,
    /// The game ended before it answered.
    #[error("{0}")]
    Ended(String),
    /// The game did not answer in time.
    #[error("The game did not answer within {0} seconds and was ended. See its log for what it waited for")]
    NotReady(u32),
    /// A command older than one that was carried out.
    #[error("An older command than the last one; nothing was done")]
    Outdated,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "The disk is full: free some space on the node",
        io::ErrorKind::PermissionDenied => "The agent needs to run as root, or to own its data folder",
        _ => "See the node's disk and the rights of its data folder",
    }
}

impl StepError {
    /// Of a file operation.
    pub fn folder(what: impl Into<String>) -> impl FnOnce(io::Error) -> StepError {
        move |source| StepError::Folder { what: what.into(), source }
    }

    /// There was no room to write.
    pub fn is_full_disk(&self) -> bool {
        matches!(self, StepError::Folder { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    /// Worth trying again without anybody changing the description.
    pub fn retryable(&self) -> bool {
        match self {
            StepError::Image { retryable, .. } => *retryable,
            StepError::Layers(error) => error.retryable(),
            StepError::Backup(error) => error.retryable(),
            StepError::Spec(_) | StepError::Outdated => false,
            StepError::Docker(_)
            | StepError::Firewall(_)
            | StepError::Folder { .. }
            | StepError::PortTaken { .. }
            | StepError::RangeTaken { .. }
            | StepError::NotPrepared
            | StepError::Superseded
            | StepError::Ended(_)
            | StepError::NotReady(_) => true,
        }
    }
}

/// Why a game ended, in words for its owner.
pub fn ended_words(code: i64, oom: bool, memory_mib: u32) -> String {
    if oom {
        return format!(
            "The game used more than its {memory_mib} MiB of memory and was ended. Choose a larger plan, or give the game less (a smaller heap, fewer mods)"
        );
    }
    match code {
        0 => "The game ended by itself with exit code 0".to_owned(),
        137 => "The game was killed (exit code 137)".to_owned(),
        143 => "The game was asked to end by somebody else (exit code 143)".to_owned(),
        code => format!("The game crashed with exit code {code}. Its last log lines say more"),
    }
}
