//! Unpacks a backup beneath the handle of a fresh folder: owners, modes and times as they were, links as data.
//!
//! Holes are left holes. The archive is not trusted: no name leads out of the folder, no link is followed, no more is written than was said beforehand.
//! Blocking.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tar::{EntryType, Header};

use super::sparse::{self, Piece};
use super::{BackupError, Course, DEPTH_MAX, ENTRIES_MAX, PATH_BYTES_MAX};
use crate::archives::heads::{Extras, Fault, Head};
use crate::archives::remove::remove;

/// Largest window of zstd, as a power of two: 32 MiB.
const WINDOW_LOG_MAX: u32 = 25;
/// Bytes that are written at once.
const CHUNK: usize = 128 << 10;
/// Setuid and setgid are never given.
const MODE: u32 = 0o1777;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const CREATE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whose, and from when.
#[derive(Debug, Clone, Copy)]
struct Marks {
    mode: u32,
    uid: u32,
    gid: u32,
    at: i64,
}

impl Marks {
    fn times(self) -> Timestamps {
        let at = Timespec { tv_sec: self.at, tv_nsec: 0 };
        Timestamps { last_access: at, last_modification: at }
    }

    fn of(head: &Head, header: &Header) -> io::Result<Marks> {
        let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
        let at = i64::try_from(header.mtime()?).map_err(io::Error::other)?;
        Ok(Marks { mode: head.mode & MODE, uid: id(header.uid()?)?, gid: id(header.gid()?)?, at })
    }
}

fn disk(error: impl Into<io::Error>) -> BackupError {
    BackupError::disk("unpack the backup")(error.into())
}

fn damaged(why: impl std::fmt::Display) -> BackupError {
    BackupError::Damaged(why.to_string())
}

/// The path below the root, checked: only names. Empty: the root itself.
fn clean(name: &[u8]) -> Result<Vec<u8>, BackupError> {
    let text = || String::from_utf8_lossy(name).chars().take(200).collect::<String>();
    let path = name.strip_prefix(b"./").unwrap_or(name);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path.is_empty() && name.starts_with(b"./") {
        return Ok(Vec::new());
    }
    let odd = |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.contains(&0);
    if path.len() > PATH_BYTES_MAX || path.split(|byte| *byte == b'/').count() > DEPTH_MAX || path.split(|byte| *byte == b'/').any(odd) {
        return Err(damaged(format!("{:?} in it is no path below the data", text())));
    }
    Ok(path.to_vec())
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

struct Target<'a> {
    root: OwnedFd,
    last: Option<(Vec<u8>, OwnedFd)>,
    /// The folders around the next entry. They get their marks when the archive leaves them: what is put into them changes their times.
    folders: Vec<(Vec<u8>, Marks)>,
    gives: bool,
    left: u64,
    entries: u64,
    course: &'a Course,
}

/// Reads an archive to its end and writes what is in it into a fresh folder; it is on the disk when this returns.
pub fn unpack(read: impl Read, folder: &Path, most: u64, course: &Course) -> Result<(), BackupError> {
    remove(folder).map_err(disk)?;
    std::fs::create_dir(folder).map_err(disk)?;
    let root = fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(disk)?;
    let gives = rustix::process::geteuid().is_root();
    let mut target = Target { root, last: None, folders: Vec::new(), gives, left: most, entries: 0, course };
    let mut unpacked = zstd::stream::read::Decoder::new(read).map_err(damaged)?;
    unpacked.window_log_max(WINDOW_LOG_MAX).map_err(damaged)?;
    let mut archive = tar::Archive::new(unpacked);
    let mut extras = Extras::with_sparse();
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let head = extras.take(&mut entry).map_err(|fault| match fault {
            Fault::Io(error) => damaged(error),
            Fault::Told(error) => damaged(error),
        })?;
        if let Some(head) = head {
            let marks = Marks::of(&head, entry.header()).map_err(damaged)?;
            target.entry(&head, marks, &mut entry)?;
        }
    }
    target.finish()
}

impl Target<'_> {
    fn above(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, BackupError> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let mut handle: Option<OwnedFd> = None;
            for part in path.split(|byte| *byte == b'/') {
                let from = handle.as_ref().map_or(self.root.as_fd(), OwnedFd::as_fd);
                handle = Some(fs::openat(from, part, FOLDER, Mode::empty()).map_err(|error| match error {
                    Errno::NOENT | Errno::NOTDIR | Errno::LOOP => damaged("something in it lies below what is no folder"),
                    other => disk(other),
                })?);
            }
            self.last = handle.map(|handle| (path.to_owned(), handle));
        }
        Ok(self.last.as_ref().map_or(self.root.as_fd(), |(_, handle)| handle.as_fd()))
    }

    fn entry(&mut self, head: &Head, marks: Marks, content: &mut impl Read) -> Result<(), BackupError> {
        self.entries += 1;
        if self.course.cancel.is_cancelled() {
            return Err(BackupError::BrokenOff);
        }
        if self.entries > ENTRIES_MAX {
            return Err(damaged(format!("it has more than {ENTRIES_MAX} entries")));
        }
        let path = clean(&head.name)?;
        self.leave(|folder| !is_in(&path, folder))?;
        if path.is_empty() {
            if head.kind != EntryType::Directory {
                return Err(damaged("its root is no folder"));
            }
            self.folders.push((path, marks));
            return Ok(());
        }
        let (gives, (above, name)) = (self.gives, split(&path));
        match head.kind {
            EntryType::Directory => {
                fs::mkdirat(self.above(above)?, name, Mode::from_raw_mode(0o700)).map_err(told)?;
                self.folders.push((path, marks));
            }
            EntryType::Regular => self.file(above, name, marks, head, content)?,
            EntryType::Symlink => {
                let above = self.above(above)?;
                fs::symlinkat(head.target.as_slice(), above, name).map_err(told)?;
                if gives {
                    let (uid, gid) = (Uid::from_raw(marks.uid), Gid::from_raw(marks.gid));
                    fs::chownat(above, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(disk)?;
                }
                fs::utimensat(above, name, &marks.times(), AtFlags::SYMLINK_NOFOLLOW).map_err(disk)?;
            }
            EntryType::Link => {
                let to = clean(&head.target)?;
                let (to_above, to_name) = split(&to);
                let from = fs::openat(self.above(to_above)?, ".", FOLDER, Mode::empty()).map_err(disk)?;
                fs::linkat(&from, to_name, self.above(above)?, name, AtFlags::empty()).map_err(told)?;
            }
            _ => return Err(damaged("something in it is neither a file nor a folder nor a link")),
        }
        Ok(())
    }

    fn file(&mut self, above: &[u8], name: &[u8], marks: Marks, head: &Head, content: &mut impl Read) -> Result<(), BackupError> {
        let handle = fs::openat(self.above(above)?, name, CREATE, Mode::from_raw_mode(0o600)).map_err(told)?;
        let file = File::from(handle);
        let Some(size) = head.sparse else {
            self.piece(&file, Piece { at: 0, length: head.size }, false, content)?;
            return give(file.as_fd(), marks, self.gives);
        };
        let (pieces, taken) = sparse::read_map(content, size).map_err(damaged)?;
        let stored: u64 = pieces.iter().map(|piece| piece.length).sum();
        if taken.checked_add(stored) != Some(head.size) {
            return Err(damaged("the map of a file with holes in it does not fit what follows"));
        }
        for piece in pieces {
            self.piece(&file, piece, true, content)?;
        }
        file.set_len(size).map_err(disk)?;
        give(file.as_fd(), marks, self.gives)
    }

    fn piece(&mut self, file: &File, piece: Piece, sparse: bool, content: &mut impl Read) -> Result<(), BackupError> {
        // Before a byte of it is read: the archive cannot hold more than was said.
        self.left = self.left.checked_sub(piece.length).ok_or_else(|| damaged("it holds more than it should"))?;
        let (mut chunk, mut at, mut left) = (vec![0; CHUNK], piece.at, piece.length);
        while left > 0 {
            if self.course.cancel.is_cancelled() {
                return Err(BackupError::BrokenOff);
            }
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = content.read(&mut chunk[..want]).map_err(damaged)?;
            if read == 0 {
                return Err(damaged("it is cut off"));
            }
            if sparse { sparse::write_at(file, &chunk[..read], at) } else { file.write_all_at(&chunk[..read], at) }.map_err(disk)?;
            self.course.add(read as u64);
            (at, left) = (at + read as u64, left - read as u64);
        }
        Ok(())
    }

    /// Gives folders that are over their marks, the deepest first.
    fn leave(&mut self, over: impl Fn(&[u8]) -> bool) -> Result<(), BackupError> {
        while let Some((path, marks)) = self.folders.pop_if(|(folder, _)| over(folder)) {
            self.last = None;
            let (gives, folder) = (self.gives, self.above(&path)?);
            give(folder, marks, gives)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), BackupError> {
        self.leave(|_| true)?;
        fs::syncfs(&self.root).map_err(disk)
    }
}

fn is_in(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
}

fn told(error: Errno) -> BackupError {
    match error {
        Errno::EXIST => damaged("something is in it twice"),
        Errno::NOENT => damaged("a link in it has no file"),
        other => disk(other),
    }
}

fn give(handle: BorrowedFd<'_>, marks: Marks, gives: bool) -> Result<(), BackupError> {
    if gives {
        fs::fchown(handle, Some(Uid::from_raw(marks.uid)), Some(Gid::from_raw(marks.gid))).map_err(disk)?;
    }
    fs::fchmod(handle, Mode::from_raw_mode(marks.mode)).map_err(disk)?;
    fs::futimens(handle, &marks.times()).map_err(disk)
}
