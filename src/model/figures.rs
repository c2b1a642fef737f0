//! How the whole panel stood in a minute, and each machine in it: for the charts of the operators' overview and of the machines.
//!
//! One figure a minute, whoever takes it: its moment is the beginning of the minute, and the key of its row.

use std::collections::VecDeque;

use super::nodes::{Node, Standing};
use super::time::{DAY, HOUR, MINUTE, Millis};

/// How the panel stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// Beginning of the minute.
    pub at: Millis,
    /// Servers that exist.
    pub servers: u32,
    /// Of these awake.
    pub awake: u32,
    /// Machines that have joined.
    pub nodes: u32,
    /// Of these online.
    pub online: u32,
    /// Layers that nodes had already when they laid out servers: all counters of all nodes, which begin anew with their agents.
    pub cache_hits: u64,
    /// Layers that nodes had to fetch, counted in the same way.
    pub cache_misses: u64,
}

/// How a machine did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeSample {
    /// Beginning of the minute.
    pub at: Millis,
    /// Thousandths of a core in use.
    pub cpu_millis: u32,
    /// MiB in use.
    pub memory_mib: u32,
    /// MiB of the disk that holds the data folder: in use.
    pub disk_used_mib: u32,
    /// MiB of it: free.
    pub disk_free_mib: u32,
    /// Servers awake there.
    pub awake: u32,
}

impl NodeSample {
    /// How a machine does by what it said last, with so many servers awake; none: it is not online, so that it is not known.
    pub fn of(node: &Node, awake: u32, now: Millis) -> Option<NodeSample> {
        (node.standing == Standing::Joined && node.online(now)).then(|| NodeSample {
            at: minute_of(now),
            cpu_millis: node.load.cpu_millis,
            memory_mib: node.load.memory_mib,
            disk_used_mib: node.specs.disk_mib.saturating_sub(node.load.disk_free_mib),
            disk_free_mib: node.load.disk_free_mib,
            awake,
        })
    }
}

/// How far back somebody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Back {
    /// An hour.
    #[default]
    Hour,
    /// 24 hours.
    Day,
}

impl Back {
    /// As in an address.
    pub fn as_str(self) -> &'static str {
        match self {
            Back::Hour => "hour",
            Back::Day => "day",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Back> {
        [Back::Hour, Back::Day].into_iter().find(|back| back.as_str() == text)
    }

    /// In milliseconds.
    pub fn length(self) -> i64 {
        match self {
            Back::Hour => HOUR,
            Back::Day => DAY,
        }
    }
}

/// The share of layers that were there already, in percent, of those asked for in the hour before each figure; none: no layer
/// was asked for. Where a counter falls, because an agent has started anew, that minute counts for nothing.
pub fn cache_hit_rates(figures: &[Figure]) -> Vec<(Millis, Option<u32>)> {
    let mut minutes: VecDeque<(Millis, u64, u64)> = VecDeque::new();
    // Wide enough for whatever a node says that it has counted.
    let (mut hits, mut misses) = (0_u128, 0_u128);
    let mut before: Option<&Figure> = None;
    let mut rates = Vec::with_capacity(figures.len());
    for figure in figures {
        let more = before.and_then(|before| {
            Some((figure.cache_hits.checked_sub(before.cache_hits)?, figure.cache_misses.checked_sub(before.cache_misses)?))
        });
        if let Some((hit, missed)) = more {
            minutes.push_back((figure.at, hit, missed));
            (hits, misses) = (hits + u128::from(hit), misses + u128::from(missed));
        }
        while let Some((_, hit, missed)) = minutes.pop_front_if(|(at, _, _)| figure.at.since(*at) >= HOUR) {
            (hits, misses) = (hits - u128::from(hit), misses - u128::from(missed));
        }
        rates.push((figure.at, (hits * 100).checked_div(hits + misses).and_then(|rate| u32::try_from(rate).ok())));
        before = Some(figure);
    }
    rates
}

/// The beginning of the minute in which a moment lies.
pub fn minute_of(at: Millis) -> Millis {
    Millis(at.0 - at.0.rem_euclid(MINUTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_of_a_minute_has_the_same_beginning() {
        for (at, begin) in [(0, 0), (59_999, 0), (60_000, 60_000), (119_999, 60_000), (-1, -60_000)] {
            assert_eq!(minute_of(Millis(at)), Millis(begin));
        }
    }

    #[test]
    fn a_rate_looks_back_an_hour_and_counts_nothing_where_an_agent_began_anew() {
        let figure = |minute: i64, cache_hits, cache_misses| {
            let at = Millis(minute * MINUTE);
            Figure { at, servers: 0, awake: 0, nodes: 0, online: 0, cache_hits, cache_misses }
        };
        let figures = [
            figure(0, 500, 500),
            figure(1, 503, 501),
            figure(2, 503, 501),
            figure(3, 1, 0),
            figure(4, 1, 4),
            figure(61, 1, 4),
            figure(64, 1, 4),
        ];
        let rates: Vec<Option<u32>> = cache_hit_rates(&figures).into_iter().map(|(_, rate)| rate).collect();
        assert_eq!(rates, [None, Some(75), Some(75), Some(75), Some(37), Some(0), None]);
    }
}
