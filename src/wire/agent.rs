//! Panel and node: commands down, reports up.
//!
//! Each command has an id and the generation of its server's row. It is stored before it is sent, sent again until it is
//! answered, and asking twice gives the same answer. A node remembers the highest generation of each server and refuses
//! lower ones, so that an old command that arrives late undoes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::InstanceSpec;
use crate::model::backups::{Archived, BackupRef};
use crate::model::disk::DiskUse;
use crate::model::games::Save;
use crate::model::idleness::Sample;
use crate::model::ids::{BackupId, CommandId, PanelId, ServerId, TemplateId};
use crate::model::layers::LayerRef;
use crate::model::nodes::{Load, Profile, Specs};
use crate::model::servers::{Run, Seen};
use crate::model::time::Millis;

/// Version of these messages; a node of another version is told to update.
pub const VERSION: u32 = 1;
/// Seconds between two heartbeats.
pub const HEARTBEAT_SECS: u64 = 5;
/// Most bytes of a line of log or console; longer ones are cut.
pub const LINE_BYTES_MAX: usize = 4_096;
/// Most lines in one message.
pub const LINES_MAX: usize = 500;

/// From the panel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToNode {
    /// First message: who speaks, and how often to measure.
    Welcome {
        /// Of the panel's messages.
        version: u32,
        /// Label of everything it made.
        panel: PanelId,
        /// Every server that has a row on this node, whatever its state. A container of this panel that is not in the list is
        /// an orphan and is removed.
        servers: Vec<ServerId>,
    },
    /// Do something that is answered.
    Command(Command),
    /// Send the log of a server: the last lines, then what comes, for a while. Answered by [`EventKind::Log`].
    TailLogs {
        /// Whose.
        server: ServerId,
        /// Only lines after this sequence number.
        after: Option<u64>,
        /// How many old lines at most, up to [`LINES_MAX`].
        lines: u32,
        /// How long to follow; asked again before it ends. 0: do not follow.
        follow_secs: u32,
    },
    /// Answer to [`FromNode::WantUrl`].
    ObjectUrl {
        /// Which question.
        ask: u64,
        /// Where to get or put it, for a short time; or why there is no such address, in words.
        url: Result<String, String>,
    },
    /// Which of its own files would a server lose to these layers? Nothing is changed. Answered by [`FromNode::LayersLook`].
    LookAtLayers {
        /// Of this question, for the answer.
        ask: u64,
        /// Whose.
        server: ServerId,
        /// What it would be laid out of.
        layers: Vec<LayerRef>,
        /// With these variables.
        variables: BTreeMap<String, String>,
    },
    /// Pass over the cache of templates and fetch each layer anew, or stop doing so.
    SetDevMode {
        /// Do it.
        on: bool,
    },
    /// Remove templates from the cache that no server is made of; what came of it is in the next heartbeat's load.
    PurgeCache {
        /// Only these; none: all.
        templates: Option<Vec<TemplateId>>,
    },
    /// A line for the game's standard input; without line break, at most [`LINE_BYTES_MAX`].
    ConsoleInput {
        /// Whose.
        server: ServerId,
        /// The line.
        line: String,
    },
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Its id, in the panel's outbox.
    pub id: CommandId,
    /// Whom it is about.
    pub server: ServerId,
    /// Of the server's row.
    pub generation: i64,
    /// What.
    pub action: Action,
}

/// What a node can be asked to do with a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Make everything but the running game: answered by `prepared`.
    PrepareInstance {
        /// The whole description.
        spec: Box<InstanceSpec>,
    },
    /// Start the game, wait until it answers: answered by `running`.
    StartInstance,
    /// End the game: answered by `stopped`.
    StopInstance {
        /// True: the sidecar stays and wakes it (sleep). False: it goes too (stop).
        keep_door: bool,
        /// True: do nothing and answer `busy` when somebody is connected right now.
        unless_busy: bool,
    },
    /// Remove containers, network and data: answered by `destroyed`.
    DestroyInstance,
    /// Write the data as an archive into the object store, in parts: answered by `backed_up`. Other commands go first: whatever changes
    /// the data breaks it off, which is answered by a failure that is worth trying again.
    BackupInstance {
        /// Which.
        backup: BackupId,
        /// How the game writes everything down first; none: it is held still for a moment, if it runs.
        save: Option<Save>,
    },
    /// Unpack a backup beside the data and check the whole of it, then end the game and put it in their place: answered by `restored`.
    RestoreInstance {
        /// Which.
        backup: BackupRef,
        /// True: only try it; what was unpacked is removed, and the data and the game are left alone.
        try_only: bool,
    },
    /// Put the data back that the last restore took away, which can be undone as well: answered by `restored`.
    UndoRestore,
}

/// From a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromNode {
    /// First message.
    RegisterNode {
        /// Of the node's messages.
        version: u32,
        /// What it has.
        specs: Specs,
        /// What it says of itself; agents of before say nothing.
        #[serde(default)]
        profile: Profile,
    },
    /// Every [`HEARTBEAT_SECS`].
    Heartbeat {
        /// The node's clock.
        at: Millis,
        /// How it does.
        load: Load,
        /// True when the engine answered: the list below is complete. False: the engine is away and the list means nothing.
        complete: bool,
        /// All instances of this panel.
        instances: Vec<InstanceReport>,
    },
    /// Something has to be fetched or stored: at which address? Answered by [`ToNode::ObjectUrl`].
    WantUrl {
        /// Of this question, for the answer.
        ask: u64,
        /// For what.
        of: UrlFor,
    },
    /// Answer to [`ToNode::LookAtLayers`].
    LayersLook {
        /// Which question.
        ask: u64,
        /// Paths of the server's own files that would give way, at most [`OWN_FILES_MAX`]; or why that cannot be said, in words.
        own_files: Result<Vec<String>, String>,
    },
    /// Something happened.
    Event(Event),
}

/// What a node wants an address for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum UrlFor {
    /// To get the archive of a layer of one of its servers.
    Layer {
        /// Which.
        layer: LayerRef,
    },
    /// To get a backup of one of its servers.
    Backup {
        /// Whose.
        server: ServerId,
        /// Which.
        backup: BackupId,
    },
    /// To put a part of a backup that it was told to make.
    BackupPart {
        /// Whose.
        server: ServerId,
        /// Which.
        backup: BackupId,
        /// Which part, from 1.
        number: u32,
    },
}

/// What a node knows of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Whose.
    pub server: ServerId,
    /// State of its containers.
    pub seen: Seen,
    /// [`InstanceSpec::revision`] of what it was prepared with; empty when it was not.
    pub revision: String,
    /// The last runs, oldest first, at most [`RUNS_KEPT`]: kept in the instance folder so that no charge is lost or doubled.
    pub runs: Vec<Run>,
    /// When the node last woke it on its own, because the panel last allowed that.
    pub woken_at: Option<Millis>,
    /// The last times from a process's start to its first answer, or to its end where it never answered; oldest first, at most
    /// [`RUNS_KEPT`]. Agents of before do not say them.
    #[serde(default)]
    pub starts: Vec<Run>,
    /// Last measurement, while it runs.
    pub sample: Option<Sample>,
    /// Since when a game that runs has not answered; agents of before do not say it.
    #[serde(default)]
    pub silent_since: Option<Millis>,
    /// What its files take, as measured last; agents of before do not say it.
    #[serde(default)]
    pub disk: Option<DiskUse>,
}

impl InstanceReport {
    /// A report that says what was seen and nothing else.
    pub fn bare(server: ServerId, seen: Seen) -> InstanceReport {
        let (runs, starts) = (Vec::new(), Vec::new());
        InstanceReport { server, seen, revision: String::new(), runs, woken_at: None, starts, sample: None, silent_since: None, disk: None }
    }
}

/// Most paths in one answer.
pub const OWN_FILES_MAX: usize = 1_000;
/// So many runs of a server a node remembers.
pub const RUNS_KEPT: usize = 16;

/// Something happened to a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Whose.
    pub server: ServerId,
    /// The node's clock.
    pub at: Millis,
    /// The command that it answers or belongs to; none: it happened by itself.
    pub command: Option<CommandId>,
    /// What.
    pub kind: EventKind,
}

/// A line of a game's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Grows with every line of this server, also across restarts of game and agent: nanoseconds since 1970, made unique.
    pub seq: u64,
    /// Without line break, at most [`LINE_BYTES_MAX`], terminal colours still in it.
    pub text: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The command is being carried out.
    Accepted,
    /// How far it is: moves the deadline on.
    Progress {
        /// In words: `pulling itzg/minecraft-server: 12 of 18 layers, 340 of 512 MB`.
        text: String,
        /// 0 to 100 where it can be said.
        percent: Option<u8>,
    },
    /// Answer to `prepare_instance`.
    Prepared(InstanceReport),
    /// The game answers; to `start_instance`, or by itself.
    Running(InstanceReport),
    /// Answer to `stop_instance`, with `runs` closed.
    Stopped(InstanceReport),
    /// Answer to `stop_instance` with `unless_busy`: somebody is connected, nothing was done.
    Busy {
        /// How many.
        players: u32,
    },
    /// Answer to `destroy_instance`: nothing is left.
    Destroyed,
    /// Answer to `backup_instance`: all parts are stored, and the panel has to put them together.
    BackedUp(Archived),
    /// Answer to `restore_instance` and `undo_restore`.
    Restored(InstanceReport),
    /// The command failed.
    Failed {
        /// In words, with what to do.
        reason: String,
        /// Worth trying again.
        retryable: bool,
        /// What is there now.
        report: Option<InstanceReport>,
    },
    /// The game ended by itself, or its containers went behind our back.
    Exited(InstanceReport),
    /// Somebody asked for a sleeping server through its sidecar. Where the spec allows it, the node is already starting it.
    Wake {
        /// Who: the address of the client, as the sidecar saw it.
        client: String,
        /// Which public port.
        port: u16,
        /// True: the node is starting it. False: it was refused.
        started: bool,
    },
    /// Something that its owner should know and that is no failure, such as a variable that nobody knows.
    Note {
        /// In words.
        text: String,
    },
    /// Lines of the log.
    Log {
        /// In order.
        lines: Vec<LogLine>,
        /// True: lines between the asked `after` and the first one here are lost.
        gap: bool,
        /// What the game has begun to write behind the last of all lines and not ended, such as a question that it waits behind. It comes
        /// as a line once it is complete. None: nothing.
        #[serde(default)]
        open: Option<String>,
    },
}
