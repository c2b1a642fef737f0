//! Who did what: the list with its filters.

use askama::Template;
use askama_web::WebTemplate;

use super::layout::Layout;
use super::moments::{Moment, date};
use crate::domain::audit::{Line, PAGE, Question};
use crate::model::time::{DAY, Millis};

/// `/admin/audit`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "admin/audit.html")]
pub struct AuditPage {
    /// Frame.
    pub layout: Layout,
    /// Beginning of an address.
    pub who: String,
    /// Part of a route.
    pub what: String,
    /// About this.
    pub object: String,
    /// First day, `2026-11-20`; empty: the oldest.
    pub from: String,
    /// Last day; empty: today.
    pub to: String,
    /// Only what was refused.
    pub refused: bool,
    /// Not all are shown.
    pub narrowed: bool,
    /// Newest first.
    pub rows: Vec<AuditRow>,
    /// The next page.
    pub next: Option<String>,
    /// The same as a file.
    pub export: String,
}

/// A line.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// When.
    pub at: Moment,
    /// Address of the account; empty: nobody signed in.
    pub who: String,
    /// Everything of that account.
    pub of_who: String,
    /// `session`, or a token.
    pub via: String,
    /// Method and route.
    pub what: String,
    /// What exactly was done.
    pub details: String,
    /// What it was about.
    pub object: String,
    /// Everything about that.
    pub of_object: String,
    /// The answer's status.
    pub status: u16,
    /// It was refused.
    pub refused: bool,
    /// Where it came from.
    pub address: String,
}

fn address(path: &str, question: &Question, before: Option<&str>) -> String {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for (name, value) in [("who", &question.who), ("what", &question.what), ("object", &question.object)] {
        if !value.is_empty() {
            pairs.push((name, value.clone()));
        }
    }
    pairs.extend(question.from.map(|from| ("from", date(from))));
    pairs.extend(question.to.map(|to| ("to", date(to - DAY))));
    if question.refused {
        pairs.push(("outcome", "refused".to_owned()));
    }
    pairs.extend(before.map(|before| ("before", before.to_owned())));
    let query = serde_urlencoded::to_string(pairs).unwrap_or_default();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn row(line: &Line, now: Millis) -> AuditRow {
    AuditRow {
        at: Moment::relative(line.at, now),
        of_who: address("/admin/audit", &Question { who: line.who.clone(), ..Question::default() }, None),
        who: line.who.clone(),
        via: line.via.clone(),
        what: line.what.clone(),
        details: line.details.clone(),
        of_object: address("/admin/audit", &Question { object: line.object.clone(), ..Question::default() }, None),
        object: line.object.clone(),
        status: line.status,
        refused: line.status >= 400,
        address: line.address.clone(),
    }
}

impl AuditPage {
    /// A page of the list.
    pub fn of(layout: Layout, question: &Question, lines: &[Line], now: Millis) -> AuditPage {
        let last = lines.last().filter(|_| lines.len() as u64 == PAGE);
        AuditPage {
            layout,
            who: question.who.clone(),
            what: question.what.clone(),
            object: question.object.clone(),
            from: question.from.map(date).unwrap_or_default(),
            to: question.to.map(|to| date(to - DAY)).unwrap_or_default(),
            refused: question.refused,
            narrowed: *question != Question::default(),
            rows: lines.iter().map(|line| row(line, now)).collect(),
            next: last.map(|line| address("/admin/audit", question, Some(&line.id))),
            export: address("/admin/audit.csv", question, None),
        }
    }
}
