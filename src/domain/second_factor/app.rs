//! Codes of an app: six digits, every half a minute others. The secret is sealed at rest; the last step that was used is kept, so that no
//! code works twice, and one from before it never.

use totp_rs::{Builder, Totp};

use super::codes;
use crate::domain::limits::From;
use crate::domain::sign_in::{Proof, Told, post_letter};
use crate::domain::{Actor, Change, Ctx, Fields, Refusal};
use crate::model::ids::UserId;
use crate::model::time::{HOUR, SECOND};
use crate::store::{StoreError, passkeys, recovery_codes, totp, users};

/// Bytes of a secret: what RFC 4226 recommends.
const SECRET: usize = 20;
/// Digits of a code.
const DIGITS: usize = 6;
/// How long an app may take to be set up.
const SETUP_LIVES: i64 = HOUR;
/// What secrets are sealed for.
const SEAL: &str = "totp";

/// An app that is being set up.
#[derive(Clone, PartialEq, Eq)]
pub struct NewApp {
    /// For whoever types: base 32.
    pub secret: String,
    /// For whoever scans: `otpauth://...`.
    pub url: String,
}

impl std::fmt::Debug for NewApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewApp(hidden)")
    }
}

/// Does it look like a code of an app?
pub(super) fn digits(code: &str) -> bool {
    code.len() == DIGITS && code.bytes().all(|b| b.is_ascii_digit())
}

fn codes_of(secret: Vec<u8>, email: &str) -> Option<Totp> {
    // The address ends where an app would look for the issuer.
    Builder::new().with_secret(secret).with_account_name(email.replace(':', " ")).with_issuer(Some("Roost")).build().ok()
}

fn unreadable() -> Refusal {
    StoreError::Unreadable("totp.sealed").into()
}

/// Begins to set up an app, in the place of one that was begun and never confirmed.
///
/// # Errors
/// [`Refusal::Conflict`] where there is one already.
pub async fn begin_app(ctx: &Ctx, actor: &Actor, _proof: Proof) -> Result<(), Refusal> {
    let user = &actor.user.id;
    let secret: [u8; SECRET] = Ctx::random();
    let sealed = ctx.seals.seal(SEAL, user.as_str(), &secret).ok_or_else(unreadable)?;
    if totp::begin(&ctx.db, user, &sealed, ctx.clock.now()).await? {
        return Ok(());
    }
    Err(Refusal::Conflict("Your account has an app already. Remove it first, then set up another one.".to_owned()))
}

/// The app that is being set up, to be shown to its owner.
pub async fn pending_app(ctx: &Ctx, actor: &Actor, _proof: Proof) -> Result<Option<NewApp>, Refusal> {
    Ok(pending(ctx, actor).await?.map(|(_, totp)| NewApp { secret: totp.secret().to_base32(), url: totp.to_url().unwrap_or_default() }))
}

async fn pending(ctx: &Ctx, actor: &Actor) -> Result<Option<(String, Totp)>, Refusal> {
    let user = &actor.user.id;
    let app = totp::of_user(&ctx.db, user).await?;
    let app = app.filter(|app| app.confirmed_at.is_none() && ctx.clock.now().since(app.created_at) < SETUP_LIVES);
    let Some(app) = app else { return Ok(None) };
    let secret = ctx.seals.open(SEAL, user.as_str(), &app.sealed).ok_or_else(unreadable)?;
    Ok(Some((app.sealed, codes_of(secret, &actor.user.email).ok_or_else(unreadable)?)))
}

/// The step whose code this is: the one of now, or its neighbours.
fn step(ctx: &Ctx, totp: &Totp, code: &str) -> Option<i64> {
    let now = u64::try_from(ctx.clock.now().0 / SECOND).unwrap_or(0);
    totp.check(code, now).and_then(|step| i64::try_from(step).ok())
}

/// Ends the setting up with the first code. Gives recovery codes where there are none yet, this once; other sessions end, because they
/// were opened without.
///
/// # Errors
/// [`Refusal::Invalid`] at `code`; [`Refusal::Conflict`] where nothing is being set up; [`Refusal::TooMany`].
pub async fn confirm_app(
    ctx: &Ctx,
    actor: &Actor,
    code: &str,
    from: std::net::IpAddr,
    _proof: Proof,
) -> Result<Option<Vec<String>>, Refusal> {
    // Signed in and shown to be the owner: others at the log-in do not count here.
    ctx.limits.code(From { address: from, known: Some("signed in") }, actor.user.id.as_str())?;
    let user = &actor.user.id;
    let gone = || Refusal::Conflict("Nothing is being set up any more. Begin again.".to_owned());
    let (sealed, totp) = pending(ctx, actor).await?.ok_or_else(gone)?;
    let code: String = code.chars().filter(char::is_ascii_digit).take(DIGITS + 1).collect();
    let Some(step) = step(ctx, &totp, &code) else {
        let mut fields = Fields::default();
        fields.add("code", "This is not the code that the app shows now. If it goes on like this, set the clock of your device right.");
        return Err(Refusal::Invalid(fields));
    };
    let now = ctx.clock.now();
    let tx = ctx.db.begin().await?;
    if !totp::take_step(&tx, user, step).await? || !totp::confirm(&tx, user, &sealed, now).await? {
        return Err(gone());
    }
    let fresh = codes::make_first(ctx, &tx, &actor.user).await?;
    users::end_sessions(&tx, user, now).await?;
    post_letter(ctx, &tx, &actor.user, &Told::AppAdded).await?;
    tx.commit().await?;
    ctx.tell(Change::Rights(user.clone()));
    Ok(fresh)
}

/// Takes a code in; false when it is not right, or its step was used.
pub(super) async fn take(ctx: &Ctx, user: &UserId, code: &str) -> Result<bool, Refusal> {
    let app = totp::of_user(&ctx.db, user).await?.filter(|app| app.confirmed_at.is_some());
    let Some(app) = app else { return Ok(false) };
    let secret = ctx.seals.open(SEAL, user.as_str(), &app.sealed).ok_or_else(unreadable)?;
    let totp = codes_of(secret, "a").ok_or_else(unreadable)?;
    match step(ctx, &totp, code) {
        Some(step) => Ok(totp::take_step(&ctx.db, user, step).await?),
        None => Ok(false),
    }
}

/// Takes the app away; with the last factor go the recovery codes.
///
/// # Errors
/// [`Refusal::NotFound`] where there is none.
pub async fn remove_app(ctx: &Ctx, actor: &Actor, _proof: Proof) -> Result<(), Refusal> {
    let user = &actor.user.id;
    let tx = ctx.db.begin().await?;
    users::hold(&tx, user).await?;
    if !totp::delete(&tx, user).await? {
        return Err(Refusal::NotFound);
    }
    if passkeys::of_user(&tx, user, 1).await?.is_empty() {
        recovery_codes::delete_all(&tx, user).await?;
    }
    post_letter(ctx, &tx, &actor.user, &Told::AppRemoved).await?;
    Ok(tx.commit().await?)
}
