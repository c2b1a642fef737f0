//! Secrets that nobody has set are made once and kept in the data folder, readable by this program's user alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::model::secrets::Secret;

/// Signs what sidecars say to the panel.
pub const WEBHOOK: &str = "webhook_secret";
/// Signs addresses of objects in a folder.
pub const OBJECTS: &str = "objects_secret";
/// Seals and signs what the panel keeps for itself alone: secrets of apps, links, recovery codes.
pub const KEY: &str = "secret_key";
/// Every name under which a secret is kept.
pub const NAMES: [&str; 3] = [WEBHOOK, OBJECTS, KEY];

/// Bytes of a secret that is made here.
const BYTES: usize = 32;

/// The secret that was set, or else the one kept under this name, made if it is not there.
pub fn kept(folder: &Path, name: &str, set: Option<&Secret>) -> io::Result<Secret> {
    if let Some(secret) = set {
        return Ok(secret.clone());
    }
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(bytes) if !bytes.is_empty() => return Ok(Secret::new(bytes)),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut random = [0; BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let text = hex::encode(random);
    // Beside it and then in one step: a kill in between leaves no half secret that signs from then on.
    let fresh = folder.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_for_this_user_alone_and_one_that_was_set_wins() {
        let folder = tempfile::tempdir().unwrap();
        let made = kept(folder.path(), "key", None).unwrap();
        assert_eq!(kept(folder.path(), "key", None).unwrap(), made);
        assert_eq!(fs::metadata(folder.path().join("key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(made.bytes().len(), 2 * BYTES);
        let set = Secret::new("sesame");
        assert_eq!(kept(folder.path(), "key", Some(&set)).unwrap(), set);
    }
}
