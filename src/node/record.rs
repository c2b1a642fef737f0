//! What the agent remembers of one server, and the folder that holds it.
//!
//! `instances/<server>/` holds `instance.json` (this record, mode 600, replaced as a whole), `data/` (the game's) and `door/` (the
//! sidecar's); `backups` keeps more in it while data are exchanged. Beside Docker's labels it is the agent's only memory: after a kill at any point it is either the old record or the
//! new one. Of a destroyed server `gone/<server>.json` keeps the generation, so that an old command cannot bring it back.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::instance::Declared;
use crate::archives::remove::remove;
use crate::model::backups::Archived;
use crate::model::ids::{CommandId, PanelId, ServerId};
use crate::model::servers::Run;
use crate::model::time::Millis;
use crate::wire::agent::RUNS_KEPT;
use crate::wire::spec::InstanceSpec;

/// What the agent itself is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// The game runs.
    Up,
    /// The game is down, the door is held.
    Down,
    /// No container at all.
    Absent,
    /// Nothing, data included.
    Gone,
}

/// How a command was answered, without the report, which is made afresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To `prepare_instance`.
    Prepared,
    /// To `start_instance`.
    Running,
    /// To `stop_instance`.
    Stopped,
    /// To `stop_instance` with players there.
    Busy {
        /// How many.
        players: u32,
    },
    /// To `destroy_instance`.
    Destroyed,
    /// To `backup_instance`.
    BackedUp(Archived),
    /// To `restore_instance` and `undo_restore`.
    Restored,
    /// It did not work.
    Failed {
        /// In words.
        reason: String,
        /// Worth trying again.
        retryable: bool,
    },
}

/// An end of the game that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code.
    pub code: i64,
    /// Killed for its memory.
    pub oom: bool,
    /// When.
    pub at: Millis,
}

/// The content of `instance.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Whose containers these are.
    pub panel: PanelId,
    /// Whose record.
    pub server: ServerId,
    /// Key of the sidecar's signatures, in hexadecimal: 32 random bytes, made once.
    pub secret: String,
    /// Highest generation of a command.
    pub generation: i64,
    /// What it was last prepared with.
    pub spec: Option<InstanceSpec>,
    /// What its image says of its data; none: not known.
    #[serde(default)]
    pub image: Option<Declared>,
    /// The last command that was answered.
    pub last_answer: Option<(CommandId, Answer)>,
    /// The last backup, restore or undo that was answered: they stand beside the steps of its life.
    #[serde(default)]
    pub last_archive_answer: Option<(CommandId, Answer)>,
    /// Runs, oldest first; the last one may be open.
    pub runs: Vec<Run>,
    /// From a process's start to its first answer or its end, oldest first; the last one may be open.
    #[serde(default)]
    pub starts: Vec<Run>,
    /// When the agent last woke it on its own.
    pub woken_at: Option<Millis>,
    /// What the agent is after.
    pub intent: Intent,
    /// The container's last start before the intent went up, as Docker writes it: the same text later means that it never started.
    pub started_before: String,
    /// The end that was reported, while nothing has happened since.
    pub exited: Option<Exit>,
    /// When the game was last seen alive, for runs whose end nobody saw.
    pub alive_at: Option<Millis>,
}

impl Record {
    /// Of a server that is heard of for the first time.
    pub fn new(panel: PanelId, server: ServerId, secret: [u8; 32]) -> Record {
        Record {
            panel,
            server,
            secret: hex::encode(secret),
            generation: 0,
            spec: None,
            image: None,
            last_answer: None,
            last_archive_answer: None,
            runs: Vec::new(),
            starts: Vec::new(),
            woken_at: None,
            intent: Intent::Absent,
            started_before: String::new(),
            exited: None,
            alive_at: None,
        }
    }

    /// The run that has no end yet.
    pub fn open_run(&self) -> Option<Run> {
        self.runs.last().copied().filter(|run| run.to.is_none())
    }

    /// The start that has no end yet.
    pub fn open_start(&self) -> Option<Run> {
        self.starts.last().copied().filter(|start| start.to.is_none())
    }

    /// The game answered. One run is open at a time.
    pub fn run_begins(&mut self, at: Millis) {
        begin(&mut self.runs, at);
    }

    /// The game ended. A run never ends before it began, whatever two clocks say.
    pub fn run_ends(&mut self, at: Millis) {
        end(&mut self.runs, at);
    }

    /// Its process has started, and does not answer yet. True: that is new.
    pub fn start_begins(&mut self, at: Millis) -> bool {
        if self.starts.last().is_some_and(|start| start.to.is_none() && start.from != at) {
            self.start_ends(at);
        }
        let new = self.starts.last().is_none_or(|start| start.from != at);
        if new {
            begin(&mut self.starts, at);
        }
        new
    }

    /// It answers, or has ended before it did.
    pub fn start_ends(&mut self, at: Millis) {
        end(&mut self.starts, at);
    }
}

fn begin(spans: &mut Vec<Run>, at: Millis) {
    if spans.last().is_none_or(|last| last.to.is_some()) {
        spans.push(Run { from: at, to: None });
        let surplus = spans.len().saturating_sub(RUNS_KEPT);
        spans.drain(..surplus);
    }
}

fn end(spans: &mut [Run], at: Millis) {
    if let Some(last) = spans.last_mut().filter(|last| last.to.is_none()) {
        last.to = Some(at.max(last.from));
    }
}

/// Where things are below the data folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    server: ServerId,
}

impl Folder {
    /// Of one server. A server's id is a checked DNS label, so it cannot lead out of the folder.
    pub fn new(data_dir: &Path, server: &ServerId) -> Folder {
        Folder { root: data_dir.to_owned(), server: server.clone() }
    }

    /// Of everything that is kept of this server.
    pub fn home(&self) -> PathBuf {
        self.root.join("instances").join(self.server.as_str())
    }

    /// The game's data.
    pub fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    /// What is mounted into the sidecar.
    pub fn door(&self) -> PathBuf {
        self.home().join("door")
    }

    fn tombstone(&self) -> PathBuf {
        self.root.join("gone").join(format!("{}.json", self.server))
    }

    /// Replaces the record; it is on the disk when this returns.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        let path = if record.intent == Intent::Gone { self.tombstone() } else { self.home().join("instance.json") };
        if let Some(folder) = path.parent() {
            make_private(folder)?;
        }
        replace(&path, &serde_json::to_vec(record)?, 0o600, None, true)
    }

    /// Reads the record of a server, or of a destroyed one; none: nothing is remembered.
    pub fn load(&self) -> io::Result<Option<Record>> {
        for path in [self.tombstone(), self.home().join("instance.json")] {
            match fs::read(&path) {
                Ok(bytes) => return Ok(Some(serde_json::from_slice(&bytes)?)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Removes everything but the memory that it is gone. Links in it are removed, never followed.
    pub fn destroy(&self) -> io::Result<()> {
        remove(&self.home())
    }

    /// Forgets a destroyed server.
    pub fn forget(&self) -> io::Result<()> {
        ignore_missing(fs::remove_file(self.tombstone()))
    }

    /// Moves the folder of a server that nobody knows any more out of the way; the data stay on the disk for a while: see [`super::aside`].
    pub fn move_aside(&self, now: Millis) -> io::Result<()> {
        let orphans = self.root.join(super::aside::FOLDER);
        make_private(&orphans)?;
        ignore_missing(fs::rename(self.home(), orphans.join(super::aside::name(&self.server, now))))
    }

    /// All servers of which something is remembered.
    pub fn all(data_dir: &Path) -> io::Result<Vec<ServerId>> {
        let mut servers = Vec::new();
        for (folder, ending) in [("instances", ""), ("gone", ".json")] {
            let entries = match fs::read_dir(data_dir.join(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            for entry in entries {
                let name = entry?.file_name();
                let server = name.to_str().and_then(|name| name.strip_suffix(ending)).and_then(|name| name.parse().ok());
                servers.extend(server);
            }
        }
        servers.sort();
        servers.dedup();
        Ok(servers)
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes a folder, and those above it, that only the agent may look into.
pub fn make_private(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Replaces a file as a whole: a reader sees the old content or the new one. `lasting`: it is on the disk when this returns.
pub fn replace(path: &Path, content: &[u8], mode: u32, owner: Option<(u32, u32)>, lasting: bool) -> io::Result<()> {
    let fresh = path.with_extension("new");
    // Left over from a kill, perhaps with other rights: the mode below counts only for a file that is made here.
    ignore_missing(fs::remove_file(&fresh))?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(content)?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    if lasting {
        file.sync_all()?;
    }
    fs::rename(&fresh, path)?;
    if let (true, Some(folder)) = (lasting, path.parent()) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new("panel".parse().unwrap(), "own-de-abc".parse().unwrap(), [7; 32])
    }

    #[test]
    fn a_record_comes_back_as_it_was_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), &record().server);
        assert_eq!(folder.load().unwrap(), None);
        folder.save(&record()).unwrap();
        folder.save(&Record { generation: 5, ..record() }).unwrap();
        assert_eq!(folder.load().unwrap().unwrap().generation, 5);
        let mode = fs::metadata(folder.home().join("instance.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Folder::all(dir.path()).unwrap(), [record().server]);
    }

    #[test]
    fn a_destroyed_server_is_remembered_as_gone_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), &record().server);
        folder.save(&record()).unwrap();
        folder.save(&Record { intent: Intent::Gone, generation: 9, ..record() }).unwrap();
        folder.destroy().unwrap();
        assert_eq!(folder.load().unwrap().unwrap().generation, 9);
        assert_eq!(Folder::all(dir.path()).unwrap(), [record().server]);
        folder.forget().unwrap();
        assert_eq!(folder.load().unwrap(), None);
    }

    #[test]
    fn a_link_in_the_data_is_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "x").unwrap();
        let folder = Folder::new(dir.path(), &record().server);
        fs::create_dir_all(folder.data()).unwrap();
        std::os::unix::fs::symlink(&outside, folder.data().join("link")).unwrap();
        folder.destroy().unwrap();
        assert!(!folder.home().exists());
        assert!(outside.join("precious").exists());
    }

    #[test]
    fn runs_are_bounded_and_never_end_before_they_began() {
        let mut record = record();
        for n in 0..100 {
            record.run_begins(Millis(n * 10));
            record.run_begins(Millis(n * 10 + 1));
            record.run_ends(Millis(n * 10 - 5));
            record.run_ends(Millis(n * 10 + 9));
        }
        assert_eq!(record.runs.len(), RUNS_KEPT);
        assert_eq!(record.runs.last(), Some(&Run { from: Millis(990), to: Some(Millis(990)) }));
    }
}
