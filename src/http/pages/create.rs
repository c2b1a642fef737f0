//! Making a server: a game, a size, a name, what the game asks for. One page, one POST, no script needed.
//!
//! `/servers/create` shows the games; `/servers/create?game=minecraft-java` shows that game's form below them. Errors come
//! back keyed by field: `name`, `plan`, `idle_minutes`, `env.<NAME>`.

use std::collections::BTreeMap;

use askama::Template;
use askama_web::WebTemplate;

use super::fields::{Choice, Field};
use super::html_parts;
use super::layers::LayersForm;
use super::layout::{Layout, amount};
use crate::model::games::{EnvRule, EnvVar, Game, Plan};
use crate::model::money::MICRO;
use crate::model::payments::price;
use crate::model::servers::{IDLE_MINUTES_MAX, IDLE_MINUTES_MIN, NAME_MAX};

/// In front of the names of the game's own variables.
pub const ENV_PREFIX: &str = "env.";

/// In front of the names of the server's own variables.
pub const VARIABLE_PREFIX: &str = "variables.";
/// In front of the places of variables whose names people type: `variable.0.name`, `variable.0.value`.
pub const VARIABLE_ROW_PREFIX: &str = "variable.";
/// In front of the places of layers.
pub const LAYER_PREFIX: &str = "layer.";

/// What was typed or is wrong, by the name of the field.
pub type ByField = BTreeMap<String, String>;

/// `/servers/create`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "servers/create.html")]
pub struct CreatePage {
    /// Frame.
    pub layout: Layout,
    /// The catalogue.
    pub games: Vec<GameChoice>,
    /// The form of the chosen game.
    pub form: Option<CreateForm>,
}

/// A game to choose.
#[derive(Debug, Clone)]
pub struct GameChoice {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// A sentence or two.
    pub summary: String,
    /// Cheapest running hour.
    pub from: String,
    /// Chosen.
    pub chosen: bool,
}

impl GameChoice {
    /// From the catalogue.
    pub fn of(game: &Game, chosen: bool) -> GameChoice {
        GameChoice {
            id: game.id.to_string(),
            name: game.name.clone(),
            summary: game.summary.clone(),
            from: game.plans.iter().map(|plan| plan.per_hour).min().map(amount).unwrap_or_default(),
            chosen,
        }
    }
}

/// The form of one game.
#[derive(Debug, Clone)]
pub struct CreateForm {
    /// Id of the game.
    pub game: String,
    /// Its name.
    pub game_name: String,
    /// The server's name.
    pub name: Field,
    /// Sizes.
    pub plans: Vec<PlanChoice>,
    /// What is wrong with the chosen size.
    pub plan_error: Option<String>,
    /// The game's own fields.
    pub env: Vec<Field>,
    /// Sleep by itself?
    pub auto_sleep: bool,
    /// Minutes of quiet before it does.
    pub idle_minutes: Field,
    /// Where it may stand; none: there is nothing to choose.
    pub region: Option<Field>,
    /// What it is laid out of; none: there is nothing to choose from.
    pub layers: Option<LayersForm>,
    /// Servers can be paid for by the month here.
    pub months: bool,
    /// By the hour or by the month.
    pub billing: Field,
    /// How many fields were refused.
    pub refused: usize,
    /// What is wrong with the whole, such as too many servers.
    pub error: Option<String>,
    /// Why it cannot wake yet, such as no credits; it can be made all the same.
    pub warning: Option<String>,
}

/// A size to choose.
#[derive(Debug, Clone)]
pub struct PlanChoice {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// For how many players.
    pub players: String,
    /// Such as `1.5 cores`.
    pub cpu: String,
    /// Such as `2 GiB`.
    pub memory: String,
    /// Such as `10 GiB`.
    pub storage: String,
    /// Price of a running hour.
    pub per_hour: String,
    /// Price of a month: `3.00 EUR`; none: it is not sold by the month.
    pub per_month: Option<String>,
    /// Which of both is cheaper, in words; empty where there is no choice.
    pub cheaper: String,
    /// Chosen.
    pub chosen: bool,
}

impl PlanChoice {
    /// From the catalogue.
    pub fn of(plan: &Plan, currency: &str, chosen: bool) -> PlanChoice {
        PlanChoice {
            id: plan.id.to_string(),
            name: plan.name.clone(),
            players: plan.players.clone(),
            cpu: cores(plan.cpu_millis),
            memory: mebibytes(plan.memory_mib),
            storage: mebibytes(plan.storage_mib),
            per_hour: amount(plan.per_hour),
            per_month: (plan.month_cents > 0).then(|| price(plan.month_cents.into(), currency)),
            cheaper: if plan.month_cents > 0 { cheaper(plan) } else { String::new() },
            chosen,
        }
    }
}

/// From how many hours a month on the month is cheaper; a credit is worth a cent.
fn cheaper(plan: &Plan) -> String {
    let month = i64::from(plan.month_cents) * MICRO;
    match month.checked_div(plan.per_hour.0) {
        Some(hours) if hours < HOURS_OF_MONTH => format!("By the month is cheaper from {hours} hours awake a month."),
        Some(_) => "By the hour is cheaper, even round the clock.".to_owned(),
        None => String::new(),
    }
}

/// Hours of an average month.
const HOURS_OF_MONTH: i64 = 730;

/// `1 core`, `1.5 cores`, `0.25 cores`.
pub fn cores(millis: u32) -> String {
    let (whole, rest) = (millis / 1_000, millis % 1_000);
    match (whole, rest) {
        (1, 0) => "1 core".to_owned(),
        (_, 0) => format!("{whole} cores"),
        (_, _) => format!("{whole}.{} cores", format!("{rest:03}").trim_end_matches('0')),
    }
}

/// `512 MiB`, `1.5 GiB`, `2 GiB`.
pub fn mebibytes(mib: u32) -> String {
    let (whole, tenths) = (mib / 1_024, mib % 1_024 * 10 / 1_024);
    match (whole, tenths) {
        (0, _) => format!("{mib} MiB"),
        (_, 0) => format!("{whole} GiB"),
        (_, _) => format!("{whole}.{tenths} GiB"),
    }
}

impl CreateForm {
    /// The form of `game`, with prices of months in `currency`, with what was typed and what is wrong with it. An empty `typed` gives the defaults.
    pub fn of(game: &Game, currency: &str, typed: &ByField, errors: &ByField) -> CreateForm {
        let plan = typed.get("plan").cloned().unwrap_or_else(|| game.plans.first().map(|plan| plan.id.to_string()).unwrap_or_default());
        let idle = typed.get("idle_minutes").cloned().unwrap_or_else(|| "15".to_owned());
        CreateForm {
            game: game.id.to_string(),
            game_name: game.name.clone(),
            name: name_field(typed.get("name").cloned().unwrap_or_default(), errors),
            plans: game.plans.iter().map(|each| PlanChoice::of(each, currency, each.id.as_str() == plan)).collect(),
            plan_error: errors.get("plan").cloned(),
            env: env_fields(game, typed, errors),
            auto_sleep: typed.is_empty() || typed.contains_key("auto_sleep"),
            idle_minutes: idle_field(idle, errors),
            region: None,
            layers: None,
            months: false,
            billing: billing_field(typed.get("billing").map_or("hour", String::as_str), errors),
            refused: errors.len(),
            error: errors.get("").cloned(),
            warning: None,
        }
    }
}

fn billing_field(chosen: &str, errors: &ByField) -> Field {
    let choice = |value: &str, label: &str| Choice { value: value.to_owned(), label: label.to_owned(), chosen: value == chosen };
    Field::choice("billing", "How is it paid?", vec![choice("hour", "By the hour"), choice("month", "By the month")])
        .error(errors.get("billing").cloned())
        .required()
}

impl CreateForm {
    /// Numbers of the steps that are not always there: the game's fields, the layers, and the last one.
    pub fn steps(&self) -> [usize; 3] {
        let layers = if self.env.is_empty() { 4 } else { 5 };
        [4, layers, if self.layers.is_some() { layers + 1 } else { layers }]
    }

    /// Lets people choose where it stands, where there is more than one place or what was chosen is gone.
    #[must_use]
    pub fn standing_in(mut self, regions: &[String], typed: &ByField, errors: &ByField) -> CreateForm {
        let chosen = typed.get("region").map_or("", String::as_str);
        let error = errors.get("region").cloned();
        if regions.len() > 1 || !chosen.is_empty() || error.is_some() {
            let choice = |region: &String| Choice { label: region.clone(), chosen: region == chosen, value: region.clone() };
            let mut choices =
                vec![Choice { label: "Wherever there is most room".to_owned(), chosen: chosen.is_empty(), value: String::new() }];
            choices.extend(regions.iter().map(choice));
            let field = Field::choice("region", "Region", choices).help("Near its players, it answers faster. It stays there.");
            self.region = Some(field.error(error));
        }
        self
    }
}

/// The server's name.
pub fn name_field(value: String, errors: &ByField) -> Field {
    let max = u32::try_from(NAME_MAX).unwrap_or(u32::MAX);
    Field::text("name", "Name", value, max)
        .help("As players will see it. You can change it later.")
        .error(errors.get("name").cloned())
        .required()
}

/// Minutes of quiet before it sleeps.
pub fn idle_field(value: String, errors: &ByField) -> Field {
    Field::number("idle_minutes", "After how much quiet", value, IDLE_MINUTES_MIN.into(), IDLE_MINUTES_MAX.into(), "minutes")
        .help("Quiet is when nobody is connected and the game has nothing to compute.")
        .error(errors.get("idle_minutes").cloned())
        .required()
}

/// The game's editable variables, in the order of the catalogue. Secrets come back empty.
pub fn env_fields(game: &Game, typed: &ByField, errors: &ByField) -> Vec<Field> {
    let editable = game.env.iter().filter(|var| var.editable);
    editable
        .map(|var| {
            let name = format!("{ENV_PREFIX}{}", var.name);
            let value = typed.get(&name).unwrap_or(&var.default).clone();
            env_field(var, &name, value).error(errors.get(&name).cloned())
        })
        .collect()
}

fn env_field(var: &EnvVar, name: &str, value: String) -> Field {
    let field = match &var.rule {
        EnvRule::Text { .. } | EnvRule::Word { .. } if var.secret => Field::password(name, &var.label, "new-password"),
        EnvRule::Text { max } | EnvRule::Word { max, .. } => Field::text(name, &var.label, value, *max),
        EnvRule::Integer { min, max } => Field::number(name, &var.label, value, *min, *max, ""),
        EnvRule::Choice { options } => {
            let choice = |option: &String| Choice { label: option_word(option), chosen: *option == value, value: option.clone() };
            Field::choice(name, &var.label, options.iter().map(choice).collect())
        }
    };
    let field = field.help(var.help.clone());
    if var.required { field.required() } else { field }
}

/// Games write yes and no in their own ways; people read words.
fn option_word(option: &str) -> String {
    match option.to_ascii_lowercase().as_str() {
        "true" => "Yes".to_owned(),
        "false" => "No".to_owned(),
        "" => "None".to_owned(),
        _other => option.to_owned(),
    }
}

/// A short form for the reader: what a game's settings look like on the server's page.
#[derive(Debug, Clone, Template)]
#[template(path = "_auto_sleep.html")]
pub struct AutoSleep {
    /// Sleep by itself?
    pub on: bool,
    /// Minutes of quiet before it does.
    pub idle_minutes: Field,
}

html_parts!(AutoSleep);
