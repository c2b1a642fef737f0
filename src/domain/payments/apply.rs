//! What was seen of a payment, put into its row and the ledger, in the caller's transaction.

use super::{differ, is_customer};
use crate::domain::{Ctx, Refusal};
use crate::model::ids::{PaymentId, UserId};
use crate::model::ledger::{Entry, EntryKind};
use crate::model::money::Credits;
use crate::model::payments::{Kind, Payment, State, price};
use crate::model::time::DAY;
use crate::payments::{CheckoutSeen, IntentSeen, IntentState, SessionState};
use crate::store::{Tx, ledger, payments, top_ups};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::domain) enum Applied {
    /// Nothing that anybody would see.
    Nothing,
    /// The balance of this account moved.
    Moved(UserId),
    /// It is other money than ours: its row knows when it is looked at next.
    Unsettled,
    /// A saved card could not be charged.
    Failed(Box<Payment>),
}

/// Who says how a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum Source {
    /// A webhook: of whatever version, and made by whoever knows the secret.
    Told,
    /// Stripe itself, asked by us.
    Asked,
}

/// What money it was, as Stripe says.
struct Money<'a> {
    cents: Option<i64>,
    currency: &'a str,
    customer: Option<&'a str>,
    livemode: bool,
}

/// How many cents of a row's price were paid; none: it is other money than the row is about. A discount makes it less; more than the
/// price is never given.
async fn paid_cents(ctx: &Ctx, tx: &Tx, row: &Payment, money: &Money<'_>) -> Result<Option<i64>, Refusal> {
    let livemode = ctx.stripe.as_ref().is_some_and(crate::payments::Stripe::livemode);
    let ours = money.currency == row.currency && money.livemode == livemode && is_customer(tx, &row.user, money.customer).await?;
    Ok(money.cents.filter(|cents| ours && *cents > 0).map(|cents| cents.min(row.cents)))
}

/// What is paid and cannot be put down is looked at again every day, and stands on the admin's page, until it is settled.
async fn unsettled(ctx: &Ctx, tx: &Tx, row: &Payment, money: &Money<'_>, source: Source) -> Result<Applied, Refusal> {
    let now = ctx.clock.now();
    let expected = price(row.cents, &row.currency);
    let seen = money.cents.map_or_else(|| "an unknown amount".to_owned(), |cents| format!("{cents} {}", money.currency));
    let next = match source {
        // What a webhook says is never the last word.
        Source::Told => "It is asked for again.",
        Source::Asked => "Nothing was credited. Refund it at Stripe, or give the credits by hand.",
    };
    let what = format!(
        "Payment {}: amount, currency or customer are not those of this panel, which expects {expected}, and not {seen}. {next}",
        row.id
    );
    differ(ctx, tx, &what).await?;
    match source {
        Source::Told => payments::set_due(tx, &row.id, now).await?,
        Source::Asked => payments::put_off(tx, &row.id, now + DAY).await?,
    }
    Ok(Applied::Unsettled)
}

pub(super) async fn named(tx: &Tx, reference: Option<&String>) -> Result<Option<Payment>, Refusal> {
    match reference.and_then(|text| text.parse::<PaymentId>().ok()) {
        Some(id) => Ok(payments::by_id(tx, &id).await?),
        None => Ok(None),
    }
}

/// A Checkout session. `failed`: its money was on its way and did not come.
pub(in crate::domain) async fn checkout(ctx: &Ctx, tx: &Tx, seen: &CheckoutSeen, failed: bool, source: Source) -> Result<Applied, Refusal> {
    let row = match payments::by_session(tx, &seen.id).await? {
        Some(row) => Some(row),
        None => named(tx, seen.reference.as_ref()).await?.filter(|row| row.session.is_none()),
    };
    let Some(mut row) = row.filter(|row| seen.one_off && row.kind == Kind::Checkout) else { return Ok(Applied::Nothing) };
    if row.state == State::Paid {
        return Ok(Applied::Nothing);
    }
    let money = Money { cents: seen.cents, currency: &seen.currency, customer: seen.customer.as_deref(), livemode: seen.livemode };
    let now = ctx.clock.now();
    let paid = paid_cents(ctx, tx, &row, &money).await?;
    // Less than the price, or no money at all, is only believed of Stripe itself.
    let free = seen.state == SessionState::Free && seen.cents == Some(0) && source == Source::Asked;
    let exact = seen.cents == Some(row.cents);
    let cents = match paid.filter(|_| exact || source == Source::Asked).or(free.then_some(0)) {
        Some(cents) => cents,
        None if matches!(seen.state, SessionState::Paid | SessionState::Free) => {
            return unsettled(ctx, tx, &row, &money, source).await;
        }
        // Nobody has paid yet: what it would come to matters once somebody does.
        None if row.session.as_ref() == Some(&seen.id) => row.cents,
        None => return Ok(Applied::Nothing),
    };
    row.session = Some(seen.id.clone());
    row.intent = seen.intent.clone().or(row.intent);
    match (seen.state, failed) {
        (SessionState::Paid, _) => {
            row.cents = cents;
            return credit(ctx, tx, row).await;
        }
        (SessionState::Free, _) => {
            (row.state, row.done_at, row.due_at) = (State::Failed, Some(now), None);
            "A discount took the whole price, so nothing was paid.".clone_into(&mut row.why);
        }
        (SessionState::Complete, true) => {
            (row.state, row.done_at, row.due_at) = (State::Failed, Some(now), None);
            "The bank did not send the money.".clone_into(&mut row.why);
        }
        // Bank debits and the like take days.
        (SessionState::Complete, false) if row.state == State::Open => (row.state, row.due_at) = (State::Coming, Some(now + DAY)),
        (SessionState::Complete, false) => row.due_at = row.due_at.map(|_| now + DAY),
        (SessionState::Expired, _) => (row.state, row.done_at, row.due_at) = (State::Expired, Some(now), None),
        (SessionState::Open, _) => return Ok(Applied::Nothing),
    }
    payments::save(tx, &mut row).await?;
    Ok(Applied::Nothing)
}

/// A payment of Stripe's: a saved card that was charged, or what a Checkout session came to.
pub(in crate::domain) async fn intent(ctx: &Ctx, tx: &Tx, seen: &IntentSeen, source: Source) -> Result<Applied, Refusal> {
    let row = match payments::by_intent(tx, &seen.id).await? {
        Some(row) => Some(row),
        None => named(tx, seen.reference.as_ref()).await?.filter(|row| row.intent.is_none()),
    };
    let Some(mut row) = row.filter(|row| row.state != State::Paid) else { return Ok(Applied::Nothing) };
    let cents = if seen.state == IntentState::Succeeded { seen.received_cents } else { seen.cents };
    let money = Money { cents: Some(cents), currency: &seen.currency, customer: seen.customer.as_deref(), livemode: seen.livemode };
    let paid = paid_cents(ctx, tx, &row, &money).await?;
    if row.kind == Kind::Checkout && (paid != Some(row.cents) || cents != row.cents) {
        // It may be in the payer's currency, with taxes or a discount: what it comes to in ours is for its session to say.
        if seen.state == IntentState::Succeeded {
            payments::set_due(tx, &row.id, ctx.clock.now()).await?;
        }
        return Ok(Applied::Nothing);
    }
    let Some(cents) = paid else { return unsettled(ctx, tx, &row, &money, source).await };
    match (seen.state, row.kind) {
        (IntentState::Succeeded, _) => {
            (row.intent, row.cents) = (Some(seen.id.clone()), cents);
            credit(ctx, tx, row).await
        }
        // At a Checkout page another card can be tried; the session says when it is over.
        (_, Kind::Checkout) => Ok(Applied::Nothing),
        (IntentState::Processing, Kind::Automatic) => {
            row.intent = Some(seen.id.clone());
            (row.state, row.due_at) = (State::Coming, Some(ctx.clock.now() + DAY));
            payments::save(tx, &mut row).await?;
            Ok(Applied::Nothing)
        }
        (IntentState::NeedsOwner, Kind::Automatic) => {
            row.intent = Some(seen.id.clone());
            declined(ctx, tx, row, "authentication_required").await
        }
        (IntentState::Failed, Kind::Automatic) => {
            row.intent = Some(seen.id.clone());
            declined(ctx, tx, row, seen.why.as_deref().unwrap_or("declined")).await
        }
    }
}

/// The money is there: the row turns paid, and its entry is posted.
async fn credit(ctx: &Ctx, tx: &Tx, mut row: Payment) -> Result<Applied, Refusal> {
    let now = ctx.clock.now();
    (row.state, row.done_at) = (State::Paid, Some(now));
    row.why.clear();
    // Looked at once more, for the receipt and the card.
    (row.due_at, row.attempts) = (Some(now), 0);
    payments::save(tx, &mut row).await?;
    top_ups::end(tx, &row.id).await?;
    let note = match row.kind {
        Kind::Checkout => "",
        Kind::Automatic => "automatically",
    };
    post(ctx, tx, &row, format!("payment:{}", row.id), row.credits(), (EntryKind::Payment, note)).await?;
    Ok(Applied::Moved(row.user))
}

/// A saved card could not be charged.
pub(super) async fn declined(ctx: &Ctx, tx: &Tx, mut row: Payment, why: &str) -> Result<Applied, Refusal> {
    (row.state, row.done_at, row.due_at) = (State::Failed, Some(ctx.clock.now()), None);
    why.clone_into(&mut row.why);
    payments::save(tx, &mut row).await?;
    top_ups::end(tx, &row.id).await?;
    super::automatic::gave_up(ctx, tx, &row).await?;
    Ok(Applied::Failed(Box::new(row)))
}

/// As much has gone back of a payment as Stripe says; the row is the caller's to save.
pub(super) async fn turn(ctx: &Ctx, tx: &Tx, row: &mut Payment, refunded: i64, disputed: i64) -> Result<bool, Refusal> {
    let (refund, dispute) = row.turn(refunded, disputed);
    for (cents, kind) in [(refund, EntryKind::Refund), (dispute, EntryKind::Dispute)] {
        if cents == 0 {
            continue;
        }
        row.turns += 1;
        let note = match kind {
            EntryKind::Refund if cents < 0 => "it failed",
            EntryKind::Dispute if cents < 0 => "it was won",
            _plain => "",
        };
        post(ctx, tx, row, format!("back:{}:{}", row.id, row.turns), Credits::whole(-cents), (kind, note)).await?;
    }
    row.refunded_cents += refund;
    row.disputed_cents += dispute;
    Ok(refund != 0 || dispute != 0)
}

async fn post(ctx: &Ctx, tx: &Tx, row: &Payment, key: String, amount: Credits, (kind, note): (EntryKind, &str)) -> Result<(), Refusal> {
    let entry = Entry { key, at: ctx.clock.now(), amount, kind, server: None, span: None, note: note.to_owned() };
    Ok(ledger::post(tx, &row.user, &entry).await?)
}
