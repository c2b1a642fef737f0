//! Months of a server, sold by Stripe as a subscription: at most one that lives for each server.
//!
//! Level, not edge. A webhook only says that a subscription has to be looked at; the worker asks Stripe how it stands, at our own API
//! version, and puts the server where that belongs: covered, or expired with its data kept for a while. The daily reconciliation is the
//! same look at every row. Because it is a level, webhooks may be lost, doubled or out of order, and the panel may be killed between any
//! two steps: the next look ends at the same place.

mod adopt;
mod apply;
mod grace;
mod look;
mod plan;
mod start;

pub use grace::by_the_hour;
pub use look::tick;
pub use plan::change_plan;
pub use start::{cancel, returned, start};

use std::sync::Arc;

use super::{Actor, Ctx, Refusal, servers};
use crate::model::games::Plan;
use crate::model::ids::{ServerId, UserId};
use crate::model::servers::Server;
use crate::model::subscriptions::Subscription;
use crate::model::time::Millis;
use crate::model::users::Right;
use crate::payments::PaidSeen;
use crate::store::{Tx, reports, subscriptions};

/// Subscriptions of somebody that are shown.
const SHOWN: u64 = 100;

/// Somebody's own subscriptions, newest first.
pub async fn list(ctx: &Ctx, actor: &Actor) -> Result<Vec<Subscription>, Refusal> {
    Ok(subscriptions::of_user(&ctx.db, &actor.user.id, SHOWN).await?)
}

/// The newest subscription of a server; none: it has never had one.
pub async fn of_server(ctx: &Ctx, actor: &Actor, server: &ServerId) -> Result<Option<Subscription>, Refusal> {
    servers::find(ctx, actor, server, Right::SeeServer).await?;
    Ok(subscriptions::of_server(&ctx.db, server).await?)
}

/// A server whose owner acts: nobody else buys or ends anything in their name.
async fn own(ctx: &Ctx, actor: &Actor, id: &ServerId) -> Result<Server, Refusal> {
    let server = servers::find(ctx, actor, id, Right::SeeServer).await?;
    if server.owner == actor.user.id { Ok(server) } else { Err(Refusal::Forbidden) }
}

/// The plans to which a server's subscription can be moved.
pub fn other_plans(ctx: &Ctx, server: &Server) -> Vec<Plan> {
    let games = ctx.games();
    let game = games.game(&server.game);
    let plans = game.map(|game| game.plans.clone()).unwrap_or_default();
    plans.into_iter().filter(|plan| plan.id != server.plan && plan.month_cents > 0).collect()
}

/// What a month of a server costs, in cents; none: it cannot be had by the month.
pub fn month_cents(ctx: &Ctx, server: &Server) -> Option<i64> {
    let games = ctx.games();
    let (_, plan) = games.plan(&server.game, &server.plan)?;
    Some(i64::from(plan.month_cents)).filter(|cents| *cents > 0 && ctx.stripe.is_some())
}

/// Something was heard of a subscription: it is looked at soon. False: nobody here knows it.
pub(super) async fn heard(ctx: &Ctx, tx: &Tx, session: Option<&str>, stripe: Option<&str>) -> Result<bool, Refusal> {
    let by_stripe = match stripe {
        Some(id) => subscriptions::by_stripe(tx, id).await?,
        None => None,
    };
    let row = match (by_stripe, session) {
        (Some(row), _) => Some(row),
        (None, Some(session)) => subscriptions::by_session(tx, session).await?,
        (None, None) => None,
    };
    let Some(row) = row else { return Ok(false) };
    subscriptions::set_due(tx, &row.id, ctx.clock.now()).await?;
    Ok(true)
}

/// An invoice of a subscription was paid: kept once, whoever tells it.
pub(super) async fn came_in(tx: &Tx, stripe: &str, paid: &PaidSeen) -> Result<(), Refusal> {
    let Some(row) = subscriptions::by_stripe(tx, stripe).await? else { return Ok(()) };
    if paid.currency != row.currency {
        tracing::warn!(
            invoice = paid.id,
            currency = paid.currency,
            "an invoice was paid in another currency than the panel's; the report of income leaves it out"
        );
        return Ok(());
    }
    Ok(reports::keep_invoice(tx, &paid.id, &row, paid.cents, paid.at).await?)
}

/// A server goes: its subscription is to be ended, in the transaction in which that is decided.
pub(super) async fn end_of_server(tx: &Tx, server: &ServerId, now: Millis) -> Result<(), Refusal> {
    subscriptions::end_of_server(tx, server, now).await?;
    Ok(())
}

/// The address of somebody, for letters.
async fn address(tx: &crate::store::Db, user: &UserId) -> Result<Option<crate::model::accounts::Email>, Refusal> {
    let user = crate::store::users::by_id(tx, user).await?;
    Ok(user.and_then(|user| crate::model::accounts::Email::parse(&user.email).ok()))
}

/// The context with which servers are changed.
type Shared = Arc<Ctx>;
