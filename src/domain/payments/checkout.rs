//! Paying at Stripe's page, and coming back from it.

use sha2::{Digest, Sha256};

use super::apply::{self, Applied, Source};
use super::{customer, key, shown, till};
use crate::domain::{Actor, Ctx, Fields, Refusal, billing};
use crate::model::ids::PaymentId;
use crate::model::payments::{Kind, Payment, State, price};
use crate::model::time::{HOUR, MINUTE, SECOND};
use crate::payments::{Failure, Visit};
use crate::store::{StoreError, payments, stripe};

/// How long a page of Stripe's can be paid at.
pub(in crate::domain) const OPEN_FOR: i64 = HOUR;
/// And a little longer, until nothing can come of it any more.
pub(in crate::domain) const SETTLED_AFTER: i64 = OPEN_FOR + 5 * MINUTE;

/// What somebody filled in.
#[derive(Debug, Clone, Default)]
pub struct CheckoutForm<'a> {
    /// An amount of money, such as `25`.
    pub amount: &'a str,
    /// What the form brought to be counted once.
    pub request: &'a str,
    /// The card shall be kept, to be charged later.
    pub keep_card: bool,
}

/// An amount of money as it is typed, in cents.
pub(super) fn cents(ctx: &Ctx, typed: &str, field: &str, fields: &mut Fields) -> i64 {
    let sales = &ctx.policy.sales;
    let (least, most) = sales.bounds;
    // Credits read as amounts are written, with as many places; here it may be two.
    let typed = typed.trim();
    let places = typed.split_once('.').map_or(0, |(_, places)| places.len());
    let amount = typed.parse::<crate::model::money::Credits>().ok().filter(|_| places <= 2).map(|amount| amount.0 / 10_000);
    match amount {
        Some(cents) if (least..=most).contains(&cents) => cents,
        Some(_) => {
            fields.add(field, format!("Between {} and {} at a time.", price(least, &sales.currency), price(most, &sales.currency)));
            0
        }
        None => {
            fields.add(field, "This is not an amount: write it like 25 or 12.50.");
            0
        }
    }
}

/// Opens Stripe's page for credits; gives its address. The same form leads to the same page.
///
/// # Errors
/// [`Refusal::Invalid`] at `amount`; [`Refusal::Away`].
pub async fn start(ctx: &Ctx, actor: &Actor, form: &CheckoutForm<'_>) -> Result<String, Refusal> {
    let till = till(ctx)?;
    let mut fields = Fields::default();
    let cents = cents(ctx, form.amount, "amount", &mut fields);
    fields.check()?;
    ctx.limits.checkout(actor.user.id.as_str())?;
    let customer = customer(ctx, till, actor).await?;
    let row = row(ctx, actor, form, cents).await?;
    let visit = Visit {
        customer: &customer,
        reference: row.id.as_str(),
        expires_at: (row.created_at + OPEN_FOR).0 / SECOND,
        success_url: &format!("{}/billing/return?payment={}", ctx.policy.base_url, row.id),
        cancel_url: &format!("{}/billing?cancelled={}", ctx.policy.base_url, row.id),
    };
    let key = key(ctx, &format!("payment:{}", row.id));
    let seen = till.sell_credits(&key, &visit, (row.cents, &row.currency), row.keep_card).await.map_err(|failure| shown(&failure))?;
    let url = seen.url.ok_or_else(|| shown(&Failure::Unreadable))?;
    let mut row = payments::by_id(&ctx.db, &row.id).await?.ok_or(Refusal::NotFound)?;
    if row.session.is_none() {
        row.session = Some(seen.id);
        match payments::save(&ctx.db, &mut row).await {
            // A webhook was faster, and has kept it.
            Err(StoreError::Stale) => {}
            other => other?,
        }
    }
    Ok(url)
}

/// The row of this form: there already where it was sent before.
async fn row(ctx: &Ctx, actor: &Actor, form: &CheckoutForm<'_>, cents: i64) -> Result<Payment, Refusal> {
    let now = ctx.clock.now();
    let request = billing::key_part(form.request);
    let what = format!("{}:{request}:{cents}:{}", actor.user.id, form.keep_card);
    let digest = Sha256::digest(what.as_bytes());
    let row = Payment {
        id: PaymentId::from_random(&digest[..20]),
        user: actor.user.id.clone(),
        kind: Kind::Checkout,
        cents,
        currency: ctx.policy.sales.currency.clone(),
        keep_card: form.keep_card,
        state: State::Open,
        why: String::new(),
        session: None,
        intent: None,
        receipt_url: None,
        refunded_cents: 0,
        disputed_cents: 0,
        turns: 0,
        created_at: now,
        done_at: None,
        generation: 0,
        due_at: Some(now + SETTLED_AFTER),
        attempts: 0,
    };
    match payments::insert(&ctx.db, &row).await {
        Ok(()) => Ok(row),
        Err(StoreError::Exists(_)) => {
            let known = payments::by_id(&ctx.db, &row.id).await?.ok_or(Refusal::NotFound)?;
            let open = known.state == State::Open && now < known.created_at + OPEN_FOR;
            if open {
                Ok(known)
            } else {
                Err(Refusal::Conflict("This form has been used. Load the page anew to pay once more.".to_owned()))
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// A payment of one's own, as far as is known.
///
/// # Errors
/// [`Refusal::NotFound`] for those of others.
pub async fn find(ctx: &Ctx, actor: &Actor, id: &PaymentId) -> Result<Payment, Refusal> {
    payments::by_id(&ctx.db, id).await?.filter(|row| row.user == actor.user.id).ok_or(Refusal::NotFound)
}

/// Somebody comes back from Stripe's page: looks at how their payment stands, once, whether a webhook was faster or not.
pub async fn returned(ctx: &Ctx, actor: &Actor, id: &PaymentId) -> Result<Payment, Refusal> {
    let row = find(ctx, actor, id).await?;
    let (Some(till), Some(session), State::Open) = (&ctx.stripe, &row.session, row.state) else { return Ok(row) };
    match till.checkout(session).await {
        Ok(seen) => {
            let tx = ctx.db.begin().await?;
            match apply::checkout(ctx, &tx, &seen, false, Source::Asked).await {
                Ok(applied) => {
                    tx.commit().await?;
                    settle(ctx, applied).await?;
                }
                // A webhook was faster.
                Err(Refusal::Store(StoreError::Stale | StoreError::Exists(_))) => drop(tx),
                Err(error) => return Err(error),
            }
        }
        Err(failure) => tracing::warn!(payment = %id, %failure, "a payment could not be looked at; its webhook or the worker will tell"),
    }
    find(ctx, actor, id).await
}

/// What has to happen outside of the transaction in which something was applied.
pub(super) async fn settle(ctx: &Ctx, applied: Applied) -> Result<(), Refusal> {
    match applied {
        Applied::Nothing | Applied::Unsettled => {}
        Applied::Moved(user) => billing::moved(ctx, &user).await?,
        Applied::Failed(row) => tracing::info!(payment = %row.id, why = row.why, "a saved card could not be charged"),
    }
    ctx.payments_nudge.notify_one();
    Ok(())
}

/// Opens Stripe's portal, where invoices are seen and cards are changed; gives its address.
///
/// # Errors
/// [`Refusal::Conflict`] for somebody who has never paid; [`Refusal::Away`].
pub async fn portal(ctx: &Ctx, actor: &Actor) -> Result<String, Refusal> {
    let till = till(ctx)?;
    ctx.limits.checkout(actor.user.id.as_str())?;
    let Some(known) = stripe::customer(&ctx.db, &actor.user.id).await? else {
        return Err(Refusal::Conflict("There is nothing to see yet: you have not paid anything here.".to_owned()));
    };
    let key = key(ctx, &format!("portal:{}", hex::encode(Ctx::random::<12>())));
    let back = format!("{}/billing", ctx.policy.base_url);
    till.portal(&key, &known.customer, &back).await.map_err(|failure| shown(&failure))
}
