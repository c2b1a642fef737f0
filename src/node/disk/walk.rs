//! Counts all that is in a folder. A walk holds the handles of the folders on its way and nothing else; what is deeper or more than it
//! looks at is told as such.

use std::io;
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Folders in each other that are counted; backups go as deep.
const DEPTH_MAX: usize = 256;
/// Files and folders of one server that are counted.
const FILES_MAX: u64 = 5_000_000;
/// Size of the blocks in which a file's place is told, in bytes.
pub(super) const BLOCK: u64 = 512;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files and folders, the first folder not among them.
    pub files: u64,
    /// Nothing was left out.
    pub whole: bool,
}

fn missing<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        // Gone or exchanged while it was looked at.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Counts all that is in a folder. Links are not followed. Blocking.
pub(super) fn measure(folder: &Path, tally: &mut Tally) -> io::Result<()> {
    let Some(top) = missing(fs::openat(CWD, folder, FOLDER, Mode::empty()))? else { return Ok(()) };
    let mut way = vec![Dir::new(top)?];
    loop {
        let depth = way.len();
        let Some(here) = way.last_mut() else { return Ok(()) };
        let Some(entry) = here.next() else {
            way.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Some(stat) = missing(fs::statat(here.fd()?, name, AtFlags::SYMLINK_NOFOLLOW))? else { continue };
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        // A file with several names is shared out among them.
        let names = if is_folder { 1 } else { stat.st_nlink.max(1) };
        tally.bytes = tally.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(BLOCK) / names);
        tally.files += 1;
        if tally.files >= FILES_MAX {
            tally.whole = false;
            return Ok(());
        }
        if is_folder && depth >= DEPTH_MAX {
            tally.whole = false;
        } else if is_folder && let Some(deeper) = missing(fs::openat(here.fd()?, name, FOLDER, Mode::empty()))? {
            way.push(Dir::new(deeper)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use super::*;

    fn of(folder: &Path) -> Tally {
        let mut tally = Tally { bytes: 0, files: 0, whole: true };
        measure(folder, &mut tally).unwrap();
        tally
    }

    #[test]
    fn holes_and_second_names_take_nothing_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one"), vec![1; 1 << 20]).unwrap();
        let alone = of(folder.path());
        assert!(alone.bytes >= 1 << 20 && alone.bytes < (1 << 20) + 65_536, "{alone:?}");
        std::fs::hard_link(folder.path().join("one"), folder.path().join("two")).unwrap();
        File::create(folder.path().join("sparse")).unwrap().set_len(8 << 40).unwrap();
        symlink("/", folder.path().join("root")).unwrap();
        let more = of(folder.path());
        assert!(more.bytes <= alone.bytes + 4_096 && more.files == 4 && more.whole, "{more:?}");
        assert_eq!(of(&folder.path().join("not-there")), Tally { bytes: 0, files: 0, whole: true });
    }

    #[test]
    fn what_lies_too_deep_is_told_and_holds_no_more_handles() {
        let folder = tempfile::tempdir().unwrap();
        let mut here = fs::openat(CWD, folder.path(), FOLDER, Mode::empty()).unwrap();
        for _ in 0..2_000 {
            fs::mkdirat(&here, "d", Mode::from_raw_mode(0o700)).unwrap();
            here = fs::openat(&here, "d", FOLDER, Mode::empty()).unwrap();
        }
        let tally = of(folder.path());
        assert!(!tally.whole && tally.files == DEPTH_MAX as u64, "{tally:?}");
        crate::archives::remove::remove(&folder.path().join("d")).unwrap();
    }
}
