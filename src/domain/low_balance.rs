//! Telling people in time that their credits run out: once, by letter, and again only when there was enough in between.

use super::{Ctx, Refusal, mails};
use crate::model::accounts::Email;
use crate::model::ids::UserId;
use crate::model::mails::Mail;
use crate::model::money::Credits;
use crate::model::time::Millis;
use crate::store::{top_ups, usage, users};

/// Accounts of one look.
const BATCH: i64 = 500;
/// Less than this many hours of what runs now is little.
const HOURS: i64 = 24;

/// Looks at everybody whose servers cost something, and at those who were told before.
pub(super) async fn tick(ctx: &Ctx) -> Result<(), Refusal> {
    let (now, mark) = (ctx.clock.now(), ctx.policy.sales.low);
    loop {
        // Whoever is told is not in the next batch.
        let low = usage::running_low(&ctx.db, now, (mark, HOURS), BATCH).await?;
        for (user, left, per_hour) in &low {
            tell(ctx, user, *left, *per_hour, now).await?;
        }
        if low.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
            break;
        }
    }
    let mut after = String::new();
    loop {
        let told = top_ups::told(&ctx.db, &after, BATCH).await?;
        let Some((last, _)) = told.last() else { return Ok(()) };
        last.as_str().clone_into(&mut after);
        for (user, balance) in told {
            let (accrued, per_hour) = usage::accrued(&ctx.db, &user, now).await?;
            let left = balance - accrued;
            if left >= mark && left.0 >= per_hour.0.saturating_mul(HOURS) {
                top_ups::enough(&ctx.db, &user).await?;
            }
        }
    }
}

async fn tell(ctx: &Ctx, user: &UserId, left: Credits, per_hour: Credits, now: Millis) -> Result<(), Refusal> {
    let tx = ctx.db.begin().await?;
    if !top_ups::tell_low(&tx, user, now).await? {
        return Ok(());
    }
    if let Some(to) = users::by_id(&tx, user).await?.and_then(|user| Email::parse(&user.email).ok()) {
        let hours = left.0.max(0) / per_hour.0.max(1);
        let lasts = if hours < 1 { "less than an hour".to_owned() } else { format!("about {hours} hours") };
        let cents = left.0.div_euclid(10_000);
        let text = format!(
            "You have {}.{:02} credits left. At what runs now they last {lasts}; at zero your servers that run on credits fall asleep. Nothing is lost.\n\n\
             Add credits: {}/billing",
            cents / 100,
            (cents % 100).abs(),
            ctx.policy.base_url
        );
        let mail = Mail { key: format!("low:{user}:{}", now.0), to, subject: "Your credits are running low".to_owned(), text };
        mails::post(ctx, &tx, &mail).await?;
    }
    tx.commit().await?;
    Ok(())
}
