//! One object out of the object store: downloaded, hashed and read by a thread in one pass.
//!
//! Called for layers and for backups. Bytes go through a bounded channel to the thread, so memory does not grow with the object. A
//! connection that breaks is taken up where it was, with a fresh address and growing waits. Whether the bytes are the right ones is for
//! the caller to compare, before anything that was made of them is used.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use reqwest::{StatusCode, header, redirect};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::model::checksum::Checksum;

/// Pieces of a download that wait for the thread that reads them.
const QUEUE: usize = 16;
/// Tries of one place in a download.
pub const TRIES: u32 = 4;
/// Times that one download is taken up again, however far it came.
const RESUMES_MAX: u32 = 64;
/// Wait before the second try; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(250);
/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest silence on a connection.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Times that a store may send us on.
const REDIRECTS_MAX: usize = 2;

/// What the thread that reads may say of its failure.
pub trait ReadError: Send + 'static {
    /// The disk failed: more bytes do not help.
    fn is_of_disk(&self) -> bool;
    /// The thread is lost, or the bytes did not come.
    fn of_source(source: io::Error) -> Self;
}

/// Why an object did not come.
#[derive(Debug)]
pub enum Failed<E> {
    /// There is no address for it, in words.
    Url(String),
    /// It is not there.
    Gone,
    /// It does not arrive: what the last try said.
    Broken(String),
    /// The thread that reads it has a disk that failed.
    Read(E),
}

/// All bytes have come.
#[derive(Debug)]
pub struct Arrived<T, E> {
    /// Of what came.
    pub sha256: Checksum,
    /// How many came: more than wanted means that there are more, not how many.
    pub bytes: u64,
    /// What the thread made of them.
    pub read: Result<T, E>,
}

/// Where to get the object, asked before each try.
pub type Address<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<String, String>> + Sync);

/// Which object.
pub struct Wanted<'a> {
    /// For the log.
    pub name: &'a str,
    /// Its size.
    pub bytes: u64,
    /// Where it is.
    pub address: Address<'a>,
}

/// Reads what comes through the channel; its end without an error is the end of the object.
pub struct Incoming {
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

/// A download on its way: how far it is, and how often it broke.
struct Download {
    at: u64,
    hash: Sha256,
    tries: u32,
    resumes: u32,
    words: String,
}

/// Wait after so many tries.
pub fn wait(tries: u32) -> Duration {
    WAIT_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(WAIT_MAX)
}

/// A client for the object store.
pub fn client() -> io::Result<reqwest::Client> {
    // Another part of the process may have said it before.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().connect_timeout(CONNECT_MAX).read_timeout(SILENCE_MAX);
    client.redirect(redirect::Policy::limited(REDIRECTS_MAX)).build().map_err(io::Error::other)
}

/// A client that sends: how long that takes is for whoever sends to bound.
pub fn uploader() -> io::Result<reqwest::Client> {
    let _already = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().connect_timeout(CONNECT_MAX).redirect(redirect::Policy::none()).build().map_err(io::Error::other)
}

/// What went wrong with a connection. The address is a secret and stays out of the words.
pub fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        words = cause.to_string();
        source = cause.source();
    }
    words
}

/// Gets an object and has it read by a thread of its own.
pub async fn download<T: Send + 'static, E: ReadError>(
    client: &reqwest::Client,
    wanted: &Wanted<'_>,
    read: impl FnOnce(Incoming) -> Result<T, E> + Send + 'static,
) -> Result<Arrived<T, E>, Failed<E>> {
    let (to, pieces) = mpsc::channel(QUEUE);
    let thread = tokio::task::spawn_blocking(move || read(Incoming { pieces, piece: Bytes::new() }));
    let mut reading = Reading { to: Some(to), thread: Some(thread) };
    let mut download = Download { at: 0, hash: Sha256::new(), tries: 0, resumes: 0, words: String::new() };
    while download.at < wanted.bytes {
        let before = download.at;
        if let Err(error) = download.stretch(client, wanted, &mut reading).await {
            reading.give_up(&download.words).await;
            return Err(error);
        }
        if download.at >= wanted.bytes {
            break;
        }
        download.tries = if download.at > before { 1 } else { download.tries + 1 };
        download.resumes += 1;
        if download.tries >= TRIES || download.resumes >= RESUMES_MAX {
            reading.give_up(&download.words).await;
            return Err(Failed::Broken(download.words));
        }
        tracing::info!(name = wanted.name, at = download.at, words = %download.words, "a download is taken up again");
        tokio::time::sleep(wait(download.tries)).await;
    }
    let sha256 = Checksum::from(<[u8; 32]>::from(download.hash.finalize()));
    Ok(Arrived { sha256, bytes: download.at, read: reading.end().await })
}

impl Download {
    /// One connection, for as long as it holds.
    async fn stretch<T: Send + 'static, E: ReadError>(
        &mut self,
        client: &reqwest::Client,
        wanted: &Wanted<'_>,
        reading: &mut Reading<T, E>,
    ) -> Result<(), Failed<E>> {
        let mut request = client.get((wanted.address)().await.map_err(Failed::Url)?);
        if self.at > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.at));
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                self.words = words(error);
                return Ok(());
            }
        };
        // A store that knows no ranges begins anew: what is known already is passed over.
        let mut known = match response.status() {
            StatusCode::PARTIAL_CONTENT if self.at > 0 && begins_at(&response, self.at) => 0,
            StatusCode::OK => self.at,
            StatusCode::NOT_FOUND => return Err(Failed::Gone),
            status => {
                self.words = format!("the object store answered {status}");
                return Ok(());
            }
        };
        loop {
            let mut piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    "the download ended too early".clone_into(&mut self.words);
                    return Ok(());
                }
                Err(error) => {
                    self.words = words(error);
                    return Ok(());
                }
            };
            let passed = known.min(piece.len() as u64);
            known -= passed;
            piece.advance(usize::try_from(passed).unwrap_or(usize::MAX));
            if piece.is_empty() {
                continue;
            }
            self.at += piece.len() as u64;
            self.hash.update(&piece);
            if let Some(error) = reading.send(piece).await {
                return Err(Failed::Read(error));
            }
            if self.at > wanted.bytes {
                return Ok(());
            }
        }
    }
}

fn begins_at(response: &reqwest::Response, at: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok()) == Some(at)
}

/// The thread that reads, and the way to it.
struct Reading<T, E> {
    to: Option<mpsc::Sender<io::Result<Bytes>>>,
    thread: Option<JoinHandle<Result<T, E>>>,
}

impl<T: Send + 'static, E: ReadError> Reading<T, E> {
    /// Passes a piece on. Where the thread has ended before its time, only a disk that failed ends the download, too: whether the
    /// object or the way here is to blame is known when the checksum is.
    async fn send(&mut self, piece: Bytes) -> Option<E> {
        if let Some(to) = &self.to
            && to.send(Ok(piece)).await.is_err()
        {
            self.to = None;
            if let Some(thread) = self.thread.take() {
                let ended = joined(thread).await;
                match ended {
                    Err(error) if error.is_of_disk() => return Some(error),
                    ended => self.thread = Some(tokio::task::spawn_blocking(move || ended)),
                }
            }
        }
        None
    }

    async fn end(mut self) -> Result<T, E> {
        self.to = None;
        match self.thread.take() {
            Some(thread) => joined(thread).await,
            None => Err(E::of_source(io::ErrorKind::BrokenPipe.into())),
        }
    }

    async fn give_up(mut self, words: &str) {
        if let Some(to) = self.to.take() {
            let _ended = to.send(Err(io::Error::other(words.to_owned()))).await;
        }
        drop(self.end().await);
    }
}

async fn joined<T, E: ReadError>(thread: JoinHandle<Result<T, E>>) -> Result<T, E> {
    thread.await.unwrap_or_else(|error| Err(E::of_source(io::Error::other(error))))
}
