//! What a connection is at, and until when that is all right.
//!
//! Told by whatever reads from the connection, by each request as it begins, and by each answer as it goes out; asked by the task of the
//! connection. Only bytes of a head, the quiet between requests, and an answer that nobody takes are timed here: handlers have their own
//! patience, and bodies theirs.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::Version;
use tokio::time::Instant;

use super::{IDLE_WAIT_CROWDED, Waits};

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing before then.
    Fine(Instant),
    /// It has been quiet for long enough.
    Quiet,
    /// Its head did not come in time.
    NoHead,
    /// It does not take its answer.
    NoReader,
}

/// A request that is under way.
struct Open {
    number: u64,
    /// Since when a part of its answer lies there, and nobody asks for the next.
    lies_since: Option<Instant>,
}

struct At {
    open: Vec<Open>,
    next: u64,
    quiet_since: Instant,
    head_since: Option<Instant>,
    served: bool,
    http2: bool,
}

/// What a connection is at.
#[derive(Clone)]
pub(super) struct Pace(Arc<Mutex<At>>);

impl Pace {
    /// Of a connection that begins now.
    pub fn new() -> Pace {
        let now = Instant::now();
        let at = At { open: Vec::new(), next: 0, quiet_since: now, head_since: Some(now), served: false, http2: false };
        Pace(Arc::new(Mutex::new(at)))
    }

    fn with<T>(&self, change: impl FnOnce(&mut At) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes have come.
    pub fn heard(&self) {
        self.with(|at| {
            if at.open.is_empty() && at.head_since.is_none() {
                at.head_since = Some(Instant::now());
            }
        });
    }

    /// A head is whole. The request is over when what this gives is dropped.
    pub fn begin(&self, version: Version) -> Request {
        let number = self.with(|at| {
            at.served = true;
            at.http2 = version == Version::HTTP_2;
            at.head_since = None;
            at.next += 1;
            at.open.push(Open { number: at.next, lies_since: None });
            at.next
        });
        Request { pace: self.clone(), number }
    }

    /// How the connection stands.
    pub fn verdict(&self, now: Instant, waits: &Waits, crowded: bool) -> Verdict {
        self.with(|at| {
            if let Some(first) = at.open.iter().filter_map(|open| open.lies_since).min() {
                let until = first + waits.reader;
                return if now >= until { Verdict::NoReader } else { Verdict::Fine(until) };
            }
            if !at.open.is_empty() {
                return Verdict::Fine(now + waits.reader);
            }
            // Between requests HTTP/2 says this and that without meaning one; its quiet is bounded below, whatever it says.
            if let Some(since) = at.head_since.filter(|_| !at.served || !at.http2) {
                let until = since + waits.head;
                return if now >= until { Verdict::NoHead } else { Verdict::Fine(until) };
            }
            let idle = if crowded { waits.idle.min(IDLE_WAIT_CROWDED) } else { waits.idle };
            let until = at.quiet_since + idle;
            if now >= until { Verdict::Quiet } else { Verdict::Fine(until) }
        })
    }
}

/// A request that is under way.
pub(super) struct Request {
    pace: Pace,
    number: u64,
}

impl Request {
    /// A part of its answer was handed over and lies there until the next one is asked for.
    pub fn handed_over(&self) {
        self.set(Some(Instant::now()));
    }

    /// The next part was asked for.
    pub fn asked(&self) {
        self.set(None);
    }

    fn set(&self, lies_since: Option<Instant>) {
        self.pace.with(|at| {
            if let Some(open) = at.open.iter_mut().find(|open| open.number == self.number) {
                open.lies_since = lies_since;
            }
        });
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.pace.with(|at| {
            at.open.retain(|open| open.number != self.number);
            if at.open.is_empty() {
                at.quiet_since = Instant::now();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn heads_quiet_and_readers_have_their_time_and_work_has_none() {
        let waits = Waits::default();
        let pace = Pace::new();
        let after = |wait: Duration, crowded| pace.verdict(Instant::now() + wait, &waits, crowded);
        assert_eq!(after(waits.head, false), Verdict::NoHead, "not a word");
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let request = pace.begin(version);
            assert!(matches!(after(Duration::from_hours(1), true), Verdict::Fine(_)), "a handler works");
            request.handed_over();
            assert_eq!(after(waits.reader, false), Verdict::NoReader);
            request.asked();
            drop(request);
            assert!(matches!(after(IDLE_WAIT_CROWDED, false), Verdict::Fine(_)));
            assert_eq!(after(IDLE_WAIT_CROWDED, true), Verdict::Quiet, "sooner where there is little room");
            pace.heard();
            let slow = after(waits.head, false);
            if version == Version::HTTP_2 {
                assert!(matches!(slow, Verdict::Fine(_)), "no head yet, and nobody says that one comes");
            } else {
                assert_eq!(slow, Verdict::NoHead);
            }
            assert!(!matches!(after(waits.idle, false), Verdict::Fine(_)), "{version:?}: whatever it says");
        }
    }
}
