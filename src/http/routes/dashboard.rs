//! `/dashboard`: somebody's own servers, one card each.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::domain::{Ctx, Refusal, nodes, servers};
use crate::http::Web;
use crate::http::pages::dashboard::{Dashboard, ServerCard, Summary};
use crate::http::problem::Problem;
use crate::http::who::SignedIn;
use crate::model::money::Credits;
use crate::model::nodes::Node;
use crate::model::servers::{Phase, Server};

/// The cards of servers whose game is in the catalogue, in their order.
pub(in crate::http) fn cards(ctx: &Ctx, servers: &[Server], nodes: &[Node]) -> Vec<ServerCard> {
    let (games, now) = (ctx.games(), ctx.clock.now());
    let card = |server: &Server| {
        let node = nodes.iter().find(|node| node.id == server.node);
        let (host, silent) = node.map_or(("", true), |node| (node.public_host.as_str(), !node.online(now)));
        Some(ServerCard::of(server, games.game(&server.game)?, host, server.players, silent, now))
    };
    servers.iter().filter_map(card).collect()
}

/// What runs now, an hour.
pub(in crate::http) fn per_hour(servers: &[Server]) -> Credits {
    servers.iter().filter(|server| server.life.phase == Phase::Running).map(|server| server.per_hour).sum()
}

/// `GET /dashboard`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn) -> Result<Response, Problem> {
    let (servers, nodes) = look(&web, &signed_in).await?;
    let page = Dashboard {
        layout: signed_in.layout_with(&web, per_hour(&servers)),
        summary: Summary::of(servers.iter(), signed_in.actor().user.balance, web.ctx.policy.demo_top_up),
        cards: cards(&web.ctx, &servers, &nodes),
    };
    Ok(page.into_response())
}

async fn look(web: &Web, signed_in: &SignedIn) -> Result<(Arc<Vec<Server>>, Arc<Vec<Node>>), Refusal> {
    Ok((servers::list(&web.ctx, signed_in.actor()).await?, nodes::all(&web.ctx).await?))
}
