//! What machines report, checked and taken in: every message counts only for servers of its own node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{BATCH, cache};
use crate::domain::servers::{absorb_event, absorb_report, end_left_over, farewell, look_answered, note_disk};
use crate::domain::{Change, Ctx, Refusal, backups};
use crate::model::addresses::before_a_port;
use crate::model::idleness::{Quiet, Sample};
use crate::model::ids::{NodeId, ServerId, UserId};
use crate::model::nodes::{Load, OFFLINE_AFTER, Profile, Specs};
use crate::model::servers::{Pending, Phase, Run, Seen};
use crate::model::time::{MINUTE, Millis, SECOND};
use crate::store::servers::Resident;
use crate::store::{nodes, samples, servers};
use crate::wire::agent::{EventKind, FromNode, InstanceReport, ToNode, UrlFor, VERSION};

/// A measurement is kept this often for each server, in milliseconds.
const SAMPLE_EVERY: i64 = 15 * SECOND;

/// A server that starts is looked at this often, whether its node says anything new or not, in milliseconds.
const STARTS_EVERY: i64 = MINUTE;

/// What a node said last of one server, so that only changes are written. May be lost.
pub(in crate::domain) struct LastReport {
    /// Who said it: another node's word for the same server is never taken for this one's.
    node: NodeId,
    seen: Seen,
    revision: String,
    runs: Vec<Run>,
    starts: Vec<Run>,
    silent_since: Option<Millis>,
    /// When it was taken in.
    taken_at: Millis,
    sampled_at: Millis,
    /// When its files were measured.
    disk_at: Option<Millis>,
}

/// When a node was heard last, and since when it was in trouble then. May be lost.
#[derive(Debug, Clone, Copy)]
pub(in crate::domain) struct LastBeat {
    heard_at: Option<Millis>,
    trouble_since: Option<Millis>,
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
            if let EventKind::Log { lines, gap, open } = event.kind {
                ctx.logs.append(&event.server, lines, gap, open);
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
        profile.public_host = before_a_port(&from.to_canonical().to_string());
    }
    nodes::register(&ctx.db, id, version, specs, &profile).await?;
    // Perhaps another panel has heard it since this one did.
    if let Ok(mut beats) = ctx.beats.lock() {
        beats.remove(id);
    }
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

/// What is known of the heartbeat before this one: out of memory where this panel heard it a moment ago, else out of the row. None:
/// there is no such node.
async fn before(ctx: &Ctx, id: &NodeId, now: Millis) -> Result<Option<LastBeat>, Refusal> {
    let remembered = ctx.beats.lock().ok().and_then(|beats| beats.get(id).copied());
    if let Some(last) = remembered.filter(|last| last.heard_at.is_some_and(|at| now.since(at) <= OFFLINE_AFTER)) {
        return Ok(Some(last));
    }
    let row = nodes::by_id(&ctx.db, id).await?;
    Ok(row.map(|node| LastBeat { heard_at: node.seen_at, trouble_since: node.trouble_since }))
}

async fn heartbeat(
    ctx: &Arc<Ctx>,
    id: &NodeId,
    load: Load,
    skew: Option<i64>,
    complete: Option<(Millis, Vec<InstanceReport>)>,
) -> Result<(), Refusal> {
    let (now, load) = (ctx.clock.now(), load.clean());
    let Some(last) = before(ctx, id, now).await? else { return Ok(()) };
    let trouble_since = load.trouble.as_ref().map(|_| last.trouble_since.unwrap_or(now));
    let was_away = last.heard_at.is_none_or(|at| now.since(at) > OFFLINE_AFTER);
    let confirmed_at = complete.as_ref().map(|(at, _)| (*at).min(now));
    let measured = match complete {
        Some((_, instances)) => all_reports(ctx, id, instances, now).await?,
        None => Vec::new(),
    };
    let there = keep(ctx, id, &nodes::Beat { load: &load, trouble_since, confirmed_at, skew, now }, &measured).await?;
    if let Ok(mut beats) = ctx.beats.lock() {
        if there {
            beats.insert(id.clone(), LastBeat { heard_at: Some(now), trouble_since });
        } else {
            beats.remove(id);
        }
    }
    note_measured(ctx, measured, now);
    // Only what people look for at once is told; for the rest what was read a second ago is good enough.
    if was_away || trouble_since.is_some() != last.trouble_since.is_some() {
        ctx.nodes.forget(&());
        ctx.tell(Change::Node);
    }
    Ok(())
}

/// Writes a heartbeat and its measurements, together; false where there is no such node.
async fn keep(ctx: &Ctx, id: &NodeId, beat: &nodes::Beat<'_>, measured: &[Measured]) -> Result<bool, Refusal> {
    if measured.is_empty() {
        return Ok(nodes::beat(&ctx.db, id, beat).await?);
    }
    let tx = ctx.db.begin().await?;
    // The node first, as whoever places servers holds it before them.
    let there = nodes::beat(&tx, id, beat).await?;
    for one in measured {
        servers::note_quiet(&tx, &one.server, one.quiet, one.sample.players).await?;
    }
    samples::insert(&tx, measured.iter().map(|one| (&one.server, &one.sample))).await?;
    tx.commit().await?;
    Ok(there)
}

/// They are kept: the next ones come after a while, and pages show these.
fn note_measured(ctx: &Ctx, measured: Vec<Measured>, now: Millis) {
    if let Ok(mut reports) = ctx.reports.lock() {
        for one in &measured {
            if let Some(report) = reports.get_mut(&one.server) {
                report.sampled_at = now;
            }
        }
    }
    for one in measured {
        ctx.tell(Change::Server { owner: one.owner, server: one.server, gone: false });
    }
}

/// A measurement to keep, and what follows from it.
struct Measured {
    server: ServerId,
    owner: UserId,
    sample: Sample,
    quiet: Quiet,
}

async fn all_reports(ctx: &Arc<Ctx>, id: &NodeId, instances: Vec<InstanceReport>, now: Millis) -> Result<Vec<Measured>, Refusal> {
    let mut residents = HashMap::new();
    let mut after = String::new();
    loop {
        let batch = servers::residents(&ctx.db, id, &after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        last.id.as_str().clone_into(&mut after);
        let full = batch.len() as u64 == BATCH;
        residents.extend(batch.into_iter().map(|resident| (resident.id.clone(), resident)));
        if !full {
            break;
        }
    }
    let mut measured = Vec::new();
    for report in instances {
        match one_report(ctx, id, &report, residents.remove(&report.server), now).await {
            Ok(one) => measured.extend(one),
            Err(Refusal::NotFound) => {}
            // Nothing is confirmed by a heartbeat that was not wholly taken in; the next one repeats it.
            Err(error) => return Err(error),
        }
    }
    missing(ctx, id, residents.into_values()).await?;
    Ok(measured)
}

/// Takes one line of a heartbeat in, as far as it says something new; gives the measurement to keep.
async fn one_report(
    ctx: &Arc<Ctx>,
    node: &NodeId,
    report: &InstanceReport,
    resident: Option<Resident>,
    now: Millis,
) -> Result<Option<Measured>, Refusal> {
    let (fresh, sample_due, disk_due) = {
        let Ok(reports) = ctx.reports.lock() else { return Ok(None) };
        let last = reports.get(&report.server);
        let same = |last: &LastReport| {
            // Time that passes is news of a start, which costs something after a while.
            let starting = matches!(report.seen, Seen::Starting { .. }) && now.since(last.taken_at) >= STARTS_EVERY;
            let spans = last.runs == report.runs && last.starts == report.starts;
            last.silent_since == report.silent_since && last.seen == report.seen && last.revision == report.revision && spans && !starting
        };
        let known = |last: &LastReport| last.node == *node && same(last);
        let measured = |last: &LastReport| last.node == *node && last.disk_at == report.disk.map(|disk| disk.at);
        (
            !last.is_some_and(known),
            last.is_none_or(|last| now.since(last.sampled_at) >= SAMPLE_EVERY),
            report.disk.filter(|_| !last.is_some_and(measured)),
        )
    };
    let mut facts = resident.map(|resident| (resident.owner, resident.game, resident.plan, resident.quiet));
    if fresh {
        if facts.is_none() && !is_on(ctx, node, &report.server).await? {
            if report.seen != Seen::Gone {
                end_left_over(ctx, node, &report.server).await?;
            }
            return Ok(None);
        }
        facts = absorb_report(ctx, node, report).await?.map(|server| (server.owner, server.game, server.plan, server.quiet));
        remember(ctx, node, report, now);
    }
    if let Some(used) = disk_due.filter(|_| facts.is_some()) {
        note_disk(ctx, &report.server, used).await?;
        if let Ok(mut reports) = ctx.reports.lock()
            && let Some(last) = reports.get_mut(&report.server)
        {
            last.disk_at = Some(used.at);
        }
    }
    let sample = report.sample.filter(|_| sample_due && matches!(report.seen, Seen::Running { .. }));
    let (Some(sample), Some((owner, game, plan, quiet))) = (sample, facts) else { return Ok(None) };
    let games = ctx.games();
    let Some((_, plan)) = games.plan(&game, &plan) else { return Ok(None) };
    let quiet = quiet.observe(&sample, plan.cpu_millis, ctx.policy.idle);
    Ok(Some(Measured { server: report.server.clone(), owner, sample, quiet }))
}

/// It has been taken in: the same again says nothing new.
fn remember(ctx: &Ctx, node: &NodeId, report: &InstanceReport, now: Millis) {
    if let Ok(mut reports) = ctx.reports.lock() {
        let (sampled_at, disk_at) =
            reports.get(&report.server).map_or((Millis(0), None), |last| (last.sampled_at, last.disk_at.filter(|_| last.node == *node)));
        let (revision, runs, starts) = (report.revision.clone(), report.runs.clone(), report.starts.clone());
        let last = LastReport {
            node: node.clone(),
            seen: report.seen,
            revision,
            runs,
            starts,
            silent_since: report.silent_since,
            taken_at: now,
            sampled_at,
            disk_at,
        };
        reports.insert(report.server.clone(), last);
    }
}

/// Servers that a complete report does not name have no container there, whatever their row says.
async fn missing(ctx: &Arc<Ctx>, node: &NodeId, unnamed: impl Iterator<Item = Resident>) -> Result<(), Refusal> {
    for server in unnamed {
        let stands = match server.seen {
            Seen::Absent | Seen::Gone => false,
            Seen::Unknown | Seen::Asleep | Seen::Starting { .. } | Seen::Running { .. } | Seen::Exited { .. } => true,
        };
        // While it is being prepared the node does not speak of it yet.
        if !stands || server.phase == Phase::Preparing {
            continue;
        }
        let report = InstanceReport::bare(server.id.clone(), Seen::Absent);
        if let Ok(mut reports) = ctx.reports.lock() {
            reports.remove(&server.id);
        }
        match absorb_report(ctx, node, &report).await {
            Ok(_) | Err(Refusal::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
