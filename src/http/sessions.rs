//! Browser sessions: a random id in a cookie, everything else in the database, under a hash of that id.
//!
//! A session holds the account and the millisecond of its login. It is read once for each request that asks who is there, and
//! written at login, at logout, and at most once a day to move its end on.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tower_sessions::cookie::SameSite;
use tower_sessions::cookie::time::Duration;
use tower_sessions::session::{Error, Id, Record};
use tower_sessions::session_store::{self, SessionStore};
use tower_sessions::{Expiry, Session, SessionManagerLayer};

use super::cookies::Cookie;
use super::problem::Problem;
use super::{Web, steps};
use crate::domain::sign_in::{self, KNOWN_DAYS};
use crate::domain::{Ctx, sessions, users};
use crate::model::ids::UserId;
use crate::model::time::{DAY, Millis, SECOND};
use crate::model::users::User;

/// Days without a visit after which a session ends.
const IDLE_DAYS: i64 = 14;
/// The end is moved on this long after it was last moved, in milliseconds.
const RENEW_AFTER: i64 = DAY;
/// Ids that are tried for a new session before something must be wrong.
const TRIES: u32 = 4;
/// What stands before the words of an error that a full disk made, because the session's own errors are words and no more.
const FULL: &str = "full: ";
/// Name of the one value in a session.
const WHO: &str = "who";

/// Keeps sessions through the domain.
#[derive(Clone)]
pub(super) struct Store(Arc<Ctx>);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// What is in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// Whose it is.
    pub user: UserId,
    /// When it began.
    pub since: Millis,
    /// When its end was last moved on.
    renewed: Millis,
}

/// Gives every request its session; nothing is read before somebody asks.
pub(super) fn layer(ctx: &Arc<Ctx>, cookie: &str, secure: bool) -> SessionManagerLayer<Store> {
    SessionManagerLayer::new(Store(ctx.clone()))
        .with_name(cookie.to_owned())
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_secure(secure)
        .with_expiry(Expiry::OnInactivity(Duration::days(IDLE_DAYS)))
}

pub(super) fn failed(error: &Error) -> Problem {
    match error {
        Error::Store(session_store::Error::Backend(why)) if why.starts_with(FULL) => Problem::full(format!("the session store: {error}")),
        Error::Store(session_store::Error::Backend(_)) => Problem::busy(format!("the session store: {error}")),
        Error::Store(session_store::Error::Encode(_) | session_store::Error::Decode(_)) | Error::SerdeJson(_) => {
            Problem::internal(format!("the session store: {error}"))
        }
    }
}

/// Begins a session for an account, under a new id.
pub(super) async fn begin(ctx: &Ctx, session: &Session, user: &User) -> Result<(), Problem> {
    let now = ctx.clock.now();
    steps::forget(session).await?;
    session.cycle_id().await.map_err(|error| failed(&error))?;
    session.insert(WHO, Held { user: user.id.clone(), since: now, renewed: now }).await.map_err(|error| failed(&error))
}

/// Ends it.
pub(super) async fn end(session: &Session) -> Result<(), Problem> {
    session.flush().await.map_err(|error| failed(&error))
}

/// Whose session it is; its end is moved on where that is due.
pub(super) async fn held(ctx: &Ctx, session: &Session) -> Result<Option<Held>, Problem> {
    let Some(held) = peek(session).await? else { return Ok(None) };
    let now = ctx.clock.now();
    // Where its end cannot be moved on, a full disk for one, whoever reads may go on reading.
    if now.since(held.renewed) >= RENEW_AFTER
        && let Some(id) = session.id()
        && sessions::move_on(ctx, &key(&id), now + IDLE_DAYS * DAY).await.is_ok()
    {
        let renewed = Held { renewed: now, ..held.clone() };
        session.insert(WHO, renewed).await.map_err(|error| failed(&error))?;
    }
    Ok(Some(held))
}

/// Whose session it is.
pub(super) async fn peek(session: &Session) -> Result<Option<Held>, Problem> {
    match session.get::<Held>(WHO).await {
        Ok(held) => Ok(held),
        // From another version of this program: whoever it is logs in again.
        Err(Error::SerdeJson(_)) => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

/// Keeps what a request has made of its session, while a refusal can still be said in words; and has a browser remember the account that
/// was opened with it.
pub(super) async fn settle(State(web): State<Web>, request: Request, next: Next) -> Response {
    let session = request.extensions().get::<Session>().cloned();
    let known = web.cookies.read(request.headers(), Cookie::Known).unwrap_or_default().to_owned();
    let mut response = next.run(request).await;
    let Some(session) = session.filter(|session| session.is_modified() && !response.status().is_server_error()) else { return response };
    if session.is_empty().await {
        return response;
    }
    if let Err(error) = session.save().await {
        return failed(&error).into_response();
    }
    if let Ok(Some(held)) = peek(&session).await
        && let Ok(Some(actor)) = users::of_session(&web.ctx, &held.user, held.since).await
        && let Some(words) = sign_in::remember(&web.ctx, &known, &actor.user.email)
    {
        web.cookies.set(&mut response, Cookie::Known, &words, u32::try_from(KNOWN_DAYS * DAY / SECOND).unwrap_or(u32::MAX));
    }
    response
}

/// Does a session of this id still stand?
pub(super) async fn stands(ctx: &Ctx, id: &Id) -> bool {
    sessions::load(ctx, &key(id)).await.is_ok_and(|kept| kept.is_some())
}

/// What is kept instead of the id: who reads the database cannot take a session over.
fn key(id: &Id) -> String {
    hex::encode(Sha256::digest(id.0.to_le_bytes()))
}

fn backend(error: &crate::domain::Refusal) -> session_store::Error {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let full = if error.is_full() { FULL } else { "" };
    session_store::Error::Backend(format!("{full}{error}{source}"))
}

impl Store {
    fn end_of(&self) -> Millis {
        self.0.clock.now() + IDLE_DAYS * DAY
    }
}

#[async_trait]
impl SessionStore for Store {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        let data = serde_json::to_string(&record.data).map_err(|error| session_store::Error::Encode(error.to_string()))?;
        for _ in 0..TRIES {
            if sessions::create(&self.0, &key(&record.id), &data, self.end_of()).await.map_err(|error| backend(&error.into()))? {
                return Ok(());
            }
            record.id = Id::default();
        }
        Err(session_store::Error::Backend("every id was taken".to_owned()))
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        let data = serde_json::to_string(&record.data).map_err(|error| session_store::Error::Encode(error.to_string()))?;
        sessions::save(&self.0, &key(&record.id), &data, self.end_of()).await.map_err(|error| backend(&error.into()))
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let kept = sessions::load(&self.0, &key(id)).await.map_err(|error| backend(&error.into()))?;
        let Some((data, expires_at)) = kept else { return Ok(None) };
        // What cannot be read is no session.
        let Ok(data) = serde_json::from_str(&data) else { return Ok(None) };
        let expiry_date =
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(expires_at.0) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Ok(Some(Record { id: *id, data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        sessions::delete(&self.0, &key(id)).await.map_err(|error| backend(&error.into()))
    }
}
