//! What images declare: volumes belong to the server's data, whoever it runs as can write there, and nobody runs its health checks.

use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use roost::model::games::Ready;
use roost::wire::agent::{Action, EventKind};
use roost::wire::spec::InstanceSpec;

use super::backups::vault;
use super::site::{Site, docker};

/// Writes a world where there is none, and says which one it has.
const WORLD: &str = "/data/sub/world.dat";
const MORE: &str = "/elsewhere/deep/more.dat";

fn quirky(site: &mut Site) -> InstanceSpec {
    let image = "roost-test/quirky:1";
    let changes = ["VOLUME /data/sub", "VOLUME /elsewhere/deep", "USER 1234:1234", "WORKDIR /data/sub", "EXPOSE 9/tcp"];
    super::busybox::made(image, &changes);
    let mut spec = site.demo();
    image.clone_into(&mut spec.image);
    let script = format!(
        "for file in {WORLD} {MORE}; do if [ -e $file ]; then echo kept; else echo new; echo made > $file || echo refused; fi; done; \
         [ $(ulimit -n) = 16384 ] && [ $(ulimit -c) = 0 ] && echo bounded; echo ready; exec /busybox sleep 600"
    );
    spec.args = ["/busybox", "sh", "-c", &script].map(str::to_owned).to_vec();
    spec.ready = Ready::LogLine { contains: "ready".to_owned() };
    "SIGKILL".clone_into(&mut spec.stop.signal);
    spec
}

/// What the last run has said.
fn said(spec: &InstanceSpec) -> String {
    docker(&["logs", &format!("roost-{}-game", spec.server)]).replace('\n', " ")
}

#[tokio::test]
async fn an_images_volumes_belong_to_the_data_and_are_in_the_backup() {
    let Some(vault) = vault::open("an_images_volumes_belong_to_the_data_and_are_in_the_backup").await else { return };
    let mut site = vault::site(&vault).await;
    let spec = quirky(&mut site);
    let game = format!("roost-{}-game", spec.server);
    site.prepare(&spec).await;
    site.start(&spec.server).await;
    assert_eq!(said(&spec), "new new bounded ready");
    let kinds = docker(&["inspect", "-f", "{{range .Mounts}}{{.Type}} {{end}}", &game]);
    assert_eq!(kinds.trim(), "bind bind bind", "nothing without a name");
    assert_eq!(docker(&["inspect", "-f", "{{.Config.Healthcheck.Test}}", &game]), "[NONE]");

    // Stopped, so that its container goes: the world stays, in the data and nowhere else.
    let stop = Action::StopInstance { keep_door: false, unless_busy: false };
    assert!(matches!(site.ask(&spec.server, stop.clone()).await, EventKind::Stopped(_)));
    let data = site.home(&spec.server).join("data");
    assert_eq!(std::fs::read_to_string(data.join("sub/world.dat")).unwrap(), "made\n");
    assert_eq!(std::fs::read_to_string(data.join(".volumes/elsewhere+deep/more.dat")).unwrap(), "made\n");
    assert_eq!(std::fs::metadata(&data).unwrap().uid(), 1_234, "whoever it runs as can write");
    site.prepare(&spec).await;
    site.start(&spec.server).await;
    assert_eq!(said(&spec), "kept kept bounded ready");
    site.put_to_sleep(&spec.server).await;

    // Backed up, lost, and brought back.
    let (backup, archived) = vault.back_up(&mut site, &spec.server).await;
    assert!(archived.unpacked >= 10, "{archived:?}");
    std::fs::remove_dir_all(data.join("sub")).unwrap();
    std::fs::remove_dir_all(data.join(".volumes")).unwrap();
    vault::restore(&mut site, &spec.server, &backup).await;
    site.start(&spec.server).await;
    assert!(said(&spec).ends_with("kept kept bounded ready"), "{}", said(&spec));
    site.put_to_sleep(&spec.server).await;

    // A link that the game has left in the place of one leads nowhere.
    let outside = tempfile::tempdir().unwrap();
    std::fs::remove_dir_all(data.join("sub")).unwrap();
    symlink(outside.path(), data.join("sub")).unwrap();
    site.start(&spec.server).await;
    assert!(said(&spec).ends_with("new kept bounded ready"), "{}", said(&spec));
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(matches!(site.ask(&spec.server, Action::DestroyInstance).await, EventKind::Destroyed));
    let inspected = Command::new("docker").args(["inspect", &game]).output().unwrap();
    assert!(!inspected.status.success());
}
