//! Waits until a game that has been started can be played: its port accepts, a datagram is answered, or its log says so.
//!
//! Growing waits from 1 ms on, so that a quick game is noticed at once and a slow one is not pestered. Ends also when the process
//! has ended or the time is over.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, timeout};

use super::parts::game_name;
use crate::model::games::Ready;
use crate::model::ids::ServerId;
use crate::node::console::{Ear, Lines};
use crate::node::ctx::Ctx;
use crate::node::stamps;
use crate::wire::spec::InstanceSpec;

/// First wait between two tries.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_millis(20);
/// Longest wait for one connection or one answer.
const TRY_MAX: Duration = Duration::from_millis(250);
/// Between two looks whether the process still runs. Docker's events usually say it sooner.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Largest answer to a datagram that is read.
const ANSWER_BYTES: usize = 2_048;

/// So much later than a process's first line Docker may stamp its start, in nanoseconds: a few milliseconds were seen.
const START_SLACK_NANOS: u64 = 200_000_000;

/// How the wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeEnd {
    /// It answers.
    Ready,
    /// Its process has ended.
    Ended,
    /// So many seconds have passed.
    Late(u32),
}

/// The wait for one start. The lock is never waited for: it only lets a worker be shared between threads while it is polled by one.
pub struct Probe(Mutex<Pin<Box<dyn Future<Output = ProbeEnd> + Send>>>);

impl Future for Probe {
    type Output = ProbeEnd;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ProbeEnd> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
    }
}

impl Probe {
    /// For the start that Docker writes as `started`, of a game that this ear hears.
    pub(super) fn new(ctx: &Arc<Ctx>, spec: &InstanceSpec, address: Ipv4Addr, started: String, ear: Option<Ear>) -> Probe {
        let (ctx, spec) = (Arc::clone(ctx), spec.clone());
        Probe(Mutex::new(Box::pin(async move {
            let elapsed = stamps::millis(&started).map_or(0, |at| ctx.clock.now().since(at));
            let left = u64::from(spec.ready_within_secs) * 1_000;
            let left = Duration::from_millis(left.saturating_sub(u64::try_from(elapsed).unwrap_or_default()));
            tokio::select! {
                () = ready(&ctx, &spec, address, &started, ear) => ProbeEnd::Ready,
                () = ended(&ctx, &spec.server, &started) => ProbeEnd::Ended,
                () = sleep(left) => ProbeEnd::Late(spec.ready_within_secs),
            }
        })))
    }
}

async fn ended(ctx: &Ctx, server: &ServerId, started: &str) {
    loop {
        sleep(LOOK_EVERY).await;
        // An engine that does not answer says nothing about the game.
        let Ok(game) = ctx.engine.inspect(&game_name(server)).await else { continue };
        if game.is_none_or(|game| !game.running || game.started != started) {
            return;
        }
    }
}

async fn ready(ctx: &Ctx, spec: &InstanceSpec, address: Ipv4Addr, started: &str, ear: Option<Ear>) {
    match &spec.ready {
        Ready::TcpAccept { port } => accepts(SocketAddr::from((address, *port))).await,
        Ready::UdpAnswer { port, send_hex } => {
            let question = hex::decode(send_hex).unwrap_or_default();
            answers(SocketAddr::from((address, *port)), &question).await;
        }
        Ready::LogLine { contains } => says(ctx, &spec.server, contains, started, ear).await,
    }
}

async fn accepts(address: SocketAddr) {
    let mut wait = WAIT_MIN;
    while !matches!(timeout(TRY_MAX, TcpStream::connect(address)).await, Ok(Ok(_))) {
        sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

pub(super) async fn answers(address: SocketAddr, question: &[u8]) {
    let mut wait = WAIT_MIN;
    loop {
        let asked = Instant::now();
        let ask = async {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
            socket.connect(address).await?;
            socket.send(question).await?;
            socket.recv(&mut [0; ANSWER_BYTES]).await
        };
        // A refusal comes back at once, so that the waits grow; silence has its own length.
        if matches!(timeout(wait.max(WAIT_MAX).min(TRY_MAX), ask).await, Ok(Ok(_))) {
            return;
        }
        sleep(wait.saturating_sub(asked.elapsed())).await;
        wait = (wait * 2).min(TRY_MAX);
    }
}

/// From when on a line is one of this run, in nanoseconds since 1970. Docker stamps a start only behind it, so that a quick game's first
/// line is older than the start; what the run before wrote last may be stamped after its end.
async fn run_began(ctx: &Ctx, server: &ServerId, started: &str) -> u64 {
    let started = stamps::nanos(started).unwrap_or_default().saturating_sub(START_SLACK_NANOS);
    match ctx.engine.inspect(&game_name(server)).await {
        Ok(game) => {
            let ended = game.and_then(|game| game.finished_at).and_then(|at| u64::try_from(at.0 + 1).ok());
            ended.map_or(0, |at| at * 1_000_000).max(started)
        }
        Err(_) => started,
    }
}

/// An ear that was open before the start has heard all of this run and nothing else. Where there is none, the log has to tell runs apart.
async fn says(ctx: &Ctx, server: &ServerId, text: &str, started: &str, ear: Option<Ear>) {
    let whole = ear.as_ref().is_some_and(|ear| ear.whole);
    let heard = async {
        match ear {
            Some(ear) => ear.heard().wait_for(|heard| heard.said).await.is_ok(),
            None => false,
        }
    };
    let log = async { logged(ctx, server, text, run_began(ctx, server, started).await).await };
    if whole {
        // One that was closed before its time has missed what came then.
        if !heard.await {
            log.await;
        }
        return;
    }
    tokio::select! {
        true = heard => {}
        () = log => {}
    }
}

async fn logged(ctx: &Ctx, server: &ServerId, text: &str, since: u64) {
    let since_secs = i32::try_from(since / 1_000_000_000).unwrap_or_default();
    loop {
        if let Ok(mut log) = ctx.engine.logs(&game_name(server), since_secs, None, true).await {
            let mut reader = Lines::default();
            while let Ok(Some(entry)) = log.entry().await {
                if reader.take(&entry).any(|line| line.seq >= since && line.text.contains(text)) {
                    return;
                }
            }
        }
        sleep(TRY_MAX).await;
    }
}
