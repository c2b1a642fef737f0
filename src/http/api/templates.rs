//! `/api/templates`: what servers are laid out of.

use std::io;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shapes::{ProblemShape, moment};
use crate::domain::templates::{self, NewVersion, Uses, Whole};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::routes::templates::{VersionNamed, details};
use crate::http::typed::{Asked, Raw, Typed};
use crate::http::who::{Caller, Named};
use crate::model::ids::TemplateId;
use crate::model::templates::{Kind, Template, TemplateVersion};

/// A template.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TemplateShape {
    pub id: String,
    pub name: String,
    /// `master`, `gamemode`, `map`, `custom`.
    pub kind: &'static str,
    /// Only for servers of this game; none: for all.
    pub game: Option<String>,
    pub description: String,
    pub tags: Vec<String>,
    pub created_at: String,
    /// Newest first.
    pub versions: Vec<VersionShape>,
}

/// A version of a template; it never changes.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct VersionShape {
    pub version: String,
    pub sha256: String,
    /// Of the archive.
    pub bytes: u64,
    pub unpacked_bytes: u64,
    pub files: u32,
    pub object_key: String,
    pub note: String,
    pub created_at: String,
    /// How many servers stand on it.
    pub servers: u32,
}

/// All templates, by name.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Templates {
    pub templates: Vec<TemplateShape>,
}

/// The versions of one template, newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Versions {
    pub versions: Vec<VersionShape>,
}

/// What a version holds.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct VersionDetail {
    #[serde(flatten)]
    pub version: VersionShape,
    /// Paths that it removes from layers below.
    pub clean: Vec<String>,
    /// Paths that have to be there when all layers are merged.
    pub required: Vec<String>,
    pub entries: Vec<EntryShape>,
}

/// A file, folder or link.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EntryShape {
    pub path: String,
    /// `file`, `folder`, `link`.
    pub kind: &'static str,
    pub bytes: Option<u64>,
    pub sha256: Option<String>,
    pub target: Option<String>,
    /// Such as `644`.
    pub mode: String,
}

/// A new template, or what is to be said of one.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "describes a body; it is read field by field, so that each wrong value gets its message")]
pub(in crate::http) struct NewTemplate {
    pub name: String,
    /// `master`, `gamemode`, `map`, `custom`.
    pub kind: String,
    pub game: Option<String>,
    pub description: Option<String>,
    pub tags: Option<Vec<String>>,
}

/// What came of an import.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ImportShape {
    pub template: String,
    /// Versions that came along.
    pub found: Vec<String>,
    /// Versions whose archives have to be uploaded, each with the reason.
    pub missing: Vec<(String, String)>,
}

fn version_shape(version: &TemplateVersion, uses: &Uses) -> VersionShape {
    VersionShape {
        version: version.version.to_string(),
        sha256: version.sha256.to_string(),
        bytes: version.bytes,
        unpacked_bytes: version.unpacked,
        files: version.files,
        object_key: version.object_key.clone(),
        note: version.note.clone(),
        created_at: moment(version.created_at),
        servers: uses.get(&(version.template.clone(), version.version.clone())).copied().unwrap_or_default(),
    }
}

fn shape(template: &Template, versions: &[TemplateVersion], uses: &Uses) -> TemplateShape {
    TemplateShape {
        id: template.id.to_string(),
        name: template.name.clone(),
        kind: template.kind.as_str(),
        game: template.game.as_ref().map(ToString::to_string),
        description: template.description.clone(),
        tags: template.tags.clone(),
        created_at: moment(template.created_at),
        versions: versions.iter().map(|version| version_shape(version, uses)).collect(),
    }
}

/// Every template with its versions.
#[utoipa::path(get, path = "/api/templates", tag = "templates", responses((status = 200, body = Templates), (status = 404, body = ProblemShape)))]
pub(super) async fn list(State(web): State<Web>, caller: Caller) -> Answer {
    let (all, uses) = templates::list(&web.ctx, caller.actor()).await?;
    let templates = all.iter().map(|Whole { template, versions }| shape(template, versions, &uses)).collect();
    Ok(Json(Templates { templates }).into_response())
}

/// Makes a template without versions.
#[utoipa::path(
    post, path = "/api/templates", tag = "templates", request_body = NewTemplate,
    responses((status = 201, body = TemplateShape), (status = 403, body = ProblemShape), (status = 422, body = ProblemShape))
)]
pub(super) async fn create(State(web): State<Web>, caller: Caller, typed: Typed) -> Answer {
    let made = templates::create(&web.ctx, caller.actor(), &details(&typed)).await?;
    Ok((StatusCode::CREATED, Json(shape(&made, &[], &Uses::new()))).into_response())
}

/// One template with its versions.
#[utoipa::path(
    get, path = "/api/templates/{id}", tag = "templates", params(("id" = String, Path)),
    responses((status = 200, body = TemplateShape), (status = 404, body = ProblemShape))
)]
pub(super) async fn one(State(web): State<Web>, caller: Caller, Named(id): Named<TemplateId>) -> Answer {
    let (Whole { template, versions }, uses) = templates::find(&web.ctx, caller.actor(), &id).await?;
    Ok(Json(shape(&template, &versions, &uses)).into_response())
}

/// Changes what is said of a template; all of it is given.
#[utoipa::path(
    patch, path = "/api/templates/{id}", tag = "templates", params(("id" = String, Path)), request_body = NewTemplate,
    responses((status = 200, body = TemplateShape), (status = 404, body = ProblemShape), (status = 422, body = ProblemShape))
)]
pub(super) async fn change(State(web): State<Web>, caller: Caller, Named(id): Named<TemplateId>, typed: Typed) -> Answer {
    templates::change(&web.ctx, caller.actor(), &id, &details(&typed)).await?;
    let (Whole { template, versions }, uses) = templates::find(&web.ctx, caller.actor(), &id).await?;
    Ok(Json(shape(&template, &versions, &uses)).into_response())
}

/// Deletes a template with its versions, where no server stands on any.
#[utoipa::path(
    delete, path = "/api/templates/{id}", tag = "templates", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn delete(State(web): State<Web>, caller: Caller, Named(id): Named<TemplateId>) -> Answer {
    templates::delete(&web.ctx, caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The template as a document, to import it into another panel.
#[utoipa::path(
    get, path = "/api/templates/{id}/export", tag = "templates", params(("id" = String, Path)),
    responses((status = 200), (status = 404, body = ProblemShape))
)]
pub(super) async fn export(State(web): State<Web>, caller: Caller, Named(id): Named<TemplateId>) -> Answer {
    Ok(Json(templates::export(&web.ctx, caller.actor(), &id).await?).into_response())
}

/// Makes a template out of such a document.
#[utoipa::path(
    post, path = "/api/templates/import", tag = "templates", request_body(content = String, content_type = "application/json"),
    responses((status = 201, body = ImportShape), (status = 422, body = ProblemShape))
)]
pub(super) async fn import(State(web): State<Web>, caller: Caller, Raw(document): Raw) -> Answer {
    let imported = templates::import(&web.ctx, caller.actor(), &String::from_utf8_lossy(&document)).await?;
    let shape = ImportShape {
        template: imported.template.id.to_string(),
        found: imported.found.iter().map(ToString::to_string).collect(),
        missing: imported.missing.into_iter().map(|(version, why)| (version.to_string(), why)).collect(),
    };
    Ok((StatusCode::CREATED, Json(shape)).into_response())
}

/// The versions of a template.
#[utoipa::path(
    get, path = "/api/templates/{id}/versions", tag = "templates", params(("id" = String, Path)),
    responses((status = 200, body = Versions), (status = 404, body = ProblemShape))
)]
pub(super) async fn versions(State(web): State<Web>, caller: Caller, Named(id): Named<TemplateId>) -> Answer {
    let (whole, uses) = templates::find(&web.ctx, caller.actor(), &id).await?;
    Ok(Json(Versions { versions: whole.versions.iter().map(|version| version_shape(version, &uses)).collect() }).into_response())
}

/// Uploads a version: the archive is the body, taken in as it comes and checked to its end.
#[utoipa::path(
    post, path = "/api/templates/{id}/versions", tag = "templates",
    params(("id" = String, Path), ("version" = String, Query), ("note" = Option<String>, Query)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "A .tar, .tar.gz or .tar.zst."),
    responses((status = 201, body = VersionShape), (status = 409, body = ProblemShape), (status = 422, body = ProblemShape))
)]
pub(super) async fn upload(State(web): State<Web>, caller: Caller, Named(id): Named<TemplateId>, asked: Asked, body: HttpBody) -> Answer {
    let text = |name: &str| asked.get(name).unwrap_or_default().to_owned();
    let new = NewVersion { version: text("version"), note: text("note") };
    let body = body.into_data_stream().map_err(io::Error::other).boxed();
    let made = templates::upload(&web.ctx, caller.actor(), &id, &new, body).await?;
    Ok((StatusCode::CREATED, Json(version_shape(&made, &Uses::new()))).into_response())
}

/// One version and all that it holds.
#[utoipa::path(
    get, path = "/api/templates/{id}/versions/{version}", tag = "templates", params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = VersionDetail), (status = 404, body = ProblemShape))
)]
pub(super) async fn version(State(web): State<Web>, caller: Caller, VersionNamed(id, name): VersionNamed) -> Answer {
    let (_, row, manifest, servers) = templates::version(&web.ctx, caller.actor(), &id, &name).await?;
    let mut version = version_shape(&row, &Uses::new());
    version.servers = u32::try_from(servers.len()).unwrap_or(u32::MAX);
    let entries = manifest.entries.into_iter().map(|entry| {
        let (kind, bytes, sha256, target) = match entry.kind {
            Kind::File { size, sha256 } => ("file", Some(size), Some(sha256.to_string()), None),
            Kind::Folder => ("folder", None, None, None),
            Kind::Link { target } => ("link", None, None, Some(target)),
        };
        EntryShape { path: entry.path, kind, bytes, sha256, target, mode: format!("{:o}", entry.mode) }
    });
    let (clean, required) = (manifest.rules.clean, manifest.rules.required);
    Ok(Json(VersionDetail { version, clean, required, entries: entries.collect() }).into_response())
}

/// Deletes a version that no server stands on.
#[utoipa::path(
    delete, path = "/api/templates/{id}/versions/{version}", tag = "templates", params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemShape), (status = 409, body = ProblemShape))
)]
pub(super) async fn delete_version(State(web): State<Web>, caller: Caller, VersionNamed(id, name): VersionNamed) -> Answer {
    templates::delete_version(&web.ctx, caller.actor(), &id, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
