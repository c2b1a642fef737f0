//! Merging layers: what a server's folder holds when templates lie on top of each other, and what another list of layers would change.
//!
//! The last layer wins. Folders merge; where a folder meets a file or a link, what comes later takes the place of all that was there.
//! A layer's clean-list removes from the layers below it, before the layer's own entries are put. Nodes carry the result out and the
//! panel shows it, by the same functions. No I/O in here.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::ids::TemplateId;
use super::templates::{Entry, Kind, Manifest, Version};

/// Most layers of one server: with more, mounting them would need a longer line than the kernel takes.
pub const LAYERS_MAX: usize = 16;

/// A version of a template in a server's list of layers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LayerRef {
    /// Which template.
    pub template: TemplateId,
    /// Which version of it.
    pub version: Version,
    /// Of its archive.
    pub sha256: Checksum,
    /// Size of its archive.
    pub bytes: u64,
}

/// An entry that no later layer took away, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Index in the list of layers.
    pub layer: usize,
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// Who may do what.
    pub mode: u32,
}

/// A required path that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Index of the layer that requires it.
    pub layer: usize,
    /// Which path.
    pub path: String,
}

/// Layers merged into one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Merged {
    /// By path.
    pub entries: BTreeMap<String, Placed>,
    /// Required, and not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
}

/// What happens to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// It was not there.
    Added,
    /// It will not be there.
    Removed,
    /// It is another: content, mode, kind or target.
    Replaced,
}

/// One path that two lists of layers do not agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub path: String,
    /// How.
    pub what: Changed,
}

/// Removes everything below a path.
fn remove_below(entries: &mut BTreeMap<String, Placed>, path: &str) {
    let folder = format!("{path}/");
    let range = entries.range::<str, _>((Bound::Included(folder.as_str()), Bound::Unbounded));
    let below: Vec<String> = range.map(|(path, _)| path).take_while(|path| path.starts_with(&folder)).cloned().collect();
    for path in below {
        entries.remove(&path);
    }
}

fn is_folder(placed: Option<&Placed>) -> bool {
    placed.is_some_and(|placed| placed.kind == Kind::Folder)
}

fn put(entries: &mut BTreeMap<String, Placed>, layer: usize, entry: &Entry) {
    if entry.kind != Kind::Folder && is_folder(entries.get(&entry.path)) {
        remove_below(entries, &entry.path);
    }
    entries.insert(entry.path.clone(), Placed { layer, kind: entry.kind.clone(), mode: entry.mode });
}

/// Merges layers, the first one lowest.
pub fn merge<'a>(layers: impl IntoIterator<Item = &'a Manifest>) -> Merged {
    let (mut entries, mut required) = (BTreeMap::new(), Vec::new());
    for (layer, manifest) in layers.into_iter().enumerate() {
        for path in &manifest.rules.clean {
            entries.remove(path);
            remove_below(&mut entries, path);
        }
        for entry in &manifest.entries {
            put(&mut entries, layer, entry);
        }
        required.extend(manifest.rules.required.iter().map(|path| Missing { layer, path: path.clone() }));
    }
    required.retain(|needed| !entries.contains_key(&needed.path));
    Merged { entries, missing: required }
}

/// What is another when `after` takes the place of `before`, by path. Which layer an entry comes from is no difference.
pub fn changes(before: &Merged, after: &Merged) -> Vec<Change> {
    let (mut old, mut new) = (before.entries.iter().peekable(), after.entries.iter().peekable());
    let mut changes = Vec::new();
    let mut say = |path: &String, what| changes.push(Change { path: path.clone(), what });
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some((path, _)), other) if other.is_none_or(|(later, _)| path < later) => {
                say(path, Changed::Removed);
                old.next();
            }
            (Some((path, was)), Some((same, is))) if path == same => {
                if (&was.kind, was.mode) != (&is.kind, is.mode) {
                    say(path, Changed::Replaced);
                }
                old.next();
                new.next();
            }
            (_, Some((path, _))) => {
                say(path, Changed::Added);
                new.next();
            }
            // The first arm has taken every path without another to compare it with.
            (Some(_), None) => return changes,
        }
    }
}

/// What is another between two lists of layers, in words: `base 1 → 2, map 7 added, spawn removed, in another order`.
pub fn told(before: &[LayerRef], after: &[LayerRef]) -> String {
    let find = |list: &[LayerRef], one: &LayerRef| list.iter().position(|layer| layer.template == one.template);
    let mut words = Vec::new();
    let mut places = Vec::new();
    for layer in after {
        match find(before, layer) {
            Some(place) => {
                places.push(place);
                if before[place].version != layer.version {
                    words.push(format!("{} {} → {}", layer.template, before[place].version, layer.version));
                }
            }
            None => words.push(format!("{} {} added", layer.template, layer.version)),
        }
    }
    words.extend(before.iter().filter(|layer| find(after, layer).is_none()).map(|layer| format!("{} removed", layer.template)));
    if !places.is_sorted() {
        words.push("in another order".to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::templates::{Rules, above};
    use super::*;

    fn file(path: &str, content: u8) -> Entry {
        Entry { path: path.to_owned(), kind: Kind::File { size: 1, sha256: [content; 32].into() }, mode: 0o644 }
    }

    fn folder(path: &str) -> Entry {
        Entry { path: path.to_owned(), kind: Kind::Folder, mode: 0o755 }
    }

    /// A layer of files, with the folders above them.
    fn layer(files: &[(&str, u8)], clean: &[&str], required: &[&str]) -> Manifest {
        let mut entries = BTreeMap::new();
        for (path, content) in files {
            entries.extend(above(path).map(|path| (path.to_owned(), folder(path))));
            entries.insert((*path).to_owned(), file(path, *content));
        }
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let rules = Rules { clean: texts(clean), required: texts(required) };
        Manifest { entries: entries.into_values().collect(), bytes: 0, files: 0, rules }
    }

    /// Files of the merged layers, with the layer that each is from.
    fn files(merged: &Merged) -> Vec<(&str, usize)> {
        let files = merged.entries.iter().filter(|(_, placed)| placed.kind != Kind::Folder);
        files.map(|(path, placed)| (path.as_str(), placed.layer)).collect()
    }

    #[test]
    fn the_last_layer_wins_and_folders_merge() {
        let merged = merge(&[layer(&[("a/x", 1), ("a/y", 1), ("b", 1)], &[], &[]), layer(&[("a/y", 2), ("a/z", 2)], &[], &[])]);
        assert_eq!(files(&merged), [("a/x", 0), ("a/y", 1), ("a/z", 1), ("b", 0)]);
    }

    #[test]
    fn a_file_over_a_folder_takes_its_place_and_a_folder_over_a_file_too() {
        let over_folder = merge(&[layer(&[("a/x", 1), ("a/b/y", 1), ("a.txt", 1)], &[], &[]), layer(&[("a", 2)], &[], &[])]);
        assert_eq!(files(&over_folder), [("a", 1), ("a.txt", 0)]);
        let over_file = merge(&[layer(&[("a", 1)], &[], &[]), layer(&[("a/x", 2)], &[], &[])]);
        assert_eq!((files(&over_file), over_file.entries["a"].kind.clone()), (vec![("a/x", 1)], Kind::Folder));
    }

    #[test]
    fn a_clean_list_removes_from_below_and_nothing_of_its_own_or_above() {
        let base = layer(&[("world/old", 1), ("world/deep/old", 1), ("worlds", 1), ("keep", 1)], &[], &[]);
        let cleaning = layer(&[("world/new", 2)], &["world", "keep", "nothing"], &[]);
        let merged = merge(&[base.clone(), cleaning.clone(), layer(&[("keep", 3)], &[], &[])]);
        assert_eq!(files(&merged), [("keep", 2), ("world/new", 1), ("worlds", 0)]);
        assert_eq!(
            files(&merge(&[cleaning, base])),
            [("keep", 1), ("world/deep/old", 1), ("world/new", 0), ("world/old", 1), ("worlds", 1)]
        );
    }

    #[test]
    fn what_is_required_is_looked_for_at_the_end() {
        let wants = layer(&[("a", 1)], &[], &["server.jar", "a"]);
        let missing = Missing { layer: 0, path: "server.jar".to_owned() };
        assert_eq!(merge(std::slice::from_ref(&wants)).missing, std::slice::from_ref(&missing));
        assert_eq!(merge(&[wants.clone(), layer(&[("server.jar", 2)], &[], &[])]).missing, []);
        let brings = layer(&[("server.jar", 2)], &[], &[]);
        assert_eq!(merge(&[wants, brings, layer(&[], &["server.jar"], &[])]).missing, [missing]);
    }

    #[test]
    fn changes_name_what_is_another() {
        let before = merge(&[layer(&[("a", 1), ("b", 1), ("c/x", 1)], &[], &[])]);
        let after = merge(&[layer(&[("b", 1), ("c/x", 1)], &[], &[]), layer(&[("b", 1), ("c/x", 2), ("d/y", 2)], &[], &[])]);
        let told: Vec<_> = changes(&before, &after).into_iter().map(|change| (change.path, change.what)).collect();
        let expected = [("a", Changed::Removed), ("c/x", Changed::Replaced), ("d", Changed::Added), ("d/y", Changed::Added)];
        assert_eq!(told, expected.map(|(path, what)| (path.to_owned(), what)));
        assert_eq!(changes(&after, &after), []);
        assert_eq!(changes(&after, &Merged::default()).len(), after.entries.len());
    }

    #[test]
    fn what_became_of_a_list_is_told_in_words() {
        let list = |names: &[(&str, &str)]| -> Vec<LayerRef> {
            let one = |(template, version): &(&str, &str)| LayerRef {
                template: template.parse().unwrap(),
                version: version.parse().unwrap(),
                sha256: [0; 32].into(),
                bytes: 1,
            };
            names.iter().map(one).collect()
        };
        for (before, after, words) in [
            (&[][..], &[][..], ""),
            (&[], &[("base", "1")], "base 1 added"),
            (&[("base", "1")], &[("base", "2")], "base 1 → 2"),
            (&[("base", "1"), ("map", "7")], &[("map", "7"), ("base", "1")], "in another order"),
            (&[("base", "1"), ("spawn", "3")], &[("base", "1"), ("map", "7")], "map 7 added, spawn removed"),
            (&[("a", "1"), ("b", "1"), ("c", "1")], &[("c", "2"), ("a", "1")], "c 1 → 2, b removed, in another order"),
        ] {
            assert_eq!(told(&list(before), &list(after)), words);
        }
    }

    /// What copying one layer after the other into a folder would give: the plain meaning, without any cleverness.
    fn copied(layers: &[Manifest]) -> BTreeMap<String, Placed> {
        let mut disk: BTreeMap<String, Placed> = BTreeMap::new();
        for (number, layer) in layers.iter().enumerate() {
            for path in &layer.rules.clean {
                disk.retain(|known, _| known != path && !known.starts_with(&format!("{path}/")));
            }
            for entry in &layer.entries {
                if entry.kind != Kind::Folder {
                    disk.retain(|known, _| !known.starts_with(&format!("{}/", entry.path)));
                }
                disk.insert(entry.path.clone(), Placed { layer: number, kind: entry.kind.clone(), mode: entry.mode });
            }
        }
        disk
    }

    fn any_layer() -> impl Strategy<Value = Manifest> {
        let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "a.b"]), 1..4).prop_map(|parts| parts.join("/"));
        let files = prop::collection::vec((path.clone(), 0..3_u8), 0..6);
        (files, prop::collection::vec(path, 0..2)).prop_map(|(files, clean)| {
            let mut kept: Vec<(String, u8)> = Vec::new();
            for (path, content) in files {
                let clashes =
                    |other: &str| other == path || other.starts_with(&format!("{path}/")) || path.starts_with(&format!("{other}/"));
                if !kept.iter().any(|(other, _)| clashes(other)) {
                    kept.push((path, content));
                }
            }
            let files: Vec<_> = kept.iter().map(|(path, content)| (path.as_str(), *content)).collect();
            layer(&files, &clean.iter().map(String::as_str).collect::<Vec<_>>(), &[])
        })
    }

    proptest! {
        #[test]
        fn merging_is_copying_one_after_the_other(layers in prop::collection::vec(any_layer(), 0..5)) {
            let merged = merge(&layers);
            prop_assert_eq!(&merged.entries, &copied(&layers));
            for path in merged.entries.keys() {
                for folder in above(path) {
                    let whole = is_folder(merged.entries.get(folder));
                    prop_assert!(whole, "{} has no folder {}", path, folder);
                }
            }
        }

        #[test]
        fn changes_lead_from_one_to_the_other(before in prop::collection::vec(any_layer(), 0..4), after in prop::collection::vec(any_layer(), 0..4)) {
            let (before, after) = (merge(&before), merge(&after));
            let mut now = before.entries.clone();
            for change in changes(&before, &after) {
                let is = after.entries.get(&change.path);
                prop_assert_eq!(change.what == Changed::Added, !before.entries.contains_key(&change.path));
                match (change.what, is) {
                    (Changed::Removed, None) => drop(now.remove(&change.path)),
                    (Changed::Added | Changed::Replaced, Some(placed)) => drop(now.insert(change.path, placed.clone())),
                    (what, is) => prop_assert!(false, "{:?} {:?}", what, is),
                }
            }
            let plain = |entries: &BTreeMap<String, Placed>| entries.iter().map(|(path, placed)| (path.clone(), placed.kind.clone(), placed.mode)).collect::<Vec<_>>();
            prop_assert_eq!(plain(&now), plain(&after.entries));
        }
    }
}
