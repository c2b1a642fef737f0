//! The database of a fleet: made, filled through the rooms of the store, asked from outside, dropped.

use std::collections::HashMap;
use std::path::Path;

use roost::domain::games::{Catalogue, seed};
use roost::model::games::{Game, Plan, Protocol};
use roost::model::idleness::Quiet;
use roost::model::ids::{NodeId, ServerId, UserId};
use roost::model::life::Life;
use roost::model::money::Credits;
use roost::model::nodes::Certificate;
use roost::model::servers::{Phase, PublicPort, Run, Seen, Server, Wanted};
use roost::model::time::{DAY, HOUR, MINUTE, Millis};
use roost::model::users::{Role, User};
use roost::node::link::Identity;
use roost::store::{Db, nodes, servers, users};
use roost::trust::{Authority, FOLDER, Key};
use roost::wire::door::Verdict;
use roost::wire::spec::InstanceSpec;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

use crate::kernel;
use crate::machines::{Instance, Machine};
use crate::site::Failure;

const OWNERS: usize = 500;
/// One server in so many is awake.
const AWAKE_OF: usize = 10;
/// Rows of one transaction.
const BATCH: usize = 500;

/// Where the rows lie.
pub struct Place {
    pub url: String,
    raw: Raw,
}

enum Raw {
    Lite(SqliteConnection),
    Pg { server: String, name: String, connection: PgConnection },
}

impl Place {
    pub async fn make(postgres: bool, folder: &Path) -> Result<Place, Failure> {
        if !postgres {
            let data = folder.join("data");
            std::fs::create_dir_all(&data)?;
            let url = format!("sqlite://{}", data.join("roost.db").display());
            Db::open(&url).await?.close().await;
            return Ok(Place { raw: Raw::Lite(SqliteConnection::connect(&url).await?), url });
        }
        let server = std::env::var("ROOST_TEST_PG")
            .map_err(|_| "ROOST_TEST_PG names no PostgreSQL server: postgres://user:secret@host:port/database")?;
        let name = format!("roost_fleet_{}", std::process::id());
        PgConnection::connect(&server).await?.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        let head = server.rsplit_once('/').map_or(server.as_str(), |(head, _)| head);
        let url = format!("{head}/{name}");
        Db::open(&url).await?.close().await;
        let connection = PgConnection::connect(&url).await?;
        Ok(Place { raw: Raw::Pg { server, name, connection }, url })
    }

    /// When each machine that is simulated was heard last.
    pub async fn heard(&mut self) -> Result<HashMap<String, i64>, Failure> {
        const TEXT: &str = "SELECT id, COALESCE(seen_at, 0) FROM nodes WHERE id <> 'local'";
        Ok(match &mut self.raw {
            Raw::Lite(connection) => sqlx::query_as(TEXT).fetch_all(connection).await?.into_iter().collect(),
            Raw::Pg { connection, .. } => sqlx::query_as(TEXT).fetch_all(connection).await?.into_iter().collect(),
        })
    }

    pub async fn run(&mut self, text: String) -> Result<(), Failure> {
        match &mut self.raw {
            Raw::Lite(connection) => connection.execute(AssertSqlSafe(text)).await.map(drop)?,
            Raw::Pg { connection, .. } => connection.execute(AssertSqlSafe(text)).await.map(drop)?,
        }
        Ok(())
    }

    /// CPU time of each process of PostgreSQL that works for this database or for all, but not for this program.
    pub async fn cpu(&mut self) -> Result<HashMap<i32, f64>, Failure> {
        const TEXT: &str = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND (datname = current_database() \
            OR backend_type IN ('walwriter', 'checkpointer', 'background writer'))";
        let Raw::Pg { connection, .. } = &mut self.raw else { return Ok(HashMap::new()) };
        let pids: Vec<(i32,)> = sqlx::query_as(TEXT).fetch_all(connection).await?;
        Ok(pids.into_iter().filter_map(|(pid,)| Some((pid, kernel::cpu_secs(u32::try_from(pid).ok()?).ok()?))).collect())
    }

    pub async fn drop(self) -> Result<(), Failure> {
        let Raw::Pg { server, name, connection } = self.raw else { return Ok(()) };
        connection.close().await?;
        PgConnection::connect(&server).await?.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await?;
        Ok(())
    }
}

/// What the panel would tell the node: the same, so that nothing is to be done for a server that rests.
fn spec(server: &Server, game: &Game, plan: &Plan) -> InstanceSpec {
    InstanceSpec {
        server: server.id.clone(),
        name: server.name.clone(),
        image: game.image.clone(),
        args: game.args.clone(),
        env: server.env.clone(),
        data_path: game.data_path.clone(),
        read_only: game.read_only,
        user: game.user.clone(),
        capabilities: game.capabilities.clone(),
        ports: server.ports.clone(),
        cpu_millis: plan.cpu_millis,
        memory_mib: plan.memory_mib,
        storage_mib: plan.storage_mib,
        subnet: server.subnet,
        ready: game.ready.clone(),
        ready_within_secs: game.ready_within_secs,
        stop: game.stop.clone(),
        tty: game.tty,
        door: game.door.clone(),
        wake: Verdict::Allowed,
        layers: Vec::new(),
        variables: std::collections::BTreeMap::new(),
        origin: None,
    }
}

/// The server of this number, and what its node knows of it.
fn server(
    n: usize,
    owner: &UserId,
    node: &NodeId,
    place: usize,
    game: &Game,
    plan: &Plan,
    now: Millis,
) -> Result<(Server, Instance), Failure> {
    let awake = n.is_multiple_of(AWAKE_OF);
    let (number, since) = (u32::try_from(n)?.to_be_bytes(), now - HOUR - i64::try_from(n)? * 100);
    let id = ServerId::new(owner, &game.id, [number[0], number[1], number[2] >> 3, number[2] & 7, number[3] >> 4, number[3] & 15]);
    let public = u16::try_from(25_000 + place)?;
    let port = |protocol| PublicPort { name: "game".to_owned(), public, inside: 7_777, protocol };
    let (wanted, phase, seen) =
        if awake { (Wanted::Running, Phase::Running, Seen::Running { since }) } else { (Wanted::Asleep, Phase::Sleeping, Seen::Asleep) };
    let mut made = Server {
        id: id.clone(),
        owner: owner.clone(),
        name: format!("Valley of Echoes {n}"),
        game: game.id.clone(),
        plan: plan.id.clone(),
        node: node.clone(),
        env: game.env.iter().map(|asked| (asked.name.clone(), asked.default.clone())).collect(),
        ports: vec![port(Protocol::Tcp), port(Protocol::Udp)],
        subnet: u32::try_from(place)?,
        per_hour: plan.per_hour,
        auto_sleep: true,
        idle_minutes: 15,
        life: Life {
            generation: 5,
            wanted,
            wanted_since: since,
            gently: false,
            restart_before: None,
            phase,
            phase_since: since,
            message: String::new(),
            doing: None,
            trouble: None,
            attempts: 0,
            crashes: Vec::new(),
        },
        spec_seen: String::new(),
        seen,
        seen_at: Some(since),
        quiet: Quiet::default(),
        players: awake.then_some(2),
        created_at: since,
        delete_after: None,
        region: String::new(),
        tags: Vec::new(),
        layers: Vec::new(),
        layers_before: Vec::new(),
        variables: std::collections::BTreeMap::new(),
        pending: None,
        covered: false,
        expired_from: None,
    };
    made.spec_seen = spec(&made, game, plan).revision();
    let past = Run { from: since - 2 * HOUR, to: Some(since - HOUR) };
    let runs = if awake { vec![past, Run { from: since, to: None }] } else { vec![past] };
    let instance = Instance { id, seen, revision: made.spec_seen.clone(), runs };
    Ok((made, instance))
}

async fn owners(db: &Db, now: Millis) -> Result<Vec<UserId>, Failure> {
    let tx = db.begin().await?;
    let mut ids = Vec::new();
    for n in 0..OWNERS {
        let number = u16::try_from(n)?;
        let id = UserId::from_random(&[0, u8::try_from(number >> 5)?, u8::try_from(number & 31)?, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let user = User {
            id: id.clone(),
            email: format!("owner{n}@example.org").parse()?,
            role: Role::Player,
            balance: Credits(1_000_000_000_000),
            created_at: now - DAY,
            sessions_from: now - DAY,
            email_verified_at: None,
            suspended: None,
        };
        users::insert(&tx, &user, "").await?;
        ids.push(id);
    }
    tx.commit().await?;
    Ok(ids)
}

/// Writes owners, nodes with certificates of the panel's authority, and servers; gives the nodes' side of them.
pub async fn fill(url: &str, folder: &Path, nodes_wanted: usize, servers_wanted: usize) -> Result<Vec<Machine>, Failure> {
    let db = Db::open(url).await?;
    let now = Millis(crate::now()?);
    seed(&db, [("demo.toml".to_owned(), include_str!("../../seeds/games/demo.toml").to_owned())]).await?;
    let games = Catalogue::load(&db).await?;
    let (game, plan) = games.plan(&"demo".parse()?, &"small".parse()?).ok_or("no demo game")?;
    let owners = owners(&db, now).await?;
    let authority = Authority::open(&folder.join("data").join(FOLDER), now.0 / 1_000)?;
    let mut machines = Vec::new();
    let mut tx = db.begin().await?;
    for n in 0..nodes_wanted {
        let (node, until): (NodeId, Millis) = (format!("n{n:04}").parse()?, now + 30 * DAY);
        let key = Key::make()?;
        let leaf = authority.sign(node.as_str(), &key.request()?, now.0 / 1_000, until.0 / 1_000)?;
        nodes::introduce(&tx, &node, "127.0.0.1").await?;
        nodes::joined(&tx, &node, &Certificate { fingerprint: leaf.fingerprint, until }).await?;
        let identity = Identity {
            node,
            address: String::new(),
            authority: authority.pem().to_owned(),
            certificate: leaf.pem,
            key: key.pem(),
            from: now - MINUTE,
            until,
        };
        machines.push(Machine { identity, instances: Vec::new() });
    }
    tx.commit().await?;
    tx = db.begin().await?;
    for n in 0..servers_wanted {
        let machine = &mut machines[n % nodes_wanted];
        let place = machine.instances.len();
        // Owners have servers on different machines.
        let owner = &owners[(n / nodes_wanted + n) % OWNERS];
        let (row, instance) = server(n, owner, &machine.identity.node, place, game, plan, now)?;
        servers::insert(&tx, &row, Millis(i64::MAX)).await?;
        machine.instances.push(instance);
        if n % BATCH == BATCH - 1 {
            tx.commit().await?;
            tx = db.begin().await?;
        }
    }
    tx.commit().await?;
    db.close().await;
    Ok(machines)
}
