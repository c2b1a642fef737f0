//! Moving a server that is paid by the month to another plan. Its node promises the room first; then Stripe settles the difference of the
//! running month; what Stripe refuses is taken back.

use super::look::{Seen, look_now};
use super::{Shared, own, start};
use crate::domain::payments::{self, till};
use crate::domain::servers::{self, Cause};
use crate::domain::{Actor, Fields, Refusal};
use crate::model::ids::{PlanId, ServerId};
use crate::model::subscriptions::{Standing, Subscription};
use crate::model::time::MINUTE;
use crate::payments::{Failure, Stripe};
use crate::store::{StoreError, servers as server_rows, subscriptions};

/// The worker leaves a change that was begun alone for so long.
const BEGUN: i64 = MINUTE;

/// Moves it; true when that is done, false while Stripe does not answer: the worker goes on.
///
/// # Errors
/// [`Refusal::Invalid`] at `plan`; [`Refusal::Conflict`] where it does not fit its node, or is not paid by the month.
pub async fn change_plan(ctx: &Shared, actor: &Actor, id: &ServerId, typed: &str) -> Result<bool, Refusal> {
    let server = own(ctx, actor, id).await?;
    till(ctx)?;
    ctx.limits.checkout(actor.user.id.as_str())?;
    let plan = super::other_plans(ctx, &server).into_iter().find(|plan| plan.id.as_str() == typed);
    let Some(plan) = plan else {
        let mut fields = Fields::default();
        fields.add("plan", "Choose one of the other plans of this game.");
        return Err(Refusal::Invalid(fields));
    };
    let row = subscriptions::of_server(&ctx.db, id).await?.filter(|row| row.ended_at.is_none() && row.stripe.is_some() && !row.end_wanted);
    let Some(mut row) = row.filter(|row| row.status.standing() == Some(Standing::Covered)) else {
        return Err(Refusal::Conflict("Its subscription is not paid at the moment. Pay first, then change the plan.".to_owned()));
    };
    // Written down before anything is done: killed from here on, the worker goes on, or finds that nothing was begun.
    row.plan_wanted = Some(plan.id.clone());
    row.due_at = Some(ctx.clock.now() + BEGUN);
    subscriptions::save(&ctx.db, &mut row).await.map_err(|error| match error {
        StoreError::Stale => Refusal::Conflict("Something else happened to its subscription just now. Try again.".to_owned()),
        other => other.into(),
    })?;
    // Room next: whoever changes to a larger plan gets it, or a reason.
    if let Err(refused) = resize(ctx, id, &actor.user.email, &plan.id).await {
        row.plan_wanted = None;
        subscriptions::save(&ctx.db, &mut row).await?;
        return Err(refused);
    }
    look_now(ctx, &row.id).await;
    let after = subscriptions::by_id(&ctx.db, &row.id).await?.ok_or(Refusal::NotFound)?;
    match (after.plan_wanted, after.plan == plan.id) {
        (None, true) => Ok(true),
        (None, false) => Err(Refusal::Conflict("Stripe did not take the change of plan. Everything is as it was.".to_owned())),
        (Some(_), _) => Ok(false),
    }
}

/// Gives a server another size, in what its node promises and in its price by the hour.
async fn resize(ctx: &Shared, id: &ServerId, who: &str, plan: &PlanId) -> Result<(), Refusal> {
    let games = ctx.games();
    let cause = Cause::new(who.to_owned(), "Its plan was changed. What concerns its container counts from its next start.");
    servers::update(ctx, id, &cause, |server, _| {
        let (_, plan) = games.plan(&server.game, plan).ok_or(Refusal::NotFound)?;
        server.plan = plan.id.clone();
        server.per_hour = plan.per_hour;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Has Stripe settle a change that was begun.
pub(super) async fn settle(ctx: &Shared, till: &Stripe, mut row: Subscription) -> Result<Subscription, Seen> {
    let (Some(wanted), Some(stripe)) = (row.plan_wanted.clone(), row.stripe.clone()) else { return Ok(row) };
    let server = server_rows::by_id(&ctx.db, &row.server).await?;
    let (games, currency) = (ctx.games(), row.currency.clone());
    let (Some(server), Some((_, plan))) = (server.filter(|server| server.plan == wanted), games.plan(&row.game, &wanted)) else {
        // Killed before the server had its new size, or taken back since: nothing is to be settled.
        row.plan_wanted = None;
        subscriptions::save(&ctx.db, &mut row).await?;
        return Ok(row);
    };
    let cents = i64::from(plan.month_cents);
    let product = match start::product(ctx, till, &server).await {
        Err(Refusal::Away(_)) => return Err(Failure::Away.into()),
        other => other?,
    };
    let seen = till.subscription(&stripe).await?;
    let Some(item) = seen.item else { return Err(Failure::Unreadable.into()) };
    let done = if item.product == product && item.cents == Some(cents) {
        Ok(seen.id)
    } else {
        // There and back again are different changes. Whether an earlier try has done it is what was asked for just now.
        let key = payments::key(ctx, &format!("plan:{}:{wanted}:{}", row.id, row.generation));
        till.change_price(&key, (&stripe, &item.id), &product, (cents, &currency)).await.map(|seen| seen.id)
    };
    match done {
        Ok(_) => (row.plan, row.cents) = (wanted, cents),
        Err(failure) if failure.passes() => return Err(failure.into()),
        Err(failure) => {
            payments::differ(
                ctx,
                &ctx.db,
                &format!("Subscription {stripe}: Stripe did not take a change of plan ({failure}). It was taken back."),
            )
            .await?;
            resize(ctx, &row.server, "subscription", &row.plan).await?;
        }
    }
    row.plan_wanted = None;
    subscriptions::save(&ctx.db, &mut row).await?;
    Ok(row)
}
