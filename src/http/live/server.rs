//! The socket of a server's page: head, numbers, history, balance, and the log line by line.

use askama::Template;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;

use super::View;
use super::lines::Follower;
use crate::domain::{Change, Refusal, billing, servers};
use crate::http::pages::layout::BalanceBadge;
use crate::http::pages::live::LogLines;
use crate::http::problem::Answer;
use crate::http::routes::servers::parts;
use crate::http::typed::Asked;
use crate::http::who::{Caller, Known, Named};
use crate::http::{Web, frame};
use crate::model::ids::ServerId;
use crate::model::users::Right;

/// `GET /servers/{id}/live?after=<number>`
pub(in crate::http) async fn open(
    State(web): State<Web>,
    caller: Caller,
    Named(id): Named<ServerId>,
    asked: Asked,
    upgrade: WebSocketUpgrade,
) -> Answer {
    servers::find(&web.ctx, caller.actor(), &id, Right::SeeServer).await?;
    let log = Follower::new(id.clone(), asked.number("after").unwrap_or(0));
    super::open(web, caller, upgrade, Page { id, changed: true, gone: false, over: false, log })
}

struct Page {
    id: ServerId,
    changed: bool,
    gone: bool,
    /// Nothing of it may be shown any more: the socket ends with the next look.
    over: bool,
    log: Follower,
}

impl View for Page {
    fn concerns(&mut self, known: &Known, change: &Change) -> bool {
        let mine = match change {
            Change::Server { server, gone, .. } => {
                self.gone |= *gone && *server == self.id;
                *server == self.id
            }
            Change::Balance(user) => *user == known.actor.user.id,
            Change::Node => true,
            Change::Rights(_) => false,
        };
        self.changed |= mine;
        mine
    }

    fn forget(&mut self) {
        self.changed = true;
    }

    async fn update(&mut self, web: &Web, known: &Known) -> Result<Option<String>, Refusal> {
        let mut html = String::new();
        if let Some(fresh) = self.log.take() {
            html.push_str(&LogLines::appended(&fresh.lines, fresh.gap, &fresh.open).render().unwrap_or_default());
        }
        if self.gone {
            return Ok(Some(html + &frame::notice_fragment("This server has been deleted.").0));
        }
        if std::mem::take(&mut self.changed) {
            let Some(known) = known.again(web).await? else { return Ok(None) };
            let parts = match parts(web, &known.actor, &self.id).await {
                Err(Refusal::NotFound) => {
                    self.over = true;
                    return Ok(Some(
                        frame::notice_fragment("There is nothing here for you any more: it was deleted, or is not shared with you now.").0,
                    ));
                }
                other => other?,
            };
            html.push_str(&parts.head.render().unwrap_or_default());
            html.push_str(&parts.stats.render().unwrap_or_default());
            html.push_str(&parts.events.render().unwrap_or_default());
            if known.actor.covers(Right::SeeBilling) {
                let overview = billing::overview(&web.ctx, &known.actor).await?;
                html.push_str(
                    &BalanceBadge::of(overview.balance, overview.per_hour, web.ctx.policy.sales.low).render().unwrap_or_default(),
                );
            }
        }
        Ok(Some(html))
    }

    async fn own(&mut self, web: &Web, known: &Known) -> Result<(), Refusal> {
        if self.over {
            return Err(Refusal::NotFound);
        }
        if self.gone {
            return std::future::pending().await;
        }
        self.log.wait(web, &known.actor).await
    }
}
