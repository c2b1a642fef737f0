//! The history of servers: who or what changed what, when and why. It stays when the server goes.

use sea_query::{Expr, ExprTrait, Iden, Order, Query};
use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::ids::{ServerId, UserId};
use crate::model::time::Millis;

#[derive(Iden)]
enum ServerEvents {
    Table,
    Id,
    Server,
    Owner,
    At,
    Who,
    What,
    Why,
}

/// One entry of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Sorts by time.
    pub id: String,
    /// When.
    pub at: Millis,
    /// Who or what: an address of an account, `a player at 192.0.2.7`, `auto-sleep`, `billing`, `node local`.
    pub who: String,
    /// What changed: `wanted running`, `phase sleeping`.
    pub what: String,
    /// Why, one sentence; may be empty.
    pub why: String,
}

#[derive(FromRow)]
struct EventRow {
    id: String,
    at: i64,
    who: String,
    what: String,
    why: String,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Event {
        Event { id: row.id, at: Millis(row.at), who: row.who, what: row.what, why: row.why }
    }
}

/// Adds an entry.
pub async fn insert(db: &Db, server: &ServerId, owner: &UserId, event: &Event) -> Result<(), StoreError> {
    use ServerEvents as E;
    let insert = Query::insert()
        .into_table(E::Table)
        .columns([E::Id, E::Server, E::Owner, E::At, E::Who, E::What, E::Why])
        .values_panic([
            event.id.as_str().into(),
            server.as_str().into(),
            owner.as_str().into(),
            event.at.0.into(),
            event.who.as_str().into(),
            event.what.as_str().into(),
            event.why.as_str().into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// A server's history, newest first, before the entry `before`.
pub async fn of_server(db: &Db, server: &ServerId, before: Option<&str>, limit: u64) -> Result<Vec<Event>, StoreError> {
    use ServerEvents as E;
    let mut select = Query::select()
        .columns([E::Id, E::At, E::Who, E::What, E::Why])
        .from(E::Table)
        .and_where(Expr::col(E::Server).eq(server.as_str()))
        .order_by(E::Id, Order::Desc)
        .limit(limit)
        .to_owned();
    if let Some(before) = before {
        select.and_where(Expr::col(E::Id).lt(before));
    }
    Ok(db.all::<EventRow>(&select).await?.into_iter().map(Into::into).collect())
}

#[derive(FromRow)]
struct FoundRow {
    found: i64,
}

/// Does the history end with the server's removal?
pub async fn tells_of_removal(db: &Db, server: &ServerId) -> Result<bool, StoreError> {
    const REMOVED: &str = "SELECT CAST(COUNT(*) AS BIGINT) AS found FROM server_events WHERE server = $1 AND what = 'phase destroyed'";
    let row: Option<FoundRow> = db.opt(Sql::Text(REMOVED, vec![server.as_str().into()])).await?;
    Ok(row.is_some_and(|row| row.found > 0))
}
