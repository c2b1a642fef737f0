//! Restores of servers' data: tries, swaps and the ways back, each carried by one command.

use sea_query::{Expr, ExprTrait, Iden, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::backups::{Restore, RestoreKind, RestoreState};
use crate::model::ids::{BackupId, CommandId, ServerId};
use crate::model::time::Millis;

#[derive(Iden, Clone, Copy)]
enum Restores {
    Table,
    Command,
    Server,
    Backup,
    Kind,
    MadeBy,
    State,
    Message,
    CreatedAt,
    EndedAt,
}

use Restores as R;

const COLUMNS: [Restores; 9] = [R::Command, R::Server, R::Backup, R::Kind, R::MadeBy, R::State, R::Message, R::CreatedAt, R::EndedAt];

#[derive(FromRow)]
struct RestoreRow {
    command: String,
    server: String,
    backup: Option<String>,
    kind: String,
    made_by: String,
    state: String,
    message: String,
    created_at: i64,
    ended_at: Option<i64>,
}

impl TryFrom<RestoreRow> for Restore {
    type Error = StoreError;
    fn try_from(row: RestoreRow) -> Result<Restore, StoreError> {
        Ok(Restore {
            command: row.command.parse().map_err(|_| StoreError::Unreadable("restores.command"))?,
            server: row.server.parse().map_err(|_| StoreError::Unreadable("restores.server"))?,
            backup: row.backup.map(|id| id.parse()).transpose().map_err(|_| StoreError::Unreadable("restores.backup"))?,
            kind: RestoreKind::parse(&row.kind).ok_or(StoreError::Unreadable("restores.kind"))?,
            by: row.made_by,
            state: RestoreState::parse(&row.state).ok_or(StoreError::Unreadable("restores.state"))?,
            message: row.message,
            created_at: Millis(row.created_at),
            ended_at: row.ended_at.map(Millis),
        })
    }
}

fn select() -> SelectStatement {
    Query::select().columns(COLUMNS).from(R::Table).to_owned()
}

/// Makes a row.
pub async fn insert(db: &Db, restore: &Restore) -> Result<(), StoreError> {
    let values = [
        restore.command.as_str().into(),
        restore.server.as_str().into(),
        restore.backup.as_ref().map(BackupId::as_str).into(),
        restore.kind.as_str().into(),
        restore.by.as_str().into(),
        restore.state.as_str().into(),
        restore.message.as_str().into(),
        restore.created_at.0.into(),
        restore.ended_at.map(|at| at.0).into(),
    ];
    db.run(&Query::insert().into_table(R::Table).columns(COLUMNS).values_panic(values).to_owned()).await.map(drop)
}

/// Notes how far one is that has not ended; false: it has.
pub async fn note(db: &Db, command: &CommandId, state: RestoreState, message: &str, ended_at: Option<Millis>) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(R::Table)
        .value(R::State, state.as_str())
        .value(R::Message, message)
        .value(R::EndedAt, ended_at.map(|at| at.0))
        .and_where(Expr::col(R::Command).eq(command.as_str()))
        .and_where(Expr::col(R::State).eq(RestoreState::Running.as_str()))
        .to_owned();
    Ok(db.run(&update).await? > 0)
}

/// The one that a command carries.
pub async fn by_command(db: &Db, command: &CommandId) -> Result<Option<Restore>, StoreError> {
    let select = select().and_where(Expr::col(R::Command).eq(command.as_str())).to_owned();
    db.all::<RestoreRow>(&select).await?.into_iter().next().map(TryInto::try_into).transpose()
}

/// Those of a server, newest first.
pub async fn of_server(db: &Db, server: &ServerId, limit: u64) -> Result<Vec<Restore>, StoreError> {
    let mut select = select();
    select.and_where(Expr::col(R::Server).eq(server.as_str()));
    select.order_by(R::CreatedAt, Order::Desc).order_by(R::Command, Order::Desc).limit(limit);
    db.all::<RestoreRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Is one of this server under way?
pub async fn running(db: &Db, server: &ServerId) -> Result<bool, StoreError> {
    Ok(of_server(db, server, 1).await?.iter().any(|restore| restore.state == RestoreState::Running))
}

/// Gives those up that began before a moment and have not ended; gives their number. Their commands are not sent again.
pub async fn give_up(db: &Db, before: Millis, why: &str, now: Millis) -> Result<u64, StoreError> {
    let mut select = select();
    select.and_where(Expr::col(R::State).eq(RestoreState::Running.as_str())).and_where(Expr::col(R::CreatedAt).lt(before.0)).limit(100);
    let rows = db.all::<RestoreRow>(&select).await?;
    let mut given_up = 0;
    for row in rows {
        let restore: Restore = row.try_into()?;
        super::commands::answered(db, &restore.command, now).await?;
        given_up += u64::from(note(db, &restore.command, RestoreState::Failed, why, Some(now)).await?);
    }
    Ok(given_up)
}
