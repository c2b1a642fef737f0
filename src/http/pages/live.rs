//! The parts of a server's page that change by themselves: head, numbers, log, history.
//!
//! Each has a fixed element id and is sent whole over the page's WebSocket, where htmx puts it in place of the old one; log
//! lines are appended instead. The page holds the very same structs, so a reload shows what the socket would have sent.

use askama::Template;

use super::html_parts;
use super::layout::amount;
use super::moments::{Moment, span};
use super::phases::{Action, PhaseView, actions, sentence};
use crate::http::ansi;
use crate::http::charts::{Chart, Quantity, say_mebibytes, say_share};
use crate::model::disk::{DiskUse, Room, files_allowed};
use crate::model::games::{Game, Plan};
use crate::model::idleness::{Rules, Sample};
use crate::model::servers::{Phase, Seen, Server};
use crate::model::time::{MINUTE, Millis};
use crate::wire::agent::LogLine;

use super::create::{cores, mebibytes};
use super::dashboard::address;

/// Phase, age, progress, trouble, actions, address: element `head`.
#[derive(Debug, Clone, Template)]
#[template(path = "servers/_head.html")]
pub struct ServerHead {
    /// Its id.
    pub id: String,
    /// As its owner calls it.
    pub name: String,
    /// Name of the game.
    pub game: String,
    /// Name of the plan.
    pub plan: String,
    /// What it is doing.
    pub phase: PhaseView,
    /// How long it has.
    pub since: Moment,
    /// What is being waited for.
    pub waiting: Option<Waiting>,
    /// What a resting state means for players; empty while it passes or is in trouble.
    pub resting: &'static str,
    /// What is wrong with a game that runs; empty: nothing.
    pub ails: String,
    /// What went wrong.
    pub trouble: Option<TroubleView>,
    /// What can be asked for, the obvious one first; empty for whoever may only look.
    pub actions: Vec<Action>,
    /// Why it may not wake, such as no credits: shown in place of the warm button.
    pub no_wake: Option<String>,
    /// `host:port` to join.
    pub address: String,
    /// How to join with the real address in it.
    pub join_hint: String,
    /// All ports.
    pub ports: Vec<PortView>,
    /// When its node was last heard of, if too long ago.
    pub last_seen: Option<Moment>,
}

/// What is being waited for.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// In words: `pulling itzg/minecraft-server: 12 of 18 layers`.
    pub text: String,
    /// 0 to 100 where it can be said.
    pub percent: Option<u8>,
    /// `Usually takes 40 s.`; may be empty.
    pub usually: String,
}

/// What went wrong.
#[derive(Debug, Clone)]
pub struct TroubleView {
    /// In words, with what to do.
    pub what: String,
    /// Since when.
    pub since: Moment,
    /// When it is tried again; none: somebody has to press Retry.
    pub next_try: Option<Moment>,
}

/// A public port.
#[derive(Debug, Clone)]
pub struct PortView {
    /// `game`, `query`.
    pub name: String,
    /// Number on the node.
    pub public: u16,
    /// `TCP` or `UDP`.
    pub protocol: String,
}

/// The catalogue's sentence with this server's address in it.
fn join_hint(hint: &str, address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    hint.replace("{address}", address).replace("{host}", host).replace("{port}", port)
}

impl ServerHead {
    /// From the row. `usually` is how long the running step took in the past, in milliseconds; `may_act`: this person may use
    /// the buttons; `silent`: the node is offline.
    pub fn of(server: &Server, game: &Game, host: &str, usually: Option<i64>, may_act: bool, silent: bool, now: Millis) -> ServerHead {
        let life = &server.life;
        let phase = PhaseView::of(life.phase, life.wanted);
        let address = address(server, host);
        ServerHead {
            id: server.id.to_string(),
            name: server.name.clone(),
            game: game.name.clone(),
            plan: game.plan(&server.plan).map_or_else(|| server.plan.to_string(), |plan| plan.name.clone()),
            phase,
            since: Moment::lasting(life.phase_since, now),
            waiting: phase.passing.then(|| Waiting::of(life.phase, &life.message, usually)),
            ails: if life.phase == Phase::Running { life.message.clone() } else { String::new() },
            resting: if life.phase == Phase::Running && !life.message.is_empty() { "" } else { resting_words(life.phase) },
            trouble: life.trouble.as_ref().map(|trouble| TroubleView {
                what: sentence(&trouble.what),
                since: Moment::relative(trouble.since, now),
                next_try: trouble.next_try.map(|at| Moment::relative(at, now)),
            }),
            actions: if may_act { actions(life) } else { Vec::new() },
            no_wake: None,
            join_hint: join_hint(&game.join_hint, &address),
            address,
            ports: server
                .ports
                .iter()
                .map(|port| PortView { name: port.name.clone(), public: port.public, protocol: port.protocol.as_str().to_uppercase() })
                .collect(),
            last_seen: server.seen_at.filter(|_| silent).map(|at| Moment::relative(at, now)),
        }
    }

    /// The words for people who cannot see the change: one short sentence.
    pub fn announcement(&self) -> String {
        format!("{} is now: {}", self.name, self.phase.word)
    }

    /// Actions without those that wake, where waking is refused.
    pub fn offered(&self) -> impl Iterator<Item = &Action> {
        let refused = self.no_wake.is_some();
        self.actions.iter().filter(move |action| !(refused && action.wakes()))
    }
}

impl Waiting {
    fn of(phase: Phase, message: &str, usually: Option<i64>) -> Waiting {
        let text = if message.is_empty() { waited_for(phase).to_owned() } else { message.to_owned() };
        Waiting {
            text,
            percent: percent_in(message),
            usually: usually.map(|ms| format!("Usually takes {}.", span(ms))).unwrap_or_default(),
        }
    }
}

/// What a passing phase waits for when nothing more exact is known.
pub fn waited_for(phase: Phase) -> &'static str {
    match phase {
        Phase::Requested => "Waiting for its machine to take it on.",
        Phase::Preparing => "Fetching the game and making its network and folder.",
        Phase::Starting => "Waiting until the game answers on its port.",
        Phase::Stopping => "Waiting until the game has saved and ended.",
        Phase::Running | Phase::Sleeping | Phase::Stopped | Phase::Expired | Phase::Failed | Phase::Destroyed => "",
    }
}

/// What a resting state means for players, so that the place below the buttons is never empty.
fn resting_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "Open: whoever has the address can join.",
        Phase::Sleeping => "The door is held: the first player who joins wakes it and is let in as soon as the game answers.",
        Phase::Stopped => "Closed: nobody can wake it until you start it. Its world is kept.",
        Phase::Expired => "Closed because it is not paid for. Its world is kept for 7 days.",
        Phase::Destroyed => "Nothing is left of it but its history.",
        Phase::Requested | Phase::Preparing | Phase::Starting | Phase::Stopping | Phase::Failed => "",
    }
}

/// A share that a message names, such as `41%`.
fn percent_in(message: &str) -> Option<u8> {
    let before = message.split_once('%')?.0;
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|share| *share <= 100)
}

/// Charts, players, when it would sleep: element `stats`.
#[derive(Debug, Clone, Template)]
#[template(path = "servers/_stats.html")]
pub struct ServerStats {
    /// Share of the plan's CPU.
    pub cpu: Chart,
    /// Memory.
    pub memory: Chart,
    /// Players connected; none: not known.
    pub players: Option<u32>,
    /// What its files take of its storage; none: not measured yet.
    pub disk: Option<DiskView>,
    /// Why or when it would sleep.
    pub sleep: SleepForecast,
    /// It stays awake for so long after a start.
    pub awake_minutes: i64,
    /// Price of a running hour.
    pub per_hour: String,
    /// It costs right now.
    pub costs_now: bool,
    /// It is paid by the month.
    pub covered: bool,
}

/// What its files take of its storage.
#[derive(Debug, Clone)]
pub struct DiskView {
    /// Such as `41.2 MiB`.
    pub used: String,
    /// Such as `of 64 MiB`, with the number of files where that is what counts.
    pub allowed: String,
    /// What is wrong and what to do; empty: nothing.
    pub warning: &'static str,
}

impl DiskView {
    fn of(used: &DiskUse, plan: &Plan) -> DiskView {
        let files = files_allowed(plan.storage_mib);
        let many = used.files.saturating_mul(2) > files;
        let count = if many { format!(" · {} of {files} files", used.files) } else { String::new() };
        DiskView {
            used: mebibytes(u32::try_from(used.bytes >> 20).unwrap_or(u32::MAX)),
            allowed: format!("of {}{count}", mebibytes(plan.storage_mib)),
            warning: match used.room(plan.storage_mib) {
                Room::Enough => "",
                Room::Low => {
                    "Storage is running out. Past its limit the server is stopped. Delete files that it does not need, or choose a larger plan."
                }
                Room::Past => {
                    "Storage is full, so the server is stopped. Nothing is deleted. Restore an earlier backup or choose a larger plan; or start it, and free some space in it within two minutes."
                }
            },
        }
    }
}

/// When it would sleep by itself.
#[derive(Debug, Clone)]
pub enum SleepForecast {
    /// At this moment if it stays quiet.
    At(Moment),
    /// Not while somebody plays or the game computes; then after so many minutes.
    Busy(u32),
    /// Its owner has switched that off.
    Off,
    /// It is not awake.
    NotAwake,
}

impl ServerStats {
    /// From the last hour's measurements, oldest first.
    pub fn of(server: &Server, plan: &Plan, samples: &[Sample], disk: Option<&DiskUse>, rules: Rules, now: Millis) -> ServerStats {
        let limit_cpu = format!("of {}", cores(plan.cpu_millis));
        let limit_memory = format!("of {}", mebibytes(plan.memory_mib));
        let cpu = Quantity { title: "CPU", max: plan.cpu_millis, say: say_share, limit: &limit_cpu };
        let memory = Quantity { title: "Memory", max: plan.memory_mib, say: say_mebibytes, limit: &limit_memory };
        let running = server.life.phase == Phase::Running;
        let of_cpu: Vec<_> = samples.iter().map(|sample| (sample.at, sample.cpu_millis)).collect();
        let of_memory: Vec<_> = samples.iter().map(|sample| (sample.at, sample.memory_mib)).collect();
        let fresh = samples.last().filter(|sample| running && now.since(sample.at) < 2 * MINUTE);
        ServerStats {
            cpu: Chart::of(cpu, &of_cpu, now),
            memory: Chart::of(memory, &of_memory, now),
            players: fresh.and_then(|sample| sample.players),
            disk: disk.map(|used| DiskView::of(used, plan)),
            sleep: SleepForecast::of(server, rules, now),
            awake_minutes: rules.awake_at_least / MINUTE,
            per_hour: amount(server.per_hour),
            costs_now: running && !server.covered,
            covered: server.covered,
        }
    }
}

impl SleepForecast {
    /// What the rule of idleness says now.
    pub fn of(server: &Server, rules: Rules, now: Millis) -> SleepForecast {
        let Seen::Running { since } = server.seen else { return SleepForecast::NotAwake };
        if !server.auto_sleep {
            return SleepForecast::Off;
        }
        match server.quiet.sleeps_at(since, server.idle_minutes, rules, now) {
            Some(at) => SleepForecast::At(Moment::relative(at, now)),
            None => SleepForecast::Busy(server.idle_minutes),
        }
    }
}

/// Lines of the log: whole inside the page, or to be appended to element `log`.
#[derive(Debug, Clone, Template)]
#[template(path = "servers/_log_lines.html")]
pub struct LogLines {
    /// In order.
    pub lines: Vec<LineView>,
    /// Lines before the first of these are lost or not shown.
    pub gap: bool,
    /// What was begun behind them and not ended, such as a question; empty: nothing.
    pub open: ansi::Line,
    /// Sent alone: append.
    pub append: bool,
}

/// A line of the log.
#[derive(Debug, Clone)]
pub struct LineView {
    /// Its number; grows.
    pub seq: u64,
    /// With its colours.
    pub html: ansi::Line,
}

impl LogLines {
    /// For the page itself.
    pub fn whole(lines: &[LogLine], gap: bool, open: &str) -> LogLines {
        LogLines { lines: lines.iter().map(LineView::of).collect(), gap, open: ansi::Line::render(open), append: false }
    }

    /// Nothing to show.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.open.as_str().is_empty()
    }

    /// For the socket.
    pub fn appended(lines: &[LogLine], gap: bool, open: &str) -> LogLines {
        LogLines { append: true, ..LogLines::whole(lines, gap, open) }
    }
}

impl LineView {
    fn of(line: &LogLine) -> LineView {
        LineView { seq: line.seq, html: ansi::Line::render(&line.text) }
    }
}

/// The history: element `events`.
#[derive(Debug, Clone, Template)]
#[template(path = "servers/_events.html")]
pub struct EventRows {
    /// Newest first.
    pub rows: Vec<EventRow>,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// When.
    pub at: Moment,
    /// Name of its sign: `sun`, `moon`, `alert`, `stop`, `again`, `dot`.
    pub sign: &'static str,
    /// What, one sentence.
    pub what: String,
    /// Who or what did it; may be empty.
    pub who: String,
}

impl EventRow {
    /// The sign of a phase that was entered.
    pub fn sign_of(phase: Phase, wanted: crate::model::servers::Wanted) -> &'static str {
        PhaseView::of(phase, wanted).sign
    }
}

html_parts!(ServerHead, ServerStats, LogLines, EventRows);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_words_becomes_a_bar_only_where_a_share_is_named() {
        assert_eq!(percent_in("Pulling: 41% of 512 MB"), Some(41));
        assert_eq!(percent_in("12 of 18 layers"), None);
        assert_eq!(percent_in("999%"), None);
        assert_eq!(percent_in("%"), None);
    }
}
