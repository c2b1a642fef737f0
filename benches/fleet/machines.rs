//! The nodes' end of the wire: links as agents have them, and what agents say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use roost::model::idleness::Sample;
use roost::model::ids::ServerId;
use roost::model::nodes::{CacheLoad, Load, Net, Profile, Specs};
use roost::model::servers::{Run, Seen};
use roost::model::time::{Clock, Millis};
use roost::node::link::{Identity, Socket, dial};
use roost::wire::agent::{Action, Command, Event, EventKind, FromNode, InstanceReport, ToNode, VERSION};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

/// Machines that dial at once.
const DIALLING: usize = 16;

/// What happened on all links.
#[derive(Default)]
pub struct Counts {
    pub linked: AtomicU64,
    pub lost: AtomicU64,
    pub sent: AtomicU64,
    pub answered: AtomicU64,
}

/// A machine: how it proves who it is, and what it runs.
pub struct Machine {
    pub identity: Identity,
    pub instances: Vec<Instance>,
}

/// A server on it.
pub struct Instance {
    pub id: ServerId,
    pub seen: Seen,
    pub revision: String,
    pub runs: Vec<Run>,
}

struct Now;

impl Clock for Now {
    fn now(&self) -> Millis {
        Millis(std::time::UNIX_EPOCH.elapsed().map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Links all of them, for as long as what it gives is kept; each beats at a moment of its own.
pub fn start(machines: Vec<Machine>, counts: &Arc<Counts>, every: Duration) -> JoinSet<()> {
    let mut links = JoinSet::new();
    let doors = Arc::new(Semaphore::new(DIALLING));
    let number = u32::try_from(machines.len()).unwrap_or(u32::MAX).max(1);
    for (n, mut machine) in (0..).zip(machines) {
        let (counts, doors, first) = (counts.clone(), doors.clone(), every * n / number);
        links.spawn(async move {
            let mut tick = 0;
            loop {
                let dialled = {
                    let Ok(_door) = doors.acquire().await else { return };
                    dial(&machine.identity, &Now).await
                };
                if let Ok(socket) = dialled {
                    counts.linked.fetch_add(1, Ordering::Relaxed);
                    machine.talk(socket, &counts, every, first, &mut tick).await;
                    counts.linked.fetch_sub(1, Ordering::Relaxed);
                    counts.lost.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
    links
}

impl Machine {
    async fn talk(&mut self, mut socket: Socket, counts: &Counts, every: Duration, first: Duration, tick: &mut u32) -> Option<()> {
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + first, every);
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    *tick += 1;
                    say(&mut socket, &self.heartbeat(*tick)).await?;
                    counts.sent.fetch_add(1, Ordering::Relaxed);
                }
                frame = socket.next() => match frame?.ok()? {
                    Message::Text(text) => match serde_json::from_str::<ToNode>(&text).ok()? {
                        ToNode::Welcome { .. } => say(&mut socket, &self.register()).await?,
                        ToNode::Command(command) => {
                            counts.answered.fetch_add(1, Ordering::Relaxed);
                            let answer = self.carry_out(&command);
                            say(&mut socket, &answer).await?;
                        }
                        ToNode::TailLogs { .. } | ToNode::ObjectUrl { .. } | ToNode::LookAtLayers { .. } | ToNode::SetDevMode { .. } | ToNode::PurgeCache { .. } | ToNode::ConsoleInput { .. } => {}
                    },
                    // Answers to pings are queued by the library, and go with this.
                    Message::Ping(_) => socket.flush().await.ok()?,
                    Message::Close(_) => return None,
                    Message::Binary(_) | Message::Pong(_) | Message::Frame(_) => {}
                }
            }
        }
    }

    fn register(&self) -> FromNode {
        FromNode::RegisterNode {
            version: VERSION,
            specs: Specs {
                cpu_millis: 16_000,
                memory_mib: 65_536,
                disk_mib: 1_000_000,
                engine: "Docker 27.3.1, API 1.47".to_owned(),
                system: "Debian GNU/Linux 12, linux 6.1".to_owned(),
            },
            profile: Profile {
                region: "eu-central".to_owned(),
                tags: vec!["ssd".to_owned()],
                slots: Some(64),
                agent: "0.1.0".to_owned(),
                net: Net {
                    ports: Some((25_000, 29_999)),
                    pool: "10.83.0.0/16".to_owned(),
                    subnets: 8_192,
                    machine: self.identity.node.to_string(),
                },
                ..Profile::default()
            },
        }
    }

    /// Load and measurements move with every one.
    fn heartbeat(&self, tick: u32) -> FromNode {
        let now = Now.now();
        let report = |(n, instance): (u32, &Instance)| InstanceReport {
            sample: matches!(instance.seen, Seen::Running { .. }).then(|| Sample {
                at: now,
                cpu_millis: Some(60 + (tick * 7 + n) % 90),
                memory_mib: Some(30 + (tick + n) % 8),
                players: Some(1 + (tick / 12 + n) % 4),
            }),
            server: instance.id.clone(),
            seen: instance.seen,
            revision: instance.revision.clone(),
            runs: instance.runs.clone(),
            starts: Vec::new(),
            woken_at: None,
            disk: None,
            silent_since: None,
        };
        FromNode::Heartbeat {
            at: now,
            load: Load {
                cpu_millis: 2_000 + tick * 37 % 900,
                memory_mib: 9_000 + tick * 11 % 700,
                disk_free_mib: 700_000 - tick % 1_000,
                trouble: None,
                cache: Some(CacheLoad { way: "overlay".to_owned(), hits: u64::from(tick), misses: 3, ..CacheLoad::default() }),
                ..Load::default()
            },
            complete: true,
            instances: (0..).zip(&self.instances).map(report).collect(),
        }
    }

    /// As if everything worked at once.
    fn carry_out(&mut self, command: &Command) -> FromNode {
        let now = Now.now();
        let found = self.instances.iter_mut().find(|instance| instance.id == command.server);
        let kind = match (found, &command.action) {
            (None, _) => EventKind::Failed { reason: "not here".to_owned(), retryable: false, report: None },
            (Some(instance), action) => {
                let answer: fn(InstanceReport) -> EventKind = match action {
                    Action::PrepareInstance { spec } => {
                        instance.revision = spec.revision();
                        EventKind::Prepared
                    }
                    Action::StartInstance => {
                        instance.seen = Seen::Running { since: now };
                        instance.runs.push(Run { from: now, to: None });
                        EventKind::Running
                    }
                    Action::StopInstance { .. } => {
                        instance.seen = Seen::Asleep;
                        instance.runs.iter_mut().filter(|run| run.to.is_none()).for_each(|run| run.to = Some(now));
                        EventKind::Stopped
                    }
                    Action::DestroyInstance | Action::BackupInstance { .. } | Action::RestoreInstance { .. } | Action::UndoRestore => {
                        |report| EventKind::Failed { reason: "only simulated".to_owned(), retryable: false, report: Some(report) }
                    }
                };
                answer(InstanceReport {
                    server: instance.id.clone(),
                    seen: instance.seen,
                    revision: instance.revision.clone(),
                    runs: instance.runs.clone(),
                    woken_at: None,
                    starts: Vec::new(),
                    sample: None,
                    disk: None,
                    silent_since: None,
                })
            }
        };
        FromNode::Event(Event { server: command.server.clone(), at: now, command: Some(command.id.clone()), kind })
    }
}

async fn say(socket: &mut Socket, message: &FromNode) -> Option<()> {
    let text = serde_json::to_string(message).ok()?;
    socket.send(Message::Text(text.into())).await.ok()
}
