//! `/api/me`: whose token this is.

use axum::Json;

use super::shapes::UserShape;
use crate::http::who::Caller;

/// The account that asks.
#[utoipa::path(get, path = "/api/me", tag = "accounts", responses((status = 200, body = UserShape)))]
pub(super) async fn me(caller: Caller) -> Json<UserShape> {
    Json(UserShape::of(&caller.actor().user))
}
