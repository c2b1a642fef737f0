//! Out of a backup, and back: the node unpacks beside the data, checks the whole, ends the game, swaps; what was there stays for a week.

use std::sync::Arc;

use super::{RESTORES_MAX, of, run};
use crate::domain::servers::find;
use crate::domain::{Actor, Change, Ctx, Refusal};
use crate::model::backups::{Restore, RestoreKind, RestoreState, State, undoable};
use crate::model::ids::{BackupId, CommandId, ServerId};
use crate::model::servers::{Pending, Server, Wanted};
use crate::model::users::Right;
use crate::store::commands::BESIDE;
use crate::store::{backups, restores};
use crate::wire::agent::{Action, Command};

/// Is a restore out of it under way, or does a server that has just moved begin with it?
pub(super) async fn uses(ctx: &Ctx, server: &ServerId, backup: &BackupId) -> Result<bool, Refusal> {
    let running = restores::of_server(&ctx.db, server, 1).await?;
    let restored = running.iter().any(|restore| restore.state == RestoreState::Running && restore.backup.as_ref() == Some(backup));
    let row = crate::store::servers::by_id(&ctx.db, server).await?;
    let pending = row.and_then(|server| server.pending);
    let begins = matches!(&pending, Some(Pending::Arriving { origin, .. }) if origin.id == *backup);
    Ok(restored || begins)
}

/// Refuses where the data cannot be touched now.
async fn free(ctx: &Ctx, server: &Server) -> Result<(), Refusal> {
    let conflict = |why: &str| Err(Refusal::Conflict(why.to_owned()));
    match (&server.life.wanted, &server.pending) {
        (Wanted::Deleted, _) => return conflict("It is being deleted."),
        (_, Some(Pending::Leaving { .. } | Pending::Arriving { .. })) => {
            return conflict("It is moving to another machine. Try again when it has arrived.");
        }
        (Wanted::Running | Wanted::Asleep | Wanted::Stopped | Wanted::Expired, Some(Pending::Layers { .. }) | None) => {}
    }
    if restores::running(&ctx.db, &server.id).await? {
        return conflict("A restore of it is under way already. Wait until it has ended.");
    }
    let open = backups::of_server(&ctx.db, &server.id, super::ROWS_MAX).await?.iter().any(|backup| backup.state == State::Running);
    if open {
        return conflict("A backup of it is being made. Wait until that one is done.");
    }
    Ok(())
}

async fn begin(
    ctx: &Arc<Ctx>,
    actor: &Actor,
    server: &Server,
    kind: RestoreKind,
    backup: Option<&BackupId>,
    action: Action,
) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let id = CommandId::from_random(&Ctx::random::<16>());
    let restore = Restore {
        command: id.clone(),
        server: server.id.clone(),
        backup: backup.cloned(),
        kind,
        by: actor.user.email.clone(),
        state: RestoreState::Running,
        message: String::new(),
        created_at: now,
        ended_at: None,
    };
    let command = Command { id, server: server.id.clone(), generation: BESIDE, action };
    let tx = ctx.db.begin().await?;
    restores::insert(&tx, &restore).await?;
    run::store(&tx, &server.node, &command, now).await?;
    tx.commit().await?;
    run::hand_on(ctx, &server.node, command, now).await;
    ctx.tell(Change::Server { owner: server.owner.clone(), server: server.id.clone(), gone: false });
    Ok(())
}

/// Puts a backup in the place of the data; with `try_only` it is only unpacked and checked, and nothing is changed.
///
/// # Errors
/// [`Refusal::Conflict`] where the backup is not done, or something else is being done with the data.
pub async fn restore(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId, backup: &BackupId, try_only: bool) -> Result<(), Refusal> {
    let right = if try_only { Right::BackUpServer } else { Right::HandleData };
    let (server, backup) = of(ctx, actor, id, backup, right).await?;
    let Some(wanted) = backup.to_restore() else {
        return Err(Refusal::Conflict("This backup is not done, so nothing can be restored from it.".to_owned()));
    };
    free(ctx, &server).await?;
    let kind = if try_only { RestoreKind::Try } else { RestoreKind::Swap };
    begin(ctx, actor, &server, kind, Some(&backup.id), Action::RestoreInstance { backup: wanted, try_only }).await
}

/// Puts the data back that the last restore took away; that can be undone as well.
///
/// # Errors
/// [`Refusal::Conflict`] where there is nothing to undo, or something else is being done with the data.
pub async fn undo(ctx: &Arc<Ctx>, actor: &Actor, id: &ServerId) -> Result<(), Refusal> {
    let server = find(ctx, actor, id, Right::HandleData).await?;
    let all = restores::of_server(&ctx.db, id, RESTORES_MAX).await?;
    if undoable(&all, ctx.clock.now()).is_none() {
        return Err(Refusal::Conflict("There is no restore to undo: the data before it are kept for seven days.".to_owned()));
    }
    free(ctx, &server).await?;
    begin(ctx, actor, &server, RestoreKind::Undo, None, Action::UndoRestore).await
}
