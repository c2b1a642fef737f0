//! The console for programs: JSON lines down, text lines up to the game's standard input.

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use serde_json::json;

use super::lines::Follower;
use super::{Over, View};
use crate::domain::{Change, Refusal, logs, servers};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::typed::Asked;
use crate::http::who::{Caller, Known, Named};
use crate::model::ids::ServerId;
use crate::model::users::Right;

/// Lines beyond the limit that one socket may send; with one more it ends.
const TOO_MANY_MAX: u32 = 500;

/// A socket: each line of the log comes as `{"seq": "<number>", "text": "..."}`, what the game has begun to write behind the last one as
/// `{"open": "..."}` whenever it changes (empty: nothing, or it has come as a line), each text sent goes to the game as one line.
#[utoipa::path(
    get, path = "/api/servers/{id}/console", tag = "servers",
    params(("id" = String, Path), ("after" = Option<String>, Query, description = "Only lines after this number.")),
    responses((status = 101, description = "A WebSocket."), (status = 404))
)]
pub(in crate::http) async fn open(
    State(web): State<Web>,
    caller: Caller,
    Named(id): Named<ServerId>,
    asked: Asked,
    upgrade: WebSocketUpgrade,
) -> Answer {
    servers::find(&web.ctx, caller.actor(), &id, Right::SeeServer).await?;
    let log = Follower::new(id.clone(), asked.number("after").unwrap_or(0));
    super::open(web, caller, upgrade, Console { id, gone: false, too_many: 0, log, open: String::new() })
}

struct Console {
    id: ServerId,
    gone: bool,
    too_many: u32,
    log: Follower,
    /// What was said of the line that is begun.
    open: String,
}

impl View for Console {
    fn concerns(&mut self, _: &Known, change: &Change) -> bool {
        match change {
            Change::Server { server, gone, .. } => {
                self.gone |= *gone && *server == self.id;
                self.gone
            }
            Change::Balance(_) | Change::Node | Change::Rights(_) => false,
        }
    }

    fn forget(&mut self) {}

    async fn update(&mut self, web: &Web, known: &Known) -> Result<Option<String>, Refusal> {
        if self.gone {
            return Ok(None);
        }
        servers::find(&web.ctx, &known.actor, &self.id, Right::SeeServer).await?;
        let Some(fresh) = self.log.take() else { return Ok(Some(String::new())) };
        let mut text = String::new();
        if fresh.gap {
            text.push_str("{\"gap\":true}\n");
        }
        for line in fresh.lines {
            // As text: the numbers are larger than what many programs can hold exactly.
            text.push_str(&json!({ "seq": line.seq.to_string(), "text": line.text }).to_string());
            text.push('\n');
        }
        if fresh.open != self.open {
            text.push_str(&json!({ "open": fresh.open }).to_string());
            text.push('\n');
            self.open = fresh.open;
        }
        Ok(Some(text))
    }

    async fn own(&mut self, web: &Web, known: &Known) -> Result<(), Refusal> {
        self.log.wait(web, &known.actor).await
    }

    async fn hear(&mut self, web: &Web, known: &Known, text: &str) -> Result<Option<String>, Over> {
        let said = logs::type_line(&web.ctx, &known.actor, &self.id, text.trim_end_matches(['\r', '\n'])).await;
        let why = match said {
            Ok(()) => return Ok(None),
            Err(Refusal::TooMany { .. }) if self.too_many >= TOO_MANY_MAX => return Err(Over),
            Err(refusal @ Refusal::TooMany { .. }) => {
                self.too_many += 1;
                refusal.to_string()
            }
            Err(Refusal::Invalid(fields)) => fields.at("line").unwrap_or_default().to_owned(),
            Err(Refusal::Store(_)) => "The database did not answer. Try again.".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        Ok(Some(format!("{}\n", json!({ "error": why }))))
    }
}
