//! Limits of tries, each keyed: by address and by account, never for all together, so that nobody can lock others out.
//!
//! Whoever guesses a secret of an account waits longer from try to try, see `tries`; everything else has a rate.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Refusal;
use super::tries::{Guess, Tries};
use crate::model::addresses::network;
use crate::model::time::Millis;

/// Logins that one address may try in a minute, on whichever accounts.
const LOGINS_OF_ADDRESS: u32 = 20;
/// Passwords that one address may choose by a link in a minute.
const LINKS_OF_ADDRESS: u32 = 20;
/// Flows to providers and answers of passkeys that one address may begin or end in a minute.
const SIGN_INS: u32 = 40;
/// Codes of a second factor that may be tried on one account at once; one more comes back every minute.
const CODES_OF_ACCOUNT: u32 = 10;
/// Codes that one address may try in a minute.
const CODES_OF_ADDRESS: u32 = 20;
/// Letters with a link that may be asked for to one address in an hour, and once more as many by each browser that its owner has signed in
/// with.
const LETTERS_TO_ADDRESS: u32 = 4;
/// Letters with a link that one address of the network may ask for in an hour.
const LETTERS_FROM_ADDRESS: u32 = 20;
/// Accounts that one address may make in an hour.
const REGISTRATIONS: u32 = 10;
/// Machines that one address may try to let join in a minute.
const JOINS: u32 = 30;
/// Invitations that one account may write in an hour.
const INVITATIONS: u32 = 30;
/// Lines of the audit that strangers at one address may cause in an hour.
const LINES_OF_ADDRESS: u32 = 30;
/// Lines of the audit that all strangers together may.
const LINES_OF_STRANGERS: u32 = 600;
/// Lines of the audit for what one account was refused in an hour.
const REFUSALS_OF_ACCOUNT: u32 = 60;
/// Console lines of one account in a minute.
const CONSOLE_LINES: u32 = 120;
/// Pages of Stripe that one account may have opened in a minute.
const CHECKOUTS: u32 = 20;
/// Keys that are kept before the unused are dropped.
const KEYS_MAX: usize = 100_000;
/// The unused are looked for this often at most.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// All limits of the panel. In memory: a restart forgets tries, nothing else.
pub struct Limits {
    login_address: DefaultKeyedRateLimiter<String>,
    link: DefaultKeyedRateLimiter<String>,
    tries: Tries,
    sign_in: DefaultKeyedRateLimiter<String>,
    code_account: DefaultKeyedRateLimiter<String>,
    code_address: DefaultKeyedRateLimiter<String>,
    letter_to: DefaultKeyedRateLimiter<String>,
    letter_from: DefaultKeyedRateLimiter<String>,
    register: DefaultKeyedRateLimiter<String>,
    join: DefaultKeyedRateLimiter<String>,
    line_address: DefaultKeyedRateLimiter<String>,
    line_strangers: DefaultDirectRateLimiter,
    line_account: DefaultKeyedRateLimiter<String>,
    console: DefaultKeyedRateLimiter<String>,
    invite: DefaultKeyedRateLimiter<String>,
    checkout: DefaultKeyedRateLimiter<String>,
    swept: Mutex<Option<Instant>>,
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
            link: per_minute(LINKS_OF_ADDRESS),
            tries: Tries::default(),
            sign_in: per_minute(SIGN_INS),
            code_account: slowly(CODES_OF_ACCOUNT),
            code_address: per_minute(CODES_OF_ADDRESS),
            letter_to: per_hour(LETTERS_TO_ADDRESS),
            letter_from: per_hour(LETTERS_FROM_ADDRESS),
            register: per_hour(REGISTRATIONS),
            join: per_minute(JOINS),
            line_address: per_hour(LINES_OF_ADDRESS),
            line_strangers: RateLimiter::direct(Quota::per_hour(NonZeroU32::new(LINES_OF_STRANGERS).unwrap_or(NonZeroU32::MIN))),
            line_account: per_hour(REFUSALS_OF_ACCOUNT),
            console: per_minute(CONSOLE_LINES),
            invite: per_hour(INVITATIONS),
            checkout: per_minute(CHECKOUTS),
            swept: Mutex::default(),
        }
    }
}

/// Where a try comes from: an address, and what the browser shows of earlier sign-ins to the same account.
#[derive(Debug, Clone, Copy)]
pub struct From<'a> {
    /// The address.
    pub address: IpAddr,
    /// The browser, if the account has been opened with it before.
    pub known: Option<&'a str>,
}

impl From<'_> {
    /// On this account, for this purpose. A known browser waits for its own tries alone.
    fn guess(&self, purpose: &str, account: &str) -> Guess {
        let place = self.known.map_or_else(|| network(self.address).to_string(), |browser| format!("browser {browser}"));
        Guess::new(format!("{purpose} {account}"), place)
    }
}

/// A try that has begun.
#[must_use]
pub struct Try<'a> {
    tries: &'a Tries,
    guess: Guess,
}

impl Try<'_> {
    /// It was right.
    pub fn right(self) {
        self.tries.right(&self.guess);
    }
}

impl Limits {
    fn check(&self, limiter: &DefaultKeyedRateLimiter<String>, key: &String) -> Result<(), Refusal> {
        if limiter.len() > KEYS_MAX {
            self.sweep(limiter);
        }
        limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Refusal::TooMany { wait_secs: wait.as_secs() + 1 }
        })
    }

    /// Drops the unused, which looks at all of them.
    fn sweep(&self, limiter: &DefaultKeyedRateLimiter<String>) {
        let Ok(mut swept) = self.swept.lock() else { return };
        if swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            *swept = Some(Instant::now());
            limiter.retain_recent();
        }
    }

    /// One more login from there, on this account.
    pub fn login(&self, now: Millis, from: From<'_>, email: &str) -> Result<Try<'_>, Refusal> {
        if from.known.is_none() {
            self.check(&self.login_address, &network(from.address).to_string())?;
        }
        self.begin(now, from.guess("login", email))
    }

    /// One more time that somebody signed in shows the password, to confirm or to change it. What strangers try at the login is none of
    /// their business.
    pub fn confirm(&self, now: Millis, address: IpAddr, account: &str) -> Result<Try<'_>, Refusal> {
        self.begin(now, From { address, known: None }.guess("confirm", account))
    }

    fn begin(&self, now: Millis, guess: Guess) -> Result<Try<'_>, Refusal> {
        self.tries.begin(now, &guess)?;
        Ok(Try { tries: &self.tries, guess })
    }

    /// One more password chosen by a link from here. The link itself is the proof.
    pub fn link(&self, address: IpAddr) -> Result<(), Refusal> {
        self.check(&self.link, &network(address).to_string())
    }

    /// One more step on the way to a provider or a passkey, and back, from here.
    pub fn sign_in(&self, address: IpAddr) -> Result<(), Refusal> {
        self.check(&self.sign_in, &network(address).to_string())
    }

    /// One more code of a second factor from there, on this account. A browser that the account was opened with has a limit of its own, so
    /// that somebody with the password alone cannot shut its owner out.
    pub fn code(&self, from: From<'_>, account: &str) -> Result<(), Refusal> {
        if let Some(browser) = from.known {
            return self.check(&self.code_account, &format!("{account} {browser}"));
        }
        self.check(&self.code_address, &network(from.address).to_string())?;
        self.check(&self.code_account, &account.to_owned())
    }

    /// One more letter with a link, asked for from there, to this address.
    pub fn letter(&self, from: From<'_>, email: &str) -> Result<(), Refusal> {
        if let Some(browser) = from.known {
            return self.check(&self.letter_to, &format!("{email} {browser}"));
        }
        self.check(&self.letter_from, &network(from.address).to_string())?;
        self.check(&self.letter_to, &email.to_owned())
    }

    /// One more account from here.
    pub fn register(&self, address: IpAddr) -> Result<(), Refusal> {
        self.check(&self.register, &network(address).to_string())
    }

    /// One more machine that wants to join from here.
    pub fn join(&self, address: IpAddr) -> Result<(), Refusal> {
        self.check(&self.join, &network(address).to_string())
    }

    /// One more invitation of this account.
    pub fn invite(&self, account: &str) -> Result<(), Refusal> {
        self.check(&self.invite, &account.to_owned())
    }

    /// One more page of Stripe's for this account.
    pub fn checkout(&self, account: &str) -> Result<(), Refusal> {
        self.check(&self.checkout, &account.to_owned())
    }

    /// One more line of the audit for what a stranger here was refused.
    pub fn line_of_stranger(&self, address: IpAddr) -> Result<(), Refusal> {
        self.check(&self.line_address, &network(address).to_string())?;
        self.line_strangers.check().map_err(|_| Refusal::TooMany { wait_secs: 1 })
    }

    /// One more line of the audit for what this account was refused.
    pub fn line_of_account(&self, account: &str) -> Result<(), Refusal> {
        self.check(&self.line_account, &account.to_owned())
    }

    /// One more console line of this account.
    pub fn console(&self, account: &str) -> Result<(), Refusal> {
        self.check(&self.console, &account.to_owned())
    }
}
