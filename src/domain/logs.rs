//! Logs of games, for as long as somebody reads them: the last lines in memory, the rest on the node.
//!
//! A reader says which sequence number it has; it gets what came after that, from memory or from the node, and then what
//! comes. Lines are kept once and in order, however often a node sends them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::broadcast;

use super::{Actor, Ctx, Refusal, servers};
use crate::model::ids::ServerId;
use crate::model::servers::{Phase, Server};
use crate::model::users::Right;
use crate::wire::agent::{LINE_BYTES_MAX, LINES_MAX, LogLine, ToNode};

/// Lines kept in memory for each server.
pub const KEPT_LINES: usize = 1_000;
/// Servers whose lines are kept; the one unread for longest goes.
const KEPT_SERVERS: usize = 256;
/// Batches of lines that a slow reader may be behind.
const BEHIND: usize = 64;
/// Seconds that a node follows a log before it has to be asked again.
const FOLLOW_SECS: u32 = 60;
/// A reader renews this often.
pub const RENEW_EVERY: Duration = Duration::from_secs(25);
/// Longest wait of an API request for a node's first lines.
const FIRST_LINES: Duration = Duration::from_secs(2);

/// Lines that came together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// In order.
    pub lines: Vec<LogLine>,
    /// True: some before these are lost.
    pub gap: bool,
    /// What the game has begun to write behind them and not ended.
    pub open: Option<String>,
}

struct Kept {
    lines: VecDeque<LogLine>,
    open: Option<String>,
    sender: broadcast::Sender<Arc<Batch>>,
    used: u64,
}

/// All logs that are read.
#[derive(Default)]
pub struct LogHub {
    kept: Mutex<(u64, HashMap<ServerId, Kept>)>,
}

impl LogHub {
    fn with<T>(&self, server: &ServerId, act: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        let mut guard = self.kept.lock().ok()?;
        let (count, kept) = &mut *guard;
        *count += 1;
        if !kept.contains_key(server) && kept.len() >= KEPT_SERVERS {
            let oldest = kept.iter().filter(|(_, log)| log.sender.receiver_count() == 0).min_by_key(|(_, log)| log.used);
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                kept.remove(&id);
            }
        }
        let fresh = || Kept { lines: VecDeque::new(), open: None, sender: broadcast::channel(BEHIND).0, used: 0 };
        let log = kept.entry(server.clone()).or_insert_with(fresh);
        log.used = *count;
        Some(act(log))
    }

    /// Keeps lines from a node, and the line that was begun behind them; what is known is dropped.
    pub(super) fn append(&self, server: &ServerId, lines: Vec<LogLine>, gap: bool, mut open: Option<String>) {
        if let Some(text) = &mut open {
            cut(text);
        }
        self.with(server, |log| {
            let last = log.lines.back().map_or(0, |line| line.seq);
            let mut fresh: Vec<LogLine> = Vec::new();
            for mut line in lines.into_iter().take(LINES_MAX) {
                if line.seq > fresh.last().map_or(last, |line| line.seq) {
                    cut(&mut line.text);
                    fresh.push(line);
                }
            }
            if fresh.is_empty() && log.open == open {
                return;
            }
            log.open.clone_from(&open);
            log.lines.extend(fresh.iter().cloned());
            while log.lines.len() > KEPT_LINES {
                log.lines.pop_front();
            }
            let _ = log.sender.send(Arc::new(Batch { lines: fresh, gap: gap && last > 0, open }));
        });
    }
}

fn cut(text: &mut String) {
    if text.len() > LINE_BYTES_MAX {
        let end = (0..=LINE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

/// What a reader starts with.
pub struct Reading {
    /// Lines after the number that was asked for, oldest first.
    pub lines: Vec<LogLine>,
    /// True: lines between the number that was asked for and the first of these have left memory.
    pub gap: bool,
    /// What the game has begun to write behind them and not ended.
    pub open: Option<String>,
    /// What comes.
    pub coming: broadcast::Receiver<Arc<Batch>>,
}

/// Asks the node to send what is missing and to follow for a while. Called anew every [`RENEW_EVERY`].
pub fn ask(ctx: &Ctx, server: &Server) {
    let after = ctx.logs.with(&server.id, |log| log.lines.back().map(|line| line.seq)).flatten();
    let lines = u32::try_from(LINES_MAX).unwrap_or(u32::MAX);
    let message = ToNode::TailLogs { server: server.id.clone(), after, lines, follow_secs: FOLLOW_SECS };
    if let Err(why) = ctx.engine.deliver(&server.node, message) {
        tracing::debug!(server = %server.id, reason = %why, "the log could not be asked for");
    }
}

/// Begins to read a log after a sequence number.
pub async fn read(ctx: &Ctx, actor: &Actor, id: &ServerId, after: u64) -> Result<Reading, Refusal> {
    let server = servers::find(ctx, actor, id, Right::SeeServer).await?;
    let reading = ctx.logs.with(id, |log| Reading {
        lines: log.lines.iter().filter(|line| line.seq > after).cloned().collect(),
        open: log.open.clone(),
        gap: after > 0 && log.lines.front().is_some_and(|oldest| oldest.seq > after),
        coming: log.sender.subscribe(),
    });
    ask(ctx, &server);
    reading.ok_or(Refusal::NotFound)
}

/// The last lines, and what was begun behind them. With nothing in memory it waits shortly for the node; pages pass `patient: false` and
/// never wait.
pub async fn tail(ctx: &Ctx, actor: &Actor, id: &ServerId, lines: usize, patient: bool) -> Result<(Vec<LogLine>, Option<String>), Refusal> {
    let mut reading = read(ctx, actor, id, 0).await?;
    if reading.lines.is_empty()
        && patient
        && let Ok(Ok(batch)) = tokio::time::timeout(FIRST_LINES, reading.coming.recv()).await
    {
        reading.lines.extend(batch.lines.iter().cloned());
        reading.open.clone_from(&batch.open);
    }
    let skip = reading.lines.len().saturating_sub(lines.min(KEPT_LINES));
    Ok((reading.lines.split_off(skip), reading.open))
}

/// Sends a line to the game's standard input.
///
/// # Errors
/// [`Refusal::Conflict`] when it does not run or its node is away; [`Refusal::TooMany`]; [`Refusal::Invalid`] at `line`.
pub async fn type_line(ctx: &Ctx, actor: &Actor, id: &ServerId, line: &str) -> Result<(), Refusal> {
    // Before the database: whoever sends without end costs no more than this.
    ctx.limits.console(actor.user.id.as_str())?;
    let server = servers::find(ctx, actor, id, Right::TypeIntoConsole).await?;
    let mut fields = super::Fields::default();
    if line.len() > LINE_BYTES_MAX {
        fields.add("line", "A line has at most 4096 bytes.");
    } else if line.chars().any(char::is_control) {
        fields.add("line", "One line at a time, without control characters.");
    }
    fields.check()?;
    if !matches!(server.life.phase, Phase::Running | Phase::Starting) {
        return Err(Refusal::Conflict("The game does not run, so it cannot read what you type. Wake it first.".to_owned()));
    }
    let message = ToNode::ConsoleInput { server: id.clone(), line: line.to_owned() };
    ctx.engine.deliver(&server.node, message).map_err(|why| Refusal::Conflict(format!("The line was not sent: {why}.")))
}
