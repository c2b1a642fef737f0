//! What Stripe says of a subscription, put where it belongs: into its row, the time that is covered, and the server.
//!
//! Three steps, each a transaction: the row with what is covered and what its owner is told; the server; the row again, which is due until
//! then. Killed in between, the next look does the rest.

use super::look::{LOOK_EVERY, Seen};
use super::{Shared, address};
use crate::domain::servers::{self, Cause};
use crate::domain::{Ctx, Refusal, billing, mails, payments};
use crate::model::ledger::{Entry, EntryKind};
use crate::model::mails::Mail;
use crate::model::money::Credits;
use crate::model::servers::{Server, Wanted};
use crate::model::subscriptions::{Standing, Status, Subscription};
use crate::model::time::{DAY, Millis};
use crate::payments::SubscriptionSeen;
use crate::store::{Tx, covers, ledger, servers as server_rows, subscriptions, usage};

/// Applies it; a row that has moved meanwhile is looked at anew.
pub(super) async fn apply(ctx: &Shared, mut row: Subscription, seen: &SubscriptionSeen) -> Result<(), Seen> {
    let livemode = ctx.stripe.as_ref().is_some_and(crate::payments::Stripe::livemode);
    if seen.livemode != livemode || !payments::is_customer(&ctx.db, &row.user, Some(&seen.customer)).await? {
        payments::differ(ctx, &ctx.db, &format!("Subscription {} is not of the customer of this panel. It is left alone.", seen.id))
            .await?;
        return rest(ctx, row).await;
    }
    let Some(standing) = seen.status.standing() else {
        payments::differ(
            ctx,
            &ctx.db,
            &format!("Subscription {} has a status that this program does not know. It is left alone.", seen.id),
        )
        .await?;
        return rest(ctx, row).await;
    };
    take_over(ctx, &mut row, seen).await?;
    let tx = ctx.db.begin().await?;
    let given = step_one(ctx, &tx, &mut row, seen, standing).await?;
    if let Some(paid) = &seen.paid {
        super::came_in(&tx, &seen.id, paid).await?;
    }
    subscriptions::save(&tx, &mut row).await?;
    tx.commit().await?;
    if given {
        billing::moved(ctx, &row.user).await?;
    }
    match standing {
        Standing::Waiting => {}
        Standing::Covered if row.end_wanted => {}
        Standing::Covered => cover(ctx, &row).await?,
        Standing::Lapsed | Standing::Over => expire(ctx, &row).await?,
    }
    rest(ctx, row).await
}

/// Stripe does not know it any more, so nobody pays for it.
pub(super) async fn unknown(ctx: &Shared, row: Subscription) -> Result<(), Seen> {
    let name = row.stripe.clone().unwrap_or_default();
    payments::differ(ctx, &ctx.db, &format!("Subscription {name} is not known to Stripe any more. It counts as ended.")).await?;
    let mut row = row;
    row.status = Status::Canceled;
    row.ended_at = row.ended_at.or(Some(ctx.clock.now()));
    let tx = ctx.db.begin().await?;
    lapse(ctx, &tx, &mut row).await?;
    subscriptions::save(&tx, &mut row).await?;
    tx.commit().await?;
    expire(ctx, &row).await?;
    rest(ctx, row).await
}

/// Until the next look: a day, and never again for one that has ended.
async fn rest(ctx: &Ctx, mut row: Subscription) -> Result<(), Seen> {
    row.attempts = 0;
    row.due_at = row.ended_at.is_none().then(|| ctx.clock.now() + LOOK_EVERY);
    Ok(subscriptions::save(&ctx.db, &mut row).await?)
}

/// What is only noted.
async fn take_over(ctx: &Ctx, row: &mut Subscription, seen: &SubscriptionSeen) -> Result<(), Refusal> {
    row.status = seen.status;
    row.cancel_at_end = seen.cancel_at_end;
    row.pay_url.clone_from(&seen.pay_url);
    let Some(item) = &seen.item else { return Ok(()) };
    row.period_end = Some(item.period_end);
    if item.cents.is_some_and(|cents| cents != row.cents) && row.plan_wanted.is_none() {
        let what = format!("Subscription {} costs another amount at Stripe than this panel sold it for.", seen.id);
        payments::differ(ctx, &ctx.db, &what).await?;
        row.cents = item.cents.unwrap_or(row.cents);
    }
    Ok(())
}

/// Row, covered time and letters; true where credits were given back.
async fn step_one(ctx: &Ctx, tx: &Tx, row: &mut Subscription, seen: &SubscriptionSeen, standing: Standing) -> Result<bool, Refusal> {
    let now = ctx.clock.now();
    match standing {
        Standing::Waiting => Ok(false),
        Standing::Covered => {
            let Some(server) = server_rows::by_id(tx, &row.server).await? else {
                row.end_wanted = true;
                return Ok(false);
            };
            if row.end_wanted || server.life.wanted == Wanted::Deleted {
                row.end_wanted = true;
                return Ok(false);
            }
            // From when it was bought, though that is heard later; from now on where it had lapsed.
            let bought = seen.started_at.max(row.created_at).min(now);
            let from = if row.lapsed_at.is_some() { now } else { bought };
            (row.lapsed_at, row.warned_at) = (None, None);
            begin_cover(ctx, tx, &server, row, from).await
        }
        Standing::Lapsed => {
            lapse(ctx, tx, row).await?;
            Ok(false)
        }
        Standing::Over => {
            row.ended_at = row.ended_at.or(seen.ended_at).or(Some(now));
            lapse(ctx, tx, row).await?;
            Ok(false)
        }
    }
}

/// Covers a server from a moment on. What was charged for time behind it is given back, to the last micro-credit.
async fn begin_cover(ctx: &Ctx, tx: &Tx, server: &Server, row: &Subscription, from: Millis) -> Result<bool, Refusal> {
    let before = usage::charged(tx, &server.id).await?;
    if !covers::begin(tx, &server.id, from).await? {
        return Ok(false);
    }
    let back = before - usage::charged(tx, &server.id).await?;
    if back <= Credits::ZERO {
        return Ok(true);
    }
    let entry = Entry {
        key: format!("cover:{}:{}", row.id, row.generation),
        at: ctx.clock.now(),
        amount: back,
        kind: EntryKind::Covered,
        server: Some((server.id.clone(), server.name.clone())),
        span: None,
        note: String::new(),
    };
    ledger::post(tx, &server.owner, &entry).await?;
    Ok(true)
}

/// Its time is not paid any more: from now on, and its owner is told, once.
async fn lapse(ctx: &Ctx, tx: &Tx, row: &mut Subscription) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let covered = covers::end(tx, &row.server, now).await? > 0;
    if !covered || row.lapsed_at.is_some() {
        return Ok(());
    }
    row.lapsed_at = Some(now);
    let server = server_rows::by_id(tx, &row.server).await?;
    let Some(server) = server.filter(|server| server.life.wanted != Wanted::Deleted && !row.end_wanted) else { return Ok(()) };
    let Some(to) = address(tx, &row.user).await? else { return Ok(()) };
    let sales = &ctx.policy.sales;
    let why = if row.ended_at.is_some() { "Its subscription has ended." } else { "The payment for its subscription did not work." };
    let text = format!(
        "Your server \"{}\" has stopped. {why} Its data are kept for {} days, and then they are deleted.\n\n\
         To have it back as it was, pay for it again, or let it go on by the hour with credits: {}/servers/{}",
        server.name,
        sales.grace / DAY,
        ctx.policy.base_url,
        server.id
    );
    let subject = format!("Your server {} has stopped", server.name);
    mails::post(ctx, tx, &Mail { key: format!("grace:{}:{}:begin", row.id, now.0), to, subject, text }).await?;
    Ok(())
}

/// The server is paid for: it is back where it was, if it had expired.
async fn cover(ctx: &Shared, row: &Subscription) -> Result<(), Refusal> {
    let cause = Cause::new("subscription", "Its subscription is paid.");
    let changed = servers::update(ctx, &row.server, &cause, |server, now| {
        server.covered = true;
        server.delete_after = None;
        let from = server.expired_from.take();
        if server.life.wanted == Wanted::Expired {
            server.life.want(from.unwrap_or(Wanted::Asleep), now);
        }
        Ok(())
    });
    gone_is_fine(changed.await)
}

/// The server is not paid for any more: it stops, and its data stay for a while.
async fn expire(ctx: &Shared, row: &Subscription) -> Result<(), Refusal> {
    let newest = subscriptions::of_server(&ctx.db, &row.server).await?;
    let Some(lapsed_at) = row.lapsed_at.filter(|_| newest.is_some_and(|newest| newest.id == row.id)) else { return Ok(()) };
    let why = if row.ended_at.is_some() { "Its subscription has ended." } else { "A payment for its subscription failed." };
    let (cause, grace) = (Cause::new("subscription", why), ctx.policy.sales.grace);
    let changed = servers::update(ctx, &row.server, &cause, |server, now| {
        if !server.covered {
            return Ok(());
        }
        server.covered = false;
        if !matches!(server.life.wanted, Wanted::Deleted | Wanted::Expired) {
            server.expired_from = Some(server.life.wanted);
            server.delete_after = Some(lapsed_at + grace);
            server.life.want(Wanted::Expired, now);
        }
        Ok(())
    });
    gone_is_fine(changed.await)
}

fn gone_is_fine<T>(changed: Result<T, Refusal>) -> Result<(), Refusal> {
    match changed {
        Ok(_) | Err(Refusal::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}
