//! Exchanges a server's data for what was unpacked beside them, and back. After a kill between any two steps, [`settle`] ends what was
//! begun: the data are the old ones or the new ones, and never none.
//!
//! In the server's home: `data`; `restored`, which is being unpacked; `restored-whole`, which is whole and takes the data's place: from
//! the moment it has that name, the exchange is done; `before-restore`, the data that were there before, with `before-restore.json`
//! beside them, whose time is that of the exchange. Blocking; the game does not run.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::archives::remove::remove;
use crate::node::layers::{DATA, Layers};
use crate::node::record;

/// A backup that is being unpacked.
pub const RESTORED: &str = "restored";
/// One that takes the data's place.
const WHOLE: &str = "restored-whole";
/// The data that were there before.
pub const BEFORE: &str = "before-restore";
/// What is known of them.
pub const BEFORE_FILE: &str = "before-restore.json";
/// What is to be known of the exchange that is under way.
const SWAP_FILE: &str = "swap.json";
/// The data have to come from another node, and have not yet.
const PENDING_FILE: &str = "origin-pending";
/// On their way out.
const GONE: &str = "before-restore.gone";

/// What an exchange has to leave behind.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Swap {
    /// The data of before stay, for a way back.
    keep: bool,
    /// Files of layers among the new data.
    copied: BTreeSet<String>,
    /// Files of layers among the data of before.
    copied_before: BTreeSet<String>,
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn sync(home: &Path) -> io::Result<()> {
    fs::File::open(home)?.sync_all()
}

fn write(path: &Path, swap: &Swap) -> io::Result<()> {
    record::replace(path, &serde_json::to_vec(swap)?, 0o600, None, true)
}

fn read(path: &Path) -> Swap {
    // What cannot be read says nothing; the data beside it are what counts.
    fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Puts what was unpacked in the data's place. `keep`: the data of before stay beside them.
pub fn exchange(home: &Path, keep: bool) -> io::Result<()> {
    let swap = Swap { keep, copied: BTreeSet::new(), copied_before: Layers::copied(home)? };
    begin(home, RESTORED, &swap)
}

/// Puts the data of before in the data's place, and those in theirs. False: there are none.
pub fn undo(home: &Path) -> io::Result<bool> {
    if !exists(&home.join(BEFORE)) {
        return Ok(false);
    }
    let swap = Swap { keep: true, copied: read(&home.join(BEFORE_FILE)).copied_before, copied_before: Layers::copied(home)? };
    begin(home, BEFORE, &swap)?;
    Ok(true)
}

fn begin(home: &Path, from: &str, swap: &Swap) -> io::Result<()> {
    write(&home.join(SWAP_FILE), swap)?;
    fs::rename(home.join(from), home.join(WHOLE))?;
    sync(home)?;
    finish(home)
}

/// Each step may have been done before.
fn finish(home: &Path) -> io::Result<()> {
    let swap = read(&home.join(SWAP_FILE));
    if exists(&home.join(DATA)) {
        set_aside(home)?;
        write(&home.join(BEFORE_FILE), &swap)?;
        fs::rename(home.join(DATA), home.join(BEFORE))?;
    }
    Layers::set_copied(home, swap.copied)?;
    let work = home.join("work");
    if work.is_dir() {
        // Belongs to the folder that was mounted with it.
        remove(&work)?;
        fs::create_dir(&work)?;
    }
    fs::rename(home.join(WHOLE), home.join(DATA))?;
    sync(home)?;
    if !swap.keep {
        set_aside(home)?;
    }
    remove(&home.join(PENDING_FILE))?;
    remove(&home.join(SWAP_FILE))?;
    remove(&home.join(GONE))
}

/// Takes the data of before out of the way; removing them may take long and is done in the end.
fn set_aside(home: &Path) -> io::Result<()> {
    if exists(&home.join(BEFORE)) {
        remove(&home.join(GONE))?;
        fs::rename(home.join(BEFORE), home.join(GONE))?;
    }
    remove(&home.join(BEFORE_FILE))
}

/// Ends what a kill has left half done. Cheap where there is nothing.
pub fn settle(home: &Path) -> io::Result<()> {
    if exists(&home.join(WHOLE)) {
        finish(home)?;
    } else if exists(&home.join(SWAP_FILE)) {
        if !read(&home.join(SWAP_FILE)).keep {
            set_aside(home)?;
        }
        remove(&home.join(SWAP_FILE))?;
    }
    remove(&home.join(RESTORED))?;
    remove(&home.join(GONE))
}

/// Removes the data of before where they are older than this many milliseconds since 1970.
pub fn forget_older(home: &Path, than: i64) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(home.join(BEFORE_FILE)) {
        Ok(is) if is.mtime().saturating_mul(1_000) >= than => Ok(()),
        Ok(_) => {
            set_aside(home)?;
            remove(&home.join(GONE))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The data have to come from elsewhere first: said before anything is made in their place, and taken back by the exchange.
pub fn expect_origin(home: &Path) -> io::Result<()> {
    record::make_private(home)?;
    record::replace(&home.join(PENDING_FILE), b"", 0o600, None, true)
}

/// True: there are no data yet, or only a place for those that have to come from elsewhere.
pub fn awaits_origin(home: &Path) -> bool {
    exists(&home.join(PENDING_FILE)) || !exists(&home.join(DATA))
}

/// True: what lies there is only a place for data that have to come from elsewhere.
pub fn is_only_a_place(home: &Path) -> bool {
    exists(&home.join(PENDING_FILE))
}
