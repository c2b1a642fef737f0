//! Everything a node has to know to run a server, in one value. What it does not name does not reach the container.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::door::Verdict;
use crate::model::backups::BackupRef;
use crate::model::games::{Ready, Stop};
use crate::model::ids::ServerId;
use crate::model::layers::LayerRef;
use crate::model::servers::PublicPort;

/// A server as its node has to run it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Whose.
    pub server: ServerId,
    /// For the sidecar's answers to players; never part of a command line, path or container name.
    pub name: String,
    /// Image reference; `roost/demo:<version>` is made on the node, never pulled.
    pub image: String,
    /// Arguments where the image's own command is not wanted.
    pub args: Vec<String>,
    /// The container's whole environment, as data.
    pub env: BTreeMap<String, String>,
    /// Where the data folder is mounted.
    pub data_path: String,
    /// `uid:gid` to own the data folder.
    pub user: Option<String>,
    /// Capabilities that are left to the game, checked against the node's list.
    pub capabilities: Vec<String>,
    /// Public ports and where they lead.
    pub ports: Vec<PublicPort>,
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// MiB.
    pub memory_mib: u32,
    /// MiB.
    pub storage_mib: u32,
    /// Which /29 of the node's pool.
    pub subnet: u32,
    /// How to know that it can be played.
    pub ready: Ready,
    /// Longest time from start to ready, in seconds.
    pub ready_within_secs: u32,
    /// How it ends.
    pub stop: Stop,
    /// It runs in a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// Sidecar's protocol helper.
    pub door: Option<String>,
    /// Whether traffic may wake it, and what to tell players if not.
    pub wake: Verdict,
    /// What its data are laid out of, the lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerRef>,
    /// Names and values that stand in text files of its layers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Its container's root is read-only; what it writes goes into its data, or into a small `/tmp`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// What its data begin with on a node that has none of it: it comes from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<BackupRef>,
}

impl InstanceSpec {
    /// Hash of all of it, in hexadecimal: the node has this very description or it has not.
    pub fn revision(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(&Sha256::digest(text)[..12])
    }
}
