//! Short log lines on standard error: one JSON object each, with the time, the server and what happened.
//!
//! Whoever reads our standard error may be away for a while (a container engine that restarts). A line that cannot be
//! written at once is dropped rather than waited for: players are worth more than lines.

use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;

use rustix::event::{PollFd, PollFlags, poll};

use super::bounds::LOG_LINES_PER_SEC;
use crate::model::time::{Clock, Millis, SECOND};

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    clock: Arc<dyn Clock>,
    second: Arc<Mutex<(Millis, u32)>>,
    quiet: bool,
}

impl Log {
    /// Writes to standard error.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, second: Arc::default(), quiet: false }
    }

    /// Writes nothing, for tests.
    pub fn quiet(clock: Arc<dyn Clock>) -> Self {
        Self { quiet: true, ..Self::new(clock) }
    }

    /// One line: `what` happened at `server`'s door, with the details in words.
    pub fn line(&self, server: &str, what: &str, details: &str) {
        let now = self.clock.now();
        let Some(dropped) = self.admit(now) else { return };
        let mut line = serde_json::json!({ "at": now.0, "server": server, "what": what, "details": details });
        if dropped > 0 {
            line["lines_dropped"] = dropped.into();
        }
        let stderr = std::io::stderr();
        let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
        if poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0) {
            let _ = stderr.lock().write_all(format!("{line}\n").as_bytes());
        }
    }

    /// None when this second has had its lines; otherwise how many the last one dropped.
    fn admit(&self, now: Millis) -> Option<u32> {
        if self.quiet {
            return None;
        }
        let mut second = self.second.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now.since(second.0) >= SECOND || now < second.0 {
            let dropped = second.1.saturating_sub(LOG_LINES_PER_SEC);
            *second = (now, 1);
            return Some(dropped);
        }
        second.1 = second.1.saturating_add(1);
        (second.1 <= LOG_LINES_PER_SEC).then_some(0)
    }
}
