//! Samples of the pages of templates.

use super::{HOSTILE, LONG, NOW, frame, staff};
use crate::http::pages::moments::Moment;
use crate::http::pages::templates::{
    DetailsForm, DetailsValues, FileRow, TemplatePage, TemplateRow, TemplatesPage, UploadForm, VersionPage, VersionRow,
};
use crate::model::time::{DAY, HOUR, MINUTE};

fn row(id: &str, name: &str, kind: &'static str, servers: u32) -> TemplateRow {
    TemplateRow {
        id: id.to_owned(),
        name: name.to_owned(),
        kind,
        game: (kind == "Map").then(|| "Minecraft Java".to_owned()),
        tags: vec!["pvp".to_owned(), HOSTILE.to_owned()],
        newest: (servers > 0).then(|| "1.4.2".to_owned()),
        versions: servers.min(3) as usize,
        servers,
        changed: Moment::relative(NOW - 3 * HOUR, NOW),
    }
}

fn version(name: &str, servers: u32, ago: i64, note: &str) -> VersionRow {
    VersionRow {
        version: name.to_owned(),
        sha256: ("9f86d081884c7d65".to_owned(), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned()),
        size: ("214 MB".to_owned(), "1.2 GB".to_owned()),
        files: 20_112,
        object_key: format!("templates/lobby/{name}-1795183512000-0badcafe.tar"),
        servers,
        note: note.to_owned(),
        came: Moment::relative(NOW - ago, NOW),
        by: "grace@example.org".to_owned(),
    }
}

fn form(values: &DetailsValues, error: Option<&str>) -> DetailsForm {
    DetailsForm::of(values, std::iter::empty(), |field| error.filter(|_| field == "name").map(str::to_owned))
}

impl TemplatesPage {
    /// Full, empty for a viewer, and refused.
    pub fn samples() -> Vec<(&'static str, TemplatesPage)> {
        let rows = vec![
            row("base-java", "Base Java", "Master", 12),
            row("lobby", HOSTILE, "Game mode", 3),
            row("valley", LONG, "Map", 1),
            row("new", "New", "Custom", 0),
        ];
        let empty = DetailsValues::default();
        let usual = TemplatesPage { layout: frame("/templates"), rows, form: Some(form(&empty, None)), import_error: None };
        let viewer = TemplatesPage { rows: Vec::new(), form: None, ..usual.clone() };
        let refused = TemplatesPage {
            layout: staff("/templates"),
            form: Some(form(&DetailsValues { name: HOSTILE.to_owned(), ..empty }, Some("Give the template a name."))),
            import_error: Some(format!("This is no template's document: {HOSTILE}.")),
            ..usual.clone()
        };
        vec![("usual", usual), ("viewer", viewer), ("refused", refused)]
    }
}

impl TemplatePage {
    /// With versions, without, and with a refused archive.
    pub fn samples() -> Vec<(&'static str, TemplatePage)> {
        let values = DetailsValues {
            name: "Lobby".to_owned(),
            kind: "gamemode".to_owned(),
            tags: "pvp, spawn".to_owned(),
            ..DetailsValues::default()
        };
        let usual = TemplatePage {
            layout: frame("/templates/lobby"),
            template: row("lobby", "Lobby", "Game mode", 3),
            description: "Where everybody meets.\nThe portals lead to the other worlds.".to_owned(),
            made_by: HOSTILE.to_owned(),
            made: Moment::relative(NOW - 40 * DAY, NOW),
            versions: vec![
                version("1.4.2", 2, 5 * MINUTE, "The new portals."),
                version("1.4.1", 1, DAY, HOSTILE),
                version("1.0", 0, 40 * DAY, ""),
            ],
            form: Some(form(&values, None)),
            upload: Some(UploadForm::of("", "", |_| None)),
        };
        let fresh =
            TemplatePage { template: row("new", "New", "Custom", 0), description: String::new(), versions: Vec::new(), ..usual.clone() };
        let refused = TemplatePage {
            upload: Some(UploadForm::of("1.5", HOSTILE, |field| (field == "file").then(|| format!("\"../{HOSTILE}\" contains \"..\".")))),
            ..usual.clone()
        };
        vec![("usual", usual), ("new", fresh), ("refused", refused)]
    }
}

impl VersionPage {
    /// In use, and free with nothing found.
    pub fn samples() -> Vec<(&'static str, VersionPage)> {
        let file = |path: &str, what: &str, mode: &str| FileRow { path: path.to_owned(), what: what.to_owned(), mode: mode.to_owned() };
        let used = VersionPage {
            layout: frame("/templates/lobby/versions/1.4.2"),
            template: ("lobby".to_owned(), "Lobby".to_owned()),
            version: version("1.4.2", 2, 5 * MINUTE, "The new portals."),
            servers: vec!["aaaaaaaa-mi-bbbbbb".to_owned(), "aaaaaaaa-mi-cccccc".to_owned()],
            clean: vec!["plugins/old".to_owned()],
            required: vec!["server.properties".to_owned()],
            files: vec![
                file("plugins/", "", "rwxr-xr-x"),
                file(&format!("plugins/{HOSTILE}.jar"), "4.2 MB", "rw-r--r--"),
                file("server.properties", "1.1 KB", "rw-r--r--"),
                file("start", "→ bin/start", ""),
            ],
            more: 19_612,
            search: String::new(),
            may_delete: true,
        };
        let free = VersionPage {
            version: version("1.0", 0, 40 * DAY, ""),
            servers: Vec::new(),
            files: Vec::new(),
            more: 0,
            search: HOSTILE.to_owned(),
            ..used.clone()
        };
        vec![("used", used), ("free", free)]
    }
}
