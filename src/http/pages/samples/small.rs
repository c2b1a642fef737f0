//! Samples of the pages that are not about one server.

use super::payments::{pay_form, paying};
use super::{HOSTILE, LONG, NOW, RIGHT_TO_LEFT, frame, staff};
use crate::http::pages::account::{AccountPage, Line, PasswordForm, TokenForm, TokenRow, Verified};
use crate::http::pages::auth::{LandingPage, LoginPage, RegisterPage};
use crate::http::pages::billing::{BillingPage, GrantForm, Ledger, LedgerRow, LedgerWhat, Pager, Purse, RunningNow, TopUp, signed};
use crate::http::pages::errors::ErrorPage;
use crate::http::pages::fields::Field;
use crate::http::pages::gate::Way;
use crate::http::pages::layout::{Funds, Layout};
use crate::http::pages::moments::Moment;
use crate::model::money::Credits;
use crate::model::time::{DAY, HOUR, MINUTE};

impl LandingPage {
    /// With and without games.
    pub fn samples() -> Vec<(&'static str, LandingPage)> {
        let games = ["Minecraft Java", "Minecraft Bedrock", "Valheim", "Rust", "ARK: Survival Evolved", "Satisfactory"];
        let layout = Layout { path: "/".to_owned(), ..Layout::default() };
        let page = |games: Vec<String>, credits: &str| LandingPage { layout: layout.clone(), signup_credits: credits.to_owned(), games };
        vec![("usual", page(games.map(str::to_owned).to_vec(), "100.00")), ("bare", page(vec![], ""))]
    }
}

impl LoginPage {
    /// Empty and refused.
    pub fn samples() -> Vec<(&'static str, LoginPage)> {
        let layout = Layout { path: "/auth/login".to_owned(), ..Layout::default() };
        let refused = Some("E-mail or password is wrong.".to_owned());
        let ways = vec![Way::link("/auth/google", "Continue with Google"), Way::link("/auth/club", &format!("Continue with {HOSTILE}"))];
        let many = LoginPage { ways, passkeys: true, ..LoginPage::of(layout.clone(), "", None, Some("/billing".to_owned())) };
        vec![
            ("ways", many),
            ("empty", LoginPage::of(layout.clone(), "", None, None)),
            ("refused", LoginPage::of(layout, HOSTILE, refused, Some(format!("/servers/{HOSTILE}")))),
        ]
    }
}

impl RegisterPage {
    /// Empty, refused, and as the first admin.
    pub fn samples() -> Vec<(&'static str, RegisterPage)> {
        let layout = Layout { path: "/auth/register".to_owned(), ..Layout::default() };
        let ways = vec![Way::link("/auth/google", "Continue with Google")];
        let empty = RegisterPage { signup_credits: "100.00".to_owned(), ways, ..RegisterPage::of(layout.clone(), "", None, None) };
        let wrong = "This does not look like an e-mail address. It needs a name, an @ and a domain, like name@example.org.";
        let short = "Choose at least 10 characters. Length protects more than odd signs.";
        let refused = RegisterPage::of(layout.clone(), HOSTILE, Some(wrong.to_owned()), Some(short.to_owned()));
        let used = Some("This setup link has been used. Ask the admin.".to_owned());
        let setup = RegisterPage { setup: Some(HOSTILE.to_owned()), error: used, ..RegisterPage::of(layout, "", None, None) };
        vec![("empty", empty), ("refused", refused), ("setup", setup)]
    }
}

fn entry(hours: i64, what: LedgerWhat, micro: i64, balance: i64) -> LedgerRow {
    let amount = signed(Credits(micro));
    LedgerRow {
        at: Moment::full(NOW - hours * HOUR),
        what,
        amount,
        taken: micro < 0,
        balance: crate::http::pages::layout::amount(Credits(balance)),
        exact: Credits(balance).to_string(),
    }
}

fn ran(name: &str, hours: i64, minutes: i64, id: bool) -> LedgerWhat {
    let to = NOW - hours * HOUR;
    let id = id.then(|| "aaaaaaaa-mi-bbbbbb".to_owned());
    LedgerWhat::Ran { id, name: name.to_owned(), how: "ran", from: Moment::clock(to - minutes * MINUTE), to: Moment::clock(to) }
}

impl BillingPage {
    /// As a player, for a demonstration, as an admin without credits.
    pub fn samples() -> Vec<(&'static str, BillingPage)> {
        let usual = BillingPage {
            layout: frame("/billing"),
            purse: Purse {
                balance: "98.25".to_owned(),
                funds: Funds::Fine,
                per_hour: "1.00".to_owned(),
                lasts: Some("4 days".to_owned()),
                running: [("Valley of Echoes", 47), (LONG, 190)]
                    .map(|(name, minutes)| RunningNow {
                        id: "aaaaaaaa-mi-bbbbbb".to_owned(),
                        name: name.to_owned(),
                        per_hour: "0.50".to_owned(),
                        since: Moment::lasting(NOW - minutes * MINUTE, NOW),
                    })
                    .to_vec(),
            },
            ledger: Ledger {
                entries: vec![
                    entry(1, ran("Valley of Echoes", 1, 47, true), -391_666, 98_258_334),
                    entry(2, ran(RIGHT_TO_LEFT, 2, 60, true), -500_000, 98_650_000),
                    entry(3, ran("Valley of Echoes", 3, 60, true), -500_000, 99_150_000),
                    entry(26, ran(HOSTILE, 26, 42, false), -350_000, 99_650_000),
                    entry(200, LedgerWhat::Said(format!("Granted by an admin: {HOSTILE}")), 25_000_000, 125_000_000),
                    entry(216, LedgerWhat::Said("Welcome: credits of a new account".to_owned()), 100_000_000, 100_000_000),
                ],
                pager: Pager { newer: None, older: Some("/billing?before=42".to_owned()) },
            },
            top_up: TopUp::AskAdmin,
            paying: None,
            grant: None,
            request: "0123456789abcdef".to_owned(),
        };
        let field = Field::amount("amount", "How many", "10");
        let mut demo = BillingPage { top_up: TopUp::Demo(field), ..usual.clone() };
        demo.layout.demo_credits = true;
        let refused =
            Field::amount("amount", "How many", "1e9").error(Some("not an amount: write it like 25 or 12.50".to_owned())).required();
        let grant = GrantForm {
            email: Field::email("email", "To whom", HOSTILE).error(Some("No account has this address.".to_owned())).required(),
            amount: refused,
            note: Field::text("note", "What for", "", 100),
        };
        let admin = BillingPage {
            layout: staff("/billing"),
            purse: Purse { balance: "0.00".to_owned(), funds: Funds::Out, lasts: None, running: vec![], ..usual.purse.clone() },
            ledger: Ledger { entries: vec![], pager: Pager::default() },
            grant: Some(grant),
            ..usual.clone()
        };
        let wrong = "This is not an amount: write it like 25 or 12.50.".to_owned();
        let pays = BillingPage { top_up: TopUp::Pay(pay_form(None)), paying: Some(paying(false)), ..usual.clone() };
        let paid = BillingPage { top_up: TopUp::Pay(pay_form(Some(wrong))), paying: Some(paying(true)), ..usual.clone() };
        vec![("usual", usual), ("demo", demo), ("admin", admin), ("pays", pays), ("paid", paid)]
    }
}

impl AccountPage {
    /// With tokens, with a fresh one, refused.
    pub fn samples() -> Vec<(&'static str, AccountPage)> {
        let token = |n: i64, name: &str, used: Option<i64>, left: i64| TokenRow {
            id: format!("token-{n}"),
            name: name.to_owned(),
            made: Moment::relative(NOW - 40 * DAY, NOW),
            used: used.map(|minutes| Moment::relative(NOW - minutes * MINUTE, NOW)),
            expires: Moment::relative(NOW + left * DAY, NOW),
            expired: left < 0,
            may: if left < 0 { "everything" } else { "see servers, power" }.to_owned(),
        };
        let usual = AccountPage {
            layout: frame("/account"),
            email: "ada@example.org".to_owned(),
            role: "player",
            since: Moment::relative(NOW - 40 * DAY, NOW),
            verified: Verified::Yes,
            password: Some(PasswordForm::of(None, None)),
            security: vec![
                Line { what: "Log in with", stands: "password, Google".to_owned() },
                Line { what: "Second factor", stands: "codes of an app, 2 passkeys; 9 recovery codes left".to_owned() },
            ],
            new_token: Some("roost_k3v9xq2mzt7w8hnp4c6s5d2fjr".to_owned()),
            tokens: vec![token(1, "Discord bot", Some(3), 50), token(2, HOSTILE, None, 5), token(3, LONG, Some(90_000), -3)],
            token_form: TokenForm::of("", 90, None),
        };
        let refused = AccountPage {
            layout: staff("/account"),
            email: HOSTILE.to_owned(),
            role: "admin",
            verified: Verified::Ask,
            password: Some(PasswordForm::of(Some("That is not your password.".to_owned()), None)),
            security: vec![Line { what: "Log in with", stands: HOSTILE.to_owned() }],
            new_token: None,
            tokens: vec![],
            token_form: TokenForm::of(HOSTILE, 7, Some("Say what it is for.".to_owned())),
            ..usual.clone()
        };
        let bare = AccountPage { verified: Verified::Cannot, password: None, new_token: None, tokens: vec![], ..usual.clone() };
        vec![("usual", usual), ("refused", refused), ("bare", bare)]
    }
}

impl ErrorPage {
    /// Each status that is met.
    pub fn samples() -> Vec<(&'static str, ErrorPage)> {
        let page = |status, detail| ErrorPage::of(frame("/x"), status, detail, "01jd8m3xq2");
        vec![
            ("404", page(404, "")),
            ("403", page(403, "")),
            ("409", page(409, "Valley of Echoes is being deleted: it cannot wake. <b>")),
            ("413", page(413, "")),
            ("422", page(422, HOSTILE)),
            ("429", ErrorPage::of(Layout::default(), 429, "", HOSTILE)),
            ("500", page(500, "")),
        ]
    }
}
