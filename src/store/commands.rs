//! The outbox to nodes: a command is here before it is sent, and until it is answered.

use sea_query::{Expr, ExprTrait, Iden, Order, Query};
use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::ids::{CommandId, NodeId, ServerId};
use crate::model::time::Millis;

#[derive(Iden)]
enum NodeCommands {
    Table,
    Id,
    Node,
    Server,
    Generation,
    Body,
    CreatedAt,
    SentAt,
    AnsweredAt,
}

use NodeCommands as C;

/// A command as text; what it says is `domain`'s affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub id: CommandId,
    /// To whom.
    pub node: NodeId,
    /// Of the server's row when it was made.
    pub generation: i64,
    /// JSON.
    pub body: String,
}

#[derive(FromRow)]
struct CommandRow {
    id: String,
    node: String,
    generation: i64,
    body: String,
}

impl TryFrom<CommandRow> for Stored {
    type Error = StoreError;
    fn try_from(row: CommandRow) -> Result<Stored, StoreError> {
        Ok(Stored {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("node_commands.id"))?,
            node: row.node.parse().map_err(|_| StoreError::Unreadable("node_commands.node"))?,
            generation: row.generation,
            body: row.body,
        })
    }
}

/// Keeps a command that is a step of a server's life, and drops older steps of it that were not answered: they are not wanted any more.
pub async fn insert(db: &Db, command: &Stored, server: &ServerId, now: Millis) -> Result<(), StoreError> {
    let older = Query::update()
        .table(C::Table)
        .value(C::AnsweredAt, now.0)
        .and_where(Expr::col(C::Server).eq(server.as_str()))
        .and_where(Expr::col(C::Node).eq(command.node.as_str()))
        .and_where(Expr::col(C::Generation).gt(BESIDE))
        .and_where(Expr::col(C::AnsweredAt).is_null())
        .to_owned();
    db.run(&older).await?;
    insert_beside(db, command, server, now).await
}

/// The generation of commands that are no step of a life, such as a backup: they neither outdate one nor are outdated by one.
pub const BESIDE: i64 = -1;

/// Keeps a command beside those that are there.
pub async fn insert_beside(db: &Db, command: &Stored, server: &ServerId, now: Millis) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(C::Table)
        .columns([C::Id, C::Node, C::Server, C::Generation, C::Body, C::CreatedAt])
        .values_panic([
            command.id.as_str().into(),
            command.node.as_str().into(),
            server.as_str().into(),
            command.generation.into(),
            command.body.as_str().into(),
            now.0.into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Notes that it was handed to its node.
pub async fn sent(db: &Db, id: &CommandId, now: Millis) -> Result<(), StoreError> {
    let update = Query::update().table(C::Table).value(C::SentAt, now.0).and_where(Expr::col(C::Id).eq(id.as_str())).to_owned();
    db.run(&update).await.map(drop)
}

/// Notes that it was answered.
pub async fn answered(db: &Db, id: &CommandId, now: Millis) -> Result<(), StoreError> {
    let update = Query::update().table(C::Table).value(C::AnsweredAt, now.0).and_where(Expr::col(C::Id).eq(id.as_str())).to_owned();
    db.run(&update).await.map(drop)
}

/// Ends all that a node has not answered about a server: its row goes.
pub async fn end(db: &Db, server: &ServerId, node: &NodeId, now: Millis) -> Result<(), StoreError> {
    let update = Query::update()
        .table(C::Table)
        .value(C::AnsweredAt, now.0)
        .and_where(Expr::col(C::Server).eq(server.as_str()))
        .and_where(Expr::col(C::Node).eq(node.as_str()))
        .and_where(Expr::col(C::AnsweredAt).is_null())
        .to_owned();
    db.run(&update).await.map(drop)
}

/// Is there something about this server that the node has not answered?
pub async fn waits(db: &Db, server: &ServerId, node: &NodeId) -> Result<bool, StoreError> {
    let select = Query::select()
        .columns([C::Id, C::Node, C::Generation, C::Body])
        .from(C::Table)
        .and_where(Expr::col(C::Server).eq(server.as_str()))
        .and_where(Expr::col(C::Node).eq(node.as_str()))
        .and_where(Expr::col(C::AnsweredAt).is_null())
        .limit(1)
        .to_owned();
    Ok(!db.all::<CommandRow>(&select).await?.is_empty())
}

/// Commands without an answer whose server has no row, but for removals: nobody waits for what they would make. Oldest first.
pub async fn without_row(db: &Db, limit: u64) -> Result<Vec<Stored>, StoreError> {
    const LOST: &str = "SELECT id, node, generation, body FROM node_commands WHERE answered_at IS NULL \
        AND NOT EXISTS (SELECT 1 FROM servers WHERE servers.id = node_commands.server) \
        AND body NOT LIKE '%\"action\":\"destroy_instance\"%' ORDER BY created_at, id LIMIT $1";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    db.all::<CommandRow>(Sql::Text(LOST, vec![limit.into()])).await?.into_iter().map(TryInto::try_into).collect()
}

/// Notes that this node answered it; false: it is none of its commands.
pub async fn answered_by(db: &Db, id: &CommandId, node: &NodeId, now: Millis) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(C::Table)
        .value(C::AnsweredAt, now.0)
        .and_where(Expr::col(C::Id).eq(id.as_str()))
        .and_where(Expr::col(C::Node).eq(node.as_str()))
        .to_owned();
    Ok(db.run(&update).await? > 0)
}

/// Forgets all that a node has been told: it does not exist any more.
pub async fn forget(db: &Db, node: &NodeId) -> Result<u64, StoreError> {
    db.run(&Query::delete().from_table(C::Table).and_where(Expr::col(C::Node).eq(node.as_str())).to_owned()).await
}

/// Commands without an answer that were last sent before a moment, or never; oldest first.
pub async fn unanswered(db: &Db, node: Option<&NodeId>, sent_before: Millis, limit: u64) -> Result<Vec<Stored>, StoreError> {
    let mut select = Query::select()
        .columns([C::Id, C::Node, C::Generation, C::Body])
        .from(C::Table)
        .and_where(Expr::col(C::AnsweredAt).is_null())
        .and_where(Expr::col(C::SentAt).is_null().or(Expr::col(C::SentAt).lt(sent_before.0)))
        .order_by(C::CreatedAt, Order::Asc)
        .order_by(C::Id, Order::Asc)
        .limit(limit)
        .to_owned();
    if let Some(node) = node {
        select.and_where(Expr::col(C::Node).eq(node.as_str()));
    }
    db.all::<CommandRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Forgets those answered before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(C::Table).and_where(Expr::col(C::AnsweredAt).lt(before.0)).to_owned();
    db.run(&delete).await
}
