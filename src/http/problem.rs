//! A refusal on its way out: one status, one title, one sentence on what to do, in the form that the visitor reads.
//!
//! Handlers return a [`Problem`]; [`dress`] turns it into a page, an htmx fragment or an RFC 9457 document, because only there
//! the request is known. What went wrong inside is logged here, once, and never shown.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tower_sessions::Session;

use super::pages::errors::ErrorPage;
use super::telemetry::RequestId;
use super::{Web, frame, notice, who};
use crate::domain::{Fields, Refusal};

/// Seconds after which a busy database is worth another try.
const BUSY_SECS: u64 = 2;

/// Seconds after which a full disk is worth another try.
const FULL_SECS: u64 = 60;

/// What went wrong, ready to be shown.
#[derive(Debug)]
pub(super) struct Problem {
    pub status: StatusCode,
    /// One or two sentences; empty: the usual words of the status.
    pub detail: String,
    /// Messages at fields.
    pub fields: Fields,
    /// Seconds until another try makes sense.
    retry_after: Option<u64>,
    /// For the log only.
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What handlers give.
pub(super) type Answer = Result<Response, Problem>;

impl Problem {
    /// A status with a sentence.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), fields: Fields::default(), retry_after: None, cause: None }
    }

    /// Nothing lives at this address.
    pub fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "")
    }

    /// Something that must not happen; the cause is logged.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Problem {
        Problem { cause: Some(cause.into()), ..Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "") }
    }

    /// The database is away for the moment; the cause is logged.
    pub fn busy(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Problem {
        Problem { retry_after: Some(BUSY_SECS), cause: Some(cause.into()), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, BUSY) }
    }

    /// The disk under the database is full; the cause is logged.
    pub fn full(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Problem {
        Problem { retry_after: Some(FULL_SECS), cause: Some(cause.into()), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, FULL) }
    }

    /// Fields that cannot be used.
    pub fn fields(fields: Fields) -> Problem {
        Problem { fields, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "") }
    }
}

/// When it is worth asking again whoever is outside, in seconds.
const AWAY_SECS: u64 = 60;

/// What a full disk sounds like.
const FULL: &str =
    "The disk of this panel is full, so nothing new can be written down. Nothing is lost. Whoever runs it has to free some space.";

/// What a busy database sounds like.
const BUSY: &str = "The panel has more to write down than it can at the moment. Nothing is lost; try again in a few seconds.";

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::NotFound => Problem::not_found(),
            Refusal::Forbidden => Problem::new(StatusCode::FORBIDDEN, ""),
            Refusal::Conflict(why) => Problem::new(StatusCode::CONFLICT, why),
            Refusal::Invalid(fields) => Problem::fields(fields),
            Refusal::TooMany { wait_secs } => Problem {
                retry_after: Some(wait_secs),
                ..Problem::new(StatusCode::TOO_MANY_REQUESTS, format!("Wait {wait_secs} seconds, then try again."))
            },
            Refusal::Away(why) => Problem { retry_after: Some(AWAY_SECS), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, why) },
            Refusal::Store(_) if refusal.is_full() => Problem::full(refusal),
            Refusal::Store(_) if refusal.is_busy() => Problem::busy(refusal),
            Refusal::Store(_) => Problem::internal(refusal),
        }
    }
}

impl IntoResponse for Problem {
    /// A bare answer that carries the problem; [`dress`] gives it its looks.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        if let Some(secs) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// For addresses that lead nowhere.
pub(super) async fn nothing_here() -> Problem {
    Problem::not_found()
}

/// For addresses that answer to other methods.
pub(super) async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "")
}

/// For handlers that panicked.
#[allow(clippy::needless_pass_by_value, reason = "the layer that calls this gives the panic away")]
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    Problem::internal(format!("a handler panicked: {}", said.unwrap_or_default())).into_response()
}

/// The form in which a visitor reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Page,
    Fragment,
    Document,
}

impl Reads {
    fn of(uri: &Uri, headers: &HeaderMap) -> Reads {
        let holds = |name: header::HeaderName, word: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains(word))
        };
        if uri.path().starts_with("/api/") || holds(header::CONTENT_TYPE, "application/json") {
            Reads::Document
        } else if headers.contains_key("hx-request") && !headers.contains_key("hx-boosted") {
            Reads::Fragment
        } else if holds(header::ACCEPT, "application/json") && !holds(header::ACCEPT, "text/html") {
            Reads::Document
        } else {
            Reads::Page
        }
    }
}

/// RFC 9457.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    errors: BTreeMap<&'a str, &'a str>,
}

/// Gives problems their looks, and takes away a notice that has been shown.
pub(super) async fn dress(State(web): State<Web>, request: Request, next: Next) -> Response {
    let reads = Reads::of(request.uri(), request.headers());
    let noticed = request.method() == Method::GET && notice::is_there(&web, request.headers());
    let uri = request.uri().clone();
    let session = request.extensions().get::<Session>().cloned();
    let id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
    let mut response = next.run(request).await;
    if noticed && response.status() == StatusCode::OK {
        notice::forget(&web, &mut response);
    }
    notice::keep(&web, &mut response);
    let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() else { return response };
    log(&problem, &id);
    let mut shown = match reads {
        Reads::Document => document(&problem, &id),
        Reads::Fragment => (problem.status, frame::notice_fragment(&sentence(&problem))).into_response(),
        Reads::Page => page(&web, &problem, &uri, session, &id).await,
    };
    for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::ALLOW] {
        if let Some(value) = response.headers_mut().remove(&name) {
            shown.headers_mut().insert(name, value);
        }
    }
    shown
}

fn log(problem: &Problem, id: &RequestId) {
    let Some(cause) = &problem.cause else { return };
    let cause: &(dyn std::error::Error + 'static) = &**cause;
    let mut chain = cause.to_string();
    let mut inner = cause.source();
    while let Some(error) = inner {
        chain.push_str(": ");
        chain.push_str(&error.to_string());
        inner = error.source();
    }
    tracing::error!(request = %id.as_str(), status = problem.status.as_u16(), cause = chain, "a request could not be answered");
}

/// Everything there is to say, where there is no room for fields.
fn sentence(problem: &Problem) -> String {
    let fields: Vec<&str> = problem.fields.0.iter().map(|(_, message)| message.as_str()).collect();
    if !fields.is_empty() {
        fields.join(" ")
    } else if problem.detail.is_empty() {
        ErrorPage::of(frame::nobodys(""), problem.status.as_u16(), "", "").detail
    } else {
        problem.detail.clone()
    }
}

fn document(problem: &Problem, id: &RequestId) -> Response {
    let words = ErrorPage::of(frame::nobodys(""), problem.status.as_u16(), &problem.detail, id.as_str());
    let document = Document {
        kind: "about:blank",
        title: &words.title,
        status: words.status,
        detail: &words.detail,
        request_id: id.as_str(),
        errors: problem.fields.0.iter().map(|(field, message)| (field.as_str(), message.as_str())).collect(),
    };
    let mut response = (problem.status, Json(&document)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

async fn page(web: &Web, problem: &Problem, uri: &Uri, session: Option<Session>, id: &RequestId) -> Response {
    // A database that does not answer is not asked who this is; that somebody else does not is no reason to look logged out.
    let known = match session {
        Some(session) if problem.cause.is_none() => who::of_session(web, &session).await.ok().flatten(),
        Some(_) | None => None,
    };
    let layout = match known {
        Some(held) => frame::layout(web, &held.actor, uri.path()).await.unwrap_or_else(|_| frame::nobodys(uri.path())),
        None => frame::nobodys(uri.path()),
    };
    let page = ErrorPage::of(layout, problem.status.as_u16(), &shorten(problem), id.as_str());
    (problem.status, page.into_response()).into_response()
}

fn shorten(problem: &Problem) -> String {
    if problem.fields.0.is_empty() { problem.detail.clone() } else { sentence(problem) }
}

/// A page with a status of its own.
pub(super) fn shown(status: StatusCode, page: impl IntoResponse) -> Response {
    (status, page).into_response()
}
