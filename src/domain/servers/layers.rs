//! What a server is laid out of: its list of layers and its variables are compared, changed and changed back as a whole.
//!
//! Pages and API call this. A change is a row and a line of the history; the node lays the data out anew when the server next starts.
//! The list before the last change stays held with the new one, so that no version goes while somebody can go back to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::create::variables as check_variables;
use super::looks::{self, OwnFiles};
use super::update::changed_names;
use super::{Cause, Event, find, update};
use crate::domain::templates::{self, Choice, Difference};
use crate::domain::{Actor, Ctx, Fields, Refusal, backups};
use crate::model::backups::{Backup, Reason};
use crate::model::ids::ServerId;
use crate::model::layers::LayerRef;
use crate::model::servers::{Pending, Phase, Server, Wanted};
use crate::model::time::Millis;
use crate::model::users::Right;
use crate::store::{StoreError, backups as rows};

/// Said when a version is deleted at the very moment at which somebody takes it.
pub(super) const GONE: &str = "One of these versions has just been deleted. Choose again.";
const NO_WAY_BACK: &str = "Its layers have never been changed, so there is nothing to go back to.";

/// What another list of layers would change, before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// What it has now.
    pub before: Vec<LayerRef>,
    /// What it would have, every version named.
    pub after: Vec<LayerRef>,
    /// Of the files that its layers bring.
    pub difference: Difference,
    /// Files that the server itself has written and that a layer would replace.
    pub own_files: OwnFiles,
    /// Variables that would have another value, or none any more.
    pub variables: Vec<String>,
}

impl Preview {
    /// It has all this already.
    pub fn is_nothing(&self) -> bool {
        self.before == self.after && self.variables.is_empty()
    }
}

/// Reads what was chosen. No variables: they stay as they are.
async fn read(
    ctx: &Ctx,
    server: &Server,
    choices: &[Choice],
    variables: Option<&BTreeMap<String, String>>,
) -> Result<Vec<LayerRef>, Refusal> {
    let mut fields = Fields::default();
    if let Some(variables) = variables {
        check_variables(variables, &mut fields);
    }
    match templates::choose(ctx, &server.game, choices).await {
        Err(Refusal::Invalid(wrong)) => {
            fields.0.extend(wrong.0);
            Err(Refusal::Invalid(fields))
        }
        Ok(layers) => fields.check().map(|()| layers),
        Err(other) => Err(other),
    }
}

async fn compared(ctx: &Ctx, server: &Server, after: Vec<LayerRef>, variables: &BTreeMap<String, String>) -> Result<Preview, Refusal> {
    let difference = templates::difference(ctx, &server.layers, &after).await?;
    let own_files = looks::own_files(ctx, server, &after, variables).await?;
    let variables = changed_names(&server.variables, variables).into_iter().map(str::to_owned).collect();
    Ok(Preview { before: server.layers.clone(), after, difference, own_files, variables })
}

/// What these layers would change.
///
/// # Errors
/// [`Refusal::Invalid`] at `layers` and `variables`.
pub async fn preview(
    ctx: &Ctx,
    actor: &Actor,
    id: &ServerId,
    choices: &[Choice],
    variables: Option<&BTreeMap<String, String>>,
) -> Result<Preview, Refusal> {
    let server = find(ctx, actor, id, Right::ChangeServer).await?;
    let after = read(ctx, &server, choices, variables).await?;
    compared(ctx, &server, after, variables.unwrap_or(&server.variables)).await
}

/// What going back would change.
///
/// # Errors
/// [`Refusal::Conflict`] where there is no way back.
pub async fn preview_back(ctx: &Ctx, actor: &Actor, id: &ServerId) -> Result<Preview, Refusal> {
    let server = find(ctx, actor, id, Right::ChangeServer).await?;
    if server.layers_before.is_empty() {
        return Err(Refusal::Conflict(NO_WAY_BACK.to_owned()));
    }
    compared(ctx, &server, server.layers_before.clone(), &server.variables).await
}

async fn change(
    ctx: &Arc<Ctx>,
    id: &ServerId,
    cause: &Cause,
    change: impl Fn(&mut Server) -> Result<(), Refusal>,
) -> Result<Server, Refusal> {
    let changed = update(ctx, id, cause, |server, _| {
        if server.life.wanted == Wanted::Deleted {
            return Err(Refusal::Conflict("It is being deleted.".to_owned()));
        }
        change(server)
    })
    .await;
    match changed {
        Err(Refusal::Store(StoreError::InUse(_))) => Err(Refusal::Conflict(GONE.to_owned())),
        other => other?.ok_or(Refusal::NotFound),
    }
}

/// Its layers change: first the data are written down, where there are any. Until that backup is there, it stands on those before. One
/// that waits for such a backup already needs no other.
async fn backed_up(ctx: &Arc<Ctx>, actor: &Actor, server: &Server) -> Result<Option<Backup>, Refusal> {
    match &server.pending {
        Some(Pending::Leaving { .. } | Pending::Arriving { .. }) => {
            return Err(Refusal::Conflict("It is moving to another machine. Try again when it has arrived.".to_owned()));
        }
        Some(Pending::Layers { .. }) => return Ok(None),
        None if backups::has_no_data(server) => return Ok(None),
        None => {}
    }
    let backup = backups::wanted(server, Reason::Layers, &actor.user.email, ctx.clock.now());
    rows::insert(&ctx.db, &backup).await?;
    Ok(Some(backup))
}

/// Puts other layers into the row, behind the backup where there is one.
fn replace(server: &mut Server, layers: &[LayerRef], backup: Option<&Backup>) {
    if matches!(server.pending, Some(Pending::Layers { .. })) {
        // It still stands on those before.
        layers.clone_into(&mut server.layers);
        if server.layers == server.layers_before {
            server.pending = None;
        }
        return;
    }
    server.layers_before = std::mem::replace(&mut server.layers, layers.to_vec());
    server.pending = backup.map(|backup| Pending::Layers { backup: backup.id.clone() });
}

async fn change_behind(
    ctx: &Arc<Ctx>,
    id: &ServerId,
    cause: &Cause,
    backup: Option<Backup>,
    work: impl Fn(&mut Server, Option<&Backup>) -> Result<(), Refusal>,
) -> Result<Server, Refusal> {
    let changed = change(ctx, id, cause, |server| work(server, backup.as_ref())).await;
    if let (Err(_), Some(backup)) = (&changed, &backup) {
        rows::delete(&ctx.db, &backup.id).await?;
    }
    ctx.backups_nudge.notify_one();
    changed
}

/// Gives a server these layers and variables; no variables: they stay as they are. It counts from its next start.
///
/// # Errors
/// [`Refusal::Invalid`] at `layers` and `variables`; [`Refusal::Conflict`] when nothing would change.
pub async fn set_layers(
    ctx: &Arc<Ctx>,
    actor: &Actor,
    id: &ServerId,
    choices: &[Choice],
    variables: Option<&BTreeMap<String, String>>,
) -> Result<Server, Refusal> {
    let server = find(ctx, actor, id, Right::ChangeServer).await?;
    let layers = read(ctx, &server, choices, variables).await?;
    let backup = if server.layers == layers { None } else { backed_up(ctx, actor, &server).await? };
    let cause = Cause::new(actor.user.email.clone(), "");
    change_behind(ctx, id, &cause, backup, |server, backup| {
        let variables = variables.unwrap_or(&server.variables).clone();
        if server.layers == layers && server.variables == variables {
            return Err(Refusal::Conflict("It has these layers and variables already; nothing has been changed.".to_owned()));
        }
        if server.layers != layers {
            replace(server, &layers, backup);
        }
        server.variables = variables;
        Ok(())
    })
    .await
}

/// Gives a server the layers back that it had before the last change; the way back leads forth again. Variables stay.
///
/// # Errors
/// [`Refusal::Conflict`] where there is no way back.
pub async fn layers_back(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId) -> Result<Server, Refusal> {
    let server = find(ctx, actor, id, Right::ChangeServer).await?;
    if server.layers_before.is_empty() {
        return Err(Refusal::Conflict(NO_WAY_BACK.to_owned()));
    }
    let backup = backed_up(ctx, actor, &server).await?;
    let cause = Cause::new(actor.user.email.clone(), "Gone back.");
    change_behind(ctx, id, &cause, backup, |server, backup| {
        if server.layers_before.is_empty() {
            return Err(Refusal::Conflict(NO_WAY_BACK.to_owned()));
        }
        if matches!(server.pending, Some(Pending::Layers { .. })) {
            // What was to come is called off.
            std::mem::swap(&mut server.layers, &mut server.layers_before);
            server.pending = None;
        } else {
            let before = server.layers_before.clone();
            replace(server, &before, backup);
        }
        Ok(())
    })
    .await
}

/// Since when a running server has had other layers or variables than those it started with, by its history, newest first.
pub fn waits_for_start(server: &Server, history: &[Event]) -> Option<Millis> {
    if !matches!(server.life.phase, Phase::Starting | Phase::Running) {
        return None;
    }
    let since_start = history.iter().take_while(|event| event.what != "phase starting");
    since_start.filter(|event| event.what.starts_with("layers ") || event.what.starts_with("variables ")).last().map(|event| event.at)
}
