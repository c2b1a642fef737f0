//! `/admin/users`: finding accounts, and what admins change about them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::billing::request_key;
use super::create::by_field;
use crate::domain::accounts::{self, Question};
use crate::domain::{Actor, Refusal, billing, second_factor, sign_in};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::users::{ManageForm, Refused, UserPage, UsersPage};
use crate::http::problem::{Answer, Problem, shown};
use crate::http::typed::{Asked, Typed};
use crate::http::who::{Named, SignedIn};
use crate::model::ids::UserId;
use crate::model::users::Role;

/// What an address asks for; what cannot be read is not asked for.
pub(in crate::http) fn question(asked: &Asked) -> Question {
    Question {
        search: asked.get("q").unwrap_or_default().trim().chars().take(254).collect(),
        role: asked.get("role").and_then(Role::parse),
        suspended: asked.get("state") == Some("suspended"),
    }
}

/// `GET /admin/users`
pub(super) async fn list(State(web): State<Web>, signed_in: SignedIn, asked: Asked) -> Answer {
    let question = question(&asked);
    let found = accounts::list(&web.ctx, signed_in.actor(), &question, asked.get("after")).await?;
    let layout = signed_in.layout(&web).await?;
    Ok(UsersPage::of(layout, &question, &found, web.ctx.clock.now()).into_response())
}

async fn whole(web: &Web, signed_in: &SignedIn, id: &UserId, refused: &Refused) -> Result<UserPage, Problem> {
    let actor = signed_in.actor();
    let (user, servers) = accounts::look(&web.ctx, actor, id).await?;
    let page = UserPage::of(signed_in.layout(web).await?, &user, &servers, &web.ctx.games(), web.ctx.clock.now());
    let oneself = user.id == actor.user.id;
    let manage = if accounts::may_manage(actor) { Some(ManageForm::of(&user, oneself, request_key()?, refused)) } else { None };
    Ok(UserPage { manage, ..page })
}

/// `GET /admin/users/{id}`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<UserId>) -> Answer {
    Ok(whole(&web, &signed_in, &id, &Refused::default()).await?.into_response())
}

/// Back to the account's page with a word, or the page again with what is wrong.
async fn answer<T>(web: &Web, signed_in: &SignedIn, id: &UserId, typed: &Typed, done: Result<T, Refusal>, said: Said) -> Answer {
    match done {
        Ok(_) => Ok(go(&format!("/admin/users/{id}"), said)),
        Err(Refusal::Invalid(fields)) => {
            let refused = Refused { typed: typed.values().clone(), errors: by_field(&fields) };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, whole(web, signed_in, id, &refused).await?))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /admin/users/{id}/role`
pub(super) async fn role(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<UserId>, typed: Typed) -> Answer {
    let done = accounts::set_role(&web.ctx, signed_in.actor(), &id, typed.text("role")).await;
    answer(&web, &signed_in, &id, &typed, done, Said::RoleChanged).await
}

/// `POST /admin/users/{id}/suspend`
pub(super) async fn suspend(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<UserId>, typed: Typed) -> Answer {
    let done = accounts::suspend(&web.ctx, signed_in.actor(), &id, typed.text("why")).await;
    answer(&web, &signed_in, &id, &typed, done, Said::Suspended).await
}

/// `POST /admin/users/{id}/lift`
pub(super) async fn lift(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<UserId>, typed: Typed) -> Answer {
    let done = accounts::lift(&web.ctx, signed_in.actor(), &id).await;
    answer(&web, &signed_in, &id, &typed, done, Said::Lifted).await
}

/// `POST /admin/users/{id}/revoke`
pub(super) async fn revoke(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<UserId>, typed: Typed) -> Answer {
    let done = accounts::end_sessions(&web.ctx, signed_in.actor(), &id).await;
    answer(&web, &signed_in, &id, &typed, done, Said::SessionsEnded).await
}

/// Gives credits to the account of an id.
pub(in crate::http) async fn give(web: &Web, actor: &Actor, id: &UserId, typed: &Typed) -> Result<(), Refusal> {
    let (user, _) = accounts::look(&web.ctx, actor, id).await?;
    billing::grant(&web.ctx, actor, &user.email, typed.text("amount"), typed.text("note"), typed.text("request")).await?;
    Ok(())
}

/// `POST /admin/users/{id}/reset-link`: the page with a link to set a new password, this once.
pub(super) async fn reset_link(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<UserId>) -> Answer {
    accounts::must_manage(signed_in.actor())?;
    let link = sign_in::make_reset_link(&web.ctx, signed_in.actor(), &id).await?;
    let page = whole(&web, &signed_in, &id, &Refused::default()).await?;
    Ok(UserPage { link: Some(link), ..page }.into_response())
}

/// `POST /admin/users/{id}/remove-factors`: for somebody who has lost every one of them.
pub(super) async fn remove_factors(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<UserId>, typed: Typed) -> Answer {
    accounts::must_manage(signed_in.actor())?;
    accounts::look(&web.ctx, signed_in.actor(), &id).await?;
    let done = match second_factor::remove_all(&web.ctx, signed_in.actor(), &id).await {
        Err(Refusal::NotFound) => Err(Refusal::Conflict("It has no second factor.".to_owned())),
        other => other,
    };
    answer(&web, &signed_in, &id, &typed, done, Said::FactorsRemoved).await
}

/// `POST /admin/users/{id}/credits`
pub(super) async fn credits(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<UserId>, typed: Typed) -> Answer {
    let done = give(&web, signed_in.actor(), &id, &typed).await;
    let removed = typed.text("amount").trim_start().starts_with('-');
    answer(&web, &signed_in, &id, &typed, done, if removed { Said::CreditsRemoved } else { Said::CreditsGranted }).await
}
