//! Schedules: cron in a time zone, with the hours that daylight saving takes away or gives twice as Vixie's cron has them.
//!
//! A backup at a fixed time that falls into a missing hour is made right behind it, and one in a doubled hour is made once.

use std::sync::Arc;

use croner::parser::{CronParser, Seconds};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Schedule, note};
use crate::domain::servers::find;
use crate::domain::{Actor, Ctx, Fields, Refusal};
use crate::model::ids::ServerId;
use crate::model::time::{MINUTE, Millis};
use crate::model::users::Right;
use crate::store::schedules;

/// Most backups of a schedule that stay.
pub const KEEP_MAX: u32 = 20;
/// Most characters of a pattern.
const CRON_MAX: usize = 100;
/// Two backups of a schedule are at least this far apart, in milliseconds.
const APART_MIN: i64 = 55 * MINUTE;
/// So many of the next times are held against that.
const LOOKED_AT: usize = 60;
/// Zones that a form offers, out of some hundreds that can be typed.
pub const ZONES_SHOWN: usize = 600;

/// What somebody filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// A time zone such as `Europe/Berlin`.
    pub zone: String,
    /// So many of them stay.
    pub keep: Option<i64>,
}

fn parsed(cron: &str) -> Result<croner::Cron, String> {
    if cron.chars().count() > CRON_MAX {
        return Err(format!("A pattern has at most {CRON_MAX} characters."));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
    let words =
        "This is not a time pattern. Write five parts (minute, hour, day, month, weekday), such as 0 4 * * * for every day at 4:00.";
    parser.parse(cron).map_err(|_| words.to_owned())
}

/// The next times after a moment, at most `count`.
fn after(cron: &croner::Cron, zone: &TimeZone, now: Millis, count: usize) -> Vec<Millis> {
    let mut times = Vec::new();
    let Ok(mut at) = Timestamp::from_millisecond(now.0).map(|at| at.to_zoned(zone.clone())) else { return times };
    while times.len() < count {
        match cron.find_next_occurrence(&at, false) {
            Ok(next) => {
                times.push(Millis(next.timestamp().as_millisecond()));
                at = next;
            }
            Err(_) => break,
        }
    }
    times
}

/// The next time of a schedule; none: it never comes, or cannot be read.
pub(super) fn next(cron: &str, zone: &str, now: Millis) -> Option<Millis> {
    let (cron, zone) = (parsed(cron).ok()?, TimeZone::get(zone).ok()?);
    after(&cron, &zone, now, 1).first().copied()
}

/// The next times of a schedule, at most `count`.
pub fn times(schedule: &Schedule, now: Millis, count: usize) -> Vec<Millis> {
    match (parsed(&schedule.cron), TimeZone::get(&schedule.zone)) {
        (Ok(cron), Ok(zone)) => after(&cron, &zone, now, count),
        (Ok(_) | Err(_), _) => Vec::new(),
    }
}

/// Names of time zones, in their order.
pub fn zones() -> Vec<String> {
    let mut zones: Vec<String> =
        jiff::tz::db().available().map(|name| name.to_string()).filter(|name| name.contains('/') || name == "UTC").collect();
    zones.sort();
    zones.dedup();
    zones.truncate(ZONES_SHOWN);
    zones
}

fn check(plan: &Plan, now: Millis) -> Result<(u32, Millis), Fields> {
    let mut fields = Fields::default();
    let cron = parsed(plan.cron.trim()).map_err(|why| fields.add("cron", why)).ok();
    let zone = TimeZone::get(plan.zone.trim())
        .map_err(|_| fields.add("zone", "There is no such time zone. They are written as Europe/Berlin, America/New_York or UTC."))
        .ok();
    let keep = plan.keep.and_then(|keep| u32::try_from(keep).ok()).filter(|keep| (1..=KEEP_MAX).contains(keep));
    if keep.is_none() {
        fields.add("keep", format!("Between 1 and {KEEP_MAX}."));
    }
    let mut first = None;
    if let (Some(cron), Some(zone)) = (&cron, &zone) {
        let times = after(cron, zone, now, LOOKED_AT);
        first = times.first().copied();
        if first.is_none() {
            fields.add("cron", "That time never comes.");
        } else if times.windows(2).any(|pair| pair[1].since(pair[0]) < APART_MIN) {
            fields.add("cron", "At most once an hour, please: every backup reads all data.");
        }
    }
    match (keep, first) {
        (Some(keep), Some(first)) if fields.0.is_empty() => Ok((keep, first)),
        _ => Err(fields),
    }
}

/// Has backups made by themselves.
///
/// # Errors
/// [`Refusal::Invalid`] at `cron`, `zone`, `keep`.
pub async fn set_schedule(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId, plan: &Plan) -> Result<Schedule, Refusal> {
    let server = find(ctx, actor, id, Right::HandleData).await?;
    let now = ctx.clock.now();
    let (keep, next_at) = check(plan, now).map_err(Refusal::Invalid)?;
    let (cron, zone) = (plan.cron.trim().to_owned(), plan.zone.trim().to_owned());
    let schedule = Schedule { server: server.id.clone(), cron, zone, keep, next_at, changed_at: now };
    let tx = ctx.db.begin().await?;
    schedules::put(&tx, &schedule).await?;
    tx.commit().await?;
    note(ctx, &server, &actor.user.email, &format!("schedule {}", schedule.cron), "").await?;
    Ok(schedule)
}

/// No more backups are made by themselves; those that are there stay.
pub async fn remove_schedule(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId) -> Result<(), Refusal> {
    let server = find(ctx, actor, id, Right::HandleData).await?;
    schedules::remove(&ctx.db, &server.id).await?;
    note(ctx, &server, &actor.user.email, "schedule ended", "").await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        Millis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn next_times(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let times = after(&parsed(cron).unwrap(), &TimeZone::get(zone).unwrap(), at(from), count);
        times.iter().map(|at| Timestamp::from_millisecond(at.0).unwrap().to_string()).collect()
    }

    #[test]
    fn a_fixed_time_follows_the_clock_on_the_wall_over_both_changes() {
        let spring = next_times("0 4 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3);
        assert_eq!(spring, ["2026-03-28T03:00:00Z", "2026-03-29T02:00:00Z", "2026-03-30T02:00:00Z"]);
        let autumn = next_times("0 4 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", 3);
        assert_eq!(autumn, ["2026-10-24T02:00:00Z", "2026-10-25T03:00:00Z", "2026-10-26T03:00:00Z"]);
    }

    #[test]
    fn a_time_that_is_missing_comes_right_behind_and_one_that_comes_twice_comes_once() {
        // On 29 March 2026 the clock goes from 2:00 to 3:00, on 25 October from 3:00 back to 2:00.
        let missing = next_times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(missing, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let doubled = next_times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(doubled, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        let new_york = next_times("30 1 * * *", "America/New_York", "2026-11-01T00:00:00Z", 2);
        assert_eq!(new_york, ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
    }

    #[test]
    fn what_makes_no_sense_is_said_at_its_field() {
        let now = at("2026-01-01T00:00:00Z");
        let plan = |cron: &str, zone: &str, keep| Plan { cron: cron.to_owned(), zone: zone.to_owned(), keep: Some(keep) };
        for (plan, field) in [
            (plan("nonsense", "UTC", 5), "cron"),
            (plan("", "UTC", 5), "cron"),
            (plan("* * * * * *", "UTC", 5), "cron"),
            (plan("*/10 * * * *", "UTC", 5), "cron"),
            (plan("0,30 * * * *", "UTC", 5), "cron"),
            (plan("0 0 30 2 *", "UTC", 5), "cron"),
            (plan(&"1,".repeat(200), "UTC", 5), "cron"),
            (plan("0 4 * * *", "Mars/Olympus", 5), "zone"),
            (plan("0 4 * * *", "../../etc/passwd", 5), "zone"),
            (plan("0 4 * * *", "UTC", 0), "keep"),
            (plan("0 4 * * *", "UTC", 21), "keep"),
        ] {
            let fields = check(&plan, now).unwrap_err();
            assert!(fields.at(field).is_some(), "{plan:?}: {fields:?}");
        }
        assert!(check(&plan("0 * * * *", "Europe/Berlin", 20), now).is_ok());
        assert!(check(&plan("@daily", "UTC", 1), now).is_ok());
    }

    #[test]
    fn zones_are_named() {
        let zones = zones();
        assert!(zones.len() > 300 && zones.contains(&"Europe/Berlin".to_owned()) && zones.contains(&"UTC".to_owned()), "{}", zones.len());
    }
}
