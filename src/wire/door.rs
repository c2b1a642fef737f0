//! Sidecar and agent: what the sidecar is told, what it asks and what it reports.
//!
//! The agent makes one folder for each server and mounts it into that server's sidecar at [`FOLDER`], read-only but for the
//! sockets in it: [`CONFIG_FILE`] (written once, mode 600), [`STATE_FILE`] (replaced by rename whenever something changes) and
//! [`SOCKET_FILE`] (the agent's unix socket, made anew whenever the agent starts). Where there is no shared folder
//! (Kubernetes), the same requests go to a panel over HTTP and the answers carry the same state.

use serde::{Deserialize, Serialize};

use crate::model::games::Protocol;
use crate::model::ids::ServerId;

/// The mounted folder, inside the sidecar.
pub const FOLDER: &str = "/door";
/// [`DoorConfig`] as JSON.
pub const CONFIG_FILE: &str = "door.json";
/// [`DoorState`] as JSON.
pub const STATE_FILE: &str = "state.json";
/// HTTP over a unix socket.
pub const SOCKET_FILE: &str = "agent.sock";
/// `POST` a signed [`WakeRequest`], get a [`WakeAnswer`]. The answer comes when the game's container has been started (or
/// refused), so that the game's address exists by then; the game itself may still be loading.
pub const WAKE_PATH: &str = "/api/webhook/wake";
/// `POST` a signed [`ActivityReport`], get a [`DoorState`].
pub const ACTIVITY_PATH: &str = "/api/webhook/activity";
/// Seconds between two activity reports; one is also sent at once when the first player comes or the last one leaves.
pub const ACTIVITY_SECS: u64 = 5;
/// Stands in the sidecar's program itself, so that whoever packs it can see that it is this one.
pub const MARK: &str = concat!("roost-proxy ", env!("CARGO_PKG_VERSION"), " is the sidecar");
/// Most bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 4_096;

/// What a sidecar is started with: `roost-proxy --config /door/door.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorConfig {
    /// Today one; the program serves as many as are listed.
    pub servers: Vec<DoorServer>,
}

/// One server's door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorServer {
    /// Whose.
    pub server: ServerId,
    /// `unix:/door/agent.sock` or `http://host:port`.
    pub agent: String,
    /// Where [`DoorState`] is kept up to date, if anywhere.
    #[serde(default)]
    pub state_file: Option<String>,
    /// Key of the signatures, in hexadecimal: 32 bytes.
    pub secret: String,
    /// Seconds to hold a client while the game starts.
    pub hold_secs: u32,
    /// Its ports.
    pub routes: Vec<Route>,
}

/// One port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Where to listen, such as `0.0.0.0:25001`.
    pub listen: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The game, such as `10.83.0.3:25565`.
    pub target: String,
    /// Protocol helper, such as `minecraft-java`; none: any traffic wakes.
    #[serde(default)]
    pub door: Option<String>,
}

/// Whether the game is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GameIs {
    /// No process: ask to wake before connecting.
    Down,
    /// The process is up and may not answer yet.
    Starting,
    /// It answers.
    Up,
}

/// What the agent knows, for the sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorState {
    /// Whether the game is there.
    pub game: GameIs,
    /// The server's name, for answers to server-list pings.
    pub name: String,
    /// Whether traffic may wake it.
    pub wake: Verdict,
    /// Which of all words of the agent this is.
    #[serde(default)]
    pub word: Word,
}

/// Says which of two states is the newer one: the file that is read and the answer that comes may overtake each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Tells agents apart: a random number of this one.
    pub agent: u64,
    /// Grows with every word of one agent.
    pub number: u64,
}

impl Word {
    /// True: this one was said before the other. Of two agents the one that is heard last counts.
    pub fn is_before(self, other: Word) -> bool {
        self.agent == other.agent && self.number < other.number
    }
}

/// May traffic wake it?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// No, and why.
    Refused {
        /// For players, one sentence: `Its owner has run out of credits.`
        reason: String,
    },
}

/// Somebody is at the door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WakeRequest {
    /// Whose door.
    pub server: ServerId,
    /// Address of the client as the sidecar sees it, for the history.
    pub client: String,
    /// The port that was knocked at.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Answer to a [`WakeRequest`]; the reason of a refusal is in `state.wake`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeAnswer {
    /// True: the game's container is up now. False: it will not come; see `state.wake`, or ask again later.
    pub started: bool,
    /// What the agent knows now.
    pub state: DoorState,
}

/// How busy the door is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivityReport {
    /// Whose door.
    pub server: ServerId,
    /// Clients connected through to the game, and those held.
    pub connections: u32,
    /// UDP peers heard of within the session time.
    pub sessions: u32,
    /// Bytes from clients since the sidecar started.
    pub bytes_in: u64,
    /// Bytes to clients since the sidecar started.
    pub bytes_out: u64,
}
