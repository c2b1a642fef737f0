//! Every bound of the sidecar by its name, in one place. The defaults are for one server in a small container.
//!
//! Tests take smaller ones to reach them. Waits that nobody needs to change are constants beside them.

use std::time::Duration;

use crate::wire::door::ACTIVITY_SECS;

/// How long one attempt to connect to the game may take. On one machine it takes microseconds; longer means that it is not there.
pub const CONNECT_WITHIN: Duration = Duration::from_millis(300);
/// Longest pause between two attempts while the game loads; the pauses grow from one millisecond.
pub const CONNECT_PAUSE_MAX: Duration = Duration::from_millis(25);
/// So many clients of one port connect to the game at the same moment, so that a short accept queue does not overflow.
pub const CONNECTS_AT_ONCE: usize = 64;
/// A game that is said to be up and does not answer for so long is asked for at the agent.
pub const DOUBT_AFTER: Duration = Duration::from_secs(2);
/// Longest wait for the answer to a wake request: the agent answers when the container has been started.
pub const WAKE_ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// Longest wait for the answer to an activity report.
pub const REPORT_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// First pause before an agent that is away is asked again; doubled up to [`RETRY_PAUSE_MAX`].
pub const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause before an agent that is away is asked again.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Between two wake requests that datagrams cause at one server, whoever they come from.
pub const DATAGRAM_WAKE_PACE: Duration = Duration::from_secs(2);
/// A refusal is repeated to others for so long without asking the agent again.
pub const REFUSAL_KEPT: Duration = Duration::from_secs(2);
/// Time for a client to say what it wants, where the game's protocol tells a look from a join.
pub const GREETING_WITHIN: Duration = Duration::from_secs(5);
/// What two versions of a protocol begin alike with is taken for the older one, which says no more, after so long a silence.
pub const GREETING_SILENCE: Duration = Duration::from_millis(400);
/// Most bytes of that greeting.
pub const GREETING_BYTES_MAX: usize = 2_048;
/// Time for open connections to end by themselves when the sidecar is told to go.
pub const FAREWELL_WITHIN: Duration = Duration::from_secs(2);
/// A refused client's unread bytes are taken in for so long, so that what we said to it is not lost to a reset.
pub const LINGER: Duration = Duration::from_millis(500);
/// Shortest time between two activity reports, however quickly players come and go.
pub const REPORT_GAP_MIN: Duration = Duration::from_millis(250);
/// How often it is looked whether a game is up by now while clients wait.
pub const UP_POLL: Duration = Duration::from_millis(5);
/// The state file is looked at again after this long when datagrams of known peers come in.
pub const STATE_AGE_MAX: Duration = Duration::from_millis(10);
/// Most bytes of the state file.
pub const STATE_BYTES_MAX: u64 = 16_384;
/// Most bytes of the configuration.
pub const CONFIG_BYTES_MAX: u64 = 1_048_576;
/// Waiting connections in the kernel's queue of each TCP port.
pub const BACKLOG: u32 = 4_096;
/// Log lines in a second; more are counted and dropped.
pub const LOG_LINES_PER_SEC: u32 = 50;

/// What a sidecar will carry at most.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// TCP connections of one server, held and connected ones together.
    pub connections: u32,
    /// UDP peers of one port.
    pub sessions: usize,
    /// Datagrams kept for one peer while the game starts.
    pub datagrams: usize,
    /// Bytes kept for one peer while the game starts.
    pub datagram_bytes: usize,
    /// Bytes kept for all peers of one port while the game starts.
    pub waiting_bytes: usize,
    /// New wake requests that one source address can cause in a minute by connecting.
    pub wakes_per_minute: u32,
    /// Answers to server-list queries over UDP for one source address in a second.
    pub answers_per_second: u32,
    /// Source addresses remembered for these two.
    pub sources: usize,
    /// A UDP peer not heard of for so long is forgotten.
    pub session_idle: Duration,
    /// A UDP peer that still sends when its game goes down is not heard for so long.
    pub mute: Duration,
    /// Between two activity reports.
    pub activity_every: Duration,
    /// Pipes for moving bulk data inside the kernel, each of up to 256 KiB.
    pub pipes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 10_000,
            sessions: 2_048,
            datagrams: 64,
            datagram_bytes: 65_536,
            waiting_bytes: 4 << 20,
            wakes_per_minute: 10,
            answers_per_second: 10,
            sources: 4_096,
            session_idle: Duration::from_mins(1),
            mute: Duration::from_secs(10),
            activity_every: Duration::from_secs(ACTIVITY_SECS),
            pipes: 32,
        }
    }
}
