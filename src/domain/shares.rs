//! Sharing a server with other accounts: inviting by e-mail, taking an invitation up, changing and ending what a guest may do.
//!
//! An invitation counts for the address that it was written to, and once. What a guest may do is read with every request, so an end
//! counts from the next one; open sockets are told and look again.

use std::sync::Arc;

use super::servers::find;
use super::{Actor, Change, Ctx, Fields, Refusal, digest, mails};
use crate::model::accounts::Email;
use crate::model::ids::{InvitationId, ServerId, UserId};
use crate::model::mails::Mail;
use crate::model::servers::Server;
use crate::model::shares::{Grant, Grants};
use crate::model::time::DAY;
use crate::model::users::Right;
use crate::store::{servers, shares, users};

pub use crate::model::shares::{Invitation, Share};

/// Guests of one server, those invited among them.
const GUESTS_MAX: u64 = 50;
/// Servers of others that somebody sees.
const SHARED_MAX: u64 = 500;
/// How long an invitation can be taken up.
const LASTS: i64 = 7 * DAY;
/// Characters of a secret.
const SECRET_MAX: usize = 64;

/// Guests of a server and open invitations to it.
pub async fn of_server(ctx: &Ctx, actor: &Actor, id: &ServerId) -> Result<(Vec<Share>, Vec<Invitation>), Refusal> {
    find(ctx, actor, id, Right::ShareServer).await?;
    let guests = shares::of_server(&ctx.db, id, GUESTS_MAX).await?;
    Ok((guests, shares::invitations(&ctx.db, id, ctx.clock.now(), GUESTS_MAX).await?))
}

/// Servers that others share with somebody, in the order of their ids.
pub async fn with(ctx: &Ctx, actor: &Actor) -> Result<Vec<Server>, Refusal> {
    if actor.shared.is_empty() {
        return Ok(Vec::new());
    }
    Ok(servers::of_ids(&ctx.db, actor.shared.keys(), SHARED_MAX).await?)
}

/// Invites an address to a server; gives the secret of its link, which nobody can see again. A letter goes out with it.
///
/// # Errors
/// [`Refusal::Invalid`] at `email` or `grants`; [`Refusal::Conflict`] when there are enough guests.
pub async fn invite(
    ctx: &Ctx,
    actor: &Actor,
    id: &ServerId,
    email: &str,
    grants: Grants,
    link: &str,
) -> Result<(Invitation, String), Refusal> {
    let server = find(ctx, actor, id, Right::ShareServer).await?;
    let mut fields = Fields::default();
    let email = Email::parse(email).map_err(|why| fields.add("email", why)).ok();
    if grants.is_empty() {
        fields.add("grants", "Choose at least one thing that they may do.");
    }
    let owner = users::by_id(&ctx.db, &server.owner).await?.ok_or(Refusal::NotFound)?;
    if email.as_ref().is_some_and(|email| email.as_str() == owner.email) {
        fields.add("email", "This is the owner’s own address.");
    }
    let (Some(email), true) = (email, fields.0.is_empty()) else { return Err(Refusal::Invalid(fields)) };
    ctx.limits.invite(actor.user.id.as_str())?;
    let now = ctx.clock.now();
    let secret = hex::encode(Ctx::random::<24>());
    let invitation = Invitation {
        id: InvitationId::from_random(&Ctx::random::<12>()),
        server: id.clone(),
        email,
        grants: grants.seeing(),
        made_by: actor.user.email.clone(),
        created_at: now,
        expires_at: now + LASTS,
    };
    let tx = ctx.db.begin().await?;
    users::hold(&tx, &server.owner).await?;
    let guests = shares::of_server(&tx, id, GUESTS_MAX).await?.len() + shares::invitations(&tx, id, now, GUESTS_MAX).await?.len();
    if guests as u64 >= GUESTS_MAX {
        return Err(Refusal::Conflict(format!("A server has at most {GUESTS_MAX} guests. Take somebody off the list first.")));
    }
    shares::invite(&tx, &invitation, &digest(&secret)).await?;
    mails::post(ctx, &tx, &letter(&invitation, &server, &format!("{link}{secret}"))).await?;
    tx.commit().await?;
    actor.trail.note(format!("invited {} to: {}", invitation.email, invitation.grants));
    Ok((invitation, secret))
}

fn letter(invitation: &Invitation, server: &Server, link: &str) -> Mail {
    let may: Vec<&str> = invitation.grants.iter().map(Grant::label).collect();
    let text = format!(
        "{} shares the game server \"{}\" with you.\n\nYou will be able to: {}.\n\nTo take it up, open this link while you are signed in with \
         this address. It works once, within seven days:\n\n{link}\n\nIf you do not know who this is, do nothing.\n",
        invitation.made_by,
        server.name,
        may.join(", ").to_lowercase(),
    );
    Mail {
        key: format!("invitation:{}", invitation.id),
        to: invitation.email.clone(),
        subject: format!("The server {} is shared with you", server.name),
        text,
    }
}

/// What an invitation is about: itself, and the server's name.
///
/// # Errors
/// [`Refusal::NotFound`] when nobody can take it up any more.
pub async fn look(ctx: &Ctx, secret: &str) -> Result<(Invitation, String), Refusal> {
    if secret.len() > SECRET_MAX {
        return Err(Refusal::NotFound);
    }
    let invitation = shares::invitation(&ctx.db, &digest(secret), ctx.clock.now()).await?.ok_or(Refusal::NotFound)?;
    let server = servers::by_id(&ctx.db, &invitation.server).await?.ok_or(Refusal::NotFound)?;
    Ok((invitation, server.name))
}

/// Takes an invitation up.
///
/// # Errors
/// [`Refusal::NotFound`] when nobody can any more; [`Refusal::Conflict`] where it was written to another address.
pub async fn accept(ctx: &Ctx, actor: &Actor, secret: &str) -> Result<ServerId, Refusal> {
    let (invitation, _) = look(ctx, secret).await?;
    let server = servers::by_id(&ctx.db, &invitation.server).await?.ok_or(Refusal::NotFound)?;
    if invitation.email.as_str() != actor.user.email {
        return Err(Refusal::Conflict(format!(
            "This invitation was written to {}, and you are signed in as {}. Sign in with that address, or ask for an invitation to yours.",
            invitation.email, actor.user.email
        )));
    }
    let tx = ctx.db.begin().await?;
    // Whoever counts guests and invitations meanwhile must not miss one that turns from this into that.
    users::hold(&tx, &server.owner).await?;
    if !shares::take_back(&tx, &invitation.server, &invitation.id).await? {
        return Err(Refusal::NotFound);
    }
    shares::put(&tx, &invitation.server, &actor.user.id, invitation.grants, ctx.clock.now()).await?;
    tx.commit().await?;
    actor.trail.note(format!("may now: {}", invitation.grants));
    ctx.tell(Change::Rights(actor.user.id.clone()));
    Ok(invitation.server)
}

/// Takes an invitation back before somebody took it up.
pub async fn take_back(ctx: &Ctx, actor: &Actor, id: &ServerId, invitation: &InvitationId) -> Result<(), Refusal> {
    find(ctx, actor, id, Right::ShareServer).await?;
    if shares::take_back(&ctx.db, id, invitation).await? { Ok(()) } else { Err(Refusal::NotFound) }
}

/// Changes what a guest may do; nothing: ends it.
pub async fn change(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId, guest: &UserId, grants: Grants) -> Result<(), Refusal> {
    // A guest may always leave.
    if !(grants.is_empty() && *guest == actor.user.id) {
        find(ctx, actor, id, Right::ShareServer).await?;
    }
    let done = if grants.is_empty() {
        shares::remove(&ctx.db, id, guest).await?
    } else {
        shares::change(&ctx.db, id, guest, grants.seeing()).await?
    };
    if !done {
        return Err(Refusal::NotFound);
    }
    actor.trail.note(format!("{guest} may now: {}", if grants.is_empty() { "nothing".to_owned() } else { grants.seeing().to_string() }));
    ctx.tell(Change::Rights(guest.clone()));
    Ok(())
}
