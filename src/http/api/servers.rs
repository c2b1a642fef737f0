//! `/api/servers`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::once::{Once, Reply};
use super::shapes::{EventShape, Events, LineShape, Lines, NewServer, ProblemShape, ServerChanges, ServerShape, Servers, moment, node_of};
use crate::domain::servers::{HISTORY_PAGE, Power};
use crate::domain::{logs as game_logs, nodes, servers};
use crate::http::Web;
use crate::http::problem::{Answer, Problem};
use crate::http::routes::create::wanted;
use crate::http::routes::servers::changes;
use crate::http::typed::{Asked, Typed};
use crate::http::who::{Caller, Named};
use crate::model::disk::{DiskUse, bytes_allowed, files_allowed};
use crate::model::ids::ServerId;
use crate::model::servers::Server;
use crate::model::users::Right;

/// Lines that `logs` gives where nothing else is asked.
const TAIL: usize = 100;
/// Longest id of an entry of a history.
const EVENT_ID_MAX: usize = 64;

pub(super) async fn shape(web: &Web, server: &Server) -> Result<ServerShape, Problem> {
    let node = nodes::of_server(&web.ctx, server).await?;
    let games = web.ctx.games();
    Ok(ServerShape::of(server, games.game(&server.game).map(|game| &**game), Some(&node), web.ctx.clock.now()))
}

/// Your servers, oldest first.
#[utoipa::path(get, path = "/api/servers", tag = "servers", responses((status = 200, body = Servers)))]
pub(super) async fn list(State(web): State<Web>, caller: Caller) -> Answer {
    let all = servers::list(&web.ctx, caller.actor()).await?;
    let nodes = nodes::all(&web.ctx).await?;
    let (games, now) = (web.ctx.games(), web.ctx.clock.now());
    let shape = |server: &Server| ServerShape::of(server, games.game(&server.game).map(|game| &**game), node_of(&nodes, &server.node), now);
    Ok(Json(Servers { servers: all.iter().map(shape).collect() }).into_response())
}

/// Makes a server and has it started.
#[utoipa::path(
    post, path = "/api/servers", tag = "servers", request_body = NewServer,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body again: the same answer.")),
    responses((status = 201, body = ServerShape), (status = 409, body = ProblemShape), (status = 422, body = ProblemShape))
)]
pub(super) async fn create(State(web): State<Web>, caller: Caller, once: Once, typed: Typed) -> Answer {
    let actor = caller.actor().clone();
    let site = web.clone();
    let body = typed.bytes.clone();
    let work = async move {
        let made = Box::pin(servers::create(&site.ctx, &actor, &wanted(&typed)?)).await?;
        Reply::json(StatusCode::CREATED, &shape(&site, &made).await?)
    };
    once.run(&web, caller.actor(), &body, work).await
}

/// One server.
#[utoipa::path(
    get, path = "/api/servers/{id}", tag = "servers", params(("id" = String, Path)),
    responses((status = 200, body = ServerShape), (status = 404, body = ProblemShape))
)]
pub(super) async fn one(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>) -> Answer {
    let server = servers::find(&web.ctx, caller.actor(), &id, Right::SeeServer).await?;
    Ok(Json(shape(&web, &server).await?).into_response())
}

/// Changes settings; what is left out stays. What concerns the game counts from its next start.
#[utoipa::path(
    patch, path = "/api/servers/{id}", tag = "servers", params(("id" = String, Path)), request_body = ServerChanges,
    responses((status = 200, body = ServerShape), (status = 404, body = ProblemShape), (status = 422, body = ProblemShape))
)]
pub(super) async fn change(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, typed: Typed) -> Answer {
    let changes = changes(&web, caller.actor(), &id, &typed).await?;
    let server = servers::change(&web.ctx, caller.actor(), &id, &changes).await?;
    Ok(Json(shape(&web, &server).await?).into_response())
}

/// Deletes a server with all its data, without asking again.
#[utoipa::path(
    delete, path = "/api/servers/{id}", tag = "servers", params(("id" = String, Path)),
    responses((status = 202, body = ServerShape), (status = 204), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn delete(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>) -> Answer {
    match servers::delete(&web.ctx, caller.actor(), &id, None).await? {
        Some(server) => Ok((StatusCode::ACCEPTED, Json(shape(&web, &server).await?)).into_response()),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

async fn press(web: Web, caller: Caller, id: ServerId, once: Once, power: Power) -> Answer {
    let (site, actor) = (web.clone(), caller.actor().clone());
    let work = async move {
        let server = servers::power(&site.ctx, &actor, &id, power).await?;
        Reply::json(StatusCode::ACCEPTED, &shape(&site, &server).await?)
    };
    Box::pin(once.run(&web, caller.actor(), b"", work)).await
}

macro_rules! buttons {
    ($($(#[$doc:meta])* $name:ident $path:literal $power:expr;)*) => {$(
        $(#[$doc])*
        #[utoipa::path(
            post, path = $path, tag = "servers",
            params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
            responses((status = 202, body = ServerShape), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
        )]
        pub(super) async fn $name(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, once: Once) -> Answer {
            press(web, caller, id, once, $power).await
        }
    )*};
}

buttons! {
    /// From stopped or asleep to running.
    start "/api/servers/{id}/start" Power::Start;
    /// To stopped: traffic does not wake it.
    stop "/api/servers/{id}/stop" Power::Stop;
    /// Running, anew.
    restart "/api/servers/{id}/restart" Power::Restart;
    /// From asleep to running.
    wake "/api/servers/{id}/wake" Power::Wake;
    /// From running to asleep.
    hibernate "/api/servers/{id}/hibernate" Power::Hibernate;
}

/// Tries again what has failed, now.
#[utoipa::path(
    post, path = "/api/servers/{id}/retry", tag = "servers",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = ServerShape), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn retry(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, once: Once) -> Answer {
    let (site, actor) = (web.clone(), caller.actor().clone());
    let work = async move {
        let server = servers::retry(&site.ctx, &actor, &id).await?;
        Reply::json(StatusCode::ACCEPTED, &shape(&site, &server).await?)
    };
    once.run(&web, caller.actor(), b"", work).await
}

/// The last lines of the game's log, terminal colours still in them.
#[utoipa::path(
    get, path = "/api/servers/{id}/logs", tag = "servers",
    params(("id" = String, Path), ("tail" = Option<u32>, Query, description = "How many lines, 1 to 1000; 100 unless said.")),
    responses((status = 200, body = Lines), (status = 404, body = ProblemShape))
)]
pub(super) async fn logs(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, asked: Asked) -> Answer {
    let tail = asked.number::<usize>("tail").unwrap_or(TAIL).clamp(1, game_logs::KEPT_LINES);
    let (lines, open) = game_logs::tail(&web.ctx, caller.actor(), &id, tail, true).await?;
    let lines = lines.into_iter().map(|line| LineShape { seq: line.seq.to_string(), text: line.text }).collect();
    Ok(Json(Lines { lines, open }).into_response())
}

/// What happened to it, newest first.
#[utoipa::path(
    get, path = "/api/servers/{id}/events", tag = "servers",
    params(("id" = String, Path), ("before" = Option<String>, Query, description = "`next` of the page before.")),
    responses((status = 200, body = Events), (status = 404, body = ProblemShape))
)]
pub(super) async fn events(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, asked: Asked) -> Answer {
    let before = asked.get("before").filter(|text| text.len() <= EVENT_ID_MAX && text.is_ascii());
    let all = servers::history(&web.ctx, caller.actor(), &id, before).await?;
    let next = all.last().filter(|_| all.len() as u64 == HISTORY_PAGE).map(|event| event.id.clone());
    let events =
        all.into_iter().map(|event| EventShape { id: event.id, at: moment(event.at), who: event.who, what: event.what, why: event.why });
    Ok(Json(Events { events: events.collect(), next }).into_response())
}

/// A measurement.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SampleShape {
    pub at: String,
    /// Thousandths of a core; none: not measured.
    pub cpu_millis: Option<u32>,
    pub memory_mib: Option<u32>,
    pub players: Option<u32>,
}

/// The last hour.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Stats {
    pub samples: Vec<SampleShape>,
    /// When it falls asleep if it stays as quiet as it is.
    pub sleeps_at: Option<String>,
    /// What its files take; none: not measured yet.
    pub disk: Option<DiskShape>,
}

/// What a server's files take of its storage.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DiskShape {
    pub bytes: u64,
    pub bytes_allowed: u64,
    pub files: u64,
    pub files_allowed: u64,
    pub at: String,
}

impl DiskShape {
    pub fn of(used: &DiskUse, storage_mib: u32) -> DiskShape {
        let (bytes_allowed, files_allowed) = (bytes_allowed(storage_mib), files_allowed(storage_mib));
        DiskShape { bytes: used.bytes, bytes_allowed, files: used.files, files_allowed, at: moment(used.at) }
    }
}

/// CPU, memory and players over the last hour.
#[utoipa::path(
    get, path = "/api/servers/{id}/stats", tag = "servers", params(("id" = String, Path)),
    responses((status = 200, body = Stats), (status = 404, body = ProblemShape))
)]
pub(super) async fn stats(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>) -> Answer {
    let server = servers::find(&web.ctx, caller.actor(), &id, Right::SeeServer).await?;
    let samples = servers::last_hour(&web.ctx, caller.actor(), &id).await?;
    let samples = samples.into_iter().map(|sample| SampleShape {
        at: moment(sample.at),
        cpu_millis: sample.cpu_millis,
        memory_mib: sample.memory_mib,
        players: sample.players,
    });
    let disk = servers::disk_of(&web.ctx, caller.actor(), &id).await?;
    let games = web.ctx.games();
    let storage_mib = games.plan(&server.game, &server.plan).map(|(_, plan)| plan.storage_mib);
    let disk = disk.zip(storage_mib).map(|(used, storage_mib)| DiskShape::of(&used, storage_mib));
    let stats = Stats { samples: samples.collect(), sleeps_at: servers::sleeps_at(&web.ctx, &server).map(moment), disk };
    Ok(Json(stats).into_response())
}
