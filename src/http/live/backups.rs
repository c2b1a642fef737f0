//! The socket of a server's backups: the list, when it has changed.

use askama::Template;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;

use super::View;
use crate::domain::{Change, Refusal};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::routes::backups::shelf;
use crate::http::who::{Caller, Known, Named};
use crate::model::ids::ServerId;

/// `GET /servers/{id}/backups/live`
pub(in crate::http) async fn open(State(web): State<Web>, caller: Caller, Named(id): Named<ServerId>, upgrade: WebSocketUpgrade) -> Answer {
    shelf(&web, caller.actor(), &id).await?;
    super::open(web, caller, upgrade, Backups { id, shown: String::new() })
}

struct Backups {
    id: ServerId,
    /// As it was sent last.
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
        let html = shelf(web, &known.actor, &self.id).await?.2.render().unwrap_or_default();
        let same = html == self.shown;
        self.shown.clone_from(&html);
        Ok(Some(if same { String::new() } else { html }))
    }

    async fn own(&mut self, _: &Web, _: &Known) -> Result<(), Refusal> {
        std::future::pending().await
    }

    async fn hear(&mut self, _: &Web, _: &Known, _: &str) -> Option<String> {
        None
    }
}
