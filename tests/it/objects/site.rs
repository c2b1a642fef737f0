//! The two object stores for the tests: a real S3 server as a child process, and a folder behind a listener of its own. Between the
//! store and S3 stands a connection that can be cut.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use roost::model::time::{Clock, Millis};
use roost::objects::folder::FolderStore;
use roost::objects::s3::{S3Config, S3Store};
use roost::objects::{Body, ObjectError, ObjectKey, ObjectStore, serve};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::node::site::MachineClock;
use crate::services;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Smallest part that S3 takes.
pub const PART: usize = 5 << 20;

const BUCKET: &str = "roost-test";

/// A store to be tested, and what keeps it going.
pub struct Site {
    pub store: Arc<dyn ObjectStore>,
    /// The same, with a secret that is not the right one.
    pub stranger: Arc<dyn ObjectStore>,
    /// Cuts what the store says and hears; none: there is no connection to cut.
    pub wire: Option<Arc<Wire>>,
    /// Where the files lie.
    pub folder: TempDir,
    _server: Option<Killed>,
    _tasks: JoinSet<()>,
}

/// A child process that ends with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The clock of this machine, some seconds ahead or behind.
struct Shifted(i64);

impl Clock for Shifted {
    fn now(&self) -> Millis {
        MachineClock.now() + self.0
    }
}

/// Bytes that may still pass, up and down, before the connection is cut, once; below zero: all.
pub struct Wire {
    up: AtomicI64,
    down: AtomicI64,
    cuts: AtomicU32,
}

impl Wire {
    pub fn cut_up_after(&self, bytes: i64) {
        self.up.store(bytes, Ordering::SeqCst);
    }

    pub fn cut_down_after(&self, bytes: i64) {
        self.down.store(bytes, Ordering::SeqCst);
    }

    pub fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::SeqCst)
    }

    /// True: this is where it is cut.
    fn passes(&self, left: &AtomicI64, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap();
        let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
            ..0 => None,
            left if left < bytes => Some(-1),
            left => Some(left - bytes),
        });
        let cut = before.is_ok_and(|left| left < bytes);
        self.cuts.fetch_add(u32::from(cut), Ordering::SeqCst);
        cut
    }

    async fn pass(self: Arc<Wire>, client: TcpStream, to: SocketAddr) {
        let Ok(server) = TcpStream::connect(to).await else { return };
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.into_split(), server.into_split());
        let up = async {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                if self.passes(&self.up, read) || to_server.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        };
        let down = async {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                if self.passes(&self.down, read) || to_client.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        };
        // One way that ends ends the other: both sockets are closed.
        tokio::select! { () = up => {}, () = down => {} }
    }
}

/// A listener that passes connections on to another, and the wire to cut them at.
async fn wire(to: SocketAddr, tasks: &mut JoinSet<()>) -> (SocketAddr, Arc<Wire>) {
    let wire = Arc::new(Wire { up: AtomicI64::new(-1), down: AtomicI64::new(-1), cuts: AtomicU32::new(0) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shared) = (listener.local_addr().unwrap(), wire.clone());
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            open.spawn(shared.clone().pass(client, to));
        }
    });
    (address, wire)
}

fn config(address: SocketAddr, secret: &str) -> S3Config {
    S3Config {
        endpoint: Some(format!("http://{address}")),
        region: "eu-central-1".to_owned(),
        bucket: BUCKET.to_owned(),
        access_key: "the-test".to_owned(),
        secret_key: secret.to_owned(),
    }
}

async fn until_it_listens(address: SocketAddr) {
    let listens = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, listens).await.expect("the S3 server listens");
}

/// The folder, or what was put into the bucket's folder.
pub fn s3_files(folder: &Path) -> std::path::PathBuf {
    folder.join(BUCKET)
}

/// A real S3 server, or the test is left out.
pub async fn s3(test: &str) -> Option<Site> {
    services::ring();
    let program = services::s3(test)?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], services::free_port(&services::LISTENERS)));
    let port = address.port().to_string();
    let mut server = Command::new(program);
    server.args(["--host", "127.0.0.1", "--port", &port, "--access-key", "the-test", "--secret-key", "right"]).arg(folder.path());
    let server = Killed(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until_it_listens(address).await;
    let mut tasks = JoinSet::new();
    let (near, wire) = wire(address, &mut tasks).await;
    let store = Arc::new(S3Store::with_parts(&config(near, "right"), PART));
    let stranger = Arc::new(S3Store::with_parts(&config(near, "wrong"), PART));
    Some(Site { store, stranger, wire: Some(wire), folder, _server: Some(server), _tasks: tasks })
}

/// A folder whose addresses are answered; `ahead` is how far its clock runs before that of whoever asks, in milliseconds.
pub async fn folder_at(ahead: i64) -> Site {
    services::ring();
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let open = |secret: &'static [u8], clock| FolderStore::open(folder.path(), &base, secret, clock);
    let store = open(b"right", Arc::new(MachineClock)).await.unwrap();
    let stranger = open(b"wrong", Arc::new(MachineClock)).await.unwrap();
    let served = Arc::new(open(b"right", Arc::new(Shifted(ahead))).await.unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, serve::routes(served)).await.unwrap() });
    Site { store: Arc::new(store), stranger: Arc::new(stranger), wire: None, folder, _server: None, _tasks: tasks }
}

pub async fn folder() -> Site {
    folder_at(0).await
}

pub fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

/// Bytes that no part of repeats within a part.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..length.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length).collect()
}

pub fn sum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A body of uneven chunks.
pub fn body(bytes: &[u8]) -> Body {
    let chunks: Vec<_> = bytes.chunks(100_003).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    stream::iter(chunks).boxed()
}

/// A body that breaks off at its end.
pub fn broken(bytes: &[u8]) -> Body {
    body(bytes).chain(stream::iter([Err(std::io::Error::other("gone"))])).boxed()
}

pub async fn read(store: &dyn ObjectStore, key: &ObjectKey, from: u64) -> Result<Vec<u8>, ObjectError> {
    let mut download = store.get(key, from).await?;
    let mut all = Vec::new();
    while let Some(chunk) = download.body.next().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(all.len() as u64 + from, download.bytes);
    Ok(all)
}
