//! One server's gate: what is known of its game, how to wake it, and what goes through. Shared by all its ports.
//!
//! What is known comes from the state file, which the agent replaces whenever something changes, and from the agent's answers
//! to wake requests and activity reports; the newer one counts.

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

use super::activity::Traffic;
use super::agent::{Agent, AgentError};
use super::bounds::{Bounds, DATAGRAM_WAKE_PACE, REFUSAL_KEPT, RETRY_PAUSE_MAX, RETRY_PAUSE_MIN, STATE_AGE_MAX, STATE_BYTES_MAX};
use super::flight::Flight;
use super::log::Log;
use super::pipes::Workbench;
use super::sources::Sources;
use super::tasks::Tasks;
use crate::model::games::Protocol;
use crate::model::ids::ServerId;
use crate::wire::door::{ActivityReport, DoorState, GameIs, Verdict, WakeRequest};

/// Who is at the door, and at which.
#[derive(Debug, Clone, Copy)]
pub struct Knock {
    /// The client.
    pub client: SocketAddr,
    /// The port it came to.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// What became of a wake request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Woken {
    /// The container is up; the game may still be loading.
    Started,
    /// It will not be woken, with the reason for players.
    Refused(String),
}

/// The file as it was when last read. A rename brings a new inode or at least a new time.
type Stamp = (u64, u64, i64, i64, i64, i64);

#[derive(Default)]
struct Known {
    state: Option<DoorState>,
    stamp: Option<Stamp>,
    looked: Option<Instant>,
    refused: Option<(Instant, String)>,
}

impl Known {
    fn hear(&mut self, state: DoorState) {
        if !self.state.as_ref().is_some_and(|known| state.word.is_before(known.word)) {
            self.state = Some(state);
        }
    }
}

/// See the module.
pub struct Gate {
    /// Whose.
    pub server: ServerId,
    /// Its bounds.
    pub bounds: Bounds,
    /// How long a client is held.
    pub hold: Duration,
    /// Lines.
    pub log: Log,
    /// Owner of all tasks.
    pub tasks: Tasks,
    /// Counters.
    pub traffic: Arc<Traffic>,
    /// One permit for each TCP connection.
    pub seats: Arc<Semaphore>,
    /// Shared buffers.
    pub bench: Arc<Workbench>,
    agent: Agent,
    reached: AtomicBool,
    state_file: Option<PathBuf>,
    known: Mutex<Known>,
    waking: Flight<Woken>,
    wakes: Mutex<Sources>,
    /// When a datagram may cause the next wake request.
    datagrams_wake_at: Mutex<Option<Instant>>,
}

/// What a gate is made of, beside its defaults.
pub struct Parts {
    /// Whose.
    pub server: ServerId,
    /// Line to its agent.
    pub agent: Agent,
    /// Where the state is kept, if anywhere.
    pub state_file: Option<PathBuf>,
    /// How long a client is held.
    pub hold: Duration,
    /// Bounds.
    pub bounds: Bounds,
    /// Lines.
    pub log: Log,
    /// Owner of all tasks.
    pub tasks: Tasks,
    /// Shared buffers.
    pub bench: Arc<Workbench>,
}

impl Gate {
    /// A gate that knows nothing yet.
    pub fn new(parts: Parts) -> Arc<Gate> {
        let Parts { server, agent, state_file, hold, bounds, log, tasks, bench } = parts;
        let wakes = Sources::new(Duration::from_mins(1), bounds.wakes_per_minute, bounds.sources);
        let seats = Arc::new(Semaphore::new(bounds.connections as usize));
        Arc::new(Gate {
            server,
            hold,
            log,
            tasks,
            bench,
            seats,
            agent,
            state_file,
            bounds,
            traffic: Arc::default(),
            reached: AtomicBool::new(true),
            known: Mutex::default(),
            waking: Flight::default(),
            wakes: Mutex::new(wakes),
            datagrams_wake_at: Mutex::default(),
        })
    }

    /// Is the game there, as far as known right now? Unknown counts as down.
    pub fn game(&self) -> GameIs {
        let mut known = self.known();
        self.look(&mut known);
        known.state.as_ref().map_or(GameIs::Down, |state| state.game)
    }

    /// As [`Gate::game`], at most a hundredth of a second old: for every datagram of a stream.
    pub fn game_lately(&self) -> GameIs {
        let mut known = self.known();
        if known.looked.is_none_or(|at| at.elapsed() >= STATE_AGE_MAX) {
            self.look(&mut known);
        }
        known.state.as_ref().map_or(GameIs::Down, |state| state.game)
    }

    /// The server's name and what to tell those who look.
    pub fn sign(&self) -> (String, String) {
        let known = self.known();
        let Some(state) = &known.state else {
            return (self.server.as_str().to_owned(), "is asleep, join to wake".to_owned());
        };
        let words = match (&state.game, &state.wake) {
            (GameIs::Starting | GameIs::Up, _) => "is waking up".to_owned(),
            (GameIs::Down, Verdict::Allowed) => "is asleep, join to wake".to_owned(),
            (GameIs::Down, Verdict::Refused { reason }) => format!("is asleep. {reason}"),
        };
        (state.name.clone(), words)
    }

    /// Whether the state comes by file rather than only by answers.
    pub fn has_state_file(&self) -> bool {
        self.state_file.is_some()
    }

    /// Waits until a datagram may cause one more wake request. Its sender is whoever it says, so that a limit for each of them could be
    /// used up by others: all wait alike, and only a little.
    pub async fn pace(&self) {
        let now = Instant::now();
        let at = {
            let mut next = self.datagrams_wake_at.lock().unwrap_or_else(PoisonError::into_inner);
            let at = next.map_or(now, |at| at.max(now));
            *next = Some(at + DATAGRAM_WAKE_PACE);
            at
        };
        sleep_until(at).await;
    }

    /// May this source cause one more wake request? Only for those who have shown that the address is theirs, as a connection does.
    pub fn admits(&self, source: IpAddr) -> bool {
        let admitted = self.wakes.lock().unwrap_or_else(PoisonError::into_inner).admit(source, Instant::now());
        if !admitted {
            self.log.line(
                self.server.as_str(),
                "knock ignored",
                &format!("{source} knocked more than {} times a minute", self.bounds.wakes_per_minute),
            );
        }
        admitted
    }

    /// Asks the agent to wake the game and waits for its answer, together with whoever else does. An agent that is away is
    /// asked again until the caller has waited enough and drops this.
    pub async fn wake(self: &Arc<Self>, knock: Knock) -> Woken {
        loop {
            if let Some(reason) = self.refused_lately() {
                return Woken::Refused(reason);
            }
            let mut seat = self.waking.board(&self.tasks, || ask(Arc::clone(self), knock));
            if let Some(woken) = seat.result().await {
                return woken;
            }
        }
    }

    /// Reports activity once.
    ///
    /// # Errors
    /// The agent did not answer.
    pub async fn report(&self) -> Result<(), AgentError> {
        let traffic = &self.traffic;
        let report = ActivityReport {
            server: self.server.clone(),
            connections: traffic.connections(),
            sessions: traffic.sessions(),
            bytes_in: traffic.bytes_in.load(Relaxed),
            bytes_out: traffic.bytes_out.load(Relaxed),
        };
        let answer = self.agent.report(&report).await;
        self.reached.store(answer.is_ok(), Relaxed);
        self.hear(answer?);
        Ok(())
    }

    /// Did the last report reach the agent?
    pub fn reached(&self) -> bool {
        self.reached.load(Relaxed)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the agent says, unless the file has said something newer. A file that could not be written must not lock anybody out.
    fn hear(&self, state: DoorState) {
        self.known().hear(state);
    }

    fn refused_lately(&self) -> Option<String> {
        let known = self.known();
        known.refused.as_ref().filter(|(at, _)| at.elapsed() < REFUSAL_KEPT).map(|(_, reason)| reason.clone())
    }

    /// Reads the file if it is another one than last time. It is tiny and local, so this does not hold up the runtime.
    fn look(&self, known: &mut Known) {
        let Some(path) = &self.state_file else { return };
        known.looked = Some(Instant::now());
        let Ok(meta) = fs::metadata(path) else {
            // Without the file nothing is known; an answer to a wake request may still say something.
            if known.stamp.take().is_some() {
                known.state = None;
            }
            return;
        };
        let stamp = (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        if known.stamp == Some(stamp) {
            return;
        }
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(STATE_BYTES_MAX).read_to_end(&mut text));
        known.stamp = Some(stamp);
        if let Some(state) = read.ok().and_then(|_| serde_json::from_slice(&text).ok()) {
            known.hear(state);
        } else {
            known.state = None;
            self.log.line(self.server.as_str(), "state file cannot be read", "taken as asleep");
        }
    }
}

async fn ask(gate: Arc<Gate>, knock: Knock) -> Woken {
    let server = gate.server.as_str();
    let who = format!("{} at {}/{}", knock.client, knock.port, knock.protocol.as_str());
    let request =
        WakeRequest { server: gate.server.clone(), client: knock.client.ip().to_string(), port: knock.port, protocol: knock.protocol };
    let mut pause = RETRY_PAUSE_MIN;
    loop {
        let trouble = match gate.agent.wake(&request).await {
            Ok(answer) => {
                let mut state = answer.state;
                if answer.started && state.game == GameIs::Down {
                    state.game = GameIs::Starting;
                }
                let verdict = state.wake.clone();
                gate.hear(state);
                match verdict {
                    _ if answer.started => {
                        gate.log.line(server, "woken", &who);
                        return Woken::Started;
                    }
                    Verdict::Refused { reason } => {
                        gate.log.line(server, "wake refused", &format!("{who}: {reason}"));
                        gate.known().refused = Some((Instant::now(), reason.clone()));
                        return Woken::Refused(reason);
                    }
                    Verdict::Allowed => "the agent could not start it now".to_owned(),
                }
            }
            Err(error) => error.in_words(),
        };
        if pause == RETRY_PAUSE_MIN {
            gate.log.line(server, "asking again to wake", &format!("{who}: {trouble}"));
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}
