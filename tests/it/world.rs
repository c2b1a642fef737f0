//! A panel without web and without Docker: real domain, real database of either kind, a clock that the test moves, and a node
//! that the test plays. [`on_both`] runs one body on SQLite and, where it is there, on PostgreSQL.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use roost::domain::{Actor, Ctx, Policy, games, nodes, servers, users};
use roost::engines::fake::FakeEngine;
use roost::model::ids::NodeId;
use roost::model::nodes::{Load, Profile, Specs};
use roost::model::servers::Server;
use roost::model::time::{Clock, Millis};
use roost::objects::folder::FolderStore;
use roost::store::Db;
use roost::wire::agent::{FromNode, VERSION};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::fake_node::FakeNode;

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
    pub url: String,
    objects: Arc<Objects>,
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
        let folder = folder();
        let store = FolderStore::open(folder.path(), "http://127.0.0.1:9", b"a test", clock.clone()).await.expect("a folder of objects");
        World::over(url, clock, policy, Arc::new(Objects { store: Arc::new(store), _folder: folder })).await
    }

    async fn over(url: &str, clock: Arc<TestClock>, policy: Policy, objects: Arc<Objects>) -> World {
        let db = Db::open(url).await.expect("the database opens");
        games::seed(&db, seeds()).await.expect("the catalogue reads");
        let engine = Arc::new(FakeEngine::default());
        let ctx = Ctx::new(db, objects.store.clone(), clock.clone(), engine.clone(), policy).await.expect("the panel starts");
        nodes::introduce(&ctx, &NodeId::local(), "play.example.org").await.expect("the node is known");
        let world = World { ctx, clock, engine, node: FakeNode::default(), url: url.to_owned(), objects };
        world.tell(FromNode::RegisterNode { version: VERSION, specs: specs(), profile: Profile::default() }).await;
        world.be_online().await;
        world
    }

    /// The process is killed and started again: memory is lost, the database and the node stay.
    pub async fn restart(&mut self) {
        self.ctx.db.close().await;
        let node = std::mem::take(&mut self.node);
        let policy = self.ctx.policy.clone();
        *self = World::over(&self.url, self.clock.clone(), policy, self.objects.clone()).await;
        self.node = node;
        nodes::greet(&self.ctx, &NodeId::local()).await.expect("greeted");
    }

    pub async fn player(&self, email: &str) -> Actor {
        let user = users::register(&self.ctx, email, "correct horse battery", None, HOME).await.expect("registered");
        Actor { user }
    }

    pub async fn admin(&self) -> Actor {
        let secret = users::setup_secret(&self.ctx).await.expect("asked").expect("no admin yet");
        let user = users::register(&self.ctx, "admin@example.org", "correct horse battery", Some(&secret), HOME).await.expect("registered");
        Actor { user }
    }

    pub async fn create(&self, actor: &Actor, name: &str) -> Server {
        self.be_online().await;
        servers::create(&self.ctx, actor, &form(name)).await.expect("created")
    }

    /// The row as it is now.
    pub async fn server(&self, id: &roost::model::ids::ServerId) -> Option<Server> {
        roost::store::servers::by_id(&self.ctx.db, id).await.expect("read")
    }

    /// Lets the node do what it was told and the panel hear of it, until both are still.
    pub async fn settle(&mut self) {
        for _ in 0..50 {
            servers::reconcile(&self.ctx, false).await.expect("reconciled");
            let messages = self.engine.take();
            let answers = self.node.carry_out(messages, self.clock.now());
            if answers.is_empty() {
                return;
            }
            for answer in answers {
                self.tell(answer).await;
            }
        }
        panic!("panel and node never come to rest");
    }

    pub async fn tell(&self, message: FromNode) {
        nodes::receive(&self.ctx, &NodeId::local(), message).await.expect("taken in");
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

/// A machine with room for all that tests make.
pub fn specs() -> Specs {
    Specs { cpu_millis: 1_000_000, memory_mib: 4_000_000, disk_mib: 400_000_000, ..Specs::default() }
}

pub fn form(name: &str) -> servers::Form {
    servers::Form { name: name.to_owned(), game: "demo".to_owned(), plan: "small".to_owned(), ..servers::Form::default() }
}

/// Runs a body on a fresh SQLite file, and on a fresh PostgreSQL database where there is a server.
pub async fn on_both<F: Future<Output = ()>>(test: &str, body: impl Fn(World) -> F) {
    on_both_with(test, Policy::default(), body).await;
}

/// The same under another policy.
pub async fn on_both_with<F: Future<Output = ()>>(test: &str, policy: Policy, body: impl Fn(World) -> F) {
    let folder = folder();
    let clock = || Arc::new(TestClock::default());
    let url = format!("sqlite://{}/roost.db", folder.path().display());
    body(World::open(&url, clock(), policy.clone()).await).await;
    if let Some(server) = crate::services::postgres(test) {
        let database = Database::make(&server).await;
        let world = World::open(&database.url, clock(), policy).await;
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
