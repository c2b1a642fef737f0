//! Is the sidecar's program one that can run in a container made from nothing, and the one that belongs to this agent?
//!
//! It is put into an image with nothing beside it, so that it must need no loader and no libraries: any ordinary build makes one that does,
//! at the very same place. Called before it is packed; what is wrong with it stands on the node's page.

/// A part of the file that names the loader which has to be there.
const INTERPRETER: u32 = 3;
/// Most parts that are looked at.
const PARTS_MAX: usize = 256;

/// Why a program is not the sidecar's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Something else.
    #[error("is no program for Linux")]
    NotAProgram,
    /// Linked against libraries.
    #[error(
        "is linked dynamically and cannot run in an empty container. Build it with the target feature crt-static (./start.sh does), or set PROXY_BINARY to one that is"
    )]
    Dynamic,
    /// Another version, or another program.
    #[error("is not roost-proxy of this version ({}). Put the one beside it that was built together with this program", env!("CARGO_PKG_VERSION"))]
    OtherVersion,
}

/// Looks at a program without running it.
pub fn check(bytes: &[u8]) -> Result<(), Unfit> {
    let (class, order) = match bytes {
        [0x7f, b'E', b'L', b'F', class @ (1 | 2), order @ (1 | 2), ..] => (*class, *order),
        _ => return Err(Unfit::NotAProgram),
    };
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?.iter();
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if order == 1 { bytes.rev().fold(0, add) } else { bytes.fold(0, add) })
    };
    let place = |at, length| number(at, length).and_then(|number| usize::try_from(number).ok()).ok_or(Unfit::NotAProgram);
    let (table, size, count) =
        if class == 2 { (place(32, 8)?, place(54, 2)?, place(56, 2)?) } else { (place(28, 4)?, place(42, 2)?, place(44, 2)?) };
    for part in 0..count.min(PARTS_MAX) {
        let kind = place(table.saturating_add(part * size), 4)?;
        if kind == INTERPRETER as usize {
            return Err(Unfit::Dynamic);
        }
    }
    let mark = crate::wire::door::MARK.as_bytes();
    if bytes.windows(mark.len()).any(|window| window == mark) { Ok(()) } else { Err(Unfit::OtherVersion) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_static_program_of_this_version_is_taken() {
        assert_eq!(check(b"#!/bin/sh\n"), Err(Unfit::NotAProgram));
        assert_eq!(check(b""), Err(Unfit::NotAProgram));
        assert_eq!(check(b"\x7fELF\x02\x01 cut off"), Err(Unfit::NotAProgram));
        // This very program wants a loader.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check(&own), Err(Unfit::Dynamic));
        // A head without parts stands for a static one.
        let mut bare = b"\x7fELF\x02\x01\x01".to_vec();
        bare.resize(64, 0);
        assert_eq!(check(&bare), Err(Unfit::OtherVersion));
        bare.extend_from_slice(crate::wire::door::MARK.as_bytes());
        assert_eq!(check(&bare), Ok(()));
        if let Some(path) = std::env::var_os("ROOST_PROXY_BINARY") {
            assert_eq!(check(&std::fs::read(path).unwrap()), Ok(()));
        }
    }
}
