//! The console of a game: its log, line by line with numbers that never repeat, and lines for its standard input.
//!
//! A line's number is its stamp in nanoseconds, moved up by one where two would be equal. Reading again starts a little before the
//! line that was asked for, so that the same lines get the same numbers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::ctx::Ctx;
use super::docker::RawLog;
use super::instance::Instance;
use super::stamps;
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
/// Wait before a log that ended is opened again, unless the game is started sooner.
const REOPEN_WAIT: Duration = Duration::from_secs(2);

/// Followers and writers of one server.
#[derive(Default)]
pub struct Console {
    follower: Mutex<Option<Follower>>,
    input: Mutex<Option<mpsc::Sender<String>>>,
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

/// Puts Docker's entries together to lines.
#[derive(Debug, Default)]
pub struct Lines {
    last: u64,
    /// A line that goes on in the next entry of the same stream, by stream: stdout, stderr.
    begun: HashMap<bool, (u64, Vec<u8>)>,
}

impl Lines {
    /// Takes one entry; gives a line when it is complete.
    pub fn take(&mut self, entry: &RawLog) -> Option<LogLine> {
        let space = entry.bytes.iter().position(|byte| *byte == b' ')?;
        let (stamp, text) = entry.bytes.split_at(space);
        let stamp = stamps::nanos(std::str::from_utf8(stamp).ok()?)?;
        let (text, ends) = match text[1..].strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (&text[1..], false),
        };
        let (first, mut line) = self.begun.remove(&entry.stderr).unwrap_or((stamp, Vec::new()));
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        // Cut only past the limit, and one byte more is kept so that the cut is seen below.
        line.extend_from_slice(&text[..text.len().min(room + 1)]);
        if !ends {
            self.begun.insert(entry.stderr, (first, line));
            return None;
        }
        let seq = first.max(self.last + 1);
        self.last = seq;
        Some(LogLine { seq, text: shown(&line) })
    }
}

/// As a terminal would leave it: what a carriage return overwrites is gone; not past the limit.
fn shown(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.rsplit(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut text = String::from_utf8_lossy(line).into_owned();
    if text.len() > LINE_BYTES_MAX {
        let end = (0..=LINE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

/// A line for standard input: without control characters, at most [`LINE_BYTES_MAX`].
pub fn one_line(line: &str) -> String {
    let mut clean: String = line.chars().filter(|c| !c.is_control()).collect();
    let end = (0..=LINE_BYTES_MAX.min(clean.len())).rev().find(|at| clean.is_char_boundary(*at)).unwrap_or_default();
    clean.truncate(end);
    clean
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

    /// Sends a line to the game, after those that wait. What does not fit into the queue is dropped: nobody types that fast.
    pub fn write(ctx: &Arc<Ctx>, instance: &Arc<Instance>, line: &str) {
        let mut input = instance.console.input.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = input.get_or_insert_with(|| {
            let (writer, mut lines) = mpsc::channel::<String>(INPUT_MAX);
            let (ctx2, instance2) = (Arc::clone(ctx), Arc::downgrade(instance));
            ctx.tasks.spawn(async move {
                let write = async {
                    while let Some(line) = lines.recv().await {
                        let Some(instance) = instance2.upgrade() else { return };
                        if let Err(error) = ctx2.engine.write_stdin(&game(&instance), line.as_bytes()).await {
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
        if writer.try_send(format!("{}\n", one_line(line))).is_err() {
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
            send(&ctx2, &instance2, lines, gap).await
        };
        tokio::select! {
            () = ctx2.stop.cancelled() => {}
            _sent = read => {}
        }
    });
}

/// False: the panel's pipe is closed.
async fn send(ctx: &Ctx, instance: &Instance, lines: Vec<LogLine>, gap: bool) -> bool {
    let event = crate::wire::agent::Event {
        server: instance.server.clone(),
        at: ctx.clock.now(),
        command: None,
        kind: EventKind::Log { lines, gap },
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
    while let Some(Ok(entry)) = log.next().await {
        let Some(line) = reader.take(&entry) else { continue };
        match tail.after {
            Some(after) if line.seq <= after => continues |= line.seq == after,
            Some(_) | None => lines.push(line),
        }
    }
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
    if (!lines.is_empty() || gap) && !send(ctx, instance, lines, gap).await {
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

/// Reads a log until it ends, from the last line that was sent. False: the panel's pipe is closed.
async fn stream(ctx: &Ctx, instance: &Instance, certain: &mut u64, sent: &watch::Sender<u64>) -> bool {
    let mut last = *certain;
    let Ok(mut log) = ctx.engine.logs(&game(instance), since_secs(Some(last)), None, true).await else { return true };
    let mut reader = Lines::default();
    let mut batch: Vec<LogLine> = Vec::new();
    let mut flush_at = Instant::now();
    loop {
        let entry = if batch.is_empty() { Ok(log.next().await) } else { timeout_at(flush_at, log.next()).await };
        let ended = match entry {
            Ok(Some(Ok(entry))) => {
                if let Some(line) = reader.take(&entry).filter(|line| line.seq > last) {
                    if batch.is_empty() {
                        flush_at = Instant::now() + BATCH_WAIT;
                    }
                    last = line.seq;
                    batch.push(line);
                }
                false
            }
            Ok(Some(Err(_)) | None) => true,
            Err(_elapsed) => false,
        };
        let due = ended || batch.len() >= LINES_MAX || Instant::now() >= flush_at;
        if due && !batch.is_empty() {
            sent.send_replace(last);
            if !send(ctx, instance, std::mem::take(&mut batch), false).await {
                return false;
            }
            *certain = last;
        }
        if ended {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stderr: bool, text: &str) -> RawLog {
        RawLog { stderr, bytes: text.to_owned().into() }
    }

    fn read(entries: &[RawLog]) -> Vec<(u64, String)> {
        let mut lines = Lines::default();
        entries.iter().filter_map(|entry| lines.take(entry)).map(|line| (line.seq, line.text)).collect()
    }

    #[test]
    fn equal_and_backward_stamps_get_numbers_of_their_own() {
        let stamps = ["1970-01-01T00:00:01Z a\n", "1970-01-01T00:00:01Z b\n", "1970-01-01T00:00:00.5Z c\n", "1970-01-01T00:00:02Z d\n"];
        let lines = read(&stamps.map(|text| entry(false, text)));
        let numbers: Vec<u64> = lines.iter().map(|line| line.0).collect();
        assert_eq!(numbers, [1_000_000_000, 1_000_000_001, 1_000_000_002, 2_000_000_000]);
        let later = read(&stamps[1..].iter().map(|text| entry(false, text)).collect::<Vec<_>>());
        assert_eq!(later.last(), lines.last(), "numbers settle, wherever reading starts");
    }

    #[test]
    fn a_line_in_pieces_is_put_together_within_its_own_stream() {
        let lines = read(&[
            entry(false, "1970-01-01T00:00:01Z one "),
            entry(true, "1970-01-01T00:00:02Z other\n"),
            entry(false, "1970-01-01T00:00:03Z line\r\n"),
        ]);
        assert_eq!(lines, [(2_000_000_000, "other".to_owned()), (2_000_000_001, "one line".to_owned())]);
    }

    #[test]
    fn long_lines_are_cut_and_what_a_carriage_return_overwrote_is_gone() {
        let long = format!("1970-01-01T00:00:01Z {}\n", "ü".repeat(LINE_BYTES_MAX));
        assert_eq!(read(&[entry(false, &long)])[0].1.len(), LINE_BYTES_MAX);
        assert_eq!(read(&[entry(false, "1970-01-01T00:00:01Z 10%\r20%\r\n")])[0].1, "20%");
        assert_eq!(read(&[entry(false, "1970-01-01T00:00:01Z \n")])[0].1, "");
    }

    #[test]
    fn a_line_for_the_game_is_one_line() {
        assert_eq!(one_line("say hi\nop me\r\u{1b}[0m"), "say hiop me[0m");
        assert_eq!(one_line(&"ü".repeat(LINE_BYTES_MAX)).len(), LINE_BYTES_MAX);
    }
}
