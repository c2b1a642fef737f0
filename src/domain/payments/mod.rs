//! Money that comes in by Stripe, and what of it goes back.
//!
//! A payment has a row of ours before Stripe hears of it: who gets how many credits stands there, and nothing that comes from outside can
//! say otherwise. That it is paid may be heard from a webhook, from the browser that comes back, from the worker that looks, in any order
//! and any number of times: the row turns paid once, in the transaction that posts its entry. What goes back afterwards is never added up
//! from what is heard: a webhook only says that the payment has to be looked at, and the difference to what Stripe then says is posted.

mod apply;
mod automatic;
mod checkout;
mod look;
mod webhook;

pub use automatic::{AutoForm, auto_off, choose_auto};
pub use checkout::{CheckoutForm, find, portal, returned, start};
pub(in crate::domain) use look::Seen;
pub use look::{sweep, tick};
pub use webhook::{Heard, Unheard, receive};

pub(super) use checkout::{OPEN_FOR, SETTLED_AFTER};

use sha2::{Digest, Sha256};

use super::{Actor, Ctx, Refusal};
use crate::model::ids::UserId;
use crate::model::payments::{AutoTopUp, Payment};
use crate::model::users::Right;
use crate::payments::{Failure, Stripe};
use crate::store::{payments, stripe, top_ups};

pub use crate::store::stripe::Difference;

/// Payments that are shown.
const SHOWN: u64 = 20;
/// Differences that are shown.
const DIFFERENCES: i64 = 50;
/// How often a change is tried again when somebody else was faster.
pub(super) const TRIES: u32 = 8;

/// What the billing page shows of payments.
#[derive(Debug, Clone)]
pub struct Account {
    /// The last ones, newest first.
    pub payments: Vec<Payment>,
    /// What they chose to have done by itself.
    pub auto: Option<AutoTopUp>,
    /// Stripe knows them, so there is something to see at its portal.
    pub customer: bool,
    /// A card is saved.
    pub card: bool,
}

/// Does this panel take payments?
pub fn are_taken(ctx: &Ctx) -> bool {
    ctx.stripe.is_some()
}

/// Somebody's own payments.
pub async fn account(ctx: &Ctx, actor: &Actor) -> Result<Account, Refusal> {
    let user = &actor.user.id;
    let customer = stripe::customer(&ctx.db, user).await?;
    Ok(Account {
        payments: payments::of_user(&ctx.db, user, SHOWN).await?,
        auto: top_ups::of_user(&ctx.db, user).await?,
        card: customer.as_ref().is_some_and(|customer| customer.method.is_some()),
        customer: customer.is_some(),
    })
}

/// Where this panel and Stripe did not agree; for those who give credits.
pub async fn differences(ctx: &Ctx, actor: &Actor) -> Result<Vec<Difference>, Refusal> {
    if !actor.may_at_all(Right::GrantCredits) {
        return Err(Refusal::Forbidden);
    }
    Ok(stripe::differences(&ctx.db, DIFFERENCES).await?)
}

/// Stripe, or why there is none.
pub(super) fn till(ctx: &Ctx) -> Result<&Stripe, Refusal> {
    ctx.stripe.as_ref().ok_or_else(|| Refusal::Conflict("This panel takes no payments. Ask whoever runs it for credits.".to_owned()))
}

/// A failure, for whoever waits at a page.
pub(super) fn shown(failure: &Failure) -> Refusal {
    match failure {
        Failure::Away => Refusal::Away("Stripe does not answer at the moment. Nothing has been charged. Try again in a minute.".to_owned()),
        Failure::Unknown | Failure::Declined { .. } | Failure::Refused { .. } | Failure::Unreadable => {
            tracing::error!(%failure, "Stripe did not do what it was asked for");
            Refusal::Away("Stripe did not take this. Nothing has been charged. Tell whoever runs this site; its log says more.".to_owned())
        }
    }
}

/// An idempotency key: what this panel asks for one thing, once.
pub(super) fn key(ctx: &Ctx, what: &str) -> String {
    format!("roost:{}:{what}", ctx.panel)
}

/// What Stripe calls somebody; made where it does not know them.
pub(super) async fn customer(ctx: &Ctx, till: &Stripe, actor: &Actor) -> Result<String, Refusal> {
    let user = &actor.user.id;
    if let Some(known) = stripe::customer(&ctx.db, user).await? {
        return Ok(known.customer);
    }
    // The address is part of the key: with another one the same request would be another request.
    let key = key(ctx, &format!("customer:{user}:{}", hex::encode(&Sha256::digest(actor.user.email.as_bytes())[..8])));
    let made = till.customer(&key, &actor.user.email, user.as_str()).await.map_err(|failure| shown(&failure))?;
    stripe::keep_customer(&ctx.db, user, &made, ctx.clock.now()).await?;
    // Somebody else may have been faster; the first answer stays.
    Ok(stripe::customer(&ctx.db, user).await?.map_or(made, |known| known.customer))
}

/// Notes that the two sides do not agree, loudly where it is new.
pub(super) async fn differ(ctx: &Ctx, db: &crate::store::Db, what: &str) -> Result<(), Refusal> {
    if stripe::note_difference(db, what, ctx.clock.now()).await? {
        tracing::error!(what, "this panel and Stripe do not agree");
    }
    Ok(())
}

/// Is this `cus_...` who the row is for?
pub(super) async fn is_customer(db: &crate::store::Db, user: &UserId, customer: Option<&str>) -> Result<bool, Refusal> {
    let known = stripe::customer(db, user).await?;
    Ok(known.is_some_and(|known| Some(known.customer.as_str()) == customer))
}
