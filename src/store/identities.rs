//! Accounts elsewhere that open one here, known by issuer and subject.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::UserId;
use crate::model::time::Millis;

#[derive(Iden)]
enum Identities {
    Table,
    Issuer,
    Subject,
    Provider,
    UserId,
    Label,
    CreatedAt,
    UsedAt,
}

use Identities as I;

/// An account elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who says so.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
    /// Under which key that provider was set up when it was last used.
    pub provider: String,
    /// Whose account it opens here.
    pub user: UserId,
    /// A name to know it by.
    pub label: String,
    /// When it was linked.
    pub created_at: Millis,
    /// When it was last used.
    pub used_at: Option<Millis>,
}

#[derive(FromRow)]
struct IdentityRow {
    issuer: String,
    subject: String,
    provider: String,
    user_id: String,
    label: String,
    created_at: i64,
    used_at: Option<i64>,
}

impl TryFrom<IdentityRow> for Identity {
    type Error = StoreError;
    fn try_from(row: IdentityRow) -> Result<Identity, StoreError> {
        Ok(Identity {
            issuer: row.issuer,
            subject: row.subject,
            provider: row.provider,
            user: row.user_id.parse().map_err(|_| StoreError::Unreadable("identities.user_id"))?,
            label: row.label,
            created_at: Millis(row.created_at),
            used_at: row.used_at.map(Millis),
        })
    }
}

fn select() -> sea_query::SelectStatement {
    Query::select().columns([I::Issuer, I::Subject, I::Provider, I::UserId, I::Label, I::CreatedAt, I::UsedAt]).from(I::Table).to_owned()
}

/// Links it; false where it opens an account already, or that account has one of this provider.
pub async fn insert(db: &Db, identity: &Identity) -> Result<bool, StoreError> {
    let insert = Query::insert()
        .into_table(I::Table)
        .columns([I::Issuer, I::Subject, I::Provider, I::UserId, I::Label, I::CreatedAt, I::UsedAt])
        .values_panic([
            identity.issuer.as_str().into(),
            identity.subject.as_str().into(),
            identity.provider.as_str().into(),
            identity.user.as_str().into(),
            identity.label.as_str().into(),
            identity.created_at.0.into(),
            identity.used_at.map(|at| at.0).into(),
        ])
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .to_owned();
    Ok(db.run(&insert).await? == 1)
}

/// The one of this issuer and subject.
pub async fn find(db: &Db, issuer: &str, subject: &str) -> Result<Option<Identity>, StoreError> {
    let select = select().and_where(Expr::col(I::Issuer).eq(issuer)).and_where(Expr::col(I::Subject).eq(subject)).to_owned();
    db.opt::<IdentityRow>(&select).await?.map(TryInto::try_into).transpose()
}

/// Those of an account, by provider.
pub async fn of_user(db: &Db, user: &UserId, limit: u64) -> Result<Vec<Identity>, StoreError> {
    let select = select().and_where(Expr::col(I::UserId).eq(user.as_str())).order_by(I::Provider, Order::Asc).limit(limit).to_owned();
    db.all::<IdentityRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Notes that it was used, and what it is called by now.
pub async fn touch(db: &Db, identity: &Identity, now: Millis) -> Result<(), StoreError> {
    let update = Query::update()
        .table(I::Table)
        .value(I::UsedAt, now.0)
        .value(I::Label, identity.label.as_str())
        .and_where(Expr::col(I::Issuer).eq(identity.issuer.as_str()))
        .and_where(Expr::col(I::Subject).eq(identity.subject.as_str()))
        .to_owned();
    db.run(&update).await.map(drop)
}

/// Unlinks an account's one of this provider; false when there is none.
pub async fn delete(db: &Db, user: &UserId, provider: &str) -> Result<bool, StoreError> {
    let delete = Query::delete()
        .from_table(I::Table)
        .and_where(Expr::col(I::UserId).eq(user.as_str()))
        .and_where(Expr::col(I::Provider).eq(provider))
        .to_owned();
    Ok(db.run(&delete).await? == 1)
}

/// Unlinks all of an account.
pub async fn delete_all(db: &Db, user: &UserId) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(I::Table).and_where(Expr::col(I::UserId).eq(user.as_str())).to_owned();
    db.run(&delete).await
}
