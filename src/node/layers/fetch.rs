//! Fetches a layer: download, checksum and unpacking in one pass, into a folder that gets its place at the end.
//!
//! Bytes go through a bounded channel to a thread that unpacks them, so memory does not grow with the archive. A connection that breaks is
//! taken up where it was, with a fresh address and growing waits; bytes that are not what they should be are fetched anew a few times.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use reqwest::{StatusCode, header, redirect};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::cache::Cache;
use super::error::{LayersError, name};
use super::probe::{OPAQUE, Way, YES};
use crate::archives::beneath::Beneath;
use crate::archives::{self, ArchiveError, Limits, Unpacked};
use crate::model::checksum::Checksum;
use crate::model::layers::LayerRef;
use crate::model::templates::Kind;

/// Pieces of a download that wait for the thread that unpacks.
const QUEUE: usize = 16;
/// Tries of one place in a download, and of the whole where the checksum is wrong.
pub const TRIES: u32 = 4;
/// Times that one download is taken up again, however far it came.
const RESUMES_MAX: u32 = 64;
/// Wait before the second try; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(250);
/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest silence in a download.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Times that a store may send us on.
const REDIRECTS_MAX: usize = 2;

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

/// A download on its way: how far it is, and how often it broke.
struct Download {
    at: u64,
    hash: Sha256,
    tries: u32,
    resumes: u32,
    words: String,
}

/// Reads what comes through the channel; its end without an error is the end of the archive.
struct Incoming {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

fn wait(tries: u32) -> Duration {
    WAIT_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(WAIT_MAX)
}

impl Fetcher {
    pub fn new(limits: Limits, way: Way) -> io::Result<Fetcher> {
        // Another part of the process may have said it before.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().connect_timeout(CONNECT_MAX).read_timeout(SILENCE_MAX);
        let client = client.redirect(redirect::Policy::limited(REDIRECTS_MAX)).build().map_err(io::Error::other)?;
        Ok(Fetcher { client, limits, way })
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
            let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(left)).await;
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
        let (to, pieces) = mpsc::channel(QUEUE);
        let (tree, limits, way) = (Cache::tree_of(folder), self.limits, self.way);
        let unpacking = tokio::task::spawn_blocking(move || unpack(Incoming { pieces, piece: Bytes::new() }, &tree, limits, owner, way));
        let unpacking = Unpacking { to: Some(to), thread: Some(unpacking) };
        self.download(layer, urls, unpacking).await
    }

    async fn download(&self, layer: &LayerRef, urls: &dyn LayerUrls, mut unpacking: Unpacking) -> Result<Ended, LayersError> {
        let mut download = Download { at: 0, hash: Sha256::new(), tries: 0, resumes: 0, words: String::new() };
        while download.at < layer.bytes {
            let before = download.at;
            match self.stretch(layer, urls, &mut download, &mut unpacking).await {
                Ok(()) => {}
                Err(error) => {
                    unpacking.give_up(&download.words).await;
                    return Err(error);
                }
            }
            if download.at >= layer.bytes {
                break;
            }
            download.tries = if download.at > before { 1 } else { download.tries + 1 };
            download.resumes += 1;
            if download.tries >= TRIES || download.resumes >= RESUMES_MAX {
                unpacking.give_up(&download.words).await;
                return Err(LayersError::Download { layer: name(layer), words: download.words });
            }
            tracing::info!(layer = %name(layer), at = download.at, words = %download.words, "a download is taken up again");
            tokio::time::sleep(wait(download.tries)).await;
        }
        let got = Checksum::from(<[u8; 32]>::from(download.hash.finalize()));
        let unpacked = unpacking.end().await;
        // More or fewer bytes than there should be are other bytes.
        if got != layer.sha256 || download.at != layer.bytes {
            return Ok(Ended::Other(got));
        }
        unpacked.map(Ended::Whole).map_err(|error| LayersError::archive(layer, error))
    }

    /// One connection, for as long as it holds.
    async fn stretch(
        &self,
        layer: &LayerRef,
        urls: &dyn LayerUrls,
        download: &mut Download,
        unpacking: &mut Unpacking,
    ) -> Result<(), LayersError> {
        let url = urls.url(layer).await.map_err(|words| LayersError::Url { layer: name(layer), words })?;
        let mut request = self.client.get(url);
        if download.at > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", download.at));
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                download.broke(error);
                return Ok(());
            }
        };
        // A store that knows no ranges begins anew: what is known already is passed over.
        let mut known = match response.status() {
            StatusCode::PARTIAL_CONTENT if download.at > 0 && begins_at(&response, download.at) => 0,
            StatusCode::OK => download.at,
            StatusCode::NOT_FOUND => return Err(LayersError::Gone(name(layer))),
            status => {
                download.words = format!("the object store answered {status}");
                return Ok(());
            }
        };
        loop {
            let mut piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    "the download ended too early".clone_into(&mut download.words);
                    return Ok(());
                }
                Err(error) => {
                    download.broke(error);
                    return Ok(());
                }
            };
            let passed = known.min(piece.len() as u64);
            known -= passed;
            piece.advance(usize::try_from(passed).unwrap_or(usize::MAX));
            if piece.is_empty() {
                continue;
            }
            download.at += piece.len() as u64;
            download.hash.update(&piece);
            if let Some(error) = unpacking.send(piece).await {
                return Err(LayersError::archive(layer, error));
            }
            if download.at > layer.bytes {
                return Ok(());
            }
        }
    }
}

impl Download {
    /// A connection that broke is no failure yet. The address is a secret and stays out of the words.
    fn broke(&mut self, error: reqwest::Error) {
        let error = error.without_url();
        let mut words = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            words = cause.to_string();
            source = cause.source();
        }
        self.words = words;
    }
}

fn begins_at(response: &reqwest::Response, at: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok()) == Some(at)
}

/// The thread that unpacks, and the way to it.
struct Unpacking {
    to: Option<mpsc::Sender<io::Result<Bytes>>>,
    thread: Option<JoinHandle<Result<Unpacked, ArchiveError>>>,
}

impl Unpacking {
    /// Passes a piece on. Where the thread has ended before its time, only a disk that failed ends the download, too: whether the
    /// archive or the way here is to blame is known when the checksum is.
    async fn send(&mut self, piece: Bytes) -> Option<ArchiveError> {
        if let Some(to) = &self.to
            && to.send(Ok(piece)).await.is_err()
        {
            self.to = None;
            if let Some(thread) = self.thread.take() {
                let ended = joined(thread).await;
                if let Err(error @ ArchiveError::Disk { .. }) = ended {
                    return Some(error);
                }
                self.thread = Some(tokio::task::spawn_blocking(move || ended));
            }
        }
        None
    }

    async fn end(mut self) -> Result<Unpacked, ArchiveError> {
        self.to = None;
        match self.thread.take() {
            Some(thread) => joined(thread).await,
            None => Err(ArchiveError::Source(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Ends the thread, and waits until it touches the disk no more.
    async fn give_up(self, words: &str) {
        if let Some(to) = &self.to {
            let _ = to.send(Err(io::Error::other(words.to_owned()))).await;
        }
        drop(self.end().await);
    }
}

async fn joined(thread: JoinHandle<Result<Unpacked, ArchiveError>>) -> Result<Unpacked, ArchiveError> {
    thread.await.unwrap_or_else(|error| Err(ArchiveError::Source(io::Error::other(error))))
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
