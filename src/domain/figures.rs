//! How the panel stands, in numbers: for whoever watches it with a program.

use super::{Actor, Ctx, Refusal};
use crate::model::ids::NodeId;
use crate::model::nodes::Node;
use crate::model::servers::Phase;
use crate::model::users::Right;
use crate::store::{nodes, servers};

/// Nodes of one look.
const NODES_MAX: u64 = 1_000;

/// Servers by node and phase, and the nodes.
#[derive(Debug, Clone)]
pub struct Figures {
    /// How many servers are in a phase on a node.
    pub servers: Vec<(NodeId, Phase, i64)>,
    /// Every node, with what it said last.
    pub nodes: Vec<Node>,
}

/// Everything that is counted in the database.
///
/// # Errors
/// [`Refusal::Forbidden`] for those who may not see metrics.
pub async fn figures(ctx: &Ctx, actor: &Actor) -> Result<Figures, Refusal> {
    if !actor.may_at_all(Right::SeeMetrics) {
        return Err(Refusal::Forbidden);
    }
    Ok(Figures { servers: servers::count_by_phase(&ctx.db).await?, nodes: nodes::list(&ctx.db, NODES_MAX).await? })
}

/// Does the database answer, and which nodes are there? Asked by whatever decides whether this panel gets requests.
pub async fn pulse(ctx: &Ctx) -> Result<Vec<(NodeId, bool)>, Refusal> {
    let now = ctx.clock.now();
    Ok(nodes::list(&ctx.db, NODES_MAX).await?.into_iter().map(|node| (node.id.clone(), node.online(now))).collect())
}
