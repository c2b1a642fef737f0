//! The secret that somebody's app makes codes of, sealed, and the last step whose code was used.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::UserId;
use crate::model::time::Millis;

#[derive(Iden)]
enum Totp {
    Table,
    UserId,
    Sealed,
    CreatedAt,
    ConfirmedAt,
    LastStep,
}

use Totp as T;

/// What is kept of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its secret, sealed.
    pub sealed: String,
    /// When it was made.
    pub created_at: Millis,
    /// When its first code was right; none: it is being set up, and does not count.
    pub confirmed_at: Option<Millis>,
}

#[derive(FromRow)]
struct AppRow {
    sealed: String,
    created_at: i64,
    confirmed_at: Option<i64>,
}

/// Keeps the secret of an app that is being set up, over an older one that never was.
pub async fn begin(db: &Db, user: &UserId, sealed: &str, now: Millis) -> Result<bool, StoreError> {
    let kept = OnConflict::column(T::UserId)
        .update_columns([T::Sealed, T::CreatedAt])
        .action_and_where(Expr::col((T::Table, T::ConfirmedAt)).is_null())
        .to_owned();
    let insert = Query::insert()
        .into_table(T::Table)
        .columns([T::UserId, T::Sealed, T::CreatedAt, T::LastStep])
        .values_panic([user.as_str().into(), sealed.into(), now.0.into(), 0_i64.into()])
        .on_conflict(kept)
        .to_owned();
    Ok(db.run(&insert).await? == 1)
}

/// Somebody's app.
pub async fn of_user(db: &Db, user: &UserId) -> Result<Option<App>, StoreError> {
    let select = Query::select()
        .columns([T::Sealed, T::CreatedAt, T::ConfirmedAt])
        .from(T::Table)
        .and_where(Expr::col(T::UserId).eq(user.as_str()))
        .to_owned();
    let row = db.opt::<AppRow>(&select).await?;
    Ok(row.map(|row| App { sealed: row.sealed, created_at: Millis(row.created_at), confirmed_at: row.confirmed_at.map(Millis) }))
}

/// Uses the code of a step; false when that step or a later one was used before.
pub async fn take_step(db: &Db, user: &UserId, step: i64) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(T::Table)
        .value(T::LastStep, step)
        .and_where(Expr::col(T::UserId).eq(user.as_str()))
        .and_where(Expr::col(T::LastStep).lt(step))
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// From now on it counts; false where it did already, or another one is being set up by now.
pub async fn confirm(db: &Db, user: &UserId, sealed: &str, now: Millis) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(T::Table)
        .value(T::ConfirmedAt, now.0)
        .and_where(Expr::col(T::UserId).eq(user.as_str()))
        .and_where(Expr::col(T::Sealed).eq(sealed))
        .and_where(Expr::col(T::ConfirmedAt).is_null())
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// Takes it away; false when there was none.
pub async fn delete(db: &Db, user: &UserId) -> Result<bool, StoreError> {
    let delete = Query::delete().from_table(T::Table).and_where(Expr::col(T::UserId).eq(user.as_str())).to_owned();
    Ok(db.run(&delete).await? == 1)
}
