//! `/api/webhook/*`: sidecars that reach the panel itself. No session, no origin, no host name: the signature is the proof.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::domain::doors::{self, Unheard};
use crate::http::Web;
use crate::wire::door::BODY_BYTES_MAX;
use crate::wire::wake::{NONCE, SERVER, SIGNATURE, Signed, TIMESTAMP};

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn signed<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Signed<'a> {
    Signed { timestamp: header(headers, TIMESTAMP), nonce: header(headers, NONCE), signature: header(headers, SIGNATURE), body }
}

fn answer<T: serde::Serialize>(done: Result<T, Unheard>) -> Response {
    let status = match done {
        Ok(said) => return Json(said).into_response(),
        Err(Unheard::NotBelieved) => StatusCode::UNAUTHORIZED,
        Err(Unheard::Nonsense) => StatusCode::UNPROCESSABLE_ENTITY,
        Err(Unheard::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(Unheard::Refused(refusal)) => {
            tracing::warn!(error = &refusal as &dyn std::error::Error, "a sidecar could not be answered; it asks again");
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    status.into_response()
}

/// A sidecar asks to wake its server. Signed with HMAC-SHA256 over `<timestamp>\n<nonce>\n<body>`; a request counts once, within 30 s.
#[utoipa::path(
    post, path = "/api/webhook/wake", tag = "sidecars", security(()),
    params(
        ("X-Roost-Server" = String, Header, description = "Whose door."),
        ("X-Roost-Timestamp" = i64, Header, description = "When it was signed, in milliseconds since 1970."),
        ("X-Roost-Nonce" = String, Header, description = "16 random bytes in hexadecimal."),
        ("X-Roost-Signature" = String, Header, description = "The signature in hexadecimal.")
    ),
    request_body(content = String, content_type = "application/json", description = "`{server, client, port, protocol}`"),
    responses(
        (status = 200, description = "`{started, state}`; not started and not refused: ask again."),
        (status = 401, description = "Not believed."), (status = 413), (status = 422), (status = 503)
    )
)]
pub(in crate::http) async fn wake(State(web): State<Web>, headers: HeaderMap, body: Body) -> Response {
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else { return answer::<()>(Err(Unheard::TooLarge)) };
    answer(doors::wake(&web.ctx, header(&headers, SERVER), signed(&headers, &body)).await)
}

/// A sidecar reports how busy it is. Headers as for waking.
#[utoipa::path(
    post, path = "/api/webhook/activity", tag = "sidecars", security(()),
    request_body(content = String, content_type = "application/json", description = "`{server, connections, sessions, bytes_in, bytes_out}`"),
    responses(
        (status = 200, description = "`{game, name, wake}`"),
        (status = 401, description = "Not believed."), (status = 413), (status = 422), (status = 503)
    )
)]
pub(in crate::http) async fn activity(State(web): State<Web>, headers: HeaderMap, body: Body) -> Response {
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else { return answer::<()>(Err(Unheard::TooLarge)) };
    answer(doors::activity(&web.ctx, header(&headers, SERVER), signed(&headers, &body)).await)
}
