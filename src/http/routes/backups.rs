//! `/servers/{id}/backups`: the list, making, trying, restoring, undoing, downloading, deleting, and the schedule.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect};

use super::create::by_field;
use crate::domain::backups::{Plan, Shelf};
use crate::domain::{Actor, Fields, Refusal, backups, servers};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::backups::{BackupRow, BackupsPage, BackupsPart, Confirm, MayBackUp, ScheduleForm, ShelfPart};
use crate::http::pages::create::ByField;
use crate::http::pages::layout::{Layout, Notice};
use crate::http::problem::{Answer, Problem, shown};
use crate::http::typed::{Asked, Typed};
use crate::http::who::{Named, SignedIn};
use crate::model::ids::{BackupId, ServerId};
use crate::model::servers::{Phase, Server};
use crate::model::time::Millis;
use crate::model::users::Right;

/// How many of the next times are told.
const NEXT_SHOWN: usize = 3;

/// What is to be shown beside what there is.
#[derive(Default)]
struct Asks<'a> {
    restore: Option<BackupId>,
    typed: Option<&'a ByField>,
    errors: ByField,
    notice: Option<Notice>,
}

fn may(actor: &Actor, server: &Server) -> MayBackUp {
    MayBackUp { make: servers::allowed(actor, server, Right::BackUpServer), change: servers::allowed(actor, server, Right::HandleData) }
}

/// The part that changes by itself.
pub(in crate::http) async fn shelf(web: &Web, actor: &Actor, id: &ServerId) -> Result<(Server, Shelf, ShelfPart), Refusal> {
    let server = servers::find(&web.ctx, actor, id, Right::SeeServer).await?;
    let shelf = backups::shelf(&web.ctx, actor, id).await?;
    let part = ShelfPart::of(id.as_str(), &shelf, may(actor, &server), web.ctx.clock.now());
    Ok((server, shelf, part))
}

/// What a server's own page says of its backups.
pub(super) async fn part(web: &Web, actor: &Actor, id: &ServerId) -> Result<BackupsPart, Refusal> {
    Ok(BackupsPart::of(&backups::shelf(&web.ctx, actor, id).await?, web.ctx.clock.now()))
}

async fn whole(web: &Web, signed_in: &SignedIn, id: &ServerId, asks: Asks<'_>) -> Result<BackupsPage, Refusal> {
    let (server, shelf, part) = shelf(web, signed_in.actor(), id).await?;
    let now: Millis = web.ctx.clock.now();
    let restored = asks.restore.filter(|_| part.may.change && !part.busy);
    let chosen = restored.and_then(|id| shelf.backups.iter().find(|backup| backup.id == id && backup.to_restore().is_some()));
    let schedule = part.may.change.then(|| {
        let next = shelf.schedule.as_ref().map(|schedule| backups::times(schedule, now, NEXT_SHOWN)).unwrap_or_default();
        ScheduleForm::of(shelf.schedule.as_ref(), &next, backups::zones(), asks.typed, &asks.errors)
    });
    let layout = signed_in.layout(web).await?;
    Ok(BackupsPage {
        layout: Layout { notice: asks.notice.or(layout.notice), path: format!("/servers/{id}/backups"), ..layout },
        id: id.to_string(),
        confirm: chosen.map(|backup| Confirm {
            row: BackupRow::of(backup, now),
            awake: matches!(server.life.phase, Phase::Running | Phase::Starting),
        }),
        name: server.name,
        shelf: part,
        schedule,
    })
}

/// The page again, with why something was refused.
async fn refused(web: &Web, signed_in: &SignedIn, id: &ServerId, refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Conflict(why) => {
            let asks = Asks { notice: Some(Notice::refused(why)), ..Asks::default() };
            Ok(shown(StatusCode::CONFLICT, whole(web, signed_in, id, asks).await?))
        }
        other => Err(other.into()),
    }
}

/// `GET /servers/{id}/backups`; with `restore` it asks once more about that one.
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>, asked: Asked) -> Answer {
    let restore = asked.get("restore").and_then(|text| text.parse().ok());
    Ok(whole(&web, &signed_in, &id, Asks { restore, ..Asks::default() }).await?.into_response())
}

async fn did(web: &Web, signed_in: &SignedIn, id: &ServerId, done: Result<(), Refusal>, said: Said) -> Answer {
    match done {
        Ok(()) => Ok(go(&format!("/servers/{id}/backups"), said)),
        Err(refusal) => refused(web, signed_in, id, refusal).await,
    }
}

/// `POST /servers/{id}/backup`
pub(super) async fn make(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>) -> Answer {
    let done = backups::make(&web.ctx, signed_in.actor(), &id).await.map(drop);
    did(&web, &signed_in, &id, done, Said::BackupBegun).await
}

/// `POST /servers/{id}/undo-restore`
pub(super) async fn undo(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>) -> Answer {
    let done = backups::undo(&web.ctx, signed_in.actor(), &id).await;
    did(&web, &signed_in, &id, done, Said::UndoBegun).await
}

/// A server and one of its backups, out of a path.
pub(in crate::http) struct BackupNamed(pub ServerId, pub BackupId);

impl axum::extract::FromRequestParts<Web> for BackupNamed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, web: &Web) -> Result<Self, Problem> {
        let both = axum::extract::Path::<(String, String)>::from_request_parts(parts, web).await;
        let axum::extract::Path((server, backup)) = both.map_err(|_| Problem::not_found())?;
        let server = server.parse().map_err(|_| Problem::not_found())?;
        Ok(BackupNamed(server, backup.parse().map_err(|_| Problem::not_found())?))
    }
}

/// `POST /servers/{id}/backups/{backup}/restore`
pub(super) async fn restore(State(web): State<Web>, signed_in: SignedIn, BackupNamed(id, backup): BackupNamed) -> Answer {
    let done = backups::restore(&web.ctx, signed_in.actor(), &id, &backup, false).await;
    did(&web, &signed_in, &id, done, Said::RestoreBegun).await
}

/// `POST /servers/{id}/backups/{backup}/try`
pub(super) async fn try_out(State(web): State<Web>, signed_in: SignedIn, BackupNamed(id, backup): BackupNamed) -> Answer {
    let done = backups::restore(&web.ctx, signed_in.actor(), &id, &backup, true).await;
    did(&web, &signed_in, &id, done, Said::TryBegun).await
}

/// `POST /servers/{id}/backups/{backup}/delete`
pub(super) async fn delete(State(web): State<Web>, signed_in: SignedIn, BackupNamed(id, backup): BackupNamed) -> Answer {
    let done = backups::remove(&web.ctx, signed_in.actor(), &id, &backup).await;
    did(&web, &signed_in, &id, done, Said::BackupDeleted).await
}

/// `GET /servers/{id}/backups/{backup}/download`: leads to the archive, at an address that is good for ten minutes.
pub(super) async fn download(State(web): State<Web>, signed_in: SignedIn, BackupNamed(id, backup): BackupNamed) -> Answer {
    match backups::download(&web.ctx, signed_in.actor(), &id, &backup).await {
        Ok(url) => {
            Ok(([(header::CACHE_CONTROL, "no-store"), (header::REFERRER_POLICY, "no-referrer")], Redirect::to(&url)).into_response())
        }
        Err(refusal) => refused(&web, &signed_in, &id, refusal).await,
    }
}

/// What was planned, out of a form, with its ready-made times, or out of JSON.
pub(in crate::http) fn plan(typed: &Typed, fields: &mut Fields) -> Plan {
    typed.only(&["when", "cron", "zone", "keep"], fields);
    let cron = typed.maybe("when").filter(|when| !when.is_empty()).unwrap_or(typed.text("cron"));
    Plan { cron: cron.to_owned(), zone: typed.text("zone").to_owned(), keep: typed.number("keep", fields) }
}

/// `POST /servers/{id}/schedule`; with `off` it ends.
pub(super) async fn schedule(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>, typed: Typed) -> Answer {
    let (actor, mut fields) = (signed_in.actor(), Fields::default());
    if typed.flag("off", &mut fields) == Some(true) {
        let done = backups::remove_schedule(&web.ctx, actor, &id).await;
        return did(&web, &signed_in, &id, done, Said::ScheduleEnded).await;
    }
    servers::find(&web.ctx, actor, &id, Right::HandleData).await?;
    let plan = plan(&typed, &mut fields);
    let done = match fields.check() {
        Ok(()) => backups::set_schedule(&web.ctx, actor, &id, &plan).await,
        Err(refusal) => Err(refusal),
    };
    match done {
        Ok(_) => Ok(go(&format!("/servers/{id}/backups"), Said::ScheduleSaved)),
        Err(Refusal::Invalid(fields)) => {
            let asks = Asks { typed: Some(typed.values()), errors: by_field(&fields), ..Asks::default() };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, whole(&web, &signed_in, &id, asks).await?))
        }
        Err(refusal) => refused(&web, &signed_in, &id, refusal).await,
    }
}
