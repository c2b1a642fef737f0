//! One connection, from its first byte until it has ended or has become a socket.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tower::ServiceExt;

use super::body::{Coming, Going};
use super::pace::{Pace, Verdict};
use super::places::Place;
use super::{CLOSE_WAIT, Shared, origin};

/// A connection is looked at this often at least: room may have become scarce.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The stream of a connection. It holds the place, also when it has become a socket.
struct Line {
    stream: TcpStream,
    pace: Pace,
    _place: Place,
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.pace.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Serves it.
pub(super) async fn run(shared: Arc<Shared>, router: Router, stream: TcpStream, from: SocketAddr, place: Place) {
    let _answers_go_out_at_once = stream.set_nodelay(true);
    let watch = Pace::new();
    let line = Line { stream, pace: watch.clone(), _place: place };
    let (paced, bodies) = (watch.clone(), shared.clone());
    let site = service_fn(move |request: Request<Incoming>| {
        let open = paced.begin(request.version());
        let bodies = bodies.clone();
        let mut request = request.map(|body| Body::new(Coming::new(body, bodies)));
        request.extensions_mut().insert(origin(from));
        let answer = router.clone().oneshot(request);
        async move { answer.await.map(|response| response.map(|body| Going::new(body, open))) }
    });
    let mut served = pin!(shared.builder.serve_connection_with_upgrades(TokioIo::new(line), site));
    let (mut stopping, mut leaving) = (false, false);
    let mut look_at = Instant::now() + LOOK_EVERY.min(shared.waits.head);
    loop {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%from, error = &*error, "a connection ended");
                }
                return;
            }
            () = shared.stop.cancelled(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
            () = sleep_until(look_at) => {
                let now = Instant::now();
                match watch.verdict(now, &shared.waits, shared.places.crowded()) {
                    Verdict::Fine(until) => look_at = until.min(now + LOOK_EVERY),
                    Verdict::Quiet if leaving => return,
                    Verdict::Quiet => {
                        leaving = true;
                        served.as_mut().graceful_shutdown();
                        look_at = now + CLOSE_WAIT;
                    }
                    Verdict::NoHead => return shared.refusals.add("head", &from.ip().to_string()),
                    Verdict::NoReader => return shared.refusals.add("reader", &from.ip().to_string()),
                }
            }
        }
    }
}
