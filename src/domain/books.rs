//! Do the books balance? Asked every night, by `roost doctor`, and answered loudly where they do not.
//!
//! Five things must hold: each balance is the sum of its entries, and so is what is kept of each day; a charge takes and lies in a span
//! of time; no two charges of one server overlap; commands and ports belong to servers that are there. What is wrong is named and never
//! mended by itself.

use serde::{Deserialize, Serialize};

use super::{Ctx, Refusal};
use crate::model::time::{DAY, HOUR, Millis};
use crate::store::{Db, StoreError, commands, ledger, panel, ports, reports};

/// Names of what is wrong that are told.
const TOLD_MAX: i64 = 20;
/// Name under which the last answer is kept.
const KEPT: &str = "books";
/// The check runs once a day, from this hour on, UTC.
const NIGHT: i64 = 3 * HOUR;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// When it looked.
    pub at: Millis,
    /// What is wrong, a sentence each; empty: all is well.
    pub wrong: Vec<String>,
}

/// Looks through the whole ledger.
pub async fn check(db: &Db, now: Millis) -> Result<Books, StoreError> {
    let mut wrong = Vec::new();
    for user in ledger::out_of_balance(db, TOLD_MAX).await? {
        wrong.push(format!("The balance of the account {user} is not the sum of its entries."));
    }
    for user in ledger::days_out_of_sum(db, TOLD_MAX).await? {
        wrong.push(format!("The days of the account {user} are not the sums of their entries."));
    }
    for key in reports::odd_charges(db, TOLD_MAX).await? {
        wrong.push(format!("The entry {key} overlaps another charge of its server, or does not take what it should."));
    }
    for command in commands::without_row(db, TOLD_MAX.unsigned_abs()).await? {
        wrong.push(format!(
            "The command {} to the node {} is about a server that is gone. The panel drops it within ten minutes.",
            command.id, command.node
        ));
    }
    for (node, port) in ports::without_row(db, TOLD_MAX).await? {
        wrong.push(format!("The port {port} of the node {node} is kept for a server that is gone."));
    }
    Ok(Books { at: now, wrong })
}

/// The last answer; none: nobody has looked yet.
pub async fn last(ctx: &Ctx) -> Result<Option<Books>, Refusal> {
    Ok(panel::get(&ctx.db, KEPT).await?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Looks once a night. True: it was done now.
pub async fn nightly(ctx: &Ctx) -> Result<bool, Refusal> {
    let now = ctx.clock.now();
    let night = |at: Millis| (at.0 - NIGHT).div_euclid(DAY);
    if last(ctx).await?.is_some_and(|books| night(books.at) >= night(now)) {
        return Ok(false);
    }
    let books = check(&ctx.db, now).await?;
    for sentence in &books.wrong {
        tracing::error!(wrong = sentence, "the books do not balance");
    }
    metrics::gauge!("roost_books_wrong").set(u32::try_from(books.wrong.len()).unwrap_or(u32::MAX));
    let text = serde_json::to_string(&books).map_err(|_| StoreError::Unreadable("books to write"))?;
    panel::set(&ctx.db, KEPT, &text).await?;
    Ok(true)
}
