//! The only room that names bollard: what the agent needs of a Docker Engine, in the agent's own words.
//!
//! An [`Engine`] is a handle that reconnects by itself: every call finds the engine or says [`DockerError::Away`]. Nothing in
//! here knows about servers' lives; names, labels and limits come from the callers.

mod containers;
mod flow;
mod images;
mod networks;
mod streams;
mod volumes;

pub use containers::{Container, ContainerPlan, DiskBound, Listed, NewMount};
pub use flow::{Output, PIECE_BYTES, RawLog};
pub use images::PullProgress;

use std::sync::Mutex;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;

use super::config::DEFAULT_SOCKET;

/// Longest wait for the engine's answer to one request.
const REQUEST_SECS: u64 = 120;
/// Longest wait for the engine's first word.
const HELLO_SECS: u64 = 5;

/// Why a request to Docker failed.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// No engine at the address, or it broke off.
    #[error("Docker does not answer at {address}: start it with `systemctl start docker`")]
    Away {
        /// Where it was expected.
        address: String,
        /// What the connection said.
        #[source]
        source: Option<Box<Error>>,
    },
    /// No such container, network or image.
    #[error("Docker does not know it: {0}")]
    NotFound(String),
    /// It exists already, or is in a state that forbids the request.
    #[error("Docker refused: {0}")]
    Conflict(String),
    /// The engine said no for another reason.
    #[error("Docker refused ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// In Docker's words.
        message: String,
    },
    /// The engine took longer than anybody should wait.
    #[error("Docker took too long to answer; see how busy the machine is")]
    Slow,
    /// An answer that cannot be read.
    #[error("Docker gave an answer that cannot be read: {0}")]
    Unreadable(String),
}

impl DockerError {
    /// Docker's own words, for the places that tell causes apart by them.
    pub fn words(&self) -> &str {
        match self {
            DockerError::NotFound(text) | DockerError::Conflict(text) | DockerError::Unreadable(text) => text,
            DockerError::Refused { message, .. } => message,
            DockerError::Away { .. } | DockerError::Slow => "",
        }
    }
}

/// A Docker Engine, wherever it is in its own life.
#[derive(Debug)]
pub struct Engine {
    address: String,
    docker: Mutex<Option<Docker>>,
}

impl Engine {
    /// For the engine at this address; none: `DOCKER_HOST`, or else the usual socket. Connects at the first request.
    pub fn new(address: Option<&str>) -> Engine {
        let address = address.map(str::to_owned).or_else(|| std::env::var("DOCKER_HOST").ok()).unwrap_or_else(|| DEFAULT_SOCKET.to_owned());
        Engine { address, docker: Mutex::new(None) }
    }

    /// Where the engine is, as people write it.
    pub fn address(&self) -> &str {
        self.address.strip_prefix("unix://").unwrap_or(&self.address)
    }

    async fn docker(&self) -> Result<Docker, DockerError> {
        if let Some(docker) = self.kept() {
            return Ok(docker);
        }
        let host = if self.address.starts_with('/') { format!("unix://{}", self.address) } else { self.address.clone() };
        let docker = Docker::connect_with_host(&host).map_err(|error| self.told(error))?.with_timeout(Duration::from_secs(REQUEST_SECS));
        let hello = tokio::time::timeout(Duration::from_secs(HELLO_SECS), docker.negotiate_version());
        let docker = hello.await.map_err(|_| self.away(None))?.map_err(|error| self.told(error))?;
        *self.docker.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    fn kept(&self) -> Option<Docker> {
        self.docker.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Forgets what was agreed with an engine that has gone: another version may come back.
    pub fn forget(&self) {
        *self.docker.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    fn away(&self, source: Option<Error>) -> DockerError {
        DockerError::Away { address: self.address().to_owned(), source: source.map(Box::new) }
    }

    /// Puts bollard's error into our words.
    fn told(&self, error: Error) -> DockerError {
        match error {
            Error::DockerResponseServerError { status_code: 404, message } => DockerError::NotFound(message),
            Error::DockerResponseServerError { status_code: 409, message } => DockerError::Conflict(message),
            Error::DockerResponseServerError { status_code, message } => DockerError::Refused { status: status_code, message },
            Error::DockerStreamError { error } => DockerError::Refused { status: 500, message: error },
            Error::RequestTimeoutError => DockerError::Slow,
            error @ (Error::SocketNotFoundError(_)
            | Error::IOError { .. }
            | Error::HyperResponseError { .. }
            | Error::HyperLegacyError { .. }) => self.away(Some(error)),
            other => DockerError::Unreadable(other.to_string()),
        }
    }

    /// Such as `Docker 20.10.24, API 1.41`.
    pub async fn version(&self) -> Result<String, DockerError> {
        let docker = self.docker().await?;
        let ask = tokio::time::timeout(Duration::from_secs(HELLO_SECS), docker.version());
        let said = ask.await.map_err(|_| DockerError::Slow)?.map_err(|error| self.told(error))?;
        Ok(format!("Docker {}, API {}", said.version.unwrap_or_default(), said.api_version.unwrap_or_default()))
    }

    /// Which engine this is: two agents that get the same text share it. Empty where the engine does not say.
    pub async fn identity(&self) -> Result<String, DockerError> {
        let docker = self.docker().await?;
        let ask = tokio::time::timeout(Duration::from_secs(HELLO_SECS), docker.info());
        let said = ask.await.map_err(|_| DockerError::Slow)?.map_err(|error| self.told(error))?;
        Ok(said.id.unwrap_or_default())
    }
}
