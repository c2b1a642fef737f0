//! Who did what to which object from where: one line for every request that changes something, or tried to.
//!
//! `http` makes a [`Trail`] for each such request and keeps its line when the answer is known. The actor carries the trail, so that
//! whatever acts can note what exactly it did, in words without secrets. Lines are only ever added, and forgotten by age.

use std::net::IpAddr;
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
        self.0.lock().is_ok_and(|noted| noted.who.is_some())
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

/// Keeps the line of a request.
pub async fn keep(ctx: &Ctx, trail: &Trail, request: Request) -> Result<(), Refusal> {
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

/// Forgets what is old.
pub(super) async fn sweep(ctx: &Ctx) -> Result<u64, Refusal> {
    Ok(audit::sweep(&ctx.db, Millis(ctx.clock.now().0 - KEPT)).await?)
}
