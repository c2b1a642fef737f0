//! Images: looked for, pulled with progress, or made from one static program.

use std::collections::{BTreeMap, HashMap};

use bollard::query_parameters::CreateImageOptions;
use bytes::Bytes;
use futures_util::StreamExt;

use super::{DockerError, Engine};

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PullProgress {
    /// Layers that are there.
    pub layers_done: usize,
    /// Layers heard of so far.
    pub layers: usize,
    /// Bytes loaded.
    pub bytes_done: u64,
    /// Bytes of the layers whose size is known.
    pub bytes: u64,
}

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Folders that it wants as volumes.
    pub volumes: Vec<String>,
    /// Whom it runs as.
    pub user: String,
}

#[derive(Debug, Clone, Copy, Default)]
struct Layer {
    done: bool,
    current: u64,
    total: u64,
}

/// Layers by Docker's short id. Bounded: an image with more layers than this is not one.
const LAYERS_MAX: usize = 1_024;

#[derive(Debug, Default)]
struct Layers(BTreeMap<String, Layer>);

impl Layers {
    fn hear(&mut self, id: &str, status: &str, current: u64, total: u64) {
        if self.0.len() >= LAYERS_MAX && !self.0.contains_key(id) {
            return;
        }
        match status {
            "Pulling fs layer" | "Waiting" => drop(self.0.entry(id.to_owned()).or_default()),
            "Downloading" => {
                let layer = self.0.entry(id.to_owned()).or_default();
                (layer.current, layer.total) = (current, total.max(current));
            }
            "Download complete" | "Verifying Checksum" | "Extracting" => {
                let layer = self.0.entry(id.to_owned()).or_default();
                layer.current = layer.total;
            }
            "Pull complete" | "Already exists" => {
                let layer = self.0.entry(id.to_owned()).or_default();
                (layer.done, layer.current) = (true, layer.total);
            }
            // Docker's other lines ("Pulling from ...", "Digest: ...") are about the image, not about a layer.
            _ => {}
        }
    }

    fn progress(&self) -> PullProgress {
        PullProgress {
            layers_done: self.0.values().filter(|layer| layer.done).count(),
            layers: self.0.len(),
            bytes_done: self.0.values().map(|layer| layer.current).sum(),
            bytes: self.0.values().map(|layer| layer.total).sum(),
        }
    }
}

/// Name and tag as Docker's pull wants them; a digest stays in the name.
fn split_reference(reference: &str) -> (String, Option<String>) {
    if reference.contains('@') {
        return (reference.to_owned(), None);
    }
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name.to_owned(), Some(tag.to_owned())),
        Some(_) | None => (reference.to_owned(), Some("latest".to_owned())),
    }
}

impl Engine {
    /// What an image says of itself; none: it is not on this machine.
    pub async fn image(&self, reference: &str) -> Result<Option<ImageFacts>, DockerError> {
        match self.docker().await?.inspect_image(reference).await.map_err(|error| self.told(error)) {
            Err(DockerError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
            Ok(said) => {
                let config = said.config.unwrap_or_default();
                Ok(Some(ImageFacts {
                    labels: config.labels.unwrap_or_default(),
                    volumes: config.volumes.unwrap_or_default(),
                    user: config.user.unwrap_or_default(),
                }))
            }
        }
    }

    /// Makes an image from the files in a tar archive. `changes` are lines as in a Dockerfile.
    pub async fn import(&self, repo: &str, tag: &str, changes: Vec<String>, archive: Vec<u8>) -> Result<(), DockerError> {
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(repo.to_owned()),
            tag: Some(tag.to_owned()),
            changes,
            ..CreateImageOptions::default()
        };
        let docker = self.docker().await?;
        let mut lines = Box::pin(docker.create_image(Some(options), Some(bollard::body_full(Bytes::from(archive))), None));
        while let Some(line) = lines.next().await {
            line.map_err(|error| self.told(error))?;
        }
        Ok(())
    }

    /// Pulls an image and tells how far it is.
    pub async fn pull(&self, reference: &str, mut tell: impl FnMut(PullProgress)) -> Result<(), DockerError> {
        let (name, tag) = split_reference(reference);
        let options = CreateImageOptions { from_image: Some(name), tag, ..CreateImageOptions::default() };
        let docker = self.docker().await?;
        let mut lines = Box::pin(docker.create_image(Some(options), None, None));
        let mut layers = Layers::default();
        while let Some(line) = lines.next().await {
            let line = line.map_err(|error| self.told(error))?;
            if let (Some(id), Some(status)) = (&line.id, &line.status) {
                let detail = line.progress_detail.unwrap_or_default();
                let size = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
                layers.hear(id, status, size(detail.current), size(detail.total));
                tell(layers.progress());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_at_their_tag() {
        let split = |text| split_reference(text);
        assert_eq!(split("itzg/minecraft-server"), ("itzg/minecraft-server".into(), Some("latest".into())));
        assert_eq!(split("host:5000/a/b"), ("host:5000/a/b".into(), Some("latest".into())));
        assert_eq!(split("host:5000/a/b:2"), ("host:5000/a/b".into(), Some("2".into())));
        assert_eq!(split("a@sha256:00"), ("a@sha256:00".into(), None));
    }

    #[test]
    fn progress_counts_layers_and_bytes() {
        let mut layers = Layers::default();
        layers.hear("a", "Pulling fs layer", 0, 0);
        layers.hear("b", "Already exists", 0, 0);
        layers.hear("a", "Downloading", 30, 100);
        assert_eq!(layers.progress(), PullProgress { layers_done: 1, layers: 2, bytes_done: 30, bytes: 100 });
        layers.hear("a", "Pull complete", 0, 0);
        layers.hear("latest", "Pulling from somewhere", 0, 0);
        assert_eq!(layers.progress(), PullProgress { layers_done: 2, layers: 2, bytes_done: 100, bytes: 100 });
    }
}
