//! Signatures of what a sidecar sends: HMAC-SHA256 over time, nonce and body, fresh, and good once.
//!
//! Four headers: [`SERVER`], [`TIMESTAMP`] (milliseconds), [`NONCE`] (16 bytes in hexadecimal), [`SIGNATURE`] (hexadecimal over
//! `<timestamp>\n<nonce>\n<body>`). The receiver looks the secret up by the server's id, so one server's secret signs for
//! nobody else.

use std::collections::{HashSet, VecDeque};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::model::time::{Millis, SECOND};

/// Header: whose door.
pub const SERVER: &str = "x-roost-server";
/// Header: when it was signed, in milliseconds since 1970.
pub const TIMESTAMP: &str = "x-roost-timestamp";
/// Header: 16 random bytes in hexadecimal.
pub const NONCE: &str = "x-roost-nonce";
/// Header: the signature in hexadecimal.
pub const SIGNATURE: &str = "x-roost-signature";

/// A request older or newer than this is stale.
pub const SKEW_MAX: i64 = 30 * SECOND;
/// So many nonces are remembered for each server; more than that within [`SKEW_MAX`] are refused.
pub const NONCES_MAX: usize = 4_096;

/// Why a request is not believed. The answer to the sender does not say which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// A header is missing or cannot be read.
    #[error("malformed")]
    Malformed,
    /// The signature does not fit.
    #[error("forged")]
    Forged,
    /// Too old, or from the future.
    #[error("stale")]
    Stale,
    /// Seen before.
    #[error("replayed")]
    Replayed,
    /// More nonces than can be remembered.
    #[error("too many")]
    TooMany,
}

fn mac(secret: &[u8], timestamp: &str, nonce: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    for part in [timestamp.as_bytes(), b"\n", nonce.as_bytes(), b"\n", body] {
        mac.update(part);
    }
    Some(mac)
}

/// Signs a body; gives the signature in hexadecimal.
pub fn sign(secret: &[u8], timestamp: &str, nonce: &str, body: &[u8]) -> String {
    mac(secret, timestamp, nonce, body).map_or_else(String::new, |mac| hex::encode(mac.finalize().into_bytes()))
}

/// What stands in the headers of a signed request.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// [`TIMESTAMP`].
    pub timestamp: &'a str,
    /// [`NONCE`].
    pub nonce: &'a str,
    /// [`SIGNATURE`].
    pub signature: &'a str,
    /// What was signed.
    pub body: &'a [u8],
}

impl Signed<'_> {
    /// Is it well made, by whoever holds the secret, and fresh? That its nonce has not been used is for the caller to see to.
    ///
    /// # Errors
    /// Says why not.
    pub fn check(&self, secret: &[u8], now: Millis) -> Result<(), Disbelief> {
        let at = Millis(self.timestamp.parse().map_err(|_| Disbelief::Malformed)?);
        let bytes = hex::decode(self.signature).map_err(|_| Disbelief::Malformed)?;
        if self.nonce.len() != 32 || !self.nonce.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Disbelief::Malformed);
        }
        let mac = mac(secret, self.timestamp, self.nonce, self.body).ok_or(Disbelief::Malformed)?;
        mac.verify_slice(&bytes).map_err(|_| Disbelief::Forged)?;
        if now.since(at) > SKEW_MAX || at.since(now) > SKEW_MAX {
            return Err(Disbelief::Stale);
        }
        Ok(())
    }
}

/// The nonces of one server within [`SKEW_MAX`].
#[derive(Debug, Default)]
pub struct Nonces {
    seen: HashSet<String>,
    order: VecDeque<(Millis, String)>,
}

impl Nonces {
    /// Believes a request, once.
    ///
    /// # Errors
    /// Says why not.
    pub fn verify(&mut self, secret: &[u8], signed: &Signed<'_>, now: Millis) -> Result<(), Disbelief> {
        signed.check(secret, now)?;
        // A nonce can be forgotten once its own timestamp has gone stale, whenever it came in.
        while self.order.front().is_some_and(|(at, _)| now.since(*at) > 2 * SKEW_MAX) {
            if let Some((_, old)) = self.order.pop_front() {
                self.seen.remove(&old);
            }
        }
        if self.seen.contains(signed.nonce) {
            return Err(Disbelief::Replayed);
        }
        if self.order.len() >= NONCES_MAX {
            return Err(Disbelief::TooMany);
        }
        self.seen.insert(signed.nonce.to_owned());
        self.order.push_back((now, signed.nonce.to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NONCE_A: &str = "000102030405060708090a0b0c0d0e0f";

    fn verify(nonces: &mut Nonces, timestamp: &str, nonce: &str, body: &[u8], now: i64) -> Result<(), Disbelief> {
        let signature = sign(SECRET, timestamp, nonce, b"body");
        nonces.verify(SECRET, &Signed { timestamp, nonce, signature: &signature, body }, Millis(now))
    }

    #[test]
    fn a_signed_body_is_believed_once_while_it_is_fresh() {
        let mut nonces = Nonces::default();
        assert_eq!(verify(&mut nonces, "100000", NONCE_A, b"body", 100_000), Ok(()));
        assert_eq!(verify(&mut nonces, "100000", NONCE_A, b"body", 100_001), Err(Disbelief::Replayed));
        assert_eq!(verify(&mut nonces, "100000", NONCE_A, b"other", 100_000), Err(Disbelief::Forged));
        for now in [100_000 + SKEW_MAX + 1, 100_000 - SKEW_MAX - 1] {
            assert_eq!(verify(&mut Nonces::default(), "100000", NONCE_A, b"body", now), Err(Disbelief::Stale));
        }
        assert_eq!(verify(&mut nonces, "soon", NONCE_A, b"body", 100_000), Err(Disbelief::Malformed));
        assert_eq!(verify(&mut nonces, "100000", "short", b"body", 100_000), Err(Disbelief::Malformed));
    }

    #[test]
    fn a_nonce_is_remembered_for_as_long_as_it_could_be_replayed() {
        let mut nonces = Nonces::default();
        let from_ahead = (100_000 + SKEW_MAX).to_string();
        assert_eq!(verify(&mut nonces, &from_ahead, NONCE_A, b"body", 100_000), Ok(()));
        for later in 0..=2 * SKEW_MAX {
            if later % 1_000 == 0 {
                assert_eq!(verify(&mut nonces, &from_ahead, NONCE_A, b"body", 100_000 + later), Err(Disbelief::Replayed));
            }
        }
    }
}
