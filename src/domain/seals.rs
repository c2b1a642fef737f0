//! What the panel writes down and nobody else may read or forge: sealed with, or signed by, keys derived from `SECRET_KEY`.
//!
//! Each purpose has a key of its own, and what is sealed says whose it is, so that nothing can be taken for something else. Only this
//! file names `chacha20poly1305`.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::Ctx;
use crate::model::secrets::Secret;

/// Bytes of the number that makes each seal another one.
const NONCE: usize = 24;

/// Keys by purpose.
#[derive(Debug)]
pub struct Seals {
    secret: Secret,
}

impl Seals {
    /// Of the panel's secret.
    pub fn new(secret: Secret) -> Seals {
        Seals { secret }
    }

    fn mac(key: &[u8], text: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).ok()?;
        mac.update(text);
        Some(mac)
    }

    fn key(&self, purpose: &str) -> [u8; 32] {
        // An HMAC takes keys of every length, so that there is always one.
        let mac = Seals::mac(self.secret.bytes(), format!("roost/1/{purpose}").as_bytes());
        mac.map_or([0; 32], |mac| mac.finalize().into_bytes().into())
    }

    /// Seals something of somebody's; none where it is too long for any cipher.
    pub fn seal(&self, purpose: &str, whose: &str, plain: &[u8]) -> Option<String> {
        let nonce: [u8; NONCE] = Ctx::random();
        let cipher = XChaCha20Poly1305::new(Key::from_slice(&self.key(purpose)));
        let sealed = cipher.encrypt(XNonce::from_slice(&nonce), Payload { msg: plain, aad: whose.as_bytes() }).ok()?;
        Some(hex::encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what was sealed; none where it is somebody else's, for something else, damaged, or of another secret.
    pub fn open(&self, purpose: &str, whose: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = hex::decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE)?;
        let cipher = XChaCha20Poly1305::new(Key::from_slice(&self.key(purpose)));
        cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: whose.as_bytes() }).ok()
    }

    /// Signs a text.
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        let mac = Seals::mac(&self.key(purpose), text.as_bytes());
        mac.map_or_else(String::new, |mac| hex::encode(mac.finalize().into_bytes()))
    }

    /// Is it signed by this panel? Takes the same time whatever differs.
    pub fn signed(&self, purpose: &str, text: &str, signature: &str) -> bool {
        let bytes = hex::decode(signature).unwrap_or_default();
        Seals::mac(&self.key(purpose), text.as_bytes()).is_some_and(|mac| mac.verify_slice(&bytes).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_opens_for_its_owner_its_purpose_and_its_secret_only() {
        let seals = Seals::new(Secret::new("sesame"));
        let sealed = seals.seal("totp", "ada", b"open").unwrap();
        assert_eq!(seals.open("totp", "ada", &sealed).as_deref(), Some(b"open".as_slice()));
        assert_ne!(seals.seal("totp", "ada", b"open").unwrap(), sealed, "no two are alike");
        let damaged = format!("{}00", &sealed[..sealed.len() - 2]);
        for (purpose, whose, sealed) in [("flow", "ada", &sealed), ("totp", "bea", &sealed), ("totp", "ada", &damaged)] {
            assert_eq!(seals.open(purpose, whose, sealed), None);
        }
        assert_eq!(Seals::new(Secret::new("other")).open("totp", "ada", &sealed), None);
        assert_eq!(seals.open("totp", "ada", "ff"), None);
        let signature = seals.sign("link", "1");
        assert!(seals.signed("link", "1", &signature));
        assert!(!seals.signed("link", "2", &signature) && !seals.signed("other", "1", &signature) && !seals.signed("link", "1", ""));
        assert!(!format!("{seals:?}").contains("sesame"));
    }
}
