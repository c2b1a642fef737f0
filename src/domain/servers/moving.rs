//! Servers that leave a node which is being emptied, each when it rests: its data travel as a backup, and it comes up elsewhere.
//!
//! A move is kept in the row ([`Pending`]) and goes on from wherever a kill left it:
//! 1. *Leaving*: its node confirms that traffic does not wake it any more, so that nothing is written behind the backup's back.
//! 2. A backup is made. The owner who starts it meanwhile has called the move off.
//! 3. In one transaction it gets another node, ports and network there: *arriving*. Its new node gets the data out of the backup.
//! 4. Once that has worked, the node before is told to remove what it has.

use std::sync::Arc;

use super::placing::{self, Unplaced};
use super::spec::{current_spec, is_current};
use super::update::store_step;
use super::{Cause, ground, update};
use crate::domain::backups as shelves;
use crate::domain::{Change, Ctx, Refusal};
use crate::model::backups::{Backup, BackupRef, Reason, State};
use crate::model::games::{Game, Plan};
use crate::model::ids::{NodeId, ServerId};
use crate::model::nodes::{Node, Standing};
use crate::model::placing::{Candidate, NoFit, Wish, choose};
use crate::model::servers::{Pending, Seen, Server, Wanted};
use crate::model::time::{MINUTE, Millis};
use crate::store::{StoreError, backups, events, nodes, placements, ports, servers};
use crate::wire::agent::{Action, Event, EventKind};

/// So many servers leave a node at a time.
const AT_ONCE: usize = 2;
/// A server that could not leave is asked again after this, in milliseconds.
const AGAIN_AFTER: i64 = 10 * MINUTE;
/// Rows of one look.
const BATCH: u64 = 200;
/// Nodes that are looked at.
const NODES_MAX: u64 = 10_000;

/// Goes on with every move, and begins those that can begin.
pub async fn moves(ctx: &Arc<Ctx>) -> Result<(), Refusal> {
    let all = nodes::list(&ctx.db, NODES_MAX).await?;
    let emptied = |id: &NodeId| all.iter().any(|node| node.id == *id && node.draining && node.standing == Standing::Joined);
    let mut after = String::new();
    loop {
        let batch = servers::pending(&ctx.db, &after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        last.id.as_str().clone_into(&mut after);
        for server in batch {
            match go_on(ctx, &server, emptied(&server.node)).await {
                Ok(()) | Err(Refusal::NotFound | Refusal::Store(StoreError::Stale)) => {}
                Err(error) => {
                    tracing::warn!(server = %server.id, error = &error as &dyn std::error::Error, "a move has to wait for the next look");
                }
            }
        }
    }
    for node in all.iter().filter(|node| emptied(&node.id) && node.online(ctx.clock.now())) {
        begin_some(ctx, node).await?;
    }
    Ok(())
}

fn rests(server: &Server) -> bool {
    match server.life.wanted {
        Wanted::Asleep => server.seen == Seen::Asleep && server.life.doing.is_none(),
        Wanted::Stopped | Wanted::Expired => matches!(server.seen, Seen::Absent | Seen::Gone) && server.life.doing.is_none(),
        Wanted::Running | Wanted::Deleted => false,
    }
}

async fn go_on(ctx: &Arc<Ctx>, server: &Server, emptied: bool) -> Result<(), Refusal> {
    match &server.pending {
        Some(Pending::Leaving { .. }) if !emptied => {
            set(ctx, &server.id, "It stays where it is: its node takes servers again.", |pending| {
                matches!(pending, Some(Pending::Leaving { .. })).then_some(None)
            })
            .await
        }
        Some(Pending::Leaving { backup: None, since }) if rests(server) && confirmed(ctx, server).await? => {
            leave(ctx, server, *since).await
        }
        Some(Pending::Leaving { backup: Some(id), .. } | Pending::Layers { backup: id }) => {
            match backups::by_id(&ctx.db, id).await? {
                // What hangs on it was cut off by a kill.
                Some(backup) if backup.state == State::Done => backup_done(ctx, &backup).await,
                Some(backup) if backup.state == State::Failed => backup_failed(ctx, &backup, &backup.message).await,
                Some(_) => Ok(()),
                None => let_go(ctx, &server.id, id, "Its backup was deleted.").await,
            }
        }
        Some(Pending::Arriving { from, .. }) if !server.is_unseen() && confirmed(ctx, server).await? => arrived(ctx, server, from).await,
        Some(Pending::Leaving { .. } | Pending::Arriving { .. }) | None => Ok(()),
    }
}

fn plan(ctx: &Ctx, server: &Server) -> Option<(Arc<Game>, Plan)> {
    ctx.games().plan(&server.game, &server.plan).map(|(game, plan)| (game.clone(), plan.clone()))
}

/// Has its node confirmed what the row says now? A stopped one has nothing that could wake.
async fn confirmed(ctx: &Ctx, server: &Server) -> Result<bool, Refusal> {
    if matches!(server.life.wanted, Wanted::Stopped | Wanted::Expired) && matches!(server.pending, Some(Pending::Leaving { .. })) {
        return Ok(true);
    }
    let Some((game, plan)) = plan(ctx, server) else { return Ok(false) };
    let left = crate::domain::billing::left(&ctx.db, &server.owner, ctx.clock.now()).await?;
    let region = update::region(ctx, server).await?;
    Ok(is_current(server, &current_spec(server, &game, &plan, left, &region)))
}

/// Changes what is pending, if it is what the caller thinks.
async fn set(
    ctx: &Arc<Ctx>,
    id: &ServerId,
    why: &str,
    change: impl Fn(&Option<Pending>) -> Option<Option<Pending>>,
) -> Result<(), Refusal> {
    let cause = Cause::new("the panel", why);
    let changed = update(ctx, id, &cause, |server, _| {
        if let Some(next) = change(&server.pending) {
            server.pending = next;
        }
        Ok(())
    });
    changed.await.map(drop)
}

fn wish(server: &Server, plan: &Plan) -> Wish {
    Wish { size: placing::size(plan), region: server.region.clone(), tags: server.tags.clone() }
}

async fn begin_some(ctx: &Arc<Ctx>, node: &Node) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let mut after = String::new();
    let mut ready = Vec::new();
    let mut under_way = 0;
    loop {
        let batch = servers::on_node(&ctx.db, &node.id, &after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        last.id.as_str().clone_into(&mut after);
        under_way += batch.iter().filter(|server| matches!(server.pending, Some(Pending::Leaving { .. }))).count();
        ready.extend(batch.into_iter().filter(|server| server.pending.is_none() && rests(server)));
    }
    let places = places(ctx).await?;
    for server in ready {
        if under_way >= AT_ONCE {
            break;
        }
        let Some((_, plan)) = plan(ctx, &server) else { continue };
        if fits_nowhere(ctx, &places, &wish(&server, &plan)).is_some() || tried_lately(ctx, &server, now).await? {
            continue;
        }
        set(ctx, &server.id, "Its node is being emptied.", |pending| {
            pending.is_none().then_some(Some(Pending::Leaving { backup: None, since: now }))
        })
        .await?;
        under_way += 1;
    }
    Ok(())
}

async fn tried_lately(ctx: &Ctx, server: &Server, now: Millis) -> Result<bool, Refusal> {
    let all = backups::of_server(&ctx.db, &server.id, 10).await?;
    let failed = |backup: &&Backup| backup.reason == Reason::Move && backup.state == State::Failed;
    Ok(all.iter().filter(failed).any(|backup| backup.done_at.is_some_and(|at| now.since(at) < AGAIN_AFTER)))
}

async fn places(ctx: &Ctx) -> Result<Vec<Candidate>, Refusal> {
    Ok(placing::candidates(ctx, &ctx.db).await?.into_iter().map(|(_, candidate)| candidate).collect())
}

/// Why no node takes it; none: one does.
fn fits_nowhere(ctx: &Ctx, places: &[Candidate], wish: &Wish) -> Option<NoFit> {
    choose(places, wish, ctx.policy.overcommit).err()
}

/// Nobody wakes it any more: its data are written down. One that has no data goes at once.
async fn leave(ctx: &Arc<Ctx>, server: &Server, since: Millis) -> Result<(), Refusal> {
    if shelves::has_no_data(server) {
        return go(ctx, &server.id, None).await;
    }
    let backup = shelves::wanted(server, Reason::Move, "the panel", ctx.clock.now());
    backups::insert(&ctx.db, &backup).await?;
    let id = backup.id.clone();
    set(ctx, &server.id, "Its data are written down to travel.", |pending| match pending {
        Some(Pending::Leaving { backup: None, .. }) => Some(Some(Pending::Leaving { backup: Some(id.clone()), since })),
        Some(Pending::Leaving { backup: Some(_), .. } | Pending::Layers { .. } | Pending::Arriving { .. }) | None => None,
    })
    .await?;
    ctx.backups_nudge.notify_one();
    Ok(())
}

/// Goes on with what waited for a backup that is done.
pub(in crate::domain) async fn backup_done(ctx: &Arc<Ctx>, backup: &Backup) -> Result<(), Refusal> {
    let Some(server) = servers::by_id(&ctx.db, &backup.server).await? else { return Ok(()) };
    match &server.pending {
        Some(Pending::Layers { backup: id }) if *id == backup.id => {
            set(ctx, &server.id, "The backup before its layers change is there.", |pending| {
                matches!(pending, Some(Pending::Layers { backup: id }) if *id == backup.id).then_some(None)
            })
            .await
        }
        Some(Pending::Leaving { backup: Some(id), .. }) if *id == backup.id => go(ctx, &server.id, backup.to_restore()).await,
        Some(Pending::Layers { .. } | Pending::Leaving { .. } | Pending::Arriving { .. }) | None => Ok(()),
    }
}

/// Lets go of what waited for a backup that will not come: layers stay what they were, and a server stays where it is.
pub(in crate::domain) async fn backup_failed(ctx: &Arc<Ctx>, backup: &Backup, why: &str) -> Result<(), Refusal> {
    let_go(ctx, &backup.server, &backup.id, why).await
}

async fn let_go(ctx: &Arc<Ctx>, id: &ServerId, backup: &crate::model::ids::BackupId, why: &str) -> Result<(), Refusal> {
    let why = format!("The backup before it failed, so nothing has been changed: {why}");
    let cause = Cause::new("the panel", why);
    let changed = update(ctx, id, &cause, |server, _| {
        match &server.pending {
            Some(Pending::Layers { backup: waited }) if waited == backup => {
                server.layers = std::mem::take(&mut server.layers_before);
                server.pending = None;
            }
            Some(Pending::Leaving { backup: Some(waited), .. }) if waited == backup => server.pending = None,
            Some(Pending::Layers { .. } | Pending::Leaving { .. } | Pending::Arriving { .. }) | None => {}
        }
        Ok(())
    });
    match changed.await {
        Err(Refusal::NotFound) => Ok(()),
        other => other.map(drop),
    }
}

/// Gives it its new place, all in one transaction.
async fn go(ctx: &Arc<Ctx>, id: &ServerId, origin: Option<BackupRef>) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let tx = ctx.db.begin().await?;
    let server = servers::by_id(&tx, id).await?.ok_or(Refusal::NotFound)?;
    let Some((game, plan)) = plan(ctx, &server) else { return Ok(()) };
    if !matches!(server.pending, Some(Pending::Leaving { .. })) || !rests(&server) {
        return Ok(());
    }
    let wish = wish(&server, &plan);
    let (node, choice) = match placing::place(ctx, &tx, &wish).await {
        Ok(found) => found,
        Err(Unplaced::Store(error)) => return Err(error.into()),
        Err(Unplaced::NoFit(no_fit)) => {
            drop(tx);
            placements::insert(&ctx.db, &placing::placement(&server.owner, Some(id), &server.name, &wish, Err(&no_fit), now)).await?;
            return set(ctx, id, &format!("It stays where it is for now: {no_fit}"), |pending| {
                matches!(pending, Some(Pending::Leaving { .. })).then_some(None)
            })
            .await;
        }
    };
    ports::release(&tx, id).await?;
    let (chosen, subnet) = ground::choose(ctx, &tx, &node, &game, &server.ports).await?;
    ground::reserve(&tx, &node, &chosen, id).await?;
    let from = server.node.clone();
    let mut there = Server { node: node.id.clone(), ports: chosen, subnet, seen: Seen::Gone, seen_at: None, ..server.clone() };
    there.spec_seen.clear();
    there.life.doing = None;
    there.pending = origin.map(|origin| Pending::Arriving { from: from.clone(), origin });
    servers::save(&tx, &mut there, now).await?;
    placements::insert(&tx, &placing::placement(&server.owner, Some(id), &server.name, &wish, Ok(&choice), now)).await?;
    let host = if node.public_host.is_empty() { node.called().to_owned() } else { node.public_host.clone() };
    let address = there.ports.first().map_or_else(|| host.clone(), |port| format!("{host}:{}", port.public));
    let why = format!("Its node is being emptied. Its address is {address} now.");
    let event_id = Ctx::dated_id(now);
    let event = events::Event { id: event_id, at: now, who: "the panel".to_owned(), what: format!("moved to {}", node.called()), why };
    events::insert(&tx, id, &server.owner, &event).await?;
    tx.commit().await?;
    tracing::info!(server = %id, %from, to = %node.id, "a server moved");
    ctx.tell(Change::Server { owner: server.owner, server: id.clone(), gone: false });
    ctx.tell(Change::Node);
    set(ctx, id, "", |_| None).await
}

/// Its new node has all of it: the node before may remove its own.
async fn arrived(ctx: &Arc<Ctx>, server: &Server, from: &NodeId) -> Result<(), Refusal> {
    let tx = ctx.db.begin().await?;
    let row = servers::by_id(&tx, &server.id).await?.ok_or(Refusal::NotFound)?;
    if row.pending != server.pending || row.life.generation != server.life.generation {
        return Err(StoreError::Stale.into());
    }
    let now = ctx.clock.now();
    let mut row = Server { pending: None, ..row };
    servers::save(&tx, &mut row, now).await?;
    let farewell = store_step(&tx, &row, from, Action::DestroyInstance, now).await?;
    tx.commit().await?;
    shelves::hand_on(ctx, from, farewell, now).await;
    ctx.tell(Change::Node);
    set(ctx, &server.id, "", |_| None).await
}

/// The node before a move answers that it has removed its own; true: it was that.
pub(in crate::domain) async fn farewell(ctx: &Ctx, node: &NodeId, event: &Event) -> Result<bool, Refusal> {
    let (Some(command), EventKind::Destroyed | EventKind::Failed { retryable: false, .. }) = (&event.command, &event.kind) else {
        return Ok(false);
    };
    Ok(crate::store::commands::answered_by(&ctx.db, command, node, ctx.clock.now()).await?)
}

/// How far the emptying of a node is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Emptying {
    /// Servers that are still there.
    pub left: usize,
    /// Of them: they leave right now.
    pub leaving: usize,
    /// Of them: somebody plays, or they are being worked on.
    pub awake: usize,
    /// Of them: they rest, and no node takes them; why, of the first one.
    pub stuck: Option<(usize, String)>,
    /// Servers that have left it and have not arrived yet.
    pub arriving: usize,
}

/// How far it is; none: the node is not being emptied.
pub(in crate::domain) async fn emptying(ctx: &Ctx, node: &Node, here: &[Server]) -> Result<Option<Emptying>, Refusal> {
    if !node.draining {
        return Ok(None);
    }
    let places = places(ctx).await?;
    let mut told = Emptying { left: here.len(), ..Emptying::default() };
    for server in here {
        match &server.pending {
            Some(Pending::Leaving { .. }) => told.leaving += 1,
            _other if !rests(server) => told.awake += 1,
            _other => {
                let Some((_, plan)) = plan(ctx, server) else { continue };
                if let Some(no_fit) = fits_nowhere(ctx, &places, &wish(server, &plan)) {
                    let (count, why) = told.stuck.take().unwrap_or_else(|| (0, no_fit.to_string()));
                    told.stuck = Some((count + 1, why));
                }
            }
        }
    }
    let pending = servers::pending(&ctx.db, "", BATCH).await?;
    told.arriving =
        pending.iter().filter(|server| matches!(&server.pending, Some(Pending::Arriving { from, .. }) if *from == node.id)).count();
    Ok(Some(told))
}
