//! Backups, and objects in the store whose rows are gone. A write names the state that it read, and loses with [`StoreError::Stale`]
//! if somebody was faster.

use sea_query::{Expr, ExprTrait, Iden, Order, Query, SelectStatement, Value};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::backups::{Backup, Reason, State};
use crate::model::ids::{BackupId, CommandId, ServerId};
use crate::model::time::Millis;

#[derive(Iden, Clone, Copy)]
enum Backups {
    Table,
    Id,
    Server,
    Owner,
    Node,
    Reason,
    MadeBy,
    State,
    Command,
    Upload,
    Archived,
    Message,
    Attempts,
    CreatedAt,
    DueAt,
    DoneAt,
    VerifiedAt,
}

use Backups as B;

const COLUMNS: [Backups; 16] = [
    B::Id,
    B::Server,
    B::Owner,
    B::Node,
    B::Reason,
    B::MadeBy,
    B::State,
    B::Command,
    B::Upload,
    B::Archived,
    B::Message,
    B::Attempts,
    B::CreatedAt,
    B::DueAt,
    B::DoneAt,
    B::VerifiedAt,
];

#[derive(Iden)]
enum ObjectTrash {
    Table,
    ObjectKey,
    Upload,
    DueAt,
}

#[derive(FromRow)]
struct BackupRow {
    id: String,
    server: String,
    owner: String,
    node: String,
    reason: String,
    made_by: String,
    state: String,
    command: Option<String>,
    upload: Option<String>,
    archived: Option<String>,
    message: String,
    attempts: i64,
    created_at: i64,
    due_at: i64,
    done_at: Option<i64>,
    verified_at: Option<i64>,
}

impl TryFrom<BackupRow> for Backup {
    type Error = StoreError;
    fn try_from(row: BackupRow) -> Result<Backup, StoreError> {
        let archived = row.archived.map(|text| serde_json::from_str(&text));
        Ok(Backup {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("backups.id"))?,
            server: row.server.parse().map_err(|_| StoreError::Unreadable("backups.server"))?,
            owner: row.owner.parse().map_err(|_| StoreError::Unreadable("backups.owner"))?,
            node: row.node.parse().map_err(|_| StoreError::Unreadable("backups.node"))?,
            reason: Reason::parse(&row.reason).ok_or(StoreError::Unreadable("backups.reason"))?,
            by: row.made_by,
            state: State::parse(&row.state).ok_or(StoreError::Unreadable("backups.state"))?,
            command: row.command.map(|id| id.parse()).transpose().map_err(|_| StoreError::Unreadable("backups.command"))?,
            upload: row.upload,
            archived: archived.transpose().map_err(|_| StoreError::Unreadable("backups.archived"))?,
            message: row.message,
            attempts: u32::try_from(row.attempts).map_err(|_| StoreError::Unreadable("backups.attempts"))?,
            created_at: Millis(row.created_at),
            due_at: Millis(row.due_at),
            done_at: row.done_at.map(Millis),
            verified_at: row.verified_at.map(Millis),
        })
    }
}

/// Every column's value, in the order of [`COLUMNS`].
fn values(backup: &Backup) -> Result<Vec<Value>, StoreError> {
    let archived = backup.archived.as_ref().map(serde_json::to_string);
    Ok(vec![
        backup.id.as_str().into(),
        backup.server.as_str().into(),
        backup.owner.as_str().into(),
        backup.node.as_str().into(),
        backup.reason.as_str().into(),
        backup.by.as_str().into(),
        backup.state.as_str().into(),
        backup.command.as_ref().map(CommandId::as_str).into(),
        backup.upload.as_deref().into(),
        archived.transpose().map_err(|_| StoreError::Unreadable("a value to write"))?.into(),
        backup.message.as_str().into(),
        i64::from(backup.attempts).into(),
        backup.created_at.0.into(),
        backup.due_at.0.into(),
        backup.done_at.map(|at| at.0).into(),
        backup.verified_at.map(|at| at.0).into(),
    ])
}

fn select() -> SelectStatement {
    Query::select().columns(COLUMNS).from(B::Table).to_owned()
}

async fn rows(db: &Db, select: SelectStatement) -> Result<Vec<Backup>, StoreError> {
    db.all::<BackupRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Makes a row.
pub async fn insert(db: &Db, backup: &Backup) -> Result<(), StoreError> {
    let values = values(backup)?.into_iter().map(Expr::val);
    let insert = Query::insert().into_table(B::Table).columns(COLUMNS).values_panic(values).to_owned();
    db.run(&insert).await.map(drop)
}

/// Writes a row that was read in this state and with this command.
pub async fn save(db: &Db, read: &Backup, backup: &Backup) -> Result<(), StoreError> {
    let command = match &read.command {
        Some(command) => Expr::col(B::Command).eq(command.as_str()),
        None => Expr::col(B::Command).is_null(),
    };
    let update = Query::update()
        .table(B::Table)
        .values(COLUMNS.into_iter().zip(values(backup)?.into_iter().map(Expr::val)))
        .and_where(Expr::col(B::Id).eq(backup.id.as_str()))
        .and_where(Expr::col(B::State).eq(read.state.as_str()))
        .and_where(command)
        .to_owned();
    if db.run(&update).await? == 0 { Err(StoreError::Stale) } else { Ok(()) }
}

/// One of them.
pub async fn by_id(db: &Db, id: &BackupId) -> Result<Option<Backup>, StoreError> {
    Ok(rows(db, select().and_where(Expr::col(B::Id).eq(id.as_str())).to_owned()).await?.pop())
}

/// The one that a command carries.
pub async fn by_command(db: &Db, command: &CommandId) -> Result<Option<Backup>, StoreError> {
    Ok(rows(db, select().and_where(Expr::col(B::Command).eq(command.as_str())).to_owned()).await?.pop())
}

/// Those of a server, newest first.
pub async fn of_server(db: &Db, server: &ServerId, limit: u64) -> Result<Vec<Backup>, StoreError> {
    let mut select = select();
    select.and_where(Expr::col(B::Server).eq(server.as_str()));
    select.order_by(B::CreatedAt, Order::Desc).order_by(B::Id, Order::Desc).limit(limit);
    rows(db, select).await
}

/// Those with something to do whose time has come, oldest first.
pub async fn due(db: &Db, now: Millis, limit: u64) -> Result<Vec<Backup>, StoreError> {
    let open = State::ALL.into_iter().filter(|state| state.is_open()).map(State::as_str);
    let mut select = select();
    select.and_where(Expr::col(B::State).is_in(open)).and_where(Expr::col(B::DueAt).lte(now.0));
    select.order_by(B::DueAt, Order::Asc).order_by(B::Id, Order::Asc).limit(limit);
    rows(db, select).await
}

/// Removes a row.
pub async fn delete(db: &Db, id: &BackupId) -> Result<(), StoreError> {
    let delete = Query::delete().from_table(B::Table).and_where(Expr::col(B::Id).eq(id.as_str())).to_owned();
    db.run(&delete).await.map(drop)
}

/// An object that has to go from the store.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Trash {
    /// Its name.
    pub object_key: String,
    /// An upload of it that was never finished.
    pub upload: Option<String>,
}

/// Has an object removed, by and by.
pub async fn throw_away(db: &Db, backup: &Backup, now: Millis) -> Result<(), StoreError> {
    use ObjectTrash as T;
    let gone = Query::delete().from_table(T::Table).and_where(Expr::col(T::ObjectKey).eq(backup.object_key())).to_owned();
    db.run(&gone).await?;
    let insert = Query::insert()
        .into_table(T::Table)
        .columns([T::ObjectKey, T::Upload, T::DueAt])
        .values_panic([backup.object_key().into(), backup.upload.as_deref().into(), now.0.into()])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Objects to remove, the longest waiting first.
pub async fn trash(db: &Db, now: Millis, limit: u64) -> Result<Vec<Trash>, StoreError> {
    use ObjectTrash as T;
    let select = Query::select()
        .columns([T::ObjectKey, T::Upload])
        .from(T::Table)
        .and_where(Expr::col(T::DueAt).lte(now.0))
        .order_by(T::DueAt, Order::Asc)
        .order_by(T::ObjectKey, Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<Trash>(&select).await
}

/// An object is removed; or it could not be, and is tried again later.
pub async fn trash_tried(db: &Db, object_key: &str, again_at: Option<Millis>) -> Result<(), StoreError> {
    use ObjectTrash as T;
    let this = || Expr::col(T::ObjectKey).eq(object_key);
    match again_at {
        None => db.run(&Query::delete().from_table(T::Table).and_where(this()).to_owned()).await.map(drop),
        Some(at) => db.run(&Query::update().table(T::Table).value(T::DueAt, at.0).and_where(this()).to_owned()).await.map(drop),
    }
}
