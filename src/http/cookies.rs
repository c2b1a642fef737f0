//! Cookies of this panel: their names, how they are read, and how they are set.
//!
//! Browsers know a host and not a port, so two panels on one host see each other's cookies. Each name therefore carries the installation.
//! Over HTTPS it also says that no other host, and no subdomain, can have set the cookie.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::domain::Ctx;

/// What a cookie is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Who is signed in.
    Session,
    /// The browser itself, for the hour of a flow to a provider.
    Browser,
    /// What was done, to be shown once.
    Notice,
    /// Accounts that were opened with this browser.
    Known,
}

/// The names.
#[derive(Debug, Clone)]
pub(super) struct Cookies {
    secure: bool,
    names: [String; 4],
}

impl Cookies {
    /// Of this installation; `secure`: over HTTPS only.
    pub fn new(ctx: &Ctx, secure: bool) -> Cookies {
        let prefix = if secure { "__Host-" } else { "" };
        let installation = ctx.installation();
        Cookies { secure, names: ["session", "browser", "notice", "known"].map(|word| format!("{prefix}roost_{word}_{installation}")) }
    }

    /// Its name.
    pub fn name(&self, cookie: Cookie) -> &str {
        let [session, browser, notice, known] = &self.names;
        match cookie {
            Cookie::Session => session,
            Cookie::Browser => browser,
            Cookie::Notice => notice,
            Cookie::Known => known,
        }
    }

    /// What a browser holds of it.
    pub fn read<'a>(&self, headers: &'a HeaderMap, cookie: Cookie) -> Option<&'a str> {
        let texts = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.name(cookie)).map(|(_, value)| value)
    }

    /// Has a browser hold it for so many seconds; 0 takes it away.
    pub fn set(&self, response: &mut Response, cookie: Cookie, value: &str, secs: u32) {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={secs}{secure}", self.name(cookie));
        if let Ok(text) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::SET_COOKIE, text);
        }
    }
}
