//! A node's cache of templates, as a part of its page.

use askama::Template;

use super::html_parts;
use super::moments::Moment;
use super::templates::bytes;
use crate::model::nodes::{CachedLayer, Node};
use crate::model::time::Millis;

/// The part: element `cache`.
#[derive(Debug, Clone, Template)]
#[template(path = "nodes/_cache.html")]
pub struct NodeCache {
    /// Id of the node.
    pub node: String,
    /// The agent has spoken of it.
    pub known: bool,
    /// `overlay`, `reflink`, `copy`.
    pub way: String,
    /// The same in words.
    pub way_words: &'static str,
    /// Such as `12 of 14 times (85%)`.
    pub hit_rate: String,
    /// Such as `3 layers, 1.2 GB`.
    pub size: String,
    /// What is in it.
    pub rows: Vec<CachedRow>,
    /// The cache is passed over.
    pub dev_mode: bool,
    /// What the last purge did.
    pub purged: Option<String>,
    /// When.
    pub purged_at: Option<Moment>,
    /// For whoever may switch it.
    pub may_drive: bool,
}

html_parts!(NodeCache);

/// A layer in the cache.
#[derive(Debug, Clone)]
pub struct CachedRow {
    /// Id of the template.
    pub template: String,
    /// Which version.
    pub version: String,
    /// Unpacked.
    pub size: String,
    /// Servers are made of it.
    pub in_use: bool,
}

fn way_words(way: &str) -> &'static str {
    match way {
        "overlay" => "mounting the layers, nothing is copied",
        "reflink" => "cloning files, which share their blocks",
        "copy" => "copying files",
        _other => "not known yet",
    }
}

impl NodeCache {
    /// From what the node said last.
    pub fn of(node: &Node, may_drive: bool, now: Millis) -> NodeCache {
        let cache = node.load.cache.clone().unwrap_or_default();
        let asked = cache.hits.saturating_add(cache.misses);
        let percent = cache.hits.saturating_mul(100).checked_div(asked);
        let row = |layer: &CachedLayer| CachedRow {
            template: layer.template.to_string(),
            version: layer.version.to_string(),
            size: bytes(layer.bytes),
            in_use: layer.in_use,
        };
        let kept = |names: &[String]| match names {
            [] => String::new(),
            names => format!(" Servers are made of {}, so {} stayed.", names.join(", "), if names.len() == 1 { "it" } else { "they" }),
        };
        let total = cache.layers.iter().map(|layer| layer.bytes).sum();
        NodeCache {
            node: node.id.to_string(),
            known: node.load.cache.is_some(),
            way_words: way_words(&cache.way),
            way: cache.way,
            hit_rate: percent
                .map_or_else(|| "nothing was asked for yet".to_owned(), |percent| format!("{} of {asked} times ({percent}%)", cache.hits)),
            size: format!("{} layer{}, {}", cache.layers.len(), if cache.layers.len() == 1 { "" } else { "s" }, bytes(total)),
            rows: cache.layers.iter().map(row).collect(),
            dev_mode: node.dev_mode,
            purged: cache.purged.as_ref().map(|purged| {
                format!("The last purge removed {} and freed {}.{}", layers(purged.removed), bytes(purged.freed), kept(&purged.kept))
            }),
            purged_at: cache.purged.map(|purged| Moment::relative(purged.at, now)),
            may_drive,
        }
    }
}

fn layers(count: u32) -> String {
    if count == 1 { "1 layer".to_owned() } else { format!("{count} layers") }
}
