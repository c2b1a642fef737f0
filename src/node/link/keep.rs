//! What a machine keeps of its panel: below `link/` in the data folder, for its owner alone.
//!
//! `identity.json` is what it is known by. `next.json` is there between getting the next certificate and having used it. `join.key` is
//! the key of a request whose answer has not come: asked again with the same key, the same token still works.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::LinkError;
use crate::model::ids::NodeId;
use crate::model::time::{Clock, Millis};
use crate::node::record;
use crate::trust::Key;

/// Who the machine is, and how it proves it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id at the panel.
    pub node: NodeId,
    /// Host and port of the panel.
    pub address: String,
    /// The panel's authority, as PEM.
    pub authority: String,
    /// The machine's certificate, as PEM.
    pub certificate: String,
    /// Its key, as PEM.
    pub key: String,
    /// From when on the certificate counts.
    pub from: Millis,
    /// When it ends.
    pub until: Millis,
}

impl fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).field("address", &self.address).finish_non_exhaustive()
    }
}

impl Identity {
    /// When two thirds of the certificate's life are over, it is time for the next one.
    pub fn is_old(&self, now: Millis) -> bool {
        now.since(self.from) >= self.until.since(self.from) / 3 * 2
    }
}

/// The files of the link.
#[derive(Debug, Clone)]
pub struct Keep {
    folder: PathBuf,
}

impl Keep {
    /// Below this data folder.
    pub fn new(data_dir: &Path) -> Keep {
        Keep { folder: data_dir.join("link") }
    }

    fn failed(&self) -> impl Fn(io::Error) -> LinkError {
        let folder = self.folder.display().to_string();
        move |source| LinkError::Files { folder: folder.clone(), source }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, LinkError> {
        match std::fs::read(self.folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed()(error)),
        }
    }

    fn identity(&self, name: &str) -> Result<Option<Identity>, LinkError> {
        let read = self.read(name)?.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| self.failed()(error.into())));
        read.transpose()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), LinkError> {
        let write = || {
            record::make_private(&self.folder)?;
            record::replace(&self.folder.join(name), bytes, 0o600, None, true)
        };
        write().map_err(self.failed())
    }

    fn forget(&self, name: &str) -> Result<(), LinkError> {
        match std::fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed()(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What the machine is known by; none: it has not joined.
    ///
    /// # Errors
    /// [`LinkError::Files`]
    pub fn current(&self) -> Result<Option<Identity>, LinkError> {
        self.identity("identity.json")
    }

    /// What it will be known by once that has been used.
    ///
    /// # Errors
    /// [`LinkError::Files`]
    pub fn next(&self) -> Result<Option<Identity>, LinkError> {
        self.identity("next.json")
    }

    /// Keeps what it will be known by.
    ///
    /// # Errors
    /// [`LinkError::Files`]
    pub fn set_next(&self, identity: &Identity) -> Result<(), LinkError> {
        self.write("next.json", &serde_json::to_vec(identity).map_err(|error| self.failed()(error.into()))?)
    }

    /// The next one has been used and is the current one from now on.
    ///
    /// # Errors
    /// [`LinkError::Files`]
    pub fn promote(&self) -> Result<(), LinkError> {
        let (next, current) = (self.folder.join("next.json"), self.folder.join("identity.json"));
        std::fs::rename(next, current).and_then(|()| std::fs::File::open(&self.folder)?.sync_all()).map_err(self.failed())
    }

    /// The panel does not take the next one.
    ///
    /// # Errors
    /// [`LinkError::Files`]
    pub fn drop_next(&self) -> Result<(), LinkError> {
        self.forget("next.json")
    }

    /// Keeps what a machine has become by joining; nothing of before counts.
    ///
    /// # Errors
    /// [`LinkError::Files`]
    pub fn joined(&self, identity: &Identity) -> Result<(), LinkError> {
        // First what could win over the new one.
        self.drop_next()?;
        self.write("identity.json", &serde_json::to_vec(identity).map_err(|error| self.failed()(error.into()))?)?;
        self.forget("join.key")
    }

    /// The key of a request whose answer has not come, or a new one, kept before anybody is asked.
    ///
    /// # Errors
    /// [`LinkError::Files`], [`LinkError::Trust`]
    pub fn join_key(&self) -> Result<Key, LinkError> {
        let kept = self.read("join.key")?.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|pem| Key::read(&pem).ok());
        if let Some(key) = kept {
            return Ok(key);
        }
        let key = Key::make()?;
        self.write("join.key", key.pem().as_bytes())?;
        Ok(key)
    }

    /// What to dial with: the next one where there is one, else the current one.
    ///
    /// # Errors
    /// [`LinkError::Files`], [`LinkError::NotJoined`]
    pub fn best(&self, clock: &dyn Clock) -> Result<(Identity, bool), LinkError> {
        let next = self.next().unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "the next certificate cannot be read; the one before is used");
            None
        });
        match next.filter(|next| next.until > clock.now()) {
            Some(next) => Ok((next, true)),
            None => Ok((self.current()?.ok_or(LinkError::NotJoined)?, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct At(i64);

    impl Clock for At {
        fn now(&self) -> Millis {
            Millis(self.0)
        }
    }

    fn identity(certificate: &str) -> Identity {
        Identity {
            node: "a".parse().unwrap(),
            address: "a:1".to_owned(),
            authority: String::new(),
            certificate: certificate.to_owned(),
            key: String::new(),
            from: Millis(0),
            until: Millis(300),
        }
    }

    #[test]
    fn the_next_certificate_is_tried_first_and_the_old_one_stays_until_it_has_been_used() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::new(folder.path());
        assert!(matches!(keep.best(&At(0)), Err(LinkError::NotJoined)));
        keep.joined(&identity("old")).unwrap();
        keep.set_next(&identity("new")).unwrap();
        assert_eq!(keep.best(&At(0)).unwrap().0.certificate, "new");
        assert_eq!(keep.current().unwrap().unwrap().certificate, "old");
        assert_eq!(keep.best(&At(300)).unwrap().0.certificate, "old", "one that has ended is not tried");
        keep.promote().unwrap();
        assert_eq!((keep.best(&At(0)).unwrap().0.certificate.as_str(), keep.next().unwrap().is_none()), ("new", true));
        keep.set_next(&identity("late")).unwrap();
        keep.joined(&identity("again")).unwrap();
        assert_eq!(keep.best(&At(0)).unwrap().0.certificate, "again", "joining anew wins over what was on its way");
        let mode = std::fs::metadata(folder.path().join("link/identity.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_request_is_asked_again_with_the_same_key_until_it_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::new(folder.path());
        let key = keep.join_key().unwrap().pem();
        assert_eq!(keep.join_key().unwrap().pem(), key);
        keep.joined(&identity("a")).unwrap();
        assert_ne!(keep.join_key().unwrap().pem(), key);
    }

    #[test]
    fn a_certificate_is_old_when_two_thirds_of_its_life_are_over() {
        assert!(!identity("a").is_old(Millis(199)) && identity("a").is_old(Millis(200)));
    }
}
