//! `NODE_LISTEN`: the panel's door for machines. TLS with the panel's own authority, and two addresses behind it.
//!
//! `POST /join` takes a token and gives a certificate; `GET /link` is the WebSocket of a node that shows one. Called by `cli`, which
//! owns the listener. Whoever is out there can fill no memory and hold up nobody: handshakes, visitors, time and bytes are bounded, and
//! where there are too many handshakes at once the oldest one gives way.

mod join;
mod room;
mod session;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::limit::RequestBodyLimitLayer;

use super::listener::{Bounds, Places, Refusals};
use crate::domain::Ctx;
use crate::model::ids::NodeId;
use crate::trust::{Acceptor, Authority, Peer, TrustError};
use crate::wire::agent::ToNode;
use crate::wire::link::{JOIN_BYTES_MAX, JOIN_PATH, LINK_PATH};
use room::Room;

/// Of all connections that are not links yet, so many may be handshakes under way: one in so many. For a further one the oldest gives
/// way.
const HANDSHAKES_SHARE: usize = 3;
/// Most connections that are not links yet, if there are descriptors for so many.
pub const STRANGERS_MAX: usize = 384;
/// Most of them from one address: the machines of one site that come back at once, and more.
const STRANGERS_OF_ADDRESS: usize = 128;
/// Longest handshake.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// Longest stay of a connection that does not become a link.
pub const VISIT_WAIT: Duration = Duration::from_secs(20);
/// Longest wait for the head of a request.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Wait after the system has refused a connection, for want of file descriptors perhaps.
const REFUSED_WAIT: Duration = Duration::from_millis(100);

/// Gives the messages for a node that has just been linked; an older link of the same node ends.
pub type Connect = Arc<dyn Fn(NodeId) -> mpsc::Receiver<ToNode> + Send + Sync>;

/// What the door is given.
#[derive(Clone)]
pub struct LinkSettings {
    /// Signs certificates.
    pub authority: Arc<Authority>,
    /// Hands a link its messages.
    pub connect: Connect,
    /// How long a certificate of a node lives, in milliseconds.
    pub certificate_lives: i64,
    /// Most connections that are not links yet; see [`STRANGERS_MAX`].
    pub strangers: usize,
    /// The end.
    pub stop: CancellationToken,
}

struct Door {
    ctx: Arc<Ctx>,
    settings: LinkSettings,
    acceptor: Acceptor,
    room: Room,
    /// Of those who have agreed on TLS and are not links yet.
    visitors: Places,
    refusals: Refusals,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
struct Origin(IpAddr);

/// Who it is, as far as a certificate says.
#[derive(Debug, Clone)]
struct Shown(Option<Peer>);

/// Serves machines on this listener until the end.
///
/// # Errors
/// [`TrustError`] where TLS cannot be set up.
pub async fn serve(ctx: Arc<Ctx>, listener: TcpListener, settings: LinkSettings) -> Result<(), TrustError> {
    let clock = ctx.clock.clone();
    let acceptor = Acceptor::new(settings.authority.clone(), Arc::new(move || clock.now().0 / 1_000))?;
    let stop = settings.stop.clone();
    let handshakes = settings.strangers / HANDSHAKES_SHARE;
    let visitors = settings.strangers - handshakes;
    let of_address = |all: usize| STRANGERS_OF_ADDRESS.min(all / 2).max(1);
    let door = Arc::new(Door {
        ctx,
        settings,
        acceptor,
        room: Room::new(handshakes, of_address(handshakes)),
        visitors: Places::new(Bounds { all: visitors, of_address: Some(of_address(visitors)) }),
        refusals: Refusals::new("nodes"),
    });
    let router = Router::new()
        .route(JOIN_PATH, post(join::join).layer(RequestBodyLimitLayer::new(JOIN_BYTES_MAX)))
        .route(LINK_PATH, get(session::open))
        .with_state(door.clone());
    // Dropped at the end, and with it every connection that is not a link.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                    connections.spawn(connection(door.clone(), router.clone(), stream, from));
                }
                Err(error) => {
                    door.refusals.add("accept", &error.to_string());
                    tokio::time::sleep(REFUSED_WAIT).await;
                }
            }
        }
    }
}

/// One connection, until it has become a link or has ended.
async fn connection(door: Arc<Door>, router: Router, stream: TcpStream, from: SocketAddr) {
    let ticket = door.room.enter(from.ip());
    let refuse = |reason, what: &str| door.refusals.add(reason, &format!("{}: {what}", from.ip()));
    let _answers_go_out_at_once = stream.set_nodelay(true);
    let agreed = tokio::select! {
        () = ticket.gives_way() => return refuse("gave-way", "a handshake gave way to newer ones"),
        agreed = tokio::time::timeout(HANDSHAKE_WAIT, door.acceptor.accept(stream)) => agreed,
    };
    drop(ticket);
    let (stream, peer) = match agreed {
        Ok(Ok(agreed)) => agreed,
        Ok(Err(error)) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            return refuse("handshake", &format!("{error}: {cause}"));
        }
        Err(_) => return refuse("handshake", "the handshake took too long"),
    };
    let _visit = match door.visitors.enter(from.ip()) {
        Ok(place) => place,
        Err(full) => return refuse(full.word(), "too many visitors at once"),
    };
    let router = router.layer(Extension(Shown(peer))).layer(Extension(Origin(from.ip())));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    match tokio::time::timeout(VISIT_WAIT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => refuse("visit", &error.to_string()),
        Err(_) => refuse("visit", "stayed too long without a link"),
    }
}
