//! Measurements of running games, for the charts of the last hour.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::idleness::Sample;
use crate::model::ids::ServerId;
use crate::model::time::Millis;

#[derive(Iden)]
enum Samples {
    Table,
    Server,
    At,
    CpuMillis,
    MemoryMib,
    Players,
}

#[derive(FromRow)]
struct SampleRow {
    at: i64,
    cpu_millis: Option<i64>,
    memory_mib: Option<i64>,
    players: Option<i64>,
}

impl From<SampleRow> for Sample {
    fn from(row: SampleRow) -> Sample {
        let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
        Sample { at: Millis(row.at), cpu_millis: number(row.cpu_millis), memory_mib: number(row.memory_mib), players: number(row.players) }
    }
}

/// Keeps measurements; one of the same moment is kept once. At most [`BATCH_MAX`] at a time.
pub async fn insert(db: &Db, samples: impl Iterator<Item = (&ServerId, &Sample)>) -> Result<(), StoreError> {
    use Samples as S;
    for batch in samples.collect::<Vec<_>>().chunks(BATCH_MAX) {
        let mut insert =
            Query::insert().into_table(S::Table).columns([S::Server, S::At, S::CpuMillis, S::MemoryMib, S::Players]).to_owned();
        for (server, sample) in batch {
            insert.values_panic([
                server.as_str().into(),
                sample.at.0.into(),
                sample.cpu_millis.map(i64::from).into(),
                sample.memory_mib.map(i64::from).into(),
                sample.players.map(i64::from).into(),
            ]);
        }
        insert.on_conflict(OnConflict::columns([S::Server, S::At]).do_nothing().to_owned());
        db.run(&insert).await?;
    }
    Ok(())
}

/// Rows of one statement.
pub const BATCH_MAX: usize = 500;

/// A server's measurements since a moment, oldest first.
pub async fn since(db: &Db, server: &ServerId, from: Millis, limit: u64) -> Result<Vec<Sample>, StoreError> {
    use Samples as S;
    let select = Query::select()
        .columns([S::At, S::CpuMillis, S::MemoryMib, S::Players])
        .from(S::Table)
        .and_where(Expr::col(S::Server).eq(server.as_str()))
        .and_where(Expr::col(S::At).gte(from.0))
        .order_by(S::At, Order::Asc)
        .limit(limit)
        .to_owned();
    Ok(db.all::<SampleRow>(&select).await?.into_iter().map(Into::into).collect())
}

/// Forgets those before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(Samples::Table).and_where(Expr::col(Samples::At).lt(before.0)).to_owned();
    db.run(&delete).await
}
