//! Tells archives apart by their first bytes, and who is to blame when reading fails: the source, or what it gave.

use std::cell::Cell;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::ArchiveError;

/// Bytes that are read from the source at once.
const BUFFER: usize = 128 << 10;
/// Largest window of zstd, as a power of two: 32 MiB.
const WINDOW_LOG_MAX: u32 = 25;
/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What zstd begins with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Remembers whether the source itself failed.
pub struct Source<R> {
    inner: R,
    failed: Rc<Cell<bool>>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        let failed = read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        self.failed.set(self.failed.get() || failed);
        read
    }
}

type Begun<R> = BufReader<Chain<Cursor<Vec<u8>>, Source<R>>>;

/// The bytes of a tar archive, whatever it was packed into.
enum Packing<R: Read> {
    Plain(Begun<R>),
    Gzip(Box<MultiGzDecoder<Begun<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, Begun<R>>),
}

/// A tar archive being read.
pub struct Opened<R: Read> {
    packing: Packing<R>,
    failed: Rc<Cell<bool>>,
    /// The last read found the end.
    pub ended: bool,
}

impl<R: Read> Opened<R> {
    pub fn new(read: R) -> Result<Opened<R>, ArchiveError> {
        let failed = Rc::new(Cell::new(false));
        let mut source = Source { inner: read, failed: failed.clone() };
        let mut first = Vec::with_capacity(ZSTD.len());
        source.by_ref().take(ZSTD.len() as u64).read_to_end(&mut first).map_err(ArchiveError::Source)?;
        let (gzip, zstd) = (first.starts_with(&GZIP), first == ZSTD);
        if first.is_empty() {
            return Err(ArchiveError::NotAnArchive);
        }
        let begun = BufReader::with_capacity(BUFFER, Cursor::new(first).chain(source));
        let packing = if gzip {
            Packing::Gzip(Box::new(MultiGzDecoder::new(begun)))
        } else if zstd {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(begun).map_err(ArchiveError::Damaged)?;
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(ArchiveError::Damaged)?;
            Packing::Zstd(decoder)
        } else {
            Packing::Plain(begun)
        };
        Ok(Opened { packing, failed, ended: false })
    }

    /// Whose fault an error of reading is.
    pub fn blame(&self, error: io::Error) -> ArchiveError {
        if self.failed.get() {
            ArchiveError::Source(error)
        } else if matches!(self.packing, Packing::Zstd(_)) && error.to_string().contains("too much memory") {
            ArchiveError::Window
        } else {
            ArchiveError::Damaged(error)
        }
    }
}

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.packing {
            Packing::Plain(read) => read.read(buffer),
            Packing::Gzip(read) => read.read(buffer),
            Packing::Zstd(read) => read.read(buffer),
        }?;
        self.ended = read == 0 && !buffer.is_empty();
        Ok(read)
    }
}
