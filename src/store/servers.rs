//! Servers. Every write of what is wanted, shown or being done names the generation that it read, and loses with
//! [`StoreError::Stale`] if the row has moved; what a node saw is written beside it without moving the row.

use sea_query::{Expr, ExprTrait, Iden, Order, Query, SelectStatement, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::FromRow;

use super::{Db, StoreError, reports};
use crate::model::idleness::Quiet;
use crate::model::ids::{GameId, NodeId, PlanId, ServerId, UserId};
use crate::model::life::Life;
use crate::model::money::Credits;
use crate::model::servers::{Phase, Seen, Server, Wanted};
use crate::model::time::Millis;

#[derive(Iden, Clone, Copy)]
pub(super) enum Servers {
    Table,
    Id,
    Owner,
    Name,
    Game,
    Plan,
    Node,
    Env,
    Ports,
    Subnet,
    PerHour,
    AutoSleep,
    IdleMinutes,
    Generation,
    Wanted,
    WantedSince,
    Gently,
    RestartBefore,
    Phase,
    PhaseSince,
    Message,
    Doing,
    Trouble,
    Attempts,
    Crashes,
    DueAt,
    SpecSeen,
    Seen,
    SeenAt,
    QuietSince,
    MeasuredAt,
    Players,
    CreatedAt,
    DeleteAfter,
    Region,
    Tags,
    Layers,
    LayersBefore,
    Variables,
    Pending,
    Covered,
    ExpiredFrom,
}

use Servers as S;

const COLUMNS: [Servers; 41] = [
    S::Id,
    S::Owner,
    S::Name,
    S::Game,
    S::Plan,
    S::Node,
    S::Env,
    S::Ports,
    S::Subnet,
    S::PerHour,
    S::AutoSleep,
    S::IdleMinutes,
    S::Generation,
    S::Wanted,
    S::WantedSince,
    S::Gently,
    S::RestartBefore,
    S::Phase,
    S::PhaseSince,
    S::Message,
    S::Doing,
    S::Trouble,
    S::Attempts,
    S::Crashes,
    S::DueAt,
    S::SpecSeen,
    S::Seen,
    S::SeenAt,
    S::QuietSince,
    S::MeasuredAt,
    S::Players,
    S::CreatedAt,
    S::DeleteAfter,
    S::Region,
    S::Tags,
    S::Layers,
    S::LayersBefore,
    S::Variables,
    S::Pending,
    S::Covered,
    S::ExpiredFrom,
];

#[derive(FromRow)]
struct ServerRow {
    id: String,
    owner: String,
    name: String,
    game: String,
    plan: String,
    node: String,
    env: String,
    ports: String,
    subnet: i64,
    per_hour: i64,
    auto_sleep: i64,
    idle_minutes: i64,
    generation: i64,
    wanted: String,
    wanted_since: i64,
    gently: i64,
    restart_before: Option<i64>,
    phase: String,
    phase_since: i64,
    message: String,
    doing: Option<String>,
    trouble: Option<String>,
    attempts: i64,
    crashes: String,
    spec_seen: String,
    seen: String,
    seen_at: Option<i64>,
    quiet_since: Option<i64>,
    measured_at: Option<i64>,
    players: Option<i64>,
    created_at: i64,
    delete_after: Option<i64>,
    region: String,
    tags: String,
    layers: String,
    layers_before: String,
    variables: String,
    pending: Option<String>,
    covered: i64,
    expired_from: Option<String>,
}

fn read<T: DeserializeOwned>(text: &str, column: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable(column))
}

fn write<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Unreadable("a value to write"))
}

fn small(number: i64, column: &'static str) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|_| StoreError::Unreadable(column))
}

impl TryFrom<ServerRow> for Server {
    type Error = StoreError;
    fn try_from(row: ServerRow) -> Result<Server, StoreError> {
        let life = Life {
            generation: row.generation,
            wanted: Wanted::parse(&row.wanted).ok_or(StoreError::Unreadable("servers.wanted"))?,
            wanted_since: Millis(row.wanted_since),
            gently: row.gently != 0,
            restart_before: row.restart_before.map(Millis),
            phase: Phase::parse(&row.phase).ok_or(StoreError::Unreadable("servers.phase"))?,
            phase_since: Millis(row.phase_since),
            message: row.message,
            doing: row.doing.map(|text| read(&text, "servers.doing")).transpose()?,
            trouble: row.trouble.map(|text| read(&text, "servers.trouble")).transpose()?,
            attempts: small(row.attempts, "servers.attempts")?,
            crashes: read(&row.crashes, "servers.crashes")?,
        };
        Ok(Server {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("servers.id"))?,
            owner: row.owner.parse().map_err(|_| StoreError::Unreadable("servers.owner"))?,
            name: row.name,
            game: row.game.parse().map_err(|_| StoreError::Unreadable("servers.game"))?,
            plan: row.plan.parse().map_err(|_| StoreError::Unreadable("servers.plan"))?,
            node: row.node.parse().map_err(|_| StoreError::Unreadable("servers.node"))?,
            env: read(&row.env, "servers.env")?,
            ports: read(&row.ports, "servers.ports")?,
            subnet: small(row.subnet, "servers.subnet")?,
            per_hour: Credits(row.per_hour),
            auto_sleep: row.auto_sleep != 0,
            idle_minutes: small(row.idle_minutes, "servers.idle_minutes")?,
            life,
            spec_seen: row.spec_seen,
            seen: read(&row.seen, "servers.seen")?,
            seen_at: row.seen_at.map(Millis),
            quiet: Quiet { since: row.quiet_since.map(Millis), measured_at: row.measured_at.map(Millis) },
            players: row.players.map(|players| small(players, "servers.players")).transpose()?,
            created_at: Millis(row.created_at),
            delete_after: row.delete_after.map(Millis),
            region: row.region,
            tags: read(&row.tags, "servers.tags")?,
            layers: read(&row.layers, "servers.layers")?,
            layers_before: read(&row.layers_before, "servers.layers_before")?,
            variables: read(&row.variables, "servers.variables")?,
            pending: row.pending.map(|text| read(&text, "servers.pending")).transpose()?,
            covered: row.covered != 0,
            expired_from: row
                .expired_from
                .map(|text| Wanted::parse(&text).ok_or(StoreError::Unreadable("servers.expired_from")))
                .transpose()?,
        })
    }
}

/// Every column's value, in the order of [`COLUMNS`].
fn values(server: &Server, due_at: Millis) -> Result<Vec<Value>, StoreError> {
    let life = &server.life;
    let text = |text: &str| Value::from(text);
    Ok(vec![
        text(server.id.as_str()),
        text(server.owner.as_str()),
        text(&server.name),
        text(server.game.as_str()),
        text(server.plan.as_str()),
        text(server.node.as_str()),
        write(&server.env)?.into(),
        write(&server.ports)?.into(),
        i64::from(server.subnet).into(),
        server.per_hour.0.into(),
        i64::from(server.auto_sleep).into(),
        i64::from(server.idle_minutes).into(),
        life.generation.into(),
        text(life.wanted.as_str()),
        life.wanted_since.0.into(),
        i64::from(life.gently).into(),
        life.restart_before.map(|at| at.0).into(),
        text(life.phase.as_str()),
        life.phase_since.0.into(),
        text(&life.message),
        life.doing.as_ref().map(write).transpose()?.into(),
        life.trouble.as_ref().map(write).transpose()?.into(),
        i64::from(life.attempts).into(),
        write(&life.crashes)?.into(),
        due_at.0.into(),
        text(&server.spec_seen),
        write(&server.seen)?.into(),
        server.seen_at.map(|at| at.0).into(),
        server.quiet.since.map(|at| at.0).into(),
        server.quiet.measured_at.map(|at| at.0).into(),
        server.players.map(i64::from).into(),
        server.created_at.0.into(),
        server.delete_after.map(|at| at.0).into(),
        text(&server.region),
        write(&server.tags)?.into(),
        write(&server.layers)?.into(),
        write(&server.layers_before)?.into(),
        write(&server.variables)?.into(),
        server.pending.as_ref().map(write).transpose()?.into(),
        i64::from(server.covered).into(),
        server.expired_from.map(Wanted::as_str).into(),
    ])
}

fn select() -> SelectStatement {
    Query::select().columns(COLUMNS).from(S::Table).to_owned()
}

async fn rows(db: &Db, select: SelectStatement) -> Result<Vec<Server>, StoreError> {
    db.all::<ServerRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Makes a row; [`StoreError::Exists`] when the id or the subnet is taken.
pub async fn insert(db: &Db, server: &Server, due_at: Millis) -> Result<(), StoreError> {
    let values = values(server, due_at)?.into_iter().map(Expr::val);
    let insert = Query::insert().into_table(S::Table).columns(COLUMNS).values_panic(values).to_owned();
    db.run(&insert).await?;
    reports::keep_game(db, &server.id, &server.game).await
}

/// Writes a row over the one that was read, moves its generation, and says when the reconciler shall look again.
///
/// # Errors
/// [`StoreError::Stale`] when it has moved since.
pub async fn save(db: &Db, server: &mut Server, due_at: Millis) -> Result<(), StoreError> {
    let read = server.life.generation;
    server.life.generation += 1;
    let pairs = COLUMNS.into_iter().zip(values(server, due_at)?.into_iter().map(Expr::val));
    let update = Query::update()
        .table(S::Table)
        .values(pairs)
        .and_where(Expr::col(S::Id).eq(server.id.as_str()))
        .and_where(Expr::col(S::Generation).eq(read))
        .to_owned();
    if db.run(&update).await? == 1 { Ok(()) } else { Err(StoreError::Stale) }
}

/// Notes a measurement, without moving the row.
pub async fn note_quiet(db: &Db, id: &ServerId, quiet: Quiet, players: Option<u32>) -> Result<(), StoreError> {
    let update = Query::update()
        .table(S::Table)
        .value(S::QuietSince, quiet.since.map(|at| at.0))
        .value(S::MeasuredAt, quiet.measured_at.map(|at| at.0))
        .value(S::Players, players.map(i64::from))
        .and_where(Expr::col(S::Id).eq(id.as_str()))
        .to_owned();
    db.run(&update).await.map(drop)
}

/// Asks the reconciler to look at once.
pub async fn set_due(db: &Db, id: &ServerId, due_at: Millis) -> Result<(), StoreError> {
    let update = Query::update().table(S::Table).value(S::DueAt, due_at.0).and_where(Expr::col(S::Id).eq(id.as_str())).to_owned();
    db.run(&update).await.map(drop)
}

/// Removes the row, and its ports with it.
pub async fn delete(db: &Db, id: &ServerId, generation: i64) -> Result<(), StoreError> {
    let delete = Query::delete()
        .from_table(S::Table)
        .and_where(Expr::col(S::Id).eq(id.as_str()))
        .and_where(Expr::col(S::Generation).eq(generation))
        .to_owned();
    if db.run(&delete).await? == 1 { Ok(()) } else { Err(StoreError::Stale) }
}

/// One server.
pub async fn by_id(db: &Db, id: &ServerId) -> Result<Option<Server>, StoreError> {
    let select = select().and_where(Expr::col(S::Id).eq(id.as_str())).to_owned();
    Ok(rows(db, select).await?.pop())
}

/// These servers, as far as they are there, in the order of their ids.
pub async fn of_ids(db: &Db, ids: impl Iterator<Item = &ServerId>, limit: u64) -> Result<Vec<Server>, StoreError> {
    let ids: Vec<&str> = ids.map(ServerId::as_str).collect();
    let select = select().and_where(Expr::col(S::Id).is_in(ids)).order_by(S::Id, Order::Asc).limit(limit).to_owned();
    rows(db, select).await
}

/// Somebody's servers, oldest first.
pub async fn of_owner(db: &Db, owner: &UserId, limit: u64) -> Result<Vec<Server>, StoreError> {
    let select = select()
        .and_where(Expr::col(S::Owner).eq(owner.as_str()))
        .order_by(S::CreatedAt, Order::Asc)
        .order_by(S::Id, Order::Asc)
        .limit(limit)
        .to_owned();
    rows(db, select).await
}

/// Servers whose time has come, the longest waiting first.
pub async fn due(db: &Db, now: Millis, limit: u64) -> Result<Vec<Server>, StoreError> {
    let select = select()
        .and_where(Expr::col(S::DueAt).lte(now.0))
        .order_by(S::DueAt, Order::Asc)
        .order_by(S::Id, Order::Asc)
        .limit(limit)
        .to_owned();
    rows(db, select).await
}

/// All servers in the order of their ids, behind `after`.
pub async fn after(db: &Db, after: &str, limit: u64) -> Result<Vec<Server>, StoreError> {
    let select = select().and_where(Expr::col(S::Id).gt(after)).order_by(S::Id, Order::Asc).limit(limit).to_owned();
    rows(db, select).await
}

/// Servers on a node, by id, behind `after`.
pub async fn on_node(db: &Db, node: &NodeId, after: &str, limit: u64) -> Result<Vec<Server>, StoreError> {
    let select = select()
        .and_where(Expr::col(S::Node).eq(node.as_str()))
        .and_where(Expr::col(S::Id).gt(after))
        .order_by(S::Id, Order::Asc)
        .limit(limit)
        .to_owned();
    rows(db, select).await
}

/// A server on a node, as far as the node's heartbeat asks for it.
#[derive(Debug, Clone)]
pub struct Resident {
    /// Its id.
    pub id: ServerId,
    /// Who pays.
    pub owner: UserId,
    /// Catalogue entry.
    pub game: GameId,
    /// Its size.
    pub plan: PlanId,
    /// What the pages show.
    pub phase: Phase,
    /// What the node last said.
    pub seen: Seen,
    /// How quiet it is.
    pub quiet: Quiet,
}

#[derive(FromRow)]
struct ResidentRow {
    id: String,
    owner: String,
    game: String,
    plan: String,
    phase: String,
    seen: String,
    quiet_since: Option<i64>,
    measured_at: Option<i64>,
}

impl TryFrom<ResidentRow> for Resident {
    type Error = StoreError;
    fn try_from(row: ResidentRow) -> Result<Resident, StoreError> {
        Ok(Resident {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("servers.id"))?,
            owner: row.owner.parse().map_err(|_| StoreError::Unreadable("servers.owner"))?,
            game: row.game.parse().map_err(|_| StoreError::Unreadable("servers.game"))?,
            plan: row.plan.parse().map_err(|_| StoreError::Unreadable("servers.plan"))?,
            phase: Phase::parse(&row.phase).ok_or(StoreError::Unreadable("servers.phase"))?,
            seen: read(&row.seen, "servers.seen")?,
            quiet: Quiet { since: row.quiet_since.map(Millis), measured_at: row.measured_at.map(Millis) },
        })
    }
}

/// Servers on a node, by id, behind `after`: only what every heartbeat asks for, which is far less than the rows hold.
pub async fn residents(db: &Db, node: &NodeId, after: &str, limit: u64) -> Result<Vec<Resident>, StoreError> {
    let select = Query::select()
        .columns([S::Id, S::Owner, S::Game, S::Plan, S::Phase, S::Seen, S::QuietSince, S::MeasuredAt])
        .from(S::Table)
        .and_where(Expr::col(S::Node).eq(node.as_str()))
        .and_where(Expr::col(S::Id).gt(after))
        .order_by(S::Id, Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<ResidentRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Servers whose data something has to happen to first, by id, after one.
pub async fn pending(db: &Db, after: &str, limit: u64) -> Result<Vec<Server>, StoreError> {
    let mut select = select();
    select.and_where(Expr::col(S::Pending).is_not_null()).and_where(Expr::col(S::Id).gt(after));
    select.order_by(S::Id, Order::Asc).limit(limit);
    rows(db, select).await
}

/// Servers that nobody pays for and whose data go at a moment that is set, by id, behind `after`.
pub async fn expired(db: &Db, after: &str, limit: u64) -> Result<Vec<Server>, StoreError> {
    let mut select = select();
    select.and_where(Expr::col(S::Wanted).eq(Wanted::Expired.as_str())).and_where(Expr::col(S::DeleteAfter).is_not_null());
    select.and_where(Expr::col(S::Id).gt(after)).order_by(S::Id, Order::Asc).limit(limit);
    rows(db, select).await
}

/// Servers that run, may sleep by themselves and have been quiet since before a moment.
pub async fn quiet(db: &Db, before: Millis, limit: u64) -> Result<Vec<Server>, StoreError> {
    let select = select()
        .and_where(Expr::col(S::Phase).eq(Phase::Running.as_str()))
        .and_where(Expr::col(S::Wanted).eq(Wanted::Running.as_str()))
        .and_where(Expr::col(S::AutoSleep).eq(1))
        .and_where(Expr::col(S::QuietSince).lte(before.0))
        .order_by(S::QuietSince, Order::Asc)
        .order_by(S::Id, Order::Asc)
        .limit(limit)
        .to_owned();
    rows(db, select).await
}

/// Somebody's servers that are wanted running.
pub async fn wanted_running(db: &Db, owner: &UserId, limit: u64) -> Result<Vec<Server>, StoreError> {
    let select = select()
        .and_where(Expr::col(S::Owner).eq(owner.as_str()))
        .and_where(Expr::col(S::Wanted).eq(Wanted::Running.as_str()))
        .order_by(S::Id, Order::Asc)
        .limit(limit)
        .to_owned();
    rows(db, select).await
}

#[derive(FromRow)]
struct NumberRow {
    number: i64,
}

/// The /29s that are given out on a node, in order.
pub async fn subnets(db: &Db, node: &NodeId, limit: u64) -> Result<Vec<u32>, StoreError> {
    let select = Query::select()
        .expr_as(Expr::col(S::Subnet), "number")
        .from(S::Table)
        .and_where(Expr::col(S::Node).eq(node.as_str()))
        .order_by(S::Subnet, Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<NumberRow>(&select).await?.into_iter().map(|row| small(row.number, "servers.subnet")).collect()
}

/// Servers of one size on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Where.
    pub node: NodeId,
    /// Catalogue entry.
    pub game: GameId,
    /// Its size.
    pub plan: PlanId,
    /// How many.
    pub number: u32,
}

#[derive(FromRow)]
struct GroupRow {
    node: String,
    game: String,
    plan: String,
    number: i64,
}

/// How many servers of each size are on each node, or on one.
pub async fn count_by_plan(db: &Db, only: Option<&NodeId>) -> Result<Vec<Group>, StoreError> {
    let mut select = Query::select()
        .columns([S::Node, S::Game, S::Plan])
        .expr_as(Expr::col(S::Id).count(), "number")
        .from(S::Table)
        .group_by_columns([S::Node, S::Game, S::Plan])
        .to_owned();
    if let Some(node) = only {
        select.and_where(Expr::col(S::Node).eq(node.as_str()));
    }
    let rows: Vec<GroupRow> = db.all(&select).await?;
    let group = |row: GroupRow| {
        Ok(Group {
            node: row.node.parse().map_err(|_| StoreError::Unreadable("servers.node"))?,
            game: row.game.parse().map_err(|_| StoreError::Unreadable("servers.game"))?,
            plan: row.plan.parse().map_err(|_| StoreError::Unreadable("servers.plan"))?,
            number: small(row.number, "servers.number")?,
        })
    };
    rows.into_iter().map(group).collect()
}

/// How many servers somebody has.
pub async fn count_of_owner(db: &Db, owner: &UserId) -> Result<i64, StoreError> {
    let select = Query::select()
        .expr_as(Expr::col(S::Id).count(), "number")
        .from(S::Table)
        .and_where(Expr::col(S::Owner).eq(owner.as_str()))
        .to_owned();
    Ok(db.opt::<NumberRow>(&select).await?.map_or(0, |row| row.number))
}

#[derive(FromRow)]
struct PhaseRow {
    node: String,
    phase: String,
    number: i64,
}

/// How many servers are in each phase on each node.
pub async fn count_by_phase(db: &Db) -> Result<Vec<(NodeId, Phase, i64)>, StoreError> {
    let select = Query::select()
        .columns([S::Node, S::Phase])
        .expr_as(Expr::col(S::Id).count(), "number")
        .from(S::Table)
        .group_by_columns([S::Node, S::Phase])
        .to_owned();
    let rows: Vec<PhaseRow> = db.all(&select).await?;
    rows.into_iter()
        .map(|row| {
            let node = row.node.parse().map_err(|_| StoreError::Unreadable("servers.node"))?;
            let phase = Phase::parse(&row.phase).ok_or(StoreError::Unreadable("servers.phase"))?;
            Ok((node, phase, row.number))
        })
        .collect()
}
