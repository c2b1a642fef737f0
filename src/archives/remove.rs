//! The one way in which folders are removed whose content a game or an archive decides: any depth, any width, a handful of handles.
//!
//! Nothing calls itself and nothing is listed in memory. A folder that is not empty is moved up into the folder that goes, under a
//! number, and its turn comes after those before it; so nothing is ever more than two levels deep. Where the disk refuses the move, the
//! way leads down and comes back by `..`, which has to be the folder that it came from. Links are removed and never followed; nothing
//! below a mount is touched: what is mounted stays, and so does the folder around it, with an error. Blocking.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How often a folder is looked through again because something came into it meanwhile.
const AGAIN_MAX: usize = 16;
/// Random bytes in the names of folders that were moved up, which nobody can have taken before.
const CHANCE: usize = 8;

/// Removes a file, or a folder with all that is in it; nothing there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = match fs::openat(CWD, above, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    remove_at(above.as_fd(), &CString::new(name.as_bytes())?).map(drop)
}

/// Removes what has this name in a folder. True: something was there.
pub fn remove_at(above: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    for _ in 0..AGAIN_MAX {
        match unlink(above, name, FileType::Unknown) {
            Ok(()) => return Ok(true),
            Err(Errno::NOENT) => return Ok(false),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let top = match open(above, name) {
            Ok(top) => top,
            Err(Errno::XDEV) => return Err(mounted()),
            Err(error) => return Err(error.into()),
        };
        Removal::new(top)?.run()?;
    }
    Err(io::Error::other("a folder is filled as fast as it is emptied"))
}

fn mounted() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "something is mounted in a folder that is to be removed")
}

/// Opens a folder that is no mount.
fn open(above: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    match fs::openat2(above, name, FOLDER, Mode::empty(), ResolveFlags::NO_XDEV) {
        // An old kernel, or a filter that does not know the call: then the device has to tell.
        Err(Errno::NOSYS | Errno::PERM) => {
            let folder = fs::openat(above, name, FOLDER, Mode::empty())?;
            let same = fs::fstat(&folder)?.st_dev == fs::fstat(above)?.st_dev;
            if same { Ok(folder) } else { Err(Errno::XDEV) }
        }
        other => other,
    }
}

/// Removes a file or an empty folder; `kind` spares a call where it is known.
fn unlink(above: BorrowedFd<'_>, name: &CStr, kind: FileType) -> Result<(), Errno> {
    if kind != FileType::Directory {
        match fs::unlinkat(above, name, AtFlags::empty()) {
            Err(error @ (Errno::ISDIR | Errno::PERM)) => match fs::unlinkat(above, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTDIR) => return Err(error),
                other => return other,
            },
            other => return other,
        }
    }
    fs::unlinkat(above, name, AtFlags::REMOVEDIR)
}

/// Which folder a handle leads to.
fn identity(folder: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fs::fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

struct Removal {
    top: OwnedFd,
    /// What the names of folders begin with that were moved up.
    mark: String,
    /// Numbers of those that wait: from the first to before the second.
    next: u64,
    end: u64,
    /// The first thing that could not be removed.
    stuck: Option<io::Error>,
}

impl Removal {
    fn new(top: OwnedFd) -> io::Result<Removal> {
        let mut chance = [0; CHANCE];
        getrandom::fill(&mut chance).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Removal { top, mark: format!(".removed-{}-", hex::encode(chance)), next: 0, end: 0, stuck: None })
    }

    fn name(&self, number: u64) -> io::Result<CString> {
        Ok(CString::new(format!("{}{number}", self.mark))?)
    }

    /// Empties the top folder. What cannot be removed keeps nothing else from being removed.
    fn run(mut self) -> io::Result<()> {
        let top = fs::openat(&self.top, ".", FOLDER, Mode::empty())?;
        self.clear(top)?;
        while self.next < self.end {
            let name = self.name(self.next)?;
            self.next += 1;
            if let Err(error) = self.remove_lifted(&name) {
                self.stuck.get_or_insert(error);
            }
        }
        self.stuck.map_or(Ok(()), Err)
    }

    fn remove_lifted(&mut self, name: &CStr) -> io::Result<()> {
        for _ in 0..AGAIN_MAX {
            let folder = open(self.top.as_fd(), name).map_err(|error| if error == Errno::XDEV { mounted() } else { error.into() })?;
            self.clear(folder)?;
            match fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) if self.stuck.is_none() => {}
                other => return Ok(other?),
            }
        }
        Err(io::Error::other("a folder is filled as fast as it is emptied"))
    }

    /// Leaves nothing in a folder but what cannot be removed. Goes down only where a folder cannot be moved up.
    fn clear(&mut self, folder: OwnedFd) -> io::Result<()> {
        let mut way = vec![identity(&folder)?];
        let mut here = folder;
        loop {
            let stuck_before = self.stuck.is_some();
            if let Some(deeper) = self.sweep(&here)? {
                way.push(identity(&deeper)?);
                here = deeper;
                continue;
            }
            way.pop();
            let Some(expected) = way.last() else { return Ok(()) };
            if self.stuck.is_some() && !stuck_before {
                // The folder that holds it would be found again and again.
                return Err(self.stuck.take().unwrap_or_else(mounted));
            }
            let above = fs::openat(&here, "..", FOLDER, Mode::empty())?;
            if identity(&above)? != *expected {
                return Err(io::Error::other("a folder was moved while it was being removed"));
            }
            here = above;
        }
    }

    /// Removes or moves up all that is in one folder; gives the first folder with which neither can be done.
    fn sweep(&mut self, here: &OwnedFd) -> io::Result<Option<OwnedFd>> {
        for entry in Dir::read_from(here)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." || name.to_bytes().starts_with(self.mark.as_bytes()) {
                continue;
            }
            match unlink(here.as_fd(), name, entry.file_type()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(error) => {
                    self.stuck.get_or_insert(if error == Errno::BUSY { mounted() } else { error.into() });
                    continue;
                }
            }
            let number = self.name(self.end)?;
            if fs::renameat(here, name, &self.top, number.as_c_str()).is_ok() {
                self.end += 1;
                continue;
            }
            match open(here.as_fd(), name) {
                Ok(deeper) => return Ok(Some(deeper)),
                Err(Errno::NOENT) => {}
                Err(error) => {
                    self.stuck.get_or_insert(if error == Errno::XDEV { mounted() } else { error.into() });
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

    use super::*;

    /// Folders in each other, made as a game would make them: by names relative to the one before.
    fn nest(folder: &Path, depth: usize, each: impl Fn(&OwnedFd)) {
        let mut here = fs::open(folder, FOLDER, Mode::empty()).unwrap();
        for _ in 0..depth {
            fs::mkdirat(&here, "d", Mode::from_raw_mode(0o700)).unwrap();
            here = fs::openat(&here, "d", FOLDER, Mode::empty()).unwrap();
            each(&here);
        }
    }

    fn touch(folder: &OwnedFd, name: &str) {
        fs::openat(folder, name, OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC, Mode::from_raw_mode(0o600)).unwrap();
    }

    fn open_handles() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn a_hundred_thousand_folders_in_each_other_are_removed_on_a_small_stack() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("deep");
        std::fs::create_dir(&path).unwrap();
        nest(&path, 100_000, |_| {});
        let gone = path.clone();
        let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(move || remove(&gone)).unwrap();
        thread.join().unwrap().unwrap();
        assert!(!path.exists());
        remove(&path).unwrap();
    }

    #[test]
    fn wide_deep_and_linked_at_once_goes_and_nothing_outside_is_touched() {
        let (room, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("precious"), "x").unwrap();
        let path = room.path().join("mixed");
        std::fs::create_dir(&path).unwrap();
        nest(&path, 300, |folder| {
            touch(folder, "file");
            fs::symlinkat(outside.path(), folder, "way").unwrap();
            for number in 0..20 {
                fs::mkdirat(folder, number.to_string(), Mode::from_raw_mode(0o700)).unwrap();
                touch(&fs::openat(folder, number.to_string(), FOLDER, Mode::empty()).unwrap(), "inside");
            }
        });
        symlink(outside.path(), path.join("top")).unwrap();
        let before = open_handles();
        remove(&path).unwrap();
        assert!(!path.exists() && outside.path().join("precious").exists());
        assert!(open_handles() <= before + 16, "handles stay open");
        symlink(outside.path(), room.path().join("link")).unwrap();
        remove(&room.path().join("link")).unwrap();
        assert!(outside.path().join("precious").exists());
    }

    #[test]
    fn where_nothing_can_be_moved_up_the_way_leads_down_and_back() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("deep");
        std::fs::create_dir(&path).unwrap();
        nest(&path, 2_000, |folder| touch(folder, "file"));
        let mut removal = Removal::new(fs::open(&path, FOLDER, Mode::empty()).unwrap()).unwrap();
        // No name can be as long: every move is refused.
        removal.mark = "x".repeat(300);
        removal.run().unwrap();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn what_is_mounted_stays_and_all_else_goes() {
        let room = tempfile::tempdir().unwrap();
        let (path, other) = (room.path().join("data"), room.path().join("other"));
        for folder in [path.join("a/b/mounted"), path.join("bound"), path.join("plain/deep"), other.clone()] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(other.join("precious"), "x").unwrap();
        if mount("tmpfs", path.join("a/b/mounted"), "tmpfs", MountFlags::empty(), None).is_err() {
            return;
        }
        mount_bind(&other, path.join("bound")).unwrap();
        std::fs::write(path.join("a/b/mounted/precious"), "x").unwrap();
        std::fs::write(path.join("plain/deep/file"), "x").unwrap();
        let refused = remove(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy, "{refused}");
        assert!(other.join("precious").exists() && !path.join("plain").exists());
        // The mount itself may have been moved with the folder around it.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let below: Vec<_> =
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(&path)).collect();
        assert_eq!(below.len(), 2, "{below:?}");
        for at in below {
            assert!(Path::new(at).join("precious").exists(), "{at}");
            unmount(at, UnmountFlags::DETACH).unwrap();
        }
        remove(&path).unwrap();
        assert!(!path.exists() && other.join("precious").exists());
    }
}
