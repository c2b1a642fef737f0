//! The object folder as it lies on the disk: blocking, called by `FolderStore` on threads for that.
//!
//! What must stay true: no link below the root is followed, and every name comes from a key, an upload's id or a number, all of which
//! were checked. A part is `<number>-<sha256>`, so that the tag of an answer names exactly one file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::super::links::{UPLOAD_LENGTH, is_upload};
use super::super::{Listed, ObjectError, ObjectKey, Page, PageToken, Part, UploadId};
use crate::model::time::Millis;

/// Files on their way in.
const INCOMING: &str = ".incoming";
/// Parts of uploads.
const UPLOADS: &str = ".uploads";
/// In an upload's folder: whose parts these are.
const KEY_FILE: &str = "key";
/// Open files and folders are for the panel alone.
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A folder, by its path.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: Arc<Path>,
}

/// A file on its way in; removed unless it was put in its place.
pub(super) struct Incoming {
    path: PathBuf,
    file: File,
    placed: bool,
}

impl Incoming {
    pub fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// An error of the disk in our words.
pub(super) fn told(what: &'static str, error: io::Error) -> ObjectError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ObjectError::Full,
        _ => ObjectError::Failed { what, source: Box::new(error) },
    }
}

/// What a piece of blocking work failed with: the disk, or something that has a name.
pub(super) enum Fault {
    Disk(io::Error),
    Named(ObjectError),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Disk(error)
    }
}

impl From<ObjectError> for Fault {
    fn from(error: ObjectError) -> Self {
        Fault::Named(error)
    }
}

fn not_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

impl Disk {
    pub fn new(root: &Path) -> Disk {
        Disk { root: root.into() }
    }

    /// Runs a piece of work where it may block.
    pub async fn run<T, F>(&self, what: &'static str, work: F) -> Result<T, ObjectError>
    where
        T: Send + 'static,
        F: FnOnce(&Disk) -> Result<T, Fault> + Send + 'static,
    {
        let disk = self.clone();
        match tokio::task::spawn_blocking(move || work(&disk)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Fault::Named(error))) => Err(error),
            Ok(Err(Fault::Disk(error))) => Err(told(what, error)),
            Err(error) => Err(ObjectError::Failed { what, source: Box::new(error) }),
        }
    }

    /// Makes the folders; removes what a kill left, and uploads that were last touched before `forgotten`.
    pub fn prepare(&self, forgotten: Millis) -> Result<(), Fault> {
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.root)?;
        let incoming = self.root.join(INCOMING);
        if incoming.exists() {
            fs::remove_dir_all(&incoming)?;
        }
        make_folder(&incoming)?;
        make_folder(&self.root.join(UPLOADS))?;
        for entry in fs::read_dir(self.root.join(UPLOADS))? {
            let entry = entry?;
            let touched = entry.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            if i128::try_from(touched.as_millis()).unwrap_or(i128::MAX) < i128::from(forgotten.0) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    pub fn incoming(&self) -> Result<Incoming, Fault> {
        let path = self.root.join(INCOMING).join(random()?);
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path)?;
        Ok(Incoming { path, file, placed: false })
    }

    /// The path of an object, or of the folder of objects, after a look at every folder on the way: links are not ours.
    fn path(&self, text: &str) -> Result<PathBuf, Fault> {
        let mut path = self.root.to_path_buf();
        for part in text.split('/').filter(|part| !part.is_empty()) {
            path.push(part);
            if let Some(found) = not_there(path.symlink_metadata())?
                && found.is_symlink()
            {
                return Err(io::Error::other(format!("{} is a link, and links are not followed", path.display())).into());
            }
        }
        Ok(path)
    }

    pub fn open(&self, key: &ObjectKey) -> Result<(File, u64), Fault> {
        let path = self.path(key.as_str())?;
        let missing = || Fault::from(ObjectError::Missing(key.clone()));
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = not_there(options.open(path))?.ok_or_else(missing)?;
        let found = file.metadata()?;
        if found.is_file() { Ok((file, found.len())) } else { Err(missing()) }
    }

    /// Makes what was written durable, then gives it its name.
    pub fn place(&self, mut incoming: Incoming, key: &ObjectKey) -> Result<(), Fault> {
        let path = self.path(key.as_str())?;
        incoming.file.sync_all()?;
        // A folder that has just become empty may be removed between the making and the renaming.
        for last in [false, false, true] {
            if let Some(folder) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
            }
            match fs::rename(&incoming.path, &path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !last => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        incoming.placed = true;
        Ok(())
    }

    /// Removes the object, and the folders above it that are empty now.
    pub fn delete(&self, key: &ObjectKey) -> Result<(), Fault> {
        let path = self.path(key.as_str())?;
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) | Err(_) => drop(not_there(fs::remove_file(&path))?),
        }
        let mut above = path.parent();
        while let Some(folder) = above.filter(|folder| **folder != *self.root) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
            above = folder.parent();
        }
        Ok(())
    }

    pub fn list(&self, prefix: &str, from: Option<&str>, limit: usize) -> Result<Page, Fault> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut walk = Walk { prefix, from: from.unwrap_or_default(), limit, objects: Vec::new(), more: false };
        walk.folder(&self.path(folder)?, folder)?;
        let next = walk.objects.last().filter(|_| walk.more).map(|last| PageToken(last.key.to_string()));
        Ok(Page { objects: walk.objects, next })
    }

    fn upload(&self, key: &ObjectKey, upload: &UploadId) -> Result<PathBuf, Fault> {
        let none = || Fault::from(ObjectError::NoUpload(key.clone()));
        if !is_upload(&upload.0) {
            return Err(none());
        }
        let folder = self.root.join(UPLOADS).join(&upload.0);
        let of = not_there(fs::read_to_string(folder.join(KEY_FILE)))?;
        if of.as_deref() == Some(key.as_str()) { Ok(folder) } else { Err(none()) }
    }

    pub fn begin_upload(&self, key: &ObjectKey) -> Result<UploadId, Fault> {
        let id = random()?;
        let folder = self.root.join(UPLOADS).join(&id);
        make_folder(&folder)?;
        fs::write(folder.join(KEY_FILE), key.as_str())?;
        Ok(UploadId(id))
    }

    /// Where a part of an upload that is under way belongs, without its tag.
    pub fn part(&self, key: &ObjectKey, upload: &UploadId, number: u32) -> Result<PathBuf, Fault> {
        Ok(self.upload(key, upload)?.join(number.to_string()))
    }

    /// A part that comes again replaces what came before under its number.
    #[expect(clippy::unused_self, reason = "every step of the folder is asked of the disk")]
    pub fn place_part(&self, mut incoming: Incoming, path: &Path, tag: &str) -> Result<(), Fault> {
        let number = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        fs::rename(&incoming.path, path.with_file_name(format!("{number}-{tag}")))?;
        incoming.placed = true;
        Ok(())
    }

    pub fn finish_upload(&self, key: &ObjectKey, upload: &UploadId, parts: &[Part]) -> Result<(), Fault> {
        let folder = self.upload(key, upload)?;
        let bad = |why: String| Fault::from(ObjectError::BadParts { key: key.clone(), why });
        if parts.is_empty() {
            return Err(bad("there are none".to_owned()));
        }
        let mut incoming = self.incoming()?;
        let mut last = 0;
        for part in parts {
            let tag = part.etag.trim_matches('"');
            let plain = tag.len() == 2 * UPLOAD_LENGTH && tag.bytes().all(|b| b.is_ascii_hexdigit());
            if part.number <= last || !plain {
                return Err(bad(format!("part {} is named twice, or its tag is not one of ours", part.number)));
            }
            last = part.number;
            let opened = not_there(File::open(folder.join(format!("{}-{tag}", part.number))))?;
            let mut file = opened.ok_or_else(|| bad(format!("part {} with this tag did not come", part.number)))?;
            io::copy(&mut file, &mut incoming.file)?;
        }
        incoming.file.flush()?;
        self.place(incoming, key)?;
        fs::remove_dir_all(folder)?;
        Ok(())
    }

    pub fn abort_upload(&self, key: &ObjectKey, upload: &UploadId) -> Result<(), Fault> {
        match self.upload(key, upload) {
            Ok(folder) => Ok(fs::remove_dir_all(folder)?),
            Err(Fault::Named(ObjectError::NoUpload(_))) => Ok(()),
            Err(fault) => Err(fault),
        }
    }
}

fn random() -> io::Result<String> {
    let mut bytes = [0; UPLOAD_LENGTH / 2];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(hex::encode(bytes))
}

/// A walk in the order of the keys, which begins behind `from` and ends when the page is full.
struct Walk<'a> {
    prefix: &'a str,
    from: &'a str,
    limit: usize,
    objects: Vec<Listed>,
    more: bool,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, name: &str) -> Result<(), Fault> {
        let Some(entries) = not_there(fs::read_dir(path))? else { return Ok(()) };
        // A folder sorts as its name with the slash that follows it in every key.
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let (kind, Ok(part)) = (entry.file_type()?, entry.file_name().into_string()) else { continue };
            let key = if name.is_empty() { part } else { format!("{name}/{part}") };
            if kind.is_dir() {
                names.push(key + "/");
            } else if kind.is_file() {
                names.push(key);
            }
        }
        names.sort_unstable();
        for key in names {
            if self.more {
                break;
            }
            self.entry(path, &key)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &Path, key: &str) -> Result<(), Fault> {
        let leads = key.starts_with(self.prefix) || self.prefix.starts_with(key);
        let part = key.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if !leads || part.starts_with('.') {
            return Ok(());
        }
        let path = folder.join(part);
        if let Some(name) = key.strip_suffix('/') {
            // Everything below is before the page where the page begins behind the whole folder.
            let passed = key < self.from && !self.from.starts_with(key);
            return if passed { Ok(()) } else { self.folder(&path, name) };
        }
        let Ok(parsed) = key.parse::<ObjectKey>() else { return Ok(()) };
        if key <= self.from || !key.starts_with(self.prefix) {
            return Ok(());
        }
        if self.objects.len() == self.limit {
            self.more = true;
            return Ok(());
        }
        let Some(found) = not_there(path.symlink_metadata())? else { return Ok(()) };
        self.objects.push(Listed { key: parsed, bytes: found.len() });
        Ok(())
    }
}
