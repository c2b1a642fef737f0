//! The console of a game: its log, line by line with numbers that never repeat, and lines for its standard input.
//!
//! Lines come out of the log file, where they have stamps and outlive everything. A line that was begun and not ended is not in it: it is
//! heard beside it, told without a number once it has stood for a moment, and is over when it comes as a line. Reading again starts a
//! little before the line that was asked for, so that the same lines get the same numbers.

mod attached;
mod lines;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

pub use attached::{Attached, Ear};
pub use lines::Lines;

use super::ctx::Ctx;
use super::instance::Instance;
use crate::wire::agent::{EventKind, LINE_BYTES_MAX, LINES_MAX, LogLine};

/// Longest time that lines wait for company.
const BATCH_WAIT: Duration = Duration::from_millis(100);
/// Seconds before the asked line from which reading starts, and entries more than asked for: numbers settle on the way.
const OVERLAP_SECS: u64 = 2;
const OVERLAP_ENTRIES: u32 = 64;
/// Longest follow that one message can ask for.
const FOLLOW_SECS_MAX: u32 = 600;
/// Lines for standard input that wait.
const INPUT_MAX: usize = 64;
/// A line that was begun is told when it has stood for so long without its end: until then it is most likely a line on its way.
const OPEN_LINE_WAIT: Duration = Duration::from_millis(300);
/// Between two looks at the line that was begun, while somebody follows.
const OPEN_LINE_EVERY: Duration = Duration::from_millis(100);
/// Columns and rows of a game's terminal: wide, because a line that is wrapped is two lines of the log.
pub const TTY_WINDOW: (u16, u16) = (240, 50);
/// Wait before a log that ended is opened again, unless the game is started sooner.
const REOPEN_WAIT: Duration = Duration::from_secs(2);

/// Followers and writers of one server.
#[derive(Default)]
pub struct Console {
    follower: Mutex<Option<Follower>>,
    input: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    /// Hears what the running game writes.
    ear: Mutex<Option<Ear>>,
}

struct Follower {
    until: watch::Sender<Instant>,
    /// Last number that was handed to the panel's pipe, said before it is: whoever asks then gets a line twice and not never.
    sent: watch::Receiver<u64>,
    tasks: tokio_util::sync::DropGuard,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Tail {
    /// Only lines after this number.
    pub after: Option<u64>,
    /// Old lines at most.
    pub lines: u32,
    /// 0: do not follow.
    pub follow_secs: u32,
}

/// A line for standard input: without control characters, at most [`LINE_BYTES_MAX`].
pub fn one_line(line: &str) -> String {
    let mut clean: String = line.chars().filter(|c| !c.is_control()).collect();
    let end = (0..=LINE_BYTES_MAX.min(clean.len())).rev().find(|at| clean.is_char_boundary(*at)).unwrap_or_default();
    clean.truncate(end);
    clean
}

/// A line as it is typed: with the key that ends it, which a terminal knows as a carriage return.
pub fn entered(line: &str, tty: bool) -> Vec<u8> {
    let mut typed = one_line(line).into_bytes();
    typed.push(if tty { b'\r' } else { b'\n' });
    typed
}

fn game(instance: &Instance) -> String {
    format!("roost-{}-game", instance.server)
}

impl Console {
    /// Answers a request for the log; a follower that runs already goes on longer instead of being doubled.
    pub fn tail(ctx: &Arc<Ctx>, instance: &Arc<Instance>, tail: Tail) {
        let mut follower = instance.console.follower.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + Duration::from_secs(u64::from(tail.follow_secs.min(FOLLOW_SECS_MAX)));
        let running = follower.as_ref().filter(|follower| follower.sent.has_changed().is_ok());
        if let Some(follower) = running {
            let sent = *follower.sent.borrow();
            follower.until.send_modify(|old| *old = until.max(*old));
            if tail.after.is_none_or(|after| after < sent) {
                // Somebody else looks on, or lines got lost on the way: those before the place where the follower is. Should they
                // still be on their way, then the same numbers come twice, which is better than never.
                spawn_backlog(ctx, instance, tail, Some(sent));
            }
            return;
        }
        if tail.follow_secs == 0 {
            return spawn_backlog(ctx, instance, tail, None);
        }
        let (until, ends) = watch::channel(until);
        let (sent_to, sent) = watch::channel(tail.after.unwrap_or_default());
        let end = ctx.stop.child_token();
        let (ctx2, instance2, ended) = (Arc::clone(ctx), Arc::clone(instance), end.clone());
        ctx.tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = follow(&ctx2, &instance2, tail, ends, &sent_to) => {}
            }
        });
        *follower = Some(Follower { until, sent, tasks: end.drop_guard() });
    }

    /// Ends following: the panel that asked has gone.
    pub fn quiet(&self) {
        if let Some(follower) = self.follower.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(follower.tasks);
        }
    }

    /// Begins to hear a game. One that cannot be heard is still read from its log.
    pub async fn listen(ctx: &Ctx, instance: &Instance, tty: bool, word: Option<String>, whole: bool) {
        let ear = match Attached::open(ctx, &game(instance), tty, word, whole).await {
            Ok(attached) => Some(Arc::new(attached)),
            Err(error) => {
                tracing::debug!(server = %instance.server, %error, "a game cannot be heard beside its log");
                None
            }
        };
        *instance.console.ear.lock().unwrap_or_else(PoisonError::into_inner) = ear;
    }

    /// Who hears the running game, if anybody does.
    pub fn ear(&self) -> Option<Ear> {
        self.ear.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|ear| ear.is_open())
    }

    /// The line that the game has begun, once it has stood for a moment, and since when.
    fn open_line(&self) -> Option<(String, Instant)> {
        let heard = self.ear()?.heard();
        let line = heard.borrow().open_line();
        line.filter(|(_, since)| since.elapsed() >= OPEN_LINE_WAIT)
    }

    /// Sends a line to the game, after those that wait. What does not fit into the queue is dropped: nobody types that fast.
    pub fn write(ctx: &Arc<Ctx>, instance: &Arc<Instance>, line: &str) {
        let mut input = instance.console.input.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = input.get_or_insert_with(|| {
            let (writer, mut lines) = mpsc::channel::<Vec<u8>>(INPUT_MAX);
            let (ctx2, instance2) = (Arc::clone(ctx), Arc::downgrade(instance));
            ctx.tasks.spawn(async move {
                let write = async {
                    while let Some(line) = lines.recv().await {
                        let Some(instance) = instance2.upgrade() else { return };
                        if let Err(error) = ctx2.engine.write_stdin(&game(&instance), &line).await {
                            tracing::info!(server = %instance.server, %error, "a line could not be sent to the game");
                        }
                    }
                };
                tokio::select! {
                    () = ctx2.stop.cancelled() => {}
                    () = write => {}
                }
            });
            writer
        });
        if writer.try_send(entered(line, instance.view().tty)).is_err() {
            tracing::info!(server = %instance.server, "too many lines wait for the game's input; one was dropped");
        }
    }
}

fn spawn_backlog(ctx: &Arc<Ctx>, instance: &Arc<Instance>, tail: Tail, upto: Option<u64>) {
    let (ctx2, instance2) = (Arc::clone(ctx), Arc::clone(instance));
    ctx.tasks.spawn(async move {
        let read = async {
            let (mut lines, gap) = backlog(&ctx2, &instance2, tail).await;
            lines.retain(|line| upto.is_none_or(|upto| line.seq <= upto));
            let open = instance2.console.open_line().map(|(text, _)| text);
            send(&ctx2, &instance2, lines, gap, open).await
        };
        tokio::select! {
            () = ctx2.stop.cancelled() => {}
            _sent = read => {}
        }
    });
}

/// False: the panel's pipe is closed.
async fn send(ctx: &Ctx, instance: &Instance, lines: Vec<LogLine>, gap: bool, open: Option<String>) -> bool {
    let event = crate::wire::agent::Event {
        server: instance.server.clone(),
        at: ctx.clock.now(),
        command: None,
        kind: EventKind::Log { lines, gap, open },
    };
    // A slow panel slows its own followers down and nobody else.
    ctx.outbox.send(crate::wire::agent::FromNode::Event(event)).await.is_ok()
}

fn since_secs(after: Option<u64>) -> i32 {
    let secs = after.unwrap_or_default() / 1_000_000_000;
    i32::try_from(secs.saturating_sub(OVERLAP_SECS)).unwrap_or_default()
}

/// The old lines that were asked for, and whether some between `after` and the first of them are lost.
async fn backlog(ctx: &Ctx, instance: &Instance, tail: Tail) -> (Vec<LogLine>, bool) {
    let wanted = tail.lines.min(u32::try_from(LINES_MAX).unwrap_or(u32::MAX));
    let Ok(mut log) = ctx.engine.logs(&game(instance), since_secs(tail.after), Some(wanted + OVERLAP_ENTRIES), false).await else {
        return (Vec::new(), tail.after.is_some());
    };
    let (mut reader, mut lines) = (Lines::default(), Vec::new());
    let mut continues = tail.after.is_none();
    let mut sort = |line: LogLine| match tail.after {
        Some(after) if line.seq <= after => continues |= line.seq == after,
        Some(_) | None => lines.push(line),
    };
    while let Ok(Some(entry)) = log.entry().await {
        reader.take(&entry).for_each(&mut sort);
    }
    reader.rest().into_iter().for_each(&mut sort);
    let surplus = lines.len().saturating_sub(wanted as usize);
    lines.drain(..surplus);
    (lines, !continues || (surplus > 0 && tail.after.is_some()))
}

/// Old lines first, then what comes, over restarts of the game, until nobody asks any more.
async fn follow(ctx: &Ctx, instance: &Instance, tail: Tail, mut until: watch::Receiver<Instant>, sent: &watch::Sender<u64>) {
    let (lines, gap) = backlog(ctx, instance, tail).await;
    // What was certainly sent: a follow that is broken off to be made longer goes on from here.
    let mut certain = lines.last().map(|line| line.seq).or(tail.after).unwrap_or_default();
    sent.send_replace(certain);
    let open = instance.console.open_line().map(|(text, _)| text);
    // Also without a line: what the panel shows as begun may have ended since it last asked.
    if !send(ctx, instance, lines, gap, open).await {
        return;
    }
    loop {
        let end = *until.borrow_and_update();
        if Instant::now() >= end {
            return;
        }
        let started = instance.started.notified();
        tokio::pin!(started);
        started.as_mut().enable();
        tokio::select! {
            () = sleep_until(end) => continue,
            open = stream(ctx, instance, &mut certain, sent) => if !open { return },
        }
        tokio::select! {
            () = sleep_until(end) => {}
            () = started => {}
            () = tokio::time::sleep(REOPEN_WAIT) => {}
        }
    }
}

/// Lines that wait for company, and the begun line as the panel knows it.
struct Batch<'a> {
    ctx: &'a Ctx,
    instance: &'a Instance,
    lines: Vec<LogLine>,
    last: u64,
    flush_at: Instant,
    told: Option<String>,
    /// The begun line of this moment has come as a line; what was heard of it is only late.
    ended: Option<Instant>,
}

impl Batch<'_> {
    fn take(&mut self, line: LogLine) {
        if line.seq <= self.last {
            return;
        }
        if let Some((text, since)) = self.instance.console.open_line()
            && line.text.starts_with(&text)
        {
            self.ended = Some(since);
        }
        if self.lines.is_empty() {
            self.flush_at = Instant::now() + BATCH_WAIT;
        }
        self.last = line.seq;
        self.lines.push(line);
    }

    fn open_line(&self) -> Option<String> {
        self.instance.console.open_line().filter(|(_, since)| Some(*since) != self.ended).map(|(text, _)| text)
    }

    /// Sends what is due. False: the panel's pipe is closed.
    async fn flush(&mut self, certain: &mut u64, sent: &watch::Sender<u64>, ended: bool) -> bool {
        let open = self.open_line();
        let due = ended || self.lines.len() >= LINES_MAX || Instant::now() >= self.flush_at;
        if !due || (self.lines.is_empty() && open == self.told) {
            return true;
        }
        sent.send_replace(self.last);
        self.told.clone_from(&open);
        let open_to = send(self.ctx, self.instance, std::mem::take(&mut self.lines), false, open).await;
        if open_to {
            *certain = self.last;
        }
        open_to
    }
}

/// Reads a log until it ends, from the last line that was sent. False: the panel's pipe is closed.
async fn stream(ctx: &Ctx, instance: &Instance, certain: &mut u64, sent: &watch::Sender<u64>) -> bool {
    let Ok(mut log) = ctx.engine.logs(&game(instance), since_secs(Some(*certain)), None, true).await else { return true };
    let mut reader = Lines::default();
    let told = instance.console.open_line().map(|(text, _)| text);
    let mut batch = Batch { ctx, instance, lines: Vec::new(), last: *certain, flush_at: Instant::now(), told, ended: None };
    let mut looks = tokio::time::interval(OPEN_LINE_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let entry = tokio::select! {
            entry = log.entry() => Some(entry),
            _ = looks.tick() => None,
        };
        let ended = match entry {
            Some(Ok(Some(entry))) => {
                reader.take(&entry).for_each(|line| batch.take(line));
                false
            }
            Some(Ok(None) | Err(_)) => {
                reader.rest().into_iter().for_each(|line| batch.take(line));
                true
            }
            None => false,
        };
        if !batch.flush(certain, sent, ended).await {
            return false;
        }
        if ended {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_the_game_is_one_line() {
        assert_eq!(one_line("say hi\nop me\r\u{1b}[0m"), "say hiop me[0m");
        assert_eq!(one_line(&"ü".repeat(LINE_BYTES_MAX)).len(), LINE_BYTES_MAX);
        assert_eq!((entered("stop", false), entered("stop", true)), (b"stop\n".to_vec(), b"stop\r".to_vec()));
    }
}
