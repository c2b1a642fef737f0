//! SHA-256 of a file or an object: the one checksum that Roost writes down, compares and shows.
//!
//! Whoever parses one has checked it: 64 hexadecimal digits, lower case.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A SHA-256. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum([u8; 32]);

/// The text is not a SHA-256 of 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 of 64 hexadecimal digits")]
pub struct NotAChecksum;

impl Checksum {
    /// The first 16 digits, for names that people may have to compare.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..8])
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Checksum {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Checksum {
    type Err = NotAChecksum;
    fn from_str(text: &str) -> Result<Self, NotAChecksum> {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(NotAChecksum);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAChecksum)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Checksum {
    type Error = NotAChecksum;
    fn try_from(text: String) -> Result<Self, NotAChecksum> {
        text.parse()
    }
}

impl From<Checksum> for String {
    fn from(sum: Checksum) -> String {
        hex::encode(sum.0)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_reads_as_it_is_written_and_nothing_else_is_one() {
        let text = "ab".repeat(32);
        let sum: Checksum = text.parse().unwrap();
        assert_eq!((sum.to_string(), sum.short()), (text.clone(), "ab".repeat(8)));
        assert_eq!(serde_json::from_str::<Checksum>(&serde_json::to_string(&sum).unwrap()).unwrap(), sum);
        for bad in ["", "ab", &text.to_uppercase(), &text[..63], &format!("{text}ab"), &"zz".repeat(32)] {
            assert_eq!(bad.parse::<Checksum>(), Err(NotAChecksum), "{bad}");
        }
    }
}
