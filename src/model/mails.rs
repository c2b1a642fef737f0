//! A letter to somebody, and when it is tried again where it could not be handed over.

use super::accounts::Email;
use super::time::{HOUR, MINUTE};

/// A letter in plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// What it is about, such as `low:<user>:<ms>`: a key goes out once, ever. At most 200 bytes.
    pub key: String,
    /// To whom.
    pub to: Email,
    /// One line.
    pub subject: String,
    /// Paragraphs with an empty line between them.
    pub text: String,
}

/// A letter is tried this often before it is given up.
pub const ATTEMPTS_MAX: u32 = 10;

/// How long to wait after the `attempts`th failure: a minute, doubling, at most six hours. None: enough.
pub fn wait_after(attempts: u32) -> Option<i64> {
    (attempts < ATTEMPTS_MAX).then(|| (MINUTE << attempts.saturating_sub(1).min(12)).min(6 * HOUR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let minutes: Vec<i64> = (1..).map_while(wait_after).map(|wait| wait / MINUTE).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
    }
}
