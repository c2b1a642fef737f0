//! Sums of the ledger by day, kind and game. A day that is over is summed once and kept; today's is summed when it is asked for.

use sea_query::Iden;
use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::ids::{GameId, ServerId};
use crate::model::ledger::EntryKind;
use crate::model::money::Credits;
use crate::model::subscriptions::Subscription;
use crate::model::time::{DAY, Millis};

#[derive(Iden)]
enum ServerGames {
    Table,
    Server,
    Game,
}

#[derive(Iden)]
enum PaidInvoices {
    Table,
    Invoice,
    Subscription,
    Game,
    Cents,
    At,
}

/// What was posted on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// Days since 1970-01-01 UTC.
    pub day: i64,
    /// Why it was posted.
    pub kind: EntryKind,
    /// Of which game the server was; none: it is about no server, or nobody knows any more.
    pub game: Option<GameId>,
    /// The sum.
    pub amount: Credits,
    /// Of so many entries.
    pub entries: i64,
}

#[derive(FromRow)]
struct SumRow {
    day: i64,
    kind: String,
    game: String,
    amount: i64,
    entries: i64,
}

impl TryFrom<SumRow> for Sum {
    type Error = StoreError;
    fn try_from(row: SumRow) -> Result<Sum, StoreError> {
        Ok(Sum {
            day: row.day,
            kind: EntryKind::parse(&row.kind).ok_or(StoreError::Unreadable("day_sums.kind"))?,
            game: row.game.parse().ok(),
            amount: Credits(row.amount),
            entries: row.entries,
        })
    }
}

/// Keeps of which game a server is, for when it is gone.
pub(super) async fn keep_game(db: &Db, server: &ServerId, game: &GameId) -> Result<(), StoreError> {
    let insert = sea_query::Query::insert()
        .into_table(ServerGames::Table)
        .columns([ServerGames::Server, ServerGames::Game])
        .values_panic([server.as_str().into(), game.as_str().into()])
        .on_conflict(sea_query::OnConflict::column(ServerGames::Server).do_nothing().to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Keeps an invoice that was paid, once.
pub async fn keep_invoice(db: &Db, invoice: &str, of: &Subscription, cents: i64, at: Millis) -> Result<(), StoreError> {
    use PaidInvoices as P;
    let insert = sea_query::Query::insert()
        .into_table(P::Table)
        .columns([P::Invoice, P::Subscription, P::Game, P::Cents, P::At])
        .values_panic([invoice.into(), of.id.as_str().into(), of.game.as_str().into(), cents.into(), at.0.into()])
        .on_conflict(sea_query::OnConflict::column(P::Invoice).do_nothing().to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}

#[derive(FromRow)]
struct MonthsRow {
    day: i64,
    game: String,
    cents: i64,
}

/// Cents that came in for months since a moment, by day (since 1970-01-01 UTC) and game.
pub async fn invoices_since(db: &Db, from: Millis, limit: i64) -> Result<Vec<(i64, Option<GameId>, i64)>, StoreError> {
    const TEXT: &str = "SELECT at / 86400000 AS day, game, CAST(SUM(cents) AS BIGINT) AS cents FROM paid_invoices WHERE at >= $1 \
        GROUP BY at / 86400000, game ORDER BY 1, 2 LIMIT $2";
    let rows: Vec<MonthsRow> = db.all(Sql::Text(TEXT, vec![from.0.into(), limit.into()])).await?;
    Ok(rows.into_iter().map(|row| (row.day, row.game.parse().ok(), row.cents)).collect())
}

macro_rules! sums {
    () => {
        "SELECT CAST($1 AS BIGINT) AS day, transactions.kind AS kind, COALESCE(server_games.game, '') AS game, \
         CAST(SUM(transactions.amount) AS BIGINT) AS amount, COUNT(*) AS entries \
         FROM transactions LEFT JOIN server_games ON server_games.server = transactions.server \
         WHERE transactions.at >= $2 AND transactions.at < $3 GROUP BY transactions.kind, COALESCE(server_games.game, '')"
    };
}

fn bounds(day: i64) -> Vec<sea_query::Value> {
    vec![day.into(), (day * DAY).into(), ((day + 1) * DAY).into()]
}

/// Sums a day that is over, unless that has been done.
pub async fn close_day(db: &Db, day: i64) -> Result<u64, StoreError> {
    const TEXT: &str = concat!("INSERT INTO day_sums (day, kind, game, amount, entries) ", sums!(), " ON CONFLICT DO NOTHING");
    db.run(Sql::Text(TEXT, bounds(day))).await
}

/// Sums a day as it stands.
pub async fn of_day(db: &Db, day: i64) -> Result<Vec<Sum>, StoreError> {
    const TEXT: &str = concat!(sums!(), " ORDER BY 2, 3");
    db.all::<SumRow>(Sql::Text(TEXT, bounds(day))).await?.into_iter().map(TryInto::try_into).collect()
}

/// Sums of days that are over, from a day on, in order.
pub async fn since(db: &Db, day: i64, limit: i64) -> Result<Vec<Sum>, StoreError> {
    const TEXT: &str = "SELECT day, kind, game, amount, entries FROM day_sums WHERE day >= $1 ORDER BY day, kind, game LIMIT $2";
    db.all::<SumRow>(Sql::Text(TEXT, vec![day.into(), limit.into()])).await?.into_iter().map(TryInto::try_into).collect()
}

#[derive(FromRow)]
struct AtRow {
    at: i64,
}

/// When the first entry of all was posted.
pub async fn first_entry(db: &Db) -> Result<Option<Millis>, StoreError> {
    const TEXT: &str = "SELECT at FROM transactions ORDER BY at LIMIT 1";
    Ok(db.opt::<AtRow>(Sql::Text(TEXT, vec![])).await?.map(|row| Millis(row.at)))
}

#[derive(FromRow)]
struct OutstandingRow {
    held: i64,
    owed: i64,
}

/// What all accounts together hold, and what those below zero owe.
pub async fn outstanding(db: &Db) -> Result<(Credits, Credits), StoreError> {
    const TEXT: &str = "SELECT CAST(COALESCE(SUM(CASE WHEN balance > 0 THEN balance ELSE 0 END), 0) AS BIGINT) AS held, \
        CAST(COALESCE(SUM(CASE WHEN balance < 0 THEN -balance ELSE 0 END), 0) AS BIGINT) AS owed FROM users";
    let row: Option<OutstandingRow> = db.opt(Sql::Text(TEXT, vec![])).await?;
    Ok(row.map_or((Credits::ZERO, Credits::ZERO), |row| (Credits(row.held), Credits(row.owed))))
}

#[derive(FromRow)]
struct KeyRow {
    key: String,
}

/// Charges that take something, or give where they must take, and charges of one server that overlap: there must be none.
pub async fn odd_charges(db: &Db, limit: i64) -> Result<Vec<String>, StoreError> {
    const TEXT: &str = "SELECT key FROM (SELECT key, amount, from_ms, to_ms, \
        LAG(to_ms) OVER (PARTITION BY server ORDER BY from_ms, key) AS before FROM transactions WHERE kind = 'charge') AS charges \
        WHERE amount > 0 OR from_ms IS NULL OR to_ms IS NULL OR to_ms < from_ms OR from_ms < before ORDER BY key LIMIT $1";
    let rows: Vec<KeyRow> = db.all(Sql::Text(TEXT, vec![limit.into()])).await?;
    Ok(rows.into_iter().map(|row| row.key).collect())
}

#[derive(FromRow)]
struct RanRow {
    cost: i64,
}

/// What the running time of somebody's servers cost since a moment, by what an hour cost then, whether it has been charged yet or not.
/// Servers that are gone, or paid by the month, are left out.
pub async fn ran_since(db: &Db, user: &crate::model::ids::UserId, from: Millis, now: Millis) -> Result<Credits, StoreError> {
    const TEXT: &str = "SELECT CAST(COALESCE(SUM((COALESCE(usage.to_ms, $1) - CASE WHEN usage.from_ms > $2 THEN usage.from_ms ELSE $2 END) \
        * usage.per_hour / 3600000), 0) AS BIGINT) AS cost FROM usage JOIN servers ON servers.id = usage.server \
        WHERE usage.user_id = $3 AND servers.covered = 0 AND (usage.to_ms IS NULL OR usage.to_ms > $2)";
    let row: Option<RanRow> = db.opt(Sql::Text(TEXT, vec![now.0.into(), from.0.into(), user.as_str().into()])).await?;
    Ok(Credits(row.map_or(0, |row| row.cost)))
}
