//! What keeps strangers within bounds: a room for handshakes in which the oldest gives way, and complaints that do not fill the log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Complaints are written down this often; those in between are counted.
const EVERY: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Inside {
    next: u64,
    waiting: VecDeque<(u64, CancellationToken)>,
}

/// So many at once.
pub(super) struct Room {
    most: usize,
    inside: Arc<Mutex<Inside>>,
}

/// A place in the room, given back when it is dropped.
pub(super) struct Ticket {
    number: u64,
    over: CancellationToken,
    inside: Arc<Mutex<Inside>>,
}

impl Room {
    pub fn new(most: usize) -> Room {
        Room { most, inside: Arc::default() }
    }

    /// Always lets in; where it is full the oldest one gives way, so that a stalled crowd holds up nobody who is quick.
    pub fn enter(&self) -> Ticket {
        let over = CancellationToken::new();
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.waiting.len() >= self.most
            && let Some((_, oldest)) = inside.waiting.pop_front()
        {
            oldest.cancel();
        }
        let number = inside.next;
        inside.next += 1;
        inside.waiting.push_back((number, over.clone()));
        Ticket { number, over, inside: self.inside.clone() }
    }
}

impl Ticket {
    /// Ends when somebody newer needs the place.
    pub async fn gives_way(&self) {
        self.over.cancelled().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.waiting.retain(|(number, _)| *number != self.number);
    }
}

/// Complaints about strangers.
#[derive(Default)]
pub(super) struct Complaints(Mutex<(u64, Option<Instant>)>);

impl Complaints {
    /// Writes it down, or counts it for the next that is written down.
    pub fn add(&self, what: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.1.is_some_and(|at| at.elapsed() < EVERY) {
            kept.0 += 1;
            return;
        }
        let unsaid = std::mem::take(&mut kept.0);
        kept.1 = Some(Instant::now());
        tracing::warn!(what, unsaid, "somebody did not get through the door for machines");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_whoever_left_needs_no_place() {
        let room = Room::new(2);
        let (first, second) = (room.enter(), room.enter());
        let third = room.enter();
        assert!(first.over.is_cancelled() && !second.over.is_cancelled());
        drop(third);
        let fourth = room.enter();
        assert!(!second.over.is_cancelled() && !fourth.over.is_cancelled());
        drop(first);
        let _fifth = room.enter();
        assert!(second.over.is_cancelled() && !fourth.over.is_cancelled());
    }
}
