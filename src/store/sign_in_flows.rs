//! Browsers on their way to a provider and back. Each comes back once.

use sea_query::{Expr, ExprTrait, Iden, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::UserId;
use crate::model::time::Millis;

#[derive(Iden)]
enum SignInFlows {
    Table,
    State,
    Browser,
    Provider,
    Purpose,
    UserId,
    Next,
    Sealed,
    CreatedAt,
}

use SignInFlows as F;

/// A flow that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Hash of what comes back with the browser.
    pub state: String,
    /// Hash of the browser's own secret.
    pub browser: String,
    /// Key of the provider.
    pub provider: String,
    /// What it is for, in a word of the domain.
    pub purpose: String,
    /// Whose account it is about, where somebody was signed in.
    pub user: Option<UserId>,
    /// Where it leads afterwards; may be empty.
    pub next: String,
    /// What must not leave the panel.
    pub sealed: String,
    /// When it began.
    pub created_at: Millis,
}

#[derive(FromRow)]
struct FlowRow {
    state: String,
    browser: String,
    provider: String,
    purpose: String,
    user_id: Option<String>,
    next: String,
    sealed: String,
    created_at: i64,
}

impl TryFrom<FlowRow> for Flow {
    type Error = StoreError;
    fn try_from(row: FlowRow) -> Result<Flow, StoreError> {
        let user = row.user_id.map(|id| id.parse()).transpose().map_err(|_| StoreError::Unreadable("sign_in_flows.user_id"))?;
        Ok(Flow {
            state: row.state,
            browser: row.browser,
            provider: row.provider,
            purpose: row.purpose,
            user,
            next: row.next,
            sealed: row.sealed,
            created_at: Millis(row.created_at),
        })
    }
}

/// Keeps a flow.
pub async fn insert(db: &Db, flow: &Flow) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(F::Table)
        .columns([F::State, F::Browser, F::Provider, F::Purpose, F::UserId, F::Next, F::Sealed, F::CreatedAt])
        .values_panic([
            flow.state.as_str().into(),
            flow.browser.as_str().into(),
            flow.provider.as_str().into(),
            flow.purpose.as_str().into(),
            flow.user.as_ref().map(UserId::as_str).into(),
            flow.next.as_str().into(),
            flow.sealed.as_str().into(),
            flow.created_at.0.into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Takes a flow of this browser and provider out; none where there is none, or somebody was faster.
pub async fn take(db: &Db, state: &str, browser: &str, provider: &str) -> Result<Option<Flow>, StoreError> {
    let of = |column: F, value: &str| Expr::col(column).eq(value);
    let select = Query::select()
        .columns([F::State, F::Browser, F::Provider, F::Purpose, F::UserId, F::Next, F::Sealed, F::CreatedAt])
        .from(F::Table)
        .and_where(of(F::State, state))
        .and_where(of(F::Browser, browser))
        .and_where(of(F::Provider, provider))
        .to_owned();
    let Some(row) = db.opt::<FlowRow>(&select).await? else { return Ok(None) };
    let delete = Query::delete().from_table(F::Table).and_where(of(F::State, state)).to_owned();
    if db.run(&delete).await? == 1 { Flow::try_from(row).map(Some) } else { Ok(None) }
}

/// Forgets those from before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(F::Table).and_where(Expr::col(F::CreatedAt).lt(before.0)).to_owned();
    db.run(&delete).await
}
