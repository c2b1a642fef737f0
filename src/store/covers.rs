//! Time that a subscription covers a server. What is known of it may come late: the meter counts with whatever stands here when it is
//! asked, and [`super::usage::charged`] before and after a change says what has to be given back.

use super::db::Sql;
use super::{Db, StoreError};
use crate::model::ids::ServerId;
use crate::model::time::Millis;

/// Begins to cover a server, if nothing does; true when that is new.
pub async fn begin(db: &Db, server: &ServerId, from: Millis) -> Result<bool, StoreError> {
    const BEGIN: &str = "INSERT INTO covers (server, from_ms) SELECT $1, CASE WHEN MAX(to_ms) > $2 THEN MAX(to_ms) ELSE $2 END \
        FROM covers WHERE server = $1 HAVING COUNT(*) = COUNT(to_ms) \
        ON CONFLICT (server, from_ms) DO UPDATE SET to_ms = NULL";
    Ok(db.run(Sql::Text(BEGIN, vec![server.as_str().into(), from.0.into()])).await? == 1)
}

/// Ends it.
pub async fn end(db: &Db, server: &ServerId, to: Millis) -> Result<u64, StoreError> {
    const END: &str = "UPDATE covers SET to_ms = CASE WHEN from_ms > $2 THEN from_ms ELSE $2 END WHERE server = $1 AND to_ms IS NULL";
    db.run(Sql::Text(END, vec![server.as_str().into(), to.0.into()])).await
}
