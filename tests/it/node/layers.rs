//! Layers on a node: fetched once, whatever breaks on the way; merged alike in every way; the server's own files stay.

pub mod shelf;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use roost::archives::Limits;
use roost::model::layers::LayerRef;
use roost::node::layers::{Counts, FETCHES, Layers, LayersConfig, LayersError, Prepared, Request, TRIES, Way};
use tempfile::TempDir;

use super::busybox;
use super::site::{PATIENCE, docker, program};
use crate::services;
use shelf::{Served, archive, refer};

/// An agent's layers, and a shelf to fetch from.
struct Room {
    layers: Layers,
    served: Served,
    folder: TempDir,
}

async fn opened(folder: &Path, served: &Served, way: Option<Way>) -> Result<Layers, LayersError> {
    let config = LayersConfig { data_dir: folder.to_owned(), limits: Limits::default(), fetches: FETCHES, way };
    Layers::open(config, served.shelf.clone()).await
}

async fn room(way: Option<Way>) -> Room {
    let (folder, served) = (tempfile::Builder::new().prefix("roost-layers-").tempdir().unwrap(), shelf::serve().await);
    Room { layers: opened(folder.path(), &served, way).await.unwrap(), served, folder }
}

/// The folder goes when nothing is written to it any more.
impl Drop for Room {
    fn drop(&mut self) {
        let begin = std::time::Instant::now();
        while self.layers.settling() > 0 && begin.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
}

impl Room {
    fn put(&self, template: &str, version: &str, files: &[(&str, &str)]) -> LayerRef {
        self.served.shelf.put(template, version, &archive(files))
    }

    fn request(&self, server: &str, layers: &[&LayerRef]) -> Request {
        let home = self.folder.path().join("instances").join(server);
        std::fs::create_dir_all(&home).unwrap();
        let variables = [("PORT", "25001"), ("SERVER_NAME", "Valley")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        Request { home, layers: layers.iter().map(|layer| (*layer).clone()).collect(), variables: variables.into(), owner: None }
    }

    async fn prepare(&self, server: &str, layers: &[&LayerRef]) -> Result<Prepared, LayersError> {
        self.layers.prepare(self.request(server, layers)).await
    }

    fn data(&self, server: &str, path: &str) -> PathBuf {
        self.folder.path().join("instances").join(server).join("data").join(path)
    }

    /// Folders of layers in the cache, and what is on its way in or out.
    fn cached(&self) -> (Vec<String>, usize) {
        let names = |path: PathBuf| -> Vec<String> {
            std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let cache = self.folder.path().join("cache");
        let templates = names(cache.clone()).into_iter().filter(|name| !name.starts_with('.'));
        let mut layers: Vec<String> = templates.flat_map(|name| names(cache.join(name))).collect();
        layers.sort();
        (layers, names(cache.join(".incoming")).len() + names(cache.join(".gone")).len())
    }
}

fn text(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Large enough for many pieces, and not to be made smaller.
fn noise(length: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let letters = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + u8::try_from(state % 90).unwrap())
    });
    letters.take(length).filter(|c| *c != '$').collect()
}

#[tokio::test]
async fn many_servers_fetch_a_layer_once_and_share_it() {
    let room = room(Some(Way::Copy)).await;
    let base = room.put("base", "1", &[("world/level.dat", &noise(400_000)), ("run.sh", "#!/bin/sh")]);
    let names: Vec<String> = (0..5).map(|n| format!("s{n}")).collect();
    let layers = [&base];
    let all = futures_util::future::join_all(names.iter().map(|name| room.prepare(name, &layers))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!((room.served.shelf.requests(), room.layers.counts()), (1, Counts { hits: 4, misses: 1 }));
    assert_eq!(room.cached().0, [format!("1-{}", base.sha256.short())]);
    assert_eq!(text(room.data("s4", "world/level.dat")), noise(400_000));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(room.data("s4", "run.sh")).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o755);
}

#[tokio::test]
async fn a_download_that_breaks_is_taken_up_where_it_was_with_a_fresh_address() {
    for no_ranges in [false, true] {
        let room = room(Some(Way::Copy)).await;
        let base = room.put("base", "1", &[("large", &noise(900_000))]);
        *room.served.shelf.no_ranges.lock().unwrap() = no_ranges;
        *room.served.shelf.cuts.lock().unwrap() = vec![200_000, 0, 300_000];
        room.prepare("s", &[&base]).await.unwrap();
        assert_eq!(text(room.data("s", "large")), noise(900_000));
        assert_eq!((room.served.shelf.requests(), room.served.shelf.asked.load(Ordering::SeqCst)), (4, 4));
        let sent = room.served.shelf.sent.load(Ordering::SeqCst);
        assert_eq!(sent <= base.bytes + 100_000, !no_ranges, "{sent} of {}", base.bytes);
    }
}

#[tokio::test]
async fn what_cannot_be_fetched_is_said_in_words_and_leaves_nothing() {
    let room = room(Some(Way::Copy)).await;
    let shelf = &room.served.shelf;
    let base = room.put("base", "1", &[("large", &noise(300_000))]);

    *shelf.cuts.lock().unwrap() = vec![0; 10];
    let error = room.prepare("s", &[&base]).await.unwrap_err();
    assert!(matches!(error, LayersError::Download { .. }) && error.retryable() && !error.to_string().contains("signature"), "{error}");
    assert_eq!((shelf.requests(), room.cached()), (TRIES, (Vec::new(), 0)));
    shelf.cuts.lock().unwrap().clear();

    for wrong in [archive(&[("large", "another")]), b"not an archive at all, and shorter".to_vec(), vec![0; 400_000]] {
        let before = shelf.requests();
        shelf.replace("base", "1", &wrong);
        let error = room.prepare("s", &[&base]).await.unwrap_err();
        assert!(matches!(error, LayersError::WrongChecksum { .. } | LayersError::Download { .. }), "{error:?}");
        assert!(shelf.requests() - before >= TRIES);
        assert_eq!(room.cached(), (Vec::new(), 0));
    }

    let evil = shelf.put("evil", "1", &archive(&[("a", "->../../etc")]));
    let before = shelf.requests();
    let error = room.prepare("s", &[&evil]).await.unwrap_err();
    assert!(error.to_string().contains("\"a\" is a link") && !error.retryable(), "{error}");
    assert_eq!(shelf.requests() - before, 1, "an archive that is what it should be is not fetched again");

    let gone = refer("gone", "1", b"x");
    assert!(matches!(room.prepare("s", &[&gone]).await, Err(LayersError::Gone(_))));
    assert_eq!(room.cached(), (Vec::new(), 0));
    shelf.replace("base", "1", &archive(&[("large", &noise(300_000))]));
    room.prepare("s", &[&base]).await.unwrap();
}

#[tokio::test]
async fn dev_mode_fetches_anew_beside_and_a_purge_keeps_what_is_in_use() {
    let room = room(Some(Way::Overlay)).await;
    let (base, other) = (room.put("base", "1", &[("a", "12345")]), room.put("other", "1", &[("b", "1234567")]));
    let first = room.prepare("s", &[&base]).await.unwrap();
    room.prepare("t", &[&other]).await.unwrap();
    room.layers.set_dev_mode(true);
    assert_eq!(room.prepare("u", &[&base]).await.unwrap().lower.len(), 1);
    assert!(first.lower[0].join("a").exists(), "what a server is made of stays");
    let stem = format!("1-{}", base.sha256.short());
    assert_eq!(room.cached().0.iter().filter(|name| name.starts_with(&stem)).count(), 2);
    room.layers.set_dev_mode(false);
    assert_eq!(room.served.shelf.requests(), 3);

    std::fs::remove_dir_all(room.folder.path().join("instances/t")).unwrap();
    let chosen = room.layers.purge(Some(vec!["base".parse().unwrap()])).await.unwrap();
    assert_eq!((chosen.freed, chosen.removed.len(), chosen.kept.len()), (0, 0, 2));
    let all = room.layers.purge(None).await.unwrap();
    assert_eq!((all.freed, all.removed.as_slice(), all.kept.len()), (7, std::slice::from_ref(&other), 2));
    std::fs::remove_dir_all(room.folder.path().join("instances/s")).unwrap();
    assert_eq!(room.layers.purge(None).await.unwrap().freed, 5);
    let cached = room.layers.cached().await.unwrap();
    assert_eq!(cached.iter().map(|one| (&one.layer, one.bytes, one.in_use)).collect::<Vec<_>>(), [(&base, 5, true)]);
    assert_eq!(room.cached().1, 0);
}

#[tokio::test]
async fn what_a_kill_left_in_the_cache_is_cleared_and_what_is_spoiled_is_fetched_again() {
    let mut room = room(Some(Way::Copy)).await;
    let base = room.put("base", "1", &[("a", "x")]);
    room.prepare("s", &[&base]).await.unwrap();
    let cache = room.folder.path().join("cache");
    std::fs::create_dir_all(cache.join(".incoming/half/tree/a")).unwrap();
    std::fs::create_dir_all(cache.join(".gone/half")).unwrap();
    let layer = cache.join("base").join(&room.cached().0[0]);
    std::fs::create_dir_all(cache.join("base/2-0011223344556677/tree")).unwrap();
    room.layers = opened(room.folder.path(), &room.served, Some(Way::Copy)).await.unwrap();
    assert_eq!((room.cached().0.len(), room.cached().1), (1, 0));

    std::fs::write(layer.join("layer.json"), "{").unwrap();
    room.prepare("t", &[&base]).await.unwrap();
    assert_eq!(room.served.shelf.requests(), 2);
    let lied = std::fs::read_to_string(cache.join("base").join(room.cached().0.last().unwrap()).join("layer.json")).unwrap();
    let other = lied.replace(&base.sha256.to_string()[16..], &"0".repeat(48));
    for name in room.cached().0 {
        std::fs::write(cache.join("base").join(name).join("layer.json"), &other).unwrap();
    }
    room.prepare("u", &[&base]).await.unwrap();
    assert_eq!(room.served.shelf.requests(), 3, "another checksum behind the same name is another layer");
}

#[tokio::test]
async fn a_disk_that_is_full_ends_it_in_words_with_nothing_half_done() {
    if services::docker("node::layers::a_disk_that_is_full_ends_it_in_words_with_nothing_half_done").is_none() {
        return;
    }
    let room = room(Some(Way::Copy)).await;
    let small = tempfile::tempdir().unwrap();
    let path = small.path().to_str().unwrap().to_owned();
    assert!(program("mount", &["-t", "tmpfs", "-o", "size=2m", "tmpfs", &path]).0);
    let layers = opened(small.path(), &room.served, Some(Way::Copy)).await.unwrap();
    let (large, little) = (room.put("large", "1", &[("a", "x"), ("b", &noise(4 << 20))]), room.put("little", "1", &[("a", "x")]));
    let home = small.path().join("instances/s");
    std::fs::create_dir_all(&home).unwrap();
    let request = |layer: &LayerRef| Request { home: home.clone(), layers: vec![layer.clone()], variables: BTreeMap::new(), owner: None };
    let error = layers.prepare(request(&large)).await.unwrap_err();
    let left = std::fs::read_dir(small.path().join("cache/.incoming")).unwrap().count();
    let cached = layers.cached().await.unwrap();
    let after = layers.prepare(request(&little)).await;
    while layers.settling() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(program("umount", &["-l", &path]).0);
    assert!(matches!(error, LayersError::Full) && error.retryable(), "{error}");
    assert_eq!((left, cached.len()), (0, 0));
    assert!(after.is_ok(), "{after:?}");
}

/// Runs a script in a server's folder, as its game would.
fn play(prepared: &Prepared, script: &str) -> String {
    let Some(options) = prepared.volume_options() else {
        let (well, said) = program("sh", &["-c", &format!("cd '{}' && {script}", prepared.upper.display())]);
        assert!(well, "{said}");
        return said;
    };
    busybox::image();
    let volume = format!("roost-layers-{}", prepared.upper.components().nth(2).unwrap().as_os_str().to_str().unwrap());
    let options = format!("o={options}");
    docker(&["volume", "create", "-d", "local", "-o", "type=overlay", "-o", "device=overlay", "-o", &options, &volume]);
    let mount = format!("{volume}:/data");
    let path = "export PATH=/bin; /busybox mkdir -p /bin; /busybox --install /bin; cd /data";
    let run = ["run", "--rm", "--network", "none", "-v", &mount, busybox::IMAGE, "/busybox", "sh", "-c"];
    let (well, said) = program("docker", &[&run[..], &[&format!("{path}; {script}")]].concat());
    docker(&["volume", "rm", &volume]);
    assert!(well, "{said}");
    said
}

/// Every file with its content, as the game sees it.
const SHOW: &str = "find . -type f -o -type l | sort | while read f; do echo \"$f $(head -c 40 $f)\"; done";

fn shown(prepared: &Prepared) -> Vec<String> {
    play(prepared, SHOW).lines().map(|line| line.trim_end().to_owned()).collect()
}

async fn a_life_with_layers(way: Way) {
    let room = room(Some(way)).await;
    let base = room.put(
        "base",
        "1",
        &[
            ("server.cfg", "port=${PORT} name=${SERVER_NAME} odd=${NOBODY}"),
            ("old/map", "1"),
            ("motd", "base"),
            ("bin/run.sh", "echo base"),
            ("plugins/a", "a1"),
            ("lib/x", "1"),
        ],
    );
    let mode = room.put(
        "mode",
        "1",
        &[
            ("motd", "mode"),
            ("maps/one", "1"),
            ("maps/two", "2"),
            ("here", "->maps/one"),
            ("roost.toml", "clean = [\"old\", \"lib\"]\nrequired = [\"server.cfg\"]"),
            ("lib/y", "2"),
        ],
    );
    let first = room.prepare("s", &[&base, &mode]).await.unwrap();
    assert_eq!(
        first.unknown_variables.iter().map(|one| (one.name.as_str(), one.path.as_str())).collect::<Vec<_>>(),
        [("NOBODY", "server.cfg")]
    );
    let cfg = "./server.cfg port=25001 name=Valley odd=${NOBODY}";
    assert_eq!(
        shown(&first),
        ["./bin/run.sh echo base", "./here 1", "./lib/y 2", "./maps/one 1", "./maps/two 2", "./motd mode", "./plugins/a a1", cfg]
    );
    assert_eq!(room.prepare("s", &[&base, &mode]).await.unwrap(), first, "asked again, nothing changes");

    // What the server does: writes of its own, changes, removes.
    play(
        &first,
        "mkdir -p world && echo saved > world/level && echo mine > motd && rm maps/two && rm -r plugins && mkdir plugins && echo own > plugins/own && rm -r lib",
    );
    let mode2 = room.put(
        "mode",
        "2",
        &[
            ("motd", "mode"),
            ("maps/one", "1"),
            ("maps/two", "2"),
            ("here", "->maps/one"),
            ("roost.toml", "clean = [\"old\"]"),
            ("lib/y", "2"),
            ("lib/z", "3"),
        ],
    );
    let same = room.prepare("s", &[&base, &mode2]).await.unwrap();
    assert_eq!(same.replaced, [""; 0], "no file of the server's is in the way");
    let mut kept =
        vec!["./bin/run.sh echo base", "./here 1", "./maps/one 1", "./motd mine", "./plugins/own own", cfg, "./world/level saved"];
    // The clean-list has let go of lib/x: it is brought anew, as is lib/z.
    kept.splice(2..2, ["./lib/x 1", "./lib/z 3"]);
    assert_eq!(shown(&same), kept, "what it changed stays changed, and what it removed stays removed");

    another_version(&room, &base, &same, &kept).await;
}

/// A third version brings the files that the server has changed, made and removed; and then the way back.
async fn another_version(room: &Room, base: &LayerRef, same: &Prepared, kept: &[&str]) {
    let cfg = "./server.cfg port=25001 name=Valley odd=${NOBODY}";
    let mode3 = room.put(
        "mode",
        "3",
        &[
            ("motd", "mode3"),
            ("maps/one", "1"),
            ("maps/two", "2b"),
            ("here", "->maps/two"),
            ("plugins/b", "b3"),
            ("world/level", "theirs"),
            ("lib", "a file now"),
        ],
    );
    let request = room.request("s", &[base, &mode3]);
    let outlook = room.layers.look(request).await.unwrap();
    assert!(outlook.changes.iter().any(|change| change.path == "motd"), "{:?}", outlook.changes);
    assert_eq!(shown(same), kept, "looking changes nothing");
    let third = room.prepare("s", &[base, &mode3]).await.unwrap();
    assert_eq!((third.replaced.as_slice(), &outlook.replaced), (&["motd".to_owned(), "world/level".to_owned()][..], &third.replaced));
    let expected = [
        "./bin/run.sh echo base",
        "./here 2b",
        "./lib a file now",
        "./maps/one 1",
        "./maps/two 2b",
        "./motd mode3",
        "./old/map 1",
        "./plugins/b b3",
        "./plugins/own own",
        cfg,
        "./world/level theirs",
    ];
    assert_eq!(shown(&third), expected);

    // And back, with another port: files that the server did not touch follow.
    let mut request = room.request("s", &[base]);
    request.variables.insert("PORT".to_owned(), "26000".to_owned());
    let back = room.layers.prepare(request).await.unwrap();
    let cfg = "./server.cfg port=26000 name=Valley odd=${NOBODY}";
    let found = shown(&back);
    assert!(
        found.contains(&cfg.to_owned()) && found.contains(&"./plugins/own own".to_owned()) && found.contains(&"./motd base".to_owned()),
        "{found:?}"
    );
    assert!(!found.iter().any(|line| line.contains("plugins/b") || line.contains("maps/")), "{found:?}");

    let wants = room.put("wants", "1", &[("roost.toml", "required = [\"server.jar\"]")]);
    let error = room.prepare("s", &[base, &wants]).await.unwrap_err();
    assert!(error.to_string().starts_with("server.jar is required") && !error.retryable(), "{error}");
    assert_eq!(shown(&back), found, "a preparation that is refused changes nothing");
}

#[tokio::test]
async fn a_server_of_copies_lives_with_its_layers() {
    a_life_with_layers(Way::Copy).await;
}

#[tokio::test]
async fn a_server_of_clones_or_copies_lives_with_its_layers() {
    a_life_with_layers(Way::Reflink).await;
}

#[tokio::test]
async fn a_server_on_a_mounted_overlay_lives_with_its_layers() {
    if services::docker("node::layers::a_server_on_a_mounted_overlay_lives_with_its_layers").is_some() {
        a_life_with_layers(Way::Overlay).await;
    }
}

#[tokio::test]
async fn a_preparation_that_was_killed_before_its_end_is_made_once_more() {
    for way in [Way::Copy, Way::Overlay] {
        let room = room(Some(way)).await;
        let base = room.put("base", "1", &[("a/cfg", "${PORT}"), ("a/b", "x"), ("l", "->a/b"), ("roost.toml", "clean = [\"c/d\"]")]);
        let first = room.prepare("s", &[&base]).await.unwrap();
        let home = room.folder.path().join("instances/s");
        std::fs::write(home.join("data/own"), "own").unwrap();
        for name in ["layers.json", "provenance.json"] {
            std::fs::remove_file(home.join(name)).unwrap();
            std::fs::write(home.join(format!("{name}.new")), "{").unwrap();
        }
        std::fs::create_dir_all(home.join("rendered.new/a")).unwrap();
        assert_eq!(room.prepare("s", &[&base]).await.unwrap(), first, "{way}");
        assert_eq!(text(room.data("s", "own")), "own");
    }
}

#[tokio::test]
async fn the_probe_finds_a_way_and_leaves_nothing() {
    let room = room(None).await;
    let may_mount = rustix::process::geteuid().is_root();
    assert!(may_mount || room.layers.way() != Way::Overlay);
    assert!(!room.folder.path().join("probe").exists());
    let base = room.put("base", "1", &[("a", "x")]);
    assert_eq!(room.prepare("s", &[&base]).await.unwrap().way, room.layers.way());
}

#[tokio::test]
async fn files_belong_to_the_game_s_user_and_layers_of_another_user_are_others() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let room = room(Some(Way::Copy)).await;
    let base = room.put("base", "1", &[("a/b", "x")]);
    let mut request = room.request("s", &[&base]);
    request.owner = Some((1_234, 4_321));
    room.layers.prepare(request).await.unwrap();
    room.prepare("t", &[&base]).await.unwrap();
    let owner = |path: PathBuf| {
        let found = std::fs::metadata(path).unwrap();
        (std::os::unix::fs::MetadataExt::uid(&found), std::os::unix::fs::MetadataExt::gid(&found))
    };
    assert_eq!(["a", "a/b", ""].map(|path| owner(room.data("s", path))), [(1_234, 4_321); 3]);
    assert_eq!(owner(room.data("t", "a/b")), (0, 0));
    let sum = base.sha256.short();
    assert_eq!(room.cached().0, [format!("1-{sum}"), format!("1-{sum}~1234-4321")]);
}
