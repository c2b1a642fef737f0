//! The web listener: how many connections strangers may hold open, from where, and for how long.
//!
//! Called by `cli`, which owns the port and knows how many descriptors there are. A connection has so long for its first head, for the
//! next one, for a body and for taking an answer in; whatever has become a socket of a page is left alone, and goes on counting. HTTP/1
//! and HTTP/2 are held to the same. Who is turned away is counted and closed at once, so that it costs nothing to speak of.

mod body;
mod connection;
mod pace;
mod places;
mod refusals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(in crate::http) use places::Places;
pub(in crate::http) use refusals::Refusals;

/// From the first byte of a head, or from the beginning of a connection, until the head is whole.
pub const HEAD_WAIT: Duration = Duration::from_secs(15);
/// Between two requests of a connection. Longer than what proxies in front keep connections for, so that it is they who close them.
pub const IDLE_WAIT: Duration = Duration::from_secs(75);
/// The same once three quarters of all places are taken.
pub const IDLE_WAIT_CROWDED: Duration = Duration::from_secs(5);
/// A body may let us wait so long, and a second more for each [`BODY_BYTES_PER_SEC`] that have come.
pub const BODY_WAIT: Duration = Duration::from_secs(20);
/// The slowest body that is waited for, in bytes a second.
pub const BODY_BYTES_PER_SEC: u64 = 1_024;
/// How long whoever asked may leave a part of the answer lying.
pub const READER_WAIT: Duration = Duration::from_mins(1);
/// How long a connection that is told to end may take.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Requests that one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 64;
/// Largest list of headers of an HTTP/2 request, in bytes as HTTP/2 counts them.
const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// Requests of an HTTP/2 connection that were taken back before they were looked at; one more ends the connection.
const RESETS_MAX: usize = 32;
/// Errors in streams that one HTTP/2 connection may cause; one more ends it.
const STREAM_ERRORS_MAX: usize = 256;
/// A quiet HTTP/2 connection is asked for a sign of life this often, and has as long to give it.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Wait after the system has refused a connection, for want of file descriptors perhaps.
const REFUSED_WAIT: Duration = Duration::from_millis(100);

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// In all.
    pub all: usize,
    /// From one address; none: every connection comes from a proxy of one's own, which keeps such a bound itself.
    pub of_address: Option<usize>,
}

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// See [`HEAD_WAIT`].
    pub head: Duration,
    /// See [`IDLE_WAIT`].
    pub idle: Duration,
    /// See [`BODY_WAIT`].
    pub body: Duration,
    /// See [`READER_WAIT`].
    pub reader: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Waits { head: HEAD_WAIT, idle: IDLE_WAIT, body: BODY_WAIT, reader: READER_WAIT }
    }
}

/// What every connection goes by.
struct Shared {
    builder: auto::Builder<TokioExecutor>,
    waits: Waits,
    places: Places,
    refusals: Refusals,
    stop: CancellationToken,
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The time for a head is kept by `pace`, for both protocols alike and from the first byte on.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(STREAM_ERRORS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    builder
}

/// Serves the site until the end, and then until every request that is under way has its answer.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, waits: Waits, stop: CancellationToken) {
    let shared =
        Arc::new(Shared { builder: builder(), waits, places: Places::new(bounds), refusals: Refusals::new("web"), stop: stop.clone() });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let from = plain(from);
                    match shared.places.enter(from.ip()) {
                    Ok(place) => drop(connections.spawn(connection::run(shared.clone(), router.clone(), stream, from, place))),
                    Err(full) => shared.refusals.add(full.word(), &from.ip().to_string()),
                    }
                }
                Err(error) => {
                    shared.refusals.add("accept", &error.to_string());
                    tokio::time::sleep(REFUSED_WAIT).await;
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A listener for IPv6 tells of IPv4 in words of IPv6.
fn plain(from: SocketAddr) -> SocketAddr {
    SocketAddr::new(from.ip().to_canonical(), from.port())
}

/// The address that a connection comes from, where handlers look for it.
fn origin(from: SocketAddr) -> axum::extract::ConnectInfo<SocketAddr> {
    axum::extract::ConnectInfo(from)
}
