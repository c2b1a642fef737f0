//! Talking to the agent (or panel): signed requests over HTTP, through a unix socket or over TCP.
//!
//! Each request is a connection of its own: they are rare, and an agent that was restarted is then never met through a
//! stale connection. Every request has a time limit and its answer a size limit.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::bounds::{REPORT_ANSWER_WITHIN, WAKE_ANSWER_WITHIN};
use crate::model::ids::ServerId;
use crate::model::time::Clock;
use crate::wire::door::{ACTIVITY_PATH, ActivityReport, BODY_BYTES_MAX, DoorState, WAKE_PATH, WakeAnswer, WakeRequest};
use crate::wire::wake;

/// Why the agent did not answer as hoped.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody listens there: it is being restarted.
    #[error("the agent cannot be reached")]
    Away(#[source] io::Error),
    /// It hung up in the middle.
    #[error("the agent broke off")]
    Broken(#[source] hyper::Error),
    /// It took too long.
    #[error("the agent did not answer in time")]
    Late,
    /// It does not believe us, or has no such server.
    #[error("the agent answered {0}")]
    Status(StatusCode),
    /// Its answer, or our request, is not what was agreed.
    #[error("the answer makes no sense")]
    Nonsense,
    /// No random bytes for the nonce.
    #[error("no random bytes")]
    Chance,
}

impl AgentError {
    /// The error with its cause, for a log line.
    pub fn in_words(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

/// Where the agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A unix socket in the mounted folder.
    Unix(PathBuf),
    /// `host:port`.
    Http(String),
}

impl Place {
    /// Reads `unix:/path` or `http://host:port`.
    pub fn parse(text: &str) -> Option<Place> {
        if let Some(path) = text.strip_prefix("unix:") {
            return path.starts_with('/').then(|| Place::Unix(path.into()));
        }
        let host = text.strip_prefix("http://")?.trim_end_matches('/');
        let (name, port) = host.rsplit_once(':')?;
        let fits = !name.is_empty() && !host.contains(['/', '@', ' ', '?', '#']) && port.parse::<u16>().is_ok();
        fits.then(|| Place::Http(host.to_owned()))
    }
}

/// One server's line to its agent.
pub struct Agent {
    place: Place,
    server: ServerId,
    secret: Vec<u8>,
    clock: Arc<dyn Clock>,
}

impl Agent {
    /// Signs with `secret` for `server`.
    pub fn new(place: Place, server: ServerId, secret: Vec<u8>, clock: Arc<dyn Clock>) -> Self {
        Self { place, server, secret, clock }
    }

    /// Asks to wake. The answer comes when the container is up, or will not come.
    pub async fn wake(&self, request: &WakeRequest) -> Result<WakeAnswer, AgentError> {
        self.post(WAKE_PATH, request, WAKE_ANSWER_WITHIN).await
    }

    /// Says how busy the door is; gives what the agent knows.
    pub async fn report(&self, report: &ActivityReport) -> Result<DoorState, AgentError> {
        self.post(ACTIVITY_PATH, report, REPORT_ANSWER_WITHIN).await
    }

    async fn post<A: DeserializeOwned>(&self, path: &str, message: &impl Serialize, within: Duration) -> Result<A, AgentError> {
        let request = self.signed(path, message)?;
        let talk = async {
            match &self.place {
                Place::Unix(path) => exchange(UnixStream::connect(path).await.map_err(AgentError::Away)?, request).await,
                Place::Http(host) => exchange(dial(host).await.map_err(AgentError::Away)?, request).await,
            }
        };
        let answer = timeout(within, talk).await.map_err(|_| AgentError::Late)??;
        serde_json::from_slice(&answer).map_err(|_| AgentError::Nonsense)
    }

    fn signed(&self, path: &str, message: &impl Serialize) -> Result<Request<Full<Bytes>>, AgentError> {
        let body = serde_json::to_vec(message).map_err(|_| AgentError::Nonsense)?;
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|_| AgentError::Chance)?;
        let (timestamp, nonce) = (self.clock.now().0.to_string(), hex::encode(random));
        let signature = wake::sign(&self.secret, &timestamp, &nonce, &body);
        let host = match &self.place {
            Place::Unix(_) => "agent",
            Place::Http(host) => host,
        };
        Request::post(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(wake::SERVER, self.server.as_str())
            .header(wake::TIMESTAMP, timestamp)
            .header(wake::NONCE, nonce)
            .header(wake::SIGNATURE, signature)
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| AgentError::Nonsense)
    }
}

/// An address is dialled as it is; only a name asks the resolver, which costs a thread.
async fn dial(host: &str) -> io::Result<TcpStream> {
    match host.parse::<SocketAddr>() {
        Ok(address) => TcpStream::connect(address).await,
        Err(_) => TcpStream::connect(host).await,
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: S, request: Request<Full<Bytes>>) -> Result<Bytes, AgentError> {
    let (mut sender, line) = handshake(TokioIo::new(stream)).await.map_err(AgentError::Broken)?;
    let mut talk = pin!(async move {
        let answer = sender.send_request(request).await.map_err(AgentError::Broken)?;
        if answer.status() != StatusCode::OK {
            return Err(AgentError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|_| AgentError::Nonsense)
    });
    tokio::select! {
        answer = &mut talk => answer,
        // The line has ended, perhaps after the whole answer came in.
        _ = line => talk.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_a_socket_or_a_host_with_a_port() {
        assert_eq!(Place::parse("unix:/door/agent.sock"), Some(Place::Unix("/door/agent.sock".into())));
        assert_eq!(Place::parse("http://panel.svc:8000/"), Some(Place::Http("panel.svc:8000".to_owned())));
        assert_eq!(Place::parse("http://[::1]:8000"), Some(Place::Http("[::1]:8000".to_owned())));
        for bad in ["", "unix:door", "https://a:1", "http://a", "http://:1", "http://a:b", "http://u@a:1", "http://a:1/x", "a:1"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
