//! Running spans, and the charges made of them.
//!
//! A span opens at the game's first answer and closes at its end, both as the node saw them; telling it twice changes
//! nothing. A charge covers at most one hour of one span. Marking, posting, moving the balances and moving the span on
//! are one transaction over a batch of spans, and the key of the entry holds the span and its hour: whatever is killed
//! when, an hour is posted once.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Query};
use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::ids::{NodeId, ServerId, UserId};
use crate::model::money::Credits;
use crate::model::servers::Server;
use crate::model::time::{HOUR, Millis};

#[derive(Iden)]
enum Usage {
    Table,
    Server,
    FromMs,
    Node,
    UserId,
    ServerName,
    PerHour,
    ToMs,
    ChargedTo,
    Settled,
}

use Usage as U;

/// Opens a span; known ones stay as they are.
pub async fn open(db: &Db, server: &Server, from: Millis) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(U::Table)
        .columns([U::Server, U::FromMs, U::Node, U::UserId, U::ServerName, U::PerHour, U::ChargedTo, U::Settled])
        .values_panic([
            server.id.as_str().into(),
            from.0.into(),
            server.node.as_str().into(),
            server.owner.as_str().into(),
            server.name.as_str().into(),
            server.per_hour.0.into(),
            from.0.into(),
            0.into(),
        ])
        .on_conflict(OnConflict::columns([U::Server, U::FromMs]).do_nothing().to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Closes a span at its end, or where it has been charged to if that is later. A closed one stays as it is.
pub async fn close(db: &Db, server: &ServerId, from: Millis, to: Millis) -> Result<(), StoreError> {
    close_where(db, server, Some(from), None, to).await
}

/// Closes every open span of a server but the one that began at `running`: ends that nobody has told.
pub async fn close_others(db: &Db, server: &ServerId, running: Option<Millis>, to: Millis) -> Result<(), StoreError> {
    close_where(db, server, None, running, to).await
}

async fn close_where(db: &Db, server: &ServerId, from: Option<Millis>, but: Option<Millis>, to: Millis) -> Result<(), StoreError> {
    let end = Expr::case(Expr::col(U::ChargedTo).gt(to.0), Expr::col(U::ChargedTo)).finally(Expr::val(to.0));
    let mut update = Query::update()
        .table(U::Table)
        .value(U::ToMs, end)
        .and_where(Expr::col(U::Server).eq(server.as_str()))
        .and_where(Expr::col(U::ToMs).is_null())
        .to_owned();
    if let Some(from) = from {
        update.and_where(Expr::col(U::FromMs).eq(from.0));
    }
    if let Some(but) = but {
        update.and_where(Expr::col(U::FromMs).ne(but.0));
    }
    db.run(&update).await.map(drop)
}

/// Spans of one batch: few enough that other writers wait for less than a second, and enough that commits do not dominate.
pub const BATCH: i64 = 20_000;

/// Posts what has come due in one batch of a node's spans: a full hour of those that it has confirmed to run up to
/// `confirmed_at`, and the rest of those that ended. Gives the number of spans touched; 0 means that all is posted.
pub async fn charge_batch(db: &Db, node: &NodeId, confirmed_at: Millis, now: Millis) -> Result<u64, StoreError> {
    // The end of the piece, and its price: rounded down on the whole span, so that the pieces add up however they are cut.
    macro_rules! piece_to {
        () => {
            "(CASE WHEN to_ms IS NOT NULL AND to_ms <= charged_to + 3600000 THEN to_ms ELSE charged_to + 3600000 END)"
        };
    }
    macro_rules! price {
        () => {
            concat!("((", piece_to!(), " - from_ms) * per_hour / 3600000 - (charged_to - from_ms) * per_hour / 3600000)")
        };
    }
    const _: () = assert!(HOUR == 3_600_000, "the statements below say it in figures");
    const MARK: &str = "UPDATE usage SET settled = 2 WHERE (server, from_ms) IN (SELECT server, from_ms FROM usage \
        WHERE settled = 0 AND node = $1 AND (to_ms IS NOT NULL OR charged_to <= $2) ORDER BY charged_to, server, from_ms LIMIT $3)";
    const POST: &str = concat!(
        "INSERT INTO transactions (key, user_id, at, amount, kind, server, server_name, from_ms, to_ms, note) \
         SELECT 'charge:' || server || ':' || charged_to, user_id, $1, -",
        price!(),
        ", 'charge', server, server_name, charged_to, ",
        piece_to!(),
        ", '' FROM usage WHERE settled = 2 AND ",
        piece_to!(),
        " > charged_to"
    );
    const BALANCE: &str = concat!(
        "UPDATE users SET balance = balance - (SELECT CAST(SUM(",
        price!(),
        ") AS BIGINT) FROM usage WHERE usage.user_id = users.id AND usage.settled = 2) \
         WHERE id IN (SELECT user_id FROM usage WHERE settled = 2)"
    );
    const MOVE: &str = concat!(
        "UPDATE usage SET charged_to = ",
        piece_to!(),
        ", settled = CASE WHEN to_ms = ",
        piece_to!(),
        " THEN 1 ELSE 0 END WHERE settled = 2"
    );
    let tx = db.begin().await?;
    let marked = tx.run(Sql::Text(MARK, vec![node.as_str().into(), (confirmed_at.0 - HOUR).into(), BATCH.into()])).await?;
    if marked > 0 {
        tx.run(Sql::Text(POST, vec![now.0.into()])).await?;
        tx.run(Sql::Text(BALANCE, vec![])).await?;
        tx.run(Sql::Text(MOVE, vec![])).await?;
        tx.commit().await?;
    }
    Ok(marked)
}

#[derive(FromRow)]
struct UserRow {
    user_id: String,
}

/// Accounts with a server that runs whose balance does not cover what has run up.
pub async fn overdrawn(db: &Db, now: Millis, limit: i64) -> Result<Vec<UserId>, StoreError> {
    const OVERDRAWN: &str = "SELECT usage.user_id AS user_id FROM usage JOIN users ON users.id = usage.user_id \
        WHERE usage.settled = 0 GROUP BY usage.user_id, users.balance \
        HAVING SUM(CASE WHEN usage.to_ms IS NULL THEN 1 ELSE 0 END) > 0 AND users.balance <= \
        SUM((COALESCE(usage.to_ms, $1) - usage.from_ms) * usage.per_hour / 3600000 \
            - (usage.charged_to - usage.from_ms) * usage.per_hour / 3600000) \
        ORDER BY usage.user_id LIMIT $2";
    let rows: Vec<UserRow> = db.all(Sql::Text(OVERDRAWN, vec![now.0.into(), limit.into()])).await?;
    rows.into_iter().map(|row| row.user_id.parse().map_err(|_| StoreError::Unreadable("usage.user_id"))).collect()
}

#[derive(FromRow)]
struct AccruedRow {
    accrued: i64,
    per_hour: i64,
}

/// What somebody's servers have run up since the last charge, and what they cost an hour right now.
pub async fn accrued(db: &Db, user: &UserId, now: Millis) -> Result<(Credits, Credits), StoreError> {
    const ACCRUED: &str = "SELECT CAST(COALESCE(SUM((COALESCE(to_ms, $1) - from_ms) * per_hour / 3600000 \
            - (charged_to - from_ms) * per_hour / 3600000), 0) AS BIGINT) AS accrued, \
        CAST(COALESCE(SUM(CASE WHEN to_ms IS NULL THEN per_hour ELSE 0 END), 0) AS BIGINT) AS per_hour \
        FROM usage WHERE user_id = $2 AND settled = 0";
    let row: Option<AccruedRow> = db.opt(Sql::Text(ACCRUED, vec![now.0.into(), user.as_str().into()])).await?;
    Ok(row.map_or((Credits::ZERO, Credits::ZERO), |row| (Credits(row.accrued), Credits(row.per_hour))))
}
