//! `roost backup`: the panel's database and secrets into one file, while the panel runs or not.
//!
//! One transaction that only reads sees every table as it was at one moment. It goes over the tables twice: what they are is said before
//! they come, and nothing of them is ever kept in memory or on a disk in between.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use rustix::fs::RenameFlags;

use super::bundle::{FILE_MAX, FORMAT, FilePart, Manifest, Sum, TablePart, Writer, files};
use super::system::SystemClock;
use crate::model::time::{Clock, Millis};
use crate::settings::{Objects, Settings, secrets};
use crate::store::dump::{self, Table};
use crate::store::{Db, StoreError, Tx};
use crate::trust;

/// What can be said on the command line.
#[derive(Args)]
pub struct Arguments {
    /// Where to; - is standard output. Without it: roost-DATE-TIME.tar.zst in this folder.
    file: Option<PathBuf>,
    /// Write over a file that is there.
    #[arg(long)]
    replace: bool,
}

/// Writes a backup.
pub fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime did not start")?;
    let now = SystemClock.now();
    let path = match &arguments.file {
        Some(path) => path.clone(),
        None => format!("roost-{}.tar.zst", moment(now, "%Y%m%d-%H%M%S")).into(),
    };
    if path == Path::new("-") {
        ensure!(!io::stdout().is_terminal(), "a backup is no text: send standard output into a file, or name a file");
        let mut out = io::BufWriter::new(io::stdout().lock());
        let done = runtime.block_on(write(settings, now, &mut out))?;
        return tell("Standard output has", &done);
    }
    if !arguments.replace && fs::symlink_metadata(&path).is_ok() {
        bail!("{}", is_there(&path));
    }
    let mut fresh = Fresh::make(&path)?;
    let done = runtime.block_on(write(settings, now, &mut fresh.file));
    let done = done.with_context(|| format!("{} was not written", path.display()))?;
    fresh.keep(&path, arguments.replace)?;
    tell(&format!("{} has", path.display()), &done)
}

fn is_there(path: &Path) -> String {
    format!("{} is there already: name another file, or say --replace", path.display())
}

fn moment(at: Millis, form: &str) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime(form).to_string()
}

/// A file beside the one that it becomes, for its owner alone; gone when it does not become it.
struct Fresh {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Fresh {
    fn make(target: &Path) -> anyhow::Result<Fresh> {
        let name = target.file_name().with_context(|| format!("{} is not the name of a file", target.display()))?;
        let path = target.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("nothing can be written beside {}", target.display()))?;
        Ok(Fresh { path, file, kept: false })
    }

    fn keep(mut self, target: &Path, replace: bool) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| format!("{} cannot be written to its disk", target.display()))?;
        let rename = |flags| rustix::fs::renameat_with(rustix::fs::CWD, &self.path, rustix::fs::CWD, target, flags);
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match rename(flags) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => bail!("{}", is_there(target)),
            // Some file systems cannot do both in one step.
            Err(rustix::io::Errno::INVAL) if fs::symlink_metadata(target).is_err() => {
                fs::rename(&self.path, target).with_context(|| format!("{} cannot be put in its place", target.display()))?;
            }
            Err(error) => return Err(anyhow::Error::new(error).context(format!("{} cannot be put in its place", target.display()))),
        }
        self.kept = true;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The name is on the disk as well when its folder is; where a folder cannot be synced there is nothing more to do.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

struct Done {
    manifest: Manifest,
    bytes: u64,
    sha256: String,
}

async fn write(settings: &Settings, now: Millis, out: &mut dyn Write) -> anyhow::Result<Done> {
    let kept = secrets_of(settings)?;
    let db = Db::open_as_it_is(&settings.data.database_url).await;
    let db = db.context("the database cannot be opened; is DATABASE_URL right, and has the panel been started there?")?;
    let picture = db.picture().await?;
    let migrations = dump::applied(&picture).await.context("the database cannot be read")?;
    let known = dump::known();
    ensure!(!migrations.is_empty(), "this database was never used by Roost; is DATABASE_URL right?");
    ensure!(
        migrations.iter().all(|step| known.contains(step)),
        "this database belongs to another Roost than this one ({}): use the program that serves it",
        env!("CARGO_PKG_VERSION")
    );
    let tables = dump::tables(&picture).await?;
    let manifest = Manifest {
        format: FORMAT,
        roost: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: moment(now, "%Y-%m-%dT%H:%M:%SZ"),
        database: dump::kind(&picture).to_owned(),
        migrations,
        tables: weigh(&picture, &tables).await?,
        files: kept.iter().map(|(part, _)| part.clone()).collect(),
        left_out: dump::LEFT_OUT.map(str::to_owned).to_vec(),
    };
    let seconds = u64::try_from(now.0 / 1_000).unwrap_or_default();
    let mut writer = Writer::new(Sum::of(out), &manifest, seconds).map_err(full)?;
    for (table, part) in tables.iter().zip(&manifest.tables) {
        writer.table(part).map_err(full)?;
        let written = dump::write(&picture, table, |line| writer.write_all(line)).await;
        written.map_err(|error| match error {
            dump::DumpError::Write(error) => full(error),
            dump::DumpError::Store(_) | dump::DumpError::Kind { .. } | dump::DumpError::Circle(_) | dump::DumpError::Line { .. } => {
                error.into()
            }
        })?;
    }
    for (part, bytes) in &kept {
        writer.entry(&part.name, part.bytes).and_then(|()| writer.write_all(bytes)).map_err(full)?;
    }
    let mut sum = writer.finish().map_err(full)?;
    sum.flush().map_err(full)?;
    drop(picture);
    db.close().await;
    Ok(Done { manifest, bytes: sum.bytes, sha256: sum.sha256() })
}

/// The first time over the tables: how much there is, and its checksums.
async fn weigh(picture: &Tx, tables: &[Table]) -> anyhow::Result<Vec<TablePart>> {
    let mut parts = Vec::new();
    for table in tables {
        let mut sum = Sum::of(io::sink());
        let read = dump::write(picture, table, |line| sum.write_all(line)).await;
        let rows = read.with_context(|| format!("the table {} cannot be read", table.name))?;
        parts.push(TablePart { name: table.name.clone(), rows, bytes: sum.bytes, sha256: sum.sha256() });
    }
    Ok(parts)
}

fn full(error: io::Error) -> anyhow::Error {
    let no_room = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge);
    let words =
        if no_room { "there is no room for the backup: make some, or write it to another disk" } else { "the backup cannot be written" };
    anyhow::Error::new(error).context(words)
}

/// The secrets of the data folder. One that the panel has there, as it is set up, has to be there.
fn secrets_of(settings: &Settings) -> anyhow::Result<Vec<(FilePart, Vec<u8>)>> {
    let dir = &settings.data.dir;
    let expected = |name: &str| match name {
        secrets::WEBHOOK => settings.web.webhook_secret.is_none(),
        secrets::KEY => settings.web.secret_key.is_none(),
        secrets::OBJECTS => matches!(settings.objects, Objects::Folder(_)),
        name => settings.link.listen.is_some() && name.starts_with(trust::FOLDER),
    };
    let mut kept = Vec::new();
    for name in files() {
        let path = dir.join(&name);
        match fs::read(&path) {
            Ok(bytes) if bytes.len() as u64 > FILE_MAX => bail!("{} is larger than a secret can be", path.display()),
            Ok(bytes) => {
                let mut sum = Sum::of(io::sink());
                sum.write_all(&bytes).context("a checksum cannot be made")?;
                kept.push((FilePart { name, bytes: sum.bytes, sha256: sum.sha256() }, bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !expected(&name) => {}
            Err(error) => {
                let words =
                    format!("{} cannot be read; is DATA_DIR that of the panel, and has the panel been started once?", path.display());
                return Err(anyhow::Error::new(error).context(words));
            }
        }
    }
    Ok(kept)
}

fn tell(begin: &str, done: &Done) -> anyhow::Result<()> {
    let Done { manifest, bytes, sha256 } = done;
    let mut words = format!(
        "{begin} {} rows of {} tables and {} secret files in {bytes} bytes, SHA-256 {sha256}.\n",
        manifest.rows(),
        manifest.tables.len(),
        manifest.files.len()
    );
    words += "It holds the panel's secrets and everybody's password hashes: keep it where only you can read it.\n";
    words +=
        "Not in it: settings, games of your own, templates and backups of servers (data/objects or the bucket), and the data of games.\n";
    io::stderr().write_all(words.as_bytes()).context("standard error is closed")
}

/// Words for a database that does not answer, or that somebody else holds.
pub(super) fn in_use(error: StoreError) -> anyhow::Error {
    let words = match &error {
        StoreError::Busy(_) => "the database does not answer, or a panel uses it: stop the panel first, and see that the database runs",
        StoreError::Exists(_)
        | StoreError::InUse(_)
        | StoreError::Full(_)
        | StoreError::Stale
        | StoreError::Unreadable(_)
        | StoreError::Other(_) => "the database cannot be opened; is DATABASE_URL right, and does the database exist?",
    };
    anyhow::Error::new(error).context(words)
}
