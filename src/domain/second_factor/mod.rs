//! What is asked for beside the first step: codes of an app, recovery codes, passkeys.
//!
//! Each code works once, whoever is faster. Tries are counted by account and by address, never for all together. Only this room names
//! `totp_rs` and `webauthn_rs`.

mod app;
mod codes;
mod keys;

use super::sign_in::{Told, Whence, post_letter};
use super::{Actor, Change, Ctx, Fields, Refusal};
use crate::model::ids::UserId;
use crate::model::users::{Right, User};
use crate::store::passkeys::of_user;
use crate::store::{passkeys, recovery_codes, tokens, totp, users};

pub use crate::store::passkeys::PasskeyRow;
pub use app::{NewApp, begin_app, confirm_app, pending_app, remove_app};
pub use codes::make_codes;
pub use keys::{Asked, RelyingParty, add_passkey, ask_for_passkey, begin_passkey, enter_by_passkey, remove_passkey};

/// Most passkeys of one account.
const PASSKEYS_MAX: u64 = 20;
/// Longest code that is looked at, in characters.
const CODE_MAX: usize = 40;

/// How somebody's second factor stands.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// An app makes codes.
    pub app: bool,
    /// Their passkeys, the oldest first.
    pub passkeys: Vec<PasskeyRow>,
    /// Recovery codes that are left.
    pub codes_left: u64,
}

impl Standing {
    /// Is anything asked for beside the first step?
    pub fn is_on(&self) -> bool {
        self.app || !self.passkeys.is_empty()
    }
}

/// How somebody's second factor stands.
pub async fn standing(ctx: &Ctx, user: &UserId) -> Result<Standing, Refusal> {
    Ok(Standing {
        app: totp::of_user(&ctx.db, user).await?.is_some_and(|app| app.confirmed_at.is_some()),
        passkeys: of_user(&ctx.db, user, PASSKEYS_MAX).await?,
        codes_left: recovery_codes::left(&ctx.db, user).await?,
    })
}

/// Is anything asked for beside the first step?
pub async fn asked(ctx: &Ctx, user: &UserId) -> Result<bool, Refusal> {
    let app = totp::of_user(&ctx.db, user).await?.is_some_and(|app| app.confirmed_at.is_some());
    Ok(app || !of_user(&ctx.db, user, 1).await?.is_empty())
}

/// Takes a code of the app, or a recovery code, for the second step. What it was is over with this.
///
/// # Errors
/// [`Refusal::Invalid`] at `code`; [`Refusal::TooMany`]; [`Refusal::Conflict`] where the account is shut out.
pub async fn take_code(ctx: &Ctx, user: &User, code: &str, whence: &Whence) -> Result<(), Refusal> {
    super::sign_in::admit(user)?;
    let known = whence.known(ctx, &user.email);
    ctx.limits.code(whence.limited(known.as_ref()), user.id.as_str())?;
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(CODE_MAX).collect::<String>().to_lowercase();
    let right = if app::digits(&code) { app::take(ctx, &user.id, &code).await? } else { codes::take(ctx, user, &code).await? };
    if right {
        return Ok(());
    }
    let mut fields = Fields::default();
    let said = if code.is_empty() {
        "Enter the code of your app, or one of your recovery codes."
    } else {
        "This code is not right, or it has been used. Wait for the next one, or take a recovery code."
    };
    fields.add("code", said);
    Err(Refusal::Invalid(fields))
}

/// Takes every second factor of an account away, for an admin whose player has lost them all. Its sessions and tokens end, and its owner
/// is told.
///
/// # Errors
/// [`Refusal::Forbidden`]; [`Refusal::NotFound`] where there is no such account, or it has none.
pub async fn remove_all(ctx: &Ctx, actor: &Actor, user: &UserId) -> Result<(), Refusal> {
    if !actor.may_at_all(Right::ManageUsers) {
        return Err(Refusal::Forbidden);
    }
    let user = users::by_id(&ctx.db, user).await?.ok_or(Refusal::NotFound)?;
    if !asked(ctx, &user.id).await? {
        return Err(Refusal::NotFound);
    }
    let tx = ctx.db.begin().await?;
    totp::delete(&tx, &user.id).await?;
    passkeys::delete_all(&tx, &user.id).await?;
    recovery_codes::delete_all(&tx, &user.id).await?;
    users::end_sessions(&tx, &user.id, ctx.clock.now() + 1).await?;
    tokens::revoke_all(&tx, &user.id).await?;
    post_letter(ctx, &tx, &user, &Told::FactorsRemoved).await?;
    tx.commit().await?;
    ctx.tell(Change::Rights(user.id.clone()));
    Ok(())
}
