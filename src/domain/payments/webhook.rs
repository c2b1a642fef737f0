//! What Stripe tells: verified, counted once, and put down in one transaction, before Stripe is told that it was heard.

use super::apply::{self, Applied, Source};
use super::checkout::settle;
use super::{TRIES, till};
use crate::domain::{Ctx, Refusal, subscriptions};
use crate::model::payments::State;
use crate::payments::{Event, NotSigned, verify};
use crate::store::{StoreError, Tx, payments, stripe};

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is put down.
    Now,
    /// It was heard before.
    Before,
    /// Nothing that this panel asks about, or not about its kind of money.
    Ignored,
}

/// Why a webhook is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum Unheard {
    /// This panel takes no payments.
    #[error("this panel takes no payments")]
    Nobody,
    /// It is not Stripe's.
    #[error("the webhook is not believed")]
    NotBelieved(#[source] NotSigned),
    /// It is Stripe's, and no event.
    #[error("the webhook is no event")]
    Nonsense,
    /// It could not be put down; Stripe sends it again.
    #[error("the webhook could not be put down")]
    Refused(#[source] Refusal),
}

/// Takes a webhook in. `signature` is the header, `body` is as it came.
pub async fn receive(ctx: &Ctx, signature: &str, body: &[u8]) -> Result<Heard, Unheard> {
    let till = till(ctx).map_err(|_| Unheard::Nobody)?;
    verify(signature, body, till.webhook_secrets(), ctx.clock.now()).map_err(Unheard::NotBelieved)?;
    let event = Event::read(body).map_err(|_| Unheard::Nonsense)?;
    if event.livemode != till.livemode() {
        tracing::warn!(event = event.id, "a webhook is about the other mode (test or live) than STRIPE_SECRET_KEY; it is left alone");
        return Ok(Heard::Ignored);
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match put_down(ctx, &event).await {
            // The worker or the page that somebody came back to was at the same row.
            Err(Refusal::Store(StoreError::Stale | StoreError::Exists(_) | StoreError::Busy(_))) if tries < TRIES => {}
            Err(refusal) => return Err(Unheard::Refused(refusal)),
            Ok(heard) => return Ok(heard),
        }
    }
}

async fn put_down(ctx: &Ctx, event: &Event) -> Result<Heard, Refusal> {
    let tx = ctx.db.begin().await?;
    if !stripe::hear(&tx, &event.id, &event.kind, ctx.clock.now()).await? {
        return Ok(Heard::Before);
    }
    let applied = apply(ctx, &tx, event).await?;
    tx.commit().await?;
    match applied {
        Some(applied) => {
            settle(ctx, applied).await?;
            Ok(Heard::Now)
        }
        None => Ok(Heard::Ignored),
    }
}

async fn apply(ctx: &Ctx, tx: &Tx, event: &Event) -> Result<Option<Applied>, Refusal> {
    let kind = event.kind.as_str();
    if kind.starts_with("checkout.session.") {
        let Some(seen) = event.checkout() else { return unread(ctx, tx, event).await };
        if seen.one_off {
            return Ok(Some(apply::checkout(ctx, tx, &seen, kind == "checkout.session.async_payment_failed", Source::Told).await?));
        }
        let known = subscriptions::heard(ctx, tx, Some(&seen.id), seen.subscription.as_deref()).await?;
        return Ok(known.then_some(Applied::Nothing));
    }
    if kind.starts_with("payment_intent.") {
        let Some(seen) = event.intent() else { return Ok(None) };
        return Ok(Some(apply::intent(ctx, tx, &seen, Source::Told).await?));
    }
    // What goes back is asked for, not taken from here: refunds and disputes come in many shapes, and in any order.
    if ["charge.refund", "charge.dispute.", "refund."].iter().any(|begin| kind.starts_with(begin)) {
        let Some(intent) = event.payment_intent() else { return Ok(None) };
        let Some(row) = payments::by_intent(tx, &intent).await? else { return Ok(None) };
        payments::set_due(tx, &row.id, ctx.clock.now()).await?;
        return Ok(Some(Applied::Nothing));
    }
    if kind.starts_with("customer.subscription.") || kind.starts_with("invoice.") {
        let Some(subscription) = event.subscription() else { return Ok(None) };
        let known = subscriptions::heard(ctx, tx, None, Some(&subscription)).await?;
        if let Some(paid) = event.paid().filter(|_| known) {
            subscriptions::came_in(tx, &subscription, &paid).await?;
        }
        return Ok(known.then_some(Applied::Nothing));
    }
    Ok(None)
}

/// An event about a Checkout session in a shape that is not known: the session is asked for instead.
async fn unread(ctx: &Ctx, tx: &Tx, event: &Event) -> Result<Option<Applied>, Refusal> {
    let Some((session, reference)) = event.session() else { return Ok(None) };
    let row = match payments::by_session(tx, &session).await? {
        Some(row) => Some(row),
        None => apply::named(tx, reference.as_ref()).await?,
    };
    let Some(row) = row.filter(|row| row.state != State::Paid) else { return Ok(None) };
    payments::set_due(tx, &row.id, ctx.clock.now()).await?;
    Ok(Some(Applied::Nothing))
}
