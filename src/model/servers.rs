//! A server: what its owner wants, what was last seen, and the facts around them.
//!
//! The rule that names the next step is in [`super::life`]; the words here are those of DESIGN section 4.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backups::BackupRef;
use super::games::Protocol;
use super::ids::{BackupId, GameId, NodeId, PlanId, ServerId, UserId};
use super::money::Credits;
use super::time::Millis;

/// What the owner or the money says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Play.
    Running,
    /// The game is down, the sidecar holds the door, traffic wakes it.
    Asleep,
    /// No container, data kept, traffic does not wake it.
    Stopped,
    /// As stopped, because a subscription ended.
    Expired,
    /// Everything goes.
    Deleted,
}

impl Wanted {
    /// All of them, for tables and tests.
    pub const ALL: [Wanted; 5] = [Wanted::Running, Wanted::Asleep, Wanted::Stopped, Wanted::Expired, Wanted::Deleted];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Wanted::Running => "running",
            Wanted::Asleep => "asleep",
            Wanted::Stopped => "stopped",
            Wanted::Expired => "expired",
            Wanted::Deleted => "deleted",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Wanted> {
        Wanted::ALL.into_iter().find(|wanted| wanted.as_str() == text)
    }
}

/// What was last seen of it, in the words of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The row exists, nothing else yet.
    Requested,
    /// Image, network, folder, sidecar are being made.
    Preparing,
    /// The game's process is up and has not answered yet.
    Starting,
    /// The game answered on its port.
    Running,
    /// It is being asked to end.
    Stopping,
    /// Down, with the door held.
    Sleeping,
    /// Down by its owner's wish.
    Stopped,
    /// Down because unpaid.
    Expired,
    /// A step failed; the reason and the next try stand beside it.
    Failed,
    /// History only.
    Destroyed,
}

impl Phase {
    /// All of them, for tables and tests.
    pub const ALL: [Phase; 10] = [
        Phase::Requested,
        Phase::Preparing,
        Phase::Starting,
        Phase::Running,
        Phase::Stopping,
        Phase::Sleeping,
        Phase::Stopped,
        Phase::Expired,
        Phase::Failed,
        Phase::Destroyed,
    ];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Requested => "requested",
            Phase::Preparing => "preparing",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopping => "stopping",
            Phase::Sleeping => "sleeping",
            Phase::Stopped => "stopped",
            Phase::Expired => "expired",
            Phase::Failed => "failed",
            Phase::Destroyed => "destroyed",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.as_str() == text)
    }

    /// A server can stay in it for ever; the others have a deadline.
    pub fn rests(self) -> bool {
        match self {
            Phase::Running | Phase::Sleeping | Phase::Stopped | Phase::Expired | Phase::Failed | Phase::Destroyed => true,
            Phase::Requested | Phase::Preparing | Phase::Starting | Phase::Stopping => false,
        }
    }
}

/// What a node reports of one server's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Seen {
    /// The node has not said, or not since this panel asked.
    Unknown,
    /// No container; perhaps data.
    Absent,
    /// The door is held and the game is down, as it should be.
    Asleep,
    /// The game's process runs and has not answered yet.
    Starting {
        /// When the process started.
        since: Millis,
    },
    /// The game answers.
    Running {
        /// When it first answered.
        since: Millis,
    },
    /// The game ended by itself.
    Exited {
        /// Exit code.
        code: i64,
        /// The kernel killed it for its memory.
        oom: bool,
        /// When.
        at: Millis,
    },
    /// Nothing is left, data included.
    Gone,
}

/// From the first answer to the end of the process: what is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// First answer.
    pub from: Millis,
    /// End; none while it runs.
    pub to: Option<Millis>,
}

/// A public port and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicPort {
    /// Name in the catalogue: `game`, `query`, `rcon`.
    pub name: String,
    /// 25000 to 29999, on the node.
    pub public: u16,
    /// Inside the container.
    pub inside: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Longest name of a server, in characters.
pub const NAME_MAX: usize = 60;
/// Fewest idle minutes that can be chosen.
pub const IDLE_MINUTES_MIN: u32 = 1;
/// Most idle minutes that can be chosen: a day.
pub const IDLE_MINUTES_MAX: u32 = 1_440;

/// A server's name: 1 to 60 characters of any script, none of them control or formatting characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameRefused {
    /// Nothing but space.
    #[error("Give the server a name.")]
    Empty,
    /// More than [`NAME_MAX`].
    #[error("A name has at most 60 characters.")]
    TooLong,
    /// Control characters, line breaks or invisible direction marks.
    #[error("A name cannot contain line breaks, control characters or invisible direction marks.")]
    Control,
}

impl Name {
    /// Checks what was typed; space around it is dropped.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(typed: &str) -> Result<Name, NameRefused> {
        let text = typed.trim_matches([' ', '\u{a0}']);
        let misleads = |c: char| {
            c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        };
        if text.chars().any(misleads) {
            Err(NameRefused::Control)
        } else if text.trim().is_empty() {
            Err(NameRefused::Empty)
        } else if text.chars().count() > NAME_MAX {
            Err(NameRefused::TooLong)
        } else {
            Ok(Name(text.to_owned()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A server's row, as the rooms above the store see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Who pays.
    pub owner: UserId,
    /// Shown to people; never part of a command, path or container name.
    pub name: String,
    /// Catalogue entry.
    pub game: GameId,
    /// Its size.
    pub plan: PlanId,
    /// Where it is.
    pub node: NodeId,
    /// The whole environment, defaults filled in.
    pub env: BTreeMap<String, String>,
    /// Public ports.
    pub ports: Vec<PublicPort>,
    /// Which /29 of the node's pool: 0 is the first.
    pub subnet: u32,
    /// Price of a running hour when it was made.
    pub per_hour: Credits,
    /// Sleep by itself?
    pub auto_sleep: bool,
    /// Minutes of quiet before it does.
    pub idle_minutes: u32,
    /// Rights, phase and step: see [`super::life`].
    pub life: super::life::Life,
    /// Hash of the `wire::spec::InstanceSpec` that the node last confirmed.
    pub spec_seen: String,
    /// What the node last said.
    pub seen: Seen,
    /// When the node last said anything about it.
    pub seen_at: Option<Millis>,
    /// How quiet it is.
    pub quiet: super::idleness::Quiet,
    /// Players as last measured, while it runs.
    pub players: Option<u32>,
    /// When it was made.
    pub created_at: Millis,
    /// When the data go, where that is planned.
    pub delete_after: Option<Millis>,
    /// Only on nodes that stand there; empty: anywhere.
    pub region: String,
    /// Only on nodes that have all of them.
    pub tags: Vec<String>,
    /// What its data are laid out of, the lowest first; it stays on these versions.
    pub layers: Vec<super::layers::LayerRef>,
    /// The layers before the last change: the way back.
    pub layers_before: Vec<super::layers::LayerRef>,
    /// Its own values for variables in text files of its layers.
    pub variables: BTreeMap<String, String>,
    /// What has to happen to its data first.
    pub pending: Option<Pending>,
    /// A subscription pays for it: it runs whatever the balance is.
    pub covered: bool,
    /// What was wanted of it before it expired.
    pub expired_from: Option<Wanted>,
}

impl Server {
    /// Its node has never said that there is anything of it: nothing has been asked for yet, or its first step is under way.
    pub fn is_unseen(&self) -> bool {
        self.seen == Seen::Gone || (self.seen == Seen::Absent && self.seen_at.is_none())
    }

    /// What an hour of it costs in credits as it is now: nothing unless it runs, and nothing while a subscription pays for it.
    pub fn costs_now(&self) -> Credits {
        if self.life.phase == Phase::Running && !self.covered { self.per_hour } else { Credits::ZERO }
    }
}

/// What has to happen to a server's data before all that its row says can come true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "pending", rename_all = "snake_case")]
pub enum Pending {
    /// Until this backup is there, it stands on the layers that it had before.
    Layers {
        /// Which.
        backup: BackupId,
    },
    /// It is to leave its node: traffic does not wake it, so that nothing is written behind the backup's back.
    Leaving {
        /// The backup that it leaves with; none: its node has not confirmed yet that nobody wakes it.
        backup: Option<BackupId>,
        /// Since when.
        since: Millis,
    },
    /// It has come to its node, which gets the data out of this backup; the node before keeps its own until that has worked.
    Arriving {
        /// The node before.
        from: NodeId,
        /// The data.
        origin: BackupRef,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_script_are_kept_and_misleading_ones_refused() {
        for good in ["Valley of Echoes", "谷の声", "  a ", "${HOME} '\"; ../x", "👑"] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "   ", "a\0b", "a\nb", "a\u{202e}b", "\u{200b}", &"x".repeat(61)] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_read_as_they_are_written() {
        for wanted in Wanted::ALL {
            assert_eq!(Wanted::parse(wanted.as_str()), Some(wanted));
        }
        for phase in Phase::ALL {
            assert_eq!(Phase::parse(phase.as_str()), Some(phase));
        }
    }
}
