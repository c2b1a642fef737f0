//! Browser sessions, as opaque text; what is in them is `http`'s affair.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::time::Millis;

#[derive(Iden)]
enum Sessions {
    Table,
    Id,
    Data,
    ExpiresAt,
}

#[derive(FromRow)]
struct SessionRow {
    data: String,
    expires_at: i64,
}

/// Keeps a session, over an older state of it.
pub async fn save(db: &Db, id: &str, data: &str, expires_at: Millis) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(Sessions::Table)
        .columns([Sessions::Id, Sessions::Data, Sessions::ExpiresAt])
        .values_panic([id.into(), data.into(), expires_at.0.into()])
        .on_conflict(OnConflict::column(Sessions::Id).update_columns([Sessions::Data, Sessions::ExpiresAt]).to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Makes a session; [`StoreError::Exists`] when the id is taken.
pub async fn insert(db: &Db, id: &str, data: &str, expires_at: Millis) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(Sessions::Table)
        .columns([Sessions::Id, Sessions::Data, Sessions::ExpiresAt])
        .values_panic([id.into(), data.into(), expires_at.0.into()])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Moves the end of a session on.
pub async fn move_on(db: &Db, id: &str, expires_at: Millis) -> Result<(), StoreError> {
    let update = Query::update()
        .table(Sessions::Table)
        .value(Sessions::ExpiresAt, expires_at.0)
        .and_where(Expr::col(Sessions::Id).eq(id))
        .to_owned();
    db.run(&update).await.map(drop)
}

/// A session that has not expired: its data and when it will.
pub async fn load(db: &Db, id: &str, now: Millis) -> Result<Option<(String, Millis)>, StoreError> {
    let select = Query::select()
        .columns([Sessions::Data, Sessions::ExpiresAt])
        .from(Sessions::Table)
        .and_where(Expr::col(Sessions::Id).eq(id))
        .and_where(Expr::col(Sessions::ExpiresAt).gt(now.0))
        .to_owned();
    Ok(db.opt::<SessionRow>(&select).await?.map(|row| (row.data, Millis(row.expires_at))))
}

/// Ends a session.
pub async fn delete(db: &Db, id: &str) -> Result<(), StoreError> {
    let delete = Query::delete().from_table(Sessions::Table).and_where(Expr::col(Sessions::Id).eq(id)).to_owned();
    db.run(&delete).await.map(drop)
}

/// Removes those that have expired; gives their number.
pub async fn sweep(db: &Db, now: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(Sessions::Table).and_where(Expr::col(Sessions::ExpiresAt).lte(now.0)).to_owned();
    db.run(&delete).await
}
