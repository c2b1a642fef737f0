//! Templates on a shelf: archives made by the test, served over HTTP by a server that can break off, lie and forget.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use roost::model::layers::LayerRef;
use roost::node::layers::LayerUrls;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[derive(Default)]
pub struct Shelf {
    archives: Mutex<HashMap<String, Bytes>>,
    /// Requests so far.
    pub requests: AtomicU32,
    /// Addresses that were asked for.
    pub asked: AtomicU32,
    /// The next answers break off after so many bytes, one each, the last first.
    pub cuts: Mutex<Vec<usize>>,
    /// Ranges are not known here.
    pub no_ranges: Mutex<bool>,
    /// Bytes sent.
    pub sent: AtomicU64,
    address: Mutex<String>,
}

/// A shelf and what serves it.
pub struct Served {
    pub shelf: Arc<Shelf>,
    _tasks: JoinSet<()>,
}

#[async_trait]
impl LayerUrls for Shelf {
    async fn url(&self, layer: &LayerRef) -> Result<String, String> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(format!("{}/{}/{}?signature={asked}", self.address.lock().unwrap(), layer.template, layer.version))
    }
}

pub async fn serve() -> Served {
    let shelf = Arc::new(Shelf::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *shelf.address.lock().unwrap() = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{template}/{version}", get(answer)).with_state(shelf.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Served { shelf, _tasks: tasks }
}

async fn answer(State(shelf): State<Arc<Shelf>>, Path((template, version)): Path<(String, String)>, headers: HeaderMap) -> Response {
    shelf.requests.fetch_add(1, Ordering::SeqCst);
    let archive = shelf.archives.lock().unwrap().get(&format!("{template}/{version}")).cloned();
    let Some(archive) = archive else { return StatusCode::NOT_FOUND.into_response() };
    let range = headers.get(header::RANGE).filter(|_| !*shelf.no_ranges.lock().unwrap());
    let from: usize =
        range.map_or(0, |range| range.to_str().unwrap().strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap());
    let cut = shelf.cuts.lock().unwrap().pop();
    let rest = archive.slice(from..);
    let sent = rest.slice(..cut.unwrap_or(rest.len()).min(rest.len()));
    shelf.sent.fetch_add(sent.len() as u64, Ordering::SeqCst);
    let pieces: Vec<std::io::Result<Bytes>> = sent.chunks(50_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let cut_off = || async {
        // What was given so far is sent before the connection breaks.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        Err(std::io::Error::other("cut off"))
    };
    let pieces = stream::iter(pieces).chain(stream::iter(cut).then(move |_| cut_off()));
    let mut answer = Response::builder().header(header::CONTENT_LENGTH, rest.len());
    if range.is_some() {
        let range = format!("bytes {from}-{}/{}", archive.len() - 1, archive.len());
        answer = answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
    }
    answer.body(Body::from_stream(pieces)).unwrap()
}

impl Shelf {
    /// Puts an archive there and says how to ask for it.
    pub fn put(&self, template: &str, version: &str, archive: &[u8]) -> LayerRef {
        let layer = refer(template, version, archive);
        self.replace(template, version, archive);
        layer
    }

    /// Puts something else in its place.
    pub fn replace(&self, template: &str, version: &str, archive: &[u8]) {
        self.archives.lock().unwrap().insert(format!("{template}/{version}"), Bytes::copy_from_slice(archive));
    }

    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

pub fn refer(template: &str, version: &str, archive: &[u8]) -> LayerRef {
    let sha256 = <[u8; 32]>::from(Sha256::digest(archive)).into();
    LayerRef { template: template.parse().unwrap(), version: version.parse().unwrap(), sha256, bytes: archive.len() as u64 }
}

/// An archive of files; a name with a slash at its end is a folder, `->` begins a link and `#!` a program.
pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(if content.starts_with("#!") || name.ends_with('/') { 0o755 } else { 0o644 });
        if let Some(target) = content.strip_prefix("->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, target).unwrap();
            continue;
        }
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap()
}
