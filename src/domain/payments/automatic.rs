//! Automatic top-ups: the saved card is charged when little is left, within what its owner chose for a month.
//!
//! One attempt at a time: it is begun by a conditional write together with its payment's row, and what is asked of Stripe for that row
//! carries the row's id as its key. Killed at any point, the same attempt is asked for again and charges once. An attempt that does not
//! work switches the whole thing off and tells its owner, for a card that is declined every few minutes helps nobody.

use super::apply::{self, Source, declined};
use super::checkout::{cents, settle};
use super::look::Seen;
use super::{differ, key, till};
use crate::domain::{Actor, Ctx, Fields, Refusal, mails};
use crate::model::accounts::Email;
use crate::model::ids::PaymentId;
use crate::model::mails::Mail;
use crate::model::money::Credits;
use crate::model::payments::{AutoState, AutoTopUp, Kind, Payment, State, price};
use crate::model::time::{DAY, HOUR, Millis};
use crate::payments::{Failure, Stripe};
use crate::store::{Tx, payments, stripe, top_ups, usage, users};

/// Choices of one look.
const BATCH: i64 = 200;
/// Most of a mark below which is topped up, in credits.
const BELOW_MAX: Credits = Credits::whole(100_000);
/// Most of a month, in cents.
const MONTH_MAX: i64 = 1_000_000;
/// Stripe remembers keys for at least a day. An older attempt is looked for among the customer's payments instead of being asked again.
const KEY_LIVES: i64 = 20 * HOUR;

/// What somebody filled in.
#[derive(Debug, Clone, Default)]
pub struct AutoForm<'a> {
    /// Credits.
    pub below: &'a str,
    /// Money.
    pub amount: &'a str,
    /// Money.
    pub most: &'a str,
}

/// Keeps a choice; true where a card is saved, so that it counts at once. Without one the next payment at Stripe's page keeps it.
///
/// # Errors
/// [`Refusal::Invalid`] at `below`, `auto-amount`, `most`.
pub async fn choose_auto(ctx: &Ctx, actor: &Actor, form: &AutoForm<'_>) -> Result<bool, Refusal> {
    till(ctx)?;
    let mut fields = Fields::default();
    let below = match form.below.trim().parse::<Credits>() {
        Ok(below) if below > Credits::ZERO && below <= BELOW_MAX => below,
        Ok(_) | Err(_) => {
            fields.add("below", format!("More than 0 and at most {BELOW_MAX} credits."));
            Credits::ZERO
        }
    };
    let amount = cents(ctx, form.amount, "auto-amount", &mut fields);
    let month_cents = match form.most.trim().parse::<Credits>().map(|most| most.0 / 10_000) {
        Ok(most) if most <= MONTH_MAX && (amount == 0 || most >= amount) => most,
        Ok(_) | Err(_) => {
            let most = price(MONTH_MAX, &ctx.policy.sales.currency);
            fields.add("most", format!("At least as much as one top-up, and at most {most} a month."));
            0
        }
    };
    fields.check()?;
    let card = stripe::customer(&ctx.db, &actor.user.id).await?.is_some_and(|customer| customer.method.is_some());
    let state = if card { AutoState::On } else { AutoState::Waiting };
    let user = actor.user.id.clone();
    let auto = AutoTopUp { user, state, below, cents: amount, month_cents, why: String::new(), payment: None };
    top_ups::choose(&ctx.db, &auto, ctx.clock.now()).await?;
    ctx.payments_nudge.notify_one();
    Ok(card)
}

/// Switches it off.
pub async fn auto_off(ctx: &Ctx, actor: &Actor) -> Result<(), Refusal> {
    top_ups::switch(&ctx.db, &actor.user.id, AutoState::Off, "", ctx.clock.now()).await?;
    Ok(())
}

/// When the month began, UTC.
fn month_begin(now: Millis) -> Millis {
    let now = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
    let first = now.to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month();
    first.to_zoned(jiff::tz::TimeZone::UTC).map_or(Millis(0), |begin| Millis(begin.timestamp().as_millisecond()))
}

/// Begins an attempt for everybody who has less than they chose.
pub(super) async fn begin_wanted(ctx: &Ctx) -> Result<(), Refusal> {
    let mut after = String::new();
    loop {
        let all = top_ups::wanting(&ctx.db, &after, BATCH).await?;
        let Some(last) = all.last() else { return Ok(()) };
        last.user.as_str().clone_into(&mut after);
        for auto in &all {
            begin(ctx, auto).await?;
        }
    }
}

async fn begin(ctx: &Ctx, auto: &AutoTopUp) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let Some(user) = users::by_id(&ctx.db, &auto.user).await? else { return Ok(()) };
    let (accrued, _) = usage::accrued(&ctx.db, &auto.user, now).await?;
    if user.suspended.is_some() || user.balance - accrued >= auto.below {
        return Ok(());
    }
    let month = month_begin(now);
    let row = Payment {
        id: PaymentId::from_random(&Ctx::random::<20>()),
        user: auto.user.clone(),
        kind: Kind::Automatic,
        cents: auto.cents,
        currency: ctx.policy.sales.currency.clone(),
        keep_card: false,
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
        due_at: Some(now),
        attempts: 0,
    };
    let tx = ctx.db.begin().await?;
    // First the claim, which whoever comes at the same moment waits for: what was spent is counted behind it.
    if !top_ups::begin(&tx, &auto.user, &row.id).await? {
        return Ok(());
    }
    let spent = payments::automatic_since(&tx, &auto.user, month).await?;
    if spent + auto.cents > auto.month_cents {
        drop(tx);
        return enough_this_month(ctx, auto, month).await;
    }
    payments::insert(&tx, &row).await?;
    tx.commit().await?;
    ctx.payments_nudge.notify_one();
    Ok(())
}

async fn tell(ctx: &Ctx, tx: &Tx, user: &crate::model::ids::UserId, key: String, subject: &str, text: String) -> Result<(), Refusal> {
    let Some(user) = users::by_id(tx, user).await? else { return Ok(()) };
    let Ok(to) = Email::parse(&user.email) else { return Ok(()) };
    mails::post(ctx, tx, &Mail { key, to, subject: subject.to_owned(), text }).await?;
    Ok(())
}

async fn enough_this_month(ctx: &Ctx, auto: &AutoTopUp, month: Millis) -> Result<(), Refusal> {
    let most = price(auto.month_cents, &ctx.policy.sales.currency);
    let text = format!(
        "Your credits are below your mark, and another automatic top-up would exceed the {most} that you allow for a month. Nothing was charged.\n\n\
         Add credits by hand, or allow more: {}/billing",
        ctx.policy.base_url
    );
    let tx = ctx.db.begin().await?;
    tell(ctx, &tx, &auto.user, format!("auto-limit:{}:{}", auto.user, month.0), "No more automatic top-ups this month", text).await?;
    tx.commit().await?;
    Ok(())
}

/// Charges the card for an attempt, or finds out what became of it.
pub(super) async fn attempt(ctx: &Ctx, till: &Stripe, row: Payment) -> Result<(), Seen> {
    let known = stripe::customer(&ctx.db, &row.user).await?;
    let Some((customer, method)) = known.and_then(|known| Some((known.customer, known.method?))) else {
        return give_up(ctx, row, "no_card").await;
    };
    let seen = if let Some(intent) = &row.intent {
        till.intent(intent).await
    } else if ctx.clock.now() > row.created_at + KEY_LIVES {
        let all = till.intents_of(&customer).await?;
        let found = all.into_iter().find(|seen| seen.reference.as_deref() == Some(row.id.as_str()));
        found.ok_or(Failure::Declined { code: "no_answer".to_owned() })
    } else {
        let key = key(ctx, &format!("payment:{}", row.id));
        till.charge_card(&key, (&customer, &method), (row.cents, &row.currency), row.id.as_str()).await
    };
    match seen {
        Ok(seen) => {
            let tx = ctx.db.begin().await?;
            let applied = apply::intent(ctx, &tx, &seen, Source::Asked).await?;
            tx.commit().await?;
            settle(ctx, applied).await?;
            Ok(())
        }
        Err(Failure::Declined { code } | Failure::Refused { code }) => give_up(ctx, row, &code).await,
        Err(Failure::Unknown) => give_up(ctx, row, "card_gone").await,
        Err(failure @ (Failure::Away | Failure::Unreadable)) => Err(failure.into()),
    }
}

async fn give_up(ctx: &Ctx, row: Payment, why: &str) -> Result<(), Seen> {
    let tx = ctx.db.begin().await?;
    let applied = declined(ctx, &tx, row, why).await?;
    tx.commit().await?;
    settle(ctx, applied).await?;
    Ok(())
}

/// The reason, for people. Stripe has a few dozen words; those that its owner can do something about are told apart.
pub(super) fn reason(code: &str) -> &'static str {
    match code {
        "authentication_required" => "Your bank wants you to confirm the payment yourself.",
        "insufficient_funds" => "There was not enough on the card.",
        "expired_card" => "The card has expired.",
        "no_card" | "card_gone" => "The saved card is not there any more.",
        _other => "Your bank declined the card.",
    }
}

/// An attempt did not work: no more of them, and its owner is told.
pub(super) async fn gave_up(ctx: &Ctx, tx: &Tx, row: &Payment) -> Result<(), Refusal> {
    let why = reason(&row.why);
    top_ups::switch(tx, &row.user, AutoState::Off, why, ctx.clock.now()).await?;
    let amount = price(row.cents, &row.currency);
    let text = format!(
        "An automatic top-up of {amount} did not work, and automatic top-ups are off now. {why}\n\n\
         Your servers run on until your credits are used up, and then they fall asleep; nothing is lost. Add credits or set it up anew: {}/billing",
        ctx.policy.base_url
    );
    tell(ctx, tx, &row.user, format!("auto-failed:{}", row.id), "An automatic top-up did not work", text).await?;
    if row.created_at + DAY < ctx.clock.now() {
        differ(ctx, tx, &format!("Payment {}: Stripe gave no answer for a day, and does not know it. It counts as failed.", row.id))
            .await?;
    }
    Ok(())
}
