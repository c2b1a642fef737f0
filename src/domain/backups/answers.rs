//! What nodes say of backups and restores, and the addresses that they ask for: one object, one verb, one part, a short time.

use std::sync::Arc;
use std::time::Duration;

use super::{note, run, tell};
use crate::domain::{Change, Ctx, Refusal, servers as living};
use crate::model::backups::{Backup, PARTS_MAX, Restore, RestoreKind, RestoreState, State};
use crate::model::ids::{BackupId, CommandId, NodeId, ServerId};
use crate::objects::{ObjectKey, UploadId, Verb};
use crate::store::{StoreError, backups, commands, restores, servers};
use crate::wire::agent::{Event, EventKind, InstanceReport};

/// How long an address is good for. A download may take longer: it is begun within it, and taken up again at a new one.
const URL_LASTS: Duration = Duration::from_mins(15);
/// Longest text of a node that is kept, in characters.
const TEXT_MAX: usize = 500;

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

/// Takes an event in if it is about a backup or a restore; false: it is not. The caller has checked that the server is on this node.
pub(in crate::domain) async fn take(ctx: &Arc<Ctx>, node: &NodeId, event: &Event) -> Result<bool, Refusal> {
    let Some(command) = &event.command else { return Ok(false) };
    match &event.kind {
        EventKind::Progress { .. } | EventKind::Failed { .. } | EventKind::BackedUp(_) | EventKind::Restored(_) => {}
        EventKind::Accepted
        | EventKind::Prepared(_)
        | EventKind::Running(_)
        | EventKind::Stopped(_)
        | EventKind::Busy { .. }
        | EventKind::Destroyed
        | EventKind::Exited(_)
        | EventKind::Wake { .. }
        | EventKind::Note { .. }
        | EventKind::Log { .. } => return Ok(false),
    }
    if let Some(backup) = backups::by_command(&ctx.db, command).await?.filter(|backup| backup.server == event.server) {
        match of_backup(ctx, node, &backup, command, &event.kind).await {
            // It is said again by the node, or was given up meanwhile.
            Err(Refusal::Store(StoreError::Stale)) => {}
            other => other?,
        }
        return Ok(true);
    }
    if let Some(restore) = restores::by_command(&ctx.db, command).await?.filter(|restore| restore.server == event.server) {
        of_restore(ctx, node, &restore, command, &event.kind).await?;
        return Ok(true);
    }
    // Of a backup that was deleted meanwhile: the node need not say it again.
    if matches!(event.kind, EventKind::BackedUp(_) | EventKind::Restored(_)) {
        commands::answered(&ctx.db, command, ctx.clock.now()).await?;
        return Ok(true);
    }
    Ok(false)
}

fn words(text: &str, percent: Option<u8>) -> String {
    percent.map_or_else(|| cut(text), |percent| format!("{} ({}%)", cut(text), percent.min(100)))
}

async fn of_backup(ctx: &Arc<Ctx>, node: &NodeId, backup: &Backup, command: &CommandId, kind: &EventKind) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    if backup.node != *node || backup.state != State::Running {
        commands::answered(&ctx.db, command, now).await?;
        return Ok(());
    }
    match kind {
        EventKind::Progress { text, percent } => {
            let next = Backup { message: words(text, *percent), due_at: now + run::PATIENCE, ..backup.clone() };
            backups::save(&ctx.db, backup, &next).await?;
            tell(ctx, backup);
        }
        EventKind::Failed { reason, retryable, .. } => run::failed(ctx, backup, &cut(reason), *retryable).await?,
        EventKind::BackedUp(archived) => {
            let fits = archived.backup == backup.id && (1..=PARTS_MAX as usize).contains(&archived.parts.len());
            if !fits {
                tracing::error!(%node, backup = %backup.id, "a node says that it has stored something else; it is tried again");
                return run::failed(ctx, backup, "Its node has stored something else.", true).await;
            }
            let mut archived = archived.clone();
            archived.note = archived.note.as_deref().map(cut);
            let next = Backup {
                state: State::Storing,
                archived: Some(archived),
                message: "Putting its parts together".to_owned(),
                due_at: now,
                ..backup.clone()
            };
            let tx = ctx.db.begin().await?;
            backups::save(&tx, backup, &next).await?;
            commands::answered(&tx, command, now).await?;
            tx.commit().await?;
            tell(ctx, backup);
            ctx.backups_nudge.notify_one();
        }
        _other => {}
    }
    Ok(())
}

async fn of_restore(ctx: &Arc<Ctx>, node: &NodeId, restore: &Restore, command: &CommandId, kind: &EventKind) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    match kind {
        EventKind::Progress { text, percent } => {
            restores::note(&ctx.db, command, RestoreState::Running, &words(text, *percent), None).await?;
        }
        EventKind::Failed { reason, report, .. } => {
            commands::answered(&ctx.db, command, now).await?;
            if restores::note(&ctx.db, command, RestoreState::Failed, &cut(reason), Some(now)).await? {
                told(ctx, restore, "failed", &cut(reason)).await?;
            }
            if let Some(report) = report {
                absorb(ctx, node, report).await?;
            }
        }
        EventKind::Restored(report) => {
            commands::answered(&ctx.db, command, now).await?;
            let fresh = restores::note(&ctx.db, command, RestoreState::Done, "", Some(now)).await?;
            if fresh {
                verified(ctx, restore).await?;
                told(ctx, restore, "done", "").await?;
            }
            absorb(ctx, node, report).await?;
        }
        _other => {}
    }
    if let Some(server) = servers::by_id(&ctx.db, &restore.server).await? {
        ctx.tell(Change::Server { owner: server.owner, server: server.id, gone: false });
    }
    Ok(())
}

async fn absorb(ctx: &Arc<Ctx>, node: &NodeId, report: &InstanceReport) -> Result<(), Refusal> {
    match living::absorb_report(ctx, node, report).await {
        Ok(_) | Err(Refusal::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// It was unpacked whole, and every sum was right.
async fn verified(ctx: &Ctx, restore: &Restore) -> Result<(), Refusal> {
    let Some(id) = &restore.backup else { return Ok(()) };
    let Some(backup) = backups::by_id(&ctx.db, id).await? else { return Ok(()) };
    let next = Backup { verified_at: Some(ctx.clock.now()), ..backup.clone() };
    match backups::save(&ctx.db, &backup, &next).await {
        Err(StoreError::Stale) => Ok(()),
        other => Ok(other?),
    }
}

async fn told(ctx: &Ctx, restore: &Restore, outcome: &str, why: &str) -> Result<(), Refusal> {
    let Some(server) = servers::by_id(&ctx.db, &restore.server).await? else { return Ok(()) };
    let what = match restore.kind {
        RestoreKind::Swap => "restore",
        RestoreKind::Try => "try of a backup",
        RestoreKind::Undo => "undo of a restore",
    };
    note(ctx, &server, &restore.by, &format!("{what} {outcome}"), why).await
}

/// The address of a backup for a node on which its server stands, or of a part of one that the node was told to make; or why there is
/// none, in words.
pub(in crate::domain) async fn url(
    ctx: &Ctx,
    node: &NodeId,
    server: &ServerId,
    id: &BackupId,
    part: Option<u32>,
) -> Result<String, String> {
    let away = |_| "the panel's database does not answer".to_owned();
    let row = servers::by_id(&ctx.db, server).await.map_err(away)?;
    let backup = backups::by_id(&ctx.db, id).await.map_err(away)?.filter(|backup| backup.server == *server);
    let (Some(_), Some(backup)) = (row.filter(|row| row.node == *node), backup) else {
        tracing::error!(%node, %server, backup = %id, "a node asked for a backup that is none of its servers'; refused");
        return Err("there is no such backup of a server of this node".to_owned());
    };
    let key: ObjectKey = backup.object_key().parse().map_err(|_| "its archive has no usable name".to_owned())?;
    let signed = match part {
        None if backup.state == State::Done => ctx.objects.sign(Verb::Get, &key, URL_LASTS).await,
        None => return Err("this backup is not done".to_owned()),
        Some(number) => match (&backup.upload, backup.state) {
            (Some(upload), State::Running) if backup.node == *node && (1..=PARTS_MAX).contains(&number) => {
                ctx.objects.sign_part(&key, &UploadId(upload.clone()), number, URL_LASTS).await
            }
            (Some(_) | None, State::Waiting | State::Running | State::Storing | State::Done | State::Failed) => {
                return Err("this backup is not wanted any more".to_owned());
            }
        },
    };
    signed.map_err(|error| {
        tracing::warn!(%key, error = &error as &dyn std::error::Error, "no address could be signed");
        error.to_string()
    })
}
