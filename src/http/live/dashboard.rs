//! The dashboard's socket: cards that changed; the sentence on top and the balance for whoever may see them.

use std::collections::HashSet;

use askama::Template;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;

use super::View;
use crate::domain::{Change, Refusal, nodes, servers};
use crate::http::Web;
use crate::http::pages::dashboard::{ServerCard, Summary};
use crate::http::pages::layout::BalanceBadge;
use crate::http::problem::Answer;
use crate::http::routes::dashboard::{can_add, cards, per_hour, shared};
use crate::http::who::{Caller, Known};
use crate::model::ids::ServerId;
use crate::model::money::Credits;
use crate::model::users::Right;

/// `GET /dashboard/live`
pub(in crate::http) async fn open(State(web): State<Web>, caller: Caller, upgrade: WebSocketUpgrade) -> Answer {
    super::open(web, caller, upgrade, Cards::default())
}

#[derive(Default)]
struct Cards {
    /// Servers whose cards are to be sent.
    changed: HashSet<ServerId>,
    /// Send all.
    all: bool,
    /// What was there when it was last looked at.
    there: Option<Vec<ServerId>>,
}

impl View for Cards {
    fn concerns(&mut self, known: &Known, change: &Change) -> bool {
        let me = &known.actor.user.id;
        match change {
            Change::Server { owner, server, .. } if owner == me || known.actor.shared.contains_key(server) => {
                self.changed.insert(server.clone());
                true
            }
            Change::Balance(user) => user == me,
            Change::Node => {
                self.all = true;
                true
            }
            Change::Server { .. } | Change::Rights(_) => false,
        }
    }

    fn forget(&mut self) {
        self.all = true;
    }

    async fn update(&mut self, web: &Web, known: &Known) -> Result<Option<String>, Refusal> {
        // The balance moves behind the actor's back: ask who it is by now.
        let Some(known) = known.again(web).await? else { return Ok(None) };
        let servers = servers::list(&web.ctx, &known.actor).await?;
        let there: Vec<ServerId> = servers.iter().map(|server| server.id.clone()).collect();
        let first = self.there.is_none();
        let moved = self.there.replace(there.clone()).is_some_and(|before| before != there);
        let balance = known.actor.covers(Right::SeeBilling).then_some(known.actor.user.balance);
        let badge = balance.map(|balance| BalanceBadge::of(balance, per_hour(&servers), web.ctx.policy.sales.low));
        let mut html = badge.and_then(|badge| badge.render().ok()).unwrap_or_default();
        let nodes = nodes::all(&web.ctx).await?;
        let all = std::mem::take(&mut self.all) || first;
        let changed = std::mem::take(&mut self.changed);
        let concerns = |card: &ServerCard| all || changed.iter().any(|id| id.as_str() == card.id);
        for card in shared(web, &known.actor, &nodes).await?.iter().filter(|card| concerns(card)) {
            html.push_str(&card.render().unwrap_or_default());
        }
        if servers.is_empty() {
            return Ok(Some(if moved { format!("{html}{NONE_LEFT}") } else { html }));
        }
        let summary = balance.map(|balance| Summary::of(servers.iter(), balance, web.ctx.policy.sales.low, can_add(web)));
        html.push_str(&summary.and_then(|summary| summary.render().ok()).unwrap_or_default());
        let cards = cards(&web.ctx, &servers, &nodes, balance.is_some_and(|balance| balance <= Credits::ZERO));
        if moved {
            html.push_str(r#"<div class="cards" id="cards">"#);
        }
        for card in cards.iter().filter(|card| moved || concerns(card)) {
            html.push_str(&card.render().unwrap_or_default());
        }
        if moved {
            html.push_str("</div>");
        }
        Ok(Some(html))
    }

    async fn own(&mut self, _: &Web, _: &Known) -> Result<(), Refusal> {
        std::future::pending().await
    }
}

/// In place of the cards when the last server has gone.
const NONE_LEFT: &str =
    r#"<div class="cards" id="cards"><p class="help">No server is left. <a href="/servers/create">Make one</a>.</p></div>"#;
