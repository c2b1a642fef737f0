//! The games behind the proxies: one greets, one echoes, one sends for ever, one swallows.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Where they listen.
pub const ADDRESS: &str = "127.0.0.1";
/// Port of the first; the others follow in the order of [`KINDS`].
pub const BASE: u16 = 24_000;
/// Sends one byte at once.
pub const GREET: u16 = 0;
/// Sends back what it gets.
pub const ECHO: u16 = 1;
/// Sends as fast as it can.
pub const SOURCE: u16 = 2;
/// Takes eight bytes of length, then so many bytes, then sends one.
pub const SINK: u16 = 3;
/// How many there are.
pub const KINDS: u16 = 4;

fn serve(kind: u16, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0_u8; if kind <= ECHO { 4_096 } else { 256 * 1_024 }];
    match kind {
        GREET => {
            stream.write_all(b"g")?;
            while stream.read(&mut buffer)? > 0 {}
        }
        ECHO => loop {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..n])?;
        },
        SOURCE => loop {
            stream.write_all(&buffer)?;
        },
        _sink => {
            let mut length = [0; 8];
            stream.read_exact(&mut length)?;
            let mut left = u64::from_be_bytes(length);
            while left > 0 {
                let n = stream.read(&mut buffer)?;
                if n == 0 {
                    return Ok(());
                }
                left = left.saturating_sub(n as u64);
            }
            stream.write_all(b"d")?;
        }
    }
    Ok(())
}

/// Starts all of them, each in a thread; they end with the program.
pub fn start() {
    for kind in 0..KINDS {
        let listener = TcpListener::bind((ADDRESS, BASE + kind)).expect("a free port for the game");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up is the usual end.
                thread::spawn(move || drop(serve(kind, stream)));
            }
        });
    }
}
