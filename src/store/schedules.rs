//! When backups of servers are made by themselves: at most one schedule for each server.

use sea_query::{Expr, ExprTrait, Iden, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::backups::Schedule;
use crate::model::ids::ServerId;
use crate::model::time::Millis;

#[derive(Iden, Clone, Copy)]
enum Schedules {
    Table,
    Server,
    Cron,
    Zone,
    Keep,
    NextAt,
    ChangedAt,
}

use Schedules as S;

const COLUMNS: [Schedules; 6] = [S::Server, S::Cron, S::Zone, S::Keep, S::NextAt, S::ChangedAt];

#[derive(FromRow)]
struct ScheduleRow {
    server: String,
    cron: String,
    zone: String,
    keep: i64,
    next_at: i64,
    changed_at: i64,
}

impl TryFrom<ScheduleRow> for Schedule {
    type Error = StoreError;
    fn try_from(row: ScheduleRow) -> Result<Schedule, StoreError> {
        Ok(Schedule {
            server: row.server.parse().map_err(|_| StoreError::Unreadable("schedules.server"))?,
            cron: row.cron,
            zone: row.zone,
            keep: u32::try_from(row.keep).map_err(|_| StoreError::Unreadable("schedules.keep"))?,
            next_at: Millis(row.next_at),
            changed_at: Millis(row.changed_at),
        })
    }
}

fn select() -> SelectStatement {
    Query::select().columns(COLUMNS).from(S::Table).to_owned()
}

/// That of a server.
pub async fn of_server(db: &Db, server: &ServerId) -> Result<Option<Schedule>, StoreError> {
    let select = select().and_where(Expr::col(S::Server).eq(server.as_str())).to_owned();
    db.all::<ScheduleRow>(&select).await?.into_iter().next().map(TryInto::try_into).transpose()
}

/// Puts one in the place of whatever a server had.
pub async fn put(db: &Db, schedule: &Schedule) -> Result<(), StoreError> {
    remove(db, &schedule.server).await?;
    let values = [
        schedule.server.as_str().into(),
        schedule.cron.as_str().into(),
        schedule.zone.as_str().into(),
        i64::from(schedule.keep).into(),
        schedule.next_at.0.into(),
        schedule.changed_at.0.into(),
    ];
    db.run(&Query::insert().into_table(S::Table).columns(COLUMNS).values_panic(values).to_owned()).await.map(drop)
}

/// Takes it away.
pub async fn remove(db: &Db, server: &ServerId) -> Result<(), StoreError> {
    db.run(&Query::delete().from_table(S::Table).and_where(Expr::col(S::Server).eq(server.as_str())).to_owned()).await.map(drop)
}

/// Those whose time has come, the longest waiting first.
pub async fn due(db: &Db, now: Millis, limit: u64) -> Result<Vec<Schedule>, StoreError> {
    let mut select = select();
    select.and_where(Expr::col(S::NextAt).lte(now.0));
    select.order_by(S::NextAt, Order::Asc).order_by(S::Server, Order::Asc).limit(limit);
    db.all::<ScheduleRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Moves one on to its next time, if nobody else has; false: somebody has.
pub async fn moved_on(db: &Db, schedule: &Schedule, next_at: Millis) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(S::Table)
        .value(S::NextAt, next_at.0)
        .and_where(Expr::col(S::Server).eq(schedule.server.as_str()))
        .and_where(Expr::col(S::NextAt).eq(schedule.next_at.0))
        .to_owned();
    Ok(db.run(&update).await? > 0)
}
