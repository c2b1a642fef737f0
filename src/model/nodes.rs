//! Machines: what they have, how they do, and how they prove who they are.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::addresses::before_a_port;
use super::ids::{NodeId, NodeTokenId, TemplateId};
use super::templates::Version;
use super::time::{Millis, SECOND};

/// A node silent for this long is offline.
pub const OFFLINE_AFTER: i64 = 20 * SECOND;
/// A node's clock may be this far from the panel's, in milliseconds; more is shown.
pub const SKEW_MAX: i64 = 2 * SECOND;
/// Most tags of one node.
pub const TAGS_MAX: usize = 16;
/// Most characters of a region or a tag.
pub const WORD_MAX: usize = 40;
/// Most characters of a node's name.
pub const NAME_MAX: usize = 60;

/// What a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Specs {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// MiB.
    pub memory_mib: u32,
    /// MiB of the disk that holds the data folder.
    pub disk_mib: u32,
    /// Such as `Docker 20.10.24, API 1.41`; empty while it does not answer.
    pub engine: String,
    /// Such as `Debian GNU/Linux 12, linux 6.1`.
    pub system: String,
}

/// How it does right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Load {
    /// Thousandths of a core in use.
    pub cpu_millis: u32,
    /// MiB in use.
    pub memory_mib: u32,
    /// MiB free where the data are.
    pub disk_free_mib: u32,
    /// Why no server can be started here, in words with what to do; none when all is well.
    pub trouble: Option<String>,
    /// Its cache of templates; none: not known yet.
    #[serde(default)]
    pub cache: Option<CacheLoad>,
    /// Data of servers that the panel does not know; none: there are none, or an agent of before.
    #[serde(default)]
    pub aside: Option<Aside>,
    /// Numbers of private networks whose addresses somebody else uses there, at most [`TAKEN_MAX`].
    #[serde(default)]
    pub subnets_taken: Vec<u32>,
}

/// So many foreign networks a heartbeat names.
pub const TAKEN_MAX: usize = 256;

/// Folders of servers that the panel does not know, kept for a while by the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// How many.
    pub folders: u32,
    /// When the next one is removed, by the node's clock.
    pub next_goes: Millis,
}

/// Most characters of a node's trouble and of a cached layer's name, as they are kept.
const TOLD_MAX: usize = 500;

impl Load {
    /// The same without what is too long or cannot be shown: see [`Profile::clean`].
    #[must_use]
    pub fn clean(mut self) -> Load {
        let told = |text: &str| text.chars().filter(|c| !c.is_control()).take(TOLD_MAX).collect::<String>();
        self.trouble = self.trouble.as_deref().map(told);
        self.subnets_taken.truncate(TAKEN_MAX);
        if let Some(cache) = &mut self.cache {
            cache.way = word(&cache.way);
            cache.layers.truncate(CACHED_MAX);
            if let Some(purged) = &mut cache.purged {
                purged.kept = purged.kept.iter().take(CACHED_MAX).map(|layer| told(layer)).collect();
            }
        }
        self
    }
}

/// A node's cache of templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct CacheLoad {
    /// How servers are laid out of layers there: `overlay`, `reflink`, `copy`.
    pub way: String,
    /// The cache is passed over.
    pub dev_mode: bool,
    /// Layers that were there when they were needed, since the agent's start.
    pub hits: u64,
    /// Layers that had to be fetched, since the agent's start.
    pub misses: u64,
    /// What is in it, at most [`CACHED_MAX`].
    pub layers: Vec<CachedLayer>,
    /// The last purge.
    pub purged: Option<PurgeNote>,
}

/// So many cached layers a heartbeat names.
pub const CACHED_MAX: usize = 200;

/// A layer in a node's cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedLayer {
    /// Which template.
    pub template: TemplateId,
    /// Which version of it.
    pub version: Version,
    /// Bytes unpacked.
    pub bytes: u64,
    /// Servers are made of it.
    pub in_use: bool,
}

/// What a purge did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeNote {
    /// When, by the node's clock.
    pub at: Millis,
    /// Bytes that are free now.
    pub freed: u64,
    /// How many layers went.
    pub removed: u32,
    /// Layers that servers are made of, and that stayed: `lobby 1.4`.
    pub kept: Vec<String>,
}

/// What a node gives out to its servers, and on which machine. Two agents on one machine must not give out the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Net {
    /// First and last public port; none: it has not said.
    pub ports: Option<(u16, u16)>,
    /// Private range of the servers' networks, such as `10.83.0.0/16`.
    pub pool: String,
    /// How many /29 networks that range holds.
    pub subnets: u32,
    /// The same text for two agents means the same machine; empty: not known.
    pub machine: String,
}

/// What a node says of itself when it registers, beside what its machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Profile {
    /// Host name or address that players use; empty: the panel's own record of it counts.
    pub public_host: String,
    /// Such as `eu-central`; empty: the panel's own record counts.
    pub region: String,
    /// Words that a server may ask for.
    pub tags: Vec<String>,
    /// Most servers at once; none: no limit of its own.
    pub slots: Option<u32>,
    /// Version of the agent's program.
    pub agent: String,
    /// What it gives out.
    pub net: Net,
}

impl Profile {
    /// The same without what is too long or cannot be shown: a node's words end up on pages.
    #[must_use]
    pub fn clean(mut self) -> Profile {
        for text in [&mut self.region, &mut self.agent, &mut self.net.pool, &mut self.net.machine] {
            *text = word(text);
        }
        let host: String = self.public_host.chars().filter(|c| !c.is_control() && !c.is_whitespace()).take(253).collect();
        self.public_host = before_a_port(&host);
        self.tags = self.tags.iter().map(|tag| word(tag)).filter(|tag| !tag.is_empty()).take(TAGS_MAX).collect();
        self.net.ports = self.net.ports.filter(|(low, high)| low <= high);
        self
    }
}

/// A region or tag as it is kept: trimmed, without control characters, at most [`WORD_MAX`] characters.
pub fn word(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(WORD_MAX).collect()
}

/// How far a node has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is a token; nobody has come with it.
    Invited,
    /// It has a certificate, or lives inside the panel.
    Joined,
    /// Its certificates count no more.
    Revoked,
}

impl Standing {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Invited => "invited",
            Standing::Joined => "joined",
            Standing::Revoked => "revoked",
        }
    }

    /// The standing of this name.
    pub fn parse(text: &str) -> Option<Standing> {
        [Standing::Invited, Standing::Joined, Standing::Revoked].into_iter().find(|standing| standing.as_str() == text)
    }
}

/// A certificate that the panel gave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of it, in hexadecimal.
    pub fingerprint: String,
    /// When it ends.
    pub until: Millis,
}

/// A node's row.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// As people call it; empty: as its id.
    pub name: String,
    /// Host name or address that players use.
    pub public_host: String,
    /// What it said when it registered.
    pub specs: Specs,
    /// What it said last.
    pub load: Load,
    /// When it said it.
    pub seen_at: Option<Millis>,
    /// Up to when it has confirmed, by naming all that it runs, that what runs is still running.
    pub confirmed_at: Option<Millis>,
    /// Since when the trouble stands.
    pub trouble_since: Option<Millis>,
    /// Where it stands, such as `eu-central`; may be empty.
    pub region: String,
    /// Words that a server may ask for.
    pub tags: Vec<String>,
    /// Most servers at once; none: no limit of its own.
    pub slots: Option<u32>,
    /// What it gives out.
    pub net: Net,
    /// How far it has come.
    pub standing: Standing,
    /// Version of its program; empty: it has not said.
    pub agent: String,
    /// Version of its messages; none: it has not said.
    pub wire: Option<u32>,
    /// By which it is known; none: it lives inside the panel, or has not joined.
    pub certificate: Option<Certificate>,
    /// Given out, and not used yet.
    pub next_certificate: Option<Certificate>,
    /// How far its clock is ahead of the panel's, in milliseconds; none: not known.
    pub skew: Option<i64>,
    /// Why it was last turned away, and when; none: it was let in since.
    pub refused: Option<(String, Millis)>,
    /// It gets no new servers, and those that it has move when they next sleep.
    pub draining: bool,
    /// It ignores its cache.
    pub dev_mode: bool,
}

impl Node {
    /// Of which nothing is known yet.
    pub fn new(id: NodeId, public_host: &str) -> Node {
        Node {
            id,
            name: String::new(),
            public_host: public_host.to_owned(),
            specs: Specs::default(),
            load: Load::default(),
            seen_at: None,
            confirmed_at: None,
            trouble_since: None,
            region: String::new(),
            tags: Vec::new(),
            slots: None,
            net: Net::default(),
            standing: Standing::Joined,
            agent: String::new(),
            wire: None,
            certificate: None,
            next_certificate: None,
            skew: None,
            refused: None,
            draining: false,
            dev_mode: false,
        }
    }

    /// As people call it.
    pub fn called(&self) -> &str {
        if self.name.is_empty() { self.id.as_str() } else { &self.name }
    }

    /// Heard of within [`OFFLINE_AFTER`].
    pub fn online(&self, now: Millis) -> bool {
        self.seen_at.is_some_and(|at| now.since(at) <= OFFLINE_AFTER)
    }

    /// Its clock is further from the panel's than it may be: by so many milliseconds, ahead or behind.
    pub fn clock_off(&self) -> Option<i64> {
        self.skew.filter(|skew| skew.abs() > SKEW_MAX)
    }

    /// What this node and another one on the same machine both give out, in words; none: they are not in each other's way.
    pub fn clashes(&self, other: &Node) -> Option<String> {
        if self.id == other.id || self.net.machine.is_empty() || self.net.machine != other.net.machine {
            return None;
        }
        let ports = self.net.ports.zip(other.net.ports).filter(|(a, b)| a.0 <= b.1 && b.0 <= a.1);
        if let Some(((low, high), _)) = ports {
            return Some(format!(
                "It shares its machine with the node {}, and both give out public ports out of {low}-{high}. Set PORT_RANGE to other ports on one of them.",
                other.called()
            ));
        }
        let overlap = range(&self.net.pool).zip(range(&other.net.pool)).is_some_and(|(a, b)| a.0 <= b.1 && b.0 <= a.1);
        overlap.then(|| {
            format!(
                "It shares its machine with the node {}, and both cut their networks out of {}. Set SUBNET_POOL to another range on one of them.",
                other.called(),
                self.net.pool
            )
        })
    }
}

/// First and last address of `10.83.0.0/16`.
fn range(pool: &str) -> Option<(u32, u32)> {
    let (address, bits) = pool.split_once('/')?;
    let base = u32::from(address.parse::<std::net::Ipv4Addr>().ok()?);
    let bits = bits.parse::<u32>().ok().filter(|bits| (1..=32).contains(bits))?;
    let size = u32::MAX.checked_shr(bits).unwrap_or(0);
    Some((base & !size, base | size))
}

/// A token by which a machine joins, as those see it who may make one; its secret is shown once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeToken {
    /// Its id, to revoke it by.
    pub id: NodeTokenId,
    /// Whose.
    pub node: NodeId,
    /// Who made it.
    pub made_by: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it ends.
    pub expires_at: Millis,
    /// When somebody came with it.
    pub used_at: Option<Millis>,
}

/// Looks that count for one reading of a node's clock.
const LOOKS: usize = 6;
/// Readings are rounded to this, in milliseconds.
const ROUND: i64 = 100;

/// Tells a node's clock from the moments in its messages. A message can only be late, never early, so the latest reading of the last
/// few is the nearest to the truth.
#[derive(Debug, Default)]
pub struct ClockReader {
    looks: VecDeque<i64>,
}

impl ClockReader {
    /// A message of `at` by the node's clock was read at `now`; `trip` is the way there and back, in milliseconds. Gives how far the
    /// node's clock is ahead, rounded.
    pub fn read(&mut self, at: Millis, now: Millis, trip: i64) -> i64 {
        self.looks.push_back(at.0.saturating_sub(now.0).saturating_add(trip / 2));
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        let ahead = self.looks.iter().copied().max().unwrap_or_default();
        ahead.saturating_add(ROUND / 2).div_euclid(ROUND).saturating_mul(ROUND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_past_messages_that_came_late() {
        let mut reader = ClockReader::default();
        assert_eq!(reader.read(Millis(1_000), Millis(1_020), 40), 0);
        assert_eq!(reader.read(Millis(2_000), Millis(4_900), 40), 0, "one late message says nothing of the clock");
        for n in 0..6 {
            reader.read(Millis(n), Millis(n + 2_900), 0);
        }
        assert_eq!(reader.read(Millis(0), Millis(2_900), 0), -2_900, "all of them late is a clock that is behind");
        assert_eq!(ClockReader::default().read(Millis(9_000), Millis(1_000), 0), 8_000);
    }

    #[test]
    fn two_agents_on_one_machine_must_not_give_out_the_same() {
        let node = |id: &str, machine: &str, ports, pool: &str| {
            let net = Net { ports: Some(ports), pool: pool.to_owned(), subnets: 32, machine: machine.to_owned() };
            Node { net, ..Node::new(id.parse().unwrap(), "a") }
        };
        let first = node("a", "m", (25_000, 25_999), "10.83.0.0/17");
        assert_eq!(first.clashes(&node("b", "m", (26_000, 26_999), "10.83.128.0/17")), None);
        assert_eq!(first.clashes(&node("b", "n", (25_000, 25_999), "10.83.0.0/17")), None, "another machine");
        assert!(first.clashes(&node("b", "m", (25_999, 26_999), "10.84.0.0/16")).unwrap().contains("PORT_RANGE"));
        assert!(first.clashes(&node("b", "m", (26_000, 26_999), "10.83.64.0/24")).unwrap().contains("SUBNET_POOL"));
    }

    #[test]
    fn what_a_node_says_of_itself_is_cut_to_what_a_page_can_show() {
        let said = Profile {
            region: format!(" eu\n{}", "x".repeat(99)),
            tags: vec![String::new(); 3].into_iter().chain((0..99).map(|n| n.to_string())).collect(),
            net: Net { ports: Some((9, 3)), ..Net::default() },
            ..Profile::default()
        };
        let clean = said.clean();
        assert_eq!((clean.region.chars().count(), clean.tags.len(), clean.net.ports), (WORD_MAX, TAGS_MAX, None));
        assert!(clean.region.starts_with("eux"));
    }

    #[test]
    fn what_a_node_says_of_its_load_is_cut_to_what_a_page_can_show() {
        let purged = PurgeNote { at: Millis(1), freed: 0, removed: 0, kept: vec!["k".repeat(TOLD_MAX + 1); CACHED_MAX + 1] };
        let cache = CacheLoad { way: "o\u{7}verlay".repeat(1000), purged: Some(purged), ..CacheLoad::default() };
        let load = Load { trouble: Some("\u{1b}full".repeat(1000)), cache: Some(cache), ..Load::default() }.clean();
        let cache = load.cache.expect("still there");
        let kept = cache.purged.expect("still there").kept;
        assert_eq!(load.trouble.map(|text| (text.chars().count(), text.contains('\u{1b}'))), Some((TOLD_MAX, false)));
        assert!(cache.way.starts_with("overlay") && cache.way.chars().count() == WORD_MAX);
        assert_eq!((kept.len(), kept[0].len()), (CACHED_MAX, TOLD_MAX));
    }
}
