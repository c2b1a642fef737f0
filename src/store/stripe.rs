//! What is known of Stripe beside payments and subscriptions: customers, products, the webhooks that were heard, and where the two sides
//! did not agree.

use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::ids::{GameId, PlanId, UserId};
use crate::model::time::Millis;

/// Somebody as a customer.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Customer {
    /// `cus_...`
    pub customer: String,
    /// `pm_...`: a card that may be charged without its owner.
    pub method: Option<String>,
}

/// What Stripe calls somebody.
pub async fn customer(db: &Db, user: &UserId) -> Result<Option<Customer>, StoreError> {
    let sql = "SELECT customer, method FROM customers WHERE user_id = $1";
    db.opt(Sql::Text(sql, vec![user.as_str().into()])).await
}

/// Keeps what Stripe calls somebody; the first answer stays.
pub async fn keep_customer(db: &Db, user: &UserId, customer: &str, now: Millis) -> Result<(), StoreError> {
    let sql = "INSERT INTO customers (user_id, customer, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    db.run(Sql::Text(sql, vec![user.as_str().into(), customer.into(), now.0.into()])).await.map(drop)
}

/// Keeps or forgets a card.
pub async fn set_method(db: &Db, user: &UserId, method: Option<&str>) -> Result<(), StoreError> {
    let sql = "UPDATE customers SET method = $1 WHERE user_id = $2";
    db.run(Sql::Text(sql, vec![method.into(), user.as_str().into()])).await.map(drop)
}

#[derive(FromRow)]
struct ProductRow {
    product: String,
}

/// The product of a plan.
pub async fn product(db: &Db, game: &GameId, plan: &PlanId) -> Result<Option<String>, StoreError> {
    let sql = "SELECT product FROM stripe_products WHERE game = $1 AND plan = $2";
    let row: Option<ProductRow> = db.opt(Sql::Text(sql, vec![game.as_str().into(), plan.as_str().into()])).await?;
    Ok(row.map(|row| row.product))
}

/// Keeps the product of a plan; the first answer stays.
pub async fn keep_product(db: &Db, game: &GameId, plan: &PlanId, product: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO stripe_products (game, plan, product) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    db.run(Sql::Text(sql, vec![game.as_str().into(), plan.as_str().into(), product.into()])).await.map(drop)
}

/// Notes a webhook; false when it was heard before.
pub async fn hear(db: &Db, event: &str, kind: &str, now: Millis) -> Result<bool, StoreError> {
    let sql = "INSERT INTO stripe_events (id, kind, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(db.run(Sql::Text(sql, vec![event.into(), kind.into(), now.0.into()])).await? == 1)
}

/// Forgets webhooks from before a moment.
pub async fn sweep_events(db: &Db, before: Millis) -> Result<u64, StoreError> {
    db.run(Sql::Text("DELETE FROM stripe_events WHERE at < $1", vec![before.0.into()])).await
}

/// A thing on which the two sides did not agree.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Difference {
    /// In words.
    pub what: String,
    /// When it was seen last, in milliseconds since 1970.
    pub at: i64,
}

/// Notes a difference; true when it is a new one.
pub async fn note_difference(db: &Db, what: &str, now: Millis) -> Result<bool, StoreError> {
    let known = "UPDATE stripe_differences SET at = $1 WHERE what = $2";
    if db.run(Sql::Text(known, vec![now.0.into(), what.into()])).await? > 0 {
        return Ok(false);
    }
    let new = "INSERT INTO stripe_differences (what, at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(db.run(Sql::Text(new, vec![what.into(), now.0.into()])).await? == 1)
}

/// Differences, the last seen first.
pub async fn differences(db: &Db, limit: i64) -> Result<Vec<Difference>, StoreError> {
    let sql = "SELECT what, at FROM stripe_differences ORDER BY at DESC, what LIMIT $1";
    db.all(Sql::Text(sql, vec![limit.into()])).await
}

/// Forgets differences that were not seen since a moment.
pub async fn sweep_differences(db: &Db, before: Millis) -> Result<u64, StoreError> {
    db.run(Sql::Text("DELETE FROM stripe_differences WHERE at < $1", vec![before.0.into()])).await
}
