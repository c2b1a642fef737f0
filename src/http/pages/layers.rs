//! Choosing what a server is laid out of: ordered rows of templates, its variables, and what a choice would change.
//!
//! The rows are plain selects in the order of their numbers, so that they work without any script; with it they move, go and come. The
//! same part stands in the form of a new server and on `/servers/{id}/layers`.

use std::collections::BTreeSet;

use askama::Template;
use askama_web::WebTemplate;

use super::create::{ByField, LAYER_PREFIX, VARIABLE_PREFIX, VARIABLE_ROW_PREFIX};
use super::fields::Field;
use super::html_parts;
use super::layout::Layout;
use super::moments::Moment;
use super::templates::kind_word;
use crate::domain::servers::{OwnFiles, Preview, SETTABLE};
use crate::domain::templates::{Standing, Whole};
use crate::model::layers::{Changed, LAYERS_MAX, LayerRef, told};
use crate::model::templates::TemplateKind;
use crate::model::variables::{NAME_MAX, VALUE_MAX};

/// Empty rows of a form that nothing has been chosen in.
const EMPTY_AT_FIRST: usize = 3;
/// Empty rows behind the last chosen one.
const EMPTY_BEHIND: usize = 2;
/// Versions of one template that are offered, the newest ones; one that was chosen is offered all the same.
const VERSIONS_OFFERED: usize = 20;
/// Paths that are named one by one.
pub const PATHS_SHOWN: usize = 200;

/// A layer as fields say it: `template@version`.
pub fn text_of(layer: &LayerRef) -> String {
    format!("{}@{}", layer.template, layer.version)
}

/// Something to choose in a row.
#[derive(Debug, Clone)]
pub struct LayerOption {
    /// As sent.
    pub value: String,
    /// As shown.
    pub label: String,
}

/// Templates of one kind.
#[derive(Debug, Clone)]
pub struct LayerGroup {
    /// Such as `Map`.
    pub label: &'static str,
    /// By name, each with its newest version first.
    pub options: Vec<LayerOption>,
}

/// A row: which of the options is chosen; empty: none.
#[derive(Debug, Clone)]
pub struct LayerRow {
    /// Its place, from 0.
    pub place: usize,
    /// The value that is chosen.
    pub chosen: String,
}

/// A variable whose name people type.
#[derive(Debug, Clone)]
pub struct VariableRow {
    /// Its place, from 0.
    pub place: usize,
    /// As typed.
    pub name: String,
    /// As typed.
    pub value: String,
}

/// The rows and variables.
#[derive(Debug, Clone, Template)]
#[template(path = "servers/_layers.html")]
pub struct LayersForm {
    /// What there is to choose from.
    pub groups: Vec<LayerGroup>,
    /// Chosen, and no longer or never offered.
    pub others: Vec<LayerOption>,
    /// The lowest layer first.
    pub rows: Vec<LayerRow>,
    /// What is wrong with the list.
    pub error: Option<String>,
    /// Variables with names of the panel's.
    pub fixed: Vec<Field>,
    /// Variables with names of people's own.
    pub own: Vec<VariableRow>,
    /// What is wrong with the variables.
    pub variables_error: Option<String>,
}

html_parts!(LayersForm);

fn group(offered: &[Whole], kind: TemplateKind) -> Option<LayerGroup> {
    let of_kind = offered.iter().filter(|whole| whole.template.kind == kind);
    let options = of_kind.flat_map(|whole| {
        let versions = whole.versions.iter().take(VERSIONS_OFFERED).enumerate();
        versions.map(|(n, version)| LayerOption {
            value: format!("{}@{}", version.template, version.version),
            label: format!("{} {}{}", whole.template.name, version.version, if n == 0 { " (newest)" } else { "" }),
        })
    });
    let options: Vec<LayerOption> = options.collect();
    (!options.is_empty()).then(|| LayerGroup { label: kind_word(kind), options })
}

/// The option that a text means: without a version it is the newest.
fn meant(offered: &[Whole], text: &str) -> String {
    let newest = || offered.iter().find(|whole| whole.template.id.as_str() == text)?.versions.first();
    match newest() {
        Some(version) if !text.contains('@') => format!("{text}@{}", version.version),
        _ => text.to_owned(),
    }
}

impl LayersForm {
    /// The form with these layers, each `template@version`, and variables, and what is wrong with them.
    pub fn of(offered: &[Whole], layers: &[String], variables: &[(String, String)], errors: &ByField) -> LayersForm {
        let groups: Vec<LayerGroup> = TemplateKind::ALL.into_iter().filter_map(|kind| group(offered, kind)).collect();
        let chosen: Vec<String> = layers.iter().map(|text| meant(offered, text)).collect();
        let known: BTreeSet<&str> = groups.iter().flat_map(|group| &group.options).map(|option| option.value.as_str()).collect();
        let others: BTreeSet<&String> = chosen.iter().filter(|text| !known.contains(text.as_str())).collect();
        let others = others.into_iter().map(|text| LayerOption { value: text.clone(), label: text.replacen('@', " ", 1) }).collect();
        let empty = if chosen.is_empty() { EMPTY_AT_FIRST } else { EMPTY_BEHIND };
        let rows = (chosen.len() + empty).min(LAYERS_MAX.max(chosen.len()));
        let of_people: Vec<_> = variables.iter().filter(|(name, _)| !SETTABLE.contains(&name.as_str())).collect();
        let own = |place: usize| {
            let (name, value) = of_people.get(place).map(|(name, value)| (name.clone(), value.clone())).unwrap_or_default();
            VariableRow { place, name, value }
        };
        LayersForm {
            rows: (0..rows).map(|place| LayerRow { place, chosen: chosen.get(place).cloned().unwrap_or_default() }).collect(),
            groups,
            others,
            error: errors.get("layers").cloned(),
            fixed: SETTABLE.into_iter().map(|name| fixed(name, variables)).collect(),
            own: (0..of_people.len() + EMPTY_BEHIND).map(own).collect(),
            variables_error: errors.get("variables").cloned(),
        }
    }

    /// Most rows that make sense.
    pub fn most(&self) -> usize {
        LAYERS_MAX
    }

    /// Most characters of a variable's name.
    pub fn name_max(&self) -> usize {
        NAME_MAX
    }

    /// Most characters of a variable's value.
    pub fn value_max(&self) -> usize {
        VALUE_MAX
    }

    /// Names and values of hidden fields that say the same as this choice; no variables: they stay as they are.
    pub fn hidden(layers: &[LayerRef], variables: Option<&[(String, String)]>) -> Vec<(String, String)> {
        let layers = layers.iter().enumerate().map(|(place, layer)| (format!("{LAYER_PREFIX}{place}"), text_of(layer)));
        let Some(variables) = variables else { return layers.collect() };
        let value = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default();
        let fixed = SETTABLE.into_iter().map(|name| (format!("{VARIABLE_PREFIX}{name}"), value(name)));
        let own = variables.iter().filter(|(name, _)| !SETTABLE.contains(&name.as_str())).enumerate().flat_map(|(place, (name, value))| {
            [(format!("{VARIABLE_ROW_PREFIX}{place}.name"), name.clone()), (format!("{VARIABLE_ROW_PREFIX}{place}.value"), value.clone())]
        });
        layers.chain(fixed).chain(own).collect()
    }
}

fn fixed(name: &str, variables: &[(String, String)]) -> Field {
    let value = variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default();
    let (label, help) = match name {
        "SEED" => ("Seed", "What worlds grow out of. Empty: a number of its own."),
        "LOCALE" => ("Language", "Such as de-DE. Empty: en."),
        _other => ("Environment", "Such as test. Empty: prod."),
    };
    let max = u32::try_from(VALUE_MAX).unwrap_or(u32::MAX);
    Field::text(&format!("{VARIABLE_PREFIX}{name}"), label, value, max).help(format!("{help} ${{{name}}} in files."))
}

/// A layer that a server stands on.
#[derive(Debug, Clone)]
pub struct StandingRow {
    /// The template's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The newest one, where that is another.
    pub newer: Option<String>,
}

impl StandingRow {
    /// From what is known of it.
    pub fn of(standing: &Standing) -> StandingRow {
        StandingRow {
            name: standing.name.clone(),
            version: standing.layer.version.to_string(),
            newer: standing.newer.as_ref().map(ToString::to_string),
        }
    }
}

/// A path and what happens to it.
#[derive(Debug, Clone)]
pub struct PathRow {
    /// Which.
    pub path: String,
    /// `Added`, `Replaced`, `Removed`.
    pub what: &'static str,
    /// Sign before the word, for the eye.
    pub sign: char,
}

/// What a choice would change.
#[derive(Debug, Clone)]
pub struct PreviewPart {
    /// Such as `base 1 → 2, map 7 added`; may be empty.
    pub words: String,
    /// How many paths are added, replaced, removed.
    pub counts: (usize, usize, usize),
    /// The first of them.
    pub paths: Vec<PathRow>,
    /// How many more there are.
    pub more: usize,
    /// Required paths that would not be there, each with the layer that requires it.
    pub missing: Vec<(String, String)>,
    /// The server's own files that would be replaced: the first of them.
    pub own_files: Vec<String>,
    /// How many more there are.
    pub more_own: usize,
    /// Its node has been asked for them and has not answered yet.
    pub asked: bool,
    /// Why they cannot be known now.
    pub own_unknown: Option<String>,
    /// Names of variables that would change.
    pub variables: Vec<String>,
    /// Nothing would change at all.
    pub nothing: bool,
    /// Fields that take it.
    pub hidden: Vec<(String, String)>,
}

impl PreviewPart {
    /// From what was found; `hidden` are the fields that take it.
    pub fn of(preview: &Preview, hidden: Vec<(String, String)>) -> PreviewPart {
        let changes = &preview.difference.changes;
        let count = |what| changes.iter().filter(|change| change.what == what).count();
        let row = |change: &crate::model::layers::Change| {
            let (what, sign) = match change.what {
                Changed::Added => ("Added", '+'),
                Changed::Replaced => ("Replaced", '~'),
                Changed::Removed => ("Removed", '−'),
            };
            PathRow { path: change.path.clone(), what, sign }
        };
        let layer = |n: usize| preview.after.get(n).map(|layer| format!("{} {}", layer.template, layer.version)).unwrap_or_default();
        let own = match &preview.own_files {
            OwnFiles::Known(paths) => paths.as_slice(),
            OwnFiles::Asked | OwnFiles::Unknown(_) => &[],
        };
        PreviewPart {
            words: told(&preview.before, &preview.after),
            counts: (count(Changed::Added), count(Changed::Replaced), count(Changed::Removed)),
            paths: changes.iter().take(PATHS_SHOWN).map(row).collect(),
            more: changes.len().saturating_sub(PATHS_SHOWN),
            missing: preview.difference.missing.iter().map(|missing| (missing.path.clone(), layer(missing.layer))).collect(),
            own_files: own.iter().take(PATHS_SHOWN).cloned().collect(),
            more_own: own.len().saturating_sub(PATHS_SHOWN),
            asked: preview.own_files == OwnFiles::Asked,
            own_unknown: match &preview.own_files {
                OwnFiles::Unknown(why) => Some(why.clone()),
                OwnFiles::Known(_) | OwnFiles::Asked => None,
            },
            variables: preview.variables.clone(),
            nothing: preview.is_nothing(),
            hidden,
        }
    }
}

/// The way back.
#[derive(Debug, Clone)]
pub struct WayBack {
    /// What it leads to, such as `base 1, map 7`.
    pub to: String,
}

/// `/servers/{id}/layers`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "servers/layers.html")]
pub struct LayersPage {
    /// Frame.
    pub layout: Layout,
    /// Id of the server.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it stands on, the lowest first.
    pub rows: Vec<StandingRow>,
    /// Its variables, by name.
    pub variables: Vec<(String, String)>,
    /// Since when it has others than those it runs with.
    pub waits: Option<Moment>,
    /// This person may restart it, and it runs.
    pub may_restart: bool,
    /// For whoever may change it.
    pub form: Option<LayersForm>,
    /// Something was refused.
    pub refused: bool,
    /// Fields that look at the newest versions; none: it stands on them.
    pub newest: Option<Vec<(String, String)>>,
    /// The way back to the layers before the last change.
    pub back: Option<WayBack>,
    /// What was asked about.
    pub preview: Option<PreviewPart>,
}
