//! The notice of the last action, carried over a redirect in a cookie that holds one of a few words and is shown once.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::pages::layout::Notice;

/// Name of the cookie.
const COOKIE: &str = "roost_notice";
/// Seconds after which nobody wants to read it any more.
const SECS: u32 = 60;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Waking,
    FallingAsleep,
    Starting,
    Stopping,
    Restarting,
    TryingAgain,
    Saved,
    Deleting,
    LineSent,
    PasswordChanged,
    TokenRevoked,
    CreditsAdded,
    CreditsGranted,
    LoggedOut,
    LoggedOutEverywhere,
}

impl Said {
    const ALL: [Said; 15] = [
        Said::Waking,
        Said::FallingAsleep,
        Said::Starting,
        Said::Stopping,
        Said::Restarting,
        Said::TryingAgain,
        Said::Saved,
        Said::Deleting,
        Said::LineSent,
        Said::PasswordChanged,
        Said::TokenRevoked,
        Said::CreditsAdded,
        Said::CreditsGranted,
        Said::LoggedOut,
        Said::LoggedOutEverywhere,
    ];

    fn word(self) -> &'static str {
        match self {
            Said::Waking => "waking",
            Said::FallingAsleep => "sleeping",
            Said::Starting => "starting",
            Said::Stopping => "stopping",
            Said::Restarting => "restarting",
            Said::TryingAgain => "retrying",
            Said::Saved => "saved",
            Said::Deleting => "deleting",
            Said::LineSent => "sent",
            Said::PasswordChanged => "password",
            Said::TokenRevoked => "revoked",
            Said::CreditsAdded => "added",
            Said::CreditsGranted => "granted",
            Said::LoggedOut => "out",
            Said::LoggedOutEverywhere => "out-everywhere",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Said::Waking => "It is waking up.",
            Said::FallingAsleep => "It is falling asleep.",
            Said::Starting => "It is starting.",
            Said::Stopping => "It is stopping.",
            Said::Restarting => "It is restarting.",
            Said::TryingAgain => "It is tried again now.",
            Said::Saved => "Saved. What concerns the game itself counts from its next start.",
            Said::Deleting => "It is being deleted.",
            Said::LineSent => "The line was sent to the game.",
            Said::PasswordChanged => "The password is changed. Other devices and all tokens are logged out.",
            Said::TokenRevoked => "The token is revoked.",
            Said::CreditsAdded => "The credits are added.",
            Said::CreditsGranted => "The credits are granted.",
            Said::LoggedOut => "You are logged out.",
            Said::LoggedOutEverywhere => "You are logged out on every device.",
        }
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, word)| word)
}

/// Does the request carry one?
pub(super) fn is_there(headers: &HeaderMap) -> bool {
    cookie(headers).is_some()
}

/// The notice that the request carries.
pub(super) fn of(headers: &HeaderMap) -> Option<Notice> {
    let word = cookie(headers)?;
    let said = Said::ALL.into_iter().find(|said| said.word() == word)?;
    Some(Notice::done(said.sentence()))
}

/// Takes it away.
pub(super) fn forget(response: &mut Response) {
    let gone = HeaderValue::from_static("roost_notice=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    response.headers_mut().append(header::SET_COOKIE, gone);
}

/// Goes to a page of this site and says there what was done.
pub(super) fn go(to: &str, said: Said) -> Response {
    let mut response = Redirect::to(to).into_response();
    let value = format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={SECS}", said.word());
    if let Ok(value) = HeaderValue::from_str(&value) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}
