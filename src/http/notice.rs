//! The notice of the last action, carried over a redirect in a cookie that holds one of a few words and is shown once.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};

use super::Web;
use super::cookies::Cookie;
use super::pages::layout::Notice;

/// Seconds after which nobody wants to read it any more.
const SECS: u32 = 60;

/// Makes the list of what can have been done: name, word in the cookie, sentence on the page.
macro_rules! said {
    ($($name:ident: $word:literal => $sentence:literal;)*) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Said {
            $($name,)*
        }

        impl Said {
            const ALL: &[Said] = &[$(Said::$name,)*];

            fn word(self) -> &'static str {
                match self {
                    $(Said::$name => $word,)*
                }
            }

            fn sentence(self) -> &'static str {
                match self {
                    $(Said::$name => $sentence,)*
                }
            }
        }
    };
}

said! {
    Waking: "waking" => "It is waking up.";
    FallingAsleep: "sleeping" => "It is falling asleep.";
    Starting: "starting" => "It is starting.";
    Stopping: "stopping" => "It is stopping.";
    Restarting: "restarting" => "It is restarting.";
    TryingAgain: "retrying" => "It is tried again now.";
    Saved: "saved" => "Saved. What concerns the game itself counts from its next start.";
    Deleting: "deleting" => "It is being deleted.";
    LineSent: "sent" => "The line was sent to the game.";
    PasswordChanged: "password" => "The password is changed. Other devices and all tokens are logged out.";
    PasswordSet: "password-set" => "Your account has a password now. Other devices are logged out.";
    EmailVerified: "verified" => "Your address is verified.";
    LetterSent: "letter" => "A letter with a link is on its way.";
    Linked: "linked" => "Linked. It opens your account from now on.";
    Unlinked: "unlinked" => "Unlinked. Other devices are logged out.";
    AppAdded: "app" => "From now on each log-in asks for a code of your app as well. Other devices are logged out.";
    AppRemoved: "app-removed" => "The app is removed.";
    PasskeyRemoved: "passkey-removed" => "The passkey is removed. Other devices are logged out.";
    TokenRevoked: "revoked" => "The token is revoked.";
    CreditsAdded: "added" => "The credits are added.";
    CreditsGranted: "granted" => "The credits are granted.";
    CreditsRemoved: "removed" => "The credits are removed.";
    NodeRevoked: "node-revoked" => "The node is revoked. Its link has ended.";
    NodeRemoved: "node-removed" => "The node is removed.";
    NodeDrains: "node-drains" => "No new servers come to this node, and those that live there leave it, each when it next rests.";
    NodeTakes: "node-takes" => "The node takes new servers again.";
    RoleChanged: "role" => "The role is changed. It counts from the next request.";
    Suspended: "suspended" => "The account is suspended. It is logged out everywhere, and its servers are stopping.";
    Lifted: "lifted" => "The account can log in again.";
    SessionsEnded: "sessions-ended" => "Every session and token of the account has ended.";
    MadeByMonth: "by-month" => "It is made, and starts as soon as its first month is paid. Pay for it below.";
    FactorsRemoved: "factors-removed" => "Every second factor of the account is removed. Its owner logs in with the first one alone.";
    GuestChanged: "guest" => "Saved. It counts from their next request.";
    GuestRemoved: "guest-removed" => "They see this server no more.";
    ShareLeft: "share-left" => "You see that server no more.";
    InvitationTakenBack: "invitation-back" => "The invitation is taken back. Its link works no more.";
    InvitationTaken: "invitation-taken" => "This server is shared with you now. It stands on your list of servers.";
    LoggedOut: "out" => "You are logged out.";
    SessionOver: "over" => "Your session has ended, so nothing was done. Log in to go on.";
    LoggedOutEverywhere: "out-everywhere" => "You are logged out on every device. API tokens go on working.";
    LoggedOutWithTokens: "out-tokens" => "You are logged out on every device, and every API token is revoked.";
    TemplateSaved: "template" => "Saved.";
    TemplateDeleted: "template-deleted" => "The template is deleted.";
    TemplateImported: "imported" => "Imported, with all its versions.";
    TemplatePartlyImported: "imported-partly" => "Imported. Versions that are not in the list have to be uploaded: their archives are not in this panel’s object store, or are others than the document says.";
    VersionUploaded: "uploaded" => "The version is checked and can be used.";
    VersionDeleted: "version-deleted" => "The version is deleted.";
    LayersTaken: "layers" => "Taken. It counts from the server’s next start.";
    LayersBack: "layers-back" => "Gone back. It counts from the server’s next start.";
    DevModeOn: "dev-mode" => "Dev mode is on: this node fetches every layer anew.";
    DevModeOff: "dev-mode-off" => "Dev mode is off: this node uses its cache.";
    Purging: "purging" => "The node is purging its cache; what came of it stands below in a few seconds.";
    BackupBegun: "backup" => "A backup is being made. It is done when the list below says so.";
    BackupDeleted: "backup-deleted" => "The backup is deleted.";
    RestoreBegun: "restore" => "The backup is being restored. What there is now is kept for seven days.";
    TryBegun: "try" => "The backup is being tried out: it is unpacked and checked, and nothing of the server is changed.";
    UndoBegun: "undo" => "The data from before are being put back.";
    ScheduleSaved: "schedule" => "The schedule is saved.";
    NothingPaid: "nothing-paid" => "Nothing was paid, and nothing is charged.";
    MonthBegun: "month" => "It is paid by the month now.";
    MonthConfirming: "month-soon" => "The payment is being confirmed. This page shows it as soon as it is there.";
    MonthEnds: "month-ends" => "The subscription ends with the month that is paid.";
    MonthGoesOn: "month-on" => "The subscription goes on.";
    PlanChanged: "plan" => "The plan is changed. The difference is settled with the next invoice, and the server has its new size from its next start.";
    PlanChanging: "plan-soon" => "Room is kept for the new plan. It counts as soon as Stripe has answered.";
    ByTheHour: "hourly" => "It goes on by the hour, with credits.";
    AutoOn: "auto" => "Automatic top-ups are on.";
    AutoOff: "auto-off" => "Automatic top-ups are off.";
    ScheduleEnded: "schedule-ended" => "No more backups are made by themselves. Those that are there stay.";
}

/// Does the request carry one?
pub(super) fn is_there(web: &Web, headers: &HeaderMap) -> bool {
    web.cookies.read(headers, Cookie::Notice).is_some()
}

/// The notice that the request carries.
pub(super) fn of(web: &Web, headers: &HeaderMap) -> Option<Notice> {
    let word = web.cookies.read(headers, Cookie::Notice)?;
    let said = Said::ALL.iter().find(|said| said.word() == word)?;
    Some(Notice::done(said.sentence()))
}

/// Takes it away.
pub(super) fn forget(web: &Web, response: &mut Response) {
    web.cookies.set(response, Cookie::Notice, "", 0);
}

/// Has the browser carry what [`go`] said.
pub(super) fn keep(web: &Web, response: &mut Response) {
    if let Some(said) = response.extensions_mut().remove::<Said>() {
        web.cookies.set(response, Cookie::Notice, said.word(), SECS);
    }
}

/// Goes to a page of this site and says there what was done.
pub(super) fn go(to: &str, said: Said) -> Response {
    let mut response = Redirect::to(to).into_response();
    response.extensions_mut().insert(said);
    response
}
