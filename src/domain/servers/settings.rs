//! Changing a server's settings. What concerns its container takes effect at its next start.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::create::idle_minutes;
use super::{Cause, find, update};
use crate::domain::{Actor, Ctx, Fields, Refusal};
use crate::model::ids::ServerId;
use crate::model::servers::{Name, Server};
use crate::model::users::Right;

/// What somebody wants changed; none: leave as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Name.
    pub name: Option<String>,
    /// Sleep by itself?
    pub auto_sleep: Option<bool>,
    /// Minutes of quiet.
    pub idle_minutes: Option<i64>,
    /// Variables, by name; those not named keep their values.
    pub env: BTreeMap<String, String>,
}

/// Changes settings.
///
/// # Errors
/// [`Refusal::Invalid`] at `name`, `idle_minutes`, `env.<NAME>`.
pub async fn change(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId, changes: &Changes) -> Result<Server, Refusal> {
    let server = find(ctx, actor, id, Right::ChangeServer).await?;
    let mut fields = Fields::default();
    let name = changes.name.as_deref().map(Name::parse).transpose().map_err(|why| fields.add("name", why)).ok().flatten();
    let minutes = idle_minutes(changes.idle_minutes, server.idle_minutes, &mut fields);
    let game = ctx.games().game(&server.game).cloned();
    let mut env = server.env.clone();
    if let Some(game) = game.filter(|_| !changes.env.is_empty()) {
        let mut chosen: BTreeMap<String, String> =
            game.env.iter().filter(|var| var.editable).filter_map(|var| Some((var.name.clone(), env.get(&var.name)?.clone()))).collect();
        chosen.extend(changes.env.clone());
        match game.environment(&chosen) {
            Ok(all) => env = all,
            Err(refused) => refused.iter().for_each(|(name, why)| fields.add(&format!("env.{name}"), format!("{why}."))),
        }
    }
    fields.check()?;
    let cause = Cause::new(actor.user.email.clone(), "Settings changed.");
    let updated = update(ctx, id, &cause, |server, _| {
        if let Some(name) = &name {
            name.as_str().clone_into(&mut server.name);
        }
        server.auto_sleep = changes.auto_sleep.unwrap_or(server.auto_sleep);
        server.idle_minutes = minutes;
        server.env.clone_from(&env);
        Ok(())
    })
    .await?;
    updated.ok_or(Refusal::NotFound)
}
