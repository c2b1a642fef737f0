//! Why layers could not be prepared, in words for the server's owner and the node's operator.

use std::io;

use crate::archives::ArchiveError;
use crate::model::checksum::Checksum;
use crate::model::layers::{LayerRef, Missing};

/// A layer as people write it.
pub(super) fn name(layer: &LayerRef) -> String {
    format!("{} {}", layer.template, layer.version)
}

/// Why layers could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// The panel gave no address for it.
    #[error("The panel gives no address for the template {layer}: {words}")]
    Url {
        /// Which.
        layer: String,
        /// In the panel's words.
        words: String,
    },
    /// The object is not there.
    #[error("The archive of the template {0} is not in the object store any more. Upload that version again, or choose another")]
    Gone(String),
    /// It does not arrive.
    #[error("The template {layer} cannot be downloaded: {words}. See the network between this node and the object store")]
    Download {
        /// Which.
        layer: String,
        /// What the last try said.
        words: String,
    },
    /// What arrives is something else.
    #[error("The template {layer} arrived {tries} times with another checksum ({got}) than it should have ({expected}). Upload it again")]
    WrongChecksum {
        /// Which.
        layer: String,
        /// How often it was tried.
        tries: u32,
        /// What it should be.
        expected: Checksum,
        /// What came last.
        got: Checksum,
    },
    /// It cannot be unpacked.
    #[error("The template {layer} cannot be unpacked: {source}")]
    Archive {
        /// Which.
        layer: String,
        /// Why not.
        source: Box<ArchiveError>,
    },
    /// No space.
    #[error("The disk of the node is full. Free some space or purge the node's cache of templates; nothing was left half done")]
    Full,
    /// A file or folder of the agent.
    #[error("The node cannot {what}: {source}. See the node's disk and the rights of its data folder")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Merged, and still not whole.
    #[error("{} {} required by a template and not in any of the layers", paths(.0), if .0.len() == 1 { "is" } else { "are" })]
    Missing(Vec<Missing>),
    /// More than fit.
    #[error("A server has at most {0} layers")]
    TooMany(usize),
    /// The folder was made in a way that does not work here any more.
    #[error(
        "This server's folder was made as an overlay, and overlays cannot be mounted on this node any more. Run the agent as root, on a disk that overlays work on"
    )]
    WayGone,
    /// The kernel takes no longer line.
    #[error("The paths of the layers are too long together to be mounted. Move the node's data folder to a shorter path")]
    TooLong,
}

fn paths(missing: &[Missing]) -> String {
    let shown: Vec<&str> = missing.iter().take(5).map(|missing| missing.path.as_str()).collect();
    let more = if missing.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

impl LayersError {
    /// Of a file operation.
    pub(super) fn disk(what: &'static str) -> impl Fn(io::Error) -> LayersError {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LayersError::Full,
            _ => LayersError::Disk { what, source },
        }
    }

    /// Of unpacking.
    pub(super) fn archive(layer: &LayerRef, source: ArchiveError) -> LayersError {
        if source.disk_is_full() { LayersError::Full } else { LayersError::Archive { layer: name(layer), source: Box::new(source) } }
    }

    /// Worth trying again without anybody changing the list of layers.
    pub fn retryable(&self) -> bool {
        match self {
            LayersError::Url { .. }
            | LayersError::Download { .. }
            | LayersError::WrongChecksum { .. }
            | LayersError::Full
            | LayersError::Disk { .. } => true,
            LayersError::Gone(_)
            | LayersError::Archive { .. }
            | LayersError::Missing(_)
            | LayersError::TooMany(_)
            | LayersError::WayGone
            | LayersError::TooLong => false,
        }
    }
}
