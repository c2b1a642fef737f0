//! The worker of subscriptions: asks Stripe how those stand whose time has come.

use futures_util::StreamExt;

use super::{Shared, adopt, apply, grace, plan, start};
pub(super) use crate::domain::payments::Seen;
use crate::domain::{Ctx, Refusal};
use crate::model::ids::SubscriptionId;
use crate::model::payments::wait_after;
use crate::model::subscriptions::{Status, Subscription};
use crate::model::time::{DAY, MINUTE};
use crate::payments::{Failure, SessionState, Stripe};
use crate::store::{StoreError, subscriptions};

/// Subscriptions of one look.
const BATCH: u64 = 200;
/// Asked for at the same time.
const AT_ONCE: usize = 8;
/// Nobody else looks at one for so long.
const LEASE: i64 = 2 * MINUTE;
/// Every one that lives is looked at this often, whatever is heard.
pub(super) const LOOK_EVERY: i64 = DAY;

/// Looks at what is due, sees to servers in their grace, and once a day to what else Stripe has; gives how many rows were looked at.
pub async fn tick(ctx: &Shared) -> Result<u64, Refusal> {
    let mut looked = 0;
    if let Some(till) = &ctx.stripe {
        loop {
            let due = subscriptions::due(&ctx.db, ctx.clock.now(), BATCH).await?;
            let full = due.len() as u64 == BATCH;
            looked += due.len() as u64;
            futures_util::stream::iter(due).for_each_concurrent(AT_ONCE, |row| one(ctx, till, row)).await;
            if !full {
                break;
            }
        }
        adopt::daily(ctx, till).await?;
    }
    grace::tick(ctx).await?;
    Ok(looked)
}

/// Looks at one now, for whoever waits at a page; what does not work is left to the worker.
pub(super) async fn look_now(ctx: &Shared, id: &SubscriptionId) {
    let Some(till) = &ctx.stripe else { return };
    if let Ok(Some(row)) = subscriptions::by_id(&ctx.db, id).await {
        one(ctx, till, row).await;
    }
}

async fn one(ctx: &Shared, till: &Stripe, mut row: Subscription) {
    row.due_at = Some(ctx.clock.now() + LEASE);
    match subscriptions::save(&ctx.db, &mut row).await {
        Ok(()) => {}
        Err(StoreError::Stale) => return,
        Err(error) => {
            return tracing::warn!(subscription = %row.id, error = &error as &dyn std::error::Error, "a subscription could not be taken up; next time again");
        }
    }
    let before = row.clone();
    match look(ctx, till, row).await {
        Ok(()) => {}
        Err(Seen::Refused(Refusal::Store(StoreError::Stale))) => ctx.payments_nudge.notify_one(),
        Err(Seen::Refused(error)) => {
            tracing::warn!(subscription = %before.id, error = &error as &dyn std::error::Error, "a subscription could not be put down; it is looked at again");
            put_off(ctx, before, "the database is busy").await;
        }
        Err(Seen::Failed(failure)) => put_off(ctx, before, &failure.to_string()).await,
    }
}

async fn put_off(ctx: &Ctx, mut row: Subscription, why: &str) {
    row.attempts = row.attempts.saturating_add(1);
    let wait = wait_after(row.attempts);
    tracing::warn!(subscription = %row.id, why, again_in_secs = wait / 1_000, "a subscription is looked at again later");
    row.due_at = Some(ctx.clock.now() + wait);
    match subscriptions::save(&ctx.db, &mut row).await {
        // Something was heard meanwhile, and it is due anyway.
        Ok(()) | Err(StoreError::Stale) => {}
        Err(error) => {
            tracing::warn!(subscription = %row.id, error = &error as &dyn std::error::Error, "a subscription could not be put off");
        }
    }
}

async fn look(ctx: &Shared, till: &Stripe, row: Subscription) -> Result<(), Seen> {
    if row.ended_at.is_some() && row.due_at.is_none() {
        return Ok(());
    }
    let Some((mut row, stripe)) = opened(ctx, till, row).await? else { return Ok(()) };
    if row.end_wanted && row.ended_at.is_none() {
        match till.end_now(&stripe).await {
            // Ended already, or never there: how it stands is asked next.
            Ok(()) | Err(Failure::Unknown | Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    } else if row.plan_wanted.is_some() {
        row = plan::settle(ctx, till, row).await?;
    }
    match till.subscription(&stripe).await {
        Ok(seen) => apply::apply(ctx, row, &seen).await,
        Err(Failure::Unknown) => apply::unknown(ctx, row).await,
        Err(failure) => Err(failure.into()),
    }
}

/// The row with what Stripe calls its subscription; none while there is no subscription.
async fn opened(ctx: &Shared, till: &Stripe, mut row: Subscription) -> Result<Option<(Subscription, String)>, Seen> {
    if let Some(stripe) = row.stripe.clone() {
        return Ok(Some((row, stripe)));
    }
    let now = ctx.clock.now();
    let Some(session) = row.session.clone() else {
        // Its page was never shown to anybody, unless it is being made at this moment.
        if now >= row.created_at + crate::domain::payments::SETTLED_AFTER {
            start::close(ctx, row).await?;
        } else {
            row.due_at = Some(row.created_at + crate::domain::payments::SETTLED_AFTER);
            subscriptions::save(&ctx.db, &mut row).await?;
        }
        return Ok(None);
    };
    let seen = till.checkout(&session).await?;
    match (seen.state, seen.subscription) {
        (_, Some(stripe)) if seen.reference.as_deref() == Some(row.id.as_str()) => {
            (row.stripe, row.status) = (Some(stripe.clone()), Status::Incomplete);
            subscriptions::save(&ctx.db, &mut row).await?;
            Ok(Some((row, stripe)))
        }
        (SessionState::Open, _) if row.end_wanted => {
            till.call_off(&session).await?;
            start::close(ctx, row).await?;
            Ok(None)
        }
        (SessionState::Expired, _) => {
            start::close(ctx, row).await?;
            Ok(None)
        }
        (SessionState::Open | SessionState::Complete | SessionState::Paid | SessionState::Free, _) => {
            row.due_at = Some((row.created_at + crate::domain::payments::SETTLED_AFTER).max(now + MINUTE));
            subscriptions::save(&ctx.db, &mut row).await?;
            Ok(None)
        }
    }
}
