//! A server's history in sentences.

use std::borrow::Cow;

use crate::domain::servers::Event;
use crate::http::pages::live::{EventRow, EventRows};
use crate::http::pages::moments::Moment;
use crate::model::servers::{Phase, Wanted};
use crate::model::time::Millis;

/// The history, newest first.
pub(in crate::http) fn rows(events: &[Event], now: Millis) -> EventRows {
    EventRows { rows: events.iter().map(|event| row(event, now)).collect() }
}

fn row(event: &Event, now: Millis) -> EventRow {
    let (sign, what) = said(&event.what);
    let what = format!("{what} {}", event.why).trim().to_owned();
    EventRow { at: Moment::relative(event.at, now), sign, what, who: event.who.clone() }
}

fn said(what: &str) -> (&'static str, Cow<'static, str>) {
    let plain = |(sign, what): (&'static str, &'static str)| (sign, Cow::from(what));
    if let Some(wanted) = what.strip_prefix("wanted ").and_then(Wanted::parse) {
        return plain(asked(wanted));
    }
    if let Some(change) = what.strip_prefix("layers ") {
        return ("layers", format!("Layers: {change}.").into());
    }
    if let Some(names) = what.strip_prefix("variables ") {
        return ("layers", format!("Variables changed: {names}.").into());
    }
    match what.strip_prefix("phase ").and_then(Phase::parse) {
        Some(phase) => plain(became(phase)),
        None if what == "note" => ("dot", "".into()),
        None if what == "restart" => ("again", "Asked to restart.".into()),
        None if what.ends_with(" failed") => ("alert", sentence(what)),
        None => match DATA.iter().find(|(begins, _)| what.starts_with(begins)) {
            Some((_, sign)) => (sign, sentence(what)),
            None => ("dot", "Changed.".into()),
        },
    }
}

/// What happened to its data, by how it begins, and its sign.
const DATA: [(&str, &str); 7] = [
    ("backup ", "copy"),
    ("restore ", "again"),
    ("try of ", "check"),
    ("undo of ", "again"),
    ("schedule ", "copy"),
    ("move", "up"),
    ("change ", "layers"),
];

fn sentence(what: &str) -> Cow<'static, str> {
    let mut chars = what.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str()).into()
}

fn asked(wanted: Wanted) -> (&'static str, &'static str) {
    match wanted {
        Wanted::Running => ("sun", "Asked to run."),
        Wanted::Asleep => ("moon", "Asked to sleep."),
        Wanted::Stopped => ("stop", "Asked to stop."),
        Wanted::Expired => ("stop", "Expired."),
        Wanted::Deleted => ("stop", "Asked to be deleted."),
    }
}

fn became(phase: Phase) -> (&'static str, &'static str) {
    let sign = EventRow::sign_of(phase, Wanted::Asleep);
    let what = match phase {
        Phase::Requested => "Requested.",
        Phase::Preparing => "Being prepared.",
        Phase::Starting => "Waking up.",
        Phase::Running => "Awake.",
        Phase::Stopping => "Ending.",
        Phase::Sleeping => "Asleep.",
        Phase::Stopped => "Stopped.",
        Phase::Expired => "Expired.",
        Phase::Failed => "In trouble.",
        Phase::Destroyed => "Deleted.",
    };
    (sign, what)
}
