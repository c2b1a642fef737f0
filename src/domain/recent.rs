//! What was read a moment ago, for pages that are asked for again and again: at most [`FRESH`] old, and forgotten at once when
//! this panel itself writes. May be lost at any time; another panel's writes are seen when it is no longer fresh.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

use crate::model::time::{Millis, SECOND};

/// Longest age, in milliseconds.
pub const FRESH: i64 = SECOND;
/// Entries that are kept; when there are more, all are dropped and read anew.
const KEPT: usize = 10_000;

/// Values by key, each with the moment of its reading.
pub struct Recent<K, V>(Mutex<Inner<K, V>>);

struct Inner<K, V> {
    /// Moves with every write, so that what was read before it is not kept after it.
    writes: u64,
    kept: HashMap<K, (Millis, V)>,
}

/// Taken before reading, and given back with what was read.
#[derive(Debug, Clone, Copy)]
pub struct Mark(u64);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Recent(Mutex::new(Inner { writes: 0, kept: HashMap::new() }))
    }
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    /// The value, if it is fresh; else a mark to keep what is now read.
    pub fn get(&self, key: &K, now: Millis) -> Result<V, Mark> {
        let Ok(inner) = self.0.lock() else { return Err(Mark(u64::MAX)) };
        let fresh = inner.kept.get(key).filter(|(read_at, _)| now.since(*read_at) < FRESH);
        fresh.map(|(_, value)| value.clone()).ok_or(Mark(inner.writes))
    }

    /// Keeps what was read, unless something was written since the mark was taken.
    pub fn keep(&self, key: K, value: V, mark: Mark, now: Millis) {
        let Ok(mut inner) = self.0.lock() else { return };
        if inner.writes == mark.0 {
            if inner.kept.len() >= KEPT {
                inner.kept.clear();
            }
            inner.kept.insert(key, (now, value));
        }
    }

    /// Something under this key was written.
    pub fn forget(&self, key: &K) {
        if let Ok(mut inner) = self.0.lock() {
            inner.writes += 1;
            inner.kept.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_fresh_for_a_second_and_not_past_a_write() {
        let recent: Recent<&str, u32> = Recent::default();
        let mark = recent.get(&"a", Millis(0)).unwrap_err();
        recent.keep("a", 1, mark, Millis(0));
        assert_eq!(recent.get(&"a", Millis(FRESH - 1)).ok(), Some(1));
        assert!(recent.get(&"a", Millis(FRESH)).is_err());
        let before = recent.get(&"a", Millis(FRESH)).unwrap_err();
        recent.forget(&"a");
        recent.keep("a", 2, before, Millis(FRESH));
        assert!(recent.get(&"a", Millis(FRESH)).is_err(), "read before the write, so not kept after it");
    }
}
