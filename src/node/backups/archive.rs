//! Writes the archive of a server's data: a tar with GNU's long names, packed with zstd, cut into parts that are handed on.
//!
//! Runs in a thread of its own and holds at most one part. A file that changes while it is read does not break the archive: it has the
//! length that was announced, and is counted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use rustix::fs::{FileType, Stat};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};
use tokio::sync::mpsc;

use super::sparse::{self, Piece};
use super::walk::{Found, Seen, walk};
use super::{BackupError, Course, ENTRIES_MAX, Order};
use crate::model::backups::{PART_BYTES, PARTS_MAX};
use crate::model::checksum::Checksum;

/// How hard zstd tries.
const LEVEL: i32 = 3;
/// Bytes that are read at once: between two of them it can be given up.
const CHUNK: usize = 128 << 10;
/// A block of a tar archive.
const BLOCK: usize = 512;
/// Longest name that fits into the head of an entry.
const NAME_MAX: usize = 100;
/// Name of an entry that holds a long name.
const LONG: &[u8] = b"././@LongLink";
/// Files with several names that are remembered; of more, each name gets a file of its own.
const LINKS_MAX: usize = 100_000;
/// Most bytes of their paths together.
const LINKS_BYTES_MAX: usize = 16 << 20;
/// Names in one sentence to the owner.
const NAMED_MAX: usize = 3;
/// Number of the layer that the server itself writes to.
const OWN: usize = 0;
/// Setuid and setgid are dropped.
const MODE: u32 = 0o1777;

/// What was written.
#[derive(Debug)]
pub struct Written {
    pub bytes: u64,
    pub sha256: Checksum,
    pub entries: u64,
    pub unpacked: u64,
    /// Sockets, pipes and devices, which mean nothing elsewhere.
    pub left_out: u64,
    pub changed: Changed,
}

/// Files that changed while they were read.
#[derive(Debug, Default)]
pub struct Changed {
    count: u64,
    names: Vec<String>,
}

impl Changed {
    fn note(&mut self, path: &[u8]) {
        self.count += 1;
        if self.names.len() < NAMED_MAX {
            let text = String::from_utf8_lossy(path);
            self.names.push(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(100).collect());
        }
    }

    /// For the owner; none: nothing changed.
    pub fn words(&self) -> Option<String> {
        let more = if self.count > self.names.len() as u64 { ", ..." } else { "" };
        let files = if self.count == 1 { "1 file" } else { &format!("{} files", self.count) };
        (self.count > 0).then(|| format!("{files} changed while they were read: {}{more}", self.names.join(", ")))
    }
}

/// Cuts what zstd gives into parts.
struct Parts {
    to: mpsc::Sender<Bytes>,
    part: Vec<u8>,
    sent: u32,
    bytes: u64,
    hash: Sha256,
}

impl Parts {
    fn send(&mut self) -> io::Result<()> {
        if self.sent >= PARTS_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let full = Bytes::from(std::mem::take(&mut self.part));
        self.hash.update(&full);
        self.sent += 1;
        // Who takes the parts has ended.
        self.to.blocking_send(full).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.capacity() == 0 {
            self.part.reserve_exact(PART_BYTES);
        }
        let length = bytes.len().min(PART_BYTES - self.part.len());
        self.part.extend_from_slice(&bytes[..length]);
        self.bytes += length as u64;
        if self.part.len() == PART_BYTES {
            self.send()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn told(error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => BackupError::TooLarge { parts: PARTS_MAX },
        io::ErrorKind::BrokenPipe => BackupError::BrokenOff,
        _ => BackupError::Disk { what: "write the archive", source: error },
    }
}

fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// Sums up the files' bytes: what is told of how far it is, and what must not be too much.
pub fn measure(order: &Order, course: &Course) -> Result<u64, BackupError> {
    let root = Seen::open(&order.data, &order.lower).map_err(BackupError::disk("open the server's data"))?;
    let (mut total, mut own) = (0_u64, 0_u64);
    walk(root, |found| {
        if course.cancel.is_cancelled() {
            return Err(BackupError::BrokenOff);
        }
        if FileType::from_raw_mode(found.stat.st_mode) == FileType::RegularFile {
            // A file with several names is stored once, and shared out among them here.
            let bytes = sparse::on_disk(&found.stat) / found.stat.st_nlink.max(1);
            total = total.saturating_add(bytes);
            own = own.saturating_add(if found.layer == Some(OWN) { bytes } else { 0 });
        }
        Ok(())
    })?;
    if own > order.most {
        return Err(BackupError::OverPlan { bytes: own, most: order.most });
    }
    course.expect(total.max(1));
    Ok(total)
}

/// Writes it all. The sender goes with it: its end is the end of the parts.
pub fn write(order: &Order, course: &Course, to: mpsc::Sender<Bytes>) -> Result<Written, BackupError> {
    let root = Seen::open(&order.data, &order.lower).map_err(BackupError::disk("open the server's data"))?;
    let parts = Parts { to, part: Vec::new(), sent: 0, bytes: 0, hash: Sha256::new() };
    let out = zstd::stream::write::Encoder::new(parts, LEVEL).map_err(told)?;
    let chunk = vec![0; CHUNK];
    let mut writer = Writer {
        out,
        course,
        chunk,
        links: HashMap::new(),
        links_bytes: 0,
        entries: 0,
        unpacked: 0,
        own: 0,
        most: order.most,
        left_out: 0,
        changed: Changed::default(),
        padding: [0; BLOCK],
    };
    walk(root, |found| writer.entry(found))?;
    course.read_all();
    let Writer { mut out, entries, unpacked, left_out, changed, .. } = writer;
    out.write_all(&[0; 2 * BLOCK]).map_err(told)?;
    let mut parts = out.finish().map_err(told)?;
    if !parts.part.is_empty() {
        parts.send().map_err(told)?;
    }
    let sha256 = <[u8; 32]>::from(parts.hash.finalize()).into();
    Ok(Written { bytes: parts.bytes, sha256, entries, unpacked, left_out, changed })
}

struct Writer<'a> {
    out: zstd::stream::write::Encoder<'static, Parts>,
    course: &'a Course,
    chunk: Vec<u8>,
    /// The first name of each file that has several, by device and number.
    links: HashMap<(u64, u64), Vec<u8>>,
    links_bytes: usize,
    entries: u64,
    unpacked: u64,
    /// Of these, what the server has written itself, and the most of it.
    own: u64,
    most: u64,
    left_out: u64,
    changed: Changed,
    padding: [u8; BLOCK],
}

impl Writer<'_> {
    fn entry(&mut self, found: &Found<'_>) -> Result<(), BackupError> {
        if self.course.cancel.is_cancelled() {
            return Err(BackupError::BrokenOff);
        }
        if self.entries >= ENTRIES_MAX {
            return Err(BackupError::Limit(format!("there are more than {ENTRIES_MAX} files and folders")));
        }
        let failed = BackupError::disk("read the server's data");
        match (FileType::from_raw_mode(found.stat.st_mode), found.layer) {
            (FileType::Directory, _) => {
                let name = if found.path.is_empty() { b"./".to_vec() } else { [found.path, b"/"].concat() };
                self.head(EntryType::Directory, &name, b"", &found.stat, 0)
            }
            (FileType::Symlink, Some(layer)) => match found.within.link_target(layer, found.name).map_err(failed)? {
                Some(target) => self.head(EntryType::Symlink, found.path, &target, &found.stat, 0),
                None => self.gone(found.path),
            },
            (FileType::RegularFile, Some(layer)) => match found.within.read(layer, found.name).map_err(failed)? {
                Some(file) => self.file(found.path, &file, layer == OWN),
                None => self.gone(found.path),
            },
            // Sockets, pipes and devices mean nothing elsewhere.
            (_, _) => {
                self.left_out += 1;
                Ok(())
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as its siblings")]
    fn gone(&mut self, path: &[u8]) -> Result<(), BackupError> {
        self.changed.note(path);
        Ok(())
    }

    fn file(&mut self, path: &[u8], file: &File, own: bool) -> Result<(), BackupError> {
        let failed = BackupError::disk("read the server's data");
        let stat = || rustix::fs::fstat(file).map_err(|error| BackupError::disk("read the server's data")(error.into()));
        let before = stat()?;
        if before.st_nlink > 1 {
            let id = (before.st_dev, before.st_ino);
            if let Some(first) = self.links.get(&id).cloned() {
                return self.head(EntryType::Link, path, &first, &before, 0);
            }
            if self.links.len() < LINKS_MAX && self.links_bytes + path.len() <= LINKS_BYTES_MAX {
                self.links_bytes += path.len();
                self.links.insert(id, path.to_owned());
            }
        }
        let size = length(&before);
        let pieces = sparse::pieces(file, &before).map_err(&failed)?.map_err(|error| BackupError::Limit(error.to_string()))?;
        let whole = [Piece { at: 0, length: size }];
        let content = pieces.as_deref().unwrap_or(&whole);
        let bytes: u64 = content.iter().map(|piece| piece.length).sum();
        self.unpacked += bytes;
        self.own += if own { bytes } else { 0 };
        if self.own > self.most {
            return Err(BackupError::OverPlan { bytes: self.own, most: self.most });
        }
        let map = pieces.as_deref().map(|pieces| sparse::map(pieces, size)).unwrap_or_default();
        let stored = map.len() as u64 + bytes;
        if pieces.is_some() {
            self.sparse_head(path, &before, size, stored)?;
            self.out.write_all(&map).map_err(told)?;
        } else {
            self.head(EntryType::Regular, path, b"", &before, size)?;
        }
        let mut short = false;
        for piece in content {
            short |= self.piece(file, *piece)?;
        }
        self.pad(stored)?;
        let times = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if short || times(&before) != times(&stat()?) {
            self.changed.note(path);
        }
        Ok(())
    }

    /// True: it became shorter while it was read; the rest is zeros.
    fn piece(&mut self, file: &File, piece: Piece) -> Result<bool, BackupError> {
        let (mut at, mut left, mut short) = (piece.at, piece.length, false);
        while left > 0 {
            if self.course.cancel.is_cancelled() {
                return Err(BackupError::BrokenOff);
            }
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let mut read = 0;
            if !short {
                read = match file.read_at(&mut self.chunk[..want], at) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    other => other.map_err(BackupError::disk("read the server's data"))?,
                };
            }
            if read == 0 {
                (short, read) = (true, want);
                self.chunk[..want].fill(0);
            }
            self.out.write_all(&self.chunk[..read]).map_err(told)?;
            self.course.add(read as u64);
            (at, left) = (at + read as u64, left - read as u64);
        }
        Ok(short)
    }

    fn pad(&mut self, size: u64) -> Result<(), BackupError> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        let padding = if over == 0 { 0 } else { BLOCK - over };
        self.out.write_all(&self.padding[..padding]).map_err(told)
    }

    /// The head of a file with holes: its name is in the records before it, and what stands in its place is for programs that know no
    /// such files.
    fn sparse_head(&mut self, path: &[u8], stat: &Stat, size: u64, stored: u64) -> Result<(), BackupError> {
        let records = sparse::records(path, size);
        let placeholder = format!("GNUSparseFile.0/{}", self.entries);
        for (kind, name, length) in
            [(EntryType::XHeader, "PaxHeaders/sparse", records.len() as u64), (EntryType::Regular, &placeholder, stored)]
        {
            let mut header = Header::new_ustar();
            put(&mut header.as_old_mut().name, name.as_bytes());
            marks(&mut header, kind, stat, length);
            self.out.write_all(header.as_bytes()).map_err(told)?;
            if kind == EntryType::XHeader {
                self.out.write_all(&records).map_err(told)?;
                self.pad(length)?;
            }
        }
        self.entries += 1;
        Ok(())
    }

    /// The head of an entry, with what does not fit into it before it.
    fn head(&mut self, kind: EntryType, name: &[u8], target: &[u8], stat: &Stat, size: u64) -> Result<(), BackupError> {
        for (kind, text) in [(EntryType::GNULongLink, target), (EntryType::GNULongName, name)] {
            if text.len() > NAME_MAX {
                let mut long = Header::new_gnu();
                put(&mut long.as_old_mut().name, LONG);
                long.set_mode(0o644);
                long.set_uid(0);
                long.set_gid(0);
                long.set_mtime(0);
                long.set_entry_type(kind);
                long.set_size(text.len() as u64 + 1);
                long.set_cksum();
                self.out.write_all(long.as_bytes()).and_then(|()| self.out.write_all(text)).map_err(told)?;
                self.out.write_all(&[0]).map_err(told)?;
                self.pad(text.len() as u64 + 1)?;
            }
        }
        let mut header = Header::new_gnu();
        put(&mut header.as_old_mut().name, name);
        put(&mut header.as_old_mut().linkname, target);
        marks(&mut header, kind, stat, size);
        self.entries += 1;
        self.out.write_all(header.as_bytes()).map_err(told)
    }
}

/// What a head says beside its names.
fn marks(header: &mut Header, kind: EntryType, stat: &Stat, size: u64) {
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & MODE);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header.set_size(size);
    header.set_cksum();
}

/// As much of a name as fits.
fn put(slot: &mut [u8; NAME_MAX], name: &[u8]) {
    let length = name.len().min(NAME_MAX);
    slot[..length].copy_from_slice(&name[..length]);
}
