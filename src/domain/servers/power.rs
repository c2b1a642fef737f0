//! What an owner can ask of a server. Handlers write only what is wanted; the rule of life does the rest.

use std::sync::Arc;

use super::{Cause, find, update};
use crate::domain::{Actor, Ctx, Fields, Refusal, billing};
use crate::model::ids::ServerId;
use crate::model::servers::{Server, Wanted};
use crate::model::users::Right;
use crate::store::users;

/// A button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// From asleep to running.
    Wake,
    /// From running to asleep.
    Hibernate,
    /// From stopped or asleep to running.
    Start,
    /// To stopped.
    Stop,
    /// Running, anew.
    Restart,
}

impl Power {
    /// All of them.
    pub const ALL: [Power; 5] = [Power::Wake, Power::Hibernate, Power::Start, Power::Stop, Power::Restart];

    /// As in the routes.
    pub fn as_str(self) -> &'static str {
        match self {
            Power::Wake => "wake",
            Power::Hibernate => "hibernate",
            Power::Start => "start",
            Power::Stop => "stop",
            Power::Restart => "restart",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Power> {
        Power::ALL.into_iter().find(|power| power.as_str() == text)
    }

    /// What it makes of a server that is wanted like this; or why it makes no sense.
    ///
    /// # Errors
    /// The reason, one sentence.
    pub fn applied_to(self, wanted: Wanted, in_trouble: bool) -> Result<Wanted, &'static str> {
        use Wanted::{Asleep, Deleted, Expired, Running, Stopped};
        match (self, wanted) {
            (_, Deleted) => Err("It is being deleted."),
            (_, Expired) => Err("Its subscription has ended. Pay for it first; its data are kept."),
            (Power::Wake | Power::Start, Running) if in_trouble => Ok(Running),
            (Power::Wake | Power::Start, Running) => Err("It is awake already, or waking."),
            (Power::Wake | Power::Start, Asleep) | (Power::Start, Stopped) => Ok(Running),
            (Power::Wake, Stopped) => Err("It is stopped and does not sleep. Start it."),
            (Power::Hibernate, Running) => Ok(Asleep),
            (Power::Hibernate, Asleep) => Err("It is asleep already, or falling asleep."),
            (Power::Hibernate, Stopped) => Err("It is stopped. Start it, then it can sleep."),
            (Power::Stop, Running | Asleep) => Ok(Stopped),
            (Power::Stop, Stopped) => Err("It is stopped already, or stopping."),
            (Power::Restart, Running) => Ok(Running),
            (Power::Restart, Asleep | Stopped) => Err("It does not run. Start it instead."),
        }
    }
}

fn reason(power: Power) -> &'static str {
    match power {
        Power::Wake => "Woken by hand.",
        Power::Hibernate => "Put to sleep by hand.",
        Power::Start => "Started by hand.",
        Power::Stop => "Stopped by hand.",
        Power::Restart => "Restarted by hand.",
    }
}

/// Presses a button.
///
/// # Errors
/// [`Refusal::Conflict`] with the reason where it makes no sense, or where credits are missing.
pub async fn power(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId, power: Power) -> Result<Server, Refusal> {
    let server = find(ctx, actor, id, Right::PowerServer).await?;
    let conflict = |why: &str| Refusal::Conflict(why.to_owned());
    let wanted = power.applied_to(server.life.wanted, server.life.trouble.is_some()).map_err(conflict)?;
    if wanted == Wanted::Running && !billing::may_run(ctx, &server).await? {
        return Err(conflict("No credits are left. Get credits, then it can run."));
    }
    if users::by_id(&ctx.db, &server.owner).await?.is_none_or(|owner| owner.suspended.is_some()) {
        return Err(conflict("Its owner's account is suspended."));
    }
    let cause = Cause::new(actor.user.email.clone(), reason(power));
    let changed = update(ctx, id, &cause, |server, now| {
        let wanted = power.applied_to(server.life.wanted, server.life.trouble.is_some()).map_err(conflict)?;
        if power == Power::Restart {
            server.life.restart_before = Some(now);
            server.life.forgive();
        } else {
            server.life.want(wanted, now);
        }
        Ok(())
    })
    .await?;
    changed.ok_or(Refusal::NotFound)
}

/// Tries again what has failed, now.
///
/// # Errors
/// [`Refusal::Conflict`] when nothing has failed.
pub async fn retry(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId) -> Result<Server, Refusal> {
    find(ctx, actor, id, Right::PowerServer).await?;
    let cause = Cause::new(actor.user.email.clone(), "Tried again by hand.");
    let changed = update(ctx, id, &cause, |server, now| {
        if server.life.trouble.is_none() {
            return Err(Refusal::Conflict("Nothing has failed; there is nothing to try again.".to_owned()));
        }
        let wanted = server.life.wanted;
        server.life.want(wanted, now);
        Ok(())
    })
    .await?;
    changed.ok_or(Refusal::NotFound)
}

/// Deletes a server with all its data. `confirm` is the name that the page asks for; the API does not ask.
///
/// # Errors
/// [`Refusal::Invalid`] at `confirm`; [`Refusal::Conflict`] when it is being deleted.
pub async fn delete(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId, confirm: Option<&str>) -> Result<Option<Server>, Refusal> {
    let server = find(ctx, actor, id, Right::DeleteServer).await?;
    if confirm.is_some_and(|typed| typed.trim() != server.name.trim()) {
        let mut fields = Fields::default();
        fields.add("confirm", "This is not the server's name. Type it as it stands above; nothing has been deleted.");
        return Err(Refusal::Invalid(fields));
    }
    let cause = Cause::new(actor.user.email.clone(), "Deleted by hand, with its data.");
    update(ctx, id, &cause, |server, now| {
        if server.life.wanted == Wanted::Deleted {
            return Err(Refusal::Conflict("It is being deleted already.".to_owned()));
        }
        server.life.want(Wanted::Deleted, now);
        Ok(())
    })
    .await
}
