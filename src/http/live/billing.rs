//! The socket of the billing page: balance, what costs now, and the newest entries, each when it has changed.

use askama::Template;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;

use super::View;
use crate::domain::{Change, Refusal};
use crate::http::Web;
use crate::http::pages::layout::BalanceBadge;
use crate::http::problem::Answer;
use crate::http::routes::billing::{ledger, purse};
use crate::http::typed::Asked;
use crate::http::who::{Caller, Known};

/// `GET /billing/live`; with `ledger=no` for a page that shows older entries, which do not change.
pub(in crate::http) async fn open(State(web): State<Web>, caller: Caller, asked: Asked, upgrade: WebSocketUpgrade) -> Answer {
    let with_ledger = asked.get("ledger") != Some("no");
    super::open(web, caller, upgrade, Billing { with_ledger, shown: Vec::new() })
}

struct Billing {
    with_ledger: bool,
    /// The parts as they were sent last.
    shown: Vec<String>,
}

impl View for Billing {
    fn concerns(&mut self, known: &Known, change: &Change) -> bool {
        let me = &known.actor.user.id;
        match change {
            Change::Balance(user) => user == me,
            Change::Server { owner, .. } => owner == me,
            Change::Node | Change::Rights(_) => false,
        }
    }

    fn forget(&mut self) {}

    async fn update(&mut self, web: &Web, known: &Known) -> Result<Option<String>, Refusal> {
        // The balance moves behind the actor's back: ask who it is by now.
        let Some(known) = known.again(web).await? else { return Ok(None) };
        let (purse, per_hour) = purse(web, &known.actor).await?;
        let mut parts = vec![
            BalanceBadge::of(known.actor.user.balance, per_hour, web.ctx.policy.sales.low).render().unwrap_or_default(),
            purse.render().unwrap_or_default(),
        ];
        if self.with_ledger {
            parts.push(ledger(web, &known.actor, None).await?.render().unwrap_or_default());
        }
        let fresh = parts.iter().enumerate().filter(|(n, part)| self.shown.get(*n) != Some(part));
        let html = fresh.map(|(_, part)| part.as_str()).collect();
        self.shown = parts;
        Ok(Some(html))
    }

    async fn own(&mut self, _: &Web, _: &Known) -> Result<(), Refusal> {
        std::future::pending().await
    }
}
