//! `/dashboard`: somebody's own servers, one card each.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::domain::{Actor, Ctx, Refusal, nodes, payments, savings, servers, shares};
use crate::http::Web;
use crate::http::pages::dashboard::{Dashboard, ServerCard, Summary};
use crate::http::pages::layout::amount;
use crate::http::problem::Problem;
use crate::http::who::SignedIn;
use crate::model::money::Credits;
use crate::model::nodes::Node;
use crate::model::servers::{Phase, Server};
use crate::model::users::Right;

/// From here on it is worth a line.
const SAVED_SHOWN: Credits = Credits(10_000);

/// The cards of servers whose game is in the catalogue, in their order.
pub(in crate::http) fn cards(ctx: &Ctx, servers: &[Server], nodes: &[Node], broke: bool) -> Vec<ServerCard> {
    let (games, now) = (ctx.games(), ctx.clock.now());
    let card = |server: &Server| {
        let node = nodes.iter().find(|node| node.id == server.node);
        let (host, silent) = node.map_or(("", true), |node| (node.public_host.as_str(), !node.online(now)));
        let mut card = ServerCard::of(server, games.game(&server.game)?, host, server.players, silent, now);
        if broke && !server.covered && !matches!(server.life.phase, Phase::Running | Phase::Expired) {
            card.no_wake = Some("Out of credits, so it cannot wake. Its world is safe.".to_owned());
        }
        Some(card)
    };
    servers.iter().filter_map(card).collect()
}

/// The cards of servers that others share, each with the action that its owner lets them have.
pub(in crate::http) async fn shared(web: &Web, actor: &Actor, nodes: &[Node]) -> Result<Vec<ServerCard>, Refusal> {
    let servers = shares::with(&web.ctx, actor).await?;
    let powerless = |card: &ServerCard| {
        let server = servers.iter().find(|server| server.id.as_str() == card.id);
        !server.is_some_and(|server| servers::allowed(actor, server, Right::PowerServer))
    };
    let mut cards = cards(&web.ctx, &servers, nodes, false);
    for card in &mut cards {
        if powerless(card) {
            card.action = None;
        }
    }
    Ok(cards)
}

/// Can people add credits by themselves, by card or for a demonstration?
pub(in crate::http) fn can_add(web: &Web) -> bool {
    web.ctx.policy.demo_top_up || payments::are_taken(&web.ctx)
}

/// What runs now, an hour.
pub(in crate::http) fn per_hour(servers: &[Server]) -> Credits {
    servers.iter().map(Server::costs_now).sum()
}

/// `GET /dashboard`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn) -> Result<Response, Problem> {
    let (servers, nodes) = look(&web, &signed_in).await?;
    let saved = savings::this_month(&web.ctx, signed_in.actor()).await?;
    let page = Dashboard {
        layout: signed_in.layout_with(&web, per_hour(&servers)),
        summary: Summary::of(servers.iter(), signed_in.actor().user.balance, web.ctx.policy.sales.low, can_add(&web)),
        cards: cards(&web.ctx, &servers, &nodes, signed_in.actor().user.balance <= Credits::ZERO),
        shared: shared(&web, signed_in.actor(), &nodes).await?,
        saved: (saved >= SAVED_SHOWN).then(|| amount(saved)),
    };
    Ok(page.into_response())
}

async fn look(web: &Web, signed_in: &SignedIn) -> Result<(Arc<Vec<Server>>, Arc<Vec<Node>>), Refusal> {
    Ok((servers::list(&web.ctx, signed_in.actor()).await?, nodes::all(&web.ctx).await?))
}
