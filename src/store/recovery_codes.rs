//! Codes that let somebody in who has lost their second factor: hashes, each used once.

use sea_query::{Expr, ExprTrait, Func, Iden, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::UserId;
use crate::model::time::Millis;

#[derive(Iden)]
enum RecoveryCodes {
    Table,
    UserId,
    Hash,
    CreatedAt,
    UsedAt,
}

use RecoveryCodes as C;

#[derive(FromRow)]
struct CountRow {
    number: i64,
}

/// Puts new codes in the place of all that somebody has.
pub async fn replace(db: &Db, user: &UserId, hashes: &[String], now: Millis) -> Result<(), StoreError> {
    delete_all(db, user).await?;
    let mut insert = Query::insert().into_table(C::Table).columns([C::UserId, C::Hash, C::CreatedAt]).to_owned();
    for hash in hashes {
        insert.values_panic([user.as_str().into(), hash.as_str().into(), now.0.into()]);
    }
    db.run(&insert).await.map(drop)
}

/// How many are left.
pub async fn left(db: &Db, user: &UserId) -> Result<u64, StoreError> {
    let select = Query::select()
        .expr_as(Func::count(Expr::col(C::Hash)), "number")
        .from(C::Table)
        .and_where(Expr::col(C::UserId).eq(user.as_str()))
        .and_where(Expr::col(C::UsedAt).is_null())
        .to_owned();
    Ok(db.opt::<CountRow>(&select).await?.map_or(0, |row| u64::try_from(row.number).unwrap_or(0)))
}

/// Uses one; false when it is none of theirs, or was used before.
pub async fn take(db: &Db, user: &UserId, hash: &str, now: Millis) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(C::Table)
        .value(C::UsedAt, now.0)
        .and_where(Expr::col(C::UserId).eq(user.as_str()))
        .and_where(Expr::col(C::Hash).eq(hash))
        .and_where(Expr::col(C::UsedAt).is_null())
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// Takes all away.
pub async fn delete_all(db: &Db, user: &UserId) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(C::Table).and_where(Expr::col(C::UserId).eq(user.as_str())).to_owned();
    db.run(&delete).await
}
