//! What every part of one agent shares: settings, clock, engine, the way to the panel. Made once by `agent`.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{NodeConfig, Pool};
use super::docker::{DiskBound, Engine};
use super::error::StepError;
use super::firewall::Firewall;
use super::layers::{FETCHES, Layers, LayersConfig};
use super::urls::PanelUrls;
use crate::archives::Limits;
use crate::model::ids::{CommandId, NodeId, PanelId, ServerId};
use crate::model::nodes::{Aside, PurgeNote, TAKEN_MAX};
use crate::model::time::Clock;
use crate::wire::agent::{Event, EventKind, FromNode};

/// Label: the panel that made it.
pub const LABEL_PANEL: &str = "roost.panel";
/// Label: the node that it belongs to. What carries none belongs to the node inside the panel, which was there first.
pub const LABEL_NODE: &str = "roost.node";
/// Label: whose.
pub const LABEL_SERVER: &str = "roost.server";
/// Label: `game`, `door` or `network`.
pub const LABEL_PART: &str = "roost.part";
/// Label: hash of what concerns this part.
pub const LABEL_REVISION: &str = "roost.revision";

/// Servers whose containers are made, started or looked at together: more would only make each of them slower.
pub const TURNS_MAX: usize = 8;
/// Bytes in a second that one game may read from the disk, and write to it: so much that a world loads quickly, and not all that a disk
/// has for everybody.
const DISK_READ: i64 = 256 << 20;
/// See [`DISK_READ`].
const DISK_WRITE: i64 = 128 << 20;
/// Longest wait for the panel's end of the pipe to take an event. What is lost then is asked for again, or is in the heartbeat.
const EVENT_WAIT: Duration = Duration::from_secs(5);

/// Shared by all tasks of one agent.
pub struct Ctx {
    /// Settings; `data_dir` is absolute.
    pub config: NodeConfig,
    /// The range of the networks.
    pub pool: Pool,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Docker.
    pub engine: Engine,
    /// The packet filter.
    pub firewall: Firewall,
    /// The pipe to the panel.
    pub outbox: mpsc::Sender<FromNode>,
    /// All tasks.
    pub tasks: TaskTracker,
    /// The end.
    pub stop: CancellationToken,
    /// Whose agent this is, once the panel has said it.
    pub panel: Mutex<Option<PanelId>>,
    /// One pull or import of an image at a time.
    pub image_locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// So many servers are made, started or looked at together; a wake does not wait for its turn.
    pub turns: Semaphore,
    /// Places for backups with few bytes.
    pub small_backups: Semaphore,
    /// Places for those with many.
    pub large_backups: Semaphore,
    /// Servers whose data are measured before a backup.
    pub measured: Semaphore,
    /// Layers of templates, opened when they are first needed.
    pub layers: tokio::sync::OnceCell<Layers>,
    /// Questions for addresses of layers that wait for the panel's answer.
    pub urls: Arc<PanelUrls>,
    /// Data of unknown servers, as of the last look.
    pub aside: Mutex<Option<Aside>>,
    /// Numbers of private networks whose addresses somebody else on this machine has, since the agent's start.
    pub taken: Mutex<BTreeSet<u32>>,
    /// Device of the disk that the data folder is on.
    pub data_disk: std::sync::OnceLock<Option<String>>,
    /// What the engine has refused to bound.
    pub bounds_refused: BoundsRefused,
    /// What the last purge did.
    pub purged: Mutex<Option<PurgeNote>>,
    /// Tag of the sidecar's image and the program's hash, once read.
    pub proxy: tokio::sync::OnceCell<Proxy>,
}

/// Bounds of a game that this machine does not take: a kernel without them, or an engine that may not give so much itself. Games go on
/// without until the agent starts anew.
#[derive(Debug, Default)]
pub struct BoundsRefused {
    disk: AtomicBool,
    descriptors: AtomicBool,
}

impl BoundsRefused {
    /// Games get a bound on descriptors.
    pub fn descriptors(&self) -> bool {
        !self.descriptors.load(Ordering::Relaxed)
    }

    /// True: the engine's words are about one of them.
    pub fn note(&self, words: &str) -> bool {
        let about = |all: &[&str]| all.iter().any(|word| words.contains(word));
        let (disk, descriptors) = (about(&["blkio", "io.max"]), about(&["rlimit"]));
        self.disk.fetch_or(disk, Ordering::Relaxed);
        self.descriptors.fetch_or(descriptors, Ordering::Relaxed);
        disk || descriptors
    }
}

/// The static program that sidecar and demo game are made of.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// First 12 hexadecimal digits of its SHA-256.
    pub hash: String,
}

impl Ctx {
    /// Somebody else on this machine has the addresses of this network.
    pub fn note_subnet_taken(&self, number: u32) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() < TAKEN_MAX {
            taken.insert(number);
        }
    }

    /// Numbers of the networks that somebody else has, in order.
    pub fn subnets_taken(&self) -> Vec<u32> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// How fast each game may read and write on the disk of the data folder; none: the kernel has no one device for it, or the engine has
    /// refused such a bound since the agent's start.
    pub fn disk_bound(&self) -> Option<DiskBound> {
        let device = self.data_disk.get_or_init(|| super::machine::disk_of(&self.config.data_dir)).clone()?;
        (!self.bounds_refused.disk.load(Ordering::Relaxed)).then_some(DiskBound { device, read: DISK_READ, write: DISK_WRITE })
    }

    /// Layers of templates.
    pub async fn layers(&self) -> Result<&Layers, StepError> {
        let open = || {
            let config = LayersConfig { data_dir: self.config.data_dir.clone(), limits: Limits::default(), fetches: FETCHES, way: None };
            Layers::open(config, self.urls.clone())
        };
        Ok(self.layers.get_or_try_init(open).await?)
    }

    /// Tells the panel; gives up after a while when nobody takes it.
    pub async fn tell(&self, server: &ServerId, command: Option<&CommandId>, kind: EventKind) {
        let event = Event { server: server.clone(), at: self.clock.now(), command: command.cloned(), kind };
        if self.outbox.send_timeout(FromNode::Event(event), EVENT_WAIT).await.is_err() {
            tracing::warn!(%server, "the panel did not take an event in time; the heartbeat will tell");
        }
    }

    /// Tells the panel if it listens this very moment: for news that nobody may wait for.
    pub fn tell_now(&self, server: &ServerId, command: Option<&CommandId>, kind: EventKind) {
        let event = Event { server: server.clone(), at: self.clock.now(), command: command.cloned(), kind };
        if self.outbox.try_send(FromNode::Event(event)).is_err() {
            tracing::debug!(%server, "the panel is busy; an event was left out");
        }
    }

    /// The lock of one image.
    pub fn image_lock(&self, image: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.image_locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(image.to_owned()).or_default())
    }

    /// Whose agent this is.
    pub fn panel(&self) -> Option<PanelId> {
        self.panel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Label that finds everything of this panel.
    pub fn panel_label(&self) -> Option<String> {
        self.panel().map(|panel| format!("{LABEL_PANEL}={panel}"))
    }

    /// Does what carries these labels belong to this agent? Several agents of one panel may share an engine.
    pub fn owns(&self, labels: &HashMap<String, String>) -> bool {
        labels.get(LABEL_NODE).map_or_else(|| self.config.node == NodeId::local(), |node| node == self.config.node.as_str())
    }

    /// Where the panel's id is kept, so that servers wake before the panel has spoken.
    pub fn panel_file(&self) -> PathBuf {
        self.config.data_dir.join("panel")
    }
}

/// The user that sidecars run as, where the agent may choose: nobody else's on any ordinary machine.
const DOOR_UID: u32 = 64_083;

impl Ctx {
    fn own_ids() -> (u32, u32) {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").map_or((0, 0), |own| (own.uid(), own.gid()))
    }

    /// Who has to own what the sidecar reads; none: the agent itself, because it may not give files away.
    pub fn door_owner() -> Option<(u32, u32)> {
        (Self::own_ids().0 == 0).then_some((DOOR_UID, DOOR_UID))
    }

    /// The sidecar's user, as Docker wants it.
    pub fn door_user() -> String {
        let (uid, gid) = Self::door_owner().unwrap_or_else(Self::own_ids);
        format!("{uid}:{gid}")
    }

    /// Runs file work where it cannot hold up anybody else.
    pub async fn blocking<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, StepError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| Err(std::io::Error::other("it broke off"))).map_err(StepError::folder(what))
    }
}
