//! What happens to servers by itself: comparing wanted with seen, sending again, falling asleep, forgetting.

use std::collections::HashMap;
use std::sync::Arc;

use super::spec::{current_spec, is_current};
use super::{Cause, placing, update};
use crate::domain::{Ctx, Refusal, audit, mails, nodes, sign_in, templates};
use crate::model::ids::NodeId;
use crate::model::life::{Next, next};
use crate::model::money::Credits;
use crate::model::servers::{Server, Wanted};
use crate::model::time::{DAY, HOUR, MINUTE, SECOND};
use crate::store::{commands, idempotency, nonces, placements, samples, servers, sessions, shares, starts, users};
use crate::wire::agent::{Command, ToNode};
use crate::wire::wake::SKEW_MAX;

/// Rows of one look.
const BATCH: u64 = 200;
/// A command that was sent this long ago and has no answer is sent again, in milliseconds.
const RESEND_AFTER: i64 = 15 * SECOND;

/// Looks at every server whose time has come; with `all`, at every server.
pub async fn reconcile(ctx: &Arc<Ctx>, all: bool) -> Result<u64, Refusal> {
    let mut looked = 0;
    let mut after = String::new();
    // Asked for by the whole sweep only: most looks, one a second, find nothing to do.
    let nodes = if all { nodes::all(ctx).await? } else { Arc::default() };
    let regions: HashMap<NodeId, String> = nodes.iter().map(|node| (node.id.clone(), node.region.clone())).collect();
    loop {
        let now = ctx.clock.now();
        let batch = if all { servers::after(&ctx.db, &after, BATCH).await? } else { servers::due(&ctx.db, now, BATCH).await? };
        let Some(last) = batch.last() else { return Ok(looked) };
        last.id.as_str().clone_into(&mut after);
        let full = batch.len() as u64 == BATCH;
        let balances = if all { users::balances(&ctx.db, batch.iter().map(|server| &server.owner)).await? } else { HashMap::new() };
        for server in batch {
            looked += 1;
            let region = regions.get(&server.node).map_or("", String::as_str);
            if all && at_rest(ctx, &server, balances.get(&server.owner).copied().unwrap_or_default(), region) {
                continue;
            }
            match update(ctx, &server.id, &Cause::new("", ""), |_, _| Ok(())).await {
                Ok(_) | Err(Refusal::NotFound) => {}
                Err(error) => {
                    tracing::warn!(server = %server.id, error = &error as &dyn std::error::Error, "this server could not be looked at; next time again");
                }
            }
        }
        if !full {
            return Ok(looked);
        }
    }
}

/// Is there nothing to write? Saves a sweep over thousands of sleeping servers from touching each.
fn at_rest(ctx: &Ctx, server: &Server, balance: Credits, region: &str) -> bool {
    let games = ctx.games();
    let Some((game, plan)) = games.plan(&server.game, &server.plan) else {
        // Gone from the catalogue: said once, then it waits for somebody to press Retry.
        return server.life.trouble.as_ref().is_some_and(|trouble| trouble.next_try.is_none());
    };
    let current = is_current(server, &current_spec(server, game, plan, balance, region));
    match next(&server.life, &server.seen, current, ctx.clock.now()) {
        Next::Rest(phase) => server.life.phase == phase && server.life.trouble.is_none() && server.life.doing.is_none(),
        Next::Wait(_) => true,
        Next::GaveUp => true,
        Next::Do(_) | Next::Late(_) | Next::Forget => false,
    }
}

/// Sends commands again that have waited too long for their answer.
pub async fn resend(ctx: &Arc<Ctx>) -> Result<u64, Refusal> {
    let now = ctx.clock.now();
    let mut sent = 0;
    for stored in commands::unanswered(&ctx.db, None, now - RESEND_AFTER, BATCH).await? {
        let Ok(command) = serde_json::from_str::<Command>(&stored.body) else {
            tracing::error!(command = %stored.id, "a command in the outbox cannot be read; it is dropped");
            commands::answered(&ctx.db, &stored.id, now).await?;
            continue;
        };
        if ctx.engine.deliver(&stored.node, ToNode::Command(command)).is_ok() {
            commands::sent(&ctx.db, &stored.id, now).await?;
            sent += 1;
        }
    }
    Ok(sent)
}

/// Puts to sleep what has been quiet for as long as its owner chose. The node asks once more at the moment of stopping.
pub async fn auto_sleep(ctx: &Arc<Ctx>) -> Result<u64, Refusal> {
    let now = ctx.clock.now();
    let mut slept = 0;
    for server in servers::quiet(&ctx.db, now - MINUTE, BATCH).await? {
        if super::sleeps_at(ctx, &server).is_none_or(|at| now < at) {
            continue;
        }
        let why = format!("Quiet for {} minutes, and nobody connected.", server.idle_minutes);
        update(ctx, &server.id, &Cause::new("auto-sleep", why), |server, now| {
            let quiet = super::sleeps_at(ctx, server).is_some_and(|at| now >= at);
            if quiet && server.life.wanted == Wanted::Running {
                server.life.want(Wanted::Asleep, now);
                server.life.gently = true;
            }
            Ok(())
        })
        .await?;
        slept += 1;
    }
    Ok(slept)
}

/// Forgets what has served its time: measurements, answered commands, old keys, expired sessions.
pub async fn sweep(ctx: &Ctx) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    samples::sweep(&ctx.db, now - 2 * HOUR).await?;
    starts::sweep(&ctx.db, now - 3 * DAY).await?;
    commands::sweep(&ctx.db, now - DAY).await?;
    super::leftovers::end_lost_commands(ctx).await?;
    idempotency::sweep(&ctx.db, now - DAY).await?;
    nonces::sweep(&ctx.db, now - 2 * SKEW_MAX).await?;
    sessions::sweep(&ctx.db, now).await?;
    mails::sweep(ctx).await?;
    audit::sweep(ctx).await?;
    shares::sweep(&ctx.db, now).await?;
    sign_in::sweep(ctx).await?;
    templates::sweep(ctx).await?;
    placements::sweep(&ctx.db, now - placing::KEPT).await?;
    Ok(())
}
