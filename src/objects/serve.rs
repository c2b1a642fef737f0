//! Answers at the folder's signed addresses: `GET` and `PUT /objects/{key}`. `cli` puts these routes beside the panel's own.
//!
//! No session and no cookie is looked at: the address is the whole right. What is stored comes from strangers, so it is always given as a
//! file to keep, never as a page of the panel's.

use std::sync::Arc;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt, TryStreamExt};

use super::folder::FolderStore;
use super::links::{BadLink, Link};
use super::{Body, ObjectError, ObjectStore, Verb};

/// On every answer: a browser keeps it as a file, and does nothing else with it.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_TYPE, "application/octet-stream"),
    (header::CONTENT_DISPOSITION, "attachment"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
    (header::CACHE_CONTROL, "private, no-store"),
];

/// The routes. They take bodies of any size up to [`super::folder::PUT_MAX`], so they stand outside of the panel's own limit.
pub fn routes(store: Arc<FolderStore>) -> Router {
    Router::new().route("/objects/{*key}", get(read).put(write)).with_state(store)
}

fn words(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}

/// An answer that says no.
struct No(Box<Response>);

impl IntoResponse for No {
    fn into_response(self) -> Response {
        *self.0
    }
}

fn believe(store: &FolderStore, verb: Verb, key: &str, query: Option<&str>) -> Result<Link, No> {
    store.verify(verb, key, query.unwrap_or_default()).map_err(|error| {
        let status = match error {
            BadLink::Malformed => StatusCode::BAD_REQUEST,
            BadLink::Forged | BadLink::Expired => StatusCode::FORBIDDEN,
        };
        No(Box::new(words(status, &error.to_string())))
    })
}

fn refused(error: &ObjectError) -> No {
    let status = match error {
        ObjectError::Missing(_) | ObjectError::NoUpload(_) => StatusCode::NOT_FOUND,
        ObjectError::PastTheEnd { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        ObjectError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        ObjectError::Body(_) | ObjectError::OutOfRange(_) | ObjectError::BadParts { .. } => StatusCode::BAD_REQUEST,
        ObjectError::Full => StatusCode::INSUFFICIENT_STORAGE,
        ObjectError::Refused(_) | ObjectError::NoBucket(_) | ObjectError::Away(_) | ObjectError::Failed { .. } => {
            tracing::warn!(error = error as &dyn std::error::Error, "an object cannot be served");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    No(Box::new(words(status, &error.to_string())))
}

/// Where `Range: bytes=N-` begins. Other ranges are answered with the whole, as the protocol allows.
fn begin(headers: &HeaderMap) -> u64 {
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    range.and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0)
}

async fn read(
    State(store): State<Arc<FolderStore>>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, No> {
    let link = believe(&store, Verb::Get, &key, query.as_deref())?;
    let from = begin(&headers);
    let download = store.get(&link.key, from).await.map_err(|error| refused(&error))?;
    if from > 0 && from >= download.bytes {
        return Err(refused(&ObjectError::PastTheEnd { key: link.key, bytes: download.bytes }));
    }
    let mut response = Response::new(HttpBody::from_stream(download.body));
    let answer = response.headers_mut();
    answer.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::CONTENT_LENGTH, HeaderValue::from(download.bytes - from));
    if from > 0 {
        let range = format!("bytes {from}-{}/{}", download.bytes.saturating_sub(1), download.bytes);
        answer.extend(HeaderValue::try_from(range).ok().map(|range| (header::CONTENT_RANGE, range)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

async fn write(
    State(store): State<Arc<FolderStore>>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    body: HttpBody,
) -> Result<Response, No> {
    let link = believe(&store, Verb::Put, &key, query.as_deref())?;
    let body: Body = body.into_data_stream().map_err(std::io::Error::other).boxed();
    let tag = store.receive(&link, body).await.map_err(|error| refused(&error))?;
    let tag = HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
    Ok((StatusCode::OK, [(header::ETAG, tag)]).into_response())
}
