//! Tries out, once at the start, in which way a server's folder can be made out of layers on this disk.
//!
//! The agent mounts a small overlay in its own data folder, with the options that Docker will be given, whiteouts and attributes included;
//! else it clones a block of a file; else files are copied.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde::{Deserialize, Serialize};

use crate::archives::beneath::Beneath;
use crate::archives::remove::remove;

/// How a server's folder is made out of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The cached layers are mounted, nothing is copied.
    Overlay,
    /// Files are cloned: they share their blocks until somebody writes.
    Reflink,
    /// Files are copied.
    Copy,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Overlay => "overlay",
            Way::Reflink => "reflink",
            Way::Copy => "copy",
        })
    }
}

/// Options of every overlay: without these features, layers may be exchanged while it is not mounted.
pub(super) const OVERLAY_OPTIONS: &str = "index=off,metacopy=off,redirect_dir=off,xino=off";
/// A folder with this hides what the layers below have in it.
pub const OPAQUE: &str = "trusted.overlay.opaque";
/// Its value.
pub const YES: &[u8] = b"y";
/// Name of the folder in which it is tried.
const FOLDER: &str = "probe";

/// The best way on the disk of this folder. Blocks; leaves nothing.
pub(super) fn probe(below: &Path) -> Way {
    let folder = below.join(FOLDER);
    let merged = folder.join("merged");
    // What a kill in the middle of an earlier try left mounted.
    let _ = unmount(&merged, UnmountFlags::DETACH);
    let _ = remove(&folder);
    let way = match overlay(&folder) {
        Ok(()) => Way::Overlay,
        Err(error) => {
            tracing::info!(%error, "overlays cannot be mounted here");
            if reflink(&folder).is_ok() { Way::Reflink } else { Way::Copy }
        }
    };
    let _ = unmount(&merged, UnmountFlags::DETACH);
    let _ = remove(&folder);
    way
}

fn overlay(folder: &Path) -> io::Result<()> {
    for name in ["low", "low/hidden", "high", "upper", "work", "merged"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    for name in ["low/gone", "low/hidden/below", "high/seen"] {
        std::fs::write(folder.join(name), name)?;
    }
    let mut high = Beneath::open(&folder.join("high"), None)?;
    high.whiteout("gone")?;
    high.folder("hidden", 0o755)?;
    high.set_attribute("hidden", OPAQUE, YES)?;
    let text = options(&[&folder.join("high"), &folder.join("low")], &folder.join("upper"), &folder.join("work"));
    let text = CString::new(text.as_bytes()).map_err(io::Error::other)?;
    let merged = folder.join("merged");
    mount("overlay", &merged, "overlay", MountFlags::empty(), Some(text.as_c_str()))?;
    let (seen, gone, below) = (merged.join("seen"), merged.join("gone"), merged.join("hidden/below"));
    let right = std::fs::read(&seen)? == b"high/seen" && !gone.exists() && !below.exists();
    std::fs::write(&seen, "written")?;
    unmount(&merged, UnmountFlags::DETACH)?;
    if right { Ok(()) } else { Err(io::Error::other("what an overlay shows is not what it should")) }
}

fn reflink(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let from = folder.join("from");
    std::fs::write(&from, vec![1; 64 << 10])?;
    Ok(rustix::fs::ioctl_ficlone(File::create(folder.join("to"))?, File::open(&from)?)?)
}

/// The options of a mount; the lower folders from the highest to the lowest.
pub(super) fn options(lower: &[&Path], upper: &Path, work: &Path) -> String {
    let text = |path: &Path| String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
    let lower: Vec<String> = lower.iter().map(|path| text(path)).collect();
    format!("lowerdir={},upperdir={},workdir={},{OVERLAY_OPTIONS}", lower.join(":"), text(upper), text(work))
}
