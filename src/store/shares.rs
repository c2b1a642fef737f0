//! Servers that are shared, and invitations to them. An invitation's secret is here as its hash only.

use std::collections::BTreeMap;

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query};
use sqlx::FromRow;

use super::users::Users;
use super::{Db, StoreError};
use crate::model::accounts::Email;
use crate::model::ids::{InvitationId, ServerId, UserId};
use crate::model::shares::{Grants, Invitation, Share};
use crate::model::time::Millis;

#[derive(Iden)]
enum Shares {
    Table,
    Server,
    UserId,
    Grants,
    Since,
}

#[derive(Iden)]
enum Invitations {
    Table,
    Id,
    Server,
    Email,
    Grants,
    Hash,
    MadeBy,
    CreatedAt,
    ExpiresAt,
}

use Invitations as I;
use Shares as S;

fn grants(text: &str) -> Result<Grants, StoreError> {
    Grants::parse(text).ok_or(StoreError::Unreadable("shares.grants"))
}

#[derive(FromRow)]
struct ShareRow {
    server: String,
    user_id: String,
    email: String,
    grants: String,
    since: i64,
}

impl TryFrom<ShareRow> for Share {
    type Error = StoreError;
    fn try_from(row: ShareRow) -> Result<Share, StoreError> {
        Ok(Share {
            server: row.server.parse().map_err(|_| StoreError::Unreadable("shares.server"))?,
            user: row.user_id.parse().map_err(|_| StoreError::Unreadable("shares.user_id"))?,
            email: row.email,
            grants: grants(&row.grants)?,
            since: Millis(row.since),
        })
    }
}

#[derive(FromRow)]
struct GrantRow {
    server: String,
    grants: String,
}

/// What somebody may do with servers of others.
pub async fn of_user(db: &Db, user: &UserId, limit: u64) -> Result<BTreeMap<ServerId, Grants>, StoreError> {
    let select = Query::select()
        .columns([S::Server, S::Grants])
        .from(S::Table)
        .and_where(Expr::col(S::UserId).eq(user.as_str()))
        .order_by(S::Server, Order::Asc)
        .limit(limit)
        .to_owned();
    let rows = db.all::<GrantRow>(&select).await?;
    let read = |row: GrantRow| Ok((row.server.parse().map_err(|_| StoreError::Unreadable("shares.server"))?, grants(&row.grants)?));
    rows.into_iter().map(read).collect()
}

/// Who may do something with a server, in the order of their addresses.
pub async fn of_server(db: &Db, server: &ServerId, limit: u64) -> Result<Vec<Share>, StoreError> {
    let select = Query::select()
        .columns([(S::Table, S::Server), (S::Table, S::UserId), (S::Table, S::Grants), (S::Table, S::Since)])
        .column((Users::Table, Users::Email))
        .from(S::Table)
        .inner_join(Users::Table, Expr::col((Users::Table, Users::Id)).equals((S::Table, S::UserId)))
        .and_where(Expr::col((S::Table, S::Server)).eq(server.as_str()))
        .order_by((Users::Table, Users::Email), Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<ShareRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Lets somebody do this with a server, and nothing else any more.
pub async fn put(db: &Db, server: &ServerId, user: &UserId, grants: Grants, now: Millis) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(S::Table)
        .columns([S::Server, S::UserId, S::Grants, S::Since])
        .values_panic([server.as_str().into(), user.as_str().into(), grants.to_string().into(), now.0.into()])
        .on_conflict(OnConflict::columns([S::Server, S::UserId]).update_column(S::Grants).to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Changes what a guest may do; false when there is no such guest.
pub async fn change(db: &Db, server: &ServerId, user: &UserId, grants: Grants) -> Result<bool, StoreError> {
    let update = Query::update()
        .table(S::Table)
        .value(S::Grants, grants.to_string())
        .and_where(Expr::col(S::Server).eq(server.as_str()))
        .and_where(Expr::col(S::UserId).eq(user.as_str()))
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// Takes it all away; false when there is no such guest.
pub async fn remove(db: &Db, server: &ServerId, user: &UserId) -> Result<bool, StoreError> {
    let delete = Query::delete()
        .from_table(S::Table)
        .and_where(Expr::col(S::Server).eq(server.as_str()))
        .and_where(Expr::col(S::UserId).eq(user.as_str()))
        .to_owned();
    Ok(db.run(&delete).await? == 1)
}

#[derive(FromRow)]
struct InvitationRow {
    id: String,
    server: String,
    email: String,
    grants: String,
    made_by: String,
    created_at: i64,
    expires_at: i64,
}

impl TryFrom<InvitationRow> for Invitation {
    type Error = StoreError;
    fn try_from(row: InvitationRow) -> Result<Invitation, StoreError> {
        Ok(Invitation {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("invitations.id"))?,
            server: row.server.parse().map_err(|_| StoreError::Unreadable("invitations.server"))?,
            email: Email::parse(&row.email).map_err(|_| StoreError::Unreadable("invitations.email"))?,
            grants: grants(&row.grants)?,
            made_by: row.made_by,
            created_at: Millis(row.created_at),
            expires_at: Millis(row.expires_at),
        })
    }
}

fn select() -> sea_query::SelectStatement {
    Query::select().columns([I::Id, I::Server, I::Email, I::Grants, I::MadeBy, I::CreatedAt, I::ExpiresAt]).from(I::Table).to_owned()
}

/// Keeps an invitation in place of an older one to the same server and address.
pub async fn invite(db: &Db, invitation: &Invitation, hash: &str) -> Result<(), StoreError> {
    let older = Query::delete()
        .from_table(I::Table)
        .and_where(Expr::col(I::Server).eq(invitation.server.as_str()))
        .and_where(Expr::col(I::Email).eq(invitation.email.as_str()))
        .to_owned();
    db.run(&older).await?;
    let insert = Query::insert()
        .into_table(I::Table)
        .columns([I::Id, I::Server, I::Email, I::Grants, I::Hash, I::MadeBy, I::CreatedAt, I::ExpiresAt])
        .values_panic([
            invitation.id.as_str().into(),
            invitation.server.as_str().into(),
            invitation.email.as_str().into(),
            invitation.grants.to_string().into(),
            hash.into(),
            invitation.made_by.as_str().into(),
            invitation.created_at.0.into(),
            invitation.expires_at.0.into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// The invitation of this secret, if it can still be taken up.
pub async fn invitation(db: &Db, hash: &str, now: Millis) -> Result<Option<Invitation>, StoreError> {
    let select = select().and_where(Expr::col(I::Hash).eq(hash)).and_where(Expr::col(I::ExpiresAt).gt(now.0)).to_owned();
    db.opt::<InvitationRow>(&select).await?.map(TryInto::try_into).transpose()
}

/// Invitations to a server that can still be taken up, in the order of their addresses.
pub async fn invitations(db: &Db, server: &ServerId, now: Millis, limit: u64) -> Result<Vec<Invitation>, StoreError> {
    let select = select()
        .and_where(Expr::col(I::Server).eq(server.as_str()))
        .and_where(Expr::col(I::ExpiresAt).gt(now.0))
        .order_by(I::Email, Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<InvitationRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Takes an invitation away; true when it was there. Used where it may count once.
pub async fn take_back(db: &Db, server: &ServerId, id: &InvitationId) -> Result<bool, StoreError> {
    let delete = Query::delete()
        .from_table(I::Table)
        .and_where(Expr::col(I::Server).eq(server.as_str()))
        .and_where(Expr::col(I::Id).eq(id.as_str()))
        .to_owned();
    Ok(db.run(&delete).await? == 1)
}

/// Forgets invitations that nobody took up in time; gives their number.
pub async fn sweep(db: &Db, now: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(I::Table).and_where(Expr::col(I::ExpiresAt).lte(now.0)).to_owned();
    db.run(&delete).await
}
