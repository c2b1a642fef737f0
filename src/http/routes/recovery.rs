//! Links that go out by mail, or by an admin's hand: a new password, and an address that is verified.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use tower_sessions::Session;

use super::auth::enter;
use crate::domain::Refusal;
use crate::domain::sign_in;
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::fields::Field;
use crate::http::pages::gate::{GateForm, GatePage, Sky, Way};
use crate::http::pages::layout::Layout;
use crate::http::problem::{Answer, shown};
use crate::http::typed::{Asked, Typed};
use crate::http::who::{Comes, From, SignedIn, Visitor};

fn forgot(web: &Web, layout: Layout, email: &str, error: Option<String>) -> GatePage {
    let mut page = GatePage::of(layout, Sky::Dusk, "A new password");
    if web.ctx.mail.is_some() {
        page.says = vec!["Enter the address of your account. A letter with a link will come to it.".to_owned()];
        page.form =
            Some(GateForm::to("/auth/forgot", "Send the letter").field(Field::email("email", "E-mail", email).error(error).required()));
    } else {
        page.says = vec!["This panel sends no letters. Write to whoever runs it: they can make a link for you.".to_owned()];
    }
    page.ways = vec![Way::link("/auth/login", "To the login")];
    page
}

/// `GET /auth/forgot`
pub(super) async fn forgot_page(State(web): State<Web>, visitor: Visitor) -> Answer {
    Ok(forgot(&web, visitor.layout(&web), "", None).into_response())
}

/// `POST /auth/forgot`: the same answer after the same time, whether there is such an account or not.
pub(super) async fn ask(State(web): State<Web>, visitor: Visitor, Comes(whence): Comes, typed: Typed) -> Answer {
    let email = match sign_in::check_reset(&web.ctx, typed.text("email"), &whence) {
        Ok(email) => email,
        Err(Refusal::Invalid(fields)) => {
            let page = forgot(&web, visitor.layout(&web), typed.text("email"), fields.at("email").map(str::to_owned));
            return Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, page));
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let mut page = GatePage::of(visitor.layout(&web), Sky::Dusk, "Look at your letters");
    page.says = vec![format!(
        "If there is an account with the address {email}, a letter with a link is on its way. The link works for an hour, once."
    )];
    page.ways = vec![Way::link("/auth/login", "To the login")];
    let site = web.clone();
    web.work.spawn(async move {
        if let Err(error) = sign_in::request_reset(&site.ctx, &email).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a link to a new password could not be sent");
        }
    });
    Ok(page.into_response())
}

fn ended(layout: Layout) -> GatePage {
    let mut page = GatePage::of(layout, Sky::Trouble, "This link has ended");
    page.says = vec!["It was used, a newer one was sent, or its time is over. Ask for another one.".to_owned()];
    page.ways = vec![Way::link("/auth/forgot", "Ask for another link"), Way::link("/auth/login", "To the login")];
    page
}

fn choose(layout: Layout, token: &str, email: &str, error: Option<String>) -> GatePage {
    let mut page = GatePage::of(layout, Sky::Dawn, "Choose a new password");
    page.says = vec![format!("For the account {email}. Every device and every token of it is logged out.")];
    let field = Field::password("password", "New password", "new-password").help("At least 10 characters, such as a short sentence.");
    page.form = Some(GateForm::to("/auth/reset", "Set the password").hidden("token", token).field(field.error(error).required()));
    page
}

/// `GET /auth/reset`
pub(super) async fn reset_page(State(web): State<Web>, visitor: Visitor, asked: Asked) -> Answer {
    let token = asked.get("token").unwrap_or_default();
    match sign_in::find_reset(&web.ctx, token).await? {
        Some(link) => Ok(choose(visitor.layout(&web), token, &link.user.email, None).into_response()),
        None => Ok(shown(StatusCode::GONE, ended(visitor.layout(&web)))),
    }
}

/// `POST /auth/reset`
pub(super) async fn reset(State(web): State<Web>, visitor: Visitor, session: Session, From(from): From, typed: Typed) -> Answer {
    let token = typed.text("token");
    match sign_in::reset(&web.ctx, token, typed.text("password"), from).await {
        Ok(entry) => enter(&web, &session, entry, None).await,
        Err(Refusal::NotFound) => Ok(shown(StatusCode::GONE, ended(visitor.layout(&web)))),
        Err(Refusal::Invalid(fields)) => {
            let link = sign_in::find_reset(&web.ctx, token).await?;
            let email = link.map(|link| link.user.email).unwrap_or_default();
            let page = choose(visitor.layout(&web), token, &email, fields.at("password").map(str::to_owned));
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, page))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `GET /auth/verify`: asks once more, because programs that look through letters open every link.
pub(super) async fn verify_page(State(web): State<Web>, signed_in: SignedIn, asked: Asked) -> Answer {
    let mut page = GatePage::of(signed_in.layout(&web).await?, Sky::Dawn, "Is this your address?");
    page.says = vec![format!("You are logged in as {}. Say so if letters to this address reach you.", signed_in.actor().user.email)];
    page.form = Some(GateForm::to("/auth/verify", "Yes, it is mine").hidden("token", asked.get("token").unwrap_or_default()));
    Ok(page.into_response())
}

/// `POST /auth/verify`
pub(super) async fn verify(State(web): State<Web>, signed_in: SignedIn, typed: Typed) -> Answer {
    match sign_in::verify(&web.ctx, signed_in.actor(), typed.text("token")).await {
        Ok(()) => Ok(go("/account", Said::EmailVerified)),
        Err(Refusal::NotFound) => {
            let mut page = ended(signed_in.layout(&web).await?);
            page.says = vec![
                "It was used, a newer one was sent, its day is over, or it is for another account than the one you are logged in to."
                    .to_owned(),
            ];
            page.ways = vec![Way::link("/account", "To your account")];
            Ok(shown(StatusCode::GONE, page))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /account/verify`: another letter.
pub(super) async fn send_again(State(web): State<Web>, signed_in: SignedIn, Comes(whence): Comes) -> Answer {
    sign_in::request_verification(&web.ctx, signed_in.actor(), &whence).await?;
    Ok(go("/account", Said::LetterSent))
}
