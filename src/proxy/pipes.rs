//! Buffers that all connections share: one for copying, one for datagrams, and a few kernel pipes for bulk data.
//!
//! A connection that waits owns no buffer at all. That is what lets ten thousand of them wait in a few megabytes.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Bytes moved through user space at once.
pub const SCRATCH_BYTES: usize = 16 * 1_024;
/// Largest datagram.
pub const DATAGRAM_BYTES_MAX: usize = 65_536;
/// What a pipe should hold. The kernel gives less to a container that has many.
const PIPE_BYTES: usize = 256 * 1_024;

/// A pipe of the kernel. Empty whenever it lies in the pool.
#[derive(Debug)]
pub struct Pipe {
    /// The end to take from.
    pub out: OwnedFd,
    /// The end to put into.
    pub into: OwnedFd,
    /// What it holds at most.
    pub bytes: usize,
    made: Arc<AtomicUsize>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.made.fetch_sub(1, Relaxed);
    }
}

/// The shared buffers.
pub struct Workbench {
    scratch: Mutex<Box<[u8]>>,
    datagram: Mutex<Box<[u8]>>,
    pool: Mutex<Vec<Pipe>>,
    made: Arc<AtomicUsize>,
    most: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workbench {
    /// With at most so many pipes.
    pub fn new(pipes: usize) -> Self {
        Self {
            scratch: Mutex::new(vec![0; SCRATCH_BYTES].into()),
            datagram: Mutex::new(vec![0; DATAGRAM_BYTES_MAX].into()),
            pool: Mutex::default(),
            made: Arc::default(),
            most: pipes,
        }
    }

    /// For the length of one read and one write.
    pub fn scratch(&self) -> MutexGuard<'_, Box<[u8]>> {
        lock(&self.scratch)
    }

    /// For one datagram.
    pub fn datagram(&self) -> MutexGuard<'_, Box<[u8]>> {
        lock(&self.datagram)
    }

    /// An empty pipe, if there is one or one can be made.
    pub fn pipe(&self) -> Option<Pipe> {
        if let Some(pipe) = lock(&self.pool).pop() {
            return Some(pipe);
        }
        if self.made.load(Relaxed) >= self.most {
            return None;
        }
        self.make().ok()
    }

    /// Gives an empty pipe back.
    pub fn put_back(&self, pipe: Pipe) {
        lock(&self.pool).push(pipe);
    }

    fn make(&self) -> io::Result<Pipe> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Where the kernel refuses a larger one, its usual size does.
        let bytes = fcntl_setpipe_size(&into, PIPE_BYTES).unwrap_or(65_536);
        self.made.fetch_add(1, Relaxed);
        Ok(Pipe { out, into, bytes, made: Arc::clone(&self.made) })
    }
}
