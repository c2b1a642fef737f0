//! Objects in a folder of the panel, with the same promises as a bucket: whole or not at all, addresses for one object and one verb.
//!
//! `<root>/<key>` is the object. What comes is written to `<root>/.incoming/` and renamed; parts of somebody else's upload wait in
//! `<root>/.uploads/<id>/`. Keys hold no part that begins with a dot, so neither can be named from outside, and no link is followed
//! anywhere below the root. Addresses are signed by `links` and answered by `serve`.

mod disk;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::count::Counts;
use super::links::{self, BadLink, Link};
use super::{
    Body, Download, ObjectError, ObjectKey, ObjectStore, PAGE_MAX, Page, PageToken, Part, Prefix, Stored, UploadId, Verb, check_lasts,
    check_number,
};
use crate::model::time::{Clock, DAY, SECOND};
use disk::{Disk, Incoming};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// Largest object or part that is taken at one address, as S3 has it.
pub const PUT_MAX: u64 = 5 << 30;
/// An upload that nobody finished is forgotten after this long, in milliseconds.
pub const UPLOAD_LASTS: i64 = 7 * DAY;

const COUNTS: Counts = Counts("folder");

/// A folder of objects.
#[derive(Clone)]
pub struct FolderStore {
    disk: Disk,
    base: String,
    secret: Arc<[u8]>,
    clock: Arc<dyn Clock>,
}

impl FolderStore {
    /// Makes the folder where it is not there, and clears what a kill left. `base` is where the panel is reached, such as
    /// `https://panel.example.org`; `secret` signs the addresses.
    pub async fn open(root: &Path, base: &str, secret: &[u8], clock: Arc<dyn Clock>) -> Result<FolderStore, ObjectError> {
        let disk = Disk::new(root);
        let forgotten = clock.now() - UPLOAD_LASTS;
        disk.run("open the object folder", move |disk| disk.prepare(forgotten)).await?;
        Ok(FolderStore { disk, base: base.to_owned(), secret: secret.into(), clock })
    }

    /// Believes an address of this folder, or says why not; see [`links::verify`].
    pub fn verify(&self, verb: Verb, key: &str, query: &str) -> Result<Link, BadLink> {
        links::verify(&self.secret, verb, key, query, self.clock.now())
    }

    /// Takes what was put at a believed address; gives the `ETag` for the answer.
    pub async fn receive(&self, link: &Link, body: Body) -> Result<String, ObjectError> {
        let path = match &link.part {
            None => None,
            Some((upload, number)) => {
                let (key, upload, number) = (link.key.clone(), upload.clone(), *number);
                Some(self.disk.run("take a part", move |disk| disk.part(&key, &upload, number)).await?)
            }
        };
        let stored = self.write(&link.key, path, body, PUT_MAX).await?;
        Ok(format!("\"{}\"", stored.sha256))
    }

    /// Writes beside and renames: to the object, or to the path of a part.
    async fn write(&self, key: &ObjectKey, part: Option<PathBuf>, mut body: Body, limit: u64) -> Result<Stored, ObjectError> {
        let incoming = self.disk.run("begin a file", Disk::incoming).await?;
        let mut file = tokio::fs::File::from_std(incoming.handle().map_err(|error| disk::told("begin a file", error))?);
        // Fewer, larger hand-overs to the thread that writes.
        file.set_max_buf_size(CHUNK * 4);
        let (mut bytes, mut hash) = (0_u64, Sha256::new());
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(ObjectError::Body)?;
            bytes += chunk.len() as u64;
            if bytes > limit {
                return Err(ObjectError::TooLarge(limit));
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(|error| disk::told("write a file", error))?;
            COUNTS.taken(chunk.len());
        }
        file.flush().await.map_err(|error| disk::told("write a file", error))?;
        drop(file);
        let sum: [u8; 32] = hash.finalize().into();
        let (key, tag) = (key.clone(), hex::encode(sum));
        let place = move |disk: &Disk| match part {
            Some(path) => disk.place_part(incoming, &path, &tag),
            None => disk.place(incoming, &key),
        };
        self.disk.run("put a file in its place", place).await?;
        Ok(Stored { bytes, sha256: sum.into() })
    }

    fn address(&self, verb: Verb, key: &ObjectKey, part: Option<(UploadId, u32)>, lasts: Duration) -> Result<String, ObjectError> {
        let expires = (self.clock.now() + check_lasts(lasts)?).0.div_euclid(SECOND);
        Ok(links::sign(&self.secret, &self.base, &Link { verb, key: key.clone(), expires, part }))
    }

    async fn read(&self, key: &ObjectKey, from: u64) -> Result<Download, ObjectError> {
        let named = key.clone();
        let (file, bytes) = self.disk.run("read an object", move |disk| disk.open(&named)).await?;
        if from > bytes {
            return Err(ObjectError::PastTheEnd { key: key.clone(), bytes });
        }
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(CHUNK);
        file.seek(std::io::SeekFrom::Start(from)).await.map_err(|error| disk::told("read an object", error))?;
        let body = stream::try_unfold(file, |mut file| async move {
            let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
            let read = file.read_buf(&mut chunk).await?;
            COUNTS.given(read);
            Ok((read > 0).then(|| (Bytes::from(chunk), file)))
        });
        Ok(Download { bytes, body: Box::pin(body) })
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put(&self, key: &ObjectKey, body: Body) -> Result<Stored, ObjectError> {
        COUNTS.request("put", self.write(key, None, body, u64::MAX).await)
    }

    async fn get(&self, key: &ObjectKey, from: u64) -> Result<Download, ObjectError> {
        COUNTS.request("get", self.read(key, from).await)
    }

    async fn head(&self, key: &ObjectKey) -> Result<u64, ObjectError> {
        let key = key.clone();
        COUNTS.request("head", self.disk.run("look at an object", move |disk| disk.open(&key).map(|(_, bytes)| bytes)).await)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let key = key.clone();
        COUNTS.request("delete", self.disk.run("remove an object", move |disk| disk.delete(&key)).await)
    }

    async fn list(&self, prefix: &Prefix, from: Option<&PageToken>, limit: u16) -> Result<Page, ObjectError> {
        let (prefix, from, limit) = (prefix.clone(), from.map(|token| token.0.clone()), usize::from(limit.clamp(1, PAGE_MAX)));
        let list = move |disk: &Disk| disk.list(prefix.as_str(), from.as_deref(), limit);
        COUNTS.request("list", self.disk.run("list objects", list).await)
    }

    async fn sign(&self, verb: Verb, key: &ObjectKey, lasts: Duration) -> Result<String, ObjectError> {
        self.address(verb, key, None, lasts)
    }

    async fn begin_upload(&self, key: &ObjectKey) -> Result<UploadId, ObjectError> {
        let key = key.clone();
        COUNTS.request("begin_upload", self.disk.run("begin an upload", move |disk| disk.begin_upload(&key)).await)
    }

    async fn sign_part(&self, key: &ObjectKey, upload: &UploadId, number: u32, lasts: Duration) -> Result<String, ObjectError> {
        self.address(Verb::Put, key, Some((upload.clone(), check_number(number)?)), lasts)
    }

    async fn finish_upload(&self, key: &ObjectKey, upload: &UploadId, parts: &[Part]) -> Result<(), ObjectError> {
        let (key, upload, mut parts) = (key.clone(), upload.clone(), parts.to_vec());
        parts.sort_by_key(|part| part.number);
        let finish = move |disk: &Disk| disk.finish_upload(&key, &upload, &parts);
        COUNTS.request("finish_upload", self.disk.run("put parts together", finish).await)
    }

    async fn abort_upload(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), ObjectError> {
        let (key, upload) = (key.clone(), upload.clone());
        COUNTS.request("abort_upload", self.disk.run("give an upload up", move |disk| disk.abort_upload(&key, &upload)).await)
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Incoming")
    }
}
