//! Limits of tries, each keyed: by address and by account, never for all together, so that nobody can lock others out.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Refusal;

/// Logins that one address may try in a minute.
const LOGINS_OF_ADDRESS: u32 = 20;
/// Logins that may be tried on one account in a minute, from wherever.
const LOGINS_OF_ACCOUNT: u32 = 10;
/// Accounts that one address may make in an hour.
const REGISTRATIONS: u32 = 10;
/// Machines that one address may try to let join in a minute.
const JOINS: u32 = 30;
/// Invitations that one account may write in an hour.
const INVITATIONS: u32 = 30;
/// Console lines of one account in a minute.
const CONSOLE_LINES: u32 = 120;
/// Keys that are kept before the unused are dropped.
const KEYS_MAX: usize = 100_000;

/// All limits of the panel. In memory: a restart forgets tries, nothing else.
pub struct Limits {
    login_address: DefaultKeyedRateLimiter<String>,
    login_account: DefaultKeyedRateLimiter<String>,
    register: DefaultKeyedRateLimiter<String>,
    join: DefaultKeyedRateLimiter<String>,
    console: DefaultKeyedRateLimiter<String>,
    invite: DefaultKeyedRateLimiter<String>,
}

fn per_hour(number: u32) -> DefaultKeyedRateLimiter<String> {
    RateLimiter::keyed(Quota::per_hour(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)))
}

fn per_minute(number: u32) -> DefaultKeyedRateLimiter<String> {
    RateLimiter::keyed(Quota::per_minute(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)))
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            login_address: per_minute(LOGINS_OF_ADDRESS),
            login_account: per_minute(LOGINS_OF_ACCOUNT),
            register: per_hour(REGISTRATIONS),
            join: per_minute(JOINS),
            console: per_minute(CONSOLE_LINES),
            invite: per_hour(INVITATIONS),
        }
    }
}

fn check(limiter: &DefaultKeyedRateLimiter<String>, key: &String) -> Result<(), Refusal> {
    if limiter.len() > KEYS_MAX {
        limiter.retain_recent();
    }
    limiter.check_key(key).map_err(|not_until| {
        let wait = not_until.wait_time_from(DefaultClock::default().now());
        Refusal::TooMany { wait_secs: wait.as_secs() + 1 }
    })
}

/// IPv4 addresses count each, IPv6 by the /64 that a household has.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => mapped.to_string(),
            None => format!("{:x?}", &address.segments()[..4]),
        },
    }
}

impl Limits {
    /// One more login from here, on this account.
    pub fn login(&self, address: IpAddr, email: &str) -> Result<(), Refusal> {
        check(&self.login_address, &network(address))?;
        check(&self.login_account, &email.to_lowercase())
    }

    /// One more account from here.
    pub fn register(&self, address: IpAddr) -> Result<(), Refusal> {
        check(&self.register, &network(address))
    }

    /// One more machine that wants to join from here.
    pub fn join(&self, address: IpAddr) -> Result<(), Refusal> {
        check(&self.join, &network(address))
    }

    /// One more invitation of this account.
    pub fn invite(&self, account: &str) -> Result<(), Refusal> {
        check(&self.invite, &account.to_owned())
    }

    /// One more console line of this account.
    pub fn console(&self, account: &str) -> Result<(), Refusal> {
        check(&self.console, &account.to_owned())
    }
}
