//! Walks over the data as the game sees them: one folder, or a folder on top of layers, united here as the kernel would unite them.
//!
//! Every step is one `openat` that follows no link, from a handle of the folder above. A whiteout hides what lies below it, an opaque
//! folder all that lies below it, a file below a folder ends what can be seen of that name. Entries come in order: a folder, then what
//! is in it. Blocking.

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

/// Something in a folder.
#[derive(Debug)]
pub enum Kind {
    /// A folder.
    Folder(Seen),
    /// Anything else, in the layer of this number.
    Other(usize),
}

/// What is seen of one name.
#[derive(Debug)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Of the highest layer that has it.
    pub stat: Stat,
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

    /// All that is seen in it, by name.
    pub fn entries(&self) -> io::Result<BTreeMap<CString, Entry>> {
        let mut found: BTreeMap<CString, Option<Entry>> = BTreeMap::new();
        for (number, handle) in self.handles.iter().enumerate() {
            for entry in Dir::read_from(handle)? {
                let name = entry?.file_name().to_owned();
                if name.as_c_str() == c"." || name.as_c_str() == c".." || found.contains_key(&name) {
                    continue;
                }
                // What went while the folder was read is not there.
                let Some(stat) = there(fs::statat(handle, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW))? else { continue };
                let seen = if self.layered && is_whiteout(&stat) { None } else { self.seen(number, &name, stat)? };
                found.insert(name, seen);
            }
        }
        Ok(found.into_iter().filter_map(|(name, entry)| Some((name, entry?))).collect())
    }

    fn seen(&self, number: usize, name: &CString, stat: Stat) -> io::Result<Option<Entry>> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Some(Entry { kind: Kind::Other(number), stat }));
        }
        let Some(own) = there(fs::openat(&self.handles[number], name.as_c_str(), FOLDER, Mode::empty()))? else { return Ok(None) };
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
        Ok(Some(Entry { kind: Kind::Folder(Seen { handles, layered: self.layered }), stat }))
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

/// What is left to do in one folder.
struct Open {
    folder: Seen,
    left: std::collections::btree_map::IntoIter<CString, Entry>,
    path_bytes: usize,
}

/// Visits all that is seen, the root first.
pub fn walk(root: Seen, mut visit: impl FnMut(&Found<'_>) -> Result<(), BackupError>) -> Result<(), BackupError> {
    let failed = BackupError::disk("read the server's data");
    let mut path: Vec<u8> = Vec::new();
    let stat = root.stat().map_err(&failed)?;
    visit(&Found { path: &path, name: &CString::default(), within: &root, layer: None, stat })?;
    let left = root.entries().map_err(&failed)?.into_iter();
    let mut open = vec![Open { folder: root, left, path_bytes: 0 }];
    while let Some(here) = open.last_mut() {
        path.truncate(here.path_bytes);
        let Some((name, entry)) = here.left.next() else {
            open.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let layer = match &entry.kind {
            Kind::Folder(_) => None,
            Kind::Other(layer) => Some(*layer),
        };
        if path.len() > PATH_BYTES_MAX {
            return Err(BackupError::Limit(format!("a path in it has more than {PATH_BYTES_MAX} bytes")));
        }
        visit(&Found { path: &path, name: &name, within: &here.folder, layer, stat: entry.stat })?;
        if let Kind::Folder(folder) = entry.kind {
            if open.len() >= DEPTH_MAX {
                return Err(BackupError::Limit(format!("more than {DEPTH_MAX} folders lie in each other")));
            }
            let left = folder.entries().map_err(&failed)?.into_iter();
            open.push(Open { folder, left, path_bytes: path.len() });
        }
    }
    Ok(())
}
