//! From a game's start to its first answer or its end, as nodes tell it.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Query};
use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::ids::ServerId;
use crate::model::servers::Run;
use crate::model::time::Millis;

#[derive(Iden)]
enum Starts {
    Table,
    Server,
    FromMs,
    ToMs,
}

use Starts as S;

#[derive(FromRow)]
struct NumberRow {
    number: i64,
}

/// Keeps a start, with its end once that is known. Told twice, it is kept once.
pub async fn keep(db: &Db, server: &ServerId, start: Run) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(S::Table)
        .columns([S::Server, S::FromMs, S::ToMs])
        .values_panic([server.as_str().into(), start.from.0.into(), start.to.map(|to| to.0).into()])
        .on_conflict(OnConflict::columns([S::Server, S::FromMs]).update_column(S::ToMs).to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Has this start been told before?
pub async fn is_known(db: &Db, server: &ServerId, from: Millis) -> Result<bool, StoreError> {
    const KNOWN: &str = "SELECT CAST(COUNT(*) AS BIGINT) AS number FROM starts WHERE server = $1 AND from_ms = $2";
    let row: Option<NumberRow> = db.opt(Sql::Text(KNOWN, vec![server.as_str().into(), from.0.into()])).await?;
    Ok(row.is_some_and(|row| row.number > 0))
}

/// How long all starts together took that began in a time, in milliseconds. Those without an end are not counted.
pub async fn used(db: &Db, server: &ServerId, from: Millis, to: Millis) -> Result<i64, StoreError> {
    const USED: &str = "SELECT CAST(COALESCE(SUM(to_ms - from_ms), 0) AS BIGINT) AS number FROM starts \
        WHERE server = $1 AND from_ms >= $2 AND from_ms < $3 AND to_ms IS NOT NULL";
    let row: Option<NumberRow> = db.opt(Sql::Text(USED, vec![server.as_str().into(), from.0.into(), to.0.into()])).await?;
    Ok(row.map_or(0, |row| row.number))
}

/// Forgets those from before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(S::Table).and_where(Expr::col(S::FromMs).lt(before.0)).to_owned();
    db.run(&delete).await
}
