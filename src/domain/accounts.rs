//! Managing accounts: finding one, its role, shutting it out, ending its sessions. For admins; whoever reads all may look.
//!
//! Nobody changes their own role or shuts themselves out, and all such changes queue behind one row, so that an admin always remains.
//! There is no way to act as somebody else.

use std::collections::HashMap;
use std::sync::Arc;

use super::servers::{self, Cause};
use super::{Actor, Change, Ctx, Fields, Refusal};
use crate::model::ids::UserId;
use crate::model::servers::{Server, Wanted};
use crate::model::users::{Right, Role, Suspension, User};
use crate::store::{Tx, panel, server_lists, servers as server_rows, tokens, users};

pub use crate::store::users::Question;

/// Accounts of one page.
pub const PAGE: u64 = 50;
/// Servers of one account that its page shows.
const SERVERS_MAX: u64 = 200;
/// Longest reason, in characters.
const WHY_MAX: usize = 200;
/// Name of the row behind which changes of roles queue.
const QUEUE: &str = "roles";

/// An account in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The account.
    pub user: User,
    /// How many servers it has.
    pub servers: i64,
}

fn may_see(actor: &Actor) -> Result<(), Refusal> {
    if actor.may_at_all(Right::SeeUsers) { Ok(()) } else { Err(Refusal::NotFound) }
}

/// May the actor change accounts? For pages that show only what works.
pub fn may_manage(actor: &Actor) -> bool {
    actor.may_at_all(Right::ManageUsers)
}

/// Asks for the right to change accounts.
///
/// # Errors
/// [`Refusal::NotFound`] for whoever may not even see them; [`Refusal::Forbidden`].
pub fn must_manage(actor: &Actor) -> Result<(), Refusal> {
    may_see(actor)?;
    if may_manage(actor) { Ok(()) } else { Err(Refusal::Forbidden) }
}

/// Accounts in the order of their addresses, behind one of them.
pub async fn list(ctx: &Ctx, actor: &Actor, question: &Question, after: Option<&str>) -> Result<Vec<Line>, Refusal> {
    may_see(actor)?;
    let found = users::list(&ctx.db, question, after, PAGE).await?;
    let counts: HashMap<UserId, i64> = server_lists::count_of_owners(&ctx.db, found.iter().map(|user| &user.id)).await?;
    Ok(found.into_iter().map(|user| Line { servers: counts.get(&user.id).copied().unwrap_or_default(), user }).collect())
}

/// One account and its servers.
pub async fn look(ctx: &Ctx, actor: &Actor, id: &UserId) -> Result<(User, Vec<Server>), Refusal> {
    may_see(actor)?;
    let user = users::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)?;
    let servers = server_rows::of_owner(&ctx.db, id, SERVERS_MAX).await?;
    Ok((user, servers))
}

/// The account that is to change, in a transaction in which nobody else changes one.
async fn to_change(ctx: &Ctx, actor: &Actor, id: &UserId) -> Result<(Tx, User), Refusal> {
    must_manage(actor)?;
    let tx = ctx.db.begin().await?;
    panel::set(&tx, QUEUE, &Ctx::dated_id(ctx.clock.now())).await?;
    // Whoever waited for the row may have lost the right meanwhile.
    let me = users::by_id(&tx, &actor.user.id).await?.ok_or(Refusal::Forbidden)?;
    if me.role != Role::Admin || me.suspended.is_some() {
        return Err(Refusal::Forbidden);
    }
    let user = users::by_id(&tx, id).await?.ok_or(Refusal::NotFound)?;
    Ok((tx, user))
}

fn not_oneself(actor: &Actor, user: &User, what: &str) -> Result<(), Refusal> {
    if actor.user.id == user.id { Err(Refusal::Conflict(format!("Nobody {what}. Ask another admin."))) } else { Ok(()) }
}

/// Gives an account another role. Its tokens stay, and count for no more than the new role.
///
/// # Errors
/// [`Refusal::Invalid`] at `role`; [`Refusal::Conflict`] for one's own.
pub async fn set_role(ctx: &Ctx, actor: &Actor, id: &UserId, role: &str) -> Result<User, Refusal> {
    let (tx, user) = to_change(ctx, actor, id).await?;
    let Some(role) = Role::parse(role) else {
        let mut fields = Fields::default();
        fields.add("role", "Choose one of the roles.");
        return Err(Refusal::Invalid(fields));
    };
    not_oneself(actor, &user, "changes their own role")?;
    users::set_role(&tx, id, role).await?;
    tx.commit().await?;
    actor.trail.note(format!("{}: from {} to {}", user.email, user.role.as_str(), role.as_str()));
    ctx.tell(Change::Rights(id.clone()));
    Ok(User { role, ..user })
}

/// Shuts an account out: sessions and tokens end, its servers are stopped, their data stay.
///
/// # Errors
/// [`Refusal::Invalid`] at `why`; [`Refusal::Conflict`] for one's own, or when it is shut out already.
pub async fn suspend(ctx: &Arc<Ctx>, actor: &Actor, id: &UserId, why: &str) -> Result<User, Refusal> {
    let (tx, user) = to_change(ctx, actor, id).await?;
    let why = why.trim();
    let mut fields = Fields::default();
    if why.is_empty() {
        fields.add("why", "Say why: its owner reads it when they try to log in.");
    } else if why.chars().count() > WHY_MAX || why.chars().any(char::is_control) {
        fields.add("why", "A reason has at most 200 characters and no line breaks.");
    }
    fields.check()?;
    not_oneself(actor, &user, "suspends themselves")?;
    if user.suspended.is_some() {
        return Err(Refusal::Conflict("It is suspended already.".to_owned()));
    }
    let now = ctx.clock.now();
    let suspension = Suspension { at: now, why: why.to_owned() };
    users::set_suspended(&tx, id, Some(&suspension)).await?;
    users::end_sessions(&tx, id, now + 1).await?;
    tokens::revoke_all(&tx, id).await?;
    tx.commit().await?;
    actor.trail.note(format!("{}: {why}", user.email));
    ctx.tell(Change::Rights(id.clone()));
    for server in server_rows::of_owner(&ctx.db, id, SERVERS_MAX).await? {
        let cause = Cause::new("the panel", "Its owner's account was suspended.");
        let stopped = servers::update(ctx, &server.id, &cause, |server, now| {
            if matches!(server.life.wanted, Wanted::Running | Wanted::Asleep) {
                server.life.want(Wanted::Stopped, now);
            }
            Ok(())
        });
        match stopped.await {
            Err(Refusal::NotFound) => {}
            other => drop(other?),
        }
    }
    Ok(User { suspended: Some(suspension), ..user })
}

/// Lets an account in again. Its servers stay stopped until their owner starts them.
///
/// # Errors
/// [`Refusal::Conflict`] when it is not shut out.
pub async fn lift(ctx: &Ctx, actor: &Actor, id: &UserId) -> Result<User, Refusal> {
    let (tx, user) = to_change(ctx, actor, id).await?;
    if user.suspended.is_none() {
        return Err(Refusal::Conflict("It is not suspended.".to_owned()));
    }
    users::set_suspended(&tx, id, None).await?;
    tx.commit().await?;
    actor.trail.note(user.email.clone());
    Ok(User { suspended: None, ..user })
}

/// Ends every session and every token of an account, at once.
pub async fn end_sessions(ctx: &Ctx, actor: &Actor, id: &UserId) -> Result<User, Refusal> {
    let (tx, user) = to_change(ctx, actor, id).await?;
    users::end_sessions(&tx, id, ctx.clock.now() + 1).await?;
    tokens::revoke_all(&tx, id).await?;
    tx.commit().await?;
    actor.trail.note(user.email.clone());
    ctx.tell(Change::Rights(id.clone()));
    Ok(user)
}
