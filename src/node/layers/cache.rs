//! The node's cache of unpacked layers, shared by all its servers.
//!
//! `cache/<template>/<version>-<first 16 of sha256>[~uid-gid][+n]/` holds `tree/` (the files), `manifest.json`, `layer.json` and, once the
//! disk has it all, `synced`. A folder appears by one rename, whole, and never changes afterwards; fetching anew makes another beside it.
//! It goes only when no server is made of it and nobody holds a lease. Blocking; what it promises is held by one lock.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::error::LayersError;
use super::probe::Way;
use super::record;
use crate::archives::Unpacked;
use crate::archives::remove::remove;
use crate::model::ids::TemplateId;
use crate::model::layers::LayerRef;
use crate::model::templates::Manifest;

/// In the agent's data folder.
const CACHE: &str = "cache";
/// On their way in.
const INCOMING: &str = ".incoming";
/// On their way out.
const GONE: &str = ".gone";
const TREE: &str = "tree";
const LAYER_FILE: &str = "layer.json";
const MANIFEST_FILE: &str = "manifest.json";
const SYNCED_FILE: &str = "synced";
/// Largest of these files.
const JSON_BYTES_MAX: u64 = 64 << 20;

/// What `layer.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Layer {
    /// Whose files these are.
    pub of: LayerRef,
    /// Bytes unpacked.
    pub bytes: u64,
    /// Files in which variables may stand.
    pub with_variables: Vec<String>,
    /// Its clean-list is in the tree as an overlay wants it.
    pub overlay: bool,
    /// The start of the machine in which it was written.
    boot: String,
}

/// A layer that somebody uses now: it stays while this lives.
#[derive(Debug)]
pub(super) struct Lease {
    cache: Arc<Cache>,
    /// Its folder in the cache, from the cache's root.
    pub folder: String,
    /// What it is.
    pub layer: Layer,
}

impl Lease {
    pub fn tree(&self) -> PathBuf {
        self.cache.root.join(&self.folder).join(TREE)
    }

    pub fn manifest(&self) -> Result<Manifest, LayersError> {
        let path = self.cache.root.join(&self.folder).join(MANIFEST_FILE);
        read_json(&path).map_err(LayersError::disk("read what a cached template holds"))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if let Some(count) = state.leases.get_mut(&self.folder) {
            *count -= 1;
            if *count == 0 {
                state.leases.remove(&self.folder);
            }
        }
    }
}

/// What a purge did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Purged {
    /// Bytes unpacked that are free now.
    pub freed: u64,
    /// What went.
    pub removed: Vec<LayerRef>,
    /// What servers are made of, and stayed.
    pub kept: Vec<LayerRef>,
}

/// One layer in the cache, for the node's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    /// Which.
    pub layer: LayerRef,
    /// Bytes unpacked.
    pub bytes: u64,
    /// Servers are made of it.
    pub in_use: bool,
}

#[derive(Debug, Default)]
struct State {
    leases: HashMap<String, usize>,
}

/// The folder of cached layers.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    instances: PathBuf,
    boot: String,
    state: Mutex<State>,
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    if fs::metadata(path)?.len() > JSON_BYTES_MAX {
        return Err(io::Error::other("it is too large"));
    }
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}

/// The owner of the files is part of the name: two games that run as different users share no files.
fn stem(layer: &LayerRef, owner: Option<(u32, u32)>) -> String {
    let owner = owner.map_or_else(String::new, |(uid, gid)| format!("~{uid}-{gid}"));
    format!("{}-{}{owner}", layer.version, layer.sha256.short())
}

/// The number behind the name; a folder that was fetched anew has a higher one.
fn number(name: &str, stem: &str) -> Option<u32> {
    match name.strip_prefix(stem)? {
        "" => Some(0),
        rest => rest.strip_prefix('+')?.parse().ok(),
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()).collect()
}

impl Cache {
    /// Opens the cache below the agent's data folder, and clears what a kill or a power cut left half done.
    pub fn open(data_dir: &Path) -> io::Result<Arc<Cache>> {
        let root = data_dir.join(CACHE);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        for name in [INCOMING, GONE] {
            let folder = root.join(name);
            remove(&folder)?;
            fs::create_dir_all(&folder)?;
        }
        let cache = Cache { root, instances: data_dir.join("instances"), boot, state: Mutex::default() };
        for folder in cache.folders()? {
            let path = cache.root.join(&folder);
            let layer = read_json::<Layer>(&path.join(LAYER_FILE));
            // Written before the machine went down, and perhaps never by the disk.
            let unsure = layer.as_ref().is_ok_and(|layer| layer.boot != cache.boot && !path.join(SYNCED_FILE).exists());
            if layer.is_err() || unsure {
                tracing::warn!(%folder, "a cached template is not whole and is removed");
                remove(&path)?;
            }
        }
        Ok(Arc::new(cache))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every layer's folder, from the root, in order.
    fn folders(&self) -> io::Result<Vec<String>> {
        let mut all = Vec::new();
        for template in names(&self.root)?.into_iter().filter(|name| !name.starts_with('.')) {
            all.extend(names(&self.root.join(&template))?.into_iter().map(|name| format!("{template}/{name}")));
        }
        all.sort();
        Ok(all)
    }

    fn lease(self: &Arc<Self>, state: &mut State, folder: String, layer: Layer) -> Lease {
        *state.leases.entry(folder.clone()).or_default() += 1;
        Lease { cache: self.clone(), folder, layer }
    }

    /// The newest copy of a layer that is whole and really this one; none: it has to be fetched.
    pub fn find(self: &Arc<Self>, layer: &LayerRef, owner: Option<(u32, u32)>, way: Way) -> io::Result<Option<Lease>> {
        let stem = stem(layer, owner);
        let mut state = self.state();
        let names = names(&self.root.join(layer.template.as_str()))?;
        let newest = names.iter().filter_map(|name| number(name, &stem)).max();
        let Some(newest) = newest else { return Ok(None) };
        let folder = folder_name(layer, &stem, newest);
        let known = match read_json::<Layer>(&self.root.join(&folder).join(LAYER_FILE)) {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%folder, %error, "a cached template cannot be read and is fetched again");
                return Ok(None);
            }
        };
        let right = known.of.sha256 == layer.sha256 && (way != Way::Overlay || known.overlay);
        Ok(right.then(|| self.lease(&mut state, folder, known)))
    }

    /// A fresh folder to unpack into; it is cleared at the next start, if not before.
    pub fn incoming(&self) -> io::Result<PathBuf> {
        let mut chance = [0; 12];
        getrandom::fill(&mut chance).map_err(|error| io::Error::other(error.to_string()))?;
        let folder = self.root.join(INCOMING).join(hex::encode(chance));
        fs::create_dir(&folder)?;
        fs::create_dir(folder.join(TREE))?;
        Ok(folder)
    }

    /// Gives what was unpacked its place.
    pub fn place(
        self: &Arc<Self>,
        incoming: &Path,
        layer: &LayerRef,
        owner: Option<(u32, u32)>,
        way: Way,
        unpacked: Unpacked,
    ) -> io::Result<Lease> {
        let known = Layer {
            of: layer.clone(),
            bytes: unpacked.manifest.bytes,
            with_variables: unpacked.with_variables,
            overlay: way == Way::Overlay || unpacked.manifest.rules.clean.is_empty(),
            boot: self.boot.clone(),
        };
        fs::write(incoming.join(MANIFEST_FILE), serde_json::to_vec(&unpacked.manifest)?)?;
        fs::write(incoming.join(LAYER_FILE), serde_json::to_vec(&known)?)?;
        let stem = stem(layer, owner);
        let mut state = self.state();
        let above = self.root.join(layer.template.as_str());
        fs::create_dir_all(&above)?;
        let newest = names(&above)?.iter().filter_map(|name| number(name, &stem)).max();
        let folder = folder_name(layer, &stem, newest.map_or(0, |newest| newest + 1));
        fs::rename(incoming, self.root.join(&folder))?;
        Ok(self.lease(&mut state, folder, known))
    }

    /// Makes sure that the disk has a layer, and remembers it.
    pub fn sync(&self, folder: &str) -> io::Result<()> {
        let path = self.root.join(folder);
        rustix::fs::syncfs(fs::File::open(&path)?)?;
        fs::write(path.join(SYNCED_FILE), "")
    }

    /// The files of a layer, by its folder in the cache.
    pub fn tree_in(data_dir: &Path, folder: &str) -> PathBuf {
        data_dir.join(CACHE).join(folder).join(TREE)
    }

    /// Where unpacked layers wait for their place. The tree is in it.
    pub fn tree_of(incoming: &Path) -> PathBuf {
        incoming.join(TREE)
    }

    /// The folders that servers are mounted from.
    fn used(&self) -> io::Result<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        for server in names(&self.instances)? {
            if let Some(head) = record::read_head(&self.instances.join(server))?
                && head.way == Way::Overlay
            {
                used.extend(head.layers.into_iter().map(|layer| layer.folder));
            }
        }
        Ok(used)
    }

    /// Everything in the cache.
    pub fn list(&self) -> io::Result<Vec<Cached>> {
        let used = self.used()?;
        let read = |folder: String| {
            let layer: Layer = read_json(&self.root.join(&folder).join(LAYER_FILE)).ok()?;
            Some(Cached { layer: layer.of, bytes: layer.bytes, in_use: used.contains(&folder) })
        };
        Ok(self.folders()?.into_iter().filter_map(read).collect())
    }

    /// Removes layers that `choose` names and that nobody uses.
    fn remove(&self, choose: impl Fn(&str) -> bool) -> io::Result<Purged> {
        let mut purged = Purged::default();
        let mut going = Vec::new();
        {
            // A lease ends only after its server's record was written, so a layer is seen in one place or the other.
            let state = self.state();
            let used = self.used()?;
            for folder in self.folders()?.into_iter().filter(|folder| choose(folder)) {
                let path = self.root.join(&folder);
                let layer: Option<Layer> = read_json(&path.join(LAYER_FILE)).ok();
                if used.contains(&folder) || state.leases.contains_key(&folder) {
                    purged.kept.extend(layer.map(|layer| layer.of));
                    continue;
                }
                let mut chance = [0; 12];
                getrandom::fill(&mut chance).map_err(|error| io::Error::other(error.to_string()))?;
                let gone = self.root.join(GONE).join(hex::encode(chance));
                fs::rename(&path, &gone)?;
                going.push(gone);
                if let Some(layer) = layer {
                    purged.freed += layer.bytes;
                    purged.removed.push(layer.of);
                }
            }
        }
        for gone in going {
            remove(&gone)?;
        }
        Ok(purged)
    }

    /// Removes all layers, or those of some templates, that nobody uses.
    pub fn purge(&self, templates: Option<&[TemplateId]>) -> io::Result<Purged> {
        self.remove(|folder| {
            let template = folder.split('/').next().unwrap_or_default();
            templates.is_none_or(|chosen| chosen.iter().any(|id| id.as_str() == template))
        })
    }

    /// Removes older copies of a layer that was fetched anew.
    pub fn retire(&self, layer: &LayerRef, owner: Option<(u32, u32)>, newest: &str) -> io::Result<()> {
        let stem = stem(layer, owner);
        let copy = |folder: &str| {
            folder.split_once('/').is_some_and(|(template, name)| template == layer.template.as_str() && number(name, &stem).is_some())
        };
        self.remove(|folder| folder != newest && copy(folder)).map(drop)
    }
}

fn folder_name(layer: &LayerRef, stem: &str, number: u32) -> String {
    let behind = if number == 0 { String::new() } else { format!("+{number}") };
    format!("{}/{stem}{behind}", layer.template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_owners_and_copies_apart() {
        let layer = LayerRef { template: "lobby".parse().unwrap(), version: "1.2".parse().unwrap(), sha256: [0xab; 32].into(), bytes: 1 };
        let (root, game) = (stem(&layer, None), stem(&layer, Some((1000, 100))));
        assert_eq!((root.as_str(), game.as_str()), ("1.2-abababababababab", "1.2-abababababababab~1000-100"));
        assert_eq!(folder_name(&layer, &game, 2), "lobby/1.2-abababababababab~1000-100+2");
        assert_eq!([&root, &game, &format!("{root}+3"), "1.2"].map(|name| number(name, &root)), [Some(0), None, Some(3), None]);
    }
}
