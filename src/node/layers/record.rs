//! What the agent remembers of the layers of one server: `layers.json`, small and read often, and `provenance.json`, by path.
//!
//! Both lie in the server's folder, where the game cannot reach them, and are replaced as a whole. The provenance is written first: after a
//! kill between the two, the same preparation is made once more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::probe::Way;
use crate::model::checksum::Checksum;
use crate::model::layers::{LayerRef, Merged};
use crate::model::variables::Unknown;

pub(super) const HEAD_FILE: &str = "layers.json";
const PROVENANCE_FILE: &str = "provenance.json";

/// A layer, and which copy in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Used {
    pub layer: LayerRef,
    pub folder: String,
}

/// `layers.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub way: Way,
    pub layers: Vec<Used>,
    /// Folder of the files in which variables were put, in the server's folder.
    pub rendered: Option<String>,
    /// Of the variables and the owner.
    pub inputs: Checksum,
    pub unknown: Vec<Unknown>,
}

/// `provenance.json`: where each file is from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Provenance {
    pub merged: Merged,
    /// Files in which variables were put: their content as it was placed.
    pub rendered: BTreeMap<String, Checksum>,
    /// In an overlay: files of layers that had to be put among the server's own, because it had removed the folder above them.
    #[serde(default)]
    pub copied: BTreeSet<String>,
}

impl Provenance {
    /// Only what lies in the server's own folder, though it came with a layer.
    pub fn of_copied(&self) -> Provenance {
        let entry = |path: &String| Some((path.clone(), self.merged.entries.get(path)?.clone()));
        let merged = Merged { entries: self.copied.iter().filter_map(entry).collect(), missing: Vec::new() };
        Provenance { merged, rendered: self.rendered.clone(), copied: BTreeSet::new() }
    }
}

fn read<T: serde::de::DeserializeOwned>(path: PathBuf) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

fn write<T: Serialize>(home: &Path, name: &str, value: &T) -> io::Result<()> {
    let beside = home.join(format!("{name}.new"));
    let mut file = fs::File::create(&beside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_data()?;
    fs::rename(beside, home.join(name))
}

pub(super) fn read_head(home: &Path) -> io::Result<Option<Head>> {
    read(home.join(HEAD_FILE))
}

pub(super) fn read_provenance(home: &Path) -> io::Result<Provenance> {
    Ok(read(home.join(PROVENANCE_FILE))?.unwrap_or_default())
}

pub(super) fn write_provenance(home: &Path, provenance: &Provenance) -> io::Result<()> {
    write(home, PROVENANCE_FILE, provenance)
}

pub(super) fn write_both(home: &Path, head: &Head, provenance: &Provenance) -> io::Result<()> {
    write_provenance(home, provenance)?;
    write(home, HEAD_FILE, head)
}
