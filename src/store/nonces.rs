//! Nonces of signed requests that were believed, so that each is believed once, by whichever panel it comes to.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Query};

use super::{Db, StoreError};
use crate::model::ids::ServerId;
use crate::model::time::Millis;

#[derive(Iden)]
enum Nonces {
    Table,
    Server,
    Nonce,
    At,
}

/// Remembers a nonce; false when it was there already.
pub async fn remember(db: &Db, server: &ServerId, nonce: &str, now: Millis) -> Result<bool, StoreError> {
    let insert = Query::insert()
        .into_table(Nonces::Table)
        .columns([Nonces::Server, Nonces::Nonce, Nonces::At])
        .values_panic([server.as_str().into(), nonce.into(), now.0.into()])
        .on_conflict(OnConflict::columns([Nonces::Server, Nonces::Nonce]).do_nothing().to_owned())
        .to_owned();
    Ok(db.run(&insert).await? == 1)
}

/// Forgets those from before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(Nonces::Table).and_where(Expr::col(Nonces::At).lt(before.0)).to_owned();
    db.run(&delete).await
}
