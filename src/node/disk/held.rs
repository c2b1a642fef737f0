//! Files without a name that a game still holds: the disk gives their room back only once the game has let go of them.
//!
//! Blocks are counted once for each file, however often it is open or mapped. Files in memory are not counted: they lie on another
//! device than the data and the container. What a process has handed to nobody but a socket's queue is not seen.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::walk::{BLOCK, Tally};
use crate::node::samples::groups;

/// Processes of one game that are looked at.
const PROCESSES_MAX: usize = 4_096;
/// Open files and mappings of one game that are looked at.
const HANDLES_MAX: usize = 500_000;

/// All processes of the game whose first one this is.
fn processes(pid: i64) -> Vec<i64> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let groups = groups(&text);
    let root = Path::new("/sys/fs/cgroup");
    let folders = [groups.get("").map(|path| root.join(path)), groups.get("memory").map(|path| root.join("memory").join(path))];
    let listed = folders.into_iter().flatten().find_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok());
    let mut found: Vec<i64> = listed.iter().flat_map(|text| text.lines()).filter_map(|line| line.trim().parse().ok()).collect();
    if !found.contains(&pid) {
        found.insert(0, pid);
    }
    found
}

/// Adds what the processes of a game hold on the disk of its data, or of its container. Blocking.
pub(super) fn add(pid: i64, data: &Path, tally: &mut Tally) {
    let disks = [data.to_path_buf(), PathBuf::from(format!("/proc/{pid}/root"))];
    let disks = disks.iter().filter_map(|path| fs::metadata(path).ok()).map(|one| one.dev()).collect();
    count(&processes(pid), &disks, tally);
}

/// What ends while it is looked at is left out.
fn count(processes: &[i64], disks: &HashSet<u64>, tally: &mut Tally) {
    tally.whole &= processes.len() <= PROCESSES_MAX;
    let folders = processes.iter().take(PROCESSES_MAX).flat_map(|pid| ["fd", "map_files"].map(|what| format!("/proc/{pid}/{what}")));
    let handles = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().filter_map(Result::ok);
    let mut seen = HashSet::new();
    for (at, handle) in handles.enumerate() {
        if at >= HANDLES_MAX {
            tally.whole = false;
            return;
        }
        let Ok(file) = fs::metadata(handle.path()) else { continue };
        if file.is_file() && file.nlink() == 0 && disks.contains(&file.dev()) && seen.insert((file.dev(), file.ino())) {
            tally.bytes = tally.bytes.saturating_add(file.blocks().saturating_mul(BLOCK));
            tally.files += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_is_deleted_and_still_open_or_mapped_is_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let (open, run) = (folder.path().join("open"), folder.path().join("run"));
        let mut file = File::create(&open).unwrap();
        file.write_all(&vec![1; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        let again = File::open(&open).unwrap();
        let program = fs::copy("/bin/sleep", &run).unwrap();
        let mut child = Command::new(&run).arg("60").stdin(Stdio::from(file)).stdout(Stdio::from(again)).spawn().unwrap();
        let (pid, disks) = (i64::from(child.id()), HashSet::from([fs::metadata(folder.path()).unwrap().dev()]));
        let of = || {
            let mut tally = Tally { bytes: 0, files: 0, whole: true };
            count(&[pid, pid], &disks, &mut tally);
            tally
        };
        let named = of();
        fs::remove_file(&open).unwrap();
        fs::remove_file(&run).unwrap();
        let held = of();
        assert!(processes(pid).contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        let least = (1 << 20) + program;
        assert_eq!(named, Tally { bytes: 0, files: 0, whole: true });
        assert!(held.files == 2 && held.whole && (least..least + 65_536).contains(&held.bytes), "{held:?}");
    }
}
