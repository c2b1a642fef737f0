//! From a knock to a game that can be played: wakes it if need be and waits for the agent's word that it is ready. One attempt for each
//! port, shared by everybody who waits at it.
//!
//! An open port says nothing: many games open theirs first and load then, and throw out who comes in between. The connection of the
//! attempt that succeeds is not thrown away: one of those who wait gets it.

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
    /// Waits until the agent says that the game is up, and for its TCP port. `doubted`: it should be up and has just not answered.
    ///
    /// # Errors
    /// This source would have to wake the game and has done so too often.
    pub fn tcp(&self, gate: &Arc<Gate>, knock: Knock, target: SocketAddr, doubted: bool) -> Result<Seat<Opened>, TooMany> {
        self.admit(gate, knock)?;
        Ok(self.0.board(&gate.tasks, || open_tcp(Arc::clone(gate), knock, target, doubted)))
    }

    /// Waits until the agent says that the game is up: an open UDP port cannot be seen from outside.
    pub fn udp(&self, gate: &Arc<Gate>, knock: Knock) -> Seat<Opened> {
        self.0.board(&gate.tasks, || open_udp(Arc::clone(gate), knock))
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

async fn open_tcp(gate: Arc<Gate>, knock: Knock, target: SocketAddr, mut doubted: bool) -> Opened {
    let mut again = Duration::ZERO;
    loop {
        match gate.game() {
            GameIs::Up if !doubted => match answers(&gate, target).await {
                Some(stream) => return Opened::Open(Spare::of(stream)),
                None => doubted = true,
            },
            GameIs::Starting => wait_on(&gate).await,
            GameIs::Up | GameIs::Down => {
                // The pause keeps a game that dies at once from being started in a tight loop.
                sleep(again).await;
                again = (again * 2).clamp(AGAIN_PAUSE_MIN, AGAIN_PAUSE_MAX);
                match gate.wake(knock).await {
                    Woken::Started => doubted = false,
                    Woken::Refused(reason) => return Opened::Refused(reason),
                }
            }
        }
    }
}

/// Connects to a game that is said to be up; none: it does not answer, or is not said to be up any more.
async fn answers(gate: &Gate, target: SocketAddr) -> Option<TcpStream> {
    let since = Instant::now();
    let mut pause = Duration::from_millis(1);
    while gate.game() == GameIs::Up && since.elapsed() < DOUBT_AFTER {
        if let Ok(stream) = connect(target).await {
            return Some(stream);
        }
        sleep(pause).await;
        pause = (pause * 2).min(CONNECT_PAUSE_MAX);
    }
    None
}

/// A game that is starting takes its time.
async fn wait_on(gate: &Gate) {
    if gate.has_state_file() {
        return sleep(UP_POLL).await;
    }
    sleep(ANSWER_POLL).await;
    // An agent that is away is asked again in the next round.
    let _ = gate.report().await;
}

async fn open_udp(gate: Arc<Gate>, knock: Knock) -> Opened {
    let mut again = Duration::ZERO;
    loop {
        match gate.game() {
            GameIs::Up => return Opened::Open(Spare::default()),
            GameIs::Starting => wait_on(&gate).await,
            GameIs::Down => {
                sleep(again).await;
                again = (again * 2).clamp(AGAIN_PAUSE_MIN, AGAIN_PAUSE_MAX);
                gate.pace().await;
                match gate.wake(knock).await {
                    Woken::Started => {}
                    Woken::Refused(reason) => return Opened::Refused(reason),
                }
            }
        }
    }
}
