//! How each machine did, a row a minute while it is online. Written by the panel's figures, read by the machine's page.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::figures::NodeSample;
use crate::model::ids::NodeId;
use crate::model::time::Millis;

#[derive(Iden, Clone, Copy)]
enum NodeSamples {
    Table,
    Node,
    At,
    CpuMillis,
    MemoryMib,
    DiskUsedMib,
    DiskFreeMib,
    Awake,
}

use NodeSamples as N;

const COLUMNS: [NodeSamples; 6] = [N::At, N::CpuMillis, N::MemoryMib, N::DiskUsedMib, N::DiskFreeMib, N::Awake];

/// Rows of one statement.
pub const BATCH_MAX: usize = 500;

#[derive(FromRow)]
struct SampleRow {
    at: i64,
    cpu_millis: i64,
    memory_mib: i64,
    disk_used_mib: i64,
    disk_free_mib: i64,
    awake: i64,
}

impl TryFrom<SampleRow> for NodeSample {
    type Error = StoreError;
    fn try_from(row: SampleRow) -> Result<NodeSample, StoreError> {
        let small = |number: i64| u32::try_from(number).map_err(|_| StoreError::Unreadable("node_samples"));
        Ok(NodeSample {
            at: Millis(row.at),
            cpu_millis: small(row.cpu_millis)?,
            memory_mib: small(row.memory_mib)?,
            disk_used_mib: small(row.disk_used_mib)?,
            disk_free_mib: small(row.disk_free_mib)?,
            awake: small(row.awake)?,
        })
    }
}

/// Keeps samples, [`BATCH_MAX`] with each statement; a node's second one of the same moment is not kept. Gives how many were.
///
/// # Errors
/// [`StoreError::InUse`] where a node is gone; nothing of that batch is kept.
pub async fn insert(db: &Db, samples: &[(NodeId, NodeSample)]) -> Result<u64, StoreError> {
    let mut kept = 0;
    for batch in samples.chunks(BATCH_MAX) {
        let mut insert = Query::insert().into_table(N::Table).columns([N::Node].into_iter().chain(COLUMNS)).to_owned();
        for (node, sample) in batch {
            insert.values_panic([
                node.as_str().into(),
                sample.at.0.into(),
                i64::from(sample.cpu_millis).into(),
                i64::from(sample.memory_mib).into(),
                i64::from(sample.disk_used_mib).into(),
                i64::from(sample.disk_free_mib).into(),
                i64::from(sample.awake).into(),
            ]);
        }
        insert.on_conflict(OnConflict::columns([N::Node, N::At]).do_nothing().to_owned());
        kept += db.run(&insert).await?;
    }
    Ok(kept)
}

/// A node's samples since a moment, oldest first.
pub async fn since(db: &Db, node: &NodeId, from: Millis, limit: u64) -> Result<Vec<NodeSample>, StoreError> {
    let select = Query::select()
        .columns(COLUMNS)
        .from(N::Table)
        .and_where(Expr::col(N::Node).eq(node.as_str()))
        .and_where(Expr::col(N::At).gte(from.0))
        .order_by(N::At, Order::Asc)
        .limit(limit)
        .to_owned();
    db.all::<SampleRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Forgets those before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(N::Table).and_where(Expr::col(N::At).lt(before.0)).to_owned();
    db.run(&delete).await
}
