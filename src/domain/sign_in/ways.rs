//! Which ways lead into an account, and taking one away: never the last.

use super::{Proof, letters};
use crate::domain::{Actor, Change, Ctx, Refusal};
use crate::store::identities::{self, Identity};
use crate::store::users;

/// Most linked accounts that are shown; there is one for each provider.
const LINKED_MAX: u64 = 50;

/// The ways into an account that its owner chose.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// It has a password.
    pub password: bool,
    /// Accounts elsewhere that open it, by provider.
    pub linked: Vec<Identity>,
}

impl Ways {
    /// Would there be a way in without this provider? One that is no longer set up leads nowhere.
    pub fn without(&self, ctx: &Ctx, provider: &str) -> bool {
        let works = |identity: &Identity| identity.provider != provider && ctx.providers.name(&identity.provider).is_some();
        self.password || self.linked.iter().any(works)
    }
}

/// The ways into somebody's own account.
pub async fn ways(ctx: &Ctx, actor: &Actor) -> Result<Ways, Refusal> {
    let hash = users::with_hash(&ctx.db, &actor.user.id).await?.map(|(_, hash)| hash).unwrap_or_default();
    Ok(Ways { password: !hash.is_empty(), linked: identities::of_user(&ctx.db, &actor.user.id, LINKED_MAX).await? })
}

/// Unlinks an account elsewhere. Other sessions end: they may have been opened with it.
///
/// # Errors
/// [`Refusal::Conflict`] where it is the last way in; [`Refusal::NotFound`].
pub async fn unlink(ctx: &Ctx, actor: &Actor, provider: &str, _proof: Proof) -> Result<(), Refusal> {
    let tx = ctx.db.begin().await?;
    // Locks the row where databases do that, so that two that are unlinked at once do not both leave the other one.
    users::end_sessions(&tx, &actor.user.id, ctx.clock.now()).await?;
    let hash = users::with_hash(&tx, &actor.user.id).await?.map(|(_, hash)| hash).unwrap_or_default();
    let ways = Ways { password: !hash.is_empty(), linked: identities::of_user(&tx, &actor.user.id, LINKED_MAX).await? };
    let name = ctx.providers.name(provider).unwrap_or(provider);
    if !ways.linked.iter().any(|identity| identity.provider == provider) {
        return Err(Refusal::NotFound);
    }
    if !ways.without(ctx, provider) {
        return Err(Refusal::Conflict(format!("{name} is the last way into your account. Choose a password first, then unlink it.")));
    }
    identities::delete(&tx, &actor.user.id, provider).await?;
    letters::post(ctx, &tx, &actor.user, &letters::Told::Unlinked(name)).await?;
    tx.commit().await?;
    ctx.tell(Change::Rights(actor.user.id.clone()));
    Ok(())
}
