//! The ledger's entries: what moved a balance, and why. Append-only; the key of an entry is unique, so that nothing counts twice.

use serde::{Deserialize, Serialize};

use super::ids::ServerId;
use super::money::Credits;
use super::time::Millis;

/// Why a balance moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// The credits that a new account gets.
    Signup,
    /// A server ran.
    Charge,
    /// An admin gave or took them.
    Grant,
    /// Topped up freely, on a panel for demonstrations.
    Demonstration,
}

impl EntryKind {
    /// All of them.
    pub const ALL: [EntryKind; 4] = [EntryKind::Signup, EntryKind::Charge, EntryKind::Grant, EntryKind::Demonstration];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::Signup => "signup",
            EntryKind::Charge => "charge",
            EntryKind::Grant => "grant",
            EntryKind::Demonstration => "demonstration",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<EntryKind> {
        EntryKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `charge:<server>:<from ms>`, `signup:<user>`, `grant:<random>`.
    pub key: String,
    /// When it was posted.
    pub at: Millis,
    /// Negative where it was taken.
    pub amount: Credits,
    /// Why.
    pub kind: EntryKind,
    /// The server that ran, and its name then.
    pub server: Option<(ServerId, String)>,
    /// From when to when it ran.
    pub span: Option<(Millis, Millis)>,
    /// In an admin's words; may be empty.
    pub note: String,
}
