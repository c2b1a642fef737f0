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
struct StartRow {
    from_ms: i64,
    to_ms: Option<i64>,
}

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

/// Those of some starts that have been told before.
pub async fn kept(db: &Db, server: &ServerId, begins: impl Iterator<Item = Millis>) -> Result<Vec<Run>, StoreError> {
    let select = Query::select()
        .columns([S::FromMs, S::ToMs])
        .from(S::Table)
        .and_where(Expr::col(S::Server).eq(server.as_str()))
        .and_where(Expr::col(S::FromMs).is_in(begins.map(|from| from.0)))
        .to_owned();
    let rows: Vec<StartRow> = db.all(&select).await?;
    Ok(rows.into_iter().map(|row| Run { from: Millis(row.from_ms), to: row.to_ms.map(Millis) }).collect())
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
