//! A place for one test of the node agent: its own panel id, pool, ports and folder on the real Docker Engine, all of them removed in the end.
//!
//! The agent runs in a runtime of its own, so that a test can kill it between two instructions, as a power cut would.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use roost::model::games::{Protocol, Ready, Stop};
use roost::model::ids::{CommandId, NodeId, PanelId, ServerId};
use roost::model::nodes::Profile;
use roost::model::servers::PublicPort;
use roost::model::time::{Clock, Millis};
use roost::node::NodeConfig;
use roost::wire::agent::{Action, Command, Event, EventKind, FromNode, InstanceReport, ToNode, UrlFor, VERSION};
use roost::wire::door::Verdict;
use roost::wire::spec::InstanceSpec;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub struct MachineClock;

impl Clock for MachineClock {
    #[expect(clippy::disallowed_methods, reason = "tests against a real engine live in real time")]
    fn now(&self) -> Millis {
        Millis(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
    }
}

/// True: this test can run. Otherwise it says its name and what it wants.
#[expect(clippy::print_stdout, reason = "what is left out has to be said by name")]
pub fn docker_is_wanted(test: &str) -> bool {
    let wanted = std::env::var_os("ROOST_TEST_DOCKER").is_some() && std::env::var_os("ROOST_PROXY_BINARY").is_some();
    if !wanted {
        println!("left out: {test} (wants ROOST_TEST_DOCKER=1 and ROOST_PROXY_BINARY=path of the static roost-proxy)");
    }
    wanted
}

fn random(n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// Runs a program to its end and gives what it printed.
pub fn program(name: &str, arguments: &[&str]) -> (bool, String) {
    let done = Program::new(name).args(arguments).output().unwrap();
    (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
}

pub fn docker(arguments: &[&str]) -> String {
    let (well, text) = program("docker", arguments);
    assert!(well, "docker {arguments:?}: {text}");
    text.trim().to_owned()
}

/// Answers questions for addresses, as the panel does.
#[async_trait::async_trait]
pub trait Addresses: Send + Sync {
    /// None: the panel says nothing.
    async fn address(&self, of: &UrlFor) -> Option<Result<String, String>>;
}

pub struct Site {
    pub panel: PanelId,
    pub config: NodeConfig,
    _folder: tempfile::TempDir,
    runtime: Option<Runtime>,
    to: Option<mpsc::Sender<ToNode>>,
    from: Option<mpsc::Receiver<FromNode>>,
    stop: CancellationToken,
    pub events: Vec<Event>,
    /// Answers that nobody has asked for yet.
    answers: Vec<(CommandId, EventKind)>,
    pub servers: Vec<ServerId>,
    generation: i64,
    /// Who answers for addresses; none: nobody does.
    pub addresses: Option<Arc<dyn Addresses>>,
}

/// Pools of this run's tests: a /24 each, out of a range that no other test uses.
static POOLS: AtomicU32 = AtomicU32::new(0);

impl Site {
    pub fn new(firewall: bool) -> Site {
        let chance = random(1)[0];
        let pool = POOLS.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new().prefix("roost-node-test-").tempdir().unwrap();
        let config = NodeConfig {
            node: NodeId::local(),
            profile: Profile::default(),
            data_dir: folder.path().join("node"),
            subnet_pool: format!("10.{}.{}.0/24", 192 + chance % 32, pool),
            bind_host: "127.0.0.1".to_owned(),
            proxy_binary: PathBuf::from(std::env::var_os("ROOST_PROXY_BINARY").unwrap()),
            firewall,
            docker_socket: None,
            hold_secs: 30,
            look_every: roost::node::LOOK_EVERY,
        };
        let panel = PanelId::from_random(&random(12));
        Site {
            panel,
            config,
            _folder: folder,
            runtime: None,
            to: None,
            from: None,
            stop: CancellationToken::new(),
            events: Vec::new(),
            answers: Vec::new(),
            servers: Vec::new(),
            generation: 0,
            addresses: None,
        }
    }

    /// Starts the agent; the panel has not spoken yet.
    pub fn switch_on(&mut self) {
        let (to, inbox) = mpsc::channel(64);
        let (outbox, from) = mpsc::channel(256);
        self.stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let agent = roost::node::run(self.config.clone(), Arc::new(MachineClock), inbox, outbox, self.stop.clone());
        runtime.handle().spawn(async move { agent.await.unwrap() });
        (self.runtime, self.to, self.from) = (Some(runtime), Some(to), Some(from));
    }

    /// As a power cut: no task gets another turn.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        (self.to, self.from) = (None, None);
    }

    pub async fn welcome(&mut self) {
        let welcome = ToNode::Welcome { version: VERSION, panel: self.panel.clone(), servers: self.servers.clone() };
        self.send(welcome).await;
    }

    /// A site with an agent that knows its panel.
    pub async fn open(firewall: bool) -> Site {
        let mut site = Site::new(firewall);
        site.switch_on();
        site.welcome().await;
        site
    }

    pub async fn send(&self, message: ToNode) {
        self.to.as_ref().unwrap().send(message).await.unwrap();
    }

    /// The next message.
    pub async fn next(&mut self) -> FromNode {
        let message = tokio::time::timeout(PATIENCE, self.from.as_mut().unwrap().recv()).await;
        let message = message.unwrap_or_else(|_| panic!("silence after {:#?}", self.events)).expect("the agent has ended");
        if let (FromNode::WantUrl { ask, of }, Some(addresses)) = (&message, &self.addresses)
            && let Some(url) = addresses.address(of).await
        {
            self.send(ToNode::ObjectUrl { ask: *ask, url }).await;
        }
        if let FromNode::Event(event) = &message {
            self.events.push(event.clone());
            if let (Some(id), false) = (&event.command, matches!(event.kind, EventKind::Accepted | EventKind::Progress { .. })) {
                self.answers.push((id.clone(), event.kind.clone()));
            }
        }
        message
    }

    /// Waits for the first message that gives something.
    pub async fn until<T>(&mut self, what: &str, mut take: impl FnMut(&FromNode) -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let message = self.next().await;
                if let Some(found) = take(&message) {
                    return found;
                }
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| panic!("waited for {what}; heard {:#?}", self.events))
    }

    /// Waits for the first event of this server that gives something.
    pub async fn event<T>(&mut self, what: &str, server: &ServerId, mut take: impl FnMut(&Event) -> Option<T>) -> T {
        let server = server.clone();
        self.until(what, move |message| match message {
            FromNode::Event(event) if event.server == server => take(event),
            FromNode::WantUrl { .. }
            | FromNode::LayersLook { .. }
            | FromNode::Event(_)
            | FromNode::RegisterNode { .. }
            | FromNode::Heartbeat { .. } => None,
        })
        .await
    }

    /// Waits for a heartbeat with a report that gives something.
    pub async fn report<T>(&mut self, what: &str, server: &ServerId, mut take: impl FnMut(&InstanceReport) -> Option<T>) -> T {
        let server = server.clone();
        self.until(what, move |message| match message {
            FromNode::Heartbeat { complete: true, instances, .. } => {
                instances.iter().find(|report| report.server == server).and_then(&mut take)
            }
            FromNode::Heartbeat { .. }
            | FromNode::WantUrl { .. }
            | FromNode::LayersLook { .. }
            | FromNode::Event(_)
            | FromNode::RegisterNode { .. } => None,
        })
        .await
    }

    pub async fn command(&mut self, server: &ServerId, action: Action) -> CommandId {
        self.generation += 1;
        let id = CommandId::from_random(&random(16));
        self.command_as(&id, self.generation, server, action).await;
        id
    }

    pub async fn command_as(&mut self, id: &CommandId, generation: i64, server: &ServerId, action: Action) {
        let command = Command { id: id.clone(), server: server.clone(), generation, action };
        self.send(ToNode::Command(command)).await;
    }

    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Sends a command and waits for its answer.
    pub async fn ask(&mut self, server: &ServerId, action: Action) -> EventKind {
        let id = self.command(server, action).await;
        self.answer(&id).await
    }

    /// Waits for the answer to a command, which may have passed by while another one was waited for. Each answer is given once.
    pub async fn answer(&mut self, id: &CommandId) -> EventKind {
        let begin = Instant::now();
        loop {
            if let Some(place) = self.answers.iter().position(|(of, _)| of == id) {
                return self.answers.remove(place).1;
            }
            assert!(begin.elapsed() < PATIENCE, "waited for an answer; heard {:#?}", self.events);
            self.next().await;
        }
    }

    /// A demo server; its id begins with the panel's, so that nobody else's containers have that name.
    pub fn demo(&mut self) -> InstanceSpec {
        let number = self.servers.len();
        let server: ServerId = format!("{}-de-{number}", self.panel).parse().unwrap();
        self.servers.push(server.clone());
        let port = crate::services::free_port(&crate::services::DOORS);
        let public = |protocol| PublicPort { name: "game".to_owned(), public: port, inside: 7777, protocol };
        InstanceSpec {
            server,
            name: "Valley of Echoes".to_owned(),
            image: "roost/demo:1".to_owned(),
            args: Vec::new(),
            env: BTreeMap::from([("MOTD".to_owned(), "hello '\"; $(x)".to_owned())]),
            data_path: "/data".to_owned(),
            read_only: false,
            user: None,
            capabilities: Vec::new(),
            ports: vec![public(Protocol::Tcp), public(Protocol::Udp)],
            cpu_millis: 500,
            memory_mib: 64,
            storage_mib: 100,
            subnet: u32::try_from(number).unwrap(),
            ready: Ready::TcpAccept { port: 7777 },
            ready_within_secs: 20,
            stop: Stop { command: None, signal: "SIGTERM".to_owned(), wait_secs: 5 },
            tty: false,
            door: None,
            wake: Verdict::Allowed,
            layers: Vec::new(),
            variables: BTreeMap::new(),
            origin: None,
        }
    }

    /// A demo server that has been prepared, and its answer.
    pub async fn prepared(&mut self) -> (InstanceSpec, InstanceReport) {
        let spec = self.demo();
        let report = self.prepare(&spec).await;
        (spec, report)
    }

    pub async fn prepare(&mut self, spec: &InstanceSpec) -> InstanceReport {
        match self.ask(&spec.server, prepare(spec)).await {
            EventKind::Prepared(report) => report,
            other => panic!("{other:?}"),
        }
    }

    pub async fn start(&mut self, server: &ServerId) -> InstanceReport {
        match self.ask(server, Action::StartInstance).await {
            EventKind::Running(report) => report,
            other => panic!("{other:?}"),
        }
    }

    pub async fn put_to_sleep(&mut self, server: &ServerId) -> InstanceReport {
        match self.ask(server, Action::StopInstance { keep_door: true, unless_busy: false }).await {
            EventKind::Stopped(report) => report,
            other => panic!("{other:?}"),
        }
    }

    pub fn home(&self, server: &ServerId) -> PathBuf {
        self.config.data_dir.join("instances").join(server.as_str())
    }

    /// Names of everything on the engine that carries this panel's label.
    pub fn left(&self) -> Vec<String> {
        let label = format!("label=roost.panel={}", self.panel);
        let containers = docker(&["ps", "-a", "--filter", &label, "--format", "{{.Names}}"]);
        let networks = docker(&["network", "ls", "--filter", &label, "--format", "{{.Name}}"]);
        containers.lines().chain(networks.lines()).map(str::to_owned).collect()
    }
}

pub fn prepare(spec: &InstanceSpec) -> Action {
    Action::PrepareInstance { spec: Box::new(spec.clone()) }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
        let label = format!("label=roost.panel={}", self.panel);
        for (list, remove) in [(["ps", "-aq"], ["rm", "-f"]), (["network", "ls"], ["network", "rm"])] {
            let format = if list[0] == "ps" { "{{.ID}}" } else { "{{.Name}}" };
            let (_, ids) =
                program("docker", &[list[0], if list[0] == "ps" { "-aq" } else { "ls" }, "--filter", &label, "--format", format]);
            for id in ids.lines() {
                program("docker", &[remove[0], remove[1], id]);
            }
        }
        let (_, volumes) = program("docker", &["volume", "ls", "-q", "--filter", &label]);
        for volume in volumes.lines() {
            program("docker", &["volume", "rm", volume]);
        }
        if self.config.firewall {
            let pool = self.config.subnet_pool.clone();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // A runtime must not be entered from within another one: the rules go from a thread of their own.
            let done = std::thread::spawn(move || runtime.map(|runtime| runtime.block_on(roost::node::remove_firewall(&pool)))).join();
            drop(done);
        }
    }
}
