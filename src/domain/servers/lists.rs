//! Everybody's servers as one list, for those who see the whole panel: a page of it at a time.

use crate::domain::{Actor, Ctx, Refusal};
use crate::model::users::Right;
use crate::store::server_lists::{self, Part};

pub use crate::store::server_lists::{Cursor, Line, Question, Sort};

/// Servers of one page.
pub const LIST_PAGE: u64 = 50;
/// Longest text that is searched for, in characters.
const SEARCH_MAX: usize = 100;

/// A page of the list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lines {
    /// In the order that was asked for.
    pub lines: Vec<Line>,
    /// What comes before ends here; none: nothing does.
    pub before: Option<Cursor>,
    /// What comes behind begins here; none: nothing does.
    pub after: Option<Cursor>,
}

/// A page: behind one place, or before another, or the first.
///
/// # Errors
/// [`Refusal::NotFound`] for those who see only their own.
pub async fn all(ctx: &Ctx, actor: &Actor, question: &Question, after: Option<Cursor>, before: Option<Cursor>) -> Result<Lines, Refusal> {
    if !actor.may_at_all(Right::SeeOverview) {
        return Err(Refusal::NotFound);
    }
    let question = Question { search: question.search.trim().chars().take(SEARCH_MAX).collect(), ..question.clone() };
    let part = match (after, before) {
        (Some(cursor), _) => Part::After(cursor),
        (None, Some(cursor)) => Part::Before(cursor),
        (None, None) => Part::First,
    };
    let page = usize::try_from(LIST_PAGE).unwrap_or(usize::MAX);
    let mut lines = server_lists::part(&ctx.db, &question, &part, LIST_PAGE + 1).await?;
    let short = match part {
        Part::First => false,
        Part::After(_) => lines.is_empty(),
        Part::Before(_) => lines.len() <= page,
    };
    // What led here has moved, or the beginning is near: the first page, and a whole one.
    let part = if short { Part::First } else { part };
    if short {
        lines = server_lists::part(&ctx.db, &question, &part, LIST_PAGE + 1).await?;
    }
    let more = lines.len() > page;
    let (is_before, is_behind) = match part {
        Part::First => (false, more),
        Part::After(_) => (true, more),
        Part::Before(_) => (more, true),
    };
    if more && matches!(part, Part::Before(_)) {
        lines.remove(0);
    }
    lines.truncate(page);
    let cursor = |line: Option<&Line>, there: bool| line.filter(|_| there).map(|line| line.cursor(question.sort));
    Ok(Lines { before: cursor(lines.first(), is_before), after: cursor(lines.last(), is_behind), lines })
}
