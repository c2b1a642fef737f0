//! API tokens: only their hashes are here.

use sea_query::{Expr, ExprTrait, Iden, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::{TokenId, UserId};
use crate::model::time::Millis;
use crate::model::tokens::Scopes;

#[derive(Iden)]
enum ApiTokens {
    Table,
    Id,
    UserId,
    Name,
    Hash,
    CreatedAt,
    ExpiresAt,
    LastUsedAt,
    Scopes,
}

/// A token as its owner may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id, to revoke it by.
    pub id: TokenId,
    /// Whose.
    pub user: UserId,
    /// What its owner called it.
    pub name: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it ends.
    pub expires_at: Millis,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Millis>,
    /// What it may do.
    pub scopes: Scopes,
}

#[derive(FromRow)]
struct TokenRow {
    id: String,
    user_id: String,
    name: String,
    created_at: i64,
    expires_at: i64,
    last_used_at: Option<i64>,
    scopes: String,
}

impl TryFrom<TokenRow> for Token {
    type Error = StoreError;
    fn try_from(row: TokenRow) -> Result<Token, StoreError> {
        Ok(Token {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("api_tokens.id"))?,
            user: row.user_id.parse().map_err(|_| StoreError::Unreadable("api_tokens.user_id"))?,
            name: row.name,
            created_at: Millis(row.created_at),
            expires_at: Millis(row.expires_at),
            last_used_at: row.last_used_at.map(Millis),
            scopes: Scopes::parse(&row.scopes).ok_or(StoreError::Unreadable("api_tokens.scopes"))?,
        })
    }
}

fn select() -> sea_query::SelectStatement {
    use ApiTokens as T;
    Query::select().columns([T::Id, T::UserId, T::Name, T::CreatedAt, T::ExpiresAt, T::LastUsedAt, T::Scopes]).from(T::Table).to_owned()
}

/// Keeps a new token by its hash.
pub async fn insert(db: &Db, token: &Token, hash: &str) -> Result<(), StoreError> {
    use ApiTokens as T;
    let insert = Query::insert()
        .into_table(T::Table)
        .columns([T::Id, T::UserId, T::Name, T::Hash, T::CreatedAt, T::ExpiresAt, T::Scopes])
        .values_panic([
            token.id.as_str().into(),
            token.user.as_str().into(),
            token.name.as_str().into(),
            hash.into(),
            token.created_at.0.into(),
            token.expires_at.0.into(),
            token.scopes.to_string().into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// The living token of this hash.
pub async fn by_hash(db: &Db, hash: &str, now: Millis) -> Result<Option<Token>, StoreError> {
    let select = select().and_where(Expr::col(ApiTokens::Hash).eq(hash)).and_where(Expr::col(ApiTokens::ExpiresAt).gt(now.0)).to_owned();
    db.opt::<TokenRow>(&select).await?.map(TryInto::try_into).transpose()
}

/// Somebody's tokens, newest first.
pub async fn of_user(db: &Db, user: &UserId, limit: u64) -> Result<Vec<Token>, StoreError> {
    let select = select()
        .and_where(Expr::col(ApiTokens::UserId).eq(user.as_str()))
        .order_by(ApiTokens::CreatedAt, Order::Desc)
        .order_by(ApiTokens::Id, Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<TokenRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Notes that it was used.
pub async fn touch(db: &Db, id: &TokenId, now: Millis) -> Result<(), StoreError> {
    let update = Query::update()
        .table(ApiTokens::Table)
        .value(ApiTokens::LastUsedAt, now.0)
        .and_where(Expr::col(ApiTokens::Id).eq(id.as_str()))
        .to_owned();
    db.run(&update).await.map(drop)
}

/// Ends one of somebody's tokens; false when there is none of this id among them.
pub async fn revoke(db: &Db, user: &UserId, id: &TokenId) -> Result<bool, StoreError> {
    let delete = Query::delete()
        .from_table(ApiTokens::Table)
        .and_where(Expr::col(ApiTokens::Id).eq(id.as_str()))
        .and_where(Expr::col(ApiTokens::UserId).eq(user.as_str()))
        .to_owned();
    Ok(db.run(&delete).await? == 1)
}

/// Ends all tokens of somebody.
pub async fn revoke_all(db: &Db, user: &UserId) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(ApiTokens::Table).and_where(Expr::col(ApiTokens::UserId).eq(user.as_str())).to_owned();
    db.run(&delete).await
}
