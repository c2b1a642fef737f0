//! Folders that an image declares as volumes: they belong to the server's data, so that what lies in them is kept, counted and backed up.
//!
//! For each of them Docker would make a volume without a name and remove it with the container. One below the data folder is its own
//! place there; one elsewhere has a place in the data under [`KEPT`]. What an image itself has at such a place stays in the image, as it
//! does at the data folder. The game decides what lies in its data and the engine follows links, so every folder on the way is made sure
//! to be one before each start, while nobody else writes there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::parts::ids;
use super::worker::Worker;
use crate::node::docker::NewMount;
use crate::node::error::StepError;
use crate::wire::agent::EventKind;
use crate::wire::spec::InstanceSpec;

/// Where in the data those lie that the image has elsewhere.
const KEPT: &str = ".volumes";
/// Most volumes of one image.
const VOLUMES_MAX: usize = 16;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What an image says of the place and the owner of its data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// Its volumes, as it writes them.
    pub volumes: Vec<String>,
    /// Whom it runs as; empty: root.
    pub user: String,
}

/// A volume with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// In the container.
    target: String,
    /// Below the data folder.
    within: String,
}

impl Volume {
    fn is_elsewhere(&self) -> bool {
        self.within.starts_with(KEPT)
    }
}

/// Only the names of an absolute path.
fn names(path: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = path.strip_prefix('/')?.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    let odd = |name: &&str| *name == ".." || name.chars().any(char::is_control);
    (!names.is_empty() && !names.iter().any(odd)).then_some(names)
}

/// The volumes of an image that are not the data folder itself, with their places.
pub fn places(declared: &Declared, data_path: &str) -> Result<Vec<Volume>, StepError> {
    let data = names(data_path).unwrap_or_default();
    if declared.volumes.len() > VOLUMES_MAX {
        return Err(StepError::Spec(format!("its image declares more than {VOLUMES_MAX} volumes")));
    }
    let mut all = Vec::new();
    for path in &declared.volumes {
        let odd = || StepError::Spec(format!("its image declares the volume {path:?}, which cannot be kept with the server's data"));
        let parts = names(path).ok_or_else(odd)?;
        let within = match parts.strip_prefix(data.as_slice()) {
            Some([]) => continue,
            Some(rest) => rest.join("/"),
            // Two paths never get one name.
            None => format!("{KEPT}/{}", parts.iter().map(|part| part.replace('+', "++")).collect::<Vec<_>>().join("+")),
        };
        all.push(Volume { target: format!("/{}", parts.join("/")), within });
    }
    all.sort_by(|one, other| one.target.cmp(&other.target));
    all.dedup();
    Ok(all)
}

/// Makes sure that there is a folder, and nothing but folders on the way to it. A link gives way: it holds no data. True: it is new.
fn ensure_folder(data: &Path, within: &str, owner: Option<(u32, u32)>) -> io::Result<bool> {
    let mut handle: OwnedFd = fs::open(data, FOLDER, Mode::empty())?;
    let mut new = false;
    for name in within.split('/') {
        handle = match fs::openat(&handle, name, FOLDER, Mode::empty()) {
            Ok(deeper) => deeper,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                let is = fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode));
                match is {
                    Ok(FileType::Symlink) => fs::unlinkat(&handle, name, AtFlags::empty())?,
                    Ok(_) => return Err(io::Error::other(format!("{within} in the data is no folder, and the image wants one there"))),
                    Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
                fs::mkdirat(&handle, name, Mode::from_raw_mode(0o755))?;
                new = true;
                let deeper = fs::openat(&handle, name, FOLDER, Mode::empty())?;
                if let Some((uid, gid)) = owner {
                    fs::fchown(deeper.as_fd(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
                }
                deeper
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(new)
}

impl Worker {
    /// Reads what the image says, where that is not known.
    pub(super) async fn know_image(&mut self, spec: &InstanceSpec, anew: bool) -> Result<(), StepError> {
        if self.record.image.is_some() && !anew {
            return Ok(());
        }
        let facts = self.ctx.engine.image(&spec.image).await?.unwrap_or_default();
        let mut volumes = facts.volumes;
        volumes.sort();
        let declared = Declared { volumes, user: facts.user };
        places(&declared, &spec.data_path)?;
        if self.record.image.as_ref() != Some(&declared) {
            self.record.image = Some(declared);
            self.save().await?;
        }
        Ok(())
    }

    /// Who has to own the data: as the catalogue says, or else whom the image runs as, where it says so in numbers.
    pub(super) fn data_owner(&self, spec: &InstanceSpec) -> Option<(u32, u32)> {
        spec.user.as_deref().and_then(ids).or_else(|| {
            let user = &self.record.image.as_ref()?.user;
            let (uid, gid) = user.split_once(':').unwrap_or((user, user));
            let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
            (uid != 0).then_some((uid, gid))
        })
    }

    fn volumes(&self, spec: &InstanceSpec) -> Vec<Volume> {
        // Checked when the image was looked at.
        self.record.image.as_ref().and_then(|declared| places(declared, &spec.data_path).ok()).unwrap_or_default()
    }

    /// Their places in the data. On layers there are none: they would lie beside what the layers show.
    pub(super) async fn ensure_volumes(&self, spec: &InstanceSpec) -> Result<(), StepError> {
        let volumes = self.volumes(spec);
        let Some(first) = volumes.first() else { return Ok(()) };
        if self.lies_on_layers() {
            let why = format!(
                "its image declares {} as a volume of its own, which does not go together with layers: take the layers away, or choose an image without it",
                first.target
            );
            return Err(StepError::Spec(why));
        }
        let (data, owner) = (self.instance.folder.data(), self.data_owner(spec));
        let made = move || {
            let mut new = Vec::new();
            for volume in volumes {
                if ensure_folder(&data, &volume.within, owner)? && volume.is_elsewhere() {
                    new.push(format!("{} in {}", volume.target, volume.within));
                }
            }
            Ok(new)
        };
        let new = self.ctx.blocking("make a place for the image's volumes", made).await?;
        if !new.is_empty() {
            let text =
                format!("The image keeps data outside of its data folder; they belong to the server's data now: {}.", new.join(", "));
            self.ctx.tell(&self.record.server, None, EventKind::Note { text }).await;
        }
        Ok(())
    }

    /// Everything that is mounted into the game's container.
    pub(super) fn mounts(&self, spec: &InstanceSpec) -> Vec<NewMount> {
        let data = self.instance.folder.data();
        let volumes = self.volumes(spec).into_iter().map(|volume| NewMount {
            source: data.join(volume.within).to_string_lossy().into_owned(),
            target: volume.target,
            read_only: false,
            volume: false,
        });
        std::iter::once(self.data_mount(spec)).chain(volumes).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(volumes: &[&str], data_path: &str) -> Result<Vec<(String, String)>, String> {
        let declared = Declared { volumes: volumes.iter().map(|path| (*path).to_owned()).collect(), user: String::new() };
        let places = places(&declared, data_path).map_err(|error| error.to_string())?;
        Ok(places.into_iter().map(|volume| (volume.target, volume.within)).collect())
    }

    #[test]
    fn a_volume_below_the_data_is_its_own_place_and_another_has_one_of_its_own() {
        let both = |target: &str, within: &str| (target.to_owned(), within.to_owned());
        assert_eq!(found(&["/data"], "/data").unwrap(), []);
        assert_eq!(found(&["/data/", "//data/./sub/"], "/data").unwrap(), [both("/data/sub", "sub")]);
        assert_eq!(found(&["/opt/game"], "/data").unwrap(), [both("/opt/game", ".volumes/opt+game")]);
        assert_eq!(found(&["/opt+game", "/opt/game"], "/data").unwrap().len(), 2);
        assert_ne!(found(&["/opt+game"], "/data").unwrap()[0].1, found(&["/opt/game"], "/data").unwrap()[0].1);
        assert_eq!(found(&["/database"], "/data").unwrap(), [both("/database", ".volumes/database")]);
        for odd in ["/", "data", "", "/data/../etc", "/a\nb"] {
            assert!(found(&[odd], "/data").is_err(), "{odd:?}");
        }
        assert!(found(&[""; VOLUMES_MAX + 1], "/data").unwrap_err().contains("more than 16"));
    }

    #[test]
    fn no_link_that_a_game_plants_leads_a_mount_out_of_its_data() {
        let room = tempfile::tempdir().unwrap();
        let (data, outside) = (room.path().join("data"), room.path().join("outside"));
        std::fs::create_dir(&data).unwrap();
        std::fs::create_dir_all(outside.join("deep")).unwrap();
        symlink(&outside, data.join("sub")).unwrap();
        assert!(ensure_folder(&data, "sub/deep", None).unwrap());
        assert!(std::fs::symlink_metadata(data.join("sub")).unwrap().is_dir() && data.join("sub/deep").is_dir());
        assert!(!ensure_folder(&data, "sub/deep", None).unwrap(), "it is there by now");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        std::fs::write(data.join("file"), "precious").unwrap();
        assert!(ensure_folder(&data, "file", None).is_err());
        assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "precious");
    }
}
