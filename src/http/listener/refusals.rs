//! What is said of strangers who were turned away: each is counted, and one a minute is written down.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A refusal is written down this often; those in between are counted.
const EVERY: Duration = Duration::from_mins(1);

/// Refusals of one listener.
pub(in crate::http) struct Refusals {
    listener: &'static str,
    said: Mutex<(u64, Option<Instant>)>,
}

impl Refusals {
    /// Of the listener of this name.
    pub fn new(listener: &'static str) -> Refusals {
        Refusals { listener, said: Mutex::default() }
    }

    /// Counts one by its reason, a word of ours, and writes it down if none was for a while.
    pub fn add(&self, reason: &'static str, what: &str) {
        metrics::counter!("roost_connections_refused_total", "listener" => self.listener, "reason" => reason).increment(1);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.1.is_some_and(|at| at.elapsed() < EVERY) {
            said.0 += 1;
            return;
        }
        let unsaid = std::mem::take(&mut said.0);
        said.1 = Some(Instant::now());
        tracing::warn!(listener = self.listener, reason, what, unsaid, "a connection was turned away or ended");
    }
}
