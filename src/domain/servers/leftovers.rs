//! What is left of servers that have no row any more: at a node, and in the outbox.
//!
//! A row goes only once its node has answered that nothing is left, and takes its commands with it. What is found here all the same
//! comes from a node that was silent or a database that is older than its nodes. Only a server whose history says that it was removed is
//! removed again; any other is the node's to move aside, and nobody's data go on a list's say-so.

use std::sync::Arc;

use super::update::stored;
use crate::domain::{Ctx, Refusal};
use crate::model::ids::{CommandId, NodeId, ServerId};
use crate::store::{commands, events, servers};
use crate::wire::agent::{Action, Command, ToNode};

/// Commands of one look.
const BATCH: u64 = 200;
/// Above the generation of every row: nothing that was asked before can undo it.
const LAST_GENERATION: i64 = i64::MAX;

/// A node speaks of a server without a row. True: it was removed, and the node has been asked to remove it again.
pub(in crate::domain) async fn end_left_over(ctx: &Arc<Ctx>, node: &NodeId, id: &ServerId) -> Result<bool, Refusal> {
    if servers::by_id(&ctx.db, id).await?.is_some() || !events::tells_of_removal(&ctx.db, id).await? {
        return Ok(false);
    }
    if commands::waits(&ctx.db, id, node).await? {
        return Ok(true);
    }
    let now = ctx.clock.now();
    let command = Command {
        id: CommandId::from_random(&Ctx::random::<16>()),
        server: id.clone(),
        generation: LAST_GENERATION,
        action: Action::DestroyInstance,
    };
    commands::insert_beside(&ctx.db, &stored(&command, node)?, id, now).await?;
    tracing::warn!(%node, server = %id, "a node still has something of a server that was removed; it is asked to remove it");
    let sent = command.id.clone();
    if ctx.engine.deliver(node, ToNode::Command(command)).is_ok() {
        commands::sent(&ctx.db, &sent, now).await?;
    }
    Ok(true)
}

/// Ends commands that would make something for a server without a row; gives their number.
pub(super) async fn end_lost_commands(ctx: &Ctx) -> Result<usize, Refusal> {
    let lost = commands::without_row(&ctx.db, BATCH).await?;
    for command in &lost {
        tracing::warn!(node = %command.node, command = %command.id, "a command about a server that is gone is dropped");
        commands::answered(&ctx.db, &command.id, ctx.clock.now()).await?;
    }
    Ok(lost.len())
}
