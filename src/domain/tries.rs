//! Wrong tries of a secret, and waits that grow with them.
//!
//! A try counts for an account together with where it comes from, so that nobody's tries make anybody else wait: the first ones are free,
//! then each wait is twice the one before, up to an end. Nobody is ever shut out. Tries on one account from many places leave fewer free
//! ones to each further place, and never none. In memory: a restart forgets them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Refusal;
use crate::model::time::{HOUR, MINUTE, Millis, SECOND};

/// Tries without a wait.
const FREE: u32 = 5;
/// The same once many places have tried on the same account.
const FREE_CROWDED: u32 = 1;
/// Wrong tries on one account after which that is so.
const CROWD: u32 = 100;
/// The first wait, in milliseconds.
const FIRST_WAIT: i64 = SECOND;
/// The longest, in milliseconds.
const LONGEST_WAIT: i64 = 15 * MINUTE;
/// Tries are forgotten so long after the last one, in milliseconds.
const FORGOTTEN_AFTER: i64 = HOUR;
/// Most accounts and places that are kept in mind.
const KEPT_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy)]
struct Tried {
    wrong: u32,
    last: Millis,
}

impl Tried {
    fn old(&self, now: Millis) -> bool {
        now.since(self.last) >= FORGOTTEN_AFTER
    }
}

/// Of which account, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Guess {
    account: String,
    /// None: of the account, from all places together.
    place: Option<String>,
}

impl Guess {
    /// A try on this account from this place.
    pub fn new(account: impl Into<String>, place: impl Into<String>) -> Guess {
        Guess { account: account.into(), place: Some(place.into()) }
    }

    fn everywhere(&self) -> Guess {
        Guess { account: self.account.clone(), place: None }
    }
}

/// All that are kept in mind.
#[derive(Default)]
pub struct Tries(Mutex<HashMap<Guess, Tried>>);

/// After so many wrong tries, of which so many are free.
fn wait(wrong: u32, free: u32) -> i64 {
    match wrong.checked_sub(free) {
        None => 0,
        Some(over) => FIRST_WAIT.saturating_mul(1 << over.min(20)).min(LONGEST_WAIT),
    }
}

impl Tries {
    /// Begins a try. It counts as a wrong one until [`Tries::right`] is said, so that many at once are no more than one after the other.
    ///
    /// # Errors
    /// [`Refusal::TooMany`] while the wait is not over; that is no try, and makes no wait longer.
    pub fn begin(&self, now: Millis, guess: &Guess) -> Result<(), Refusal> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = |guess: &Guess| kept.get(guess).filter(|tried| !tried.old(now)).copied();
        let all = guess.everywhere();
        let (here, everywhere) = (wrong(guess), wrong(&all).map_or(0, |tried| tried.wrong));
        let free = if everywhere >= CROWD { FREE_CROWDED } else { FREE };
        if let Some(here) = here {
            let left = wait(here.wrong, free) - now.since(here.last);
            if left > 0 {
                return Err(Refusal::TooMany { wait_secs: u64::try_from(left.div_euclid(SECOND)).unwrap_or_default() + 1 });
            }
        }
        if kept.len() >= KEPT_MAX {
            make_room(&mut kept, now);
        }
        kept.insert(guess.clone(), Tried { wrong: here.map_or(0, |here| here.wrong).saturating_add(1), last: now });
        kept.insert(all, Tried { wrong: everywhere.saturating_add(1), last: now });
        Ok(())
    }

    #[cfg(test)]
    fn everywhere(&self, account: &str) -> u32 {
        let all = Guess { account: account.to_owned(), place: None };
        self.0.lock().unwrap().get(&all).map_or(0, |tried| tried.wrong)
    }

    /// It was right: this place begins anew, and it was no try on the account.
    pub fn right(&self, guess: &Guess) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(guess);
        if let Some(all) = kept.get_mut(&guess.everywhere()) {
            all.wrong = all.wrong.saturating_sub(1);
        }
    }
}

/// Forgets the old, then those without a wait; at least half, so that it is seldom done.
fn make_room(kept: &mut HashMap<Guess, Tried>, now: Millis) {
    kept.retain(|_, tried| !tried.old(now));
    if kept.len() > KEPT_MAX / 2 {
        kept.retain(|_, tried| tried.wrong >= FREE);
    }
    if kept.len() > KEPT_MAX / 2 {
        kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waited(tries: &Tries, now: Millis, guess: &Guess) -> u64 {
        match tries.begin(now, guess) {
            Ok(()) => 0,
            Err(Refusal::TooMany { wait_secs }) => wait_secs,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn waits_grow_have_an_end_and_are_each_places_own() {
        let (tries, guess) = (Tries::default(), Guess::new("ada", "a"));
        let mut now = Millis(0);
        let mut waits = Vec::new();
        for _ in 0..18 {
            let wait = waited(&tries, now, &guess);
            waits.push(wait);
            now = now + i64::try_from(wait).unwrap() * SECOND;
            if wait > 0 {
                assert_eq!(waited(&tries, now, &guess), 0, "what was said holds");
            }
        }
        assert_eq!(waits[..5], [0; 5]);
        assert!(waits[5..].windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= 901) && waits[17] > 800, "{waits:?}");
        assert_eq!(waited(&tries, now, &Guess::new("ada", "b")), 0, "nobody else waits");
        assert_eq!(waited(&tries, now + HOUR, &guess), 0, "forgotten");
    }

    #[test]
    fn many_places_leave_fewer_free_tries_and_never_none() {
        let tries = Tries::default();
        let now = Millis(0);
        for place in 0..1_000 {
            let guess = Guess::new("ada", place.to_string());
            assert_eq!(waited(&tries, now, &guess), 0, "the first is free from everywhere");
            assert_eq!(waited(&tries, now, &guess) == 0, tries.everywhere("ada") <= CROWD, "{place}");
        }
        let own = Guess::new("ada", "own");
        for _ in 0..50 {
            tries.begin(now, &own).unwrap();
            tries.right(&own);
        }
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let tries = Tries::default();
        for account in 0..KEPT_MAX {
            tries.begin(Millis(0), &Guess::new(account.to_string(), "a")).unwrap();
        }
        assert!(tries.0.lock().unwrap().len() <= KEPT_MAX + 1);
    }
}
