//! A panel without web and without Docker: real domain, real database of either kind, a clock that the test moves, and a node
//! that the test plays. [`on_both`] runs one body on SQLite and, where it is there, on PostgreSQL.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::StreamExt;
use roost::domain::{Actor, Ctx, Outside, Policy, backups, games, nodes, servers, users};
use roost::engines::fake::FakeEngine;
use roost::identity::{Providers, Setup};
use roost::mail::Mailer;
use roost::model::backups::Archived;
use roost::model::ids::{NodeId, ServerId};
use roost::model::nodes::{Load, Profile, Specs};
use roost::model::servers::Server;
use roost::model::time::{Clock, Millis};
use roost::objects::folder::FolderStore;
use roost::objects::{ObjectStore, Verb};
use roost::payments::{Stripe, StripeConfig};
use roost::store::Db;
use roost::wire::agent::{Action, Command, EventKind, FromNode, ToNode, UrlFor, VERSION};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::fake_node::{FakeNode, event, report};

/// A clock that stands until it is moved.
pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }
}

impl Default for TestClock {
    fn default() -> TestClock {
        TestClock(AtomicI64::new(START))
    }
}

impl TestClock {
    /// Moves on.
    pub fn pass(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

/// When every test begins: 2026-01-01, noon.
pub const START: i64 = 1_767_268_800_000;

/// The whole of it.
pub struct World {
    pub ctx: Arc<Ctx>,
    pub clock: Arc<TestClock>,
    pub engine: Arc<FakeEngine>,
    pub node: FakeNode,
    /// Nodes beside that of the panel itself.
    pub others: BTreeMap<NodeId, FakeNode>,
    pub url: String,
    abroad: Abroad,
    objects: Arc<Objects>,
}

/// What a panel of a test reaches outside; nothing by itself.
#[derive(Debug, Clone, Default)]
pub struct Abroad {
    /// Providers to sign in with.
    pub setups: Vec<Setup>,
    /// The mail server.
    pub smtp: Option<String>,
    /// How it reaches Stripe, where it takes payments.
    pub stripe: Option<Box<StripeConfig>>,
}

/// The object store, which outlives the panel's process.
struct Objects {
    store: Arc<FolderStore>,
    _folder: tempfile::TempDir,
}

pub const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The catalogue's files.
pub fn seeds() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/games");
    let files = std::fs::read_dir(folder).expect("seeds are there");
    files
        .map(|file| file.expect("a file").path())
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("it reads")))
        .collect()
}

impl World {
    /// Opens a panel on this database.
    pub async fn open(url: &str, clock: Arc<TestClock>, policy: Policy) -> World {
        World::open_abroad(url, clock, policy, Abroad::default()).await
    }

    /// The same, with providers and a mail server.
    pub async fn open_abroad(url: &str, clock: Arc<TestClock>, policy: Policy, abroad: Abroad) -> World {
        let folder = folder();
        let store = FolderStore::open(folder.path(), "http://127.0.0.1:9", b"a test", clock.clone()).await.expect("a folder of objects");
        World::over(url, clock, policy, abroad, Arc::new(Objects { store: Arc::new(store), _folder: folder })).await
    }

    /// The same panel, with a way to Stripe.
    pub async fn selling(mut self, stripe: StripeConfig) -> World {
        self.abroad.stripe = Some(Box::new(stripe));
        self.restart().await;
        self
    }

    async fn over(url: &str, clock: Arc<TestClock>, policy: Policy, abroad: Abroad, objects: Arc<Objects>) -> World {
        crate::services::ring();
        let db = Db::open(url).await.expect("the database opens");
        games::seed(&db, seeds()).await.expect("the catalogue reads");
        let engine = Arc::new(FakeEngine::default());
        let mail = abroad.smtp.as_deref().map(|url| Mailer::new(url, "Roost <roost@example.org>").expect("a mail server"));
        let providers = Providers::new(abroad.setups.clone(), &policy.base_url).expect("providers");
        let stripe = abroad.stripe.clone().map(|config| Stripe::new(*config).expect("a way to Stripe"));
        let outside = Outside { objects: objects.store.clone(), engine: engine.clone(), mail, stripe, providers };
        let ctx = Ctx::new(db, clock.clone(), outside, policy).await.expect("the panel starts");
        nodes::introduce(&ctx, &NodeId::local(), "play.example.org").await.expect("the node is known");
        let world = World { ctx, clock, engine, node: FakeNode::default(), others: BTreeMap::new(), url: url.to_owned(), abroad, objects };
        world.tell(FromNode::RegisterNode { version: VERSION, specs: specs(), profile: Profile::default() }).await;
        world.be_online().await;
        world
    }

    /// The process is killed and started again: memory is lost, the database and the node stay.
    pub async fn restart(&mut self) {
        self.ctx.db.close().await;
        let (node, others) = (std::mem::take(&mut self.node), std::mem::take(&mut self.others));
        let policy = self.ctx.policy.clone();
        *self = World::over(&self.url, self.clock.clone(), policy, self.abroad.clone(), self.objects.clone()).await;
        (self.node, self.others) = (node, others);
        nodes::greet(&self.ctx, &NodeId::local()).await.expect("greeted");
    }

    pub async fn player(&self, email: &str) -> Actor {
        let user = users::register(&self.ctx, email, "correct horse battery", None, HOME).await.expect("registered");
        Actor::of(user)
    }

    pub async fn admin(&self) -> Actor {
        let secret = users::setup_secret(&self.ctx).await.expect("asked").expect("no admin yet");
        let user = users::register(&self.ctx, "admin@example.org", "correct horse battery", Some(&secret), HOME).await.expect("registered");
        Actor::of(user)
    }

    pub async fn create(&self, actor: &Actor, name: &str) -> Server {
        self.be_online().await;
        servers::create(&self.ctx, actor, &form(name)).await.expect("created")
    }

    /// The row as it is now.
    pub async fn server(&self, id: &roost::model::ids::ServerId) -> Option<Server> {
        roost::store::servers::by_id(&self.ctx.db, id).await.expect("read")
    }

    /// Lets the nodes do what they were told and the panel hear of it, until all are still.
    pub async fn settle(&mut self) {
        // Every test holds this future; on the heap it weighs them down less.
        Box::pin(self.come_to_rest()).await;
    }

    async fn come_to_rest(&mut self) {
        for _ in 0..50 {
            servers::reconcile(&self.ctx, false).await.expect("reconciled");
            servers::moves(&self.ctx).await.expect("looked at");
            backups::tick(&self.ctx).await.expect("looked at");
            let mut still = true;
            for (node, message) in self.engine.take() {
                still &= self.carry_out(&node, message).await;
            }
            if still {
                return;
            }
        }
        panic!("panel and nodes never come to rest");
    }

    /// What one node does with one message; true: it had nothing to say.
    async fn carry_out(&mut self, node: &NodeId, message: ToNode) -> bool {
        if let ToNode::Command(command) = &message
            && matches!(command.action, Action::BackupInstance { .. } | Action::RestoreInstance { .. } | Action::UndoRestore)
        {
            let command = command.clone();
            self.fake(node).commands.push(command.clone());
            let kind = self.archive(node, &command).await;
            let lost = &mut self.fake(node).lose_answers;
            if *lost > 0 {
                *lost -= 1;
                return false;
            }
            let said = event(&command.server, Some(&command.id), self.clock.now(), kind);
            self.tell_from(node, said).await;
            return false;
        }
        if let ToNode::LookAtLayers { ask, .. } = &message {
            let own_files = Ok(self.fake(node).own_files.clone());
            self.tell_from(node, FromNode::LayersLook { ask: *ask, own_files }).await;
            return false;
        }
        let now = self.clock.now();
        let answers = self.fake(node).carry_out(vec![(node.clone(), message)], now);
        let still = answers.is_empty();
        for answer in answers {
            self.tell_from(node, answer).await;
        }
        still
    }

    /// The node of the panel itself, or another one.
    pub fn fake(&mut self, node: &NodeId) -> &mut FakeNode {
        if *node == NodeId::local() { &mut self.node } else { self.others.entry(node.clone()).or_default() }
    }

    /// An address as the node asks for it.
    pub async fn url(&self, node: &NodeId, of: UrlFor) -> Result<String, String> {
        self.tell_from(node, FromNode::WantUrl { ask: 7, of }).await;
        let answers = self.engine.take();
        let mut urls = answers.into_iter().filter_map(|(to, message)| match message {
            ToNode::ObjectUrl { ask: 7, url } if to == *node => Some(url),
            _other => None,
        });
        urls.next_back().expect("the panel answers")
    }

    /// Makes a backup, restores one or undoes it as an agent would, with an archive of one part that holds one line.
    async fn archive(&mut self, node: &NodeId, command: &Command) -> EventKind {
        if let Some((reason, retryable)) = self.fake(node).archive_failures.pop() {
            return EventKind::Failed { reason, retryable, report: None };
        }
        let (server, now) = (command.server.clone(), self.clock.now());
        let data = self.fake(node).data.get(&server).cloned().unwrap_or_else(|| server.to_string());
        match &command.action {
            Action::BackupInstance { backup, .. } => {
                let of = UrlFor::BackupPart { server: server.clone(), backup: backup.clone(), number: 1 };
                let address = match self.url(node, of).await {
                    Ok(address) => address,
                    Err(reason) => return EventKind::Failed { reason, retryable: true, report: None },
                };
                let (key, query) = parts(&address);
                let link = self.objects.store.verify(Verb::Put, key, query).expect("an address that is believed");
                let etag = self.objects.store.receive(&link, crate::templates::body(data.as_bytes())).await.expect("taken");
                EventKind::BackedUp(Archived {
                    backup: backup.clone(),
                    bytes: data.len() as u64,
                    sha256: <[u8; 32]>::from(Sha256::digest(&data)).into(),
                    entries: 1,
                    unpacked: data.len() as u64,
                    parts: vec![etag],
                    note: None,
                })
            }
            Action::RestoreInstance { backup, try_only } => {
                let address = match self.url(node, UrlFor::Backup { server: server.clone(), backup: backup.id.clone() }).await {
                    Ok(address) => address,
                    Err(reason) => return EventKind::Failed { reason, retryable: false, report: None },
                };
                let restored = self.fetch(&address).await;
                assert_eq!(backup.sha256, <[u8; 32]>::from(Sha256::digest(&restored)).into(), "it is what was stored");
                let fake = self.fake(node);
                if !try_only {
                    fake.before.insert(server.clone(), data);
                    fake.data.insert(server.clone(), restored);
                }
                restored_report(fake, &server, now)
            }
            Action::UndoRestore => {
                let fake = self.fake(node);
                let before = fake.before.insert(server.clone(), data).expect("something to undo");
                fake.data.insert(server.clone(), before);
                restored_report(fake, &server, now)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The object at an address.
    pub async fn fetch(&self, address: &str) -> String {
        let (key, query) = parts(address);
        let link = self.objects.store.verify(Verb::Get, key, query).expect("an address that is believed");
        let mut download = self.objects.store.get(&link.key, 0).await.expect("it is there");
        let mut bytes = Vec::new();
        while let Some(piece) = download.body.next().await {
            bytes.extend_from_slice(&piece.expect("it reads"));
        }
        String::from_utf8(bytes).expect("text")
    }

    pub async fn tell(&self, message: FromNode) {
        self.tell_from(&NodeId::local(), message).await;
    }

    pub async fn tell_from(&self, node: &NodeId, message: FromNode) {
        nodes::receive(&self.ctx, node, message).await.expect("taken in");
    }

    /// The node is heard of, and says nothing of its servers.
    pub async fn be_online(&self) {
        let heartbeat = FromNode::Heartbeat { at: self.clock.now(), load: Load::default(), complete: false, instances: Vec::new() };
        self.tell(heartbeat).await;
    }

    /// A heartbeat of the node as it is.
    pub async fn beat(&self) {
        self.tell(self.node.heartbeat(self.clock.now())).await;
    }
}

/// Key and query of an address of the folder of objects.
fn parts(address: &str) -> (&str, &str) {
    let path = address.split_once("/objects/").expect("an address of the folder").1;
    path.split_once('?').expect("a signed address")
}

/// What a faithful agent says behind a restore: the game has been ended for it.
fn restored_report(fake: &mut FakeNode, server: &ServerId, now: Millis) -> EventKind {
    let instance = fake.instances.get(server).expect("it is there");
    EventKind::Restored(report(server, instance, now))
}

/// A machine with room for all that tests make.
pub fn specs() -> Specs {
    Specs { cpu_millis: 1_000_000, memory_mib: 4_000_000, disk_mib: 400_000_000, ..Specs::default() }
}

pub fn form(name: &str) -> servers::Form {
    servers::Form { name: name.to_owned(), game: "demo".to_owned(), plan: "small".to_owned(), ..servers::Form::default() }
}

/// Runs a body on a fresh SQLite file, and on a fresh PostgreSQL database where there is a server.
pub async fn on_both<F: Future<Output = ()>>(test: &str, body: impl Fn(World) -> F) {
    // On the heap: every test holds it.
    Box::pin(on_both_with(test, Policy::default(), body)).await;
}

/// The same under another policy.
pub async fn on_both_with<F: Future<Output = ()>>(test: &str, policy: Policy, body: impl Fn(World) -> F) {
    on_both_abroad(test, policy, Abroad::default(), body).await;
}

/// The same, with providers and a mail server.
pub async fn on_both_abroad<F: Future<Output = ()>>(test: &str, policy: Policy, abroad: Abroad, body: impl Fn(World) -> F) {
    let folder = folder();
    let clock = || Arc::new(TestClock::default());
    let url = format!("sqlite://{}/roost.db", folder.path().display());
    body(World::open_abroad(&url, clock(), policy.clone(), abroad.clone()).await).await;
    if let Some(server) = crate::services::postgres(test) {
        let database = Database::make(&server).await;
        let world = World::open_abroad(&database.url, clock(), policy, abroad).await;
        let ctx = world.ctx.clone();
        body(world).await;
        ctx.db.close().await;
        database.drop().await;
    }
}

/// A folder that goes with the test, in memory where the system has a place for that: what is tested is not the disk.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// A PostgreSQL database of one test.
pub struct Database {
    server: String,
    name: String,
    pub url: String,
}

impl Database {
    pub async fn make(server: &str) -> Database {
        static COUNT: AtomicI64 = AtomicI64::new(0);
        let name = format!("roost_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let mut connection = PgConnection::connect(server).await.expect("PostgreSQL answers");
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database is made");
        let mut url = server.to_owned();
        let path = url.find("://").map_or(0, |at| at + 3);
        let end = url[path..].find('/').map_or(url.len(), |at| path + at);
        let query = url[path..].find('?').map_or(url.len(), |at| path + at);
        url.replace_range(end.min(query)..query, &format!("/{name}"));
        Database { server: server.to_owned(), name, url }
    }

    /// Drops it and makes it anew.
    pub async fn empty(&self) {
        let mut connection = PgConnection::connect(&self.server).await.expect("PostgreSQL answers");
        for statement in [format!("DROP DATABASE {} WITH (FORCE)", self.name), format!("CREATE DATABASE {}", self.name)] {
            connection.execute(AssertSqlSafe(statement)).await.expect("the database is made anew");
        }
    }

    pub async fn drop(self) {
        let mut connection = PgConnection::connect(&self.server).await.expect("PostgreSQL answers");
        let name = self.name;
        connection.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.expect("the database goes");
    }
}
