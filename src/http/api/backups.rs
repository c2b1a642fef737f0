//! `/api/servers/{id}/backups` and what belongs to it: made, listed, tried, restored, undone, deleted, planned.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::once::{Once, Reply};
use super::servers::shape as server_shape;
use super::shapes::{ProblemShape, ServerShape, moment};
use crate::domain::backups::{Plan, Shelf};
use crate::domain::{Fields, backups, servers};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::routes::backups::{BackupNamed, plan};
use crate::http::typed::Typed;
use crate::http::who::{Caller, Named};
use crate::model::backups::{Backup, Restore, Schedule};
use crate::model::ids::ServerId;
use crate::model::users::Right;

/// Everything about a server's backups.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ShelfOf {
    /// Newest first.
    pub backups: Vec<BackupShape>,
    /// The last restore, whatever came of it.
    pub last_restore: Option<RestoreShape>,
    /// The last restore can be undone.
    pub can_undo: bool,
    /// When backups are made by themselves.
    pub schedule: Option<ScheduleShape>,
}

/// A backup.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct BackupShape {
    pub id: String,
    /// `hand`, `schedule`, `layers` or `move`.
    pub reason: &'static str,
    /// `waiting`, `running`, `storing`, `done` or `failed`.
    pub state: &'static str,
    /// How far it is, why it failed, or what to know of it.
    pub message: String,
    pub created_at: String,
    pub done_at: Option<String>,
    /// Bytes of the archive.
    pub bytes: Option<u64>,
    /// Bytes of all files in it.
    pub unpacked_bytes: Option<u64>,
    /// Of the archive.
    pub sha256: Option<String>,
    /// When it was last unpacked whole and found right.
    pub verified_at: Option<String>,
}

/// A restore.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct RestoreShape {
    /// `restore`, `try` or `undo`.
    pub kind: &'static str,
    /// Out of which backup.
    pub backup: Option<String>,
    /// `running`, `done` or `failed`.
    pub state: &'static str,
    pub message: String,
    pub created_at: String,
    pub ended_at: Option<String>,
}

/// A schedule.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ScheduleShape {
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    pub zone: String,
    /// So many stay.
    pub keep: u32,
    pub next_at: String,
}

/// A schedule to be.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(in crate::http) struct NewSchedule {
    /// Minute, hour, day of the month, month, day of the week: at most once an hour.
    pub cron: String,
    /// Such as `Europe/Berlin`.
    pub zone: String,
    /// So many stay, 1 to 20.
    pub keep: u32,
}

/// Where an archive can be got.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Address {
    /// Good for ten minutes.
    pub url: String,
}

impl BackupShape {
    fn of(backup: &Backup) -> BackupShape {
        let done = backup.to_restore();
        BackupShape {
            id: backup.id.to_string(),
            reason: backup.reason.as_str(),
            state: backup.state.as_str(),
            message: backup.message.clone(),
            created_at: moment(backup.created_at),
            done_at: backup.done_at.map(moment),
            bytes: done.as_ref().map(|done| done.bytes),
            unpacked_bytes: done.as_ref().map(|done| done.unpacked),
            sha256: done.map(|done| done.sha256.to_string()),
            verified_at: backup.verified_at.map(moment),
        }
    }
}

impl ScheduleShape {
    fn of(schedule: &Schedule) -> ScheduleShape {
        ScheduleShape { cron: schedule.cron.clone(), zone: schedule.zone.clone(), keep: schedule.keep, next_at: moment(schedule.next_at) }
    }
}

fn restore_shape(restore: &Restore) -> RestoreShape {
    RestoreShape {
        kind: restore.kind.as_str(),
        backup: restore.backup.as_ref().map(ToString::to_string),
        state: restore.state.as_str(),
        message: restore.message.clone(),
        created_at: moment(restore.created_at),
        ended_at: restore.ended_at.map(moment),
    }
}

fn shape(shelf: &Shelf) -> ShelfOf {
    ShelfOf {
        backups: shelf.backups.iter().map(BackupShape::of).collect(),
        last_restore: shelf.last.as_ref().map(restore_shape),
        can_undo: shelf.undo.is_some(),
        schedule: shelf.schedule.as_ref().map(ScheduleShape::of),
    }
}

/// A server's backups, the last restore, and the schedule.
#[utoipa::path(
    get, path = "/api/servers/{id}/backups", tag = "backups", params(("id" = String, Path)),
    responses((status = 200, body = ShelfOf), (status = 404, body = ProblemShape))
)]
pub(super) async fn list(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>) -> Answer {
    Ok(Json(shape(&backups::shelf(&web.ctx, caller.actor(), &id).await?)).into_response())
}

/// Has a backup made now. How far it is stands in the list.
#[utoipa::path(
    post, path = "/api/servers/{id}/backup", tag = "backups",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = ServerShape), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn make(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, once: Once) -> Answer {
    let (site, actor) = (web.clone(), caller.actor().clone());
    let work = async move {
        backups::make(&site.ctx, &actor, &id).await?;
        let server = servers::find(&site.ctx, &actor, &id, Right::BackUpServer).await?;
        Reply::json(StatusCode::ACCEPTED, &server_shape(&site, &server).await?)
    };
    once.run(&web, caller.actor(), b"", work).await
}

/// Deletes a backup with its archive; one that is being made is given up.
#[utoipa::path(
    delete, path = "/api/servers/{id}/backups/{backup}", tag = "backups", params(("id" = String, Path), ("backup" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn delete(State(web): State<Web>, caller: Caller, BackupNamed(id, backup): BackupNamed) -> Answer {
    backups::remove(&web.ctx, caller.actor(), &id, &backup).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Where the archive can be got: a `.tar.zst`.
#[utoipa::path(
    get, path = "/api/servers/{id}/backups/{backup}/download", tag = "backups",
    params(("id" = String, Path), ("backup" = String, Path)),
    responses((status = 200, body = Address), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn download(State(web): State<Web>, caller: Caller, BackupNamed(id, backup): BackupNamed) -> Answer {
    let url = backups::download(&web.ctx, caller.actor(), &id, &backup).await?;
    Ok(Json(Address { url }).into_response())
}

async fn begin(web: Web, caller: Caller, id: ServerId, once: Once, work: Work) -> Answer {
    let (site, actor) = (web.clone(), caller.actor().clone());
    let work = async move {
        match work {
            Work::Restore(backup, try_only) => backups::restore(&site.ctx, &actor, &id, &backup, try_only).await?,
            Work::Undo => backups::undo(&site.ctx, &actor, &id).await?,
        }
        Reply::json(StatusCode::ACCEPTED, &shape(&backups::shelf(&site.ctx, &actor, &id).await?))
    };
    once.run(&web, caller.actor(), b"", work).await
}

enum Work {
    Restore(crate::model::ids::BackupId, bool),
    Undo,
}

/// Puts a backup in the place of the data; those from before are kept for seven days.
#[utoipa::path(
    post, path = "/api/servers/{id}/backups/{backup}/restore", tag = "backups",
    params(("id" = String, Path), ("backup" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = ShelfOf), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn restore(State(web): State<Web>, caller: Caller, BackupNamed(id, backup): BackupNamed, once: Once) -> Answer {
    begin(web, caller, id, once, Work::Restore(backup, false)).await
}

/// Unpacks a backup on the server's node and checks it; nothing of the server is changed.
#[utoipa::path(
    post, path = "/api/servers/{id}/backups/{backup}/try", tag = "backups",
    params(("id" = String, Path), ("backup" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = ShelfOf), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn try_out(State(web): State<Web>, caller: Caller, BackupNamed(id, backup): BackupNamed, once: Once) -> Answer {
    begin(web, caller, id, once, Work::Restore(backup, true)).await
}

/// Puts the data back that the last restore took away; done again, it leads forth again.
#[utoipa::path(
    post, path = "/api/servers/{id}/undo-restore", tag = "backups",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = ShelfOf), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn undo(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, once: Once) -> Answer {
    begin(web, caller, id, once, Work::Undo).await
}

/// Has backups made by themselves.
#[utoipa::path(
    put, path = "/api/servers/{id}/schedule", tag = "backups", params(("id" = String, Path)), request_body = NewSchedule,
    responses((status = 200, body = ScheduleShape), (status = 404, body = ProblemShape), (status = 422, body = ProblemShape))
)]
pub(super) async fn set_schedule(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, typed: Typed) -> Answer {
    servers::find(&web.ctx, caller.actor(), &id, Right::HandleData).await?;
    let mut fields = Fields::default();
    let plan: Plan = plan(&typed, &mut fields);
    fields.check()?;
    let schedule = backups::set_schedule(&web.ctx, caller.actor(), &id, &plan).await?;
    Ok(Json(ScheduleShape::of(&schedule)).into_response())
}

/// Ends the schedule; the backups that it made stay.
#[utoipa::path(
    delete, path = "/api/servers/{id}/schedule", tag = "backups", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemShape))
)]
pub(super) async fn end_schedule(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>) -> Answer {
    backups::remove_schedule(&web.ctx, caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
