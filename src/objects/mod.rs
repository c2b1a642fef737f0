//! The object store: template archives and backups, in a bucket of any S3 or in a folder of the panel.
//!
//! `cli` makes one [`ObjectStore`] from the settings; `domain` puts, gets and signs. Nodes hold no key to it: they get addresses that
//! are good for one object and one verb, for a short time. What must stay true: an object is there whole or not at all; nothing is
//! ever held in memory whole; an object's name leads nowhere but to that object.
//!
//! | file | what it does |
//! | --- | --- |
//! | `key` | names |
//! | `s3` | any S3, path style |
//! | `folder` | a folder, files written beside and renamed |
//! | `links`, `serve` | the folder's signed addresses, and who answers at them |
//! | `count` | requests, bytes and failures, counted |

mod count;
pub mod folder;
mod key;
pub mod links;
pub mod s3;
pub mod serve;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

pub use crate::model::checksum::Checksum;
pub use key::{KEY_MAX, NotAKey, ObjectKey, PART_MAX, Prefix};

/// Most objects of one page of a list.
pub const PAGE_MAX: u16 = 1_000;
/// Highest number of a part, as S3 has it.
pub const PARTS_MAX: u32 = 10_000;
/// Longest time that an address is good for, as S3 has it.
pub const LASTS_MAX: Duration = Duration::from_hours(7 * 24);

/// Bytes as they come. An error ends it.
pub type Body = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// What may be done at a signed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read the object.
    Get,
    /// Write the object, or a part of it.
    Put,
}

impl Verb {
    /// `get` or `put`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Put => "put",
        }
    }
}

/// What was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// How many bytes.
    pub bytes: u64,
    /// Of all of them.
    pub sha256: Checksum,
}

/// An object on its way here.
pub struct Download {
    /// Bytes of the whole object, wherever the stream begins.
    pub bytes: u64,
    /// From the offset to the end. A connection that breaks is taken up again where it was.
    pub body: Body,
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: ObjectKey,
    /// Its size.
    pub bytes: u64,
}

/// One page of a list, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most as many as were asked for.
    pub objects: Vec<Listed>,
    /// Where the next page begins; none: this was the last one.
    pub next: Option<PageToken>,
}

/// Where a page begins. Only the store that gave it can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(pub(in crate::objects) String);

/// An upload in parts that somebody else makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadId(pub String);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part that was put at its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 1 to [`PARTS_MAX`].
    pub number: u32,
    /// The `ETag` header of the answer.
    pub etag: String,
}

/// Why the object store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// No such object.
    #[error("there is no object {0}")]
    Missing(ObjectKey),
    /// No such upload: never begun, finished, or given up.
    #[error("the upload of {0} is not under way; begin it anew")]
    NoUpload(ObjectKey),
    /// The parts that were named are not the parts that came.
    #[error("the parts of {key} cannot be put together: {why}")]
    BadParts {
        /// Of which object.
        key: ObjectKey,
        /// In words.
        why: String,
    },
    /// The store does not believe us.
    #[error("the object store refuses the credentials: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, S3_REGION and the bucket's rules")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The bucket is not there.
    #[error("the bucket {0} does not exist: make it, or set S3_BUCKET to one that is there")]
    NoBucket(String),
    /// The store cannot be reached, or breaks off again and again.
    #[error("the object store does not answer; check S3_ENDPOINT and the network, then try again")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store said no for another reason.
    #[error("the object store cannot {what}")]
    Failed {
        /// What was asked of it.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk of the folder.
    #[error("the disk of the object folder is full: free some space, then try again")]
    Full,
    /// Whoever gave the bytes broke off.
    #[error("the upload broke off before its end; send it again")]
    Body(#[source] io::Error),
    /// More bytes than one object can have.
    #[error("the object is larger than {0} bytes, and cannot be stored")]
    TooLarge(u64),
    /// The offset is past the end.
    #[error("{key} has only {bytes} bytes")]
    PastTheEnd {
        /// Which.
        key: ObjectKey,
        /// How many there are.
        bytes: u64,
    },
    /// A number of a part, or a time, that cannot be.
    #[error("{0}")]
    OutOfRange(&'static str),
}

impl ObjectError {
    /// Worth trying again without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            ObjectError::Away(_) | ObjectError::Full | ObjectError::Body(_) | ObjectError::Failed { .. } => true,
            ObjectError::Missing(_)
            | ObjectError::NoUpload(_)
            | ObjectError::BadParts { .. }
            | ObjectError::Refused(_)
            | ObjectError::NoBucket(_)
            | ObjectError::TooLarge(_)
            | ObjectError::PastTheEnd { .. }
            | ObjectError::OutOfRange(_) => false,
        }
    }
}

/// Where objects are kept. Every call may be made again; nothing that failed leaves anything that can be read.
#[async_trait]
pub trait ObjectStore: Send + Sync + 'static {
    /// Stores what comes, however long it is; an object of that name is replaced as a whole.
    async fn put(&self, key: &ObjectKey, body: Body) -> Result<Stored, ObjectError>;
    /// The object from an offset, in bytes, to its end.
    async fn get(&self, key: &ObjectKey, from: u64) -> Result<Download, ObjectError>;
    /// Bytes of the object.
    async fn head(&self, key: &ObjectKey) -> Result<u64, ObjectError>;
    /// Removes the object. One that is not there is removed.
    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError>;
    /// At most `limit` objects, and at most [`PAGE_MAX`], whose names begin so.
    async fn list(&self, prefix: &Prefix, from: Option<&PageToken>, limit: u16) -> Result<Page, ObjectError>;
    /// An address that is good for one object, one verb and so long; whole seconds, at most [`LASTS_MAX`].
    async fn sign(&self, verb: Verb, key: &ObjectKey, lasts: Duration) -> Result<String, ObjectError>;
    /// Begins an upload in parts that somebody else will make.
    async fn begin_upload(&self, key: &ObjectKey) -> Result<UploadId, ObjectError>;
    /// The address to PUT one part at. All parts but the last have at least 5 MiB.
    async fn sign_part(&self, key: &ObjectKey, upload: &UploadId, number: u32, lasts: Duration) -> Result<String, ObjectError>;
    /// Puts the parts together, in the order of their numbers. Before this, nothing of the object can be read.
    async fn finish_upload(&self, key: &ObjectKey, upload: &UploadId, parts: &[Part]) -> Result<(), ObjectError>;
    /// Gives the upload up and forgets its parts. One that is not there is given up.
    async fn abort_upload(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), ObjectError>;
}

fn check_number(number: u32) -> Result<u32, ObjectError> {
    let fits = (1..=PARTS_MAX).contains(&number);
    fits.then_some(number).ok_or(ObjectError::OutOfRange("the number of a part is from 1 to 10000"))
}

fn check_lasts(lasts: Duration) -> Result<Duration, ObjectError> {
    let fits = (Duration::from_secs(1)..=LASTS_MAX).contains(&lasts);
    fits.then_some(lasts).ok_or(ObjectError::OutOfRange("an address is good for one second to seven days"))
}
