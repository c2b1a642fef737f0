//! The socket of a server's backups: the list, when it has changed. With `mark` the page says which one it shows.

use askama::Template;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;

use super::View;
use crate::domain::{Change, Refusal};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::routes::backups::shelf;
use crate::http::typed::Asked;
use crate::http::who::{Caller, Known, Named};
use crate::model::ids::ServerId;

/// `GET /servers/{id}/backups/live`
pub(in crate::http) async fn open(
    State(web): State<Web>,
    caller: Caller,
    Named(id): Named<ServerId>,
    asked: Asked,
    upgrade: WebSocketUpgrade,
) -> Answer {
    shelf(&web, caller.actor(), &id).await?;
    let shown = asked.get("mark").unwrap_or_default().chars().take(64).collect();
    super::open(web, caller, upgrade, Backups { id, shown })
}

struct Backups {
    id: ServerId,
    /// The mark of what the page shows.
    shown: String,
}

impl View for Backups {
    fn concerns(&mut self, _: &Known, change: &Change) -> bool {
        match change {
            Change::Server { server, .. } => *server == self.id,
            Change::Node | Change::Balance(_) | Change::Rights(_) => false,
        }
    }

    fn forget(&mut self) {}

    async fn update(&mut self, web: &Web, known: &Known) -> Result<Option<String>, Refusal> {
        let part = shelf(web, &known.actor, &self.id).await?.2;
        // Buttons that somebody is about to press stay where they are unless something has changed.
        let same = part.mark == self.shown;
        self.shown.clone_from(&part.mark);
        Ok(Some(if same { String::new() } else { part.render().unwrap_or_default() }))
    }

    async fn own(&mut self, _: &Web, _: &Known) -> Result<(), Refusal> {
        std::future::pending().await
    }
}
