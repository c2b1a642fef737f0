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
    NodeRevoked,
    NodeRemoved,
    NodeDrains,
    NodeTakes,
    LoggedOut,
    LoggedOutEverywhere,
    TemplateSaved,
    TemplateDeleted,
    TemplateImported,
    TemplatePartlyImported,
    VersionUploaded,
    VersionDeleted,
    LayersTaken,
    LayersBack,
    DevModeOn,
    DevModeOff,
    Purging,
    BackupBegun,
    BackupDeleted,
    RestoreBegun,
    TryBegun,
    UndoBegun,
    ScheduleSaved,
    ScheduleEnded,
}

impl Said {
    const ALL: [Said; 37] = [
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
        Said::NodeRevoked,
        Said::NodeRemoved,
        Said::NodeDrains,
        Said::NodeTakes,
        Said::LoggedOut,
        Said::LoggedOutEverywhere,
        Said::TemplateSaved,
        Said::TemplateDeleted,
        Said::TemplateImported,
        Said::TemplatePartlyImported,
        Said::VersionUploaded,
        Said::VersionDeleted,
        Said::LayersTaken,
        Said::LayersBack,
        Said::DevModeOn,
        Said::DevModeOff,
        Said::Purging,
        Said::BackupBegun,
        Said::BackupDeleted,
        Said::RestoreBegun,
        Said::TryBegun,
        Said::UndoBegun,
        Said::ScheduleSaved,
        Said::ScheduleEnded,
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
            Said::NodeRevoked => "node-revoked",
            Said::NodeRemoved => "node-removed",
            Said::NodeDrains => "node-drains",
            Said::NodeTakes => "node-takes",
            Said::LoggedOut => "out",
            Said::LoggedOutEverywhere => "out-everywhere",
            Said::TemplateSaved => "template",
            Said::TemplateDeleted => "template-deleted",
            Said::TemplateImported => "imported",
            Said::TemplatePartlyImported => "imported-partly",
            Said::VersionUploaded => "uploaded",
            Said::VersionDeleted => "version-deleted",
            Said::LayersTaken => "layers",
            Said::LayersBack => "layers-back",
            Said::DevModeOn => "dev-mode",
            Said::DevModeOff => "dev-mode-off",
            Said::Purging => "purging",
            Said::BackupBegun => "backup",
            Said::BackupDeleted => "backup-deleted",
            Said::RestoreBegun => "restore",
            Said::TryBegun => "try",
            Said::UndoBegun => "undo",
            Said::ScheduleSaved => "schedule",
            Said::ScheduleEnded => "schedule-ended",
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
            Said::NodeRevoked => "The node is revoked. Its link has ended.",
            Said::NodeRemoved => "The node is removed.",
            Said::NodeDrains => "No new servers come to this node, and those that live there leave it, each when it next rests.",
            Said::NodeTakes => "The node takes new servers again.",
            Said::LoggedOut => "You are logged out.",
            Said::LoggedOutEverywhere => "You are logged out on every device.",
            Said::TemplateSaved => "Saved.",
            Said::TemplateDeleted => "The template is deleted.",
            Said::TemplateImported => "Imported, with all its versions.",
            Said::TemplatePartlyImported => {
                "Imported. Versions that are not in the list have to be uploaded: their archives are not in this panel’s object store, or are others than the document says."
            }
            Said::VersionUploaded => "The version is checked and can be used.",
            Said::VersionDeleted => "The version is deleted.",
            Said::LayersTaken => "Taken. It counts from the server’s next start.",
            Said::LayersBack => "Gone back. It counts from the server’s next start.",
            Said::DevModeOn => "Dev mode is on: this node fetches every layer anew.",
            Said::DevModeOff => "Dev mode is off: this node uses its cache.",
            Said::Purging => "The node is purging its cache; what came of it stands below in a few seconds.",
            Said::BackupBegun => "A backup is being made. It is done when the list below says so.",
            Said::BackupDeleted => "The backup is deleted.",
            Said::RestoreBegun => "The backup is being restored. What there is now is kept for seven days.",
            Said::TryBegun => "The backup is being tried out: it is unpacked and checked, and nothing of the server is changed.",
            Said::UndoBegun => "The data from before are being put back.",
            Said::ScheduleSaved => "The schedule is saved.",
            Said::ScheduleEnded => "No more backups are made by themselves. Those that are there stay.",
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
