//! Is a webhook Stripe's? `Stripe-Signature` holds the moment of signing and HMAC-SHA256 signatures over it and the raw body.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::model::secrets::Secret;
use crate::model::time::{Millis, SECOND};

/// So far a webhook's moment may be from ours, before or behind, in seconds.
pub const TOLERANCE_SECS: i64 = 300;
/// Longest header that is read.
const HEADER_MAX: usize = 4_096;
/// Most signatures that are tried.
const SIGNATURES_MAX: usize = 16;

/// Why a webhook is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// No header, or one that cannot be read.
    #[error("the signature's header cannot be read")]
    NoHeader,
    /// Signed too long ago, or in the future: perhaps recorded and sent again.
    #[error("the signature is too old, or of the future")]
    Stale,
    /// None of the signatures is of any of the secrets.
    #[error("the signature is not of this body and secret")]
    Wrong,
}

/// Checks the header against the body as it came.
///
/// # Errors
/// Says why it is not believed.
pub fn verify(header: &str, body: &[u8], secrets: &[Secret], now: Millis) -> Result<(), NotSigned> {
    if header.len() > HEADER_MAX {
        return Err(NotSigned::NoHeader);
    }
    let pairs = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let stamp = pairs().find(|(name, _)| *name == "t").map(|(_, value)| value).ok_or(NotSigned::NoHeader)?;
    // As text, since it is the text that is signed.
    let plain = (1..=12).contains(&stamp.len()) && stamp.bytes().all(|byte| byte.is_ascii_digit());
    let at: i64 = stamp.parse().ok().filter(|_| plain).ok_or(NotSigned::NoHeader)?;
    let signatures: Vec<Vec<u8>> =
        pairs().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX).filter_map(|(_, hex)| hex::decode(hex).ok()).collect();
    if signatures.is_empty() {
        return Err(NotSigned::NoHeader);
    }
    let signed = |secret: &Secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).ok()?;
        mac.update(stamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        Some(mac)
    };
    // The comparison takes as long whatever is wrong.
    let matches = |mac: Hmac<Sha256>| signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok());
    if !secrets.iter().filter_map(signed).any(matches) {
        return Err(NotSigned::Wrong);
    }
    // Asked last, so that only what Stripe has signed learns anything of our clock.
    if (at * SECOND - now.0).abs() > TOLERANCE_SECS * SECOND { Err(NotSigned::Stale) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(stamp: &str, body: &[u8], secret: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{stamp}.").as_bytes());
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }

    #[test]
    fn only_this_body_signed_now_with_a_known_secret_is_believed() {
        let (body, now) = (b"{\"id\":\"evt_1\"}".as_slice(), Millis(1_767_268_800_000));
        let secrets = [Secret::new("whsec_old"), Secret::new("whsec_new")];
        let t = "1767268800";
        let good = sign(t, body, "whsec_new");
        let check = |header: &str, body: &[u8], now| verify(header, body, &secrets, now);
        assert_eq!(check(&format!("t={t},v1={good}"), body, now), Ok(()));
        assert_eq!(check(&format!("t={t},v1={},v0=x,v1={good}", "0".repeat(64)), body, now), Ok(()), "one of several");
        assert_eq!(check(&format!("t={t}, v1={good}"), body, now + 300 * SECOND), Ok(()), "at the edge");
        for late in [301, -301] {
            assert_eq!(check(&format!("t={t},v1={good}"), body, now + late * SECOND), Err(NotSigned::Stale));
        }
        assert_eq!(check(&format!("t={t},v1={good}"), b"{\"id\":\"evt_2\"}", now), Err(NotSigned::Wrong));
        assert_eq!(check(&format!("t=1767268801,v1={good}"), body, now), Err(NotSigned::Wrong));
        assert_eq!(check(&format!("t={t},v1={}", sign(t, body, "whsec_other")), body, now), Err(NotSigned::Wrong));
        assert_eq!(check(&format!("t={t},v1={}", &good[..62]), body, now), Err(NotSigned::Wrong), "cut off");
        for bad in
            ["", "t=1", "v1=00", "t=,v1=00", "t=-5,v1=00", "t=9999999999999999999,v1=00", "t=1,v1=zz", "t=1,v0=00", &"x".repeat(5_000)]
        {
            assert_eq!(check(bad, body, now), Err(NotSigned::NoHeader), "{bad}");
        }
    }
}
