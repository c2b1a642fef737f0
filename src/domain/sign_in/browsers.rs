//! Browsers that an account was opened with before: each keeps a signed word of it for long.
//!
//! The word opens nothing. It only says that tries from this browser are told apart from those of strangers, so that whoever guesses at an
//! account makes its owner wait nowhere. One browser holds words of a few accounts, so that a family may share it.

use std::net::IpAddr;

use crate::domain::Ctx;
use crate::domain::limits::From;
use crate::model::time::{DAY, Millis};

/// How long a word counts; browsers keep no cookie for longer.
pub const KNOWN_DAYS: i64 = 400;
/// A word is renewed when it is older than this, in milliseconds.
const RENEW_AFTER: i64 = 30 * DAY;
/// Most accounts of one browser; the oldest goes.
const ACCOUNTS_MAX: usize = 5;
/// Bytes of a browser's name.
const NAME_BYTES: usize = 8;
/// What words are signed for.
const SIGNED: &str = "known-browser";
/// Between words.
const NEXT: char = '_';

/// Where a try comes from, as a browser or a program tells it.
#[derive(Debug, Clone)]
pub struct Whence {
    /// The address.
    pub address: IpAddr,
    /// The words that it holds; empty: none.
    pub words: String,
}

impl Whence {
    /// A program at this address.
    pub fn program(address: IpAddr) -> Whence {
        Whence { address, words: String::new() }
    }

    /// The browser's name, if the account of this address was opened with it.
    pub(crate) fn known(&self, ctx: &Ctx, email: &str) -> Option<String> {
        let now = ctx.clock.now();
        words(&self.words).find(|word| word.fits(ctx, email, now)).map(|word| word.name.to_owned())
    }

    /// For a limit.
    pub(crate) fn limited<'a>(&self, known: Option<&'a String>) -> From<'a> {
        From { address: self.address, known: known.map(String::as_str) }
    }
}

/// `<name>-<when>-<signature>`
#[derive(Debug, Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    name: &'a str,
    at: Millis,
    signature: &'a str,
}

fn words(all: &str) -> impl Iterator<Item = Word<'_>> {
    all.split(NEXT).take(ACCOUNTS_MAX).filter_map(|text| {
        let mut parts = text.split('-');
        let (name, at, signature) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        let fits = name.len() == 2 * NAME_BYTES && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then_some(Word { text, name, at: Millis(at), signature })
    })
}

fn signed(email: &str, name: &str, at: Millis) -> String {
    format!("{name} {} {email}", at.0)
}

impl Word<'_> {
    fn fits(&self, ctx: &Ctx, email: &str, now: Millis) -> bool {
        self.at <= now
            && now.since(self.at) < KNOWN_DAYS * DAY
            && ctx.seals.signed(SIGNED, &signed(email, self.name, self.at), self.signature)
    }
}

/// The words that a browser is to hold once somebody has signed in with it; none: those that it has.
pub fn remember(ctx: &Ctx, held: &str, email: &str) -> Option<String> {
    let now = ctx.clock.now();
    let old = words(held).find(|word| word.fits(ctx, email, now));
    if old.is_some_and(|word| now.since(word.at) < RENEW_AFTER) {
        return None;
    }
    let name = old.map_or_else(|| hex::encode(Ctx::random::<NAME_BYTES>()), |word| word.name.to_owned());
    let fresh = format!("{name}-{}-{}", now.0, ctx.seals.sign(SIGNED, &signed(email, &name, now)));
    let others = words(held).filter(|word| old.is_none_or(|old| old.text != word.text)).map(|word| word.text.to_owned());
    Some(std::iter::once(fresh).chain(others).take(ACCOUNTS_MAX).collect::<Vec<_>>().join(&NEXT.to_string()))
}
