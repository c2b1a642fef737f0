//! Letters: written into an outbox in the transaction of what they tell of, and sent from there, so that none is lost and none
//! tells of what did not happen. Without a mail server they wait where whoever runs the panel can read them.

use super::{Actor, Ctx, Refusal};
use crate::mail::MailError;
use crate::model::mails::{Mail, wait_after};
use crate::model::time::{DAY, MINUTE};
use crate::model::users::Right;
use crate::store::{Db, StoreError, mails};

pub use crate::store::mails::Posted;

/// Letters of one tick.
const BATCH: u64 = 50;
/// Letters that are shown.
const SHOWN: u64 = 100;
/// Nobody else tries a letter that somebody is at, for so long.
const LEASE: i64 = 2 * MINUTE;
/// Letters are forgotten after so long; their keys with them.
const KEPT: i64 = 400 * DAY;

/// Writes a letter; false when one of its key was written before. Sent once the transaction is through.
pub async fn post(ctx: &Ctx, tx: &Db, mail: &Mail) -> Result<bool, StoreError> {
    mails::insert(tx, mail, ctx.clock.now()).await
}

/// Sends what is due; gives how many went. Without a mail server nothing does.
pub async fn tick(ctx: &Ctx) -> Result<u64, Refusal> {
    let Some(mailer) = &ctx.mail else { return Ok(0) };
    let mut went = 0;
    for posted in mails::due(&ctx.db, ctx.clock.now(), BATCH).await? {
        if !mails::claim(&ctx.db, &posted, ctx.clock.now() + LEASE).await? {
            continue;
        }
        let key = posted.mail.key.as_str();
        let Some(mail) = super::sign_in::written(ctx, &posted.mail).await? else {
            mails::failed(&ctx.db, key, "its link has ended before it went", None).await?;
            continue;
        };
        match mailer.send(&mail).await {
            Ok(()) => {
                mails::sent(&ctx.db, key, ctx.clock.now()).await?;
                went += 1;
            }
            Err(error) => {
                let hopeless = matches!(error, MailError::Letter(_) | MailError::Refused { for_good: true, .. });
                let wait = if hopeless { None } else { wait_after(posted.attempts + 1) };
                tracing::warn!(mail = key, error = &error as &dyn std::error::Error, again = wait.is_some(), "a letter did not go");
                mails::failed(&ctx.db, key, &error.to_string(), wait.map(|wait| ctx.clock.now() + wait)).await?;
            }
        }
    }
    Ok(went)
}

/// The newest letters, and those that did not go.
///
/// # Errors
/// [`Refusal::NotFound`] for whoever sees only their own things, [`Refusal::Forbidden`] for all but admins: a letter can open an account.
pub async fn newest(ctx: &Ctx, actor: &Actor) -> Result<Vec<Posted>, Refusal> {
    if !actor.may_at_all(Right::ManageUsers) {
        return Err(if actor.is_staff() { Refusal::Forbidden } else { Refusal::NotFound });
    }
    Ok(mails::newest(&ctx.db, SHOWN).await?)
}

/// Forgets what is old.
pub(super) async fn sweep(ctx: &Ctx) -> Result<u64, Refusal> {
    Ok(mails::sweep(&ctx.db, ctx.clock.now() - KEPT).await?)
}
