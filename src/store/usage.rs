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
use crate::model::ledger::STARTING;
use crate::model::money::Credits;
use crate::model::servers::Server;
use crate::model::time::{DAY, HOUR, Millis};

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
    Why,
}

use Usage as U;

/// Why a span costs something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The game answered.
    Ran,
    /// It was starting, for longer than is free.
    Started,
}

impl Why {
    /// As stored, and as the note of its entries.
    fn as_str(self) -> &'static str {
        match self {
            Why::Ran => "",
            Why::Started => STARTING,
        }
    }
}

/// Opens a span; known ones stay as they are.
pub async fn open(db: &Db, server: &Server, from: Millis, why: Why) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(U::Table)
        .columns([U::Server, U::FromMs, U::Node, U::UserId, U::ServerName, U::PerHour, U::ChargedTo, U::Settled, U::Why])
        .values_panic([
            server.id.as_str().into(),
            from.0.into(),
            server.node.as_str().into(),
            server.owner.as_str().into(),
            server.name.as_str().into(),
            server.per_hour.0.into(),
            from.0.into(),
            0.into(),
            why.as_str().into(),
        ])
        .on_conflict(OnConflict::columns([U::Server, U::FromMs]).do_nothing().to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}

#[derive(FromRow)]
struct FoundRow {
    found: i64,
}

/// Has this span been told before?
pub async fn is_known(db: &Db, server: &ServerId, from: Millis) -> Result<bool, StoreError> {
    const KNOWN: &str = "SELECT CAST(COUNT(*) AS BIGINT) AS found FROM usage WHERE server = $1 AND from_ms = $2";
    let row: Option<FoundRow> = db.opt(Sql::Text(KNOWN, vec![server.as_str().into(), from.0.into()])).await?;
    Ok(row.is_some_and(|row| row.found > 0))
}

/// Does a span lie across another one? One without an end goes on for ever.
pub async fn crosses(db: &Db, server: &ServerId, from: Millis, to: Millis) -> Result<bool, StoreError> {
    const CROSSES: &str = "SELECT CAST(COUNT(*) AS BIGINT) AS found FROM usage \
        WHERE server = $1 AND from_ms <> $2 AND from_ms < $3 AND (to_ms IS NULL OR to_ms > $2)";
    let row: Option<FoundRow> = db.opt(Sql::Text(CROSSES, vec![server.as_str().into(), from.0.into(), to.0.into()])).await?;
    Ok(row.is_some_and(|row| row.found > 0))
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

/// The end of the piece that is charged next.
macro_rules! piece_to {
    () => {
        "(CASE WHEN to_ms IS NOT NULL AND to_ms <= charged_to + 3600000 THEN to_ms ELSE charged_to + 3600000 END)"
    };
}

/// What a span costs from its begin to a moment, time that a subscription covers left out. Rounded down on the whole span, so that pieces
/// add up however they are cut, and whenever it became known what is covered.
macro_rules! cost_to {
    ($to:expr) => {
        concat!(
            "((",
            $to,
            " - usage.from_ms - (SELECT CAST(COALESCE(SUM(CASE WHEN covers.to_ms IS NULL OR covers.to_ms > ",
            $to,
            " THEN ",
            $to,
            " ELSE covers.to_ms END - CASE WHEN covers.from_ms > usage.from_ms THEN covers.from_ms ELSE usage.from_ms END), 0) AS BIGINT) \
             FROM covers WHERE covers.server = usage.server AND covers.from_ms < ",
            $to,
            " AND (covers.to_ms IS NULL OR covers.to_ms > usage.from_ms))) * per_hour / 3600000)"
        )
    };
}

/// Posts what has come due in one batch of a node's spans: a full hour of those that it has confirmed to run up to
/// `confirmed_at`, and the rest of those that ended. Gives the number of spans touched; 0 means that all is posted.
pub async fn charge_batch(db: &Db, node: &NodeId, confirmed_at: Millis, now: Millis) -> Result<u64, StoreError> {
    macro_rules! price {
        () => {
            concat!("(", cost_to!("piece"), " - ", cost_to!("charged_to"), ")")
        };
    }
    const _: () = assert!(HOUR == 3_600_000 && DAY == 86_400_000, "the statements below say it in figures");
    // Asked twice: whoever waited here for another panel that did the same sees what that one has done.
    const MARK: &str = concat!(
        "UPDATE usage SET settled = 2, piece = ",
        piece_to!(),
        " WHERE settled = 0 AND (to_ms IS NOT NULL OR charged_to <= $2) AND (server, from_ms) IN (SELECT server, from_ms FROM usage \
        WHERE settled = 0 AND node = $1 AND (to_ms IS NOT NULL OR charged_to <= $2) ORDER BY charged_to, server, from_ms LIMIT $3)"
    );
    const PRICE: &str = concat!("UPDATE usage SET due = ", price!(), " WHERE settled = 2");
    const POST: &str = "INSERT INTO transactions (key, user_id, at, amount, kind, server, server_name, from_ms, to_ms, note) \
        SELECT 'charge:' || server || ':' || charged_to, user_id, $1, -due, 'charge', server, server_name, charged_to, piece, why \
        FROM usage WHERE settled = 2 AND due > 0";
    const DAYS: &str = "INSERT INTO ledger_days (user_id, day, amount) \
        SELECT user_id, $1, CAST(-SUM(due) AS BIGINT) FROM usage WHERE settled = 2 AND due > 0 GROUP BY user_id \
        ON CONFLICT (user_id, day) DO UPDATE SET amount = ledger_days.amount + excluded.amount";
    const BALANCE: &str = "UPDATE users SET balance = balance - (SELECT CAST(SUM(due) AS BIGINT) FROM usage \
        WHERE usage.user_id = users.id AND usage.settled = 2) WHERE id IN (SELECT user_id FROM usage WHERE settled = 2)";
    const MOVE: &str = "UPDATE usage SET charged_to = piece, settled = CASE WHEN to_ms = piece THEN 1 ELSE 0 END WHERE settled = 2";
    let tx = db.begin().await?;
    let marked = tx.run(Sql::Text(MARK, vec![node.as_str().into(), (confirmed_at.0 - HOUR).into(), BATCH.into()])).await?;
    if marked > 0 {
        tx.run(Sql::Text(PRICE, vec![])).await?;
        tx.run(Sql::Text(POST, vec![now.0.into()])).await?;
        tx.run(Sql::Text(DAYS, vec![(now.0 / DAY).into()])).await?;
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

/// What has run up in a span since its last charge, up to `$1` where it still runs.
macro_rules! run_up {
    () => {
        concat!("(", cost_to!("COALESCE(usage.to_ms, $1)"), " - ", cost_to!("usage.charged_to"), ")")
    };
}

/// 1 for a span that costs something now: it runs, and no subscription covers its server.
macro_rules! costs_now {
    () => {
        "(CASE WHEN usage.to_ms IS NULL \
          AND NOT EXISTS (SELECT 1 FROM covers WHERE covers.server = usage.server AND covers.to_ms IS NULL) THEN 1 ELSE 0 END)"
    };
}

/// Accounts with a server that runs on credits whose balance does not cover what has run up.
pub async fn overdrawn(db: &Db, now: Millis, limit: i64) -> Result<Vec<UserId>, StoreError> {
    const OVERDRAWN: &str = concat!(
        "SELECT user_id FROM (SELECT usage.user_id AS user_id, users.balance AS balance, ",
        costs_now!(),
        " AS costs, ",
        run_up!(),
        " AS due FROM usage JOIN users ON users.id = usage.user_id WHERE usage.settled = 0) AS spans \
        GROUP BY user_id, balance HAVING SUM(costs) > 0 AND balance <= SUM(due) ORDER BY user_id LIMIT $2"
    );
    let rows: Vec<UserRow> = db.all(Sql::Text(OVERDRAWN, vec![now.0.into(), limit.into()])).await?;
    rows.into_iter().map(|row| row.user_id.parse().map_err(|_| StoreError::Unreadable("usage.user_id"))).collect()
}

#[derive(FromRow)]
struct LowRow {
    user_id: String,
    remaining: i64,
    per_hour: i64,
}

/// Accounts that have not been told yet and whose servers cost something now, of which less than `mark` is left when what has run up is
/// counted off, or less than so many hours last; with both figures.
pub async fn running_low(
    db: &Db,
    now: Millis,
    (mark, hours): (Credits, i64),
    limit: i64,
) -> Result<Vec<(UserId, Credits, Credits)>, StoreError> {
    const LOW: &str = concat!(
        "SELECT user_id, CAST(balance - SUM(due) AS BIGINT) AS remaining, CAST(SUM(rate) AS BIGINT) AS per_hour \
         FROM (SELECT usage.user_id AS user_id, users.balance AS balance, per_hour * ",
        costs_now!(),
        " AS rate, ",
        run_up!(),
        " AS due FROM usage JOIN users ON users.id = usage.user_id WHERE usage.settled = 0 \
            AND NOT EXISTS (SELECT 1 FROM low_balances WHERE low_balances.user_id = usage.user_id)) AS spans \
        GROUP BY user_id, balance HAVING SUM(rate) > 0 AND (balance - SUM(due) < $2 OR balance - SUM(due) < SUM(rate) * $3) \
        ORDER BY user_id LIMIT $4"
    );
    let rows: Vec<LowRow> = db.all(Sql::Text(LOW, vec![now.0.into(), mark.0.into(), hours.into(), limit.into()])).await?;
    let read = |row: LowRow| {
        let user = row.user_id.parse().map_err(|_| StoreError::Unreadable("usage.user_id"))?;
        Ok((user, Credits(row.remaining), Credits(row.per_hour)))
    };
    rows.into_iter().map(read).collect()
}

#[derive(FromRow)]
struct AccruedRow {
    accrued: i64,
    per_hour: i64,
}

/// What somebody's servers have run up since the last charge, and what they cost an hour right now.
pub async fn accrued(db: &Db, user: &UserId, now: Millis) -> Result<(Credits, Credits), StoreError> {
    const ACCRUED: &str = concat!(
        "SELECT CAST(COALESCE(SUM(",
        run_up!(),
        "), 0) AS BIGINT) AS accrued, CAST(COALESCE(SUM(per_hour * ",
        costs_now!(),
        "), 0) AS BIGINT) AS per_hour FROM usage WHERE user_id = $2 AND settled = 0"
    );
    let row: Option<AccruedRow> = db.opt(Sql::Text(ACCRUED, vec![now.0.into(), user.as_str().into()])).await?;
    Ok(row.map_or((Credits::ZERO, Credits::ZERO), |row| (Credits(row.accrued), Credits(row.per_hour))))
}

#[derive(FromRow)]
struct SumRow {
    total: i64,
}

/// What a server's spans have been charged for, as what is covered stands now.
pub async fn charged(db: &Db, server: &ServerId) -> Result<Credits, StoreError> {
    const CHARGED: &str =
        concat!("SELECT CAST(COALESCE(SUM(", cost_to!("usage.charged_to"), "), 0) AS BIGINT) AS total FROM usage WHERE usage.server = $1");
    let row: Option<SumRow> = db.opt(Sql::Text(CHARGED, vec![server.as_str().into()])).await?;
    Ok(Credits(row.map_or(0, |row| row.total)))
}
