//! `/servers/{id}/backups`: the archives of a server, out of which it can be restored, and when more are made by themselves.
//!
//! The list is a part of its own, sent anew over the page's socket whenever something about it changes.

use askama::Template;
use askama_web::WebTemplate;
use sha2::{Digest, Sha256};

use super::create::ByField;
use super::fields::{Choice, Field};
use super::html_parts;
use super::layout::Layout;
use super::moments::Moment;
use super::templates::bytes;
use crate::domain::backups::{KEEP_MAX, Shelf};
use crate::model::backups::{Backup, Reason, Restore, RestoreKind, RestoreState, Schedule, State, UNDO_KEPT};
use crate::model::time::Millis;

/// Ready-made times: pattern and words.
const TIMES: [(&str, &str); 5] = [
    ("0 4 * * *", "Every day at 4:00"),
    ("0 */6 * * *", "Every six hours"),
    ("0 * * * *", "Every hour"),
    ("0 4 * * SUN", "Every Sunday at 4:00"),
    ("", "A pattern of my own"),
];

fn reason_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Hand => "By hand",
        Reason::Schedule => "By the schedule",
        Reason::Layers => "Before other layers",
        Reason::Move => "For a move",
    }
}

/// A backup.
#[derive(Debug, Clone)]
pub struct BackupRow {
    /// Its id.
    pub id: String,
    /// When it was asked for.
    pub made: Moment,
    /// The same, whole.
    pub exact: Moment,
    /// Why: `By hand`.
    pub reason: &'static str,
    /// Who wanted it.
    pub by: String,
    /// It can be restored.
    pub done: bool,
    /// It is being made.
    pub open: bool,
    /// It was given up.
    pub failed: bool,
    /// How far it is, why it failed, or what to know of it; may be empty.
    pub message: String,
    /// Share in percent where the message names one.
    pub percent: Option<u8>,
    /// Such as `340 MB`.
    pub size: String,
    /// Such as `1.2 GB in 340 files`.
    pub unpacked: String,
    /// SHA-256 of the archive.
    pub sha256: String,
    /// Its first digits.
    pub sha256_short: String,
    /// When it was last unpacked whole and found right.
    pub verified: Option<Moment>,
}

/// A share that words name: `... (42%)`.
fn percent(message: &str) -> Option<u8> {
    message.strip_suffix("%)")?.rsplit_once('(')?.1.parse().ok()
}

impl BackupRow {
    /// From its row.
    pub fn of(backup: &Backup, now: Millis) -> BackupRow {
        let archived = backup.archived.as_ref().filter(|_| backup.state == State::Done);
        let sum = archived.map(|archived| archived.sha256);
        BackupRow {
            id: backup.id.to_string(),
            made: Moment::relative(backup.created_at, now),
            exact: Moment::full(backup.created_at),
            reason: reason_words(backup.reason),
            by: backup.by.clone(),
            done: backup.state == State::Done,
            open: backup.state.is_open(),
            failed: backup.state == State::Failed,
            message: if backup.state == State::Waiting && backup.message.is_empty() {
                "It begins in a moment.".to_owned()
            } else {
                backup.message.clone()
            },
            percent: percent(&backup.message).filter(|_| backup.state.is_open()),
            size: archived.map(|archived| bytes(archived.bytes)).unwrap_or_default(),
            unpacked: archived.map(|archived| format!("{} in {} entries", bytes(archived.unpacked), archived.entries)).unwrap_or_default(),
            sha256: sum.map(|sum| sum.to_string()).unwrap_or_default(),
            sha256_short: sum.map(|sum| sum.short()).unwrap_or_default(),
            verified: backup.verified_at.map(|at| Moment::relative(at, now)),
        }
    }
}

/// The last restore.
#[derive(Debug, Clone)]
pub struct RestoreLine {
    /// It is under way.
    pub running: bool,
    /// It failed.
    pub failed: bool,
    /// What it does or did, one sentence.
    pub what: String,
    /// How far it is, or why it failed; may be empty.
    pub message: String,
    /// Share in percent where the message names one.
    pub percent: Option<u8>,
    /// Since when, or when it ended.
    pub at: Moment,
}

impl RestoreLine {
    fn of(restore: &Restore, now: Millis) -> RestoreLine {
        let what = match (restore.kind, restore.state) {
            (RestoreKind::Swap, RestoreState::Running) => "A backup is being restored.",
            (RestoreKind::Swap, RestoreState::Done) => "A backup was restored.",
            (RestoreKind::Swap, RestoreState::Failed) => "A backup could not be restored. Nothing of the server was changed.",
            (RestoreKind::Try, RestoreState::Running) => "A backup is being tried out.",
            (RestoreKind::Try, RestoreState::Done) => "A backup was tried out: all of it is there, and right.",
            (RestoreKind::Try, RestoreState::Failed) => "A backup was tried out, and it could not be restored.",
            (RestoreKind::Undo, RestoreState::Running) => "The data from before the restore are being put back.",
            (RestoreKind::Undo, RestoreState::Done) => "The data from before the restore were put back.",
            (RestoreKind::Undo, RestoreState::Failed) => "The data from before the restore could not be put back.",
        };
        RestoreLine {
            running: restore.state == RestoreState::Running,
            failed: restore.state == RestoreState::Failed,
            what: what.to_owned(),
            percent: percent(&restore.message),
            message: restore.message.clone(),
            at: Moment::relative(restore.ended_at.unwrap_or(restore.created_at), now),
        }
    }
}

/// The way back from the last restore.
#[derive(Debug, Clone)]
pub struct UndoLine {
    /// When it was restored.
    pub at: Moment,
    /// When the data from before go.
    pub until: Moment,
}

/// What this person may do.
#[derive(Debug, Clone, Copy, Default)]
pub struct MayBackUp {
    /// Make one, and try one out.
    pub make: bool,
    /// Restore, undo, download, delete, plan.
    pub change: bool,
}

/// Everything that changes by itself.
#[derive(Debug, Clone, Template)]
#[template(path = "servers/_shelf.html")]
pub struct ShelfPart {
    /// Id of the server.
    pub id: String,
    /// Newest first.
    pub rows: Vec<BackupRow>,
    /// The last restore.
    pub last: Option<RestoreLine>,
    /// The way back.
    pub undo: Option<UndoLine>,
    /// One is being made, or the server is being restored: nothing else can be begun.
    pub busy: bool,
    /// What this person may do.
    pub may: MayBackUp,
    /// Of all that is shown: another one, where something has changed.
    pub mark: String,
}

html_parts!(ShelfPart);

impl ShelfPart {
    /// From what there is.
    pub fn of(id: &str, shelf: &Shelf, may: MayBackUp, now: Millis) -> ShelfPart {
        let undo = shelf.undo.as_ref().and_then(|restore| restore.ended_at);
        ShelfPart {
            id: id.to_owned(),
            rows: shelf.backups.iter().map(|backup| BackupRow::of(backup, now)).collect(),
            last: shelf.last.as_ref().map(|restore| RestoreLine::of(restore, now)),
            undo: undo.map(|at| UndoLine { at: Moment::relative(at, now), until: Moment::relative(at + UNDO_KEPT, now) }),
            busy: shelf.busy(),
            may,
            mark: hex::encode(&Sha256::digest(format!("{shelf:?}{may:?}"))[..12]),
        }
    }
}

/// The form of a schedule.
#[derive(Debug, Clone)]
pub struct ScheduleForm {
    /// Ready-made times, or an own pattern.
    pub when: Field,
    /// An own pattern.
    pub cron: Field,
    /// Time zone.
    pub zone: Field,
    /// How many stay.
    pub keep: Field,
    /// There is a schedule: the next times.
    pub next: Option<Vec<Moment>>,
    /// Something was refused.
    pub refused: bool,
}

impl ScheduleForm {
    /// The form as it stands, or as it was typed.
    pub fn of(schedule: Option<&Schedule>, next: &[Millis], zones: Vec<String>, typed: Option<&ByField>, errors: &ByField) -> ScheduleForm {
        let stored = |name: &str| match (schedule, name) {
            (Some(schedule), "cron") => schedule.cron.clone(),
            (Some(schedule), "zone") => schedule.zone.clone(),
            (Some(schedule), "keep") => schedule.keep.to_string(),
            (None, "cron") => TIMES[0].0.to_owned(),
            (None, "zone") => "UTC".to_owned(),
            (None, "keep") => "7".to_owned(),
            (_, _) => String::new(),
        };
        let value = |name: &str| typed.map_or_else(|| stored(name), |typed| typed.get(name).cloned().unwrap_or_default());
        let ready = |cron: &str| TIMES.iter().any(|(pattern, _)| !pattern.is_empty() && *pattern == cron);
        let when = match typed {
            Some(typed) => typed.get("when").cloned().unwrap_or_default(),
            None if ready(&stored("cron")) => stored("cron"),
            None => String::new(),
        };
        let own = if typed.is_none() && ready(&stored("cron")) { String::new() } else { value("cron") };
        let options = TIMES.map(|(pattern, label)| Choice { value: pattern.to_owned(), label: label.to_owned(), chosen: pattern == when });
        let error = |name: &str| errors.get(name).cloned();
        ScheduleForm {
            when: Field::choice("when", "When", options.to_vec()).required(),
            cron: Field::text("cron", "Pattern of my own", own, 100)
                .error(error("cron"))
                .help("Minute, hour, day of the month, month, day of the week: 30 5 * * MON-FRI is 5:30 from Monday to Friday."),
            zone: Field::choice("zone", "Time zone", zone_options(zones, &value("zone")))
                .error(error("zone"))
                .help("The times follow its clocks, summer and winter.")
                .required(),
            keep: Field::number("keep", "Keep", value("keep"), 1, i64::from(KEEP_MAX), "last ones").error(error("keep")).required(),
            next: schedule.map(|_| next.iter().map(|at| Moment::full(*at)).collect()),
            refused: !errors.is_empty(),
        }
    }
}

/// All zones, and the chosen one where it is none of them.
fn zone_options(mut zones: Vec<String>, chosen: &str) -> Vec<Choice> {
    if !zones.iter().any(|zone| zone == chosen) {
        zones.insert(0, chosen.to_owned());
    }
    zones.into_iter().map(|zone| Choice { label: zone.replace('_', " "), chosen: zone == chosen, value: zone }).collect()
}

/// A backup that somebody is about to restore.
#[derive(Debug, Clone)]
pub struct Confirm {
    /// Which.
    pub row: BackupRow,
    /// The game runs: players are thrown out for that moment.
    pub awake: bool,
}

/// `/servers/{id}/backups`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "servers/backups.html")]
pub struct BackupsPage {
    /// Frame.
    pub layout: Layout,
    /// Id of the server.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What changes by itself.
    pub shelf: ShelfPart,
    /// What is about to be restored.
    pub confirm: Option<Confirm>,
    /// For whoever may change it.
    pub schedule: Option<ScheduleForm>,
}

/// Backups on a server's page.
#[derive(Debug, Clone)]
pub struct BackupsPart {
    /// The newest one that is done.
    pub last: Option<BackupRow>,
    /// How many there are.
    pub count: usize,
    /// When the next one is made by itself.
    pub next: Option<Moment>,
}

impl BackupsPart {
    /// From what there is.
    pub fn of(shelf: &Shelf, now: Millis) -> BackupsPart {
        let done = || shelf.backups.iter().filter(|backup| backup.state == State::Done);
        BackupsPart {
            last: done().next().map(|backup| BackupRow::of(backup, now)),
            count: done().count(),
            next: shelf.schedule.as_ref().map(|schedule| Moment::relative(schedule.next_at, now)),
        }
    }
}
