//! What servers' files take, and what their owners have been told of it.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::disk::{self, Room};
use crate::model::ids::ServerId;
use crate::model::time::Millis;

#[derive(Iden)]
enum DiskUse {
    Table,
    Server,
    Bytes,
    Files,
    Whole,
    At,
    Told,
}

use DiskUse as D;

#[derive(FromRow)]
struct UseRow {
    bytes: i64,
    files: i64,
    whole: i64,
    at: i64,
    told: String,
}

impl TryFrom<UseRow> for Known {
    type Error = StoreError;
    fn try_from(row: UseRow) -> Result<Known, StoreError> {
        let number = |value: i64| u64::try_from(value).map_err(|_| StoreError::Unreadable("what a server's files take"));
        let used = disk::DiskUse { bytes: number(row.bytes)?, files: number(row.files)?, whole: row.whole != 0, at: Millis(row.at) };
        Ok(Known { used, told: Room::parse(&row.told).ok_or(StoreError::Unreadable("what an owner was told"))? })
    }
}

/// What is known of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// As measured last.
    pub used: disk::DiskUse,
    /// The worst that its owner has been told since there was enough.
    pub told: Room,
}

/// What is known of a server; none: its node has not said.
pub async fn of(db: &Db, server: &ServerId) -> Result<Option<Known>, StoreError> {
    let select = Query::select()
        .columns([D::Bytes, D::Files, D::Whole, D::At, D::Told])
        .from(D::Table)
        .and_where(Expr::col(D::Server).eq(server.as_str()))
        .to_owned();
    db.opt::<UseRow>(&select).await?.map(Known::try_from).transpose()
}

/// Keeps what is known of a server that is there.
pub async fn set(db: &Db, server: &ServerId, known: &Known) -> Result<(), StoreError> {
    let small = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let insert = Query::insert()
        .into_table(D::Table)
        .columns([D::Server, D::Bytes, D::Files, D::Whole, D::At, D::Told])
        .values_panic([
            server.as_str().into(),
            small(known.used.bytes).into(),
            small(known.used.files).into(),
            i64::from(known.used.whole).into(),
            known.used.at.0.into(),
            known.told.as_str().into(),
        ])
        .on_conflict(OnConflict::column(D::Server).update_columns([D::Bytes, D::Files, D::Whole, D::At, D::Told]).to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}
