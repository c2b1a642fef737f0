//! What sleeping has saved somebody this month: what their servers would have cost awake all the time, less what they cost.

use super::{Actor, Ctx, Refusal, reports::Month, servers};
use crate::model::money::Credits;
use crate::model::time::{HOUR, Millis};
use crate::store::reports;

/// Saved since the first of the month, UTC. Servers that are gone or paid by the month are not counted. As fresh as [`Ctx`] keeps it.
pub async fn this_month(ctx: &Ctx, actor: &Actor) -> Result<Credits, Refusal> {
    let (owner, now) = (&actor.user.id, ctx.clock.now());
    let mark = match ctx.savings.get(owner, now) {
        Ok(saved) => return Ok(saved),
        Err(mark) => mark,
    };
    let from = Month::of(now).begins();
    let servers = servers::list(ctx, actor).await?;
    let always = |since: Millis, per_hour: Credits| {
        let ms = i128::from(now.since(since.max(from)));
        Credits(i64::try_from(ms * i128::from(per_hour.0) / i128::from(HOUR)).unwrap_or(i64::MAX))
    };
    let awake: Credits = servers.iter().filter(|server| !server.covered).map(|server| always(server.created_at, server.per_hour)).sum();
    let saved = (awake - reports::ran_since(&ctx.db, owner, from, now).await?).max(Credits::ZERO);
    ctx.savings.keep(owner.clone(), saved, mark, now);
    Ok(saved)
}
