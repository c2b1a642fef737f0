//! Facts about this panel itself: its id, and the hash of the setup link while there is no admin.

use sea_query::{Expr, ExprTrait, Iden, OnConflict, Query};
use sqlx::FromRow;

use super::{Db, StoreError, Tx};

#[derive(Iden)]
enum Panel {
    Table,
    Name,
    Value,
}

/// The row that [`hold`] touches.
const HELD: &str = "held";

#[derive(FromRow)]
struct ValueRow {
    value: String,
}

/// The value kept under this name.
pub async fn get(db: &Db, name: &str) -> Result<Option<String>, StoreError> {
    let select = Query::select().column(Panel::Value).from(Panel::Table).and_where(Expr::col(Panel::Name).eq(name)).to_owned();
    Ok(db.opt::<ValueRow>(&select).await?.map(|row| row.value))
}

/// Keeps a value, over an older one.
pub async fn set(db: &Db, name: &str, value: &str) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(Panel::Table)
        .columns([Panel::Name, Panel::Value])
        .values_panic([name.into(), value.into()])
        .on_conflict(OnConflict::column(Panel::Name).update_column(Panel::Value).to_owned())
        .to_owned();
    db.run(&insert).await.map(drop)
}

/// Holds the panel until this transaction ends: whoever else wants to hold it waits. For what is counted over all accounts.
pub async fn hold(tx: &Tx) -> Result<(), StoreError> {
    let touch = Query::update()
        .table(Panel::Table)
        .value(Panel::Name, Expr::col(Panel::Name))
        .and_where(Expr::col(Panel::Name).eq(HELD))
        .to_owned();
    if tx.run(&touch).await? == 0 {
        // The first one ever; of two at the same moment one waits for the other at the name.
        set(tx, HELD, "").await?;
    }
    Ok(())
}

/// Removes a value if it is still this one; true when it was. Used where a thing may happen once.
pub async fn take(db: &Db, name: &str, value: &str) -> Result<bool, StoreError> {
    let delete = Query::delete()
        .from_table(Panel::Table)
        .and_where(Expr::col(Panel::Name).eq(name))
        .and_where(Expr::col(Panel::Value).eq(value))
        .to_owned();
    Ok(db.run(&delete).await? == 1)
}
