//! The ledger's entries: what moved a balance, and why. Append-only; the key of an entry is unique, so that nothing counts twice.

use serde::{Deserialize, Serialize};

use super::ids::ServerId;
use super::money::Credits;
use super::time::{HOUR, Millis};

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

/// Note of a charge for time in which a game was starting, past what is free of it.
pub const STARTING: &str = "starting";

/// The same entries with one line for each server and hour: what a server was charged for within one hour is one line, at the place of
/// the newest of them. Newest first, as they are given.
pub fn by_hour(entries: &[Entry]) -> Vec<Entry> {
    let mut lines: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        let hour = |entry: &Entry| entry.span.map(|(from, _)| from.0.div_euclid(HOUR));
        let server = |entry: &Entry| entry.server.as_ref().map(|(id, _)| id.clone());
        let charge = entry.kind == EntryKind::Charge && entry.span.is_some() && entry.server.is_some();
        let same = |line: &&mut Entry| {
            let alike = line.kind == entry.kind && line.note == entry.note;
            charge && alike && hour(line) == hour(entry) && server(line) == server(entry)
        };
        match lines.iter_mut().find(same) {
            Some(line) => {
                line.amount += entry.amount;
                line.span = line.span.zip(entry.span).map(|(one, other)| (one.0.min(other.0), one.1.max(other.1)));
            }
            None => lines.push(entry.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_a_server_is_one_line_and_no_credit_is_lost() {
        let charge = |server: &str, from: i64, to: i64, amount: i64| Entry {
            key: format!("charge:{server}:{from}"),
            at: Millis(to),
            amount: Credits(-amount),
            kind: EntryKind::Charge,
            server: Some((server.parse().unwrap(), "A".to_owned())),
            span: Some((Millis(from), Millis(to))),
            note: String::new(),
        };
        let grant = Entry { kind: EntryKind::Grant, server: None, span: None, amount: Credits(100), ..charge("a", 0, 1, 0) };
        let started = Entry { note: STARTING.to_owned(), ..charge("a", 50, 60, 5) };
        let entries = [
            charge("a", HOUR + 5, HOUR + 9, 7),
            charge("a", 500, 900, 4),
            grant.clone(),
            charge("b", 400, 500, 3),
            charge("a", 100, 200, 2),
            started.clone(),
            grant,
        ];
        let lines = by_hour(&entries);
        assert_eq!(lines.len(), 6);
        assert_eq!((lines[1].amount, lines[1].span), (Credits(-6), Some((Millis(100), Millis(900)))));
        let sum = |entries: &[Entry]| entries.iter().map(|entry| entry.amount).sum::<Credits>();
        assert_eq!(sum(&lines), sum(&entries));
    }
}
