//! Fetches a layer: download, checksum and unpacking in one pass, into a folder that gets its place at the end.
//!
//! Bytes that are not what they should be are fetched anew a few times.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::FutureExt;

use super::cache::Cache;
use super::error::{LayersError, name};
use super::probe::{OPAQUE, Way, YES};
use crate::archives::beneath::Beneath;
use crate::archives::remove::remove;
use crate::archives::{self, ArchiveError, Limits, Unpacked};
use crate::model::checksum::Checksum;
use crate::model::layers::LayerRef;
use crate::model::templates::Kind;
pub use crate::node::download::TRIES;
use crate::node::download::{self, Failed, Incoming, ReadError, Wanted, download, wait};

/// Gives the address of a layer, good for one object and a short time. Asked when it is needed, and again before each new try.
#[async_trait]
pub trait LayerUrls: Send + Sync {
    /// Where to get the archive.
    ///
    /// # Errors
    /// Why there is none, in words.
    async fn url(&self, layer: &LayerRef) -> Result<String, String>;
}

/// What one try of a whole download ended with.
enum Ended {
    Whole(Unpacked),
    /// The bytes were not those of the layer.
    Other(Checksum),
}

/// Downloads layers.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    client: reqwest::Client,
    limits: Limits,
    way: Way,
}

impl ReadError for ArchiveError {
    fn is_of_disk(&self) -> bool {
        matches!(self, ArchiveError::Disk { .. })
    }

    fn of_source(source: io::Error) -> ArchiveError {
        ArchiveError::Source(source)
    }
}

impl Fetcher {
    pub fn new(limits: Limits, way: Way) -> io::Result<Fetcher> {
        Ok(Fetcher { client: download::client()?, limits, way })
    }

    /// Fetches a layer into a fresh folder of the cache; what is left of a failure is removed.
    pub async fn fetch(
        &self,
        incoming: impl Fn() -> io::Result<PathBuf>,
        layer: &LayerRef,
        owner: Option<(u32, u32)>,
        urls: &dyn LayerUrls,
    ) -> Result<(PathBuf, Unpacked), LayersError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let folder = incoming().map_err(LayersError::disk("make a folder for a template"))?;
            let ended = self.once(&folder, layer, owner, urls).await;
            if let Ok(Ended::Whole(unpacked)) = ended {
                return Ok((folder, unpacked));
            }
            let left = folder.clone();
            let removed = tokio::task::spawn_blocking(move || remove(&left)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, folder = %folder.display(), "what is left of a template cannot be removed");
            }
            let (Ended::Other(got), expected) = (ended?, layer.sha256) else { continue };
            tracing::warn!(layer = %name(layer), %got, %expected, "a template arrived with a wrong checksum");
            if tries >= TRIES {
                return Err(LayersError::WrongChecksum { layer: name(layer), tries, expected, got });
            }
            tokio::time::sleep(wait(tries)).await;
        }
    }

    async fn once(&self, folder: &Path, layer: &LayerRef, owner: Option<(u32, u32)>, urls: &dyn LayerUrls) -> Result<Ended, LayersError> {
        let (tree, limits, way, name) = (Cache::tree_of(folder), self.limits, self.way, name(layer));
        let address = || urls.url(layer).boxed();
        let wanted = Wanted { name: &name, bytes: layer.bytes, address: &address };
        let arrived = download(&self.client, &wanted, move |read| unpack(read, &tree, limits, owner, way)).await;
        let arrived = arrived.map_err(|failed| match failed {
            Failed::Url(words) => LayersError::Url { layer: name.clone(), words },
            Failed::Gone => LayersError::Gone(name.clone()),
            Failed::Broken(words) => LayersError::Download { layer: name.clone(), words },
            Failed::Read(error) => LayersError::archive(layer, error),
        })?;
        // More or fewer bytes than there should be are other bytes.
        if arrived.sha256 != layer.sha256 || arrived.bytes != layer.bytes {
            return Ok(Ended::Other(arrived.sha256));
        }
        arrived.read.map(Ended::Whole).map_err(|error| LayersError::archive(layer, error))
    }
}

/// Unpacks, and puts the clean-list into the tree as an overlay wants it.
fn unpack(read: Incoming, tree: &Path, limits: Limits, owner: Option<(u32, u32)>, way: Way) -> Result<Unpacked, ArchiveError> {
    let unpacked = archives::unpack(read, limits, tree, owner)?;
    if way == Way::Overlay && !unpacked.manifest.rules.clean.is_empty() {
        let failed = |source| ArchiveError::Disk { entry: "the clean-list".to_owned(), source };
        let mut beneath = Beneath::open(tree, None).map_err(failed)?;
        for path in &unpacked.manifest.rules.clean {
            let entries = &unpacked.manifest.entries;
            let own = entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok().map(|at| &entries[at].kind);
            match own {
                Some(Kind::Folder) => beneath.set_attribute(path, OPAQUE, YES).map_err(failed)?,
                // A file or link hides what is below by being there.
                Some(Kind::File { .. } | Kind::Link { .. }) => {}
                None => match beneath.whiteout(path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    other => other.map_err(failed)?,
                },
            }
        }
    }
    Ok(unpacked)
}
