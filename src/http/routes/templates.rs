//! `/templates`: what servers are laid out of, for those who see and those who change them.

use std::io;

use axum::extract::multipart::{Field, Multipart, MultipartRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::create::by_field;
use crate::domain::templates::{Body, Details, NewVersion, Whole};
use crate::domain::{Fields, Refusal, templates};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::create::ByField;
use crate::http::pages::moments::Moment;
use crate::http::pages::templates::{
    DetailsForm, DetailsValues, FILES_SHOWN, FileRow, TemplatePage, TemplateRow, TemplatesPage, UploadForm, VersionPage, VersionRow,
};
use crate::http::problem::{Answer, Problem, shown};
use crate::http::typed::{Asked, Typed};
use crate::http::who::{Named, SignedIn};
use crate::model::games::Game;
use crate::model::ids::TemplateId;
use crate::model::templates::{TemplateVersion, Version};

/// Chunks of an upload between the browser and the object store.
const CHUNKS: usize = 4;
/// Most bytes of a field beside the archive.
const FIELD_BYTES_MAX: usize = 8 << 10;

fn game_name(web: &Web, whole: &Whole) -> Option<String> {
    let games = web.ctx.games();
    let id = whole.template.game.as_ref()?;
    Some(games.game(id).map_or_else(|| id.to_string(), |game| game.name.clone()))
}

/// What is in a form of details.
pub(in crate::http) fn details(typed: &Typed) -> Details {
    let text = |name: &str| typed.text(name).to_owned();
    Details {
        name: text("name"),
        kind: text("kind"),
        game: text("game"),
        description: text("description"),
        tags: typed.text("tags").split(',').map(str::to_owned).collect(),
    }
}

fn form(web: &Web, values: &DetailsValues, errors: &ByField) -> DetailsForm {
    let games = web.ctx.games();
    let all: Vec<&Game> = games.all().iter().map(|game| &**game).collect();
    DetailsForm::of(values, all.into_iter(), |field| errors.get(field).cloned())
}

fn typed_values(typed: &Typed) -> DetailsValues {
    let text = |name: &str| typed.text(name).to_owned();
    DetailsValues { name: text("name"), kind: text("kind"), game: text("game"), description: text("description"), tags: text("tags") }
}

/// What is filled in and what is wrong with it.
#[derive(Default)]
struct Filled {
    values: DetailsValues,
    errors: ByField,
}

async fn list_page(web: &Web, signed_in: &SignedIn, filled: Filled, import_error: Option<String>) -> Result<TemplatesPage, Problem> {
    let (all, uses) = templates::list(&web.ctx, signed_in.actor()).await?;
    let now = web.ctx.clock.now();
    Ok(TemplatesPage {
        layout: signed_in.layout(web).await?,
        rows: all.iter().map(|whole| TemplateRow::of(whole, &uses, game_name(web, whole), now)).collect(),
        form: templates::may_manage(signed_in.actor()).then(|| form(web, &filled.values, &filled.errors)),
        import_error,
    })
}

/// `GET /templates`
pub(super) async fn list(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    Ok(list_page(&web, &signed_in, Filled::default(), None).await?.into_response())
}

/// `POST /templates`
pub(super) async fn create(State(web): State<Web>, signed_in: SignedIn, typed: Typed) -> Answer {
    match templates::create(&web.ctx, signed_in.actor(), &details(&typed)).await {
        Ok(template) => Ok(Redirect::to(&format!("/templates/{}", template.id)).into_response()),
        Err(Refusal::Invalid(fields)) => {
            let filled = Filled { values: typed_values(&typed), errors: by_field(&fields) };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, list_page(&web, &signed_in, filled, None).await?))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /templates/import`
pub(super) async fn import(State(web): State<Web>, signed_in: SignedIn, typed: Typed) -> Answer {
    match templates::import(&web.ctx, signed_in.actor(), typed.text("document")).await {
        Ok(imported) if imported.missing.is_empty() => Ok(go(&format!("/templates/{}", imported.template.id), Said::TemplateImported)),
        Ok(imported) => Ok(go(&format!("/templates/{}", imported.template.id), Said::TemplatePartlyImported)),
        Err(Refusal::Invalid(fields)) => {
            let error = fields.at("document").map(str::to_owned);
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, list_page(&web, &signed_in, Filled::default(), error).await?))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

async fn detail(
    web: &Web,
    signed_in: &SignedIn,
    id: &TemplateId,
    filled: Option<Filled>,
    upload: UploadForm,
) -> Result<TemplatePage, Problem> {
    let (whole, uses) = templates::find(&web.ctx, signed_in.actor(), id).await?;
    let (now, manages) = (web.ctx.clock.now(), templates::may_manage(signed_in.actor()));
    let template = &whole.template;
    let as_it_is = || Filled {
        values: DetailsValues {
            name: template.name.clone(),
            kind: template.kind.as_str().to_owned(),
            game: template.game.as_ref().map(ToString::to_string).unwrap_or_default(),
            description: template.description.clone(),
            tags: template.tags.join(", "),
        },
        errors: ByField::new(),
    };
    let filled = filled.unwrap_or_else(as_it_is);
    let count = |version: &TemplateVersion| uses.get(&(version.template.clone(), version.version.clone())).copied().unwrap_or_default();
    Ok(TemplatePage {
        layout: signed_in.layout(web).await?,
        template: TemplateRow::of(&whole, &uses, game_name(web, &whole), now),
        description: template.description.clone(),
        made_by: template.created_by.clone(),
        made: Moment::relative(template.created_at, now),
        versions: whole.versions.iter().map(|version| VersionRow::of(version, count(version), now)).collect(),
        form: manages.then(|| form(web, &filled.values, &filled.errors)),
        upload: manages.then_some(upload),
    })
}

fn empty_upload() -> UploadForm {
    UploadForm::of("", "", |_| None)
}

/// `GET /templates/{id}`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<TemplateId>) -> Answer {
    Ok(detail(&web, &signed_in, &id, None, empty_upload()).await?.into_response())
}

/// `POST /templates/{id}`
pub(super) async fn change(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<TemplateId>, typed: Typed) -> Answer {
    match templates::change(&web.ctx, signed_in.actor(), &id, &details(&typed)).await {
        Ok(_) => Ok(go(&format!("/templates/{id}"), Said::TemplateSaved)),
        Err(Refusal::Invalid(fields)) => {
            let filled = Filled { values: typed_values(&typed), errors: by_field(&fields) };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, detail(&web, &signed_in, &id, Some(filled), empty_upload()).await?))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /templates/{id}/delete`
pub(super) async fn delete(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<TemplateId>) -> Answer {
    templates::delete(&web.ctx, signed_in.actor(), &id).await?;
    Ok(go("/templates", Said::TemplateDeleted))
}

/// `GET /templates/{id}/export`
pub(super) async fn export(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<TemplateId>) -> Answer {
    let document = templates::export(&web.ctx, signed_in.actor(), &id).await?;
    let text = serde_json::to_string_pretty(&document).map_err(Problem::internal)?;
    let name = format!("attachment; filename=\"{id}.json\"");
    Ok(([(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, name)], text).into_response())
}

async fn text(mut field: Field<'_>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|_| broken())? {
        if bytes.len() + chunk.len() > FIELD_BYTES_MAX {
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, ""));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "The form could not be read."))
}

fn broken() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "The upload broke off before its end. Send it again.")
}

/// A stream of what comes through a channel.
pub(in crate::http) fn streamed(chunks: mpsc::Receiver<io::Result<Bytes>>) -> Body {
    stream::unfold(chunks, |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) }).boxed()
}

async fn take(web: &Web, signed_in: &SignedIn, id: &TemplateId, new: &NewVersion, mut file: Field<'_>) -> Result<TemplateVersion, Refusal> {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    let feed = async move {
        loop {
            let chunk = match file.chunk().await {
                Ok(Some(chunk)) => Ok(chunk),
                Ok(None) => return,
                Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error.to_string())),
            };
            let ends = chunk.is_err();
            if sender.send(chunk).await.is_err() || ends {
                return;
            }
        }
    };
    let (done, ()) = tokio::join!(templates::upload(&web.ctx, signed_in.actor(), id, new, streamed(chunks)), feed);
    done
}

/// `POST /templates/{id}/versions`: a form with its archive last, taken in as it comes.
pub(super) async fn upload(
    State(web): State<Web>,
    signed_in: SignedIn,
    Named(id): Named<TemplateId>,
    headers: HeaderMap,
    parts: Result<Multipart, MultipartRejection>,
) -> Answer {
    let by_script = headers.contains_key("roost-script");
    templates::may_upload(&web.ctx, signed_in.actor(), &id).await?;
    let mut parts = parts.map_err(|_| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Send the form with its file."))?;
    let mut new = NewVersion::default();
    let mut done = Err(no_file());
    while let Some(part) = parts.next_field().await.map_err(|_| broken())? {
        match part.name() {
            Some("version") => new.version = text(part).await?,
            Some("note") => new.note = text(part).await?,
            Some("file") => {
                done =
                    if part.file_name().is_none_or(str::is_empty) { Err(no_file()) } else { take(&web, &signed_in, &id, &new, part).await };
                break;
            }
            Some(_) | None => {}
        }
    }
    match done {
        Ok(_) => {
            let mut gone = go(&format!("/templates/{id}"), Said::VersionUploaded);
            if by_script {
                *gone.status_mut() = StatusCode::CREATED;
            }
            Ok(gone)
        }
        Err(Refusal::Invalid(fields)) => {
            let form = UploadForm::of(&new.version, &new.note, |field| fields.at(field).map(str::to_owned));
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, detail(&web, &signed_in, &id, None, form).await?))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn no_file() -> Refusal {
    let mut fields = Fields::default();
    fields.add("file", "Choose an archive.");
    Refusal::Invalid(fields)
}

/// A template and the name of one of its versions, out of a path.
pub(in crate::http) struct VersionNamed(pub TemplateId, pub Version);

impl axum::extract::FromRequestParts<Web> for VersionNamed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, web: &Web) -> Result<Self, Problem> {
        let Path((id, version)) = Path::<(String, String)>::from_request_parts(parts, web).await.map_err(|_| Problem::not_found())?;
        let id = id.parse().map_err(|_| Problem::not_found())?;
        Ok(VersionNamed(id, version.parse().map_err(|_| Problem::not_found())?))
    }
}

/// `GET /templates/{id}/versions/{version}`
pub(super) async fn version(State(web): State<Web>, signed_in: SignedIn, VersionNamed(id, name): VersionNamed, asked: Asked) -> Answer {
    let (template, row, manifest, servers) = templates::version(&web.ctx, signed_in.actor(), &id, &name).await?;
    let search = asked.get("q").unwrap_or_default().trim().chars().take(200).collect::<String>();
    let found = manifest.entries.iter().filter(|entry| entry.path.contains(&search));
    let count = found.clone().count();
    let page = VersionPage {
        layout: signed_in.layout(&web).await?,
        template: (template.id.to_string(), template.name),
        version: VersionRow::of(&row, u32::try_from(servers.len()).unwrap_or(u32::MAX), web.ctx.clock.now()),
        servers: servers.iter().map(ToString::to_string).collect(),
        clean: manifest.rules.clean.clone(),
        required: manifest.rules.required.clone(),
        files: found.take(FILES_SHOWN).map(FileRow::of).collect(),
        more: count.saturating_sub(FILES_SHOWN),
        search,
        may_delete: templates::may_manage(signed_in.actor()),
    };
    Ok(page.into_response())
}

/// `POST /templates/{id}/versions/{version}/delete`
pub(super) async fn delete_version(State(web): State<Web>, signed_in: SignedIn, VersionNamed(id, name): VersionNamed) -> Answer {
    templates::delete_version(&web.ctx, signed_in.actor(), &id, &name).await?;
    Ok(go(&format!("/templates/{id}"), Said::VersionDeleted))
}

/// Is this an archive on its way in? It may be large and take its time.
pub(in crate::http) fn is_upload(method: &axum::http::Method, path: &str) -> bool {
    let below = path.strip_prefix("/api").unwrap_or(path).strip_prefix("/templates/");
    *method == axum::http::Method::POST && below.is_some_and(|rest| rest.split_once('/').is_some_and(|(_, rest)| rest == "versions"))
}
