//! The union is compared with what the kernel mounts, and hostile archives are kept in their folder.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tokio::sync::mpsc;

use super::{BackupError, Course, DEPTH_MAX, Order, archive, fit, swap, unpack::unpack, walk};
use crate::archives::beneath::Beneath;
use crate::node::layers::{DATA, OPAQUE, YES};

/// What a random layer has at a path.
#[derive(Debug, Clone, Copy)]
enum What {
    File(u8),
    Folder(u32),
    Opaque,
    Whiteout,
    Link(u8),
}

type Layer = Vec<(String, What)>;

fn any_layer(whole: bool) -> impl Strategy<Value = Layer> {
    let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|parts| parts.join("/"));
    let plain = prop_oneof![
        4 => (0..3_u8).prop_map(What::File),
        1 => prop::sample::select(vec![0o755, 0o700]).prop_map(What::Folder),
        1 => (0..2_u8).prop_map(What::Link),
    ];
    let what = if whole { plain.boxed() } else { prop_oneof![4 => plain, 1 => Just(What::Opaque), 1 => Just(What::Whiteout)].boxed() };
    prop::collection::vec((path, what), 0..10)
}

/// Makes as much of a layer as fits into itself.
fn make(folder: &Path, layer: &Layer) {
    std::fs::create_dir(folder).unwrap();
    let mut beneath = Beneath::open(folder, None).unwrap();
    for (path, what) in layer {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        if std::fs::create_dir_all(folder.join(above)).is_err() || std::fs::symlink_metadata(folder.join(path)).is_ok() {
            continue;
        }
        match what {
            What::File(content) => std::fs::write(folder.join(path), vec![*content; usize::from(*content)]).unwrap(),
            What::Folder(mode) => beneath.folder(path, *mode).unwrap(),
            What::Opaque => {
                beneath.folder(path, 0o755).unwrap();
                beneath.set_attribute(path, OPAQUE, YES).unwrap();
            }
            What::Whiteout => beneath.whiteout(path).unwrap(),
            What::Link(target) => symlink(format!("../{target}"), folder.join(path)).unwrap(),
        }
    }
}

/// Kind, mode and content by path. A whiteout in a folder of one layer has a name and is nothing.
fn picture(folder: &Path) -> BTreeMap<PathBuf, String> {
    let (mut all, mut open) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(path) = open.pop() {
        let whole = folder.join(&path);
        let Ok(is) = std::fs::symlink_metadata(&whole) else { continue };
        let content = if is.is_dir() {
            open.extend(std::fs::read_dir(&whole).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
            String::new()
        } else if is.is_symlink() {
            std::fs::read_link(&whole).unwrap().display().to_string()
        } else if is.is_file() {
            format!("{:?}", std::fs::read(&whole).unwrap())
        } else {
            "whiteout".to_owned()
        };
        // The root belongs to the data folder and is not fitted.
        all.extend((!path.as_os_str().is_empty()).then(|| (path, format!("{:o} {content}", is.mode()))));
    }
    all
}

/// What the kernel shows of these folders; none: nothing can be mounted here.
fn mounted(room: &Path, upper: &Path, lower: &[PathBuf]) -> Option<BTreeMap<PathBuf, String>> {
    let (work, merged) = (room.join("work"), room.join("merged"));
    for folder in [&work, &merged] {
        crate::archives::remove::remove(folder).unwrap();
        std::fs::create_dir(folder).unwrap();
    }
    let lower = lower.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":");
    let text = format!("lowerdir={lower},upperdir={},workdir={},index=off,redirect_dir=off", upper.display(), work.display());
    mount("overlay", &merged, "overlay", MountFlags::empty(), Some(CString::new(text).unwrap().as_c_str())).ok()?;
    let shown = picture(&merged);
    unmount(&merged, UnmountFlags::DETACH).unwrap();
    Some(shown)
}

fn order(data: PathBuf, lower: Vec<PathBuf>) -> Order {
    let (server, backup, command) = ("own-de-abc".parse().unwrap(), "backup".parse().unwrap(), "command".parse().unwrap());
    Order { server, backup, command, data, lower, most: u64::MAX, save: None, game: String::new(), tty: false }
}

/// An archive of the data, put together again.
fn archived(data: &Path, lower: &[PathBuf]) -> (Vec<u8>, archive::Written) {
    let (to, mut parts) = mpsc::channel(1);
    let order = order(data.to_owned(), lower.to_vec());
    let thread = std::thread::spawn(move || archive::write(&order, &Course::default(), to));
    let mut whole = Vec::new();
    while let Some(part) = parts.blocking_recv() {
        whole.extend_from_slice(&part);
    }
    (whole, thread.join().unwrap().unwrap())
}

fn lower(room: &Path, layers: &[Layer]) -> Vec<PathBuf> {
    let number = |(number, layer): (usize, &Layer)| {
        let folder = room.join(format!("lower-{number}"));
        make(&folder, layer);
        folder
    };
    layers.iter().enumerate().map(number).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_archive_holds_what_the_kernel_shows(upper in any_layer(false), layers in prop::collection::vec(any_layer(false), 1..4)) {
        let room = tempfile::tempdir().unwrap();
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let (data, lower) = (room.path().join("data"), lower(room.path(), &layers));
        make(&data, &upper);
        let Some(shown) = mounted(room.path(), &data, &lower) else { return Ok(()) };
        let (whole, written) = archived(&data, &lower);
        prop_assert_eq!(written.entries, shown.len() as u64 + 1);
        prop_assert!(written.changed.words().is_none());
        let back = room.path().join("back");
        unpack(whole.as_slice(), &back, written.unpacked, &Course::default()).unwrap();
        prop_assert_eq!(picture(&back), shown);
    }

    #[test]
    fn what_was_fitted_shows_the_archive_on_its_layers(archive in any_layer(true), layers in prop::collection::vec(any_layer(false), 1..4)) {
        let room = tempfile::tempdir().unwrap();
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let (data, lower) = (room.path().join("data"), lower(room.path(), &layers));
        make(&data, &archive);
        let wanted = picture(&data);
        fit(&data, &lower).unwrap();
        let Some(shown) = mounted(room.path(), &data, &lower) else { return Ok(()) };
        prop_assert_eq!(&shown, &wanted);
        // Once more, what is there is what is wanted: what the layers show does not lie in it.
        let empty = room.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let below = mounted(room.path(), &empty, &lower).unwrap_or_default();
        let own = picture(&data);
        for (path, what) in &wanted {
            let folder = what.ends_with(' ');
            prop_assert!(folder || below.get(path) != Some(what) || !own.contains_key(path), "{:?} is there twice", path);
        }
    }
}

/// A tar with names as they are given.
fn hostile(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(7);
        let file = *kind == tar::EntryType::Regular;
        if !file {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(if file { content.len() as u64 } else { 0 });
        header.set_cksum();
        tar.append(&header, if file { content.as_bytes() } else { b"" }).unwrap();
    }
    zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap()
}

#[test]
fn a_hostile_archive_stays_in_its_folder() {
    use tar::EntryType::{Char, Directory, Fifo, Link, Regular, Symlink};
    let room = tempfile::tempdir().unwrap();
    let outside = room.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "outside").unwrap();
    let way = outside.to_str().unwrap();
    let absolute = format!("{way}/new");
    for entries in [
        &[("../new", Regular, "x")][..],
        &[(absolute.as_str(), Regular, "x")],
        &[("a/../../new", Regular, "x")],
        &[("a//b", Regular, "x")],
        &[("", Regular, "x")],
        &[("way", Symlink, way), ("way/new", Regular, "x")],
        &[("way", Symlink, way), ("way/new", Directory, "")],
        &[("way", Symlink, way), ("way", Directory, "")],
        &[("way", Symlink, way), ("mine", Link, "way/file")],
        &[("mine", Link, "../outside/file")],
        &[("a", Regular, "x"), ("a", Regular, "y")],
        &[("device", Char, "")],
        &[("pipe", Fifo, "")],
        &[("large", Regular, "more than was said")],
    ] {
        let refused = unpack(hostile(entries).as_slice(), &room.path().join("in"), 10, &Course::default());
        assert!(matches!(refused, Err(BackupError::Damaged(_))), "{entries:?}: {refused:?}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{entries:?}");
        assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "outside", "{entries:?}");
    }
    let well = hostile(&[("a", Regular, "x"), ("way", Symlink, way)]);
    unpack(well.as_slice(), &room.path().join("in"), 10, &Course::default()).unwrap();
    assert_eq!(std::fs::metadata(room.path().join("in/a")).unwrap().mode() & 0o7777, 0o755);
    let cut = unpack(&well[..well.len() / 2], &room.path().join("in"), 10, &Course::default());
    assert!(matches!(cut, Err(BackupError::Damaged(_))), "{cut:?}");
}

/// A home with data, and what was unpacked beside them.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (folder, text) in [(DATA, "old"), (swap::RESTORED, "new")] {
        std::fs::create_dir(home.path().join(folder)).unwrap();
        std::fs::write(home.path().join(folder).join("world"), text).unwrap();
    }
    home
}

#[test]
fn an_exchange_that_was_broken_off_between_any_two_steps_is_ended_or_was_never_begun() {
    let text = |path: PathBuf| std::fs::read_to_string(path.join("world")).ok();
    // Names after each step: none is the first.
    let steps: [&[(&str, &str)]; 4] = [
        &[],
        &[("restored", "restored-whole")],
        &[("restored", "restored-whole"), ("data", "before-restore")],
        &[("restored", "restored-whole"), ("data", "before-restore"), ("restored-whole", "data")],
    ];
    for (number, renames) in steps.into_iter().enumerate() {
        for keep in [true, false] {
            let home = home();
            let noted = format!("{{\"keep\":{keep},\"copied\":[],\"copied_before\":[]}}");
            std::fs::write(home.path().join("swap.json"), noted).unwrap();
            for (from, to) in renames {
                std::fs::rename(home.path().join(from), home.path().join(to)).unwrap();
            }
            swap::settle(home.path()).unwrap();
            let expected = if number == 0 { "old" } else { "new" };
            assert_eq!(text(home.path().join(DATA)).as_deref(), Some(expected), "after {number} steps");
            let before = (number > 0 && keep).then_some("old");
            assert_eq!(text(home.path().join(swap::BEFORE)).as_deref(), before, "after {number} steps");
            let mut names: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.retain(|name| name != DATA && name != swap::BEFORE && name != swap::BEFORE_FILE);
            assert!(names.is_empty(), "{names:?} after {number} steps");
        }
    }
}

#[test]
fn a_file_with_holes_at_its_end_and_a_link_to_nothing_come_back() {
    let room = tempfile::tempdir().unwrap();
    let data = room.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut file = std::fs::File::create(data.join("holes")).unwrap();
    file.write_all(b"begin").unwrap();
    file.set_len(3 << 20).unwrap();
    symlink("nowhere", data.join("link")).unwrap();
    let (whole, written) = archived(&data, &[]);
    assert!(whole.len() < 10_000 && written.unpacked <= 4_096, "{} {}", whole.len(), written.unpacked);
    unpack(whole.as_slice(), &room.path().join("back"), written.unpacked, &Course::default()).unwrap();
    assert_eq!(picture(&room.path().join("back")), picture(&data));
}

/// What a plain `tar` of the machine makes of an archive.
fn unpacked_by_tar(whole: &[u8], folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let plain = zstd::decode_all(whole).unwrap();
    let mut tar = std::process::Command::new("tar").arg("-x").current_dir(folder).stdin(std::process::Stdio::piped()).spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&plain).unwrap();
    assert!(tar.wait().unwrap().success());
}

#[test]
fn holes_stay_holes_there_and_back_and_for_a_plain_tar() {
    let room = tempfile::tempdir().unwrap();
    let data = room.path().join("data");
    let deep = data.join("folder-with-a-long-name/".repeat(6));
    std::fs::create_dir_all(&deep).unwrap();
    let make = |path: PathBuf, size: u64, pieces: &[(u64, &[u8])]| {
        let file = std::fs::File::create(path).unwrap();
        file.set_len(size).unwrap();
        for (at, bytes) in pieces {
            std::os::unix::fs::FileExt::write_all_at(&file, bytes, *at).unwrap();
        }
    };
    make(data.join("six-gigabytes"), 6 << 30, &[]);
    make(deep.join("middle"), 64 << 20, &[(5, b"begin"), (32 << 20, &[7; 10_000]), ((64 << 20) - 3, b"end")]);
    make(data.join("empty"), 0, &[]);
    make(data.join("zeros-and-holes"), 1 << 20, &[(0, &vec![0; 200_000]), (500_000, b"x")]);
    // One that takes an hour to read where holes are read.
    let huge = std::fs::File::create(data.join("eight-terabytes")).unwrap();
    let huge_fits = huge.set_len(8 << 40).is_ok();
    let begun = std::time::Instant::now();
    let (whole, written) = archived(&data, &[]);
    assert!(whole.len() < 100_000 && written.unpacked < 1 << 20, "{} {}", whole.len(), written.unpacked);
    let back = room.path().join("back");
    unpack(whole.as_slice(), &back, written.unpacked, &Course::default()).unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    let tarred = room.path().join("tarred");
    unpacked_by_tar(&whole, &tarred);
    let middle = Path::new(&"folder-with-a-long-name/".repeat(6)).join("middle");
    for folder in [&back, &tarred] {
        for (name, size) in
            [(Path::new("six-gigabytes"), 6 << 30), (&middle, 64 << 20), (Path::new("empty"), 0), (Path::new("zeros-and-holes"), 1 << 20)]
        {
            let is = std::fs::metadata(folder.join(name)).unwrap();
            assert_eq!(is.len(), size, "{}", name.display());
            assert!(is.blocks() * 512 < 1 << 20, "{} takes {} blocks", name.display(), is.blocks());
        }
        assert!(!huge_fits || std::fs::metadata(folder.join("eight-terabytes")).unwrap().len() == 8 << 40);
        assert!(std::fs::read(folder.join(&middle)).unwrap() == std::fs::read(data.join(&middle)).unwrap());
        assert!(std::fs::read(folder.join("zeros-and-holes")).unwrap() == std::fs::read(data.join("zeros-and-holes")).unwrap());
        assert!(!folder.join("GNUSparseFile.0").exists());
    }
    assert_eq!(std::fs::metadata(back.join("zeros-and-holes")).unwrap().blocks() * 512, 4_096, "zeros beside holes need no room");
    // Not a byte more than was said beforehand.
    let refused = unpack(whole.as_slice(), &room.path().join("in"), written.unpacked - 1, &Course::default());
    assert!(matches!(refused, Err(BackupError::Damaged(_))), "{refused:?}");
}

#[test]
fn more_than_the_plan_has_room_for_is_refused_with_the_numbers() {
    let room = tempfile::tempdir().unwrap();
    let data = room.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("world"), vec![1; 3_000_000]).unwrap();
    let order = Order { most: 2_000_000, ..order(data, Vec::new()) };
    let told = archive::measure(&order, &Course::default()).unwrap_err();
    assert!(!told.retryable() && told.to_string().contains("3 MB, and a backup of this plan holds at most 2 MB"), "{told}");
    // Also where it grew after it was measured.
    let (to, _parts) = mpsc::channel(1);
    let told = archive::write(&order, &Course::default(), to).unwrap_err();
    assert!(matches!(told, BackupError::OverPlan { .. }), "{told}");
}

/// Where the files are that this program, started by itself, archives and nothing else.
const ALONE: &str = "ROOST_TEST_ARCHIVE_ALONE";

/// Kilobytes that this process has had at most.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn many_files_in_one_folder_take_no_more_memory_than_few() {
    if let Some(data) = std::env::var_os(ALONE) {
        let (_, written) = archived(Path::new(&data), &[]);
        println!("peak of {} entries: {} kB", written.entries, peak_kb());
        return;
    }
    let peak = |count: u32| -> u64 {
        let room = tempfile::tempdir().unwrap();
        for number in 0..count {
            std::fs::File::create(room.path().join(format!("file-{number}"))).unwrap();
        }
        let name = "node::backups::tests::many_files_in_one_folder_take_no_more_memory_than_few";
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let done = alone.args(["--exact", name, "--nocapture"]).env(ALONE, room.path()).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        let line =
            said.lines().find_map(|line| line.split_once(&format!("peak of {} entries: ", count + 1))).unwrap_or_else(|| panic!("{said}"));
        line.1.trim_end_matches(" kB").parse().unwrap()
    };
    let (few, many) = (peak(1_000), peak(400_000));
    println!("peak memory: {few} kB for 1,000 empty files, {many} kB for 400,000");
    assert!(many < few + 24_000, "{few} kB for 1,000 files, {many} kB for 400,000");
}

fn open_handles() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn the_walk_holds_no_handle_of_a_folder_that_it_has_not_come_to() {
    let room = tempfile::tempdir().unwrap();
    let data = room.path().join("data");
    for number in 0..1_500 {
        std::fs::create_dir_all(data.join(number.to_string())).unwrap();
    }
    std::fs::write(data.join("7/file"), "x").unwrap();
    let before = open_handles();
    let (mut count, mut most) = (0, 0);
    walk::walk(walk::Seen::open(&data, &[]).unwrap(), |_| {
        count += 1;
        most = most.max(open_handles());
        Ok(())
    })
    .unwrap();
    assert_eq!(count, 1_502);
    // Other tests of this program open some meanwhile.
    assert!(most < before + 200, "{most} handles instead of {before}");
    let (whole, written) = archived(&data, &[]);
    unpack(whole.as_slice(), &room.path().join("back"), written.unpacked, &Course::default()).unwrap();
    assert_eq!(picture(&room.path().join("back")), picture(&data));
}

#[test]
fn folders_that_lie_too_deep_are_refused_in_words_and_sockets_are_counted() {
    let room = tempfile::tempdir().unwrap();
    let data = room.path().join("data");
    std::fs::create_dir_all(data.join(["d"; DEPTH_MAX - 1].join("/"))).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(data.join("socket")).unwrap();
    let (whole, written) = archived(&data, &[]);
    assert_eq!((written.left_out, written.entries), (1, DEPTH_MAX as u64));
    unpack(whole.as_slice(), &room.path().join("back"), written.unpacked, &Course::default()).unwrap();
    std::fs::create_dir(data.join(["d"; DEPTH_MAX].join("/"))).unwrap();
    let refused = walk::walk(walk::Seen::open(&data, &[]).unwrap(), |_| Ok(())).unwrap_err();
    assert!(matches!(&refused, BackupError::Limit(_)) && refused.to_string().contains("folders lie in each other"), "{refused}");
}
