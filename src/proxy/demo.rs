//! The built-in game: a small chat room over TCP and an echo over UDP on the same port, so that a panel can be tried
//! without any image. `roost-proxy demo` runs it, as process 1 of a container made from nothing.
//!
//! It behaves like a real game where that matters: it takes its time to start if told so, logs to standard output, obeys
//! operator lines on standard input, keeps something under `/data`, and ends cleanly when asked.

mod client;
mod history;

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::sleep;

use super::tasks::Tasks;
use history::History;

/// Where it listens unless told otherwise.
pub const LISTEN: &str = "0.0.0.0:7777";
/// Clients at the same time.
const CLIENTS_MAX: usize = 200;
/// Messages that a slow client may be behind before it misses some.
const BEHIND_MAX: usize = 64;
/// Operator lines waiting.
const OPERATOR_LINES_MAX: usize = 64;
/// Longest operator line in bytes.
const OPERATOR_LINE_BYTES_MAX: u64 = 4_096;
/// Longest delay before it opens, in milliseconds.
const START_DELAY_MS_MAX: u64 = 600_000;
/// Pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Where its data folder is mounted.
const DATA: &str = "/data";

/// What all clients share.
struct Room {
    motd: String,
    says: broadcast::Sender<Arc<str>>,
    names: Mutex<Vec<String>>,
    history: Mutex<History>,
    places: Arc<Semaphore>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line of the game's log.
fn log(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

impl Room {
    /// Everybody hears it, the log too.
    fn announce(&self, line: &str) {
        log(line);
        // Nobody may be there to hear it.
        let _ = self.says.send(line.into());
    }

    /// As [`Room::announce`], and it is remembered.
    fn chat(&self, line: &str) {
        self.announce(line);
        lock(&self.history).add(line);
    }
}

/// Runs the game until it is told to end.
pub async fn main(listen: &str) -> ExitCode {
    let Ok(address) = listen.parse::<SocketAddr>() else {
        log("the address to listen on is not one");
        return ExitCode::from(2);
    };
    let setting = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let delay = setting("START_DELAY_MS").and_then(|value| value.parse().ok()).unwrap_or(0_u64).min(START_DELAY_MS_MAX);
    let room = Arc::new(Room {
        motd: client::clean(&setting("MOTD").unwrap_or_else(|| "Welcome to the room.".to_owned())),
        says: broadcast::Sender::new(BEHIND_MAX),
        names: Mutex::default(),
        history: Mutex::new(History::load(DATA.as_ref())),
        places: Arc::new(Semaphore::new(CLIENTS_MAX)),
    });
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        log("no signals");
        return ExitCode::from(2);
    };
    let (lines, mut operator) = mpsc::channel(OPERATOR_LINES_MAX);
    std::thread::spawn(move || read_operator(&lines));
    let tasks = Tasks::default();
    let game = play(Arc::clone(&room), address, delay, tasks.clone());
    let mut game = std::pin::pin!(game);
    let code = loop {
        tokio::select! {
            _ = terminate.recv() => break 0,
            _ = interrupt.recv() => break 0,
            Some(line) = operator.recv() => if let Some(code) = obey(&room, &line) { break code },
            error = &mut game => {
                log(&format!("\u{1b}[31mcannot listen on {address}: {error}\u{1b}[0m"));
                break 1;
            }
        }
    };
    if code == 0 {
        room.announce("The room closes. Good-bye.");
        // The clients' tasks get their turn to say so.
        sleep(Duration::from_millis(20)).await;
    } else {
        log(&format!("\u{1b}[31mended with code {code}\u{1b}[0m"));
    }
    tasks.end();
    // The thread that reads operator lines cannot be interrupted, so the process ends over its head.
    std::process::exit(code)
}

/// Opens the room; ends only with an error.
async fn play(room: Arc<Room>, address: SocketAddr, delay_ms: u64, tasks: Tasks) -> std::io::Error {
    if delay_ms > 0 {
        log(&format!("loading for {delay_ms} ms"));
        sleep(Duration::from_millis(delay_ms)).await;
    }
    let (tcp, udp) = match (TcpListener::bind(address).await, UdpSocket::bind(address).await) {
        (Ok(tcp), Ok(udp)) => (tcp, udp),
        (Err(error), _) | (_, Err(error)) => return error,
    };
    log(&format!("\u{1b}[32mThe room is open\u{1b}[0m on \u{1b}[36m{address}\u{1b}[0m"));
    tasks.run(echo(udp));
    loop {
        let Ok((stream, peer)) = tcp.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Ok(place) = Arc::clone(&room.places).try_acquire_owned() {
            let room = Arc::clone(&room);
            tasks.run(async move {
                client::talk(&room, stream, peer).await;
                drop(place);
            });
        }
    }
}

/// Sends back every datagram.
async fn echo(socket: UdpSocket) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((n, peer)) => drop(socket.send_to(&buffer[..n], peer).await),
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Standard input has no place in the runtime: a thread waits for it. It ends when there is none or it was closed.
fn read_operator(lines: &mpsc::Sender<String>) {
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        match std::io::Read::take(&mut input, OPERATOR_LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(1..) => {
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if !line.is_empty() && lines.blocking_send(line).is_err() {
                    return;
                }
            }
            Ok(0) | Err(_) => return,
        }
    }
}

/// Does what an operator says; gives the exit code where that is to end.
fn obey(room: &Room, line: &str) -> Option<i32> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "say" => room.chat(&format!("[operator] {}", client::clean(rest))),
        "who" => log(&client::who(room)),
        "stop" => return Some(0),
        "crash" => return Some(rest.trim().parse().unwrap_or(1)),
        _not_a_command => log("operator lines: say TEXT, who, stop, crash CODE"),
    }
    None
}
