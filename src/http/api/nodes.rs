//! `/api/nodes`: the machines, for those who may see them; tokens and revoking, for admins.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shapes::{NewNodeToken, NodeServerShape, NodeShape, NodeTokenShape, Nodes, ProblemShape, moment};
use crate::domain::nodes::Invitation;
use crate::domain::{Fields, Refusal, figures, nodes};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::routes::nodes::{join_command, join_token, machines};
use crate::http::typed::{Asked, Raw, Typed};
use crate::http::who::{Caller, Named};
use crate::model::figures::Back;
use crate::model::ids::NodeId;

/// Fetch every layer anew?
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(in crate::http) struct DevMode {
    pub on: bool,
}

/// What to purge.
#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Purge {
    /// Ids of templates; all, where there is no list.
    pub templates: Option<Vec<String>>,
}

/// A machine and its servers.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct NodeDetail {
    pub node: NodeShape,
    pub servers: Vec<NodeServerShape>,
    /// How far its emptying is; null: it is not being emptied.
    pub emptying: Option<EmptyingShape>,
}

/// How far the emptying of a machine is, in numbers of servers.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EmptyingShape {
    /// Still there.
    pub left: usize,
    /// Of them: leaving right now.
    pub leaving: usize,
    /// Of them: awake or being worked on; each leaves when it next rests.
    pub awake: usize,
    /// Of them: no other machine takes them for now.
    pub stuck: usize,
    /// Why not, of the first one.
    pub why: Option<String>,
    /// Gone from there, and not wholly arrived elsewhere.
    pub arriving: usize,
}

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
    let emptying = nodes::emptying(&web.ctx, &node, &servers).await?.map(|told| {
        let (stuck, why) = told.stuck.unzip();
        EmptyingShape { left: told.left, leaving: told.leaving, awake: told.awake, stuck: stuck.unwrap_or(0), why, arriving: told.arriving }
    });
    let node = NodeShape::of(&node, web.ctx.clock.now());
    Ok(Json(NodeDetail { node, servers: servers.iter().map(NodeServerShape::of).collect(), emptying }).into_response())
}

/// How a machine did over time.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct NodeLoads {
    /// `hour` or `day`.
    pub span: &'static str,
    /// One a minute, oldest first; minutes in which it was away are left out.
    pub samples: Vec<NodeSampleShape>,
}

/// How a machine did in a minute.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct NodeSampleShape {
    /// Beginning of the minute.
    pub at: String,
    /// Thousandths of a core in use.
    pub cpu_millis: u32,
    /// MiB in use.
    pub memory_mib: u32,
    /// MiB in use on the disk that holds the data folder.
    pub disk_used_mib: u32,
    /// MiB free there.
    pub disk_free_mib: u32,
    /// Servers awake there.
    pub awake: u32,
}

/// CPU, memory, disk and servers awake over the last hour or the last 24 hours.
#[utoipa::path(
    get, path = "/api/nodes/{id}/load", tag = "nodes",
    params(("id" = String, Path), ("span" = Option<String>, Query, description = "`hour`, which it is without, or `day`.")),
    responses((status = 200, body = NodeLoads), (status = 404, body = ProblemShape), (status = 422, body = ProblemShape))
)]
pub(super) async fn load(State(web): State<Web>, caller: Caller, Named(id): Named<NodeId>, asked: Asked) -> Answer {
    let back = asked.get("span").map_or(Some(Back::default()), Back::parse);
    // Whoever may not see it is told so first.
    let samples = figures::of_node(&web.ctx, caller.actor(), &id, back.unwrap_or_default()).await?;
    let Some(back) = back else {
        let mut fields = Fields::default();
        fields.add("span", "This is either hour or day.");
        return Err(Refusal::Invalid(fields).into());
    };
    let samples = samples.into_iter().map(|sample| NodeSampleShape {
        at: moment(sample.at),
        cpu_millis: sample.cpu_millis,
        memory_mib: sample.memory_mib,
        disk_used_mib: sample.disk_used_mib,
        disk_free_mib: sample.disk_free_mib,
        awake: sample.awake,
    });
    Ok(Json(NodeLoads { span: back.as_str(), samples: samples.collect() }).into_response())
}

/// Makes a token by which a machine joins: a new one by `name` and `region`, or one that is known by `node`. It works once, for an hour,
/// and cannot be asked for again; a further request makes a further token.
#[utoipa::path(
    post, path = "/api/nodes/tokens", tag = "nodes", request_body = NewNodeToken,
    responses(
        (status = 201, body = NodeTokenShape), (status = 403, body = ProblemShape), (status = 404, body = ProblemShape),
        (status = 409, body = ProblemShape), (status = 422, body = ProblemShape)
    )
)]
pub(super) async fn make_token(State(web): State<Web>, caller: Caller, typed: Typed) -> Answer {
    let actor = caller.actor();
    nodes::open_tokens(&web.ctx, actor).await?;
    let machines = machines(&web)?;
    let mut fields = Fields::default();
    typed.only(&["name", "region", "node"], &mut fields);
    let node = typed.maybe("node").map(str::parse::<NodeId>);
    if matches!(node, Some(Err(_))) {
        fields.add("node", "This is not the id of a node.");
    }
    fields.check()?;
    let invitation = Invitation { name: typed.text("name"), region: typed.text("region"), node: node.and_then(Result::ok) };
    let invited = nodes::invite(&web.ctx, actor, &invitation).await?;
    let token = join_token(machines, &invited);
    let shape = NodeTokenShape::of(&invited, join_command(&token), token, web.ctx.clock.now());
    Ok((StatusCode::CREATED, Json(shape)).into_response())
}

/// Whether a machine takes no new servers.
#[derive(serde::Deserialize, utoipa::ToSchema)]
#[allow(dead_code, reason = "describes what a body may hold")]
pub(super) struct Drain {
    /// True: no new servers come. Those that live there move to others, each when it next rests.
    on: bool,
}

/// Says whether a machine takes no new servers. Those that live there move to others, each when it next rests.
#[utoipa::path(
    post, path = "/api/nodes/{id}/drain", tag = "nodes", params(("id" = String, Path)), request_body = Drain,
    responses(
        (status = 200, body = NodeShape), (status = 403, body = ProblemShape), (status = 404, body = ProblemShape),
        (status = 422, body = ProblemShape)
    )
)]
pub(super) async fn drain(State(web): State<Web>, caller: Caller, Named(id): Named<NodeId>, typed: Typed) -> Answer {
    nodes::may_drive(&web.ctx, caller.actor(), &id).await?;
    let mut fields = Fields::default();
    typed.only(&["on"], &mut fields);
    let on = if typed.json { typed.flag("on", &mut fields) } else { None };
    if on.is_none() && fields.at("on").is_none() {
        fields.add("on", "Say true or false.");
    }
    fields.check()?;
    let node = nodes::drain(&web.ctx, caller.actor(), &id, on.unwrap_or_default()).await?;
    Ok(Json(NodeShape::of(&node, web.ctx.clock.now())).into_response())
}

/// Has a machine fetch every layer anew, or use its cache again.
#[utoipa::path(
    post, path = "/api/nodes/{id}/dev-mode", tag = "nodes", params(("id" = String, Path)), request_body = DevMode,
    responses((status = 204), (status = 403, body = ProblemShape), (status = 404, body = ProblemShape), (status = 422, body = ProblemShape))
)]
pub(super) async fn dev_mode(State(web): State<Web>, caller: Caller, Named(id): Named<NodeId>, typed: Typed) -> Answer {
    nodes::may_drive(&web.ctx, caller.actor(), &id).await?;
    let mut fields = Fields::default();
    typed.only(&["on"], &mut fields);
    let on = typed.flag("on", &mut fields);
    if on.is_none() && fields.at("on").is_none() {
        fields.add("on", "This is either true or false.");
    }
    fields.check()?;
    nodes::set_dev_mode(&web.ctx, caller.actor(), &id, on.unwrap_or_default()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Has a machine remove templates from its cache, all or those in `templates`; what came of it stands in `cache.purged` of its next
/// heartbeat. What servers are made of stays.
#[utoipa::path(
    post, path = "/api/nodes/{id}/purge-cache", tag = "nodes", params(("id" = String, Path)), request_body = Purge,
    responses((status = 202), (status = 403, body = ProblemShape), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn purge_cache(State(web): State<Web>, caller: Caller, Named(id): Named<NodeId>, Raw(body): Raw) -> Answer {
    nodes::may_drive(&web.ctx, caller.actor(), &id).await?;
    let wrong = |_| {
        let mut fields = Fields::default();
        fields.add("templates", "A list of ids of templates, or nothing for all of them.");
        Refusal::Invalid(fields)
    };
    let asked: Purge = if body.is_empty() { Purge::default() } else { serde_json::from_slice(&body).map_err(wrong)? };
    let templates = asked.templates.map(|all| all.into_iter().filter_map(|id| id.parse().ok()).collect());
    nodes::purge(&web.ctx, caller.actor(), &id, templates).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Turns a machine away: its link ends at once, and its certificate and tokens count no more.
#[utoipa::path(
    post, path = "/api/nodes/{id}/revoke", tag = "nodes", params(("id" = String, Path)),
    responses(
        (status = 200, body = NodeShape), (status = 403, body = ProblemShape), (status = 404, body = ProblemShape),
        (status = 409, body = ProblemShape)
    )
)]
pub(super) async fn revoke(State(web): State<Web>, caller: Caller, Named(id): Named<NodeId>) -> Answer {
    let node = nodes::revoke(&web.ctx, caller.actor(), &id, None).await?;
    Ok(Json(NodeShape::of(&node, web.ctx.clock.now())).into_response())
}

/// Forgets a machine on which no server lives.
#[utoipa::path(
    delete, path = "/api/nodes/{id}", tag = "nodes", params(("id" = String, Path)),
    responses((status = 204), (status = 403, body = ProblemShape), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn remove(State(web): State<Web>, caller: Caller, Named(id): Named<NodeId>) -> Answer {
    nodes::remove(&web.ctx, caller.actor(), &id, None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
