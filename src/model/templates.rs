//! What a version of a template holds: every file, folder and link of its archive, and the rules in its `roost.toml`.
//!
//! A [`Manifest`] is made by `archives`, which has checked it: paths are relative, without `..`, sorted and without doubles, every folder
//! on the way to an entry is an entry too, and no link leaves the root. It is stored with the version and travels to nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use super::checksum::Checksum;
use super::ids::{GameId, TemplateId};
use super::time::Millis;

/// The file at the root of an archive that holds its rules. It is not part of what the game sees.
pub const RULES_FILE: &str = "roost.toml";
/// Most characters of a version.
pub const VERSION_MAX: usize = 40;

/// Name of a version, such as `1.4.2-rc1`: 1 to 40 out of `a-z`, `0-9`, dot, hyphen and underscore, begun by a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

/// The text cannot be the name of a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a version has 1 to {VERSION_MAX} characters out of a-z, 0-9, dot, hyphen and underscore, and begins with a letter or digit")]
pub struct NotAVersion;

impl Version {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = NotAVersion;
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits =
            text.len() <= VERSION_MAX && text.bytes().next().is_some_and(plain) && text.bytes().all(|b| plain(b) || b"._-".contains(&b));
        fits.then(|| Self(text.to_owned())).ok_or(NotAVersion)
    }
}

impl TryFrom<String> for Version {
    type Error = NotAVersion;
    fn try_from(text: String) -> Result<Self, NotAVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A file.
    File {
        /// Bytes.
        size: u64,
        /// Of its content.
        sha256: Checksum,
    },
    /// A folder.
    Folder,
    /// A symbolic link that stays below the root.
    Link {
        /// As it is written in the link.
        target: String,
    },
}

/// A file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From the root, such as `world/level.dat`.
    pub path: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// Who may do what: the lowest nine bits, and its owner may always read and write. Of a link: nothing.
    pub mode: u32,
}

/// The content of [`RULES_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Paths that are removed from the layers below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clean: Vec<String>,
    /// Paths that have to be there when all layers are merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
}

/// Everything in the archive of a version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// Sorted by path.
    pub entries: Vec<Entry>,
    /// Bytes of all files.
    pub bytes: u64,
    /// How many files.
    pub files: u32,
    /// What it asks of other layers.
    #[serde(default)]
    pub rules: Rules,
}

/// Most bytes of a path.
pub const PATH_MAX: usize = 1_024;
/// Most bytes between two slashes of a path.
pub const NAME_MAX: usize = 255;
/// Most folders above an entry.
pub const DEPTH_MAX: usize = 64;

/// Why a path is not one that a layer can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// No name at all.
    #[error("has an empty name")]
    Empty,
    /// From the root of the machine.
    #[error("is an absolute path")]
    Absolute,
    /// `..`.
    #[error("contains \"..\"")]
    Up,
    /// `.` or nothing between two slashes, or a slash at the end.
    #[error("contains \".\" or an empty part")]
    Odd,
    /// NUL, line breaks and their like.
    #[error("contains a control character")]
    Control,
    /// Longer than [`PATH_MAX`], [`NAME_MAX`] or [`DEPTH_MAX`].
    #[error("is too long: at most {PATH_MAX} bytes, {NAME_MAX} a part, {DEPTH_MAX} parts")]
    Long,
}

/// Checks a path of a layer.
pub fn check_path(path: &str) -> Result<(), BadPath> {
    if path.is_empty() {
        return Err(BadPath::Empty);
    }
    if path.starts_with('/') {
        return Err(BadPath::Absolute);
    }
    if path.len() > PATH_MAX {
        return Err(BadPath::Long);
    }
    if path.chars().any(char::is_control) {
        return Err(BadPath::Control);
    }
    for (depth, part) in path.split('/').enumerate() {
        match part {
            ".." => return Err(BadPath::Up),
            "." | "" => return Err(BadPath::Odd),
            _ if part.len() > NAME_MAX || depth >= DEPTH_MAX => return Err(BadPath::Long),
            _ => {}
        }
    }
    Ok(())
}

/// The folders above a path, nearest last: `a`, `a/b` of `a/b/c`.
pub fn above(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// What part of a server a template is. The order of layers is the owner's; the kind only sorts the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateKind {
    /// What all servers of a game begin with.
    Master,
    /// Rules, plugins, settings of a way to play.
    Gamemode,
    /// A world.
    Map,
    /// Anything else: events, overrides.
    Custom,
}

impl TemplateKind {
    /// All of them, in the order in which they are usually laid.
    pub const ALL: [TemplateKind; 4] = [TemplateKind::Master, TemplateKind::Gamemode, TemplateKind::Map, TemplateKind::Custom];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            TemplateKind::Master => "master",
            TemplateKind::Gamemode => "gamemode",
            TemplateKind::Map => "map",
            TemplateKind::Custom => "custom",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<TemplateKind> {
        TemplateKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What the versions of a template have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id, out of its name.
    pub id: TemplateId,
    /// For people.
    pub name: String,
    /// What part of a server it is.
    pub kind: TemplateKind,
    /// Only for servers of this game; none: for all.
    pub game: Option<GameId>,
    /// What it brings, in a few sentences.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: Millis,
    /// Who made it.
    pub created_by: String,
}

/// One archive of a template. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateVersion {
    /// Of which template.
    pub template: TemplateId,
    /// Its name.
    pub version: Version,
    /// Of the archive.
    pub sha256: Checksum,
    /// Bytes of the archive.
    pub bytes: u64,
    /// Bytes of all its files.
    pub unpacked: u64,
    /// How many files.
    pub files: u32,
    /// Where the archive lies in the object store.
    pub object_key: String,
    /// What is new in it.
    pub note: String,
    /// When it came.
    pub created_at: Millis,
    /// Who brought it.
    pub created_by: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_can_become_parts_of_paths_and_addresses() {
        for good in ["1", "1.4.2-rc1", "v4", "2026_11"] {
            assert!(good.parse::<Version>().is_ok(), "{good}");
        }
        for bad in ["", ".1", "-1", "A", "1/2", "1 2", "1~2", "ü", &"1".repeat(VERSION_MAX + 1)] {
            assert_eq!(bad.parse::<Version>(), Err(NotAVersion), "{bad}");
        }
    }

    #[test]
    fn paths_are_refused_for_what_is_wrong_with_them() {
        let (long, wide, deep) = ("a".repeat(NAME_MAX + 1), "a/".repeat(PATH_MAX / 2) + "a", "a/".repeat(DEPTH_MAX) + "a");
        for (path, expected) in [
            ("world/level.dat", Ok(())),
            ("..a/b..", Ok(())),
            ("", Err(BadPath::Empty)),
            ("/etc/passwd", Err(BadPath::Absolute)),
            ("a/../b", Err(BadPath::Up)),
            ("a/./b", Err(BadPath::Odd)),
            ("a//b", Err(BadPath::Odd)),
            ("a/", Err(BadPath::Odd)),
            ("a\nb", Err(BadPath::Control)),
            ("a\0b", Err(BadPath::Control)),
            (&long, Err(BadPath::Long)),
            (&wide, Err(BadPath::Long)),
            (&deep, Err(BadPath::Long)),
        ] {
            assert_eq!(check_path(path), expected, "{path:?}");
        }
        assert_eq!(above("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
    }

    #[test]
    fn a_manifest_reads_as_it_is_written() {
        let file = Kind::File { size: 3, sha256: [1; 32].into() };
        let entries = [("a", Kind::Folder), ("a/b", file), ("a/c", Kind::Link { target: "b".to_owned() })];
        let entries = entries.map(|(path, kind)| Entry { path: path.to_owned(), kind, mode: 0o755 }).to_vec();
        let rules = Rules { clean: vec!["old".to_owned()], required: Vec::new() };
        let manifest = Manifest { entries, bytes: 3, files: 1, rules };
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
        let unknown = text.replace("\"clean\"", "\"cleen\"");
        assert!(serde_json::from_str::<Manifest>(&unknown).is_err(), "unknown rules are refused");
    }
}
