//! What is measured through one proxy in one round.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::game::{ADDRESS, ECHO, GREET, SINK, SOURCE};

/// Connections of the third bulk figure.
const MANY: u64 = 8;
/// Connections one after the other, and round trips on each.
const CONNECTIONS: usize = 20;
const ROUND_TRIPS: usize = 1_000;
const WARM_UP: usize = 50;
const CONNECTS: usize = 3_000;
const MESSAGE: usize = 64;

/// Names of the columns.
pub const NAMES: [&str; 7] = ["down Gbit/s", "up Gbit/s", "8 down Gbit/s", "RTT p50 us", "RTT p99 us", "connect p50", "connect p99"];

/// What was promised of a column.
#[derive(Clone, Copy)]
pub enum Promise {
    /// As much as the best.
    AtLeast,
    /// Nearly as quick as the quickest.
    Latency,
    /// Nothing: for the reader.
    None,
}

/// In the order of [`NAMES`].
pub const PROMISES: [Promise; 7] =
    [Promise::AtLeast, Promise::AtLeast, Promise::AtLeast, Promise::Latency, Promise::None, Promise::Latency, Promise::None];

/// In the order of [`NAMES`].
pub type Figures = [f64; 7];

fn connect(base: u16, kind: u16) -> TcpStream {
    let stream = TcpStream::connect((ADDRESS, base + kind)).expect("a proxy that listens");
    stream.set_nodelay(true).expect("an option");
    stream
}

fn gbits(bytes: u64, since: Instant) -> f64 {
    bytes as f64 * 8.0 / since.elapsed().as_secs_f64() / 1e9
}

fn pull(base: u16, bytes: u64) {
    let mut stream = connect(base, SOURCE);
    let mut buffer = vec![0; 256 * 1_024];
    let mut left = bytes;
    while left > 0 {
        let n = stream.read(&mut buffer).expect("bytes");
        assert!(n > 0, "the proxy closed");
        left = left.saturating_sub(n as u64);
    }
}

fn push(base: u16, bytes: u64) {
    let mut stream = connect(base, SINK);
    let buffer = vec![1; 256 * 1_024];
    stream.write_all(&bytes.to_be_bytes()).expect("a length");
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(buffer.len() as u64) as usize;
        stream.write_all(&buffer[..piece]).expect("bytes");
        left -= piece as u64;
    }
    stream.read_exact(&mut [0]).expect("the end");
}

fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    (at(0.5), at(0.99))
}

/// Over several connections: on which cores the three processes happen to meet decides more than any of them does.
fn round_trips(base: u16) -> (f64, f64) {
    let (say, mut hear) = ([7; MESSAGE], [0; MESSAGE]);
    let mut times = Vec::with_capacity(CONNECTIONS * ROUND_TRIPS);
    for _ in 0..CONNECTIONS {
        let mut stream = connect(base, ECHO);
        for turn in 0..WARM_UP + ROUND_TRIPS {
            let start = Instant::now();
            stream.write_all(&say).expect("a message");
            stream.read_exact(&mut hear).expect("its echo");
            if turn >= WARM_UP {
                times.push(start.elapsed());
            }
        }
        drop(stream);
        thread::sleep(Duration::from_millis(5));
    }
    percentiles(times)
}

fn connects(base: u16) -> (f64, f64) {
    let mut times = Vec::with_capacity(CONNECTS);
    for _ in 0..CONNECTS {
        let start = Instant::now();
        let mut stream = connect(base, GREET);
        stream.read_exact(&mut [0]).expect("a greeting");
        times.push(start.elapsed());
    }
    percentiles(times)
}

/// All figures of one round, with bulk transfers of so many bytes.
pub fn all(base: u16, bulk_bytes: u64) -> Figures {
    let start = Instant::now();
    pull(base, bulk_bytes);
    let down = gbits(bulk_bytes, start);
    let start = Instant::now();
    push(base, bulk_bytes);
    let up = gbits(bulk_bytes, start);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..MANY {
            scope.spawn(|| pull(base, bulk_bytes / MANY));
        }
    });
    let many = gbits(bulk_bytes, start);
    let (rtt, rtt99) = round_trips(base);
    let (first, first99) = connects(base);
    [down, up, many, rtt, rtt99, first, first99]
}
