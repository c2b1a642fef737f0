//! Answers that were given to requests with an `Idempotency-Key`, so that the same request gets the same answer.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::UserId;
use crate::model::time::Millis;

#[derive(Iden)]
enum Idempotency {
    Table,
    UserId,
    Key,
    Request,
    Status,
    Answer,
    CreatedAt,
}

use Idempotency as I;

/// What is known under a key.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Kept {
    /// Hash of the request that came with it first.
    pub request: String,
    /// HTTP status of the answer; none while it is being worked on.
    pub status: Option<i64>,
    /// Body of the answer.
    pub answer: Option<String>,
    /// When it came first, in milliseconds since 1970.
    pub created_at: i64,
}

/// Claims a key; true when it was free.
pub async fn claim(db: &Db, user: &UserId, key: &str, request: &str, now: Millis) -> Result<bool, StoreError> {
    let insert = Query::insert()
        .into_table(I::Table)
        .columns([I::UserId, I::Key, I::Request, I::CreatedAt])
        .values_panic([user.as_str().into(), key.into(), request.into(), now.0.into()])
        .on_conflict(OnConflict::columns([I::UserId, I::Key]).do_nothing().to_owned())
        .to_owned();
    Ok(db.run(&insert).await? == 1)
}

/// What is known under a key.
pub async fn get(db: &Db, user: &UserId, key: &str) -> Result<Option<Kept>, StoreError> {
    let select = Query::select()
        .columns([I::Request, I::Status, I::Answer, I::CreatedAt])
        .from(I::Table)
        .and_where(Expr::col(I::UserId).eq(user.as_str()))
        .and_where(Expr::col(I::Key).eq(key))
        .to_owned();
    db.opt(&select).await
}

/// Keeps the answer.
pub async fn keep(db: &Db, user: &UserId, key: &str, status: u16, answer: &str) -> Result<(), StoreError> {
    let update = Query::update()
        .table(I::Table)
        .value(I::Status, i64::from(status))
        .value(I::Answer, answer)
        .and_where(Expr::col(I::UserId).eq(user.as_str()))
        .and_where(Expr::col(I::Key).eq(key))
        .to_owned();
    db.run(&update).await.map(drop)
}

/// Frees a key whose request failed before it changed anything.
pub async fn free(db: &Db, user: &UserId, key: &str) -> Result<(), StoreError> {
    let delete = Query::delete()
        .from_table(I::Table)
        .and_where(Expr::col(I::UserId).eq(user.as_str()))
        .and_where(Expr::col(I::Key).eq(key))
        .to_owned();
    db.run(&delete).await.map(drop)
}

/// Forgets keys from before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(I::Table).and_where(Expr::col(I::CreatedAt).lt(before.0)).to_owned();
    db.run(&delete).await
}
