//! Backups of servers that stand on layers: the view of the game is what is archived and what comes back.

use roost::model::layers::LayerRef;
use roost::wire::agent::{Action, EventKind, FromNode, ToNode};
use roost::wire::spec::InstanceSpec;

use super::super::busybox;
use super::super::layers::shelf::archive;
use super::super::site::{PATIENCE, Site, docker, prepare};
use super::vault::{self, restore, site};

const PATH: &str = "export PATH=/bin; /busybox mkdir -p /bin; /busybox --install /bin; cd /data";
const SHOW: &str = "find . ! -name . | sort | while read f; do stat -c '%n %a %u %F' $f; [ -f $f ] && cat $f; done; true";

fn spec(site: &mut Site, layers: &[&LayerRef]) -> InstanceSpec {
    busybox::image();
    let mut spec = site.demo();
    busybox::IMAGE.clone_into(&mut spec.image);
    spec.args = ["/busybox", "sh", "-c", "echo open; while :; do /busybox sleep 1; done"].map(str::to_owned).to_vec();
    spec.ready = roost::model::games::Ready::LogLine { contains: "open".to_owned() };
    spec.stop.wait_secs = 1;
    spec.layers = layers.iter().map(|layer| (*layer).clone()).collect();
    spec.variables = [("PORT".to_owned(), "25001".to_owned())].into();
    spec
}

/// Runs a script in the game's container, in its data.
fn play(spec: &InstanceSpec, script: &str) -> String {
    docker(&["exec", &format!("roost-{}-game", spec.server), "/busybox", "sh", "-c", &format!("{PATH}; {script}")])
}

const CHANGE: &str = "echo mine > motd; rm maps/two; rm -r plugins; mkdir plugins; echo own > plugins/own; \
    rm lib; mkdir lib; echo deep > lib/deep; mkdir -p world; echo saved > world/level; ln -s ../../out link; chmod 640 server.cfg";
const SPOIL: &str = "rm -rf plugins motd maps; echo spoiled > maps; rm -r lib; echo x > lib; mkdir plugins; echo two > plugins/a; \
    rm -rf world; rm link; rm run.sh; echo extra > extra; echo changed > server.cfg";

async fn a_view_comes_back(test: &str) {
    let Some(vault) = vault::open(test).await else { return };
    let mut site = site(&vault).await;
    let put = |name: &str, files: &[(&str, &str)]| vault.layers.shelf.put(name, "1", &archive(files));
    let base = put(
        "base",
        &[
            ("server.cfg", "port=${PORT}"),
            ("motd", "base"),
            ("old/gone", "1"),
            ("maps/one", "1"),
            ("maps/two", "2"),
            ("plugins/a", "a"),
            ("plugins/b/c", "c"),
            ("lib", "file"),
            ("run.sh", "#!/bin/sh"),
            ("here", "->maps/one"),
        ],
    );
    let mode = put("mode", &[("motd", "mode"), ("maps/one", "one"), ("roost.toml", "clean = [\"old\"]")]);
    let spec = spec(&mut site, &[&base, &mode]);
    site.prepare(&spec).await;
    site.start(&spec.server).await;
    play(&spec, CHANGE);
    let shown = play(&spec, SHOW);
    let (backup, archived) = vault.back_up(&mut site, &spec.server).await;
    assert_eq!(archived.note, None);
    assert_eq!(archived.entries, 1 + play(&spec, "find . ! -name .").lines().count() as u64);
    play(&spec, SPOIL);
    let spoiled = play(&spec, SHOW);
    assert_ne!(shown, spoiled);
    restore(&mut site, &spec.server, &backup).await;
    let data = site.home(&spec.server).join("data");
    for untouched in ["run.sh", "maps/one", "here"] {
        assert!(std::fs::symlink_metadata(data.join(untouched)).is_err(), "{untouched} is in its layer already");
    }
    site.start(&spec.server).await;
    assert_eq!(play(&spec, SHOW), shown);

    // The way back, and back again.
    for expected in [&spoiled, &shown] {
        let answer = site.ask(&spec.server, Action::UndoRestore).await;
        assert!(matches!(answer, EventKind::Restored(_)), "{answer:?}");
        site.start(&spec.server).await;
        assert_eq!(&play(&spec, SHOW), expected);
    }

    // What other layers would take from it.
    let other = put("other", &[("motd", "other"), ("new", "new")]);
    let look =
        ToNode::LookAtLayers { ask: 77, server: spec.server.clone(), layers: vec![base.clone(), other], variables: spec.variables.clone() };
    site.send(look).await;
    let own = site.until("a look", |message| match message {
        FromNode::LayersLook { ask: 77, own_files } => Some(own_files.clone()),
        _ => None,
    });
    assert_eq!(own.await.unwrap(), ["motd"]);

    // On a fresh node it begins with all of it.
    drop(site);
    let mut second = vault::site(&vault).await;
    second.servers.push(spec.server.clone());
    let moved = InstanceSpec { origin: Some(backup), ..spec.clone() };
    let answer = second.ask(&spec.server, prepare(&moved)).await;
    assert!(matches!(answer, EventKind::Prepared(_)), "{answer:?}");
    second.start(&spec.server).await;
    assert_eq!(play(&spec, SHOW), shown);
    let home = second.home(&spec.server);
    assert!(std::fs::symlink_metadata(home.join("data/run.sh")).is_err() && !home.join("before-restore").exists());
    let begin = std::time::Instant::now();
    drop(second);
    assert!(begin.elapsed() < PATIENCE);
}

#[tokio::test]
async fn the_view_of_a_server_on_layers_comes_back_as_it_was() {
    a_view_comes_back("the_view_of_a_server_on_layers_comes_back_as_it_was").await;
}
