//! The rules: what may be in an archive, in which order, and where links may lead. What passes goes to a [`Sink`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};
use tar::{Archive, Entry as TarEntry, EntryType};

use super::beneath::{Beneath, FOLDER_MODE};
use super::heads::{Extras, Fault, Head, refused, shown};
use super::open::Opened;
use super::{ArchiveError, Limits, RULES_BYTES_MAX, Unpacked, Why};
use crate::model::templates::{Entry, Kind, Manifest, PATH_MAX, RULES_FILE, Rules, above, check_path};
use crate::model::variables::{TEXT_MAX, has_variables};

/// Bytes that are read at once.
const CHUNK: usize = 128 << 10;
/// Most bytes of padding behind the end of an archive.
const PADDING_MAX: usize = 1 << 20;
/// Most bytes of all names and targets together: this much is held in memory.
const NAMES_BYTES_MAX: usize = 16 << 20;
/// Of a head: its bytes, where its kind stands, its size and its sum; and the kind of a label.
const BLOCK: usize = 512;
const KIND_AT: usize = 156;
const SIZE: std::ops::Range<usize> = 124..136;
const SUM: std::ops::Range<usize> = 148..156;
const LABEL: u8 = b'V';
/// Most paths in one list of the rules.
const RULES_MAX: usize = 1_000;

/// Where entries go that passed.
pub trait Sink {
    /// A folder, which may be there already.
    fn folder(&mut self, path: &str, mode: u32) -> io::Result<()>;
    /// A file to write to, where anything is written.
    fn file(&mut self, path: &str, mode: u32) -> io::Result<Option<File>>;
    /// A symbolic link.
    fn link(&mut self, path: &str, target: &str) -> io::Result<()>;
    /// Another name of a file.
    fn hard_link(&mut self, path: &str, to: &str) -> io::Result<()>;
}

/// Nothing is written.
pub struct Nowhere;

impl Sink for Nowhere {
    fn folder(&mut self, _path: &str, _mode: u32) -> io::Result<()> {
        Ok(())
    }
    fn file(&mut self, _path: &str, _mode: u32) -> io::Result<Option<File>> {
        Ok(None)
    }
    fn link(&mut self, _path: &str, _target: &str) -> io::Result<()> {
        Ok(())
    }
    fn hard_link(&mut self, _path: &str, _to: &str) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Beneath {
    fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        Beneath::folder(self, path, mode)
    }
    fn file(&mut self, path: &str, mode: u32) -> io::Result<Option<File>> {
        self.create(path, mode).map(Some)
    }
    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.symlink(path, target)
    }
    fn hard_link(&mut self, path: &str, to: &str) -> io::Result<()> {
        Beneath::hard_link(self, path, to)
    }
}

struct Known {
    kind: Kind,
    mode: u32,
    /// A folder that no entry has named yet, only entries below it.
    implied: bool,
}

/// One archive being read.
pub struct Reading<S> {
    limits: Limits,
    sink: S,
    known: BTreeMap<String, Known>,
    with_variables: Vec<String>,
    rules: Option<Rules>,
    bytes: u64,
    names_bytes: usize,
    heads: usize,
    chunk: Vec<u8>,
    small: Vec<u8>,
}

fn disk(path: &str, source: io::Error) -> Fault {
    Fault::Told(ArchiveError::Disk { entry: shown(path.as_bytes()), source })
}

/// The path without `./` before it and slashes behind it, checked. Empty: the root itself.
fn clean_path(name: &[u8]) -> Result<&str, Fault> {
    let mut path = std::str::from_utf8(name).map_err(|_| refused(name, Why::NotUtf8))?;
    let whole = path;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    path = path.trim_end_matches('/');
    if path == "." || (path.is_empty() && whole.starts_with("./")) {
        return Ok("");
    }
    // A lone slash is the root of the machine, not ours.
    let checked = if path.is_empty() && !whole.is_empty() { whole } else { path };
    check_path(checked).map_err(|why| refused(name, why))?;
    Ok(path)
}

/// A target that stays below the root whatever other links there are: `..` only at its beginning, and not more often than there are
/// folders above the link. Every later step then goes down, or through another link of which the same is true.
fn check_target(path: &str, target: &[u8]) -> Result<String, Fault> {
    let name = path.as_bytes();
    let text = std::str::from_utf8(target).map_err(|_| refused(name, Why::Target))?;
    if text.is_empty() || text.len() > PATH_MAX || text.chars().any(char::is_control) {
        return Err(refused(name, Why::Target));
    }
    let (mut ups, mut down) = (0, false);
    let mut leaves = text.starts_with('/');
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        leaves |= part == ".." && down;
        ups += usize::from(part == "..");
        down |= part != "..";
    }
    leaves |= ups > above(path).count();
    if leaves { Err(refused(name, Why::Leaves(shown(target)))) } else { Ok(text.to_owned()) }
}

/// The archive without the label that `tar -V` puts before it: a head without a size, which says nothing about what follows.
fn behind_label<R: Read>(mut read: R) -> io::Result<impl Read> {
    let mut first = Vec::with_capacity(BLOCK);
    read.by_ref().take(BLOCK as u64).read_to_end(&mut first)?;
    let is_label =
        first.len() == BLOCK && first[KIND_AT] == LABEL && has_own_sum(&first) && first[SIZE].iter().all(|b| matches!(b, 0 | b'0' | b' '));
    if is_label {
        first.clear();
    }
    Ok(io::Cursor::new(first).chain(read))
}

/// A head says the sum of its bytes, that of the sum's own place taken as spaces.
fn has_own_sum(head: &[u8]) -> bool {
    let sum: u32 = head.iter().enumerate().map(|(at, byte)| if SUM.contains(&at) { u32::from(b' ') } else { u32::from(*byte) }).sum();
    let said = std::str::from_utf8(&head[SUM]).ok().map(|text| text.trim_matches(['\0', ' ']));
    said.and_then(|text| u32::from_str_radix(text, 8).ok()) == Some(sum)
}

fn kind_words(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "of a kind that templates do not know",
    }
}

impl<S: Sink> Reading<S> {
    pub fn new(limits: Limits, sink: S) -> Self {
        Reading {
            limits,
            sink,
            known: BTreeMap::new(),
            with_variables: Vec::new(),
            rules: None,
            bytes: 0,
            names_bytes: 0,
            heads: 0,
            chunk: vec![0; CHUNK],
            small: Vec::new(),
        }
    }

    pub fn run(mut self, read: impl Read) -> Result<Unpacked, ArchiveError> {
        let mut opened = Opened::new(read)?;
        if let Err(fault) = self.walk(&mut opened) {
            return Err(match fault {
                Fault::Told(error) => error,
                Fault::Io(error) => match opened.blame(error) {
                    ArchiveError::Damaged(_) if self.heads == 0 => ArchiveError::NotAnArchive,
                    told => told,
                },
            });
        }
        if self.heads == 0 {
            return Err(ArchiveError::NotAnArchive);
        }
        self.drain(&mut opened)?;
        self.finish()
    }

    fn walk<R: Read>(&mut self, opened: &mut Opened<R>) -> Result<(), Fault> {
        let mut archive = Archive::new(behind_label(opened)?);
        let mut extras = Extras::default();
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            self.heads += 1;
            if let Some(head) = extras.take(&mut entry)? {
                self.entry(&head, &mut entry)?;
            }
        }
        if extras.waits() { Err(Fault::Io(io::ErrorKind::UnexpectedEof.into())) } else { Ok(()) }
    }

    /// Nothing but padding may stand behind the end, and the end has to be there.
    fn drain<R: Read>(&mut self, opened: &mut Opened<R>) -> Result<(), ArchiveError> {
        if opened.ended {
            return Err(ArchiveError::Damaged(io::Error::new(io::ErrorKind::UnexpectedEof, "its end is missing")));
        }
        let mut padding = 0;
        loop {
            let read = match opened.read(&mut self.chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(opened.blame(error)),
            };
            padding += read;
            if padding > PADDING_MAX || self.chunk[..read].iter().any(|byte| *byte != 0) {
                return Err(ArchiveError::Damaged(io::Error::other("something stands behind its end")));
            }
        }
    }

    fn entry<R: Read>(&mut self, head: &Head, entry: &mut TarEntry<'_, R>) -> Result<(), Fault> {
        let path = clean_path(&head.name)?;
        let slash = head.name.ends_with(b"/");
        let is_folder = head.kind == EntryType::Directory || (head.kind == EntryType::Regular && slash);
        if (is_folder || head.kind != EntryType::Regular) && head.size != 0 {
            let known = matches!(head.kind, EntryType::Directory | EntryType::Symlink | EntryType::Link | EntryType::Regular);
            return Err(refused(&head.name, if known { Why::TwoTongues } else { Why::Kind(kind_words(head.kind)) }));
        }
        if head.mode & 0o7000 != 0 && head.kind != EntryType::Symlink {
            return Err(refused(&head.name, Why::Bits(head.mode)));
        }
        if path.is_empty() {
            return if is_folder { Ok(()) } else { Err(refused(&head.name, crate::model::templates::BadPath::Empty)) };
        }
        self.make_above(path)?;
        match head.kind {
            _ if is_folder => self.folder(path, head),
            EntryType::Regular if path == RULES_FILE => self.read_rules(head, entry),
            EntryType::Regular => self.file(path, head, entry),
            EntryType::Symlink => {
                let target = check_target(path, &head.target)?;
                self.names_bytes += target.len();
                self.sink.link(self.fresh(path)?, &target).map_err(|error| disk(path, error))?;
                self.know(path, Kind::Link { target }, 0o777)
            }
            EntryType::Link => self.hard_link(path, head),
            other => Err(refused(&head.name, Why::Kind(kind_words(other)))),
        }
    }

    /// The path, if nothing is known of it and it is not the rules'.
    fn fresh<'p>(&self, path: &'p str) -> Result<&'p str, Fault> {
        let rules = path == RULES_FILE;
        let taken = self.known.contains_key(path) || (rules && self.rules.is_some());
        if taken {
            return Err(refused(path.as_bytes(), Why::Twice));
        }
        if rules { Err(Fault::Told(ArchiveError::Rules("it is not a file".to_owned()))) } else { Ok(path) }
    }

    fn know(&mut self, path: &str, kind: Kind, mode: u32) -> Result<(), Fault> {
        self.know_as(path, Known { kind, mode, implied: false })
    }

    fn know_as(&mut self, path: &str, known: Known) -> Result<(), Fault> {
        self.names_bytes += path.len();
        self.known.insert(path.to_owned(), known);
        if self.known.len() > self.limits.entries {
            return Err(Fault::Told(ArchiveError::TooMany(self.limits.entries)));
        }
        if self.names_bytes > NAMES_BYTES_MAX { Err(Fault::Told(ArchiveError::LongNames(NAMES_BYTES_MAX))) } else { Ok(()) }
    }

    /// Every folder above a path is one, and is made where no entry named it.
    fn make_above(&mut self, path: &str) -> Result<(), Fault> {
        for folder in above(path) {
            match self.known.get(folder) {
                Some(known) if known.kind == Kind::Folder => {}
                Some(_) => return Err(refused(path.as_bytes(), Why::Below(shown(folder.as_bytes())))),
                None => {
                    self.sink.folder(self.fresh(folder)?, FOLDER_MODE).map_err(|error| disk(folder, error))?;
                    self.know_as(folder, Known { kind: Kind::Folder, mode: FOLDER_MODE, implied: true })?;
                }
            }
        }
        Ok(())
    }

    fn folder(&mut self, path: &str, head: &Head) -> Result<(), Fault> {
        let mode = head.mode & 0o777 | 0o700;
        match self.known.get_mut(path) {
            Some(known) if known.implied => (known.implied, known.mode) = (false, mode),
            Some(_) => return Err(refused(&head.name, Why::Twice)),
            None => {
                self.fresh(path)?;
                self.know(path, Kind::Folder, mode)?;
            }
        }
        self.sink.folder(path, mode).map_err(|error| disk(path, error))
    }

    fn grow(&mut self, path: &str, bytes: u64) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes);
        let limit = self.limits.bytes;
        if self.bytes > limit {
            return Err(Fault::Told(ArchiveError::TooLarge { limit, entry: shown(path.as_bytes()) }));
        }
        Ok(())
    }

    fn file<R: Read>(&mut self, path: &str, head: &Head, entry: &mut TarEntry<'_, R>) -> Result<(), Fault> {
        self.fresh(path)?;
        // Before a byte of it is read: an archive cannot be larger than it says.
        self.grow(path, head.size)?;
        let mode = head.mode & 0o777 | 0o600;
        let mut out = self.sink.file(path, mode).map_err(|error| disk(path, error))?;
        let (mut hash, mut left) = (Sha256::new(), head.size);
        self.small.clear();
        while left > 0 {
            let read = entry.read(&mut self.chunk)?;
            if read == 0 {
                return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            left -= read as u64;
            let chunk = &self.chunk[..read];
            hash.update(chunk);
            if let Some(out) = &mut out {
                out.write_all(chunk).map_err(|error| disk(path, error))?;
            }
            if head.size <= TEXT_MAX {
                self.small.extend_from_slice(chunk);
            }
        }
        if has_variables(&self.small) {
            self.with_variables.push(path.to_owned());
        }
        let sha256 = <[u8; 32]>::from(hash.finalize()).into();
        self.know(path, Kind::File { size: head.size, sha256 }, mode)
    }

    /// Another name of a file that came before: for the merge it is a file of its own, and counts as one.
    fn hard_link(&mut self, path: &str, head: &Head) -> Result<(), Fault> {
        let not_a_file = || refused(path.as_bytes(), Why::HardLink(shown(&head.target)));
        let to = clean_path(&head.target).map_err(|_| not_a_file())?;
        let (kind, mode) = match self.known.get(to) {
            Some(Known { kind: kind @ Kind::File { .. }, mode, .. }) => (kind.clone(), *mode),
            Some(_) | None => return Err(not_a_file()),
        };
        if let Kind::File { size, .. } = kind {
            self.grow(path, size)?;
        }
        self.sink.hard_link(self.fresh(path)?, to).map_err(|error| disk(path, error))?;
        if self.with_variables.iter().any(|known| known == to) {
            self.with_variables.push(path.to_owned());
        }
        self.know(path, kind, mode)
    }

    fn read_rules<R: Read>(&mut self, head: &Head, entry: &mut TarEntry<'_, R>) -> Result<(), Fault> {
        let bad = |words: String| Fault::Told(ArchiveError::Rules(words));
        if self.rules.is_some() {
            return Err(refused(&head.name, Why::Twice));
        }
        if head.size > RULES_BYTES_MAX {
            return Err(bad(format!("it is larger than {RULES_BYTES_MAX} bytes")));
        }
        let mut text = Vec::new();
        entry.read_to_end(&mut text)?;
        if text.len() as u64 != head.size {
            return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let text = String::from_utf8(text).map_err(|_| bad("it is not UTF-8".to_owned()))?;
        let rules: Rules = toml::from_str(&text).map_err(|error| bad(error.message().to_owned()))?;
        for (list, paths) in [("clean", &rules.clean), ("required", &rules.required)] {
            if paths.len() > RULES_MAX {
                return Err(bad(format!("{list} has more than {RULES_MAX} paths")));
            }
            for path in paths {
                check_path(path).map_err(|why| bad(format!("{list}: {} {why}", shown(path.as_bytes()))))?;
            }
        }
        self.rules = Some(rules);
        Ok(())
    }

    fn finish(mut self) -> Result<Unpacked, ArchiveError> {
        let rules = self.rules.clone().unwrap_or_default();
        for path in &rules.clean {
            // What is removed below has a place in this layer, too: the folders above it are this layer's.
            self.make_above(path).map_err(|fault| match fault {
                Fault::Told(ArchiveError::Refused { why, .. }) => ArchiveError::Rules(format!("clean: {} {why}", shown(path.as_bytes()))),
                Fault::Told(error) => error,
                Fault::Io(error) => ArchiveError::Damaged(error),
            })?;
        }
        let is_file = |known: &Known| matches!(known.kind, Kind::File { .. });
        let files = u32::try_from(self.known.values().filter(|known| is_file(known)).count()).unwrap_or(u32::MAX);
        let entries = self.known.into_iter().map(|(path, known)| Entry { path, kind: known.kind, mode: known.mode }).collect();
        self.with_variables.sort_unstable();
        Ok(Unpacked { manifest: Manifest { entries, bytes: self.bytes, files, rules }, with_variables: self.with_variables })
    }
}
