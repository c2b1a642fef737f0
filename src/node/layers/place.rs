//! Carries a plan out, and makes the folder of the files in which variables were put. Blocking.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use sha2::{Digest, Sha256};

use super::plan::Step;
use super::probe::{OPAQUE, Way, YES};
use crate::archives::beneath::{Beneath, FOLDER_MODE};
use crate::archives::remove::remove;
use crate::model::checksum::Checksum;
use crate::model::layers::Merged;
use crate::model::templates::{Kind, above};

/// Threads that copy the files of one server.
const THREADS_MAX: usize = 4;
/// Fewer files than this are not worth a thread of their own.
const FILES_PER_THREAD: usize = 64;

/// Where the merged layers' files are.
pub(super) struct Sources<'a> {
    pub way: Way,
    pub merged: &'a Merged,
    /// Trees of the layers, in their order.
    pub trees: &'a [PathBuf],
    /// By path: what a file holds after variables were put in.
    pub rendered: &'a BTreeMap<String, Vec<u8>>,
    pub owner: Option<(u32, u32)>,
}

impl Sources<'_> {
    fn mode(&self, path: &str) -> u32 {
        self.merged.entries.get(path).map_or(FOLDER_MODE, |placed| placed.mode)
    }

    fn put(&self, folder: &mut Beneath, path: &str) -> io::Result<()> {
        let Some(placed) = self.merged.entries.get(path) else { return Ok(()) };
        if let Some(text) = self.rendered.get(path) {
            return folder.create(path, placed.mode)?.write_all(text);
        }
        match &placed.kind {
            Kind::Folder => folder.folder(path, placed.mode),
            Kind::Link { target } => folder.symlink(path, target),
            Kind::File { size, .. } => {
                let tree = self.trees.get(placed.layer).ok_or(io::ErrorKind::NotFound)?;
                let mut from = File::open(tree.join(path))?;
                let mut to = folder.create(path, placed.mode)?;
                if self.way == Way::Reflink && *size > 0 && rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
                    return Ok(());
                }
                // Within the kernel, where it can.
                let copied = io::copy(&mut from, &mut to)?;
                if copied == *size { Ok(()) } else { Err(io::Error::other(format!("{path} in the cache is not as long as it was"))) }
            }
        }
    }

    /// Puts files that do not depend on each other, on several threads where there are many.
    fn put_all(&self, root: &Path, paths: &[&str]) -> io::Result<()> {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = cores.min(THREADS_MAX).min(paths.len().div_ceil(FILES_PER_THREAD)).max(1);
        let share = paths.len().div_ceil(threads).max(1);
        let work = |share: &[&str]| {
            let mut folder = Beneath::open(root, self.owner)?;
            share.iter().try_for_each(|path| self.put(&mut folder, path))
        };
        thread::scope(|scope| {
            let begun: Vec<_> = paths.chunks(share).map(|share| scope.spawn(move || work(share))).collect();
            let ended = begun.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a copying thread ended"))));
            ended.collect()
        })
    }

    /// Carries the steps out in the server's folder. Files that stand together in the plan are put together.
    pub fn carry_out(&self, root: &Path, steps: &[Step]) -> io::Result<()> {
        let mut folder = Beneath::open(root, self.owner)?;
        let mut later: Vec<&str> = Vec::new();
        for step in steps {
            match step {
                Step::Remove(path) => drop(folder.remove(path)?),
                Step::Folder(path) => folder.folder(path, self.mode(path))?,
                Step::Opaque(path) => {
                    folder.folder(path, self.mode(path))?;
                    folder.set_attribute(path, OPAQUE, YES)?;
                }
                Step::Put(path) => later.push(path),
                Step::RemoveEmpty(_) => {}
            }
        }
        self.put_all(root, &later)?;
        for step in steps {
            if let Step::RemoveEmpty(path) = step {
                folder.remove_empty(path)?;
            }
        }
        Ok(())
    }

    /// Makes the folder of files in which variables were put: the highest of an overlay's lower folders. Its name follows from all that
    /// is in it, so the same is never made twice and another never takes its place.
    pub fn make_rendered(&self, home: &Path) -> io::Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.owner));
        for (path, text) in self.rendered {
            let modes: Vec<u32> = above(path).chain([path.as_str()]).map(|path| self.mode(path)).collect();
            hash.update(format!("\n{path}\n{modes:?}\n{}\n", text.len()));
            hash.update(text);
        }
        let name = format!("rendered-{}", Checksum::from(<[u8; 32]>::from(hash.finalize())).short());
        let (made, beside) = (home.join(&name), home.join("rendered.new"));
        if made.exists() {
            return Ok(name);
        }
        remove(&beside)?;
        fs::create_dir(&beside)?;
        let mut folder = Beneath::open(&beside, self.owner)?;
        for path in self.rendered.keys() {
            for above in above(path) {
                folder.folder(above, self.mode(above))?;
            }
            self.put(&mut folder, path)?;
        }
        fs::rename(beside, made)?;
        Ok(name)
    }
}

/// Removes folders of rendered files that are neither the one that is named nor were it before.
pub(super) fn retire_rendered(home: &Path, keep: &[Option<&str>]) -> io::Result<()> {
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with("rendered-")) else { continue };
        if !keep.contains(&Some(name)) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}
