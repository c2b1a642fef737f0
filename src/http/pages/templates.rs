//! Templates, for operators: a dense list, a page for each with its versions, and what a version holds.

use askama::Template;
use askama_web::WebTemplate;

use super::fields::{Choice, Field};
use super::layout::Layout;
use super::moments::Moment;
use crate::domain::templates::{Uses, Whole};
use crate::model::games::Game;
use crate::model::templates::{Entry, Kind, TemplateKind, TemplateVersion};
use crate::model::time::Millis;

/// `/templates`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "templates/list.html")]
pub struct TemplatesPage {
    /// Frame.
    pub layout: Layout,
    /// By name.
    pub rows: Vec<TemplateRow>,
    /// For those who may make one: posted to `/templates`.
    pub form: Option<DetailsForm>,
    /// Posted to `/templates/import`; what is wrong with what was sent.
    pub import_error: Option<String>,
}

/// A template in the list.
#[derive(Debug, Clone)]
pub struct TemplateRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `Master`, `Game mode`, `Map`, `Custom`.
    pub kind: &'static str,
    /// Only for this game; none: for all.
    pub game: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The newest version; none: there is none yet.
    pub newest: Option<String>,
    /// How many versions.
    pub versions: usize,
    /// How many servers stand on one of them.
    pub servers: u32,
    /// When the newest came.
    pub changed: Moment,
}

/// A kind in words.
pub fn kind_word(kind: TemplateKind) -> &'static str {
    match kind {
        TemplateKind::Master => "Master",
        TemplateKind::Gamemode => "Game mode",
        TemplateKind::Map => "Map",
        TemplateKind::Custom => "Custom",
    }
}

impl TemplateRow {
    /// From what the domain gives.
    pub fn of(whole: &Whole, uses: &Uses, game: Option<String>, now: Millis) -> TemplateRow {
        let newest = whole.versions.first();
        let servers = whole.versions.iter().filter_map(|version| uses.get(&(version.template.clone(), version.version.clone())));
        TemplateRow {
            id: whole.template.id.to_string(),
            name: whole.template.name.clone(),
            kind: kind_word(whole.template.kind),
            game,
            tags: whole.template.tags.clone(),
            newest: newest.map(|version| version.version.to_string()),
            versions: whole.versions.len(),
            servers: servers.sum(),
            changed: Moment::relative(newest.map_or(whole.template.created_at, |version| version.created_at), now),
        }
    }
}

/// What is said of a template, as a form.
#[derive(Debug, Clone)]
pub struct DetailsForm {
    /// Its name.
    pub name: Field,
    /// What part of a server it is.
    pub kind: Field,
    /// For which game.
    pub game: Field,
    /// What it brings.
    pub description: Field,
    /// Words to find it by, with commas between them.
    pub tags: Field,
}

/// What is in a form of details and what is wrong with it, by field.
#[derive(Debug, Clone, Default)]
pub struct DetailsValues {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// Game.
    pub game: String,
    /// Description.
    pub description: String,
    /// Tags, with commas between them.
    pub tags: String,
}

impl DetailsForm {
    /// With what was typed and what is wrong with it.
    pub fn of<'a>(values: &DetailsValues, games: impl Iterator<Item = &'a Game>, error: impl Fn(&str) -> Option<String>) -> DetailsForm {
        let kind = |kind: TemplateKind| Choice {
            value: kind.as_str().to_owned(),
            label: kind_word(kind).to_owned(),
            chosen: values.kind == kind.as_str() || (values.kind.is_empty() && kind == TemplateKind::Master),
        };
        let mut for_game = vec![Choice { value: String::new(), label: "Every game".to_owned(), chosen: values.game.is_empty() }];
        for_game.extend(games.map(|game| Choice {
            value: game.id.to_string(),
            label: game.name.clone(),
            chosen: game.id.as_str() == values.game,
        }));
        DetailsForm {
            name: Field::text("name", "Name", values.name.as_str(), 60).error(error("name")).required(),
            kind: Field::choice("kind", "Kind", TemplateKind::ALL.into_iter().map(kind).collect()).error(error("kind")).required(),
            game: Field::choice("game", "For", for_game).error(error("game")),
            description: Field::text("description", "What it brings", values.description.as_str(), 2_000).error(error("description")),
            tags: Field::text("tags", "Tags", values.tags.as_str(), 700).help("With commas between them.").error(error("tags")),
        }
    }
}

/// `/templates/{id}`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "templates/detail.html")]
pub struct TemplatePage {
    /// Frame.
    pub layout: Layout,
    /// As in the list.
    pub template: TemplateRow,
    /// What it brings.
    pub description: String,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made: Moment,
    /// Newest first.
    pub versions: Vec<VersionRow>,
    /// For those who may change it: posted to `/templates/{id}`.
    pub form: Option<DetailsForm>,
    /// For those who may change it: posted to `/templates/{id}/versions`.
    pub upload: Option<UploadForm>,
}

/// A version in the list.
#[derive(Debug, Clone)]
pub struct VersionRow {
    /// Its name.
    pub version: String,
    /// First digits of its checksum, and all of them.
    pub sha256: (String, String),
    /// Of the archive, and unpacked.
    pub size: (String, String),
    /// How many files.
    pub files: u32,
    /// Where it lies in the object store.
    pub object_key: String,
    /// How many servers stand on it.
    pub servers: u32,
    /// What is new.
    pub note: String,
    /// When it came.
    pub came: Moment,
    /// Who brought it.
    pub by: String,
}

/// `0 B`, `12.3 KB`, `1.2 GB`: as file managers count, in thousands.
pub fn bytes(bytes: u64) -> String {
    let (mut whole, mut tenths, mut unit) = (bytes, 0, "B");
    for next in ["KB", "MB", "GB", "TB"] {
        if whole < 1_000 {
            break;
        }
        (whole, tenths, unit) = (whole / 1_000, whole % 1_000 / 100, next);
    }
    if tenths == 0 || whole >= 100 { format!("{whole} {unit}") } else { format!("{whole}.{tenths} {unit}") }
}

impl VersionRow {
    /// From what the domain gives.
    pub fn of(version: &TemplateVersion, servers: u32, now: Millis) -> VersionRow {
        VersionRow {
            version: version.version.to_string(),
            sha256: (version.sha256.short(), version.sha256.to_string()),
            size: (bytes(version.bytes), bytes(version.unpacked)),
            files: version.files,
            object_key: version.object_key.clone(),
            servers,
            note: version.note.clone(),
            came: Moment::relative(version.created_at, now),
            by: version.created_by.clone(),
        }
    }
}

/// A new version.
#[derive(Debug, Clone)]
pub struct UploadForm {
    /// Its name.
    pub version: Field,
    /// What is new in it.
    pub note: Field,
    /// What is wrong with the archive.
    pub file_error: Option<String>,
}

impl UploadForm {
    /// With what was typed and what is wrong with it.
    pub fn of(version: &str, note: &str, error: impl Fn(&str) -> Option<String>) -> UploadForm {
        let field = Field::text("version", "Name of the version", version, 40).help("Such as 1.4.2. It cannot be changed later.");
        UploadForm {
            version: field.error(error("version")).required(),
            note: Field::text("note", "What is new", note, 500).error(error("note")),
            file_error: error("file"),
        }
    }
}

/// Files of a version that are shown at once.
pub const FILES_SHOWN: usize = 500;

/// `/templates/{id}/versions/{version}`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "templates/version.html")]
pub struct VersionPage {
    /// Frame.
    pub layout: Layout,
    /// Of which template: id and name.
    pub template: (String, String),
    /// As in the list.
    pub version: VersionRow,
    /// Servers that stand on it, the first of them: ids.
    pub servers: Vec<String>,
    /// Paths that it removes from the layers below.
    pub clean: Vec<String>,
    /// Paths that it needs from other layers.
    pub required: Vec<String>,
    /// The first [`FILES_SHOWN`] whose path holds what was looked for.
    pub files: Vec<FileRow>,
    /// How many more there are.
    pub more: usize,
    /// What was looked for.
    pub search: String,
    /// May it be deleted by whoever looks?
    pub may_delete: bool,
}

/// A file, folder or link.
#[derive(Debug, Clone)]
pub struct FileRow {
    /// From the root.
    pub path: String,
    /// Size of a file, target of a link, nothing for a folder.
    pub what: String,
    /// Such as `rw-r--r--`.
    pub mode: String,
}

impl FileRow {
    /// From an entry.
    pub fn of(entry: &Entry) -> FileRow {
        let bit = |bit: u32, letter: char| if entry.mode & bit == 0 { '-' } else { letter };
        let mode = [8, 7, 6, 5, 4, 3, 2, 1, 0].into_iter().map(|shift| bit(1 << shift, ['x', 'w', 'r'][shift % 3])).collect();
        let (path, what, mode) = match &entry.kind {
            Kind::File { size, .. } => (entry.path.clone(), bytes(*size), mode),
            Kind::Folder => (format!("{}/", entry.path), String::new(), mode),
            Kind::Link { target } => (entry.path.clone(), format!("→ {target}"), String::new()),
        };
        FileRow { path, what, mode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_file_managers_write_them() {
        let table = [(0, "0 B"), (999, "999 B"), (1_000, "1 KB"), (1_234, "1.2 KB"), (345_678, "345 KB"), (2_500_000_000, "2.5 GB")];
        for (size, text) in table {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn modes_read_as_they_are_listed() {
        let entry = Entry { path: "a".to_owned(), kind: Kind::Folder, mode: 0o754 };
        let row = FileRow::of(&entry);
        assert_eq!((row.path.as_str(), row.mode.as_str()), ("a/", "rwxr-xr--"));
    }
}
