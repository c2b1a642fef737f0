//! The second step of a log-in, and passkeys, which are both steps at once. What a passkey is asked goes through a small script of ours.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_sessions::Session;

use super::auth::destination;
use crate::domain::{Refusal, second_factor};
use crate::http::pages::fields::Field;
use crate::http::pages::gate::{GateForm, GatePage, Sky, Way};
use crate::http::pages::layout::Layout;
use crate::http::problem::{Answer, Problem, shown};
use crate::http::steps::{self, BrowserSecret};
use crate::http::typed::{Raw, Typed};
use crate::http::who::{Comes, From, Visitor, local};
use crate::http::{Web, sessions};
use crate::model::users::User;

async fn question(web: &Web, layout: Layout, user: &User, error: Option<String>) -> Result<GatePage, Refusal> {
    let standing = second_factor::standing(&web.ctx, &user.id).await?;
    let mut page = GatePage::of(layout, Sky::Dusk, "One more step");
    page.says = vec![match (standing.app, standing.passkeys.is_empty()) {
        (true, true) => "Enter the code that your app shows now, or one of your recovery codes.".to_owned(),
        (true, false) => "Use a passkey, or enter the code that your app shows now, or one of your recovery codes.".to_owned(),
        (false, _) => "Use your passkey, or enter one of your recovery codes.".to_owned(),
    }];
    let label = if standing.app { "Code" } else { "Recovery code" };
    page.form = Some(GateForm::to("/auth/second", "Log in").field(Field::code("code", label).error(error).required()));
    page.passkey = (!standing.passkeys.is_empty() && web.ctx.relying_party.is_there()).then_some("second");
    page.ways = vec![Way::link("/auth/login", "Log in as somebody else")];
    Ok(page)
}

/// `GET /auth/second`
pub(super) async fn page(State(web): State<Web>, visitor: Visitor, session: Session) -> Answer {
    match steps::half(&web.ctx, &session).await? {
        Some((user, _)) => Ok(question(&web, visitor.layout(&web), &user, None).await?.into_response()),
        None => Ok(Redirect::to("/auth/login").into_response()),
    }
}

/// `POST /auth/second`
pub(super) async fn code(State(web): State<Web>, visitor: Visitor, session: Session, Comes(whence): Comes, typed: Typed) -> Answer {
    let Some((user, next)) = steps::half(&web.ctx, &session).await? else { return Ok(Redirect::to("/auth/login").into_response()) };
    match second_factor::take_code(&web.ctx, &user, typed.text("code"), &whence).await {
        Ok(()) => {
            sessions::begin(&web.ctx, &session, &user).await?;
            Ok(Redirect::to(destination(local(&next))).into_response())
        }
        Err(Refusal::Invalid(fields)) => {
            let page = question(&web, visitor.layout(&web), &user, fields.at("code").map(str::to_owned)).await?;
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, page))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// What the script asks with.
#[derive(Deserialize)]
struct Ask {
    /// `second`: for whoever has taken the first step here; else for anybody.
    step: String,
}

/// What the script brings back.
#[derive(Deserialize)]
struct Answered {
    step: String,
    id: String,
    credential: Value,
    #[serde(default)]
    next: String,
}

/// A JSON body of the script.
pub(super) fn read<T: for<'a> Deserialize<'a>>(raw: &Raw) -> Result<T, Problem> {
    serde_json::from_slice(&raw.0).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "The body has to be what this site’s own page sends."))
}

async fn of_step(web: &Web, session: &Session, step: &str) -> Result<Option<(User, String)>, Problem> {
    if step != "second" {
        return Ok(None);
    }
    let half = steps::half(&web.ctx, session).await?;
    half.map(Some).ok_or_else(|| Problem::new(StatusCode::CONFLICT, "The first step took place too long ago. Log in again."))
}

/// `POST /auth/passkey/begin`: what to ask a passkey.
pub(super) async fn begin(State(web): State<Web>, session: Session, browser: BrowserSecret, From(from): From, raw: Raw) -> Answer {
    let ask: Ask = read(&raw)?;
    let half = of_step(&web, &session, &ask.step).await?;
    let asked = second_factor::ask_for_passkey(&web.ctx, half.as_ref().map(|(user, _)| user), &browser.0, from).await?;
    Ok(browser.with(&web, Json(json!({"id": asked.id, "options": asked.options}))))
}

/// `POST /auth/passkey`: what it answered.
pub(super) async fn answer(State(web): State<Web>, session: Session, browser: BrowserSecret, From(from): From, raw: Raw) -> Answer {
    let answered: Answered = read(&raw)?;
    let half = of_step(&web, &session, &answered.step).await?;
    let (user, next) = half.unzip();
    let next = next.unwrap_or(answered.next);
    let user = second_factor::enter_by_passkey(&web.ctx, user.as_ref(), &browser.0, (&answered.id, answered.credential), from).await?;
    sessions::begin(&web.ctx, &session, &user).await?;
    Ok(Json(json!({"next": destination(local(&next))})).into_response())
}
