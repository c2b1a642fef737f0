//! Archives of templates: `.tar`, `.tar.gz` and `.tar.zst`, read once from the beginning to the end, with everything checked.
//!
//! The panel calls [`check`] while an archive is uploaded and stores nothing as usable that it refuses; a node calls [`unpack`], which
//! makes the same checks again and writes beneath a directory handle. What must stay true: no entry, link or name leads out of the
//! root; memory is bounded by [`Limits`], whatever the archive says of itself; every refusal names the entry.
//!
//! | file | what it does |
//! | --- | --- |
//! | `open` | tells the formats apart by their first bytes |
//! | `heads` | entries with their long names put together |
//! | `entries` | the rules |
//! | `beneath` | files and folders below a directory handle |
//! | `remove` | the one way in which whole folders go |

pub mod beneath;
mod entries;
pub(crate) mod heads;
mod open;
pub mod remove;
#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::path::Path;

use crate::model::templates::{BadPath, Manifest};
use beneath::Beneath;
use entries::{Nowhere, Reading};

/// How much an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most files, folders and links.
    pub entries: usize,
    /// Most bytes of all files together.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: ENTRIES_MAX, bytes: BYTES_MAX }
    }
}

/// Most entries of an archive where nobody says otherwise.
pub const ENTRIES_MAX: usize = 100_000;
/// Most unpacked bytes of an archive where nobody says otherwise.
pub const BYTES_MAX: u64 = 20 << 30;
/// Most bytes of the rules at its root.
pub const RULES_BYTES_MAX: u64 = 64 << 10;

/// Why an entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Its path.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// Its name is not UTF-8.
    #[error("has a name that is not UTF-8")]
    NotUtf8,
    /// A device, a pipe, a sparse file, a volume label, ...
    #[error("is {0}; only files, folders and links can be in a template")]
    Kind(&'static str),
    /// Setuid, setgid or sticky.
    #[error("has setuid, setgid or sticky bits (mode {0:o}); take them away with chmod")]
    Bits(u32),
    /// Twice in the archive.
    #[error("is in the archive twice")]
    Twice,
    /// Below something that is no folder.
    #[error("lies below {0}, which is not a folder")]
    Below(String),
    /// A link with a target that is empty, too long or not UTF-8.
    #[error("is a link whose target is not a path")]
    Target,
    /// A link that leaves the root, or could.
    #[error(
        "is a link to {0}, which leads out of the template, or could: a target is relative, with \"..\" only at its beginning, and not above the root"
    )]
    Leaves(String),
    /// A hard link to what is not a file that came before.
    #[error("is a hard link to {0}, which is not a file that came before it")]
    HardLink(String),
    /// Its size is told in two ways that differ.
    #[error("says two different things about itself")]
    TwoTongues,
}

/// Why an archive is refused, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Something else.
    #[error("this is not a .tar, .tar.gz or .tar.zst archive")]
    NotAnArchive,
    /// Cut off or broken.
    #[error("the archive is cut off or damaged; make it anew")]
    Damaged(#[source] io::Error),
    /// Wants more memory to unpack than anybody has here.
    #[error("the archive was compressed with a window of more than 32 MiB; compress it with zstd -19 or lower, without --long")]
    Window,
    /// One entry is not what a template can hold.
    #[error("{entry} {why}")]
    Refused {
        /// Which, shortened.
        entry: String,
        /// Why.
        why: Why,
    },
    /// Too many entries.
    #[error("the archive has more than {0} entries")]
    TooMany(usize),
    /// Names that are too long all together.
    #[error("the names in the archive have more than {0} bytes together")]
    LongNames(usize),
    /// Too many bytes.
    #[error("the archive holds more than {limit} bytes unpacked, at {entry}")]
    TooLarge {
        /// Most bytes.
        limit: u64,
        /// Where it became too much.
        entry: String,
    },
    /// The rules at its root.
    #[error("roost.toml in the archive cannot be used: {0}")]
    Rules(String),
    /// Whoever gives the bytes broke off.
    #[error("the archive did not arrive whole")]
    Source(#[source] io::Error),
    /// The disk that it is unpacked to.
    #[error("{entry} cannot be written")]
    Disk {
        /// Which.
        entry: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl ArchiveError {
    /// The disk is full.
    pub fn disk_is_full(&self) -> bool {
        match self {
            ArchiveError::Disk { source, .. } => matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            ArchiveError::NotAnArchive
            | ArchiveError::Damaged(_)
            | ArchiveError::Window
            | ArchiveError::Refused { .. }
            | ArchiveError::TooMany(_)
            | ArchiveError::LongNames(_)
            | ArchiveError::TooLarge { .. }
            | ArchiveError::Rules(_)
            | ArchiveError::Source(_) => false,
        }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Everything in it.
    pub manifest: Manifest,
    /// Files in which variables may have to be put in, sorted.
    pub with_variables: Vec<String>,
}

/// Reads an archive to its end and says what is in it. Blocks.
pub fn check(read: impl Read, limits: Limits) -> Result<Manifest, ArchiveError> {
    Ok(Reading::new(limits, Nowhere).run(read)?.manifest)
}

/// Reads an archive to its end and writes what is in it into an empty folder, for an owner where one is named. Blocks. What was written
/// before an error stays, for the caller to remove.
pub fn unpack(read: impl Read, limits: Limits, folder: &Path, owner: Option<(u32, u32)>) -> Result<Unpacked, ArchiveError> {
    let opened = Beneath::open(folder, owner);
    let beneath = opened.map_err(|source| ArchiveError::Disk { entry: folder.display().to_string(), source })?;
    Reading::new(limits, beneath).run(read)
}
