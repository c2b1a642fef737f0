//! `/billing`: what is left, what runs, and every entry of the ledger.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::create::by_field;
use crate::domain::billing::PAGE;
use crate::domain::{Actor, Refusal, billing, payments, servers};
use crate::http::Web;
use crate::http::notice::{Said, go};
use crate::http::pages::billing::{BillingPage, GrantForm, Ledger, LedgerRow, LedgerWhat, Pager, Purse, RunningNow, TopUp, signed};
use crate::http::pages::create::ByField;
use crate::http::pages::dashboard::lasts;
use crate::http::pages::fields::Field;
use crate::http::pages::layout::{Funds, amount};
use crate::http::pages::moments::Moment;
use crate::http::problem::{Answer, Problem, shown};
use crate::http::typed::{Asked, Typed};
use crate::http::who::SignedIn;
use crate::model::ids::PaymentId;
use crate::model::ledger::{Entry, EntryKind, STARTING, by_hour};
use crate::model::money::Credits;
use crate::model::servers::Server;
use crate::model::time::Millis;

/// Longest note of a grant, in characters.
const NOTE_MAX: u32 = 200;
/// Name of the amount in the grant's form: on a panel for demonstrations an admin's page holds both forms.
const GRANT_AMOUNT: &str = "grant-amount";
/// Longest key of an entry, in bytes.
const KEY_MAX: usize = 128;

/// Where a page of the ledger begins: behind the entry of this moment and key.
pub(in crate::http) fn cursor(text: &str) -> Option<(Millis, &str)> {
    let (at, key) = text.split_once('.')?;
    let plain = key.len() <= KEY_MAX && key.bytes().all(|byte| byte.is_ascii_graphic());
    Some((Millis(at.parse().ok()?), key)).filter(|_| plain)
}

/// The cursor behind an entry.
pub(in crate::http) fn cursor_of(entry: &Entry) -> String {
    format!("{}.{}", entry.at.0, entry.key)
}

fn what(entry: &Entry, servers: &[Server]) -> LedgerWhat {
    let said = |text: &str| LedgerWhat::Said(if entry.note.is_empty() { text.to_owned() } else { format!("{text}: {}", entry.note) });
    match (entry.kind, &entry.server, entry.span) {
        (EntryKind::Charge, Some((id, name)), Some((from, to))) => LedgerWhat::Ran {
            id: servers.iter().any(|server| server.id == *id).then(|| id.to_string()),
            name: name.clone(),
            how: if entry.note == STARTING { "was starting for more than an hour a day," } else { "ran" },
            from: Moment::clock(from),
            to: Moment::clock(to),
        },
        (EntryKind::Charge, _, _) => said("A server ran"),
        (EntryKind::Signup, _, _) => said("Credits of a new account"),
        (EntryKind::Grant, _, _) if entry.amount < Credits::ZERO => said("Removed by an admin"),
        (EntryKind::Grant, _, _) => said("Granted by an admin"),
        (EntryKind::Demonstration, _, _) => said("Added freely, for a demonstration"),
        (EntryKind::Payment, _, _) => said("Paid by card"),
        (EntryKind::Refund, _, _) => said("A payment was refunded"),
        (EntryKind::Dispute, _, _) => said("A payment was disputed"),
        (EntryKind::Covered, Some((_, name)), _) => LedgerWhat::Said(format!("Hours of {name} that its subscription covers")),
        (EntryKind::Covered, None, _) => said("Hours that a subscription covers"),
    }
}

/// Rows with the balance after each; `after` is the balance after the newest of them.
fn rows(entries: &[Entry], servers: &[Server], after: Credits) -> Vec<LedgerRow> {
    let mut balance = after;
    let entries = by_hour(entries);
    let mut rows = Vec::with_capacity(entries.len());
    for entry in &entries {
        rows.push(LedgerRow {
            at: Moment::full(entry.at),
            what: what(entry, servers),
            amount: signed(entry.amount),
            taken: entry.amount < Credits::ZERO,
            balance: amount(balance),
            exact: balance.to_string(),
        });
        balance = balance - entry.amount;
    }
    rows
}

fn grant_form(typed: &ByField, errors: &ByField) -> GrantForm {
    let value = |name: &str| typed.get(name).cloned().unwrap_or_default();
    let error = |name: &str| errors.get(name).cloned();
    GrantForm {
        email: Field::email("email", "To whom", value("email")).error(error("email")).required(),
        amount: Field::amount(GRANT_AMOUNT, "How many", value(GRANT_AMOUNT)).error(error("amount")).required(),
        note: Field::text("note", "What for", value("note"), NOTE_MAX).error(error("note")),
    }
}

/// Something that no other form carries.
pub(super) fn request_key() -> Result<String, Problem> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Problem::internal(format!("the system gives no random bytes: {error}")))?;
    Ok(hex::encode(bytes))
}

/// What was refused: the form, what was typed, what was wrong.
pub(super) enum Refused<'a> {
    Nothing,
    Auto(&'a ByField, ByField),
    TopUp(&'a ByField, ByField),
    Grant(&'a ByField, ByField),
}

/// What is left and what costs, with the cost of an hour.
pub(in crate::http) async fn purse(web: &Web, actor: &Actor) -> Result<(Purse, Credits), Refusal> {
    let overview = billing::overview(&web.ctx, actor).await?;
    let servers = servers::list(&web.ctx, actor).await?;
    let now = web.ctx.clock.now();
    let running = |server: &Server| RunningNow {
        id: server.id.to_string(),
        name: server.name.clone(),
        per_hour: amount(server.per_hour),
        since: Moment::lasting(server.life.phase_since, now),
    };
    let purse = Purse {
        balance: amount(overview.balance),
        funds: Funds::of(overview.balance, overview.per_hour, web.ctx.policy.sales.low),
        per_hour: amount(overview.per_hour),
        lasts: lasts(overview.balance - overview.accrued, overview.per_hour),
        running: servers.iter().filter(|server| server.costs_now() > Credits::ZERO).map(running).collect(),
    };
    Ok((purse, overview.per_hour))
}

/// One page of the ledger.
pub(in crate::http) async fn ledger(web: &Web, actor: &Actor, behind: Option<(Millis, &str)>) -> Result<Ledger, Refusal> {
    let entries = billing::entries(&web.ctx, actor, behind).await?;
    let servers = servers::list(&web.ctx, actor).await?;
    let after = match behind {
        Some(behind) => billing::balance_before(&web.ctx, actor, behind).await?,
        None => actor.user.balance,
    };
    let full = entries.len() as u64 == PAGE;
    let older = entries.last().filter(|_| full).and_then(|last| serde_urlencoded::to_string([("behind", cursor_of(last))]).ok());
    Ok(Ledger {
        entries: rows(&entries, &servers, after),
        pager: Pager { newer: behind.map(|_| "/billing".to_owned()), older: older.map(|query| format!("/billing?{query}")) },
    })
}

/// What the page is to show.
#[derive(Default)]
struct At<'a> {
    /// Entries behind this one.
    behind: Option<(Millis, &'a str)>,
    /// A payment that somebody comes back from.
    payment: Option<PaymentId>,
}

async fn whole(web: &Web, signed_in: &SignedIn, asked: &At<'_>, refused: Refused<'_>) -> Result<BillingPage, Problem> {
    let (ctx, actor) = (&web.ctx, signed_in.actor());
    let (purse, per_hour) = purse(web, actor).await?;
    let none = ByField::new();
    let nothing = (&none, &none);
    let (top_up, grant, auto) = match &refused {
        Refused::Nothing => (nothing, nothing, nothing),
        Refused::TopUp(typed, errors) => ((*typed, errors), nothing, nothing),
        Refused::Grant(typed, errors) => (nothing, (*typed, errors), nothing),
        Refused::Auto(typed, errors) => (nothing, nothing, (*typed, errors)),
    };
    let demo = || {
        let typed = top_up.0.get("amount").cloned().unwrap_or_else(|| "25".to_owned());
        TopUp::Demo(Field::amount("amount", "How many", typed).error(top_up.1.get("amount").cloned()).required())
    };
    let paying = super::payments::paying(web, actor, asked.payment.as_ref(), auto).await?;
    Ok(BillingPage {
        layout: signed_in.layout_with(web, per_hour),
        purse,
        ledger: ledger(web, actor, asked.behind).await?,
        top_up: if payments::are_taken(ctx) {
            TopUp::Pay(super::payments::pay_form(web, top_up.0, top_up.1))
        } else if ctx.policy.demo_top_up {
            demo()
        } else {
            TopUp::AskAdmin
        },
        paying,
        request: request_key()?,
        grant: billing::may_grant(actor).then(|| grant_form(grant.0, grant.1)),
    })
}

/// `GET /billing`
pub(super) async fn page(State(web): State<Web>, signed_in: SignedIn, asked: Asked) -> Answer {
    if asked.get("cancelled").is_some() {
        return Ok(go("/billing", Said::NothingPaid));
    }
    let at = At { behind: asked.get("behind").and_then(cursor), payment: asked.get("payment").and_then(|id| id.parse().ok()) };
    Ok(whole(&web, &signed_in, &at, Refused::Nothing).await?.into_response())
}

/// `POST /billing/add-funds`
pub(super) async fn add_funds(State(web): State<Web>, signed_in: SignedIn, typed: Typed) -> Answer {
    if payments::are_taken(&web.ctx) {
        return super::payments::pay(&web, &signed_in, &typed).await;
    }
    match billing::add_funds(&web.ctx, signed_in.actor(), typed.text("amount"), typed.text("request")).await {
        Ok(_) => Ok(go("/billing", Said::CreditsAdded)),
        Err(Refusal::Invalid(fields)) => refused(&web, &signed_in, Refused::TopUp(typed.values(), by_field(&fields))).await,
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /billing/grant`
pub(super) async fn grant(State(web): State<Web>, signed_in: SignedIn, typed: Typed) -> Answer {
    let text = |name: &str| typed.text(name);
    match billing::grant(&web.ctx, signed_in.actor(), text("email"), text(GRANT_AMOUNT), text("note"), text("request")).await {
        Ok(credits) if credits < Credits::ZERO => Ok(go("/billing", Said::CreditsRemoved)),
        Ok(_) => Ok(go("/billing", Said::CreditsGranted)),
        Err(Refusal::Invalid(fields)) => refused(&web, &signed_in, Refused::Grant(typed.values(), by_field(&fields))).await,
        Err(refusal) => Err(refusal.into()),
    }
}

pub(super) async fn refused(web: &Web, signed_in: &SignedIn, refused: Refused<'_>) -> Answer {
    Ok(shown(StatusCode::UNPROCESSABLE_ENTITY, whole(web, signed_in, &At::default(), refused).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_is_written_and_nothing_else_does() {
        assert_eq!(cursor("12.charge:a:5"), Some((Millis(12), "charge:a:5")));
        for bad in ["", "12", "x.y", "12.a b", "12.\0", &format!("1.{}", "x".repeat(200))] {
            assert_eq!(cursor(bad), None, "{bad:?}");
        }
    }
}
