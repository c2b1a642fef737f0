//! `/nodes`: the machines, for those who may see them; adding one and turning one away, for admins.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use crate::domain::nodes::{Invitation, Invited};
use crate::domain::{Actor, Fields, Refusal, figures, nodes, servers};
use crate::http::notice::{Said, go};
use crate::http::pages::layout::Layout;
use crate::http::pages::moments::Moment;
use crate::http::pages::node_cache::NodeCache;
use crate::http::pages::node_load::NodeLoad;
use crate::http::pages::nodes::{
    AddNodeForm, AddNodePage, FreshToken, ManageNode, NodePage, NodeRow, NodeRows, NodeServer, NodeTokenRow, NodesPage, warnings,
};
use crate::http::pages::phases::PhaseView;
use crate::http::pages::placing::{PlacementRow, Promised};
use crate::http::problem::{Answer, shown};
use crate::http::typed::{Asked, Typed};
use crate::http::who::{Named, SignedIn};
use crate::http::{Machines, Web};
use crate::model::figures::Back;
use crate::model::ids::{NodeId, NodeTokenId, TemplateId};
use crate::model::nodes::Node;
use crate::model::servers::{Phase, Server};
use crate::model::users::Right;
use crate::wire::agent::VERSION;
use crate::wire::link::JoinToken;

/// Every machine with a count of its servers.
pub(in crate::http) async fn rows(web: &Web, actor: &Actor) -> Result<NodeRows, Refusal> {
    let nodes = nodes::list(&web.ctx, actor).await?;
    let counts = servers::count_by_phase(&web.ctx).await?;
    let now = web.ctx.clock.now();
    // All of them, and those awake, by node: there may be a thousand nodes.
    let mut by_node: HashMap<&NodeId, (usize, usize)> = HashMap::new();
    for (node, phase, number) in &counts {
        let (number, entry) = (usize::try_from(*number).unwrap_or_default(), by_node.entry(node).or_default());
        *entry = (entry.0 + number, entry.1 + if *phase == Phase::Running { number } else { 0 });
    }
    let row = |node: &Node| {
        let (servers, awake) = by_node.get(&node.id).copied().unwrap_or_default();
        NodeRow::of(node, servers, awake, now)
    };
    Ok(NodeRows { rows: nodes.iter().map(row).collect() })
}

/// `GET /nodes`
pub(super) async fn list(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    let nodes = rows(&web, signed_in.actor()).await?;
    let may_add = signed_in.actor().may_at_all(Right::ManageNodes);
    let kept = servers::placements(&web.ctx, signed_in.actor()).await?;
    let (there, all, now) = (servers::still_there(&web.ctx, &kept).await?, nodes::all(&web.ctx).await?, web.ctx.clock.now());
    let placements = kept.iter().map(|placement| PlacementRow::of(placement, &there, &all, now)).collect();
    Ok(NodesPage { layout: signed_in.layout(&web).await?, nodes, may_add, placements }.into_response())
}

/// A form of a node's page that was refused: which, what was typed, what was wrong with it.
type RefusedForm<'a> = Option<(&'a str, &'a str, String)>;

async fn whole(web: &Web, signed_in: &SignedIn, id: &NodeId, back: Back, refused: RefusedForm<'_>) -> Result<NodePage, Refusal> {
    let (node, servers) = nodes::find(&web.ctx, signed_in.actor(), id).await?;
    let promises = servers::promises(&web.ctx, signed_in.actor(), &node).await?;
    let samples = figures::of_node(&web.ctx, signed_in.actor(), id, back).await?;
    let all = nodes::all(&web.ctx).await?;
    let (now, games) = (web.ctx.clock.now(), web.ctx.games());
    let awake = servers.iter().filter(|server| server.life.phase == Phase::Running).count();
    let line = |server: &Server| NodeServer {
        id: server.id.to_string(),
        name: server.name.clone(),
        game: games.game(&server.game).map_or_else(|| server.game.to_string(), |game| game.name.clone()),
        phase: PhaseView::of(server.life.phase, server.life.wanted),
        since: Moment::lasting(server.life.phase_since, now),
    };
    let may = signed_in.actor().may_at_all(Right::ManageNodes);
    let layout = signed_in.layout(web).await?;
    let emptying = nodes::emptying(&web.ctx, &node, &servers).await?;
    Ok(NodePage {
        layout: Layout { path: format!("/nodes/{id}"), ..layout },
        node: NodeRow::of(&node, servers.len(), awake, now),
        warnings: warnings(&node, &all, VERSION, now),
        facts: NodePage::facts(&node),
        until: NodePage::until(&node, now),
        promised: Promised::of(&node, &promises, emptying.as_ref(), signed_in.actor().may_at_all(Right::DriveNodes)),
        load: NodeLoad::of(&node, servers.len(), &samples, back, now),
        manage: may.then(|| ManageNode::of(&node, servers.len(), refused.as_ref())).flatten(),
        cache: NodeCache::of(&node, signed_in.actor().may_at_all(Right::DriveNodes), now),
        servers: servers.iter().map(line).collect(),
    })
}

/// `GET /nodes/{id}`: with the load of the last hour, or of the span that is asked for.
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<NodeId>, asked: Asked) -> Answer {
    let back = asked.get("span").and_then(Back::parse).unwrap_or_default();
    Ok(whole(&web, &signed_in, &id, back, None).await?.into_response())
}

/// `POST /nodes/{id}/dev-mode`
pub(super) async fn dev_mode(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<NodeId>, typed: Typed) -> Answer {
    let on = matches!(typed.text("on"), "yes" | "true" | "on");
    nodes::set_dev_mode(&web.ctx, signed_in.actor(), &id, on).await?;
    Ok(go(&format!("/nodes/{id}"), if on { Said::DevModeOn } else { Said::DevModeOff }))
}

/// `POST /nodes/{id}/purge-cache`: everything, or the templates that were chosen.
pub(super) async fn purge_cache(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<NodeId>, typed: Typed) -> Answer {
    let chosen: Vec<TemplateId> = typed.below("template.").values().filter_map(|id| id.parse().ok()).collect();
    let everything = typed.text("all") == "yes";
    if chosen.is_empty() && !everything {
        // Asked for nothing: whether it may be asked for at all is told all the same.
        nodes::may_drive(&web.ctx, signed_in.actor(), &id).await?;
        return Err(Refusal::Conflict("Choose templates to purge, or purge everything.".to_owned()).into());
    }
    nodes::purge(&web.ctx, signed_in.actor(), &id, (!everything).then_some(chosen)).await?;
    Ok(go(&format!("/nodes/{id}"), Said::Purging))
}

/// The one text that an admin copies to the machine.
pub(in crate::http) fn join_token(machines: &Machines, invited: &Invited) -> String {
    let (authority, address) = (machines.authority.clone(), machines.address.clone());
    JoinToken { node: invited.node.id.clone(), secret: invited.secret.clone(), authority, address }.to_string()
}

/// The one command that an admin runs there.
pub(in crate::http) fn join_command(token: &str) -> String {
    format!("roost node join '{token}'")
}

/// What tokens need; refused where this panel does not listen for machines.
pub(in crate::http) fn machines(web: &Web) -> Result<&Machines, Refusal> {
    let closed = || Refusal::Conflict("This panel does not listen for machines: NODE_LISTEN is off.".to_owned());
    web.settings.machines.as_ref().ok_or_else(closed)
}

async fn adding(web: &Web, signed_in: &SignedIn, typed: (&str, &str), wrong: &Fields) -> Result<AddNodePage, Refusal> {
    let tokens = nodes::open_tokens(&web.ctx, signed_in.actor()).await?;
    let now = web.ctx.clock.now();
    let at = |name: &str| wrong.at(name).map(str::to_owned);
    Ok(AddNodePage {
        layout: signed_in.layout(web).await?,
        fresh: None,
        nodes: NodeRows { rows: Vec::new() },
        closed: web.settings.machines.is_none(),
        form: AddNodeForm::of(typed.0, typed.1, at("name"), at("region")),
        tokens: tokens.iter().map(|token| NodeTokenRow::of(token, now)).collect(),
    })
}

/// The page with the token, this once.
async fn added(web: &Web, signed_in: &SignedIn, machines: &Machines, invited: &Invited) -> Answer {
    let page = adding(web, signed_in, ("", ""), &Fields::default()).await?;
    let fresh = FreshToken {
        id: invited.node.id.to_string(),
        name: invited.node.called().to_owned(),
        command: join_command(&join_token(machines, invited)),
        until: Moment::clock(invited.token.expires_at),
    };
    Ok(AddNodePage { fresh: Some(fresh), nodes: rows(web, signed_in.actor()).await?, ..page }.into_response())
}

/// `GET /nodes/add`
pub(super) async fn add_page(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    Ok(adding(&web, &signed_in, ("", ""), &Fields::default()).await?.into_response())
}

/// `POST /nodes/add`: the page with the command, this once.
pub(super) async fn add(State(web): State<Web>, signed_in: SignedIn, typed: Typed) -> Answer {
    let (name, region) = (typed.text("name"), typed.text("region"));
    // Whoever may not do this is told so first.
    nodes::open_tokens(&web.ctx, signed_in.actor()).await?;
    let machines = machines(&web)?;
    match nodes::invite(&web.ctx, signed_in.actor(), &Invitation { name, region, node: None }).await {
        Ok(invited) => added(&web, &signed_in, machines, &invited).await,
        Err(Refusal::Invalid(fields)) => {
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, adding(&web, &signed_in, (name, region), &fields).await?))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /nodes/{id}/token`: a further token for a node that is known.
pub(super) async fn token(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<NodeId>) -> Answer {
    nodes::open_tokens(&web.ctx, signed_in.actor()).await?;
    let machines = machines(&web)?;
    let invited = nodes::invite(&web.ctx, signed_in.actor(), &Invitation { node: Some(id), ..Invitation::default() }).await?;
    added(&web, &signed_in, machines, &invited).await
}

/// `POST /nodes/tokens/{id}/revoke`
pub(super) async fn revoke_token(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<NodeTokenId>) -> Answer {
    nodes::revoke_token(&web.ctx, signed_in.actor(), &id).await?;
    Ok(go("/nodes/add", Said::TokenRevoked))
}

/// The page again with what was wrong with the typed name.
async fn again(web: &Web, signed_in: &SignedIn, id: &NodeId, form: &str, typed: &Typed, fields: &Fields) -> Answer {
    let refused = (form, typed.text("confirm"), fields.at("confirm").unwrap_or_default().to_owned());
    Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, whole(web, signed_in, id, Back::default(), Some(refused)).await?))
}

/// `POST /nodes/{id}/drain`: `on` is `yes` or `no`.
pub(super) async fn drain(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<NodeId>, typed: Typed) -> Answer {
    nodes::may_drive(&web.ctx, signed_in.actor(), &id).await?;
    let on = match typed.text("on") {
        "yes" => true,
        "no" => false,
        _unsaid => {
            let mut fields = Fields::default();
            fields.add("on", "Say yes or no.");
            return Err(Refusal::Invalid(fields).into());
        }
    };
    nodes::drain(&web.ctx, signed_in.actor(), &id, on).await?;
    Ok(go(&format!("/nodes/{id}"), if on { Said::NodeDrains } else { Said::NodeTakes }))
}

/// `POST /nodes/{id}/revoke`
pub(super) async fn revoke(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<NodeId>, typed: Typed) -> Answer {
    match nodes::revoke(&web.ctx, signed_in.actor(), &id, Some(typed.text("confirm"))).await {
        Ok(_) => Ok(go(&format!("/nodes/{id}"), Said::NodeRevoked)),
        Err(Refusal::Invalid(fields)) => again(&web, &signed_in, &id, "revoke", &typed, &fields).await,
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /nodes/{id}/remove`
pub(super) async fn remove(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<NodeId>, typed: Typed) -> Answer {
    match nodes::remove(&web.ctx, signed_in.actor(), &id, Some(typed.text("confirm"))).await {
        Ok(()) => Ok(go("/nodes", Said::NodeRemoved)),
        Err(Refusal::Invalid(fields)) => again(&web, &signed_in, &id, "remove", &typed, &fields).await,
        Err(refusal) => Err(refusal.into()),
    }
}
