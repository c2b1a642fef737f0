//! A TCP port: accepts, wakes and holds if need be, then copies both ways.
//!
//! Each client is one task. A bare connect counts as a knock, because many games speak first; only where the game's protocol
//! tells a look from a join is the client asked to say what it wants. What a held client sends stays in the kernel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::bounds::{CONNECTS_AT_ONCE, GREETING_BYTES_MAX, GREETING_SILENCE, GREETING_WITHIN, LINGER};
use super::copy::both_ways;
use super::games::Helper;
use super::games::minecraft_java::{self as java, Greeting, Look};
use super::gate::{Gate, Knock};
use super::opening::{Opened, Opening, connect};
use crate::model::games::Protocol;
use crate::wire::door::GameIs;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One TCP port.
pub struct TcpRoute {
    gate: Arc<Gate>,
    target: SocketAddr,
    port: u16,
    helper: Helper,
    opening: Opening,
    connects: Semaphore,
}

/// Why a client does not reach the game.
enum Away {
    /// Not to be woken, and why.
    Refused(String),
    /// This source knocks too often.
    TooOften,
    /// It took longer than a client is held.
    Late,
    /// The client went.
    Left,
}

impl TcpRoute {
    /// A route to `target` for clients of `port`.
    pub fn new(gate: Arc<Gate>, port: u16, target: SocketAddr, helper: Helper) -> Arc<Self> {
        Arc::new(Self { gate, target, port, helper, opening: Opening::default(), connects: Semaphore::new(CONNECTS_AT_ONCE) })
    }

    /// Accepts for ever.
    pub async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((client, peer)) => match Arc::clone(&self.gate.seats).try_acquire_owned() {
                    Ok(seat) => {
                        let route = Arc::clone(&self);
                        self.gate.tasks.run(async move {
                            route.serve(client, peer).await;
                            drop(seat);
                        });
                    }
                    Err(_) => self.log("full", &format!("{peer}: {} connections", self.gate.bounds.connections)),
                },
                Err(error) => {
                    self.log("cannot accept", &error.to_string());
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(&self, mut client: TcpStream, peer: SocketAddr) {
        let knock = Knock { client: peer, port: self.port, protocol: Protocol::Tcp };
        let mut hold = self.gate.hold;
        let (greeting, first) = match self.helper {
            Helper::MinecraftJava => {
                hold = hold.min(java::PATIENCE);
                greet(&mut client).await
            }
            Helper::Any | Helper::MinecraftBedrock | Helper::SourceQuery => (Greeting::Join, Vec::new()),
        };
        let joins = match greeting {
            Greeting::Join => true,
            Greeting::Look(look) if self.gate.game() != GameIs::Up => return self.answer_look(&mut client, look, first).await,
            Greeting::More | Greeting::Foreign if self.gate.game() != GameIs::Up => return self.say_foreign(peer, &first),
            Greeting::Look(_) | Greeting::More | Greeting::Foreign => false,
        };
        let counted = joins.then(|| self.gate.traffic.connection());
        match self.reach(&client, knock, hold).await {
            Ok(mut game) => {
                // Either side may break off at any time; that is the end of it and nobody's fault.
                let _ = both_ways(&mut client, &mut game, first, &self.gate.bench, &self.gate.traffic).await;
            }
            Err(away) => {
                drop(counted);
                self.turn_away(client, peer, away).await;
            }
        }
    }

    /// Connects to the game, waking it and waiting for it where it is not there.
    async fn reach(&self, client: &TcpStream, knock: Knock, hold: Duration) -> Result<TcpStream, Away> {
        let deadline = Instant::now() + hold;
        let mut open = self.gate.game() == GameIs::Up;
        let mut doubted = false;
        loop {
            if open {
                let _turn = self.connects.acquire().await;
                match connect(self.target).await {
                    Ok(game) => return Ok(game),
                    Err(_) => doubted = true,
                }
            }
            let mut seat = self.opening.tcp(&self.gate, knock, self.target, doubted).map_err(|_| Away::TooOften)?;
            let opened = tokio::select! {
                opened = seat.result() => opened,
                () = left(client) => return Err(Away::Left),
                () = sleep_until(deadline) => return Err(Away::Late),
            };
            match opened {
                Some(Opened::Open(spare)) => match spare.take() {
                    Some(game) => return Ok(game),
                    None => open = true,
                },
                Some(Opened::Refused(reason)) => return Err(Away::Refused(reason)),
                // It was given up in the moment we joined.
                None => open = false,
            }
            if Instant::now() >= deadline {
                return Err(Away::Late);
            }
        }
    }

    async fn turn_away(&self, mut client: TcpStream, peer: SocketAddr, away: Away) {
        let words = match away {
            Away::Left => return,
            Away::TooOften => "Too many tries from your address. Wait a minute.".to_owned(),
            Away::Late => {
                self.log("gave up", &format!("{peer}: the game did not answer in time"));
                "The server is still starting. Try again in a moment.".to_owned()
            }
            Away::Refused(reason) => reason,
        };
        match self.helper {
            Helper::MinecraftJava => {
                let _ = timeout(LINGER, client.write_all(&java::farewell(&words))).await;
            }
            Helper::Any | Helper::MinecraftBedrock | Helper::SourceQuery => {}
        }
        close_gently(client).await;
    }

    /// Somebody speaks another protocol, and the game is not up to say so itself.
    fn say_foreign(&self, peer: SocketAddr, first: &[u8]) {
        let what = if java::is_proxy_header(first) {
            "it sends a PROXY protocol header, which is not understood here: switch it off where the connection is passed on"
        } else if first.is_empty() {
            "it said nothing"
        } else {
            "it does not speak this game's protocol"
        };
        self.log("closed without waking", &format!("{peer}: {what}"));
    }

    /// A server list asks while the game is not up: we answer in its place and wake nobody.
    async fn answer_look(&self, client: &mut TcpStream, look: Look, first: Vec<u8>) {
        let (name, words) = self.gate.sign();
        let mut talk = java::StatusTalk::new(look, first, &format!("{name} {words}"));
        let answered = timeout(GREETING_WITHIN, async {
            loop {
                let reply = talk.reply();
                client.write_all(&reply).await?;
                if talk.is_over() {
                    return client.shutdown().await;
                }
                let mut buffer = [0; 256];
                let n = client.read(&mut buffer).await?;
                if n == 0 {
                    return Ok(());
                }
                talk.hear(&buffer[..n]);
            }
        });
        // A looker that breaks off or dawdles has had its answer or does not want it.
        drop(answered.await);
    }

    fn log(&self, what: &str, details: &str) {
        self.gate.log.line(self.gate.server.as_str(), what, details);
    }
}

/// Reads until it is clear what the client wants, within time and size.
async fn greet(client: &mut TcpStream) -> (Greeting, Vec<u8>) {
    let mut heard = Vec::new();
    let listening = timeout(GREETING_WITHIN, async {
        loop {
            let mut buffer = [0; 512];
            let said = if heard.is_empty() {
                Ok(client.read(&mut buffer).await)
            } else {
                timeout(GREETING_SILENCE, client.read(&mut buffer)).await
            };
            let n = match said {
                Ok(read) => read?,
                // Nothing more for the moment: only what is complete as it stands counts.
                Err(_) if matches!(java::greeting_of_silence(&heard), Greeting::More) => continue,
                Err(_) => 0,
            };
            heard.extend_from_slice(&buffer[..n]);
            let greeting = if n == 0 { java::greeting_of_silence(&heard) } else { java::greeting(&heard) };
            if n == 0 || heard.len() >= GREETING_BYTES_MAX || !matches!(greeting, Greeting::More) {
                return Ok::<Greeting, io::Error>(greeting);
            }
        }
    });
    match listening.await {
        Ok(Ok(greeting)) => (greeting, heard),
        Ok(Err(_)) | Err(_) => (Greeting::Foreign, heard),
    }
}

/// Ends when the client is gone: it closed without having sent anything, or its connection broke. A client that has sent
/// something and closed only its own half still wants the answer.
async fn left(client: &TcpStream) {
    if let Ok(1..) = client.peek(&mut [0]).await {
        let _ = client.ready(Interest::ERROR).await;
    }
}

/// Closes without a reset, so that what was said last arrives.
async fn close_gently(mut client: TcpStream) {
    if client.shutdown().await.is_ok() {
        let mut buffer = [0; 512];
        let _ = timeout(LINGER, async { while let Ok(1..) = client.read(&mut buffer).await {} }).await;
    }
}
