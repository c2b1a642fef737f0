//! Everybody's servers as one list, for operators: filtered, sorted, a page at a time by key.
//!
//! One statement gives a page. Its order is total, because the id stands behind every key, so that pages neither repeat nor
//! skip a server that stays as it is; the key of the last row is read from the database, which alone knows how it sorts.

use std::collections::{BTreeSet, HashMap, HashSet};

use sea_query::{Condition, Expr, ExprTrait, Func, LikeExpr, Order, Query, SelectStatement};
use sqlx::FromRow;

use super::servers::Servers as S;
use super::users::Users;
use super::{Db, StoreError};
use crate::model::ids::{GameId, NodeId, PlanId, ServerId, UserId};
use crate::model::layers::LayerRef;
use crate::model::servers::{Phase, Seen, Wanted};
use crate::model::time::Millis;

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Its name, without regard to case as far as the database knows it.
    Name,
    /// Its owner's address.
    Owner,
    /// The game.
    Game,
    /// The plan.
    Plan,
    /// Where it lives.
    Node,
    /// What it does.
    Phase,
    /// Since when it does.
    Since,
    /// When it was made.
    Made,
}

impl Sort {
    /// All of them.
    pub const ALL: [Sort; 8] = [Sort::Name, Sort::Owner, Sort::Game, Sort::Plan, Sort::Node, Sort::Phase, Sort::Since, Sort::Made];

    /// As in an address.
    pub fn as_str(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::Owner => "owner",
            Sort::Game => "game",
            Sort::Plan => "plan",
            Sort::Node => "node",
            Sort::Phase => "phase",
            Sort::Since => "since",
            Sort::Made => "made",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Sort> {
        Sort::ALL.into_iter().find(|sort| sort.as_str() == text)
    }

    fn is_number(self) -> bool {
        match self {
            Sort::Since | Sort::Made => true,
            Sort::Name | Sort::Owner | Sort::Game | Sort::Plan | Sort::Node | Sort::Phase => false,
        }
    }

    fn expr(self) -> Expr {
        let column = |column: S| Expr::col((S::Table, column));
        match self {
            Sort::Name => Func::lower(column(S::Name)).into(),
            Sort::Owner => Expr::col((Users::Table, Users::Email)),
            Sort::Game => column(S::Game),
            Sort::Plan => column(S::Plan),
            Sort::Node => column(S::Node),
            Sort::Phase => column(S::Phase),
            Sort::Since => column(S::PhaseSince),
            Sort::Made => column(S::CreatedAt),
        }
    }
}

/// A place between two rows: the key and the id of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    key: String,
    id: ServerId,
}

impl Cursor {
    /// Of text that [`Cursor::text`] gave for the same order; none: of no such text.
    pub fn parse(sort: Sort, text: &str) -> Option<Cursor> {
        let (id, key) = text.split_once('.')?;
        let reads = !sort.is_number() || key.parse::<i64>().is_ok();
        Some(Cursor { key: key.to_owned(), id: id.parse().ok()? }).filter(|_| reads)
    }

    /// For an address.
    pub fn text(&self) -> String {
        format!("{}.{}", self.id, self.key)
    }
}

/// Where a page begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// At the beginning.
    First,
    /// Behind this place.
    After(Cursor),
    /// Before this place.
    Before(Cursor),
}

/// Which servers, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Only in this phase.
    pub phase: Option<Phase>,
    /// Only on this node.
    pub node: Option<NodeId>,
    /// Only of this game.
    pub game: Option<GameId>,
    /// Only those whose name, id or owner's address holds this; empty: all.
    pub search: String,
    /// In this order.
    pub sort: Sort,
    /// The largest first.
    pub down: bool,
}

impl Default for Question {
    /// All of them, the newest first.
    fn default() -> Question {
        Question { phase: None, node: None, game: None, search: String::new(), sort: Sort::Made, down: true }
    }
}

/// A row of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its id.
    pub id: ServerId,
    /// Its name.
    pub name: String,
    /// Its owner's address.
    pub owner: String,
    /// Catalogue entry.
    pub game: GameId,
    /// Its size.
    pub plan: PlanId,
    /// Where it lives.
    pub node: NodeId,
    /// What its owner or the money says.
    pub wanted: Wanted,
    /// What it does.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Millis,
    /// Since when it answers; none: it does not.
    pub up_since: Option<Millis>,
    /// Layers that it is laid out of.
    pub layers: usize,
    /// When it was made.
    pub created_at: Millis,
    /// What its name is sorted by.
    pub name_key: String,
}

impl Line {
    /// The place of this row in an order.
    pub fn cursor(&self, sort: Sort) -> Cursor {
        let key = match sort {
            Sort::Name => self.name_key.clone(),
            Sort::Owner => self.owner.clone(),
            Sort::Game => self.game.to_string(),
            Sort::Plan => self.plan.to_string(),
            Sort::Node => self.node.to_string(),
            Sort::Phase => self.phase.as_str().to_owned(),
            Sort::Since => self.phase_since.0.to_string(),
            Sort::Made => self.created_at.0.to_string(),
        };
        Cursor { key, id: self.id.clone() }
    }
}

#[derive(FromRow)]
struct LineRow {
    id: String,
    name: String,
    name_key: String,
    email: String,
    game: String,
    plan: String,
    node: String,
    wanted: String,
    phase: String,
    phase_since: i64,
    seen: String,
    layers: String,
    created_at: i64,
}

impl TryFrom<LineRow> for Line {
    type Error = StoreError;
    fn try_from(row: LineRow) -> Result<Line, StoreError> {
        let phase = Phase::parse(&row.phase).ok_or(StoreError::Unreadable("servers.phase"))?;
        let seen: Seen = serde_json::from_str(&row.seen).map_err(|_| StoreError::Unreadable("servers.seen"))?;
        let layers: Vec<LayerRef> = serde_json::from_str(&row.layers).map_err(|_| StoreError::Unreadable("servers.layers"))?;
        let up_since = match (phase, seen) {
            (Phase::Running, Seen::Running { since }) => Some(since),
            (_, _) => None,
        };
        Ok(Line {
            id: row.id.parse().map_err(|_| StoreError::Unreadable("servers.id"))?,
            name: row.name,
            owner: row.email,
            game: row.game.parse().map_err(|_| StoreError::Unreadable("servers.game"))?,
            plan: row.plan.parse().map_err(|_| StoreError::Unreadable("servers.plan"))?,
            node: row.node.parse().map_err(|_| StoreError::Unreadable("servers.node"))?,
            wanted: Wanted::parse(&row.wanted).ok_or(StoreError::Unreadable("servers.wanted"))?,
            phase,
            phase_since: Millis(row.phase_since),
            up_since,
            layers: layers.len(),
            created_at: Millis(row.created_at),
            name_key: row.name_key,
        })
    }
}

fn holds(search: &str) -> Condition {
    let like = |text: &str| {
        let plain = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        LikeExpr::new(format!("%{plain}%")).escape('\\')
    };
    let lower = search.to_lowercase();
    let column = |column: S| Expr::col((S::Table, column));
    // As it was typed as well, because SQLite lowers no letters but those of ASCII.
    Condition::any()
        .add(column(S::Name).like(like(search)))
        .add(Expr::expr(Func::lower(column(S::Name))).like(like(&lower)))
        .add(column(S::Id).like(like(&lower)))
        .add(Expr::col((Users::Table, Users::Email)).like(like(&lower)))
}

fn beyond(question: &Question, cursor: &Cursor, up: bool) -> Result<Condition, StoreError> {
    let value = if question.sort.is_number() {
        Expr::val(cursor.key.parse::<i64>().map_err(|_| StoreError::Unreadable("a cursor"))?)
    } else {
        Expr::val(cursor.key.as_str())
    };
    let (key, id) = (question.sort.expr(), Expr::col((S::Table, S::Id)));
    let (at_least, further, behind) = if up {
        (key.clone().gte(value.clone()), key.gt(value), id.gt(cursor.id.as_str()))
    } else {
        (key.clone().lte(value.clone()), key.lt(value), id.lt(cursor.id.as_str()))
    };
    // Said twice, so that an index leads to the place.
    Ok(Condition::all().add(at_least).add(Condition::any().add(further).add(behind)))
}

fn statement(question: &Question, part: &Part, limit: u64) -> Result<SelectStatement, StoreError> {
    let column = |column: S| Expr::col((S::Table, column));
    let mut select = Query::select();
    select
        .columns([S::Id, S::Name, S::Game, S::Plan, S::Node, S::Wanted, S::Phase].map(|column| (S::Table, column)))
        .columns([S::PhaseSince, S::Seen, S::Layers, S::CreatedAt].map(|column| (S::Table, column)))
        .column((Users::Table, Users::Email))
        .expr_as(Func::lower(column(S::Name)), "name_key")
        .from(S::Table)
        .inner_join(Users::Table, Expr::col((Users::Table, Users::Id)).equals((S::Table, S::Owner)));
    if let Some(phase) = question.phase {
        select.and_where(column(S::Phase).eq(phase.as_str()));
    }
    if let Some(node) = &question.node {
        select.and_where(column(S::Node).eq(node.as_str()));
    }
    if let Some(game) = &question.game {
        select.and_where(column(S::Game).eq(game.as_str()));
    }
    if !question.search.is_empty() {
        select.cond_where(holds(&question.search));
    }
    let up = match part {
        Part::First => !question.down,
        Part::After(cursor) => {
            select.cond_where(beyond(question, cursor, !question.down)?);
            !question.down
        }
        Part::Before(cursor) => {
            select.cond_where(beyond(question, cursor, question.down)?);
            question.down
        }
    };
    let order = if up { Order::Asc } else { Order::Desc };
    select.order_by_expr(question.sort.expr(), order.clone()).order_by((S::Table, S::Id), order).limit(limit);
    Ok(select)
}

/// At most so many servers of a part of the list, in its order; of those before a place the nearest.
pub async fn part(db: &Db, question: &Question, part: &Part, limit: u64) -> Result<Vec<Line>, StoreError> {
    let rows = db.all::<LineRow>(&statement(question, part, limit)?).await?;
    let mut lines = rows.into_iter().map(TryInto::try_into).collect::<Result<Vec<Line>, StoreError>>()?;
    if matches!(part, Part::Before(_)) {
        lines.reverse();
    }
    Ok(lines)
}

#[derive(FromRow)]
struct IdRow {
    id: String,
}

/// Which of these servers are there.
pub async fn existing(db: &Db, ids: impl Iterator<Item = &ServerId>) -> Result<HashSet<ServerId>, StoreError> {
    let ids: BTreeSet<&str> = ids.map(ServerId::as_str).collect();
    let select = Query::select().column(S::Id).from(S::Table).and_where(Expr::col(S::Id).is_in(ids)).to_owned();
    let rows = db.all::<IdRow>(&select).await?;
    rows.into_iter().map(|row| row.id.parse().map_err(|_| StoreError::Unreadable("servers.id"))).collect()
}

#[derive(FromRow)]
struct OwnerCount {
    owner: String,
    number: i64,
}

/// How many servers each of these accounts has; those without any are left out.
pub async fn count_of_owners(db: &Db, owners: impl Iterator<Item = &UserId>) -> Result<HashMap<UserId, i64>, StoreError> {
    let owners: Vec<&str> = owners.map(UserId::as_str).collect();
    let select = Query::select()
        .column(S::Owner)
        .expr_as(Expr::col(S::Id).count(), "number")
        .from(S::Table)
        .and_where(Expr::col(S::Owner).is_in(owners))
        .group_by_col(S::Owner)
        .to_owned();
    let read = |row: OwnerCount| Ok((row.owner.parse().map_err(|_| StoreError::Unreadable("servers.owner"))?, row.number));
    db.all::<OwnerCount>(&select).await?.into_iter().map(read).collect()
}
