//! Before anybody is signed in: the landing page, logging in, making an account.

use askama::Template;
use askama_web::WebTemplate;

use super::fields::Field;
use super::gate::Way;
use super::layout::Layout;

/// `/` for whoever is not signed in.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "auth/landing.html")]
pub struct LandingPage {
    /// Frame.
    pub layout: Layout,
    /// Credits that a new account starts with, such as `100.00`; empty: none.
    pub signup_credits: String,
    /// Names of the games on offer.
    pub games: Vec<String>,
}

/// `/auth/login`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "auth/login.html")]
pub struct LoginPage {
    /// Frame.
    pub layout: Layout,
    /// Address of the account.
    pub email: Field,
    /// Its password.
    pub password: Field,
    /// Why it was refused; the same words for an unknown account and a wrong password.
    pub error: Option<String>,
    /// Where to go afterwards: a path of this site.
    pub next: Option<String>,
    /// Who shares what, where somebody comes by an invitation.
    pub invited: Option<String>,
    /// A button for each provider.
    pub ways: Vec<Way>,
    /// Browsers allow passkeys for this panel's address.
    pub passkeys: bool,
}

impl LoginPage {
    /// With what was typed and why it was refused.
    pub fn of(layout: Layout, email: &str, error: Option<String>, next: Option<String>) -> LoginPage {
        LoginPage {
            layout,
            email: Field::email("email", "E-mail", email).required(),
            password: Field::password("password", "Password", "current-password").required(),
            error,
            next,
            invited: None,
            ways: Vec::new(),
            passkeys: false,
        }
    }
}

/// `/auth/register`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "auth/register.html")]
pub struct RegisterPage {
    /// Frame.
    pub layout: Layout,
    /// Address of the account.
    pub email: Field,
    /// Its password.
    pub password: Field,
    /// What is wrong with the whole.
    pub error: Option<String>,
    /// The one-time key of the setup link: this account becomes the first admin.
    pub setup: Option<String>,
    /// Where to go afterwards: a path of this site.
    pub next: Option<String>,
    /// Who shares what, where somebody comes by an invitation.
    pub invited: Option<String>,
    /// Credits that a new account starts with; empty: none.
    pub signup_credits: String,
    /// A button for each provider.
    pub ways: Vec<Way>,
}

impl LoginPage {
    /// The query that takes what comes afterwards along.
    pub fn query(&self) -> String {
        query(self.next.as_deref())
    }
}

impl RegisterPage {
    /// The query that takes what comes afterwards along.
    pub fn query(&self) -> String {
        query(self.next.as_deref())
    }

    /// With what was typed and what was wrong with it.
    pub fn of(layout: Layout, email: &str, email_error: Option<String>, password_error: Option<String>) -> RegisterPage {
        RegisterPage {
            layout,
            email: Field::email("email", "E-mail", email).error(email_error).required(),
            password: Field::password("password", "Password", "new-password")
                .help("At least 10 characters, such as a short sentence.")
                .error(password_error)
                .required(),
            error: None,
            setup: None,
            next: None,
            invited: None,
            signup_credits: String::new(),
            ways: Vec::new(),
        }
    }
}

fn query(next: Option<&str>) -> String {
    next.and_then(|next| serde_urlencoded::to_string([("next", next)]).ok()).map(|query| format!("?{query}")).unwrap_or_default()
}
