//! Files with holes: found without reading them, archived as what is in them with a map before it, made anew with their holes.
//!
//! An archive holds them in GNU's sparse format 1.0 (pax records `GNU.sparse.*`; the map stands in decimal lines at the beginning of the
//! content, filled up to a block), which GNU tar and bsdtar unpack as they are. Nobody pays for a hole, neither here nor where it is
//! unpacked: a file of eight terabytes with a byte in it is a byte. Called by `archive` and `unpack`. Blocking.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;

/// Smaller holes, in bytes, are archived as zeros: a map of them would be longer than they are.
const HOLE_MIN: u64 = 16 << 10;
/// Most pieces of one file with holes between them.
pub const PIECES_MAX: usize = 250_000;
/// A block of a tar archive, in bytes.
const BLOCK: usize = 512;
/// Most digits of a number in a map.
const DIGITS_MAX: usize = 20;
/// Zeros of so many bytes, at such a place, become a hole.
const PAGE: usize = 4_096;

/// Where something is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// From its beginning, in bytes.
    pub at: u64,
    /// Bytes.
    pub length: u64,
}

/// It has more pieces than a map may have.
#[derive(Debug, thiserror::Error)]
#[error("a file in it has more than {PIECES_MAX} pieces with holes between them")]
pub struct TooMany;

/// Bytes that a file takes on the disk, as far as its size is not smaller.
pub fn on_disk(stat: &Stat) -> u64 {
    let blocks = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
    u64::try_from(stat.st_size).unwrap_or_default().min(blocks)
}

/// What is in a file that takes less room than it is long; none: it has no holes, or none that the file system tells of.
pub fn pieces(file: &File, stat: &Stat) -> io::Result<Result<Option<Vec<Piece>>, TooMany>> {
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    if on_disk(stat) >= size {
        return Ok(Ok(None));
    }
    let (mut pieces, mut from) = (Vec::<Piece>::new(), 0);
    while from < size {
        let at = match seek(file, SeekFrom::Data(from)) {
            Ok(at) if at < size => at,
            // From here on there is only a hole.
            Ok(_) | Err(Errno::NXIO) => break,
            // It knows no holes.
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok(Ok(None)),
            Err(error) => return Err(error.into()),
        };
        let end = seek(file, SeekFrom::Hole(at))?.min(size);
        let full = pieces.len() >= PIECES_MAX;
        match pieces.last_mut() {
            Some(last) if at - (last.at + last.length) < HOLE_MIN => last.length = end - last.at,
            Some(_) if full => return Ok(Err(TooMany)),
            Some(_) | None => pieces.push(Piece { at, length: end - at }),
        }
        from = end.max(from + 1);
    }
    let whole = pieces.first().is_some_and(|first| size - first.length < HOLE_MIN);
    Ok(Ok((!whole).then_some(pieces)))
}

/// The map of a file of this size, as it stands before its content.
pub fn map(pieces: &[Piece], size: u64) -> Vec<u8> {
    let numbers = pieces.iter().flat_map(|piece| [piece.at, piece.length]);
    let mut bytes = Vec::new();
    // The last two say how long the file is.
    for number in std::iter::once(pieces.len() as u64 + 1).chain(numbers).chain([size, 0]) {
        bytes.extend_from_slice(number.to_string().as_bytes());
        bytes.push(b'\n');
    }
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// The pax records that say what follows: its name, its length, and that it begins with a map.
pub fn records(path: &[u8], size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let said = [("major", b"1".as_slice()), ("minor", b"0"), ("name", path), ("realsize", size.to_string().as_bytes())]
        .map(|(key, value)| [b" GNU.sparse.", key.as_bytes(), b"=", value, b"\n"].concat());
    for rest in said {
        // A record begins with its own length, that number included.
        let mut length = rest.len() + 1;
        while length.to_string().len() + rest.len() != length {
            length = length.to_string().len() + rest.len();
        }
        bytes.extend_from_slice(length.to_string().as_bytes());
        bytes.extend_from_slice(&rest);
    }
    bytes
}

/// Reads a map; gives it, and the bytes that it took. It is checked: in order, none over another, all within the file's size.
pub fn read_map(content: &mut impl Read, size: u64) -> io::Result<(Vec<Piece>, u64)> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "the map of a file with holes in it cannot be read");
    let (mut block, mut used, mut taken) = ([0; BLOCK], BLOCK, 0_u64);
    let mut number = |content: &mut dyn Read| -> io::Result<u64> {
        let mut digits = String::new();
        loop {
            if used == BLOCK {
                content.read_exact(&mut block)?;
                (used, taken) = (0, taken + BLOCK as u64);
            }
            let byte = block[used];
            used += 1;
            match byte {
                b'0'..=b'9' if digits.len() < DIGITS_MAX => digits.push(char::from(byte)),
                b'\n' => return digits.parse().map_err(|_| odd()),
                _ => return Err(odd()),
            }
        }
    };
    let count = usize::try_from(number(content)?).unwrap_or(usize::MAX);
    if count > PIECES_MAX + 1 {
        return Err(odd());
    }
    let (mut pieces, mut end) = (Vec::new(), 0);
    for _ in 0..count {
        let piece = Piece { at: number(content)?, length: number(content)? };
        let after = piece.at.checked_add(piece.length).filter(|after| piece.at >= end && *after <= size).ok_or_else(odd)?;
        end = after;
        if piece.length > 0 {
            pieces.push(piece);
        }
    }
    Ok((pieces, taken))
}

/// Writes at a place in a file, and leaves a hole where there are only zeros.
pub fn write_at(file: &File, bytes: &[u8], mut at: u64) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        // Up to the next border between pages.
        let over = usize::try_from(at % PAGE as u64).unwrap_or_default();
        let (page, after) = rest.split_at((PAGE - over).min(rest.len()));
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, at)?;
        }
        at += page.len() as u64;
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_it_was_written_and_a_hostile_one_is_refused() {
        let pieces = [Piece { at: 0, length: 10 }, Piece { at: 1 << 40, length: 4_096 }];
        let size = 8 << 40;
        let bytes = map(&pieces, size);
        assert_eq!(bytes.len() % BLOCK, 0);
        assert_eq!(read_map(&mut bytes.as_slice(), size).unwrap(), (pieces.to_vec(), bytes.len() as u64));
        let many: Vec<Piece> = (0..1_000).map(|n| Piece { at: n << 20, length: 1 }).collect();
        let bytes = map(&many, 1_000 << 20);
        assert_eq!(read_map(&mut bytes.as_slice(), 1_000 << 20).unwrap(), (many, bytes.len() as u64));
        for text in [
            "1\n5\n6\n",
            "2\n0\n4\n2\n2\n",
            "2\n4\n4\n0\n2\n",
            "1\n18446744073709551615\n1\n",
            "999999999999\n",
            "x\n",
            "1\n\n\n",
            "-1\n",
            "1\n111111111111111111111\n1\n",
        ] {
            let mut block = text.as_bytes().to_vec();
            block.resize(BLOCK, 0);
            assert!(read_map(&mut block.as_slice(), 10).is_err(), "{text:?}");
        }
    }

    #[test]
    fn records_begin_with_their_own_length() {
        for path in [&b"a"[..], &[b'x'; 70], &[b'x'; 80], &[b'x'; 990]] {
            let bytes = records(path, 7);
            let said: Vec<_> =
                tar::PaxExtensions::new(&bytes).map(|record| record.unwrap()).map(|record| record.value_bytes().to_vec()).collect();
            assert_eq!(said, [b"1".to_vec(), b"0".to_vec(), path.to_vec(), b"7".to_vec()]);
        }
    }
}
