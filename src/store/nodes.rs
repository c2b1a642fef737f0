//! Machines, as they last described themselves.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::NodeId;
use crate::model::nodes::{Load, Node, Specs};
use crate::model::time::Millis;

#[derive(Iden)]
enum Nodes {
    Table,
    Id,
    PublicHost,
    Specs,
    Load,
    SeenAt,
    ConfirmedAt,
    TroubleSince,
}

#[derive(FromRow)]
struct NodeRow {
    id: String,
    public_host: String,
    specs: String,
    load: String,
    seen_at: Option<i64>,
    confirmed_at: Option<i64>,
    trouble_since: Option<i64>,
}

impl TryFrom<NodeRow> for Node {
    type Error = StoreError;
    fn try_from(row: NodeRow) -> Result<Node, StoreError> {
        Ok(Node {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("nodes.id"))?,
            public_host: row.public_host,
            specs: serde_json::from_str(&row.specs).map_err(|_| StoreError::Unreadable("nodes.specs"))?,
            load: serde_json::from_str(&row.load).map_err(|_| StoreError::Unreadable("nodes.load"))?,
            seen_at: row.seen_at.map(Millis),
            confirmed_at: row.confirmed_at.map(Millis),
            trouble_since: row.trouble_since.map(Millis),
        })
    }
}

fn select() -> sea_query::SelectStatement {
    Query::select()
        .columns([Nodes::Id, Nodes::PublicHost, Nodes::Specs, Nodes::Load, Nodes::SeenAt, Nodes::ConfirmedAt, Nodes::TroubleSince])
        .from(Nodes::Table)
        .to_owned()
}

/// Makes a node or changes the name by which players reach it.
pub async fn introduce(db: &Db, id: &NodeId, public_host: &str) -> Result<(), StoreError> {
    let empty = |_| StoreError::Unreadable("nodes.specs");
    let specs = serde_json::to_string(&Specs::default()).map_err(empty)?;
    let load = serde_json::to_string(&Load::default()).map_err(empty)?;
    let insert = Query::insert()
        .into_table(Nodes::Table)
        .columns([Nodes::Id, Nodes::PublicHost, Nodes::Specs, Nodes::Load])
        .values_panic([id.as_str().into(), public_host.into(), specs.into(), load.into()])
        .on_conflict(OnConflict::column(Nodes::Id).update_column(Nodes::PublicHost).to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Notes what it said of its machine.
pub async fn set_specs(db: &Db, id: &NodeId, specs: &Specs) -> Result<(), StoreError> {
    let body = serde_json::to_string(specs).map_err(|_| StoreError::Unreadable("nodes.specs"))?;
    let update = Query::update().table(Nodes::Table).value(Nodes::Specs, body).and_where(Expr::col(Nodes::Id).eq(id.as_str())).to_owned();
    db.run(&update).await.map(drop)
}

/// Notes a heartbeat; with `confirmed_at`, that all it said of running servers has been taken in up to that moment.
pub async fn beat(
    db: &Db,
    id: &NodeId,
    load: &Load,
    trouble_since: Option<Millis>,
    confirmed_at: Option<Millis>,
    now: Millis,
) -> Result<(), StoreError> {
    let body = serde_json::to_string(load).map_err(|_| StoreError::Unreadable("nodes.load"))?;
    let mut update = Query::update()
        .table(Nodes::Table)
        .value(Nodes::Load, body)
        .value(Nodes::SeenAt, now.0)
        .value(Nodes::TroubleSince, trouble_since.map(|at| at.0))
        .and_where(Expr::col(Nodes::Id).eq(id.as_str()))
        .to_owned();
    if let Some(at) = confirmed_at {
        update.value(Nodes::ConfirmedAt, at.0);
    }
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
