//! House rules that a compiler does not hold: which room may name which, how long a file may be, words that must not stay, what may
//! stand at the top level. The column "may name" is read from the map in `src/lib.rs`, so that the map is true.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines.
const LONGEST: usize = 600;
/// What may stand at the top level, besides names that begin with a dot.
const TOP: [&str; 11] =
    ["Cargo.toml", "Cargo.lock", "src", "templates", "static", "migrations", "seeds", "tests", "start.sh", "README.md", "benches"];
/// Also there: how it is deployed, and what git ignores because building and running make it.
const TOP_TOO: [&str; 4] = ["deploy", "target", "data", "roost.toml"];
/// A thing lives with the noun that it serves, so no module has one of these names.
const NAMELESS: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "types", "misc", "shared"];
/// Must not stay in any file; put together here so that this file does not find itself.
const BANNED: [&str; 7] = [
    concat!("tod", "o!("),
    concat!("unimplement", "ed!("),
    concat!("FIX", "ME"),
    concat!("|sa", "fe"),
    concat!("| sa", "fe"),
    concat!("#[igno", "re"),
    concat!("/wo", "rk/"),
];
/// Libraries that one room hides from all others.
const HIDDEN: [(&str, &str); 15] = [
    ("chacha20poly1305", "src/domain/seals"),
    ("bollard", "src/node/docker"),
    ("lettre", "src/mail"),
    ("openidconnect", "src/identity"),
    ("stripe_billing", "src/payments"),
    ("stripe_checkout", "src/payments"),
    ("stripe_core", "src/payments"),
    ("stripe_product", "src/payments"),
    ("stripe_shared", "src/payments"),
    ("stripe_types", "src/payments"),
    ("sqlx", "src/store"),
    ("sea_query", "src/store"),
    ("sea_query_sqlx", "src/store"),
    ("totp_rs", "src/domain/second_factor"),
    ("webauthn_rs", "src/domain/second_factor"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below these folders, by its path from the root; fetched and drawn files are not ours to judge.
fn files(folders: &[&str]) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).filter(|path| path.exists()).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let ours = !name.starts_with("static/vendor/") && fs::read_to_string(&path).is_ok();
            found.extend(ours.then_some((name, path)));
        }
    }
    found.sort();
    found
}

fn rust_files(folders: &[&str]) -> Vec<(String, String)> {
    let is_rust = |name: &str| Path::new(name).extension().is_some_and(|end| end == "rs");
    files(folders).into_iter().filter(|(name, _)| is_rust(name)).map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}

/// The code without comments that fill a line, which may name whatever they explain.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first names of a path list such as `{a::b, c::{d, e}}`.
fn heads(group: &str) -> Vec<&str> {
    let (mut depth, mut head, mut found) = (0, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => head = true,
            _ if depth == 1 && head && !c.is_whitespace() => {
                found.push(word(&group[at..]));
                head = false;
            }
            _ => {}
        }
    }
    found
}

/// The rooms of this crate that code names, by `crate::room` or by climbing out of its own. `depth` counts the modules of the file's
/// path: 1 for `src/node/mod.rs`, 2 for `src/node/docker.rs`.
fn named_rooms(text: &str, depth: usize) -> Vec<String> {
    let code = code(text);
    let mut rooms: Vec<String> = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + found.len()..];
        if rest.starts_with('{') {
            rooms.extend(heads(rest).into_iter().map(str::to_owned));
        } else {
            rooms.push(word(rest).to_owned());
        }
    }
    let climb = "super::".repeat(depth);
    for (at, found) in code.match_indices(&climb) {
        let start = !code[..at].ends_with("super::");
        rooms.extend(start.then(|| word(&code[at + found.len()..]).to_owned()).filter(|name| name != "super" && !name.is_empty()));
    }
    rooms
}

/// Room, and what it may name; none means everything. Read from the table at the top of `src/lib.rs`.
fn map() -> BTreeMap<String, Option<Vec<String>>> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut map = BTreeMap::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        let &[rooms, _, may] = cells.as_slice() else { continue };
        if !rooms.contains('`') {
            continue;
        }
        let allowed = match may {
            "everything" => None,
            "nothing" => Some(Vec::new()),
            list => Some(list.split(',').map(|room| room.trim().to_owned()).collect()),
        };
        for room in rooms.split(',') {
            map.insert(room.trim().trim_matches(['[', ']', '`']).to_owned(), allowed.clone());
        }
    }
    map
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn rooms_name_only_what_stands_below_them() {
    let map = map();
    assert!(map.len() > 8 && map.contains_key("model") && map.contains_key("cli"), "the map in src/lib.rs was not found");
    let mut wrong = Vec::new();
    for (name, text) in rust_files(&["src"]) {
        let parts: Vec<&str> = name.trim_end_matches(".rs").split('/').skip(1).filter(|part| *part != "mod").collect();
        let room = parts[0];
        if room == "lib" || room == "bin" {
            continue;
        }
        let Some(may) = map.get(room) else {
            wrong.push(format!("{name}: {room} is not on the map in src/lib.rs"));
            continue;
        };
        let Some(may) = may else { continue };
        for named in named_rooms(&text, parts.len()) {
            if map.contains_key(&named) && named != room && !may.contains(&named) {
                wrong.push(format!("{name} names {named}"));
            }
        }
    }
    wrong.dedup();
    assert_none("Names point down only; the map is in src/lib.rs", &wrong);
}

#[test]
fn named_rooms_are_found_in_every_way_of_writing_them() {
    let found = |text, depth| named_rooms(text, depth).join(" ");
    assert_eq!(found("use crate::store::servers;", 2), "store");
    assert_eq!(found("use crate::{\n    model::ids::{A, B},\n    http,\n};", 2), "model http");
    assert_eq!(found("fn a() { crate::node::b() } // crate::cli", 1), "node cli");
    assert_eq!(found("//! See [`crate::http`].\n/// crate::cli\nfn a() {}", 1), "");
    assert_eq!(found("use super::super::store::x; use super::y;", 2), "store");
    assert_eq!(found("use super::store::x;", 1), "store");
    assert_eq!(found("$crate::store; mycrate::store", 1), "store");
}

#[test]
fn libraries_stay_behind_the_room_that_hides_them() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files(&["src"]) {
        for (library, home) in HIDDEN {
            if !name.starts_with(home) && code(&text).contains(&format!("{library}::")) {
                wrong.push(format!("{name} names {library}, which only {home} knows"));
            }
        }
    }
    assert_none("Hidden libraries", &wrong);
}

#[test]
fn files_fit_the_eye_and_modules_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for (name, path) in files(&["src", "tests", "benches", "templates", "static", "migrations", "start.sh", ".ci"]) {
        let text = fs::read_to_string(path).unwrap();
        let end = Path::new(&name).extension().and_then(|end| end.to_str()).unwrap_or_default();
        if text.lines().count() > LONGEST && end != "svg" {
            wrong.push(format!("{name} has {} lines", text.lines().count()));
        }
        if end == "rs" && !text.starts_with("//! ") {
            wrong.push(format!("{name} does not open with //!"));
        }
        let nameless = |part: &str| NAMELESS.contains(&part.split('.').next().unwrap_or_default());
        if end == "rs" && name.split('/').any(nameless) {
            wrong.push(format!("{name} is named after nothing"));
        }
    }
    assert_none(&format!("At most {LONGEST} lines, an opening, a name"), &wrong);
}

#[test]
fn nothing_unfinished_or_of_another_place_stays() {
    let everywhere =
        ["src", "tests", "benches", "templates", "static", "migrations", "seeds", "deploy", ".ci", "start.sh", "README.md", "Cargo.toml"];
    let mut wrong = Vec::new();
    for (name, path) in files(&everywhere) {
        let text = fs::read_to_string(path).unwrap();
        for (number, line) in text.lines().enumerate() {
            wrong.extend(BANNED.iter().filter(|word| line.contains(**word)).map(|word| format!("{name}:{}: {word}", number + 1)));
        }
    }
    assert_none("Words that must not stay", &wrong);
}

#[test]
fn only_tests_unwrap() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files(&["src"]) {
        if name.ends_with("tests.rs") {
            continue;
        }
        let lines = text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
        let bare = concat!(".unwr", "ap()");
        let found = lines.filter(|(_, line)| !line.trim_start().starts_with("//") && line.contains(bare));
        wrong.extend(found.map(|(number, _)| format!("{name}:{}", number + 1)));
    }
    assert_none("Outside tests an error has a way out", &wrong);
}

/// The removal of the standard library calls itself for every folder in a folder, so whoever fills a folder decides how deep the stack
/// has to be. Only where nobody but us makes folders, all of them flat, it may stay.
#[test]
fn whole_folders_are_removed_in_one_way() {
    let flat = ["src/objects/folder/disk.rs"];
    let mut wrong = Vec::new();
    for (name, text) in rust_files(&["src"]) {
        let text = code(&text);
        let own = text.split("#[cfg(test)]").next().unwrap_or_default();
        wrong.extend((own.contains("remove_dir_all") && !flat.contains(&name.as_str())).then_some(name));
    }
    assert_none("archives::remove::remove is the way to remove a folder", &wrong);
}

/// An error that is logged by its own words alone loses what it came from, which is most often the part that helps. The node's errors are
/// told to the panel by their words, and name their causes in them.
#[test]
fn errors_are_logged_with_their_causes() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files(&["src"]) {
        if name.starts_with("src/node/") || name.starts_with("src/proxy/") {
            continue;
        }
        let lines = code(&text).lines().map(str::to_owned).collect::<Vec<_>>();
        let found = lines.iter().filter(|line| ["%error", "?error", "%err,", "error = %"].iter().any(|word| line.contains(word)));
        wrong.extend(found.map(|line| format!("{name}: {}", line.trim())));
    }
    assert_none("Log an error as `error = &error as &dyn std::error::Error`", &wrong);
}

#[test]
fn the_top_level_holds_what_it_should() {
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let odd: Vec<String> =
        names.filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()) && !TOP_TOO.contains(&name.as_str())).collect();
    assert_none("Not one of the names at the top level", &odd);
}
