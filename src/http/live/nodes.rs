//! The socket of the list of nodes: the rows, every few seconds.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;

use super::View;
use crate::domain::{Change, Refusal};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::routes::nodes::rows;
use crate::http::who::{Caller, Known};

/// Heartbeats come this often; nothing is told of those that change no state.
const EVERY: Duration = Duration::from_secs(5);

/// `GET /nodes/live`
pub(in crate::http) async fn open(State(web): State<Web>, caller: Caller, upgrade: WebSocketUpgrade) -> Answer {
    rows(&web, caller.actor()).await?;
    super::open(web, caller, upgrade, Rows)
}

struct Rows;

impl View for Rows {
    fn concerns(&mut self, _: &Known, change: &Change) -> bool {
        match change {
            Change::Node => true,
            Change::Server { .. } | Change::Balance(_) | Change::Rights(_) => false,
        }
    }

    fn forget(&mut self) {}

    async fn update(&mut self, web: &Web, known: &Known) -> Result<Option<String>, Refusal> {
        Ok(Some(rows(web, &known.actor).await?.render().unwrap_or_default()))
    }

    async fn own(&mut self, _: &Web, _: &Known) -> Result<(), Refusal> {
        tokio::time::sleep(EVERY).await;
        Ok(())
    }
}
