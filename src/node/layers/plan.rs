//! What has to be done to a server's folder so that another list of layers takes effect, and what of the server's own is in the way.
//!
//! A plan is made by looking only: it is shown before it is carried out. What the server wrote stays unless a new layer brings that
//! file. In an overlay the folder is the upper one, and nearly everything in it is the server's; otherwise the folder holds the layers'
//! files, too, and the provenance tells them apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};

use rustix::fs::FileType;
use sha2::{Digest, Sha256};

use super::probe::{OPAQUE, YES};
use super::record::Provenance;
use crate::archives::beneath::Beneath;
use crate::model::checksum::Checksum;
use crate::model::layers::{Change, Changed, Merged};
use crate::model::templates::{DEPTH_MAX, Kind, above};

/// One step, in the order in which they are carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Remove whatever is there, folders with all that is in them.
    Remove(String),
    /// Remove a folder if it is empty.
    RemoveEmpty(String),
    /// Make a folder that hides what the layers below have in it.
    Opaque(String),
    /// Make a folder, or give it its mode.
    Folder(String),
    /// Put the file or link of the merged layers.
    Put(String),
}

/// All steps, and what they mean for the server's own files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// The server's own files that give way.
    pub replaced: Vec<String>,
    /// Files in which variables have other values now, and which stay because the server changed them.
    pub outdated: Vec<String>,
}

/// What is at a path of the server's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    Folder { opaque: bool },
    Whiteout,
    Other,
}

/// Files in a folder that gives way that are looked at one by one.
const LOOKS_MAX: usize = 50_000;
/// Bytes that are read at once.
const CHUNK: usize = 128 << 10;

pub(super) fn sum(mut file: File) -> io::Result<Checksum> {
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(<[u8; 32]>::from(hash.finalize()).into()),
            read => hash.update(&chunk[..read]),
        }
    }
}

struct Looker<'a> {
    folder: &'a mut Beneath,
    overlay: bool,
    seen: HashMap<String, There>,
}

impl Looker<'_> {
    /// Asks the disk only where the folder above is really there, and once.
    fn look(&mut self, path: &str) -> io::Result<There> {
        if let Some(there) = self.seen.get(path) {
            return Ok(*there);
        }
        let inside = match path.rsplit_once('/') {
            None => true,
            Some((above, _)) => matches!(self.look(above)?, There::Folder { .. }),
        };
        let there = if inside { self.ask(path)? } else { There::Nothing };
        self.seen.insert(path.to_owned(), there);
        Ok(there)
    }

    fn ask(&mut self, path: &str) -> io::Result<There> {
        let Some(stat) = self.folder.stat(path)? else { return Ok(There::Nothing) };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => There::Folder { opaque: self.overlay && self.folder.has_attribute(path, OPAQUE, YES)? },
            FileType::CharacterDevice if self.overlay && stat.st_rdev == 0 => There::Whiteout,
            _ => There::Other,
        })
    }

    fn set(&mut self, path: &str, there: There) {
        let before = self.seen.insert(path.to_owned(), there);
        // Only what was in a folder that goes is another now.
        if matches!(before, Some(There::Folder { .. })) && !matches!(there, There::Folder { .. }) {
            self.seen.retain(|known, _| !known.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
        }
    }
}

/// Files of the upper folder that hide other values of variables than they were made from.
pub(super) fn stale_in_overlay(upper: &mut Beneath, before: &Provenance, now: &BTreeMap<String, Checksum>) -> io::Result<Vec<String>> {
    let mut stale = Vec::new();
    for (path, sum) in now {
        let other = before.rendered.get(path).is_some_and(|was| was != sum);
        if other && upper.read(path)?.is_some() {
            stale.push(path.clone());
        }
    }
    Ok(stale)
}

impl Plan {
    /// Files of layers that are in an overlay's upper folder when this was carried out.
    pub fn copied(&self, mut before: BTreeSet<String>) -> BTreeSet<String> {
        for step in &self.steps {
            match step {
                Step::Remove(path) => {
                    before.retain(|known| known.strip_prefix(path).is_none_or(|rest| !(rest.is_empty() || rest.starts_with('/'))));
                }
                Step::Put(path) => drop(before.insert(path.clone())),
                Step::RemoveEmpty(_) | Step::Opaque(_) | Step::Folder(_) => {}
            }
        }
        before
    }
}

/// What was placed in the server's folder, and what is to be.
pub(super) struct Copies<'a> {
    /// In an overlay only what had to be put among the server's own.
    pub before: &'a Provenance,
    pub after: &'a Merged,
    /// Content of the files in which variables were put, as they will be.
    pub rendered: &'a BTreeMap<String, Checksum>,
}

impl Copies<'_> {
    /// For an overlay: clears the upper folder of what hides the files that new layers bring.
    pub fn plan_overlay(&self, upper: &mut Beneath, changes: &[Change]) -> io::Result<Plan> {
        let mut looker = Looker { folder: upper, overlay: true, seen: HashMap::new() };
        let mut plan = Plan::default();
        for change in changes {
            let path = &change.path;
            match self.after.entries.get(path).filter(|_| change.what != Changed::Removed).map(|placed| &placed.kind) {
                None => {
                    let there = looker.look(path)?;
                    if there == There::Whiteout || (there == There::Other && self.as_placed(path, &mut looker)?) {
                        plan.steps.push(Step::Remove(path.clone()));
                        looker.set(path, There::Nothing);
                    }
                }
                // A folder that the server removed comes back with the first file that is brought into it, and empty but for that.
                Some(Kind::Folder) => {
                    if looker.look(path)? == There::Other {
                        self.make_way(path, &mut looker, &mut plan)?;
                    }
                }
                Some(Kind::File { .. } | Kind::Link { .. }) => self.uncover(path, &mut looker, &mut plan)?,
            }
        }
        Ok(plan)
    }

    /// Makes a file of the layers seen: removes what hides it, or puts it where the layers below cannot be seen any more.
    fn uncover(&self, path: &str, looker: &mut Looker<'_>, plan: &mut Plan) -> io::Result<()> {
        let mut hidden = false;
        for folder in above(path) {
            match looker.look(folder)? {
                There::Nothing if !hidden => return Ok(()),
                There::Folder { opaque } => hidden |= opaque,
                There::Nothing | There::Whiteout | There::Other => {
                    self.make_way(folder, looker, plan)?;
                    plan.steps.push(Step::Opaque(folder.to_owned()));
                    looker.set(folder, There::Folder { opaque: true });
                    hidden = true;
                }
            }
        }
        self.make_way(path, looker, plan)?;
        if hidden {
            plan.steps.push(Step::Put(path.to_owned()));
            looker.set(path, There::Other);
        }
        Ok(())
    }

    pub fn plan(&self, folder: &mut Beneath, changes: &[Change]) -> io::Result<Plan> {
        let mut looker = Looker { folder, overlay: false, seen: HashMap::new() };
        let (mut plan, mut emptied) = (Plan::default(), Vec::new());
        let mut told = BTreeSet::new();
        for change in changes {
            told.insert(change.path.as_str());
            match self.after.entries.get(&change.path).filter(|_| change.what != Changed::Removed) {
                None => self.take_away(&change.path, &mut looker, &mut plan, &mut emptied)?,
                Some(placed) => self.bring(&change.path, &placed.kind, &mut looker, &mut plan)?,
            }
        }
        for (path, sum) in self.rendered {
            let same = self.placed(path).is_some_and(|kind| matches!(kind, Kind::File { sha256, .. } if sha256 == *sum));
            if same || told.contains(path.as_str()) || looker.look(path)? == There::Nothing {
                continue;
            }
            if self.as_placed(path, &mut looker)? {
                plan.steps.extend([Step::Remove(path.clone()), Step::Put(path.clone())]);
            } else {
                plan.outdated.push(path.clone());
            }
        }
        // The deepest first: then a folder is empty when its turn comes.
        plan.steps.extend(emptied.into_iter().rev().map(Step::RemoveEmpty));
        Ok(plan)
    }

    /// What was placed at a path, with the content that it had after variables were put in.
    fn placed(&self, path: &str) -> Option<Kind> {
        let kind = &self.before.merged.entries.get(path)?.kind;
        Some(match (kind, self.before.rendered.get(path)) {
            (Kind::File { size, .. }, Some(sum)) => Kind::File { size: *size, sha256: *sum },
            _ => kind.clone(),
        })
    }

    /// True: what is there is what was placed there.
    fn as_placed(&self, path: &str, looker: &mut Looker<'_>) -> io::Result<bool> {
        match self.placed(path) {
            Some(Kind::File { sha256, .. }) => match looker.folder.read(path)? {
                Some(file) => Ok(sum(file)? == sha256),
                None => Ok(false),
            },
            Some(Kind::Link { target }) => Ok(looker.folder.link_target(path)?.as_deref() == Some(target.as_bytes())),
            Some(Kind::Folder) | None => Ok(false),
        }
    }

    fn take_away(&self, path: &str, looker: &mut Looker<'_>, plan: &mut Plan, emptied: &mut Vec<String>) -> io::Result<()> {
        match looker.look(path)? {
            There::Folder { .. } if self.placed(path) == Some(Kind::Folder) => emptied.push(path.to_owned()),
            There::Other | There::Whiteout if self.as_placed(path, looker)? => {
                plan.steps.push(Step::Remove(path.to_owned()));
                looker.set(path, There::Nothing);
            }
            There::Nothing | There::Folder { .. } | There::Other | There::Whiteout => {}
        }
        Ok(())
    }

    fn bring(&self, path: &str, kind: &Kind, looker: &mut Looker<'_>, plan: &mut Plan) -> io::Result<()> {
        for folder in above(path) {
            if !matches!(looker.look(folder)?, There::Folder { .. }) {
                self.make_way(folder, looker, plan)?;
                plan.steps.push(Step::Folder(folder.to_owned()));
                looker.set(folder, There::Folder { opaque: false });
            }
        }
        let is_folder = matches!(looker.look(path)?, There::Folder { .. });
        if *kind == Kind::Folder {
            if !is_folder {
                self.make_way(path, looker, plan)?;
            }
            plan.steps.push(Step::Folder(path.to_owned()));
            looker.set(path, There::Folder { opaque: false });
            return Ok(());
        }
        self.make_way(path, looker, plan)?;
        plan.steps.push(Step::Put(path.to_owned()));
        looker.set(path, There::Other);
        Ok(())
    }

    /// Removes what is there, and says what of it is the server's own.
    fn make_way(&self, path: &str, looker: &mut Looker<'_>, plan: &mut Plan) -> io::Result<()> {
        if looker.look(path)? == There::Nothing {
            return Ok(());
        }
        self.own(path, looker, plan)?;
        plan.steps.push(Step::Remove(path.to_owned()));
        looker.set(path, There::Nothing);
        Ok(())
    }

    /// Files that are neither as they were placed nor as they will be: the latter come from a preparation that was cut off. Folders
    /// too deep or too full to be looked through stand for all that is in them.
    fn own(&self, path: &str, looker: &mut Looker<'_>, plan: &mut Plan) -> io::Result<()> {
        let (mut waiting, mut looks) = (vec![(path.to_owned(), 0)], LOOKS_MAX);
        while let Some((path, depth)) = waiting.pop() {
            match looker.look(&path)? {
                There::Folder { .. } if depth < DEPTH_MAX => match looker.folder.names(&path, looks)? {
                    Some(names) => {
                        looks -= names.len();
                        waiting.extend(names.into_iter().rev().map(|name| (format!("{path}/{name}"), depth + 1)));
                    }
                    None => plan.replaced.push(path),
                },
                There::Folder { .. } => plan.replaced.push(path),
                There::Other if !self.as_placed(&path, looker)? && !self.as_wanted(&path, looker)? => plan.replaced.push(path),
                There::Other | There::Whiteout | There::Nothing => {}
            }
        }
        Ok(())
    }

    /// True: what is there is what is to be placed there.
    fn as_wanted(&self, path: &str, looker: &mut Looker<'_>) -> io::Result<bool> {
        match self.after.entries.get(path).map(|placed| &placed.kind) {
            Some(Kind::File { sha256, .. }) => match looker.folder.read(path)? {
                Some(file) => Ok(sum(file)? == *self.rendered.get(path).unwrap_or(sha256)),
                None => Ok(false),
            },
            Some(Kind::Link { target }) => Ok(looker.folder.link_target(path)?.as_deref() == Some(target.as_bytes())),
            Some(Kind::Folder) | None => Ok(false),
        }
    }
}
