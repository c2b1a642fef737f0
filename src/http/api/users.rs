//! `/api/users`: accounts, for whoever may see them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::once::{Once, Reply};
use super::shapes::{UserShape, moment};
use crate::domain::{Fields, accounts};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::routes::users::{give, question};
use crate::http::typed::{Asked, Typed};
use crate::http::who::{Caller, Named};
use crate::model::ids::UserId;
use crate::model::users::User;

/// An account, as staff see it.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountShape {
    #[serde(flatten)]
    user: UserShape,
    /// Letters to its address reach it.
    email_verified: bool,
    /// Since when it is shut out.
    suspended_at: Option<String>,
    /// Why.
    suspended_why: Option<String>,
    /// How many servers it has.
    servers: i64,
}

/// A page of accounts.
#[derive(Serialize, ToSchema)]
pub(super) struct Accounts {
    users: Vec<AccountShape>,
    /// `after` of the next page.
    next: Option<String>,
}

/// What is to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(super) struct AccountChanges {
    /// `player`, `viewer`, `operator` or `admin`.
    role: Option<String>,
    /// Shut it out, or let it in again.
    suspended: Option<bool>,
    /// Why it is shut out.
    why: Option<String>,
}

/// Credits to give.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(super) struct Gift {
    /// Such as `25` or `-12.50`.
    amount: String,
    /// What for; its owner reads it.
    note: Option<String>,
    /// 8 to 64 letters and digits that make the same request count once.
    request: Option<String>,
}

fn shape(user: &User, servers: i64) -> AccountShape {
    AccountShape {
        email_verified: user.email_verified_at.is_some(),
        suspended_at: user.suspended.as_ref().map(|suspension| moment(suspension.at)),
        suspended_why: user.suspended.as_ref().map(|suspension| suspension.why.clone()),
        servers,
        user: UserShape::of(user),
    }
}

async fn fresh(web: &Web, caller: &Caller, id: &UserId) -> Answer {
    let (user, servers) = accounts::look(&web.ctx, caller.actor(), id).await?;
    Ok(Json(shape(&user, i64::try_from(servers.len()).unwrap_or(i64::MAX))).into_response())
}

/// Accounts in the order of their addresses.
#[utoipa::path(
    get, path = "/api/users", tag = "accounts",
    params(
        ("q" = Option<String>, Query, description = "Part of the address."),
        ("role" = Option<String>, Query, description = "Only of this role."),
        ("state" = Option<String>, Query, description = "`suspended`: only those."),
        ("after" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses((status = 200, body = Accounts))
)]
pub(super) async fn list(State(web): State<Web>, caller: Caller, asked: Asked) -> Answer {
    let found = accounts::list(&web.ctx, caller.actor(), &question(&asked), asked.get("after")).await?;
    let next = found.last().filter(|_| found.len() as u64 == accounts::PAGE).map(|line| line.user.email.clone());
    Ok(Json(Accounts { users: found.iter().map(|line| shape(&line.user, line.servers)).collect(), next }).into_response())
}

/// One account.
#[utoipa::path(get, path = "/api/users/{id}", tag = "accounts", responses((status = 200, body = AccountShape), (status = 404)))]
pub(super) async fn one(State(web): State<Web>, caller: Caller, Named(id): Named<UserId>) -> Answer {
    fresh(&web, &caller, &id).await
}

/// Changes its role, shuts it out or lets it in again.
#[utoipa::path(
    patch, path = "/api/users/{id}", tag = "accounts", request_body = AccountChanges,
    responses((status = 200, body = AccountShape), (status = 403), (status = 404), (status = 409), (status = 422))
)]
pub(super) async fn change(State(web): State<Web>, caller: Caller, Named(id): Named<UserId>, typed: Typed) -> Answer {
    accounts::must_manage(caller.actor())?;
    let mut fields = Fields::default();
    typed.only(&["role", "suspended", "why"], &mut fields);
    let suspended = typed.maybe("suspended").and_then(|_| typed.flag("suspended", &mut fields));
    fields.check()?;
    let (ctx, actor) = (&web.ctx, caller.actor());
    if let Some(role) = typed.maybe("role") {
        accounts::set_role(ctx, actor, &id, role).await?;
    }
    match suspended {
        Some(true) => drop(accounts::suspend(ctx, actor, &id, typed.text("why")).await?),
        Some(false) => drop(accounts::lift(ctx, actor, &id).await?),
        None => {}
    }
    fresh(&web, &caller, &id).await
}

/// Ends every session and token of an account.
#[utoipa::path(post, path = "/api/users/{id}/revoke", tag = "accounts", responses((status = 204), (status = 403), (status = 404)))]
pub(super) async fn revoke(State(web): State<Web>, caller: Caller, Named(id): Named<UserId>) -> Answer {
    accounts::end_sessions(&web.ctx, caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Gives credits, or takes them.
#[utoipa::path(
    post, path = "/api/users/{id}/credits", tag = "accounts", request_body = Gift,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = AccountShape), (status = 403), (status = 404), (status = 409), (status = 422))
)]
pub(super) async fn credits(State(web): State<Web>, caller: Caller, Named(id): Named<UserId>, once: Once, typed: Typed) -> Answer {
    let mut fields = Fields::default();
    typed.only(&["amount", "note", "request"], &mut fields);
    fields.check()?;
    let body = [typed.text("amount"), typed.text("note"), typed.text("request")].join("\n");
    let (site, actor) = (web.clone(), caller.actor().clone());
    let work = async move {
        give(&site, &actor, &id, &typed).await?;
        let (user, servers) = accounts::look(&site.ctx, &actor, &id).await?;
        Reply::json(StatusCode::OK, &shape(&user, i64::try_from(servers.len()).unwrap_or(i64::MAX)))
    };
    once.run(&web, caller.actor(), body.as_bytes(), work).await
}
