//! `POST /join`: a token against a certificate.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::{Door, Origin};
use crate::domain::Refusal;
use crate::domain::nodes::{self, Denied};
use crate::model::nodes::Certificate;
use crate::trust::TrustError;
use crate::wire::link::{CSR_BYTES_MAX, Issued, JoinAnswer, JoinRequest, REASON_HEADER, Refused};

/// An answer that says why not.
pub(super) fn refuse(status: StatusCode, reason: &str) -> Response {
    let mut response = (status, Json(Refused { reason: reason.to_owned() })).into_response();
    if let Ok(value) = reason.parse() {
        response.headers_mut().insert(REASON_HEADER, value);
    }
    response
}

/// The answer to whoever is not let in. What went wrong inside is logged and not told.
pub(super) fn denied(denied: &Denied) -> Response {
    match denied {
        Denied::UnknownToken
        | Denied::UsedToken
        | Denied::EndedToken
        | Denied::UnknownNode
        | Denied::Revoked
        | Denied::Ended
        | Denied::Replaced => refuse(StatusCode::FORBIDDEN, &denied.to_string()),
        Denied::Panel(Refusal::TooMany { wait_secs }) => {
            refuse(StatusCode::TOO_MANY_REQUESTS, &format!("Too many tries from this address. Wait {wait_secs} seconds, then try again"))
        }
        Denied::Panel(refusal) => {
            tracing::error!(error = refusal as &dyn std::error::Error, "a machine could not be let in");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "The panel is busy. Try again in a few seconds")
        }
    }
}

/// `POST /join`
pub(super) async fn join(State(door): State<Arc<Door>>, Extension(Origin(from)): Extension<Origin>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<JoinRequest>(&body) else {
        return refuse(StatusCode::BAD_REQUEST, "The request cannot be read: panel and agent may be of very different versions");
    };
    match certify(&door, &request, from).await {
        Ok(answer) => {
            tracing::info!(node = %answer.node, %from, agent = %cut(&request.agent), version = request.version, "a machine joins");
            Json(answer).into_response()
        }
        Err(response) => {
            tracing::warn!(%from, status = response.status().as_u16(), "a machine was not let join");
            *response
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

async fn certify(door: &Door, request: &JoinRequest, from: IpAddr) -> Result<JoinAnswer, Box<Response>> {
    let unreadable = || Box::new(refuse(StatusCode::BAD_REQUEST, "The request for a certificate cannot be read"));
    if request.csr.len() > CSR_BYTES_MAX {
        return Err(unreadable());
    }
    let no = |refused: Denied| Box::new(denied(&refused));
    let token = nodes::token(&door.ctx, &request.token, from).await.map_err(no)?;
    let (certificate, issued, key) = issue(door, token.node.as_str(), &request.csr).map_err(|error| match error {
        TrustError::Request(_) | TrustError::Pem => unreadable(),
        error @ (TrustError::Files { .. } | TrustError::Making(_) | TrustError::Material(_) | TrustError::Handshake(_)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a certificate could not be made");
            Box::new(refuse(StatusCode::INTERNAL_SERVER_ERROR, "The panel could not make a certificate; its log says why"))
        }
    })?;
    nodes::join(&door.ctx, &token, &key, &certificate).await.map_err(no)?;
    Ok(JoinAnswer { node: token.node, issued, authority: door.settings.authority.pem().to_owned() })
}

/// Signs a node's key: what is kept of it, what the node gets, and the hash of the key.
pub(super) fn issue(door: &Door, node: &str, csr: &str) -> Result<(Certificate, Issued, String), TrustError> {
    let from = door.ctx.clock.now();
    let until = from + door.settings.certificate_lives;
    let leaf = door.settings.authority.sign(node, csr, from.0 / 1_000, until.0 / 1_000)?;
    let issued = Issued { certificate: leaf.pem, from, until };
    Ok((Certificate { fingerprint: leaf.fingerprint, until }, issued, leaf.key))
}
