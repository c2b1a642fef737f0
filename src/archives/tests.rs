//! Honest archives of every format, a table of evil ones, and random ones that are unpacked and looked at.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::*;
use crate::model::templates::Kind;

type Tar = Builder<Vec<u8>>;

/// An entry as it is told, however wrong.
fn raw(tar: &mut Tar, kind: EntryType, name: &str, target: &str, mode: u32, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn file(tar: &mut Tar, name: &str, content: &[u8]) {
    raw(tar, EntryType::Regular, name, "", 0o644, content);
}

fn folder(tar: &mut Tar, name: &str) {
    raw(tar, EntryType::Directory, name, "", 0o755, b"");
}

fn link(tar: &mut Tar, name: &str, target: &str) {
    raw(tar, EntryType::Symlink, name, target, 0o777, b"");
}

fn made(fill: impl FnOnce(&mut Tar)) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    fill(&mut tar);
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn read(bytes: &[u8]) -> Result<Manifest, ArchiveError> {
    check(bytes, Limits::default())
}

fn template() -> Vec<u8> {
    made(|tar| {
        folder(tar, "./");
        raw(tar, EntryType::Directory, "./world/", "", 0o550, b"");
        file(tar, "./world/level.dat", b"\0level");
        file(tar, "./server.cfg", b"port=${PORT}");
        raw(tar, EntryType::Regular, "run.sh", "", 0o100_755, b"#!/bin/sh");
        link(tar, "plugins/here", "../world/./level.dat");
        raw(tar, EntryType::Link, "copy.cfg", "./server.cfg", 0o644, b"");
        file(tar, "roost.toml", b"clean = [\"old/maps\"]\nrequired = [\"server.cfg\"]");
    })
}

#[test]
fn all_three_formats_say_the_same() {
    let manifest = read(&template()).unwrap();
    let told: Vec<_> = manifest.entries.iter().map(|entry| format!("{} {:o}", entry.path, entry.mode)).collect();
    let expected =
        ["copy.cfg 644", "old 755", "plugins 755", "plugins/here 777", "run.sh 755", "server.cfg 644", "world 750", "world/level.dat 644"];
    assert_eq!(told, expected);
    assert_eq!((manifest.files, manifest.bytes), (4, 6 + 12 + 9 + 12));
    assert_eq!(
        (manifest.rules.clean.as_slice(), manifest.rules.required.as_slice()),
        (&["old/maps".to_owned()][..], &["server.cfg".to_owned()][..])
    );
    assert_eq!(read(&gzip(&template())).unwrap(), manifest);
    assert_eq!(read(&zstd_of(&template())).unwrap(), manifest);
    let whole = template();
    let (first, second) = whole.split_at(700);
    let in_two = [gzip(first), gzip(second)].concat();
    assert_eq!(read(&in_two).unwrap(), manifest, "several members of gzip are one archive");
}

#[test]
fn what_is_unpacked_is_what_was_said() {
    let out = tempfile::tempdir().unwrap();
    let unpacked = unpack(&*zstd_of(&template()), Limits::default(), out.path(), None).unwrap();
    assert_eq!(unpacked.manifest, read(&template()).unwrap());
    assert_eq!(unpacked.with_variables, ["copy.cfg", "server.cfg"]);
    assert_eq!(std::fs::read(out.path().join("copy.cfg")).unwrap(), b"port=${PORT}");
    assert_eq!(std::fs::read_link(out.path().join("plugins/here")).unwrap(), Path::new("../world/./level.dat"));
    let mode = |path: &str| std::fs::metadata(out.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(["run.sh", "world", "old"].map(mode), [0o755, 0o750, 0o755]);
    assert!(!out.path().join("roost.toml").exists(), "the rules are not the game's");
}

#[test]
fn long_names_of_gnu_and_pax_are_put_together() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let gnu = made(|tar| {
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        tar.append_data(&mut header, &long, &b"x"[..]).unwrap();
    });
    let pax = made(|tar| {
        raw(tar, EntryType::XGlobalHeader, "pax_global_header", "", 0o644, b"20 comment=anything\n");
        tar.append_pax_extensions([("path", long.as_bytes()), ("mtime", b"1.5")]).unwrap();
        file(tar, "short", b"x");
    });
    for archive in [gnu, pax] {
        let manifest = read(&archive).unwrap();
        assert_eq!(manifest.entries.iter().map(|entry| entry.path.len()).collect::<Vec<_>>(), [120, 321]);
    }
}

/// A name, what it is filled with, and a word of the refusal.
type Evil = (&'static str, fn(&mut Tar), &'static str);

const EVIL: &[Evil] = &[
    ("absolute", |tar| file(tar, "/etc/passwd", b""), "\"/etc/passwd\" is an absolute path"),
    ("absolute after a dot", |tar| file(tar, ".//../x", b""), "\"..\""),
    ("root of the machine", |tar| folder(tar, "/"), "absolute"),
    ("up", |tar| file(tar, "../x", b""), "\"../x\" contains \"..\""),
    ("up inside", |tar| file(tar, "a/../../x", b""), "\"..\""),
    ("up at the end", |tar| folder(tar, "a/.."), "\"..\""),
    ("empty", |tar| file(tar, "", b""), "empty name"),
    ("the root as a file", |tar| file(tar, "./.", b""), "empty name"),
    ("empty part", |tar| file(tar, "a//b", b""), "empty part"),
    ("control character", |tar| file(tar, "a\u{1b}[2Jb", b""), "control character"),
    ("link up", |tar| link(tar, "a", ".."), "leads out"),
    ("link up from below", |tar| link(tar, "a/b/l", "../../.."), "leads out"),
    ("absolute link", |tar| link(tar, "a", "/etc/passwd"), "leads out"),
    ("link that could go through another", |tar| link(tar, "a/b/l", "other/../../.."), "leads out"),
    ("link to nothing", |tar| link(tar, "a", ""), "target"),
    (
        "link by a pax name",
        |tar| {
            tar.append_pax_extensions([("linkpath", &b"../../etc"[..])]).unwrap();
            link(tar, "a/l", "b");
        },
        "leads out",
    ),
    (
        "below a link",
        |tar| {
            link(tar, "a", "b");
            file(tar, "a/x", b"");
        },
        "\"a/x\" lies below \"a\"",
    ),
    (
        "below a file",
        |tar| {
            file(tar, "a", b"");
            file(tar, "a/b/x", b"");
        },
        "lies below \"a\"",
    ),
    (
        "a file twice",
        |tar| {
            file(tar, "a", b"1");
            file(tar, "./a", b"2");
        },
        "twice",
    ),
    (
        "a folder twice",
        |tar| {
            folder(tar, "a/");
            folder(tar, "a");
        },
        "twice",
    ),
    (
        "a link over a folder",
        |tar| {
            file(tar, "a/b", b"");
            link(tar, "a", "b");
        },
        "twice",
    ),
    (
        "a folder over a file",
        |tar| {
            file(tar, "a", b"");
            folder(tar, "a");
        },
        "twice",
    ),
    ("hard link out", |tar| raw(tar, EntryType::Link, "a", "../../etc/passwd", 0o644, b""), "hard link"),
    ("hard link to the machine", |tar| raw(tar, EntryType::Link, "a", "/etc/passwd", 0o644, b""), "hard link"),
    (
        "hard link to what comes later",
        |tar| {
            raw(tar, EntryType::Link, "a", "b", 0o644, b"");
            file(tar, "b", b"");
        },
        "hard link",
    ),
    (
        "hard link through a link",
        |tar| {
            link(tar, "l", "b");
            raw(tar, EntryType::Link, "a", "l", 0o644, b"");
        },
        "hard link",
    ),
    (
        "hard link to the rules",
        |tar| {
            file(tar, "roost.toml", b"");
            raw(tar, EntryType::Link, "a", "roost.toml", 0o644, b"");
        },
        "hard link",
    ),
    ("character device", |tar| raw(tar, EntryType::Char, "null", "", 0o644, b""), "is a device"),
    ("block device", |tar| raw(tar, EntryType::Block, "sda", "", 0o644, b""), "is a device"),
    ("pipe", |tar| raw(tar, EntryType::Fifo, "pipe", "", 0o644, b""), "is a pipe"),
    ("sparse", |tar| raw(tar, EntryType::GNUSparse, "hole", "", 0o644, b""), "sparse"),
    (
        "sparse by pax",
        |tar| {
            tar.append_pax_extensions([("GNU.sparse.major", &b"1"[..])]).unwrap();
            file(tar, "hole", b"");
        },
        "sparse",
    ),
    ("several volumes", |tar| raw(tar, EntryType::new(b'M'), "rest", "", 0o644, b"rest"), "do not know"),
    ("setuid", |tar| raw(tar, EntryType::Regular, "su", "", 0o4755, b""), "4755"),
    ("setgid folder", |tar| raw(tar, EntryType::Directory, "shared", "", 0o2775, b""), "2775"),
    ("sticky", |tar| raw(tar, EntryType::Directory, "tmp", "", 0o1777, b""), "1777"),
    ("folder with content", |tar| raw(tar, EntryType::Directory, "a", "", 0o755, b"hidden"), "two different"),
    ("link with content", |tar| raw(tar, EntryType::Symlink, "a", "b", 0o777, b"hidden"), "two different"),
    (
        "two sizes",
        |tar| {
            tar.append_pax_extensions([("size", &b"1024"[..])]).unwrap();
            file(tar, "a", b"short");
        },
        "two different",
    ),
    (
        "two long names",
        |tar| {
            raw(tar, EntryType::GNULongName, "././@LongLink", "", 0o644, b"one\0");
            raw(tar, EntryType::GNULongName, "././@LongLink", "", 0o644, b"two\0");
            file(tar, "a", b"");
        },
        "two different",
    ),
    (
        "renamed by a global header",
        |tar| {
            raw(tar, EntryType::XGlobalHeader, "g", "", 0o644, b"13 path=../x\n");
            file(tar, "a", b"");
        },
        "two different",
    ),
    (
        "endless long name",
        |tar| {
            raw(tar, EntryType::GNULongName, "././@LongLink", "", 0o644, &vec![b'a'; 70_000]);
            file(tar, "a", b"");
        },
        "too long",
    ),
    (
        "long part",
        |tar| {
            raw(tar, EntryType::GNULongName, "././@LongLink", "", 0o644, &[b'a'; 256]);
            file(tar, "a", b"");
        },
        "too long",
    ),
    ("a name for nothing", |tar| raw(tar, EntryType::GNULongName, "././@LongLink", "", 0o644, b"a\0"), "cut off"),
    ("unknown rule", |tar| file(tar, "roost.toml", b"cleen = []"), "unknown field"),
    ("rule that leaves", |tar| file(tar, "roost.toml", b"clean = [\"../x\"]"), "clean: \"../x\" contains"),
    ("required that leaves", |tar| file(tar, "roost.toml", b"required = [\"/etc/passwd\"]"), "required: \"/etc/passwd\" is an absolute"),
    (
        "clean below a file",
        |tar| {
            file(tar, "a", b"");
            file(tar, "roost.toml", b"clean = [\"a/b\"]");
        },
        "clean: \"a/b\" lies below",
    ),
    (
        "rules twice",
        |tar| {
            file(tar, "roost.toml", b"");
            file(tar, "./roost.toml", b"clean = []");
        },
        "twice",
    ),
    ("rules that are a link", |tar| link(tar, "roost.toml", "other"), "not a file"),
    ("rules that are not text", |tar| file(tar, "roost.toml", b"\xff"), "UTF-8"),
];

#[test]
fn evil_archives_are_refused_with_the_entry_s_name_and_write_nothing_outside() {
    for (name, fill, words) in EVIL {
        for archive in [made(fill), gzip(&made(fill)), zstd_of(&made(fill))] {
            let error = read(&archive).unwrap_err();
            assert!(error.to_string().contains(words), "{name}: {error}");
            let around = tempfile::tempdir().unwrap();
            let inside = around.path().join("inside");
            std::fs::create_dir(&inside).unwrap();
            let again = unpack(&*archive, Limits::default(), &inside, None).unwrap_err();
            assert_eq!(again.to_string(), error.to_string(), "{name}");
            assert_eq!(std::fs::read_dir(around.path()).unwrap().count(), 1, "{name}");
        }
    }
    let not_utf8 = made(|tar| {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..2].copy_from_slice(b"\xffa");
        header.set_mode(0o644);
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
    });
    assert!(read(&not_utf8).unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn bombs_end_at_the_limit() {
    let limits = Limits { entries: 10, bytes: 1_000_000 };
    let many = made(|tar| (0..11).for_each(|n| file(tar, &format!("f{n}"), b"")));
    assert!(matches!(check(&*many, limits), Err(ArchiveError::TooMany(10))));
    let deep = made(|tar| file(tar, &"d/".repeat(20), b""));
    assert!(matches!(check(&*deep, limits), Err(ArchiveError::TooMany(10))), "folders that only a path names count, too");
    let large = made(|tar| {
        file(tar, "a", &vec![0; 600_000]);
        file(tar, "b", &vec![0; 600_000]);
    });
    let error = check(&*zstd_of(&large), limits).unwrap_err();
    assert!(matches!(&error, ArchiveError::TooLarge { entry, .. } if entry == "\"b\""), "{error}");
    let doubled = made(|tar| {
        file(tar, "a", &vec![0; 600_000]);
        raw(tar, EntryType::Link, "b", "a", 0o644, b"");
    });
    assert!(matches!(check(&*doubled, limits), Err(ArchiveError::TooLarge { .. })), "another name counts as a file");
    // A head that promises more than it has costs nothing.
    let mut header = Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_mode(0o644);
    header.set_size(u64::MAX / 4);
    header.set_cksum();
    assert!(matches!(read(header.as_bytes()), Err(ArchiveError::TooLarge { .. })));
    let behind = [template(), vec![0; 2 << 20]].concat();
    assert!(matches!(read(&zstd_of(&behind)), Err(ArchiveError::Damaged(_))), "endless padding");
}

#[test]
fn what_is_no_archive_or_not_all_of_one_is_told_apart() {
    for bytes in [&b""[..], b"x", b"PK\x03\x04 something else entirely", &[0; 2_048], &[7; 2_048], &gzip(b"text"), &zstd_of(b"text")] {
        assert!(matches!(read(bytes), Err(ArchiveError::NotAnArchive)), "{:?}", read(bytes));
    }
    let whole = template();
    for packed in [whole.clone(), gzip(&whole), zstd_of(&whole)] {
        for part in 1..10 {
            let cut = packed.len() * part / 10;
            let error = read(&packed[..cut]).unwrap_err();
            assert!(matches!(error, ArchiveError::Damaged(_) | ArchiveError::NotAnArchive), "{cut}: {error}");
        }
    }
    let entries = whole.len() - 1_024;
    assert!(matches!(read(&whole[..entries]), Err(ArchiveError::Damaged(_))), "an archive without its end");
    let more = [whole, b"more".to_vec()].concat();
    assert!(matches!(read(&more), Err(ArchiveError::Damaged(_))), "something behind the end");
    let wide = {
        let mut out = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        out.window_log(27).unwrap();
        out.write_all(&template()).unwrap();
        out.finish().unwrap()
    };
    assert!(matches!(read(&wide), Err(ArchiveError::Window)), "{:?}", read(&wide));
}

/// Fails after so many bytes.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
            other => other,
        }
    }
}

#[test]
fn a_source_that_breaks_off_is_not_taken_for_a_damaged_archive() {
    for packed in [template(), gzip(&template()), zstd_of(&template())] {
        for cut in [1, 10, packed.len() / 2, packed.len() - 1] {
            let error = check(Failing(&packed[..cut]), Limits::default()).unwrap_err();
            assert!(matches!(error, ArchiveError::Source(_)), "{cut}: {error:?}");
        }
    }
}

#[derive(Debug, Clone)]
enum Any {
    File(Vec<u8>),
    Folder,
    Link(String),
    HardLink(String),
}

fn any_name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "c", "d", ".", "..", "", "a b", "ü"]);
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

fn any_entry() -> impl Strategy<Value = (String, Any)> {
    let any = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..600).prop_map(Any::File),
        Just(Any::Folder),
        any_name().prop_map(Any::Link),
        any_name().prop_map(Any::HardLink),
    ];
    (any_name(), any)
}

/// Every file and link below, by path; fails where anything leads out.
fn look(folder: &Path, root: &Path, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if path.is_symlink() {
            // Either it leads to something below the root, or to nothing.
            if let Ok(end) = path.canonicalize() {
                assert!(end.starts_with(root), "{name} leads to {}", end.display());
            }
            found.insert(name, None);
        } else if path.is_dir() {
            look(&path, root, found);
        } else {
            found.insert(name, Some(std::fs::read(&path).unwrap()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_passes_stays_below_its_root(entries in prop::collection::vec(any_entry(), 1..8)) {
        let archive = made(|tar| for (name, any) in &entries {
            match any {
                Any::File(content) => file(tar, name, content),
                Any::Folder => folder(tar, name),
                Any::Link(target) => link(tar, name, target),
                Any::HardLink(target) => raw(tar, EntryType::Link, name, target, 0o644, b""),
            }
        });
        let around = tempfile::tempdir().unwrap();
        let inside = around.path().canonicalize().unwrap().join("inside");
        std::fs::create_dir(&inside).unwrap();
        let unpacked = unpack(&*archive, Limits::default(), &inside, None);
        let mut found = BTreeMap::new();
        look(&inside, &inside, &mut found);
        prop_assert_eq!(std::fs::read_dir(around.path()).unwrap().count(), 1);
        match (unpacked, read(&archive)) {
            (Ok(unpacked), Ok(manifest)) => {
                prop_assert_eq!(&unpacked.manifest, &manifest);
                let told = manifest.entries.iter().filter(|entry| entry.kind != Kind::Folder).map(|entry| entry.path.clone());
                prop_assert_eq!(told.collect::<Vec<_>>(), found.keys().cloned().collect::<Vec<_>>());
                let sizes: u64 = found.values().flatten().map(|content| content.len() as u64).sum();
                prop_assert_eq!(sizes, manifest.bytes);
            }
            (Err(one), Err(other)) => prop_assert_eq!(one.to_string(), other.to_string()),
            (one, other) => prop_assert!(false, "{:?} {:?}", one, other),
        }
    }

    #[test]
    fn no_bytes_at_all_make_it_panic(start in 0..3_usize, at in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 1..40)) {
        let mut bytes = vec![template(), gzip(&template()), zstd_of(&template())].swap_remove(start);
        let at = at.index(bytes.len());
        let end = bytes.len().min(at + noise.len());
        bytes[at..end].copy_from_slice(&noise[..end - at]);
        drop(check(&*bytes, Limits { entries: 100, bytes: 1 << 20 }));
    }
}

#[test]
fn an_archive_with_a_label_is_an_archive() {
    let room = tempfile::tempdir().unwrap();
    std::fs::write(room.path().join("file"), "content").unwrap();
    for format in ["gnu", "oldgnu", "posix"] {
        let tar = std::process::Command::new("tar")
            .args([&format!("--format={format}"), "-V", "my label", "-c", "-C"])
            .arg(room.path())
            .arg("file")
            .output();
        let bytes = tar.unwrap().stdout;
        assert!(bytes.len() > 1_000, "{format}");
        let manifest = check(bytes.as_slice(), Limits::default()).unwrap_or_else(|error| panic!("{format}: {error:?}"));
        assert_eq!(manifest.entries.len(), 1, "{format}");
    }
    // What only looks like one is still read, and refused as what it is.
    let mut odd = [0_u8; 1_024];
    odd[156] = b'V';
    assert!(matches!(check(odd.as_slice(), Limits::default()), Err(ArchiveError::NotAnArchive)));
}
