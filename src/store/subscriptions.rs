//! Subscriptions, one that lives for each server at most. A write names the generation that it read, and loses with
//! [`StoreError::Stale`] if the row has moved.

use sea_query::{Expr, ExprTrait, Iden, Order, Query, SelectStatement, Value};
use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::ids::{PlanId, ServerId, SubscriptionId, UserId};
use crate::model::subscriptions::{Status, Subscription};
use crate::model::time::Millis;

#[derive(Iden, Clone, Copy)]
enum Subscriptions {
    Table,
    Id,
    Server,
    ServerName,
    UserId,
    Game,
    Plan,
    PlanWanted,
    Cents,
    Currency,
    Session,
    Stripe,
    Status,
    PeriodEnd,
    CancelAtEnd,
    PayUrl,
    EndWanted,
    LapsedAt,
    WarnedAt,
    CreatedAt,
    EndedAt,
    Trouble,
    Generation,
    DueAt,
    Attempts,
}

use Subscriptions as S;

const COLUMNS: [Subscriptions; 24] = [
    S::Id,
    S::Server,
    S::ServerName,
    S::UserId,
    S::Game,
    S::Plan,
    S::PlanWanted,
    S::Cents,
    S::Currency,
    S::Session,
    S::Stripe,
    S::Status,
    S::PeriodEnd,
    S::CancelAtEnd,
    S::PayUrl,
    S::EndWanted,
    S::LapsedAt,
    S::WarnedAt,
    S::CreatedAt,
    S::EndedAt,
    S::Trouble,
    S::Generation,
    S::DueAt,
    S::Attempts,
];

#[derive(FromRow)]
struct SubscriptionRow {
    id: String,
    server: String,
    server_name: String,
    user_id: String,
    game: String,
    plan: String,
    plan_wanted: Option<String>,
    cents: i64,
    currency: String,
    session: Option<String>,
    stripe: Option<String>,
    status: String,
    period_end: Option<i64>,
    cancel_at_end: i64,
    pay_url: Option<String>,
    end_wanted: i64,
    lapsed_at: Option<i64>,
    warned_at: Option<i64>,
    created_at: i64,
    ended_at: Option<i64>,
    trouble: String,
    generation: i64,
    due_at: Option<i64>,
    attempts: i64,
}

impl TryFrom<SubscriptionRow> for Subscription {
    type Error = StoreError;
    fn try_from(row: SubscriptionRow) -> Result<Subscription, StoreError> {
        let plan = |text: String| text.parse::<PlanId>().map_err(|_| StoreError::Unreadable("subscriptions.plan"));
        Ok(Subscription {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("subscriptions.id"))?,
            server: row.server.parse().map_err(|_| StoreError::Unreadable("subscriptions.server"))?,
            server_name: row.server_name,
            user: row.user_id.parse().map_err(|_| StoreError::Unreadable("subscriptions.user_id"))?,
            game: row.game.parse().map_err(|_| StoreError::Unreadable("subscriptions.game"))?,
            plan: plan(row.plan)?,
            plan_wanted: row.plan_wanted.map(plan).transpose()?,
            cents: row.cents,
            currency: row.currency,
            session: row.session,
            stripe: row.stripe,
            status: Status::parse(&row.status),
            period_end: row.period_end.map(Millis),
            cancel_at_end: row.cancel_at_end != 0,
            pay_url: row.pay_url,
            end_wanted: row.end_wanted != 0,
            lapsed_at: row.lapsed_at.map(Millis),
            warned_at: row.warned_at.map(Millis),
            created_at: Millis(row.created_at),
            ended_at: row.ended_at.map(Millis),
            trouble: row.trouble,
            generation: row.generation,
            due_at: row.due_at.map(Millis),
            attempts: u32::try_from(row.attempts).map_err(|_| StoreError::Unreadable("subscriptions.attempts"))?,
        })
    }
}

/// Every column's value, in the order of [`COLUMNS`].
fn values(row: &Subscription) -> [Value; 24] {
    let moment = |at: Option<Millis>| at.map(|at| at.0).into();
    [
        row.id.as_str().into(),
        row.server.as_str().into(),
        row.server_name.as_str().into(),
        row.user.as_str().into(),
        row.game.as_str().into(),
        row.plan.as_str().into(),
        row.plan_wanted.as_ref().map(PlanId::as_str).into(),
        row.cents.into(),
        row.currency.as_str().into(),
        row.session.as_deref().into(),
        row.stripe.as_deref().into(),
        row.status.as_str().into(),
        moment(row.period_end),
        i64::from(row.cancel_at_end).into(),
        row.pay_url.as_deref().into(),
        i64::from(row.end_wanted).into(),
        moment(row.lapsed_at),
        moment(row.warned_at),
        row.created_at.0.into(),
        moment(row.ended_at),
        row.trouble.as_str().into(),
        row.generation.into(),
        moment(row.due_at),
        i64::from(row.attempts).into(),
    ]
}

fn select() -> SelectStatement {
    Query::select().columns(COLUMNS).from(S::Table).to_owned()
}

async fn rows(db: &Db, select: SelectStatement) -> Result<Vec<Subscription>, StoreError> {
    db.all::<SubscriptionRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Makes a row; [`StoreError::Exists`] when its server has one that lives.
pub async fn insert(db: &Db, row: &Subscription) -> Result<(), StoreError> {
    let insert = Query::insert().into_table(S::Table).columns(COLUMNS).values_panic(values(row).map(Expr::val)).to_owned();
    db.run(&insert).await.map(drop)
}

/// Writes a row over the one that was read.
///
/// # Errors
/// [`StoreError::Stale`] when it has moved since.
pub async fn save(db: &Db, row: &mut Subscription) -> Result<(), StoreError> {
    let read = row.generation;
    row.generation += 1;
    let update = Query::update()
        .table(S::Table)
        .values(COLUMNS.into_iter().zip(values(row).map(Expr::val)))
        .and_where(Expr::col(S::Id).eq(row.id.as_str()))
        .and_where(Expr::col(S::Generation).eq(read))
        .to_owned();
    if db.run(&update).await? == 1 { Ok(()) } else { Err(StoreError::Stale) }
}

/// Has one looked at now; whoever looks at it at this moment looks again.
pub async fn set_due(db: &Db, id: &SubscriptionId, now: Millis) -> Result<(), StoreError> {
    const SET: &str = "UPDATE subscriptions SET generation = generation + 1, attempts = 0, due_at = $1 WHERE id = $2";
    db.run(Sql::Text(SET, vec![now.0.into(), id.as_str().into()])).await.map(drop)
}

/// Has the one that lives ended at Stripe: its server is going.
pub async fn end_of_server(db: &Db, server: &ServerId, now: Millis) -> Result<u64, StoreError> {
    const END: &str = "UPDATE subscriptions SET generation = generation + 1, attempts = 0, end_wanted = 1, due_at = $1 \
        WHERE server = $2 AND ended_at IS NULL";
    db.run(Sql::Text(END, vec![now.0.into(), server.as_str().into()])).await
}

/// Has all that live looked at.
pub async fn all_due(db: &Db, now: Millis) -> Result<u64, StoreError> {
    db.run(Sql::Text("UPDATE subscriptions SET due_at = $1 WHERE ended_at IS NULL", vec![now.0.into()])).await
}

/// One of them.
pub async fn by_id(db: &Db, id: &SubscriptionId) -> Result<Option<Subscription>, StoreError> {
    Ok(rows(db, select().and_where(Expr::col(S::Id).eq(id.as_str())).to_owned()).await?.pop())
}

/// The one of a Checkout session.
pub async fn by_session(db: &Db, session: &str) -> Result<Option<Subscription>, StoreError> {
    Ok(rows(db, select().and_where(Expr::col(S::Session).eq(session)).to_owned()).await?.pop())
}

/// The one that Stripe names so.
pub async fn by_stripe(db: &Db, id: &str) -> Result<Option<Subscription>, StoreError> {
    Ok(rows(db, select().and_where(Expr::col(S::Stripe).eq(id)).to_owned()).await?.pop())
}

/// The newest of a server: the one that lives, where one does.
pub async fn of_server(db: &Db, server: &ServerId) -> Result<Option<Subscription>, StoreError> {
    let lives = Expr::case(Expr::col(S::EndedAt).is_null(), 0).finally(1);
    let mut select = select();
    select.and_where(Expr::col(S::Server).eq(server.as_str()));
    select.order_by_expr(lives.into(), Order::Asc).order_by(S::CreatedAt, Order::Desc).order_by(S::Id, Order::Desc).limit(1);
    Ok(rows(db, select).await?.pop())
}

/// Somebody's, newest first.
pub async fn of_user(db: &Db, user: &UserId, limit: u64) -> Result<Vec<Subscription>, StoreError> {
    let mut select = select();
    select.and_where(Expr::col(S::UserId).eq(user.as_str()));
    select.order_by(S::CreatedAt, Order::Desc).order_by(S::Id, Order::Desc).limit(limit);
    rows(db, select).await
}

/// Those whose time has come, the longest waiting first.
pub async fn due(db: &Db, now: Millis, limit: u64) -> Result<Vec<Subscription>, StoreError> {
    let mut select = select();
    select.and_where(Expr::col(S::DueAt).lte(now.0)).order_by(S::DueAt, Order::Asc).order_by(S::Id, Order::Asc).limit(limit);
    rows(db, select).await
}
