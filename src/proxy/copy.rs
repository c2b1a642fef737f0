//! Copies both ways between a client and its game until both have ended; either side may end its half first.
//!
//! Small messages go through one shared buffer: read, write, done, and a connection that waits holds nothing. A direction
//! that keeps filling the buffer is bulk and moves inside the kernel, through a pipe borrowed for as long as it holds data.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use rustix::pipe::{SpliceFlags, splice};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::activity::Traffic;
use super::pipes::{Pipe, Workbench};

/// So many full buffers in a row make a direction bulk.
const BULK_AFTER: u8 = 4;
/// A bulk direction that brings less than this at once is small again.
const SMALL_AGAIN: usize = 4_096;

/// One direction.
struct Half<'a> {
    bench: &'a Workbench,
    count: &'a AtomicU64,
    /// Read and not yet written, because the other side is slow; at most one buffer.
    rest: Vec<u8>,
    written: usize,
    /// A pipe with so many bytes in it.
    pipe: Option<(Pipe, usize)>,
    full_in_a_row: u8,
    ended: bool,
    done: bool,
}

impl<'a> Half<'a> {
    fn new(bench: &'a Workbench, count: &'a AtomicU64, first: Vec<u8>) -> Self {
        Self { bench, count, rest: first, written: 0, pipe: None, full_in_a_row: 0, ended: false, done: false }
    }

    /// Ready when this direction has ended and the other side was told.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut TcpStream, to: &mut TcpStream) -> Poll<io::Result<()>> {
        while !self.done {
            ready!(self.write_rest(cx, to))?;
            if self.ended {
                // The other side may be gone already; then there is nothing left to tell it.
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.done = true;
            } else if self.full_in_a_row >= BULK_AFTER || self.pipe.is_some() {
                ready!(self.poll_bulk(cx, from, to))?;
            } else {
                ready!(self.poll_small(cx, from, to))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_rest(&mut self, cx: &mut Context<'_>, to: &mut TcpStream) -> Poll<io::Result<()>> {
        while self.written < self.rest.len() {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.count.fetch_add(n as u64, Relaxed);
        }
        if self.written > 0 {
            (self.rest, self.written) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// One read and one write through the shared buffer.
    fn poll_small(&mut self, cx: &mut Context<'_>, from: &mut TcpStream, to: &mut TcpStream) -> Poll<io::Result<()>> {
        let mut scratch = self.bench.scratch();
        let mut buffer = ReadBuf::new(&mut scratch[..]);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let full = buffer.remaining() == 0;
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        self.full_in_a_row = if full { self.full_in_a_row + 1 } else { 0 };
        let n = match Pin::new(to).poll_write(cx, bytes) {
            Poll::Ready(n) => n?,
            Poll::Pending => 0,
        };
        self.count.fetch_add(n as u64, Relaxed);
        if n < bytes.len() {
            self.rest = bytes[n..].to_vec();
        }
        Poll::Ready(Ok(()))
    }

    /// Fills the pipe and empties it, or gives up being bulk where there is no pipe or little to move.
    fn poll_bulk(&mut self, cx: &mut Context<'_>, from: &mut TcpStream, to: &mut TcpStream) -> Poll<io::Result<()>> {
        let Some((pipe, held)) = self.pipe.take().or_else(|| self.bench.pipe().map(|pipe| (pipe, 0))) else {
            self.full_in_a_row = 0;
            return Poll::Ready(Ok(()));
        };
        if held == 0 {
            match poll_fill(cx, from, &pipe) {
                Poll::Ready(Ok(0)) => {
                    self.bench.put_back(pipe);
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(n)) => {
                    self.pipe = Some((pipe, n));
                    if n < SMALL_AGAIN {
                        self.full_in_a_row = 0;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.bench.put_back(pipe);
                    return Poll::Pending;
                }
            }
        } else {
            self.pipe = Some((pipe, held));
        }
        self.poll_drain(cx, to)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, to: &mut TcpStream) -> Poll<io::Result<()>> {
        while let Some((pipe, held)) = &mut self.pipe {
            ready!(to.poll_write_ready(cx))?;
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            let moved = to.try_io(Interest::WRITABLE, || Ok(splice(&pipe.out, None, &*to, None, *held, flags)?));
            match moved {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.count.fetch_add(n as u64, Relaxed);
                    *held -= n;
                    if *held == 0
                        && let Some((pipe, _)) = self.pipe.take()
                    {
                        self.bench.put_back(pipe);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_fill(cx: &mut Context<'_>, from: &TcpStream, pipe: &Pipe) -> Poll<io::Result<usize>> {
    loop {
        ready!(from.poll_read_ready(cx))?;
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match from.try_io(Interest::READABLE, || Ok(splice(from, None, &pipe.into, None, pipe.bytes, flags)?)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return Poll::Ready(other),
        }
    }
}

/// Copies until both directions have ended or one has failed. `first` are bytes of the client that were already read.
///
/// # Errors
/// One side was reset.
pub async fn both_ways(
    client: &mut TcpStream,
    game: &mut TcpStream,
    first: Vec<u8>,
    bench: &Workbench,
    traffic: &Traffic,
) -> io::Result<()> {
    let mut inward = Half::new(bench, &traffic.bytes_in, first);
    let mut outward = Half::new(bench, &traffic.bytes_out, Vec::new());
    std::future::poll_fn(|cx| {
        let one = inward.poll(cx, client, game)?;
        let other = outward.poll(cx, game, client)?;
        if one.is_ready() && other.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}
