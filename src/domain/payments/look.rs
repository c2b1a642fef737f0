//! The worker of payments: looks at those whose time has come, asks Stripe how they stand, and puts that into row and ledger.
//!
//! Whoever looks takes the row for a while, so that several panels do not ask for the same; a change that is heard meanwhile moves the
//! row's generation, and what was seen before it is thrown away and asked for again.

use futures_util::StreamExt;

use super::apply::{self, Applied, Source, turn};
use super::checkout::{SETTLED_AFTER, settle};
use super::{automatic, differ};
use crate::domain::{Ctx, Refusal, billing};
use crate::model::payments::{AutoState, Kind, Payment, State, wait_after};
use crate::model::time::{DAY, MINUTE, Millis};
use crate::payments::{Failure, Stripe};
use crate::store::{StoreError, payments, stripe, top_ups};

/// Payments of one look.
const BATCH: u64 = 200;
/// Asked for at the same time.
const AT_ONCE: usize = 8;
/// Nobody else looks at a payment for so long.
const LEASE: i64 = 2 * MINUTE;
/// A payment is looked at now and then for so long, should a webhook about a refund or a dispute have been lost.
const WATCHED: i64 = 180 * DAY;
/// This often.
const WATCH_EVERY: i64 = 7 * DAY;
/// Webhooks are remembered for so long; Stripe repeats them for three days.
const EVENTS_KEPT: i64 = 40 * DAY;
/// Differences that nobody has seen again are forgotten.
const DIFFERENCES_KEPT: i64 = 30 * DAY;

/// Looks at what is due, and tops up where that was chosen; gives how many rows were looked at.
pub async fn tick(ctx: &Ctx) -> Result<u64, Refusal> {
    let Some(till) = &ctx.stripe else { return Ok(0) };
    let mut looked = 0;
    loop {
        let due = payments::due(&ctx.db, ctx.clock.now(), BATCH).await?;
        let full = due.len() as u64 == BATCH;
        looked += due.len() as u64;
        futures_util::stream::iter(due).for_each_concurrent(AT_ONCE, |row| one(ctx, till, row)).await;
        if !full {
            break;
        }
    }
    automatic::begin_wanted(ctx).await?;
    Ok(looked)
}

/// Forgets what is old.
pub async fn sweep(ctx: &Ctx) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    stripe::sweep_events(&ctx.db, now - EVENTS_KEPT).await?;
    stripe::sweep_differences(&ctx.db, now - DIFFERENCES_KEPT).await?;
    Ok(())
}

async fn one(ctx: &Ctx, till: &Stripe, mut row: Payment) {
    row.due_at = Some(ctx.clock.now() + LEASE);
    match payments::save(&ctx.db, &mut row).await {
        Ok(()) => {}
        Err(StoreError::Stale) => return,
        Err(error) => {
            return tracing::warn!(payment = %row.id, error = &error as &dyn std::error::Error, "a payment could not be taken up; next time again");
        }
    }
    let id = row.id.clone();
    let before = row.clone();
    match look(ctx, till, row).await {
        Ok(()) | Err(Seen::Refused(Refusal::Store(StoreError::Stale))) => {}
        Err(Seen::Refused(error)) => {
            tracing::warn!(payment = %id, error = &error as &dyn std::error::Error, "a payment could not be written down; it is looked at again");
        }
        Err(Seen::Failed(failure)) => {
            if let Err(error) = later(ctx, before, &failure).await {
                tracing::warn!(payment = %id, error = &error as &dyn std::error::Error, "a payment could not be put off");
            }
        }
    }
}

/// Why a look came to nothing.
pub(in crate::domain) enum Seen {
    /// Stripe.
    Failed(Failure),
    /// The database, or a faster change.
    Refused(Refusal),
}

impl From<Failure> for Seen {
    fn from(failure: Failure) -> Self {
        Seen::Failed(failure)
    }
}

impl<E: Into<Refusal>> From<E> for Seen {
    fn from(error: E) -> Self {
        Seen::Refused(error.into())
    }
}

async fn look(ctx: &Ctx, till: &Stripe, row: Payment) -> Result<(), Seen> {
    match (row.kind, row.state) {
        (_, State::Paid) => paid(ctx, till, row).await,
        (Kind::Checkout, State::Open | State::Coming | State::Failed | State::Expired) => open(ctx, till, row).await,
        (Kind::Automatic, State::Open | State::Coming) => Box::pin(automatic::attempt(ctx, till, row)).await,
        (Kind::Automatic, State::Failed | State::Expired) => rest(ctx, row, None).await,
    }
}

async fn rest(ctx: &Ctx, mut row: Payment, until: Option<Millis>) -> Result<(), Seen> {
    (row.due_at, row.attempts) = (until, 0);
    Ok(payments::save(&ctx.db, &mut row).await?)
}

/// A page that nobody has paid at yet, as far as is known.
async fn open(ctx: &Ctx, till: &Stripe, mut row: Payment) -> Result<(), Seen> {
    let now = ctx.clock.now();
    let Some(session) = row.session.clone() else {
        // Its page was never shown to anybody.
        (row.state, row.done_at) = (State::Expired, Some(now));
        return rest(ctx, row, None).await;
    };
    let seen = till.checkout(&session).await?;
    let tx = ctx.db.begin().await?;
    let applied = apply::checkout(ctx, &tx, &seen, false, Source::Asked).await?;
    tx.commit().await?;
    let unsettled = applied == Applied::Unsettled;
    settle(ctx, applied).await?;
    if unsettled {
        return Ok(());
    }
    let Some(row) = payments::by_id(&ctx.db, &row.id).await? else { return Ok(()) };
    match row.state {
        State::Open => rest(ctx, row.clone(), Some((row.created_at + SETTLED_AFTER).max(now + MINUTE))).await,
        State::Coming | State::Paid => Ok(()),
        State::Failed | State::Expired => rest(ctx, row, None).await,
    }
}

/// Receipt, card, and what of it has gone back.
async fn paid(ctx: &Ctx, till: &Stripe, mut row: Payment) -> Result<(), Seen> {
    let now = ctx.clock.now();
    if row.intent.is_none()
        && let Some(session) = row.session.clone()
    {
        row.intent = till.checkout(&session).await?.intent;
    }
    let Some(intent) = row.intent.clone() else {
        differ(ctx, &ctx.db, &format!("Payment {} is paid, and Stripe names no payment for it. Refunds of it are not seen.", row.id))
            .await?;
        return rest(ctx, row, None).await;
    };
    let seen = till.intent(&intent).await?;
    let disputed = if seen.disputed { till.disputes(&intent).await? } else { Vec::new() };
    let held: i64 = disputed.iter().filter(|dispute| dispute.withdrawn).map(|dispute| dispute.cents).sum();
    // Both are told in the currency of the payment, and of all that was paid: taxes, too, or another currency than ours.
    let share = |cents: i64| share_of(cents, row.cents, seen.received_cents);
    let (refunded, held) = (share(seen.refunded_cents), share(held));
    let (user, keep_card) = (row.user.clone(), row.keep_card);
    let tx = ctx.db.begin().await?;
    row.receipt_url = seen.receipt.or(row.receipt_url);
    let moved = turn(ctx, &tx, &mut row, refunded, held).await?;
    row.attempts = 0;
    row.due_at = (now < row.created_at + WATCHED).then_some(now + WATCH_EVERY);
    payments::save(&tx, &mut row).await?;
    if let Some(method) = seen.method.filter(|_| keep_card) {
        stripe::set_method(&tx, &user, Some(&method)).await?;
        if top_ups::of_user(&tx, &user).await?.is_some_and(|auto| auto.state == AutoState::Waiting) {
            top_ups::switch(&tx, &user, AutoState::On, "", now).await?;
        }
    }
    tx.commit().await?;
    if moved {
        billing::moved(ctx, &user).await?;
    }
    Ok(())
}

/// What `cents` of all the `received` ones are of the `credited` ones, rounded up.
fn share_of(cents: i64, credited: i64, received: i64) -> i64 {
    if received <= 0 || received == credited {
        return cents;
    }
    let (cents, credited, received) = (i128::from(cents), i128::from(credited), i128::from(received));
    i64::try_from((cents * credited + received - 1) / received).unwrap_or(i64::MAX)
}

/// Puts a look off, with growing waits.
async fn later(ctx: &Ctx, mut row: Payment, failure: &Failure) -> Result<(), Refusal> {
    row.attempts = row.attempts.saturating_add(1);
    let wait = if failure.passes() { wait_after(row.attempts) } else { DAY };
    tracing::warn!(payment = %row.id, %failure, again_in_secs = wait / 1_000, "Stripe could not be asked about a payment");
    row.due_at = Some(ctx.clock.now() + wait);
    match payments::save(&ctx.db, &mut row).await {
        // Something was heard meanwhile, and it is due anyway.
        Err(StoreError::Stale) => Ok(()),
        other => Ok(other?),
    }
}
