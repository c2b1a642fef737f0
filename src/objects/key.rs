//! Names of objects. Whoever parses one has checked that it can become part of a path or of a URL without leaving its place.

use std::fmt;
use std::str::FromStr;

/// Most characters of a key.
pub const KEY_MAX: usize = 512;
/// Most characters between two slashes: what every file system takes as a name, with room for an ending of ours.
pub const PART_MAX: usize = 200;

/// The text cannot be the name of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an object's name has 1 to {KEY_MAX} characters out of a-z, 0-9, dot, hyphen, underscore and slash, no part that is empty or begins with a dot, and none longer than {PART_MAX}"
)]
pub struct NotAKey;

/// Name of an object, such as `templates/lobby/1.2.tar.zst`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// The beginning of names, to list by: empty, or as a key that may end anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefix(String);

fn letters_fit(text: &str) -> bool {
    text.len() <= KEY_MAX && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._/-".contains(&b))
}

fn part_fits(part: &str) -> bool {
    !part.is_empty() && !part.starts_with('.') && part.len() <= PART_MAX
}

impl ObjectKey {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Prefix {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectKey {
    type Err = NotAKey;
    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let fits = letters_fit(text) && text.split('/').all(part_fits);
        fits.then(|| Self(text.to_owned())).ok_or(NotAKey)
    }
}

impl FromStr for Prefix {
    type Err = NotAKey;
    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let (folders, begun) = text.rsplit_once('/').map_or((None, text), |(folders, begun)| (Some(folders), begun));
        let fits = letters_fit(text) && folders.is_none_or(|f| f.split('/').all(part_fits)) && (begun.is_empty() || part_fits(begun));
        fits.then(|| Self(text.to_owned())).ok_or(NotAKey)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_leave_its_place_is_not_a_key() {
        for good in ["a", "a/b", "templates/lobby/1.2-rc_1.tar.zst", "a..b"] {
            assert_eq!(good.parse::<ObjectKey>().map(|key| key.to_string()), Ok(good.to_owned()));
        }
        let (long_part, long_key) = ("a".repeat(PART_MAX + 1), "a/".repeat(KEY_MAX / 2) + "a");
        for bad in
            ["", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", ".hidden", "A", "a b", "a\\b", "a\0", "ü", "a%2fb", &long_part, &long_key]
        {
            assert_eq!(bad.parse::<ObjectKey>(), Err(NotAKey), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_may_end_anywhere_and_leaves_nothing_either() {
        for good in ["", "a", "a/", "a/b", "a/b/"] {
            assert!(good.parse::<Prefix>().is_ok(), "{good:?}");
        }
        for bad in ["/", "/a", "a//", "../", "a/..", ".", "A"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad:?}");
        }
    }
}
