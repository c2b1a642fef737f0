//! Beginning a subscription at Stripe's page, coming back from it, ending it with the month that is paid, and thinking better of that.

use super::look::look_now;
use super::{Shared, own};
use crate::domain::payments::{self, shown, till};
use crate::domain::{Actor, Ctx, Refusal};
use crate::model::ids::{ServerId, SubscriptionId};
use crate::model::servers::{Server, Wanted};
use crate::model::subscriptions::{Standing, Status, Subscription};
use crate::model::time::SECOND;
use crate::payments::{Failure, SessionState, Stripe, Visit};
use crate::store::{StoreError, stripe, subscriptions};

const HAS_ONE: &str = "It has a subscription already. Load the page anew to see how it stands.";
const CONFIRMING: &str = "It has just been paid for, and that is being confirmed. Load the page anew in a moment.";

/// Opens Stripe's page for a month of a server, again and again; gives its address. Asked again while that page is open, the same one.
///
/// # Errors
/// [`Refusal::Conflict`] where it has a subscription or cannot have one; [`Refusal::Away`].
pub async fn start(ctx: &Shared, actor: &Actor, id: &ServerId) -> Result<String, Refusal> {
    let server = own(ctx, actor, id).await?;
    let till = till(ctx)?;
    if server.life.wanted == Wanted::Deleted {
        return Err(Refusal::Conflict("It is being deleted.".to_owned()));
    }
    let cents = super::month_cents(ctx, &server)
        .ok_or_else(|| Refusal::Conflict("This plan cannot be had by the month. It runs by the hour.".to_owned()))?;
    ctx.limits.checkout(actor.user.id.as_str())?;
    if let Some(row) = subscriptions::of_server(&ctx.db, id).await?.filter(|row| row.ended_at.is_none()) {
        match open_page(ctx, till, row, &server, cents).await? {
            Page::There(url) => return Ok(url),
            Page::None => {}
        }
    }
    let customer = payments::customer(ctx, till, actor).await?;
    let product = product(ctx, till, &server).await?;
    let row = new_row(ctx, &server, cents);
    match subscriptions::insert(&ctx.db, &row).await {
        Err(StoreError::Exists(_)) => {
            return Err(Refusal::Conflict("Another page is being opened for it. Try again in a moment.".to_owned()));
        }
        other => other?,
    }
    let visit = Visit {
        customer: &customer,
        reference: row.id.as_str(),
        expires_at: (row.created_at + payments::OPEN_FOR).0 / SECOND,
        success_url: &format!("{}/billing/return?subscription={}", ctx.policy.base_url, row.id),
        cancel_url: &format!("{}/servers/{}", ctx.policy.base_url, server.id),
    };
    let key = payments::key(ctx, &format!("subscription:{}", row.id));
    let about = [("subscription", row.id.as_str()), ("server", server.id.as_str()), ("panel", ctx.panel.as_str())];
    match till.sell_month(&key, &visit, &product, (cents, &row.currency), about).await {
        Ok(seen) => {
            let url = seen.url.ok_or_else(|| shown(&Failure::Unreadable))?;
            keep_session(ctx, &row.id, &seen.id).await?;
            Ok(url)
        }
        Err(failure) => {
            // Nobody has seen its page; what Stripe may have made runs out by itself.
            close(ctx, row).await?;
            Err(shown(&failure))
        }
    }
}

enum Page {
    There(String),
    None,
}

/// What to do about a subscription that lives: its open page, or why there can be no other.
async fn open_page(ctx: &Ctx, till: &Stripe, row: Subscription, server: &Server, cents: i64) -> Result<Page, Refusal> {
    let refused = |why: &str| Err(Refusal::Conflict(why.to_owned()));
    if row.status == Status::Opening
        && let Some(session) = row.session.clone()
    {
        let seen = till.checkout(&session).await.map_err(|failure| shown(&failure))?;
        let same = row.plan == server.plan && row.cents == cents;
        return match (seen.state, seen.url) {
            (SessionState::Open, Some(url)) if same => Ok(Page::There(url)),
            (SessionState::Open, _) => {
                // Of another plan, by now.
                till.call_off(&session).await.map_err(|failure| shown(&failure))?;
                close(ctx, row).await?;
                Ok(Page::None)
            }
            (SessionState::Expired, _) => {
                close(ctx, row).await?;
                Ok(Page::None)
            }
            (SessionState::Complete | SessionState::Paid | SessionState::Free, _) => {
                subscriptions::set_due(&ctx.db, &row.id, ctx.clock.now()).await?;
                ctx.payments_nudge.notify_one();
                refused(CONFIRMING)
            }
        };
    }
    match (row.status.standing(), row.pay_url) {
        (Some(Standing::Lapsed | Standing::Waiting), Some(url)) => Ok(Page::There(url)),
        _settled => refused(HAS_ONE),
    }
}

fn new_row(ctx: &Ctx, server: &Server, cents: i64) -> Subscription {
    let now = ctx.clock.now();
    Subscription {
        id: SubscriptionId::from_random(&Ctx::random::<20>()),
        server: server.id.clone(),
        server_name: server.name.clone(),
        user: server.owner.clone(),
        game: server.game.clone(),
        plan: server.plan.clone(),
        plan_wanted: None,
        cents,
        currency: ctx.policy.sales.currency.clone(),
        session: None,
        stripe: None,
        status: Status::Opening,
        period_end: None,
        cancel_at_end: false,
        pay_url: None,
        end_wanted: false,
        lapsed_at: None,
        warned_at: None,
        created_at: now,
        ended_at: None,
        trouble: String::new(),
        generation: 0,
        due_at: Some(now + payments::SETTLED_AFTER),
        attempts: 0,
    }
}

async fn keep_session(ctx: &Ctx, id: &SubscriptionId, session: &str) -> Result<(), Refusal> {
    for _ in 0..payments::TRIES {
        let Some(mut row) = subscriptions::by_id(&ctx.db, id).await?.filter(|row| row.session.is_none()) else { return Ok(()) };
        row.session = Some(session.to_owned());
        match subscriptions::save(&ctx.db, &mut row).await {
            Err(StoreError::Stale) => {}
            other => return Ok(other?),
        }
    }
    Err(StoreError::Stale.into())
}

/// Nothing came of it.
pub(super) async fn close(ctx: &Ctx, mut row: Subscription) -> Result<(), Refusal> {
    (row.status, row.ended_at, row.due_at) = (Status::IncompleteExpired, Some(ctx.clock.now()), None);
    Ok(subscriptions::save(&ctx.db, &mut row).await?)
}

/// What Stripe calls a plan; made where it does not know it.
pub(super) async fn product(ctx: &Ctx, till: &Stripe, server: &Server) -> Result<String, Refusal> {
    if let Some(known) = stripe::product(&ctx.db, &server.game, &server.plan).await? {
        return Ok(known);
    }
    let games = ctx.games();
    let (game, plan) = games.plan(&server.game, &server.plan).ok_or(Refusal::NotFound)?;
    let name = format!("{}, {}", game.name, plan.name);
    let key = payments::key(ctx, &format!("product:{}:{}", game.id, plan.id));
    let made = till.product(&key, &name, game.id.as_str(), plan.id.as_str()).await.map_err(|failure| shown(&failure))?;
    stripe::keep_product(&ctx.db, &game.id, &plan.id, &made).await?;
    Ok(stripe::product(&ctx.db, &game.id, &plan.id).await?.unwrap_or(made))
}

/// Somebody comes back from Stripe's page: looks at once, whether a webhook was faster or not.
pub async fn returned(ctx: &Shared, actor: &Actor, id: &SubscriptionId) -> Result<Subscription, Refusal> {
    let row = subscriptions::by_id(&ctx.db, id).await?.filter(|row| row.user == actor.user.id).ok_or(Refusal::NotFound)?;
    if row.status.standing() == Some(Standing::Waiting) {
        look_now(ctx, &row.id).await;
    }
    subscriptions::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)
}

/// Has a subscription end with the month that is paid, or (`end` false) go on after all.
///
/// # Errors
/// [`Refusal::Conflict`] where nothing is to be ended; [`Refusal::Away`].
pub async fn cancel(ctx: &Shared, actor: &Actor, server: &ServerId, end: bool) -> Result<(), Refusal> {
    own(ctx, actor, server).await?;
    let till = till(ctx)?;
    ctx.limits.checkout(actor.user.id.as_str())?;
    let row = subscriptions::of_server(&ctx.db, server).await?.filter(|row| row.ended_at.is_none() && !row.end_wanted);
    let Some((row, stripe)) = row.and_then(|row| row.stripe.clone().map(|stripe| (row, stripe))) else {
        return Err(Refusal::Conflict("It has no subscription that could be ended.".to_owned()));
    };
    if row.cancel_at_end == end {
        return Ok(());
    }
    let key = payments::key(ctx, &format!("end:{}:{}:{end}", row.id, row.generation));
    till.end_with_period(&key, &stripe, end).await.map_err(|failure| shown(&failure))?;
    look_now(ctx, &row.id).await;
    Ok(())
}
