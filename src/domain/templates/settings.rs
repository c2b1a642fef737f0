//! What is said of a template: its name, kind, game, description and tags; and the same as a document, to take it to another panel.

use serde::{Deserialize, Serialize};

use super::{TEMPLATES_MAX, Whole, find, manages};
use crate::domain::{Actor, Ctx, Fields, Refusal};
use crate::model::ids::{GameId, TemplateId};
use crate::model::templates::{Checksum, Template, TemplateKind, TemplateVersion, Version};
use crate::objects::ObjectKey;
use crate::store::{StoreError, panel, templates};

/// Longest name, in characters.
pub const NAME_MAX: usize = 60;
/// Longest description, in characters.
pub const DESCRIPTION_MAX: usize = 2_000;
/// Most tags.
pub const TAGS_MAX: usize = 16;
/// Most characters of a tag.
pub const TAG_MAX: usize = 40;
/// Another id is tried so often where the one out of the name is taken.
const TRIES: usize = 8;
/// Version of the document.
const FORMAT: u32 = 1;

/// What somebody filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// For people.
    pub name: String,
    /// `master`, `gamemode`, `map`, `custom`.
    pub kind: String,
    /// Id of a game; empty: for all.
    pub game: String,
    /// What it brings.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
}

struct Checked {
    name: String,
    kind: TemplateKind,
    game: Option<GameId>,
    description: String,
    tags: Vec<String>,
}

fn check(ctx: &Ctx, details: &Details) -> Result<Checked, Refusal> {
    let mut fields = Fields::default();
    let name = details.name.trim();
    if name.is_empty() {
        fields.add("name", "Give the template a name.");
    } else if name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        fields.add("name", format!("A name has at most {NAME_MAX} characters and no line breaks."));
    }
    let kind = TemplateKind::parse(&details.kind);
    if kind.is_none() {
        fields.add("kind", "Choose one of the kinds.");
    }
    let game = details.game.trim();
    let game = (!game.is_empty()).then(|| game.parse::<GameId>().ok().filter(|id| ctx.games().game(id).is_some()));
    if game == Some(None) {
        fields.add("game", "Choose one of the games, or all of them.");
    }
    let description = details.description.trim();
    if description.chars().count() > DESCRIPTION_MAX || description.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        fields.add("description", format!("A description has at most {DESCRIPTION_MAX} characters."));
    }
    let mut tags: Vec<String> = details.tags.iter().map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect();
    tags.sort();
    tags.dedup();
    if tags.len() > TAGS_MAX || tags.iter().any(|tag| tag.chars().count() > TAG_MAX || tag.chars().any(char::is_control)) {
        fields.add("tags", format!("At most {TAGS_MAX} tags, each of at most {TAG_MAX} characters."));
    }
    fields.check()?;
    let kind = kind.ok_or(Refusal::NotFound)?;
    Ok(Checked { name: name.to_owned(), kind, game: game.flatten(), description: description.to_owned(), tags })
}

/// Makes a template without versions.
///
/// # Errors
/// [`Refusal::Invalid`] at `name`, `kind`, `game`, `description`, `tags`.
pub async fn create(ctx: &Ctx, actor: &Actor, details: &Details) -> Result<Template, Refusal> {
    manages(actor)?;
    let checked = check(ctx, details)?;
    insert(ctx, actor, checked).await
}

async fn insert(ctx: &Ctx, actor: &Actor, checked: Checked) -> Result<Template, Refusal> {
    let mut template = Template {
        id: TemplateId::named(&checked.name, None),
        name: checked.name,
        kind: checked.kind,
        game: checked.game,
        description: checked.description,
        tags: checked.tags,
        created_at: ctx.clock.now(),
        created_by: actor.user.email.clone(),
    };
    for _ in 0..TRIES {
        let tx = ctx.db.begin().await?;
        panel::hold(&tx).await?;
        if templates::list(&tx, TEMPLATES_MAX).await?.len() as u64 >= TEMPLATES_MAX {
            return Err(Refusal::Conflict(format!("There are {TEMPLATES_MAX} templates, which is the most. Delete one first.")));
        }
        match templates::insert(&tx, &template).await {
            Err(StoreError::Exists(_)) => template.id = TemplateId::named(&template.name, Some(Ctx::random::<4>())),
            other => {
                other?;
                tx.commit().await?;
                return Ok(template);
            }
        }
    }
    Err(Refusal::Conflict("There are too many templates of this name. Choose another one.".to_owned()))
}

/// Changes what is said of a template. Its id stays.
///
/// # Errors
/// As for [`create`].
pub async fn change(ctx: &Ctx, actor: &Actor, id: &TemplateId, details: &Details) -> Result<Template, Refusal> {
    manages(actor)?;
    let checked = check(ctx, details)?;
    let before = templates::by_id(&ctx.db, id).await?.ok_or(Refusal::NotFound)?;
    let Checked { name, kind, game, description, tags } = checked;
    let after = Template { name, kind, game, description, tags, ..before };
    templates::change(&ctx.db, &after).await?;
    Ok(after)
}

/// A template as a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Of this form of document.
    pub roost_template: u32,
    /// For people.
    pub name: String,
    /// What part of a server it is.
    pub kind: TemplateKind,
    /// Only for servers of this game.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub game: Option<String>,
    /// What it brings.
    #[serde(default)]
    pub description: String,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Oldest first.
    #[serde(default)]
    pub versions: Vec<DocumentVersion>,
}

/// A version in a document: what its archive has to be, and where it lay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentVersion {
    /// Its name.
    pub version: Version,
    /// Of the archive.
    pub sha256: Checksum,
    /// Bytes of the archive.
    pub bytes: u64,
    /// In the object store.
    pub object_key: String,
    /// What is new in it.
    #[serde(default)]
    pub note: String,
}

/// The document of a template, for those who see it.
pub async fn export(ctx: &Ctx, actor: &Actor, id: &TemplateId) -> Result<Document, Refusal> {
    let (Whole { template, mut versions }, _) = find(ctx, actor, id).await?;
    versions.reverse();
    let version = |version: TemplateVersion| DocumentVersion {
        version: version.version,
        sha256: version.sha256,
        bytes: version.bytes,
        object_key: version.object_key,
        note: version.note,
    };
    Ok(Document {
        roost_template: FORMAT,
        name: template.name,
        kind: template.kind,
        game: template.game.map(|game| game.to_string()),
        description: template.description,
        tags: template.tags,
        versions: versions.into_iter().map(version).collect(),
    })
}

/// What came of an import.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The template that was made.
    pub template: Template,
    /// Versions whose archives were found in this panel's object store, and checked.
    pub found: Vec<Version>,
    /// Versions whose archives have to be uploaded, each with the reason.
    pub missing: Vec<(Version, String)>,
}

/// Makes a template out of a document. Its versions come along where their archives lie in this panel's object store and are what the
/// document says; the others are named.
///
/// # Errors
/// [`Refusal::Invalid`] at `document`.
pub async fn import(ctx: &Ctx, actor: &Actor, text: &str) -> Result<Imported, Refusal> {
    manages(actor)?;
    let at_document = |message: String| {
        let mut fields = Fields::default();
        fields.add("document", message);
        Refusal::Invalid(fields)
    };
    let document: Document =
        serde_json::from_str(text).map_err(|error| at_document(format!("This is no template's document: {error}.")))?;
    if document.roost_template != FORMAT {
        return Err(at_document(format!("This document is of form {}, and this panel reads form {FORMAT}.", document.roost_template)));
    }
    let details = Details {
        name: document.name,
        kind: document.kind.as_str().to_owned(),
        game: document.game.unwrap_or_default(),
        description: document.description,
        tags: document.tags,
    };
    let checked = check(ctx, &details).map_err(|refusal| match refusal {
        Refusal::Invalid(fields) => {
            let all: Vec<String> = fields.0.iter().map(|(field, message)| format!("{field}: {message}")).collect();
            at_document(all.join(" "))
        }
        other => other,
    })?;
    let template = insert(ctx, actor, checked).await?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for version in document.versions {
        match adopt(ctx, actor, &template.id, &version).await {
            Ok(()) => found.push(version.version),
            Err(why) => missing.push((version.version, why)),
        }
    }
    Ok(Imported { template, found, missing })
}

/// Takes an archive that lies in the object store in as a version of another template: read and checked like an upload.
async fn adopt(ctx: &Ctx, actor: &Actor, id: &TemplateId, version: &DocumentVersion) -> Result<(), String> {
    let key: ObjectKey = version.object_key.parse().map_err(|_| "its archive has no usable name".to_owned())?;
    if !key.as_str().starts_with("templates/") {
        return Err("its archive does not lie among templates".to_owned());
    }
    let there = ctx.objects.get(&key, 0).await.map_err(|error| error.to_string())?;
    if there.bytes != version.bytes {
        return Err(format!("its archive has {} bytes, and should have {}", there.bytes, version.bytes));
    }
    let new = super::NewVersion { version: version.version.to_string(), note: version.note.clone() };
    let made = super::upload(ctx, actor, id, &new, there.body).await.map_err(|refusal| match refusal {
        Refusal::Invalid(fields) => fields.0.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    })?;
    if made.sha256 == version.sha256 {
        return Ok(());
    }
    super::delete_version(ctx, actor, id, &made.version).await.map_err(|refusal| refusal.to_string())?;
    Err("its archive is not the one that the document names: the checksum differs".to_owned())
}
