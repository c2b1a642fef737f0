//! What the panel earns, by month and game.

use std::collections::BTreeSet;

use askama::Template;
use askama_web::WebTemplate;

use super::html_parts;
use super::layout::{Layout, amount};
use crate::domain::games::Catalogue;
use crate::domain::reports::{Month, Report, Totals};
use crate::model::ids::GameId;
use crate::model::money::Credits;

/// Height of the drawing of a chart in its own units.
const HEIGHT: i64 = 80;
/// From one month to the next in the drawing.
const STEP: i64 = 30;

/// `/admin/reports`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "admin/reports.html")]
pub struct ReportsPage {
    /// Frame.
    pub layout: Layout,
    /// What accounts hold.
    pub held: String,
    /// What accounts owe.
    pub owed: String,
    /// Sold and used.
    pub charts: Vec<Bars>,
    /// Columns by month.
    pub heads: Vec<&'static str>,
    /// Newest first.
    pub rows: Vec<(String, Vec<String>)>,
    /// Games that anything was used for.
    pub games: Vec<String>,
    /// Newest first.
    pub game_rows: Vec<(String, Vec<String>)>,
}

/// One quantity by month.
#[derive(Debug, Clone, Template)]
#[template(path = "_bars.html")]
pub struct Bars {
    /// What it is.
    pub title: &'static str,
    /// This month's.
    pub now: String,
    /// What the top edge stands for.
    pub top: String,
    /// The whole as a sentence.
    pub alt: String,
    /// Left edge, top edge and height of each.
    pub bars: Vec<(i64, i64, i64)>,
    /// First and last month.
    pub axis: [String; 2],
}

html_parts!(Bars);

/// A column by month: its head, and its value.
pub type Column = (&'static str, fn(&Totals) -> Credits);

/// The columns by month.
pub const COLUMNS: [Column; 6] = [
    ("Income", Totals::income),
    ("Months", |totals| totals.months),
    ("Sold", |totals| totals.sold),
    ("Taken back", |totals| totals.taken_back),
    ("Granted", |totals| totals.granted),
    ("Used", |totals| totals.used),
];

impl Bars {
    fn of((title, value): Column, months: &[(Month, Totals)]) -> Bars {
        let values: Vec<i64> = months.iter().rev().map(|(_, totals)| value(totals).0.max(0)).collect();
        let most = values.iter().copied().max().unwrap_or(0).max(1);
        let bar = |(n, value): (usize, &i64)| {
            let height = i64::try_from(i128::from(*value) * i128::from(HEIGHT) / i128::from(most)).unwrap_or(HEIGHT);
            (i64::try_from(n).unwrap_or(0) * STEP + 4, HEIGHT - height, height)
        };
        let now = amount(Credits(values.last().copied().unwrap_or(0)));
        let name = |month: Option<&(Month, Totals)>| month.map(|(month, _)| month.to_string()).unwrap_or_default();
        Bars {
            title,
            alt: format!("{title} over twelve months: at most {} in a month, {now} this month.", amount(Credits(most))),
            top: amount(Credits(most)),
            bars: values.iter().enumerate().map(bar).collect(),
            axis: [name(months.last()), name(months.first())],
            now,
        }
    }
}

/// Every game that something was used or paid for.
pub fn games(report: &Report) -> Vec<Option<GameId>> {
    let keys = |totals: &Totals| totals.used_by_game.keys().chain(totals.months_by_game.keys()).cloned().collect::<Vec<_>>();
    let all: BTreeSet<Option<GameId>> = report.months.iter().flat_map(|(_, totals)| keys(totals)).collect();
    all.into_iter().collect()
}

/// What was used of a game by the hour, and paid for it by the month.
pub fn of_game(totals: &Totals, game: &Option<GameId>) -> (Credits, Credits) {
    let of = |map: &std::collections::BTreeMap<Option<GameId>, Credits>| map.get(game).copied().unwrap_or_default();
    (of(&totals.used_by_game), of(&totals.months_by_game))
}

/// As people call it.
pub fn game_name(game: Option<&GameId>, catalogue: &Catalogue) -> String {
    game.map_or_else(|| "gone".to_owned(), |game| catalogue.game(game).map_or_else(|| game.to_string(), |found| found.name.clone()))
}

impl ReportsPage {
    /// From a report.
    pub fn of(layout: Layout, report: &Report, catalogue: &Catalogue) -> ReportsPage {
        let row = |(month, totals): &(Month, Totals)| {
            (month.to_string(), COLUMNS.iter().map(|(_, value)| amount(value(totals))).collect::<Vec<_>>())
        };
        let games = games(report);
        let of_games = |(month, totals): &(Month, Totals)| {
            let used = |game: &Option<GameId>| {
                let (used, months) = of_game(totals, game);
                amount(used + months)
            };
            (month.to_string(), games.iter().map(used).collect::<Vec<_>>())
        };
        ReportsPage {
            layout,
            held: amount(report.held),
            owed: amount(report.owed),
            charts: [COLUMNS[0], COLUMNS[5]].map(|column| Bars::of(column, &report.months)).into(),
            heads: COLUMNS.map(|(head, _)| head).into(),
            rows: report.months.iter().map(row).collect(),
            games: games.iter().map(|game| game_name(game.as_ref(), catalogue)).collect(),
            game_rows: report.months.iter().map(of_games).collect(),
        }
    }
}
