//! Samples of a server's backups.

use super::{HOSTILE, LONG, NOW, frame, staff};
use crate::domain::backups::Shelf;
use crate::http::pages::backups::{BackupRow, BackupsPage, Confirm, MayBackUp, ScheduleForm, ShelfPart};
use crate::http::pages::create::ByField;
use crate::model::backups::{Archived, Backup, Reason, Restore, RestoreKind, RestoreState, Schedule, State};
use crate::model::time::{DAY, HOUR, MINUTE, Millis};

/// A backup that was made so long ago.
pub(super) fn backup(n: u8, reason: Reason, state: State, ago: i64) -> Option<Backup> {
    let archived = Archived {
        backup: format!("b{n}").parse().ok()?,
        bytes: 340_200_000,
        sha256: [n; 32].into(),
        entries: 4_312,
        unpacked: 1_200_000_000,
        parts: Vec::new(),
        note: None,
    };
    Some(Backup {
        id: format!("b{n}").parse().ok()?,
        server: "ada-mi-valley".parse().ok()?,
        owner: "ada".parse().ok()?,
        node: "local".parse().ok()?,
        reason,
        by: match reason {
            Reason::Hand => HOSTILE.to_owned(),
            Reason::Schedule | Reason::Layers | Reason::Move => String::new(),
        },
        state,
        command: None,
        upload: None,
        archived: (state == State::Done).then_some(archived),
        message: match state {
            State::Running => "backing up: 120 of 340 MB (35%)".to_owned(),
            State::Failed => format!("The object store did not take it: {LONG}{LONG}."),
            State::Waiting | State::Storing | State::Done => String::new(),
        },
        attempts: 0,
        created_at: NOW - ago,
        due_at: NOW,
        done_at: Some(NOW - ago),
        verified_at: (n == 2).then_some(NOW - HOUR),
    })
}

fn schedule() -> Option<Schedule> {
    let (server, zone) = ("ada-mi-valley".parse().ok()?, "Europe/Berlin".to_owned());
    Some(Schedule { server, cron: "30 5 * * MON-FRI".to_owned(), zone, keep: 7, next_at: NOW + 13 * HOUR, changed_at: NOW })
}

fn restore(kind: RestoreKind, state: RestoreState) -> Option<Restore> {
    Some(Restore {
        command: "c".parse().ok()?,
        server: "ada-mi-valley".parse().ok()?,
        backup: None,
        kind,
        by: HOSTILE.to_owned(),
        state,
        message: match state {
            RestoreState::Running => "unpacking: 300 of 1200 MB (25%)".to_owned(),
            RestoreState::Done => String::new(),
            RestoreState::Failed => {
                "The archive is not the one that was stored: its checksum is another. Restore another backup.".to_owned()
            }
        },
        created_at: NOW - 5 * MINUTE,
        ended_at: (state != RestoreState::Running).then_some(NOW - 4 * MINUTE),
    })
}

fn zones() -> Vec<String> {
    ["America/New_York", "Asia/Tokyo", "Australia/Sydney", "Europe/Berlin", "UTC"].map(str::to_owned).to_vec()
}

fn page(shelf: &Shelf, may: MayBackUp, next: &[Millis], typed: Option<&ByField>, errors: &ByField) -> BackupsPage {
    BackupsPage {
        layout: frame("/servers/ada-mi-valley/backups"),
        id: "ada-mi-valley".to_owned(),
        name: HOSTILE.to_owned(),
        shelf: ShelfPart::of("ada-mi-valley", shelf, may, NOW),
        confirm: None,
        schedule: may.change.then(|| ScheduleForm::of(shelf.schedule.as_ref(), next, zones(), typed, errors)),
    }
}

fn many(last: Option<Restore>, open: bool) -> Shelf {
    let all = [
        backup(1, Reason::Hand, if open { State::Running } else { State::Done }, MINUTE),
        backup(2, Reason::Schedule, State::Done, DAY),
        backup(3, Reason::Layers, State::Done, 2 * DAY),
        backup(4, Reason::Schedule, State::Failed, 3 * DAY),
        backup(5, Reason::Move, State::Done, 40 * DAY),
    ];
    let undo = last.clone().filter(|last| last.kind.replaces() && last.state == RestoreState::Done);
    Shelf { backups: all.into_iter().flatten().collect(), undo, last, schedule: schedule() }
}

impl BackupsPage {
    /// The page with nothing, a lot, something under way, something that failed, a question, and for whoever may only look.
    pub fn samples() -> Vec<(&'static str, BackupsPage)> {
        let all = MayBackUp { make: true, change: true };
        let empty = Shelf { backups: Vec::new(), last: None, undo: None, schedule: None };
        let next = [NOW + 13 * HOUR, NOW + 37 * HOUR, NOW + 109 * HOUR];
        let errors = ByField::from([
            ("cron".to_owned(), "This is not a time pattern.".to_owned()),
            ("keep".to_owned(), "Between 1 and 20.".to_owned()),
        ]);
        let typed = ByField::from([
            ("when".to_owned(), String::new()),
            ("cron".to_owned(), HOSTILE.to_owned()),
            ("zone".to_owned(), "Mars".to_owned()),
            ("keep".to_owned(), "0".to_owned()),
        ]);
        let none = ByField::new();
        let done = many(restore(RestoreKind::Swap, RestoreState::Done), false);
        let mut asked = page(&many(None, false), all, &next, None, &none);
        asked.confirm =
            backup(2, Reason::Schedule, State::Done, DAY).map(|backup| Confirm { row: BackupRow::of(&backup, NOW), awake: true });
        let mut seen = page(&done, MayBackUp::default(), &[], None, &none);
        seen.layout = staff("/servers/ada-mi-valley/backups");
        vec![
            ("none", page(&empty, all, &[], None, &none)),
            ("many", page(&done, all, &next, None, &none)),
            ("making", page(&many(None, true), all, &next, None, &none)),
            ("restoring", page(&many(restore(RestoreKind::Swap, RestoreState::Running), false), all, &next, None, &none)),
            ("failed", page(&many(restore(RestoreKind::Try, RestoreState::Failed), false), all, &next, None, &none)),
            ("asked", asked),
            ("refused", page(&many(None, false), all, &next, Some(&typed), &errors)),
            ("seen", seen),
        ]
    }
}
