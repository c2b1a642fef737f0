//! A real S3 server and somebody who plays the panel before it: signs addresses, puts parts together, and lies where a test wants it.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roost::model::backups::{Archived, BackupRef, object_key};
use roost::model::games::Save;
use roost::model::ids::{BackupId, CommandId, ServerId};
use roost::node::layers::LayerUrls;
use roost::objects::{ObjectKey, Part, UploadId, Verb};
use roost::wire::agent::{Action, EventKind, UrlFor};
use sha2::{Digest, Sha256};

use super::super::layers::shelf::{self, Served};
use super::super::site::{Addresses, Site};
use crate::objects::site as stores;

const LASTS: Duration = Duration::from_hours(1);

pub struct Vault {
    pub s3: stores::Site,
    pub layers: Served,
    uploads: tokio::sync::Mutex<HashMap<BackupId, UploadId>>,
    /// So many of the next addresses of parts lead nowhere.
    pub wrong: AtomicU32,
    /// Nobody answers for parts.
    pub silent: AtomicBool,
    /// Parts that were asked for.
    pub asked: Mutex<Vec<u32>>,
}

#[async_trait::async_trait]
impl Addresses for Vault {
    async fn address(&self, of: &UrlFor) -> Option<Result<String, String>> {
        match of {
            UrlFor::Layer { layer } => Some(self.layers.shelf.url(layer).await),
            UrlFor::Backup { server, backup } => {
                Some(self.s3.store.sign(Verb::Get, &key(server, backup), LASTS).await.map_err(|error| error.to_string()))
            }
            UrlFor::BackupPart { server, backup, number } => {
                self.asked.lock().unwrap().push(*number);
                if self.silent.load(Ordering::SeqCst) {
                    return None;
                }
                if self.wrong.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    return Some(Ok("http://127.0.0.1:9/nowhere".to_owned()));
                }
                let key = key(server, backup);
                let mut uploads = self.uploads.lock().await;
                if !uploads.contains_key(backup) {
                    uploads.insert(backup.clone(), self.s3.store.begin_upload(&key).await.unwrap());
                }
                Some(self.s3.store.sign_part(&key, &uploads[backup], *number, LASTS).await.map_err(|error| error.to_string()))
            }
        }
    }
}

pub fn key(server: &ServerId, backup: &BackupId) -> ObjectKey {
    object_key(server, backup).parse().unwrap()
}

pub fn fresh() -> BackupId {
    let mut chance = [0; 16];
    getrandom::fill(&mut chance).unwrap();
    BackupId::from_random(&chance)
}

pub async fn open(test: &str) -> Option<Arc<Vault>> {
    if !super::super::site::docker_is_wanted(test) {
        return None;
    }
    let s3 = stores::s3(test).await?;
    Some(Arc::new(Vault {
        s3,
        layers: shelf::serve().await,
        uploads: tokio::sync::Mutex::default(),
        wrong: AtomicU32::new(0),
        silent: AtomicBool::new(false),
        asked: Mutex::default(),
    }))
}

/// A site whose agent knows its panel, and the vault behind it.
pub async fn site(vault: &Arc<Vault>) -> Site {
    let mut site = Site::new(false);
    site.addresses = Some(vault.clone());
    site.switch_on();
    site.welcome().await;
    site
}

pub fn order(backup: &BackupId, save: Option<Save>) -> Action {
    Action::BackupInstance { backup: backup.clone(), save }
}

impl Vault {
    /// Does what the panel does with an archive that is stored.
    pub async fn finish(&self, server: &ServerId, archived: &Archived) -> BackupRef {
        let upload = self.uploads.lock().await.remove(&archived.backup).unwrap();
        let parts: Vec<Part> = archived.parts.iter().zip(1..).map(|(etag, number)| Part { number, etag: etag.clone() }).collect();
        self.s3.store.finish_upload(&key(server, &archived.backup), &upload, &parts).await.unwrap();
        BackupRef { id: archived.backup.clone(), bytes: archived.bytes, sha256: archived.sha256, unpacked: archived.unpacked }
    }

    pub async fn back_up(&self, site: &mut Site, server: &ServerId) -> (BackupRef, Archived) {
        let answer = site.ask(server, order(&fresh(), None)).await;
        let EventKind::BackedUp(archived) = answer else { panic!("{answer:?}") };
        (self.finish(server, &archived).await, archived)
    }
}

pub async fn restore(site: &mut Site, server: &ServerId, backup: &BackupRef) {
    let answer = site.ask(server, Action::RestoreInstance { backup: backup.clone(), try_only: false }).await;
    assert!(matches!(answer, EventKind::Restored(_)), "{answer:?}");
}

/// Why it failed, and whether it is worth trying again.
pub async fn refused(site: &mut Site, id: &CommandId) -> (String, bool) {
    match site.answer(id).await {
        EventKind::Failed { reason, retryable, .. } => (reason, retryable),
        other => panic!("{other:?}"),
    }
}

/// All that is in a folder: kind, mode, owner, seconds of its time, content or target, and which names are one file.
pub fn picture(folder: &Path) -> BTreeMap<Vec<u8>, String> {
    let (mut all, mut open) = (BTreeMap::new(), vec![PathBuf::new()]);
    let mut firsts: HashMap<u64, Vec<u8>> = HashMap::new();
    while let Some(path) = open.pop() {
        let whole = folder.join(&path);
        let is = std::fs::symlink_metadata(&whole).unwrap();
        let name = path.as_os_str().as_bytes().to_vec();
        let content = if is.is_dir() {
            let mut names: Vec<_> = std::fs::read_dir(&whole).unwrap().map(|entry| path.join(entry.unwrap().file_name())).collect();
            names.sort();
            open.extend(names.into_iter().rev());
            String::new()
        } else if is.is_symlink() {
            std::fs::read_link(&whole).unwrap().display().to_string()
        } else {
            let first = firsts.entry(is.ino()).or_insert_with(|| name.clone());
            format!("{} as {:?}", hex::encode(Sha256::digest(std::fs::read(&whole).unwrap())), String::from_utf8_lossy(first))
        };
        all.insert(name, format!("{:o} {}:{} at {} {content}", is.mode(), is.uid(), is.gid(), is.mtime()));
    }
    all
}

/// Bytes that nobody can make shorter.
pub fn noise(path: &Path, length: usize) {
    std::fs::write(path, stores::noise(length)).unwrap();
}
