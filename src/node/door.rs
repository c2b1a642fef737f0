//! The agent's end of a sidecar's unix socket: one small HTTP server for each server, spoken to by that server's sidecar alone.
//!
//! The sidecar faces the internet, so nothing it says is believed without its own server's signature, nothing is read past a limit,
//! and a refusal says nothing about its cause. Wakes go to the worker; activity is noted at once.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::ctx::Ctx;
use super::instance::Instance;
use crate::model::ids::ServerId;
use crate::wire::door::{ACTIVITY_PATH, ActivityReport, BODY_BYTES_MAX, SOCKET_FILE, WAKE_PATH, WakeAnswer, WakeRequest};
use crate::wire::wake::{NONCE, SERVER, SIGNATURE, Signed, TIMESTAMP};

/// Connections of one sidecar at a time; a wake holds its own until the game's container is up.
const CONNECTIONS_MAX: usize = 128;
/// Longest wait for a request's head, and again for its body.
const READ_WAIT: Duration = Duration::from_secs(5);
/// Wait before listening again after the system refused a connection.
const REFUSED_WAIT: Duration = Duration::from_millis(100);

/// Makes the socket anew: one left by an earlier agent answers nobody.
fn listen(folder: &Path, owner: Option<(u32, u32)>) -> std::io::Result<UnixListener> {
    let path = folder.join(SOCKET_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::chown(&path, Some(uid), Some(gid))?;
    }
    Ok(listener)
}

/// Opens a server's socket and answers on it until `end`.
pub fn open(ctx: &Arc<Ctx>, instance: &Arc<Instance>, end: CancellationToken) -> std::io::Result<()> {
    let listener = listen(&instance.folder.door(), Ctx::door_owner())?;
    let (ctx, instance) = (Arc::clone(ctx), Arc::clone(instance));
    let tasks = ctx.tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = accept(&ctx, &instance, &listener, &end) => {}
        }
    });
    Ok(())
}

async fn accept(ctx: &Arc<Ctx>, instance: &Arc<Instance>, listener: &UnixListener, end: &CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REFUSED_WAIT).await;
            continue;
        };
        let (ctx, instance, end) = (Arc::clone(ctx), Arc::clone(instance), end.clone());
        let tasks = ctx.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = serve(ctx, instance, stream) => {}
            }
            drop(place);
        });
    }
}

async fn serve(ctx: Arc<Ctx>, instance: Arc<Instance>, stream: UnixStream) {
    let service = service_fn(move |request| {
        let (ctx, instance) = (Arc::clone(&ctx), Arc::clone(&instance));
        async move { Ok::<_, Infallible>(answer(&ctx, &instance, request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(READ_WAIT);
    // A connection that breaks off has nobody left to tell.
    let _ended = server.serve_connection(TokioIo::new(stream), service).await;
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(text) => Response::new(Full::new(Bytes::from(text))),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn answer(ctx: &Ctx, instance: &Instance, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(READ_WAIT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return plain(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST),
        Ok(Ok(body)) => body.to_bytes(),
    };
    if !believed(ctx, instance, &head.headers, &body) {
        return plain(StatusCode::UNAUTHORIZED);
    }
    match head.uri.path() {
        WAKE_PATH => match read::<WakeRequest>(&body, |request| &request.server, instance) {
            Some(request) => wake(instance, request).await,
            None => plain(StatusCode::UNPROCESSABLE_ENTITY),
        },
        ACTIVITY_PATH => match read::<ActivityReport>(&body, |report| &report.server, instance) {
            Some(report) => {
                instance.heard(report, ctx.clock.now());
                json(&instance.view().door)
            }
            None => plain(StatusCode::UNPROCESSABLE_ENTITY),
        },
        _ => plain(StatusCode::NOT_FOUND),
    }
}

fn believed(ctx: &Ctx, instance: &Instance, headers: &hyper::HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header(SERVER) != instance.server.as_str() {
        return false;
    }
    let secret = instance.view().secret;
    let now = ctx.clock.now();
    let signed = Signed { timestamp: header(TIMESTAMP), nonce: header(NONCE), signature: header(SIGNATURE), body };
    let verified = instance.door_side().nonces.verify(&secret, &signed, now);
    if let Err(disbelief) = &verified {
        tracing::warn!(server = %instance.server, %disbelief, "a request at the sidecar's socket was not believed");
    }
    !secret.is_empty() && verified.is_ok()
}

fn read<T: DeserializeOwned>(body: &[u8], whose: impl Fn(&T) -> &ServerId, instance: &Instance) -> Option<T> {
    serde_json::from_slice::<T>(body).ok().filter(|said| *whose(said) == instance.server)
}

async fn wake(instance: &Instance, request: WakeRequest) -> Response<Full<Bytes>> {
    if let Some(answered) = instance.wake(request)
        && let Ok(answer) = answered.await
    {
        return json(&answer);
    }
    json(&WakeAnswer { started: false, state: instance.view().door })
}
