//! What a game writes, straight from the engine's connection: its log file entry by entry, and its output while it is being written.
//!
//! Read here and not by a client library, because a container with a terminal has no frames: its bytes can look like the head of one,
//! and its log is cut only at line breaks, which a game need never write. Every buffer here has a bound. Called by `console` and
//! `probe`; how entries become lines is theirs.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Duration, timeout};

use super::{DockerError, Engine};
use crate::node::stamps;

/// Bytes of text at which the engine cuts a line that is longer into entries of its log. What is shorter and has no line break is the
/// end of all that a run has written.
pub const PIECE_BYTES: usize = 16 << 10;
/// Bytes of the engine's stamp as it stands before each entry: `2026-01-31T12:00:00.123456789Z` and a space.
const STAMP_BYTES: usize = 31;
/// Most bytes of an entry with its stamp and line break; more of it is passed over.
const ENTRY_BYTES_MAX: usize = PIECE_BYTES + STAMP_BYTES + 2;
/// Bytes of a frame's head: which stream, three zeros, how many bytes.
const HEAD_BYTES: usize = 8;
/// Most bytes of the engine's answer before the content begins, and of its words where it refuses.
const ANSWER_BYTES_MAX: usize = 8 << 10;
/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;
/// Longest wait for the engine's answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// One entry of a container's log: a stamp, a space, text, and a line break unless the line goes on in the next entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawLog {
    /// From standard error.
    pub stderr: bool,
    /// As it came.
    pub bytes: Bytes,
}

trait Line: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// What a container writes, as it comes.
pub struct Output {
    line: Box<dyn Line>,
    buffer: BytesMut,
    tty: bool,
    over: bool,
    /// Of a frame: from standard error, bytes that are still to come.
    frame: (bool, usize),
    /// Bytes that are passed over.
    surplus: usize,
}

impl Output {
    /// More bytes into the buffer; false: there are no more.
    async fn fill(&mut self) -> io::Result<bool> {
        if !self.over {
            self.buffer.reserve(READ_BYTES);
            self.over = self.line.read_buf(&mut self.buffer).await? == 0;
        }
        Ok(!self.over)
    }

    /// The head of the next frame, if it is there.
    fn head(&mut self) -> bool {
        if self.buffer.len() < HEAD_BYTES {
            return false;
        }
        let head = self.buffer.split_to(HEAD_BYTES);
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        self.frame = (head[0] == 2, usize::try_from(length).unwrap_or(usize::MAX));
        true
    }

    /// The next bytes that were written, and whether to standard error; none: the run has ended. May be dropped while it waits.
    pub async fn written(&mut self) -> io::Result<Option<(bool, Bytes)>> {
        loop {
            if self.tty && !self.buffer.is_empty() {
                return Ok(Some((false, self.buffer.split().freeze())));
            }
            if !self.tty && (self.frame.1 > 0 || self.head()) {
                let length = self.frame.1.min(self.buffer.len());
                if length > 0 {
                    self.frame.1 -= length;
                    return Ok(Some((self.frame.0, self.buffer.split_to(length).freeze())));
                }
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next entry of a log; none: there are no more. May be dropped while it waits.
    pub async fn entry(&mut self) -> io::Result<Option<RawLog>> {
        loop {
            let entry = if self.tty { self.bare_entry() } else { self.framed_entry() };
            if entry.is_some() || self.over {
                return Ok(entry);
            }
            self.fill().await?;
        }
    }

    fn framed_entry(&mut self) -> Option<RawLog> {
        loop {
            let passed = self.surplus.min(self.buffer.len());
            self.buffer.advance(passed);
            self.surplus -= passed;
            if self.surplus > 0 || (self.frame.1 == 0 && !self.head()) {
                return None;
            }
            let (stderr, length) = self.frame;
            let kept = length.min(ENTRY_BYTES_MAX);
            if self.buffer.len() < kept {
                return None;
            }
            (self.frame.1, self.surplus) = (0, length - kept);
            if kept > 0 {
                return Some(RawLog { stderr, bytes: self.buffer.split_to(kept).freeze() });
            }
        }
    }

    /// Without frames an entry ends at its line break, at the length at which the engine cuts, or where a later stamp stands: the last
    /// line of a run that has none is followed by the first one of the next run.
    fn bare_entry(&mut self) -> Option<RawLog> {
        let most = self.buffer.len().min(STAMP_BYTES + PIECE_BYTES);
        let newline = self.buffer[..most].iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        // A line break just behind a full piece belongs to it.
        let newline = newline.or_else(|| (self.buffer.get(STAMP_BYTES + PIECE_BYTES) == Some(&b'\n')).then_some(most + 1));
        let end = match newline {
            Some(end) => end,
            None if self.buffer.len() > STAMP_BYTES + PIECE_BYTES || (self.over && most > 0) => most,
            None => return None,
        };
        let end = later_stamp(&self.buffer[..end]).unwrap_or(end);
        Some(RawLog { stderr: false, bytes: self.buffer.split_to(end).freeze() })
    }
}

/// A stamp inside of an entry that is later by more than this, in nanoseconds, is something that a game or a player wrote.
const LATER_MAX: u64 = 60_000_000_000;

/// Where another stamp stands in an entry, later than its own. What a game writes into its lines itself is older than that.
fn later_stamp(entry: &[u8]) -> Option<usize> {
    let read = |at: usize| {
        let text = std::str::from_utf8(entry.get(at..at + STAMP_BYTES)?).ok()?;
        stamps::nanos(text.strip_suffix(' ')?)
    };
    let own = read(0)?;
    let marks = |window: &[u8]| window[10] == b'T' && window[19] == b'.' && window.ends_with(b"Z ");
    let (_, rest) = entry.split_at_checked(STAMP_BYTES)?;
    let places = rest.windows(STAMP_BYTES).enumerate().filter(|(_, window)| marks(window)).map(|(at, _)| at + STAMP_BYTES);
    places.into_iter().find(|at| read(*at).is_some_and(|later| later > own && later - own <= LATER_MAX))
}

impl Engine {
    /// A container's log with stamps: the last `tail` entries (none: all) since this second, and what comes if `follow`.
    pub async fn logs(&self, name: &str, since_secs: i32, tail: Option<u32>, follow: bool) -> Result<Output, DockerError> {
        let tty = self.inspect(name).await?.is_some_and(|container| container.tty);
        let tail = tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let asked = format!("stdout=true&stderr=true&timestamps=true&follow={follow}&since={since_secs}&tail={tail}");
        self.open("GET", name, "logs", &asked, tty).await
    }

    /// What a container writes from now on. Asked before it starts, it gives all that this run will write. The engine holds the
    /// container up when nobody takes what it gives here.
    pub async fn attach(&self, name: &str, tty: bool) -> Result<Output, DockerError> {
        self.open("POST", name, "attach", "stream=true&stdout=true&stderr=true", tty).await
    }

    async fn open(&self, method: &str, name: &str, what: &str, asked: &str, tty: bool) -> Result<Output, DockerError> {
        let version = self.docker().await?.client_version();
        // As 1.0, so that what comes is the content itself and ends with the connection.
        let request =
            format!("{method} /v{version}/containers/{name}/{what}?{asked} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n");
        let away = |source| self.away(Some(bollard::errors::Error::from(source)));
        let opened = async {
            let mut line = self.line().await?;
            line.write_all(request.as_bytes()).await?;
            let mut buffer = BytesMut::with_capacity(READ_BYTES);
            let status = answer(&mut line, &mut buffer).await?;
            Ok::<_, io::Error>((line, buffer, status))
        };
        let (mut line, mut buffer, status) = timeout(ANSWER_WAIT, opened).await.map_err(|_| DockerError::Slow)?.map_err(away)?;
        if matches!(status, 101 | 200) {
            return Ok(Output { line, buffer, tty, over: false, frame: (false, 0), surplus: 0 });
        }
        let words = async { while buffer.len() < ANSWER_BYTES_MAX && matches!(line.read_buf(&mut buffer).await, Ok(1..)) {} };
        let _cut = timeout(ANSWER_WAIT, words).await;
        let message = String::from_utf8_lossy(&buffer).trim().to_owned();
        Err(match status {
            404 => DockerError::NotFound(message),
            409 => DockerError::Conflict(message),
            status => DockerError::Refused { status, message },
        })
    }

    async fn line(&self) -> io::Result<Box<dyn Line>> {
        let host = ["tcp://", "http://"].iter().find_map(|scheme| self.address.strip_prefix(scheme));
        Ok(match host {
            Some(host) => Box::new(TcpStream::connect(host.trim_end_matches('/')).await?),
            None => Box::new(UnixStream::connect(self.address()).await?),
        })
    }
}

/// Reads the head of the engine's answer and gives its status; what came behind it stays in the buffer.
async fn answer(line: &mut Box<dyn Line>, buffer: &mut BytesMut) -> io::Result<u16> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = buffer.split_to(end + 4);
            let status = std::str::from_utf8(&head).ok().and_then(|head| head.split(' ').nth(1)).and_then(|status| status.parse().ok());
            return status.ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
        if buffer.len() >= ANSWER_BYTES_MAX || line.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(tty: bool, bytes: &[u8]) -> Output {
        let (line, _other) = tokio::io::duplex(1);
        Output { line: Box::new(line), buffer: BytesMut::from(bytes), tty, over: true, frame: (false, 0), surplus: 0 }
    }

    async fn entries(tty: bool, bytes: &[u8]) -> Vec<String> {
        let (mut output, mut all) = (output(tty, bytes), Vec::new());
        while let Some(entry) = output.entry().await.unwrap() {
            all.push(String::from_utf8(entry.bytes.to_vec()).unwrap());
        }
        all
    }

    const FIRST: &str = "2026-11-29T12:00:01.000000000Z ";
    const LATER: &str = "2026-11-29T12:00:02.500000000Z ";

    #[tokio::test]
    async fn without_frames_a_line_of_the_run_before_is_told_from_the_next_runs_first() {
        let glued = format!("{FIRST}no line break{LATER}hello\r\n");
        assert_eq!(entries(true, glued.as_bytes()).await, [format!("{FIRST}no line break"), format!("{LATER}hello\r\n")]);
        let own = format!("{LATER}[{FIRST}INFO] a game's own stamp\n");
        assert_eq!(entries(true, own.as_bytes()).await, [own]);
        let long = format!("{FIRST}{}{FIRST}end\n", "x".repeat(PIECE_BYTES));
        assert_eq!(entries(true, long.as_bytes()).await, [format!("{FIRST}{}", "x".repeat(PIECE_BYTES)), format!("{FIRST}end\n")]);
        let full = format!("{FIRST}{}\n{LATER}b\n", "x".repeat(PIECE_BYTES));
        assert_eq!(entries(true, full.as_bytes()).await, [format!("{FIRST}{}\n", "x".repeat(PIECE_BYTES)), format!("{LATER}b\n")]);
    }

    #[tokio::test]
    async fn frames_give_their_entries_and_an_endless_one_its_beginning() {
        let frame = |stream: u8, text: &[u8]| {
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            [&[stream, 0, 0, 0], length.as_slice(), text].concat()
        };
        let both = [frame(1, b"a\n"), frame(2, b"b\n")].concat();
        assert_eq!(entries(false, &both).await, ["a\n", "b\n"]);
        let long = [frame(1, &vec![b'x'; 5 * PIECE_BYTES]), frame(1, b"b\n")].concat();
        let all = entries(false, &long).await;
        assert_eq!((all[0].len(), all[1].as_str()), (ENTRY_BYTES_MAX, "b\n"));
    }

    #[tokio::test]
    async fn a_terminals_bytes_are_never_taken_for_the_head_of_a_frame() {
        let hostile = [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x'];
        let mut output = output(true, &hostile);
        assert_eq!(output.written().await.unwrap(), Some((false, Bytes::copy_from_slice(&hostile))));
        assert_eq!(output.written().await.unwrap(), None);
    }
}
