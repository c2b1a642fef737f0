//! Makes an unpacked backup the upper folder of an overlay: on top of the layers it shows exactly what was archived.
//!
//! What the layers show already is taken out of it, and what only the layers have is hidden by a whiteout. Touches nothing but the
//! unpacked folder. Blocking; needs root, as overlays do.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::walk::{Entry, Seen};
use super::{BackupError, DEPTH_MAX};

/// Bytes that are compared at once.
const CHUNK: usize = 128 << 10;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Fits an unpacked folder onto layers, the highest first; without layers there is nothing to do.
pub fn fit(unpacked: &Path, lower: &[PathBuf]) -> Result<(), BackupError> {
    if lower.is_empty() {
        return Ok(());
    }
    let failed = BackupError::disk("fit the backup onto the server's layers");
    let work = || {
        let folder = fs::open(unpacked, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        level(&folder, &Seen::of_layers(lower)?, 0)?;
        Ok(fs::syncfs(&folder)?)
    };
    work().map_err(failed)
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The same kind, mode and owner. Times are not compared: a layer is as old as its place in the cache.
fn alike(one: &Stat, other: &Stat) -> bool {
    (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)
}

/// One folder that is in both. True: nothing of its own is left in it.
fn level(folder: &OwnedFd, below: &Seen, depth: usize) -> io::Result<bool> {
    if depth >= DEPTH_MAX {
        return Err(io::Error::other("folders lie too deep in each other"));
    }
    // Templates, whose number was bounded when they came; what was unpacked is read as it is asked for.
    let (mut names, mut layers) = (below.names()?, BTreeMap::new());
    while let Some(entry) = names.next(below)? {
        layers.insert(entry.name.clone(), entry);
    }
    let before = fs::fstat(folder)?;
    let mut empty = true;
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() == c"." || name.as_c_str() == c".." {
            continue;
        }
        let stat = fs::statat(folder, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        let shown = match layers.remove(&name) {
            Some(entry) => same(folder, &name, &stat, below, &entry, depth)?,
            None => false,
        };
        if shown {
            let flags = if kind(&stat) == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            fs::unlinkat(folder, name.as_c_str(), flags)?;
        }
        empty &= shown;
    }
    for name in layers.keys() {
        fs::mknodat(folder, name.as_c_str(), FileType::CharacterDevice, Mode::empty(), 0)?;
        empty = false;
    }
    let at = fs::Timespec { tv_sec: before.st_mtime, tv_nsec: 0 };
    fs::futimens(folder, &fs::Timestamps { last_access: at, last_modification: at })?;
    Ok(empty)
}

/// True: the layers show the same, so that it need not be here.
fn same(folder: &OwnedFd, name: &CString, stat: &Stat, below: &Seen, entry: &Entry, depth: usize) -> io::Result<bool> {
    if kind(stat) != kind(&entry.stat) {
        return Ok(false);
    }
    match kind(stat) {
        FileType::Directory => {
            let Some(deeper) = below.folder(name, entry.layer)? else { return Ok(false) };
            let own = fs::openat(folder, name.as_c_str(), FOLDER, Mode::empty())?;
            Ok(level(&own, &deeper, depth + 1)? && alike(stat, &entry.stat))
        }
        FileType::RegularFile if alike(stat, &entry.stat) && stat.st_size == entry.stat.st_size => {
            let own = fs::openat(folder, name.as_c_str(), OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            match below.read(entry.layer, name)? {
                Some(theirs) => same_bytes(File::from(own), theirs),
                None => Ok(false),
            }
        }
        FileType::Symlink if alike(stat, &entry.stat) => {
            let own = fs::readlinkat(folder, name.as_c_str(), Vec::new())?;
            Ok(below.link_target(entry.layer, name)?.is_some_and(|theirs| theirs == own.as_bytes()))
        }
        _ => Ok(false),
    }
}

fn same_bytes(mut one: File, mut other: File) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let length = fill(&mut one, &mut left)?;
        if fill(&mut other, &mut right)? != length || left[..length] != right[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}
