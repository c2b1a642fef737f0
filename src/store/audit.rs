//! Who did what: one row for each request that changed something or tried to. Only added to, and swept by age.

use sea_query::{Expr, ExprTrait, Iden, LikeExpr, Order, Query};
use sqlx::FromRow;

use super::{Db, StoreError};
use crate::model::ids::UserId;
use crate::model::time::Millis;

#[derive(Iden)]
enum Audit {
    Table,
    Id,
    At,
    UserId,
    Who,
    Via,
    Address,
    What,
    Object,
    Status,
    Details,
}

use Audit as A;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Sorts by time.
    pub id: String,
    /// When.
    pub at: Millis,
    /// The account; none: nobody was signed in.
    pub user: Option<UserId>,
    /// Its address then.
    pub who: String,
    /// `session`, or the name of a token.
    pub via: String,
    /// Where the request came from.
    pub address: String,
    /// Method and route.
    pub what: String,
    /// What it was about; may be empty.
    pub object: String,
    /// The answer's status.
    pub status: u16,
    /// What exactly was done; may be empty.
    pub details: String,
}

/// Which lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Whose address begins with this; empty: everybody's.
    pub who: String,
    /// Whose route holds this; empty: any.
    pub what: String,
    /// About this object, or whatever belongs to it; empty: any.
    pub object: String,
    /// Not before.
    pub from: Option<Millis>,
    /// Before.
    pub to: Option<Millis>,
    /// Only what was refused.
    pub refused: bool,
}

#[derive(FromRow)]
struct LineRow {
    id: String,
    at: i64,
    user_id: Option<String>,
    who: String,
    via: String,
    address: String,
    what: String,
    object: String,
    status: i64,
    details: String,
}

impl TryFrom<LineRow> for Line {
    type Error = StoreError;
    fn try_from(row: LineRow) -> Result<Line, StoreError> {
        Ok(Line {
            id: row.id,
            at: Millis(row.at),
            user: row.user_id.map(|id| id.parse().map_err(|_| StoreError::Unreadable("audit.user_id"))).transpose()?,
            who: row.who,
            via: row.via,
            address: row.address,
            what: row.what,
            object: row.object,
            status: u16::try_from(row.status).map_err(|_| StoreError::Unreadable("audit.status"))?,
            details: row.details,
        })
    }
}

/// Adds a line.
pub async fn insert(db: &Db, line: &Line) -> Result<(), StoreError> {
    let insert = Query::insert()
        .into_table(A::Table)
        .columns([A::Id, A::At, A::UserId, A::Who, A::Via, A::Address, A::What, A::Object, A::Status, A::Details])
        .values_panic([
            line.id.as_str().into(),
            line.at.0.into(),
            line.user.as_ref().map(UserId::as_str).into(),
            line.who.as_str().into(),
            line.via.as_str().into(),
            line.address.as_str().into(),
            line.what.as_str().into(),
            line.object.as_str().into(),
            i64::from(line.status).into(),
            line.details.as_str().into(),
        ])
        .to_owned();
    db.run(&insert).await.map(drop)
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Lines, newest first, before the one of this id.
pub async fn list(db: &Db, question: &Question, before: Option<&str>, limit: u64) -> Result<Vec<Line>, StoreError> {
    let like = |pattern: String| LikeExpr::new(pattern).escape('\\');
    let mut select = Query::select()
        .columns([A::Id, A::At, A::UserId, A::Who, A::Via, A::Address, A::What, A::Object, A::Status, A::Details])
        .from(A::Table)
        .order_by(A::Id, Order::Desc)
        .limit(limit)
        .to_owned();
    if !question.who.is_empty() {
        select.and_where(Expr::col(A::Who).like(like(format!("{}%", escaped(&question.who.to_lowercase())))));
    }
    if !question.what.is_empty() {
        select.and_where(Expr::col(A::What).like(like(format!("%{}%", escaped(&question.what)))));
    }
    if !question.object.is_empty() {
        let within = Expr::col(A::Object).like(like(format!("{}/%", escaped(&question.object))));
        select.and_where(Expr::col(A::Object).eq(question.object.as_str()).or(within));
    }
    if let Some(from) = question.from {
        select.and_where(Expr::col(A::At).gte(from.0));
    }
    if let Some(to) = question.to {
        select.and_where(Expr::col(A::At).lt(to.0));
    }
    if question.refused {
        select.and_where(Expr::col(A::Status).gte(400));
    }
    if let Some(before) = before {
        select.and_where(Expr::col(A::Id).lt(before));
    }
    db.all::<LineRow>(&select).await?.into_iter().map(TryInto::try_into).collect()
}

/// Forgets lines from before a moment; gives their number.
pub async fn sweep(db: &Db, before: Millis) -> Result<u64, StoreError> {
    let delete = Query::delete().from_table(A::Table).and_where(Expr::col(A::At).lt(before.0)).to_owned();
    db.run(&delete).await
}
