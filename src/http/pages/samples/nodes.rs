//! Samples of the pages about machines.

use super::{HOSTILE, LONG, NOW, admin, staff};
use crate::http::pages::moments::Moment;
use crate::http::pages::node_cache::NodeCache;
use crate::http::pages::node_load::NodeLoad;
use crate::http::pages::nodes::{
    AddNodeForm, AddNodePage, FreshToken, ManageNode, NodePage, NodeRow, NodeRows, NodeServer, NodeTokenRow, NodesPage, warnings,
};
use crate::http::pages::phases::PhaseView;
use crate::model::figures::{Back, NodeSample};
use crate::model::ids::{NodeId, NodeTokenId};
use crate::model::nodes::{Aside, CacheLoad, CachedLayer, Certificate, Load, Net, Node, NodeToken, PurgeNote, Specs, Standing};
use crate::model::servers::{Phase, Wanted};
use crate::model::time::{DAY, HOUR, MINUTE, SECOND};

const NO_ENGINE: &str = "Docker does not answer on /var/run/docker.sock. Start it with: systemctl start docker. <b>";

/// A machine for other samples.
pub(super) fn sample(trouble: Option<&str>, silent_secs: i64) -> Node {
    node(trouble, silent_secs)
}

/// One of its own, silent and with hostile words.
pub(super) fn odd() -> Node {
    far(Standing::Joined)
}

fn node(trouble: Option<&str>, silent_secs: i64) -> Node {
    Node {
        specs: Specs {
            cpu_millis: 8_000,
            memory_mib: 32_768,
            disk_mib: 512_000,
            engine: if trouble.is_some() { String::new() } else { "Docker 20.10.24, API 1.41".to_owned() },
            system: "Debian GNU/Linux 12, linux 6.1".to_owned(),
        },
        load: Load {
            cpu_millis: 2_600,
            memory_mib: 11_300,
            disk_free_mib: 41_000,
            trouble: trouble.map(str::to_owned),
            cache: Some(cache()),
            aside: trouble.map(|_| Aside { folders: 3, next_goes: NOW + 9 * DAY }),
            subnets_taken: Vec::new(),
        },
        seen_at: Some(NOW - silent_secs * SECOND),
        confirmed_at: Some(NOW - silent_secs * SECOND),
        trouble_since: trouble.map(|_| NOW - 12 * MINUTE),
        net: net("10.83.0.0/16"),
        agent: "0.1.0".to_owned(),
        wire: Some(1),
        ..Node::new(NodeId::local(), "play.example.org")
    }
}

fn cache() -> CacheLoad {
    let layer = |template: &str, version: &str, bytes, in_use| {
        Some(CachedLayer { template: template.parse().ok()?, version: version.parse().ok()?, bytes, in_use })
    };
    let layers = [layer("base-java", "1.20.4", 1_204_000_000, true), layer("lobby", "1.4.2", 84_300_000, false)];
    let kept = vec![format!("base-java 1.20.4 {HOSTILE}")];
    CacheLoad {
        way: "overlay".to_owned(),
        dev_mode: false,
        hits: 41,
        misses: 6,
        layers: layers.into_iter().flatten().collect(),
        purged: Some(PurgeNote { at: NOW - 20 * MINUTE, freed: 310_000_000, removed: 2, kept }),
    }
}

fn net(pool: &str) -> Net {
    Net { ports: Some((25_000, 29_999)), pool: pool.to_owned(), subnets: 8_192, machine: "4AFB:7C2E".to_owned() }
}

/// A machine of its own with everything the matter that can be.
fn far(standing: Standing) -> Node {
    Node {
        id: NodeId::named("fra 1", None),
        name: LONG.to_owned(),
        region: HOSTILE.chars().take(40).collect(),
        tags: vec!["ssd".to_owned(), HOSTILE.chars().take(40).collect()],
        slots: Some(24),
        net: net("10.83.64.0/20"),
        standing,
        agent: "0.0.9".to_owned(),
        wire: Some(0),
        certificate: Some(Certificate { fingerprint: "00".repeat(32), until: NOW - 2 * HOUR }),
        skew: Some(-7_400),
        refused: Some((format!("An admin has revoked this node. {HOSTILE}"), NOW - 3 * MINUTE)),
        ..node(None, 300)
    }
}

fn invited() -> Node {
    Node {
        name: HOSTILE.to_owned(),
        region: "eu-central".to_owned(),
        standing: Standing::Invited,
        ..Node::new(NodeId::named("b", None), "")
    }
}

impl NodesPage {
    /// Well, in trouble, silent, invited, revoked; and none at all.
    pub fn samples() -> Vec<(&'static str, NodesPage)> {
        let full = Node { draining: true, ..node(None, 2) };
        let all = [node(None, 3), full, node(Some(NO_ENGINE), 2), node(None, 300), far(Standing::Revoked), invited()];
        let rows = all.map(|node| NodeRow::of(&node, 20, 7, NOW)).to_vec();
        vec![
            ("usual", NodesPage { layout: staff("/nodes"), nodes: NodeRows { rows }, may_add: true, placements: admin::placements() }),
            ("none", NodesPage { layout: staff("/nodes"), nodes: NodeRows { rows: vec![] }, may_add: false, placements: vec![] }),
        ]
    }
}

/// A day of samples up to when it was heard of last, with two times away; none from one that was never heard of.
fn samples(node: &Node) -> Vec<NodeSample> {
    let Some(seen) = node.seen_at else { return Vec::new() };
    let there = (0..24 * 60).filter(|n| !(500..560).contains(n) && !(1_410..1_416).contains(n)).map(|n| (n, NOW - DAY + n * MINUTE));
    let wave = |n: i64, step: i64, height: i64| u32::try_from((n % step).min(step - n % step) * height / step).unwrap_or_default();
    there
        .filter(|(_, at)| *at <= seen)
        .map(|(n, at)| NodeSample {
            at,
            cpu_millis: 900 + wave(n, 240, 9_000) + wave(n, 17, 1_700),
            memory_mib: 9_000 + wave(n, 480, 12_000),
            disk_used_mib: 440_000 + wave(n, 2_880, 60_000),
            disk_free_mib: 72_000 - wave(n, 2_880, 60_000),
            awake: wave(n, 240, 6),
        })
        .collect()
}

fn page(node: &Node, servers: Vec<NodeServer>, manage: Option<ManageNode>) -> NodePage {
    NodePage {
        layout: staff(&format!("/nodes/{}", node.id)),
        node: NodeRow::of(node, servers.len(), 1, NOW),
        warnings: warnings(node, &[self::node(None, 3)], 1, NOW),
        facts: NodePage::facts(node),
        until: NodePage::until(node, NOW),
        promised: admin::promised(node),
        load: NodeLoad::of(node, servers.len(), &samples(node), if node.slots.is_some() { Back::Day } else { Back::Hour }, NOW),
        servers,
        cache: NodeCache::of(node, true, NOW),
        manage,
    }
}

impl NodePage {
    /// Well with servers; in trouble without; a machine of its own; one that was revoked; one that has not come.
    pub fn samples() -> Vec<(&'static str, NodePage)> {
        let server = |name: &str, phase, wanted| NodeServer {
            id: "aaaaaaaa-mi-bbbbbb".to_owned(),
            name: name.to_owned(),
            game: "Minecraft Java".to_owned(),
            phase: PhaseView::of(phase, wanted),
            since: Moment::lasting(NOW - 47 * MINUTE, NOW),
        };
        let servers = vec![
            server("Valley of Echoes", Phase::Running, Wanted::Running),
            server(HOSTILE, Phase::Sleeping, Wanted::Asleep),
            server(LONG, Phase::Failed, Wanted::Running),
        ];
        let own = Node {
            id: NodeId::named("fra-1", None),
            name: "Frankfurt 1".to_owned(),
            region: "eu-central".to_owned(),
            tags: vec!["ssd".to_owned(), "fast".to_owned()],
            certificate: Some(Certificate { fingerprint: "00".repeat(32), until: NOW + 22 * DAY }),
            skew: Some(100),
            slots: Some(24),
            draining: true,
            net: Net::default(),
            ..node(None, 3)
        };
        let wrong = ("revoke", HOSTILE, format!("This is not the node's name. Type {LONG}."));
        vec![
            ("usual", page(&node(None, 3), servers.clone(), None)),
            ("trouble", page(&node(Some(NO_ENGINE), 3), vec![], None)),
            ("own", page(&own, servers.clone(), ManageNode::of(&own, 3, None))),
            ("warned", page(&far(Standing::Joined), servers, ManageNode::of(&far(Standing::Joined), 3, Some(&wrong)))),
            ("revoked", page(&far(Standing::Revoked), vec![], ManageNode::of(&far(Standing::Revoked), 0, None))),
            ("invited", page(&invited(), vec![], ManageNode::of(&invited(), 0, None))),
        ]
    }
}

impl AddNodePage {
    /// Nothing yet; with a fresh token; refused and closed.
    pub fn samples() -> Vec<(&'static str, AddNodePage)> {
        let token = |id: &str, by: &str| NodeToken {
            id: NodeTokenId::from_random(id.as_bytes()),
            node: NodeId::named(id, None),
            made_by: by.to_owned(),
            created_at: NOW - 12 * MINUTE,
            expires_at: NOW + 48 * MINUTE,
            used_at: None,
        };
        let empty = AddNodePage {
            layout: staff("/nodes/add"),
            fresh: None,
            nodes: NodeRows { rows: vec![] },
            closed: false,
            form: AddNodeForm::of("", "", None, None),
            tokens: vec![],
        };
        let secret = format!("roost-join-1/fra-1/{}/{}/panel.example.org:8443", "0a1b2c3d".repeat(6), "9f8e7d6c".repeat(8));
        let fresh = FreshToken {
            id: "fra-1".to_owned(),
            name: "Frankfurt 1".to_owned(),
            command: format!("roost node join '{secret}'"),
            until: Moment::clock(NOW + HOUR),
        };
        let rows = [node(None, 3), invited()].map(|node| NodeRow::of(&node, 2, 1, NOW)).to_vec();
        let tokens = [token("fra-1", "ada@example.org"), token("b", HOSTILE)].map(|token| NodeTokenRow::of(&token, NOW)).to_vec();
        let made = AddNodePage { fresh: Some(fresh), nodes: NodeRows { rows }, tokens, ..empty.clone() };
        let wrong = "A name has at most 60 characters and no line breaks.".to_owned();
        let refused = AddNodePage { closed: true, form: AddNodeForm::of(HOSTILE, HOSTILE, Some(wrong), None), ..empty.clone() };
        vec![("empty", empty), ("made", made), ("refused", refused)]
    }
}
