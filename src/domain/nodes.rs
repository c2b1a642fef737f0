//! Machines: what they report is checked here and taken in; every message counts only for servers of its own node.

use std::collections::HashSet;
use std::sync::Arc;

use super::servers::{absorb_event, absorb_report};
use super::{Actor, Change, Ctx, Refusal};
use crate::model::idleness::Sample;
use crate::model::ids::{NodeId, PanelId, ServerId};
use crate::model::nodes::{Load, Node, OFFLINE_AFTER};
use crate::model::servers::{Phase, Run, Seen, Server};
use crate::model::time::{Millis, SECOND};
use crate::model::users::Right;
use crate::store::{Db, StoreError, commands, nodes, panel, samples, servers};
use crate::wire::agent::{Command, EventKind, FromNode, InstanceReport, ToNode, VERSION};

/// Nodes of one list.
const NODES_MAX: u64 = 1_000;
/// Rows of one look.
const BATCH: u64 = 500;
/// A measurement is kept this often for each server, in milliseconds.
const SAMPLE_EVERY: i64 = 15 * SECOND;

/// What a node said last of one server, so that only changes are written. May be lost.
pub(super) struct LastReport {
    seen: Seen,
    revision: String,
    runs: Vec<Run>,
    sampled_at: Millis,
}

/// This panel's id, made at the first start.
pub(super) async fn panel_id(db: &Db) -> Result<PanelId, StoreError> {
    const NAME: &str = "id";
    if let Some(id) = panel::get(db, NAME).await? {
        return id.parse().map_err(|_| StoreError::Unreadable("panel.id"));
    }
    let id = PanelId::from_random(&Ctx::random::<12>());
    panel::set(db, NAME, id.as_str()).await?;
    Ok(id)
}

/// All nodes, for those who may see them.
pub async fn list(ctx: &Ctx, actor: &Actor) -> Result<Vec<Node>, Refusal> {
    if !actor.may_at_all(Right::SeeNodes) {
        return Err(Refusal::NotFound);
    }
    Ok(nodes::list(&ctx.db, NODES_MAX).await?)
}

/// One node and its servers.
pub async fn find(ctx: &Ctx, actor: &Actor, id: &NodeId) -> Result<(Node, Vec<Server>), Refusal> {
    if !actor.may_at_all(Right::SeeNodes) {
        return Err(Refusal::NotFound);
    }
    let node = nodes::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)?;
    let servers = servers::on_node(&ctx.db, id, "", BATCH).await?;
    Ok((node, servers))
}

/// The node that a server is on, for its address and for how long ago it was heard.
pub async fn of_server(ctx: &Ctx, server: &Server) -> Result<Node, Refusal> {
    nodes::by_id(&ctx.db, &server.node).await?.ok_or(Refusal::NotFound)
}

/// All nodes, for the addresses of servers that were found already and for how long ago their nodes were heard. At most a
/// second old; what this panel itself writes counts at once.
pub async fn all(ctx: &Ctx) -> Result<Arc<Vec<Node>>, Refusal> {
    let now = ctx.clock.now();
    let mark = match ctx.nodes.get(&(), now) {
        Ok(nodes) => return Ok(nodes),
        Err(mark) => mark,
    };
    let nodes = Arc::new(nodes::list(&ctx.db, NODES_MAX).await?);
    ctx.nodes.keep((), nodes.clone(), mark, now);
    Ok(nodes)
}

/// Makes a node known, by the name that players use for it.
pub async fn introduce(ctx: &Ctx, id: &NodeId, public_host: &str) -> Result<(), Refusal> {
    nodes::introduce(&ctx.db, id, public_host).await?;
    ctx.nodes.forget(&());
    Ok(())
}

/// Takes a message from a node in. Errors are the panel's own; what a node says wrongly is logged and dropped.
pub async fn receive(ctx: &Arc<Ctx>, node: &NodeId, message: FromNode) -> Result<(), Refusal> {
    match message {
        FromNode::RegisterNode { version, specs } => {
            if version != VERSION {
                tracing::error!(%node, version, expected = VERSION, "the node speaks another version; update it");
                return Ok(());
            }
            nodes::set_specs(&ctx.db, node, &specs).await?;
            ctx.nodes.forget(&());
            ctx.tell(Change::Node);
            Ok(())
        }
        FromNode::Heartbeat { at, load, complete, instances } => {
            heartbeat(ctx, node, load, complete.then_some(instances).map(|instances| (at, instances))).await
        }
        FromNode::Event(event) => {
            if !is_on(ctx, node, &event.server).await? {
                return Ok(());
            }
            if let EventKind::Log { lines, gap } = event.kind {
                ctx.logs.append(&event.server, lines, gap);
                return Ok(());
            }
            match absorb_event(ctx, node, &event).await {
                Err(Refusal::NotFound) => Ok(()),
                other => other,
            }
        }
    }
}

/// Greets a node that has just been linked, and sends it what it has not answered.
pub async fn greet(ctx: &Ctx, node: &NodeId) -> Result<(), Refusal> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let batch = servers::on_node(&ctx.db, node, &after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        last.id.as_str().clone_into(&mut after);
        all.extend(batch.into_iter().map(|server| server.id));
    }
    let welcome = ToNode::Welcome { version: VERSION, panel: ctx.panel.clone(), servers: all };
    if ctx.engine.deliver(node, welcome).is_err() {
        return Ok(());
    }
    let now = ctx.clock.now();
    for stored in commands::unanswered(&ctx.db, Some(node), now, BATCH).await? {
        if let Ok(command) = serde_json::from_str::<Command>(&stored.body)
            && ctx.engine.deliver(node, ToNode::Command(command)).is_ok()
        {
            commands::sent(&ctx.db, &stored.id, now).await?;
        }
    }
    Ok(())
}

async fn is_on(ctx: &Ctx, node: &NodeId, id: &ServerId) -> Result<bool, Refusal> {
    let Some(server) = servers::by_id(&ctx.db, id).await? else { return Ok(false) };
    if server.node != *node {
        tracing::error!(%node, server = %id, "a node spoke of another node's server; ignored");
    }
    Ok(server.node == *node)
}

async fn heartbeat(ctx: &Arc<Ctx>, id: &NodeId, load: Load, complete: Option<(Millis, Vec<InstanceReport>)>) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let Some(node) = nodes::by_id(&ctx.db, id).await? else { return Ok(()) };
    let trouble_since = load.trouble.as_ref().map(|_| node.trouble_since.unwrap_or(now));
    let was_away = node.seen_at.is_none_or(|at| now.since(at) > OFFLINE_AFTER);
    let confirmed_at = complete.as_ref().map(|(at, _)| (*at).min(now));
    if let Some((_, instances)) = complete {
        all_reports(ctx, id, instances, now).await?;
    }
    nodes::beat(&ctx.db, id, &load, trouble_since, confirmed_at, now).await?;
    ctx.nodes.forget(&());
    if was_away || trouble_since.is_some() != node.trouble_since.is_some() {
        ctx.tell(Change::Node);
    }
    Ok(())
}

async fn all_reports(ctx: &Arc<Ctx>, id: &NodeId, instances: Vec<InstanceReport>, now: Millis) -> Result<(), Refusal> {
    let mut kept = Vec::new();
    let mut named = HashSet::new();
    for report in instances {
        named.insert(report.server.clone());
        match one_report(ctx, id, &report, now).await {
            Ok(sample) => kept.extend(sample),
            Err(Refusal::NotFound) => {}
            // Nothing is confirmed by a heartbeat that was not wholly taken in; the next one repeats it.
            Err(error) => return Err(error),
        }
    }
    samples::insert(&ctx.db, &kept).await?;
    missing(ctx, id, &named).await
}

/// Takes one line of a heartbeat in, as far as it says something new; gives the measurement to keep.
async fn one_report(ctx: &Arc<Ctx>, node: &NodeId, report: &InstanceReport, now: Millis) -> Result<Option<(ServerId, Sample)>, Refusal> {
    let (fresh, sample_due) = {
        let Ok(reports) = ctx.reports.lock() else { return Ok(None) };
        let last = reports.get(&report.server);
        let known = |last: &LastReport| last.seen == report.seen && last.revision == report.revision && last.runs == report.runs;
        (!last.is_some_and(known), last.is_none_or(|last| now.since(last.sampled_at) >= SAMPLE_EVERY))
    };
    if fresh {
        if !is_on(ctx, node, &report.server).await? {
            return Ok(None);
        }
        absorb_report(ctx, node, report).await?;
    }
    let sample = report.sample.filter(|_| sample_due && matches!(report.seen, Seen::Running { .. }));
    let sampled = match &sample {
        Some(sample) => note_sample(ctx, &report.server, sample).await?,
        None => false,
    };
    if let Ok(mut reports) = ctx.reports.lock() {
        let sampled_at = if sampled { now } else { reports.get(&report.server).map_or(Millis(0), |last| last.sampled_at) };
        let last = LastReport { seen: report.seen, revision: report.revision.clone(), runs: report.runs.clone(), sampled_at };
        reports.insert(report.server.clone(), last);
    }
    Ok(sample.filter(|_| sampled).map(|sample| (report.server.clone(), sample)))
}

async fn note_sample(ctx: &Ctx, id: &ServerId, sample: &Sample) -> Result<bool, Refusal> {
    let Some(server) = servers::by_id(&ctx.db, id).await? else { return Ok(false) };
    let games = ctx.games();
    let Some((_, plan)) = games.plan(&server.game, &server.plan) else { return Ok(false) };
    let quiet = server.quiet.observe(sample, plan.cpu_millis, ctx.policy.idle);
    servers::note_quiet(&ctx.db, id, quiet, sample.players).await?;
    ctx.tell(Change::Server { owner: server.owner, server: id.clone(), gone: false });
    Ok(true)
}

/// Servers that a complete report does not name have no container there, whatever their row says.
async fn missing(ctx: &Arc<Ctx>, node: &NodeId, named: &HashSet<ServerId>) -> Result<(), Refusal> {
    let mut after = String::new();
    loop {
        let batch = servers::on_node(&ctx.db, node, &after, BATCH).await?;
        let Some(last) = batch.last() else { return Ok(()) };
        last.id.as_str().clone_into(&mut after);
        for server in batch {
            let stands = match server.seen {
                Seen::Absent | Seen::Gone => false,
                Seen::Unknown | Seen::Asleep | Seen::Starting { .. } | Seen::Running { .. } | Seen::Exited { .. } => true,
            };
            // While it is being prepared the node does not speak of it yet.
            if !stands || named.contains(&server.id) || server.life.phase == Phase::Preparing {
                continue;
            }
            let report = InstanceReport {
                server: server.id.clone(),
                seen: Seen::Absent,
                revision: String::new(),
                runs: Vec::new(),
                woken_at: None,
                sample: None,
            };
            if let Ok(mut reports) = ctx.reports.lock() {
                reports.remove(&server.id);
            }
            match absorb_report(ctx, node, &report).await {
                Ok(_) | Err(Refusal::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
