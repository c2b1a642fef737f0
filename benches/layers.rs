//! Preparing a server of 4 layers, 2 GiB and 20,000 files: fetched, cached and mounted, cached and copied; beside each, in the same run and on the same disk,
//! what `curl | zstd -d | tar x` and `tar x` take for the same archives.
//!
//! `cargo bench --bench layers` prints a table; nothing here fails on a time. It wants `curl`, `zstd` and `tar`, some 10 GiB of disk in
//! `BENCH_DIR` (or the folder for temporary files), and root for the overlay.
#![allow(clippy::print_stdout, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use roost::archives::Limits;
use roost::model::layers::LayerRef;
use roost::node::layers::{FETCHES, LayerUrls, Layers, LayersConfig, Request, Way};
use sha2::{Digest, Sha256};

const LAYERS: usize = 4;
const FILES: usize = 5_000;
/// Bytes of one file: 2 GiB in all of them.
const SIZE: usize = (2 << 30) / (LAYERS * FILES);
/// One file in so many is a text with a variable.
const TEXTS: usize = 500;
const ROUNDS: usize = 3;

struct Shelf(String);

#[async_trait]
impl LayerUrls for Shelf {
    async fn url(&self, layer: &LayerRef) -> Result<String, String> {
        Ok(format!("{}/{}.tar.zst", self.0, layer.template))
    }
}

/// Half of it can be made smaller, as with real files.
fn content(number: usize) -> Vec<u8> {
    if number.is_multiple_of(TEXTS) {
        return b"port=${PORT}\n".to_vec();
    }
    let mut state = number as u64 + 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(SIZE);
    while bytes.len() < SIZE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(b"the same ");
    }
    bytes.truncate(SIZE);
    bytes
}

fn make(folder: &Path, layer: usize) -> io::Result<LayerRef> {
    let path = folder.join(format!("layer{layer}.tar.zst"));
    let mut tar = tar::Builder::new(zstd::Encoder::new(fs::File::create(&path)?, 3)?);
    for file in 0..FILES {
        let bytes = content(layer * FILES + file);
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        // A tenth of the files of each layer lie on top of those of the layers below.
        let name = if file % 10 == 0 { format!("shared/{}/{file}", file % 70) } else { format!("l{layer}/{}/{file}", file % 70) };
        tar.append_data(&mut header, name, bytes.as_slice())?;
    }
    tar.into_inner()?.finish()?.flush()?;
    let (mut hash, mut file) = (Sha256::new(), fs::File::open(&path)?);
    io::copy(&mut file, &mut hash)?;
    let named = |error| io::Error::other(format!("{error:?}"));
    Ok(LayerRef {
        template: format!("layer{layer}").parse().map_err(named)?,
        version: "1".parse().map_err(io::Error::other)?,
        sha256: <[u8; 32]>::from(hash.finalize()).into(),
        bytes: file.metadata()?.len(),
    })
}

fn request(home: PathBuf, layers: &[LayerRef]) -> io::Result<Request> {
    fs::create_dir_all(&home)?;
    let variables = BTreeMap::from([("PORT".to_owned(), "25001".to_owned())]);
    Ok(Request { home, layers: layers.to_vec(), variables, owner: None })
}

fn shell(script: &str) -> io::Result<()> {
    let well = Command::new("bash").args(["-c", &format!("set -o pipefail; {script}")]).status()?.success();
    if well { Ok(()) } else { Err(io::Error::other(script.to_owned())) }
}

/// The best of some rounds: what the machine can do when nothing else is in the way. Each begins with a disk that has nothing left to write.
async fn best<F: Future<Output = anyhow::Result<()>>>(
    name: &str,
    rounds: usize,
    mut work: impl FnMut(usize) -> F,
) -> anyhow::Result<Duration> {
    let mut fastest = Duration::MAX;
    for round in 0..rounds {
        shell("sync")?;
        let begin = Instant::now();
        work(round).await?;
        fastest = fastest.min(begin.elapsed());
    }
    println!("{name:<44} {:>8} ms", fastest.as_millis());
    Ok(fastest)
}

fn peak_mib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1_024)
}

async fn open(folder: &Path, url: &str, way: Way) -> anyhow::Result<Layers> {
    let config = LayersConfig { data_dir: folder.to_owned(), limits: Limits::default(), fetches: FETCHES, way: Some(way) };
    Ok(Layers::open(config, Arc::new(Shelf(url.to_owned()))).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let below = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::Builder::new().prefix("roost-bench-layers-").tempdir_in(below)?;
    let root = folder.path();
    let shelf = root.join("shelf");
    fs::create_dir(&shelf)?;
    let layers = (0..LAYERS).map(|layer| make(&shelf, layer)).collect::<io::Result<Vec<_>>>()?;
    println!("{LAYERS} layers, {} files, {} MiB packed", LAYERS * FILES, layers.iter().map(|layer| layer.bytes).sum::<u64>() >> 20);
    // As plain as can be, and in a process of its own.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = Command::new("python3");
    server.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"]).current_dir(&shelf);
    let mut server = server.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn()?;
    let url = format!("http://127.0.0.1:{port}");
    let measured = measure(root, &shelf, &url, &layers).await;
    server.kill()?;
    server.wait()?;
    measured
}

async fn measure(root: &Path, shelf: &Path, url: &str, layers: &[LayerRef]) -> anyhow::Result<()> {
    while std::net::TcpStream::connect(url.trim_start_matches("http://")).is_err() {
        tokio::task::yield_now().await;
    }
    let shown = root.display();
    best("curl | zstd -d | tar x, one after the other", ROUNDS, async |_| {
        let each = format!("for n in 0 1 2 3; do mkdir -p {shown}/curl/$n; curl -s {url}/layer$n.tar.zst | zstd -qd | tar x -C {shown}/curl/$n || exit 1; done");
        shell(&each)?;
        Ok(())
    })
    .await?;
    fs::remove_dir_all(root.join("curl"))?;
    best("fetched by one server", ROUNDS, async |round| {
        let data = root.join(format!("fetch{round}"));
        open(&data, url, Way::Overlay).await?.prepare(request(data.join("instances/s"), layers)?).await?;
        Ok(())
    })
    .await?;
    for round in 1..ROUNDS {
        fs::remove_dir_all(root.join(format!("fetch{round}")))?;
    }
    println!("{:<44} {:>8} MiB", "most memory so far", peak_mib().unwrap_or_default());
    let data = root.join("fetch0");
    let cached = open(&data, url, Way::Overlay).await?;
    best("cached, prepared as an overlay", ROUNDS, async |round| {
        cached.prepare(request(data.join(format!("instances/o{round}")), layers)?).await.map(drop).map_err(Into::into)
    })
    .await?;
    best("the same again", ROUNDS, async |_| {
        cached.prepare(request(data.join("instances/o0"), layers)?).await.map(drop).map_err(Into::into)
    })
    .await?;
    best("four servers at once, as overlays", 1, async |_| {
        let requests = (0..4).map(|n| request(data.join(format!("instances/f{n}")), layers)).collect::<io::Result<Vec<_>>>()?;
        futures_util::future::try_join_all(requests.into_iter().map(|request| cached.prepare(request))).await?;
        Ok(())
    })
    .await?;
    best("tar x of the same archives into one folder", ROUNDS, async |round| {
        shell(&format!(
            "mkdir {shown}/tar{round}; for n in 0 1 2 3; do tar x --zstd -f {}/layer$n.tar.zst -C {shown}/tar{round} || exit 1; done",
            shelf.display()
        ))?;
        Ok(())
    })
    .await?;
    shell(&format!("rm -rf {shown}/tar*"))?;
    let copies = open(&data, url, Way::Copy).await?;
    best("cached, copied", ROUNDS, async |round| {
        copies.prepare(request(data.join(format!("instances/c{round}")), layers)?).await.map(drop).map_err(Into::into)
    })
    .await?;
    println!("{:<44} {:>8} MiB", "most memory", peak_mib().unwrap_or_default());
    Ok(())
}
