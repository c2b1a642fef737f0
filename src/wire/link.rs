//! How a machine joins a panel and stays linked to it: the token, the two requests, and the link's own messages.
//!
//! Both ends of `NODE_LISTEN` name this file. `POST /join` needs no client certificate and takes a [`JoinRequest`]; `GET /link` is a
//! WebSocket for nodes with a certificate. On it text frames are messages of [`super::agent`], one each; binary frames are the link's
//! own, [`LinkUp`] and [`LinkDown`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::ids::NodeId;
use crate::model::time::Millis;

/// Where a machine joins.
pub const JOIN_PATH: &str = "/join";
/// Where a joined machine links.
pub const LINK_PATH: &str = "/link";
/// Header of an answer that refuses a link: why, in words.
pub const REASON_HEADER: &str = "roost-reason";
/// Largest message on the link, in bytes.
pub const FRAME_BYTES_MAX: usize = 8 << 20;
/// Largest body of `POST /join` and of its answer, in bytes.
pub const JOIN_BYTES_MAX: usize = 32 << 10;
/// Largest certificate request, in bytes of its PEM.
pub const CSR_BYTES_MAX: usize = 8 << 10;
/// Most bytes of a reason in a WebSocket's close frame.
pub const REASON_BYTES_MAX: usize = 120;
/// Either end sends something at least this often, in seconds.
pub const PULSE_SECS: u64 = 10;
/// An end that has heard nothing for this long takes the link for broken, in seconds.
pub const SILENT_SECS: u64 = 30;
/// Hexadecimal digits of a token's secret.
pub const SECRET_DIGITS: usize = 48;
/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;
/// What every token begins with: its form, and that it can be found where it leaks.
const PREFIX: &str = "roost-join-1";
/// Longest address.
const ADDRESS_MAX: usize = 260;

/// What an admin copies from the panel to the machine: good for one use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Whom the machine will be.
    pub node: NodeId,
    /// Proves that the machine was invited.
    pub secret: String,
    /// SHA-256 of the certificate of the panel's authority: the machine trusts exactly that one.
    pub authority: String,
    /// Host and port of `NODE_LISTEN`, as machines reach it.
    pub address: String,
}

/// The text is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("This is not a whole token. Copy it again from the panel's page, from roost-join-1 to its end")]
pub struct NotAToken;

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Host name or address with a port: `panel.example.org:8443`, `[2001:db8::1]:8443`.
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let named = || !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    let fits = v6.map_or_else(named, |v6| v6.parse::<std::net::Ipv6Addr>().is_ok());
    fits && text.len() <= ADDRESS_MAX && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}/{}/{}/{}/{}", self.node, self.secret, self.authority, self.address)
    }
}

impl FromStr for JoinToken {
    type Err = NotAToken;
    fn from_str(text: &str) -> Result<JoinToken, NotAToken> {
        let parts: Vec<&str> = text.trim().split('/').collect();
        let &[PREFIX, node, secret, authority, address] = parts.as_slice() else { return Err(NotAToken) };
        let node = node.parse::<NodeId>().map_err(|_| NotAToken)?;
        let whole = is_hex(secret, SECRET_DIGITS) && is_hex(authority, SHA256_DIGITS) && is_address(address);
        if !whole {
            return Err(NotAToken);
        }
        Ok(JoinToken { node, secret: secret.to_owned(), authority: authority.to_owned(), address: address.to_owned() })
    }
}

/// Body of `POST /join`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The secret of the token.
    pub token: String,
    /// Request for a certificate, as PEM, signed with the machine's key.
    pub csr: String,
    /// Version of the agent's program.
    pub agent: String,
    /// Version of the agent's messages.
    pub version: u32,
}

/// A certificate for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// As PEM.
    pub certificate: String,
    /// From when on it counts, by the panel's clock.
    pub from: Millis,
    /// When it ends, by the panel's clock.
    pub until: Millis,
}

/// Answer to `POST /join`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// Who the machine is now.
    pub node: NodeId,
    /// Its certificate.
    pub issued: Issued,
    /// The panel's authority, as PEM.
    pub authority: String,
}

/// Answer where a request was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refused {
    /// Why, in words with what to do.
    pub reason: String,
}

/// The link's own messages from a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LinkUp {
    /// Its certificate will end: here is the request for the next one. The old one stays good until the new one has been used.
    Renew {
        /// As PEM.
        csr: String,
    },
}

/// The link's own messages from the panel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LinkDown {
    /// The next certificate.
    Certificate(Issued),
    /// There is none; the node asks again later.
    NotRenewed(Refused),
}

/// A reason that fits into a close frame.
pub fn short_reason(text: &str) -> String {
    let end = (0..=REASON_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken { node: NodeId::local(), secret: "0a".repeat(24), authority: "b1".repeat(32), address: "a:1".to_owned() }
    }

    #[test]
    fn a_token_comes_back_as_it_was() {
        for address in ["panel.example.org:8443", "192.0.2.1:1", "[2001:db8::1]:8443"] {
            let token = JoinToken { address: address.to_owned(), ..token() };
            assert_eq!(format!(" {token}\n").parse(), Ok(token));
        }
    }

    #[test]
    fn what_is_not_a_whole_token_is_refused() {
        let good = token().to_string();
        for n in 0..good.len() {
            assert_eq!(good[..n].parse::<JoinToken>(), Err(NotAToken), "{n}");
        }
        for bad in ["a:0", "a", ":1", "a b:1", "[a]:1", "a:99999"] {
            assert_eq!(good.replace("a:1", bad).replace("aa:1", "").parse::<JoinToken>(), Err(NotAToken), "{bad}");
        }
    }

    #[test]
    fn a_reason_is_cut_between_letters() {
        assert_eq!(short_reason(&"ü".repeat(100)).len(), REASON_BYTES_MAX);
        assert_eq!(short_reason("short"), "short");
    }
}
