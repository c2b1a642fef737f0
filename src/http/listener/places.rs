//! Places for connections: so many in all, so many of one address. A place is given back when what holds it is dropped.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::Bounds;
use crate::model::addresses::network;

/// From this share of all places on it is crowded, in quarters.
const CROWDED_QUARTERS: usize = 3;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Full {
    /// In all.
    All,
    /// For this address.
    Address,
}

impl Full {
    /// For the metric.
    pub fn word(self) -> &'static str {
        match self {
            Full::All => "full",
            Full::Address => "address",
        }
    }
}

#[derive(Default)]
struct Inside {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// All places of a listener.
#[derive(Clone)]
pub(in crate::http) struct Places {
    bounds: Bounds,
    inside: Arc<Mutex<Inside>>,
}

/// One of them.
pub(in crate::http) struct Place {
    network: IpAddr,
    inside: Arc<Mutex<Inside>>,
}

impl Places {
    pub fn new(bounds: Bounds) -> Places {
        Places { bounds, inside: Arc::default() }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Says which bound is reached.
    pub fn enter(&self, address: IpAddr) -> Result<Place, Full> {
        let network = network(address);
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.all >= self.bounds.all {
            return Err(Full::All);
        }
        let here = inside.by_address.get(&network).copied().unwrap_or_default();
        if self.bounds.of_address.is_some_and(|most| here >= most) {
            return Err(Full::Address);
        }
        inside.all += 1;
        inside.by_address.insert(network, here + 1);
        Ok(Place { network, inside: self.inside.clone() })
    }

    /// Are most places taken?
    pub fn crowded(&self) -> bool {
        let all = self.inside.lock().unwrap_or_else(PoisonError::into_inner).all;
        all * 4 >= self.bounds.all * CROWDED_QUARTERS
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.all -= 1;
        if let Some(here) = inside.by_address.get_mut(&self.network) {
            *here -= 1;
            if *here == 0 {
                inside.by_address.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_address_and_in_all_and_come_back() {
        let places = Places::new(Bounds { all: 4, of_address: Some(2) });
        let enter = |address: &str| places.enter(address.parse().unwrap());
        let (first, _second) = (enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap());
        assert_eq!(enter("2001:db8::3").err(), Some(Full::Address), "one household");
        let _other = enter("192.0.2.1").unwrap();
        assert!(places.crowded());
        let _last = enter("192.0.2.2").unwrap();
        assert_eq!(enter("192.0.2.3").err(), Some(Full::All));
        drop(first);
        drop(enter("2001:db8::3").unwrap());
        assert_eq!(places.inside.lock().unwrap().all, 3);
    }
}
