//! Volumes: one for each server whose data lie on layers. A volume is only a description of a mount; removing it removes no file.

use std::collections::HashMap;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::RemoveVolumeOptions;

use super::{DockerError, Engine};

/// How every such mount is made: no program in it gets rights by its file, and nothing in it is a device. A folder that is mounted as it is
/// cannot be told so by the engine; there no-new-privileges and the dropped right to make devices stand for it.
const FLAGS: &str = "nosuid,nodev,";

impl Engine {
    /// The options of a volume that mounts an overlay, empty for any other and for one without our flags; none: it does not exist.
    pub async fn volume(&self, name: &str) -> Result<Option<String>, DockerError> {
        match self.docker().await?.inspect_volume(name).await.map_err(|error| self.told(error)) {
            Err(DockerError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
            Ok(volume) => {
                let options = volume.options.get("o").map(String::as_str).unwrap_or_default();
                Ok(Some(options.strip_prefix(FLAGS).unwrap_or_default().to_owned()))
            }
        }
    }

    /// Makes a volume that mounts an overlay with these options.
    pub async fn create_overlay(&self, name: &str, options: &str, labels: HashMap<String, String>) -> Result<(), DockerError> {
        let options = format!("{FLAGS}{options}");
        let overlay = [("type", "overlay"), ("device", "overlay"), ("o", &options)];
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
