//! One visitor of the room: lines in, lines out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::{Room, lock, log};

/// Longest line in bytes; a client that sends more without a break is shown out.
const LINE_BYTES_MAX: usize = 512;
/// A connection that is closed again within this, without a word, was a look.
const LOOK_ONLY: Duration = Duration::from_millis(30);
/// Longest name in characters.
const NAME_CHARS_MAX: usize = 24;

/// Without control characters and of bounded length, whatever somebody typed.
pub fn clean(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(LINE_BYTES_MAX).collect()
}

/// Who is here, in words.
pub fn who(room: &Room) -> String {
    let names = lock(&room.names);
    if names.is_empty() { "Nobody is here.".to_owned() } else { format!("Here: {}", names.join(", ")) }
}

/// Serves one visitor until it goes.
pub async fn talk(room: &Arc<Room>, mut stream: TcpStream, peer: SocketAddr) {
    // Whoever only looks whether the room is open is no visitor.
    if let Ok(Ok(0) | Err(_)) = timeout(LOOK_ONLY, stream.peek(&mut [0])).await {
        return;
    }
    let mut visitor = Visitor::enter(room, peer);
    // A broken connection ends the visit like a good-bye.
    let _ = visitor.visit(&mut stream).await;
    drop(visitor);
    let _ = stream.shutdown().await;
}

/// In the list of names for as long as it lives.
struct Visitor {
    room: Arc<Room>,
    name: String,
}

impl Visitor {
    fn enter(room: &Arc<Room>, peer: SocketAddr) -> Self {
        let name = free_name(room, &format!("guest{}", peer.port()));
        lock(&room.names).push(name.clone());
        room.announce(&format!("* {name} came in"));
        Self { room: Arc::clone(room), name }
    }

    async fn visit(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        // Subscribed after our own coming in was announced, which the greeting says anyway.
        let mut says = self.room.says.subscribe();
        stream.write_all(self.greeting().as_bytes()).await?;
        let mut heard: Vec<u8> = Vec::new();
        loop {
            let mut buffer = [0; LINE_BYTES_MAX];
            tokio::select! {
                said = says.recv() => match said {
                    Ok(line) => stream.write_all(format!("{line}\r\n").as_bytes()).await?,
                    Err(RecvError::Lagged(n)) => stream.write_all(format!("({n} lines missed)\r\n").as_bytes()).await?,
                    Err(RecvError::Closed) => return Ok(()),
                },
                read = stream.read(&mut buffer) => {
                    let n = read?;
                    if n == 0 {
                        return Ok(());
                    }
                    heard.extend_from_slice(&buffer[..n]);
                    while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = heard.drain(..=end).collect();
                        let (answer, goes) = self.hear(&clean(&String::from_utf8_lossy(&line)));
                        stream.write_all(answer.as_bytes()).await?;
                        if goes {
                            return Ok(());
                        }
                    }
                    if heard.len() > LINE_BYTES_MAX {
                        return stream.write_all(b"That line is too long.\r\n").await;
                    }
                }
            }
        }
    }

    fn greeting(&self) -> String {
        let mut text = format!("{}\r\nYou are {}. /name NAME, /who, /quit\r\n", self.room.motd, self.name);
        for line in lock(&self.room.history).lines() {
            text.extend(["| ", line, "\r\n"]);
        }
        text
    }

    /// One line of the visitor: the answer to it alone, and whether it goes.
    fn hear(&mut self, line: &str) -> (String, bool) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => return (String::new(), false),
            "/quit" => return ("Good-bye.\r\n".to_owned(), true),
            "/who" => return (format!("{}\r\n", who(&self.room)), false),
            "/name" => self.rename(rest),
            command if command.starts_with('/') => return ("/name NAME, /who, /quit\r\n".to_owned(), false),
            _words => self.room.chat(&format!("{}: {line}", self.name)),
        }
        (String::new(), false)
    }

    fn rename(&mut self, wish: &str) {
        let wish: String = clean(wish).chars().filter(|c| !c.is_whitespace()).take(NAME_CHARS_MAX).collect();
        if wish.is_empty() || wish == self.name {
            return;
        }
        let fresh = free_name(&self.room, &wish);
        let old = std::mem::replace(&mut self.name, fresh);
        if let Some(entry) = lock(&self.room.names).iter_mut().find(|name| **name == old) {
            entry.clone_from(&self.name);
        }
        self.room.announce(&format!("* {old} is now {}", self.name));
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        lock(&self.room.names).retain(|name| *name != self.name);
        log(&format!("* {} left", self.name));
        let _ = self.room.says.send(format!("* {} left", self.name).into());
    }
}

fn free_name(room: &Room, wish: &str) -> String {
    let names = lock(&room.names);
    let taken = |name: &str| names.iter().any(|other| other == name);
    if !taken(wish) {
        return wish.to_owned();
    }
    // One more number than there are names: one of them is free.
    let last = names.len() + 2;
    (2..=last).map(|n| format!("{wish}{n}")).find(|name| !taken(name)).unwrap_or_default()
}
