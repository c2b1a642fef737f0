//! Addresses of the object folder, signed by the panel: `/objects/{key}?expires=..&verb=..&signature=..`.
//!
//! An address is good for one object, one verb and, where it is for a part, one number of one upload, until it expires; nothing of it
//! can be changed. Made by the folder, verified by whoever answers HTTP for it. No I/O here, and the time is given.

use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;

use super::{ObjectKey, PARTS_MAX, UploadId, Verb};
use crate::model::time::{Millis, SECOND};

/// Longest query that is looked at.
const QUERY_MAX: usize = 1_024;
/// Characters of an upload's id.
pub(super) const UPLOAD_LENGTH: usize = 32;

/// What an address allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What may be done.
    pub verb: Verb,
    /// With which object.
    pub key: ObjectKey,
    /// Until when, in seconds since 1970.
    pub expires: i64,
    /// Only this part of this upload; none: the whole object.
    pub part: Option<(UploadId, u32)>,
}

/// Why an address is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// Something is missing or cannot be read.
    #[error("this address is incomplete")]
    Malformed,
    /// The signature does not fit, or it is for something else.
    #[error("this address was not made by this panel, or not for this")]
    Forged,
    /// Too old.
    #[error("this address has expired; ask for a new one")]
    Expired,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    expires: i64,
    verb: String,
    upload: Option<String>,
    part: Option<u32>,
    signature: String,
}

/// Over everything that the address allows, a line each; no part can hold a line break.
fn mac(secret: &[u8], link: &Link) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    let (upload, number) = link.part.as_ref().map_or(("", 0), |(upload, number)| (upload.0.as_str(), *number));
    let text = format!("roost-object\n{}\n{}\n{}\n{upload}\n{number}", link.verb.as_str(), link.key, link.expires);
    mac.update(text.as_bytes());
    Some(mac)
}

/// The address, below a base such as `https://panel.example.org`.
pub fn sign(secret: &[u8], base: &str, link: &Link) -> String {
    let signature = mac(secret, link).map_or_else(String::new, |mac| hex::encode(mac.finalize().into_bytes()));
    let part = link.part.as_ref().map_or_else(String::new, |(upload, number)| format!("&upload={upload}&part={number}"));
    let (base, key, expires, verb) = (base.trim_end_matches('/'), &link.key, link.expires, link.verb.as_str());
    format!("{base}/objects/{key}?expires={expires}&verb={verb}{part}&signature={signature}")
}

/// Believes an address, or says why not. `key` is the path behind `/objects/`, `query` what follows the question mark.
pub fn verify(secret: &[u8], verb: Verb, key: &str, query: &str, now: Millis) -> Result<Link, BadLink> {
    if query.len() > QUERY_MAX {
        return Err(BadLink::Malformed);
    }
    let query: Query = serde_urlencoded::from_str(query).map_err(|_| BadLink::Malformed)?;
    let key: ObjectKey = key.parse().map_err(|_| BadLink::Malformed)?;
    let part = match (query.upload, query.part) {
        (None, None) => None,
        (Some(upload), Some(number)) if is_upload(&upload) && (1..=PARTS_MAX).contains(&number) => Some((UploadId(upload), number)),
        (Some(_) | None, Some(_)) | (Some(_), None) => return Err(BadLink::Malformed),
    };
    let signature = hex::decode(&query.signature).map_err(|_| BadLink::Malformed)?;
    let link = Link { verb, key, expires: query.expires, part };
    let mac = mac(secret, &link).ok_or(BadLink::Forged)?;
    if query.verb != verb.as_str() || mac.verify_slice(&signature).is_err() {
        return Err(BadLink::Forged);
    }
    if now.0 >= link.expires.saturating_mul(SECOND) {
        return Err(BadLink::Expired);
    }
    Ok(link)
}

/// As the folder makes them: 32 hexadecimal digits.
pub(super) fn is_upload(text: &str) -> bool {
    text.len() == UPLOAD_LENGTH && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"of this test";
    const NOW: Millis = Millis(1_000_000);

    fn split(address: &str) -> (&str, &str) {
        address.strip_prefix("http://panel/objects/").unwrap().split_once('?').unwrap()
    }

    fn link(part: Option<u32>) -> Link {
        let part = part.map(|number| (UploadId("0123456789abcdef".repeat(2)), number));
        Link { verb: Verb::Put, key: "a/b.tar".parse().unwrap(), expires: 1_060, part }
    }

    #[test]
    fn an_address_is_good_for_what_it_says_until_it_expires() {
        for link in [link(None), link(Some(7))] {
            let address = sign(SECRET, "http://panel/", &link);
            let (key, query) = split(&address);
            assert_eq!(verify(SECRET, Verb::Put, key, query, NOW), Ok(link));
            assert_eq!(verify(SECRET, Verb::Put, key, query, Millis(1_060_000)), Err(BadLink::Expired));
            assert_eq!(verify(SECRET, Verb::Get, key, query, NOW), Err(BadLink::Forged));
            assert_eq!(verify(SECRET, Verb::Put, "a/c.tar", query, NOW), Err(BadLink::Forged));
            assert_eq!(verify(b"another", Verb::Put, key, query, NOW), Err(BadLink::Forged));
        }
    }

    #[test]
    fn nothing_of_an_address_can_be_changed_left_out_or_added() {
        let address = sign(SECRET, "http://panel", &link(Some(7)));
        let (key, query) = split(&address);
        for (from, to) in [
            ("expires=1060", "expires=9060"),
            ("part=7", "part=8"),
            ("upload=0", "upload=1"),
            ("verb=put", "verb=get"),
            ("&part=7", ""),
            ("&upload=0123456789abcdef0123456789abcdef&part=7", ""),
            ("signature=", "signature=00"),
            ("part=7", "part=10001"),
            ("expires", "expired"),
            ("verb=put", "verb=put&verb=put"),
            ("verb=put", "verb=put&more=1"),
        ] {
            assert!(query.contains(from), "{from}");
            let changed = query.replacen(from, to, 1);
            assert!(matches!(verify(SECRET, Verb::Put, key, &changed, NOW), Err(BadLink::Forged | BadLink::Malformed)), "{changed}");
        }
        for key in ["../etc/passwd", "a/../a/b.tar", "/a/b.tar", "a/b.tar%00", ""] {
            assert_eq!(verify(SECRET, Verb::Put, key, query, NOW), Err(BadLink::Malformed), "{key}");
        }
        assert_eq!(verify(SECRET, Verb::Put, key, &"x".repeat(QUERY_MAX + 1), NOW), Err(BadLink::Malformed));
    }
}
