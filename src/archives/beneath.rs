//! Files and folders below one directory handle: no path, and no link that somebody put there, leads out of it.
//!
//! Every step from the root is one `openat` that follows no link. Used to unpack archives, and by the node wherever it touches folders
//! that a game can write to. Blocking. The handle of the last folder is kept, because entries come in the order of their folders.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::remove::remove_at;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const CREATE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Folders on the way to an entry, until the archive says otherwise.
pub const FOLDER_MODE: u32 = 0o755;

/// A folder, by its handle.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
    owner: Option<(Uid, Gid)>,
    last: Option<(String, OwnedFd)>,
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// `None` where there is nothing.
fn there<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Beneath {
    /// The folder itself may be reached by any path of ours. What is made below it belongs to `owner`; none: to this process.
    pub fn open(folder: &Path, owner: Option<(u32, u32)>) -> io::Result<Beneath> {
        let root = fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Beneath { root, owner: owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))), last: None })
    }

    /// The handle of a folder below, or of the root for an empty path.
    fn folder_handle(&mut self, path: &str) -> Result<BorrowedFd<'_>, Errno> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let mut handle = None;
            for part in path.split('/') {
                let from = handle.as_ref().map_or(self.root.as_fd(), OwnedFd::as_fd);
                handle = Some(fs::openat(from, part, FOLDER, Mode::empty())?);
            }
            self.last = handle.map(|handle| (path.to_owned(), handle));
        }
        Ok(self.last.as_ref().map_or(self.root.as_fd(), |(_, handle)| handle.as_fd()))
    }

    /// Forgets the kept handle where a path is taken away.
    fn forget(&mut self, path: &str) {
        let inside = |last: &str| last.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if self.last.as_ref().is_some_and(|(last, _)| inside(last)) {
            self.last = None;
        }
    }

    fn own(&self, handle: BorrowedFd<'_>) -> Result<(), Errno> {
        self.owner.map_or(Ok(()), |(uid, gid)| fs::fchown(handle, Some(uid), Some(gid)))
    }

    /// Makes a folder, or gives the one that is there its mode. The folder above is there.
    pub fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let (above, name) = split(path);
        let above = self.folder_handle(above)?;
        match fs::mkdirat(above, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let handle = fs::openat(above, name, FOLDER, Mode::empty())?;
        self.own(handle.as_fd())?;
        Ok(fs::fchmod(&handle, Mode::from_raw_mode(mode))?)
    }

    /// Makes a file. Nothing is there.
    pub fn create(&mut self, path: &str, mode: u32) -> io::Result<File> {
        let (above, name) = split(path);
        let handle = fs::openat(self.folder_handle(above)?, name, CREATE, Mode::from_raw_mode(0o600))?;
        self.own(handle.as_fd())?;
        fs::fchmod(&handle, Mode::from_raw_mode(mode))?;
        Ok(File::from(handle))
    }

    /// Makes a symbolic link. Nothing is there, and the target was checked.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        let ((above, name), owner) = (split(path), self.owner);
        let above = self.folder_handle(above)?;
        fs::symlinkat(target, above, name)?;
        if let Some((uid, gid)) = owner {
            fs::chownat(above, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// Makes another name for a file.
    pub fn hard_link(&mut self, path: &str, to: &str) -> io::Result<()> {
        let ((above, name), (to_above, to_name)) = (split(path), split(to));
        let from = fs::openat(self.folder_handle(to_above)?, ".", FOLDER, Mode::empty())?;
        Ok(fs::linkat(&from, to_name, self.folder_handle(above)?, name, AtFlags::empty())?)
    }

    /// What a path is, without following it; none: nothing is there.
    pub fn stat(&mut self, path: &str) -> io::Result<Option<Stat>> {
        let (above, name) = split(path);
        let Some(above) = there(self.folder_handle(above))? else { return Ok(None) };
        there(fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// Opens a file to read; none: nothing is there, or it is no plain file.
    pub fn read(&mut self, path: &str) -> io::Result<Option<File>> {
        let (above, name) = split(path);
        let Some(above) = there(self.folder_handle(above))? else { return Ok(None) };
        let Some(handle) = there(fs::openat(above, name, READ, Mode::empty()))? else { return Ok(None) };
        let plain = FileType::from_raw_mode(fs::fstat(&handle)?.st_mode) == FileType::RegularFile;
        Ok(plain.then(|| File::from(handle)))
    }

    /// Where a symbolic link leads, as it is written; none: it is not one.
    pub fn link_target(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let (above, name) = split(path);
        let Some(above) = there(self.folder_handle(above))? else { return Ok(None) };
        match fs::readlinkat(above, name, Vec::new()) {
            Err(Errno::INVAL) => Ok(None),
            other => Ok(there(other)?.map(CString::into_bytes)),
        }
    }

    /// Removes whatever is there, folders with all that is in them; true: something was.
    pub fn remove(&mut self, path: &str) -> io::Result<bool> {
        self.forget(path);
        let (above, name) = split(path);
        let Some(above) = there(self.folder_handle(above))? else { return Ok(false) };
        remove_at(above, &CString::new(name)?)
    }

    /// Removes a folder that is empty; true: it was.
    pub fn remove_empty(&mut self, path: &str) -> io::Result<bool> {
        self.forget(path);
        let (above, name) = split(path);
        let Some(above) = there(self.folder_handle(above))? else { return Ok(false) };
        match fs::unlinkat(above, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Names of what is in a folder, in order; none where there are more than `most`. Those that are not UTF-8 are left out.
    pub fn names(&mut self, folder: &str, most: usize) -> io::Result<Option<Vec<String>>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self.folder_handle(folder)?)? {
            let name = entry?.file_name().to_owned().into_string();
            names.extend(name.ok().filter(|name| name != "." && name != ".."));
            if names.len() > most {
                return Ok(None);
            }
        }
        names.sort_unstable();
        Ok(Some(names))
    }

    /// Hides what layers below have at this path from an overlay: a device of number 0:0. Only root can.
    pub fn whiteout(&mut self, path: &str) -> io::Result<()> {
        let (above, name) = split(path);
        Ok(fs::mknodat(self.folder_handle(above)?, name, FileType::CharacterDevice, Mode::empty(), 0)?)
    }

    /// Sets an attribute of a folder below, or of the root for an empty path.
    pub fn set_attribute(&mut self, folder: &str, name: &str, value: &[u8]) -> io::Result<()> {
        Ok(fs::fsetxattr(self.folder_handle(folder)?, name, value, fs::XattrFlags::empty())?)
    }

    /// True: the folder has this attribute with this value. Attributes that the disk does not know are not there.
    pub fn has_attribute(&mut self, folder: &str, name: &str, value: &[u8]) -> io::Result<bool> {
        let Some(handle) = there(self.folder_handle(folder))? else { return Ok(false) };
        let mut buffer = [0_u8; 16];
        match fs::fgetxattr(handle, name, &mut buffer[..]) {
            Ok(length) => Ok(buffer.get(..length) == Some(value)),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn links_are_never_followed_whatever_is_asked() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("file"), "outside").unwrap();
        symlink(outside.path(), inside.path().join("way")).unwrap();
        symlink(outside.path().join("file"), inside.path().join("file")).unwrap();
        let mut beneath = Beneath::open(inside.path(), None).unwrap();
        assert!(beneath.create("way/new", 0o644).is_err() && beneath.create("file", 0o644).is_err());
        assert!(beneath.folder("way/new", 0o755).is_err() && beneath.folder("way", 0o755).is_err());
        assert!(beneath.symlink("way/new", "x").is_err() && beneath.hard_link("new", "way/file").is_err());
        assert!(beneath.read("way/file").unwrap().is_none() && beneath.read("file").unwrap().is_none());
        assert!(beneath.stat("way/file").unwrap().is_none());
        assert!(!beneath.remove("way/file").unwrap());
        assert_eq!(beneath.link_target("file").unwrap(), Some(outside.path().join("file").to_str().unwrap().into()));
        assert!(beneath.remove("way").unwrap() && beneath.remove("file").unwrap());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read(outside.path().join("file")).unwrap(), b"outside");
    }

    #[test]
    fn a_folder_is_removed_with_all_that_is_in_it_and_nothing_else() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("file"), "outside").unwrap();
        let mut beneath = Beneath::open(inside.path(), None).unwrap();
        for path in ["a", "a/b", "a/b/c", "d"] {
            beneath.folder(path, 0o750).unwrap();
            beneath.create(&format!("{path}/file"), 0o640).unwrap().write_all(b"x").unwrap();
        }
        symlink(outside.path(), inside.path().join("a/b/way")).unwrap();
        assert_eq!(std::fs::metadata(inside.path().join("a/b")).unwrap().mode() & 0o7777, 0o750);
        assert!(!beneath.remove_empty("a").unwrap());
        assert!(beneath.remove("a").unwrap() && !beneath.remove("a").unwrap());
        assert!(!inside.path().join("a").exists() && outside.path().join("file").exists());
        let mut text = String::new();
        beneath.read("d/file").unwrap().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }
}
