//! A server's history in sentences.

use std::borrow::Cow;

use crate::domain::servers::Event;
use crate::http::pages::live::{EventRow, EventRows};
use crate::http::pages::moments::{Moment, span};
use crate::model::servers::{Phase, Wanted};
use crate::model::time::Millis;

/// The history, newest first.
pub(in crate::http) fn rows(events: &[Event], now: Millis) -> EventRows {
    let mut rows = Vec::new();
    let mut rest = events;
    while let Some((newest, older)) = rest.split_first() {
        let (times, first) = repeats(rest);
        if times < 2 {
            rows.push(row(newest, now));
            rest = older;
            continue;
        }
        let failed = row(newest, now);
        let within = span(newest.at.since(rest[first].at));
        rows.push(EventRow { what: format!("Failed {times} times within {within}. The last time: {}", failed.what), ..failed });
        rest = &rest[first + 1..];
    }
    EventRows { rows }
}

/// How often a server failed in a row for one reason, with nothing between two times but that it was tried again; and which entry tells
/// of the first time. `events` begin with the last time.
fn repeats(events: &[Event]) -> (usize, usize) {
    let Some(last) = events.first().filter(|event| event.what == FAILED) else { return (0, 0) };
    let (mut times, mut first) = (1, 0);
    for (at, event) in events.iter().enumerate().skip(1) {
        if event.what == FAILED && event.why == last.why {
            (times, first) = (times + 1, at);
        } else if !TRIES.contains(&event.what.as_str()) {
            break;
        }
    }
    (times, first)
}

/// What stands between two failures of one kind.
const TRIES: [&str; 3] = ["phase preparing", "phase starting", "phase stopping"];
const FAILED: &str = "phase failed";

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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: i64, what: &str, why: &str) -> Event {
        Event { id: format!("{n:03}"), at: Millis(n * 1_000), who: "node local".to_owned(), what: what.to_owned(), why: why.to_owned() }
    }

    #[test]
    fn a_failure_that_repeats_itself_is_one_line() {
        let mut events = vec![event(0, "wanted running", "It was created.")];
        for n in 1..=5 {
            events.push(event(2 * n, "phase preparing", ""));
            events.push(event(2 * n + 1, FAILED, "No image."));
        }
        events.push(event(20, "phase preparing", ""));
        events.push(event(21, FAILED, "No disk."));
        events.reverse();
        let rows = rows(&events, Millis(60_000)).rows;
        let told: Vec<&str> = rows.iter().map(|row| row.what.as_str()).collect();
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(told[0].contains("No disk.") && !told[0].contains("times"), "{told:?}");
        assert!(told[2].starts_with("Failed 5 times within 8 s.") && told[2].contains("No image."), "{told:?}");
        assert_eq!(told[4], "Asked to run. It was created.");
    }
}
