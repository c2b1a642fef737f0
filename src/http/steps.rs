//! What a browser is in the middle of: halfway through a log-in, asked for an address, or freshly shown to be its owner's.
//!
//! All of it is kept with the session, away from the browser, and goes when somebody logs in or out. Beside it, a cookie with a secret of
//! the browser itself: flows to providers and questions to passkeys are answered only by the browser that began them, and without a row
//! in the table of sessions for everybody who looks at the login.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tower_sessions::Session;

use super::Web;
use super::cookies::Cookie;
use super::problem::Problem;
use super::sessions::failed;
use super::who::SignedIn;
use crate::domain::sign_in::{Newcomer, Proof};
use crate::domain::{Ctx, users};
use crate::model::ids::UserId;
use crate::model::time::{MINUTE, Millis};
use crate::model::users::User;

/// How long somebody may take between the two steps of a log-in.
const HALF_LIVES: i64 = 10 * MINUTE;
/// Seconds after which a browser gets another secret.
const BROWSER_SECS: u32 = 3_600;
/// Bytes of it.
const BROWSER_BYTES: usize = 24;

const HALF: &str = "half";
const NEWCOMER: &str = "newcomer";
const SHOWN: &str = "shown";

/// Somebody who has taken the first step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Half {
    user: UserId,
    since: Millis,
    next: String,
}

/// Somebody who has no account yet, and where they wanted to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    newcomer: Newcomer,
    next: String,
}

async fn keep(session: &Session, name: &str, value: impl Serialize + Send + Sync) -> Result<(), Problem> {
    session.insert(name, value).await.map_err(|error| failed(&error))
}

async fn kept<T: DeserializeOwned>(session: &Session, name: &str) -> Result<Option<T>, Problem> {
    match session.get::<T>(name).await {
        Ok(value) => Ok(value),
        // From another version of this program: whoever it is begins again.
        Err(tower_sessions::session::Error::SerdeJson(_)) => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

/// Forgets all of it.
pub(super) async fn forget(session: &Session) -> Result<(), Problem> {
    for name in [HALF, NEWCOMER, SHOWN] {
        session.remove_value(name).await.map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Somebody has taken the first step; whoever was signed in here is no longer.
pub(super) async fn begin_half(ctx: &Ctx, session: &Session, user: &User, next: &str) -> Result<(), Problem> {
    session.flush().await.map_err(|error| failed(&error))?;
    keep(session, HALF, Half { user: user.id.clone(), since: ctx.clock.now(), next: next.to_owned() }).await
}

/// Who has taken the first step here, and where they want to go, while that counts.
pub(super) async fn half(ctx: &Ctx, session: &Session) -> Result<Option<(User, String)>, Problem> {
    let Some(half) = kept::<Half>(session, HALF).await? else { return Ok(None) };
    if ctx.clock.now().since(half.since) >= HALF_LIVES {
        return Ok(None);
    }
    // Whoever has changed the password meanwhile has ended this as well.
    Ok(users::of_session(ctx, &half.user, half.since).await?.map(|actor| (actor.user, half.next)))
}

/// Somebody has come whom the panel does not know.
pub(super) async fn begin_newcomer(session: &Session, newcomer: Newcomer, next: String) -> Result<(), Problem> {
    session.cycle_id().await.map_err(|error| failed(&error))?;
    keep(session, NEWCOMER, Waiting { newcomer, next }).await
}

/// Who has come, and where they wanted to go, while that counts.
pub(super) async fn newcomer(ctx: &Ctx, session: &Session) -> Result<Option<(Newcomer, String)>, Problem> {
    let waiting = kept::<Waiting>(session, NEWCOMER).await?;
    Ok(waiting.filter(|waiting| waiting.newcomer.waits(ctx)).map(|waiting| (waiting.newcomer, waiting.next)))
}

/// Notes that whoever is here has just shown that the account is theirs.
pub(super) async fn show(ctx: &Ctx, session: &Session) -> Result<(), Problem> {
    keep(session, SHOWN, ctx.clock.now()).await
}

/// Whoever is here has shown within the last minutes that the account is theirs.
pub(super) async fn proof(ctx: &Ctx, session: &Session) -> Result<Option<Proof>, Problem> {
    Ok(Proof::of(ctx, kept::<Millis>(session, SHOWN).await?))
}

/// Somebody signed in who has just shown that the account is theirs; others are asked to, and come back.
pub(super) struct Confirmed {
    pub signed_in: SignedIn,
    pub proof: Proof,
}

impl FromRequestParts<Web> for Confirmed {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        let signed_in = SignedIn::from_request_parts(parts, web).await?;
        let session = parts.extensions.get::<Session>().ok_or_else(|| Problem::internal("a route without sessions").into_response())?;
        match proof(&web.ctx, session).await {
            Ok(Some(proof)) => Ok(Confirmed { signed_in, proof }),
            Ok(None) if is_json(&parts.headers) => {
                Err(Problem::new(StatusCode::FORBIDDEN, "Show once more that this account is yours: reload the page.").into_response())
            }
            Ok(None) => Err(Redirect::to("/account/confirm").into_response()),
            Err(problem) => Err(problem.into_response()),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with("application/json"))
}

/// The browser's own secret; a new one where it has none yet.
pub(super) struct BrowserSecret(pub String);

impl FromRequestParts<Web> for BrowserSecret {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let sent = web.cookies.read(&parts.headers, Cookie::Browser).map(str::to_owned);
        let fits = |value: &String| value.len() == 2 * BROWSER_BYTES && value.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(secret) = sent.filter(fits) {
            return Ok(BrowserSecret(secret));
        }
        let mut random = [0; BROWSER_BYTES];
        getrandom::fill(&mut random).map_err(|error| Problem::internal(format!("no random bytes: {error}")))?;
        Ok(BrowserSecret(hex::encode(random)))
    }
}

impl BrowserSecret {
    /// The answer with the secret, for its next hour.
    pub fn with(&self, web: &Web, response: impl IntoResponse) -> Response {
        let mut response = response.into_response();
        web.cookies.set(&mut response, Cookie::Browser, &self.0, BROWSER_SECS);
        response
    }
}
