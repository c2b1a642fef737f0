//! Is there room for a backup, before a byte of it is brought here? Held against the server's plan and against the disk.

use std::path::Path;

use super::BackupError;

/// Bytes of the disk that stay free for everybody else; of a small disk this share, as a divisor.
const SPARE_BYTES: u64 = 64 << 20;
const SPARE_SHARE: u64 = 16;

/// Refuses a backup that unpacks to so many bytes where it has no room. `most`: of the plan; none: it does not count here, because the
/// server lies on layers, which the plan does not pay for, or comes from another node as it is.
pub fn check(folder: &Path, bytes: u64, most: Option<u64>) -> Result<(), BackupError> {
    if let Some(most) = most.filter(|most| bytes > *most) {
        return Err(BackupError::BackOverPlan { bytes, most });
    }
    let above = folder.parent().unwrap_or(folder);
    let disk = rustix::fs::statvfs(above).map_err(|error| BackupError::disk("see how full the disk is")(error.into()))?;
    let spare = SPARE_BYTES.min(disk.f_blocks.saturating_mul(disk.f_frsize) / SPARE_SHARE);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(spare);
    if bytes > free { Err(BackupError::NoRoom { bytes, free }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_without_room_is_refused_with_the_numbers() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("restored");
        check(&folder, 1_000, Some(1_000)).unwrap();
        let told = check(&folder, 300_000_000, Some(128_000_000)).unwrap_err();
        assert!(!told.retryable() && told.to_string().contains("300 MB, and this plan has room for at most 128 MB"), "{told}");
        let told = check(&folder, 1 << 60, None).unwrap_err();
        assert!(told.retryable() && told.to_string().contains("MB free"), "{told}");
    }
}
