//! The dashboard: one card for each server, awake or asleep before a word is read, one obvious action each.

use askama::Template;
use askama_web::WebTemplate;

use super::html_parts;
use super::layout::{Funds, Layout, amount};
use super::live::waited_for;
use super::moments::{Moment, span};
use super::phases::{Action, PhaseView, actions, sentence};
use crate::model::games::Game;
use crate::model::money::Credits;
use crate::model::servers::{Phase, Server, Wanted};
use crate::model::time::{HOUR, MINUTE, Millis};

/// `/dashboard`.
#[derive(Debug, Clone, Template, WebTemplate)]
#[template(path = "dashboard.html")]
pub struct Dashboard {
    /// Frame.
    pub layout: Layout,
    /// The sentence on top.
    pub summary: Summary,
    /// One for each server; none: the page invites to make the first.
    pub cards: Vec<ServerCard>,
    /// One for each server of somebody else that is shared with them.
    pub shared: Vec<ServerCard>,
    /// What sleeping has saved this month; none: nothing yet.
    pub saved: Option<String>,
}

/// How it all stands, in two sentences.
#[derive(Debug, Clone, Template)]
#[template(path = "_summary.html")]
pub struct Summary {
    /// How many are awake.
    pub awake: usize,
    /// How many sleep.
    pub asleep: usize,
    /// How many are being prepared or are starting.
    pub starting: usize,
    /// How many are stopped, stopping or not paid for.
    pub stopped: usize,
    /// How many are in trouble.
    pub trouble: usize,
    /// How many there are.
    pub all: usize,
    /// Cost of an hour as it is now.
    pub per_hour: String,
    /// Credits left.
    pub balance: String,
    /// How long they last at this rate; none: nothing costs.
    pub lasts: Option<String>,
    /// Mood of the balance.
    pub funds: Funds,
    /// People can add credits by themselves here, by card or for a demonstration.
    pub can_add: bool,
}

impl Summary {
    /// Counts servers and money; servers that run are those that cost.
    pub fn of<'a>(servers: impl IntoIterator<Item = &'a Server>, balance: Credits, low: Credits, can_add: bool) -> Summary {
        let (mut awake, mut asleep, mut starting, mut stopped, mut trouble, mut all, mut per_hour) = (0, 0, 0, 0, 0, 0, Credits::ZERO);
        for server in servers {
            all += 1;
            match server.life.phase {
                Phase::Running => {
                    awake += 1;
                    per_hour += server.costs_now();
                }
                Phase::Sleeping => asleep += 1,
                Phase::Failed => trouble += 1,
                Phase::Requested | Phase::Preparing | Phase::Starting => starting += 1,
                Phase::Stopping | Phase::Stopped | Phase::Expired | Phase::Destroyed => stopped += 1,
            }
        }
        let funds = Funds::of(balance, per_hour, low);
        Summary {
            awake,
            asleep,
            starting,
            stopped,
            trouble,
            all,
            per_hour: amount(per_hour),
            balance: amount(balance),
            lasts: lasts(balance, per_hour),
            funds,
            can_add,
        }
    }
}

/// How long a balance lasts at a rate, in words; none when nothing is spent or nothing is left.
pub fn lasts(balance: Credits, per_hour: Credits) -> Option<String> {
    if per_hour <= Credits::ZERO || balance <= Credits::ZERO {
        return None;
    }
    let ms = i128::from(balance.0) * i128::from(HOUR) / i128::from(per_hour.0);
    Some(span(i64::try_from(ms).unwrap_or(i64::MAX)))
}

/// A server on the dashboard; its element is `card-{id}`.
#[derive(Debug, Clone, Template)]
#[template(path = "_card.html")]
pub struct ServerCard {
    /// Its id.
    pub id: String,
    /// As its owner calls it.
    pub name: String,
    /// Name of the game.
    pub game: String,
    /// What it is doing.
    pub phase: PhaseView,
    /// Since when.
    pub since: Moment,
    /// What is being waited for, or what went wrong; may be empty.
    pub message: String,
    /// When it is tried again by itself.
    pub next_try: Option<Moment>,
    /// `host:port` to join.
    pub address: String,
    /// Players connected; none: not known or not awake.
    pub players: Option<u32>,
    /// The obvious action.
    pub action: Option<Action>,
    /// Why it may not wake, such as no credits: shown in place of the warm button.
    pub no_wake: Option<String>,
    /// Price of a running hour.
    pub per_hour: String,
    /// It costs right now.
    pub costs_now: bool,
    /// It is paid by the month.
    pub covered: bool,
    /// When its node was last heard of, if too long ago.
    pub last_seen: Option<Moment>,
}

html_parts!(Summary, ServerCard);

impl ServerCard {
    /// From the row. `host` is the node's public host; `players` what was last measured; `silent`: the node is offline.
    pub fn of(server: &Server, game: &Game, host: &str, players: Option<u32>, silent: bool, now: Millis) -> ServerCard {
        let life = &server.life;
        let running = life.phase == Phase::Running;
        ServerCard {
            id: server.id.to_string(),
            name: server.name.clone(),
            game: game.name.clone(),
            phase: PhaseView::of(life.phase, life.wanted),
            since: Moment::lasting(life.phase_since, now),
            message: message(server),
            next_try: life.trouble.as_ref().and_then(|trouble| trouble.next_try).map(|at| Moment::relative(at, now)),
            address: address(server, host),
            players: players.filter(|_| running),
            action: obvious(server),
            no_wake: None,
            per_hour: amount(server.per_hour),
            costs_now: running && !server.covered,
            covered: server.covered,
            last_seen: server.seen_at.filter(|_| silent).map(|at| Moment::relative(at, now)),
        }
    }
}

/// The one thing to do. Nothing while it does what was asked of it.
fn obvious(server: &Server) -> Option<Action> {
    let life = &server.life;
    let on_its_way = !life.phase.rests() && life.wanted == Wanted::Running;
    actions(life).first().copied().filter(|_| !on_its_way)
}

/// What went wrong, what is being waited for, or what happens next: the line is never empty, so that nothing jumps.
fn message(server: &Server) -> String {
    let life = &server.life;
    match (&life.trouble, life.phase) {
        (Some(trouble), _) => sentence(&trouble.what),
        (None, Phase::Running) if server.auto_sleep => {
            format!("Falls asleep after {} of quiet.", span(i64::from(server.idle_minutes) * MINUTE))
        }
        (None, Phase::Running) => "Stays awake until you put it to sleep.".to_owned(),
        (None, Phase::Sleeping) => "Wakes when somebody joins.".to_owned(),
        (None, Phase::Stopped) => "Closed until you start it. Its world is kept.".to_owned(),
        (None, Phase::Expired) => "Closed because it is not paid for.".to_owned(),
        (None, Phase::Failed | Phase::Destroyed) => life.message.clone(),
        (None, Phase::Requested | Phase::Preparing | Phase::Starting | Phase::Stopping) if life.message.is_empty() => {
            waited_for(life.phase).to_owned()
        }
        (None, Phase::Requested | Phase::Preparing | Phase::Starting | Phase::Stopping) => life.message.clone(),
    }
}

impl ServerCard {
    /// The action, unless it would wake what may not wake.
    pub fn offered(&self) -> Option<Action> {
        self.action.filter(|action| self.no_wake.is_none() || !action.wakes())
    }

    /// The line below the address.
    pub fn line(&self) -> &str {
        self.no_wake.as_deref().unwrap_or(&self.message)
    }
}

/// Where to join: the first port is the one.
pub fn address(server: &Server, host: &str) -> String {
    server.ports.first().map_or_else(|| host.to_owned(), |port| format!("{host}:{}", port.public))
}
