//! The machine itself: what it has and how it does, read from `/proc` and the file system. What cannot be read is 0 or empty.

use std::fs;
use std::path::Path;

use crate::model::nodes::{Load, Specs};

/// Below this share of the disk, in thousandths, it is nearly full.
const DISK_LOW_PERMILLE: u64 = 30;
/// Below this many MiB it is nearly full, whatever the share.
const DISK_LOW_MIB: u64 = 1_024;

/// Measures the load between two looks.
#[derive(Debug, Default)]
pub struct Meter {
    last: Option<(u64, u64)>,
}

fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split(':').next() == Some(key))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1_024)
}

/// MiB in all and free to an ordinary user, of the disk that holds a folder.
fn disk(folder: &Path) -> Option<(u64, u64)> {
    let said = rustix::fs::statvfs(folder).ok()?;
    Some((said.f_blocks.saturating_mul(said.f_frsize) >> 20, said.f_bavail.saturating_mul(said.f_frsize) >> 20))
}

fn small(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// Such as `Debian GNU/Linux 12 (bookworm), Linux 6.1.0`.
fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"');
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{name}, Linux {}", kernel.trim())
}

/// What the machine has. `engine`: what Docker says of itself, empty while it does not answer.
pub fn specs(data_dir: &Path, engine: String) -> Specs {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Specs {
        cpu_millis: small(cores() * 1_000),
        memory_mib: small(meminfo(&memory, "MemTotal").unwrap_or_default()),
        disk_mib: small(disk(data_dir).map_or(0, |(all, _)| all)),
        engine,
        system: system(),
    }
}

impl Meter {
    /// How it does now, with the CPU's part measured since the last call. The second is what is wrong with the disk, if anything.
    pub fn load(&mut self, data_dir: &Path) -> (Load, Option<String>) {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let used = meminfo(&memory, "MemTotal").unwrap_or_default().saturating_sub(meminfo(&memory, "MemAvailable").unwrap_or_default());
        let (all, free) = disk(data_dir).unwrap_or_default();
        let low = all > 0 && (free < DISK_LOW_MIB || free * 1_000 / all < DISK_LOW_PERMILLE);
        let trouble = low.then(|| {
            format!(
                "The disk of {} is nearly full: {free} MiB of {all} MiB are left. Free some space or move the data folder",
                data_dir.display()
            )
        });
        let load = Load { cpu_millis: self.cpu(), memory_mib: small(used), disk_free_mib: small(free), ..Load::default() };
        (load, trouble)
    }

    fn cpu(&mut self) -> u32 {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields: Vec<u64> =
            text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let total: u64 = fields.iter().sum();
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        let before = self.last.replace((total, idle));
        let Some((total_before, idle_before)) = before else { return 0 };
        let span = total.saturating_sub(total_before);
        let busy = span.saturating_sub(idle.saturating_sub(idle_before));
        small((busy * cores() * 1_000).checked_div(span).unwrap_or_default())
    }
}

/// The whole disk that a folder is on, such as `/dev/sda`; none: there is no such one, as with some file systems over several disks.
pub fn disk_of(folder: &std::path::Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::metadata(folder).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let own = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    // Bounds are kept by the disk's queue, which a partition shares with its disk.
    let disk = if own.join("partition").exists() { own.parent()?.to_owned() } else { own };
    let name = disk.file_name()?.to_str()?.replace('!', "/");
    let path = format!("/dev/{name}");
    (disk.join("queue").is_dir() && std::fs::metadata(&path).is_ok()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_read() {
        let specs = specs(Path::new("/"), String::new());
        assert!(specs.cpu_millis >= 1_000 && specs.memory_mib > 0 && specs.disk_mib > 0, "{specs:?}");
        let mut meter = Meter::default();
        let (load, _) = meter.load(Path::new("/"));
        assert!(load.memory_mib > 0 && load.memory_mib < specs.memory_mib, "{load:?}");
    }
}
