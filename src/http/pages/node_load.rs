//! The load of a machine over time: four charts on its page, out of a sample a minute.
//!
//! A minute in which the machine was away has no sample, and is a gap.

use askama::Template;

use super::create::cores;
use super::html_parts;
use crate::http::charts::{Chart, LAST_DAY, LAST_HOUR_BY_MINUTE, Quantity, say_mebibytes, say_number, say_share};
use crate::model::figures::{Back, NodeSample};
use crate::model::nodes::Node;
use crate::model::time::Millis;

/// What is read from a sample.
type Read = fn(&NodeSample) -> u32;

/// The section of a machine's page.
#[derive(Debug, Clone, Template)]
#[template(path = "nodes/_load.html")]
pub struct NodeLoad {
    /// Id of the machine.
    pub node: String,
    /// Ways to look, each with its address, and whether it is the one that is shown.
    pub spans: [SpanLink; 2],
    /// CPU, memory, disk, servers awake.
    pub charts: Vec<Chart>,
    /// Nothing was measured in that time.
    pub empty: bool,
}

html_parts!(NodeLoad);

/// A way to look.
#[derive(Debug, Clone, Copy)]
pub struct SpanLink {
    /// `Last hour`.
    pub words: &'static str,
    /// As in the address.
    pub span: &'static str,
    /// It is the one that is shown.
    pub here: bool,
}

impl NodeLoad {
    /// From the samples of that time, oldest first; `servers` live on it.
    pub fn of(node: &Node, servers: usize, samples: &[NodeSample], back: Back, now: Millis) -> NodeLoad {
        let span = match back {
            Back::Hour => LAST_HOUR_BY_MINUTE,
            Back::Day => LAST_DAY,
        };
        let points = |read: Read| samples.iter().map(|sample| (sample.at, Some(read(sample)))).collect::<Vec<_>>();
        let most = |read: Read| samples.iter().map(read).max().unwrap_or_default();
        // What a machine has is the top edge; where it has not said, the most that was seen.
        let top = |all: u32, read: Read| if all == 0 { most(read).max(1) } else { all };
        let limit = |all: u32, words: String| if all == 0 { String::new() } else { format!("of {words}") };
        let specs = &node.specs;
        let limits = [
            limit(specs.cpu_millis, cores(specs.cpu_millis)),
            limit(specs.memory_mib, say_mebibytes(specs.memory_mib, 0)),
            limit(specs.disk_mib, say_mebibytes(specs.disk_mib, 0)),
            format!("of {servers}"),
        ];
        let [cpu, memory, disk, awake]: [Read; 4] =
            [|sample| sample.cpu_millis, |sample| sample.memory_mib, |sample| sample.disk_used_mib, |sample| sample.awake];
        let charts = [
            (Quantity { title: "CPU", max: top(specs.cpu_millis, cpu), say: say_share, limit: &limits[0] }, points(cpu)),
            (Quantity { title: "Memory", max: top(specs.memory_mib, memory), say: say_mebibytes, limit: &limits[1] }, points(memory)),
            (Quantity { title: "Disk", max: top(specs.disk_mib, disk), say: say_mebibytes, limit: &limits[2] }, points(disk)),
            (Quantity { title: "Servers awake", max: most(awake).max(1), say: say_number, limit: &limits[3] }, points(awake)),
        ];
        let link = |words, of: Back| SpanLink { words, span: of.as_str(), here: of == back };
        NodeLoad {
            node: node.id.to_string(),
            spans: [link("Last hour", Back::Hour), link("Last 24 hours", Back::Day)],
            charts: charts.into_iter().map(|(quantity, points)| Chart::over(span, quantity, &points, now)).collect(),
            empty: samples.is_empty(),
        }
    }
}
