//! Everybody's servers, for operators: one dense table that sorts, filters and keeps its place, all of it in its address.

use askama::Template;
use askama_web::WebTemplate;

use super::billing::Pager;
use super::fields::Choice;
use super::layout::Layout;
use super::moments::Moment;
use super::phases::PhaseView;
use crate::domain::games::Catalogue;
use crate::domain::servers::{Line, Lines, Question, Sort};
use crate::model::ids::{GameId, NodeId};
use crate::model::nodes::Node;
use crate::model::servers::{Phase, Wanted};
use crate::model::time::Millis;

/// Where the list lives.
const PATH: &str = "/admin/servers";

/// `/admin/servers`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "admin/servers.html")]
pub struct AllServersPage {
    /// Frame.
    pub layout: Layout,
    /// What is searched for.
    pub search: String,
    /// What narrows the list.
    pub filters: Vec<Filter>,
    /// The order, carried along by the form: names and values.
    pub carried: Vec<(&'static str, &'static str)>,
    /// Something is searched or filtered.
    pub narrowed: bool,
    /// Heads of the columns.
    pub heads: Vec<Head>,
    /// The rows of this page.
    pub rows: Vec<ServerRow>,
    /// To the pages beside this one.
    pub pager: Pager,
}

/// A choice that narrows the list.
#[derive(Debug, Clone)]
pub struct Filter {
    /// In the address.
    pub name: &'static str,
    /// Beside it.
    pub label: &'static str,
    /// What can be chosen, nothing first.
    pub options: Vec<Choice>,
}

/// The head of a column.
#[derive(Debug, Clone)]
pub struct Head {
    /// What stands below.
    pub words: Vec<HeadWord>,
    /// `ascending` or `descending`, where the list is sorted by it.
    pub sorted: Option<&'static str>,
    /// Below stand numbers.
    pub numbers: bool,
}

/// What stands in a column: one or two things.
#[derive(Debug, Clone)]
pub struct HeadWord {
    /// What it is.
    pub word: &'static str,
    /// Sorts by it, or the other way round; none: it cannot be sorted by.
    pub href: Option<String>,
    /// The list is sorted by it.
    pub by: bool,
}

/// A server.
#[derive(Debug, Clone)]
pub struct ServerRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its owner's address.
    pub owner: String,
    /// The list of all that this owner has.
    pub of_owner: String,
    /// Name of the game.
    pub game: String,
    /// Name of the plan.
    pub plan: String,
    /// Id and name of its node.
    pub node: (String, String),
    /// What it does.
    pub phase: PhaseView,
    /// How long it has.
    pub since: Moment,
    /// How long it has answered; none: it does not.
    pub up: Option<Moment>,
    /// Layers that it is laid out of.
    pub layers: usize,
    /// When it was made.
    pub made: Moment,
}

/// The address of a list, with a place in it where one is given.
fn address(question: &Question, place: Option<&(&'static str, String)>) -> String {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    pairs.extend((!question.search.is_empty()).then_some(("q", question.search.as_str())));
    pairs.extend(question.phase.map(|phase| ("phase", phase.as_str())));
    pairs.extend(question.node.as_ref().map(|node| ("node", node.as_str())));
    pairs.extend(question.game.as_ref().map(|game| ("game", game.as_str())));
    pairs.extend(carried(question));
    pairs.extend(place.map(|(name, text)| (*name, text.as_str())));
    let query = serde_urlencoded::to_string(&pairs).unwrap_or_default();
    if query.is_empty() { PATH.to_owned() } else { format!("{PATH}?{query}") }
}

/// The order, where it is not the usual one.
fn carried(question: &Question) -> Vec<(&'static str, &'static str)> {
    let usual = Question::default();
    if (question.sort, question.down) == (usual.sort, usual.down) {
        Vec::new()
    } else {
        vec![("sort", question.sort.as_str()), ("order", if question.down { "down" } else { "up" })]
    }
}

/// The first click on a head sorts so.
fn first_down(sort: Sort) -> bool {
    match sort {
        Sort::Made => true,
        Sort::Name | Sort::Owner | Sort::Game | Sort::Plan | Sort::Node | Sort::Phase | Sort::Since => false,
    }
}

fn heads(question: &Question) -> Vec<Head> {
    let columns: [&[(&'static str, Option<Sort>)]; 8] = [
        &[("Server", Some(Sort::Name))],
        &[("State", Some(Sort::Phase)), ("Since", Some(Sort::Since))],
        &[("Uptime", None)],
        &[("Owner", Some(Sort::Owner))],
        &[("Game", Some(Sort::Game)), ("Plan", Some(Sort::Plan))],
        &[("Node", Some(Sort::Node))],
        &[("Layers", None)],
        &[("Made", Some(Sort::Made))],
    ];
    let word = |(word, sort): &(&'static str, Option<Sort>)| {
        let by = *sort == Some(question.sort);
        let next = sort.map(|sort| Question { sort, down: if by { !question.down } else { first_down(sort) }, ..question.clone() });
        HeadWord { word, href: next.map(|next| address(&next, None)), by }
    };
    let head = |column: &[(&'static str, Option<Sort>)]| {
        let words: Vec<HeadWord> = column.iter().map(word).collect();
        let sorted = words.iter().any(|word| word.by).then_some(if question.down { "descending" } else { "ascending" });
        Head { numbers: words.iter().any(|word| word.word == "Layers"), words, sorted }
    };
    columns.into_iter().map(head).collect()
}

fn filter(name: &'static str, label: &'static str, all: &str, chosen: Option<&str>, options: Vec<(String, String)>) -> Filter {
    let mut choices = vec![Choice { value: String::new(), label: all.to_owned(), chosen: chosen.is_none() }];
    let known = options.iter().any(|(value, _)| Some(value.as_str()) == chosen);
    // What an address asks for and nobody knows is shown as it stands there.
    let odd = chosen.filter(|_| !known).map(|value| (value.to_owned(), value.to_owned()));
    let choice = |(value, label): (String, String)| Choice { chosen: Some(value.as_str()) == chosen, value, label };
    choices.extend(options.into_iter().chain(odd).map(choice));
    Filter { name, label, options: choices }
}

fn filters(question: &Question, games: &Catalogue, nodes: &[Node]) -> Vec<Filter> {
    let phases = Phase::ALL.into_iter().filter(|phase| *phase != Phase::Destroyed);
    let phases = phases.map(|phase| (phase.as_str().to_owned(), PhaseView::of(phase, Wanted::Stopped).word.to_owned()));
    let nodes = nodes.iter().map(|node| (node.id.to_string(), node.called().to_owned()));
    let games = games.all().iter().map(|game| (game.id.to_string(), game.name.clone()));
    vec![
        filter("phase", "State", "Every state", question.phase.map(Phase::as_str), phases.collect()),
        filter("node", "Node", "Every node", question.node.as_ref().map(NodeId::as_str), nodes.collect()),
        filter("game", "Game", "Every game", question.game.as_ref().map(GameId::as_str), games.collect()),
    ]
}

impl ServerRow {
    /// From a row of the list.
    pub fn of(line: &Line, games: &Catalogue, nodes: &[Node], now: Millis) -> ServerRow {
        let game = games.game(&line.game);
        let plan = game.and_then(|game| game.plans.iter().find(|plan| plan.id == line.plan));
        let node = nodes.iter().find(|node| node.id == line.node).map_or_else(|| line.node.to_string(), |node| node.called().to_owned());
        ServerRow {
            id: line.id.to_string(),
            name: line.name.clone(),
            owner: line.owner.clone(),
            of_owner: address(&Question { search: line.owner.clone(), ..Question::default() }, None),
            game: game.map_or_else(|| line.game.to_string(), |game| game.name.clone()),
            plan: plan.map_or_else(|| line.plan.to_string(), |plan| plan.name.clone()),
            node: (line.node.to_string(), node),
            phase: PhaseView::of(line.phase, line.wanted),
            since: Moment::lasting(line.phase_since, now),
            up: line.up_since.map(|since| Moment::lasting(since, now)),
            layers: line.layers,
            made: Moment::relative(line.created_at, now),
        }
    }
}

impl AllServersPage {
    /// A page of the list.
    pub fn of(layout: Layout, question: &Question, found: &Lines, games: &Catalogue, nodes: &[Node], now: Millis) -> AllServersPage {
        let place = |name: &'static str, cursor: &crate::domain::servers::Cursor| address(question, Some(&(name, cursor.text())));
        AllServersPage {
            layout,
            search: question.search.clone(),
            filters: filters(question, games, nodes),
            carried: carried(question),
            narrowed: !question.search.is_empty() || question.phase.is_some() || question.node.is_some() || question.game.is_some(),
            heads: heads(question),
            rows: found.lines.iter().map(|line| ServerRow::of(line, games, nodes, now)).collect(),
            pager: Pager {
                newer: found.before.as_ref().map(|cursor| place("before", cursor)),
                older: found.after.as_ref().map(|cursor| place("after", cursor)),
            },
        }
    }
}
