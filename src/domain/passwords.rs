//! Passwords: argon2id, two at a time, off the threads that serve pages.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::model::accounts::Password;

/// Memory of one hash in KiB, passes and lanes: the first choice of OWASP's list for argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Hashes at the same time; more wait, so that logins cannot take the whole machine.
const AT_ONCE: usize = 2;

/// Makes and checks hashes.
pub struct Hasher {
    places: Semaphore,
    /// The hash of a password that nobody has: checked for unknown accounts, so that they take as long as known ones.
    nobody: tokio::sync::OnceCell<String>,
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher { places: Semaphore::new(AT_ONCE), nobody: tokio::sync::OnceCell::new() }
    }
}

fn argon2() -> Argon2<'static> {
    let (memory, passes, lanes) = COST;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(memory, passes, lanes, None).unwrap_or_default())
}

impl Hasher {
    /// The hash of a password, with a salt of its own. Empty if the system could not make one; nothing matches that.
    pub async fn hash(&self, password: Password) -> String {
        let _place = self.places.acquire().await;
        let hash = move || argon2().hash_password(password.reveal().as_bytes()).map(|hash| hash.to_string()).unwrap_or_default();
        tokio::task::spawn_blocking(hash).await.unwrap_or_default()
    }

    /// Does the password fit? Without a hash to compare with, or for an account that has no password, takes the same time and says no.
    pub async fn fits(&self, password: &str, hash: Option<String>) -> bool {
        let hash = hash.filter(|hash| PasswordHash::new(hash).is_ok());
        let known = hash.is_some();
        let hash = match hash {
            Some(hash) => hash,
            None => self.nobody.get_or_init(|| async { self.nobodys_hash().await }).await.clone(),
        };
        let password = password.to_owned();
        let _place = self.places.acquire().await;
        let check = move || PasswordHash::new(&hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok());
        tokio::task::spawn_blocking(check).await.unwrap_or(false) && known
    }

    async fn nobodys_hash(&self) -> String {
        let random: [u8; 16] = super::Ctx::random();
        match Password::parse(&hex::encode(random)) {
            Ok(password) => self.hash(password).await,
            Err(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn an_account_without_a_password_takes_as_long_as_one_that_is_not_there() {
        let hasher = Hasher::default();
        hasher.fits("wrong password", None).await;
        let mut took = Vec::new();
        for hash in [None, Some(String::new()), Some("damaged".to_owned())] {
            let begin = Instant::now();
            assert!(!hasher.fits("wrong password", hash).await);
            took.push(begin.elapsed());
        }
        assert!(took[1] * 3 > took[0] && took[2] * 3 > took[0], "{took:?}");
    }
}
