//! A panel's door for machines on loopback, with real TLS and a real database, and agents that speak the wire in a test's place.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roost::domain::{Actor, Ctx, Outside, nodes, servers};
use roost::engines::docker::DockerEngine;
use roost::http::link::{LinkSettings, STRANGERS_MAX, serve};
use roost::identity::Providers;
use roost::model::ids::{NodeId, ServerId};
use roost::model::nodes::{Node, Profile, Specs};
use roost::model::servers::{Phase, Server};
use roost::model::time::{Clock, DAY, Millis};
use roost::model::users::Role;
use roost::node::link::{Keep, Line, Pace};
use roost::store::Db;
use roost::trust::Authority;
use roost::wire::agent::{FromNode, ToNode, VERSION};
use roost::wire::link::JoinToken;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::PATIENCE;
use crate::fake_node::FakeNode;
use crate::world::World;

/// Waits for a value; panics with these words when it does not come.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A wire between an agent and a panel that the test can cut and mend.
pub struct Wire {
    pub address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    lines: Arc<Mutex<CancellationToken>>,
    whole: Arc<Mutex<bool>>,
    _task: JoinSet<()>,
}

impl Wire {
    pub async fn to(target: SocketAddr) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (target, lines) = (Arc::new(Mutex::new(target)), Arc::new(Mutex::new(CancellationToken::new())));
        let whole = Arc::new(Mutex::new(true));
        let (to, cut, is_whole) = (target.clone(), lines.clone(), whole.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                if !*is_whole.lock().expect("whole") {
                    continue;
                }
                let (target, cut) = (*to.lock().expect("whole"), cut.lock().expect("whole").clone());
                open.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        () = cut.cancelled() => {}
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Wire { address, target, lines, whole, _task: task }
    }

    /// Breaks every line, and takes no further ones until it is mended.
    pub fn cut(&self) {
        *self.whole.lock().expect("whole") = false;
        std::mem::take(&mut *self.lines.lock().expect("whole")).cancel();
    }

    pub fn mend(&self) {
        *self.whole.lock().expect("whole") = true;
    }

    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().expect("whole") = target;
    }
}

/// A panel with its door.
pub struct Panel {
    pub ctx: Arc<Ctx>,
    pub address: SocketAddr,
    pub authority: Arc<Authority>,
    pub admin: Actor,
    pub wire: Wire,
    pub lives: i64,
    url: String,
    folder: tempfile::TempDir,
    tasks: JoinSet<()>,
}

async fn open(url: &str, world: &World, folder: &std::path::Path, lives: i64) -> (Arc<Ctx>, Arc<Authority>, SocketAddr, JoinSet<()>) {
    let engine = Arc::new(DockerEngine::default());
    let db = Db::open(url).await.expect("the database opens");
    let outside =
        Outside { objects: world.ctx.objects.clone(), engine: engine.clone(), mail: None, stripe: None, providers: Providers::default() };
    let ctx = Ctx::new(db, world.clock.clone(), outside, world.ctx.policy.clone()).await.expect("the panel starts");
    let authority = Arc::new(Authority::open(folder, ctx.clock.now().0 / 1_000).expect("an authority"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let settings = LinkSettings {
        authority: authority.clone(),
        connect: Arc::new(move |node| engine.connect(node)),
        certificate_lives: lives,
        strangers: STRANGERS_MAX,
        stop: CancellationToken::new(),
    };
    let (door, work) = (ctx.clone(), ctx.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { serve(door, listener, settings).await.expect("the door opens") });
    tasks.spawn(async move {
        loop {
            servers::reconcile(&work, false).await.expect("reconciled");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    (ctx, authority, address, tasks)
}

impl Panel {
    pub async fn start(world: &World) -> Panel {
        let folder = crate::world::folder();
        let lives = 30 * DAY;
        let (ctx, authority, address, tasks) = open(&world.url, world, folder.path(), lives).await;
        let player = world.player("admin@example.org").await;
        let admin = Actor::of(roost::model::users::User { role: Role::Admin, ..player.user });
        let wire = Wire::to(address).await;
        Panel { ctx, address, authority, admin, wire, lives, url: world.url.clone(), folder, tasks }
    }

    /// The process is killed and started again: nothing is left but the database and the authority's files.
    pub async fn kill_and_start(&mut self, world: &World) {
        self.tasks.shutdown().await;
        self.ctx.db.close().await;
        let (ctx, authority, address, tasks) = open(&self.url, world, self.folder.path(), self.lives).await;
        (self.ctx, self.authority, self.address, self.tasks) = (ctx, authority, address, tasks);
        self.wire.lead_to(address);
        // Links of the panel that was killed are sockets of this process: they end with it as they would elsewhere.
        self.wire.cut();
        self.wire.mend();
    }

    pub fn token(&self, invited: &nodes::Invited) -> JoinToken {
        let (secret, authority) = (invited.secret.clone(), self.authority.fingerprint());
        JoinToken { node: invited.node.id.clone(), secret, authority, address: self.wire.address.to_string() }
    }

    pub async fn invite(&self, name: &str) -> (NodeId, JoinToken) {
        let invitation = nodes::Invitation { name, region: "eu", node: None };
        let invited = nodes::invite(&self.ctx, &self.admin, &invitation).await.expect("invited");
        (invited.node.id.clone(), self.token(&invited))
    }

    pub async fn invite_again(&self, node: &NodeId) -> JoinToken {
        let invitation = nodes::Invitation { node: Some(node.clone()), ..nodes::Invitation::default() };
        self.token(&nodes::invite(&self.ctx, &self.admin, &invitation).await.expect("invited"))
    }

    /// A machine that has joined and is linked.
    pub async fn machine(&self, world: &World, name: &str) -> Machine {
        let (node, token) = self.invite(name).await;
        let mut machine = Machine::new(node, world.clock.clone());
        roost::node::link::join(machine.folder.path(), &token, &*machine.clock).await.expect("joined");
        machine.switch_on();
        self.linked(&machine.id).await;
        machine
    }

    pub async fn node(&self, id: &NodeId) -> Node {
        roost::store::nodes::by_id(&self.ctx.db, id).await.expect("read").expect("there")
    }

    /// Waits until it has been heard at the present moment.
    pub async fn linked(&self, id: &NodeId) -> Node {
        until(&format!("{id} is linked"), || async {
            let node = self.node(id).await;
            // Joining counts as being seen, and a try from before it may still be turned away.
            (node.seen_at == Some(self.ctx.clock.now()) && node.wire.is_some() && node.refused.is_none()).then_some(node)
        })
        .await
    }

    /// Waits until it was turned away with these words.
    pub async fn turned_away(&self, id: &NodeId, words: &str) {
        let what = format!("{id} is turned away: {words}");
        until(&what, || async { self.node(id).await.refused.filter(|(why, _)| why.contains(words)) }).await;
    }

    /// A server that lives on this node, wanted running.
    pub async fn server_on(&self, world: &World, node: &NodeId) -> ServerId {
        let owner = world.player(&format!("{node}@example.org")).await;
        let made = world.create(&owner, "a").await;
        let id = ServerId::new(&owner.user.id, &made.game, [7; 6]);
        let mut server = Server { id: id.clone(), node: node.clone(), ..made };
        // What is under way is the other one's.
        (server.life.doing, server.life.phase) = (None, Phase::Requested);
        roost::store::servers::insert(&self.ctx.db, &server, Millis(0)).await.expect("inserted");
        id
    }

    pub async fn server(&self, id: &ServerId) -> Server {
        roost::store::servers::by_id(&self.ctx.db, id).await.expect("read").expect("there")
    }
}

/// A machine with an agent that a test plays.
pub struct Machine {
    pub id: NodeId,
    pub clock: Arc<dyn Clock>,
    pub folder: tempfile::TempDir,
    pub node: Arc<Mutex<FakeNode>>,
    pub heard: Arc<Mutex<Vec<ToNode>>>,
    /// Says things to the panel.
    pub say: Option<mpsc::Sender<FromNode>>,
    tasks: JoinSet<()>,
}

/// How often the agent beats, in real time.
const BEAT: Duration = Duration::from_millis(50);

impl Machine {
    pub fn new(id: NodeId, clock: Arc<dyn Clock>) -> Machine {
        let folder = crate::world::folder();
        Machine { id, clock, folder, node: Arc::default(), heard: Arc::default(), say: None, tasks: JoinSet::new() }
    }

    pub fn keep(&self) -> Keep {
        Keep::new(self.folder.path())
    }

    pub fn switch_on(&mut self) {
        let (to_agent, inbox) = mpsc::channel(64);
        let (outbox, from_agent) = mpsc::channel(64);
        let pace = Pace { first: Duration::from_millis(20), most: Duration::from_millis(100), look: Duration::from_millis(50) };
        let line = Line {
            node: self.id.clone(),
            keep: self.keep(),
            clock: self.clock.clone(),
            pace,
            to_agent,
            from_agent,
            stop: CancellationToken::new(),
        };
        self.tasks.spawn(line.hold());
        self.say = Some(outbox.clone());
        self.tasks.spawn(agent(self.id.clone(), self.clock.clone(), self.node.clone(), self.heard.clone(), inbox, outbox));
    }

    /// Without a word; what the machine runs stays, and its folder.
    pub async fn kill(&mut self) {
        self.say = None;
        self.tasks.shutdown().await;
    }

    pub async fn tell(&self, message: FromNode) {
        self.say.as_ref().expect("it is on").send(message).await.expect("taken");
    }
}

async fn agent(
    id: NodeId,
    clock: Arc<dyn Clock>,
    node: Arc<Mutex<FakeNode>>,
    heard: Arc<Mutex<Vec<ToNode>>>,
    mut inbox: mpsc::Receiver<ToNode>,
    outbox: mpsc::Sender<FromNode>,
) {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        let answers = tokio::select! {
            _ = beat.tick() => vec![node.lock().expect("whole").heartbeat(clock.now())],
            message = inbox.recv() => {
                let Some(message) = message else { return };
                heard.lock().expect("whole").push(message.clone());
                match message {
                    ToNode::Welcome { .. } => {
                        let profile = Profile { region: String::new(), tags: vec!["ssd".to_owned()], slots: Some(4), agent: "1.2.3".to_owned(), ..Profile::default() };
                        vec![FromNode::RegisterNode { version: VERSION, specs: Specs::default(), profile }]
                    }
                    message => node.lock().expect("whole").carry_out(vec![(id.clone(), message)], clock.now()),
                }
            }
        };
        for answer in answers {
            if outbox.send(answer).await.is_err() {
                return;
            }
        }
    }
}
