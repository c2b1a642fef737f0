//! Letters to the owner of an account about what was done to its ways in, so that they learn of what they did not do themselves.

use crate::domain::{Ctx, mails};
use crate::model::accounts::Email;
use crate::model::mails::Mail;
use crate::model::users::User;
use crate::store::{Db, StoreError};

/// What was done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told<'a> {
    /// Another password.
    NewPassword,
    /// An account elsewhere opens this one from now on.
    Linked(&'a str),
    /// It does not any more.
    Unlinked(&'a str),
    /// An app makes codes.
    AppAdded,
    /// It does not any more.
    AppRemoved,
    /// A passkey came.
    PasskeyAdded(&'a str),
    /// It went.
    PasskeyRemoved(&'a str),
    /// New recovery codes are there.
    NewCodes,
    /// One was used.
    CodeUsed(u64),
    /// An admin took every second factor away.
    FactorsRemoved,
    /// Somebody wanted to make an account with its address.
    Registered,
}

impl Told<'_> {
    fn words(self) -> (&'static str, String) {
        match self {
            Told::NewPassword => {
                ("Your password was changed", "The password of your account was changed, and every device was logged out.".to_owned())
            }
            Told::Linked(name) => ("A way to log in was added", format!("Your account can be opened with {name} from now on.")),
            Told::Unlinked(name) => ("A way to log in was removed", format!("Your account can no longer be opened with {name}.")),
            Told::AppAdded => ("Codes of an app are asked for now", "From now on a log-in asks for a code of your app as well.".to_owned()),
            Told::AppRemoved => {
                ("Codes of an app are no longer asked for", "Your app was removed: its codes are no longer asked for.".to_owned())
            }
            Told::PasskeyAdded(name) => {
                ("A passkey was added", format!("The passkey \u{201c}{name}\u{201d} opens your account from now on."))
            }
            Told::PasskeyRemoved(name) => {
                ("A passkey was removed", format!("The passkey \u{201c}{name}\u{201d} no longer opens your account."))
            }
            Told::NewCodes => ("You have new recovery codes", "New recovery codes were made. Those from before no longer work.".to_owned()),
            Told::FactorsRemoved => (
                "Your second factor was removed",
                "An admin removed your app, your passkeys and your recovery codes. Your password alone opens your account now.".to_owned(),
            ),
            Told::Registered => (
                "You have an account already",
                "Somebody, most likely you, wanted to make an account with this address. You have one: log in to it, or choose a new password where you log in.".to_owned(),
            ),
            Told::CodeUsed(left) => {
                ("A recovery code was used", format!("Somebody logged in to your account with a recovery code. {left} are left."))
            }
        }
    }
}

/// Writes to the owner.
pub(crate) async fn post(ctx: &Ctx, tx: &Db, user: &User, told: &Told<'_>) -> Result<(), StoreError> {
    let Ok(to) = Email::parse(&user.email) else { return Ok(()) };
    let (subject, what) = told.words();
    let text = format!(
        "{what}\n\nIf that was you, there is nothing to do. If it was not, choose a new password now and look through the ways into your account:\n{}/account/security\n",
        ctx.policy.base_url
    );
    let key = format!("security:{}:{}", user.id, Ctx::dated_id(ctx.clock.now()));
    mails::post(ctx, tx, &Mail { key, to, subject: subject.to_owned(), text }).await.map(drop)
}
