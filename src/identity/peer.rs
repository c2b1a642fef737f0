//! Requests to a provider: bounded in time and in what is read, without redirects, so that none can hold this panel up or lead it astray.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, http};
use serde::de::DeserializeOwned;

use super::IdentityError;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest wait for a whole answer.
const ANSWER: Duration = Duration::from_secs(8);
/// Most bytes of an answer.
const BODY_MAX: usize = 256 * 1024;

/// Why a request to a provider came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No connection, no answer in time, cut off.
    #[error("there is no answer")]
    NoAnswer(#[source] reqwest::Error),
    /// It answers with a fault of its own.
    #[error("it answers with status {0}")]
    Status(u16),
    /// It answers with more than anybody needs.
    #[error("it answers with more than {BODY_MAX} bytes")]
    TooLarge,
    /// The request could not be put together.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
}

/// A client for one provider.
#[derive(Clone)]
pub(super) struct Peer(reqwest::Client);

impl Peer {
    pub fn new() -> Result<Peer, IdentityError> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("roost/", env!("CARGO_PKG_VERSION")));
        client.build().map(Peer).map_err(IdentityError::away)
    }

    /// The answer to a code without what nobody here needs, and some write in odd ways.
    fn tidied(body: Vec<u8>) -> Vec<u8> {
        match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(serde_json::Value::Object(mut fields)) => {
                for unused in ["expires_in", "refresh_expires_in", "scope", "refresh_token"] {
                    fields.remove(unused);
                }
                serde_json::to_vec(&fields).unwrap_or(body)
            }
            Ok(_) | Err(_) => body,
        }
    }

    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, PeerError> {
        let request = reqwest::Request::try_from(request).map_err(PeerError::NoAnswer)?;
        let mut answer = self.0.execute(request).await.map_err(PeerError::NoAnswer)?;
        if answer.status().is_server_error() {
            return Err(PeerError::Status(answer.status().as_u16()));
        }
        let mut response = http::Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(PeerError::NoAnswer)? {
            if body.len() + piece.len() > BODY_MAX {
                return Err(PeerError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        response.body(body).map_err(PeerError::Request)
    }

    /// Reads a JSON document, as whoever holds the token where there is one.
    pub async fn read<T: DeserializeOwned>(&self, url: &str, token: Option<&str>) -> Result<T, IdentityError> {
        let mut request = http::Request::builder().uri(url).header(http::header::ACCEPT, "application/json");
        if let Some(token) = token {
            request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Vec::new()).map_err(PeerError::Request).map_err(IdentityError::away)?;
        let answer = self.ask(request).await.map_err(IdentityError::away)?;
        if !answer.status().is_success() {
            return Err(IdentityError::away(PeerError::Status(answer.status().as_u16())));
        }
        serde_json::from_slice(answer.body()).map_err(IdentityError::odd)
    }
}

impl<'c> AsyncHttpClient<'c> for Peer {
    type Error = PeerError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, PeerError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let trades = request.method() == http::Method::POST;
            let mut answer = self.ask(request).await?;
            if trades {
                let body = std::mem::take(answer.body_mut());
                *answer.body_mut() = Peer::tidied(body);
            }
            Ok(answer)
        })
    }
}
