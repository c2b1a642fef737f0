//! The browser's files, in the program itself: stylesheets, scripts, signs. Nothing is read from a path that came from outside.
//!
//! Pages name a file with the version of the program (`?v=`): such an address is kept for ever. Without it a browser asks
//! again and is told by the file's hash that nothing has changed.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// The files under `static/`.
#[derive(rust_embed::RustEmbed)]
#[folder = "static"]
struct Files;

/// Are htmx and its socket extension there? They are fetched when the program is built; without them pages work as plain ones.
pub(super) fn vendored() -> bool {
    static THERE: LazyLock<bool> = LazyLock::new(|| Files::get("vendor/htmx.min.js").is_some() && Files::get("vendor/ws.min.js").is_some());
    *THERE
}

/// `/static/*`.
pub(super) async fn file(Path(path): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(file) = Files::get(&path) else { return StatusCode::NOT_FOUND.into_response() };
    let etag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..12]));
    let versioned = uri.query().is_some_and(|query| query.starts_with("v="));
    let keep = if versioned { "public, max-age=31536000, immutable" } else { "public, no-cache" };
    let same = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|known| known.contains(&etag));
    let mut response = if same { StatusCode::NOT_MODIFIED.into_response() } else { file.data.into_response() };
    let kind = HeaderValue::from_str(file.metadata.mimetype()).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}
