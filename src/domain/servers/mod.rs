//! Servers: seeing them, and the one way in which a row changes.
//!
//! `update` loads a row, lets its caller change it, asks the rule of life for the next step, and saves row, history,
//! running spans and outgoing command in one transaction; only then is the command sent. Nothing else writes rows.

mod absorb;
mod create;
mod disk;
mod ground;
mod layers;
mod leftovers;
mod lists;
mod looks;
mod moving;
mod placing;
mod power;
mod reconcile;
mod runs;
mod settings;
mod spec;
mod update;

pub use create::{Form, SETTABLE, create};
pub use disk::disk_of;
pub use layers::{Preview, layers_back, preview, preview_back, set_layers, waits_for_start};
pub use lists::{Cursor, LIST_PAGE, Line, Lines, Question, Sort, all};
pub use looks::OwnFiles;
pub use moving::{Emptying, moves};
pub use placing::{Placement, Promises, placements, promises, regions, still_there};
pub use power::{Power, delete, power, retry};
pub use reconcile::{auto_sleep, reconcile, resend, sweep};
pub use settings::{Changes, change};
pub use update::Cause;

pub(super) use absorb::{absorb_event, absorb_report};
pub(super) use disk::note_disk;
pub(super) use leftovers::end_left_over;
pub(super) use looks::{Looks, answered as look_answered, looks_at};
pub(super) use moving::{backup_done, backup_failed, emptying, farewell};
pub(super) use spec::wake_verdict as door_verdict;
pub(super) use update::update;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Actor, Change, Ctx, Refusal};
use crate::model::idleness::Sample;
use crate::model::ids::{NodeId, ServerId};
use crate::model::servers::{Phase, Server};
use crate::model::time::{HOUR, Millis};
use crate::model::users::Right;
use crate::store::{events, samples, servers};

pub use crate::store::events::Event;

/// Most servers of one account that are shown.
const LIST_MAX: u64 = 500;
/// Entries of one page of a history.
pub const HISTORY_PAGE: u64 = 50;
/// Measurements of one chart.
const SAMPLES_MAX: u64 = 400;

/// Somebody's own servers, oldest first; as fresh as [`Ctx`] keeps them.
///
/// # Errors
/// [`Refusal::Forbidden`] where the actor's token does not cover it.
pub async fn list(ctx: &Ctx, actor: &Actor) -> Result<Arc<Vec<Server>>, Refusal> {
    if !actor.covers(Right::SeeServer) {
        return Err(Refusal::Forbidden);
    }
    let (owner, now) = (&actor.user.id, ctx.clock.now());
    let mark = match ctx.servers.get(owner, now) {
        Ok(servers) => return Ok(servers),
        Err(mark) => mark,
    };
    let servers = Arc::new(servers::of_owner(&ctx.db, owner, LIST_MAX).await?);
    ctx.servers.keep(owner.clone(), servers.clone(), mark, now);
    Ok(servers)
}

/// One server, if the actor may do this with it. Whoever may not even see it is told that it does not exist.
pub async fn find(ctx: &Ctx, actor: &Actor, id: &ServerId, right: Right) -> Result<Server, Refusal> {
    let server = servers::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)?;
    if !actor.knows(&server) {
        Err(Refusal::NotFound)
    } else if !actor.may(right, &server) {
        Err(Refusal::Forbidden)
    } else {
        Ok(server)
    }
}

/// What stands for variables in text files of its layers, as its row stands.
async fn current_variables(ctx: &Ctx, server: &Server) -> Result<BTreeMap<String, String>, Refusal> {
    let games = ctx.games();
    let Some((game, _)) = games.plan(&server.game, &server.plan) else { return Ok(BTreeMap::new()) };
    Ok(spec::variables_of(server, game, &update::region(ctx, server).await?))
}

/// Keeps a line in a server's history that is no change of its row.
pub(super) async fn note(ctx: &Ctx, server: &Server, who: &str, what: &str, why: &str) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let id = Ctx::dated_id(now);
    let entry = Event { id, at: now, who: who.to_owned(), what: what.to_owned(), why: why.to_owned() };
    events::insert(&ctx.db, &server.id, &server.owner, &entry).await?;
    ctx.tell(Change::Server { owner: server.owner.clone(), server: server.id.clone(), gone: false });
    Ok(())
}

/// May the actor do this with a server that they see? For pages that show only what works.
pub fn allowed(actor: &Actor, server: &Server, right: Right) -> bool {
    actor.may(right, server)
}

/// How long a phase has lasted before, in milliseconds: the median of what the history, newest first, tells.
pub fn usually(history: &[Event], phase: Phase) -> Option<i64> {
    let name = format!("phase {}", phase.as_str());
    let mut after = None;
    let mut spans = Vec::new();
    for event in history.iter().filter(|event| event.what.starts_with("phase ")) {
        if let Some(after) = after.filter(|_| event.what == name) {
            spans.push(Millis::since(after, event.at));
        }
        after = Some(event.at);
    }
    spans.sort_unstable();
    spans.get(spans.len() / 2).copied()
}

/// A server's history, newest first, before an entry.
pub async fn history(ctx: &Ctx, actor: &Actor, id: &ServerId, before: Option<&str>) -> Result<Vec<Event>, Refusal> {
    find(ctx, actor, id, Right::SeeServer).await?;
    Ok(events::of_server(&ctx.db, id, before, HISTORY_PAGE).await?)
}

/// The measurements of the last hour, oldest first.
pub async fn last_hour(ctx: &Ctx, actor: &Actor, id: &ServerId) -> Result<Vec<Sample>, Refusal> {
    find(ctx, actor, id, Right::SeeServer).await?;
    Ok(samples::since(&ctx.db, id, ctx.clock.now() - HOUR, SAMPLES_MAX).await?)
}

/// When it falls asleep if it stays as quiet as it is.
pub fn sleeps_at(ctx: &Ctx, server: &Server) -> Option<Millis> {
    let awake_since = server.life.phase_since;
    let running = server.life.phase == Phase::Running && server.auto_sleep;
    running.then(|| server.quiet.sleeps_at(awake_since, server.idle_minutes, ctx.policy.idle, ctx.clock.now())).flatten()
}

/// How many servers are in each phase on each node, for metrics and the node page.
pub async fn count_by_phase(ctx: &Ctx) -> Result<Vec<(NodeId, Phase, i64)>, Refusal> {
    Ok(servers::count_by_phase(&ctx.db).await?)
}
