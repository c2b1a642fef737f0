//! How busy the door is, and telling the agent.
//!
//! Connections and sessions count while their guard lives. A look at the server list is not a player and has no guard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::bounds::REPORT_GAP_MIN;
use super::gate::Gate;

/// Counters of one server.
#[derive(Debug, Default)]
pub struct Traffic {
    connections: AtomicU32,
    sessions: AtomicU32,
    /// Bytes from clients.
    pub bytes_in: AtomicU64,
    /// Bytes to clients.
    pub bytes_out: AtomicU64,
    turned: Notify,
}

/// Counted while it lives.
#[derive(Debug)]
pub struct Counted {
    traffic: Arc<Traffic>,
    session: bool,
}

impl Traffic {
    /// TCP connections, held ones among them.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// UDP peers.
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Relaxed)
    }

    /// One more connection.
    pub fn connection(self: &Arc<Self>) -> Counted {
        Counted::new(self, false)
    }

    /// One more UDP peer.
    pub fn session(self: &Arc<Self>) -> Counted {
        Counted::new(self, true)
    }

    fn players(&self) -> u32 {
        self.connections().saturating_add(self.sessions())
    }
}

impl Counted {
    fn new(traffic: &Arc<Traffic>, session: bool) -> Self {
        if traffic.players() == 0 {
            traffic.turned.notify_one();
        }
        let counted = Self { traffic: Arc::clone(traffic), session };
        counted.counter().fetch_add(1, Relaxed);
        counted
    }

    fn counter(&self) -> &AtomicU32 {
        if self.session { &self.traffic.sessions } else { &self.traffic.connections }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counter().fetch_sub(1, Relaxed);
        if self.traffic.players() == 0 {
            self.traffic.turned.notify_one();
        }
    }
}

/// Reports for ever: every [`super::Bounds::activity_every`], and at once when the first player comes or the last one leaves.
pub async fn report(gate: Arc<Gate>) {
    let mut reached = true;
    loop {
        let sent = Instant::now();
        gate.tasks.tidy();
        match gate.report().await {
            Ok(()) if reached => {}
            Ok(()) => gate.log.line(gate.server.as_str(), "agent back", ""),
            Err(error) if reached => gate.log.line(gate.server.as_str(), "agent away", &error.in_words()),
            Err(_) => {}
        }
        reached = gate.reached();
        tokio::select! {
            () = sleep_until(sent + gate.bounds.activity_every) => {}
            () = gate.traffic.turned.notified() => sleep_until(sent + REPORT_GAP_MIN).await,
        }
    }
}
