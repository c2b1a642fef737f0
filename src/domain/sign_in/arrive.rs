//! To a provider and back: what was begun is ended once, by the browser that began it, and only then is it decided what it opens.
//!
//! Accounts are opened by issuer and subject alone. An address that a provider gives never opens an account that is there: whoever has one
//! logs in as they always do, and links.

use std::net::IpAddr;

use super::{Entry, FLOW_LIVES, Trouble, enter, letters, links};
use crate::domain::{Actor, Ctx, Fields, Refusal, digest, users};
use crate::identity::{Kept, Person};
use crate::model::accounts::Email;
use crate::model::ids::UserId;
use crate::model::time::Millis;
use crate::store::identities::{self, Identity};
use crate::store::sign_in_flows::{self, Flow};
use crate::store::{StoreError, users as rows};

/// Longest word of a provider that is shown.
const WORD_MAX: usize = 60;
/// What the nonce and the verifier of a flow are sealed for.
const SEAL: &str = "sign-in-flow";

/// What a flow is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// To log in, or to make an account.
    LogIn,
    /// To link what comes back to this account.
    Link(UserId),
    /// To show that this account is theirs.
    Confirm(UserId),
}

impl Purpose {
    fn word(&self) -> &'static str {
        match self {
            Purpose::LogIn => "log-in",
            Purpose::Link(_) => "link",
            Purpose::Confirm(_) => "confirm",
        }
    }

    fn of(flow: &Flow) -> Option<Purpose> {
        match (flow.purpose.as_str(), flow.user.clone()) {
            ("log-in", _) => Some(Purpose::LogIn),
            ("link", Some(user)) => Some(Purpose::Link(user)),
            ("confirm", Some(user)) => Some(Purpose::Confirm(user)),
            (_other, _) => None,
        }
    }

    fn user(&self) -> Option<&UserId> {
        match self {
            Purpose::LogIn => None,
            Purpose::Link(user) | Purpose::Confirm(user) => Some(user),
        }
    }
}

/// What a provider's redirect carries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Returned<'a> {
    /// Which flow.
    pub state: &'a str,
    /// To trade for who it is.
    pub code: &'a str,
    /// Instead of a code.
    pub error: Option<&'a str>,
}

/// Somebody whom a provider knows and this panel does not, and who has to say which address is theirs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Newcomer {
    /// Key of the provider.
    pub provider: String,
    /// Who says so.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
    /// A name to know it by.
    pub label: String,
    /// An address that the provider gives and has not verified; may be empty.
    pub address: String,
    /// When they came.
    pub at: Millis,
}

impl Newcomer {
    /// May it still be settled?
    pub fn waits(&self, ctx: &Ctx) -> bool {
        ctx.clock.now().since(self.at) < FLOW_LIVES
    }
}

/// Where a flow has led.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// To an account, and on to this path.
    Entered(Entry, String),
    /// To the question for an address.
    Newcomer(Newcomer, String),
    /// To a link.
    Linked,
    /// To proof that the account is theirs, and on to this path.
    Confirmed(String),
}

/// Begins a flow; gives the address that the browser goes to.
///
/// # Errors
/// [`Trouble::Provider`], [`Trouble::Refused`].
pub async fn begin(ctx: &Ctx, provider: &str, purpose: Purpose, browser: &str, next: &str, from: IpAddr) -> Result<String, Trouble> {
    ctx.limits.sign_in(from)?;
    let fresh = matches!(purpose, Purpose::Confirm(_));
    let begun = ctx.providers.begin(provider, fresh).await?;
    let state = digest(&begun.state);
    let kept = serde_json::to_vec(&begun.kept).ok().and_then(|kept| ctx.seals.seal(SEAL, &state, &kept));
    let flow = Flow {
        browser: digest(browser),
        provider: provider.to_owned(),
        purpose: purpose.word().to_owned(),
        user: purpose.user().cloned(),
        next: next.to_owned(),
        sealed: kept.ok_or(StoreError::Unreadable("a new flow"))?,
        created_at: ctx.clock.now(),
        state,
    };
    sign_in_flows::insert(&ctx.db, &flow).await?;
    Ok(begun.url)
}

/// Ends a flow.
///
/// # Errors
/// Each of [`Trouble`].
pub async fn arrive(
    ctx: &Ctx,
    provider: &str,
    returned: Returned<'_>,
    browser: &str,
    signed_in: Option<&Actor>,
    from: IpAddr,
) -> Result<Arrival, Trouble> {
    ctx.limits.sign_in(from)?;
    let flow = sign_in_flows::take(&ctx.db, &digest(returned.state), &digest(browser), provider).await?.ok_or(Trouble::NoFlow)?;
    let purpose = Purpose::of(&flow).filter(|_| ctx.clock.now().since(flow.created_at) < FLOW_LIVES).ok_or(Trouble::NoFlow)?;
    match returned.error {
        Some("access_denied") => return Err(Trouble::Denied),
        Some(word) => return Err(Trouble::SentBack(word.chars().filter(|c| !c.is_control()).take(WORD_MAX).collect())),
        None => {}
    }
    // Whoever is signed in has to be who it was when they left.
    if purpose.user().is_some_and(|user| signed_in.is_none_or(|actor| actor.user.id != *user)) {
        return Err(Trouble::NotYours);
    }
    let kept: Option<Kept> = ctx.seals.open(SEAL, &flow.state, &flow.sealed).and_then(|kept| serde_json::from_slice(&kept).ok());
    let person = ctx.providers.finish(provider, returned.code, &kept.ok_or(Trouble::NoFlow)?, ctx.clock.now()).await?;
    match (purpose, signed_in) {
        (Purpose::LogIn, _) => log_in(ctx, provider, person, flow.next, from).await,
        (Purpose::Link(_), Some(actor)) => link(ctx, actor, provider, &person).await.map(|()| Arrival::Linked),
        (Purpose::Confirm(user), Some(_)) => match identities::find(&ctx.db, &person.issuer, &person.subject).await? {
            Some(identity) if identity.user == user => Ok(Arrival::Confirmed(flow.next)),
            Some(_) | None => Err(Trouble::NotYours),
        },
        (Purpose::Link(_) | Purpose::Confirm(_), None) => Err(Trouble::NotYours),
    }
}

async fn log_in(ctx: &Ctx, provider: &str, person: Person, next: String, from: IpAddr) -> Result<Arrival, Trouble> {
    if let Some(identity) = identities::find(&ctx.db, &person.issuer, &person.subject).await? {
        let user = rows::by_id(&ctx.db, &identity.user).await?.ok_or(Refusal::NotFound)?;
        let entry = enter(ctx, user).await?;
        identities::touch(&ctx.db, &Identity { label: person.label, ..identity }, ctx.clock.now()).await?;
        return Ok(Arrival::Entered(entry, next));
    }
    if !ctx.policy.open_registration {
        return Err(Trouble::Refused(Refusal::Forbidden));
    }
    let newcomer = Newcomer {
        provider: provider.to_owned(),
        issuer: person.issuer,
        subject: person.subject,
        label: person.label,
        address: person.email.as_ref().map(|email| email.address.as_str().to_owned()).unwrap_or_default(),
        at: ctx.clock.now(),
    };
    match person.email {
        Some(email) if email.verified => {
            if rows::by_email(&ctx.db, &email.address).await?.is_some() {
                return Err(Trouble::Taken(email.address.as_str().to_owned()));
            }
            let user = make(ctx, &newcomer, &email.address, true, from).await?;
            Ok(Arrival::Entered(Entry::In(user), next))
        }
        Some(_) | None => Ok(Arrival::Newcomer(newcomer, next)),
    }
}

/// Makes the account of somebody whom a provider knows, with an address that they typed and that is not verified yet.
///
/// # Errors
/// [`Refusal::Invalid`] at `email`; [`Refusal::Conflict`] where it took too long; [`Refusal::Forbidden`], [`Refusal::TooMany`].
pub async fn settle(ctx: &Ctx, newcomer: &Newcomer, email: &str, from: IpAddr) -> Result<crate::model::users::User, Refusal> {
    if !newcomer.waits(ctx) {
        return Err(Refusal::Conflict("This took longer than ten minutes. Go back to the login and begin again.".to_owned()));
    }
    let mut fields = Fields::default();
    let email = Email::parse(email).map_err(|why| fields.add("email", why)).ok();
    let Some(email) = email else { return Err(Refusal::Invalid(fields)) };
    make(ctx, newcomer, &email, false, from).await
}

async fn make(ctx: &Ctx, newcomer: &Newcomer, email: &Email, verified: bool, from: IpAddr) -> Result<crate::model::users::User, Refusal> {
    if !ctx.policy.open_registration {
        return Err(Refusal::Forbidden);
    }
    ctx.limits.register(from)?;
    let tx = ctx.db.begin().await?;
    let now = ctx.clock.now();
    let user =
        users::add(ctx, &tx, users::New { email, password_hash: "", first_admin: false, verified_at: verified.then_some(now) }).await?;
    let identity = Identity {
        issuer: newcomer.issuer.clone(),
        subject: newcomer.subject.clone(),
        provider: newcomer.provider.clone(),
        user: user.id.clone(),
        label: newcomer.label.clone(),
        created_at: now,
        used_at: Some(now),
    };
    if !identities::insert(&tx, &identity).await? {
        return Err(Refusal::Conflict("This account was made a moment ago. Go back to the login.".to_owned()));
    }
    if !verified {
        links::post_verification(ctx, &tx, &user).await?;
    }
    tx.commit().await?;
    Ok(user)
}

async fn link(ctx: &Ctx, actor: &Actor, provider: &str, person: &Person) -> Result<(), Trouble> {
    if let Some(identity) = identities::find(&ctx.db, &person.issuer, &person.subject).await? {
        return if identity.user == actor.user.id { Ok(()) } else { Err(Trouble::Elsewhere) };
    }
    let now = ctx.clock.now();
    let identity = Identity {
        issuer: person.issuer.clone(),
        subject: person.subject.clone(),
        provider: provider.to_owned(),
        user: actor.user.id.clone(),
        label: person.label.clone(),
        created_at: now,
        used_at: None,
    };
    let tx = ctx.db.begin().await?;
    if !identities::insert(&tx, &identity).await? {
        return Err(Trouble::OneAlready);
    }
    letters::post(ctx, &tx, &actor.user, &letters::Told::Linked(ctx.providers.name(provider).unwrap_or(provider))).await?;
    tx.commit().await?;
    Ok(())
}
