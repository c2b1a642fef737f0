//! Payments. A write names the generation that it read, and loses with [`StoreError::Stale`] if the row has moved.

use sea_query::{Expr, ExprTrait, Iden, Order, Query, SelectStatement, Value};
use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::ids::{PaymentId, UserId};
use crate::model::payments::{Kind, Payment, State};
use crate::model::time::Millis;

#[derive(Iden, Clone, Copy)]
enum Payments {
    Table,
    Id,
    UserId,
    Kind,
    Cents,
    Currency,
    KeepCard,
    State,
    Why,
    Session,
    Intent,
    ReceiptUrl,
    RefundedCents,
    DisputedCents,
    Turns,
    CreatedAt,
    DoneAt,
    Generation,
    DueAt,
    Attempts,
}

use Payments as P;

const COLUMNS: [Payments; 19] = [
    P::Id,
    P::UserId,
    P::Kind,
    P::Cents,
    P::Currency,
    P::KeepCard,
    P::State,
    P::Why,
    P::Session,
    P::Intent,
    P::ReceiptUrl,
    P::RefundedCents,
    P::DisputedCents,
    P::Turns,
    P::CreatedAt,
    P::DoneAt,
    P::Generation,
    P::DueAt,
    P::Attempts,
];

#[derive(FromRow)]
struct PaymentRow {
    id: String,
    user_id: String,
    kind: String,
    cents: i64,
    currency: String,
    keep_card: i64,
    state: String,
    why: String,
    session: Option<String>,
    intent: Option<String>,
    receipt_url: Option<String>,
    refunded_cents: i64,
    disputed_cents: i64,
    turns: i64,
    created_at: i64,
    done_at: Option<i64>,
    generation: i64,
    due_at: Option<i64>,
    attempts: i64,
}

impl TryFrom<PaymentRow> for Payment {
    type Error = StoreError;
    fn try_from(row: PaymentRow) -> Result<Payment, StoreError> {
        Ok(Payment {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("payments.id"))?,
            user: row.user_id.parse().map_err(|_| StoreError::Unreadable("payments.user_id"))?,
            kind: Kind::parse(&row.kind).ok_or(StoreError::Unreadable("payments.kind"))?,
            cents: row.cents,
            currency: row.currency,
            keep_card: row.keep_card != 0,
            state: State::parse(&row.state).ok_or(StoreError::Unreadable("payments.state"))?,
            why: row.why,
            session: row.session,
            intent: row.intent,
            receipt_url: row.receipt_url,
            refunded_cents: row.refunded_cents,
            disputed_cents: row.disputed_cents,
            turns: row.turns,
            created_at: Millis(row.created_at),
            done_at: row.done_at.map(Millis),
            generation: row.generation,
            due_at: row.due_at.map(Millis),
            attempts: u32::try_from(row.attempts).map_err(|_| StoreError::Unreadable("payments.attempts"))?,
        })
    }
}

/// Every column's value, in the order of [`COLUMNS`].
fn values(payment: &Payment) -> [Value; 19] {
    [
        payment.id.as_str().into(),
        payment.user.as_str().into(),
        payment.kind.as_str().into(),
        payment.cents.into(),
        payment.currency.as_str().into(),
        i64::from(payment.keep_card).into(),
        payment.state.as_str().into(),
        payment.why.as_str().into(),
        payment.session.as_deref().into(),
        payment.intent.as_deref().into(),
        payment.receipt_url.as_deref().into(),
        payment.refunded_cents.into(),
        payment.disputed_cents.into(),
        payment.turns.into(),
        payment.created_at.0.into(),
        payment.done_at.map(|at| at.0).into(),
        payment.generation.into(),
        payment.due_at.map(|at| at.0).into(),
        i64::from(payment.attempts).into(),
    ]
}

fn select() -> SelectStatement {
    Query::select().columns(COLUMNS).from(P::Table).to_owned()
}

async fn rows(db: &Db, select: SelectStatement) -> Result<Vec<Payment>, StoreError> {
    db.all::<PaymentRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Makes a row; [`StoreError::Exists`] when the id is taken.
pub async fn insert(db: &Db, payment: &Payment) -> Result<(), StoreError> {
    let insert = Query::insert().into_table(P::Table).columns(COLUMNS).values_panic(values(payment).map(Expr::val)).to_owned();
    db.run(&insert).await.map(drop)
}

/// Writes a row over the one that was read.
///
/// # Errors
/// [`StoreError::Stale`] when it has moved since.
pub async fn save(db: &Db, payment: &mut Payment) -> Result<(), StoreError> {
    let read = payment.generation;
    payment.generation += 1;
    let update = Query::update()
        .table(P::Table)
        .values(COLUMNS.into_iter().zip(values(payment).map(Expr::val)))
        .and_where(Expr::col(P::Id).eq(payment.id.as_str()))
        .and_where(Expr::col(P::Generation).eq(read))
        .to_owned();
    if db.run(&update).await? == 1 { Ok(()) } else { Err(StoreError::Stale) }
}

/// Has it looked at, at this moment or before; whoever looks at it right now looks again.
pub async fn set_due(db: &Db, id: &PaymentId, at: Millis) -> Result<(), StoreError> {
    const SET: &str = "UPDATE payments SET generation = generation + 1, attempts = 0, \
        due_at = CASE WHEN due_at < $1 THEN due_at ELSE $1 END WHERE id = $2";
    db.run(Sql::Text(SET, vec![at.0.into(), id.as_str().into()])).await.map(drop)
}

/// Has one looked at at this moment and no sooner.
pub async fn put_off(db: &Db, id: &PaymentId, at: Millis) -> Result<(), StoreError> {
    const SET: &str = "UPDATE payments SET generation = generation + 1, attempts = 0, due_at = $1 WHERE id = $2";
    db.run(Sql::Text(SET, vec![at.0.into(), id.as_str().into()])).await.map(drop)
}

/// Has all that are not finished looked at: a database that was put back may have missed what was heard since.
pub async fn all_due(db: &Db, since: Millis) -> Result<u64, StoreError> {
    const SET: &str = "UPDATE payments SET due_at = 0, attempts = 0 WHERE created_at >= $1";
    db.run(Sql::Text(SET, vec![since.0.into()])).await
}

/// One of them.
pub async fn by_id(db: &Db, id: &PaymentId) -> Result<Option<Payment>, StoreError> {
    Ok(rows(db, select().and_where(Expr::col(P::Id).eq(id.as_str())).to_owned()).await?.pop())
}

/// The one of a Checkout session.
pub async fn by_session(db: &Db, session: &str) -> Result<Option<Payment>, StoreError> {
    Ok(rows(db, select().and_where(Expr::col(P::Session).eq(session)).to_owned()).await?.pop())
}

/// The one of a payment of Stripe's.
pub async fn by_intent(db: &Db, intent: &str) -> Result<Option<Payment>, StoreError> {
    Ok(rows(db, select().and_where(Expr::col(P::Intent).eq(intent)).to_owned()).await?.pop())
}

/// Somebody's, newest first; those that nobody paid are left out.
pub async fn of_user(db: &Db, user: &UserId, limit: u64) -> Result<Vec<Payment>, StoreError> {
    let mut select = select();
    select.and_where(Expr::col(P::UserId).eq(user.as_str()));
    select.and_where(Expr::col(P::State).is_in([State::Coming, State::Paid, State::Failed].map(State::as_str)));
    select.order_by(P::CreatedAt, Order::Desc).order_by(P::Id, Order::Desc).limit(limit);
    rows(db, select).await
}

/// Those whose time has come, the longest waiting first.
pub async fn due(db: &Db, now: Millis, limit: u64) -> Result<Vec<Payment>, StoreError> {
    let mut select = select();
    select.and_where(Expr::col(P::DueAt).lte(now.0)).order_by(P::DueAt, Order::Asc).order_by(P::Id, Order::Asc).limit(limit);
    rows(db, select).await
}

#[derive(FromRow)]
struct SumRow {
    total: i64,
}

/// What somebody's saved card was charged automatically since a moment, attempts under way among it.
pub async fn automatic_since(db: &Db, user: &UserId, since: Millis) -> Result<i64, StoreError> {
    const SUM: &str = "SELECT CAST(COALESCE(SUM(cents), 0) AS BIGINT) AS total FROM payments \
        WHERE user_id = $1 AND created_at >= $2 AND kind = 'automatic' AND state IN ('open', 'coming', 'paid')";
    let row: Option<SumRow> = db.opt(Sql::Text(SUM, vec![user.as_str().into(), since.0.into()])).await?;
    Ok(row.map_or(0, |row| row.total))
}
