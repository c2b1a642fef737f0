//! The one way in which a server's row changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::spec::{current_spec, is_current};
use super::{ground, placing, runs};
use crate::domain::{Change, Ctx, Refusal, backups, billing, subscriptions};
use crate::model::games::Game;
use crate::model::ids::{CommandId, NodeId, ServerId};
use crate::model::layers::{LayerRef, told};
use crate::model::life::{Doing, Next, Step, next};
use crate::model::servers::{Pending, Phase, Seen, Server, Wanted};
use crate::model::time::{MINUTE, Millis, SECOND};
use crate::store::commands::Stored;
use crate::store::{StoreError, Tx, commands, events, servers, templates, usage};
use crate::wire::agent::{Action, Command, InstanceReport, ToNode};
use crate::wire::spec::InstanceSpec;

/// A moment that never comes.
const NEVER: Millis = Millis(i64::MAX);
/// How often a change is tried again when somebody else was faster.
const TRIES: u32 = 8;

/// Who or what changes a server, and why; both stand in its history.
#[derive(Debug, Clone)]
pub struct Cause {
    pub(super) who: String,
    pub(super) why: String,
    /// What a node said, whose running spans are kept in the same transaction.
    pub(super) report: Option<InstanceReport>,
    /// A command that has been answered.
    pub(super) answered: Option<CommandId>,
}

impl Cause {
    /// Who, and why in one sentence.
    pub fn new(who: impl Into<String>, why: impl Into<String>) -> Cause {
        Cause { who: who.into(), why: why.into(), report: None, answered: None }
    }
}

/// What came of an update: the row as it is now; none when it is gone.
pub(in crate::domain) type Updated = Option<Server>;

/// Changes a server; see the room's description. `change` may run several times and must not act outside.
pub(in crate::domain) async fn update(
    ctx: &Arc<Ctx>,
    id: &ServerId,
    cause: &Cause,
    change: impl Fn(&mut Server, Millis) -> Result<(), Refusal>,
) -> Result<Updated, Refusal> {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(ctx, id, cause, &change).await {
            Err(Refusal::Store(StoreError::Stale | StoreError::Busy(_))) if tries < TRIES => {}
            other => return other,
        }
    }
}

async fn attempt(
    ctx: &Arc<Ctx>,
    id: &ServerId,
    cause: &Cause,
    change: &impl Fn(&mut Server, Millis) -> Result<(), Refusal>,
) -> Result<Updated, Refusal> {
    let now = ctx.clock.now();
    let tx = ctx.db.begin().await?;
    let before = servers::by_id(&tx, id).await?.ok_or(Refusal::NotFound)?;
    let mut server = before.clone();
    change(&mut server, now)?;
    // Whoever starts or deletes it has called off that it leaves.
    let called_off = matches!(server.life.wanted, Wanted::Running | Wanted::Deleted);
    if called_off && matches!(server.pending, Some(Pending::Leaving { .. })) {
        server.pending = None;
    }
    if before.plan != server.plan {
        placing::resize(ctx, &tx, &before, &server).await?;
    }
    let ends = server.life.wanted == Wanted::Deleted && before.life.wanted != Wanted::Deleted;
    if ends {
        subscriptions::end_of_server(&tx, id, now).await?;
    }
    if server.life.trouble.is_some() && server.seen == Seen::Absent {
        ground::leave_taken(ctx, &tx, &mut server).await?;
    }
    if let Some(report) = &cause.report {
        runs::keep(&tx, &server, report, now).await?;
    }
    if let Some(command) = &cause.answered {
        commands::answered(&tx, command, now).await?;
    }
    let decided = decide(ctx, &tx, &mut server, now).await?;
    tell_history(&tx, &before, &server, cause, now).await?;
    let gone = matches!(decided, Decided::Gone);
    if gone {
        usage::close_others(&tx, id, None, now).await?;
        commands::end(&tx, id, &server.node, now).await?;
        backups::throw_all_away(&tx, id, now).await?;
        if let Some(Pending::Arriving { from, .. }) = &server.pending {
            store_step(&tx, &server, from, Action::DestroyInstance, now).await?;
        }
        servers::delete(&tx, id, before.life.generation).await?;
    } else {
        let due_at = match &decided {
            Decided::Due(at) => *at,
            Decided::Send(_) | Decided::Gone => server.life.doing.as_ref().map_or(now + SECOND, |doing| doing.deadline),
        };
        servers::save(&tx, &mut server, due_at).await?;
        if (&before.layers, &before.layers_before) != (&server.layers, &server.layers_before) {
            // What it can go back to stays as well.
            let held: Vec<LayerRef> = server.layers.iter().chain(&server.layers_before).cloned().collect();
            templates::hold(&tx, id, &held).await?;
        }
    }
    let command = match decided {
        Decided::Send(action) => Some(store_command(&tx, &server, action, now).await?),
        Decided::Due(_) | Decided::Gone => None,
    };
    tx.commit().await?;
    if ends {
        ctx.payments_nudge.notify_one();
    }
    if let Some(command) = command {
        send(ctx, &server, command, now).await;
    }
    ctx.tell(Change::Server { owner: server.owner.clone(), server: id.clone(), gone });
    Ok((!gone).then_some(server))
}

enum Decided {
    /// Nothing to send; look again then.
    Due(Millis),
    /// Send this, under the id that the row now holds.
    Send(Action),
    /// The row goes.
    Gone,
}

/// Asks the rule of life and writes its answer into the row.
async fn decide(ctx: &Ctx, tx: &Tx, server: &mut Server, now: Millis) -> Result<Decided, Refusal> {
    let games = ctx.games();
    let Some((game, plan)) = games.plan(&server.game, &server.plan) else {
        server.life.failed(
            "Its game or plan is no longer in the catalogue. Whoever runs this panel can put it back.".to_owned(),
            false,
            now,
        );
        return Ok(Decided::Due(NEVER));
    };
    let left = billing::left(tx, &server.owner, now).await?;
    let region = region(ctx, server).await?;
    let spec = current_spec(server, game, plan, left, &region);
    Ok(match next(&server.life, &server.seen, is_current(server, &spec), now) {
        Next::Rest(phase) => {
            server.life.doing = None;
            server.life.trouble = None;
            server.life.attempts = 0;
            server.life.show(phase, now);
            Decided::Due(NEVER)
        }
        Next::Do(step) => {
            begin(server, game, step, now);
            Decided::Send(action(server, spec, step))
        }
        Next::Wait(until) => Decided::Due(until.unwrap_or(NEVER)),
        Next::Late(step) => {
            server.life.failed(late(step, server, now), true, now);
            Decided::Due(server.life.trouble.as_ref().and_then(|trouble| trouble.next_try).unwrap_or(NEVER))
        }
        Next::GaveUp => {
            server.life.show(Phase::Failed, now);
            Decided::Due(NEVER)
        }
        Next::Forget => {
            server.life.show(Phase::Destroyed, now);
            Decided::Gone
        }
    })
}

/// Where its node stands.
pub(super) async fn region(ctx: &Ctx, server: &Server) -> Result<String, Refusal> {
    if server.layers.is_empty() {
        return Ok(String::new());
    }
    let nodes = crate::domain::nodes::all(ctx).await?;
    Ok(nodes.iter().find(|node| node.id == server.node).map(|node| node.region.clone()).unwrap_or_default())
}

fn begin(server: &mut Server, game: &Game, step: Step, now: Millis) {
    let patience = step.patience(i64::from(game.ready_within_secs) * SECOND, i64::from(game.stop.wait_secs) * SECOND);
    let command = CommandId::from_random(&Ctx::random::<16>());
    server.life.doing = Some(Doing { step, command, since: now, deadline: now + patience });
    server.life.show(step.phase(), now);
    if server.seen == Seen::Gone {
        // From here on there may be something, whatever becomes of the command.
        server.seen = Seen::Absent;
    }
}

fn action(server: &Server, spec: InstanceSpec, step: Step) -> Action {
    match step {
        Step::Prepare => Action::PrepareInstance { spec: Box::new(spec) },
        Step::Start => Action::StartInstance,
        Step::Sleep => Action::StopInstance { keep_door: true, unless_busy: server.life.gently },
        Step::Stop => Action::StopInstance { keep_door: false, unless_busy: false },
        Step::Destroy => Action::DestroyInstance,
    }
}

fn late(step: Step, server: &Server, now: Millis) -> String {
    let minutes = server.life.doing.as_ref().map_or(0, |doing| now.since(doing.since) / MINUTE);
    let what = match step {
        Step::Prepare => "Preparing made no progress",
        Step::Start => "The game did not answer on its port",
        Step::Sleep | Step::Stop => "The game did not stop",
        Step::Destroy => "Removing it did not finish",
    };
    format!("{what} for {minutes} minutes.")
}

async fn tell_history(tx: &Tx, before: &Server, after: &Server, cause: &Cause, now: Millis) -> Result<(), StoreError> {
    let mut entries = Vec::new();
    let (was, is) = (&before.life, &after.life);
    if was.wanted != is.wanted || was.wanted_since != is.wanted_since {
        entries.push((cause.who.as_str(), format!("wanted {}", is.wanted.as_str()), cause.why.as_str()));
    } else if was.restart_before != is.restart_before && is.restart_before.is_some() {
        entries.push((cause.who.as_str(), "restart".to_owned(), cause.why.as_str()));
    }
    if before.plan != after.plan {
        entries.push((cause.who.as_str(), format!("plan {}", after.plan), cause.why.as_str()));
    }
    if before.layers != after.layers {
        entries.push((cause.who.as_str(), format!("layers {}", told(&before.layers, &after.layers)), cause.why.as_str()));
    }
    if before.variables != after.variables {
        let names = changed_names(&before.variables, &after.variables).join(", ");
        entries.push((cause.who.as_str(), format!("variables {names}"), cause.why.as_str()));
    }
    if before.pending != after.pending && !cause.why.is_empty() && before.layers == after.layers {
        entries.push((cause.who.as_str(), pending_word(before.pending.as_ref(), after.pending.as_ref()).to_owned(), cause.why.as_str()));
    }
    let crashed = was.crashes != is.crashes && !is.crashes.is_empty();
    if was.phase != is.phase || crashed {
        let why = match (&is.trouble, is.phase) {
            (Some(trouble), Phase::Failed) => trouble.what.as_str(),
            _ => "",
        };
        entries.push(("", format!("phase {}", is.phase.as_str()), why));
    }
    let node = format!("node {}", after.node);
    for (n, (who, what, why)) in (0_u8..).zip(entries) {
        let id = Ctx::nth_dated_id(now, n);
        let who = if who.is_empty() { node.as_str() } else { who };
        let event = events::Event { id, at: now, who: who.to_owned(), what, why: why.to_owned() };
        events::insert(tx, &after.id, &after.owner, &event).await?;
    }
    Ok(())
}

fn pending_word(before: Option<&Pending>, after: Option<&Pending>) -> &'static str {
    match (before, after) {
        (_, Some(Pending::Layers { .. })) => "change waits",
        (_, Some(Pending::Leaving { .. })) => "move begun",
        (_, Some(Pending::Arriving { .. })) => "move",
        (Some(Pending::Layers { .. }), None) => "change goes on",
        (Some(Pending::Leaving { .. } | Pending::Arriving { .. }) | None, None) => "move ended",
    }
}

/// Names that have another value, or none any more, or one at last.
pub(super) fn changed_names<'a>(before: &'a BTreeMap<String, String>, after: &'a BTreeMap<String, String>) -> Vec<&'a str> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names.into_iter().filter(|name| before.get(*name) != after.get(*name)).map(String::as_str).collect()
}

async fn store_command(tx: &Tx, server: &Server, action: Action, now: Millis) -> Result<Command, Refusal> {
    let id = server.life.doing.as_ref().map(|doing| doing.command.clone()).ok_or(Refusal::NotFound)?;
    let command = Command { id, server: server.id.clone(), generation: server.life.generation, action };
    commands::insert(tx, &stored(&command, &server.node)?, &server.id, now).await?;
    Ok(command)
}

/// Puts a step for a node on which the server does not stand any more into the outbox, beside the steps of its life.
pub(super) async fn store_step(tx: &Tx, server: &Server, node: &NodeId, action: Action, now: Millis) -> Result<Command, Refusal> {
    let id = CommandId::from_random(&Ctx::random::<16>());
    let command = Command { id, server: server.id.clone(), generation: server.life.generation, action };
    commands::insert_beside(tx, &stored(&command, node)?, &server.id, now).await?;
    Ok(command)
}

/// A command as the outbox keeps it.
pub(super) fn stored(command: &Command, node: &NodeId) -> Result<Stored, StoreError> {
    let body = serde_json::to_string(command).map_err(|_| StoreError::Unreadable("a command to write"))?;
    Ok(Stored { id: command.id.clone(), node: node.clone(), generation: command.generation, body })
}

/// Hands a stored command on. If that fails it stays in the outbox and goes out later.
async fn send(ctx: &Ctx, server: &Server, command: Command, now: Millis) {
    let id = command.id.clone();
    if let Err(why) = ctx.engine.deliver(&server.node, ToNode::Command(command)) {
        tracing::info!(server = %server.id, command = %id, reason = %why, "the command waits in the outbox");
    } else if let Err(error) = commands::sent(&ctx.db, &id, now).await {
        tracing::warn!(command = %id, error = &error as &dyn std::error::Error, "the command was sent, which could not be noted; it will be sent again");
    }
}
