//! What keeps strangers within bounds: a room for handshakes in which the oldest gives way, of the same address first.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::model::addresses::network;

struct Waiting {
    number: u64,
    network: IpAddr,
    over: CancellationToken,
}

#[derive(Default)]
struct Inside {
    next: u64,
    waiting: VecDeque<Waiting>,
}

impl Inside {
    /// The oldest one for which this holds has to go.
    fn give_way(&mut self, who: impl Fn(&Waiting) -> bool) {
        if let Some(oldest) = self.waiting.iter().position(who).and_then(|place| self.waiting.remove(place)) {
            oldest.over.cancel();
        }
    }
}

/// So many at once, and so many of one address.
pub(super) struct Room {
    most: usize,
    most_of_address: usize,
    inside: Arc<Mutex<Inside>>,
}

/// A place in the room, given back when it is dropped.
pub(super) struct Ticket {
    number: u64,
    over: CancellationToken,
    inside: Arc<Mutex<Inside>>,
}

impl Room {
    pub fn new(most: usize, most_of_address: usize) -> Room {
        Room { most, most_of_address, inside: Arc::default() }
    }

    /// Always lets in; where it is full the oldest one gives way, so that a stalled crowd holds up nobody who is quick. A crowd at one
    /// address makes way among itself.
    pub fn enter(&self, address: IpAddr) -> Ticket {
        let (network, over) = (network(address), CancellationToken::new());
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.waiting.iter().filter(|waiting| waiting.network == network).count() >= self.most_of_address {
            inside.give_way(|waiting| waiting.network == network);
        } else if inside.waiting.len() >= self.most {
            inside.give_way(|_| true);
        }
        let number = inside.next;
        inside.next += 1;
        inside.waiting.push_back(Waiting { number, network, over: over.clone() });
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
        inside.waiting.retain(|waiting| waiting.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_whoever_left_needs_no_place() {
        let room = Room::new(2, 2);
        let mut hosts = 1..;
        let mut enter = || room.enter(format!("192.0.2.{}", hosts.next().unwrap()).parse().unwrap());
        let (first, second) = (enter(), enter());
        let third = enter();
        assert!(first.over.is_cancelled() && !second.over.is_cancelled());
        drop(third);
        let fourth = enter();
        assert!(!second.over.is_cancelled() && !fourth.over.is_cancelled());
        drop(first);
        let _fifth = enter();
        assert!(second.over.is_cancelled() && !fourth.over.is_cancelled());
    }

    #[test]
    fn a_crowd_at_one_address_makes_way_among_itself() {
        let room = Room::new(4, 2);
        let other = room.enter("192.0.2.1".parse().unwrap());
        let crowd: Vec<Ticket> = (1..5).map(|n| room.enter(format!("2001:db8::{n}").parse().unwrap())).collect();
        assert!(!other.over.is_cancelled(), "the oldest of all, and of another address");
        assert_eq!(crowd.iter().map(|ticket| ticket.over.is_cancelled()).collect::<Vec<_>>(), [true, true, false, false]);
    }
}
