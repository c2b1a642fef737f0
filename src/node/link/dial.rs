//! Dialling the panel: once with a token, to join, and then with a certificate, for the link.

use std::path::Path;
use std::time::Duration;

use futures_util::TryFutureExt;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::{Identity, Keep, LinkError};
use crate::model::time::Clock;
use crate::trust::{PANEL_NAME, TrustError, certificate, dial_pinned, dial_with, fingerprint};
use crate::wire::agent::VERSION;
use crate::wire::link::{
    FRAME_BYTES_MAX, JOIN_BYTES_MAX, JOIN_PATH, JoinAnswer, JoinRequest, JoinToken, LINK_PATH, REASON_HEADER, Refused,
};

/// Longest wait for each step of dialling.
const STEP_WAIT: Duration = Duration::from_secs(15);

/// A link.
pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

fn slow() -> std::io::Error {
    std::io::ErrorKind::TimedOut.into()
}

async fn reach(address: &str) -> Result<TcpStream, LinkError> {
    let away = |source| LinkError::Away { address: address.to_owned(), source };
    let stream = timeout(STEP_WAIT, TcpStream::connect(address)).await.map_err(|_| away(slow()))?.map_err(away)?;
    stream.set_nodelay(true).map_err(away)?;
    Ok(stream)
}

async fn agree(
    address: &str,
    dialling: impl Future<Output = Result<TlsStream<TcpStream>, TrustError>>,
) -> Result<TlsStream<TcpStream>, LinkError> {
    let agreed = timeout(STEP_WAIT, dialling).await.unwrap_or_else(|_| Err(TrustError::Handshake(slow())));
    agreed.map_err(|error| match error {
        // A line that breaks says nothing about who was at its other end.
        TrustError::Handshake(source) if source.kind() != std::io::ErrorKind::InvalidData => {
            LinkError::Away { address: address.to_owned(), source }
        }
        source => LinkError::Stranger { address: address.to_owned(), source },
    })
}

/// An agent takes whatever its folder holds and its panel does not name for left over: a folder with servers stays the same node's.
fn unoccupied(data_dir: &Path, keep: &Keep, token: &JoinToken) -> Result<(), LinkError> {
    let holds_servers = std::fs::read_dir(data_dir.join("instances")).is_ok_and(|mut entries| entries.next().is_some());
    let owner = keep.current()?.map(|identity| identity.node);
    if !holds_servers || owner.as_ref() == Some(&token.node) {
        return Ok(());
    }
    let owner = owner.map_or_else(|| "another agent".to_owned(), |owner| format!("the node {owner}"));
    Err(LinkError::Occupied { folder: data_dir.display().to_string(), owner, node: token.node.clone() })
}

/// Joins the panel of this token: makes a key, gets a certificate for it, keeps both below the data folder.
///
/// # Errors
/// [`LinkError`]
pub async fn join(data_dir: &Path, token: &JoinToken, clock: &dyn Clock) -> Result<Identity, LinkError> {
    let keep = Keep::new(data_dir);
    unoccupied(data_dir, &keep, token)?;
    let key = keep.join_key()?;
    let request =
        JoinRequest { token: token.secret.clone(), csr: key.request()?, agent: env!("CARGO_PKG_VERSION").to_owned(), version: VERSION };
    let now = clock.now().0 / 1_000;
    let stream = reach(&token.address).await?;
    let stream = agree(&token.address, dial_pinned(&token.authority, now, stream)).await?;
    let answer = timeout(STEP_WAIT, ask(stream, &token.address, &request)).await;
    let answer = answer.unwrap_or_else(|_| Err(LinkError::Away { address: token.address.clone(), source: slow() }))?;
    if fingerprint(&certificate(&answer.authority)?) != token.authority || answer.node != token.node {
        return Err(LinkError::Unreadable);
    }
    let identity = Identity {
        node: answer.node,
        address: token.address.clone(),
        authority: answer.authority,
        certificate: answer.issued.certificate,
        key: key.pem(),
        from: answer.issued.from,
        until: answer.issued.until,
    };
    keep.joined(&identity)?;
    Ok(identity)
}

async fn ask(stream: TlsStream<TcpStream>, address: &str, request: &JoinRequest) -> Result<JoinAnswer, LinkError> {
    let away = |error: hyper::Error| LinkError::Away { address: address.to_owned(), source: std::io::Error::other(error) };
    let body = serde_json::to_vec(request).map_err(|_| LinkError::Unreadable)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).map_err(away).await?;
    let request = Request::post(JOIN_PATH)
        .header("host", PANEL_NAME)
        .header("content-type", "application/json")
        .body(Full::new(bytes::Bytes::from(body)))
        .map_err(|_| LinkError::Unreadable)?;
    // Gone with its sender, the connection ends as well.
    let asked = async move {
        let response = sender.send_request(request).await.map_err(away)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), JOIN_BYTES_MAX).collect().await.map_err(|_| LinkError::Unreadable)?;
        Ok::<_, LinkError>((status, body.to_bytes()))
    };
    let (asked, _) = tokio::join!(asked, connection);
    let (status, body) = asked?;
    if !status.is_success() {
        let refused = serde_json::from_slice::<Refused>(&body).map_err(|_| LinkError::Unreadable)?;
        return Err(LinkError::Refused(refused.reason));
    }
    serde_json::from_slice(&body).map_err(|_| LinkError::Unreadable)
}

/// Links with what the machine is known by.
///
/// # Errors
/// [`LinkError::Away`], [`LinkError::Stranger`], [`LinkError::Refused`]
pub async fn link(identity: &Identity, clock: &dyn Clock) -> Result<Socket, LinkError> {
    let address = &identity.address;
    let now = clock.now().0 / 1_000;
    let stream = reach(address).await?;
    let stream = agree(address, dial_with(&identity.authority, &identity.certificate, &identity.key, now, stream)).await?;
    let request = format!("ws://{PANEL_NAME}{LINK_PATH}").into_client_request().map_err(|_| LinkError::Unreadable)?;
    let config = WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
    let opening = timeout(STEP_WAIT, tokio_tungstenite::client_async_with_config(request, stream, Some(config)));
    let away = |source| LinkError::Away { address: address.clone(), source };
    match opening.await.map_err(|_| away(slow()))? {
        Ok((socket, _)) => Ok(socket),
        Err(SocketError::Http(response)) => {
            let reason = response.headers().get(REASON_HEADER).and_then(|reason| reason.to_str().ok());
            let status = response.status();
            match reason {
                // Busy is not refused: the certificate is as good as before.
                Some(reason) if status.is_client_error() => Err(LinkError::Refused(reason.to_owned())),
                Some(_) | None => Err(away(std::io::Error::other(format!("it answers with {status}")))),
            }
        }
        Err(SocketError::Io(source)) => Err(away(source)),
        Err(error) => Err(away(std::io::Error::other(error))),
    }
}
