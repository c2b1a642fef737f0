//! A server's page: what it does, how to join, its log, its numbers, its history, its settings, its end.

use askama::Template;
use askama_web::WebTemplate;

use super::backups::BackupsPart;
use super::create::{AutoSleep, ByField, ENV_PREFIX, env_fields, idle_field, name_field};
use super::fields::Field;
use super::layers::StandingRow;
use super::layout::Layout;
use super::live::{EventRows, LogLines, ServerHead, ServerStats};
use super::moments::Moment;
use super::months::MonthPart;
use crate::model::games::Game;
use crate::model::servers::{NAME_MAX, Server};

/// `/servers/{id}`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "servers/detail.html")]
pub struct ServerPage {
    /// Frame.
    pub layout: Layout,
    /// Phase and actions.
    pub head: ServerHead,
    /// Numbers.
    pub stats: ServerStats,
    /// The last lines.
    pub log: LogLines,
    /// This person may send lines to the game.
    pub may_type: bool,
    /// History.
    pub events: EventRows,
    /// What it is laid out of; none: nothing, and there is nothing to choose from.
    pub layers: Option<LayersPart>,
    /// Its backups.
    pub backups: BackupsPart,
    /// This person may share it with others.
    pub may_share: bool,
    /// Id of the visitor's account, where they are a guest who may leave.
    pub leave: Option<String>,
    /// By the month; none: nothing is sold here.
    pub month: Option<MonthPart>,
    /// For whoever may change it.
    pub settings: Option<SettingsForm>,
    /// For whoever may delete it.
    pub delete: Option<DeleteForm>,
}

/// What it is laid out of.
#[derive(Debug, Clone)]
pub struct LayersPart {
    /// The lowest first.
    pub rows: Vec<StandingRow>,
    /// Since when it has others than those it runs with.
    pub waits: Option<Moment>,
    /// This person may choose others.
    pub may_change: bool,
}

/// What can be changed: posted to `/servers/{id}/settings`.
#[derive(Debug, Clone)]
pub struct SettingsForm {
    /// The server's name.
    pub name: Field,
    /// Sleep by itself, and when.
    pub auto_sleep: AutoSleep,
    /// The game's own fields.
    pub env: Vec<Field>,
    /// Something was refused: the form is open.
    pub refused: bool,
}

impl SettingsForm {
    /// The form as it stands; `typed` and `errors` where it was refused, keyed as in [`super::create`].
    pub fn of(server: &Server, game: &Game, typed: Option<&ByField>, errors: &ByField) -> SettingsForm {
        let stored: ByField = server.env.iter().map(|(name, value)| (format!("{ENV_PREFIX}{name}"), value.clone())).collect();
        let values = typed.unwrap_or(&stored);
        let value = |name: &str, stored: String| typed.and_then(|typed| typed.get(name).cloned()).unwrap_or(stored);
        let on = typed.map_or(server.auto_sleep, |typed| typed.contains_key("auto_sleep"));
        SettingsForm {
            name: name_field(value("name", server.name.clone()), errors),
            auto_sleep: AutoSleep { on, idle_minutes: idle_field(value("idle_minutes", server.idle_minutes.to_string()), errors) },
            env: env_fields(game, values, errors),
            refused: !errors.is_empty(),
        }
    }
}

/// The end of a server: posted to `/servers/{id}/delete` with its name in `confirm`.
#[derive(Debug, Clone)]
pub struct DeleteForm {
    /// What will be lost, one phrase each.
    pub loses: Vec<String>,
    /// Its name, to be typed.
    pub confirm: Field,
}

impl DeleteForm {
    /// What is lost, and what was wrong with the name that was typed.
    pub fn of(loses: Vec<String>, typed: &str, error: Option<String>) -> DeleteForm {
        let max = u32::try_from(NAME_MAX).unwrap_or(u32::MAX);
        let confirm = Field::text("confirm", "Type the server’s name to delete it", typed, max).error(error).required();
        DeleteForm { loses, confirm }
    }
}

/// `/servers/{id}/logs`: the log without any script.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "servers/logs.html")]
pub struct LogPage {
    /// Frame.
    pub layout: Layout,
    /// Id of the server.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The last lines.
    pub log: LogLines,
    /// Why there are none, where there are none.
    pub why_empty: String,
}
