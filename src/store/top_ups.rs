//! Automatic top-ups, one row for whoever chose them, and who has been told that little is left.

use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::ids::{PaymentId, UserId};
use crate::model::money::Credits;
use crate::model::payments::{AutoState, AutoTopUp};
use crate::model::time::Millis;

#[derive(FromRow)]
struct AutoRow {
    user_id: String,
    state: String,
    below: i64,
    cents: i64,
    month_cents: i64,
    why: String,
    payment: Option<String>,
}

impl TryFrom<AutoRow> for AutoTopUp {
    type Error = StoreError;
    fn try_from(row: AutoRow) -> Result<AutoTopUp, StoreError> {
        let payment = row.payment.map(|id| id.parse()).transpose();
        Ok(AutoTopUp {
            user: row.user_id.parse().map_err(|_| StoreError::Unreadable("auto_top_ups.user_id"))?,
            state: AutoState::parse(&row.state).ok_or(StoreError::Unreadable("auto_top_ups.state"))?,
            below: Credits(row.below),
            cents: row.cents,
            month_cents: row.month_cents,
            why: row.why,
            payment: payment.map_err(|_| StoreError::Unreadable("auto_top_ups.payment"))?,
        })
    }
}

/// Somebody's choice.
pub async fn of_user(db: &Db, user: &UserId) -> Result<Option<AutoTopUp>, StoreError> {
    let sql = "SELECT user_id, state, below, cents, month_cents, why, payment FROM auto_top_ups WHERE user_id = $1";
    db.opt::<AutoRow>(Sql::Text(sql, vec![user.as_str().into()])).await?.map(TryInto::try_into).transpose()
}

/// Keeps a choice over an older one; an attempt under way stays.
pub async fn choose(db: &Db, auto: &AutoTopUp, now: Millis) -> Result<(), StoreError> {
    let sql = "INSERT INTO auto_top_ups (user_id, state, below, cents, month_cents, why, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
        ON CONFLICT (user_id) DO UPDATE SET state = excluded.state, below = excluded.below, cents = excluded.cents, \
        month_cents = excluded.month_cents, why = excluded.why, changed_at = excluded.changed_at";
    let values = vec![
        auto.user.as_str().into(),
        auto.state.as_str().into(),
        auto.below.0.into(),
        auto.cents.into(),
        auto.month_cents.into(),
        auto.why.as_str().into(),
        now.0.into(),
    ];
    db.run(Sql::Text(sql, values)).await.map(drop)
}

/// Switches it to another state, with the reason.
pub async fn switch(db: &Db, user: &UserId, state: AutoState, why: &str, now: Millis) -> Result<u64, StoreError> {
    let sql = "UPDATE auto_top_ups SET state = $1, why = $2, changed_at = $3 WHERE user_id = $4 AND state <> $1";
    db.run(Sql::Text(sql, vec![state.as_str().into(), why.into(), now.0.into(), user.as_str().into()])).await
}

/// Those who have it on, by id behind `after`, with no attempt under way.
pub async fn wanting(db: &Db, after: &str, limit: i64) -> Result<Vec<AutoTopUp>, StoreError> {
    let sql = "SELECT user_id, state, below, cents, month_cents, why, payment FROM auto_top_ups \
        WHERE state = 'on' AND payment IS NULL AND user_id > $1 ORDER BY user_id LIMIT $2";
    let rows: Vec<AutoRow> = db.all(Sql::Text(sql, vec![after.into(), limit.into()])).await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Begins an attempt; false when one is under way, or it was switched off meanwhile.
pub async fn begin(db: &Db, user: &UserId, payment: &PaymentId) -> Result<bool, StoreError> {
    let sql = "UPDATE auto_top_ups SET payment = $1 WHERE user_id = $2 AND payment IS NULL AND state = 'on'";
    Ok(db.run(Sql::Text(sql, vec![payment.as_str().into(), user.as_str().into()])).await? == 1)
}

/// Ends an attempt.
pub async fn end(db: &Db, payment: &PaymentId) -> Result<u64, StoreError> {
    db.run(Sql::Text("UPDATE auto_top_ups SET payment = NULL WHERE payment = $1", vec![payment.as_str().into()])).await
}

#[derive(FromRow)]
struct ToldRow {
    user_id: String,
    balance: i64,
}

/// Who was told that little is left, by id behind `after`, and their balance.
pub async fn told(db: &Db, after: &str, limit: i64) -> Result<Vec<(UserId, Credits)>, StoreError> {
    let sql = "SELECT low_balances.user_id AS user_id, users.balance AS balance FROM low_balances \
        JOIN users ON users.id = low_balances.user_id WHERE low_balances.user_id > $1 ORDER BY low_balances.user_id LIMIT $2";
    let rows: Vec<ToldRow> = db.all(Sql::Text(sql, vec![after.into(), limit.into()])).await?;
    let read = |row: ToldRow| Ok((row.user_id.parse().map_err(|_| StoreError::Unreadable("users.id"))?, Credits(row.balance)));
    rows.into_iter().map(read).collect()
}

/// Notes that somebody is told; false when they were already.
pub async fn tell_low(db: &Db, user: &UserId, now: Millis) -> Result<bool, StoreError> {
    let sql = "INSERT INTO low_balances (user_id, since) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(db.run(Sql::Text(sql, vec![user.as_str().into(), now.0.into()])).await? == 1)
}

/// There is enough again.
pub async fn enough(db: &Db, user: &UserId) -> Result<(), StoreError> {
    db.run(Sql::Text("DELETE FROM low_balances WHERE user_id = $1", vec![user.as_str().into()])).await.map(drop)
}
