//! Credits: what was charged and why, what runs up now, and putting servers to sleep when nothing is left.

use std::sync::Arc;

use super::servers::{self, Cause};
use super::{Actor, Change, Ctx, Fields, Refusal, low_balance};
use crate::model::accounts::Email;
use crate::model::ids::UserId;
use crate::model::ledger::{Entry, EntryKind};
use crate::model::money::Credits;
use crate::model::servers::{Server, Wanted};
use crate::model::time::Millis;
use crate::model::users::Right;
use crate::store::{Db, ledger, nodes, servers as server_rows, usage, users};

/// Entries of one page of the ledger.
pub const PAGE: u64 = 50;
/// Most credits of one grant or demonstration top-up.
const GRANT_MAX: Credits = Credits::whole(1_000_000);
/// Most credits of one free top-up on a panel for demonstrations.
const DEMO_MAX: Credits = Credits::whole(1_000);
/// Longest note of a grant.
const NOTE_MAX: usize = 200;
/// Accounts put to sleep in one tick.
const ACCOUNTS: i64 = 1_000;
/// Nodes whose spans are charged.
const NODES: u64 = 10_000;
/// Servers of one account put to sleep at once.
const SERVERS: u64 = 1_000;

/// The state of somebody's credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// Sum of the ledger.
    pub balance: Credits,
    /// What has run up since the last charge.
    pub accrued: Credits,
    /// What runs now, an hour.
    pub per_hour: Credits,
}

fn may_see(actor: &Actor) -> Result<(), Refusal> {
    if actor.may_at_all(Right::SeeBilling) { Ok(()) } else { Err(Refusal::Forbidden) }
}

/// Balance, what has run up, and what runs.
///
/// # Errors
/// [`Refusal::Forbidden`] where the actor's token does not cover it.
pub async fn overview(ctx: &Ctx, actor: &Actor) -> Result<Overview, Refusal> {
    may_see(actor)?;
    let (accrued, per_hour) = usage::accrued(&ctx.db, &actor.user.id, ctx.clock.now()).await?;
    Ok(Overview { balance: actor.user.balance, accrued, per_hour })
}

/// One page of somebody's own ledger, newest first, behind an entry.
pub async fn entries(ctx: &Ctx, actor: &Actor, behind: Option<(Millis, &str)>) -> Result<Vec<Entry>, Refusal> {
    may_see(actor)?;
    Ok(ledger::of_user(&ctx.db, &actor.user.id, behind, PAGE).await?)
}

/// The balance that somebody had when the entry `(at, key)` had not been posted yet.
pub async fn balance_before(ctx: &Ctx, actor: &Actor, (at, key): (Millis, &str)) -> Result<Credits, Refusal> {
    let sum = ledger::sum_from(&ctx.db, &actor.user.id, at, key).await?;
    Ok(actor.user.balance - sum)
}

/// May this account give credits to others?
pub fn may_grant(actor: &Actor) -> bool {
    actor.may_at_all(Right::GrantCredits)
}

/// May this server run: is it paid by the month, or can its owner pay for another minute?
pub(super) async fn may_run(ctx: &Ctx, server: &Server) -> Result<bool, Refusal> {
    Ok(server.covered || can_pay(ctx, &server.owner).await?)
}

/// Can this account pay for another minute?
pub(super) async fn can_pay(ctx: &Ctx, user: &UserId) -> Result<bool, Refusal> {
    Ok(left(&ctx.db, user, ctx.clock.now()).await? > Credits::ZERO)
}

/// What an account can still spend: its balance without what has run up since the last charge. Nothing of one that is not there.
pub(super) async fn left(db: &Db, user: &UserId, now: Millis) -> Result<Credits, Refusal> {
    let Some(account) = users::by_id(db, user).await? else { return Ok(Credits::ZERO) };
    let (accrued, _) = usage::accrued(db, user, now).await?;
    Ok(account.balance - accrued)
}

fn amount(typed: &str, most: Credits, fields: &mut Fields) -> Credits {
    match typed.trim().parse::<Credits>() {
        Ok(amount) if amount == Credits::ZERO || amount > most || amount < -most => {
            fields.add("amount", format!("Between 0.01 and {most} credits at a time."));
            Credits::ZERO
        }
        Ok(amount) => amount,
        Err(why) => {
            fields.add("amount", format!("This is {why}."));
            Credits::ZERO
        }
    }
}

/// Gives or, with a negative amount, takes credits. For admins, with a note that the account's owner sees. `request` makes
/// a form that is sent twice count once.
///
/// # Errors
/// [`Refusal::Invalid`] at `email`, `amount`, `note`; [`Refusal::Forbidden`].
pub async fn grant(ctx: &Ctx, actor: &Actor, email: &str, typed: &str, note: &str, request: &str) -> Result<Credits, Refusal> {
    if !actor.may_at_all(Right::GrantCredits) {
        return Err(Refusal::Forbidden);
    }
    let mut fields = Fields::default();
    let credits = amount(typed, GRANT_MAX, &mut fields);
    let note = note.trim();
    if note.chars().count() > NOTE_MAX || note.chars().any(char::is_control) {
        fields.add("note", "A note has at most 200 characters and no line breaks.");
    }
    let account = match Email::parse(email) {
        Ok(email) => users::by_email(&ctx.db, &email).await?.map(|(user, _)| user),
        Err(why) => {
            fields.add("email", why);
            None
        }
    };
    if account.is_none() && fields.at("email").is_none() {
        fields.add("email", "There is no account with this address.");
    }
    fields.check()?;
    let account = account.ok_or(Refusal::NotFound)?;
    post(ctx, &account.id, format!("grant:{}", key_part(request)), credits, EntryKind::Grant, note).await?;
    Ok(credits)
}

/// Adds credits freely, where the operator has opened that for demonstrations.
///
/// # Errors
/// [`Refusal::Conflict`] where it is closed; [`Refusal::Invalid`] at `amount`.
pub async fn add_funds(ctx: &Ctx, actor: &Actor, typed: &str, request: &str) -> Result<Credits, Refusal> {
    if !ctx.policy.demo_top_up {
        return Err(Refusal::Conflict("This panel takes no payments. Ask whoever runs it for credits.".to_owned()));
    }
    let mut fields = Fields::default();
    let credits = amount(typed, DEMO_MAX, &mut fields);
    if credits < Credits::ZERO {
        fields.add("amount", "Credits can be added here, not taken.");
    }
    fields.check()?;
    post(ctx, &actor.user.id, format!("demo:{}:{}", actor.user.id, key_part(request)), credits, EntryKind::Demonstration, "").await?;
    Ok(credits)
}

/// What is said where a form's key comes again with another account or amount.
const OTHER_CONTENT: &str = "This request came with another account or amount before, and that was counted. Send a new one.";

/// What a form brings to be counted once; made up where it brings nothing usable.
pub(super) fn key_part(request: &str) -> String {
    let usable = (8..=64).contains(&request.len()) && request.bytes().all(|b| b.is_ascii_alphanumeric());
    if usable { request.to_owned() } else { hex::encode(Ctx::random::<16>()) }
}

async fn post(ctx: &Ctx, user: &UserId, key: String, amount: Credits, kind: EntryKind, note: &str) -> Result<(), Refusal> {
    let entry = Entry { key, at: ctx.clock.now(), amount, kind, server: None, span: None, note: note.to_owned() };
    let tx = ctx.db.begin().await?;
    match ledger::post(&tx, user, &entry).await {
        Err(crate::store::StoreError::Exists(_)) => {
            drop(tx);
            let same = ledger::posted(&ctx.db, &entry.key).await? == Some((user.clone(), amount));
            // The same form again: it has been counted.
            return if same { Ok(()) } else { Err(Refusal::Conflict(OTHER_CONTENT.to_owned())) };
        }
        other => other?,
    }
    tx.commit().await?;
    moved(ctx, user).await
}

/// A balance has moved: pages show it, servers learn whether they may wake, and the meter looks whether any has to sleep.
pub(super) async fn moved(ctx: &Ctx, user: &UserId) -> Result<(), Refusal> {
    ctx.tell(Change::Balance(user.clone()));
    for server in server_rows::of_owner(&ctx.db, user, SERVERS).await? {
        server_rows::set_due(&ctx.db, &server.id, Millis(0)).await?;
    }
    ctx.nudge.notify_one();
    ctx.billing_nudge.notify_one();
    Ok(())
}

/// Posts what has come due and puts to sleep whatever nobody can pay for. Safe to run at any time, any number of times.
pub async fn tick(ctx: &Arc<Ctx>) -> Result<u64, Refusal> {
    let now = ctx.clock.now();
    let mut charged = 0;
    for node in nodes::list(&ctx.db, NODES).await? {
        // Time that the node has not confirmed is charged when it has.
        let confirmed_at = node.confirmed_at.unwrap_or(Millis(0));
        loop {
            let batch = usage::charge_batch(&ctx.db, &node.id, confirmed_at, now).await?;
            charged += batch;
            if batch == 0 {
                break;
            }
        }
    }
    let broke = usage::overdrawn(&ctx.db, now, ACCOUNTS).await?;
    for user in broke {
        for server in server_rows::wanted_running(&ctx.db, &user, SERVERS).await?.into_iter().filter(|server| !server.covered) {
            let why = "The owner's credits are used up.";
            let cause = Cause::new("billing", why);
            servers::update(ctx, &server.id, &cause, |server, now| {
                if server.life.wanted == Wanted::Running && !server.covered {
                    server.life.want(Wanted::Asleep, now);
                }
                Ok(())
            })
            .await?;
        }
        // Those that sleep already must learn that traffic may not wake them now.
        for server in server_rows::of_owner(&ctx.db, &user, SERVERS).await? {
            server_rows::set_due(&ctx.db, &server.id, Millis(0)).await?;
        }
        ctx.tell(Change::Balance(user));
    }
    low_balance::tick(ctx).await?;
    Ok(charged)
}
