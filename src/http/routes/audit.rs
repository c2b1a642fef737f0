//! `/admin/audit`: who did what, as a page and as a file.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::domain::audit::{self, EXPORT_MAX, Line, PAGE, Question};
use crate::http::Web;
use crate::http::api::shapes::moment;
use crate::http::pages::audit::AuditPage;
use crate::http::pages::moments::parse_date;
use crate::http::problem::{Answer, Problem};
use crate::http::typed::Asked;
use crate::http::who::SignedIn;
use crate::model::time::DAY;

/// Longest text that is searched for, in characters.
const SEARCH_MAX: usize = 254;

fn question(asked: &Asked) -> Question {
    let text = |name: &str| asked.get(name).unwrap_or_default().trim().chars().take(SEARCH_MAX).collect::<String>();
    Question {
        who: text("who"),
        what: text("what"),
        object: text("object").trim_matches('/').to_owned(),
        from: asked.get("from").and_then(parse_date),
        to: asked.get("to").and_then(parse_date).map(|day| day + DAY),
        refused: asked.get("outcome") == Some("refused"),
    }
}

/// `GET /admin/audit`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, asked: Asked) -> Answer {
    let question = question(&asked);
    let lines = audit::lines(&web.ctx, signed_in.actor(), &question, asked.get("before"), PAGE).await?;
    let layout = signed_in.layout(&web).await?;
    Ok(AuditPage::of(layout, &question, &lines, web.ctx.clock.now()).into_response())
}

/// A cell that no spreadsheet takes for a formula.
pub(super) fn cell(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

/// A file of a table.
pub(super) fn file(name: &str, rows: impl IntoIterator<Item = Vec<String>>) -> Answer {
    let mut csv = csv::Writer::from_writer(Vec::new());
    for row in rows {
        csv.write_record(row).map_err(Problem::internal)?;
    }
    let bytes = csv.into_inner().map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")).map_err(Problem::internal)?;
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    Ok(response)
}

fn cells(line: &Line) -> Vec<String> {
    let user = line.user.as_ref().map(ToString::to_string).unwrap_or_default();
    let texts = [&line.who, &user, &line.via, &line.address, &line.what, &line.object, &line.details];
    let mut row = vec![moment(line.at), line.status.to_string()];
    row.extend(texts.map(|text| cell(text)));
    row
}

/// `GET /admin/audit.csv`
pub(super) async fn export(State(web): State<Web>, signed_in: SignedIn, asked: Asked) -> Answer {
    let lines = audit::lines(&web.ctx, signed_in.actor(), &question(&asked), None, EXPORT_MAX).await?;
    let head = ["at", "status", "who", "user", "via", "address", "what", "object", "details"].map(str::to_owned).to_vec();
    file("audit.csv", std::iter::once(head).chain(lines.iter().map(cells)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        assert_eq!(cell("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0");
        assert_eq!(cell("ada@example.org"), "ada@example.org");
    }
}
