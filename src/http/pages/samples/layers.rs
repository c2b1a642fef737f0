//! Samples of choosing layers.

use super::{HOSTILE, LONG, NOW, frame, staff};
use crate::domain::servers::{OwnFiles, Preview};
use crate::domain::templates::{Difference, Whole};
use crate::http::pages::create::ByField;
use crate::http::pages::layers::{LayersForm, LayersPage, PreviewPart, StandingRow, WayBack};
use crate::http::pages::moments::Moment;
use crate::model::layers::{Change, Changed, LayerRef, Missing};
use crate::model::templates::{Template, TemplateKind, TemplateVersion};
use crate::model::time::{DAY, MINUTE};

fn whole(id: &str, name: &str, kind: TemplateKind, versions: &[&str]) -> Option<Whole> {
    let template = Template {
        id: id.parse().ok()?,
        name: name.to_owned(),
        kind,
        game: None,
        description: String::new(),
        tags: Vec::new(),
        created_at: NOW - DAY,
        created_by: HOSTILE.to_owned(),
    };
    let version = |version: &&str| {
        Some(TemplateVersion {
            template: template.id.clone(),
            version: version.parse().ok()?,
            sha256: [7; 32].into(),
            bytes: 1,
            unpacked: 1,
            files: 1,
            object_key: format!("templates/{id}/{version}"),
            note: String::new(),
            created_at: NOW - DAY,
            created_by: String::new(),
        })
    };
    Some(Whole { versions: versions.iter().filter_map(version).collect(), template })
}

/// Something of every kind, some with hostile names.
fn offered() -> Vec<Whole> {
    let all = [
        whole("base-java", "Base Java", TemplateKind::Master, &["1.5", "1.4.2", "1.4.1"]),
        whole("lobby", HOSTILE, TemplateKind::Gamemode, &["2"]),
        whole("valley", "Valley", TemplateKind::Map, &["7", "6"]),
        whole("long", LONG, TemplateKind::Map, &["1.0.0-a-rather-long-name-of-a-version"]),
        whole("rules", "House rules", TemplateKind::Custom, &["2026-11"]),
    ];
    all.into_iter().flatten().collect()
}

fn list(layers: &[(&str, &str)]) -> Vec<LayerRef> {
    let layer = |(template, version): &(&str, &str)| {
        Some(LayerRef { template: template.parse().ok()?, version: version.parse().ok()?, sha256: [7; 32].into(), bytes: 1 })
    };
    layers.iter().filter_map(layer).collect()
}

fn texts(layers: &[&str]) -> Vec<String> {
    layers.iter().map(|text| (*text).to_owned()).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Rows to choose from: nothing chosen yet, filled in, refused.
pub(super) fn forms() -> [LayersForm; 3] {
    let fresh = LayersForm::of(&offered(), &[], &[], &ByField::new());
    let chosen = texts(&["base-java@1.5", "valley@7", "rules@2026-11"]);
    let filled = LayersForm::of(&offered(), &chosen, &pairs(&[("SEED", "4711"), ("MOTD", "Be kind")]), &ByField::new());
    let errors = ByField::from([
        ("layers".to_owned(), format!("There is no template {HOSTILE}.")),
        ("variables".to_owned(), "PORT is given by the panel and cannot be set.".to_owned()),
    ]);
    let wrong = texts(&["base-java@1.4.1", &format!("{HOSTILE}@{LONG}")]);
    let refused = LayersForm::of(&offered(), &wrong, &pairs(&[("LOCALE", HOSTILE), (HOSTILE, HOSTILE), ("PORT", "1")]), &errors);
    [fresh, filled, refused]
}

/// What a server stands on.
pub(super) fn standing() -> Vec<StandingRow> {
    let row = |name: &str, version: &str, newer: Option<&str>| StandingRow {
        name: name.to_owned(),
        version: version.to_owned(),
        newer: newer.map(str::to_owned),
    };
    vec![row("Base Java", "1.4.2", Some("1.5")), row(HOSTILE, "2", None), row(LONG, "1.0.0-a-rather-long-name-of-a-version", Some("2"))]
}

fn preview() -> Preview {
    let change = |path: &str, what| Change { path: path.to_owned(), what };
    let mut changes = vec![
        change("config", Changed::Added),
        change("config/rules.json", Changed::Added),
        change(&format!("plugins/{HOSTILE}.jar"), Changed::Removed),
        change("plugins/spawn-1.4.2.jar", Changed::Removed),
        change("server.properties", Changed::Replaced),
    ];
    changes.extend((0..240).map(|n| change(&format!("world/region/r.{n}.{n}.mca"), Changed::Replaced)));
    Preview {
        before: list(&[("base-java", "1.4.2"), ("lobby", "2")]),
        after: list(&[("base-java", "1.5"), ("valley", "7")]),
        difference: Difference { changes, missing: vec![Missing { layer: 1, path: "server.jar".to_owned() }] },
        own_files: OwnFiles::Known(vec!["server.properties".to_owned(), HOSTILE.to_owned()]),
        variables: vec!["SEED".to_owned()],
    }
}

impl LayersPage {
    /// As it stands, after a look, refused, without a way to change it, and with nothing.
    pub fn samples() -> Vec<(&'static str, LayersPage)> {
        let [fresh, filled, refused] = forms();
        let hidden = LayersForm::hidden(&preview().after, Some(&pairs(&[("SEED", HOSTILE), ("MOTD", HOSTILE)])));
        let usual = LayersPage {
            layout: frame("/servers/x/layers"),
            id: "aaaaaaaa-mi-bbbbbb".to_owned(),
            name: "Valley of Echoes".to_owned(),
            rows: standing(),
            variables: pairs(&[("SEED", "4711"), ("MOTD", HOSTILE)]),
            waits: Some(Moment::relative(NOW - 4 * MINUTE, NOW)),
            may_restart: true,
            form: Some(filled.clone()),
            refused: false,
            newest: Some(hidden.clone()),
            back: Some(WayBack { to: "base-java 1.4.1, lobby 2".to_owned() }),
            preview: None,
        };
        let looked = LayersPage { waits: None, preview: Some(PreviewPart::of(&preview(), hidden)), ..usual.clone() };
        let asking = Preview { own_files: OwnFiles::Asked, ..preview() };
        let asking = LayersPage { preview: Some(PreviewPart::of(&asking, Vec::new())), ..looked.clone() };
        let unknown = Preview { own_files: OwnFiles::Unknown(format!("Its node is offline: {HOSTILE}.")), ..preview() };
        let unknown = LayersPage { preview: Some(PreviewPart::of(&unknown, Vec::new())), ..looked.clone() };
        let same = Preview {
            difference: Difference { changes: vec![], missing: vec![] },
            after: preview().before,
            variables: vec![],
            ..preview()
        };
        let nothing = LayersPage { waits: None, newest: None, back: None, preview: Some(PreviewPart::of(&same, vec![])), ..usual.clone() };
        let wrong = LayersPage {
            layout: staff("/servers/x/layers"),
            name: HOSTILE.to_owned(),
            form: Some(refused),
            refused: true,
            ..nothing.clone()
        };
        let looking = LayersPage { form: None, newest: None, back: None, may_restart: false, name: LONG.to_owned(), ..usual.clone() };
        let empty = LayersPage { rows: vec![], variables: vec![], form: Some(fresh), preview: None, ..nothing.clone() };
        vec![
            ("usual", usual),
            ("looked", looked),
            ("nothing", nothing),
            ("refused", wrong),
            ("looking", looking),
            ("empty", empty),
            ("asking", asking),
            ("unknown", unknown),
        ]
    }
}
