//! What the panel earns: credits sold, used, granted and taken back, by month and game, and what is outstanding.
//!
//! Days that are over are summed once, by a worker; a report adds them up, and sums today's itself.

use std::collections::BTreeMap;

use time::{Date, Month as Name, OffsetDateTime};

use super::{Actor, Ctx, Refusal};
use crate::model::ids::GameId;
use crate::model::ledger::EntryKind;
use crate::model::money::Credits;
use crate::model::time::{DAY, HOUR, Millis, SECOND};
use crate::model::users::Right;
use crate::store::panel;
use crate::store::reports::{self, Sum};

/// Months of a report, this one among them.
pub const MONTHS: usize = 12;
/// Most sums that a report adds up: a year of every kind and a hundred games.
const SUMS_MAX: i64 = 400_000;
/// A day is over this long after its end: clocks of several panels differ a little.
const CLOSED_AFTER: i64 = HOUR;
/// Days that are summed in one tick.
const DAYS_AT_ONCE: i64 = 400;
/// Name under which the last day that was summed is kept.
const CLOSED: &str = "day_sums";

/// A month of the calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: i32,
    month: Name,
}

impl Month {
    /// The one that a moment lies in.
    pub fn of(at: Millis) -> Month {
        let date = OffsetDateTime::from_unix_timestamp(at.0.div_euclid(SECOND)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Month { year: date.year(), month: date.month() }
    }

    /// Its first millisecond.
    pub fn begins(self) -> Millis {
        let first = Date::from_calendar_date(self.year, self.month, 1).unwrap_or(Date::MIN);
        Millis(first.midnight().assume_utc().unix_timestamp() * SECOND)
    }

    /// The one before.
    #[must_use]
    pub fn before(self) -> Month {
        let year = if self.month == Name::January { self.year - 1 } else { self.year };
        Month { year, month: self.month.previous() }
    }
}

/// `2026-11`.
impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.year, u8::from(self.month))
    }
}

/// What happened in a month, in credits; all are counted as positive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Paid for.
    pub sold: Credits,
    /// Refunded or disputed.
    pub taken_back: Credits,
    /// What came in for servers by the month, 1 credit for 1 cent.
    pub months: Credits,
    /// The same, by game.
    pub months_by_game: BTreeMap<Option<GameId>, Credits>,
    /// Given away: new accounts, admins, demonstrations.
    pub granted: Credits,
    /// Spent on running servers.
    pub used: Credits,
    /// The same, by game; none: nobody knows any more.
    pub used_by_game: BTreeMap<Option<GameId>, Credits>,
}

impl Totals {
    /// What came in: for credits and for months, less what went back.
    pub fn income(&self) -> Credits {
        self.sold + self.months - self.taken_back
    }
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Newest first, as many as [`MONTHS`].
    pub months: Vec<(Month, Totals)>,
    /// What accounts hold: promised, and not used yet.
    pub held: Credits,
    /// What accounts below zero owe.
    pub owed: Credits,
}

fn add(totals: &mut Totals, sum: &Sum) {
    match sum.kind {
        EntryKind::Charge => {
            totals.used += -sum.amount;
            *totals.used_by_game.entry(sum.game.clone()).or_default() += -sum.amount;
        }
        // Charged, and given back because a subscription covers that time.
        EntryKind::Covered => {
            totals.used += -sum.amount;
            *totals.used_by_game.entry(sum.game.clone()).or_default() += -sum.amount;
        }
        EntryKind::Signup | EntryKind::Grant | EntryKind::Demonstration => totals.granted += sum.amount,
        EntryKind::Payment => totals.sold += sum.amount,
        EntryKind::Refund | EntryKind::Dispute => totals.taken_back += -sum.amount,
    }
}

/// The report of the last months.
///
/// # Errors
/// [`Refusal::NotFound`] for whoever sees only their own things, [`Refusal::Forbidden`] for all but admins.
pub async fn report(ctx: &Ctx, actor: &Actor) -> Result<Report, Refusal> {
    if !actor.may_at_all(Right::SeeReports) {
        return Err(if actor.is_staff() { Refusal::Forbidden } else { Refusal::NotFound });
    }
    let now = ctx.clock.now();
    let mut month = Month::of(now);
    let mut months = Vec::with_capacity(MONTHS);
    for _ in 0..MONTHS {
        months.push((month, Totals::default()));
        month = month.before();
    }
    let from = months.last().map_or(now, |(month, _)| month.begins());
    let closed = closed(ctx).await?;
    let mut sums = reports::since(&ctx.db, from.0.div_euclid(DAY), SUMS_MAX).await?;
    let first = from.0.div_euclid(DAY).max(closed.map_or(i64::MIN, |day| day + 1));
    let first = match reports::first_entry(&ctx.db).await? {
        Some(at) => first.max(at.0.div_euclid(DAY)),
        None => i64::MAX,
    };
    for day in first..=now.0.div_euclid(DAY) {
        sums.extend(reports::of_day(&ctx.db, day).await?);
    }
    for sum in &sums {
        let at = Month::of(Millis(sum.day * DAY));
        if let Some((_, totals)) = months.iter_mut().find(|(month, _)| *month == at) {
            add(totals, sum);
        }
    }
    for (day, game, cents) in reports::invoices_since(&ctx.db, from, SUMS_MAX).await? {
        let at = Month::of(Millis(day * DAY));
        if let Some((_, totals)) = months.iter_mut().find(|(month, _)| *month == at) {
            totals.months += Credits::whole(cents);
            *totals.months_by_game.entry(game).or_default() += Credits::whole(cents);
        }
    }
    let (held, owed) = reports::outstanding(&ctx.db).await?;
    Ok(Report { months, held, owed })
}

/// The last day that was summed.
async fn closed(ctx: &Ctx) -> Result<Option<i64>, Refusal> {
    Ok(panel::get(&ctx.db, CLOSED).await?.and_then(|day| day.parse().ok()))
}

/// Sums the days that are over; gives how many. Safe to run at any time, and from several panels at once.
pub async fn close_days(ctx: &Ctx) -> Result<u64, Refusal> {
    let over = (ctx.clock.now().0 - CLOSED_AFTER).div_euclid(DAY);
    let first = match closed(ctx).await? {
        Some(day) => day + 1,
        None => match reports::first_entry(&ctx.db).await? {
            Some(at) => at.0.div_euclid(DAY),
            None => return Ok(0),
        },
    };
    let mut done = 0;
    for day in first..over.min(first + DAYS_AT_ONCE) {
        let tx = ctx.db.begin().await?;
        reports::close_day(&tx, day).await?;
        panel::set(&tx, CLOSED, &day.to_string()).await?;
        tx.commit().await?;
        done += 1;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_where_the_calendar_says() {
        let noon = Millis(1_767_268_800_000);
        let january = Month::of(noon);
        assert_eq!((january.to_string().as_str(), january.begins()), ("2026-01", Millis(1_767_225_600_000)));
        let december = january.before();
        assert_eq!((december.to_string().as_str(), Month::of(january.begins() - 1)), ("2025-12", december));
    }
}
