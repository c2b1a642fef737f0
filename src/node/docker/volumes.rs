//! Volumes: one for each server whose data lie on layers. A volume is only a description of a mount; removing it removes no file.

use std::collections::HashMap;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::RemoveVolumeOptions;

use super::{DockerError, Engine};

impl Engine {
    /// The options of a volume that mounts an overlay, empty for any other; none: it does not exist.
    pub async fn volume(&self, name: &str) -> Result<Option<String>, DockerError> {
        match self.docker().await?.inspect_volume(name).await.map_err(|error| self.told(error)) {
            Err(DockerError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
            Ok(volume) => Ok(Some(volume.options.get("o").cloned().unwrap_or_default())),
        }
    }

    /// Makes a volume that mounts an overlay with these options.
    pub async fn create_overlay(&self, name: &str, options: &str, labels: HashMap<String, String>) -> Result<(), DockerError> {
        let overlay = [("type", "overlay"), ("device", "overlay"), ("o", options)];
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            driver_opts: Some(overlay.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        self.docker().await?.create_volume(request).await.map_err(|error| self.told(error))?;
        Ok(())
    }

    /// Removes a volume that no container holds.
    pub async fn remove_volume(&self, name: &str) -> Result<(), DockerError> {
        match self.docker().await?.remove_volume(name, None::<RemoveVolumeOptions>).await.map_err(|error| self.told(error)) {
            Err(DockerError::NotFound(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
