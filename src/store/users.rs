//! Accounts. The password hash leaves this room only towards the check of a login.

use std::collections::{BTreeSet, HashMap};

use sea_query::{Expr, ExprTrait, Iden, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError, Tx};
use crate::model::accounts::Email;
use crate::model::ids::UserId;
use crate::model::money::Credits;
use crate::model::time::Millis;
use crate::model::users::{Role, Suspension, User};

#[derive(Iden)]
pub(super) enum Users {
    Table,
    Id,
    Email,
    PasswordHash,
    Role,
    Balance,
    CreatedAt,
    SessionsFrom,
    EmailVerifiedAt,
    SuspendedAt,
    SuspendedWhy,
}

#[derive(FromRow)]
struct UserRow {
    id: String,
    email: String,
    password_hash: String,
    role: String,
    balance: i64,
    created_at: i64,
    sessions_from: i64,
    email_verified_at: Option<i64>,
    suspended_at: Option<i64>,
    suspended_why: String,
}

impl TryFrom<UserRow> for (User, String) {
    type Error = StoreError;
    fn try_from(row: UserRow) -> Result<(User, String), StoreError> {
        let user = User {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("users.id"))?,
            email: row.email,
            role: Role::parse(&row.role).ok_or(StoreError::Unreadable("users.role"))?,
            balance: Credits(row.balance),
            created_at: Millis(row.created_at),
            sessions_from: Millis(row.sessions_from),
            email_verified_at: row.email_verified_at.map(Millis),
            suspended: row.suspended_at.map(|at| Suspension { at: Millis(at), why: row.suspended_why }),
        };
        Ok((user, row.password_hash))
    }
}

fn select() -> sea_query::SelectStatement {
    Query::select()
        .columns([Users::Id, Users::Email, Users::PasswordHash, Users::Role, Users::Balance, Users::CreatedAt, Users::SessionsFrom])
        .columns([Users::EmailVerifiedAt, Users::SuspendedAt, Users::SuspendedWhy])
        .from(Users::Table)
        .to_owned()
}

/// Makes an account; [`StoreError::Exists`] when the address has one.
pub async fn insert(db: &Db, user: &User, password_hash: &str) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(Users::Table)
        .columns([
            Users::Id,
            Users::Email,
            Users::PasswordHash,
            Users::Role,
            Users::Balance,
            Users::CreatedAt,
            Users::SessionsFrom,
            Users::EmailVerifiedAt,
        ])
        .values_panic([
            user.id.as_str().into(),
            user.email.as_str().into(),
            password_hash.into(),
            user.role.as_str().into(),
            user.balance.0.into(),
            user.created_at.0.into(),
            user.sessions_from.0.into(),
            user.email_verified_at.map(|at| at.0).into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// The account of this id.
pub async fn by_id(db: &Db, id: &UserId) -> Result<Option<User>, StoreError> {
    let select = select().and_where(Expr::col(Users::Id).eq(id.as_str())).to_owned();
    db.opt::<UserRow>(&select).await?.map(|row| <(User, String)>::try_from(row).map(|(user, _)| user)).transpose()
}

/// The account of this address, with its password hash: the oldest, where two were made before both forms of a domain were one.
pub async fn by_email(db: &Db, email: &Email) -> Result<Option<(User, String)>, StoreError> {
    let forms = [email.as_str().to_owned(), email.ascii()];
    let select = select().and_where(Expr::col(Users::Email).is_in(forms)).order_by(Users::CreatedAt, Order::Asc).limit(1).to_owned();
    db.opt::<UserRow>(&select).await?.map(TryInto::try_into).transpose()
}

/// The account of this id, with its password hash.
pub async fn with_hash(db: &Db, id: &UserId) -> Result<Option<(User, String)>, StoreError> {
    let select = select().and_where(Expr::col(Users::Id).eq(id.as_str())).to_owned();
    db.opt::<UserRow>(&select).await?.map(TryInto::try_into).transpose()
}

/// Is there an account with this role?
pub async fn any_with_role(db: &Db, role: Role) -> Result<bool, StoreError> {
    let select = select().and_where(Expr::col(Users::Role).eq(role.as_str())).limit(1).to_owned();
    Ok(db.opt::<UserRow>(&select).await?.is_some())
}

/// Which accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Whose address holds this; empty: any.
    pub search: String,
    /// Of this role.
    pub role: Option<Role>,
    /// Only those that are shut out.
    pub suspended: bool,
}

/// Accounts in the order of their addresses, behind one of them.
pub async fn list(db: &Db, question: &Question, after: Option<&str>, limit: u64) -> Result<Vec<User>, StoreError> {
    let mut select = select().order_by(Users::Email, Order::Asc).limit(limit).to_owned();
    if !question.search.is_empty() {
        let plain = question.search.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        select.and_where(Expr::col(Users::Email).like(sea_query::LikeExpr::new(format!("%{plain}%")).escape('\\')));
    }
    if let Some(role) = question.role {
        select.and_where(Expr::col(Users::Role).eq(role.as_str()));
    }
    if question.suspended {
        select.and_where(Expr::col(Users::SuspendedAt).is_not_null());
    }
    if let Some(after) = after {
        select.and_where(Expr::col(Users::Email).gt(after));
    }
    db.all::<UserRow>(&select).await?.into_iter().map(|row| <(User, String)>::try_from(row).map(|(user, _)| user)).collect()
}

/// Changes a role; everything else of the account stays.
pub async fn set_role(db: &Db, id: &UserId, role: Role) -> Result<(), StoreError> {
    let update =
        Query::update().table(Users::Table).value(Users::Role, role.as_str()).and_where(Expr::col(Users::Id).eq(id.as_str())).to_owned();
    db.run(&update).await.map(drop)
}

/// Shuts an account out, or lets it in again.
pub async fn set_suspended(db: &Db, id: &UserId, suspension: Option<&Suspension>) -> Result<(), StoreError> {
    let update = Query::update()
        .table(Users::Table)
        .value(Users::SuspendedAt, suspension.map(|suspension| suspension.at.0))
        .value(Users::SuspendedWhy, suspension.map_or("", |suspension| suspension.why.as_str()))
        .and_where(Expr::col(Users::Id).eq(id.as_str()))
        .to_owned();
    db.run(&update).await.map(drop)
}

#[derive(FromRow)]
struct BalanceRow {
    id: String,
    balance: i64,
}

/// The balances of these accounts.
pub async fn balances(db: &Db, ids: impl Iterator<Item = &UserId>) -> Result<HashMap<UserId, Credits>, StoreError> {
    let ids: BTreeSet<&str> = ids.map(UserId::as_str).collect();
    let select =
        Query::select().columns([Users::Id, Users::Balance]).from(Users::Table).and_where(Expr::col(Users::Id).is_in(ids)).to_owned();
    let rows = db.all::<BalanceRow>(&select).await?;
    let read = |row: BalanceRow| Ok((row.id.parse().map_err(|_| StoreError::Unreadable("users.id"))?, Credits(row.balance)));
    rows.into_iter().map(read).collect()
}

/// Sets a new password hash and ends every session that began before `sessions_from`.
pub async fn set_password(db: &Db, id: &UserId, password_hash: &str, sessions_from: Millis) -> Result<(), StoreError> {
    let update = Query::update()
        .table(Users::Table)
        .value(Users::PasswordHash, password_hash)
        .value(Users::SessionsFrom, sessions_from.0)
        .and_where(Expr::col(Users::Id).eq(id.as_str()))
        .to_owned();
    db.run(&update).await.map(drop)
}

/// Ends every session that began before `sessions_from`.
pub async fn end_sessions(db: &Db, id: &UserId, sessions_from: Millis) -> Result<(), StoreError> {
    let update = Query::update()
        .table(Users::Table)
        .value(Users::SessionsFrom, sessions_from.0)
        .and_where(Expr::col(Users::Id).eq(id.as_str()))
        .to_owned();
    db.run(&update).await.map(drop)
}

/// Notes that letters to its address reach the account, unless that is known already.
pub async fn verify_email(db: &Db, id: &UserId, now: Millis) -> Result<(), StoreError> {
    let update = Query::update()
        .table(Users::Table)
        .value(Users::EmailVerifiedAt, now.0)
        .and_where(Expr::col(Users::Id).eq(id.as_str()))
        .and_where(Expr::col(Users::EmailVerifiedAt).is_null())
        .to_owned();
    db.run(&update).await.map(drop)
}

/// Holds an account until this transaction ends: whoever else wants to hold it waits. What is counted behind this is still true when
/// it is written, on both databases and whichever panel writes. False when there is no such account.
pub async fn hold(tx: &Tx, id: &UserId) -> Result<bool, StoreError> {
    let touch = Query::update()
        .table(Users::Table)
        .value(Users::Id, Expr::col(Users::Id))
        .and_where(Expr::col(Users::Id).eq(id.as_str()))
        .to_owned();
    Ok(tx.run(&touch).await? == 1)
}

/// Moves the balance. Only [`super::ledger`] calls this, beside the entry that explains it.
pub(super) async fn add_to_balance(db: &Db, id: &str, amount: Credits) -> Result<(), StoreError> {
    let update = Query::update()
        .table(Users::Table)
        .value(Users::Balance, Expr::col(Users::Balance).add(amount.0))
        .and_where(Expr::col(Users::Id).eq(id))
        .to_owned();
    db.run(&update).await.map(drop)
}
