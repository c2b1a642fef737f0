//! Where a new server goes: the node that fits and has the most left, by what was promised to servers and not by what they use.
//!
//! Pure: the same nodes and the same wish give the same choice, with the reason in words. Asked by `domain::servers` inside the
//! transaction that makes the row, with what is promised read under the node's lock.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::ids::NodeId;

/// So much of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Size {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// MiB of memory.
    pub memory_mib: u64,
    /// MiB of disk.
    pub disk_mib: u64,
}

impl Size {
    /// So much less, and never less than nothing.
    #[must_use]
    pub fn minus(self, other: Size) -> Size {
        Size {
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
            disk_mib: self.disk_mib.saturating_sub(other.disk_mib),
        }
    }

    /// So many of it together.
    #[must_use]
    pub fn times(self, number: u64) -> Size {
        Size {
            cpu_millis: self.cpu_millis.saturating_mul(number),
            memory_mib: self.memory_mib.saturating_mul(number),
            disk_mib: self.disk_mib.saturating_mul(number),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Size) -> Size {
        Size {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            disk_mib: self.disk_mib.saturating_add(other.disk_mib),
        }
    }
}

/// How much of what a node has may be promised, in percent: sleeping servers use none of what they were promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overcommit {
    /// Of its cores.
    pub cpu: u32,
    /// Of its memory.
    pub memory: u32,
    /// Of its disk.
    pub disk: u32,
}

/// What a server asks of its node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wish {
    /// Its plan.
    pub size: Size,
    /// Only there; empty: anywhere.
    pub region: String,
    /// The node must have all of them.
    pub tags: Vec<String>,
}

/// A node as far as the choice asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: NodeId,
    /// As people call it.
    pub name: String,
    /// Why it takes nobody at all (offline, draining, in trouble), in words; none: it does.
    pub closed: Option<String>,
    /// Where it stands.
    pub region: String,
    /// What it offers.
    pub tags: Vec<String>,
    /// What it has; zero: it has not said.
    pub has: Size,
    /// Most servers; none: no limit of its own.
    pub slots: Option<u32>,
    /// Promised to the servers that it has.
    pub promised: Size,
    /// How many those are.
    pub servers: u32,
}

/// Chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Where.
    pub node: NodeId,
    /// In words.
    pub why: String,
}

/// No node fits: each with its reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0)]
pub struct NoFit(String);

/// Parts in ten thousand; a machine without the thing is full.
fn share(part: u64, whole: u64) -> u64 {
    part.saturating_mul(10_000).checked_div(whole).unwrap_or(u64::MAX)
}

fn limit(has: u64, percent: u32) -> u64 {
    has.saturating_mul(u64::from(percent)) / 100
}

impl Candidate {
    /// How much may be promised here in all.
    pub fn may_promise(&self, over: Overcommit) -> Size {
        Size {
            cpu_millis: limit(self.has.cpu_millis, over.cpu),
            memory_mib: limit(self.has.memory_mib, over.memory),
            disk_mib: limit(self.has.disk_mib, over.disk),
        }
    }

    /// Why the wish does not fit here, in words; none: it fits.
    pub fn refuses(&self, wish: &Wish, over: Overcommit) -> Option<String> {
        if let Some(closed) = &self.closed {
            return Some(closed.clone());
        }
        if !wish.region.is_empty() && self.region != wish.region {
            let stands = if self.region.is_empty() { "has no region" } else { &format!("stands in {}", self.region) };
            return Some(format!("{stands}, not in {}", wish.region));
        }
        if let Some(missing) = wish.tags.iter().find(|tag| !self.tags.contains(tag)) {
            return Some(format!("lacks the tag {missing}"));
        }
        if self.has == Size::default() {
            return Some("has not said yet what it has".to_owned());
        }
        if let Some(slots) = self.slots.filter(|slots| self.servers >= *slots) {
            return Some(format!("has all of its {slots} places taken"));
        }
        let (total, size) = (self.promised.plus(wish.size), wish.size);
        let rows = [
            ("MiB of memory", size.memory_mib, self.has.memory_mib, total.memory_mib, over.memory),
            ("thousandths of a core", size.cpu_millis, self.has.cpu_millis, total.cpu_millis, over.cpu),
            ("MiB of disk", size.disk_mib, self.has.disk_mib, total.disk_mib, over.disk),
        ];
        rows.into_iter().find_map(|(what, wants, has, total, percent)| {
            let most = limit(has, percent);
            // Cores are shared by time, so one server may be promised more than there are; memory and disk cannot be.
            if wants > has && what != "thousandths of a core" {
                Some(format!("has {has} {what}, and {wants} are needed"))
            } else if total > most {
                Some(format!("has promised {} of {most} {what}, and {wants} more are needed", total - wants))
            } else {
                None
            }
        })
    }

    /// The fullest of its three parts with this on it, in parts of ten thousand of what it may promise.
    fn fullness(&self, wish: &Wish, over: Overcommit) -> u64 {
        let total = self.promised.plus(wish.size);
        let memory = share(total.memory_mib, limit(self.has.memory_mib, over.memory));
        let cpu = share(total.cpu_millis, limit(self.has.cpu_millis, over.cpu));
        let disk = share(total.disk_mib, limit(self.has.disk_mib, over.disk));
        memory.max(cpu).max(disk)
    }
}

/// Chooses among nodes: those that fit, the emptiest first.
///
/// # Errors
/// Names each node's reason.
pub fn choose(nodes: &[Candidate], wish: &Wish, over: Overcommit) -> Result<Choice, NoFit> {
    let fitting: Vec<&Candidate> = nodes.iter().filter(|node| node.refuses(wish, over).is_none()).collect();
    let best = fitting.iter().min_by_key(|node| (node.fullness(wish, over), node.servers, node.id.clone()));
    let Some(best) = best else { return Err(no_fit(nodes, wish, over)) };
    let percent = best.fullness(wish, over).min(1_000_000) / 100;
    let why = match (fitting.len(), nodes.len()) {
        (1, 1) => format!("It is the only node; with this server {percent}% of what it may promise is promised."),
        (1, all) => format!("It is the only one of {all} nodes that fits; with this server {percent}% of what it may promise is promised."),
        (fit, all) => {
            format!(
                "Of {fit} nodes that fit ({all} in all) it has the most left: with this server {percent}% of what it may promise is promised."
            )
        }
    };
    Ok(Choice { node: best.id.clone(), why })
}

/// Reasons of so many nodes are named, the others counted.
const NAMED_MAX: usize = 8;

fn no_fit(nodes: &[Candidate], wish: &Wish, over: Overcommit) -> NoFit {
    if nodes.is_empty() {
        return NoFit("No node fits: there is none yet. Whoever runs this panel has to add a machine.".to_owned());
    }
    let mut text = "No node fits this server.".to_owned();
    for node in nodes.iter().take(NAMED_MAX) {
        let why = node.refuses(wish, over).unwrap_or_default();
        let _ = write!(text, " {} {why}.", node.name);
    }
    if nodes.len() > NAMED_MAX {
        let _ = write!(text, " {} more do not fit either.", nodes.len() - NAMED_MAX);
    }
    NoFit(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OVER: Overcommit = Overcommit { cpu: 400, memory: 200, disk: 100 };

    fn node(id: &str) -> Candidate {
        Candidate {
            id: id.parse().unwrap(),
            name: id.to_owned(),
            closed: None,
            region: "eu".to_owned(),
            tags: vec!["ssd".to_owned()],
            has: Size { cpu_millis: 4_000, memory_mib: 8_192, disk_mib: 100_000 },
            slots: None,
            promised: Size::default(),
            servers: 0,
        }
    }

    fn wish() -> Wish {
        Wish { size: Size { cpu_millis: 1_000, memory_mib: 4_096, disk_mib: 10_000 }, ..Wish::default() }
    }

    #[test]
    fn each_reason_against_a_node_is_said_in_words() {
        let far = Wish { region: "us".to_owned(), ..wish() };
        let gpu = Wish { tags: vec!["ssd".to_owned(), "gpu".to_owned()], ..wish() };
        let huge = Wish { size: Size { memory_mib: 9_000, ..wish().size }, ..wish() };
        let small = wish();
        let promised = Size { memory_mib: 13_000, ..Size::default() };
        let table: [(Candidate, &Wish, Option<&str>); 9] = [
            (node("a"), &small, None),
            (Candidate { closed: Some("is offline".to_owned()), ..node("a") }, &small, Some("is offline")),
            (node("a"), &far, Some("stands in eu, not in us")),
            (Candidate { region: String::new(), ..node("a") }, &far, Some("has no region, not in us")),
            (node("a"), &gpu, Some("lacks the tag gpu")),
            (Candidate { has: Size::default(), ..node("a") }, &small, Some("has not said yet what it has")),
            (Candidate { slots: Some(3), servers: 3, ..node("a") }, &small, Some("has all of its 3 places taken")),
            (node("a"), &huge, Some("has 8192 MiB of memory, and 9000 are needed")),
            (Candidate { promised, ..node("a") }, &small, Some("has promised 13000 of 16384 MiB of memory, and 4096 more are needed")),
        ];
        for (node, wish, expected) in table {
            assert_eq!(node.refuses(wish, OVER).as_deref(), expected);
        }
    }

    #[test]
    fn the_emptiest_of_those_that_fit_is_chosen_and_the_reason_told() {
        let promised = Size { memory_mib: 4_096, ..Size::default() };
        let nodes = [
            Candidate { promised, servers: 1, ..node("a") },
            node("b"),
            Candidate { closed: Some("takes no new servers, because it is being emptied".to_owned()), ..node("c") },
        ];
        let choice = choose(&nodes, &wish(), OVER).unwrap();
        assert_eq!(choice.node.as_str(), "b");
        assert_eq!(
            choice.why,
            "Of 2 nodes that fit (3 in all) it has the most left: with this server 25% of what it may promise is promised."
        );
        let error = choose(&nodes[2..], &wish(), OVER).unwrap_err().to_string();
        assert_eq!(error, "No node fits this server. c takes no new servers, because it is being emptied.");
        assert!(choose(&[], &wish(), OVER).unwrap_err().to_string().contains("add a machine"));
    }

    proptest! {
        #[test]
        fn no_node_is_ever_overfilled_and_equal_nodes_are_filled_evenly(sizes in proptest::collection::vec(1u64..6, 1..80), count in 1usize..5) {
            let mut nodes: Vec<Candidate> = (0..count).map(|n| node(&format!("n{n}"))).collect();
            for size in sizes {
                let wish = Wish { size: Size { cpu_millis: 100 * size, memory_mib: 512 * size, disk_mib: 1_000 * size }, ..Wish::default() };
                match choose(&nodes, &wish, OVER) {
                    Ok(choice) => {
                        let node = nodes.iter_mut().find(|node| node.id == choice.node).unwrap();
                        node.promised = node.promised.plus(wish.size);
                        node.servers += 1;
                        prop_assert!(node.promised.memory_mib <= 2 * node.has.memory_mib);
                        prop_assert!(node.promised.disk_mib <= node.has.disk_mib);
                    }
                    Err(_) => prop_assert!(nodes.iter().all(|node| node.refuses(&wish, OVER).is_some())),
                }
                let memory = nodes.iter().map(|node| node.promised.memory_mib);
                let (least, most) = (memory.clone().min().unwrap(), memory.max().unwrap());
                prop_assert!(most - least <= 512 * 5, "{least} to {most}");
            }
        }
    }
}
