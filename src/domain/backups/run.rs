//! What happens by itself to backups: each row that is open is told to its node, waited for, put together, tried again or given up.

use std::sync::Arc;

use super::{LAYERS_KEPT, MOVES_KEPT, ROWS_MAX, forget, note, tell, times, wanted};
use crate::domain::{Ctx, Refusal, nodes, servers as living};
use crate::model::backups::{Archived, Backup, Reason, State, past_bytes, surplus};
use crate::model::ids::CommandId;
use crate::model::time::{MINUTE, Millis, SECOND};
use crate::objects::{ObjectError, ObjectKey, Part, UploadId};
use crate::store::commands::{BESIDE, Stored};
use crate::store::{StoreError, backups, commands, restores, schedules, servers, users};
use crate::wire::agent::{Action, Command, ToNode};

/// Rows of one tick.
const BATCH: u64 = 50;
/// A backup that has made no progress for this long is tried again, in milliseconds.
pub(super) const PATIENCE: i64 = 30 * MINUTE;
/// How often it is tried before it is given up.
const ATTEMPTS_MAX: u32 = 6;
/// How soon a backup is looked at again that waits for its node or for another backup, in milliseconds.
const LOOK_AGAIN: i64 = 15 * SECOND;
/// Objects that are removed in one tick.
const TRASH: u64 = 50;
/// When an object is tried again that could not be removed, in milliseconds.
const TRASH_AGAIN: i64 = 10 * MINUTE;
/// A restore that has not ended by then is given up, in milliseconds.
const RESTORE_PATIENCE: i64 = 6 * 60 * MINUTE;

/// Does what is due; gives the number of rows that were looked at.
pub async fn tick(ctx: &Arc<Ctx>) -> Result<u64, Refusal> {
    let now = ctx.clock.now();
    scheduled(ctx, now).await?;
    let due = backups::due(&ctx.db, now, BATCH).await?;
    let looked = due.len() as u64;
    for backup in due {
        let done = match backup.state {
            State::Waiting => tell_node(ctx, &backup).await,
            State::Running => failed(ctx, &backup, "It made no progress for 30 minutes.", true).await,
            State::Storing => put_together(ctx, &backup).await,
            State::Done | State::Failed => Ok(()),
        };
        match done {
            // Somebody was faster: another panel, or the node's answer.
            Ok(()) | Err(Refusal::Store(StoreError::Stale) | Refusal::NotFound) => {}
            Err(error) => {
                tracing::warn!(backup = %backup.id, error = &error as &dyn std::error::Error, "this backup has to wait for the next look");
            }
        }
    }
    restores::give_up(
        &ctx.db,
        now - RESTORE_PATIENCE,
        "Its node did not answer for six hours. See whether it is online, then try again.",
        now,
    )
    .await?;
    empty_trash(ctx, now).await?;
    Ok(looked)
}

/// Begins those whose time has come. What was missed while the panel was down is made up for once.
async fn scheduled(ctx: &Arc<Ctx>, now: Millis) -> Result<(), Refusal> {
    for schedule in schedules::due(&ctx.db, now, BATCH).await? {
        let Some(next_at) = times::next(&schedule.cron, &schedule.zone, now) else {
            tracing::error!(server = %schedule.server, cron = schedule.cron, "a schedule can no longer be read; it is taken away");
            schedules::remove(&ctx.db, &schedule.server).await?;
            continue;
        };
        if !schedules::moved_on(&ctx.db, &schedule, next_at).await? {
            continue;
        }
        let Some(server) = servers::by_id(&ctx.db, &schedule.server).await? else { continue };
        let tx = ctx.db.begin().await?;
        users::hold(&tx, &server.owner).await?;
        let open = backups::of_server(&tx, &server.id, ROWS_MAX).await?.iter().any(|backup| backup.state.is_open());
        if open || super::has_no_data(&server) {
            tracing::info!(server = %server.id, open, "a scheduled backup was left out");
            continue;
        }
        let backup = wanted(&server, Reason::Schedule, "the schedule", now);
        backups::insert(&tx, &backup).await?;
        tx.commit().await?;
        tell(ctx, &backup);
    }
    Ok(())
}

async fn wait(ctx: &Arc<Ctx>, backup: &Backup, why: &str) -> Result<(), Refusal> {
    let waits = Backup { message: why.to_owned(), due_at: ctx.clock.now() + LOOK_AGAIN, ..backup.clone() };
    backups::save(&ctx.db, backup, &waits).await?;
    if backup.message != why {
        tell(ctx, backup);
    }
    Ok(())
}

async fn tell_node(ctx: &Arc<Ctx>, backup: &Backup) -> Result<(), Refusal> {
    let Some(server) = servers::by_id(&ctx.db, &backup.server).await? else { return Ok(()) };
    let now = ctx.clock.now();
    let node = nodes::of_server(ctx, &server).await?;
    if !node.online(now) {
        return wait(ctx, backup, "It waits for its node, which is offline.").await;
    }
    let others = backups::of_server(&ctx.db, &server.id, ROWS_MAX).await?;
    if others.iter().any(|other| other.state == State::Running && other.id != backup.id) {
        return wait(ctx, backup, "It waits for another backup of the same server.").await;
    }
    if restores::running(&ctx.db, &server.id).await? {
        return wait(ctx, backup, "It waits until the server is restored.").await;
    }
    let key = key(backup)?;
    let upload = match &backup.upload {
        Some(upload) => upload.clone(),
        None => match ctx.objects.begin_upload(&key).await {
            Ok(upload) => upload.0,
            Err(error) => return failed(ctx, backup, &format!("The object store did not take it: {error}."), true).await,
        },
    };
    let id = CommandId::from_random(&Ctx::random::<16>());
    let save = ctx.games().game(&server.game).and_then(|game| game.save.clone());
    let action = Action::BackupInstance { backup: backup.id.clone(), save };
    let command = Command { id: id.clone(), server: server.id.clone(), generation: BESIDE, action };
    let running = Backup {
        state: State::Running,
        node: server.node.clone(),
        command: Some(id),
        upload: Some(upload),
        message: String::new(),
        due_at: now + PATIENCE,
        ..backup.clone()
    };
    let tx = ctx.db.begin().await?;
    backups::save(&tx, backup, &running).await?;
    store(&tx, &server.node, &command, now).await?;
    tx.commit().await?;
    hand_on(ctx, &server.node, command, now).await;
    tell(ctx, backup);
    Ok(())
}

/// Puts a command that is no step of a life into the outbox.
pub(super) async fn store(
    db: &crate::store::Db,
    node: &crate::model::ids::NodeId,
    command: &Command,
    now: Millis,
) -> Result<(), StoreError> {
    let body = serde_json::to_string(command).map_err(|_| StoreError::Unreadable("a command to write"))?;
    let stored = Stored { id: command.id.clone(), node: node.clone(), generation: BESIDE, body };
    commands::insert_beside(db, &stored, &command.server, now).await
}

/// Hands a stored command on. If that fails it goes out later, with the others that have no answer.
pub(in crate::domain) async fn hand_on(ctx: &Ctx, node: &crate::model::ids::NodeId, command: Command, now: Millis) {
    let id = command.id.clone();
    match ctx.engine.deliver(node, ToNode::Command(command)) {
        Ok(()) => {
            if let Err(error) = commands::sent(&ctx.db, &id, now).await {
                tracing::warn!(command = %id, error = &error as &dyn std::error::Error, "the command was sent, which could not be noted; it will be sent again");
            }
        }
        Err(why) => tracing::info!(command = %id, reason = %why, "the command waits in the outbox"),
    }
}

fn key(backup: &Backup) -> Result<ObjectKey, Refusal> {
    backup.object_key().parse().map_err(|_| Refusal::Store(StoreError::Unreadable("backups.id")))
}

/// It did not work this time: tried again after a while, or given up with the reason.
pub(super) async fn failed(ctx: &Arc<Ctx>, backup: &Backup, why: &str, retryable: bool) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let attempts = backup.attempts + 1;
    let again = retryable && attempts < ATTEMPTS_MAX;
    let wait = (10 * SECOND) << (2 * (attempts - 1)).min(8);
    let next = Backup {
        state: if again { State::Waiting } else { State::Failed },
        command: None,
        archived: None,
        upload: backup.upload.clone().filter(|_| again),
        message: why.to_owned(),
        attempts,
        due_at: now + wait,
        done_at: (!again).then_some(now),
        ..backup.clone()
    };
    let tx = ctx.db.begin().await?;
    backups::save(&tx, backup, &next).await?;
    if let Some(command) = &backup.command {
        commands::answered(&tx, command, now).await?;
    }
    if !again {
        backups::throw_away(&tx, backup, now).await?;
    }
    tx.commit().await?;
    tracing::warn!(backup = %backup.id, server = %backup.server, attempts, again, why, "a backup failed");
    tell(ctx, backup);
    if !again {
        given_up(ctx, &next, why).await?;
    }
    Ok(())
}

/// What hung on a backup that will not come.
pub(super) async fn given_up(ctx: &Arc<Ctx>, backup: &Backup, why: &str) -> Result<(), Refusal> {
    if let Some(server) = servers::by_id(&ctx.db, &backup.server).await? {
        note(ctx, &server, &backup.by, "backup failed", why).await?;
    }
    living::backup_failed(ctx, backup, why).await
}

/// All parts are there: the store makes one object of them.
async fn put_together(ctx: &Arc<Ctx>, backup: &Backup) -> Result<(), Refusal> {
    let (Some(archived), Some(upload)) = (&backup.archived, &backup.upload) else {
        return failed(ctx, backup, "Its parts are not known any more.", true).await;
    };
    let key = key(backup)?;
    let parts: Vec<Part> = archived.parts.iter().zip(1..).map(|(etag, number)| Part { number, etag: etag.clone() }).collect();
    let finished = match ctx.objects.finish_upload(&key, &UploadId(upload.clone()), &parts).await {
        // Finished before, by a panel that was killed before it could note it.
        Err(ObjectError::NoUpload(_)) => Ok(()),
        other => other,
    };
    let there = match finished {
        Ok(()) => ctx.objects.head(&key).await,
        Err(error) => Err(error),
    };
    match there {
        Ok(bytes) if bytes == archived.bytes => done(ctx, backup, archived).await,
        Ok(_) | Err(ObjectError::Missing(_) | ObjectError::BadParts { .. }) => {
            let anew = Backup { upload: None, ..backup.clone() };
            backups::save(&ctx.db, backup, &anew).await?;
            failed(ctx, &anew, "The object store did not keep all of it.", true).await
        }
        Err(error) if error.retryable() => wait(ctx, backup, &format!("Its parts are stored. {error}.")).await,
        Err(error) => failed(ctx, backup, &format!("The object store did not take it: {error}."), true).await,
    }
}

async fn done(ctx: &Arc<Ctx>, backup: &Backup, archived: &Archived) -> Result<(), Refusal> {
    let now = ctx.clock.now();
    let done = Backup {
        state: State::Done,
        upload: None,
        message: archived.note.clone().unwrap_or_default(),
        done_at: Some(now),
        archived: Some(Archived { parts: Vec::new(), ..archived.clone() }),
        ..backup.clone()
    };
    backups::save(&ctx.db, backup, &done).await?;
    tell(ctx, backup);
    if let Some(server) = servers::by_id(&ctx.db, &backup.server).await? {
        note(ctx, &server, &backup.by, "backup made", &archived.note.clone().unwrap_or_default()).await?;
    }
    thin_out(ctx, &done).await?;
    thin_out_bytes(ctx, &done).await?;
    living::backup_done(ctx, &done).await
}

/// Of those that are made by themselves only the last ones stay.
async fn thin_out(ctx: &Arc<Ctx>, backup: &Backup) -> Result<(), Refusal> {
    let keep = match backup.reason {
        Reason::Hand => return Ok(()),
        Reason::Schedule => match schedules::of_server(&ctx.db, &backup.server).await? {
            Some(schedule) => schedule.keep,
            None => return Ok(()),
        },
        Reason::Layers => LAYERS_KEPT,
        Reason::Move => MOVES_KEPT,
    };
    let all = backups::of_server(&ctx.db, &backup.server, ROWS_MAX).await?;
    for old in surplus(&all, backup.reason, keep) {
        if !super::restores::uses(ctx, &old.server, &old.id).await? {
            forget(ctx, old).await?;
        }
    }
    // Failures are told for a while, and then they are only in the way.
    let failed: Vec<&Backup> = all.iter().filter(|backup| backup.state == State::Failed).collect();
    for old in failed.into_iter().skip(LAYERS_KEPT as usize) {
        forget(ctx, old).await?;
    }
    Ok(())
}

/// No more bytes than the plan stands for.
async fn thin_out_bytes(ctx: &Arc<Ctx>, backup: &Backup) -> Result<(), Refusal> {
    let Some(server) = servers::by_id(&ctx.db, &backup.server).await? else { return Ok(()) };
    let all = backups::of_server(&ctx.db, &backup.server, ROWS_MAX).await?;
    for old in past_bytes(&all, super::most_kept(ctx, &server)) {
        if !super::restores::uses(ctx, &old.server, &old.id).await? {
            forget(ctx, old).await?;
        }
    }
    Ok(())
}

async fn empty_trash(ctx: &Ctx, now: Millis) -> Result<(), Refusal> {
    for trash in backups::trash(&ctx.db, now, TRASH).await? {
        let Ok(key) = trash.object_key.parse::<ObjectKey>() else {
            backups::trash_tried(&ctx.db, &trash.object_key, None).await?;
            continue;
        };
        let aborted = match &trash.upload {
            Some(upload) => ctx.objects.abort_upload(&key, &UploadId(upload.clone())).await,
            None => Ok(()),
        };
        let removed = match aborted {
            Ok(()) => ctx.objects.delete(&key).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &removed {
            tracing::warn!(%key, error = error as &dyn std::error::Error, "a thrown away backup could not be removed; it is tried again");
        }
        backups::trash_tried(&ctx.db, &trash.object_key, removed.is_err().then(|| now + TRASH_AGAIN)).await?;
    }
    Ok(())
}
