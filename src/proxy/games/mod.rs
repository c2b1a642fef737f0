//! Small parsers that tell a look from a join, for games whose protocol allows it.
//!
//! A server list that shows a sleeping server must not wake it, and should see that it is asleep rather than dead. All
//! parsers are pure: bytes in, a verdict or an answer out; whatever is sent to them, they end and stay small.

pub mod minecraft_bedrock;
pub mod minecraft_java;
pub mod source_query;

use std::net::SocketAddr;

use sha2::{Digest, Sha256};

use crate::model::games::Protocol;

/// Longest text shown in a server list, in characters.
pub const SIGN_CHARS_MAX: usize = 120;

/// How a route tells a look from a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helper {
    /// It does not: any traffic wakes.
    Any,
    /// Handshake, status and login over TCP.
    MinecraftJava,
    /// `RakNet`'s unconnected ping over UDP.
    MinecraftBedrock,
    /// The query protocol of Source games over UDP: Valheim, Rust, ARK.
    SourceQuery,
}

impl Helper {
    /// By its name in the catalogue, as far as it fits the route's protocol. None: no such name.
    pub fn named(name: Option<&str>, protocol: Protocol) -> Option<Helper> {
        match (name, protocol) {
            (None, _) => Some(Helper::Any),
            (Some("minecraft-java"), Protocol::Tcp) => Some(Helper::MinecraftJava),
            (Some("minecraft-bedrock"), Protocol::Udp) => Some(Helper::MinecraftBedrock),
            (Some("source-query"), Protocol::Udp) => Some(Helper::SourceQuery),
            (Some("minecraft-java" | "minecraft-bedrock" | "source-query"), Protocol::Tcp | Protocol::Udp) => Some(Helper::Any),
            (Some(_), _) => None,
        }
    }

    /// Is this datagram a look?
    pub fn look(self, datagram: &[u8]) -> Option<Look> {
        match self {
            Helper::Any | Helper::MinecraftJava => None,
            Helper::MinecraftBedrock => minecraft_bedrock::ping(datagram).map(Look::Bedrock),
            Helper::SourceQuery => source_query::query(datagram).map(Look::Source),
        }
    }
}

/// A look over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// An unconnected ping.
    Bedrock(minecraft_bedrock::Ping),
    /// A query.
    Source(source_query::Query),
}

impl Look {
    /// The answer while the game is not up.
    pub fn reply(self, name: &str, words: &str, peer: SocketAddr, secret: &Secret) -> Vec<u8> {
        match self {
            Look::Bedrock(ping) => minecraft_bedrock::pong(ping, name, words, secret.number()),
            Look::Source(query) => source_query::reply(query, name, words, secret.challenge(peer)),
        }
    }
}

/// Random bytes of this run, for challenges: whoever forges its address never sees the right answer.
#[derive(Clone)]
pub struct Secret([u8; 16]);

impl Secret {
    /// A fresh one; none where there is no randomness.
    pub fn random() -> Option<Secret> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        Some(Secret(bytes))
    }

    /// What this peer has to send back.
    fn challenge(&self, peer: SocketAddr) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(peer.to_string());
        let sum = hash.finalize();
        [sum[0], sum[1], sum[2], sum[3]]
    }

    /// A number that stays the same for this run.
    fn number(&self) -> u64 {
        self.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// At most [`SIGN_CHARS_MAX`] characters, without control characters.
pub fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SIGN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_sent_the_parsers_end_and_answers_stay_small(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), name in ".{0,200}") {
            let secret = Secret([7; 16]);
            let peer = "10.0.0.1:5".parse().unwrap();
            for helper in [Helper::MinecraftBedrock, Helper::SourceQuery] {
                if let Some(look) = helper.look(&bytes) {
                    prop_assert!(look.reply(&name, "is asleep", peer, &secret).len() < 1_400);
                }
            }
            let _ = minecraft_java::greeting(&bytes);
        }
    }

    #[test]
    fn a_helper_applies_to_its_own_protocol_only() {
        assert_eq!(Helper::named(Some("minecraft-java"), Protocol::Udp), Some(Helper::Any));
        assert_eq!(Helper::named(Some("source-query"), Protocol::Udp), Some(Helper::SourceQuery));
        assert_eq!(Helper::named(Some("tetris"), Protocol::Udp), None);
    }
}
