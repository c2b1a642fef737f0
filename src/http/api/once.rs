//! `Idempotency-Key`: a request that is sent again gets the answer of the first time and is done once.
//!
//! Work under a key goes on when whoever asked has hung up, because they will ask again for its answer.

use std::future::Future;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::domain::idempotency::{ANSWER_MAX, Claim, KEY_MAX, claim, free, keep};
use crate::domain::{Actor, Fields};
use crate::http::Web;
use crate::http::problem::{Answer, Problem};

/// What names a request: its method, its path, and the key that came with it.
pub(super) struct Once {
    key: Option<String>,
    method: String,
    path: String,
}

impl FromRequestParts<Web> for Once {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Web) -> Result<Self, Problem> {
        let key = match parts.headers.get("idempotency-key") {
            None => None,
            Some(value) => Some(fit(value).ok_or_else(|| {
                let mut fields = Fields::default();
                fields.add("Idempotency-Key", format!("1 to {KEY_MAX} letters, digits and signs, without spaces."));
                Problem::fields(fields)
            })?),
        };
        Ok(Once { key, method: parts.method.to_string(), path: parts.uri.path().to_owned() })
    }
}

fn fit(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let plain = (1..=KEY_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| text.to_owned())
}

/// An answer that can be kept.
pub(super) struct Reply {
    status: StatusCode,
    body: String,
}

impl Reply {
    /// JSON with a status.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Reply, Problem> {
        Ok(Reply { status, body: serde_json::to_string(body).map_err(Problem::internal)? })
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        (self.status, [(header::CONTENT_TYPE, "application/json")], self.body).into_response()
    }
}

impl Once {
    /// Does the work, or gives the answer of the first time.
    pub async fn run<W>(self, web: &Web, actor: &Actor, body: &[u8], work: W) -> Answer
    where
        W: Future<Output = Result<Reply, Problem>> + Send + 'static,
    {
        let Some(key) = self.key else { return Ok(work.await?.into_response()) };
        match claim(&web.ctx, actor, &key, &self.method, &self.path, body).await? {
            Claim::Done(status, body) => {
                let status = StatusCode::from_u16(status).map_err(Problem::internal)?;
                let mut response = Reply { status, body }.into_response();
                response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
                Ok(response)
            }
            Claim::Fresh => {
                let (site, actor) = (web.clone(), actor.clone());
                let task = web.work.spawn(async move { carry_out(&site, &actor, &key, work).await });
                Ok(task.await.map_err(Problem::internal)??.into_response())
            }
        }
    }
}

async fn carry_out(
    web: &Web,
    actor: &Actor,
    key: &str,
    work: impl Future<Output = Result<Reply, Problem>> + Send,
) -> Result<Reply, Problem> {
    match work.await {
        Ok(reply) if reply.body.len() <= ANSWER_MAX => {
            keep(&web.ctx, actor, key, reply.status.as_u16(), &reply.body).await?;
            Ok(reply)
        }
        Ok(reply) => Ok(reply),
        Err(problem) => {
            // What was refused has changed nothing: the same key may try again.
            free(&web.ctx, actor, key).await?;
            Err(problem)
        }
    }
}
