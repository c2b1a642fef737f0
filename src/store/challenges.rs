//! What passkeys were asked to sign. Each is answered once, by the browser that asked.

use sea_query::{Expr, ExprTrait, Iden, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::UserId;
use crate::model::time::Millis;

#[derive(Iden)]
enum Challenges {
    Table,
    Id,
    Browser,
    Purpose,
    UserId,
    Body,
    CreatedAt,
}

use Challenges as C;

/// A challenge that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Hash of the id that the browser sends back.
    pub id: String,
    /// Hash of the browser's own secret.
    pub browser: String,
    /// What it is for, in a word of the domain.
    pub purpose: String,
    /// Whose passkeys may answer; none: anybody's.
    pub user: Option<UserId>,
    /// As the library writes it.
    pub body: String,
    /// When it was made.
    pub created_at: Millis,
}

#[derive(FromRow)]
struct ChallengeRow {
    id: String,
    browser: String,
    purpose: String,
    user_id: Option<String>,
    body: String,
    created_at: i64,
}

impl TryFrom<ChallengeRow> for Challenge {
    type Error = StoreError;
    fn try_from(row: ChallengeRow) -> Result<Challenge, StoreError> {
        let user = row.user_id.map(|id| id.parse()).transpose().map_err(|_| StoreError::Unreadable("challenges.user_id"))?;
        Ok(Challenge { id: row.id, browser: row.browser, purpose: row.purpose, user, body: row.body, created_at: Millis(row.created_at) })
    }
}

/// Keeps one.
pub async fn insert(db: &Db, challenge: &Challenge) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(C::Table)
        .columns([C::Id, C::Browser, C::Purpose, C::UserId, C::Body, C::CreatedAt])
        .values_panic([
            challenge.id.as_str().into(),
            challenge.browser.as_str().into(),
            challenge.purpose.as_str().into(),
            challenge.user.as_ref().map(UserId::as_str).into(),
            challenge.body.as_str().into(),
            challenge.created_at.0.into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Takes one of this browser out; none where there is none, or somebody was faster.
pub async fn take(db: &Db, id: &str, browser: &str, purpose: &str) -> Result<Option<Challenge>, StoreError> {
    let select = Query::select()
        .columns([C::Id, C::Browser, C::Purpose, C::UserId, C::Body, C::CreatedAt])
        .from(C::Table)
        .and_where(Expr::col(C::Id).eq(id))
        .and_where(Expr::col(C::Browser).eq(browser))
        .and_where(Expr::col(C::Purpose).eq(purpose))
        .to_owned();
    let Some(row) = db.opt::<ChallengeRow>(&select).await? else { return Ok(None) };
    let delete = Query::delete().from_table(C::Table).and_where(Expr::col(C::Id).eq(id)).to_owned();
    if db.run(&delete).await? == 1 { Challenge::try_from(row).map(Some) } else { Ok(None) }
}

/// Forgets those from before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(C::Table).and_where(Expr::col(C::CreatedAt).lt(before.0)).to_owned();
    db.run(&delete).await
}
