//! The last lines of the chat, kept under the data folder so that a visitor sees that data outlive a sleep.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// So many lines are kept.
const LINES_MAX: usize = 20;
/// Most bytes read back.
const BYTES_MAX: u64 = 65_536;

/// The lines and where they are kept.
pub struct History {
    lines: VecDeque<String>,
    file: PathBuf,
}

impl History {
    /// What was kept under `folder`, if anything.
    pub fn load(folder: &Path) -> Self {
        let file = folder.join("chat.txt");
        let mut text = Vec::new();
        // No folder, no file, or one that cannot be read: the room starts empty.
        let _ = File::open(&file).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let start = lines.len().saturating_sub(LINES_MAX);
        Self { lines: lines[start..].iter().map(|line| (*line).to_owned()).collect(), file }
    }

    /// One more; the oldest goes.
    pub fn add(&mut self, line: &str) {
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
        let text: String = self.lines.iter().flat_map(|line| [line, "\n"]).collect();
        let fresh = self.file.with_extension("new");
        // A room without a writable folder forgets, and is otherwise the same.
        let _ = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &self.file));
    }

    /// Oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_outlive_the_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::load(folder.path());
        for n in 0..50 {
            history.add(&format!("line {n}"));
        }
        let again = History::load(folder.path());
        assert_eq!(again.lines().count(), LINES_MAX);
        assert_eq!(again.lines().next(), Some("line 30"));
        let mut nowhere = History::load("/nonexistent".as_ref());
        nowhere.add("kept in memory only");
        assert_eq!(nowhere.lines().count(), 1);
    }
}
