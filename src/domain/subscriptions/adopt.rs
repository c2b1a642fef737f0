//! Once a day: what Stripe has that this panel does not know, or knows otherwise. A database that was put back from a backup has lost what
//! was bought since, and gets it back here; everything else is told to whoever runs the panel.

use super::Shared;
use crate::domain::payments::{differ, is_customer};
use crate::domain::{Ctx, Refusal};
use crate::model::ids::{ServerId, SubscriptionId};
use crate::model::servers::Wanted;
use crate::model::subscriptions::{Standing, Status, Subscription};
use crate::model::time::{DAY, Millis};
use crate::payments::{Stripe, SubscriptionSeen};
use crate::store::{StoreError, panel, servers as server_rows, subscriptions};

/// Under which name it is kept when Stripe's list was last read.
const READ_AT: &str = "stripe-list";
/// Pages of one reading: a hundred subscriptions each.
const PAGES: usize = 200;

/// Reads Stripe's list, if that is a day ago.
pub(super) async fn daily(ctx: &Shared, till: &Stripe) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let last = panel::get(&ctx.db, READ_AT).await?.and_then(|text| text.parse().ok()).map(Millis);
    if last.is_some_and(|last| now.since(last) < DAY && now >= last) {
        return Ok(());
    }
    let mut after: Option<String> = None;
    for _ in 0..PAGES {
        let (page, more) = match till.subscriptions(after.as_deref()).await {
            Ok(read) => read,
            Err(failure) => {
                tracing::warn!(%failure, "Stripe's list of subscriptions could not be read; it is tried again");
                return Ok(());
            }
        };
        for seen in &page {
            compare(ctx, seen).await?;
        }
        after = page.last().map(|seen| seen.id.clone());
        if !more || after.is_none() {
            break;
        }
    }
    panel::set(&ctx.db, READ_AT, &now.0.to_string()).await?;
    Ok(())
}

async fn compare(ctx: &Ctx, seen: &SubscriptionSeen) -> Result<(), Refusal> {
    if seen.panel.as_deref() != Some(ctx.panel.as_str()) {
        return Ok(());
    }
    let over = seen.status.standing() == Some(Standing::Over);
    let named = seen.reference.as_deref().and_then(|text| text.parse::<SubscriptionId>().ok());
    let row = match subscriptions::by_stripe(&ctx.db, &seen.id).await? {
        Some(row) => Some(row),
        None => match &named {
            Some(id) => subscriptions::by_id(&ctx.db, id).await?,
            None => None,
        },
    };
    let Some(row) = row else {
        return if over { Ok(()) } else { adopt(ctx, seen, named).await };
    };
    if row.ended_at.is_some() && !over {
        return differ(
            ctx,
            &ctx.db,
            &format!("Subscription {} goes on at Stripe, and has ended here. End it at Stripe, and refund what is too much.", seen.id),
        )
        .await;
    }
    if row.ended_at.is_none() && (row.stripe.is_none() || row.status != seen.status || row.cancel_at_end != seen.cancel_at_end) {
        if row.stripe.is_some() {
            tracing::warn!(subscription = %row.id, here = row.status.as_str(), at_stripe = seen.status.as_str(), "a subscription stands otherwise at Stripe; it is looked at");
        }
        subscriptions::set_due(&ctx.db, &row.id, ctx.clock.now()).await?;
        ctx.payments_nudge.notify_one();
    }
    Ok(())
}

/// One that this panel has made and does not know any more.
async fn adopt(ctx: &Ctx, seen: &SubscriptionSeen, named: Option<SubscriptionId>) -> Result<(), Refusal> {
    let lost = format!("Subscription {} is of this panel, and nothing here belongs to it. Look at it at Stripe.", seen.id);
    let id = seen.server.as_deref().and_then(|text| text.parse::<ServerId>().ok());
    let server = match id {
        Some(id) => server_rows::by_id(&ctx.db, &id).await?,
        None => None,
    };
    let (Some(server), Some(named), Some(item)) = (server, named, &seen.item) else { return differ(ctx, &ctx.db, &lost).await };
    if server.life.wanted == Wanted::Deleted || !is_customer(&ctx.db, &server.owner, Some(&seen.customer)).await? {
        return differ(ctx, &ctx.db, &lost).await;
    }
    let row = Subscription {
        id: named,
        server: server.id.clone(),
        server_name: server.name.clone(),
        user: server.owner.clone(),
        game: server.game.clone(),
        plan: server.plan.clone(),
        plan_wanted: None,
        cents: item.cents.unwrap_or_default(),
        currency: ctx.policy.sales.currency.clone(),
        session: None,
        stripe: Some(seen.id.clone()),
        status: Status::Incomplete,
        period_end: None,
        cancel_at_end: false,
        pay_url: None,
        end_wanted: false,
        lapsed_at: None,
        warned_at: None,
        created_at: seen.started_at,
        ended_at: None,
        trouble: String::new(),
        generation: 0,
        due_at: Some(ctx.clock.now()),
        attempts: 0,
    };
    match subscriptions::insert(&ctx.db, &row).await {
        Ok(()) => {
            tracing::warn!(subscription = seen.id, server = %server.id, "a subscription that was lost here is taken up again");
            ctx.payments_nudge.notify_one();
            Ok(())
        }
        Err(StoreError::Exists(_)) => {
            differ(ctx, &ctx.db, &format!("Server {} has a second subscription at Stripe: {}.", server.id, seen.id)).await
        }
        Err(error) => Err(error.into()),
    }
}
