//! A reader's place in a log: what it has seen last, so that no line comes twice and every hole is named.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::domain::logs::{Batch, KEPT_LINES, RENEW_EVERY, ask, read};
use crate::domain::{Actor, Refusal, servers};
use crate::http::Web;
use crate::model::ids::ServerId;
use crate::model::users::Right;
use crate::wire::agent::LogLine;

/// A place in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    /// Number of the last line that was passed on.
    last: u64,
    /// Is it known that nothing lies between that line and what comes?
    joined: bool,
}

impl Cursor {
    fn after(last: u64) -> Cursor {
        Cursor { last, joined: last == 0 }
    }

    /// Those lines that are new, and whether some before them are lost.
    fn take(&mut self, lines: &[LogLine], gap: bool) -> (Vec<LogLine>, bool) {
        let overlaps = lines.iter().any(|line| line.seq <= self.last);
        let fresh: Vec<LogLine> = lines.iter().filter(|line| line.seq > self.last).cloned().collect();
        let Some(last) = fresh.last() else {
            self.joined |= overlaps;
            return (fresh, false);
        };
        let hole = (gap || !self.joined) && !overlaps && self.last > 0;
        self.last = last.seq;
        self.joined = true;
        (fresh, hole)
    }
}

/// A log that is followed.
pub(super) struct Follower {
    server: ServerId,
    cursor: Cursor,
    coming: Option<Receiver<Arc<Batch>>>,
    renew: tokio::time::Interval,
    waiting: Vec<LogLine>,
    gap: bool,
    /// The line that was begun, as it is, and as it was passed on.
    open: Option<String>,
    told: Option<String>,
}

/// What is new in a log.
pub(super) struct Fresh {
    /// Lines in order.
    pub lines: Vec<LogLine>,
    /// Some before these are lost.
    pub gap: bool,
    /// What the game has begun to write behind the last line; empty: nothing.
    pub open: String,
}

impl Follower {
    /// Behind the line of this number.
    pub fn new(server: ServerId, after: u64) -> Follower {
        let mut renew = interval_at(Instant::now() + RENEW_EVERY, RENEW_EVERY);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Follower { server, cursor: Cursor::after(after), coming: None, renew, waiting: Vec::new(), gap: false, open: None, told: None }
    }

    fn note(&mut self, lines: &[LogLine], gap: bool, open: Option<&String>) {
        self.open = open.cloned();
        let (fresh, hole) = self.cursor.take(lines, gap);
        self.gap |= hole;
        self.waiting.extend(fresh);
        let surplus = self.waiting.len().saturating_sub(KEPT_LINES);
        if surplus > 0 {
            self.waiting.drain(..surplus);
            self.gap = true;
        }
    }

    async fn join(&mut self, web: &Web, actor: &Actor) -> Result<(), Refusal> {
        let reading = read(&web.ctx, actor, &self.server, self.cursor.last).await?;
        if !reading.gap && !reading.lines.is_empty() {
            self.cursor.joined = true;
        }
        self.note(&reading.lines, reading.gap, reading.open.as_ref());
        self.coming = Some(reading.coming);
        Ok(())
    }

    /// Waits until there is something to show.
    pub async fn wait(&mut self, web: &Web, actor: &Actor) -> Result<(), Refusal> {
        loop {
            let Some(coming) = self.coming.as_mut() else {
                self.join(web, actor).await?;
                if !self.has_news() {
                    continue;
                }
                return Ok(());
            };
            tokio::select! {
                batch = coming.recv() => match batch {
                    Ok(batch) => {
                        self.note(&batch.lines, batch.gap, batch.open.as_ref());
                        if self.has_news() {
                            return Ok(());
                        }
                    }
                    // Too slow, or the log left memory: join again behind what was passed on.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => self.coming = None,
                },
                _ = self.renew.tick() => {
                    let server = servers::find(&web.ctx, actor, &self.server, Right::SeeServer).await?;
                    ask(&web.ctx, &server);
                }
            }
        }
    }

    fn has_news(&self) -> bool {
        !self.waiting.is_empty() || self.open != self.told
    }

    /// What has come since it was last asked.
    pub fn take(&mut self) -> Option<Fresh> {
        self.has_news().then(|| {
            self.told.clone_from(&self.open);
            let (lines, gap) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.gap));
            Fresh { lines, gap, open: self.open.clone().unwrap_or_default() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(seqs: &[u64]) -> Vec<LogLine> {
        seqs.iter().map(|seq| LogLine { seq: *seq, text: String::new() }).collect()
    }

    fn check(after: u64, batches: &[(&[u64], bool)], passed: &[u64], holes: usize) {
        let mut cursor = Cursor::after(after);
        let (mut all, mut gaps) = (Vec::new(), 0);
        for (batch, gap) in batches {
            let (fresh, hole) = cursor.take(&lines(batch), *gap);
            all.extend(fresh.iter().map(|line| line.seq));
            gaps += usize::from(hole);
        }
        assert_eq!((all.as_slice(), gaps), (passed, holes), "{batches:?}");
    }

    #[test]
    fn no_line_comes_twice_and_every_hole_is_named() {
        check(0, &[(&[1, 2], false), (&[2, 3], false)], &[1, 2, 3], 0);
        check(2, &[(&[1, 2, 3], false), (&[4], false)], &[3, 4], 0);
        check(2, &[(&[7, 8], false), (&[9], false)], &[7, 8, 9], 1);
        check(2, &[(&[1, 2], false), (&[5], false)], &[5], 0);
        check(2, &[(&[2, 3], false), (&[9], true)], &[3, 9], 1);
        check(0, &[(&[5], true)], &[5], 0);
        check(9, &[(&[1, 2], false)], &[], 0);
    }
}
