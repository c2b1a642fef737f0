//! What can be done: each function asks for rights, decides, saves, and calls the engine.
//!
//! Called by `http` and `workers`. Everything that they need is in one [`Ctx`]; nobody here waits for a node.

pub mod accounts;
mod actor;
pub mod audit;
pub mod backups;
pub mod billing;
pub mod books;
mod ctx;
pub mod doors;
pub mod figures;
pub mod games;
pub mod idempotency;
pub mod limits;
pub mod logs;
mod low_balance;
pub mod mails;
pub mod nodes;
pub mod passwords;
pub mod payments;
mod recent;
pub mod reports;
pub mod savings;
mod seals;
pub mod second_factor;
pub mod servers;
pub mod sessions;
pub mod shares;
pub mod sign_in;
pub mod subscriptions;
pub mod templates;
pub mod tokens;
mod tries;
pub mod users;

pub use actor::Actor;
pub use ctx::{Change, Ctx, Outside, Policy, Sales};

use sha2::{Digest, Sha256};

use crate::store::StoreError;

/// What every noun's error has in common.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It does not exist, or it is not yours to know.
    #[error("there is nothing here under this name")]
    NotFound,
    /// You may see it, and may not do this.
    #[error("your account may not do this")]
    Forbidden,
    /// It makes no sense in the state that it is in.
    #[error("{0}")]
    Conflict(String),
    /// A field is wrong.
    #[error("some fields need another look")]
    Invalid(Fields),
    /// Too many tries.
    #[error("too many tries, wait {wait_secs} s")]
    TooMany {
        /// Seconds to wait.
        wait_secs: u64,
    },
    /// Somebody outside of the panel does not do their part: worth another try.
    #[error("{0}")]
    Away(String),
    /// The database did not do its part.
    #[error("the database did not answer as it should")]
    Store(#[from] StoreError),
}

impl Refusal {
    /// There is no room left to write anything down.
    pub fn is_full(&self) -> bool {
        matches!(self, Refusal::Store(StoreError::Full(_)))
    }

    /// The database is locked, full or away for the moment: worth another try, and not a fault of this program.
    pub fn is_busy(&self) -> bool {
        match self {
            Refusal::Store(StoreError::Busy(_) | StoreError::Full(_)) => true,
            Refusal::Store(
                StoreError::Exists(_) | StoreError::InUse(_) | StoreError::Stale | StoreError::Unreadable(_) | StoreError::Other(_),
            )
            | Refusal::NotFound
            | Refusal::Forbidden
            | Refusal::Conflict(_)
            | Refusal::Invalid(_)
            | Refusal::TooMany { .. }
            | Refusal::Away(_) => false,
        }
    }
}

/// Messages, each at its field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// Adds a message.
    #[allow(clippy::needless_pass_by_value, reason = "callers pass text, errors and formatted messages alike")]
    pub fn add(&mut self, field: &str, message: impl ToString) {
        self.0.push((field.to_owned(), message.to_string()));
    }

    /// The first message at a field.
    pub fn at(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == field).map(|(_, message)| message.as_str())
    }

    /// An error if there is any message.
    pub fn check(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self)) }
    }
}

/// What is kept in place of a secret: who reads the database cannot use it.
fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}
