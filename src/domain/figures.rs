//! How the panel stands, in numbers: for whoever watches it with a program, and for the operators' overview with its charts.

use std::collections::HashMap;

use super::books::{self, Books};
use super::{Actor, Ctx, Refusal};
use crate::model::figures::{Back, Figure, NodeSample, minute_of};
use crate::model::ids::NodeId;
use crate::model::nodes::{CacheLoad, Node, Standing};
use crate::model::servers::Phase;
use crate::model::time::{DAY, MINUTE};
use crate::model::users::Right;
use crate::store::{figures as rows, node_samples, nodes, servers};

pub use crate::store::figures::Totals;

/// Nodes of one look.
const NODES_MAX: u64 = 10_000;
/// So long figures are kept, in milliseconds.
const KEPT: i64 = 30 * DAY;
/// So long samples of machines are kept, in milliseconds.
const SAMPLES_KEPT: i64 = DAY + MINUTE;
/// Figures of a day, and one more for the minute that has begun.
const DAY_MAX: u64 = 24 * 60 + 1;

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

/// What the operators' overview shows.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Every node, with what it said last.
    pub nodes: Vec<Node>,
    /// How many servers are in each phase, whatever their node; phases without any are left out.
    pub phases: Vec<(Phase, i64)>,
    /// Templates and accounts.
    pub totals: Totals,
    /// The last 24 hours, a figure a minute, oldest first.
    pub day: Vec<Figure>,
    /// What the last look through the ledger found; none: nobody has looked yet.
    pub books: Option<Books>,
}

/// How all of it stands.
///
/// # Errors
/// [`Refusal::NotFound`] for those who see only their own.
pub async fn overview(ctx: &Ctx, actor: &Actor) -> Result<Overview, Refusal> {
    if !actor.may_at_all(Right::SeeOverview) {
        return Err(Refusal::NotFound);
    }
    let counts = servers::count_by_phase(&ctx.db).await?;
    let of = |phase: Phase| counts.iter().filter(|(_, there, _)| *there == phase).map(|(_, _, number)| *number).sum::<i64>();
    Ok(Overview {
        nodes: nodes::list(&ctx.db, NODES_MAX).await?,
        phases: Phase::ALL.into_iter().map(|phase| (phase, of(phase))).filter(|(_, number)| *number > 0).collect(),
        totals: rows::totals(&ctx.db).await?,
        day: rows::since(&ctx.db, ctx.clock.now() - DAY, DAY_MAX).await?,
        books: books::last(ctx).await?,
    })
}

/// How a machine did over the last hour or day, oldest first; minutes in which it was away are not there.
///
/// # Errors
/// [`Refusal::NotFound`] where it is not there, and for those who may not see machines.
pub async fn of_node(ctx: &Ctx, actor: &Actor, node: &NodeId, back: Back) -> Result<Vec<NodeSample>, Refusal> {
    if !actor.may_at_all(Right::SeeNodes) || nodes::by_id(&ctx.db, node).await?.is_none() {
        return Err(Refusal::NotFound);
    }
    Ok(node_samples::since(&ctx.db, node, ctx.clock.now() - back.length(), DAY_MAX).await?)
}

/// Writes down how the panel and every machine that is online stand in this minute, unless this or another panel has done so, and
/// forgets what has been kept for long enough. True: written by this call.
pub async fn note(ctx: &Ctx) -> Result<bool, Refusal> {
    let now = ctx.clock.now();
    let at = minute_of(now);
    if rows::is_there(&ctx.db, at).await? {
        return Ok(false);
    }
    let counts = servers::count_by_phase(&ctx.db).await?;
    let nodes = nodes::list(&ctx.db, NODES_MAX).await?;
    let small = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let joined: Vec<&Node> = nodes.iter().filter(|node| node.standing == Standing::Joined).collect();
    let counted = |of: fn(&CacheLoad) -> u64| nodes.iter().filter_map(|node| node.load.cache.as_ref()).map(of).fold(0, u64::saturating_add);
    let figure = Figure {
        at,
        servers: small(counts.iter().map(|(_, _, number)| number).sum()),
        awake: small(counts.iter().filter(|(_, phase, _)| *phase == Phase::Running).map(|(_, _, number)| number).sum()),
        nodes: u32::try_from(joined.len()).unwrap_or(u32::MAX),
        online: u32::try_from(joined.iter().filter(|node| node.online(now)).count()).unwrap_or(u32::MAX),
        cache_hits: counted(|cache| cache.hits),
        cache_misses: counted(|cache| cache.misses),
    };
    let mut awake: HashMap<&NodeId, i64> = HashMap::new();
    for (node, phase, number) in &counts {
        if *phase == Phase::Running {
            *awake.entry(node).or_default() += number;
        }
    }
    let awake = |node: &Node| small(awake.get(&node.id).copied().unwrap_or_default());
    let samples = nodes.iter().filter_map(|node| Some((node.id.clone(), NodeSample::of(node, awake(node), now)?))).collect::<Vec<_>>();
    // Whoever writes the figure writes the samples; together, so that a minute has both or is tried again.
    let tx = ctx.db.begin().await?;
    let written = rows::insert(&tx, &figure).await?;
    if written {
        node_samples::insert(&tx, &samples).await?;
    }
    tx.commit().await?;
    rows::sweep(&ctx.db, at - KEPT).await?;
    node_samples::sweep(&ctx.db, at - SAMPLES_KEPT).await?;
    Ok(written)
}
