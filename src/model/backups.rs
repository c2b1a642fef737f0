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

/// What a restore does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestoreKind {
    /// Puts a backup in the place of the data.
    Swap,
    /// Only unpacks it and checks it.
    Try,
    /// Puts the data back that were there before the last restore.
    Undo,
}

impl RestoreKind {
    /// All of them.
    pub const ALL: [RestoreKind; 3] = [RestoreKind::Swap, RestoreKind::Try, RestoreKind::Undo];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            RestoreKind::Swap => "restore",
            RestoreKind::Try => "try",
            RestoreKind::Undo => "undo",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<RestoreKind> {
        RestoreKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The data are others afterwards.
    pub fn replaces(self) -> bool {
        match self {
            RestoreKind::Swap | RestoreKind::Undo => true,
            RestoreKind::Try => false,
        }
    }
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestoreState {
    /// Its node has been told, or will be.
    Running,
    /// It worked.
    Done,
    /// It did not; the reason stands beside it, and the data are as they were.
    Failed,
}

impl RestoreState {
    /// All of them.
    pub const ALL: [RestoreState; 3] = [RestoreState::Running, RestoreState::Done, RestoreState::Failed];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            RestoreState::Running => "running",
            RestoreState::Done => "done",
            RestoreState::Failed => "failed",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<RestoreState> {
        RestoreState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A restore's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The command that carries it.
    pub command: CommandId,
    /// Of which server.
    pub server: ServerId,
    /// Out of which backup; none: the data before the last restore.
    pub backup: Option<BackupId>,
    /// What it does.
    pub kind: RestoreKind,
    /// Who wanted it.
    pub by: String,
    /// How far it is.
    pub state: RestoreState,
    /// How far it is, or why it failed, in words.
    pub message: String,
    /// When it was asked for.
    pub created_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
}

/// When backups of a server are made by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Of which server.
    pub server: ServerId,
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// A time zone such as `Europe/Berlin`.
    pub zone: String,
    /// So many of them stay.
    pub keep: u32,
    /// The next time.
    pub next_at: Millis,
    /// When somebody last changed it.
    pub changed_at: Millis,
}

/// Which backups go so that at most `keep` of this reason stay: the oldest ones, of those that are done.
pub fn surplus(backups: &[Backup], reason: Reason, keep: u32) -> Vec<&Backup> {
    let mut done: Vec<&Backup> = backups.iter().filter(|backup| backup.reason == reason && backup.state == State::Done).collect();
    done.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    done.split_off(done.len().min(usize::try_from(keep).unwrap_or(usize::MAX)))
}

/// Bytes of all archives that are kept.
pub fn kept_bytes(backups: &[Backup]) -> u64 {
    let done = backups.iter().filter(|backup| backup.state == State::Done);
    done.filter_map(|backup| backup.archived.as_ref()).fold(0, |sum, archived| sum.saturating_add(archived.bytes))
}

/// Which backups go so that no more than so many bytes are kept: the oldest that were made by themselves, of those that are done, and
/// never the newest of all.
pub fn past_bytes(backups: &[Backup], most: u64) -> Vec<&Backup> {
    let mut done: Vec<&Backup> = backups.iter().filter(|backup| backup.state == State::Done).collect();
    done.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    done.pop();
    let (mut kept, mut gone) = (kept_bytes(backups), Vec::new());
    for backup in done.into_iter().filter(|backup| backup.reason != Reason::Hand) {
        if kept <= most {
            break;
        }
        kept = kept.saturating_sub(backup.archived.as_ref().map_or(0, |archived| archived.bytes));
        gone.push(backup);
    }
    gone
}

/// The last restore that put other data in place, if the data before it can still be had back.
pub fn undoable(restores: &[Restore], now: Millis) -> Option<&Restore> {
    let done = restores.iter().filter(|restore| restore.kind.replaces() && restore.state == RestoreState::Done);
    done.max_by_key(|restore| restore.ended_at).filter(|last| last.ended_at.is_some_and(|at| now.since(at) < UNDO_KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(n: u8, reason: Reason, state: State) -> Backup {
        Backup {
            id: BackupId::from_random(&[n; 8]),
            server: "own-de-abc".parse().unwrap(),
            owner: "own".parse().unwrap(),
            node: NodeId::local(),
            reason,
            by: String::new(),
            state,
            command: None,
            upload: None,
            archived: None,
            message: String::new(),
            attempts: 0,
            created_at: Millis(i64::from(n)),
            due_at: Millis(0),
            done_at: None,
            verified_at: None,
        }
    }

    #[test]
    fn only_the_oldest_of_the_same_reason_go_and_none_that_is_not_done() {
        let all = [
            backup(1, Reason::Schedule, State::Done),
            backup(2, Reason::Hand, State::Done),
            backup(3, Reason::Schedule, State::Done),
            backup(4, Reason::Schedule, State::Failed),
            backup(5, Reason::Schedule, State::Running),
            backup(6, Reason::Schedule, State::Done),
        ];
        let gone = |keep| surplus(&all, Reason::Schedule, keep).iter().map(|backup| backup.created_at.0).collect::<Vec<_>>();
        assert_eq!(gone(2), [1]);
        assert_eq!(gone(0), [6, 3, 1]);
        assert_eq!(gone(9), [0; 0]);
    }

    #[test]
    fn of_too_many_bytes_the_oldest_go_that_nobody_made_by_hand() {
        let sized = |n: u8, reason, state, bytes| Backup {
            archived: Some(Archived {
                backup: BackupId::from_random(&[n; 8]),
                bytes,
                sha256: [0; 32].into(),
                entries: 1,
                unpacked: bytes,
                parts: Vec::new(),
                note: None,
            }),
            ..backup(n, reason, state)
        };
        let all = [
            sized(1, Reason::Hand, State::Done, 100),
            sized(2, Reason::Schedule, State::Done, 100),
            sized(3, Reason::Layers, State::Done, 100),
            sized(4, Reason::Schedule, State::Failed, 100),
            sized(5, Reason::Schedule, State::Done, 100),
        ];
        assert_eq!(kept_bytes(&all), 400);
        let gone = |most| past_bytes(&all, most).iter().map(|backup| backup.created_at.0).collect::<Vec<_>>();
        assert_eq!(gone(400), [0; 0]);
        assert_eq!(gone(399), [2]);
        assert_eq!(gone(0), [2, 3], "the newest stays, and what was made by hand");
    }

    #[test]
    fn the_way_back_is_open_until_the_old_data_go() {
        let restore = |kind, state, ended: i64| Restore {
            command: CommandId::from_random(&[u8::try_from(ended % 32).unwrap_or_default(); 8]),
            server: "own-de-abc".parse().unwrap(),
            backup: None,
            kind,
            by: String::new(),
            state,
            message: String::new(),
            created_at: Millis(ended),
            ended_at: Some(Millis(ended)),
        };
        let swapped = restore(RestoreKind::Swap, RestoreState::Done, 10);
        assert_eq!(undoable(std::slice::from_ref(&swapped), Millis(11)), Some(&swapped));
        assert_eq!(undoable(std::slice::from_ref(&swapped), Millis(10 + UNDO_KEPT)), None);
        let later =
            [restore(RestoreKind::Try, RestoreState::Done, 20), restore(RestoreKind::Swap, RestoreState::Failed, 30), swapped.clone()];
        assert_eq!(undoable(&later, Millis(40)), Some(&swapped));
        let undone = [restore(RestoreKind::Undo, RestoreState::Done, 20), swapped];
        assert_eq!(undoable(&undone, Millis(40)), Some(&undone[0]));
    }

    #[test]
    fn words_read_as_they_are_written() {
        assert!(Reason::ALL.into_iter().all(|reason| Reason::parse(reason.as_str()) == Some(reason)));
        assert!(State::ALL.into_iter().all(|state| State::parse(state.as_str()) == Some(state)));
        assert!(RestoreKind::ALL.into_iter().all(|kind| RestoreKind::parse(kind.as_str()) == Some(kind)));
        assert!(RestoreState::ALL.into_iter().all(|state| RestoreState::parse(state.as_str()) == Some(state)));
    }
}
