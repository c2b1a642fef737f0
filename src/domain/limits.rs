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
/// Flows to providers and answers of passkeys that one address may begin or end in a minute.
const SIGN_INS: u32 = 40;
/// Codes of a second factor that may be tried on one account at once; one more comes back every minute.
const CODES_OF_ACCOUNT: u32 = 10;
/// Codes that one address may try in a minute.
const CODES_OF_ADDRESS: u32 = 20;
/// Letters with a link that may be asked for to one address in an hour.
const LETTERS_TO_ADDRESS: u32 = 4;
/// Letters with a link that one address of the network may ask for in an hour.
const LETTERS_FROM_ADDRESS: u32 = 20;
/// Accounts that one address may make in an hour.
const REGISTRATIONS: u32 = 10;
/// Machines that one address may try to let join in a minute.
const JOINS: u32 = 30;
/// Invitations that one account may write in an hour.
const INVITATIONS: u32 = 30;
/// Console lines of one account in a minute.
const CONSOLE_LINES: u32 = 120;
/// Pages of Stripe that one account may have opened in a minute.
const CHECKOUTS: u32 = 20;
/// Keys that are kept before the unused are dropped.
const KEYS_MAX: usize = 100_000;

/// All limits of the panel. In memory: a restart forgets tries, nothing else.
pub struct Limits {
    login_address: DefaultKeyedRateLimiter<String>,
    login_account: DefaultKeyedRateLimiter<String>,
    sign_in: DefaultKeyedRateLimiter<String>,
    code_account: DefaultKeyedRateLimiter<String>,
    code_address: DefaultKeyedRateLimiter<String>,
    letter_to: DefaultKeyedRateLimiter<String>,
    letter_from: DefaultKeyedRateLimiter<String>,
    register: DefaultKeyedRateLimiter<String>,
    join: DefaultKeyedRateLimiter<String>,
    console: DefaultKeyedRateLimiter<String>,
    invite: DefaultKeyedRateLimiter<String>,
    checkout: DefaultKeyedRateLimiter<String>,
}

fn per_minute(number: u32) -> DefaultKeyedRateLimiter<String> {
    RateLimiter::keyed(Quota::per_minute(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)))
}

fn per_hour(number: u32) -> DefaultKeyedRateLimiter<String> {
    RateLimiter::keyed(Quota::per_hour(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)))
}

/// So many at once, then one a minute.
fn slowly(burst: u32) -> DefaultKeyedRateLimiter<String> {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    RateLimiter::keyed(Quota::per_minute(NonZeroU32::MIN).allow_burst(burst))
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            login_address: per_minute(LOGINS_OF_ADDRESS),
            login_account: per_minute(LOGINS_OF_ACCOUNT),
            sign_in: per_minute(SIGN_INS),
            code_account: slowly(CODES_OF_ACCOUNT),
            code_address: per_minute(CODES_OF_ADDRESS),
            letter_to: per_hour(LETTERS_TO_ADDRESS),
            letter_from: per_hour(LETTERS_FROM_ADDRESS),
            register: per_hour(REGISTRATIONS),
            join: per_minute(JOINS),
            console: per_minute(CONSOLE_LINES),
            invite: per_hour(INVITATIONS),
            checkout: per_minute(CHECKOUTS),
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

    /// One more step on the way to a provider or a passkey, and back, from here.
    pub fn sign_in(&self, address: IpAddr) -> Result<(), Refusal> {
        check(&self.sign_in, &network(address))
    }

    /// One more code of a second factor from here, on this account.
    pub fn code(&self, address: IpAddr, account: &str) -> Result<(), Refusal> {
        check(&self.code_address, &network(address))?;
        check(&self.code_account, &account.to_owned())
    }

    /// One more letter with a link, asked for from here, to this address.
    pub fn letter(&self, address: IpAddr, email: &str) -> Result<(), Refusal> {
        check(&self.letter_from, &network(address))?;
        check(&self.letter_to, &email.to_lowercase())
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

    /// One more page of Stripe's for this account.
    pub fn checkout(&self, account: &str) -> Result<(), Refusal> {
        check(&self.checkout, &account.to_owned())
    }

    /// One more console line of this account.
    pub fn console(&self, account: &str) -> Result<(), Refusal> {
        check(&self.console, &account.to_owned())
    }
}
