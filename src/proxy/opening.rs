//! From a knock to a game that answers: wakes it if need be and waits until its port is open. One attempt for each port,
//! shared by everybody who waits at it.
//!
//! A game that loads refuses connections, which is normal and costs nothing; attempts come with short growing pauses. The
//! connection of the attempt that succeeds is not thrown away: one of those who wait gets it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::bounds::{CONNECT_PAUSE_MAX, CONNECT_WITHIN, DOUBT_AFTER, UP_POLL};
use super::flight::{Flight, Seat};
use super::gate::{Gate, Knock, Woken};
use crate::wire::door::GameIs;

/// First pause before an agent is asked again about a game that did not stay up.
const AGAIN_PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest of these pauses.
const AGAIN_PAUSE_MAX: Duration = Duration::from_secs(4);
/// Without a state file, the agent is asked this often whether the game is up.
const ANSWER_POLL: Duration = Duration::from_millis(250);

/// So often a connection is looked at before a timer is set for it.
const QUICK_LOOKS: usize = 2;

/// How it ended.
#[derive(Debug, Clone)]
pub enum Opened {
    /// The game answers. The first taker may have the connection that showed it.
    Open(Spare),
    /// It will not be woken, with the reason for players.
    Refused(String),
}

/// A connection for whoever takes it first.
#[derive(Debug, Clone, Default)]
pub struct Spare(Arc<Mutex<Option<TcpStream>>>);

impl Spare {
    fn of(stream: TcpStream) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }

    /// The connection, once.
    pub fn take(&self) -> Option<TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// This source has caused too many wake requests lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// The opening of one port.
#[derive(Default)]
pub struct Opening(Flight<Opened>);

impl Opening {
    /// Waits for a TCP port. `doubted`: it should be up and has just not answered.
    ///
    /// # Errors
    /// This source would have to wake the game and has done so too often.
    pub fn tcp(&self, gate: &Arc<Gate>, knock: Knock, target: SocketAddr, doubted: bool) -> Result<Seat<Opened>, TooMany> {
        self.admit(gate, knock)?;
        Ok(self.0.board(&gate.tasks, || open_tcp(Arc::clone(gate), knock, target, doubted)))
    }

    /// Waits until the agent says that the game is up: an open UDP port cannot be seen from outside.
    ///
    /// # Errors
    /// As for TCP.
    pub fn udp(&self, gate: &Arc<Gate>, knock: Knock) -> Result<Seat<Opened>, TooMany> {
        self.admit(gate, knock)?;
        Ok(self.0.board(&gate.tasks, || open_udp(Arc::clone(gate), knock)))
    }

    fn admit(&self, gate: &Gate, knock: Knock) -> Result<(), TooMany> {
        let causes_a_wake = self.0.is_idle() && gate.game() == GameIs::Down;
        if causes_a_wake && !gate.admits(knock.client.ip()) { Err(TooMany) } else { Ok(()) }
    }
}

/// Connects to the game, without delay for small packets.
///
/// # Errors
/// Not there, not yet, or not in time.
pub async fn connect(target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    let mut connecting = pin!(socket.connect(target));
    // On the same machine the answer is there as soon as the kernel is asked again. Only where it is not is a timer worth its
    // price, which is a wake-up of the whole runtime.
    for _ in 0..QUICK_LOOKS {
        let look = poll_fn(|cx| Poll::Ready(connecting.as_mut().poll(cx)));
        if let Poll::Ready(done) = look.await {
            return done;
        }
        yield_now().await;
    }
    timeout(CONNECT_WITHIN, connecting).await.map_err(std::io::Error::from)?
}

async fn open_tcp(gate: Arc<Gate>, knock: Knock, target: SocketAddr, doubted: bool) -> Opened {
    // That a starting game does not answer is no reason to doubt.
    let mut ask = match gate.game() {
        GameIs::Down => true,
        GameIs::Starting => false,
        GameIs::Up => doubted,
    };
    let mut again = AGAIN_PAUSE_MIN;
    loop {
        if ask {
            match gate.wake(knock).await {
                Woken::Started => {}
                Woken::Refused(reason) => return Opened::Refused(reason),
            }
        }
        let since = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Ok(stream) = connect(target).await {
                return Opened::Open(Spare::of(stream));
            }
            // A game that is starting may take its time; one that is said to be up should answer.
            match gate.game() {
                GameIs::Down => break,
                GameIs::Up if since.elapsed() >= DOUBT_AFTER => break,
                GameIs::Starting | GameIs::Up => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(CONNECT_PAUSE_MAX);
        }
        // It went down again or takes long. The pause keeps a game that dies at once from being started in a tight loop.
        if gate.game() == GameIs::Down {
            sleep(again).await;
            again = (again * 2).min(AGAIN_PAUSE_MAX);
        }
        ask = true;
    }
}

async fn open_udp(gate: Arc<Gate>, knock: Knock) -> Opened {
    let mut again = Duration::ZERO;
    loop {
        match gate.game() {
            GameIs::Up => return Opened::Open(Spare::default()),
            GameIs::Starting if gate.has_state_file() => sleep(UP_POLL).await,
            GameIs::Starting => {
                sleep(ANSWER_POLL).await;
                // An agent that is away is asked again in the next round.
                let _ = gate.report().await;
            }
            GameIs::Down => {
                sleep(again).await;
                again = (again * 2).clamp(AGAIN_PAUSE_MIN, AGAIN_PAUSE_MAX);
                match gate.wake(knock).await {
                    Woken::Started => {}
                    Woken::Refused(reason) => return Opened::Refused(reason),
                }
            }
        }
    }
}
