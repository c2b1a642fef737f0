//! From the entries of a log to lines with numbers, as a terminal would leave them.
//!
//! A line's number is its stamp in nanoseconds, moved up by one where two would be equal. What a run has written last without a line
//! break is a line of its own: the engine cuts only at [`PIECE_BYTES`], and gives all pieces of a line the stamp of the first.

use std::collections::HashMap;

use vte::{Params, Parser, Perform};

use crate::node::docker::{PIECE_BYTES, RawLog};
use crate::node::stamps;
use crate::wire::agent::{LINE_BYTES_MAX, LogLine};

/// Puts Docker's entries together to lines.
#[derive(Debug, Default)]
pub struct Lines {
    last: u64,
    /// A line that goes on in the next entry of the same stream, by stream (standard error or not): its stamp and its beginning.
    begun: HashMap<bool, (u64, Vec<u8>)>,
}

impl Lines {
    /// Takes one entry; gives the lines that are complete with it.
    pub fn take(&mut self, entry: &RawLog) -> impl Iterator<Item = LogLine> + use<> {
        let mut lines = [None, None];
        if let Some((stamp, text)) = stamped(&entry.bytes) {
            let (text, ends) = match text.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (text, text.len() < PIECE_BYTES),
            };
            let mut line = Vec::new();
            match self.begun.remove(&entry.stderr) {
                Some((first, beginning)) if first == stamp => line = beginning,
                Some((first, beginning)) => lines[0] = Some(self.number(first, &beginning)),
                None => {}
            }
            // Cut only past the limit, and one byte more is kept so that the cut is seen.
            let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
            line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                lines[1] = Some(self.number(stamp, &line));
            } else {
                self.begun.insert(entry.stderr, (stamp, line));
            }
        }
        lines.into_iter().flatten()
    }

    /// The log is over, or goes on later: what has been begun is a line, under the number that it will have when it is complete.
    pub fn rest(&mut self) -> Vec<LogLine> {
        let mut begun: Vec<_> = std::mem::take(&mut self.begun).into_values().collect();
        begun.sort();
        begun.into_iter().map(|(stamp, line)| self.number(stamp, &line)).collect()
    }

    fn number(&mut self, stamp: u64, line: &[u8]) -> LogLine {
        self.last = stamp.max(self.last + 1);
        LogLine { seq: self.last, text: shown(line) }
    }
}

fn stamped(entry: &[u8]) -> Option<(u64, &[u8])> {
    let space = entry.iter().position(|byte| *byte == b' ')?;
    let (stamp, text) = entry.split_at(space);
    Some((stamps::nanos(std::str::from_utf8(stamp).ok()?)?, &text[1..]))
}

/// A line as a terminal would leave it: what is overwritten or taken back is gone, colours stay, and nothing else that steers a terminal.
/// Not past the limit.
pub fn shown(line: &[u8]) -> String {
    let mut line = line;
    while let Some(before) = line.strip_suffix(b"\r") {
        line = before;
    }
    let mut screen = Screen::default();
    Parser::new().advance(&mut screen, line);
    let mut text = screen.text;
    if text.len() > LINE_BYTES_MAX {
        let end = (0..=LINE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

/// One line of a terminal.
#[derive(Default)]
struct Screen {
    text: String,
    /// Where each character begins, with the colours before it.
    begins: Vec<usize>,
    /// From where on nothing but colours was written.
    end: usize,
}

impl Screen {
    fn clear(&mut self) {
        *self = Screen::default();
    }
}

impl Perform for Screen {
    fn print(&mut self, c: char) {
        self.begins.push(self.end);
        self.text.push(c);
        self.end = self.text.len();
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\t' => self.print('\t'),
            b'\r' => self.clear(),
            // One back: what comes next stands in its place.
            0x08 => {
                if let Some(begin) = self.begins.pop() {
                    self.text.truncate(begin);
                    self.end = begin;
                }
            }
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _ignored: bool, action: char) {
        let first = params.iter().next().and_then(|group| group.first().copied()).unwrap_or_default();
        match (action, first) {
            ('m', _) if intermediates.is_empty() => {
                let groups: Vec<String> =
                    params.iter().map(|group| group.iter().map(u16::to_string).collect::<Vec<_>>().join(":")).collect();
                self.text.push_str("\u{1b}[");
                self.text.push_str(&groups.join(";"));
                self.text.push('m');
            }
            // The line up to here or as a whole, the screen, or a jump to its beginning.
            ('K' | 'J', 1 | 2) | ('G' | 'H' | 'f', _) => self.clear(),
            _ => {}
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
        let mut all: Vec<LogLine> = entries.iter().flat_map(|entry| lines.take(entry)).collect();
        all.extend(lines.rest());
        all.into_iter().map(|line| (line.seq, line.text)).collect()
    }

    #[test]
    fn equal_and_backward_stamps_get_numbers_of_their_own() {
        let stamps = ["1970-01-01T00:00:01Z a\n", "1970-01-01T00:00:01Z b\n", "1970-01-01T00:00:00.5Z c\n", "1970-01-01T00:00:02Z d\n"];
        let lines = read(&stamps.map(|text| entry(false, text)));
        let seqs: Vec<u64> = lines.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(seqs, [1_000_000_000, 1_000_000_001, 1_000_000_002, 2_000_000_000]);
        assert_eq!(lines[3].1, "d");
    }

    #[test]
    fn a_line_in_pieces_is_put_together_within_its_own_stream() {
        let piece = "x".repeat(PIECE_BYTES);
        let lines = read(&[
            entry(false, &format!("1970-01-01T00:00:01Z {piece}")),
            entry(true, "1970-01-01T00:00:02Z other\n"),
            entry(false, "1970-01-01T00:00:01Z line\r\n"),
        ]);
        assert_eq!(lines, [(2_000_000_000, "other".to_owned()), (2_000_000_001, "x".repeat(LINE_BYTES_MAX))]);
    }

    #[test]
    fn the_last_line_of_a_run_is_a_line_and_never_the_beginning_of_the_next_runs_first() {
        let lines = read(&[entry(false, "1970-01-01T00:00:01Z the end"), entry(false, "1970-01-01T00:00:02Z ready\n")]);
        assert_eq!(lines, [(1_000_000_000, "the end".to_owned()), (2_000_000_000, "ready".to_owned())]);
        // Also where it is as long as a piece of a longer one: another stamp is another line.
        let piece = "x".repeat(PIECE_BYTES);
        let lines = read(&[entry(false, &format!("1970-01-01T00:00:01Z {piece}")), entry(false, "1970-01-01T00:00:02Z ready\n")]);
        assert_eq!(lines, [(1_000_000_000, "x".repeat(LINE_BYTES_MAX)), (2_000_000_000, "ready".to_owned())]);
        // And one that nothing follows.
        assert_eq!(read(&[entry(false, &format!("1970-01-01T00:00:01Z {piece}"))]).len(), 1);
    }

    #[test]
    fn long_lines_are_cut_and_what_is_overwritten_is_gone() {
        let long = format!("1970-01-01T00:00:01Z {}\n", "ü".repeat(LINE_BYTES_MAX));
        assert_eq!(read(&[entry(false, &long)])[0].1.len(), LINE_BYTES_MAX);
        for (written, left) in [
            ("10%\r20%\r", "20%"),
            ("", ""),
            ("> say hi\r\u{1b}[K[info] hello\r\r", "[info] hello"),
            ("helpx\u{8} \u{8}me", "helpme"),
            ("\u{1b}[2Kclean\u{7}\u{1b}]0;title\u{7}\u{1b}[?25l", "clean"),
            ("\u{1b}[31mred\u{1b}[0m\tplain", "\u{1b}[31mred\u{1b}[0m\tplain"),
            ("\u{1b}[38:2:1:2:3m\u{1b}[1;4mx", "\u{1b}[38:2:1:2:3m\u{1b}[1;4mx"),
            ("\u{8}\u{8}a", "a"),
        ] {
            assert_eq!(shown(written.as_bytes()), left, "{written:?}");
        }
    }
}
