//! The ways into an account: accounts elsewhere, a first password, an app, recovery codes, passkeys.

use std::fmt::Write as _;

use askama::Template;
use askama_web::WebTemplate;
use qrcode::{Color, QrCode};

use super::fields::Field;
use super::layout::Layout;
use super::moments::Moment;

/// Modules of white around a code, so that cameras find it.
const QUIET: usize = 4;
/// Letters of a secret between two spaces, for whoever types it.
const GROUP: usize = 4;

/// `/account/security`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "account/security.html")]
pub struct SecurityPage {
    /// Frame.
    pub layout: Layout,
    /// Providers that are set up, linked or not, and links to some that are no longer.
    pub linked: Vec<LinkedRow>,
    /// Asked for where the account has no password.
    pub new_password: Option<Field>,
    /// Address of the account.
    pub email: String,
    /// An app makes codes.
    pub app: bool,
    /// The oldest first.
    pub passkeys: Vec<PasskeyLine>,
    /// Browsers allow passkeys for this panel's address.
    pub passkeys_possible: bool,
    /// Recovery codes that are left; none where there is no second factor.
    pub codes_left: Option<u64>,
}

/// A provider.
#[derive(Debug, Clone)]
pub struct LinkedRow {
    /// Part of the addresses that link and unlink it.
    pub key: String,
    /// As people know it.
    pub name: String,
    /// It is set up here.
    pub works: bool,
    /// What the linked account is called there; none: not linked.
    pub label: Option<String>,
    /// Since when it is linked.
    pub since: Option<Moment>,
    /// The last way in: it cannot be unlinked.
    pub last: bool,
}

/// A passkey.
#[derive(Debug, Clone)]
pub struct PasskeyLine {
    /// Part of the address that removes it.
    pub id: String,
    /// As its owner calls it.
    pub name: String,
    /// When it was made.
    pub made: Moment,
    /// When it was last used; none: never.
    pub used: Option<Moment>,
}

/// `/account/app`: an app that is being set up.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "account/app.html")]
pub struct NewAppPage {
    /// Frame.
    pub layout: Layout,
    /// Width and height of the code, in modules.
    pub size: usize,
    /// The dark modules, as a path.
    pub dark: String,
    /// For whoever types, in groups.
    pub secret: String,
    /// The first code.
    pub code: Field,
}

impl NewAppPage {
    /// For a secret and its address; none where that is too long for any code.
    pub fn of(layout: Layout, secret: &str, url: &str, error: Option<String>) -> Option<NewAppPage> {
        let (size, dark) = drawn(url)?;
        let groups: Vec<_> = secret.as_bytes().chunks(GROUP).map(String::from_utf8_lossy).collect();
        let code = Field::code("code", "The code that the app shows now").error(error).required();
        Some(NewAppPage { layout, size, dark, secret: groups.join(" "), code })
    }
}

/// Size and dark modules of a QR code. Runs of a line are one stroke, which keeps the page small.
fn drawn(text: &str) -> Option<(usize, String)> {
    let code = QrCode::new(text).ok()?;
    let (width, colors) = (code.width(), code.to_colors());
    let mut path = String::new();
    for (row, line) in colors.chunks(width).enumerate() {
        let mut column = 0;
        while column < width {
            let run = line[column..].iter().take_while(|color| **color == Color::Dark).count();
            if run > 0 {
                let _ = write!(path, "M{} {}h{run}v1h-{run}z", column + QUIET, row + QUIET);
            }
            column += run.max(1);
        }
    }
    Some((width + 2 * QUIET, path))
}

/// New recovery codes, this once.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "account/codes.html")]
pub struct CodesPage {
    /// Frame.
    pub layout: Layout,
    /// Each.
    pub codes: Vec<String>,
    /// All of them, a line each, to be copied.
    pub all: String,
}

impl CodesPage {
    /// Of these codes.
    pub fn of(layout: Layout, codes: Vec<String>) -> CodesPage {
        CodesPage { layout, all: codes.join("\n"), codes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_three_eyes_and_a_quiet_edge() {
        let (size, path) = drawn("otpauth://totp/Roost:ada@example.org?secret=ABC&issuer=Roost").unwrap();
        assert!(path.starts_with("M4 4h7v1h-7z"), "{path}");
        assert!(path.contains(&format!("M{} 4h7v1h-7z", size - 4 - 7)) && path.contains(&format!("M4 {}h7v1h-7z", size - 4 - 1)));
        assert_eq!(drawn(&"x".repeat(8_000)), None);
    }
}
