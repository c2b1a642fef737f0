//! The front page, making an account, logging in and out. Forms and JSON by content type; JSON gets a token instead of a session.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use tower_sessions::Session;

use super::providers::buttons;
use crate::domain::sign_in::{self, Entry, Whence};
use crate::domain::{Actor, Fields, Refusal, second_factor, sessions as ends, shares, tokens, users};
use crate::http::api::shapes::{Login, UserShape};
use crate::http::guards::audit::LetIn;
use crate::http::notice::{Said, go};
use crate::http::pages::auth::{LandingPage, LoginPage, RegisterPage};
use crate::http::pages::gate::{GatePage, Sky, Way};
use crate::http::pages::layout::{Layout, amount};
use crate::http::problem::{Answer, Problem, shown};
use crate::http::typed::{Asked, Typed};
use crate::http::who::{Comes, From, SignedIn, Visitor, local};
use crate::http::{Web, sessions, steps};
use crate::model::accounts::Email;
use crate::model::money::Credits;
use crate::model::users::User;

/// What the link of an invitation begins with.
const INVITATION: &str = "/invitation?key=";
/// Games that the front page names.
const SHELF: usize = 12;

fn gift(web: &Web) -> String {
    let gift = web.ctx.policy.signup_credits;
    if gift > Credits::ZERO { amount(gift) } else { String::new() }
}

/// `GET /`
pub(super) async fn landing(State(web): State<Web>, visitor: Visitor) -> Response {
    if visitor.known.is_some() {
        return Redirect::to("/dashboard").into_response();
    }
    let games = web.ctx.games().all().iter().take(SHELF).map(|game| game.name.clone()).collect();
    LandingPage { layout: visitor.layout(&web), signup_credits: gift(&web), games }.into_response()
}

pub(super) fn destination(next: Option<&str>) -> &str {
    next.and_then(local).unwrap_or("/dashboard")
}

/// `GET /auth/login`
pub(super) async fn login_page(State(web): State<Web>, visitor: Visitor, asked: Asked) -> Response {
    let next = asked.get("next").and_then(local);
    if visitor.known.is_some() {
        return Redirect::to(destination(next)).into_response();
    }
    let invitation = invitation(&web, next).await;
    let (email, invited) = invitation.map_or((String::new(), None), |(email, words)| (email, Some(words)));
    LoginPage { invited, ..login_form(&web, visitor.layout(&web), &email, None, next) }.into_response()
}

/// The address that an invitation was sent to, and who shares what, where somebody comes by its link.
async fn invitation(web: &Web, next: Option<&str>) -> Option<(String, String)> {
    let key = next?.strip_prefix(INVITATION)?;
    let (invitation, server) = shares::look(&web.ctx, key).await.ok()?;
    let words = format!("{} shares {server} with {}. Log in or sign up with that address to accept.", invitation.made_by, invitation.email);
    Some((invitation.email.to_string(), words))
}

fn login_form(web: &Web, layout: Layout, email: &str, error: Option<String>, next: Option<&str>) -> LoginPage {
    LoginPage {
        ways: buttons(web, next),
        passkeys: web.ctx.relying_party.is_there(),
        ..LoginPage::of(layout, email, error, next.map(str::to_owned))
    }
}

/// Lets somebody in who has taken the first step, or leads them to the second.
pub(super) async fn enter(web: &Web, session: &Session, entry: Entry, next: Option<&str>) -> Answer {
    match entry {
        Entry::In(user) => {
            sessions::begin(&web.ctx, session, &user).await?;
            Ok(Redirect::to(destination(next)).into_response())
        }
        Entry::Second(user) => {
            steps::begin_half(&web.ctx, session, &user, next.unwrap_or_default()).await?;
            Ok(Redirect::to("/auth/second").into_response())
        }
    }
}

/// The second step of a program, which sends its code along.
async fn second(web: &Web, entry: Entry, code: Option<&str>, whence: &Whence) -> Result<User, Problem> {
    let user = match (entry, code) {
        (Entry::In(user), _) => return Ok(user),
        (Entry::Second(user), Some(code)) => {
            second_factor::take_code(&web.ctx, &user, code, whence).await?;
            user
        }
        (Entry::Second(_), None) => {
            let mut problem = Problem::new(
                StatusCode::FORBIDDEN,
                "This account has a second factor. Send a code of its app, or a recovery code, as `code`; or make a token on the account’s page.",
            );
            problem.fields.add("code", "This account has a second factor: send a code.");
            return Err(problem);
        }
    };
    Ok(user)
}

async fn answer_with_token(web: &Web, user: User, status: StatusCode) -> Answer {
    let actor = Actor::of(user);
    let token = tokens::for_login(&web.ctx, &actor).await?;
    let mut response = (status, Json(Login { token, user: UserShape::of(&actor.user) })).into_response();
    response.extensions_mut().insert(LetIn(actor.user));
    Ok(response)
}

/// `POST /auth/login`
#[utoipa::path(
    post, path = "/auth/login", tag = "accounts", request_body = crate::http::api::shapes::Proofs,
    responses((status = 200, body = Login), (status = 403), (status = 422), (status = 429)), security(())
)]
pub(in crate::http) async fn login(
    State(web): State<Web>,
    visitor: Visitor,
    session: Session,
    Comes(whence): Comes,
    typed: Typed,
) -> Answer {
    let mut fields = Fields::default();
    typed.only(&["email", "password", "code", "next"], &mut fields);
    fields.check()?;
    match sign_in::by_password(&web.ctx, typed.text("email"), typed.text("password"), &whence).await {
        Ok(entry) if typed.json => {
            let user = second(&web, entry, typed.maybe("code"), &whence).await?;
            answer_with_token(&web, user, StatusCode::OK).await
        }
        Ok(entry) => enter(&web, &session, entry, typed.maybe("next").and_then(local)).await,
        Err(refusal) if typed.json => Err(refusal.into()),
        Err(refusal) => {
            let (status, why) = whole(refusal)?;
            let next = typed.maybe("next").and_then(local);
            Ok(shown(status, login_form(&web, visitor.layout(&web), typed.text("email"), Some(why), next)))
        }
    }
}

/// A refusal that concerns the form as a whole: its status and one sentence.
fn whole(refusal: Refusal) -> Result<(StatusCode, String), Problem> {
    match refusal {
        Refusal::Invalid(fields) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, fields.0.into_iter().next().map(|(_, message)| message).unwrap_or_default()))
        }
        Refusal::Conflict(why) => Ok((StatusCode::FORBIDDEN, why)),
        Refusal::NotFound | Refusal::Forbidden | Refusal::TooMany { .. } | Refusal::Away(_) | Refusal::Store(_) => Err(refusal.into()),
    }
}

/// `GET /auth/register`
pub(super) async fn register_page(State(web): State<Web>, visitor: Visitor, asked: Asked) -> Answer {
    if visitor.known.is_some() && asked.get("setup").is_none() {
        return Ok(Redirect::to("/dashboard").into_response());
    }
    let next = asked.get("next").and_then(local);
    let invitation = invitation(&web, next).await;
    let (email, invited) = invitation.map_or((String::new(), None), |(email, words)| (email, Some(words)));
    let mut page = RegisterPage {
        signup_credits: gift(&web),
        ways: buttons(&web, next),
        next: next.map(str::to_owned),
        invited,
        ..RegisterPage::of(visitor.layout(&web), &email, None, None)
    };
    if let Some(secret) = asked.get("setup") {
        if users::setup_works(&web.ctx, secret).await? {
            page.setup = Some(secret.to_owned());
            // The first admin has a password, whatever happens to a provider.
            page.ways = Vec::new();
        } else {
            page.error = Some(
                "This setup link has been used or replaced. Start the panel again: it prints a new one while there is no admin.".to_owned(),
            );
        }
    }
    Ok(page.into_response())
}

fn register_form(web: &Web, layout: Layout, typed: &Typed, fields: &Fields) -> RegisterPage {
    let at = |name: &str| fields.at(name).map(str::to_owned);
    RegisterPage {
        error: at("setup"),
        setup: typed.maybe("setup").filter(|_| fields.at("setup").is_none()).map(str::to_owned),
        signup_credits: gift(web),
        ways: buttons(web, typed.maybe("next").and_then(local)),
        next: typed.maybe("next").and_then(local).map(str::to_owned),
        ..RegisterPage::of(layout, typed.text("email"), at("email"), at("password"))
    }
}

/// How a registration is answered.
enum Registered {
    /// At once, with the account.
    Here(User),
    /// By a letter to this address.
    ByLetter(Email),
}

fn by_letter(layout: Layout, email: &Email) -> GatePage {
    let mut page = GatePage::of(layout, Sky::Dusk, "Look at your letters");
    page.says = vec![
        format!("A letter to {email} is on its way."),
        "If the address is new here, your account is ready: log in with the password that you have just chosen.".to_owned(),
    ];
    page.ways = vec![Way::link("/auth/login", "To the login")];
    page
}

/// `POST /auth/register`
#[utoipa::path(
    post, path = "/auth/register", tag = "accounts", request_body = crate::http::api::shapes::Credentials,
    responses(
        (status = 201, body = Login), (status = 202, description = "The answer goes by letter: log in once it has come."),
        (status = 403), (status = 409), (status = 422), (status = 429)
    ), security(())
)]
pub(in crate::http) async fn register(
    State(web): State<Web>,
    visitor: Visitor,
    session: Session,
    From(from): From,
    typed: Typed,
) -> Answer {
    let mut fields = Fields::default();
    typed.only(&["email", "password", "setup", "next"], &mut fields);
    fields.check()?;
    let (email, password, setup) = (typed.text("email"), typed.text("password"), typed.maybe("setup"));
    let made = if users::answers_by_letter(&web.ctx, setup) {
        users::register_by_letter(&web.ctx, email, password, from).await.map(Registered::ByLetter)
    } else {
        users::register(&web.ctx, email, password, setup, from).await.map(Registered::Here)
    };
    match made {
        Ok(Registered::ByLetter(_)) if typed.json => Ok(StatusCode::ACCEPTED.into_response()),
        Ok(Registered::ByLetter(email)) => Ok(by_letter(visitor.layout(&web), &email).into_response()),
        Ok(Registered::Here(user)) if typed.json => answer_with_token(&web, user, StatusCode::CREATED).await,
        Ok(Registered::Here(user)) => {
            sessions::begin(&web.ctx, &session, &user).await?;
            Ok(Redirect::to(destination(typed.maybe("next").and_then(local))).into_response())
        }
        Err(Refusal::Invalid(fields)) if !typed.json => {
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, register_form(&web, visitor.layout(&web), &typed, &fields)))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /auth/logout`
pub(super) async fn logout(State(web): State<Web>, signed_in: SignedIn, session: Session) -> Answer {
    sessions::end(&session).await?;
    ends::ended(&web.ctx, &signed_in.actor().user.id);
    Ok(go("/auth/login", Said::LoggedOut))
}
