//! Walks over the data as the game sees them: one folder, or a folder on top of layers, united here as the kernel would unite them.
//!
//! Every step is one `openat` that follows no link, from a handle of the folder above. A whiteout hides what lies below it, an opaque
//! folder all that lies below it, a file below a folder ends what can be seen of that name. A folder comes before what is in it; nothing
//! else is promised of the order. Open are only the folders on the way, never those beside it, and no list of names. Blocking.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{BackupError, DEPTH_MAX, PATH_BYTES_MAX};
use crate::node::layers::{OPAQUE, YES};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// A folder as it is seen: the same folder of several layers, the highest first.
#[derive(Debug)]
pub struct Seen {
    handles: Vec<OwnedFd>,
    layered: bool,
}

/// What is seen of one name.
#[derive(Debug)]
pub struct Entry {
    pub name: CString,
    /// The highest layer that has it.
    pub layer: usize,
    /// As that layer has it.
    pub stat: Stat,
}

impl Entry {
    /// It was a folder when it was looked at.
    pub fn is_folder(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }
}

/// The names of one folder, one after the other. Those of the highest folder come from the disk as they are asked for, because a game
/// decides how many they are; those of the layers below it are templates, whose number was bounded when they came.
pub struct Names {
    highest: Dir,
    below: BTreeMap<CString, usize>,
}

impl Names {
    /// The next one that is seen. What came into the highest folder meanwhile hides what lies below it, as the kernel would have it.
    pub fn next(&mut self, within: &Seen) -> io::Result<Option<Entry>> {
        let hidden = |stat: &Stat| within.layered && is_whiteout(stat);
        let look = |layer: usize, name: &CString| there(fs::statat(&within.handles[layer], name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW));
        while let Some(entry) = self.highest.read() {
            let name = entry?.file_name().to_owned();
            if is_dots(&name) {
                continue;
            }
            // What went while the folder was read is not there.
            let Some(stat) = look(0, &name)? else { continue };
            self.below.remove(&name);
            if !hidden(&stat) {
                return Ok(Some(Entry { name, layer: 0, stat }));
            }
        }
        while let Some((name, number)) = self.below.pop_first() {
            let (layer, stat) = match look(0, &name)? {
                Some(stat) => (0, Some(stat)),
                None => (number, look(number, &name)?),
            };
            if let Some(stat) = stat.filter(|stat| !hidden(stat)) {
                return Ok(Some(Entry { name, layer, stat }));
            }
        }
        Ok(None)
    }
}

fn is_dots(name: &CString) -> bool {
    name.as_c_str() == c"." || name.as_c_str() == c".."
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// True: what lies below this folder cannot be seen.
fn is_opaque(folder: &OwnedFd) -> io::Result<bool> {
    let mut buffer = [0_u8; 16];
    match fs::fgetxattr(folder, OPAQUE, &mut buffer[..]) {
        Ok(length) => Ok(buffer.get(..length) == Some(YES)),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// `None` where there is nothing, or something else than was expected.
fn there<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Seen {
    /// The data of a server: its own folder, and what lies below it.
    pub fn open(data: &Path, lower: &[PathBuf]) -> io::Result<Seen> {
        let open = |path: &Path| fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let mut handles = vec![open(data)?];
        for path in lower {
            handles.push(open(path)?);
        }
        Ok(Seen { handles, layered: !lower.is_empty() })
    }

    /// Of these folders, the highest first, which are all layers.
    pub fn of_layers(lower: &[PathBuf]) -> io::Result<Seen> {
        let Some((highest, rest)) = lower.split_first() else { return Err(io::ErrorKind::NotFound.into()) };
        Ok(Seen { layered: true, ..Seen::open(highest, rest)? })
    }

    /// The folder itself, as the highest layer has it.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(fs::fstat(&self.handles[0])?)
    }

    /// All that is seen in it.
    pub fn names(&self) -> io::Result<Names> {
        let mut below = BTreeMap::new();
        for (number, handle) in self.handles.iter().enumerate().skip(1) {
            for entry in Dir::read_from(handle)? {
                let name = entry?.file_name().to_owned();
                if !is_dots(&name) {
                    below.entry(name).or_insert(number);
                }
            }
        }
        Ok(Names { highest: Dir::read_from(&self.handles[0])?, below })
    }

    /// A folder in it; none: it went, is something else by now, or something is mounted there.
    pub fn folder(&self, name: &CString, number: usize) -> io::Result<Option<Seen>> {
        let Some(own) = there(fs::openat(&self.handles[number], name.as_c_str(), FOLDER, Mode::empty()))? else { return Ok(None) };
        if fs::fstat(&own)?.st_dev != fs::fstat(&self.handles[number])?.st_dev {
            return Ok(None);
        }
        let mut ends = !self.layered || is_opaque(&own)?;
        let mut handles = vec![own];
        for below in &self.handles[number + 1..] {
            if ends {
                break;
            }
            match fs::openat(below, name.as_c_str(), FOLDER, Mode::empty()) {
                Ok(folder) => {
                    ends = is_opaque(&folder)?;
                    handles.push(folder);
                }
                Err(Errno::NOENT) => {}
                // A whiteout, a file or a link: nothing below it is seen.
                Err(Errno::NOTDIR | Errno::LOOP) => ends = true,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Seen { handles, layered: self.layered }))
    }

    /// Opens a plain file of a layer; none: it went, or is something else by now.
    pub fn read(&self, layer: usize, name: &CString) -> io::Result<Option<File>> {
        let Some(handle) = there(fs::openat(&self.handles[layer], name.as_c_str(), READ, Mode::empty()))? else { return Ok(None) };
        let plain = FileType::from_raw_mode(fs::fstat(&handle)?.st_mode) == FileType::RegularFile;
        Ok(plain.then(|| File::from(handle)))
    }

    /// Where a link of a layer leads, as it is written; none: it went, or is something else by now.
    pub fn link_target(&self, layer: usize, name: &CString) -> io::Result<Option<Vec<u8>>> {
        match fs::readlinkat(self.handles[layer].as_fd(), name.as_c_str(), Vec::new()) {
            Err(Errno::INVAL) => Ok(None),
            other => Ok(there(other)?.map(CString::into_bytes)),
        }
    }
}

/// Something on the way.
pub struct Found<'a> {
    /// From the data, without a slash before or behind it; empty: the data folder itself.
    pub path: &'a [u8],
    /// Its own name.
    pub name: &'a CString,
    /// The folder that it is in; of the data folder, itself.
    pub within: &'a Seen,
    /// In which layer; none: it is a folder.
    pub layer: Option<usize>,
    /// As it was when it was met.
    pub stat: Stat,
}

/// What is left to do in one folder: the handles of the folders on the way are all that is open.
struct Open {
    folder: Seen,
    left: Names,
    path_bytes: usize,
}

/// Visits all that is seen, the root first.
pub fn walk(root: Seen, mut visit: impl FnMut(&Found<'_>) -> Result<(), BackupError>) -> Result<(), BackupError> {
    let failed = BackupError::disk("read the server's data");
    let mut path: Vec<u8> = Vec::new();
    let stat = root.stat().map_err(&failed)?;
    visit(&Found { path: &path, name: &CString::default(), within: &root, layer: None, stat })?;
    let left = root.names().map_err(&failed)?;
    let mut open = vec![Open { folder: root, left, path_bytes: 0 }];
    while let Some(here) = open.last_mut() {
        path.truncate(here.path_bytes);
        let Some(entry) = here.left.next(&here.folder).map_err(&failed)? else {
            open.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(entry.name.as_bytes());
        if path.len() > PATH_BYTES_MAX {
            return Err(BackupError::Limit(format!("a path in it has more than {PATH_BYTES_MAX} bytes")));
        }
        let layer = (!entry.is_folder()).then_some(entry.layer);
        visit(&Found { path: &path, name: &entry.name, within: &here.folder, layer, stat: entry.stat })?;
        if !entry.is_folder() {
            continue;
        }
        if open.len() >= DEPTH_MAX {
            return Err(BackupError::Limit(format!("more than {DEPTH_MAX} folders lie in each other")));
        }
        if let Some(folder) = here_folder(&open, &entry).map_err(&failed)? {
            let left = folder.names().map_err(&failed)?;
            open.push(Open { folder, left, path_bytes: path.len() });
        }
    }
    Ok(())
}

fn here_folder(open: &[Open], entry: &Entry) -> io::Result<Option<Seen>> {
    open.last().map_or(Ok(None), |here| here.folder.folder(&entry.name, entry.layer))
}
