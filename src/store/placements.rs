//! Where servers were placed, or were not, and why: for those who run the nodes.

use sea_query::{Iden, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::{NodeId, ServerId, UserId};
use crate::model::placing::Wish;
use crate::model::time::Millis;

#[derive(Iden)]
enum Placements {
    Table,
    Id,
    At,
    Owner,
    Server,
    ServerName,
    Wish,
    Node,
    Why,
}

/// A choice, or that there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Grows with time.
    pub id: String,
    /// When.
    pub at: Millis,
    /// For whom.
    pub owner: UserId,
    /// The server; none: it was not made.
    pub server: Option<ServerId>,
    /// Its name.
    pub server_name: String,
    /// What was asked for.
    pub wish: Wish,
    /// Where to; none: no node fits.
    pub node: Option<NodeId>,
    /// In words.
    pub why: String,
}

#[derive(FromRow)]
struct PlacementRow {
    id: String,
    at: i64,
    owner: String,
    server: Option<String>,
    server_name: String,
    wish: String,
    node: Option<String>,
    why: String,
}

impl TryFrom<PlacementRow> for Placement {
    type Error = StoreError;
    fn try_from(row: PlacementRow) -> Result<Placement, StoreError> {
        Ok(Placement {
            id: row.id,
            at: Millis(row.at),
            owner: row.owner.parse().map_err(|_| StoreError::Unreadable("placements.owner"))?,
            server: row.server.map(|id| id.parse()).transpose().map_err(|_| StoreError::Unreadable("placements.server"))?,
            server_name: row.server_name,
            wish: serde_json::from_str(&row.wish).map_err(|_| StoreError::Unreadable("placements.wish"))?,
            node: row.node.map(|id| id.parse()).transpose().map_err(|_| StoreError::Unreadable("placements.node"))?,
            why: row.why,
        })
    }
}

/// Keeps one.
pub async fn insert(db: &Db, placement: &Placement) -> Result<(), StoreError> {
    use Placements as P;
    let wish = serde_json::to_string(&placement.wish).map_err(|_| StoreError::Unreadable("placements.wish"))?;
    let insert = Query::insert()
        .into_table(P::Table)
        .columns([P::Id, P::At, P::Owner, P::Server, P::ServerName, P::Wish, P::Node, P::Why])
        .values_panic([
            placement.id.as_str().into(),
            placement.at.0.into(),
            placement.owner.as_str().into(),
            placement.server.as_ref().map(ServerId::as_str).into(),
            placement.server_name.as_str().into(),
            wish.into(),
            placement.node.as_ref().map(NodeId::as_str).into(),
            placement.why.as_str().into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// The last ones, newest first.
pub async fn latest(db: &Db, limit: u64) -> Result<Vec<Placement>, StoreError> {
    use Placements as P;
    let select = Query::select()
        .columns([P::Id, P::At, P::Owner, P::Server, P::ServerName, P::Wish, P::Node, P::Why])
        .from(P::Table)
        .order_by(P::At, Order::Desc)
        .order_by(P::Id, Order::Desc)
        .limit(limit)
        .to_owned();
    db.all::<PlacementRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Forgets those from before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    use sea_query::{Expr, ExprTrait};
    let delete = Query::delete().from_table(Placements::Table).and_where(Expr::col(Placements::At).lt(before.0)).to_owned();
    db.run(&delete).await
}
