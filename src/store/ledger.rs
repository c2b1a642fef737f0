//! The ledger, and the balance that is kept beside it in the same transaction.

use sea_query::{Expr, ExprTrait, Iden, Order, Query};
use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError, Tx, users};
use crate::model::ids::UserId;
use crate::model::ledger::{Entry, EntryKind};
use crate::model::money::Credits;
use crate::model::time::{DAY, Millis};

#[derive(Iden)]
enum Transactions {
    Table,
    Key,
    UserId,
    At,
    Amount,
    Kind,
    Server,
    ServerName,
    FromMs,
    ToMs,
    Note,
}

use Transactions as T;

#[derive(FromRow)]
struct EntryRow {
    key: String,
    at: i64,
    amount: i64,
    kind: String,
    server: Option<String>,
    server_name: Option<String>,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    note: String,
}

impl TryFrom<EntryRow> for Entry {
    type Error = StoreError;
    fn try_from(row: EntryRow) -> Result<Entry, StoreError> {
        let server = row.server.map(|id| id.parse().map_err(|_| StoreError::Unreadable("transactions.server"))).transpose()?;
        Ok(Entry {
            key: row.key,
            at: Millis(row.at),
            amount: Credits(row.amount),
            kind: EntryKind::parse(&row.kind).ok_or(StoreError::Unreadable("transactions.kind"))?,
            server: server.map(|id| (id, row.server_name.unwrap_or_default())),
            span: row.from_ms.zip(row.to_ms).map(|(from, to)| (Millis(from), Millis(to))),
            note: row.note,
        })
    }
}

/// Posts an entry and moves the balance with it; [`StoreError::Exists`] when its key was posted before.
pub async fn post(tx: &Tx, user: &UserId, entry: &Entry) -> Result<(), StoreError> {
    let (server, name) = entry.server.as_ref().map_or((None, None), |(id, name)| (Some(id.as_str()), Some(name.as_str())));
    let insert = Query::insert()
        .into_table(T::Table)
        .columns([T::Key, T::UserId, T::At, T::Amount, T::Kind, T::Server, T::ServerName, T::FromMs, T::ToMs, T::Note])
        .values_panic([
            entry.key.as_str().into(),
            user.as_str().into(),
            entry.at.0.into(),
            entry.amount.0.into(),
            entry.kind.as_str().into(),
            server.into(),
            name.into(),
            entry.span.map(|(from, _)| from.0).into(),
            entry.span.map(|(_, to)| to.0).into(),
            entry.note.as_str().into(),
        ])
        .to_owned();
    tx.run(&insert).await?;
    add_to_day(tx, user, entry.at, entry.amount).await?;
    users::add_to_balance(tx, user.as_str(), entry.amount).await
}

#[derive(FromRow)]
struct PostedRow {
    user_id: String,
    amount: i64,
}

/// To whom was posted under this key, and how much?
pub async fn posted(db: &Db, key: &str) -> Result<Option<(UserId, Credits)>, StoreError> {
    let select = Query::select().columns([T::UserId, T::Amount]).from(T::Table).and_where(Expr::col(T::Key).eq(key)).to_owned();
    let read = |row: PostedRow| Ok((row.user_id.parse().map_err(|_| StoreError::Unreadable("transactions.user_id"))?, Credits(row.amount)));
    db.opt::<PostedRow>(&select).await?.map(read).transpose()
}

/// What a day moved is kept beside the entries, so that the balance at any of them is known without reading all that came after it.
async fn add_to_day(tx: &Tx, user: &UserId, at: Millis, amount: Credits) -> Result<(), StoreError> {
    const ADD: &str = "INSERT INTO ledger_days (user_id, day, amount) VALUES ($1, $2, $3) \
        ON CONFLICT (user_id, day) DO UPDATE SET amount = ledger_days.amount + excluded.amount";
    tx.run(Sql::Text(ADD, vec![user.as_str().into(), (at.0 / DAY).into(), amount.0.into()])).await.map(drop)
}

/// Somebody's entries, newest first, behind the entry `(at, key)`.
pub async fn of_user(db: &Db, user: &UserId, behind: Option<(Millis, &str)>, limit: u64) -> Result<Vec<Entry>, StoreError> {
    let mut select = Query::select()
        .columns([T::Key, T::At, T::Amount, T::Kind, T::Server, T::ServerName, T::FromMs, T::ToMs, T::Note])
        .from(T::Table)
        .and_where(Expr::col(T::UserId).eq(user.as_str()))
        .order_by(T::At, Order::Desc)
        .order_by(T::Key, Order::Desc)
        .limit(limit)
        .to_owned();
    if let Some((at, key)) = behind {
        let same = Expr::col(T::At).eq(at.0).and(Expr::col(T::Key).lt(key));
        select.and_where(Expr::col(T::At).lte(at.0)).and_where(Expr::col(T::At).lt(at.0).or(same));
    }
    db.all::<EntryRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

#[derive(FromRow)]
struct SumRow {
    total: i64,
}

/// The sum of somebody's entries: what the balance has to be.
pub async fn sum_of_user(db: &Db, user: &UserId) -> Result<Credits, StoreError> {
    let sql = "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) AS total FROM transactions WHERE user_id = $1";
    let row: Option<SumRow> = db.opt(Sql::Text(sql, vec![user.as_str().into()])).await?;
    Ok(Credits(row.map_or(0, |row| row.total)))
}

/// The sum of somebody's entries from the entry `(at, key)` on, that one included. Reads the entries of one day, and a number for each
/// day since.
pub async fn sum_from(db: &Db, user: &UserId, at: Millis, key: &str) -> Result<Credits, StoreError> {
    const SAME_DAY: &str = "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) AS total FROM transactions \
        WHERE user_id = $1 AND at >= $2 AND at < $4 AND (at > $2 OR key >= $3)";
    const LATER: &str = "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) AS total FROM ledger_days WHERE user_id = $1 AND day > $2";
    let day = at.0.clamp(0, i64::MAX / 2) / DAY;
    let values = vec![user.as_str().into(), at.0.into(), key.into(), ((day + 1) * DAY).into()];
    let same_day: Option<SumRow> = db.opt(Sql::Text(SAME_DAY, values)).await?;
    let later: Option<SumRow> = db.opt(Sql::Text(LATER, vec![user.as_str().into(), day.into()])).await?;
    Ok(Credits([same_day, later].into_iter().flatten().map(|row| row.total).sum()))
}

/// Accounts of which a day's number is not the sum of its entries. There must be none.
pub async fn days_out_of_sum(db: &Db, limit: i64) -> Result<Vec<UserId>, StoreError> {
    const ODD: &str = "SELECT DISTINCT user_id AS id FROM (\
            SELECT user_id, day, SUM(amount) AS difference FROM (\
                SELECT user_id, at / 86400000 AS day, amount FROM transactions \
                UNION ALL SELECT user_id, day, -amount FROM ledger_days) AS both_sides \
            GROUP BY user_id, day) AS days WHERE difference <> 0 ORDER BY id LIMIT $1";
    let rows: Vec<UserRow> = db.all(Sql::Text(ODD, vec![limit.into()])).await?;
    rows.into_iter().map(|row| row.id.parse().map_err(|_| StoreError::Unreadable("transactions.user_id"))).collect()
}

#[derive(FromRow)]
struct UserRow {
    id: String,
}

/// Accounts whose balance is not the sum of their entries. There must be none; whoever finds one says so loudly.
pub async fn out_of_balance(db: &Db, limit: i64) -> Result<Vec<UserId>, StoreError> {
    let sql = "SELECT users.id AS id FROM users LEFT JOIN transactions ON transactions.user_id = users.id \
               GROUP BY users.id, users.balance HAVING users.balance <> COALESCE(SUM(transactions.amount), 0) \
               ORDER BY users.id LIMIT $1";
    let rows: Vec<UserRow> = db.all(Sql::Text(sql, vec![limit.into()])).await?;
    rows.into_iter().map(|row| row.id.parse().map_err(|_| StoreError::Unreadable("users.id"))).collect()
}
