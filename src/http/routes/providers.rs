//! To a provider and back: `/auth/{provider}`, its callback, and the question for an address where a provider has none to be relied on.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use tower_sessions::Session;

use super::auth::{destination, enter};
use crate::domain::Refusal;
use crate::domain::sign_in::{self, Arrival, IdentityError, Purpose, Returned, Trouble};
use crate::http::guards::led_from_here;
use crate::http::notice::{Said, go};
use crate::http::pages::fields::Field;
use crate::http::pages::gate::{GateForm, GatePage, Sky, Way};
use crate::http::pages::layout::Layout;
use crate::http::problem::{Answer, Problem, shown};
use crate::http::steps::{self, BrowserSecret};
use crate::http::typed::{Asked, Typed};
use crate::http::who::{From, Visitor, local};
use crate::http::{Web, sessions};

/// The address at which a flow to a provider begins.
pub(super) fn place(key: &str, next: Option<&str>) -> String {
    let query = next.and_then(|next| serde_urlencoded::to_string([("next", next)]).ok());
    query.map_or_else(|| format!("/auth/{key}"), |query| format!("/auth/{key}?{query}"))
}

/// A button for each provider.
pub(super) fn buttons(web: &Web, next: Option<&str>) -> Vec<Way> {
    web.ctx.providers.list().map(|(key, name)| Way::link(&place(key, next), &format!("Continue with {name}"))).collect()
}

/// `GET /auth/{provider}`: begins a flow, if a page of this site led here; otherwise asks first, so that no other site can log anybody in.
pub(super) async fn begin(
    State(web): State<Web>,
    visitor: Visitor,
    browser: BrowserSecret,
    From(from): From,
    Path(provider): Path<String>,
    asked: Asked,
    headers: HeaderMap,
) -> Answer {
    let name = web.ctx.providers.name(&provider).ok_or_else(Problem::not_found)?;
    let next = asked.get("next").and_then(local);
    if visitor.known.is_some() {
        return Ok(Redirect::to(destination(next)).into_response());
    }
    if !led_from_here(&headers, &web.settings) {
        let mut page = GatePage::of(visitor.layout(&web), Sky::Dusk, &format!("Log in with {name}?"));
        page.says = vec![format!("Another site, or a link, has sent you here. If you want to log in with {name}, go on.")];
        page.ways = vec![Way::link(&place(&provider, next), &format!("Continue with {name}"))];
        return Ok(page.into_response());
    }
    match sign_in::begin(&web.ctx, &provider, Purpose::LogIn, &browser.0, next.unwrap_or_default(), from).await {
        Ok(url) => Ok(browser.with(&web, Redirect::to(&url))),
        Err(trouble) => explain(&web, visitor.layout(&web), &provider, trouble, false),
    }
}

/// `GET /auth/{provider}/callback`
pub(super) async fn callback(
    State(web): State<Web>,
    visitor: Visitor,
    browser: BrowserSecret,
    session: Session,
    From(from): From,
    Path(provider): Path<String>,
    asked: Asked,
) -> Answer {
    web.ctx.providers.name(&provider).ok_or_else(Problem::not_found)?;
    let text = |name: &str| asked.get(name).unwrap_or_default();
    let returned = Returned { state: text("state"), code: text("code"), error: asked.get("error") };
    let actor = visitor.known.as_ref().map(|known| &known.actor);
    match sign_in::arrive(&web.ctx, &provider, returned, &browser.0, actor, from).await {
        Ok(Arrival::Entered(entry, next)) => enter(&web, &session, entry, local(&next)).await,
        Ok(Arrival::Newcomer(newcomer, next)) => {
            steps::begin_newcomer(&session, newcomer, next).await?;
            Ok(Redirect::to("/auth/newcomer").into_response())
        }
        Ok(Arrival::Linked) => Ok(go("/account/security", Said::Linked)),
        Ok(Arrival::Confirmed(next)) => {
            steps::show(&web.ctx, &session).await?;
            Ok(Redirect::to(local(&next).unwrap_or("/account/security")).into_response())
        }
        Err(trouble) => explain(&web, visitor.layout(&web), &provider, trouble, actor.is_some()),
    }
}

/// What went wrong, and what to do next.
pub(super) fn explain(web: &Web, layout: Layout, provider: &str, trouble: Trouble, signed_in: bool) -> Answer {
    let name = web.ctx.providers.name(provider).unwrap_or(provider);
    log(provider, &trouble);
    let (status, title, says) = match trouble {
        Trouble::Refused(Refusal::Forbidden) => (
            StatusCode::FORBIDDEN,
            "No new accounts here".to_owned(),
            format!(
                "Your account at {name} opens no account here, and this panel makes none for strangers. If you have one, log in to it and link {name} on your account’s page. If not, write to whoever runs this panel."
            ),
        ),
        Trouble::Refused(Refusal::Conflict(why)) => (StatusCode::FORBIDDEN, "You cannot log in".to_owned(), why),
        Trouble::Refused(refusal) => return Err(refusal.into()),
        Trouble::Provider(IdentityError::Unknown) => return Err(Problem::not_found()),
        Trouble::NoFlow => (
            StatusCode::BAD_REQUEST,
            "This log-in has ended".to_owned(),
            "It took longer than ten minutes, it was used already, or it began in another browser. Nothing was changed; begin again."
                .to_owned(),
        ),
        Trouble::Denied => (
            StatusCode::FORBIDDEN,
            format!("{name} was not asked"),
            format!("You did not agree at {name}, so nothing was changed. Try again, or take another way."),
        ),
        Trouble::SentBack(word) => (
            StatusCode::BAD_GATEWAY,
            format!("{name} sent you back"),
            format!(
                "It says “{word}” and nothing more. Try again in a while, or take another way. If it stays like this, tell whoever runs this panel."
            ),
        ),
        Trouble::Provider(IdentityError::Away(_)) => (
            StatusCode::BAD_GATEWAY,
            format!("{name} does not answer"),
            "It is away for the moment, or set up wrongly here. Try again in a while, or take another way.".to_owned(),
        ),
        Trouble::Provider(IdentityError::Odd(_)) => (
            StatusCode::BAD_GATEWAY,
            format!("{name} answered in an unknown form"),
            "Trying again will not help. Take another way, and tell whoever runs this panel; its log says what was not understood."
                .to_owned(),
        ),
        Trouble::Provider(IdentityError::Refused(_)) => (
            StatusCode::BAD_GATEWAY,
            format!("{name} did not go through with it"),
            "Begin again. If it stays like this, tell whoever runs this panel: what is set up here for it may be wrong.".to_owned(),
        ),
        Trouble::Provider(IdentityError::NotBelieved(_)) => (
            StatusCode::FORBIDDEN,
            format!("What {name} says cannot be believed"),
            "A check failed, so nobody was logged in. Begin again. If it stays like this, tell whoever runs this panel.".to_owned(),
        ),
        Trouble::Taken(email) => (
            StatusCode::CONFLICT,
            "You have an account already".to_owned(),
            format!(
                "There is an account with the address {email}. Log in to it the way you always do, once, and link {name} on its page “Security”. From then on {name} opens it. If you never had one, or forgot the password, choose a new one: that needs access to the letters of {email}."
            ),
        ),
        Trouble::Elsewhere => (
            StatusCode::CONFLICT,
            "This opens another account".to_owned(),
            format!(
                "The account at {name} that you have chosen belongs to another account here. Log in with it to see which, or choose another one at {name}."
            ),
        ),
        Trouble::OneAlready => (
            StatusCode::CONFLICT,
            format!("{name} is linked already"),
            format!("Your account is linked to one at {name}. Unlink that first, then link the other one."),
        ),
        Trouble::NotYours => (
            StatusCode::CONFLICT,
            "This is not the account that you began with".to_owned(),
            format!("You are logged in to another account here, or chose another one at {name}. Nothing was changed; begin again."),
        ),
    };
    let mut page = GatePage::of(layout, Sky::Trouble, &title);
    page.says = vec![says];
    page.ways = if signed_in {
        vec![Way::link("/account/security", "Back to your account")]
    } else {
        vec![Way::link("/auth/login", "To the login"), Way::link("/auth/forgot", "Choose a new password")]
    };
    Ok(shown(status, page))
}

fn log(provider: &str, trouble: &Trouble) {
    match trouble {
        Trouble::Provider(_) | Trouble::SentBack(_) => {
            tracing::warn!(provider, error = trouble as &dyn std::error::Error, "nobody was signed in");
        }
        Trouble::NoFlow
        | Trouble::Denied
        | Trouble::Taken(_)
        | Trouble::Elsewhere
        | Trouble::OneAlready
        | Trouble::NotYours
        | Trouble::Refused(_) => {}
    }
}

fn question(web: &Web, layout: Layout, provider: &str, email: &str, error: Option<String>) -> GatePage {
    let name = web.ctx.providers.name(provider).unwrap_or(provider);
    let mut page = GatePage::of(layout, Sky::Dawn, "One more thing");
    page.says =
        vec![format!("{name} did not give an address that it has seen to be yours. Which one is it? Letters about your account go there.")];
    page.form =
        Some(GateForm::to("/auth/newcomer", "Make the account").field(Field::email("email", "E-mail", email).error(error).required()));
    page.ways = vec![Way::link("/auth/login", "I have an account")];
    page
}

fn too_late() -> Response {
    Redirect::to("/auth/login").into_response()
}

/// `GET /auth/newcomer`
pub(super) async fn newcomer_page(State(web): State<Web>, visitor: Visitor, session: Session) -> Answer {
    let Some((newcomer, _)) = steps::newcomer(&web.ctx, &session).await? else { return Ok(too_late()) };
    Ok(question(&web, visitor.layout(&web), &newcomer.provider, &newcomer.address, None).into_response())
}

/// `POST /auth/newcomer`
pub(super) async fn newcomer(State(web): State<Web>, visitor: Visitor, session: Session, From(from): From, typed: Typed) -> Answer {
    let Some((newcomer, next)) = steps::newcomer(&web.ctx, &session).await? else { return Ok(too_late()) };
    match sign_in::settle(&web.ctx, &newcomer, typed.text("email"), from).await {
        Ok(user) => {
            sessions::begin(&web.ctx, &session, &user).await?;
            Ok(Redirect::to(destination(local(&next))).into_response())
        }
        Err(Refusal::Invalid(fields)) => {
            let error = fields.at("email").map(str::to_owned);
            let page = question(&web, visitor.layout(&web), &newcomer.provider, typed.text("email"), error);
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, page))
        }
        Err(refusal) => Err(refusal.into()),
    }
}
