//! What every request passes before a handler sees it, and what every answer carries.
//!
//! A request with a host name that is not ours, with a body that is too large, or that another site sent in a visitor's name
//! ends here. [`headers`] tells browsers what this site never does.

pub(in crate::http) mod audit;
mod origin;
pub(in crate::http) mod rate;

use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Web;
use super::problem::Problem;
use super::routes::templates::is_upload;
use super::who::From;
pub(super) use origin::led_from_here;

/// Longest time that a handler may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same for an archive on its way in. Its size has a bound of its own, kept while it comes.
const ARCHIVE_PATIENCE: Duration = Duration::from_hours(6);

/// How long a browser is to come by HTTPS only, once it has: half a year.
const HTTPS_ONLY: &str = "max-age=15552000";

/// Scripts, styles, images and sockets from here only; no frames around us, no forms to elsewhere.
const POLICY: &str = "default-src 'self'; connect-src 'self'; img-src 'self'; object-src 'none'; frame-ancestors 'none'; \
                      form-action 'self'; base-uri 'none'";

/// The checks.
pub(super) async fn check(State(web): State<Web>, request: Request, next: Next) -> Response {
    let settings = &web.settings;
    let (mut parts, body) = request.into_parts();
    let Ok(From(address)) = From::from_request_parts(&mut parts, &web).await;
    if let Err(refusal) = web.rate.check(&web, &parts.headers, address) {
        return Problem::from(refusal).into_response();
    }
    let request = Request::from_parts(parts, body);
    let host = origin::host(&request);
    if !host.is_some_and(|host| origin::ours(host, settings)) && !settings.allowed_hosts.is_empty() {
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "This name does not belong to this panel.").into_response();
    }
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let archive = is_upload(request.method(), request.uri().path());
    let most = if archive { u64::MAX } else { settings.max_body_bytes as u64 };
    if declared.is_some_and(|length| length > most) {
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "").into_response();
    }
    if let Err(why) = origin::check(&request, host, settings) {
        return Problem::new(StatusCode::FORBIDDEN, why).into_response();
    }
    let patience = if archive { ARCHIVE_PATIENCE } else { PATIENCE };
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::busy("a handler took longer than its patience").into_response(),
    }
}

/// What browsers are told with every answer; private pages are kept by nobody.
pub(super) async fn headers(State(web): State<Web>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if web.settings.secure_cookies {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HTTPS_ONLY));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
