//! How many requests one token, one session or one address may send.
//!
//! What somebody shows of themselves is counted before it is looked at, and the address beside it, so that made-up tokens buy nothing.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::domain::Refusal;
use crate::http::Web;
use crate::http::cookies::Cookie;
use crate::http::who::token_of;
use crate::model::addresses::network;

/// One address may send so many times what one token may: people share addresses.
const OF_ADDRESS: u32 = 5;
/// Keys that are kept before the unused are dropped.
const KEYS_MAX: usize = 100_000;
/// The unused are looked for this often at most.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The rate of everybody; none: no limit.
pub(in crate::http) struct Rate(Option<Limits>);

/// Keys are hashes: a secret is not kept, and a long one takes no more room than a short one.
struct Limits {
    of_one: DefaultKeyedRateLimiter<u64>,
    of_address: DefaultKeyedRateLimiter<u64>,
    hashes: RandomState,
    swept: Mutex<Instant>,
}

impl Rate {
    /// So many requests a minute of one token or session; 0: no limit.
    pub fn new(per_minute: u32) -> Rate {
        let limiter = |number: NonZeroU32| RateLimiter::keyed(Quota::per_minute(number));
        Rate(NonZeroU32::new(per_minute).map(|number| Limits {
            of_one: limiter(number),
            of_address: limiter(number.saturating_mul(NonZeroU32::MIN.saturating_add(OF_ADDRESS - 1))),
            hashes: RandomState::new(),
            swept: Mutex::new(Instant::now()),
        }))
    }

    /// One more request.
    ///
    /// # Errors
    /// [`Refusal::TooMany`]
    pub fn check(&self, web: &Web, headers: &HeaderMap, address: IpAddr) -> Result<(), Refusal> {
        let Some(limits) = &self.0 else { return Ok(()) };
        let shown = token_of(headers).or_else(|| web.cookies.read(headers, Cookie::Session));
        if let Some(shown) = shown {
            limits.check(&limits.of_one, limits.hashes.hash_one(shown))?;
        }
        limits.check(&limits.of_address, limits.hashes.hash_one(network(address)))
    }
}

impl Limits {
    fn check(&self, limiter: &DefaultKeyedRateLimiter<u64>, key: u64) -> Result<(), Refusal> {
        if limiter.len() > KEYS_MAX
            && let Ok(mut swept) = self.swept.lock()
            && swept.elapsed() > SWEEP_EVERY
        {
            *swept = Instant::now();
            limiter.retain_recent();
        }
        limiter.check_key(&key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Refusal::TooMany { wait_secs: wait.as_secs() + 1 }
        })
    }
}
