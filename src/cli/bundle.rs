//! The file that `roost backup` writes and `roost restore` reads: a `.tar.zst` of a manifest, the tables, and the panel's secrets.
//!
//! The manifest stands first and names every entry behind it, with size and checksum, in order. Whoever reads takes exactly these: an
//! entry of another name, kind, size or place is refused, so that no name of an archive ever becomes a path or a statement.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::settings::secrets;
use crate::store::dump::{self, Migration};
use crate::trust;

/// The version of the form described here.
pub const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// What a file of zstd begins with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Largest window of zstd, as a power of two: 32 MiB.
const WINDOW_LOG_MAX: u32 = 25;
const LEVEL: i32 = 3;
/// Largest manifest, file beside the tables, and line of a table, in bytes.
const MANIFEST_MAX: u64 = 1 << 20;
pub const FILE_MAX: u64 = 64 << 10;
const LINE_MAX: u64 = 64 << 20;
/// Largest table, in bytes: beyond, tar has no plain number for it.
const TABLE_MAX: u64 = 8 << 30;
const TABLES_MAX: usize = 500;
/// Most bytes behind the last entry: tar fills its last block up.
const REST_MAX: u64 = 64 << 10;
const BLOCK: usize = 512;

/// Files of the data folder that belong to a backup, in the order in which they are put back.
pub fn files() -> impl Iterator<Item = String> {
    let authority = trust::FILES.into_iter().map(|name| format!("{}/{name}", trust::FOLDER));
    secrets::NAMES.into_iter().map(str::to_owned).chain(authority)
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`]
    pub format: u32,
    /// The version of Roost that made it.
    pub roost: String,
    /// When, RFC 3339.
    pub made_at: String,
    /// Out of which database: `sqlite` or `postgresql`. It goes into either.
    pub database: String,
    /// The history of its tables.
    pub migrations: Vec<Migration>,
    /// Its tables, what is pointed at first.
    pub tables: Vec<TablePart>,
    /// Its other files.
    pub files: Vec<FilePart>,
    /// Tables whose rows are not in it.
    pub left_out: Vec<String>,
}

/// A table in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePart {
    /// Its name.
    pub name: String,
    /// How many.
    pub rows: u64,
    /// Of its lines.
    pub bytes: u64,
    /// Of its lines, in hexadecimal.
    pub sha256: String,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePart {
    /// Below the data folder.
    pub name: String,
    /// Of the file.
    pub bytes: u64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    fn check(&self) -> anyhow::Result<()> {
        let plain =
            |name: &str| (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        ensure!(self.tables.len() <= TABLES_MAX, "its manifest names more than {TABLES_MAX} tables");
        for table in &self.tables {
            ensure!(plain(&table.name), "its manifest names a table {:?}, which no backup has", table.name);
            ensure!(table.bytes < TABLE_MAX, "its table {} is larger than {TABLE_MAX} bytes", table.name);
        }
        let mut names = files();
        for file in &self.files {
            ensure!(names.any(|name| name == file.name), "its manifest names a file {:?}, which no backup has there", file.name);
            ensure!(file.bytes <= FILE_MAX, "its file {} is larger than {FILE_MAX} bytes", file.name);
        }
        Ok(())
    }
}

/// Counts and hashes what passes.
pub struct Sum<T> {
    pub inner: T,
    pub bytes: u64,
    hash: Sha256,
}

impl<T> Sum<T> {
    pub fn of(inner: T) -> Sum<T> {
        Sum { inner, bytes: 0, hash: Sha256::new() }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// SHA-256, in hexadecimal.
    pub fn sha256(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }
}

impl<W: Write> Write for Sum<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.note(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Sum<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.note(&buffer[..read]);
        Ok(read)
    }
}

/// Writes a backup, entry by entry.
pub struct Writer<W: Write> {
    packed: zstd::stream::write::Encoder<'static, W>,
    at: u64,
    left: u64,
    total: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with the manifest. `at`: seconds since 1970.
    pub fn new(out: W, manifest: &Manifest, at: u64) -> io::Result<Writer<W>> {
        let mut packed = zstd::stream::write::Encoder::new(out, LEVEL)?;
        packed.include_checksum(true)?;
        let mut writer = Writer { packed, at, left: 0, total: 0 };
        let text = serde_json::to_vec_pretty(manifest)?;
        writer.entry(MANIFEST, text.len() as u64)?;
        writer.write_all(&text)?;
        Ok(writer)
    }

    /// Begins an entry of so many bytes, which have to follow.
    pub fn entry(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        self.fill()?;
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(self.at);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        (self.left, self.total) = (bytes, bytes);
        self.packed.write_all(header.as_bytes())
    }

    /// Begins a table.
    pub fn table(&mut self, table: &TablePart) -> io::Result<()> {
        self.entry(&entry_of(table), table.bytes)
    }

    /// Up to the next block.
    fn fill(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("an entry became shorter while it was written"));
        }
        let over = usize::try_from(self.total % BLOCK as u64).unwrap_or_default();
        if over > 0 { self.packed.write_all(&[0; BLOCK][over..]) } else { Ok(()) }
    }

    /// Ends the archive; gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.fill()?;
        self.packed.write_all(&[0; 2 * BLOCK])?;
        self.packed.finish()
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.len() as u64 > self.left {
            return Err(io::Error::other("an entry became longer while it was written"));
        }
        let written = self.packed.write(buffer)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.packed.flush()
    }
}

fn entry_of(table: &TablePart) -> String {
    format!("tables/{}.jsonl", table.name)
}

/// What a reader hands on.
pub enum Piece<'a> {
    /// A line of a table, without its end; the first one names the columns.
    Line(&'a TablePart, &'a [u8]),
    /// The table is complete.
    End(&'a TablePart),
    /// A file.
    File(&'a FilePart, Vec<u8>),
}

type Unpacked<'a> = zstd::stream::read::Decoder<'static, BufReader<&'a File>>;

fn damaged(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("it is cut off or damaged; take another copy of it")
}

/// Reads a backup from its beginning to its end and hands on what is in it; an error of `visit` ends that.
///
/// # Errors
/// Says in words what is wrong with the file.
pub fn walk(mut file: &File, mut visit: impl FnMut(Piece<'_>) -> anyhow::Result<()>) -> anyhow::Result<Manifest> {
    file.rewind()?;
    let mut begin = Vec::new();
    file.take(ZSTD.len() as u64).read_to_end(&mut begin)?;
    ensure!(begin == ZSTD, "it is no backup of a panel; `roost backup` makes them");
    file.rewind()?;
    let mut unpacked = Unpacked::new(file)?;
    unpacked.window_log_max(WINDOW_LOG_MAX)?;
    let mut archive = tar::Archive::new(unpacked);
    let manifest = {
        let mut entries = archive.entries().map_err(damaged)?.raw(true);
        let manifest = manifest(&mut entries)?;
        for table in &manifest.tables {
            let entry = next(&mut entries, &entry_of(table), table.bytes)?;
            lines(entry, table, |line| visit(Piece::Line(table, line)))?;
            visit(Piece::End(table))?;
        }
        for file in &manifest.files {
            let mut entry = Sum::of(next(&mut entries, &file.name, file.bytes)?);
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            ensure!(entry.sha256() == file.sha256, "its file {} is not what the manifest says; take another copy of it", file.name);
            visit(Piece::File(file, bytes))?;
        }
        if let Some(entry) = entries.next() {
            let entry = entry.map_err(damaged)?;
            bail!("its entry {:?} is not in its manifest", String::from_utf8_lossy(&entry.path_bytes()));
        }
        manifest
    };
    // To the end of what is packed: there stands the checksum over all of it.
    let rest = io::copy(&mut archive.into_inner().take(REST_MAX + 1), &mut io::sink()).map_err(damaged)?;
    ensure!(rest <= REST_MAX, "something follows behind its end");
    Ok(manifest)
}

type Entries<'a, 'f> = tar::Entries<'a, Unpacked<'f>>;
type Entry<'a, 'f> = tar::Entry<'a, Unpacked<'f>>;

/// The next entry, if it is a plain file of this name and size.
fn next<'a, 'f>(entries: &mut Entries<'a, 'f>, name: &str, bytes: u64) -> anyhow::Result<Entry<'a, 'f>> {
    let entry = any(entries, name)?;
    ensure!(entry.size() == bytes, "its entry {name} has {} bytes in place of {bytes}", entry.size());
    Ok(entry)
}

fn any<'a, 'f>(entries: &mut Entries<'a, 'f>, name: &str) -> anyhow::Result<Entry<'a, 'f>> {
    let entry = entries.next().with_context(|| format!("it ends before {name}; take another copy of it"))?.map_err(damaged)?;
    let found = entry.path_bytes().into_owned();
    ensure!(found == name.as_bytes(), "it has an entry {:?} where {name} should be", String::from_utf8_lossy(&found));
    ensure!(entry.header().entry_type() == tar::EntryType::Regular, "its entry {name} is not a plain file");
    Ok(entry)
}

/// What every form of a manifest has.
#[derive(Deserialize)]
struct Form {
    format: u32,
    roost: String,
}

fn manifest(entries: &mut Entries<'_, '_>) -> anyhow::Result<Manifest> {
    let entry = any(entries, MANIFEST)?;
    ensure!(entry.size() <= MANIFEST_MAX, "its manifest is larger than {MANIFEST_MAX} bytes");
    let mut text = Vec::new();
    entry.take(MANIFEST_MAX).read_to_end(&mut text).map_err(damaged)?;
    let form: Form = serde_json::from_slice(&text).context("its manifest cannot be read")?;
    ensure!(
        form.format == FORMAT,
        "it has the form {} of Roost {}, and this is Roost {}, which knows the form {FORMAT}: restore it with the Roost that made it",
        form.format,
        form.roost,
        env!("CARGO_PKG_VERSION")
    );
    let manifest: Manifest = serde_json::from_slice(&text).context("its manifest cannot be read")?;
    manifest.check()?;
    Ok(manifest)
}

/// Hands on the lines of a table, and compares it with the manifest at its end.
fn lines(entry: Entry<'_, '_>, table: &TablePart, mut visit: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut read = BufReader::new(Sum::of(entry));
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        read.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(damaged)?;
        match line.pop() {
            None => break,
            Some(b'\n') => {}
            Some(_) => bail!("a line of its table {} is longer than {LINE_MAX} bytes or has no end", table.name),
        }
        number += 1;
        ensure!(dump::is_line(&line, number == 1), "line {number} of its table {} is no row of a table", table.name);
        visit(&line)?;
    }
    let sum = read.into_inner();
    let whole = sum.sha256() == table.sha256 && number == table.rows + 1;
    ensure!(whole, "its table {} is not what the manifest says; take another copy of it", table.name);
    Ok(())
}
