//! `/api/billing`: credits and the ledger.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::shapes::{Entries, EntryShape, moment};
use crate::domain::{billing, payments, subscriptions};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::routes::billing::{cursor, cursor_of};
use crate::http::typed::Asked;
use crate::http::who::Caller;
use crate::model::payments::Payment;
use crate::model::subscriptions::Subscription;

/// What is left, what has run up, what runs.
#[utoipa::path(get, path = "/api/billing", tag = "billing", responses((status = 200, body = Billing)))]
pub(super) async fn overview(State(web): State<Web>, caller: Caller) -> Answer {
    let overview = billing::overview(&web.ctx, caller.actor()).await?;
    let account = payments::account(&web.ctx, caller.actor()).await?;
    let subscriptions = subscriptions::list(&web.ctx, caller.actor()).await?;
    let shape = Billing {
        balance: overview.balance.to_string(),
        accrued: overview.accrued.to_string(),
        per_hour: overview.per_hour.to_string(),
        payments: account.payments.iter().map(PaymentShape::of).collect(),
        subscriptions: subscriptions.iter().map(SubscriptionShape::of).collect(),
        automatic_top_up: account.auto.as_ref().map(|auto| auto.state.as_str()),
    };
    Ok(Json(shape).into_response())
}

/// The state of somebody's credits.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Billing {
    balance: String,
    /// Run up since the last charge.
    accrued: String,
    /// What runs now, an hour; servers that are paid by the month cost nothing.
    per_hour: String,
    /// The last ones, newest first.
    payments: Vec<PaymentShape>,
    /// Servers by the month, newest first, those that ended among them.
    subscriptions: Vec<SubscriptionShape>,
    /// `on`, `waiting` for a card, or `off`; none: never chosen.
    automatic_top_up: Option<&'static str>,
}

/// Money that came in.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PaymentShape {
    id: String,
    /// `checkout` or `automatic`.
    kind: &'static str,
    /// `coming`, `paid` or `failed`.
    state: &'static str,
    /// In cents.
    amount: i64,
    /// Gone back of it, in cents: refunded, or held back by the bank.
    taken_back: i64,
    currency: String,
    created_at: String,
    receipt_url: Option<String>,
}

impl PaymentShape {
    fn of(payment: &Payment) -> PaymentShape {
        PaymentShape {
            id: payment.id.to_string(),
            kind: payment.kind.as_str(),
            state: payment.state.as_str(),
            amount: payment.cents,
            taken_back: payment.refunded_cents + payment.disputed_cents,
            currency: payment.currency.clone(),
            created_at: moment(payment.created_at),
            receipt_url: payment.receipt_url.clone(),
        }
    }
}

/// A server by the month.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SubscriptionShape {
    id: String,
    server: String,
    plan: String,
    /// `opening`, or Stripe's word: `active`, `past_due`, `canceled` and so on.
    status: &'static str,
    /// A month, in cents.
    amount: i64,
    currency: String,
    /// Until when is paid.
    period_end: Option<String>,
    /// Ends with that.
    ends_with_period: bool,
    ended_at: Option<String>,
}

impl SubscriptionShape {
    fn of(row: &Subscription) -> SubscriptionShape {
        SubscriptionShape {
            id: row.id.to_string(),
            server: row.server.to_string(),
            plan: row.plan.to_string(),
            status: row.status.as_str(),
            amount: row.cents,
            currency: row.currency.clone(),
            period_end: row.period_end.map(moment),
            ends_with_period: row.cancel_at_end,
            ended_at: row.ended_at.map(moment),
        }
    }
}

/// The ledger, newest first.
#[utoipa::path(
    get, path = "/api/billing/transactions", tag = "billing",
    params(("behind" = Option<String>, Query, description = "`next` of the page before.")),
    responses((status = 200, body = Entries))
)]
pub(super) async fn transactions(State(web): State<Web>, caller: Caller, asked: Asked) -> Answer {
    let entries = billing::entries(&web.ctx, caller.actor(), asked.get("behind").and_then(cursor)).await?;
    let next = entries.last().filter(|_| entries.len() as u64 == billing::PAGE).map(cursor_of);
    Ok(Json(Entries { transactions: entries.iter().map(EntryShape::of).collect(), next }).into_response())
}
