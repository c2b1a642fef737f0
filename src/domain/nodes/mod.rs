//! Machines: who they are, who may see and change them, and what is said to one that has just been linked.
//!
//! `join` lets them in and turns them away, `reports` takes in what they say.

mod cache;
mod join;
mod reports;

use std::sync::Arc;

use super::servers::Emptying;
use super::{Actor, Change, Ctx, Refusal};
use crate::model::ids::{CommandId, NodeId, PanelId};
use crate::model::nodes::Node;
use crate::model::servers::{Pending, Server};
use crate::model::time::Millis;
use crate::model::users::Right;
use crate::store::{Db, StoreError, commands, nodes, panel, servers};
use crate::wire::agent::{Command, ToNode, VERSION};

pub use cache::{may_drive, purge, set_dev_mode};
pub use join::{
    Denied, Invitation, Invited, TOKEN_LIVES, admit, invite, join, note_authority, open_tokens, remove, renew, revoke, revoke_token,
    stands, sweep, token,
};
pub use reports::{Heard, receive, receive_linked};
pub(super) use reports::{LastBeat, LastReport};

/// Nodes of one list.
const NODES_MAX: u64 = 10_000;
/// Rows of one look.
const BATCH: u64 = 500;

/// This panel's id, made at the first start.
pub(in crate::domain) async fn panel_id(db: &Db) -> Result<PanelId, StoreError> {
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

/// How far the emptying of a node is; none: it is not being emptied.
pub async fn emptying(ctx: &Ctx, node: &Node, here: &[Server]) -> Result<Option<Emptying>, Refusal> {
    super::servers::emptying(ctx, node, here).await
}

/// Says whether a node takes no new servers. Those that live there go elsewhere, each when it next rests.
pub async fn drain(ctx: &Ctx, actor: &Actor, id: &NodeId, on: bool) -> Result<Node, Refusal> {
    may_drive(ctx, actor, id).await?;
    nodes::set_draining(&ctx.db, id, on).await?;
    ctx.nodes.forget(&());
    ctx.backups_nudge.notify_one();
    ctx.tell(Change::Node);
    tracing::info!(node = %id, by = actor.user.email, draining = on, "who takes new servers was changed");
    nodes::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)
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
    // What has left it for another node stays until it has arrived there.
    let leaving = servers::pending(&ctx.db, "", BATCH).await?.into_iter();
    all.extend(
        leaving.filter(|server| matches!(&server.pending, Some(Pending::Arriving { from, .. }) if from == node)).map(|server| server.id),
    );
    // Nor is what it still has to be told about unknown: a server whose row has gone is removed by its command, not moved aside before it.
    let now = ctx.clock.now();
    let waiting = commands::unanswered(&ctx.db, Some(node), Millis(i64::MAX), BATCH).await?.into_iter();
    let waiting: Vec<(CommandId, Command)> =
        waiting.filter_map(|stored| Some((stored.id, serde_json::from_str(&stored.body).ok()?))).collect();
    all.extend(waiting.iter().map(|(_, command)| command.server.clone()));
    all.sort();
    all.dedup();
    let welcome = ToNode::Welcome { version: VERSION, panel: ctx.panel.clone(), servers: all };
    if ctx.engine.deliver(node, welcome).is_err() {
        return Ok(());
    }
    if let Some(node) = nodes::by_id(&ctx.db, node).await?.filter(|node| node.dev_mode) {
        let _later = ctx.engine.deliver(&node.id, ToNode::SetDevMode { on: true });
    }
    for (id, command) in waiting {
        if ctx.engine.deliver(node, ToNode::Command(command)).is_ok() {
            commands::sent(&ctx.db, &id, now).await?;
        }
    }
    Ok(())
}
