//! The account: address, password, how people get in, API tokens.

use askama::Template;
use askama_web::WebTemplate;

use super::checks::Checks;
use super::fields::{Choice, Field};
use super::layout::Layout;
use super::moments::Moment;
use crate::model::tokens::{Scope, Scopes};

/// `/account`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "account.html")]
pub struct AccountPage {
    /// Frame.
    pub layout: Layout,
    /// Address of the account.
    pub email: String,
    /// `player`, `admin`.
    pub role: &'static str,
    /// When it was made.
    pub since: Moment,
    /// Whether letters to that address are known to reach it.
    pub verified: Verified,
    /// Posted to `/account/password`; none: the account has no password.
    pub password: Option<PasswordForm>,
    /// How people get in, in a few words each.
    pub security: Vec<Line>,
    /// A token that was just made; never shown again.
    pub new_token: Option<String>,
    /// Newest first.
    pub tokens: Vec<TokenRow>,
    /// Posted to `/account/tokens`.
    pub token_form: TokenForm,
}

/// What is known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Letters to it reach the account's owner.
    Yes,
    /// Not yet; a letter can be asked for.
    Ask,
    /// Not, and this panel sends no letters.
    Cannot,
}

/// Something, and how it stands.
#[derive(Debug, Clone)]
pub struct Line {
    /// What.
    pub what: &'static str,
    /// How it stands.
    pub stands: String,
}

/// A new password.
#[derive(Debug, Clone)]
pub struct PasswordForm {
    /// The old one.
    pub current: Field,
    /// The new one.
    pub new: Field,
}

impl PasswordForm {
    /// Empty, with what was wrong.
    pub fn of(current_error: Option<String>, new_error: Option<String>) -> PasswordForm {
        PasswordForm {
            current: Field::password("current", "Current password", "current-password").error(current_error).required(),
            new: Field::password("new", "New password", "new-password").help("At least 10 characters.").error(new_error).required(),
        }
    }
}

/// A token in the list; revoked by POST to `/account/tokens/{id}/revoke`.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// Its id.
    pub id: String,
    /// As its owner calls it.
    pub name: String,
    /// When it was made.
    pub made: Moment,
    /// When it was last used; none: never.
    pub used: Option<Moment>,
    /// When it ends.
    pub expires: Moment,
    /// It has ended.
    pub expired: bool,
    /// What it may do, in words.
    pub may: String,
}

/// A new token.
#[derive(Debug, Clone)]
pub struct TokenForm {
    /// What it is for.
    pub name: Field,
    /// How long it lasts.
    pub days: Field,
    /// What it may do.
    pub scopes: Checks,
}

/// How long a token can last, in days.
pub const TOKEN_DAYS: [u32; 4] = [7, 30, 90, 365];

impl TokenForm {
    /// With what was typed and what was wrong with it.
    pub fn of(name: &str, days: u32, name_error: Option<String>) -> TokenForm {
        let choice = |each: u32| Choice { value: each.to_string(), label: format!("{each} days"), chosen: each == days };
        TokenForm {
            name: Field::text("name", "What is it for?", name, 60).error(name_error).required(),
            days: Field::choice("days", "Lasts", TOKEN_DAYS.into_iter().map(choice).collect()).required(),
            scopes: Checks::scopes(Scopes::NONE.with(Scope::See).with(Scope::Power), None),
        }
    }
}

/// `see servers, power`; `everything`.
pub fn covered(scopes: Scopes) -> String {
    if scopes == Scopes::all() {
        return "everything".to_owned();
    }
    scopes.iter().map(Scope::label).collect::<Vec<_>>().join(", ").to_lowercase()
}
