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
    /// Paid for.
    Payment,
    /// A payment was refunded; or a refund failed, and it is there again.
    Refund,
    /// A payment was disputed with the bank; or a dispute was won, and it is there again.
    Dispute,
    /// Charged for time that a subscription turned out to cover.
    Covered,
}

impl EntryKind {
    /// All of them.
    pub const ALL: [EntryKind; 8] = [
        EntryKind::Signup,
        EntryKind::Charge,
        EntryKind::Grant,
        EntryKind::Demonstration,
        EntryKind::Payment,
        EntryKind::Refund,
        EntryKind::Dispute,
        EntryKind::Covered,
    ];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::Signup => "signup",
            EntryKind::Charge => "charge",
            EntryKind::Grant => "grant",
            EntryKind::Demonstration => "demonstration",
            EntryKind::Payment => "payment",
            EntryKind::Refund => "refund",
            EntryKind::Dispute => "dispute",
            EntryKind::Covered => "covered",
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
    /// `charge:<server>:<from ms>`, `signup:<hash of the mailbox>`, `grant:<random>`, `payment:<payment>`, `back:<payment>:<turn>`, `cover:<server>:<from ms>`.
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
