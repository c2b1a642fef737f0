//! The message loop: takes what the panel says, hands it to the servers' workers, and never waits for Docker.
//!
//! Docker's events and the heartbeat run beside it. All servers of which something is remembered get a worker at the start, before the
//! panel has spoken: they wake and are watched without it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backups::{LARGE_TOGETHER_MAX, MEASURED_TOGETHER_MAX, SMALL_TOGETHER_MAX};
use super::config::{BadPool, NodeConfig, Pool};
use super::console::{Console, Tail};
use super::ctx::{Ctx, LABEL_SERVER, TURNS_MAX};
use super::docker::Engine;
use super::error::StepError;
use super::firewall::Firewall;
use super::heartbeat;
use super::instance::{self, Instance};
use super::layers::Request;
use super::machine;
use super::record::{self, Folder, Record};
use super::urls::PanelUrls;
use crate::model::ids::{PanelId, ServerId, TemplateId};
use crate::model::layers::LayerRef;
use crate::model::nodes::{CACHED_MAX, PurgeNote};
use crate::model::servers::Seen;
use crate::model::time::Clock;
use crate::wire::agent::{Action, Command, EventKind, FromNode, OWN_FILES_MAX, ToNode, VERSION};

/// Wait before Docker's events are asked for again.
const EVENTS_AGAIN: Duration = Duration::from_secs(2);
/// How often, and how many times, it is asked whether every server has been looked at.
const SEEN_EVERY: Duration = Duration::from_millis(50);
const SEEN_TRIES: u32 = 60;
/// So long the tasks have at the end before they are left alone.
const END_WAIT: Duration = Duration::from_secs(5);

/// Why an agent cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The pool.
    #[error(transparent)]
    Pool(#[from] BadPool),
    /// One of the tasks that it is nothing without.
    #[error("a part of the agent broke off")]
    Broken(#[source] tokio::task::JoinError),
    /// The data folder.
    #[error("the data folder {path} cannot be used: {source}")]
    Folder {
        /// Which.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// All servers of this agent.
#[derive(Default)]
pub struct Servers {
    all: Mutex<HashMap<ServerId, Arc<Instance>>>,
    /// Those that the panel knows; none: it has not spoken.
    known: Mutex<Option<HashSet<ServerId>>>,
}

impl Servers {
    /// Of this id.
    pub fn get(&self, server: &ServerId) -> Option<Arc<Instance>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).get(server).cloned()
    }

    /// All, by id.
    pub fn list(&self) -> Vec<Arc<Instance>> {
        let mut all: Vec<_> = self.all.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        all.sort_by(|a, b| a.server.cmp(&b.server));
        all
    }

    /// True: the panel has spoken and does not know this server.
    pub fn is_orphan(&self, server: &ServerId) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|known| !known.contains(server))
    }

    fn insert(&self, instance: Arc<Instance>) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.server.clone(), instance);
    }

    /// Forgets those whose worker has ended.
    pub fn sweep(&self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, instance| !instance.ended());
    }

    fn learn(&self, server: &ServerId) {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            known.insert(server.clone());
        }
    }
}

/// One agent.
pub struct Agent {
    /// Shared by all.
    pub ctx: Arc<Ctx>,
    /// Its servers.
    pub servers: Servers,
    /// A heartbeat is due now.
    pub hurry: Notify,
}

/// Runs an agent until `stop`, or until the panel's end of `inbox` is gone. Games and sidecars stay as they are.
pub async fn run(
    config: NodeConfig,
    clock: Arc<dyn Clock>,
    mut inbox: mpsc::Receiver<ToNode>,
    outbox: mpsc::Sender<FromNode>,
    stop: CancellationToken,
) -> Result<(), NodeError> {
    let agent = begin(config, clock, outbox, stop.child_token())?;
    // Whoever drops this future ends everything that it began.
    let _end = agent.ctx.stop.clone().drop_guard();
    // Those that the agent is nothing without: where one breaks off, the agent ends, for somebody to start it anew.
    let mut needed = JoinSet::new();
    needed.spawn(heartbeat::beat(Arc::clone(&agent)));
    needed.spawn(Arc::clone(&agent).hear_docker());
    needed.spawn(super::aside::watch(Arc::clone(&agent.ctx)));
    needed.spawn(super::disk::watch(Arc::clone(&agent)));
    // Which way works is known, and shown, before the first server is made of layers.
    agent.with_layers(|agent| async move { agent.ctx.layers().await.map(drop) });
    let done = loop {
        let message = tokio::select! {
            () = stop.cancelled() => break Ok(()),
            message = inbox.recv() => message,
            Some(Err(broken)) = needed.join_next() => break Err(NodeError::Broken(broken)),
        };
        let Some(message) = message else { break Ok(()) };
        agent.take(message);
    };
    agent.ctx.stop.cancel();
    agent.ctx.tasks.close();
    let all = async {
        agent.ctx.tasks.wait().await;
        while needed.join_next().await.is_some() {}
    };
    if tokio::time::timeout(END_WAIT, all).await.is_err() {
        tracing::warn!("some tasks of the node agent did not end in time");
    }
    done
}

fn begin(
    mut config: NodeConfig,
    clock: Arc<dyn Clock>,
    outbox: mpsc::Sender<FromNode>,
    stop: CancellationToken,
) -> Result<Arc<Agent>, NodeError> {
    let pool = Pool::parse(&config.subnet_pool)?;
    let path = config.data_dir.display().to_string();
    let failed = |source| NodeError::Folder { path: path.clone(), source };
    record::make_private(&config.data_dir).map_err(failed)?;
    config.data_dir = config.data_dir.canonicalize().map_err(failed)?;
    let ctx = Arc::new(Ctx {
        pool,
        clock,
        engine: Engine::new(config.docker_socket.as_deref()),
        firewall: Firewall::new(pool, config.firewall),
        layers: tokio::sync::OnceCell::new(),
        urls: Arc::new(PanelUrls::new(outbox.clone())),
        purged: Mutex::default(),
        taken: Mutex::default(),
        aside: Mutex::default(),
        outbox,
        tasks: TaskTracker::new(),
        stop,
        panel: Mutex::default(),
        image_locks: Mutex::default(),
        turns: tokio::sync::Semaphore::new(TURNS_MAX),
        small_backups: tokio::sync::Semaphore::new(SMALL_TOGETHER_MAX),
        large_backups: tokio::sync::Semaphore::new(LARGE_TOGETHER_MAX),
        measured: tokio::sync::Semaphore::new(MEASURED_TOGETHER_MAX),
        data_disk: std::sync::OnceLock::new(),
        bounds_refused: super::ctx::BoundsRefused::default(),
        proxy: tokio::sync::OnceCell::new(),
        config,
    });
    let known = std::fs::read_to_string(ctx.panel_file()).ok().and_then(|text| text.trim().parse::<PanelId>().ok());
    *ctx.panel.lock().unwrap_or_else(PoisonError::into_inner) = known;
    let agent = Arc::new(Agent { ctx, servers: Servers::default(), hurry: Notify::new() });
    if let Some(panel) = agent.ctx.panel() {
        agent.remember(&panel).map_err(failed)?;
    }
    Ok(agent)
}

impl Agent {
    /// Starts a worker for each server of this panel of which something is remembered.
    fn remember(&self, panel: &PanelId) -> std::io::Result<()> {
        for server in Folder::all(&self.ctx.config.data_dir)? {
            if self.servers.get(&server).is_some() {
                continue;
            }
            match Folder::new(&self.ctx.config.data_dir, &server).load() {
                Ok(Some(record)) if record.panel == *panel && record.server == server => {
                    let instance = Instance::launch(&self.ctx, record);
                    instance.look_soon();
                    self.servers.insert(instance);
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%server, %error, "a server's record cannot be read; it is left alone"),
            }
        }
        Ok(())
    }

    fn take(self: &Arc<Self>, message: ToNode) {
        match message {
            ToNode::Welcome { version, panel, servers } => self.welcome(version, &panel, servers),
            ToNode::Command(command) => self.command(command),
            ToNode::TailLogs { server, after, lines, follow_secs } => {
                if let Some(instance) = self.servers.get(&server) {
                    Console::tail(&self.ctx, &instance, Tail { after, lines, follow_secs });
                }
            }
            ToNode::ObjectUrl { ask, url } => self.ctx.urls.answered(ask, url),
            ToNode::LookAtLayers { ask, server, layers, variables } => {
                let agent = Arc::clone(self);
                self.ctx.tasks.spawn(async move {
                    tokio::select! {
                        () = agent.ctx.stop.cancelled() => {}
                        own_files = agent.look_at_layers(&server, layers, variables) => {
                            let _taken = agent.ctx.outbox.send(FromNode::LayersLook { ask, own_files }).await;
                        }
                    }
                });
            }
            ToNode::SetDevMode { on } => self.with_layers(move |agent| async move {
                let layers = agent.ctx.layers().await?;
                layers.set_dev_mode(on);
                tracing::info!(on, "dev mode");
                Ok(())
            }),
            ToNode::PurgeCache { templates } => self.with_layers(move |agent| async move { agent.purge(templates).await }),
            ToNode::ConsoleInput { server, line } => {
                if let Some(instance) = self.servers.get(&server) {
                    Console::write(&self.ctx, &instance, &line);
                }
            }
        }
    }

    /// Work with the cache of templates, beside the loop.
    fn with_layers<F>(self: &Arc<Self>, work: impl FnOnce(Arc<Agent>) -> F)
    where
        F: Future<Output = Result<(), StepError>> + Send + 'static,
    {
        let (agent, work) = (Arc::clone(self), work(Arc::clone(self)));
        self.ctx.tasks.spawn(async move {
            tokio::select! {
                () = agent.ctx.stop.cancelled() => {}
                done = work => if let Err(error) = done {
                    tracing::warn!(%error, "the cache of templates could not do it");
                },
            }
            agent.hurry.notify_one();
        });
    }

    async fn purge(&self, templates: Option<Vec<TemplateId>>) -> Result<(), StepError> {
        let purged = self.ctx.layers().await?.purge(templates).await?;
        tracing::info!(freed = purged.freed, removed = purged.removed.len(), kept = purged.kept.len(), "purged the cache of templates");
        let note = PurgeNote {
            at: self.ctx.clock.now(),
            freed: purged.freed,
            removed: u32::try_from(purged.removed.len()).unwrap_or(u32::MAX),
            kept: purged.kept.iter().take(CACHED_MAX).map(|layer| format!("{} {}", layer.template, layer.version)).collect(),
        };
        *self.ctx.purged.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
        Ok(())
    }

    /// Which of its own files a server would lose to these layers; or why that cannot be said.
    async fn look_at_layers(
        &self,
        server: &ServerId,
        layers: Vec<LayerRef>,
        variables: BTreeMap<String, String>,
    ) -> Result<Vec<String>, String> {
        let folder = Folder::new(&self.ctx.config.data_dir, server);
        let (home, words) = (folder.home(), |error: StepError| error.to_string());
        let record = self.ctx.blocking("read the server's record", move || folder.load()).await.map_err(words)?;
        let spec = record.and_then(|record| record.spec).ok_or("This server has not been prepared on this node")?;
        let owner = spec.user.as_deref().and_then(instance::ids);
        let look = self.ctx.layers().await.map_err(words)?.look(Request { home, layers, variables, owner }).await;
        let mut own_files = look.map_err(|error| error.to_string())?.replaced;
        own_files.truncate(OWN_FILES_MAX);
        Ok(own_files)
    }

    fn welcome(self: &Arc<Self>, version: u32, panel: &PanelId, servers: Vec<ServerId>) {
        if version != VERSION {
            tracing::warn!(version, own = VERSION, "the panel speaks another version; update the older one of the two");
        }
        let before = self.ctx.panel.lock().unwrap_or_else(PoisonError::into_inner).replace(panel.clone());
        if before.as_ref() != Some(panel) {
            if let Err(error) = record::replace(&self.ctx.panel_file(), panel.as_str().as_bytes(), 0o600, None, true) {
                tracing::warn!(%error, "the panel's id cannot be kept: until it speaks again after a restart, no server wakes");
            }
            // Those of another panel are not ours to touch.
            self.servers.all.lock().unwrap_or_else(PoisonError::into_inner).clear();
            if let Err(error) = self.remember(panel) {
                tracing::error!(%error, "the servers' folders cannot be read");
            }
        }
        *self.servers.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(servers.into_iter().collect());
        for instance in self.servers.list() {
            instance.console.quiet();
            if self.servers.is_orphan(&instance.server) {
                instance.orphaned();
            }
        }
        let agent = Arc::clone(self);
        self.ctx.tasks.spawn(async move {
            tokio::select! {
                () = agent.ctx.stop.cancelled() => {}
                () = async {
                    agent.register().await;
                    agent.hurry_once_seen().await;
                } => {}
            }
        });
    }

    /// A heartbeat as soon as every server has been looked at, so that a panel that has just come need not wait for the next one.
    async fn hurry_once_seen(&self) {
        for _ in 0..SEEN_TRIES {
            tokio::time::sleep(SEEN_EVERY).await;
            if self.servers.list().iter().all(|instance| instance.view().report.seen != Seen::Unknown) {
                break;
            }
        }
        self.hurry.notify_one();
    }

    /// Says what this machine has.
    pub async fn register(&self) {
        let engine = self.ctx.engine.version().await.unwrap_or_default();
        let specs = machine::specs(&self.ctx.config.data_dir, engine);
        let mut profile = self.ctx.config.profile.clone();
        profile.net.machine = self.ctx.engine.identity().await.unwrap_or_default();
        let _taken = self.ctx.outbox.send(FromNode::RegisterNode { version: VERSION, specs, profile }).await;
        self.hurry.notify_one();
    }

    fn command(self: &Arc<Self>, command: Command) {
        let server = command.server.clone();
        self.servers.learn(&server);
        self.servers.sweep();
        let Some(panel) = self.ctx.panel() else {
            tracing::warn!(%server, "a command before the panel's welcome is left out; it will be sent again");
            return;
        };
        let instance = match (self.servers.get(&server), &command.action) {
            (Some(instance), _) => instance,
            (
                None,
                Action::PrepareInstance { .. }
                | Action::StartInstance
                | Action::StopInstance { .. }
                | Action::DestroyInstance
                | Action::BackupInstance { .. }
                | Action::RestoreInstance { .. }
                | Action::UndoRestore,
            ) => match self.meet(panel, &server) {
                Ok(instance) => instance,
                Err(error) => {
                    let reason = format!("The node cannot remember a new server: {error}. See the node's disk");
                    let kind = EventKind::Failed { reason, retryable: true, report: None };
                    return self.ctx.tell_now(&server, Some(&command.id), kind);
                }
            },
        };
        let id = command.id.clone();
        if !instance.command(command) {
            // Asked again while it waits its turn or runs.
            self.ctx.tell_now(&server, Some(&id), EventKind::Accepted);
        }
    }

    /// A server that is heard of for the first time.
    fn meet(&self, panel: PanelId, server: &ServerId) -> std::io::Result<Arc<Instance>> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
        let instance = Instance::launch(&self.ctx, Record::new(panel, server.clone(), secret));
        self.servers.insert(Arc::clone(&instance));
        Ok(instance)
    }

    /// Removes what carries this panel's label and belongs to no server that it knows.
    pub fn remove_orphan(&self, server: &ServerId) {
        let (Some(panel), true) = (self.ctx.panel(), self.servers.is_orphan(server)) else { return };
        self.servers.sweep();
        let instance = self.servers.get(server).map_or_else(|| self.meet(panel, server), Ok);
        match instance {
            Ok(instance) => instance.orphaned(),
            Err(error) => tracing::warn!(%server, %error, "an unknown server's containers cannot be removed"),
        }
    }

    /// Ends of containers are looked at as they happen; the heartbeat finds what is missed here.
    async fn hear_docker(self: Arc<Self>) {
        let hear = async {
            loop {
                if let Some(label) = self.ctx.panel_label()
                    && let Ok(mut events) = self.ctx.engine.events(&label).await
                {
                    while let Some(Ok(event)) = events.next().await {
                        let server = event.attributes.get(LABEL_SERVER).and_then(|text| text.parse::<ServerId>().ok());
                        if let Some(instance) = server.and_then(|server| self.servers.get(&server)) {
                            if event.action == "oom" {
                                instance.show(|view| view.oom_at = event.at);
                            }
                            instance.look_soon();
                        }
                    }
                    for instance in self.servers.list() {
                        instance.look_soon();
                    }
                }
                tokio::time::sleep(EVENTS_AGAIN).await;
            }
        };
        tokio::select! {
            () = self.ctx.stop.cancelled() => {}
            () = hear => {}
        }
    }
}
