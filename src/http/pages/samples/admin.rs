//! Samples of the operators' overview, of the list of all servers, and of placements.

use std::collections::HashSet;

use super::{HOSTILE, LONG, NOW, PICTURES, RIGHT_TO_LEFT, nodes, staff};
use crate::domain::books::Books;
use crate::domain::figures::{Overview, Totals};
use crate::domain::games::Catalogue;
use crate::domain::servers::{Emptying, Line, Lines, Placement, Promises, Question, Sort};
use crate::http::pages::admin::AdminPage;
use crate::http::pages::placing::{PlacementRow, Promised};
use crate::http::pages::server_lists::AllServersPage;
use crate::model::figures::Figure;
use crate::model::ids::{GameId, NodeId, PlanId, ServerId, UserId};
use crate::model::nodes::Node;
use crate::model::placing::{Size, Wish};
use crate::model::servers::{Phase, Wanted};
use crate::model::time::{DAY, HOUR, MINUTE, SECOND};

/// A day with an evening, an hour in which the panel was away, and a cache that fills.
fn day(cache: bool) -> Vec<Figure> {
    let minutes = (0..1_440_u32).filter(|minute| !(300..360).contains(minute));
    let figure = |minute: u32| {
        let evening = minute.abs_diff(1_000).min(600);
        Figure {
            at: NOW - DAY + i64::from(minute) * MINUTE,
            servers: 48 + minute / 100,
            awake: (600 - evening) / 20 + minute % 3,
            nodes: 4,
            online: if (700..760).contains(&minute) { 3 } else { 4 },
            cache_hits: if cache { u64::from(minute) * u64::from(minute) / 400 } else { 0 },
            cache_misses: if cache { u64::from(minute) / 3 } else { 0 },
        }
    };
    minutes.map(figure).collect()
}

impl AdminPage {
    /// All well; much wrong; a panel that has just started.
    pub fn samples() -> Vec<(&'static str, AdminPage)> {
        let well = Overview {
            nodes: vec![nodes::sample(None, 3), nodes::sample(None, 2)],
            phases: vec![(Phase::Starting, 1), (Phase::Running, 17), (Phase::Sleeping, 41), (Phase::Stopped, 3)],
            totals: Totals { templates: 12, versions: 38, accounts: 214, staff: 4 },
            day: day(true),
            books: None,
        };
        let mut phases = well.phases.clone();
        phases.push((Phase::Failed, 3));
        let many = (0..9).map(|_| nodes::sample(None, 300));
        let wrong = Overview {
            nodes: [nodes::sample(Some(HOSTILE), 3), nodes::odd(), Node::new(NodeId::named("new", None), "")]
                .into_iter()
                .chain(many)
                .collect(),
            phases,
            day: day(false),
            books: Some(Books { at: NOW - HOUR, wrong: vec!["The balance of the account abc is not the sum of its entries.".to_owned()] }),
            ..well.clone()
        };
        let totals = Totals { templates: 0, versions: 0, accounts: 1, staff: 1 };
        let fresh = Overview { nodes: vec![], phases: vec![], totals, day: vec![], books: None };
        let page = |overview: &Overview| AdminPage::of(staff("/admin"), overview, NOW);
        vec![("well", page(&well)), ("wrong", page(&wrong)), ("fresh", page(&fresh))]
    }
}

fn id<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn line(n: u8, name: &str, phase: Phase, wanted: Wanted) -> Option<Line> {
    let age = i64::from(n) * 13 * MINUTE + 7 * SECOND;
    Some(Line {
        id: id::<ServerId>(&format!("aaaaaaa{n}-mi-bbbbbb"))?,
        name: name.to_owned(),
        owner: if n.is_multiple_of(2) { HOSTILE.to_owned() } else { "ada@example.org".to_owned() },
        game: id::<GameId>("minecraft-java")?,
        plan: id::<PlanId>("small")?,
        node: NodeId::local(),
        wanted,
        phase,
        phase_since: NOW - age,
        up_since: (phase == Phase::Running).then_some(NOW - age),
        layers: usize::from(n % 4),
        created_at: NOW - i64::from(n) * 31 * HOUR,
        name_key: name.to_lowercase(),
    })
}

impl AllServersPage {
    /// A full page with neighbours; one narrowed by everything; nothing found; nothing there.
    pub fn samples() -> Vec<(&'static str, AllServersPage)> {
        let all = [
            line(1, "Valley of Echoes", Phase::Running, Wanted::Running),
            line(2, HOSTILE, Phase::Sleeping, Wanted::Asleep),
            line(3, LONG, Phase::Failed, Wanted::Running),
            line(4, RIGHT_TO_LEFT, Phase::Stopping, Wanted::Asleep),
            line(5, PICTURES, Phase::Preparing, Wanted::Running),
            line(6, "Old world", Phase::Stopped, Wanted::Stopped),
        ];
        let lines: Vec<Line> = all.into_iter().flatten().collect();
        let cursor = |sort| lines.first().map(|line| line.cursor(sort));
        let page = |question: &Question, found: &Lines| {
            AllServersPage::of(staff("/admin/servers"), question, found, &Catalogue::default(), &[nodes::sample(None, 3)], NOW)
        };
        let usual = Question::default();
        let narrowed = Question {
            phase: Some(Phase::Running),
            node: Some(NodeId::named("gone", None)),
            game: id("minecraft-java"),
            search: HOSTILE.to_owned(),
            sort: Sort::Name,
            down: false,
        };
        let full = Lines { before: cursor(usual.sort), after: cursor(usual.sort), lines: lines.clone() };
        let some = Lines { before: None, after: cursor(Sort::Name), lines: lines.clone() };
        vec![
            ("usual", page(&usual, &full)),
            ("narrowed", page(&narrowed, &some)),
            ("nothing", page(&narrowed, &Lines::default())),
            ("none", page(&usual, &Lines::default())),
        ]
    }
}

/// One that found its place, one whose server and node are gone, one that found none.
pub(super) fn placements() -> Vec<PlacementRow> {
    let Some((owner, server)) = id::<UserId>("aaaaaaaa").zip(id::<ServerId>("aaaaaaaa-mi-bbbbbb")) else { return vec![] };
    let placement = |name: &str, node: Option<NodeId>, why: &str, ago: i64| Placement {
        id: String::new(),
        at: NOW - ago,
        owner: owner.clone(),
        server: node.is_some().then(|| server.clone()),
        server_name: name.to_owned(),
        wish: Wish::default(),
        node,
        why: why.to_owned(),
    };
    let chosen = "Of 2 nodes that fit (3 in all) it has the most left: with this server 25% of what it may promise is promised.";
    let none = format!(
        "No node fits this server. local has promised 96000 of 98304 MiB of memory, and 4096 more are needed. {LONG} is in trouble: {HOSTILE}."
    );
    let all = [
        placement("Valley of Echoes", Some(NodeId::local()), chosen, 3 * MINUTE),
        placement(HOSTILE, None, &none, 12 * MINUTE),
        placement(LONG, Some(NodeId::named("gone", None)), chosen, 9 * DAY),
    ];
    let there: HashSet<ServerId> = [server.clone()].into();
    all.iter().map(|placement| PlacementRow::of(placement, &there, &[nodes::sample(None, 3)], NOW)).collect()
}

/// With room; or with a limit, told to take none.
pub(super) fn promised(node: &Node) -> Promised {
    let promises = Promises {
        promised: Size { cpu_millis: 22_000, memory_mib: 61_440, disk_mib: 940_000 },
        most: Size { cpu_millis: 64_000, memory_mib: 98_304, disk_mib: 1_024_000 },
        servers: 20,
        places: node.slots,
        closed: node.load.trouble.as_ref().map(|trouble| format!("is in trouble: {trouble}")),
    };
    let emptying =
        Emptying { left: 4, leaving: 1, awake: 2, stuck: Some((1, format!("No node fits: {HOSTILE} is offline."))), arriving: 1 };
    Promised::of(node, &promises, node.draining.then_some(&emptying), node.id == NodeId::local() || node.draining)
}
