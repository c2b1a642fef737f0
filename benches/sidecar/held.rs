//! Thousands of clients are held while the game starts: one wake request, and every one of them is served.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::game::{ADDRESS, BASE};
use crate::peers::{config, pss_kib, wait_for};

/// How many are held.
pub const CLIENTS: usize = 5_000;
/// Of these, so many send their eight bytes before the game is there; the others wait for the game to speak.
const FIRST_BYTES: &[u8; 8] = b"question";

/// Runs it; true when all were served after one wake.
pub fn run(proxy: &Path, folder: &Path, count: usize) -> bool {
    let (public, game) = (BASE + 60, BASE + 61);
    let state = folder.join("held.json");
    write_state(&state, "down");
    let wakes = Arc::new(AtomicUsize::new(0));
    agent(&folder.join("agent.sock"), &state, &wakes);
    let route = format!(r#"{{"listen":"{ADDRESS}:{public}","protocol":"tcp","target":"{ADDRESS}:{game}"}}"#);
    let path = config(folder, "held-door.json", &state, &[route], 60);
    let mut process = Command::new(proxy).arg("--config").arg(path).stderr(Stdio::null()).spawn().expect("the sidecar");
    // This first connection is the first to wait.
    wait_for(public, "roost-proxy");
    let start = Instant::now();
    let mut clients: Vec<TcpStream> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = TcpStream::connect((ADDRESS, public)).expect("a held connection");
        client.write_all(FIRST_BYTES).expect("bytes for later");
        clients.push(client);
    }
    let knocked = start.elapsed();
    thread::sleep(Duration::from_millis(500));
    let pss = pss_kib(process.id());
    let listener = TcpListener::bind((ADDRESS, game)).expect("the game's port");
    thread::spawn(move || serve(&listener));
    let opened = Instant::now();
    let mut served = 0;
    for client in &mut clients {
        let mut answer = [0; FIRST_BYTES.len()];
        client.set_read_timeout(Some(Duration::from_secs(30))).expect("an option");
        served += usize::from(client.read_exact(&mut answer).is_ok() && answer == *FIRST_BYTES);
    }
    let took = opened.elapsed();
    let _ = process.kill();
    let _ = process.wait();
    let wakes = wakes.load(SeqCst);
    let good = served == count && wakes == 1;
    println!(
        "{} {count} held clients (knocked in {knocked:.1?}, sidecar then {pss} KiB): {served} served {took:.1?} after the game opened, {wakes} wake request(s)",
        crate::mark(good)
    );
    good
}

fn write_state(path: &Path, game: &str) {
    let fresh: PathBuf = path.with_extension("new");
    fs::write(&fresh, format!(r#"{{"game":"{game}","name":"bench","wake":{{"verdict":"allowed"}}}}"#)).expect("state");
    fs::rename(fresh, path).expect("state");
}

/// Echoes, with one thread for all: each client sends one question.
fn serve(listener: &TcpListener) {
    let mut open = Vec::new();
    for mut stream in listener.incoming().flatten() {
        let mut question = [0; FIRST_BYTES.len()];
        if stream.read_exact(&mut question).is_ok() {
            let _ = stream.write_all(&question);
        }
        open.push(stream);
    }
}

/// Starts "the container" on a wake request; signatures are checked elsewhere.
fn agent(socket: &Path, state: &Path, wakes: &Arc<AtomicUsize>) {
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket).expect("the agent's socket");
    let (state, wakes) = (state.to_owned(), Arc::clone(wakes));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut buffer = [0; 4_096];
            while !request.ends_with(b"}") {
                match stream.read(&mut buffer) {
                    Ok(n @ 1..) => request.extend_from_slice(&buffer[..n]),
                    Ok(0) | Err(_) => break,
                }
            }
            let known = |game: &str| format!(r#"{{"game":"{game}","name":"bench","wake":{{"verdict":"allowed"}}}}"#);
            let body = if request.starts_with(b"POST /api/webhook/wake ") {
                wakes.fetch_add(1, SeqCst);
                write_state(&state, "starting");
                format!(r#"{{"started":true,"state":{}}}"#, known("starting"))
            } else {
                known("starting")
            };
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
    });
}
