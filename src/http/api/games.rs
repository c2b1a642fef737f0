//! `/api/games`: the catalogue, for anybody.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;

use super::shapes::{GameShape, Games, PlanShape, Plans, ProblemShape};
use crate::http::Web;
use crate::http::problem::{Answer, Problem};
use crate::http::who::Named;
use crate::model::ids::GameId;

/// Every game with its variables and plans.
#[utoipa::path(get, path = "/api/games", tag = "games", responses((status = 200, body = Games)), security(()))]
pub(super) async fn list(State(web): State<Web>) -> Json<Games> {
    Json(Games { games: web.ctx.games().all().iter().map(|game| GameShape::of(game)).collect() })
}

/// The plans of one game.
#[utoipa::path(
    get, path = "/api/games/{id}/plans", tag = "games", params(("id" = String, Path)),
    responses((status = 200, body = Plans), (status = 404, body = ProblemShape)), security(())
)]
pub(super) async fn plans(State(web): State<Web>, Named(id): Named<GameId>) -> Answer {
    let games = web.ctx.games();
    let game = games.game(&id).ok_or_else(Problem::not_found)?;
    Ok(Json(Plans { plans: game.plans.iter().map(PlanShape::of).collect() }).into_response())
}
