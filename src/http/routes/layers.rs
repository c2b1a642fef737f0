//! `/servers/{id}/layers`: what a server is laid out of, what another choice would change, and taking it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::create::by_field;
use crate::domain::servers::Preview;
use crate::domain::templates::Whole;
use crate::domain::{Fields, Refusal, servers, templates};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::create::ByField;
use crate::http::pages::layers::{LayersForm, LayersPage, PreviewPart, StandingRow, WayBack, text_of};
use crate::http::pages::layout::{Layout, Notice};
use crate::http::pages::moments::Moment;
use crate::http::pages::servers::LayersPart;
use crate::http::problem::{Answer, shown};
use crate::http::typed::{Typed, layers_in, variables_in};
use crate::http::who::{Named, SignedIn};
use crate::model::ids::ServerId;
use crate::model::layers::LayerRef;
use crate::model::servers::{Phase, Server};
use crate::model::time::Millis;
use crate::model::users::Right;

/// The rows and variables as they were typed.
pub(super) fn layers_form(offered: &[Whole], typed: &ByField, errors: &ByField) -> LayersForm {
    LayersForm::of(offered, &layers_in(typed), &variables_in(typed, false), errors)
}

/// The part of a server's page; none where there is nothing to say.
pub(super) async fn part(web: &Web, server: &Server, waits: Option<Millis>, may_change: bool) -> Result<Option<LayersPart>, Refusal> {
    if server.layers.is_empty() && !templates::fits(&web.ctx, &server.game).await? {
        return Ok(None);
    }
    let rows = templates::standing(&web.ctx, &server.layers).await?;
    let waits = waits.map(|at| Moment::relative(at, web.ctx.clock.now()));
    Ok(Some(LayersPart { rows: rows.iter().map(StandingRow::of).collect(), waits, may_change }))
}

/// What is to be shown beside what the server has.
#[derive(Default)]
struct Asked<'a> {
    typed: Option<&'a Typed>,
    errors: ByField,
    preview: Option<PreviewPart>,
    notice: Option<Notice>,
}

fn listed(layers: &[LayerRef]) -> String {
    layers.iter().map(|layer| format!("{} {}", layer.template, layer.version)).collect::<Vec<_>>().join(", ")
}

async fn whole(web: &Web, signed_in: &SignedIn, id: &ServerId, asked: Asked<'_>) -> Result<LayersPage, Refusal> {
    let (ctx, actor) = (&web.ctx, signed_in.actor());
    let server = servers::find(ctx, actor, id, Right::SeeServer).await?;
    let may_change = servers::allowed(actor, &server, Right::ChangeServer);
    let history = servers::history(ctx, actor, id, None).await?;
    let rows = templates::standing(ctx, &server.layers).await?;
    let variables: Vec<(String, String)> = server.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let form = if may_change {
        let offered = templates::offered(ctx, &server.game).await?;
        Some(match asked.typed {
            Some(typed) if typed.says_variables() => layers_form(&offered, typed.values(), &asked.errors),
            Some(typed) => LayersForm::of(&offered, &layers_in(typed.values()), &variables, &asked.errors),
            None => LayersForm::of(&offered, &server.layers.iter().map(text_of).collect::<Vec<_>>(), &variables, &asked.errors),
        })
    } else {
        None
    };
    let newest = if may_change { templates::newer(ctx, &server.layers).await? } else { None };
    let back = may_change && !server.layers_before.is_empty();
    let layout = signed_in.layout(web).await?;
    Ok(LayersPage {
        layout: Layout { notice: asked.notice.or(layout.notice), path: format!("/servers/{id}/layers"), ..layout },
        id: id.to_string(),
        name: server.name.clone(),
        rows: rows.iter().map(StandingRow::of).collect(),
        waits: servers::waits_for_start(&server, &history).map(|at| Moment::relative(at, ctx.clock.now())),
        may_restart: server.life.phase == Phase::Running && servers::allowed(actor, &server, Right::PowerServer),
        form,
        refused: !asked.errors.is_empty(),
        newest: newest.map(|newest| LayersForm::hidden(&newest, Some(&variables))),
        back: back.then(|| WayBack { to: listed(&server.layers_before) }),
        preview: asked.preview,
        variables,
    })
}

/// `GET /servers/{id}/layers`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>) -> Answer {
    Ok(whole(&web, &signed_in, &id, Asked::default()).await?.into_response())
}

/// Looks, or takes: what came of it.
enum Done {
    Looked(Preview, Vec<(String, String)>),
    Taken(Said),
}

async fn done(web: &Web, signed_in: &SignedIn, id: &ServerId, typed: &Typed) -> Result<Done, Refusal> {
    let (ctx, actor) = (&web.ctx, signed_in.actor());
    let mut fields = Fields::default();
    let (look, back) = (typed.flag("preview", &mut fields) == Some(true), typed.flag("back", &mut fields) == Some(true));
    if back && look {
        return Ok(Done::Looked(servers::preview_back(ctx, actor, id).await?, vec![("back".to_owned(), "1".to_owned())]));
    }
    if back {
        return servers::layers_back(ctx, actor, id).await.map(|_| Done::Taken(Said::LayersBack));
    }
    // Whoever may not even see it is told so before what they typed is judged.
    servers::find(ctx, actor, id, Right::ChangeServer).await?;
    let variables = typed.variables(&mut fields);
    fields.check()?;
    if look {
        let preview = servers::preview(ctx, actor, id, &typed.layers(), variables.as_ref()).await?;
        let hidden = LayersForm::hidden(&preview.after, variables.map(|all| all.into_iter().collect::<Vec<_>>()).as_deref());
        return Ok(Done::Looked(preview, hidden));
    }
    servers::set_layers(ctx, actor, id, &typed.layers(), variables.as_ref()).await.map(|_| Done::Taken(Said::LayersTaken))
}

/// What was typed; nothing of that kind where only the way back was asked for.
fn filled(typed: &Typed) -> Option<&Typed> {
    typed.maybe("back").is_none().then_some(typed)
}

/// `POST /servers/{id}/layers`: with `preview` it shows what would change, without it is done; `back` stands for the list before.
pub(super) async fn take(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>, typed: Typed) -> Answer {
    let (status, asked) = match done(&web, &signed_in, &id, &typed).await {
        Ok(Done::Taken(said)) => return Ok(go(&format!("/servers/{id}/layers"), said)),
        Ok(Done::Looked(preview, hidden)) => {
            (StatusCode::OK, Asked { typed: filled(&typed), preview: Some(PreviewPart::of(&preview, hidden)), ..Asked::default() })
        }
        Err(Refusal::Invalid(fields)) => {
            (StatusCode::UNPROCESSABLE_ENTITY, Asked { typed: Some(&typed), errors: by_field(&fields), ..Asked::default() })
        }
        Err(Refusal::Conflict(why)) => {
            (StatusCode::CONFLICT, Asked { typed: filled(&typed), notice: Some(Notice::refused(why)), ..Asked::default() })
        }
        Err(refusal) => return Err(refusal.into()),
    };
    Ok(shown(status, whole(&web, &signed_in, &id, asked).await?))
}
