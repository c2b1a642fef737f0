//! The operators' overview: what is wrong first, in words; then how many there are of everything; then the last 24 hours.

use askama::Template;
use askama_web::WebTemplate;

use super::layout::Layout;
use super::moments::Moment;
use super::nodes::NodeState;
use super::phases::PhaseView;
use crate::domain::figures::Overview;
use crate::http::charts::{Chart, LAST_DAY, Quantity, say_number, say_percent};
use crate::model::figures::{Figure, cache_hit_rates};
use crate::model::nodes::Node;
use crate::model::servers::{Phase, Wanted};
use crate::model::time::Millis;

/// Machines that are named among what is wrong.
const NAMED_MAX: usize = 8;

/// `/admin`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "admin/overview.html")]
pub struct AdminPage {
    /// Frame.
    pub layout: Layout,
    /// What is wrong; empty: all is well.
    pub wrong: Vec<Wrong>,
    /// How many there are.
    pub tallies: Vec<Tally>,
    /// The last 24 hours.
    pub charts: Vec<Chart>,
}

/// Something that whoever runs the panel should look at.
#[derive(Debug, Clone)]
pub struct Wrong {
    /// What, as one sentence.
    pub words: String,
    /// `Since` or `Last heard of`, and when, where that is known.
    pub when: Option<(&'static str, Moment)>,
    /// Where to look.
    pub href: String,
}

/// How many there are of something, and of its kinds.
#[derive(Debug, Clone)]
pub struct Tally {
    /// What it is.
    pub title: &'static str,
    /// All of them.
    pub total: i64,
    /// Their list; none: there is none.
    pub href: Option<&'static str>,
    /// Its kinds.
    pub parts: Vec<TallyPart>,
}

/// How many there are of a kind.
#[derive(Debug, Clone)]
pub struct TallyPart {
    /// How many.
    pub number: i64,
    /// Of what.
    pub word: &'static str,
    /// Name of its sign; empty: none.
    pub sign: &'static str,
    /// Class of its tag.
    pub class: &'static str,
    /// Their list; none: there is none.
    pub href: Option<String>,
}

/// The list of servers in a phase.
fn servers_in(phase: Phase) -> String {
    format!("/admin/servers?phase={}", phase.as_str())
}

fn node_wrong(node: &Node, now: Millis) -> Option<Wrong> {
    let name = node.called();
    let (words, when) = match NodeState::of(node, now) {
        NodeState::Online | NodeState::Invited | NodeState::Revoked => return None,
        NodeState::Offline => {
            let heard = node.seen_at.map(|at| ("Last heard of", Moment::relative(at, now)));
            let state = if heard.is_some() { "is offline" } else { "has joined and has never been heard of" };
            (format!("{name} {state}."), heard)
        }
        NodeState::Trouble => {
            let what = node.load.trouble.as_deref().unwrap_or_default().trim_end_matches('.');
            (format!("{name} is in trouble: {what}."), node.trouble_since.map(|at| ("Since", Moment::relative(at, now))))
        }
    };
    Some(Wrong { words, when, href: format!("/nodes/{}", node.id) })
}

/// Everything that is wrong, the machines first.
fn wrong(overview: &Overview, now: Millis) -> Vec<Wrong> {
    let mut found: Vec<Wrong> = overview.nodes.iter().filter_map(|node| node_wrong(node, now)).collect();
    if found.len() > NAMED_MAX {
        let more = found.len() - NAMED_MAX;
        let are = if more == 1 { "machine is" } else { "machines are" };
        found.truncate(NAMED_MAX);
        found.push(Wrong { words: format!("{more} more {are} offline or in trouble."), when: None, href: "/nodes".to_owned() });
    }
    if overview.nodes.is_empty() {
        let words = "No machine has reported yet, so no server can start.".to_owned();
        found.push(Wrong { words, when: None, href: "/nodes".to_owned() });
    }
    if let Some(books) = overview.books.as_ref().filter(|books| !books.wrong.is_empty()) {
        let first = books.wrong.first().map(String::as_str).unwrap_or_default();
        let words = format!("The books do not balance. {first} `roost doctor` tells all of it.");
        found.insert(0, Wrong { words, when: Some(("Looked", Moment::relative(books.at, now))), href: "/admin/reports".to_owned() });
    }
    let failed = overview.phases.iter().find(|(phase, _)| *phase == Phase::Failed).map_or(0, |(_, number)| *number);
    if failed > 0 {
        let are = if failed == 1 { "server is" } else { "servers are" };
        found.push(Wrong { words: format!("{failed} {are} in trouble."), when: None, href: servers_in(Phase::Failed) });
    }
    found
}

fn tallies(overview: &Overview, now: Millis) -> Vec<Tally> {
    let states: Vec<NodeState> = overview.nodes.iter().map(|node| NodeState::of(node, now)).collect();
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let kinds = [NodeState::Online, NodeState::Trouble, NodeState::Offline, NodeState::Invited, NodeState::Revoked];
    let nodes = kinds.map(|kind| TallyPart {
        number: count(states.iter().filter(|state| **state == kind).count()),
        word: kind.word(),
        sign: kind.sign(),
        class: kind.class(),
        href: Some("/nodes".to_owned()),
    });
    let phase = |(phase, number): &(Phase, i64)| {
        let view = PhaseView::of(*phase, Wanted::Stopped);
        TallyPart { number: *number, word: view.word, sign: view.sign, class: view.sky, href: Some(servers_in(*phase)) }
    };
    let totals = overview.totals;
    let plain = |number: i64, word: &'static str, href: Option<&str>| TallyPart {
        number,
        word,
        sign: "",
        class: "",
        href: href.map(str::to_owned),
    };
    vec![
        Tally {
            title: "Servers",
            total: overview.phases.iter().map(|(_, number)| number).sum(),
            href: Some("/admin/servers"),
            parts: overview.phases.iter().map(phase).collect(),
        },
        Tally {
            title: "Nodes",
            total: count(states.len()),
            href: Some("/nodes"),
            parts: nodes.into_iter().filter(|part| part.number > 0).collect(),
        },
        Tally {
            title: "Templates",
            total: totals.templates,
            href: Some("/templates"),
            parts: vec![plain(totals.versions, if totals.versions == 1 { "version" } else { "versions" }, Some("/templates"))],
        },
        Tally {
            title: "Accounts",
            total: totals.accounts,
            href: Some("/admin/users"),
            parts: vec![
                plain(totals.accounts - totals.staff, "players", Some("/admin/users?role=player")),
                plain(totals.staff, "of the staff", None),
            ],
        },
    ]
}

/// One chart for each figure that is known.
fn charts(day: &[Figure], now: Millis) -> Vec<Chart> {
    let of = |value: fn(&Figure) -> Option<u32>| day.iter().map(|figure| (figure.at, value(figure))).collect::<Vec<_>>();
    let most = |value: fn(&Figure) -> u32| day.iter().map(value).max().unwrap_or(0).max(1);
    let (servers, nodes) = (most(|figure| figure.servers), most(|figure| figure.nodes));
    let last = day.last();
    let limit = |number: Option<u32>| number.map_or_else(String::new, |number| format!("of {number}"));
    let (all_servers, all_nodes) = (limit(last.map(|figure| figure.servers)), limit(last.map(|figure| figure.nodes)));
    let awake = Quantity { title: "Servers awake", max: servers, say: say_number, limit: &all_servers };
    let online = Quantity { title: "Nodes online", max: nodes, say: say_number, limit: &all_nodes };
    let mut charts = vec![
        Chart::over(LAST_DAY, awake, &of(|figure| Some(figure.awake)), now),
        Chart::over(LAST_DAY, online, &of(|figure| Some(figure.online)), now),
    ];
    let rates = cache_hit_rates(day);
    if rates.iter().any(|(_, rate)| rate.is_some()) {
        let cache = Quantity { title: "Cache hit rate", max: 100, say: say_percent, limit: "in the hour before" };
        charts.push(Chart::over(LAST_DAY, cache, &rates, now));
    }
    charts
}

impl AdminPage {
    /// From everything that was counted.
    pub fn of(layout: Layout, overview: &Overview, now: Millis) -> AdminPage {
        AdminPage { layout, wrong: wrong(overview, now), tallies: tallies(overview, now), charts: charts(&overview.day, now) }
    }
}
