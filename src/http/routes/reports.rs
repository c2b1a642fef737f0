//! `/admin/reports`: what the panel earns, as a page and as a file; `/admin/mails`: letters, and those that wait to be handed over.

use axum::extract::State;
use axum::response::IntoResponse;

use super::audit::{cell, file};
use crate::domain::{mails, reports};
use crate::http::Web;
use crate::http::pages::mails::MailsPage;
use crate::http::pages::reports::{COLUMNS, ReportsPage, game_name, games, of_game};
use crate::http::problem::Answer;
use crate::http::who::SignedIn;

/// `GET /admin/reports`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    let report = reports::report(&web.ctx, signed_in.actor()).await?;
    Ok(ReportsPage::of(signed_in.layout(&web).await?, &report, &web.ctx.games()).into_response())
}

/// `GET /admin/reports.csv`: a row for each month and quantity; what was used also by game.
pub(super) async fn export(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    let report = reports::report(&web.ctx, signed_in.actor()).await?;
    let (catalogue, games) = (web.ctx.games(), games(&report));
    let mut rows = vec![["month", "what", "game", "credits"].map(str::to_owned).to_vec()];
    for (month, totals) in &report.months {
        for (head, value) in COLUMNS {
            rows.push(vec![month.to_string(), head.to_lowercase(), String::new(), value(totals).to_string()]);
        }
        for game in &games {
            let (used, months) = of_game(totals, game);
            for (what, credits) in [("used", used), ("months", months)] {
                rows.push(vec![month.to_string(), what.to_owned(), cell(&game_name(game.as_ref(), &catalogue)), credits.to_string()]);
            }
        }
    }
    file("report.csv", rows)
}

/// `GET /admin/mails`
pub(super) async fn letters(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    let letters = mails::newest(&web.ctx, signed_in.actor()).await?;
    let layout = signed_in.layout(&web).await?;
    Ok(MailsPage::of(layout, &letters, web.ctx.mail.is_some(), web.ctx.clock.now()).into_response())
}
