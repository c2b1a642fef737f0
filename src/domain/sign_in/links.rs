//! Links that verify an address or choose a new password.
//!
//! A link carries its id and the panel's signature of it, so that its secret is written down nowhere: not in the table of links, and not
//! in the outbox, where a letter says `{link}` until the moment that it is handed to the mail server. Each works once, and only while the
//! account has the address that it was made for.

use std::net::IpAddr;

use super::{Entry, Proof, Whence, admit, enter, letters};
use crate::domain::{Actor, Change, Ctx, Fields, Refusal, mails, second_factor};
use crate::model::accounts::{Email, Password};
use crate::model::ids::{LinkId, UserId};
use crate::model::mails::Mail;
use crate::model::time::{DAY, HOUR};
use crate::model::users::{Right, User};
use crate::store::account_links::{self, AccountLink};
use crate::store::{Db, StoreError, identities, tokens, users};

/// How long a link to a new password works.
const RESET_LIVES: i64 = HOUR;
/// How long one that an admin hands over does.
const HANDED_LIVES: i64 = DAY;
/// How long a link to verify an address does.
const VERIFY_LIVES: i64 = DAY;
/// Longest token of a link, in bytes.
const TOKEN_MAX: usize = 200;
/// What stands in a letter in the place of its link.
const PLACE: &str = "{link}";
/// What keys of letters with a link begin with.
const KEY: &str = "link:";
/// What ids of links are signed for.
const SIGNED: &str = "account-link";

const RESET: &str = "reset";
const VERIFY: &str = "verify";

/// A link that still works, and whose it is.
#[derive(Debug, Clone)]
pub struct Link {
    row: AccountLink,
    /// The account.
    pub user: User,
}

fn url(ctx: &Ctx, id: &LinkId, purpose: &str) -> String {
    format!("{}/auth/{purpose}?token={id}.{}", ctx.policy.base_url, ctx.seals.sign(SIGNED, id.as_str()))
}

fn new(ctx: &Ctx, user: &User, purpose: &str, made_by: &str, lives: i64) -> AccountLink {
    let now = ctx.clock.now();
    AccountLink {
        id: LinkId::from_random(&Ctx::random::<16>()),
        user: user.id.clone(),
        purpose: purpose.to_owned(),
        address: user.email.clone(),
        made_by: made_by.to_owned(),
        created_at: now,
        expires_at: now + lives,
        used_at: None,
    }
}

async fn find(ctx: &Ctx, token: &str, purpose: &str) -> Result<Option<Link>, Refusal> {
    let Some((id, signature)) = token.split_once('.').filter(|_| token.len() <= TOKEN_MAX) else { return Ok(None) };
    let Ok(id) = id.parse::<LinkId>() else { return Ok(None) };
    if !ctx.seals.signed(SIGNED, id.as_str(), signature) {
        return Ok(None);
    }
    let row = account_links::by_id(&ctx.db, &id).await?;
    let Some(row) = row.filter(|row| row.purpose == purpose && works(ctx, row)) else { return Ok(None) };
    let user = users::by_id(&ctx.db, &row.user).await?.filter(|user| user.email == row.address);
    Ok(user.map(|user| Link { row, user }))
}

fn works(ctx: &Ctx, row: &AccountLink) -> bool {
    let now = ctx.clock.now();
    row.used_at.is_none() && now < row.expires_at && row.created_at <= now
}

/// The letter as it goes out: with its link, which stands nowhere before. None where that has ended meanwhile.
pub(crate) async fn written(ctx: &Ctx, mail: &Mail) -> Result<Option<Mail>, Refusal> {
    let Some(id) = mail.key.strip_prefix(KEY) else { return Ok(Some(mail.clone())) };
    let Ok(id) = id.parse::<LinkId>() else { return Ok(None) };
    let row = account_links::by_id(&ctx.db, &id).await?.filter(|row| works(ctx, row));
    Ok(row.map(|row| Mail { text: mail.text.replace(PLACE, &url(ctx, &id, &row.purpose)), ..mail.clone() }))
}

async fn post(ctx: &Ctx, tx: &Db, link: &AccountLink, subject: &str, text: &str) -> Result<(), StoreError> {
    let Ok(to) = Email::parse(&link.address) else { return Ok(()) };
    account_links::end_all(tx, &link.user, &link.purpose, ctx.clock.now()).await?;
    account_links::insert(tx, link).await?;
    let mail = Mail { key: format!("{KEY}{}", link.id), to, subject: subject.to_owned(), text: text.to_owned() };
    mails::post(ctx, tx, &mail).await.map(drop)
}

/// Sends a link that verifies the account's address, where there is a mail server.
pub(crate) async fn post_verification(ctx: &Ctx, tx: &Db, user: &User) -> Result<(), StoreError> {
    if ctx.mail.is_none() {
        return Ok(());
    }
    let text = "Somebody, most likely you, made an account with this address at the panel below. Open this link within a day, and log in, to show that letters reach you:\n\n{link}\n\nIf it was not you, leave it: nothing more will come.\n";
    post(ctx, tx, &new(ctx, user, VERIFY, "", VERIFY_LIVES), "Is this your address?", text).await
}

/// Sends another link to verify the address.
///
/// # Errors
/// [`Refusal::Conflict`] where it is verified, or there is no mail server; [`Refusal::TooMany`].
pub async fn request_verification(ctx: &Ctx, actor: &Actor, whence: &Whence) -> Result<(), Refusal> {
    if actor.user.email_verified_at.is_some() {
        return Err(Refusal::Conflict("Your address is verified already.".to_owned()));
    }
    if ctx.mail.is_none() {
        return Err(Refusal::Conflict("This panel sends no letters, so that it cannot verify addresses.".to_owned()));
    }
    let known = whence.known(ctx, &actor.user.email);
    ctx.limits.letter(whence.limited(known.as_ref()), &actor.user.email)?;
    let tx = ctx.db.begin().await?;
    post_verification(ctx, &tx, &actor.user).await?;
    Ok(tx.commit().await?)
}

/// Verifies the address. Only for whoever is signed in to the account: somebody who gets a letter about an account that another person
/// made with their address cannot vouch for it by a click.
///
/// # Errors
/// [`Refusal::NotFound`] where the link has ended, was used, or is somebody else's.
pub async fn verify(ctx: &Ctx, actor: &Actor, token: &str) -> Result<(), Refusal> {
    let link = find(ctx, token, VERIFY).await?.filter(|link| link.user.id == actor.user.id).ok_or(Refusal::NotFound)?;
    let now = ctx.clock.now();
    let tx = ctx.db.begin().await?;
    if !account_links::take(&tx, &link.row.id, now).await? {
        return Err(Refusal::NotFound);
    }
    users::verify_email(&tx, &link.user.id, now).await?;
    Ok(tx.commit().await?)
}

/// May this address ask for a link to a new password from here? Asked before anybody looks whether there is such an account.
///
/// # Errors
/// [`Refusal::Invalid`] at `email`; [`Refusal::TooMany`].
pub fn check_reset(ctx: &Ctx, email: &str, whence: &Whence) -> Result<Email, Refusal> {
    let mut fields = Fields::default();
    let Some(email) = Email::parse(email).map_err(|why| fields.add("email", why)).ok() else { return Err(Refusal::Invalid(fields)) };
    let known = whence.known(ctx, email.as_str());
    ctx.limits.letter(whence.limited(known.as_ref()), email.as_str())?;
    Ok(email)
}

/// Sends a link to a new password to this address if it has an account. Whoever asked is answered before, so that neither words nor time
/// say whether it has.
pub async fn request_reset(ctx: &Ctx, email: &Email) -> Result<(), Refusal> {
    let Some((user, _)) = users::by_email(&ctx.db, email).await? else { return Ok(()) };
    if ctx.mail.is_none() || user.suspended.is_some() {
        return Ok(());
    }
    let text = "Somebody, most likely you, asked for a new password for the account with this address. Open this link within an hour to choose one:\n\n{link}\n\nIf it was not you, leave it: your password stays as it is.\n";
    let tx = ctx.db.begin().await?;
    post(ctx, &tx, &new(ctx, &user, RESET, "", RESET_LIVES), "A new password", text).await?;
    Ok(tx.commit().await?)
}

/// Makes a link to a new password for an admin to hand over; gives its address, which is written down nowhere. It works once, for a day.
///
/// # Errors
/// [`Refusal::Forbidden`]; [`Refusal::NotFound`]; [`Refusal::Conflict`] where the account is suspended.
pub async fn make_reset_link(ctx: &Ctx, actor: &Actor, user: &UserId) -> Result<String, Refusal> {
    if !actor.may_at_all(Right::ManageUsers) {
        return Err(Refusal::Forbidden);
    }
    let user = users::by_id(&ctx.db, user).await?.ok_or(Refusal::NotFound)?;
    admit(&user)?;
    let link = new(ctx, &user, RESET, &actor.user.email, HANDED_LIVES);
    let tx = ctx.db.begin().await?;
    account_links::end_all(&tx, &user.id, RESET, ctx.clock.now()).await?;
    account_links::insert(&tx, &link).await?;
    tx.commit().await?;
    Ok(url(ctx, &link.id, RESET))
}

/// The account that a link to a new password is for, while it works.
pub async fn find_reset(ctx: &Ctx, token: &str) -> Result<Option<Link>, Refusal> {
    find(ctx, token, RESET).await
}

/// Chooses a new password by a link. Every session and token ends; the second factor is asked for as always.
///
/// # Errors
/// [`Refusal::Invalid`] at `password`; [`Refusal::NotFound`] where the link has ended or was used; [`Refusal::TooMany`].
pub async fn reset(ctx: &Ctx, token: &str, password: &str, from: IpAddr) -> Result<Entry, Refusal> {
    let link = find(ctx, token, RESET).await?.ok_or(Refusal::NotFound)?;
    let mut fields = Fields::default();
    let password = Password::parse(password).map_err(|why| fields.add("password", why)).ok();
    let Some(password) = password else { return Err(Refusal::Invalid(fields)) };
    admit(&link.user)?;
    ctx.limits.link(from)?;
    let hash = ctx.hasher.hash(password).await;
    let now = ctx.clock.now();
    let user = &link.user;
    let by_mail = link.row.made_by.is_empty();
    let tx = ctx.db.begin().await?;
    if !account_links::take(&tx, &link.row.id, now).await? {
        return Err(Refusal::NotFound);
    }
    users::set_password(&tx, &user.id, &hash, now).await?;
    tokens::revoke_all(&tx, &user.id).await?;
    if by_mail && user.email_verified_at.is_none() {
        // The first proof that the address is theirs: accounts elsewhere were linked by somebody who had none.
        identities::delete_all(&tx, &user.id).await?;
    }
    // Where a second factor is still to come, it is not known yet whether account and address are one person's.
    if by_mail && !second_factor::asked(ctx, &user.id).await? {
        users::verify_email(&tx, &user.id, now).await?;
    }
    letters::post(ctx, &tx, user, &letters::Told::NewPassword).await?;
    tx.commit().await?;
    ctx.tell(Change::Rights(user.id.clone()));
    let user = users::by_id(&ctx.db, &user.id).await?.ok_or(Refusal::NotFound)?;
    enter(ctx, user).await
}

/// Chooses the first password of an account that had none.
///
/// # Errors
/// [`Refusal::Invalid`] at `password`; [`Refusal::Conflict`] where it has one.
pub async fn first_password(ctx: &Ctx, actor: &Actor, password: &str, _proof: Proof) -> Result<(), Refusal> {
    let mut fields = Fields::default();
    let password = Password::parse(password).map_err(|why| fields.add("password", why)).ok();
    let Some(password) = password else { return Err(Refusal::Invalid(fields)) };
    if users::with_hash(&ctx.db, &actor.user.id).await?.is_none_or(|(_, hash)| !hash.is_empty()) {
        return Err(Refusal::Conflict("Your account has a password. Change it on the account page.".to_owned()));
    }
    let hash = ctx.hasher.hash(password).await;
    let tx = ctx.db.begin().await?;
    users::set_password(&tx, &actor.user.id, &hash, ctx.clock.now()).await?;
    letters::post(ctx, &tx, &actor.user, &letters::Told::NewPassword).await?;
    tx.commit().await?;
    ctx.tell(Change::Rights(actor.user.id.clone()));
    Ok(())
}
