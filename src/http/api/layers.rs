//! `/api/servers/{id}/layers`: what a server is laid out of, looked at, compared, changed and changed back.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::once::{Once, Reply};
use super::shapes::{LayerShape, NewLayer, ProblemShape};
use crate::domain::servers::{OwnFiles, Preview};
use crate::domain::templates::Standing;
use crate::domain::{Fields, servers, templates};
use crate::http::Web;
use crate::http::problem::{Answer, Problem};
use crate::http::typed::Typed;
use crate::http::who::{Caller, Named};
use crate::model::ids::ServerId;
use crate::model::layers::Changed;
use crate::model::servers::Server;
use crate::model::users::Right;

/// Changed paths of one answer.
const PATHS_MAX: usize = 1_000;

/// What a server is laid out of.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LayersShape {
    /// The lowest first.
    pub layers: Vec<StandingShape>,
    /// What it had before the last change: the way back.
    pub before: Vec<LayerShape>,
    /// Its own values for variables in text files of its layers.
    pub variables: BTreeMap<String, String>,
    /// What would change; only where that was asked.
    pub preview: Option<PreviewShape>,
}

/// A layer that a server stands on.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct StandingShape {
    /// Id of a template.
    pub template: String,
    /// The template's name.
    pub name: String,
    pub version: String,
    /// The newest version, where that is another.
    pub newer: Option<String>,
}

/// What another list of layers would change.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PreviewShape {
    /// What it would have, every version named.
    pub layers: Vec<LayerShape>,
    /// Paths that the layers would bring, take away or replace: the first 1000.
    pub changes: Vec<ChangeShape>,
    /// How many more there are.
    pub more: usize,
    /// Required paths that none of the layers brings.
    pub missing: Vec<MissingShape>,
    /// Files that the server itself has written and that a layer would replace; null: not known yet.
    pub own_files: Option<Vec<String>>,
    /// Why they are not known: its node has just been asked, ask again in a moment; or cannot be asked.
    pub own_files_unknown: Option<String>,
    /// Variables that would change.
    pub variables: Vec<String>,
}

/// A path that would change.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ChangeShape {
    pub path: String,
    /// `added`, `replaced` or `removed`.
    pub what: &'static str,
}

/// A required path that would not be there.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MissingShape {
    pub path: String,
    /// Id of the template that requires it.
    pub template: String,
}

/// Other layers for a server.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(in crate::http) struct NewLayers {
    /// All of them, the lowest first.
    pub layers: Vec<NewLayer>,
    /// All of them; where this is left out, they stay as they are.
    pub variables: Option<BTreeMap<String, String>>,
    /// Only say what would change.
    pub preview: Option<bool>,
}

fn preview_shape(preview: Preview) -> PreviewShape {
    let changes = preview.difference.changes;
    let word = |what| match what {
        Changed::Added => "added",
        Changed::Removed => "removed",
        Changed::Replaced => "replaced",
    };
    let template = |n: usize| preview.after.get(n).map(|layer| layer.template.to_string()).unwrap_or_default();
    let missing = preview.difference.missing.into_iter();
    let (own_files, own_files_unknown) = match preview.own_files {
        OwnFiles::Known(paths) => (Some(paths), None),
        OwnFiles::Asked => (None, Some("Its node has been asked. Ask again in a moment.".to_owned())),
        OwnFiles::Unknown(why) => (None, Some(why)),
    };
    PreviewShape {
        layers: LayerShape::list(&preview.after),
        more: changes.len().saturating_sub(PATHS_MAX),
        missing: missing.map(|missing| MissingShape { template: template(missing.layer), path: missing.path }).collect(),
        changes: changes.into_iter().take(PATHS_MAX).map(|change| ChangeShape { path: change.path, what: word(change.what) }).collect(),
        own_files,
        own_files_unknown,
        variables: preview.variables,
    }
}

async fn shape(web: &Web, server: &Server, preview: Option<Preview>) -> Result<LayersShape, Problem> {
    let standing = |standing: Standing| StandingShape {
        template: standing.layer.template.to_string(),
        name: standing.name,
        version: standing.layer.version.to_string(),
        newer: standing.newer.as_ref().map(ToString::to_string),
    };
    Ok(LayersShape {
        layers: templates::standing(&web.ctx, &server.layers).await?.into_iter().map(standing).collect(),
        before: LayerShape::list(&server.layers_before),
        variables: server.variables.clone(),
        preview: preview.map(preview_shape),
    })
}

/// What a server is laid out of, and whether there is something newer.
#[utoipa::path(
    get, path = "/api/servers/{id}/layers", tag = "servers", params(("id" = String, Path)),
    responses((status = 200, body = LayersShape), (status = 404, body = ProblemShape))
)]
pub(super) async fn one(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>) -> Answer {
    let server = servers::find(&web.ctx, caller.actor(), &id, Right::SeeServer).await?;
    Ok(Json(shape(&web, &server, None).await?).into_response())
}

/// Gives a server other layers, or says what they would change. They count from its next start.
#[utoipa::path(
    put, path = "/api/servers/{id}/layers", tag = "servers", params(("id" = String, Path)), request_body = NewLayers,
    responses((status = 200, body = LayersShape), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape), (status = 422, body = ProblemShape))
)]
pub(super) async fn set(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, typed: Typed) -> Answer {
    let actor = caller.actor();
    let server = servers::find(&web.ctx, actor, &id, Right::ChangeServer).await?;
    let mut fields = Fields::default();
    typed.only(&["layers", "variables", "preview"], &mut fields);
    let (look, variables) = (typed.flag("preview", &mut fields), typed.variables(&mut fields));
    if !typed.says_layers() {
        fields.add("layers", "Name all layers; an empty list takes them all away.");
    }
    fields.check()?;
    if look == Some(true) {
        let preview = servers::preview(&web.ctx, actor, &id, &typed.layers(), variables.as_ref()).await?;
        return Ok(Json(shape(&web, &server, Some(preview)).await?).into_response());
    }
    let server = servers::set_layers(&web.ctx, actor, &id, &typed.layers(), variables.as_ref()).await?;
    Ok(Json(shape(&web, &server, None).await?).into_response())
}

/// Gives a server the layers back that it had before the last change; done again, it leads forth again.
#[utoipa::path(
    post, path = "/api/servers/{id}/layers/back", tag = "servers",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = LayersShape), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn back(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, once: Once) -> Answer {
    let (site, actor) = (web.clone(), caller.actor().clone());
    let work = async move {
        let server = Box::pin(servers::layers_back(&site.ctx, &actor, &id)).await?;
        Reply::json(StatusCode::OK, &shape(&site, &server, None).await?)
    };
    once.run(&web, caller.actor(), b"", work).await
}
