//! `/api/billing`: credits and the ledger.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;

use super::shapes::{Billing, Entries, EntryShape};
use crate::domain::billing;
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::routes::billing::{cursor, cursor_of};
use crate::http::typed::Asked;
use crate::http::who::Caller;

/// What is left, what has run up, what runs.
#[utoipa::path(get, path = "/api/billing", tag = "billing", responses((status = 200, body = Billing)))]
pub(super) async fn overview(State(web): State<Web>, caller: Caller) -> Answer {
    let overview = billing::overview(&web.ctx, caller.actor()).await?;
    let shape =
        Billing { balance: overview.balance.to_string(), accrued: overview.accrued.to_string(), per_hour: overview.per_hour.to_string() };
    Ok(Json(shape).into_response())
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
