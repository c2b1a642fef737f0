//! Measures running games: CPU and memory, straight from the kernel's control groups (version 1 and 2), or from Docker where those
//! cannot be read. What could not be measured is none, never 0.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use tokio::time::Instant;

use super::ctx::Ctx;
use super::instance::{Instance, Players, View};
use crate::model::idleness::Sample;
use crate::model::ids::ServerId;

/// The CPU counters of the last round.
#[derive(Debug, Default)]
pub struct Meters(HashMap<ServerId, Counter>);

#[derive(Debug, Clone)]
struct Counter {
    started: String,
    at: Instant,
    cpu_ns: u64,
}

/// Nanoseconds of CPU since the start, and bytes of memory without caches.
type Usage = (Option<u64>, Option<u64>);

fn number(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Folders of one process by controller; version 2 has the empty name. A path that is empty or leads upwards belongs to more than the
/// process's container: it is left out.
pub(super) fn groups(text: &str) -> HashMap<&str, &str> {
    let mut found = HashMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (parts.next(), parts.next()) {
            let path = path.trim_start_matches('/');
            if !path.is_empty() && !path.contains("..") {
                found.extend(controllers.split(',').map(|name| (name, path)));
            }
        }
    }
    found
}

fn from_kernel(pid: i64) -> Usage {
    let root = PathBuf::from("/sys/fs/cgroup");
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return (None, None) };
    let groups = groups(&text);
    let without_cache = |usage: u64, stat: PathBuf, key: &str| {
        let stat = fs::read_to_string(stat).unwrap_or_default();
        usage.saturating_sub(field(&stat, key).unwrap_or_default())
    };
    if let (Some(cpu), Some(memory)) = (groups.get("cpuacct"), groups.get("memory")) {
        let memory = root.join("memory").join(memory);
        let used = number(memory.join("memory.usage_in_bytes"));
        let used = used.map(|usage| without_cache(usage, memory.join("memory.stat"), "total_inactive_file"));
        return (number(root.join("cpuacct").join(cpu).join("cpuacct.usage")), used);
    }
    let Some(folder) = groups.get("").map(|path| root.join(path)) else { return (None, None) };
    let cpu = fs::read_to_string(folder.join("cpu.stat")).ok();
    let cpu = cpu.and_then(|text| field(&text, "usage_usec")).map(|micros| micros.saturating_mul(1_000));
    let used = number(folder.join("memory.current"));
    (cpu, used.map(|usage| without_cache(usage, folder.join("memory.stat"), "inactive_file")))
}

impl Meters {
    /// Measures one game; call it with every heartbeat. None: it does not run.
    pub async fn measure(&mut self, ctx: &Ctx, instance: &Instance, view: &View) -> Option<Sample> {
        let Some(pid) = view.pid else {
            self.0.remove(&instance.server);
            return None;
        };
        let mut usage = from_kernel(pid);
        if usage.0.is_none() || usage.1.is_none() {
            let game = format!("roost-{}-game", instance.server);
            usage = ctx.engine.usage(&game).await.unwrap_or((None, None));
        }
        let now = Instant::now();
        let counter = usage.0.map(|cpu_ns| Counter { started: view.started.clone(), at: now, cpu_ns });
        let before = match counter.clone() {
            Some(counter) => self.0.insert(instance.server.clone(), counter),
            None => self.0.remove(&instance.server),
        };
        let at = ctx.clock.now();
        Some(Sample {
            at,
            cpu_millis: counter.zip(before).and_then(|(new, old)| share(&old, &new)),
            memory_mib: usage.1.and_then(|bytes| u32::try_from(bytes >> 20).ok()),
            players: match instance.players(at) {
                Players::Known(players) => Some(players),
                Players::Unknown => None,
            },
        })
    }

    /// Forgets servers that are gone.
    pub fn keep(&mut self, known: impl Fn(&ServerId) -> bool) {
        self.0.retain(|server, _| known(server));
    }
}

/// Thousandths of a core between two looks at the same process. None: another process, or no time between them.
fn share(old: &Counter, new: &Counter) -> Option<u32> {
    let span = u64::try_from(new.at.saturating_duration_since(old.at).as_nanos()).ok().filter(|ns| *ns > 0)?;
    if old.started != new.started {
        return None;
    }
    let used = new.cpu_ns.checked_sub(old.cpu_ns)?;
    u32::try_from(used.saturating_mul(1_000) / span).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn both_versions_of_control_groups_are_found() {
        let one = groups("5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/x\n");
        assert_eq!((one.get("cpuacct"), one.get("memory")), (Some(&"docker/abc"), Some(&"docker/abc")));
        assert!(groups("4:memory:/\n0::/../docker/abc\n").is_empty());
        assert_eq!(groups("0::/system.slice/docker-abc.scope\n").get(""), Some(&"system.slice/docker-abc.scope"));
    }

    #[test]
    fn a_share_is_taken_only_within_one_process() {
        let at = Instant::now();
        let old = Counter { started: "a".into(), at, cpu_ns: 1_000 };
        let later = Counter { at: at + Duration::from_secs(1), cpu_ns: 500_001_000, ..old.clone() };
        assert_eq!(share(&old, &later), Some(500));
        assert_eq!(share(&old, &Counter { started: "b".into(), ..later.clone() }), None);
        assert_eq!(share(&later, &old), None);
        assert_eq!(share(&old, &Counter { cpu_ns: 0, ..later }), None);
    }
}
