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
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::limit::RequestBodyLimitLayer;

use crate::domain::Ctx;
use crate::model::ids::NodeId;
use crate::trust::{Acceptor, Authority, Peer, TrustError};
use crate::wire::agent::ToNode;
use crate::wire::link::{JOIN_BYTES_MAX, JOIN_PATH, LINK_PATH};
use room::{Complaints, Room};

/// Handshakes under way at once; for a further one the oldest gives way.
pub const HANDSHAKES_MAX: usize = 128;
/// Longest handshake.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// Connections that have agreed on TLS and are not links yet.
pub const VISITORS_MAX: usize = 256;
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
    /// The end.
    pub stop: CancellationToken,
}

struct Door {
    ctx: Arc<Ctx>,
    settings: LinkSettings,
    acceptor: Acceptor,
    room: Room,
    visitors: Semaphore,
    complaints: Complaints,
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
    let door = Arc::new(Door {
        ctx,
        settings,
        acceptor,
        room: Room::new(HANDSHAKES_MAX),
        visitors: Semaphore::new(VISITORS_MAX),
        complaints: Complaints::default(),
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
                Ok((stream, from)) => drop(connections.spawn(connection(door.clone(), router.clone(), stream, from))),
                Err(error) => {
                    door.complaints.add(&format!("a connection was not accepted: {error}"));
                    tokio::time::sleep(REFUSED_WAIT).await;
                }
            }
        }
    }
}

/// One connection, until it has become a link or has ended.
async fn connection(door: Arc<Door>, router: Router, stream: TcpStream, from: SocketAddr) {
    let ticket = door.room.enter();
    let _answers_go_out_at_once = stream.set_nodelay(true);
    let agreed = tokio::select! {
        () = ticket.gives_way() => return door.complaints.add("a handshake gave way to newer ones"),
        agreed = tokio::time::timeout(HANDSHAKE_WAIT, door.acceptor.accept(stream)) => agreed,
    };
    drop(ticket);
    let (stream, peer) = match agreed {
        Ok(Ok(agreed)) => agreed,
        Ok(Err(error)) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            return door.complaints.add(&format!("{}: {error}: {cause}", from.ip()));
        }
        Err(_) => return door.complaints.add(&format!("{}: the handshake took too long", from.ip())),
    };
    let Ok(_visit) = door.visitors.try_acquire() else { return door.complaints.add("too many visitors at once") };
    let router = router.layer(Extension(Shown(peer))).layer(Extension(Origin(from.ip())));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    match tokio::time::timeout(VISIT_WAIT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => door.complaints.add(&format!("{}: {error}", from.ip())),
        Err(_) => door.complaints.add(&format!("{}: stayed too long without a link", from.ip())),
    }
}
