//! What a game writes right now, heard beside its log file: the line that it has begun and not ended, and whether it said its word.
//!
//! The engine writes a line into the log file when it ends, so a game that asks something and waits on the same line is only heard here.
//! Opened before a start, this hears all of that run and nothing of the one before. It always takes what comes, because the engine holds
//! a game up whose words nobody takes, and keeps one line of each stream.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::lines::shown;
use crate::node::ctx::Ctx;
use crate::node::docker::{DockerError, Output};
use crate::wire::agent::LINE_BYTES_MAX;

/// The line that a stream has begun.
#[derive(Debug, Clone, Default)]
struct Begun {
    text: Vec<u8>,
    since: Option<Instant>,
}

/// What has been heard.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Of standard output and of standard error.
    begun: [Begun; 2],
    /// The word that was waited for stood in a line.
    pub said: bool,
}

impl Heard {
    /// The line that was begun last, as a terminal would show it, and since when; none: all lines are ended.
    pub fn open_line(&self) -> Option<(String, Instant)> {
        let begun = self.begun.iter().filter_map(|begun| begun.since.map(|since| (since, &begun.text))).max_by_key(|(since, _)| *since);
        begun.map(|(since, text)| (shown(text), since)).filter(|(text, _)| !text.is_empty())
    }

    fn take(&mut self, stderr: bool, bytes: &[u8], word: Option<&str>, now: Instant) {
        let begun = &mut self.begun[usize::from(stderr)];
        let says = |text: &[u8]| word.is_some_and(|word| shown(text).contains(word));
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let ends = pieces.peek().is_some();
            // While no word is waited for, a line that is complete here needs no look.
            if !ends || (!self.said && word.is_some()) {
                begun.add(piece, now);
                self.said = self.said || says(&begun.text);
            }
            if ends {
                *begun = Begun::default();
            }
        }
    }
}

impl Begun {
    fn add(&mut self, piece: &[u8], now: Instant) {
        if piece.is_empty() {
            return;
        }
        self.since.get_or_insert(now);
        // What will be overwritten needs no room, unless nothing has come after it yet.
        let piece = match piece.iter().rposition(|byte| *byte == b'\r').filter(|at| at + 1 < piece.len()) {
            Some(at) => {
                self.text.clear();
                &piece[at + 1..]
            }
            None => piece,
        };
        if self.text.ends_with(b"\r") {
            self.text.clear();
        }
        let room = (LINE_BYTES_MAX + 1).saturating_sub(self.text.len());
        self.text.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

/// An open ear. Dropped, it is closed.
#[derive(Debug)]
pub struct Attached {
    heard: watch::Receiver<Heard>,
    /// It was opened before the game's start.
    pub whole: bool,
    _end: DropGuard,
}

impl Attached {
    /// Listens to a container until its process ends; `word` is what it is waited for to say. `whole`: it has not been started yet.
    pub async fn open(ctx: &Ctx, name: &str, tty: bool, word: Option<String>, whole: bool) -> Result<Attached, DockerError> {
        let output = ctx.engine.attach(name, tty).await?;
        let (tell, heard) = watch::channel(Heard::default());
        let end = ctx.stop.child_token();
        let ended = end.clone();
        ctx.tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = listen(output, &tell, word) => {}
            }
        });
        Ok(Attached { heard, whole, _end: end.drop_guard() })
    }

    /// Its run goes on, as far as it is known.
    pub fn is_open(&self) -> bool {
        self.heard.has_changed().is_ok()
    }

    /// What has been heard, and what will be.
    pub fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.clone()
    }
}

async fn listen(mut output: Output, tell: &watch::Sender<Heard>, word: Option<String>) {
    // An error is an end: whoever wants to know more looks at the container.
    while let Ok(Some((stderr, bytes))) = output.written().await {
        tell.send_modify(|heard| heard.take(stderr, &bytes, word.as_deref(), Instant::now()));
    }
    // What is left is a line by now, in the log.
    tell.send_modify(|heard| heard.begun = Default::default());
}

/// Shared by whoever starts, waits for and shows a game.
pub type Ear = Arc<Attached>;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pieces: &[(bool, &str)], word: Option<&str>) -> (Option<String>, bool) {
        let mut heard = Heard::default();
        for (stderr, piece) in pieces {
            heard.take(*stderr, piece.as_bytes(), word, Instant::now());
        }
        (heard.open_line().map(|(text, _)| text), heard.said)
    }

    #[tokio::test]
    async fn a_begun_line_is_heard_until_it_ends() {
        assert_eq!(after(&[(false, "name")], None).0.as_deref(), Some("name"));
        assert_eq!(after(&[(false, "na"), (false, "me? ")], None).0.as_deref(), Some("name? "));
        assert_eq!(after(&[(false, "name? "), (false, "bob\nhi")], None).0.as_deref(), Some("hi"));
        assert_eq!(after(&[(false, "a\nb\n")], None).0, None);
        assert_eq!(after(&[(false, "out"), (true, "err\n")], None).0.as_deref(), Some("out"));
        assert_eq!(after(&[(false, "10%\r"), (false, "20%\r")], None).0.as_deref(), Some("20%"));
        let endless = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(after(&[(false, &endless), (false, &endless)], None).0.map(|line| line.len()), Some(LINE_BYTES_MAX));
    }

    #[tokio::test]
    async fn a_word_counts_wherever_it_stands_in_a_line_and_not_across_two() {
        assert!(after(&[(false, "Do"), (false, "ne (1 s)")], Some("Done (")).1);
        assert!(after(&[(false, "a\nDone (1 s)\nb\n")], Some("Done (")).1);
        assert!(after(&[(true, "Done (1 s)\n")], Some("Done (")).1);
        assert!(!after(&[(false, "Do\nne (\n"), (true, "Do"), (false, "ne (")], Some("Done (")).1);
        assert!(after(&[(false, "Done (1 s)\n"), (false, "more\n")], Some("Done (")).1, "once said it stays said");
    }
}
