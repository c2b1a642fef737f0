//! Typed ids: a user's id cannot be passed where a server's is asked for.
//!
//! An id is text of 1 to 63 characters out of `a-z`, `0-9` and `-`, so that each is also a valid DNS label, file name and
//! container name, whatever it is put into. Whoever parses one has checked it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The text is not an id: empty, longer than 63, or with a character that ids do not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id")]
pub struct NotAnId;

fn check(text: &str) -> Result<(), NotAnId> {
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits { Ok(()) } else { Err(NotAnId) }
}

/// 32 letters and digits that cannot be mistaken for each other.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

fn letters(random: &[u8]) -> String {
    random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// A fresh id of one letter for each random byte, 5 bits each.
            pub fn from_random(random: &[u8]) -> Self {
                Self(letters(random))
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;
            fn try_from(text: String) -> Result<Self, NotAnId> {
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// An account.
    UserId;
    /// A server: `<owner: 8>-<game: 2>-<random: 6>`.
    ServerId;
    /// A machine with an agent; `local` is the one inside the panel.
    NodeId;
    /// An entry of the catalogue.
    GameId;
    /// A size of a game.
    PlanId;
    /// A command to a node.
    CommandId;
    /// An API token.
    TokenId;
    /// An invitation to somebody's server.
    InvitationId;
    /// A link that verifies an address or chooses a new password.
    LinkId;
    /// A passkey.
    PasskeyId;
    /// A token by which a machine joins.
    NodeTokenId;
    /// A template: what its versions have in common.
    TemplateId;
    /// An archive of a server's data.
    BackupId;
    /// A payment.
    PaymentId;
    /// A subscription, as this panel names it.
    SubscriptionId;
    /// This panel: the label on everything it made on a node.
    PanelId;
}

impl ServerId {
    /// `<owner: 8>-<game: 2>-<random: 6>`, lower case, a valid DNS label.
    pub fn new(owner: &UserId, game: &GameId, random: [u8; 6]) -> Self {
        let head = |text: &str, n: usize| text.bytes().filter(|b| *b != b'-').take(n).map(char::from).collect::<String>();
        Self(format!("{}-{}-{}", head(owner.as_str(), 8), head(game.as_str(), 2), letters(&random)))
    }
}

impl NodeId {
    /// The node inside the panel.
    pub fn local() -> Self {
        Self("local".to_owned())
    }

    /// Of a name that people gave: what fits into an id of it, and `chance` where that is nothing or where it is taken.
    pub fn named(name: &str, chance: Option<[u8; 4]>) -> Self {
        Self(out_of(name, "node", chance))
    }
}

impl TemplateId {
    /// Of a name that people gave: what fits into an id of it, and `chance` where that is nothing or where it is taken.
    pub fn named(name: &str, chance: Option<[u8; 4]>) -> Self {
        Self(out_of(name, "template", chance))
    }
}

/// What fits into an id of a name; `else_` where nothing does.
fn out_of(name: &str, else_: &str, chance: Option<[u8; 4]>) -> String {
    let mut text = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => text.push(c),
            _other if !text.is_empty() && !text.ends_with('-') => text.push('-'),
            _other => {}
        }
    }
    text.truncate(40);
    let head = text.trim_matches('-');
    match (head, chance) {
        ("", chance) => format!("{else_}-{}", letters(&chance.unwrap_or_default())),
        (head, Some(chance)) => format!("{head}-{}", letters(&chance)),
        (head, None) => head.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_id_is_refused() {
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "..", "a\0", "ü", &"a".repeat(64)] {
            assert_eq!(bad.parse::<UserId>(), Err(NotAnId), "{bad:?}");
        }
    }

    #[test]
    fn a_node_is_named_after_what_people_call_it() {
        for (name, id) in [("Frankfurt 1", "frankfurt-1"), ("  --Ä-b--", "b"), ("日本", "node-aaaa"), ("a/../b", "a-b")] {
            let made = NodeId::named(name, None);
            assert_eq!((made.as_str(), made.as_str().parse::<NodeId>()), (id, Ok(made.clone())), "{name}");
        }
        assert_eq!(NodeId::named("a", Some([1; 4])).as_str(), "a-bbbb");
        assert!(NodeId::named(&"x-".repeat(99), Some([0; 4])).as_str().parse::<NodeId>().is_ok());
    }

    #[test]
    fn a_server_id_is_a_dns_label_made_of_owner_game_and_chance() {
        let owner = UserId::from_random(&[0; 16]);
        let id = ServerId::new(&owner, &"minecraft-java".parse().unwrap(), [1; 6]);
        assert_eq!(id.as_str(), "aaaaaaaa-mi-bbbbbb");
        assert_eq!(id.as_str().parse::<ServerId>(), Ok(id));
    }
}
