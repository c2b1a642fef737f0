//! What machines report, checked and taken in: every message counts only for servers of its own node.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::{BATCH, cache};
use crate::domain::servers::{absorb_event, absorb_report, farewell, look_answered};
use crate::domain::{Change, Ctx, Refusal, backups};
use crate::model::idleness::Sample;
use crate::model::ids::{NodeId, ServerId};
use crate::model::nodes::{Load, OFFLINE_AFTER, Profile, Specs};
use crate::model::servers::{Pending, Phase, Run, Seen};
use crate::model::time::{Millis, SECOND};
use crate::store::{nodes, samples, servers};
use crate::wire::agent::{EventKind, FromNode, InstanceReport, ToNode, UrlFor, VERSION};

/// A measurement is kept this often for each server, in milliseconds.
const SAMPLE_EVERY: i64 = 15 * SECOND;

/// What a node said last of one server, so that only changes are written. May be lost.
pub(in crate::domain) struct LastReport {
    /// Who said it: another node's word for the same server is never taken for this one's.
    node: NodeId,
    seen: Seen,
    revision: String,
    runs: Vec<Run>,
    sampled_at: Millis,
}

/// What the link knows of a message beside its words.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// How far the node's clock is ahead of this panel's, in milliseconds; none: it is the same clock.
    pub skew: Option<i64>,
    /// Where the link comes from: how players reach a node that does not say it.
    pub from: Option<IpAddr>,
}

/// Takes a message from a node in.
pub async fn receive(ctx: &Arc<Ctx>, node: &NodeId, message: FromNode) -> Result<(), Refusal> {
    receive_linked(ctx, node, message, &Heard::default()).await
}

/// Takes a message from a node on another machine in.
pub async fn receive_linked(ctx: &Arc<Ctx>, node: &NodeId, message: FromNode, heard: &Heard) -> Result<(), Refusal> {
    match message {
        FromNode::RegisterNode { version, specs, profile } => register(ctx, node, version, &specs, profile, heard).await,
        FromNode::Heartbeat { at, load, complete, instances } => {
            heartbeat(ctx, node, load, heard.skew, complete.then_some(instances).map(|instances| (at, instances))).await
        }
        FromNode::WantUrl { ask, of } => {
            let url = match of {
                UrlFor::Layer { layer } => cache::layer_url(ctx, node, &layer).await,
                UrlFor::Backup { server, backup } => backups::url(ctx, node, &server, &backup, None).await,
                UrlFor::BackupPart { server, backup, number } => backups::url(ctx, node, &server, &backup, Some(number)).await,
            };
            if ctx.engine.deliver(node, ToNode::ObjectUrl { ask, url }).is_err() {
                tracing::info!(%node, "an address of a layer could not be handed on; the node asks again");
            }
            Ok(())
        }
        FromNode::LayersLook { ask, own_files } => {
            look_answered(ctx, node, ask, own_files);
            Ok(())
        }
        FromNode::Event(event) => {
            if !is_on(ctx, node, &event.server).await? {
                return farewell(ctx, node, &event).await.map(drop);
            }
            if let EventKind::Log { lines, gap } = event.kind {
                ctx.logs.append(&event.server, lines, gap);
                return Ok(());
            }
            if backups::take(ctx, node, &event).await? {
                return Ok(());
            }
            match absorb_event(ctx, node, &event).await {
                Err(Refusal::NotFound) => Ok(()),
                other => other,
            }
        }
    }
}

async fn register(ctx: &Ctx, id: &NodeId, version: u32, specs: &Specs, profile: Profile, heard: &Heard) -> Result<(), Refusal> {
    if version != VERSION {
        tracing::error!(node = %id, version, expected = VERSION, "the node speaks another version; update it");
    }
    let Some(node) = nodes::by_id(&ctx.db, id).await? else { return Ok(()) };
    let mut profile = profile.clean();
    if profile.public_host.is_empty()
        && node.public_host.is_empty()
        && let Some(from) = heard.from
    {
        profile.public_host = from.to_canonical().to_string();
    }
    nodes::register(&ctx.db, id, version, specs, &profile).await?;
    ctx.nodes.forget(&());
    ctx.tell(Change::Node);
    Ok(())
}

async fn is_on(ctx: &Ctx, node: &NodeId, id: &ServerId) -> Result<bool, Refusal> {
    let Some(server) = servers::by_id(&ctx.db, id).await? else { return Ok(false) };
    let left = matches!(&server.pending, Some(Pending::Arriving { from, .. }) if from == node);
    if server.node != *node && !left {
        tracing::error!(%node, server = %id, "a node spoke of another node's server; ignored");
    }
    Ok(server.node == *node)
}

async fn heartbeat(
    ctx: &Arc<Ctx>,
    id: &NodeId,
    load: Load,
    skew: Option<i64>,
    complete: Option<(Millis, Vec<InstanceReport>)>,
) -> Result<(), Refusal> {
    let (now, load) = (ctx.clock.now(), load.clean());
    let Some(node) = nodes::by_id(&ctx.db, id).await? else { return Ok(()) };
    let trouble_since = load.trouble.as_ref().map(|_| node.trouble_since.unwrap_or(now));
    let was_away = node.seen_at.is_none_or(|at| now.since(at) > OFFLINE_AFTER);
    let confirmed_at = complete.as_ref().map(|(at, _)| (*at).min(now));
    if let Some((_, instances)) = complete {
        all_reports(ctx, id, instances, now).await?;
    }
    nodes::beat(&ctx.db, id, &nodes::Beat { load: &load, trouble_since, confirmed_at, skew, now }).await?;
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
        let same = |last: &LastReport| last.seen == report.seen && last.revision == report.revision && last.runs == report.runs;
        let known = |last: &LastReport| last.node == *node && same(last);
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
        let (revision, runs) = (report.revision.clone(), report.runs.clone());
        let last = LastReport { node: node.clone(), seen: report.seen, revision, runs, sampled_at };
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
