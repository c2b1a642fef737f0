//! Machines, as they last described themselves, and the certificates by which they are known.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query, UpdateStatement};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::NodeId;
use crate::model::nodes::{Certificate, Load, Node, Profile, Specs, Standing};
use crate::model::time::Millis;

#[derive(Iden)]
enum Nodes {
    Table,
    Id,
    Name,
    PublicHost,
    Specs,
    Load,
    SeenAt,
    ConfirmedAt,
    TroubleSince,
    Region,
    Tags,
    Slots,
    Net,
    State,
    Agent,
    Wire,
    Cert,
    CertUntil,
    NextCert,
    NextCertUntil,
    Skew,
    Refused,
    RefusedAt,
    Draining,
    DevMode,
    Placed,
}

#[derive(FromRow)]
struct NodeRow {
    id: String,
    name: String,
    public_host: String,
    specs: String,
    load: String,
    seen_at: Option<i64>,
    confirmed_at: Option<i64>,
    trouble_since: Option<i64>,
    region: String,
    tags: String,
    slots: Option<i64>,
    net: String,
    state: String,
    agent: String,
    wire: Option<i64>,
    cert: Option<String>,
    cert_until: Option<i64>,
    next_cert: Option<String>,
    next_cert_until: Option<i64>,
    skew: Option<i64>,
    refused: Option<String>,
    refused_at: Option<i64>,
    draining: i64,
    dev_mode: i64,
}

fn certificate(fingerprint: Option<String>, until: Option<i64>) -> Option<Certificate> {
    fingerprint.zip(until).map(|(fingerprint, until)| Certificate { fingerprint, until: Millis(until) })
}

impl TryFrom<NodeRow> for Node {
    type Error = StoreError;
    fn try_from(row: NodeRow) -> Result<Node, StoreError> {
        let small = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        Ok(Node {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("nodes.id"))?,
            name: row.name,
            public_host: row.public_host,
            specs: serde_json::from_str(&row.specs).map_err(|_| StoreError::Unreadable("nodes.specs"))?,
            load: serde_json::from_str(&row.load).map_err(|_| StoreError::Unreadable("nodes.load"))?,
            seen_at: row.seen_at.map(Millis),
            confirmed_at: row.confirmed_at.map(Millis),
            trouble_since: row.trouble_since.map(Millis),
            region: row.region,
            tags: serde_json::from_str(&row.tags).map_err(|_| StoreError::Unreadable("nodes.tags"))?,
            slots: small(row.slots),
            net: serde_json::from_str(&row.net).map_err(|_| StoreError::Unreadable("nodes.net"))?,
            standing: Standing::parse(&row.state).ok_or(StoreError::Unreadable("nodes.state"))?,
            agent: row.agent,
            wire: small(row.wire),
            certificate: certificate(row.cert, row.cert_until),
            next_certificate: certificate(row.next_cert, row.next_cert_until),
            skew: row.skew,
            refused: row.refused.zip(row.refused_at.map(Millis)),
            draining: row.draining != 0,
            dev_mode: row.dev_mode != 0,
        })
    }
}

fn select() -> sea_query::SelectStatement {
    use Nodes as N;
    Query::select()
        .columns([N::Id, N::Name, N::PublicHost, N::Specs, N::Load, N::SeenAt, N::ConfirmedAt, N::TroubleSince])
        .columns([N::Region, N::Tags, N::Slots, N::Net, N::State, N::Agent, N::Wire])
        .columns([N::Cert, N::CertUntil, N::NextCert, N::NextCertUntil, N::Skew, N::Refused, N::RefusedAt, N::Draining, N::DevMode])
        .from(N::Table)
        .to_owned()
}

fn update(id: &NodeId) -> UpdateStatement {
    Query::update().table(Nodes::Table).and_where(Expr::col(Nodes::Id).eq(id.as_str())).to_owned()
}

fn json(what: &impl serde::Serialize, column: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(what).map_err(|_| StoreError::Unreadable(column))
}

/// Makes a node or changes the name by which players reach it.
pub async fn introduce(db: &Db, id: &NodeId, public_host: &str) -> Result<(), StoreError> {
    let specs = json(&Specs::default(), "nodes.specs")?;
    let load = json(&Load::default(), "nodes.load")?;
    let insert = Query::insert()
        .into_table(Nodes::Table)
        .columns([Nodes::Id, Nodes::PublicHost, Nodes::Specs, Nodes::Load])
        .values_panic([id.as_str().into(), public_host.into(), specs.into(), load.into()])
        .on_conflict(OnConflict::column(Nodes::Id).update_column(Nodes::PublicHost).to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Makes a node that has been invited and has not come.
///
/// # Errors
/// [`StoreError::Exists`] where the id is taken.
pub async fn invite(db: &Db, id: &NodeId, name: &str, region: &str) -> Result<(), StoreError> {
    let specs = json(&Specs::default(), "nodes.specs")?;
    let load = json(&Load::default(), "nodes.load")?;
    let insert = Query::insert()
        .into_table(Nodes::Table)
        .columns([Nodes::Id, Nodes::Name, Nodes::Region, Nodes::State, Nodes::PublicHost, Nodes::Specs, Nodes::Load])
        .values_panic([
            id.as_str().into(),
            name.into(),
            region.into(),
            Standing::Invited.as_str().into(),
            "".into(),
            specs.into(),
            load.into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Notes what it said of its machine and of itself. What it leaves open stays as it is.
pub async fn register(db: &Db, id: &NodeId, wire: u32, specs: &Specs, profile: &Profile) -> Result<(), StoreError> {
    let mut update = update(id);
    update
        .value(Nodes::Specs, json(specs, "nodes.specs")?)
        .value(Nodes::Tags, json(&profile.tags, "nodes.tags")?)
        .value(Nodes::Net, json(&profile.net, "nodes.net")?)
        .value(Nodes::Slots, profile.slots.map(i64::from))
        .value(Nodes::Agent, profile.agent.as_str())
        .value(Nodes::Wire, i64::from(wire));
    if !profile.region.is_empty() {
        update.value(Nodes::Region, profile.region.as_str());
    }
    if !profile.public_host.is_empty() {
        update.value(Nodes::PublicHost, profile.public_host.as_str());
    }
    db.run(&update).await.map(drop)
}

/// A heartbeat as it is kept.
#[derive(Debug, Clone)]
pub struct Beat<'a> {
    /// How the node does.
    pub load: &'a Load,
    /// Since when it is in trouble.
    pub trouble_since: Option<Millis>,
    /// All that it said of running servers has been taken in up to this moment.
    pub confirmed_at: Option<Millis>,
    /// How far its clock is ahead.
    pub skew: Option<i64>,
    /// When it was heard.
    pub now: Millis,
}

/// Notes a heartbeat; false where there is no such node.
pub async fn beat(db: &Db, id: &NodeId, beat: &Beat<'_>) -> Result<bool, StoreError> {
    let mut update = update(id);
    update
        .value(Nodes::Load, json(beat.load, "nodes.load")?)
        .value(Nodes::SeenAt, beat.now.0)
        .value(Nodes::TroubleSince, beat.trouble_since.map(|at| at.0));
    if let Some(at) = beat.confirmed_at {
        update.value(Nodes::ConfirmedAt, at.0);
    }
    if let Some(skew) = beat.skew {
        update.value(Nodes::Skew, skew);
    }
    Ok(db.run(&update).await? == 1)
}

/// It has come with a token: from now on it is known by this certificate, and by no older one.
pub async fn joined(db: &Db, id: &NodeId, certificate: &Certificate) -> Result<bool, StoreError> {
    let update = update(id)
        .value(Nodes::State, Standing::Joined.as_str())
        .value(Nodes::Cert, certificate.fingerprint.as_str())
        .value(Nodes::CertUntil, certificate.until.0)
        .value(Nodes::NextCert, None::<String>)
        .value(Nodes::NextCertUntil, None::<i64>)
        .value(Nodes::Refused, None::<String>)
        .value(Nodes::RefusedAt, None::<i64>)
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// A further certificate was given to a node that is known by `held`; false where that one counts no more.
pub async fn renew(db: &Db, id: &NodeId, held: &str, next: &Certificate) -> Result<bool, StoreError> {
    let update = update(id)
        .value(Nodes::NextCert, next.fingerprint.as_str())
        .value(Nodes::NextCertUntil, next.until.0)
        .and_where(Expr::col(Nodes::State).eq(Standing::Joined.as_str()))
        .and_where(Expr::col(Nodes::Cert).eq(held))
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// The further certificate has been used: it takes the place of the one before. False where somebody else did that, or took it back.
pub async fn promote(db: &Db, id: &NodeId, next: &Certificate) -> Result<bool, StoreError> {
    let update = update(id)
        .value(Nodes::Cert, next.fingerprint.as_str())
        .value(Nodes::CertUntil, next.until.0)
        .value(Nodes::NextCert, None::<String>)
        .value(Nodes::NextCertUntil, None::<i64>)
        .and_where(Expr::col(Nodes::NextCert).eq(next.fingerprint.as_str()))
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// Its certificates count no more.
pub async fn revoke(db: &Db, id: &NodeId) -> Result<bool, StoreError> {
    let update = update(id)
        .value(Nodes::State, Standing::Revoked.as_str())
        .value(Nodes::NextCert, None::<String>)
        .value(Nodes::NextCertUntil, None::<i64>)
        .and_where(Expr::col(Nodes::State).ne(Standing::Revoked.as_str()))
        .to_owned();
    Ok(db.run(&update).await? == 1)
}

/// Notes why it was turned away; none: it was let in.
pub async fn note_refusal(db: &Db, id: &NodeId, why: Option<(&str, Millis)>) -> Result<(), StoreError> {
    let (why, at) = why.unzip();
    let update = update(id).value(Nodes::Refused, why).value(Nodes::RefusedAt, at.map(|at| at.0)).to_owned();
    db.run(&update).await.map(drop)
}

/// Says whether it takes no new servers. Waits for whoever holds it.
pub async fn set_draining(db: &Db, id: &NodeId, draining: bool) -> Result<(), StoreError> {
    let update = update(id).value(Nodes::Draining, i64::from(draining)).to_owned();
    db.run(&update).await.map(drop)
}

/// Forgets a node. Refused by the database while a server names it.
pub async fn remove(db: &Db, id: &NodeId) -> Result<bool, StoreError> {
    let delete = Query::delete().from_table(Nodes::Table).and_where(Expr::col(Nodes::Id).eq(id.as_str())).to_owned();
    Ok(db.run(&delete).await? == 1)
}

/// Switches dev mode.
pub async fn set_dev_mode(db: &Db, id: &NodeId, on: bool) -> Result<(), StoreError> {
    let update = update(id).value(Nodes::DevMode, i64::from(on)).to_owned();
    db.run(&update).await.map(drop)
}

/// Holds a node until the transaction ends: whoever else wants to hold it waits.
pub async fn hold(db: &Db, id: &NodeId) -> Result<(), StoreError> {
    let update = update(id).value(Nodes::Placed, Expr::col(Nodes::Placed).add(1)).to_owned();
    db.run(&update).await.map(drop)
}

/// One node.
pub async fn by_id(db: &Db, id: &NodeId) -> Result<Option<Node>, StoreError> {
    let select = select().and_where(Expr::col(Nodes::Id).eq(id.as_str())).to_owned();
    db.opt::<NodeRow>(&select).await?.map(TryInto::try_into).transpose()
}

/// All nodes, by id.
pub async fn list(db: &Db, limit: u64) -> Result<Vec<Node>, StoreError> {
    let select = select().order_by(Nodes::Id, Order::Asc).limit(limit).to_owned();
    db.all::<NodeRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}
