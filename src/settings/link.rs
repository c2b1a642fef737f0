//! Between panel and nodes: where the panel listens for machines, and what an agent on a machine of its own says of itself.

use std::net::SocketAddr;

use super::{Reader, SettingsError, Web, bad};
use crate::model::nodes::{TAGS_MAX, WORD_MAX, word};
use crate::wire::link::is_address;

/// Most slots of one machine.
const SLOTS_MAX: u32 = 100_000;

/// Between panel and nodes.
#[derive(Debug, Clone)]
pub struct Link {
    /// `NODE_LISTEN`: address and port that machines dial; none (`off`): no machine can join.
    pub listen: Option<SocketAddr>,
    /// `NODE_ADDRESS`: how machines reach it; without a port, that of `NODE_LISTEN`.
    pub address: String,
    /// `NODE_REGION`: where this machine stands; may be empty.
    pub region: String,
    /// `NODE_TAGS`: words that a server may ask for, comma-separated.
    pub tags: Vec<String>,
    /// `NODE_SLOTS`: most servers at once on this machine; none: no limit.
    pub slots: Option<u32>,
}

impl Link {
    pub(super) fn read(reader: &mut Reader, web: &Web) -> Result<Link, SettingsError> {
        let listen = reader.text("NODE_LISTEN", "[::]:8443");
        let listen = match listen.as_str() {
            "off" => None,
            text => Some(text.parse().map_err(|_| bad("NODE_LISTEN", text, "an address and port such as 0.0.0.0:8443, or off"))?),
        };
        let address = reader.text("NODE_ADDRESS", &web.host);
        if !is_address(&address) && !is_address(&format!("{address}:1")) {
            return Err(bad("NODE_ADDRESS", &address, "a host with or without a port, such as panel.example.org:8443"));
        }
        let region = reader.text("NODE_REGION", "");
        let tags = reader.text("NODE_TAGS", "");
        let slots = reader.text("NODE_SLOTS", "");
        Ok(Link {
            listen,
            address,
            region: read_region(&region).ok_or_else(|| bad("NODE_REGION", &region, "a word of at most 40 characters"))?,
            tags: read_tags(&tags).ok_or_else(|| bad("NODE_TAGS", &tags, "at most 16 words of at most 40 characters, with commas"))?,
            slots: read_slots(&slots).map_err(|()| bad("NODE_SLOTS", &slots, "a whole number from 0 to 100000, or nothing"))?,
        })
    }

    /// Where machines dial, when the panel listens on this port.
    pub fn reached_at(&self, port: u16) -> String {
        if is_address(&self.address) { self.address.clone() } else { format!("{}:{port}", self.address) }
    }
}

/// A region as it is typed.
pub fn read_region(text: &str) -> Option<String> {
    (text.chars().count() <= WORD_MAX).then(|| word(text))
}

/// Tags as they are typed: with commas between them.
pub fn read_tags(text: &str) -> Option<Vec<String>> {
    let tags: Vec<&str> = text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    let fits = tags.len() <= TAGS_MAX && tags.iter().all(|tag| tag.chars().count() <= WORD_MAX);
    fits.then(|| tags.into_iter().map(word).collect())
}

fn read_slots(text: &str) -> Result<Option<u32>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().ok().filter(|slots| *slots <= SLOTS_MAX).map(Some).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(std::path::Path::new("/nonexistent/roost.toml"), pairs)
    }

    #[test]
    fn machines_find_the_panel_where_browsers_do_unless_told_otherwise() {
        let at = |pairs: &[(&str, &str)]| read(pairs).unwrap().link.reached_at(8_443);
        assert_eq!(at(&[("BACKEND_URL", "https://panel.example.org:444/x")]), "panel.example.org:8443");
        assert_eq!(at(&[("BACKEND_URL", "http://[2001:db8::1]:80")]), "[2001:db8::1]:8443");
        assert_eq!(at(&[("NODE_ADDRESS", "nodes.example.org")]), "nodes.example.org:8443");
        assert_eq!(at(&[("NODE_ADDRESS", "192.0.2.1:1")]), "192.0.2.1:1");
        assert!(read(&[("NODE_LISTEN", "off")]).unwrap().link.listen.is_none());
    }

    #[test]
    fn what_a_machine_says_of_itself_is_read_and_bounded() {
        let link = read(&[("NODE_REGION", " eu "), ("NODE_TAGS", "ssd, ,fast"), ("NODE_SLOTS", "4")]).unwrap().link;
        assert_eq!((link.region.as_str(), link.tags.join("+").as_str(), link.slots), ("eu", "ssd+fast", Some(4)));
        for (name, value) in [
            ("NODE_LISTEN", "8443"),
            ("NODE_ADDRESS", "http://a"),
            ("NODE_REGION", &"x".repeat(41)),
            ("NODE_TAGS", &"a,".repeat(17)),
            ("NODE_SLOTS", "-1"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
