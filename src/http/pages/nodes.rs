//! Machines, for operators: one dense table, and a page for each.

use askama::Template;
use askama_web::WebTemplate;

use super::create::{cores, mebibytes};
use super::html_parts;
use super::layout::Layout;
use super::moments::Moment;
use super::phases::PhaseView;
use crate::model::nodes::Node;
use crate::model::time::Millis;

/// `/nodes`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "nodes/list.html")]
pub struct NodesPage {
    /// Frame.
    pub layout: Layout,
    /// The table.
    pub nodes: NodeRows,
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
    /// What players use.
    pub host: String,
    /// `Online`, `Trouble`, `Offline`.
    pub state: NodeState,
    /// When it was last heard of; none: never.
    pub seen: Option<Moment>,
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
}

impl NodeState {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            NodeState::Online => "Online",
            NodeState::Trouble => "Trouble",
            NodeState::Offline => "Offline",
        }
    }

    /// Name of its sign.
    pub fn sign(self) -> &'static str {
        match self {
            NodeState::Online => "check",
            NodeState::Trouble | NodeState::Offline => "alert",
        }
    }

    /// Class of its badge.
    pub fn class(self) -> &'static str {
        match self {
            NodeState::Online => "good",
            NodeState::Trouble | NodeState::Offline => "bad",
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
    fn of(title: &'static str, used: u32, all: u32, say: fn(u32) -> String) -> Bar {
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
        let state = match (online, &trouble) {
            (false, _) => NodeState::Offline,
            (true, Some(_)) => NodeState::Trouble,
            (true, None) => NodeState::Online,
        };
        let disk_used = node.specs.disk_mib.saturating_sub(node.load.disk_free_mib);
        NodeRow {
            id: node.id.to_string(),
            host: node.public_host.clone(),
            state,
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

/// `/nodes/{id}`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "nodes/detail.html")]
pub struct NodePage {
    /// Frame.
    pub layout: Layout,
    /// The machine.
    pub node: NodeRow,
    /// What lives there.
    pub servers: Vec<NodeServer>,
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
