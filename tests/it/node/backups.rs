//! Backups on a node: what is archived comes back as it was, whatever breaks on the way; a game is held up for a moment at most.

mod games;
mod layered;
pub mod vault;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roost::model::backups::BackupRef;
use roost::model::servers::Seen;
use roost::wire::agent::{Action, EventKind};

use super::site::{Site, prepare};
use crate::services;
use vault::{fresh, key, noise, order, picture, refused, restore, site};

const LARGE: usize = 30 << 20;

/// Everything that a game can leave in a folder.
fn litter(data: &Path) {
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::create_dir_all(data.join("world/empty")).unwrap();
    noise(&data.join("world/large"), LARGE);
    std::fs::write(data.join(OsStr::from_bytes(b"odd \xff\n name")), "odd").unwrap();
    let long = "a long name ".repeat(20);
    std::fs::create_dir(data.join(&long)).unwrap();
    std::fs::write(data.join(&long).join(&long), "long").unwrap();
    symlink("/etc/passwd", data.join("out")).unwrap();
    symlink(format!("../..//{long}/."), data.join("world/odd-link")).unwrap();
    symlink("/etc", data.join("way")).unwrap();
    std::fs::write(data.join("run.sh"), "#!/bin/sh").unwrap();
    mode(&data.join("run.sh"), 0o751);
    std::fs::hard_link(data.join("run.sh"), data.join("world/same")).unwrap();
    std::fs::write(data.join("nobody"), "").unwrap();
    mode(&data.join("nobody"), 0o000);
    std::fs::create_dir(data.join("locked")).unwrap();
    std::fs::write(data.join("locked/in"), "in").unwrap();
    lchown(data.join("locked/in"), Some(1_234), Some(3_000_000)).unwrap();
    lchown(data.join("out"), Some(1_234), Some(4_321)).unwrap();
    mode(&data.join("locked"), 0o500);
    let old = std::fs::File::open(data.join("run.sh")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_007)).unwrap();
}

#[tokio::test]
async fn a_plain_server_comes_back_byte_for_byte_and_mode_for_mode() {
    let Some(vault) = vault::open("a_plain_server_comes_back_byte_for_byte_and_mode_for_mode").await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    let data = site.home(&spec.server).join("data");
    litter(&data);
    let before = picture(&data);
    std::fs::write(data.join("suid"), "x").unwrap();
    std::fs::set_permissions(data.join("suid"), std::fs::Permissions::from_mode(0o6755)).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(data.join("socket")).unwrap();
    let (backup, archived) = vault.back_up(&mut site, &spec.server).await;
    drop(socket);
    let told = archived.note.as_deref().is_some_and(|note| note.contains("Left out: 1 "));
    assert!(archived.parts.len() >= 4 && told, "{archived:?}");
    assert_eq!(archived.entries, before.len() as u64 + 1, "all but the socket");

    // Only tried: nothing is touched.
    let try_only = Action::RestoreInstance { backup: backup.clone(), try_only: true };
    let answer = site.ask(&spec.server, try_only).await;
    assert!(matches!(answer, EventKind::Restored(_)), "{answer:?}");
    assert!(data.join("suid").exists() && !site.home(&spec.server).join("restored").exists());
    assert!(!site.home(&spec.server).join("before-restore").exists());

    // Destroyed, made anew, and brought back.
    assert_eq!(site.ask(&spec.server, Action::DestroyInstance).await, EventKind::Destroyed);
    let answer = site.command(&spec.server, Action::RestoreInstance { backup: backup.clone(), try_only: false }).await;
    assert!(!refused(&mut site, &answer).await.1, "a removed server stays removed");
    site.prepare(&spec).await;
    restore(&mut site, &spec.server, &backup).await;
    let mode = std::fs::metadata(data.join("suid")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755, "setuid is dropped");
    std::fs::remove_file(data.join("suid")).unwrap();
    let mut after = picture(&data);
    // The root's own time is that of the last change in it.
    let root = after.insert(Vec::new(), before[&Vec::new()].clone()).unwrap();
    assert_eq!(root.split(" at ").next(), before[&Vec::new()].split(" at ").next());
    assert_eq!(after, before);
    assert!(Path::new("/etc/passwd").exists());
    site.start(&spec.server).await;
}

#[tokio::test]
async fn a_server_that_was_never_here_gets_its_data_and_one_without_data_has_no_backup() {
    let test = "a_server_that_was_never_here_gets_its_data_and_one_without_data_has_no_backup";
    let Some(vault) = vault::open(test).await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    std::fs::write(site.home(&spec.server).join("data/world"), "precious").unwrap();
    let (backup, _) = vault.back_up(&mut site, &spec.server).await;

    let stranger = site.demo().server;
    let id = site.command(&stranger, order(&fresh(), None)).await;
    let (words, retryable) = refused(&mut site, &id).await;
    assert!(words.contains("no data to back up") && !retryable, "{words}");
    let object = vault.s3.store.get(&key(&spec.server, &backup.id), 0).await.unwrap();
    vault.s3.store.put(&key(&stranger, &backup.id), object.body).await.unwrap();
    restore(&mut site, &stranger, &backup).await;
    assert_eq!(std::fs::read_to_string(site.home(&stranger).join("data/world")).unwrap(), "precious");
    let mode = std::fs::metadata(site.home(&stranger)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // The first time there was nothing before it.
    let id = site.command(&stranger, Action::UndoRestore).await;
    let (words, retryable) = refused(&mut site, &id).await;
    assert!(words.contains("no data from before a restore") && !retryable, "{words}");
}

#[tokio::test]
async fn asked_twice_it_is_made_once_and_answered_twice_whatever_the_generation() {
    let test = "asked_twice_it_is_made_once_and_answered_twice_whatever_the_generation";
    let Some(vault) = vault::open(test).await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    noise(&site.home(&spec.server).join("data/large"), 40 << 20);
    vault.silent.store(true, Ordering::SeqCst);
    let action = order(&fresh(), None);
    let id = site.command(&spec.server, action.clone()).await;
    site.until("the first part", |_| (!vault.asked.lock().unwrap().is_empty()).then_some(())).await;
    let accepted = site.events.len();
    site.command_as(&id, 0, &spec.server, action.clone()).await;
    site.event("accepted again", &spec.server, |event| matches!(event.kind, EventKind::Accepted).then_some(())).await;
    assert!(site.events.len() > accepted);
    let other = site.command(&spec.server, order(&fresh(), None)).await;
    assert!(refused(&mut site, &other).await.1, "one at a time");
    vault.silent.store(false, Ordering::SeqCst);
    let first = site.answer(&id).await;
    assert!(matches!(first, EventKind::BackedUp(_)), "{first:?}");
    assert!(
        site.events.iter().any(|event| matches!(&event.kind, EventKind::Progress { text, percent: Some(_) } if text.contains("of 42 MB")))
    );
    // Another agent, another day: the same answer, and no step of its life was answered by it.
    site.kill();
    site.switch_on();
    site.welcome().await;
    site.command_as(&id, 0, &spec.server, action).await;
    assert_eq!(site.answer(&id).await, first);
    site.start(&spec.server).await;
}

#[tokio::test]
async fn parts_and_downloads_that_break_are_taken_up_again() {
    let Some(vault) = vault::open("parts_and_downloads_that_break_are_taken_up_again").await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    let data = site.home(&spec.server).join("data");
    noise(&data.join("large"), LARGE);
    let before = picture(&data);
    let wire = vault.s3.wire.as_ref().unwrap();
    vault.wrong.store(1, Ordering::SeqCst);
    wire.cut_up_after(12 << 20);
    let (backup, archived) = vault.back_up(&mut site, &spec.server).await;
    assert_eq!((wire.cuts(), archived.parts.len()), (1, 4));
    assert_eq!(*vault.asked.lock().unwrap(), [1, 1, 2, 2, 3, 4]);
    wire.cut_down_after(11 << 20);
    restore(&mut site, &spec.server, &backup).await;
    assert_eq!((wire.cuts(), picture(&data)), (2, before));
}

#[tokio::test]
async fn what_is_not_the_backup_is_refused_in_words_and_nothing_is_touched() {
    let Some(vault) = vault::open("what_is_not_the_backup_is_refused_in_words_and_nothing_is_touched").await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    let data = site.home(&spec.server).join("data");
    noise(&data.join("large"), 3 << 20);
    let (backup, _) = vault.back_up(&mut site, &spec.server).await;
    std::fs::write(data.join("later"), "later").unwrap();
    site.start(&spec.server).await;
    let before = picture(&data);
    let place = key(&spec.server, &backup.id);
    let mut whole = crate::objects::site::read(&*vault.s3.store, &place, 0).await.unwrap();
    let ask = |backup: BackupRef| Action::RestoreInstance { backup, try_only: false };

    let id = site.command(&spec.server, ask(BackupRef { unpacked: backup.unpacked - 1, ..backup.clone() })).await;
    let (words, retryable) = refused(&mut site, &id).await;
    assert!(words.contains("more than it should") && !retryable, "{words}");
    whole[1 << 20] ^= 1;
    vault.s3.store.put(&place, crate::objects::site::body(&whole)).await.unwrap();
    let id = site.command(&spec.server, ask(backup.clone())).await;
    let (words, retryable) = refused(&mut site, &id).await;
    assert!(words.contains("its checksum is") && !retryable, "{words}");
    vault.s3.store.put(&place, crate::objects::site::body(&whole[..1 << 20])).await.unwrap();
    let id = site.command(&spec.server, ask(backup.clone())).await;
    let (words, _) = refused(&mut site, &id).await;
    assert!(words.contains("cannot be downloaded") || words.contains("length"), "{words}");
    vault.s3.store.delete(&place).await.unwrap();
    let id = site.command(&spec.server, ask(backup)).await;
    let (words, retryable) = refused(&mut site, &id).await;
    assert!(words.contains("not in the object store any more") && !retryable, "{words}");

    assert_eq!(picture(&data), before);
    assert!(!site.home(&spec.server).join("restored").exists());
    let running = site.report("running", &spec.server, |report| matches!(report.seen, Seen::Running { .. }).then_some(report.runs.len()));
    assert_eq!(running.await, 1, "the game played on");
}

#[tokio::test]
async fn a_disk_without_room_for_a_restore_is_explained_and_the_data_stay() {
    let test = "a_disk_without_room_for_a_restore_is_explained_and_the_data_stay";
    let (Some(vault), Some(disk)) = (vault::open(test).await, services::small_disk(test, 24)) else { return };
    let mut site = Site::new(false);
    site.addresses = Some(vault.clone());
    site.config.data_dir = disk.path().join("node");
    site.switch_on();
    site.welcome().await;
    let (spec, _) = site.prepared().await;
    let data = site.home(&spec.server).join("data");
    noise(&data.join("large"), 14 << 20);
    let (backup, _) = vault.back_up(&mut site, &spec.server).await;
    let before = picture(&data);
    let id = site.command(&spec.server, Action::RestoreInstance { backup: backup.clone(), try_only: false }).await;
    let (words, retryable) = refused(&mut site, &id).await;
    assert!(words.contains("free some space on the node") && retryable, "{words}");
    assert_eq!(picture(&data), before);
    assert!(!site.home(&spec.server).join("restored").exists());
    std::fs::remove_file(data.join("large")).unwrap();
    restore(&mut site, &spec.server, &backup).await;
    assert_eq!(picture(&data), before);
    site.kill();
}

#[tokio::test]
async fn a_restore_is_undone_and_the_undoing_as_well_and_old_data_go() {
    let Some(vault) = vault::open("a_restore_is_undone_and_the_undoing_as_well_and_old_data_go").await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    let home = site.home(&spec.server);
    let (world, text) = (home.join("data/world"), |path: &Path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&world, "first").unwrap();
    let (backup, _) = vault.back_up(&mut site, &spec.server).await;
    std::fs::write(&world, "second").unwrap();
    site.start(&spec.server).await;
    restore(&mut site, &spec.server, &backup).await;
    let report = site.report("asleep", &spec.server, |report| (report.seen == Seen::Asleep).then(|| report.clone())).await;
    assert!(report.runs.len() == 1 && report.runs[0].to.is_some(), "its run is closed: {report:?}");
    assert_eq!(text(&world), "first");
    for expected in ["second", "first", "second"] {
        let answer = site.ask(&spec.server, Action::UndoRestore).await;
        assert!(matches!(answer, EventKind::Restored(_)), "{answer:?}");
        assert_eq!(text(&world), expected);
    }
    site.start(&spec.server).await;
    // Seven days later.
    let marker = std::fs::File::open(home.join("before-restore.json")).unwrap();
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    marker.set_modified(old).unwrap();
    site.kill();
    site.switch_on();
    site.welcome().await;
    let gone = site.until("its end", |_| (!home.join("before-restore").exists()).then_some(()));
    gone.await;
    assert_eq!(text(&world), "second");
}

#[tokio::test]
async fn an_agent_killed_at_any_moment_of_a_restore_has_the_old_data_or_the_new_ones() {
    let test = "an_agent_killed_at_any_moment_of_a_restore_has_the_old_data_or_the_new_ones";
    let Some(vault) = vault::open(test).await else { return };
    let mut site = site(&vault).await;
    let (spec, _) = site.prepared().await;
    let data = site.home(&spec.server).join("data");
    for n in 0..200 {
        std::fs::write(data.join(format!("file-{n}")), format!("old {n}")).unwrap();
    }
    noise(&data.join("large"), 6 << 20);
    let (backup, _) = vault.back_up(&mut site, &spec.server).await;
    let old = picture(&data);
    for n in 0..12_u64 {
        std::fs::write(data.join("later"), "later").unwrap();
        let new = picture(&data);
        let action = Action::RestoreInstance { backup: backup.clone(), try_only: false };
        let id = site.command(&spec.server, action.clone()).await;
        let _heard = tokio::time::timeout(Duration::from_millis(n * 31), async {
            loop {
                site.next().await;
            }
        })
        .await;
        site.kill();
        site.switch_on();
        site.welcome().await;
        // Whatever is asked first finds whole data.
        site.prepare(&spec).await;
        let found = picture(&data);
        assert!(found == old || found == new, "kill {n}: neither the old data nor the new ones");
        site.command_as(&id, 0, &spec.server, action).await;
        let answer = site.answer(&id).await;
        assert!(matches!(answer, EventKind::Restored(_)), "kill {n}: {answer:?}");
        assert_eq!(picture(&data), old, "kill {n}");
        assert!(!site.home(&spec.server).join("restored").exists());
    }
}

#[tokio::test]
async fn data_come_from_another_node_once_before_the_game_starts() {
    let Some(vault) = vault::open("data_come_from_another_node_once_before_the_game_starts").await else { return };
    let mut first = site(&vault).await;
    let (mut spec, _) = first.prepared().await;
    let data = first.home(&spec.server).join("data");
    litter(&data);
    let (backup, _) = vault.back_up(&mut first, &spec.server).await;
    let before = picture(&data);
    assert_eq!(first.ask(&spec.server, Action::DestroyInstance).await, EventKind::Destroyed);
    drop(first);

    let mut second = site(&vault).await;
    // Its name is another panel's only in this test.
    second.servers.push(spec.server.clone());
    spec.origin = Some(BackupRef { sha256: [7; 32].into(), ..backup.clone() });
    let data = second.home(&spec.server).join("data");
    let id = second.command(&spec.server, prepare(&spec)).await;
    assert!(refused(&mut second, &id).await.0.contains("its checksum is"));
    let id = second.command(&spec.server, Action::StartInstance).await;
    assert!(refused(&mut second, &id).await.0.contains("not been prepared"), "no game on an empty folder");
    spec.origin = Some(backup);
    for wait_ms in [30, 90, 150] {
        second.command(&spec.server, prepare(&spec)).await;
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        second.kill();
        second.switch_on();
        second.welcome().await;
    }
    second.prepare(&spec).await;
    assert_eq!(picture(&data), before);
    assert!(!second.home(&spec.server).join("before-restore").exists());
    std::fs::write(data.join("later"), "later").unwrap();
    second.kill();
    second.switch_on();
    second.welcome().await;
    second.prepare(&spec).await;
    second.start(&spec.server).await;
    assert!(data.join("later").exists(), "it comes once");
}

#[tokio::test]
async fn holes_stay_holes_and_what_the_plan_has_no_room_for_is_refused_before_it_comes() {
    let test = "holes_stay_holes_and_what_the_plan_has_no_room_for_is_refused_before_it_comes";
    let Some(vault) = vault::open(test).await else { return };
    let mut site = site(&vault).await;
    let (mut spec, _) = site.prepared().await;
    let data = site.home(&spec.server).join("data");
    std::fs::File::create(data.join("holes")).unwrap().set_len(6 << 30).unwrap();
    noise(&data.join("world"), 6 << 20);
    let begun = std::time::Instant::now();
    let (backup, archived) = vault.back_up(&mut site, &spec.server).await;
    assert!(archived.unpacked < 8 << 20, "{archived:?}");
    let tried = site.ask(&spec.server, Action::RestoreInstance { backup: backup.clone(), try_only: true }).await;
    assert!(matches!(tried, EventKind::Restored(_)), "{tried:?}");
    restore(&mut site, &spec.server, &backup).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let holes = std::fs::metadata(data.join("holes")).unwrap();
    assert_eq!(holes.len(), 6 << 30);
    assert!(std::os::unix::fs::MetadataExt::blocks(&holes) < 2_048, "{holes:?}");

    // A smaller plan: what is too much for it is told with the numbers, and nothing is touched.
    spec.storage_mib = 2;
    site.prepare(&spec).await;
    for try_only in [true, false] {
        let id = site.command(&spec.server, Action::RestoreInstance { backup: backup.clone(), try_only }).await;
        let (words, retryable) = refused(&mut site, &id).await;
        assert!(words.contains("7 MB, and this plan has room for at most 5 MB") && !retryable, "{words}");
    }
    let id = site.command(&spec.server, order(&fresh(), None)).await;
    let (words, retryable) = refused(&mut site, &id).await;
    assert!(words.contains("a backup of this plan holds at most 5 MB") && !retryable, "{words}");
    assert!(data.join("world").exists());
}
