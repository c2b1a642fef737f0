//! `/api/me`: whose token this is.

use axum::Json;

use super::shapes::UserShape;
use crate::http::who::Caller;
use crate::model::users::Right;

/// The account that asks.
#[utoipa::path(get, path = "/api/me", tag = "accounts", responses((status = 200, body = UserShape)))]
pub(super) async fn me(caller: Caller) -> Json<UserShape> {
    let actor = caller.actor();
    let shape = UserShape::of(&actor.user);
    Json(if actor.covers(Right::SeeBilling) { shape } else { UserShape { balance: None, ..shape } })
}
