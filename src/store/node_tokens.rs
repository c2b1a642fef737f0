//! Tokens by which machines join: only their hashes are here, and each is used once.

use sea_query::{Expr, ExprTrait, Iden, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::{NodeId, NodeTokenId};
use crate::model::nodes::NodeToken;
use crate::model::time::Millis;

#[derive(Iden)]
enum NodeTokens {
    Table,
    Id,
    Node,
    Hash,
    MadeBy,
    CreatedAt,
    ExpiresAt,
    UsedAt,
    UsedKey,
}

use NodeTokens as T;

#[derive(FromRow)]
struct TokenRow {
    id: String,
    node: String,
    made_by: String,
    created_at: i64,
    expires_at: i64,
    used_at: Option<i64>,
}

impl TryFrom<TokenRow> for NodeToken {
    type Error = StoreError;
    fn try_from(row: TokenRow) -> Result<NodeToken, StoreError> {
        Ok(NodeToken {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("node_tokens.id"))?,
            node: row.node.parse().map_err(|_| StoreError::Unreadable("node_tokens.node"))?,
            made_by: row.made_by,
            created_at: Millis(row.created_at),
            expires_at: Millis(row.expires_at),
            used_at: row.used_at.map(Millis),
        })
    }
}

fn select() -> sea_query::SelectStatement {
    Query::select().columns([T::Id, T::Node, T::MadeBy, T::CreatedAt, T::ExpiresAt, T::UsedAt]).from(T::Table).to_owned()
}

/// Keeps a new token by its hash.
pub async fn insert(db: &Db, token: &NodeToken, hash: &str) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(T::Table)
        .columns([T::Id, T::Node, T::Hash, T::MadeBy, T::CreatedAt, T::ExpiresAt])
        .values_panic([
            token.id.as_str().into(),
            token.node.as_str().into(),
            hash.into(),
            token.made_by.as_str().into(),
            token.created_at.0.into(),
            token.expires_at.0.into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// The token of this hash, whether it still works or not.
pub async fn by_hash(db: &Db, hash: &str) -> Result<Option<NodeToken>, StoreError> {
    let select = select().and_where(Expr::col(T::Hash).eq(hash)).to_owned();
    db.opt::<TokenRow>(&select).await?.map(TryInto::try_into).transpose()
}

/// Uses a living token, for the machine with this key. The same machine may ask again, because an answer can get lost; nobody else.
pub async fn take(db: &Db, id: &NodeTokenId, key: &str, now: Millis) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(T::Table)
        .value(T::UsedAt, now.0)
        .value(T::UsedKey, key)
        .and_where(Expr::col(T::Id).eq(id.as_str()))
        .and_where(Expr::col(T::ExpiresAt).gt(now.0))
        .and_where(Expr::col(T::UsedAt).is_null().or(Expr::col(T::UsedKey).eq(key)))
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// Tokens that nobody has used and that still work, newest first.
pub async fn open(db: &Db, now: Millis, limit: u64) -> Result<Vec<NodeToken>, StoreError> {
    let select = select()
        .and_where(Expr::col(T::UsedAt).is_null())
        .and_where(Expr::col(T::ExpiresAt).gt(now.0))
        .order_by(T::CreatedAt, Order::Desc)
        .order_by(T::Id, Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<TokenRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Takes a token back that nobody has used; gives its node.
pub async fn revoke(db: &Db, id: &NodeTokenId) -> Result<Option<NodeId>, StoreError> {
    let token = db.opt::<TokenRow>(&select().and_where(Expr::col(T::Id).eq(id.as_str())).to_owned()).await?;
    let Some(token) = token.map(NodeToken::try_from).transpose()? else { return Ok(None) };
    let delete = Query::delete()
        .from_table(T::Table)
        .and_where(Expr::col(T::Id).eq(id.as_str()))
        .and_where(Expr::col(T::UsedAt).is_null())
        .to_owned();
    Ok((db.run(&delete).await? == 1).then_some(token.node))
}

/// Takes all tokens of a node back, used or not.
pub async fn revoke_all(db: &Db, node: &NodeId) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(T::Table).and_where(Expr::col(T::Node).eq(node.as_str())).to_owned();
    db.run(&delete).await
}

/// Forgets those that ended before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(T::Table).and_where(Expr::col(T::ExpiresAt).lt(before.0)).to_owned();
    db.run(&delete).await
}
