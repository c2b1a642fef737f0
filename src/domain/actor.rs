//! Who acts: an account, what others let it do, what its token covers, and the trail of what it does.
//!
//! Made anew for each request, so that whatever was taken away counts from the next one. Every function of the domain that acts for
//! somebody takes one, and asks it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::audit::Trail;
use super::{Ctx, Refusal};
use crate::model::ids::ServerId;
use crate::model::servers::Server;
use crate::model::shares::Grants;
use crate::model::tokens::{Scope, Scopes};
use crate::model::users::{Right, Role, Stands, User, may};
use crate::store::shares;

/// Servers of others that somebody may do something with.
const SHARED_MAX: u64 = 500;

/// Somebody with a browser.
pub(super) const SESSION: &str = "session";

/// Who acts.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The account.
    pub user: User,
    /// What others let it do with their servers.
    pub shared: Arc<BTreeMap<ServerId, Grants>>,
    /// What its token covers; everything where it came with a session.
    pub scopes: Scopes,
    /// What showed who it is: `session`, or the token by its name.
    pub via: String,
    /// What it does is noted there.
    pub trail: Trail,
}

impl Actor {
    /// An account by itself: no guest anywhere, not held back by a token.
    pub fn of(user: User) -> Actor {
        Actor { user, shared: Arc::default(), scopes: Scopes::all(), via: SESSION.to_owned(), trail: Trail::default() }
    }

    /// The account with all that it may do, if it is not shut out.
    pub(super) async fn load(ctx: &Ctx, user: User, scopes: Scopes, via: String) -> Result<Option<Actor>, Refusal> {
        if user.suspended.is_some() {
            return Ok(None);
        }
        let shared = Arc::new(shares::of_user(&ctx.db, &user.id, SHARED_MAX).await?);
        Ok(Some(Actor { user, shared, scopes, via, trail: Trail::default() }))
    }

    /// The same, noting there, and known there from now on.
    #[must_use]
    pub fn noting(self, trail: &Trail) -> Actor {
        trail.is(&self.user.id, &self.user.email, &self.via);
        Actor { trail: trail.clone(), ..self }
    }

    /// Its role, as far as its token covers that.
    fn role(&self) -> Role {
        if self.scopes.has(Scope::Panel) { self.user.role } else { Role::Player }
    }

    fn stands(&self, server: &Server) -> Stands {
        if self.user.id == server.owner {
            Stands::Owner
        } else {
            self.shared.get(&server.id).map_or(Stands::Stranger, |grants| Stands::Guest(*grants))
        }
    }

    /// Does its token cover this? A session covers everything.
    pub fn covers(&self, right: Right) -> bool {
        self.scopes.has(Scope::of(right))
    }

    /// Does it know that there is such a server?
    pub fn knows(&self, server: &Server) -> bool {
        may(self.role(), Right::SeeServer, self.stands(server))
    }

    /// May it do this with a server?
    pub fn may(&self, right: Right, server: &Server) -> bool {
        self.covers(right) && may(self.role(), right, self.stands(server))
    }

    /// May it do this at all?
    pub fn may_at_all(&self, right: Right) -> bool {
        self.covers(right) && may(self.role(), right, Stands::Stranger)
    }

    /// Does it see more than its own things?
    pub fn is_staff(&self) -> bool {
        match self.role() {
            Role::Player => false,
            Role::Viewer | Role::Operator | Role::Admin => true,
        }
    }
}
