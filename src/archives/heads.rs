//! The head of an entry: its name, kind, mode and size, with the long names of GNU and pax put together.
//!
//! Two readers of one archive must not understand it differently, so whatever is said twice has to be the same, and what is not needed
//! is not tolerated where it could change the meaning.

use std::io::{self, Read};

use tar::{Entry, EntryType, PaxExtensions};

use super::{ArchiveError, Why};

/// Most bytes of a long name or of pax records.
const EXTRA_MAX: u64 = 64 << 10;
/// Most characters of a name in a message.
const SHOWN_MAX: usize = 200;

/// Why reading stopped: the bytes, or what they say.
pub enum Fault {
    Io(io::Error),
    Told(ArchiveError),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

/// A name as it can be shown: short, and without anything that moves a cursor.
pub fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let plain: String = text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if plain.is_empty() { "an entry".to_owned() } else { format!("\"{plain}\"") }
}

pub fn refused(name: &[u8], why: impl Into<Why>) -> Fault {
    Fault::Told(ArchiveError::Refused { entry: shown(name), why: why.into() })
}

/// What an entry says of itself.
pub struct Head {
    /// As it stands in the archive.
    pub name: Vec<u8>,
    pub kind: EntryType,
    pub mode: u32,
    pub size: u64,
    /// Of a link.
    pub target: Vec<u8>,
    /// The length of a file with holes, whose content begins with a map; none: its content is itself.
    pub sparse: Option<u64>,
}

/// What stands before an entry and belongs to it.
#[derive(Default)]
pub struct Extras {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    pax: Option<Pax>,
    takes_sparse: bool,
}

#[derive(Default)]
struct Pax {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
    map: SparseMap,
}

/// What is said of a file with holes.
#[derive(Default)]
struct SparseMap {
    version: [Option<Vec<u8>>; 2],
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

fn read_extra<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    if entry.size() > EXTRA_MAX {
        return Err(refused(&entry.path_bytes(), crate::model::templates::BadPath::Long));
    }
    entry.read_to_end(&mut bytes)?;
    if bytes.len() as u64 != entry.size() {
        return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// Takes a value that may be said only once.
fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Fault> {
    let twice = slot.replace(value).is_some();
    if twice { Err(refused(b"", Why::TwoTongues)) } else { Ok(()) }
}

fn read_number(value: &[u8]) -> Result<u64, Fault> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| refused(b"", Why::TwoTongues))
}

fn read_pax(bytes: &[u8]) -> Result<Pax, Fault> {
    let mut pax = Pax::default();
    for record in PaxExtensions::new(bytes) {
        let record = record?;
        let value = record.value_bytes();
        match record.key_bytes() {
            b"path" => once(&mut pax.name, value.to_vec())?,
            b"linkpath" => once(&mut pax.target, value.to_vec())?,
            b"size" => once(&mut pax.size, read_number(value)?)?,
            key if key.starts_with(b"GNU.sparse") => {
                pax.sparse = true;
                match key {
                    b"GNU.sparse.major" => once(&mut pax.map.version[0], value.to_vec())?,
                    b"GNU.sparse.minor" => once(&mut pax.map.version[1], value.to_vec())?,
                    b"GNU.sparse.name" => once(&mut pax.map.name, value.to_vec())?,
                    b"GNU.sparse.realsize" => once(&mut pax.map.size, read_number(value)?)?,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Ok(pax)
}

impl Extras {
    /// For archives in which files with holes are expected, with a map of the only version that has everything in one place.
    pub fn with_sparse() -> Extras {
        Extras { takes_sparse: true, ..Extras::default() }
    }

    /// Takes what belongs to the next entry; none: this is an entry.
    pub fn take<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<Option<Head>, Fault> {
        match entry.header().entry_type() {
            EntryType::GNULongName => once(&mut self.name, until_nul(read_extra(entry)?))?,
            EntryType::GNULongLink => once(&mut self.target, until_nul(read_extra(entry)?))?,
            EntryType::XHeader => once(&mut self.pax, read_pax(&read_extra(entry)?)?)?,
            EntryType::XGlobalHeader => {
                // Tools write comments here. What would rename or resize every entry is nobody's honest archive.
                let pax = read_pax(&read_extra(entry)?)?;
                if pax.name.is_some() || pax.target.is_some() || pax.size.is_some() || pax.sparse {
                    return Err(refused(b"", Why::TwoTongues));
                }
            }
            _ => return self.head(entry).map(Some),
        }
        Ok(None)
    }

    /// True: something stands there that belongs to an entry which did not come.
    pub fn waits(&self) -> bool {
        self.name.is_some() || self.target.is_some() || self.pax.is_some()
    }

    fn head<R: Read>(&mut self, entry: &Entry<'_, R>) -> Result<Head, Fault> {
        let header = entry.header();
        let takes_sparse = self.takes_sparse;
        let extras = std::mem::replace(self, Extras { takes_sparse, ..Extras::default() });
        let mut pax = extras.pax.unwrap_or_default();
        let mut sparse = None;
        if takes_sparse
            && pax.sparse
            && pax.name.is_none()
            && extras.name.is_none()
            && pax.map.version == [Some(b"1".to_vec()), Some(b"0".to_vec())]
            && header.entry_type() == EntryType::Regular
        {
            (pax.name, sparse) = (pax.map.name, pax.map.size);
            pax.sparse = pax.name.is_none() || sparse.is_none();
        }
        let name = pax.name.or(extras.name).unwrap_or_else(|| header.path_bytes().into_owned());
        let target = pax.target.or(extras.target).or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        if pax.sparse {
            return Err(refused(&name, Why::Kind("a sparse file")));
        }
        let size = entry.size();
        if pax.size.is_some_and(|said| said != size) {
            return Err(refused(&name, Why::TwoTongues));
        }
        // The type of the file may stand above the mode.
        let mode = header.mode()? & 0o7777;
        Ok(Head { name, kind: header.entry_type(), mode, size, target: target.unwrap_or_default(), sparse })
    }
}
