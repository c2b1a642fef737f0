//! How somebody gets in: the first step by password, provider or passkey, what it leads to, and which ways in an account has.
//!
//! A first step that is right gives an [`Entry`]: in, or only as far as the second factor. What changes the ways into an account asks for
//! a [`Proof`] that its owner has shown who they are within the last minutes, which only this room can make.

mod arrive;
mod browsers;
mod letters;
mod links;
mod ways;

use std::net::IpAddr;

use super::{Actor, Ctx, Fields, Refusal, second_factor, users};
pub use crate::identity::IdentityError;
use crate::model::time::{DAY, MINUTE, Millis};
use crate::model::users::User;
use crate::store::{account_links, challenges, sign_in_flows, users as rows};

pub use arrive::{Arrival, Newcomer, Purpose, Returned, arrive, begin, settle};
pub use browsers::{KNOWN_DAYS, Whence, remember};
pub(super) use letters::{Told, post as post_letter};
pub use links::{Link, check_reset, find_reset, first_password, make_reset_link, request_reset, request_verification, reset, verify};
pub(super) use links::{post_verification, written};
pub use ways::{Ways, unlink, ways};

/// How long a browser may be away at a provider.
const FLOW_LIVES: i64 = 10 * MINUTE;
/// How long somebody who has just shown who they are need not do so again.
pub const PROOF_LIVES: i64 = 10 * MINUTE;
/// Links that have ended are remembered for this long.
const LINKS_KEPT: i64 = 7 * DAY;

/// Where a right first step leads.
#[derive(Debug, Clone)]
pub enum Entry {
    /// In.
    In(User),
    /// To the second factor.
    Second(User),
}

/// Why somebody did not get in by a provider, or a link to one was not made.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody is on their way with this: it ended, it was used, or it began in another browser.
    #[error("no flow of this browser is open under this state")]
    NoFlow,
    /// The person said no.
    #[error("the person did not agree")]
    Denied,
    /// The provider sent the person back with an error.
    #[error("the provider sent the browser back: {0}")]
    SentBack(String),
    /// The provider is away or not believed.
    #[error("the provider could not say who it is")]
    Provider(#[from] IdentityError),
    /// There is an account with the address that the provider gives, and this does not open it.
    #[error("there is an account with this address")]
    Taken(String),
    /// It opens another account here.
    #[error("it opens another account")]
    Elsewhere,
    /// The account has one of this provider.
    #[error("the account has one of this provider")]
    OneAlready,
    /// It does not belong to whoever is signed in.
    #[error("it is not of this account")]
    NotYours,
    /// Anything that has nothing to do with the provider.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<crate::store::StoreError> for Trouble {
    fn from(error: crate::store::StoreError) -> Trouble {
        Trouble::Refused(error.into())
    }
}

/// Somebody has shown within the last minutes that the account is theirs.
#[derive(Debug, Clone, Copy)]
pub struct Proof(());

impl Proof {
    /// Of the moment at which they did, if that still counts.
    pub fn of(ctx: &Ctx, shown_at: Option<Millis>) -> Option<Proof> {
        let now = ctx.clock.now();
        shown_at.filter(|at| *at <= now && now.since(*at) < PROOF_LIVES).map(|_| Proof(()))
    }
}

/// The first step by e-mail address and password.
///
/// # Errors
/// As [`users::login`]; [`Refusal::Conflict`] where the account is shut out.
pub async fn by_password(ctx: &Ctx, email: &str, password: &str, whence: &Whence) -> Result<Entry, Refusal> {
    enter(ctx, users::login(ctx, email, password, whence).await?).await
}

/// Where somebody gets who has taken the first step.
///
/// # Errors
/// [`Refusal::Conflict`] where the account is shut out.
pub async fn enter(ctx: &Ctx, user: User) -> Result<Entry, Refusal> {
    admit(&user)?;
    if second_factor::asked(ctx, &user.id).await? { Ok(Entry::Second(user)) } else { Ok(Entry::In(user)) }
}

/// Nobody who is shut out gets in, whichever way they come.
pub(super) fn admit(user: &User) -> Result<(), Refusal> {
    let Some(suspension) = &user.suspended else { return Ok(()) };
    let why = if suspension.why.is_empty() { String::new() } else { format!(" ({})", suspension.why) };
    Err(Refusal::Conflict(format!("This account is suspended{why}. Write to whoever runs this panel.")))
}

/// Shows by the password that the account is whose it is.
///
/// # Errors
/// [`Refusal::Invalid`] at `current`; [`Refusal::TooMany`].
pub async fn confirm(ctx: &Ctx, actor: &Actor, password: &str, from: IpAddr) -> Result<(), Refusal> {
    let tried = ctx.limits.confirm(ctx.clock.now(), from, actor.user.id.as_str())?;
    let hash = rows::with_hash(&ctx.db, &actor.user.id).await?.map(|(_, hash)| hash);
    let typed: String = password.chars().take(256).collect();
    let mut fields = Fields::default();
    if ctx.hasher.fits(&typed, hash).await {
        tried.right();
    } else {
        fields.add("current", "This is not your current password.");
    }
    fields.check()
}

/// Forgets what has ended.
pub(super) async fn sweep(ctx: &Ctx) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    sign_in_flows::sweep(&ctx.db, now - FLOW_LIVES).await?;
    challenges::sweep(&ctx.db, now - FLOW_LIVES).await?;
    account_links::sweep(&ctx.db, now - LINKS_KEPT).await?;
    Ok(())
}
