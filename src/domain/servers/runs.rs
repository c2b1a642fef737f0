//! Running spans that a node reports, held against what the panel knows before they are charged.
//!
//! A node's word is taken for what nobody else can know: when a game answered first and when it ended. It is not taken for a span
//! that this panel knows to be impossible: before the server was made, before the node itself last said that it did not run, in the
//! future, backwards, or across another span of the same server. Such spans are refused, and said loudly; nothing is charged for them.

use crate::domain::Refusal;
use crate::model::servers::{Run, Server};
use crate::model::time::{DAY, HOUR, MINUTE, Millis};
use crate::store::usage::Why;
use crate::store::{Tx, nodes, starts, usage};
use crate::wire::agent::{InstanceReport, RUNS_KEPT};

/// Starting costs nothing for so long within a day, for each server, in milliseconds: first starts of large games install them.
pub const STARTING_FREE: i64 = HOUR;
/// Nodes tell their last starts again and again, however old; those of so long ago, in milliseconds, are no news.
const START_TOLD: i64 = 2 * DAY;
/// Two clocks, and reports that cross on their way, may differ by this much, in milliseconds.
const SLACK: i64 = 10 * MINUTE;

/// Keeps the spans of a report, in the same transaction as the row.
pub(super) async fn keep(tx: &Tx, server: &Server, report: &InstanceReport, now: Millis) -> Result<(), Refusal> {
    // When the node last said what runs on it, all of it.
    let confirmed_at = nodes::by_id(tx, &server.node).await?.and_then(|node| node.confirmed_at);
    let earliest = confirmed_at.map_or(server.created_at, |at| at.max(server.created_at));
    let (mut known, mut fresh) = (Vec::new(), Vec::new());
    for run in report.runs.iter().rev().take(RUNS_KEPT).rev() {
        if usage::is_known(tx, &server.id, run.from).await? { known.push(*run) } else { fresh.push(*run) }
    }
    for run in &known {
        match run.to {
            Some(to) if to < run.from || to.since(now) > SLACK => refuse(server, *run, "its end is impossible"),
            Some(to) => usage::close(tx, &server.id, run.from, to).await?,
            None => {}
        }
    }
    let starting = starts(tx, server, report, earliest, now).await?;
    // A span that the node has forgotten ended when the node last confirmed it, at the latest.
    let running = known.iter().rev().find(|run| run.to.is_none()).map(|run| run.from).or(starting);
    usage::close_others(tx, &server.id, running, confirmed_at.unwrap_or(now).min(now)).await?;
    for run in fresh {
        // What runs still lies across everything that comes after it.
        let crosses = usage::crosses(tx, &server.id, run.from, run.to.unwrap_or(now)).await?;
        if let Some(why) = impossible(run, earliest, now).or(crosses.then_some("it crosses another span")) {
            refuse(server, run, why);
            continue;
        }
        usage::open(tx, server, run.from, Why::Ran).await?;
        if let Some(to) = run.to {
            usage::close(tx, &server.id, run.from, to).await?;
        }
    }
    Ok(())
}

/// Keeps the starts of a report. What lies past the free time of a day is charged as if it had run: a game that never answers burns a
/// machine as much as one that does. Gives the begin of what is charged and has no end yet.
async fn starts(tx: &Tx, server: &Server, report: &InstanceReport, earliest: Millis, now: Millis) -> Result<Option<Millis>, Refusal> {
    let told = &report.starts[report.starts.len().saturating_sub(RUNS_KEPT)..];
    let kept = if told.is_empty() { Vec::new() } else { starts::kept(tx, &server.id, told.iter().map(|start| start.from)).await? };
    let mut open = None;
    for start in told {
        if start.to.is_some() && kept.contains(start) {
            // Told again as it was: what it cost is known.
            continue;
        }
        let known = kept.iter().any(|one| one.from == start.from);
        if !known && now.since(start.from) > START_TOLD {
            // Told long ago and forgotten here since.
            continue;
        }
        let since = if known { start.from } else { earliest };
        if let Some(why) = impossible(*start, since, now) {
            refuse(server, *start, why);
            continue;
        }
        starts::keep(tx, &server.id, *start).await?;
        let used = starts::used(tx, &server.id, start.from - DAY, start.from).await?;
        let from = start.from + (STARTING_FREE - used).max(0);
        if start.to.unwrap_or(now) <= from {
            continue;
        }
        if !usage::is_known(tx, &server.id, from).await? {
            if usage::crosses(tx, &server.id, from, start.to.unwrap_or(now)).await? {
                refuse(server, *start, "it crosses another span");
                continue;
            }
            usage::open(tx, server, from, Why::Started).await?;
        }
        match start.to {
            Some(to) => usage::close(tx, &server.id, from, to).await?,
            None => open = Some(from),
        }
    }
    Ok(open)
}

/// Why a span that is told for the first time cannot be. `earliest`: nothing ran before, as far as anybody has said.
fn impossible(run: Run, earliest: Millis, now: Millis) -> Option<&'static str> {
    let ahead = |at: Millis| at.since(now) > SLACK;
    if run.to.is_some_and(|to| to < run.from) {
        return Some("it ends before it begins");
    }
    if earliest.since(run.from) > SLACK {
        return Some("it begins before the server could have run");
    }
    (ahead(run.from) || run.to.is_some_and(ahead)).then_some("it lies in the future")
}

fn refuse(server: &Server, run: Run, why: &str) {
    tracing::error!(
        node = %server.node, server = %server.id, from = run.from.0, to = run.to.map(|to| to.0), why,
        "a node reported a run that cannot be; nothing is charged for it. See the clock of that machine, and whether it can be trusted"
    );
    metrics::counter!("roost_runs_refused_total", "node" => server.node.as_str().to_owned()).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_lies_between_what_was_last_said_and_now() {
        let (earliest, now) = (Millis(100 * MINUTE), Millis(200 * MINUTE));
        let run = |from: i64, to: Option<i64>| Run { from: Millis(from * MINUTE), to: to.map(|to| Millis(to * MINUTE)) };
        for fine in [run(100, None), run(91, Some(91)), run(150, Some(199)), run(205, None), run(199, Some(209))] {
            assert_eq!(impossible(fine, earliest, now), None, "{fine:?}");
        }
        for odd in [run(0, Some(1)), run(-22_000_000, Some(200)), run(89, None), run(150, Some(149)), run(211, None), run(150, Some(211))] {
            assert!(impossible(odd, earliest, now).is_some(), "{odd:?}");
        }
    }
}
