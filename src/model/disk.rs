//! How much of a disk a server's files take, and how much its plan gives it.

use serde::{Deserialize, Serialize};

use super::time::Millis;

/// One file is allowed for so many KiB of a plan's storage: what mke2fs provides for by default.
const FILE_KIB: u64 = 16;
/// A small plan may have so many files all the same.
const FILES_MIN: u64 = 10_000;
/// From this share on, in percent, the owner is warned.
pub const LOW_PERCENT: u64 = 90;
/// Below this share, in percent, what was warned of counts as over.
pub const ENOUGH_PERCENT: u64 = 85;

/// What a server's files take, as its node has measured it: its data, and what its game has written elsewhere in its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUse {
    /// Bytes on the disk; a hole in a file takes none.
    pub bytes: u64,
    /// Files and folders.
    pub files: u64,
    /// False: there are more files, or folders deeper in each other, than anybody counts, and the figures are only of a part.
    pub whole: bool,
    /// When it was measured, by the node's clock.
    pub at: Millis,
}

/// How it stands with a plan's storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// There is enough left.
    Enough,
    /// [`LOW_PERCENT`] or more is used.
    Low,
    /// More than the plan allows is used.
    Past,
}

impl Room {
    /// All of them, for tables and tests.
    pub const ALL: [Room; 3] = [Room::Enough, Room::Low, Room::Past];

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Room::Enough => "enough",
            Room::Low => "low",
            Room::Past => "past",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Room> {
        Room::ALL.into_iter().find(|room| room.as_str() == text)
    }
}

/// Most bytes of a plan with so many MiB of storage.
pub fn bytes_allowed(storage_mib: u32) -> u64 {
    u64::from(storage_mib) << 20
}

/// Most files and folders of a plan with so many MiB of storage.
pub fn files_allowed(storage_mib: u32) -> u64 {
    (u64::from(storage_mib) * 1_024 / FILE_KIB).max(FILES_MIN)
}

impl DiskUse {
    /// The larger share of what the plan allows, of bytes or of files, in percent; may be more than 100.
    pub fn percent(&self, storage_mib: u32) -> u64 {
        let share = |used: u64, allowed: u64| used.saturating_mul(100) / allowed.max(1);
        share(self.bytes, bytes_allowed(storage_mib)).max(share(self.files, files_allowed(storage_mib)))
    }

    /// How it stands.
    pub fn room(&self, storage_mib: u32) -> Room {
        let past = !self.whole || self.bytes > bytes_allowed(storage_mib) || self.files > files_allowed(storage_mib);
        if past {
            Room::Past
        } else if self.percent(storage_mib) >= LOW_PERCENT {
            Room::Low
        } else {
            Room::Enough
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_files_both_count_and_what_nobody_can_count_is_too_much() {
        let used = |mib: u64, files| DiskUse { bytes: mib << 20, files, whole: true, at: Millis(0) };
        for (used, room) in [
            (used(0, 0), Room::Enough),
            (used(57, 1), Room::Enough),
            (used(58, 1), Room::Low),
            (used(64, 1), Room::Low),
            (used(65, 1), Room::Past),
            (used(0, 8_999), Room::Enough),
            (used(0, 9_000), Room::Low),
            (used(0, 10_001), Room::Past),
            (DiskUse { whole: false, ..used(0, 0) }, Room::Past),
        ] {
            assert_eq!(used.room(64), room, "{used:?}");
        }
        assert_eq!(files_allowed(10_240), 655_360);
    }
}
