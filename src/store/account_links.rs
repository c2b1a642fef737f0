//! Links that verify an address or choose a new password: who, what for, until when, and whether each has been used.

use sea_query::{Expr, ExprTrait, Iden, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::{LinkId, UserId};
use crate::model::time::Millis;

#[derive(Iden)]
enum AccountLinks {
    Table,
    Id,
    UserId,
    Purpose,
    Address,
    MadeBy,
    CreatedAt,
    ExpiresAt,
    UsedAt,
}

use AccountLinks as L;

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountLink {
    /// Its id, the open half of what it carries.
    pub id: LinkId,
    /// Whose account.
    pub user: UserId,
    /// What it is for, in a word of the domain.
    pub purpose: String,
    /// The address that it was sent to; it counts only while that is the account's.
    pub address: String,
    /// The admin who hands it over; empty: it went by mail.
    pub made_by: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it ends.
    pub expires_at: Millis,
    /// When it was used.
    pub used_at: Option<Millis>,
}

#[derive(FromRow)]
struct LinkRow {
    id: String,
    user_id: String,
    purpose: String,
    address: String,
    made_by: String,
    created_at: i64,
    expires_at: i64,
    used_at: Option<i64>,
}

impl TryFrom<LinkRow> for AccountLink {
    type Error = StoreError;
    fn try_from(row: LinkRow) -> Result<AccountLink, StoreError> {
        Ok(AccountLink {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("account_links.id"))?,
            user: row.user_id.parse().map_err(|_| StoreError::Unreadable("account_links.user_id"))?,
            purpose: row.purpose,
            address: row.address,
            made_by: row.made_by,
            created_at: Millis(row.created_at),
            expires_at: Millis(row.expires_at),
            used_at: row.used_at.map(Millis),
        })
    }
}

/// Keeps a link.
pub async fn insert(db: &Db, link: &AccountLink) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(L::Table)
        .columns([L::Id, L::UserId, L::Purpose, L::Address, L::MadeBy, L::CreatedAt, L::ExpiresAt])
        .values_panic([
            link.id.as_str().into(),
            link.user.as_str().into(),
            link.purpose.as_str().into(),
            link.address.as_str().into(),
            link.made_by.as_str().into(),
            link.created_at.0.into(),
            link.expires_at.0.into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// The link of this id.
pub async fn by_id(db: &Db, id: &LinkId) -> Result<Option<AccountLink>, StoreError> {
    let select = Query::select()
        .columns([L::Id, L::UserId, L::Purpose, L::Address, L::MadeBy, L::CreatedAt, L::ExpiresAt, L::UsedAt])
        .from(L::Table)
        .and_where(Expr::col(L::Id).eq(id.as_str()))
        .to_owned();
    db.opt::<LinkRow>(&select).await?.map(TryInto::try_into).transpose()
}

/// Uses it; false when it was used before.
pub async fn take(db: &Db, id: &LinkId, now: Millis) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(L::Table)
        .value(L::UsedAt, now.0)
        .and_where(Expr::col(L::Id).eq(id.as_str()))
        .and_where(Expr::col(L::UsedAt).is_null())
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// Ends those of an account that are for this purpose and not used yet.
pub async fn end_all(db: &Db, user: &UserId, purpose: &str, now: Millis) -> Result<u64, StoreError> {
    let update = Query::update()
        .table(L::Table)
        .value(L::UsedAt, now.0)
        .and_where(Expr::col(L::UserId).eq(user.as_str()))
        .and_where(Expr::col(L::Purpose).eq(purpose))
        .and_where(Expr::col(L::UsedAt).is_null())
        .to_owned();
    db.run(&update).await
}

/// Forgets those that ended before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(L::Table).and_where(Expr::col(L::ExpiresAt).lt(before.0)).to_owned();
    db.run(&delete).await
}
