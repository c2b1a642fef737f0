//! `/billing/*` and `/webhooks/stripe`: paying, coming back from paying, what is paid by itself, and what Stripe tells.

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};

use super::billing::{Refused, refused};
use super::create::by_field;
use crate::domain::payments::{self, AutoForm, CheckoutForm, Unheard};
use crate::domain::{Actor, Refusal, subscriptions};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::create::ByField;
use crate::http::pages::fields::{Choice, Field};
use crate::http::pages::moments::Moment;
use crate::http::pages::months::MonthList;
use crate::http::pages::payments::{AutoPart, DifferenceRow, OnwardPage, PayForm, Paying, PaymentList, PaymentRow, PaymentSaid};
use crate::http::problem::{Answer, Problem};
use crate::http::typed::{Asked, Typed};
use crate::http::who::SignedIn;
use crate::model::ids::{PaymentId, SubscriptionId};
use crate::model::payments::{AutoState, AutoTopUp, Payment, State as Stands, price};
use crate::model::subscriptions::Standing;
use crate::model::time::Millis;

/// Largest webhook, in bytes. Stripe's are a few thousand.
const WEBHOOK_MAX: usize = 1 << 20;

/// An amount as it is typed: `25` or `12.50`.
fn typed_amount(cents: i64) -> String {
    if cents % 100 == 0 { (cents / 100).to_string() } else { format!("{}.{:02}", cents / 100, cents % 100) }
}

/// How much to pay; what was typed and refused stands in it again.
pub(super) fn pay_form(web: &Web, typed: &ByField, errors: &ByField) -> PayForm {
    let sales = &web.ctx.policy.sales;
    let own = typed.get("own").cloned().unwrap_or_default();
    let chosen = typed.get("amount").cloned().or_else(|| sales.amounts.get(1).or(sales.amounts.first()).copied().map(typed_amount));
    let option = |cents: &i64| {
        let value = typed_amount(*cents);
        Choice { chosen: own.is_empty() && chosen.as_ref() == Some(&value), label: price(*cents, &sales.currency), value }
    };
    let error = errors.get("amount").cloned();
    let (at_choice, at_own) = if own.is_empty() { (error, None) } else { (None, error) };
    let (least, most) = sales.bounds;
    let help = format!("{} to {}.", price(least, &sales.currency), price(most, &sales.currency));
    PayForm {
        amount: Field::choice("amount", "How much", sales.amounts.iter().map(option).collect()).error(at_choice).required(),
        own: Field::text("own", "Or another amount", own, 9).help(help).error(at_own),
    }
}

fn row(payment: &Payment) -> PaymentRow {
    let gone = |cents: i64, what: &str| format!(", {} {what}", price(cents, &payment.currency));
    let mut state = match payment.state {
        Stands::Open => "Begun".to_owned(),
        Stands::Coming => "On its way".to_owned(),
        Stands::Paid => "Paid".to_owned(),
        Stands::Failed => "Did not work".to_owned(),
        Stands::Expired => "Not paid".to_owned(),
    };
    if payment.kind == crate::model::payments::Kind::Automatic {
        state += " automatically";
    }
    if payment.refunded_cents > 0 {
        state += &gone(payment.refunded_cents, "refunded");
    }
    if payment.disputed_cents > 0 {
        state += &gone(payment.disputed_cents, "held back by the bank");
    }
    PaymentRow {
        at: Moment::full(payment.created_at),
        amount: price(payment.cents, &payment.currency),
        state,
        bad: payment.state == Stands::Failed || payment.disputed_cents > 0,
        receipt: payment.receipt_url.clone(),
    }
}

fn auto_part(web: &Web, auto: Option<&AutoTopUp>, typed: &ByField, errors: &ByField) -> AutoPart {
    let sales = &web.ctx.policy.sales;
    let refused = !errors.is_empty();
    let value = |name: &str, known: Option<String>, else_: &str| {
        typed.get(name).filter(|_| refused).cloned().or(known).unwrap_or_else(|| else_.to_owned())
    };
    let error = |name: &str| errors.get(name).cloned();
    let state = match auto {
        None => "Off.".to_owned(),
        Some(auto) => match auto.state {
            AutoState::On => format!("On: {} when fewer than {} credits are left.", price(auto.cents, &sales.currency), auto.below),
            AutoState::Waiting => "Waits for a card: pay once, and it is on.".to_owned(),
            AutoState::Off if auto.why.is_empty() => "Off.".to_owned(),
            AutoState::Off => format!("Off. {}", auto.why),
        },
    };
    let currency = sales.currency.to_uppercase();
    let below = value("below", auto.map(|auto| typed_credits(auto.below.0)), "100");
    let cents =
        value("auto-amount", auto.map(|auto| typed_amount(auto.cents)), &typed_amount(sales.amounts.first().copied().unwrap_or(1_000)));
    let most =
        value("most", auto.map(|auto| typed_amount(auto.month_cents)), &typed_amount(sales.amounts.last().copied().unwrap_or(5_000)));
    AutoPart {
        state,
        on: auto.is_some_and(|auto| auto.state != AutoState::Off),
        refused,
        below: Field::amount("below", "When fewer are left than", below).error(error("below")).required(),
        amount: Field::text("auto-amount", &format!("So much at a time, {currency}"), cents, 9).error(error("auto-amount")).required(),
        most: Field::text("most", &format!("At most in a month, {currency}"), most, 9).error(error("most")).required(),
    }
}

fn typed_credits(micro: i64) -> String {
    crate::model::money::Credits(micro).to_string()
}

/// What became of a payment that somebody comes back from.
fn said(payment: &Payment) -> Option<PaymentSaid> {
    let amount = price(payment.cents, &payment.currency);
    let again = Some(format!("/billing/return?payment={}", payment.id));
    let (text, bad, again) = match payment.state {
        Stands::Open => (format!("Your payment of {amount} is being confirmed. The credits appear here as soon as it is."), false, again),
        Stands::Coming => {
            (format!("Your payment of {amount} is on its way from your bank. The credits are added when it arrives."), false, None)
        }
        Stands::Failed | Stands::Expired => {
            (format!("Your payment of {amount} did not work. Nothing was added; you can try again."), true, None)
        }
        Stands::Paid => return None,
    };
    Some(PaymentSaid { text, bad, again })
}

/// What the billing page shows of paying; none where no payments are taken.
pub(super) async fn paying(
    web: &Web,
    actor: &Actor,
    asked: Option<&PaymentId>,
    (typed, errors): (&ByField, &ByField),
) -> Result<Option<Paying>, Refusal> {
    if !payments::are_taken(&web.ctx) {
        return Ok(None);
    }
    let account = payments::account(&web.ctx, actor).await?;
    let back = match asked {
        Some(id) => match payments::find(&web.ctx, actor, id).await {
            Ok(payment) => said(&payment),
            Err(Refusal::NotFound) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    let differences = match payments::differences(&web.ctx, actor).await {
        Ok(all) => all,
        Err(Refusal::Forbidden) => Vec::new(),
        Err(error) => return Err(error),
    };
    let now = web.ctx.clock.now();
    let difference = |one: payments::Difference| DifferenceRow { what: one.what, at: Moment::relative(Millis(one.at), now) };
    let months = subscriptions::list(&web.ctx, actor).await?;
    Ok(Some(Paying {
        said: back,
        auto: auto_part(web, account.auto.as_ref(), typed, errors),
        months: MonthList { rows: super::subscriptions::rows(web, actor, &months).await? },
        payments: PaymentList { rows: account.payments.iter().map(row).collect(), portal: account.customer },
        differences: differences.into_iter().map(difference).collect(),
    }))
}

/// The way to a page of Stripe's.
pub(super) async fn onward(web: &Web, signed_in: &SignedIn, what: &str, url: String) -> Answer {
    Ok(OnwardPage { layout: signed_in.layout(web).await?, what: what.to_owned(), url }.into_response())
}

/// A payment at Stripe's page, begun by the billing page's form.
pub(super) async fn pay(web: &Web, signed_in: &SignedIn, typed: &Typed) -> Answer {
    let own = typed.text("own").trim();
    let amount = if own.is_empty() { typed.text("amount") } else { own };
    let form = CheckoutForm { amount, request: typed.text("request"), keep_card: false };
    match payments::start(&web.ctx, signed_in.actor(), &form).await {
        Ok(url) => onward(web, signed_in, "You pay there, and come back here when it is done.", url).await,
        Err(Refusal::Invalid(fields)) => refused(web, signed_in, Refused::TopUp(typed.values(), by_field(&fields))).await,
        Err(refusal) => Err(refusal.into()),
    }
}

/// `GET /billing/return`: the browser comes back from Stripe's page.
pub(super) async fn returned(State(web): State<Web>, signed_in: SignedIn, asked: Asked) -> Answer {
    if let Some(id) = asked.get("subscription").and_then(|text| text.parse::<SubscriptionId>().ok()) {
        let row = subscriptions::returned(&web.ctx, signed_in.actor(), &id).await?;
        let said = match row.status.standing() {
            Some(Standing::Covered) => Said::MonthBegun,
            Some(Standing::Waiting | Standing::Lapsed | Standing::Over) | None => Said::MonthConfirming,
        };
        return Ok(go(&format!("/servers/{}", row.server), said));
    }
    let Some(id) = asked.get("payment").and_then(|text| text.parse::<PaymentId>().ok()) else {
        return Ok(Redirect::to("/billing").into_response());
    };
    let payment = payments::returned(&web.ctx, signed_in.actor(), &id).await?;
    match payment.state {
        Stands::Paid => Ok(go("/billing", Said::CreditsAdded)),
        Stands::Open | Stands::Coming | Stands::Failed | Stands::Expired => {
            Ok(Redirect::to(&format!("/billing?payment={id}")).into_response())
        }
    }
}

/// `POST /billing/portal`
pub(super) async fn portal(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    let url = payments::portal(&web.ctx, signed_in.actor()).await?;
    onward(&web, &signed_in, "There you see your invoices and change your card.", url).await
}

/// `POST /billing/auto`: without a saved card, the first payment leads to Stripe's page and keeps the card.
pub(super) async fn auto(State(web): State<Web>, signed_in: SignedIn, typed: Typed) -> Answer {
    let (ctx, actor) = (&web.ctx, signed_in.actor());
    let form = AutoForm { below: typed.text("below"), amount: typed.text("auto-amount"), most: typed.text("most") };
    match payments::choose_auto(ctx, actor, &form).await {
        Ok(true) => Ok(go("/billing", Said::AutoOn)),
        Ok(false) => {
            let form = CheckoutForm { amount: typed.text("auto-amount"), request: "", keep_card: true };
            let url = payments::start(ctx, actor, &form).await?;
            onward(&web, &signed_in, "The first top-up is paid there, and your card is kept for the next ones.", url).await
        }
        Err(Refusal::Invalid(fields)) => refused(&web, &signed_in, Refused::Auto(typed.values(), by_field(&fields))).await,
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /billing/auto/off`
pub(super) async fn auto_off(State(web): State<Web>, signed_in: SignedIn) -> Result<Response, Problem> {
    payments::auto_off(&web.ctx, signed_in.actor()).await?;
    Ok(go("/billing", Said::AutoOff))
}

/// `POST /webhooks/stripe`. No session, no origin, no host name: the signature is the proof.
pub(super) async fn webhook(State(web): State<Web>, headers: HeaderMap, body: Body) -> Response {
    if !payments::are_taken(&web.ctx) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Ok(body) = to_bytes(body, WEBHOOK_MAX).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let status = match payments::receive(&web.ctx, signature, &body).await {
        Ok(_) => StatusCode::OK,
        Err(Unheard::Nobody) => StatusCode::NOT_FOUND,
        Err(Unheard::NotBelieved(why)) => {
            tracing::warn!(%why, "a webhook is not believed; is STRIPE_WEBHOOK_SECRET that of this endpoint, and the clock right?");
            StatusCode::BAD_REQUEST
        }
        Err(Unheard::Nonsense) => StatusCode::BAD_REQUEST,
        Err(Unheard::Refused(refusal)) => {
            tracing::warn!(error = &refusal as &dyn std::error::Error, "a webhook could not be put down; Stripe sends it again");
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    status.into_response()
}
