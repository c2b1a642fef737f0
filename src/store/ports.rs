//! Public ports: one row for each node, number and protocol, so that the database itself refuses to give one out twice.

use sea_query::{Expr, ExprTrait, Iden, Order, Query};
use sqlx::FromRow;

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::games::Protocol;
use crate::model::ids::{NodeId, ServerId};

#[derive(Iden)]
enum Ports {
    Table,
    Node,
    Port,
    Protocol,
    Server,
}

#[derive(FromRow)]
struct PortRow {
    port: i64,
}

/// More than the range holds, with both protocols.
const PORTS_MAX: u64 = 20_000;

/// The numbers that are given out on a node, in order.
pub async fn taken(db: &Db, node: &NodeId) -> Result<Vec<u16>, StoreError> {
    let select = Query::select()
        .column(Ports::Port)
        .from(Ports::Table)
        .and_where(Expr::col(Ports::Node).eq(node.as_str()))
        .order_by(Ports::Port, Order::Asc)
        .limit(PORTS_MAX)
        .to_owned();
    let rows: Vec<PortRow> = db.all(&select).await?;
    rows.into_iter().map(|row| u16::try_from(row.port).map_err(|_| StoreError::Unreadable("ports.port"))).collect()
}

/// Gives one out; [`StoreError::Exists`] when somebody has it.
pub async fn reserve(db: &Db, node: &NodeId, port: u16, protocol: Protocol, server: &ServerId) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(Ports::Table)
        .columns([Ports::Node, Ports::Port, Ports::Protocol, Ports::Server])
        .values_panic([node.as_str().into(), i64::from(port).into(), protocol.as_str().into(), server.as_str().into()])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Gives all of a server's back.
pub async fn release(db: &Db, server: &ServerId) -> Result<(), StoreError> {
    let delete = Query::delete().from_table(Ports::Table).and_where(Expr::col(Ports::Server).eq(server.as_str())).to_owned();
    db.run(&delete).await.map(drop)
}

#[derive(FromRow)]
struct LostRow {
    node: String,
    port: i64,
}

/// Ports that are kept for servers without a row: their nodes and numbers, in order.
pub async fn without_row(db: &Db, limit: i64) -> Result<Vec<(String, i64)>, StoreError> {
    const LOST: &str = "SELECT node, port FROM ports WHERE NOT EXISTS (SELECT 1 FROM servers WHERE servers.id = ports.server) \
        ORDER BY node, port LIMIT $1";
    Ok(db.all::<LostRow>(Sql::Text(LOST, vec![limit.into()])).await?.into_iter().map(|row| (row.node, row.port)).collect())
}
