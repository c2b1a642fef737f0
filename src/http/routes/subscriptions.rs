//! Servers by the month: the part of a server's page, the list on the billing page, and their buttons.

use axum::extract::State;
use axum::http::StatusCode;

use super::payments::onward;
use super::servers::{Refused, refused, whole};
use crate::domain::{Actor, Refusal, servers, subscriptions};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::fields::{Choice, Field};
use crate::http::pages::layout::Notice;
use crate::http::pages::moments::Moment;
use crate::http::pages::months::{MonthPart, MonthRow, MonthState};
use crate::http::problem::{Answer, shown};
use crate::http::typed::Typed;
use crate::http::who::{Named, SignedIn};
use crate::model::ids::ServerId;
use crate::model::payments::price;
use crate::model::servers::{Server, Wanted};
use crate::model::subscriptions::{Standing, Status, Subscription};
use crate::model::time::Millis;

fn state(web: &Web, server: &Server, row: Option<&Subscription>, now: Millis) -> Option<MonthState> {
    let currency = &web.ctx.policy.sales.currency;
    let offered = subscriptions::month_cents(&web.ctx, server).map(|cents| price(cents, currency));
    let lives = row.filter(|row| row.ended_at.is_none());
    if server.life.wanted == Wanted::Expired {
        return Some(MonthState::Unpaid {
            fresh: row.is_none_or(|row| row.stripe.is_none()),
            until: server.delete_after.map(|at| Moment::relative(at, now)),
            failed: lives.is_some(),
            pay_url: lives.and_then(|row| row.pay_url.clone()),
            price: offered,
        });
    }
    match lives {
        Some(row) if row.status.standing() == Some(Standing::Covered) && !row.end_wanted => Some(MonthState::Covered {
            price: price(row.cents, &row.currency),
            until: row.period_end.map(|at| Moment::relative(at, now)),
            ends: row.cancel_at_end,
            changing: row.plan_wanted.is_some(),
        }),
        opening => {
            offered.map(|price| MonthState::Offer { price, opening: opening.is_some_and(|row| row.session.is_some() && !row.end_wanted) })
        }
    }
}

/// The part of a server's page; none where nothing is sold.
pub(super) async fn part(web: &Web, actor: &Actor, server: &Server) -> Result<Option<MonthPart>, Refusal> {
    let row = subscriptions::of_server(&web.ctx, actor, &server.id).await?;
    let Some(state) = state(web, server, row.as_ref(), web.ctx.clock.now()) else { return Ok(None) };
    let currency = &web.ctx.policy.sales.currency;
    let option = |plan: &crate::model::games::Plan| Choice {
        value: plan.id.to_string(),
        label: format!("{}, {} a month", plan.name, price(i64::from(plan.month_cents), currency)),
        chosen: false,
    };
    let mut options: Vec<Choice> = subscriptions::other_plans(&web.ctx, server).iter().map(option).collect();
    if let Some(first) = options.first_mut() {
        first.chosen = true;
    }
    let covered = matches!(state, MonthState::Covered { .. });
    Ok(Some(MonthPart {
        id: server.id.to_string(),
        mine: server.owner == actor.user.id,
        plans: (covered && !options.is_empty()).then(|| Field::choice("plan", "Another plan", options).required()),
        state,
    }))
}

fn word(row: &Subscription) -> (&'static str, bool) {
    if row.end_wanted && row.ended_at.is_none() {
        return ("being ended", false);
    }
    match row.status {
        Status::Opening => ("begun, not paid yet", false),
        Status::Active | Status::Trialing if row.cancel_at_end => ("paid, ends with the month", false),
        Status::Active | Status::Trialing => ("paid", false),
        Status::PastDue | Status::Unpaid => ("a payment did not work", true),
        Status::Paused => ("paused", true),
        Status::Incomplete => ("being confirmed", false),
        Status::IncompleteExpired => ("never paid", false),
        Status::Canceled => ("ended", false),
        Status::Other => ("unknown", true),
    }
}

/// The list on the billing page: what lives, and what ended lately.
pub(super) async fn rows(web: &Web, actor: &Actor, all: &[Subscription]) -> Result<Vec<MonthRow>, Refusal> {
    let now = web.ctx.clock.now();
    let there = servers::list(&web.ctx, actor).await?;
    let row = |row: &Subscription| {
        let (state, bad) = word(row);
        let next = match (row.ended_at, row.period_end) {
            (Some(at), _) => Some(("Ended", Moment::relative(at, now))),
            // When a payment that did not work is tried again is for the invoice to say.
            (None, _) if bad => None,
            (None, Some(at)) if row.cancel_at_end => Some(("Ends", Moment::relative(at, now))),
            (None, Some(at)) => Some(("Next payment", Moment::relative(at, now))),
            (None, None) => None,
        };
        let known = there.iter().find(|server| server.id == row.server);
        MonthRow {
            server: known.map(|server| server.id.to_string()),
            name: known.map_or_else(|| row.server_name.clone(), |server| server.name.clone()),
            price: price(row.cents, &row.currency),
            state,
            bad,
            next,
        }
    };
    // Pages that nobody paid at are not worth a line.
    Ok(all.iter().filter(|row| row.status != Status::IncompleteExpired).map(row).collect())
}

/// `POST /servers/{id}/subscribe`
pub(super) async fn subscribe(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>) -> Answer {
    match subscriptions::start(&web.ctx, signed_in.actor(), &id).await {
        Ok(url) => onward(&web, &signed_in, "You pay the first month there, and come back here when it is done.", url).await,
        Err(refusal) => refused(&web, &signed_in, &id, refusal).await,
    }
}

async fn cancel(web: Web, signed_in: SignedIn, id: ServerId, end: bool) -> Answer {
    match subscriptions::cancel(&web.ctx, signed_in.actor(), &id, end).await {
        Ok(()) => Ok(go(&format!("/servers/{id}"), if end { Said::MonthEnds } else { Said::MonthGoesOn })),
        Err(refusal) => refused(&web, &signed_in, &id, refusal).await,
    }
}

/// `POST /servers/{id}/subscription/end`
pub(super) async fn end(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>) -> Answer {
    cancel(web, signed_in, id, true).await
}

/// `POST /servers/{id}/subscription/keep`
pub(super) async fn keep(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>) -> Answer {
    cancel(web, signed_in, id, false).await
}

/// `POST /servers/{id}/plan`
pub(super) async fn plan(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>, typed: Typed) -> Answer {
    match subscriptions::change_plan(&web.ctx, signed_in.actor(), &id, typed.text("plan")).await {
        Ok(done) => Ok(go(&format!("/servers/{id}"), if done { Said::PlanChanged } else { Said::PlanChanging })),
        Err(Refusal::Invalid(fields)) => {
            let why = fields.at("plan").unwrap_or_default().to_owned();
            let refused = Refused { notice: Some(Notice::refused(why)), ..Refused::default() };
            Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, whole(&web, &signed_in, &id, refused).await?))
        }
        Err(refusal) => refused(&web, &signed_in, &id, refusal).await,
    }
}

/// `POST /servers/{id}/by-the-hour`
pub(super) async fn by_the_hour(State(web): State<Web>, signed_in: SignedIn, Named(id): Named<ServerId>) -> Answer {
    match subscriptions::by_the_hour(&web.ctx, signed_in.actor(), &id).await {
        Ok(()) => Ok(go(&format!("/servers/{id}"), Said::ByTheHour)),
        Err(refusal) => refused(&web, &signed_in, &id, refusal).await,
    }
}
