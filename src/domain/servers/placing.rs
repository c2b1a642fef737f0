//! Finding a server's node: the rule is [`crate::model::placing`], asked here with what is promised by now.

use std::collections::{HashMap, HashSet};

use crate::domain::{Actor, Ctx, Refusal};
use crate::model::games::Plan;
use crate::model::ids::{NodeId, ServerId, UserId};
use crate::model::nodes::{Node, Standing};
use crate::model::placing::{Candidate, Choice, NoFit, Size, Wish, choose};
use crate::model::servers::Server;
use crate::model::time::{DAY, MINUTE, Millis};
use crate::model::users::Right;
use crate::store::{Db, StoreError, Tx, nodes, placements, server_lists, servers};
use crate::wire::agent::VERSION;

pub use crate::store::placements::Placement;

/// Nodes that are looked at.
const NODES_MAX: u64 = 10_000;
/// Placements of one page.
const PLACEMENTS: u64 = 20;
/// So long placements are kept, in milliseconds.
pub(super) const KEPT: i64 = 30 * DAY;
/// A chosen node is found full under its lock at most so often before the answer is that all were taken.
const TRIES: usize = 8;

/// What a plan asks of a node.
pub(super) fn size(plan: &Plan) -> Size {
    Size { cpu_millis: plan.cpu_millis.into(), memory_mib: plan.memory_mib.into(), disk_mib: plan.storage_mib.into() }
}

/// Why a node takes nobody at all; none: it does.
fn closed(node: &Node, now: Millis) -> Option<String> {
    match node.standing {
        Standing::Invited => return Some("has been invited and has not come yet".to_owned()),
        Standing::Revoked => return Some("has been revoked".to_owned()),
        Standing::Joined => {}
    }
    if !node.online(now) {
        let since = node.seen_at.map(|at| now.since(at) / MINUTE);
        return Some(match since {
            None => "has never been heard of".to_owned(),
            Some(0) => "is offline, not heard of for less than a minute".to_owned(),
            Some(minutes) => format!("is offline, last heard of {minutes} min ago"),
        });
    }
    if node.draining {
        return Some("takes no new servers, because it is being emptied".to_owned());
    }
    if let Some(wire) = node.wire.filter(|wire| *wire != VERSION) {
        return Some(format!("speaks version {wire} of the messages, and this panel version {VERSION}: update the older one"));
    }
    node.load.trouble.as_ref().map(|trouble| format!("is in trouble: {}", trouble.trim_end_matches('.')))
}

/// What is promised to the servers of each node, and how many they are.
async fn promised(ctx: &Ctx, db: &Db, only: Option<&NodeId>) -> Result<HashMap<NodeId, (Size, u32)>, StoreError> {
    let games = ctx.games();
    let mut all: HashMap<NodeId, (Size, u32)> = HashMap::new();
    for group in servers::count_by_plan(db, only).await? {
        // A plan that has left the catalogue still has its servers; of their size nothing is known any more.
        let each = games.plan(&group.game, &group.plan).map(|(_, plan)| size(plan)).unwrap_or_default();
        let entry = all.entry(group.node).or_default();
        entry.0 = entry.0.plus(each.times(group.number.into()));
        entry.1 = entry.1.saturating_add(group.number);
    }
    Ok(all)
}

fn candidate(node: &Node, promised: (Size, u32), now: Millis) -> Candidate {
    Candidate {
        id: node.id.clone(),
        name: node.called().to_owned(),
        closed: closed(node, now),
        region: node.region.clone(),
        tags: node.tags.clone(),
        has: Size {
            cpu_millis: node.specs.cpu_millis.into(),
            memory_mib: node.specs.memory_mib.into(),
            disk_mib: node.specs.disk_mib.into(),
        },
        slots: node.slots,
        promised: promised.0,
        servers: promised.1,
    }
}

/// Every node as the choice sees it.
pub(in crate::domain) async fn candidates(ctx: &Ctx, db: &Db) -> Result<Vec<(Node, Candidate)>, StoreError> {
    let (now, promised) = (ctx.clock.now(), promised(ctx, db, None).await?);
    let all = nodes::list(db, NODES_MAX).await?.into_iter();
    Ok(all
        .map(|node| {
            let taken = promised.get(&node.id).copied().unwrap_or_default();
            let candidate = candidate(&node, taken, now);
            (node, candidate)
        })
        .collect())
}

/// Why nothing was chosen.
pub(super) enum Unplaced {
    /// No node fits.
    NoFit(NoFit),
    /// The database.
    Store(StoreError),
}

impl From<StoreError> for Unplaced {
    fn from(error: StoreError) -> Self {
        Unplaced::Store(error)
    }
}

/// Chooses a node and holds it until the transaction ends: whoever chooses at the same moment sees this server on it.
pub(super) async fn place(ctx: &Ctx, tx: &Tx, wish: &Wish) -> Result<(Node, Choice), Unplaced> {
    let mut all = candidates(ctx, tx).await?;
    for _ in 0..TRIES {
        let places: Vec<Candidate> = all.iter().map(|(_, candidate)| candidate.clone()).collect();
        let choice = choose(&places, wish, ctx.policy.overcommit).map_err(Unplaced::NoFit)?;
        let Some(at) = all.iter().position(|(node, _)| node.id == choice.node) else { break };
        // Under the lock it is counted again: another creation may have been faster.
        nodes::hold(tx, &choice.node).await?;
        // And read again: whoever has just said that it takes no new servers shall be right.
        let Some(held) = nodes::by_id(tx, &choice.node).await? else { break };
        let taken = promised(ctx, tx, Some(&choice.node)).await?.get(&choice.node).copied().unwrap_or_default();
        let (node, before) = &mut all[at];
        let now_there = candidate(&held, taken, ctx.clock.now());
        *node = held;
        if now_there.refuses(wish, ctx.policy.overcommit).is_none() {
            return Ok((node.clone(), choice));
        }
        *before = now_there;
    }
    Err(Unplaced::Store(StoreError::Stale))
}

/// A server is to have another size where it stands: its node promises the room, or says why not, in the transaction that changes it.
pub(super) async fn resize(ctx: &Ctx, tx: &Tx, before: &Server, after: &Server) -> Result<(), Refusal> {
    let games = ctx.games();
    let size_of = |server: &Server| games.plan(&server.game, &server.plan).map(|(_, plan)| size(plan)).unwrap_or_default();
    nodes::hold(tx, &before.node).await?;
    let node = nodes::by_id(tx, &before.node).await?.ok_or(Refusal::NotFound)?;
    let (promised, servers) = promised(ctx, tx, Some(&node.id)).await?.get(&node.id).copied().unwrap_or_default();
    let others = promised.minus(size_of(before));
    // Whether it takes new servers does not matter to one that is there.
    let here = Candidate { closed: None, slots: None, ..candidate(&node, (others, servers), ctx.clock.now()) };
    let wish = Wish { size: size_of(after), region: String::new(), tags: Vec::new() };
    match here.refuses(&wish, ctx.policy.overcommit) {
        None => Ok(()),
        Some(why) => Err(Refusal::Conflict(format!("This plan does not fit where the server stands: that machine {why}."))),
    }
}

/// A placement to keep.
pub(super) fn placement(
    owner: &UserId,
    server: Option<&ServerId>,
    name: &str,
    wish: &Wish,
    found: Result<&Choice, &NoFit>,
    now: Millis,
) -> Placement {
    let (node, why) = match found {
        Ok(choice) => (Some(choice.node.clone()), choice.why.clone()),
        Err(no_fit) => (None, no_fit.to_string()),
    };
    Placement {
        id: Ctx::dated_id(now),
        at: now,
        owner: owner.clone(),
        server: server.cloned(),
        server_name: name.to_owned(),
        wish: wish.clone(),
        node,
        why,
    }
}

/// The last choices, newest first, for those who see nodes.
pub async fn placements(ctx: &Ctx, actor: &Actor) -> Result<Vec<Placement>, Refusal> {
    if !actor.may_at_all(Right::SeeNodes) {
        return Err(Refusal::NotFound);
    }
    Ok(placements::latest(&ctx.db, PLACEMENTS).await?)
}

/// Which of the servers of these placements are still there.
pub async fn still_there(ctx: &Ctx, placements: &[Placement]) -> Result<HashSet<ServerId>, Refusal> {
    Ok(server_lists::existing(&ctx.db, placements.iter().filter_map(|placement| placement.server.as_ref())).await?)
}

/// What is promised to the servers of a node, of what may be promised there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promises {
    /// Promised.
    pub promised: Size,
    /// At most.
    pub most: Size,
    /// Servers that live there.
    pub servers: u32,
    /// Most servers; none: no limit of its own.
    pub places: Option<u32>,
    /// Why no new server goes there, in words; none: they do.
    pub closed: Option<String>,
}

/// What is promised of a node, for those who see nodes.
pub async fn promises(ctx: &Ctx, actor: &Actor, node: &Node) -> Result<Promises, Refusal> {
    if !actor.may_at_all(Right::SeeNodes) {
        return Err(Refusal::NotFound);
    }
    let taken = promised(ctx, &ctx.db, Some(&node.id)).await?.get(&node.id).copied().unwrap_or_default();
    let here = candidate(node, taken, ctx.clock.now());
    Ok(Promises {
        promised: here.promised,
        most: here.may_promise(ctx.policy.overcommit),
        servers: here.servers,
        places: here.slots,
        closed: here.closed,
    })
}

/// The regions that somebody can choose, in order: those of nodes that take servers.
pub async fn regions(ctx: &Ctx) -> Result<Vec<String>, Refusal> {
    let now = ctx.clock.now();
    let nodes = crate::domain::nodes::all(ctx).await?;
    let open = nodes.iter().filter(|node| node.standing == Standing::Joined && !node.draining && node.online(now));
    let regions: std::collections::BTreeSet<&str> = open.map(|node| node.region.as_str()).filter(|region| !region.is_empty()).collect();
    Ok(regions.into_iter().map(str::to_owned).collect())
}
