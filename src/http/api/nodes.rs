//! `/api/nodes`: the machines, for those who may see them.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;

use super::shapes::{NodeDetail, NodeServerShape, NodeShape, Nodes, ProblemShape};
use crate::domain::nodes;
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::who::{Caller, Named};
use crate::model::ids::NodeId;

/// Every machine.
#[utoipa::path(get, path = "/api/nodes", tag = "nodes", responses((status = 200, body = Nodes), (status = 404, body = ProblemShape)))]
pub(super) async fn list(State(web): State<Web>, caller: Caller) -> Answer {
    let (all, now) = (nodes::list(&web.ctx, caller.actor()).await?, web.ctx.clock.now());
    Ok(Json(Nodes { nodes: all.iter().map(|node| NodeShape::of(node, now)).collect() }).into_response())
}

/// One machine and its servers.
#[utoipa::path(
    get, path = "/api/nodes/{id}", tag = "nodes", params(("id" = String, Path)),
    responses((status = 200, body = NodeDetail), (status = 404, body = ProblemShape))
)]
pub(super) async fn one(State(web): State<Web>, caller: Caller, Named(id): Named<NodeId>) -> Answer {
    let (node, servers) = nodes::find(&web.ctx, caller.actor(), &id).await?;
    let node = NodeShape::of(&node, web.ctx.clock.now());
    Ok(Json(NodeDetail { node, servers: servers.iter().map(NodeServerShape::of).collect() }).into_response())
}
