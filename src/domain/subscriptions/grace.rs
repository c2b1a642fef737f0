//! Servers that nobody pays for: their owners are told in time, their data go at the end, and until then they can go on by the hour.

use super::{Shared, address, own};
use crate::domain::servers::{self, Cause};
use crate::domain::{Actor, Refusal, billing, mails};
use crate::model::ids::ServerId;
use crate::model::mails::Mail;
use crate::model::servers::{Server, Wanted};
use crate::model::subscriptions::{Grace, grace};
use crate::model::time::{HOUR, Millis};
use crate::store::{StoreError, servers as server_rows, subscriptions};

/// Servers of one look.
const BATCH: u64 = 500;

/// Warns and ends.
pub(super) async fn tick(ctx: &Shared) -> Result<(), Refusal> {
    let mut after = String::new();
    loop {
        let all = server_rows::expired(&ctx.db, &after, BATCH).await?;
        let Some(last) = all.last() else { return Ok(()) };
        last.id.as_str().clone_into(&mut after);
        for server in all {
            match one(ctx, &server).await {
                Ok(()) | Err(Refusal::NotFound | Refusal::Store(StoreError::Stale)) => {}
                Err(error) => {
                    tracing::warn!(server = %server.id, error = &error as &dyn std::error::Error, "an expired server could not be looked at; next time again");
                }
            }
        }
    }
}

async fn one(ctx: &Shared, server: &Server) -> Result<(), Refusal> {
    let Some(delete_after) = server.delete_after else { return Ok(()) };
    let now = ctx.clock.now();
    let Some(mut row) = subscriptions::of_server(&ctx.db, &server.id).await? else {
        // Made to be paid by the month, and nobody went to pay: nothing has ever run in it.
        return if now < delete_after { Ok(()) } else { end(ctx, server).await };
    };
    match grace(delete_after, row.warned_at, ctx.policy.sales.grace, now) {
        Grace::Wait => Ok(()),
        Grace::Warn(end) => {
            let tx = ctx.db.begin().await?;
            row.warned_at = Some(now);
            subscriptions::save(&tx, &mut row).await?;
            if let Some(to) = address(&tx, &row.user).await? {
                let text = format!(
                    "Nobody pays for your server \"{}\", and in about {} hours it is deleted with all its data. There is no way back after that.\n\n\
                     To keep it, pay for it again, or let it go on by the hour with credits: {}/servers/{}",
                    server.name,
                    (end.since(now) + HOUR / 2) / HOUR,
                    ctx.policy.base_url,
                    server.id
                );
                let subject = format!("Your server {} will be deleted soon", server.name);
                mails::post(ctx, &tx, &Mail { key: format!("grace:{}:{}:soon", row.id, now.0), to, subject, text }).await?;
            }
            tx.commit().await?;
            move_end(ctx, server, end).await
        }
        Grace::End => {
            let tx = ctx.db.begin().await?;
            if let Some(to) = address(&tx, &row.user).await? {
                let text = format!("Nobody paid for your server \"{}\" in time, and it has been deleted with all its data.", server.name);
                let subject = format!("Your server {} is deleted", server.name);
                mails::post(ctx, &tx, &Mail { key: format!("grace:{}:{}:end", row.id, delete_after.0), to, subject, text }).await?;
            }
            tx.commit().await?;
            end(ctx, server).await
        }
    }
}

async fn end(ctx: &Shared, server: &Server) -> Result<(), Refusal> {
    let cause = Cause::new("subscription", "Nobody paid for it in time.");
    servers::update(ctx, &server.id, &cause, |server, now| {
        if server.life.wanted == Wanted::Expired {
            server.life.want(Wanted::Deleted, now);
        }
        Ok(())
    })
    .await?;
    Ok(())
}

async fn move_end(ctx: &Shared, server: &Server, end: Millis) -> Result<(), Refusal> {
    if server.delete_after == Some(end) {
        return Ok(());
    }
    let cause = Cause::new("subscription", "Its owner had not been told in time, so its data stay a little longer.");
    servers::update(ctx, &server.id, &cause, |server, _| {
        if server.life.wanted == Wanted::Expired {
            server.delete_after = Some(end);
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// Lets an expired server go on by the hour, with credits. What is left of its subscription is ended.
///
/// # Errors
/// [`Refusal::Conflict`] where it is not expired, or no credits are left.
pub async fn by_the_hour(ctx: &Shared, actor: &Actor, id: &ServerId) -> Result<(), Refusal> {
    let server = own(ctx, actor, id).await?;
    if server.life.wanted != Wanted::Expired {
        return Err(Refusal::Conflict("It has not expired; there is nothing to go on from.".to_owned()));
    }
    if !billing::can_pay(ctx, &server.owner).await? {
        return Err(Refusal::Conflict("No credits are left. Get credits, then it can go on by the hour.".to_owned()));
    }
    let now = ctx.clock.now();
    // First what is paid by the month, so that nobody pays twice.
    subscriptions::end_of_server(&ctx.db, id, now).await?;
    ctx.payments_nudge.notify_one();
    let cause = Cause::new(actor.user.email.clone(), "Goes on by the hour.");
    servers::update(ctx, id, &cause, |server, now| {
        if server.life.wanted == Wanted::Expired {
            let from = server.expired_from.take();
            server.delete_after = None;
            server.life.want(from.unwrap_or(Wanted::Asleep), now);
        }
        Ok(())
    })
    .await?;
    Ok(())
}
