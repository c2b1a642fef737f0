//! `roost backup` and `roost restore`, the real program on real databases of both kinds: what goes in comes out, and what is not right
//! changes nothing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use proptest::prelude::*;
use roost::domain::Policy;
use roost::settings::secrets;
use roost::store::dump::{self, AHEAD, Loader};
use roost::store::{Db, panel};
use roost::trust::Authority;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::services;
use crate::world::{Database, World, folder};

/// A panel's data folder, and its database there or elsewhere.
struct Place {
    folder: tempfile::TempDir,
    url: String,
}

impl Place {
    fn lite() -> Place {
        let folder = folder();
        let url = format!("sqlite://{}/data/roost.db", folder.path().display());
        Place { folder, url }
    }

    fn with(url: &str) -> Place {
        Place { folder: folder(), url: url.to_owned() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// As the first start of a panel leaves the folder.
    fn settled(self) -> Place {
        std::fs::create_dir_all(self.data()).unwrap();
        for name in secrets::NAMES {
            secrets::kept(&self.data(), name, None).unwrap();
        }
        Authority::open(&self.data().join("ca"), 1_767_268_800).unwrap();
        self
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
        command.args(words).current_dir(self.folder.path()).env("DATA_DIR", self.data()).env("DATABASE_URL", &self.url);
        command.output().unwrap()
    }

    /// Gives the file.
    fn backup(&self, name: &str) -> PathBuf {
        let done = self.run(&["backup", name]);
        assert!(done.status.success(), "{}", said(&done));
        self.folder.path().join(name)
    }

    fn restore(&self, file: &Path) -> Output {
        self.run(&["restore", file.to_str().unwrap()])
    }

    fn refuses(&self, file: &Path, words: &str) {
        let done = self.restore(file);
        assert!(!done.status.success() && said(&done).contains(words), "expected {words:?}: {}", said(&done));
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

type Entries = Vec<(String, Vec<u8>)>;

fn unpack(file: &Path) -> Entries {
    let plain = zstd::stream::decode_all(std::fs::File::open(file).unwrap()).unwrap();
    let mut archive = tar::Archive::new(plain.as_slice());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mode().unwrap(), 0o600);
        let (name, mut bytes) = (entry.path().unwrap().display().to_string(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        (name, bytes)
    });
    entries.collect()
}

fn pack(file: &Path, entries: &[(String, Vec<u8>)], kind: tar::EntryType) {
    let mut builder = tar::Builder::new(Vec::new());
    for (at, (name, bytes)) in entries.iter().enumerate() {
        let mut header = tar::Header::new_ustar();
        // Names that no honest writer would write.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_entry_type(if at == 0 { tar::EntryType::Regular } else { kind });
        header.set_cksum();
        builder.append(&header, bytes.as_slice()).unwrap();
    }
    std::fs::write(file, zstd::stream::encode_all(builder.into_inner().unwrap().as_slice(), 1).unwrap()).unwrap();
}

fn manifest(entries: &Entries) -> Value {
    assert_eq!(entries[0].0, "manifest.json");
    serde_json::from_slice(&entries[0].1).unwrap()
}

/// Columns, and rows.
type Tables = BTreeMap<String, (Vec<String>, Vec<Vec<Value>>)>;

/// The tables of a backup: columns, and rows by column.
fn tables(entries: &Entries) -> Tables {
    let of = |(name, bytes): &(String, Vec<u8>)| {
        let name = name.strip_prefix("tables/")?.strip_suffix(".jsonl")?.to_owned();
        let mut lines = std::str::from_utf8(bytes).unwrap().lines();
        let columns = serde_json::from_str(lines.next().unwrap()).unwrap();
        Some((name, (columns, lines.map(|line| serde_json::from_str(line).unwrap()).collect())))
    };
    entries.iter().filter_map(of).collect()
}

/// What a restore makes of these rows, by the words of its contract; texts as a database without U+0000 has them.
fn as_restored(tables: &mut Tables, no_zero: bool) {
    let why = json!("The panel was restored from its backup.");
    let mut trash = Vec::new();
    for (name, (columns, rows)) in tables.iter_mut() {
        let at = |column: &str| columns.iter().position(|name| name == column).unwrap();
        match name.as_str() {
            "servers" => {
                for row in rows.iter_mut() {
                    row[at("seen")] = json!("{\"state\":\"unknown\"}");
                    (row[at("doing")], row[at("spec_seen")], row[at("due_at")]) = (Value::Null, json!(""), json!(0));
                    row[at("generation")] = json!(row[at("generation")].as_i64().unwrap() + AHEAD);
                    if row[at("phase")] == "preparing" {
                        row[at("phase")] = json!("requested");
                    }
                }
            }
            "node_commands" => rows.retain(|row| !row[at("answered_at")].is_null()),
            "backups" => {
                for row in rows.iter_mut().filter(|row| !["done", "failed"].contains(&row[at("state")].as_str().unwrap())) {
                    let key = format!("backups/{}/{}.tar.zst", row[at("server")].as_str().unwrap(), row[at("id")].as_str().unwrap());
                    trash.push(vec![json!(key), row[at("upload")].clone(), json!("then")]);
                    (row[at("state")], row[at("message")], row[at("done_at")]) = (json!("failed"), why.clone(), json!("then"));
                    (row[at("command")], row[at("upload")], row[at("archived")]) = (Value::Null, Value::Null, Value::Null);
                }
            }
            "restores" => {
                for row in rows.iter_mut().filter(|row| row[at("ended_at")].is_null()) {
                    (row[at("state")], row[at("message")], row[at("ended_at")]) = (json!("failed"), why.clone(), json!("then"));
                }
            }
            _ => {}
        }
        for value in rows.iter_mut().flatten().filter(|_| no_zero) {
            if let Some(text) = value.as_str().filter(|text| text.contains('\0')) {
                *value = json!(text.replace('\0', "\u{fffd}"));
            }
        }
    }
    trash.sort_by_key(|row| row[0].as_str().map(str::to_owned));
    if !trash.is_empty() {
        tables.get_mut("object_trash").unwrap().1 = trash;
    }
}

/// Moments at which the restore was are not compared, but that there are some.
fn without_now(tables: &mut Tables, expected: &Tables) {
    for (table, column) in [("restores", "ended_at"), ("backups", "done_at"), ("object_trash", "due_at")] {
        let ((columns, rows), expected) = (tables.get_mut(table).unwrap(), &expected[table].1);
        let at = columns.iter().position(|name| name == column).unwrap();
        for row in rows.iter_mut().filter(|row| expected.iter().any(|one| one[0] == row[0] && one[at] == "then")) {
            assert!(row[at].as_i64().unwrap() > 1_767_268_800_000);
            row[at] = json!("then");
        }
    }
}

/// Texts that somebody could have meant badly.
const HOSTILE: [&str; 9] = [
    "'; DROP TABLE users; --",
    "\"quoted\" \\ back\\slashed \\u0000",
    "line\nline\r\n\ttab",
    "a\0b\0",
    "$1 ? :name ${HOME}",
    "\u{feff}谷の声 👑\u{202e}\u{2028}",
    "",
    "[null, 1, \"x\"]",
    "\u{1}\u{7f}\u{85}",
];

/// A panel with servers in every state, money, and texts that are meant badly.
async fn lived(place: &Place) -> World {
    let mut world = World::open(&place.url, Arc::default(), Policy::default()).await;
    let (admin, ada) = (world.admin().await, world.player("ada@example.org").await);
    for (at, text) in HOSTILE.iter().enumerate() {
        panel::set(&world.ctx.db, &format!("hostile {at} {text}"), text).await.unwrap();
    }
    let settled = world.create(&ada, "Ada's \"first\" 谷").await;
    world.settle().await;
    world.create(&admin, "on its way").await;
    world.beat().await;
    let mut db = SqliteConnection::connect(&place.url).await.unwrap();
    for (id, state) in [("b1", "waiting"), ("b2", "running"), ("b3", "done"), ("b4", "storing")] {
        let insert = sqlx::query(
            "INSERT INTO backups (id, server, owner, node, reason, made_by, state, command, upload, message, attempts, created_at, due_at) \
             VALUES ($1, $2, 'o', 'local', 'hand', 'ada', $3, $1, 'up', '', 0, 1, 2)",
        );
        insert.bind(id).bind(settled.id.as_str()).bind(state).execute(&mut db).await.unwrap();
    }
    for (id, ended) in [("r1", None), ("r2", Some(i64::MAX))] {
        let insert = sqlx::query(
            "INSERT INTO restores (command, server, backup, kind, made_by, state, message, created_at, ended_at) \
             VALUES ($1, $2, 'b3', 'restore', 'ada', 'x', $3, $4, $5)",
        );
        insert.bind(id).bind(settled.id.as_str()).bind("a\0b").bind(i64::MIN).bind(ended).execute(&mut db).await.unwrap();
    }
    db.execute("INSERT INTO sessions (id, data, expires_at) VALUES ('s', 'x', 9)").await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_into_either_database_and_comes_out_the_same() {
    let test = "a_backup_goes_into_either_database_and_comes_out_the_same";
    let first = Place::lite().settled();
    // It is made while the panel has the database open.
    let world = lived(&first).await;
    let file = first.backup("a.tar.zst");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let a = unpack(&file);
    assert_eq!(manifest(&a)["database"], "sqlite");
    let mut expected = tables(&a);
    assert!(!expected.contains_key("sessions") && expected["users"].1.len() == 2 && expected["servers"].1.len() == 2);
    let open = expected["node_commands"].1.iter().filter(|row| row.last().unwrap().is_null()).count();
    assert!(open > 0, "a command is under way");
    let (pg, no_zero) = match services::postgres(test) {
        Some(server) => (Some(Database::make(&server).await), true),
        None => (None, false),
    };
    let second = pg.as_ref().map_or_else(Place::lite, |database| Place::with(&database.url));
    let done = second.restore(&file);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(said(&done).contains("U+FFFD"), no_zero, "{}", said(&done));
    as_restored(&mut expected, no_zero);
    let b = unpack(&second.backup("b.tar.zst"));
    let mut found = tables(&b);
    without_now(&mut found, &expected);
    assert_eq!(found, expected);

    // Secrets and authority are where they were, for the panel alone.
    for (name, bytes) in a.iter().filter(|(name, _)| !name.starts_with("tables/") && name != "manifest.json") {
        let path = second.data().join(name);
        assert_eq!(std::fs::read(&path).unwrap(), *bytes, "{name}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::metadata(second.data().join("ca")).unwrap().permissions().mode() & 0o777, 0o700);

    // And back: what has been put back once stays the same to the byte, but for the generations.
    let third = Place::lite();
    let done = third.restore(&second.folder.path().join("b.tar.zst"));
    assert!(done.status.success(), "{}", said(&done));
    let c = unpack(&third.backup("c.tar.zst"));
    for ((name, before), (again, after)) in
        b.iter().zip(&c).filter(|((name, _), _)| name != "manifest.json" && name != "tables/servers.jsonl")
    {
        assert_eq!((name, String::from_utf8_lossy(before)), (again, String::from_utf8_lossy(after)));
    }
    let (mut before, after) = (tables(&b), tables(&c));
    as_restored(&mut before, false);
    assert_eq!(before["servers"], after["servers"]);
    world.ctx.db.close().await;
    if let Some(database) = pg {
        database.drop().await;
    }
}

/// Names behind CREATE TABLE in all migrations.
fn tables_of_migrations() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let text: String = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let names = text.split("CREATE TABLE ").skip(1).map(|rest| rest.split([' ', '(']).next().unwrap().to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn every_table_of_the_migrations_is_in_a_dump_what_is_pointed_at_first() {
    crate::world::on_both("every_table_of_the_migrations_is_in_a_dump_what_is_pointed_at_first", |world| async move {
        let tables = dump::tables(&world.ctx.db).await.unwrap();
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        let mut all: Vec<&str> = names.iter().copied().chain(dump::LEFT_OUT).collect();
        all.sort_unstable();
        assert_eq!(all, tables_of_migrations());
        let at = |name: &str| names.iter().position(|found| *found == name).unwrap();
        for (first, later) in [("users", "servers"), ("nodes", "servers"), ("servers", "ports"), ("template_versions", "server_layers")] {
            assert!(at(first) < at(later), "{names:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_whole_backup_is_refused_and_changes_nothing() {
    let first = Place::lite().settled();
    let world = lived(&first).await;
    let good = first.backup("good.tar.zst");
    world.ctx.db.close().await;
    let bytes = std::fs::read(&good).unwrap();
    let second = Place::lite();
    let bad = second.folder.path().join("bad.tar.zst");
    second.refuses(&bad, "No such file");
    second.refuses(second.folder.path(), "it is not a file");
    for (text, words) in [("", "no backup of a panel"), ("PK and more", "no backup of a panel")] {
        std::fs::write(&bad, text).unwrap();
        second.refuses(&bad, words);
    }
    for end in [bytes.len() - 1, bytes.len() / 2, 100, 5] {
        std::fs::write(&bad, &bytes[..end]).unwrap();
        second.refuses(&bad, "cut off or damaged");
    }
    for at in (4..bytes.len()).step_by(bytes.len() / 12) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(&bad, &flipped).unwrap();
        second.refuses(&bad, "cannot be restored");
    }
    let longer = [bytes.as_slice(), b"and more"].concat();
    std::fs::write(&bad, &longer).unwrap();
    second.refuses(&bad, "cut off or damaged");
    assert!(!second.data().exists(), "nothing was made");
    let done = second.restore(&good);
    assert!(done.status.success(), "after all of that the way is free: {}", said(&done));
    second.refuses(&good, "is not empty");
}

type Change<'a> = &'a dyn Fn(&mut Value, &mut Entries);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_lies_is_refused_and_changes_nothing() {
    let first = Place::lite().settled();
    let world = lived(&first).await;
    let good = first.backup("good.tar.zst");
    world.ctx.db.close().await;
    let entries = unpack(&good);
    let second = Place::lite();
    let bad = second.folder.path().join("bad.tar.zst");
    let change = |changes: Change<'_>, kind| {
        let mut entries = entries.clone();
        let mut said = manifest(&entries);
        changes(&mut said, &mut entries);
        entries[0].1 = serde_json::to_vec(&said).unwrap();
        pack(&bad, &entries, kind);
    };
    let plain = tar::EntryType::Regular;
    let cases: [(Change<'_>, &str); 12] = [
        (&|said, _| said["format"] = json!(2), "with the Roost that made it"),
        (&|said, _| said["roost"] = json!(7), "manifest cannot be read"),
        (
            &|said, _| said["migrations"].as_array_mut().unwrap().push(json!({"version": 9_999, "name": "later", "checksum": "00"})),
            "a newer Roost",
        ),
        (&|said, _| said["migrations"][1]["checksum"] = json!("00"), "another history"),
        (&|said, _| said["tables"][0]["name"] = json!("../../x"), "which no backup has"),
        (&|said, _| said["files"][0]["name"] = json!("../../x"), "which no backup has there"),
        (&|_, entries| entries[2].0 = "../../x".to_owned(), "where tables/"),
        (&|_, entries| entries[2].0 = "/etc/x".to_owned(), "where tables/"),
        (&|_, entries| entries.push(("more".to_owned(), Vec::new())), "not in its manifest"),
        (&|_, entries| drop(entries.pop()), "ends before ca/ca.pem"),
        (&|said, _| said["tables"][3]["sha256"] = json!("00"), "not what the manifest says"),
        (&|said, _| said["tables"][3]["rows"] = json!(10_000), "not what the manifest says"),
    ];
    for (changes, words) in cases {
        change(changes, plain);
        second.refuses(&bad, words);
    }
    change(&|_, _| {}, tar::EntryType::Symlink);
    second.refuses(&bad, "not a plain file");
    assert!(!second.data().exists(), "nothing was made");

    // It fits its checksums, and not its table: nothing of it stays.
    change(
        &|said, entries| {
            let at = entries.iter().position(|(name, _)| name == "tables/users.jsonl").unwrap();
            entries[at].1 = String::from_utf8(entries[at].1.clone()).unwrap().replacen("\"balance\"", "\"role2\"", 1).into_bytes();
            let table = said["tables"].as_array_mut().unwrap().iter_mut().find(|table| table["name"] == "users").unwrap();
            let sum = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&entries[at].1));
            (table["bytes"], table["sha256"]) = (json!(entries[at].1.len()), json!(sum));
        },
        plain,
    );
    second.refuses(&bad, "other columns than the database has");
    let done = second.restore(&good);
    assert!(done.status.success(), "it is still empty: {}", said(&done));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_has_done_all_or_nothing() {
    let first = Place::lite().settled();
    let world = lived(&first).await;
    let good = first.backup("good.tar.zst");
    world.ctx.db.close().await;
    let rows = |place: &Place| tables(&unpack(&place.backup("again.tar.zst")))["users"].1.len();
    let mut whole = 0;
    for moment in 1..=20 {
        let place = Place::lite();
        let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
        command.arg("restore").arg(&good).env("DATA_DIR", place.data()).env("DATABASE_URL", &place.url);
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(moment * 15));
        child.kill().unwrap();
        child.wait().unwrap();
        // What a kill leaves is in nobody's way.
        let again = place.restore(&good);
        let is_whole = said(&again).contains("is not empty");
        assert!(is_whole || again.status.success(), "{}", said(&again));
        assert_eq!(rows(&place), 2);
        whole += u32::from(is_whole);
    }
    assert!(whole < 20, "some were killed before their end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_there_is_lost_unless_somebody_says_so() {
    let test = "nothing_that_is_there_is_lost_unless_somebody_says_so";
    let first = Place::lite().settled();
    let world = lived(&first).await;
    let good = first.backup("good.tar.zst");
    // A file is not written over by chance.
    let again = first.run(&["backup", "good.tar.zst"]);
    assert!(!again.status.success() && said(&again).contains("--replace"), "{}", said(&again));
    assert!(first.run(&["backup", "--replace", "good.tar.zst"]).status.success());
    // Standard output, and a name by date.
    let out = first.run(&["backup", "-"]);
    assert!(out.status.success() && out.stdout.len() > 1_000 && said(&out).contains("SHA-256"), "{}", said(&out));
    assert!(first.run(&["backup"]).status.success());
    let dated = |name: &str| name.starts_with("roost-20") && name.ends_with(".tar.zst");
    let names = || std::fs::read_dir(first.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names().any(|name| dated(&name)) && !names().any(|name| name.contains(".new")));
    // Where there is no panel there is nothing to save.
    let nowhere = Place::lite().run(&["backup"]);
    assert!(!nowhere.status.success() && said(&nowhere).contains("is DATA_DIR"), "{}", said(&nowhere));
    let nothing = Place::lite().settled().run(&["backup"]);
    assert!(!nothing.status.success() && said(&nothing).contains("is DATABASE_URL right"), "{}", said(&nothing));
    world.ctx.db.close().await;

    // Other secrets.
    let second = Place::lite().settled();
    second.refuses(&good, "objects_secret, secret_key, ca/ca.key, ca/ca.pem. Name another DATA_DIR");
    // A panel that runs there: with a node of its own, and without.
    let lock = std::fs::File::create(second.data().join("agent.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let in_use = second.run(&["restore", "--replace", good.to_str().unwrap()]);
    assert!(!in_use.status.success() && said(&in_use).contains("stop the panel"), "{}", said(&in_use));
    drop(lock);
    let held = Db::open(&second.url).await.unwrap();
    let in_use = second.run(&["restore", "--replace", good.to_str().unwrap()]);
    assert!(!in_use.status.success() && said(&in_use).contains("stop the panel"), "{}", said(&in_use));
    held.close().await;
    let replaced = second.run(&["restore", "--replace", good.to_str().unwrap()]);
    assert!(replaced.status.success(), "{}", said(&replaced));
    assert_eq!(std::fs::read(second.data().join("ca/ca.key")).unwrap(), std::fs::read(first.data().join("ca/ca.key")).unwrap());

    if let Some(server) = services::postgres(test) {
        let database = Database::make(&server).await;
        let third = Place::with(&database.url);
        let held = Db::open(&database.url).await.unwrap();
        third.refuses(&good, "connections of other programs");
        held.close().await;
        assert!(third.restore(&good).status.success());
        third.refuses(&good, "is not empty");
        database.drop().await;
        third.refuses(&good, "is DATABASE_URL right");
    }
    let away = Place::with("postgres://nobody:x@127.0.0.1:1/nothing");
    away.refuses(&good, "does not answer");
}

#[tokio::test]
async fn a_backup_of_an_earlier_roost_is_brought_up_to_date() {
    let first = Place::lite().settled();
    let db = Db::open_alone(&first.url).await.unwrap();
    dump::migrate(&db, Some(2)).await.unwrap();
    panel::set(&db, "id", "of old").await.unwrap();
    db.close().await;
    let file = first.backup("old.tar.zst");
    assert!(!tables(&unpack(&file)).contains_key("backups"));
    let second = Place::lite();
    let done = second.restore(&file);
    assert!(done.status.success(), "{}", said(&done));
    let db = Db::open_as_it_is(&second.url).await.unwrap();
    assert_eq!(dump::applied(&db).await.unwrap(), dump::known());
    assert_eq!(panel::get(&db, "id").await.unwrap().as_deref(), Some("of old"));
    db.close().await;
    // A database that has gone further cannot take it.
    let third = Place::lite().settled();
    std::fs::remove_dir_all(third.data()).unwrap();
    std::fs::create_dir(third.data()).unwrap();
    Db::open(&third.url).await.unwrap().close().await;
    third.refuses(&file, "newer tables than the backup");
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing() {
    let Some(disk) = services::small_disk("a_full_disk_is_said_and_leaves_nothing", 1) else { return };
    let first = Place::lite().settled();
    let world = lived(&first).await;
    disk.fill();
    let done = first.run(&["backup", disk.path().join("a.tar.zst").to_str().unwrap()]);
    assert!(!done.status.success() && said(&done).contains("no room for the backup"), "{}", said(&done));
    let left: Vec<_> = std::fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["filler"]);
    let mut none = Command::new(env!("CARGO_BIN_EXE_roost"));
    none.args(["backup", "-"]).env("DATA_DIR", first.data()).env("DATABASE_URL", &first.url);
    let done = none.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap()).output().unwrap();
    assert!(!done.status.success() && said(&done).contains("no room for the backup"), "{}", said(&done));
    world.ctx.db.close().await;
}

async fn dumped(db: &Db) -> Vec<(String, Vec<u8>)> {
    let picture = db.picture().await.unwrap();
    let mut all = Vec::new();
    for table in dump::tables(&picture).await.unwrap() {
        let mut bytes = Vec::new();
        dump::write(&picture, &table, |line| bytes.write_all(line)).await.unwrap();
        all.push((table.name, bytes));
    }
    all
}

async fn loaded(db: &Db, dumped: &[(String, Vec<u8>)]) {
    let tables = dump::tables(db).await.unwrap();
    let tx = db.begin().await.unwrap();
    dump::clear(&tx, &tables).await.unwrap();
    for (table, (_, bytes)) in tables.iter().zip(dumped) {
        let mut loader = Loader::new(table);
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if loader.take(line).unwrap() {
                loader.flush(&tx).await.unwrap();
            }
        }
        loader.flush(&tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_rows_hold_a_dump_that_was_loaded_is_dumped_alike(
        texts in prop::collection::btree_map(any::<String>(), any::<String>(), 0..40),
        numbers in prop::collection::btree_map(any::<i64>(), any::<i64>(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (one, two) = (Place::lite().settled(), Place::lite().settled());
            let (first, second) = (Db::open(&one.url).await.unwrap(), Db::open(&two.url).await.unwrap());
            for (name, value) in &texts {
                panel::set(&first, name, value).await.unwrap();
            }
            let mut raw = SqliteConnection::connect(&one.url).await.unwrap();
            for (at, number) in &numbers {
                let insert = sqlx::query("INSERT INTO samples (server, at, cpu_millis, players) VALUES ('s', $1, $2, NULL)");
                insert.bind(at).bind(number).execute(&mut raw).await.unwrap();
            }
            let before = dumped(&first).await;
            loaded(&second, &before).await;
            assert_eq!(dumped(&second).await, before);
            for (name, value) in &texts {
                assert_eq!(panel::get(&second, name).await.unwrap().as_ref(), Some(value));
            }
        });
    }
}
