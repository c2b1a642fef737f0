//! `/servers/{id}`: the page of one server, its settings, its log, its console.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::create::by_field;
use super::{backups, history, layers};
use crate::domain::servers::Changes;
use crate::domain::{Actor, Fields, Refusal, billing, logs, nodes, servers};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::create::{ByField, mebibytes};
use crate::http::pages::layout::{Layout, Notice};
use crate::http::pages::live::{LogLines, ServerHead, ServerStats};
use crate::http::pages::servers::{DeleteForm, LogPage, ServerPage, SettingsForm};
use crate::http::problem::{Answer, Problem, shown};
use crate::http::typed::Typed;
use crate::http::who::{Named, SignedIn};
use crate::model::games::{Game, Plan};
use crate::model::ids::ServerId;
use crate::model::money::Credits;
use crate::model::servers::{Phase, Server};
use crate::model::time::Millis;
use crate::model::users::Right;

/// Lines of the log on a server's page; older ones are on a page of their own.
const LINES: usize = 300;

/// What was refused, to be shown at its place.
#[derive(Default)]
pub(super) struct Refused<'a> {
    pub typed: Option<&'a ByField>,
    pub errors: ByField,
    /// What was typed to delete it, and what was wrong with that.
    pub delete: Option<(&'a str, String)>,
    pub notice: Option<Notice>,
}

/// The changing parts of a server's page.
pub(in crate::http) struct Parts {
    pub server: Server,
    pub head: ServerHead,
    pub stats: ServerStats,
    pub events: crate::http::pages::live::EventRows,
    /// Since when it has other layers than those it runs with.
    pub layers_wait: Option<Millis>,
    /// Game and plan; none when they left the catalogue.
    pub game: Option<(std::sync::Arc<Game>, Plan)>,
}

/// Reads a server and everything that its page shows of it, but the log.
pub(in crate::http) async fn parts(web: &Web, actor: &Actor, id: &ServerId) -> Result<Parts, Refusal> {
    let ctx = &web.ctx;
    let server = servers::find(ctx, actor, id, Right::SeeServer).await?;
    let samples = servers::last_hour(ctx, actor, id).await?;
    let events = servers::history(ctx, actor, id, None).await?;
    let node = nodes::of_server(ctx, &server).await?;
    let (now, games) = (ctx.clock.now(), ctx.games());
    let game = games.plan(&server.game, &server.plan).map(|(game, plan)| (game.clone(), plan.clone()));
    let Some((shown, plan)) = &game else {
        return Err(Refusal::Conflict(
            "Its game or plan is no longer in the catalogue. Whoever runs this panel can put it back.".to_owned(),
        ));
    };
    let usually = servers::usually(&events, server.life.phase);
    let may_act = servers::allowed(actor, &server, Right::PowerServer);
    let mut head = ServerHead::of(&server, shown, &node.public_host, usually, may_act, !node.online(now), now);
    if server.owner == actor.user.id && actor.user.balance <= Credits::ZERO && !server.covered {
        head.no_wake = Some("You are out of credits, so it cannot wake. Its world is safe.".to_owned());
    }
    let disk = servers::disk_of(ctx, actor, id).await?;
    let stats = ServerStats::of(&server, plan, &samples, disk.as_ref(), ctx.policy.idle, now);
    let layers_wait = servers::waits_for_start(&server, &events);
    Ok(Parts { head, stats, events: history::rows(&events, now), layers_wait, server, game })
}

fn loses(server: &Server, plan: Option<&Plan>) -> Vec<String> {
    let storage = plan.map(|plan| format!(", up to {}", mebibytes(plan.storage_mib))).unwrap_or_default();
    let mut loses =
        vec![format!("everything that its players have built{storage}"), "its backups".to_owned(), "its settings and its log".to_owned()];
    if let Some(port) = server.ports.first() {
        loses.push(format!("its address: port {} goes to somebody else", port.public));
    }
    loses
}

/// The whole page.
pub(super) async fn whole(web: &Web, signed_in: &SignedIn, id: &ServerId, refused: Refused<'_>) -> Result<ServerPage, Refusal> {
    let actor = signed_in.actor();
    let parts = parts(web, actor, id).await?;
    let (lines, open) = logs::tail(&web.ctx, actor, id, LINES, false).await?;
    let overview = billing::overview(&web.ctx, actor).await?;
    let layout = signed_in.layout_with(web, overview.per_hour);
    let may = |right| servers::allowed(actor, &parts.server, right);
    let settings = parts
        .game
        .as_ref()
        .filter(|_| may(Right::ChangeServer))
        .map(|(game, _)| SettingsForm::of(&parts.server, game, refused.typed, &refused.errors));
    let (typed, error) = refused.delete.map_or(("", None), |(typed, error)| (typed, Some(error)));
    let plan = parts.game.as_ref().map(|(_, plan)| plan);
    let layers = layers::part(web, &parts.server, parts.layers_wait, may(Right::ChangeServer)).await?;
    let backups = backups::part(web, actor, id).await?;
    let month = super::subscriptions::part(web, actor, &parts.server).await?;
    let delete = may(Right::DeleteServer).then(|| DeleteForm::of(loses(&parts.server, plan), typed, error));
    Ok(ServerPage {
        layout: Layout { notice: refused.notice.or(layout.notice), path: format!("/servers/{id}"), ..layout },
        log: LogLines::whole(&lines, false, open.as_deref().unwrap_or_default()),
        may_type: may(Right::TypeIntoConsole),
        may_share: may(Right::ShareServer),
        leave: actor.shared.contains_key(id).then(|| actor.user.id.to_string()),
        head: parts.head,
        stats: parts.stats,
        events: parts.events,
        layers,
        backups,
        month,
        settings,
        delete,
    })
}

/// The page again, with why something was refused.
pub(super) async fn refused(web: &Web, signed_in: &SignedIn, id: &ServerId, refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Conflict(why) => {
            let refused = Refused { notice: Some(Notice::refused(why.clone())), ..Refused::default() };
            match whole(web, signed_in, id, refused).await {
                Ok(page) => Ok(shown(StatusCode::CONFLICT, page)),
                // Somebody who acts may find it gone in between.
                Err(_) => Err(Refusal::Conflict(why).into()),
            }
        }
        Refusal::NotFound | Refusal::Forbidden | Refusal::Invalid(_) | Refusal::TooMany { .. } | Refusal::Away(_) | Refusal::Store(_) => {
            Err(refusal.into())
        }
    }
}

/// `GET /servers/{id}`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>) -> Answer {
    Ok(whole(&web, &signed_in, &id, Refused::default()).await?.into_response())
}

/// What is to change, from a form or from JSON. A secret that was left empty stays as it is.
pub(in crate::http) async fn changes(web: &Web, actor: &Actor, id: &ServerId, typed: &Typed) -> Result<Changes, Refusal> {
    let server = servers::find(&web.ctx, actor, id, Right::ChangeServer).await?;
    let mut fields = Fields::default();
    typed.only(&["name", "auto_sleep", "idle_minutes", "env"], &mut fields);
    let mut env = typed.env();
    if let Some(game) = web.ctx.games().game(&server.game) {
        env.retain(|name, value| !(value.is_empty() && game.env.iter().any(|var| var.secret && var.name == *name)));
    }
    let changes = Changes {
        name: typed.maybe("name").map(str::to_owned),
        auto_sleep: typed.flag("auto_sleep", &mut fields),
        idle_minutes: typed.number("idle_minutes", &mut fields),
        env,
    };
    fields.check()?;
    Ok(changes)
}

/// `POST /servers/{id}/settings`
pub(super) async fn settings(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>, typed: Typed) -> Answer {
    let done = match changes(&web, signed_in.actor(), &id, &typed).await {
        Ok(changes) => servers::change(&web.ctx, signed_in.actor(), &id, &changes).await,
        Err(refusal) => Err(refusal),
    };
    match done {
        Ok(_) => Ok(go(&format!("/servers/{id}"), Said::Saved)),
        Err(Refusal::Invalid(fields)) => {
            let refused = Refused { typed: Some(typed.values()), errors: by_field(&fields), ..Refused::default() };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, whole(&web, &signed_in, &id, refused).await?))
        }
        Err(refusal) => self::refused(&web, &signed_in, &id, refusal).await,
    }
}

/// `POST /servers/{id}/console`
pub(super) async fn console_line(
    State(web): State<Web>,
    signed_in: SignedIn,
    Named(id): Named<ServerId>,
    headers: HeaderMap,
    typed: Typed,
) -> Answer {
    let fragment = headers.contains_key("hx-request");
    match logs::type_line(&web.ctx, signed_in.actor(), &id, typed.text("line")).await {
        Ok(()) if fragment => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(()) => Ok(go(&format!("/servers/{id}"), Said::LineSent)),
        Err(refusal) if fragment => Err(refusal.into()),
        Err(Refusal::Invalid(fields)) => {
            let why = fields.at("line").unwrap_or_default().to_owned();
            let refused = Refused { notice: Some(Notice::refused(why)), ..Refused::default() };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, whole(&web, &signed_in, &id, refused).await?))
        }
        Err(refusal) => self::refused(&web, &signed_in, &id, refusal).await,
    }
}

fn why_empty(phase: Phase) -> &'static str {
    match phase {
        Phase::Running | Phase::Starting | Phase::Stopping => {
            "Nothing has been written yet, or its machine has not answered. Refresh in a moment."
        }
        Phase::Requested | Phase::Preparing => "The game has not started yet, so it has written nothing.",
        Phase::Sleeping | Phase::Stopped | Phase::Expired | Phase::Failed | Phase::Destroyed => {
            "The game does not run, and its machine has sent no lines of its last run. Refresh in a moment."
        }
    }
}

/// `GET /servers/{id}/logs`
pub(super) async fn logs(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>) -> Result<Response, Problem> {
    let server = servers::find(&web.ctx, signed_in.actor(), &id, Right::SeeServer).await?;
    let (lines, open) = logs::tail(&web.ctx, signed_in.actor(), &id, logs::KEPT_LINES, false).await?;
    let page = LogPage {
        layout: signed_in.layout(&web).await?,
        id: id.to_string(),
        name: server.name,
        log: LogLines::whole(&lines, lines.len() >= logs::KEPT_LINES, open.as_deref().unwrap_or_default()),
        why_empty: why_empty(server.life.phase).to_owned(),
    };
    Ok(page.into_response())
}
