//! Samples of the pages about who gets into an account.

use super::{HOSTILE, LONG, NOW, frame, staff};
use crate::http::pages::fields::Field;
use crate::http::pages::gate::{GateForm, GatePage, Sky, Way};
use crate::http::pages::layout::Layout;
use crate::http::pages::moments::Moment;
use crate::http::pages::security::{CodesPage, LinkedRow, NewAppPage, PasskeyLine, SecurityPage};
use crate::model::time::{DAY, HOUR};

impl GatePage {
    /// The second step, a refused new password, a trouble, going elsewhere.
    pub fn samples() -> Vec<(&'static str, GatePage)> {
        let layout = Layout { path: "/auth/second".to_owned(), ..Layout::default() };
        let page = |sky, title: &str, says: &str| GatePage { says: vec![says.to_owned()], ..GatePage::of(layout.clone(), sky, title) };
        let wrong = Some("This code is not right, or it has been used. Wait for the next one, or take a recovery code.".to_owned());
        let second = GatePage {
            form: Some(GateForm::to("/auth/second", "Log in").field(Field::code("code", "Code").error(wrong).required())),
            passkey: Some("second"),
            ways: vec![Way::link("/auth/login", "Log in as somebody else")],
            ..page(Sky::Dusk, "One more step", "Use a passkey, or enter the code that your app shows now, or one of your recovery codes.")
        };
        let short = Some("Choose at least 10 characters. Length protects more than odd signs.".to_owned());
        let field = Field::password("password", "New password", "new-password").error(short).required();
        let reset = GatePage {
            form: Some(GateForm::to("/auth/reset", "Set the password").hidden("token", HOSTILE).account(HOSTILE).field(field)),
            ..page(Sky::Dawn, "Choose a new password", &format!("For the account {HOSTILE}."))
        };
        let trouble = GatePage {
            ways: vec![Way::link("/auth/login", "To the login"), Way::link("/auth/forgot", "Choose a new password")],
            ..page(
                Sky::Trouble,
                "You have an account already",
                &format!(
                    "There is an account with the address {HOSTILE}. Log in to it the way you always do, once, and link Google on its page “Security”."
                ),
            )
        };
        let confirm = GatePage {
            layout: frame("/account/confirm"),
            form: Some(
                GateForm::to("/account/confirm", "Go on")
                    .account("ada@example.org")
                    .field(Field::password("current", "Password", "current-password").required()),
            ),
            ways: vec![Way::post("/account/confirm/google", "Log in at Google again"), Way::link("/account", "Back to your account")],
            ..page(Sky::Dusk, "Is it you?", "The next page changes who gets into your account. Show once more that it is yours.")
        };
        vec![("second", second), ("reset", reset), ("trouble", trouble), ("confirm", confirm)]
    }
}

impl SecurityPage {
    /// With everything, with nothing, with hostile names.
    pub fn samples() -> Vec<(&'static str, SecurityPage)> {
        let row = |key: &str, name: &str, label: Option<&str>, works, last| LinkedRow {
            key: key.to_owned(),
            name: name.to_owned(),
            works,
            label: label.map(str::to_owned),
            since: label.map(|_| Moment::relative(NOW - 40 * DAY, NOW)),
            last,
        };
        let key = |id: &str, name: &str, used: Option<i64>| PasskeyLine {
            id: id.to_owned(),
            name: name.to_owned(),
            made: Moment::relative(NOW - 20 * DAY, NOW),
            used: used.map(|hours| Moment::relative(NOW - hours * HOUR, NOW)),
        };
        let usual = SecurityPage {
            layout: frame("/account/security"),
            linked: vec![row("google", "Google", Some("ada@example.org"), true, false), row("discord", "Discord", None, true, false)],
            new_password: None,
            email: "ada@example.org".to_owned(),
            app: true,
            passkeys: vec![key("key-1", "This laptop", Some(3)), key("key-2", LONG, None)],
            passkeys_possible: true,
            codes_left: Some(9),
        };
        let bare = SecurityPage {
            linked: vec![row("google", "Google", Some("ada@example.org"), true, true)],
            new_password: Some(Field::password("password", "Password", "new-password").help("At least 10 characters.").required()),
            app: false,
            passkeys: vec![],
            codes_left: None,
            ..usual.clone()
        };
        let hostile = SecurityPage {
            layout: staff("/account/security"),
            linked: vec![row("club", HOSTILE, Some(HOSTILE), false, false)],
            email: HOSTILE.to_owned(),
            passkeys: vec![key("key-1", HOSTILE, None)],
            codes_left: Some(0),
            ..usual.clone()
        };
        let nowhere =
            SecurityPage { linked: vec![], app: false, passkeys: vec![], passkeys_possible: false, codes_left: None, ..usual.clone() };
        vec![("usual", usual), ("bare", bare), ("hostile", hostile), ("nowhere", nowhere)]
    }
}

impl NewAppPage {
    /// As it begins, and with a wrong code.
    pub fn samples() -> Vec<(&'static str, NewAppPage)> {
        let secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
        let url = format!("otpauth://totp/Roost:ada%40example.org?secret={secret}&issuer=Roost");
        let wrong = "This is not the code that the app shows now. If it goes on like this, set the clock of your device right.";
        let page = |error: Option<&str>| NewAppPage::of(frame("/account/app"), secret, &url, error.map(str::to_owned));
        [("fresh", page(None)), ("wrong", page(Some(wrong)))].into_iter().filter_map(|(name, page)| Some((name, page?))).collect()
    }
}

impl CodesPage {
    /// Ten of them.
    pub fn samples() -> Vec<(&'static str, CodesPage)> {
        let codes = (0..10).map(|n| format!("k3v9-xq2m-zt7{n}")).collect();
        vec![("fresh", CodesPage::of(frame("/account/codes"), codes))]
    }
}
