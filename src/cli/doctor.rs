//! `roost doctor`: is everything as it should be? One line for each thing it looked at, and a status that scripts understand.
//!
//! It may run beside the panel. It writes nothing but one small object, which it takes away again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;

use super::system::SystemClock;
use crate::domain::books;
use crate::model::nodes::Node;
use crate::model::time::{Clock, MINUTE};
use crate::objects::folder::FolderStore;
use crate::objects::s3::S3Store;
use crate::objects::{ObjectError, ObjectKey, ObjectStore};
use crate::settings::{Objects, Settings, secrets};
use crate::store::{Db, nodes};

/// Longest wait for anything outside of this machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Machines that are looked at.
const NODES_MAX: u64 = 10_000;
/// Free space below which it is worth a word, in bytes.
const SPACE_MIN: u64 = 1 << 30;

/// The object that comes and goes.
const PROBE: &str = "doctor/probe";

/// What was found.
enum Found {
    Well(String),
    /// It works, and somebody should look at it.
    Doubtful(String),
    Wrong(String),
}

use Found::{Doubtful, Well, Wrong};

/// Looks at everything.
///
/// # Errors
/// Something is wrong; each is named on standard output.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime did not start")?;
    let found = runtime.block_on(look(settings));
    let wrong = found.iter().filter(|(_, found)| matches!(found, Wrong(_))).count();
    tell(&found);
    anyhow::ensure!(wrong == 0, "{wrong} of {} things are wrong; see above", found.len());
    Ok(())
}

#[allow(clippy::print_stdout, reason = "this is what the command is for")]
fn tell(found: &[(&str, Found)]) {
    for (what, found) in found {
        let (sign, words) = match found {
            Well(words) => ("ok   ", words),
            Doubtful(words) => ("look ", words),
            Wrong(words) => ("WRONG", words),
        };
        println!("{sign} {what}: {words}");
    }
}

async fn look(settings: &Settings) -> Vec<(&'static str, Found)> {
    let mut found = vec![("data folder", folder(settings))];
    match Db::open_as_it_is(&settings.data.database_url).await {
        Ok(db) => {
            found.extend(database(&db).await);
            db.close().await;
        }
        Err(error) => found.push(("database", Wrong(format!("it cannot be opened: {}", chain(error))))),
    }
    found.push(("object store", objects(settings).await));
    found.push(("mail server", mail(settings).await));
    found
}

/// An error with all its causes.
fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

fn folder(settings: &Settings) -> Found {
    let dir = &settings.data.dir;
    let Ok(meta) = fs::metadata(dir) else { return Wrong(format!("{} is not there; has the panel been started yet?", dir.display())) };
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Wrong(format!("others can look into {} (mode {mode:o}); chmod 700 closes it", dir.display()));
    }
    match rustix::fs::statvfs(dir) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < SPACE_MIN => {
            Doubtful(format!("{} MiB are left on its disk", disk.f_bavail.saturating_mul(disk.f_frsize) >> 20))
        }
        Ok(_) | Err(_) => Well("closed to others, with room to write".to_owned()),
    }
}

async fn database(db: &Db) -> Vec<(&'static str, Found)> {
    let now = SystemClock.now();
    let mut found = Vec::new();
    match books::check(db, now).await {
        Ok(books) if books.wrong.is_empty() => {
            found.push(("books", Well("every balance is the sum of its entries, and no charge overlaps another".to_owned())));
        }
        Ok(books) => found.extend(books.wrong.into_iter().map(|sentence| ("books", Wrong(sentence)))),
        Err(error) => found.push(("books", Wrong(format!("the ledger cannot be read: {}", chain(error))))),
    }
    match nodes::list(db, NODES_MAX).await {
        Ok(all) => {
            let silent: Vec<&str> =
                all.iter().filter(|node| node.seen_at.is_some_and(|at| now.since(at) > MINUTE)).map(Node::called).collect();
            let words = format!("{} known", all.len());
            found
                .push(("nodes", if silent.is_empty() { Well(words) } else { Doubtful(format!("{words}; silent: {}", silent.join(", "))) }));
        }
        Err(error) => found.push(("nodes", Wrong(format!("they cannot be read: {}", chain(error))))),
    }
    found
}

/// Puts an object, reads its size and takes it away.
async fn objects(settings: &Settings) -> Found {
    let store: Box<dyn ObjectStore> = match &settings.objects {
        Objects::S3(config) => Box::new(S3Store::new(config)),
        Objects::Folder(folder) => {
            let secret = match secrets::kept(&settings.data.dir, secrets::OBJECTS, None) {
                Ok(secret) => secret,
                Err(error) => return Wrong(format!("its secret cannot be read: {error}")),
            };
            match FolderStore::open(folder, &settings.web.backend_url, secret.bytes(), std::sync::Arc::new(SystemClock)).await {
                Ok(store) => Box::new(store),
                Err(error) => return Wrong(chain(error)),
            }
        }
    };
    match tokio::time::timeout(PATIENCE, there_and_back(&*store)).await {
        Ok(Ok(())) => Well("an object went in, came out and is gone again".to_owned()),
        Ok(Err(error)) => Wrong(chain(error)),
        Err(_) => Wrong("it did not answer in time".to_owned()),
    }
}

async fn there_and_back(store: &dyn ObjectStore) -> Result<(), ObjectError> {
    let Ok(key) = PROBE.parse::<ObjectKey>() else { return Ok(()) };
    let body = futures_util::stream::once(async { Ok(Bytes::from_static(PROBE.as_bytes())) });
    store.put(&key, Box::pin(body)).await?;
    store.head(&key).await?;
    store.delete(&key).await
}

async fn mail(settings: &Settings) -> Found {
    match settings.mail.mailer() {
        Ok(None) => Doubtful("none is set (SMTP_URL), so letters stay in the panel for admins to hand over".to_owned()),
        Ok(Some(mailer)) => match tokio::time::timeout(PATIENCE, mailer.is_well()).await {
            Ok(Ok(())) => Well("it answers".to_owned()),
            Ok(Err(error)) => Wrong(chain(error)),
            Err(_) => Wrong("it did not answer in time".to_owned()),
        },
        Err(error) => Wrong(chain(error)),
    }
}
