//! Signing in with an account that somebody has elsewhere: OpenID Connect issuers, and GitHub and Discord, which speak OAuth 2 only.
//!
//! Called by `domain`, which decides what a person found here may do. Two steps: [`Providers::begin`] makes the address to send a browser
//! to, with state, nonce and a PKCE challenge of its own, and [`Providers::finish`] trades the code that comes back for who it is. Nobody
//! outside of this room is believed before a signature or the provider's own TLS says so, every wait and every answer has a bound, and
//! what a provider publishes of itself is fetched when it is first needed and kept for a while. Only this room names `openidconnect`.

mod account;
mod openid;
mod peer;
mod provider;

use std::fmt;

use crate::model::accounts::Email;
use crate::model::secrets::Secret;
use crate::model::time::Millis;
use provider::Provider;

pub use peer::PeerError;

/// Longest subject of a provider, in bytes.
const SUBJECT_MAX: usize = 255;
/// Longest name of a person that is kept, in characters.
const LABEL_MAX: usize = 80;
/// Longest code of a callback, in bytes.
const CODE_MAX: usize = 4_096;

/// How a provider is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Any OpenID Connect issuer.
    OpenId {
        /// Its address; the rest is read from there.
        issuer: String,
        /// Asks for a fresh login; what issuers understand by it differs.
        fresh: Fresh,
    },
    /// An OpenID Connect issuer for many tenants, each of which signs as an issuer of its own.
    Microsoft {
        /// Its address.
        issuer: String,
    },
    /// GitHub, or one's own.
    GitHub {
        /// Where people log in.
        site: String,
        /// Where its API answers.
        api: String,
    },
    /// Discord.
    Discord {
        /// Where people log in.
        site: String,
        /// Where its API answers.
        api: String,
    },
}

/// What an issuer is asked for when somebody is to log in anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// `prompt=login`.
    Login,
    /// `prompt=select_account`, for those that know no other.
    Choose,
}

/// A provider as it is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Part of the addresses here: `google`, `club`.
    pub key: String,
    /// As people know it.
    pub name: String,
    /// What it calls this panel.
    pub client_id: String,
    /// How this panel proves itself.
    pub client_secret: Secret,
    /// How it is asked.
    pub kind: Kind,
}

/// What has to be kept between the two steps, away from the browser.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// Comes back inside the ID token.
    pub nonce: String,
    /// Proves that the code is traded by whoever asked for it.
    pub verifier: String,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(hidden)")
    }
}

/// A flow that has begun.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Where the browser goes.
    pub url: String,
    /// Comes back with the browser.
    pub state: String,
    /// Stays here.
    pub kept: Kept,
}

/// An address that a provider gives, and whether it has seen that it is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedEmail {
    /// The address.
    pub address: Email,
    /// The provider says that it has verified it.
    pub verified: bool,
}

/// Who somebody is at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who says so: issuer of the token, or address of the site.
    pub issuer: String,
    /// The same for ever, and one person's only.
    pub subject: String,
    /// Their address, where there is one.
    pub email: Option<ClaimedEmail>,
    /// A name to know the account by; may be empty, may change.
    pub label: String,
}

impl Person {
    fn of(issuer: &str, subject: &str, email: Option<&str>, verified: bool, label: &str) -> Result<Person, IdentityError> {
        if subject.is_empty() || subject.len() > SUBJECT_MAX || subject.chars().any(char::is_control) {
            return Err(IdentityError::NotBelieved("the subject is empty or too long".to_owned()));
        }
        let email = email.and_then(|text| Email::parse(text).ok()).map(|address| ClaimedEmail { address, verified });
        let label = label.chars().filter(|c| !c.is_control()).take(LABEL_MAX).collect();
        Ok(Person { issuer: issuer.to_owned(), subject: subject.to_owned(), email, label })
    }
}

/// Why somebody could not be signed in by a provider.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No provider of this key is set up.
    #[error("no such provider is set up")]
    Unknown,
    /// It does not answer: worth another try later.
    #[error("the provider does not answer")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answers in a way that cannot be understood: another try gives the same.
    #[error("the provider answers in a form that is not understood")]
    Odd(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It does not take the code: used, ended, or not meant for this panel.
    #[error("the provider refused the code: {0}")]
    Refused(String),
    /// What it says fails a check.
    #[error("what the provider says is not believed: {0}")]
    NotBelieved(String),
}

impl IdentityError {
    fn away(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> IdentityError {
        IdentityError::Away(error.into())
    }

    fn odd(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> IdentityError {
        IdentityError::Odd(error.into())
    }
}

/// Every provider that is set up.
#[derive(Default)]
pub struct Providers {
    all: Vec<Provider>,
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(Provider::key)).finish()
    }
}

impl Providers {
    /// Puts them together; nobody is asked yet. `base` is where browsers reach this panel.
    ///
    /// # Errors
    /// [`IdentityError::Away`] where an address is none, or the system has no roots of trust.
    pub fn new(setups: Vec<Setup>, base: &str) -> Result<Providers, IdentityError> {
        let all = setups.into_iter().map(|setup| Provider::new(setup, base)).collect::<Result<_, _>>()?;
        Ok(Providers { all })
    }

    /// Key and name of each, in the order of the settings.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|provider| (provider.key(), provider.name()))
    }

    /// The name of a provider that is set up.
    pub fn name(&self, key: &str) -> Option<&str> {
        self.find(key).ok().map(Provider::name)
    }

    fn find(&self, key: &str) -> Result<&Provider, IdentityError> {
        self.all.iter().find(|provider| provider.key() == key).ok_or(IdentityError::Unknown)
    }

    /// Begins a flow; `fresh`: the person is asked to log in anew, where the provider can be told so.
    ///
    /// # Errors
    /// [`IdentityError::Unknown`], [`IdentityError::Away`].
    pub async fn begin(&self, key: &str, fresh: bool) -> Result<Begun, IdentityError> {
        self.find(key)?.begin(fresh).await
    }

    /// Ends a flow: trades the code for who it is.
    ///
    /// # Errors
    /// Each of [`IdentityError`].
    pub async fn finish(&self, key: &str, code: &str, kept: &Kept, now: Millis) -> Result<Person, IdentityError> {
        if code.is_empty() || code.len() > CODE_MAX {
            return Err(IdentityError::Refused("there is no code".to_owned()));
        }
        self.find(key)?.finish(code, kept, now).await
    }
}
