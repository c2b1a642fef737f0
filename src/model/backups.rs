//! Backups: archives of a server's data in the object store, why each was made, and which of them stay.
//!
//! The node makes and unpacks them, the panel keeps the list; both name this file. An archive is a `.tar.zst` of the data as the game
//! sees them, whatever they are laid out of.

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::ids::{BackupId, CommandId, NodeId, ServerId, UserId};
use super::time::{DAY, Millis};

/// Bytes of every part of an archive but the last.
pub const PART_BYTES: usize = 8 << 20;
/// Most parts: the largest archive has 80 GB.
pub const PARTS_MAX: u32 = 10_000;
/// Most backups of one server that are kept at a time, whoever wanted them.
pub const KEPT_MAX: u32 = 30;
/// How long the data before a restore are kept beside it, in milliseconds.
pub const UNDO_KEPT: i64 = 7 * DAY;

/// A backup that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRef {
    /// Which.
    pub id: BackupId,
    /// Of the archive.
    pub bytes: u64,
    /// Of the archive.
    pub sha256: Checksum,
    /// Bytes of all files in it.
    pub unpacked: u64,
}

/// What a node has stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// Which.
    pub backup: BackupId,
    /// Of the archive.
    pub bytes: u64,
    /// Of the archive.
    pub sha256: Checksum,
    /// Files, folders and links in it.
    pub entries: u64,
    /// Bytes of all files in it.
    pub unpacked: u64,
    /// `ETag`s of the parts, in order.
    pub parts: Vec<String>,
    /// What its owner should know of it, such as files that changed while they were read.
    pub note: Option<String>,
}

/// Why a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Somebody pressed the button.
    Hand,
    /// Its time had come.
    Schedule,
    /// The layers are about to change.
    Layers,
    /// The server goes to another node.
    Move,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 4] = [Reason::Hand, Reason::Schedule, Reason::Layers, Reason::Move];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Hand => "hand",
            Reason::Schedule => "schedule",
            Reason::Layers => "layers",
            Reason::Move => "move",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// How far a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Its node has not been told, or has to be told again.
    Waiting,
    /// Its node makes it.
    Running,
    /// All parts are stored and have to be put together.
    Storing,
    /// It can be restored.
    Done,
    /// It was given up; the reason stands beside it.
    Failed,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] = [State::Waiting, State::Running, State::Storing, State::Done, State::Failed];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Storing => "storing",
            State::Done => "done",
            State::Failed => "failed",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Something is still to happen.
    pub fn is_open(self) -> bool {
        match self {
            State::Waiting | State::Running | State::Storing => true,
            State::Done | State::Failed => false,
        }
    }
}

/// A backup's row.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// Its id.
    pub id: BackupId,
    /// Of which server.
    pub server: ServerId,
    /// Whose server.
    pub owner: UserId,
    /// Where it is made.
    pub node: NodeId,
    /// Why.
    pub reason: Reason,
    /// Who wanted it: an e-mail address, or what happens by itself.
    pub by: String,
    /// How far it is.
    pub state: State,
    /// The command that carries it, in the outbox.
    pub command: Option<CommandId>,
    /// The upload in parts.
    pub upload: Option<String>,
    /// What the node has stored.
    pub archived: Option<Archived>,
    /// How far it is, or why it was given up, in words.
    pub message: String,
    /// How often it failed in a row.
    pub attempts: u32,
    /// When it was asked for.
    pub created_at: Millis,
    /// When something is to be done about it next.
    pub due_at: Millis,
    /// When it was done.
    pub done_at: Option<Millis>,
    /// When it was last unpacked whole and found right.
    pub verified_at: Option<Millis>,
}

impl Backup {
    /// What a node needs to restore it; none: it is not done.
    pub fn to_restore(&self) -> Option<BackupRef> {
        let archived = self.archived.as_ref().filter(|_| self.state == State::Done)?;
        Some(BackupRef { id: self.id.clone(), bytes: archived.bytes, sha256: archived.sha256, unpacked: archived.unpacked })
    }

    /// Name of its object.
    pub fn object_key(&self) -> String {
        object_key(&self.server, &self.id)
    }
}

/// Name of a backup's object.
pub fn object_key(server: &ServerId, id: &BackupId) -> String {
    format!("backups/{server}/{id}.tar.zst")
}
