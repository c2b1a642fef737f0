//! `/nodes`: the machines, for those who may see them.

use axum::extract::State;
use axum::response::IntoResponse;

use crate::domain::{Actor, Refusal, nodes, servers};
use crate::http::Web;
use crate::http::pages::moments::Moment;
use crate::http::pages::nodes::{NodePage, NodeRow, NodeRows, NodeServer, NodesPage};
use crate::http::pages::phases::PhaseView;
use crate::http::problem::Answer;
use crate::http::who::{Named, SignedIn};
use crate::model::ids::NodeId;
use crate::model::servers::{Phase, Server};

/// Every machine with a count of its servers.
pub(in crate::http) async fn rows(web: &Web, actor: &Actor) -> Result<NodeRows, Refusal> {
    let nodes = nodes::list(&web.ctx, actor).await?;
    let counts = servers::count_by_phase(&web.ctx).await?;
    let now = web.ctx.clock.now();
    let count = |id: &NodeId, awake: bool| {
        let here = counts.iter().filter(|(node, phase, _)| node == id && (!awake || *phase == Phase::Running));
        here.map(|(_, _, number)| usize::try_from(*number).unwrap_or_default()).sum()
    };
    Ok(NodeRows { rows: nodes.iter().map(|node| NodeRow::of(node, count(&node.id, false), count(&node.id, true), now)).collect() })
}

/// `GET /nodes`
pub(super) async fn list(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    let nodes = rows(&web, signed_in.actor()).await?;
    Ok(NodesPage { layout: signed_in.layout(&web).await?, nodes }.into_response())
}

/// `GET /nodes/{id}`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<NodeId>) -> Answer {
    let (node, servers) = nodes::find(&web.ctx, signed_in.actor(), &id).await?;
    let (now, games) = (web.ctx.clock.now(), web.ctx.games());
    let awake = servers.iter().filter(|server| server.life.phase == Phase::Running).count();
    let line = |server: &Server| NodeServer {
        id: server.id.to_string(),
        name: server.name.clone(),
        game: games.game(&server.game).map_or_else(|| server.game.to_string(), |game| game.name.clone()),
        phase: PhaseView::of(server.life.phase, server.life.wanted),
        since: Moment::lasting(server.life.phase_since, now),
    };
    let page = NodePage {
        layout: signed_in.layout(&web).await?,
        node: NodeRow::of(&node, servers.len(), awake, now),
        servers: servers.iter().map(line).collect(),
    };
    Ok(page.into_response())
}
