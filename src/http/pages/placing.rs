//! Where servers went and why, and what of a machine is promised to them: parts of the pages about machines.

use std::collections::HashSet;

use super::create::{cores, mebibytes};
use super::moments::Moment;
use super::nodes::Bar;
use crate::domain::servers::{Emptying, Placement, Promises};
use crate::model::ids::ServerId;
use crate::model::nodes::Node;
use crate::model::time::Millis;

/// A placement, or that there was none.
#[derive(Debug, Clone)]
pub struct PlacementRow {
    /// When.
    pub at: Moment,
    /// Id of the server, where it is still there.
    pub server: Option<String>,
    /// Its name.
    pub name: String,
    /// Where to: id, where the node is still there, and name; none: nowhere.
    pub node: Option<(Option<String>, String)>,
    /// In words.
    pub why: String,
}

impl PlacementRow {
    /// From what was kept.
    pub fn of(placement: &Placement, there: &HashSet<ServerId>, nodes: &[Node], now: Millis) -> PlacementRow {
        let node = placement.node.as_ref().map(|id| match nodes.iter().find(|node| node.id == *id) {
            Some(node) => (Some(id.to_string()), node.called().to_owned()),
            None => (None, id.to_string()),
        });
        PlacementRow {
            at: Moment::relative(placement.at, now),
            server: placement.server.as_ref().filter(|id| there.contains(*id)).map(ToString::to_string),
            name: placement.server_name.clone(),
            node,
            why: placement.why.clone(),
        }
    }
}

/// How far the emptying of a machine is.
fn told(emptying: &Emptying) -> Vec<String> {
    let count = |n: usize| if n == 1 { "1 server".to_owned() } else { format!("{n} servers") };
    let mut told = vec![match emptying.left {
        0 => "No server lives here any more.".to_owned(),
        left => format!("{} still here.", count(left)),
    }];
    if emptying.leaving > 0 {
        told.push(format!("{} leaving right now: the data are written down to travel.", count(emptying.leaving)));
    }
    if emptying.awake > 0 {
        told.push(format!("{} awake or being worked on: each leaves when it next rests.", count(emptying.awake)));
    }
    if let Some((stuck, why)) = &emptying.stuck {
        told.push(format!("{} cannot leave for now. {why}", count(*stuck)));
    }
    if emptying.arriving > 0 {
        told.push(format!(
            "{} on the way: what this node has of it stays until its new node has all of it, for a stopped one until it is started.",
            count(emptying.arriving)
        ));
    }
    told
}

/// What is promised of a machine, and whether more may be.
#[derive(Debug, Clone)]
pub struct Promised {
    /// What it is, and how much of it.
    pub bars: Vec<(&'static str, Bar)>,
    /// Why no new server comes; none: they do.
    pub closed: Option<String>,
    /// It has been told to take none.
    pub draining: bool,
    /// How far its emptying is, one sentence each.
    pub emptying: Vec<String>,
    /// Whoever looks may tell it.
    pub may_drive: bool,
}

impl Promised {
    /// From what was counted.
    pub fn of(node: &Node, promises: &Promises, emptying: Option<&Emptying>, may_drive: bool) -> Promised {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let (has, most) = (promises.promised, promises.most);
        let places = match promises.places {
            Some(places) => Bar::of("Places", promises.servers, places, |number| number.to_string()),
            None => Bar { title: "Places", percent: None, text: format!("{} taken, no limit", promises.servers) },
        };
        let bars = vec![
            ("CPU", Bar::of("CPU promised", small(has.cpu_millis), small(most.cpu_millis), cores)),
            ("Memory", Bar::of("Memory promised", small(has.memory_mib), small(most.memory_mib), mebibytes)),
            ("Disk", Bar::of("Disk promised", small(has.disk_mib), small(most.disk_mib), mebibytes)),
            ("Places", places),
        ];
        let closed =
            promises.closed.as_ref().filter(|_| !node.draining).map(|why| format!("{} {}.", node.called(), why.trim_end_matches('.')));
        Promised { bars, closed, draining: node.draining, emptying: emptying.map(told).unwrap_or_default(), may_drive }
    }
}
