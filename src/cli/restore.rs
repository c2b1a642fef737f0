//! `roost restore`: a backup into an empty database of either kind, and the panel's secrets into its data folder.
//!
//! The file is read twice: once to see that all of it is right, before anything is touched, and once to load it, in one transaction. What
//! a kill leaves is either nothing but empty tables and secrets, or the whole.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use tokio::runtime::Runtime;

use super::backup::in_use;
use super::bundle::{self, Manifest, Piece};
use super::node;
use super::system::SystemClock;
use crate::model::time::Clock;
use crate::settings::Settings;
use crate::store::dump::{self, Loader, Table};
use crate::store::{Db, Tx};

/// What can be said on the command line.
#[derive(Args)]
pub struct Arguments {
    /// What `roost backup` wrote.
    file: PathBuf,
    /// Write over secrets in the data folder that are not those of the backup.
    #[arg(long)]
    replace: bool,
}

/// Secrets by their names below the data folder, in the order in which they are put back.
type Kept = Vec<(String, Vec<u8>)>;

/// Puts a backup back.
pub fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime did not start")?;
    // A transaction that is dropped on the way out wants a runtime around it.
    let _around = runtime.enter();
    let shown = arguments.file.display();
    let (file, manifest, kept) = look(&arguments.file).with_context(|| format!("{shown} cannot be restored"))?;
    let target = newest(&manifest).with_context(|| format!("{shown} cannot be restored"))?;
    let dir = &settings.data.dir;
    fits(dir, &kept, arguments.replace)?;
    // A panel with a node of its own holds this lock as long as it runs.
    let alone = || node::alone(dir).context("stop the panel first, if it runs");
    let _alone = if settings.node.embedded { Some(alone()?) } else { None };
    make_folder(dir)?;
    let db = runtime.block_on(Db::open_alone(&settings.data.database_url)).map_err(in_use)?;
    let tables = runtime.block_on(prepare(&db, target))?;
    let names = |found: &[&str]| found.join(", ");
    let (found, listed): (Vec<&str>, Vec<&str>) =
        (tables.iter().map(|table| table.name.as_str()).collect(), manifest.tables.iter().map(|table| table.name.as_str()).collect());
    ensure!(found == listed, "{shown} cannot be restored: it has the tables {}, and this database {}", names(&listed), names(&found));
    let tx = runtime.block_on(db.begin())?;
    runtime.block_on(dump::clear(&tx, &tables))?;
    let replaced = load(&runtime, &file, &tx, &tables).with_context(|| format!("{shown} was not restored; nothing has changed"))?;
    runtime.block_on(dump::forget_what_was_under_way(&tx, &tables, SystemClock.now()))?;
    for (name, bytes) in &kept {
        put(dir, name, bytes).with_context(|| format!("{} cannot be written", dir.join(name).display()))?;
    }
    runtime.block_on(tx.commit())?;
    runtime.block_on(dump::migrate(&db, None)).context("the tables are back, but cannot be brought up to date")?;
    runtime.block_on(db.close());
    tell(&manifest, replaced)
}

/// Reads all of it, and gives what is small.
fn look(path: &Path) -> anyhow::Result<(File, Manifest, Kept)> {
    let file = File::open(path)?;
    ensure!(file.metadata()?.is_file(), "it is not a file");
    let mut kept = Kept::new();
    let manifest = bundle::walk(&file, |piece| {
        match piece {
            Piece::File(part, bytes) => kept.push((part.name.clone(), bytes)),
            Piece::Line(..) | Piece::End(_) => {}
        }
        Ok(())
    })?;
    Ok((file, manifest, kept))
}

/// The last migration of the backup, if this program knows all of them.
fn newest(manifest: &Manifest) -> anyhow::Result<i64> {
    let known = dump::known();
    let (here, there) = (env!("CARGO_PKG_VERSION"), &manifest.roost);
    let last = manifest.migrations.last().context("its manifest names no migrations")?;
    if known.last().is_some_and(|newest| newest.version < last.version) {
        bail!("it was made by a newer Roost ({there}; this is {here}): restore it with that one, or update this one");
    }
    let same = known.starts_with(&manifest.migrations);
    ensure!(same, "its tables have another history than those of this Roost ({here}): restore it with the Roost that made it ({there})");
    Ok(last.version)
}

/// Refuses where secrets would be lost.
fn fits(dir: &Path, kept: &Kept, replace: bool) -> anyhow::Result<()> {
    let mut others = Vec::new();
    for (name, bytes) in kept {
        match fs::read(dir.join(name)) {
            Ok(there) if there != *bytes => others.push(name.as_str()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(anyhow::Error::new(error).context(format!("{} cannot be read", dir.join(name).display()))),
        }
    }
    ensure!(
        replace || others.is_empty(),
        "in {} stand other secrets than in the backup: {}. Name another DATA_DIR, or say --replace to lose those that stand there",
        dir.display(),
        others.join(", ")
    );
    Ok(())
}

/// Sees that nobody uses the database and nothing is in it, and makes its tables as they were when the backup was made.
async fn prepare(db: &Db, target: i64) -> anyhow::Result<Vec<Table>> {
    let others = dump::others(db).await.map_err(in_use)?;
    ensure!(others == 0, "{others} connections of other programs to this database are open: stop the panel, and whatever else uses it");
    let applied = dump::applied(db).await.map_err(in_use)?;
    if applied.last().is_some_and(|last| last.version > target) {
        bail!("this database has newer tables than the backup: make a new, empty one and name it in DATABASE_URL");
    }
    dump::migrate(db, Some(target)).await.context("the tables cannot be made")?;
    let tables = dump::tables(db).await?;
    let used = dump::in_use(db, &tables).await?;
    ensure!(
        used.is_empty(),
        "this database is not empty: something stands in {}. A backup goes into an empty database only; make one and name it in DATABASE_URL",
        used.join(", ")
    );
    Ok(tables)
}

/// Puts all rows in; gives how often a character had to be replaced.
fn load(runtime: &Runtime, file: &File, tx: &Tx, tables: &[Table]) -> anyhow::Result<u64> {
    let by_name: BTreeMap<&str, &Table> = tables.iter().map(|table| (table.name.as_str(), table)).collect();
    let (mut loader, mut replaced) = (None::<Loader<'_>>, 0);
    bundle::walk(file, |piece| {
        match piece {
            Piece::Line(part, line) => {
                if loader.is_none() {
                    let table = by_name.get(part.name.as_str()).with_context(|| format!("it has a table {} now", part.name))?;
                    loader = Some(Loader::new(table));
                }
                if let Some(loader) = &mut loader
                    && loader.take(line)?
                {
                    runtime.block_on(loader.flush(tx))?;
                }
            }
            Piece::End(part) => {
                if let Some(mut loader) = loader.take() {
                    runtime.block_on(loader.flush(tx)).with_context(|| format!("the table {} cannot be written", part.name))?;
                    replaced += loader.replaced;
                }
            }
            Piece::File(..) => {}
        }
        Ok(())
    })?;
    Ok(replaced)
}

fn make_folder(dir: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("the folder {} cannot be made", dir.display()))
}

/// Beside it and then in one step, for its owner alone. The names are those of [`bundle::files`].
fn put(dir: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = dir.join(name);
    let folder = path.parent().unwrap_or(dir);
    make_folder(folder)?;
    let fresh = dir.join(format!("{name}.new"));
    let _left_over = fs::remove_file(&fresh);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn tell(manifest: &Manifest, replaced: u64) -> anyhow::Result<()> {
    let mut words = format!(
        "Restored {} rows of {} tables and {} secret files, as they were at {}.\n",
        manifest.rows(),
        manifest.tables.len(),
        manifest.files.len(),
        manifest.made_at
    );
    if replaced > 0 {
        words.extend(["PostgreSQL keeps no U+0000; so many texts have U+FFFD in its place: ", &replaced.to_string(), ".\n"]);
    }
    words +=
        "Start the panel with `roost serve`, at the address where its nodes look for it. They link by themselves, and say what runs;\n";
    words += "what they run for servers that were made later is ended, and its data moved aside into their folder orphans.\n";
    io::stderr().write_all(words.as_bytes()).context("standard error is closed")
}
