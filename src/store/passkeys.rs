//! Passkeys: the public half and its counter as the library writes them, under the id that browsers send.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::{PasskeyId, UserId};
use crate::model::time::Millis;

#[derive(Iden)]
enum Passkeys {
    Table,
    Id,
    UserId,
    Credential,
    Name,
    Body,
    Uses,
    CreatedAt,
    UsedAt,
}

use Passkeys as P;

/// A passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyRow {
    /// Its id here.
    pub id: PasskeyId,
    /// Whose.
    pub user: UserId,
    /// Its id in the browser, in hexadecimal.
    pub credential: String,
    /// As its owner calls it.
    pub name: String,
    /// As the library writes it.
    pub body: String,
    /// How often it was used; an update names what it has read.
    pub uses: i64,
    /// When it was made.
    pub created_at: Millis,
    /// When it was last used.
    pub used_at: Option<Millis>,
}

#[derive(FromRow)]
struct Row {
    id: String,
    user_id: String,
    credential: String,
    name: String,
    body: String,
    uses: i64,
    created_at: i64,
    used_at: Option<i64>,
}

impl TryFrom<Row> for PasskeyRow {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<PasskeyRow, StoreError> {
        Ok(PasskeyRow {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("passkeys.id"))?,
            user: row.user_id.parse().map_err(|_| StoreError::Unreadable("passkeys.user_id"))?,
            credential: row.credential,
            name: row.name,
            body: row.body,
            uses: row.uses,
            created_at: Millis(row.created_at),
            used_at: row.used_at.map(Millis),
        })
    }
}

fn select() -> sea_query::SelectStatement {
    Query::select().columns([P::Id, P::UserId, P::Credential, P::Name, P::Body, P::Uses, P::CreatedAt, P::UsedAt]).from(P::Table).to_owned()
}

/// Keeps a new one; false where this credential is known already.
pub async fn insert(db: &Db, passkey: &PasskeyRow) -> Result<bool, StoreError> {
    let insert = Query::insert()
        .into_table(P::Table)
        .columns([P::Id, P::UserId, P::Credential, P::Name, P::Body, P::Uses, P::CreatedAt])
        .values_panic([
            passkey.id.as_str().into(),
            passkey.user.as_str().into(),
            passkey.credential.as_str().into(),
            passkey.name.as_str().into(),
            passkey.body.as_str().into(),
            passkey.uses.into(),
            passkey.created_at.0.into(),
        ])
        .on_conflict(OnConflict::column(P::Credential).do_nothing().to_owned())
        .to_owned();
    Ok(db.run(&insert).await? == 1)
}

/// Somebody's, the oldest first.
pub async fn of_user(db: &Db, user: &UserId, limit: u64) -> Result<Vec<PasskeyRow>, StoreError> {
    let select = select()
        .and_where(Expr::col(P::UserId).eq(user.as_str()))
        .order_by(P::CreatedAt, Order::Asc)
        .order_by(P::Id, Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<Row>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// The one that a browser names.
pub async fn by_credential(db: &Db, credential: &str) -> Result<Option<PasskeyRow>, StoreError> {
    let select = select().and_where(Expr::col(P::Credential).eq(credential)).to_owned();
    db.opt::<Row>(&select).await?.map(TryInto::try_into).transpose()
}

/// Notes a use and the counter after it; false when another use came in between.
pub async fn used(db: &Db, passkey: &PasskeyRow, body: &str, now: Millis) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(P::Table)
        .value(P::Body, body)
        .value(P::Uses, passkey.uses + 1)
        .value(P::UsedAt, now.0)
        .and_where(Expr::col(P::Id).eq(passkey.id.as_str()))
        .and_where(Expr::col(P::Uses).eq(passkey.uses))
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// Takes one of somebody's away; false when it is none of theirs.
pub async fn delete(db: &Db, user: &UserId, id: &PasskeyId) -> Result<bool, StoreError> {
    let delete = Query::delete()
        .from_table(P::Table)
        .and_where(Expr::col(P::Id).eq(id.as_str()))
        .and_where(Expr::col(P::UserId).eq(user.as_str()))
        .to_owned();
    Ok(db.run(&delete).await? == 1)
}

/// Takes all of somebody's away.
pub async fn delete_all(db: &Db, user: &UserId) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(P::Table).and_where(Expr::col(P::UserId).eq(user.as_str())).to_owned();
    db.run(&delete).await
}
