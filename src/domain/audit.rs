//! Who did what to which object from where: one line for every request that changes something, or tried to.
//!
//! `http` makes a [`Trail`] for each such request and keeps its line when the answer is known. The actor carries the trail, so that
//! whatever acts can note what exactly it did, in words without secrets. Lines are only ever added, and forgotten by age. What is done has
//! a line each; of what is refused anybody may cause a few lines an hour, and all beyond are counted in one.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Actor, Ctx, Refusal};
use crate::model::ids::UserId;
use crate::model::time::{DAY, Millis};
use crate::model::users::Right;
use crate::store::audit;

pub use crate::store::audit::{Line, Question};

/// Lines of one page.
pub const PAGE: u64 = 100;
/// Lines of one export.
pub const EXPORT_MAX: u64 = 100_000;
/// Lines are forgotten after so long.
const KEPT: i64 = 400 * DAY;
/// Longest details of a line, in characters.
const DETAILS_MAX: usize = 500;
/// What the line says that stands for those that were not kept.
const FOLDED: &str = "further requests that were refused";
/// Its status.
const TOO_MANY: u16 = 429;
/// Notes of one request.
const NOTES_MAX: usize = 20;

/// What is noted while a request is carried out. Clones note into the same line.
#[derive(Debug, Clone, Default)]
pub struct Trail(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    who: Option<(UserId, String)>,
    via: String,
    notes: Vec<String>,
}

impl Trail {
    /// Says who it is that acts, and what showed it: `session`, or the name of a token.
    pub fn is(&self, user: &UserId, email: &str, via: &str) {
        if let Ok(mut noted) = self.0.lock() {
            noted.who = Some((user.clone(), email.to_owned()));
            via.clone_into(&mut noted.via);
        }
    }

    /// Notes what was done, beyond what the request's address says. Never a secret.
    pub fn note(&self, what: impl Into<String>) {
        if let Ok(mut noted) = self.0.lock()
            && noted.notes.len() < NOTES_MAX
        {
            noted.notes.push(what.into());
        }
    }

    /// Does anybody act?
    pub fn is_known(&self) -> bool {
        self.account().is_some()
    }

    fn account(&self) -> Option<UserId> {
        self.0.lock().ok()?.who.as_ref().map(|(user, _)| user.clone())
    }
}

/// A request, as far as its line says.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where it came from.
    pub from: IpAddr,
    /// Method and route, such as `POST /servers/{id}/wake`.
    pub what: String,
    /// What it was about, such as `servers/abc`; empty: nothing of its own.
    pub object: String,
    /// The answer's status.
    pub status: u16,
}

/// Lines that were not kept because there were too many like them, since the last one that says so.
#[derive(Debug, Default)]
pub struct Folded {
    strangers: AtomicU64,
    accounts: AtomicU64,
}

/// May this request have a line? What is refused too often has none.
fn has_line(ctx: &Ctx, trail: &Trail, request: &Request) -> bool {
    let refused = request.status >= 400;
    let (fits, folded) = match trail.account() {
        Some(_) if !refused => return true,
        Some(user) => (ctx.limits.line_of_account(user.as_str()).is_ok(), &ctx.folded.accounts),
        None => (ctx.limits.line_of_stranger(request.from).is_ok(), &ctx.folded.strangers),
    };
    if !fits {
        folded.fetch_add(1, Ordering::Relaxed);
    }
    fits
}

/// Keeps the line of a request.
pub async fn keep(ctx: &Ctx, trail: &Trail, request: Request) -> Result<(), Refusal> {
    if !has_line(ctx, trail, &request) {
        return Ok(());
    }
    let now = ctx.clock.now();
    let (who, via, notes) = match trail.0.lock() {
        Ok(noted) => (noted.who.clone(), noted.via.clone(), noted.notes.join("; ")),
        Err(_) => (None, String::new(), String::new()),
    };
    let (user, email) = who.unzip();
    let line = Line {
        id: Ctx::dated_id(now),
        at: now,
        user,
        who: email.unwrap_or_default(),
        via,
        address: request.from.to_string(),
        what: request.what,
        object: request.object,
        status: request.status,
        details: notes.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAILS_MAX).collect(),
    };
    Ok(audit::insert(&ctx.db, &line).await?)
}

/// A page of lines, newest first, before the line of this id.
pub async fn lines(ctx: &Ctx, actor: &Actor, question: &Question, before: Option<&str>, limit: u64) -> Result<Vec<Line>, Refusal> {
    if !actor.may_at_all(Right::SeeAudit) {
        return Err(Refusal::NotFound);
    }
    Ok(audit::list(&ctx.db, question, before, limit.min(EXPORT_MAX)).await?)
}

/// Forgets what is old, and says how many were not kept.
pub(super) async fn sweep(ctx: &Ctx) -> Result<u64, Refusal> {
    let (strangers, accounts) = (ctx.folded.strangers.swap(0, Ordering::Relaxed), ctx.folded.accounts.swap(0, Ordering::Relaxed));
    if strangers + accounts > 0 {
        let now = ctx.clock.now();
        let line = Line {
            id: Ctx::dated_id(now),
            at: now,
            user: None,
            who: String::new(),
            via: String::new(),
            address: String::new(),
            what: FOLDED.to_owned(),
            object: String::new(),
            status: TOO_MANY,
            details: format!("{strangers} of strangers and {accounts} of accounts"),
        };
        audit::insert(&ctx.db, &line).await?;
    }
    Ok(audit::sweep(&ctx.db, Millis(ctx.clock.now().0 - KEPT)).await?)
}
