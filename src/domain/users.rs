//! Accounts: making one, signing in, changing the password, ending sessions.

use std::net::IpAddr;

use super::actor::SESSION;
use super::sign_in::Whence;
use super::{Actor, Change, Ctx, Fields, Refusal, digest, limits, sign_in};
use crate::model::accounts::{Email, Password};
use crate::model::ids::UserId;
use crate::model::ledger::{Entry, EntryKind};
use crate::model::money::Credits;
use crate::model::time::Millis;
use crate::model::tokens::Scopes;
use crate::model::users::{Role, User};
use crate::store::{StoreError, Tx, ledger, panel, tokens, users};

/// Name under which the hash of the setup link's secret is kept while there is no admin.
const SETUP: &str = "setup";

/// Makes the secret of the setup link if there is no admin yet; an older link stops working.
pub async fn setup_secret(ctx: &Ctx) -> Result<Option<String>, Refusal> {
    if users::any_with_role(&ctx.db, Role::Admin).await? {
        return Ok(None);
    }
    let secret = hex::encode(Ctx::random::<24>());
    panel::set(&ctx.db, SETUP, &digest(&secret)).await?;
    Ok(Some(secret))
}

/// Is this the secret of a setup link that still works?
pub async fn setup_works(ctx: &Ctx, secret: &str) -> Result<bool, Refusal> {
    Ok(panel::get(&ctx.db, SETUP).await?.is_some_and(|kept| kept == digest(secret)))
}

/// Does the answer to a registration go out as a letter? Then it is the same whether there was an account with the address or not.
pub fn answers_by_letter(ctx: &Ctx, setup: Option<&str>) -> bool {
    ctx.mail.is_some() && setup.is_none()
}

/// Makes an account whose owner learns by letter that it is there; the owner of an account with that address learns that somebody tried.
/// Whoever asks learns neither.
///
/// # Errors
/// As [`register`], without a word on whether the address is known.
pub async fn register_by_letter(ctx: &Ctx, email: &str, password: &str, from: IpAddr) -> Result<Email, Refusal> {
    match register(ctx, email, password, None, from).await {
        Ok(user) => Email::parse(&user.email).map_err(|_| StoreError::Unreadable("users.email").into()),
        Err(Refusal::Invalid(fields)) if fields.at("email") == Some(TAKEN) => {
            let email = Email::parse(email).map_err(|_| Refusal::Invalid(fields))?;
            // A letter too many is left out, and nobody told: whether one went would say that there is an account.
            if ctx.limits.letter(limits::From { address: from, known: None }, email.as_str()).is_ok()
                && let Some((user, _)) = users::by_email(&ctx.db, &email).await?
            {
                sign_in::post_letter(ctx, &ctx.db, &user, &sign_in::Told::Registered).await?;
            }
            Ok(email)
        }
        Err(refusal) => Err(refusal),
    }
}

/// What is said at an address that has an account.
const TAKEN: &str = "There is an account with this address. Log in instead.";

/// Makes an account. With the secret of the setup link it is the first admin's, and the link has done its work.
///
/// # Errors
/// [`Refusal::Invalid`] at `email`, `password` or `setup`; [`Refusal::TooMany`]; [`Refusal::Forbidden`] where strangers may not.
pub async fn register(ctx: &Ctx, email: &str, password: &str, setup: Option<&str>, from: IpAddr) -> Result<User, Refusal> {
    let mut fields = Fields::default();
    let email = Email::parse(email).map_err(|why| fields.add("email", why)).ok();
    let password = Password::parse(password).map_err(|why| fields.add("password", why)).ok();
    let (Some(email), Some(password)) = (email, password) else { return Err(Refusal::Invalid(fields)) };
    if setup.is_none() && !ctx.policy.open_registration {
        return Err(Refusal::Forbidden);
    }
    ctx.limits.register(from)?;
    let password_hash = ctx.hasher.hash(password).await;
    let tx = ctx.db.begin().await?;
    if let Some(secret) = setup
        && !panel::take(&tx, SETUP, &digest(secret)).await?
    {
        fields
            .add("setup", "This setup link has been used or replaced. Start the panel again: it prints a new one while there is no admin.");
        return Err(Refusal::Invalid(fields));
    }
    let new = New { email: &email, password_hash: &password_hash, first_admin: setup.is_some(), verified_at: None };
    let user = add(ctx, &tx, new).await?;
    sign_in::post_verification(ctx, &tx, &user).await?;
    tx.commit().await?;
    Ok(user)
}

/// What an account begins with.
pub(super) struct New<'a> {
    /// Its address.
    pub email: &'a Email,
    /// Empty: it has no password.
    pub password_hash: &'a str,
    /// It came by the setup link.
    pub first_admin: bool,
    /// Somebody who is believed has seen that the address is theirs.
    pub verified_at: Option<Millis>,
}

/// Writes a new account down, with the credits that new ones get.
pub(super) async fn add(ctx: &Ctx, tx: &Tx, new: New<'_>) -> Result<User, Refusal> {
    let now = ctx.clock.now();
    let user = User {
        id: UserId::from_random(&Ctx::random::<16>()),
        email: new.email.as_str().to_owned(),
        role: if new.first_admin { Role::Admin } else { Role::Player },
        balance: Credits::ZERO,
        created_at: now,
        sessions_from: now,
        email_verified_at: new.verified_at,
        suspended: None,
    };
    // An account from before both forms of a domain were one is found by either.
    if users::by_email(tx, new.email).await?.is_some() {
        return Err(taken());
    }
    match users::insert(tx, &user, new.password_hash).await {
        Err(StoreError::Exists(_)) => return Err(taken()),
        other => other?,
    }
    let gift = Entry {
        // Once for each mailbox, however its address is written.
        key: format!("signup:{}", digest(&new.email.mailbox())),
        at: now,
        amount: ctx.policy.signup_credits,
        kind: EntryKind::Signup,
        server: None,
        span: None,
        note: String::new(),
    };
    // Accounts from before had their gift under another key.
    let plain = Email::parse(&new.email.mailbox()).ok().filter(|plain| plain != new.email);
    let known = match plain {
        Some(plain) => users::by_email(tx, &plain).await?.is_some(),
        None => false,
    };
    if gift.amount <= Credits::ZERO || known || ledger::posted(tx, &gift.key).await?.is_some() {
        return Ok(user);
    }
    match ledger::post(tx, &user.id, &gift).await {
        Err(StoreError::Exists(_)) => return Err(Refusal::Conflict("This was asked for twice at once. Try again.".to_owned())),
        other => other?,
    }
    Ok(User { balance: gift.amount, ..user })
}

fn taken() -> Refusal {
    let mut fields = Fields::default();
    fields.add("email", TAKEN);
    Refusal::Invalid(fields)
}

/// Signs in. Unknown accounts and wrong passwords get the same answer after the same time.
///
/// # Errors
/// [`Refusal::Invalid`] at `password`; [`Refusal::TooMany`].
pub async fn login(ctx: &Ctx, email: &str, password: &str, whence: &Whence) -> Result<User, Refusal> {
    let email = Email::parse(email).map_err(|_| email.trim().chars().take(254).collect::<String>());
    let account = email.as_ref().map_or_else(String::as_str, Email::as_str);
    let browser = whence.known(ctx, account);
    let tried = ctx.limits.login(ctx.clock.now(), whence.limited(browser.as_ref()), account)?;
    let known = match &email {
        Ok(email) => users::by_email(&ctx.db, email).await?,
        Err(_) => None,
    };
    let (user, hash) = known.unzip();
    let typed: String = password.chars().take(256).collect();
    let fits = ctx.hasher.fits(&typed, hash).await;
    let user = user.filter(|_| fits).ok_or_else(wrong_login)?;
    tried.right();
    Ok(user)
}

fn wrong_login() -> Refusal {
    let mut fields = Fields::default();
    fields.add("password", "E-mail address and password do not belong together. Check both, or make an account.");
    Refusal::Invalid(fields)
}

/// Who a session that began at `since` belongs to, if it still counts.
pub async fn of_session(ctx: &Ctx, id: &UserId, since: Millis) -> Result<Option<Actor>, Refusal> {
    let user = users::by_id(&ctx.db, id).await?;
    match user.filter(|user| since >= user.sessions_from) {
        Some(user) => Actor::load(ctx, user, Scopes::all(), SESSION.to_owned()).await,
        None => Ok(None),
    }
}

/// Changes the password; every session and token of the account ends, the one that asked gets a new session from `http`.
///
/// # Errors
/// [`Refusal::Invalid`] at `current` or `password`; [`Refusal::TooMany`].
pub async fn change_password(ctx: &Ctx, actor: &Actor, current: &str, password: &str, from: IpAddr) -> Result<(), Refusal> {
    let tried = ctx.limits.confirm(ctx.clock.now(), from, actor.user.id.as_str())?;
    let hash = users::with_hash(&ctx.db, &actor.user.id).await?.map(|(_, hash)| hash);
    let mut fields = Fields::default();
    let typed: String = current.chars().take(256).collect();
    if ctx.hasher.fits(&typed, hash).await {
        tried.right();
    } else {
        fields.add("current", "This is not your current password.");
    }
    let Some(password) = Password::parse(password).map_err(|why| fields.add("password", why)).ok() else {
        return Err(Refusal::Invalid(fields));
    };
    fields.check()?;
    let hash = ctx.hasher.hash(password).await;
    let tx = ctx.db.begin().await?;
    users::set_password(&tx, &actor.user.id, &hash, ctx.clock.now()).await?;
    tokens::revoke_all(&tx, &actor.user.id).await?;
    sign_in::post_letter(ctx, &tx, &actor.user, &sign_in::Told::NewPassword).await?;
    tx.commit().await?;
    ctx.tell(Change::Rights(actor.user.id.clone()));
    Ok(())
}

/// Ends every session of the account, and where that is wished every token.
pub async fn log_out_everywhere(ctx: &Ctx, actor: &Actor, tokens_too: bool) -> Result<(), Refusal> {
    let tx = ctx.db.begin().await?;
    // Sessions carry the millisecond of their login: one that begins in this very one must not survive.
    users::end_sessions(&tx, &actor.user.id, ctx.clock.now() + 1).await?;
    if tokens_too {
        tokens::revoke_all(&tx, &actor.user.id).await?;
    }
    tx.commit().await?;
    actor.trail.note(if tokens_too { "tokens too" } else { "tokens stay" });
    ctx.tell(Change::Rights(actor.user.id.clone()));
    Ok(())
}
