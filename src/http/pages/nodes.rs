//! Machines, for operators: one dense table, and a page for each.

use askama::Template;
use askama_web::WebTemplate;

use super::create::{cores, mebibytes};
use super::fields::Field;
use super::html_parts;
use super::layout::Layout;
use super::moments::Moment;
use super::node_cache::NodeCache;
use super::node_load::NodeLoad;
use super::phases::PhaseView;
use super::placing::{PlacementRow, Promised};
use crate::model::ids::NodeId;
use crate::model::nodes::{NAME_MAX, Node, NodeToken, SKEW_MAX, Standing, WORD_MAX};
use crate::model::time::Millis;

/// `/nodes`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "nodes/list.html")]
pub struct NodesPage {
    /// Frame.
    pub layout: Layout,
    /// The table.
    pub nodes: NodeRows,
    /// May a machine be added by whoever looks?
    pub may_add: bool,
    /// The last placements, newest first.
    pub placements: Vec<PlacementRow>,
}

/// The rows of the table: element `nodes`.
#[derive(Debug, Clone, Template)]
#[template(path = "nodes/_rows.html")]
pub struct NodeRows {
    /// In the order of their ids.
    pub rows: Vec<NodeRow>,
}

html_parts!(NodeRows, Bar);

/// A machine.
#[derive(Debug, Clone)]
pub struct NodeRow {
    /// Its id.
    pub id: String,
    /// As people call it.
    pub name: String,
    /// What players use; empty: not known yet.
    pub host: String,
    /// Where it stands; may be empty.
    pub region: String,
    /// In one word.
    pub state: NodeState,
    /// When it was last heard of; none: never.
    pub seen: Option<Moment>,
    /// It has been told to take no new servers.
    pub draining: bool,
    /// Why no server can be started there, and since when.
    pub trouble: Option<(String, Option<Moment>)>,
    /// Such as `Docker 20.10.24`.
    pub engine: String,
    /// Such as `Debian GNU/Linux 12`.
    pub system: String,
    /// CPU in use.
    pub cpu: Bar,
    /// Memory in use.
    pub memory: Bar,
    /// Disk in use.
    pub disk: Bar,
    /// Servers placed there.
    pub servers: usize,
    /// Of these awake.
    pub awake: usize,
}

/// How a machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Heard of, and well.
    Online,
    /// Heard of, and cannot start servers.
    Trouble,
    /// Silent.
    Offline,
    /// It has a token and has not come.
    Invited,
    /// An admin has turned it away.
    Revoked,
}

impl NodeState {
    /// How this machine does.
    pub fn of(node: &Node, now: Millis) -> NodeState {
        match (node.standing, node.online(now), &node.load.trouble) {
            (Standing::Revoked, _, _) => NodeState::Revoked,
            (Standing::Invited, _, _) => NodeState::Invited,
            (Standing::Joined, false, _) => NodeState::Offline,
            (Standing::Joined, true, Some(_)) => NodeState::Trouble,
            (Standing::Joined, true, None) => NodeState::Online,
        }
    }

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            NodeState::Online => "Online",
            NodeState::Trouble => "Trouble",
            NodeState::Offline => "Offline",
            NodeState::Invited => "Invited",
            NodeState::Revoked => "Revoked",
        }
    }

    /// Name of its sign.
    pub fn sign(self) -> &'static str {
        match self {
            NodeState::Online => "check",
            NodeState::Invited => "again",
            NodeState::Trouble | NodeState::Offline | NodeState::Revoked => "alert",
        }
    }

    /// Class of its badge.
    pub fn class(self) -> &'static str {
        match self {
            NodeState::Online => "good",
            NodeState::Invited => "wait",
            NodeState::Trouble | NodeState::Offline | NodeState::Revoked => "bad",
        }
    }
}

/// `2.6 of 8 cores`, `900 MiB of 2 GiB`: a unit is said once where both have it.
fn share(used: &str, all: &str) -> String {
    let unit = |words: &str| words.split_once(' ').map(|(_, unit)| unit.trim_end_matches('s').to_owned());
    let number = if unit(used) == unit(all) { used.split(' ').next().unwrap_or(used) } else { used };
    format!("{number} of {all}")
}

/// A share as a bar with its words.
#[derive(Debug, Clone, Template)]
#[template(path = "nodes/_bar.html")]
pub struct Bar {
    /// `CPU`.
    pub title: &'static str,
    /// 0 to 100; none: not known.
    pub percent: Option<u32>,
    /// `1.2 of 2 cores`.
    pub text: String,
}

impl Bar {
    /// A share; `say` puts a number into words.
    pub fn of(title: &'static str, used: u32, all: u32, say: fn(u32) -> String) -> Bar {
        if all == 0 {
            return Bar { title, percent: None, text: "not known".to_owned() };
        }
        let percent = u32::try_from(u64::from(used.min(all)) * 100 / u64::from(all)).ok();
        Bar { title, percent, text: share(&say(used), &say(all)) }
    }
}

impl NodeRow {
    /// From the row of the node and a count of its servers.
    pub fn of(node: &Node, servers: usize, awake: usize, now: Millis) -> NodeRow {
        let online = node.online(now);
        let trouble = node.load.trouble.clone().filter(|_| online);
        let disk_used = node.specs.disk_mib.saturating_sub(node.load.disk_free_mib);
        NodeRow {
            id: node.id.to_string(),
            name: node.called().to_owned(),
            region: node.region.clone(),
            host: node.public_host.clone(),
            state: NodeState::of(node, now),
            draining: node.draining,
            seen: node.seen_at.map(|at| Moment::relative(at, now)),
            trouble: trouble.map(|what| (what, node.trouble_since.map(|at| Moment::relative(at, now)))),
            engine: node.specs.engine.clone(),
            system: node.specs.system.clone(),
            cpu: Bar::of("CPU", node.load.cpu_millis, node.specs.cpu_millis, cores),
            memory: Bar::of("Memory", node.load.memory_mib, node.specs.memory_mib, mebibytes),
            disk: Bar::of("Disk", disk_used, node.specs.disk_mib, mebibytes),
            servers,
            awake,
        }
    }
}

/// Something that whoever looks after a machine should know.
#[derive(Debug, Clone)]
pub struct Warning {
    /// What is the matter, and what to do.
    pub words: String,
    /// `Since` or `Last`, and when, where that is known.
    pub when: Option<(&'static str, Moment)>,
}

/// `2 s`, `1.5 s`, `3 min`.
fn span(ms: i64) -> String {
    match ms.unsigned_abs() {
        ms @ ..60_000 if ms % 1_000 < 100 => format!("{} s", ms / 1_000),
        ms @ ..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        ms @ ..7_200_000 => format!("{} min", ms / 60_000),
        ms => format!("{} h", ms / 3_600_000),
    }
}

/// Everything that is the matter with a machine beside its trouble. `wire`: version of this panel's messages.
pub fn warnings(node: &Node, all: &[Node], wire: u32, now: Millis) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut add = |words: String, when: Option<(&'static str, Millis)>| {
        found.push(Warning { words, when: when.map(|(word, at)| (word, Moment::relative(at, now))) });
    };
    if let Some((why, at)) = &node.refused {
        add(format!("It came and was turned away: {why}."), Some(("Last", *at)));
    }
    if let Some(spoken) = node.wire.filter(|spoken| *spoken != wire) {
        let agent = if node.agent.is_empty() { String::new() } else { format!(" ({})", node.agent) };
        let older = if spoken < wire { "the agent" } else { "the panel" };
        add(format!("Its agent{agent} speaks version {spoken} of the messages and this panel version {wire}. Update {older}."), None);
    }
    if let Some(off) = node.clock_off() {
        let way = if off > 0 { "ahead of" } else { "behind" };
        add(format!("Its clock is {} {way} the panel’s; at most {} is fine. Let it keep time by NTP.", span(off), span(SKEW_MAX)), None);
    }
    let ends = node.certificate.as_ref().map(|held| held.until).filter(|until| *until <= now && node.standing == Standing::Joined);
    if let Some(until) = ends {
        add(
            "Its certificate has ended, because it was away for too long. Make a new token and join again.".to_owned(),
            Some(("Since", until)),
        );
    }
    if let Some(words) = all.iter().find_map(|other| node.clashes(other)) {
        add(words, None);
    }
    found
}

/// `/nodes/{id}`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "nodes/detail.html")]
pub struct NodePage {
    /// Frame.
    pub layout: Layout,
    /// The machine.
    pub node: NodeRow,
    /// What is the matter with it.
    pub warnings: Vec<Warning>,
    /// Name and value, of what it says of itself.
    pub facts: Vec<(&'static str, String)>,
    /// `ends` or `ended`, and when its certificate does; none: it has none.
    pub until: Option<(&'static str, Moment)>,
    /// What of it is promised, and whether new servers come.
    pub promised: Promised,
    /// How it did over the last hour or day.
    pub load: NodeLoad,
    /// What lives there.
    pub servers: Vec<NodeServer>,
    /// Its cache of templates.
    pub cache: NodeCache,
    /// For whoever may let it join anew and turn it away.
    pub manage: Option<ManageNode>,
}

impl NodePage {
    /// When its certificate ends or ended.
    pub fn until(node: &Node, now: Millis) -> Option<(&'static str, Moment)> {
        let held = node.certificate.as_ref()?;
        Some((if held.until > now { "ends" } else { "ended" }, Moment::relative(held.until, now)))
    }

    /// What a machine says of itself, as names and values.
    pub fn facts(node: &Node) -> Vec<(&'static str, String)> {
        let or = |text: &str, else_: &str| if text.is_empty() { else_.to_owned() } else { text.to_owned() };
        let clock = match node.skew {
            None => "the panel’s".to_owned(),
            Some(0) => "right".to_owned(),
            Some(skew) => format!("{} {}", span(skew), if skew > 0 { "ahead" } else { "behind" }),
        };
        let ports = node.net.ports.map_or_else(|| "not known".to_owned(), |(low, high)| format!("{low}–{high}"));
        let mut facts = vec![
            ("Region", or(&node.region, "none")),
            ("Tags", or(&node.tags.join(", "), "none")),
            ("Slots", node.slots.map_or_else(|| "no limit".to_owned(), |slots| slots.to_string())),
            ("Ports", ports),
            ("Networks", or(&node.net.pool, "not known")),
            ("Agent", or(&node.agent, "not known")),
            ("Clock", clock),
        ];
        if let Some(aside) = node.load.aside {
            let (goes, all) = (Moment::full(aside.next_goes).plain(), aside.folders);
            facts.push(("Data of unknown servers", format!("{all} in its folder orphans; the next is removed on {goes}")));
        }
        facts
    }
}

/// What an admin can do with a machine. The node inside the panel has none of it.
#[derive(Debug, Clone)]
pub struct ManageNode {
    /// What happens when it is turned away, one phrase each; none: it is revoked already.
    pub revoke: Option<EndForm>,
    /// What happens when it is forgotten; none: servers live there.
    pub remove: Option<EndForm>,
}

/// The end of something: its name has to be typed in `confirm`.
#[derive(Debug, Clone)]
pub struct EndForm {
    /// What happens, one phrase each.
    pub happens: Vec<String>,
    /// Its name, to be typed.
    pub confirm: Field,
}

impl ManageNode {
    /// For this machine; `refused` is what was posted to which form, and what was wrong with it.
    pub fn of(node: &Node, servers: usize, refused: Option<&(&str, &str, String)>) -> Option<ManageNode> {
        if node.id == NodeId::local() {
            return None;
        }
        let form = |which: &str, label: &str, happens: Vec<String>| {
            let (typed, error) = match refused {
                Some((form, typed, error)) if *form == which => ((*typed).to_owned(), Some(error.clone())),
                Some(_) | None => (String::new(), None),
            };
            let max = u32::try_from(NAME_MAX).unwrap_or(u32::MAX);
            EndForm { happens, confirm: Field::text("confirm", label, typed, max).id(which).error(error).required() }
        };
        let many = match servers {
            0 => "No server lives there.".to_owned(),
            1 => "1 server there plays on and wakes as before, but the panel no longer sees or steers it, and does not bill it.".to_owned(),
            n => format!(
                "{n} servers there play on and wake as before, but the panel no longer sees or steers them, and does not bill them."
            ),
        };
        let cut = "Its link ends at once, and its certificate and tokens count no more.".to_owned();
        let back = "It can come back with a new token, on the same machine, and everything is seen again.".to_owned();
        let revoke = (node.standing != Standing::Revoked)
            .then(|| form("revoke", "Type the node’s name to revoke it", vec![cut.clone(), many, back]));
        let gone = "Its row, its history and its tokens are forgotten. What lies on the machine’s disk stays there.".to_owned();
        let remove = (servers == 0).then(|| form("remove", "Type the node’s name to remove it", vec![cut, gone]));
        Some(ManageNode { revoke, remove })
    }
}

/// `/nodes/add`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "nodes/add.html")]
pub struct AddNodePage {
    /// Frame.
    pub layout: Layout,
    /// A token that was just made; never shown again.
    pub fresh: Option<FreshToken>,
    /// All machines: the new one shows up here by itself.
    pub nodes: NodeRows,
    /// Why no machine can join, where that is so.
    pub closed: bool,
    /// Posted to `/nodes/add`.
    pub form: AddNodeForm,
    /// Tokens that wait, newest first.
    pub tokens: Vec<NodeTokenRow>,
}

/// A token that was just made.
#[derive(Debug, Clone)]
pub struct FreshToken {
    /// Id of its node.
    pub id: String,
    /// Name of its node.
    pub name: String,
    /// The one command.
    pub command: String,
    /// When it ends.
    pub until: Moment,
}

/// A new machine.
#[derive(Debug, Clone)]
pub struct AddNodeForm {
    /// As people will call it.
    pub name: Field,
    /// Where it stands.
    pub region: Field,
}

impl AddNodeForm {
    /// With what was typed and what was wrong with it.
    pub fn of(name: &str, region: &str, name_error: Option<String>, region_error: Option<String>) -> AddNodeForm {
        let (name_max, word_max) = (u32::try_from(NAME_MAX).unwrap_or(u32::MAX), u32::try_from(WORD_MAX).unwrap_or(u32::MAX));
        AddNodeForm {
            name: Field::text("name", "Name", name, name_max).help("Such as fra-1.").error(name_error).required(),
            region: Field::text("region", "Region", region, word_max)
                .help("Such as eu-central; servers can ask for it.")
                .error(region_error),
        }
    }
}

/// A token in the list; revoked by POST to `/nodes/tokens/{id}/revoke`.
#[derive(Debug, Clone)]
pub struct NodeTokenRow {
    /// Its id.
    pub id: String,
    /// Id of its node.
    pub node: String,
    /// Who made it.
    pub by: String,
    /// When it was made.
    pub made: Moment,
    /// When it ends.
    pub until: Moment,
}

impl NodeTokenRow {
    /// From the token.
    pub fn of(token: &NodeToken, now: Millis) -> NodeTokenRow {
        NodeTokenRow {
            id: token.id.to_string(),
            node: token.node.to_string(),
            by: token.made_by.clone(),
            made: Moment::relative(token.created_at, now),
            until: Moment::relative(token.expires_at, now),
        }
    }
}

/// A server of a machine.
#[derive(Debug, Clone)]
pub struct NodeServer {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Name of the game.
    pub game: String,
    /// What it does.
    pub phase: PhaseView,
    /// How long it has.
    pub since: Moment,
}
