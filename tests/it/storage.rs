//! The storage of a plan: its owner is warned in time, and what goes past it is stopped, with the reason. On both databases.

use roost::domain::{Actor, mails, servers};
use roost::model::disk::DiskUse;
use roost::model::ids::ServerId;
use roost::model::servers::{Phase, Wanted};
use roost::model::time::{Clock, MINUTE, SECOND};

use crate::world::{World, on_both};

/// The node has measured its files, and says it with its next heartbeat. The demo's only plan has 64 MiB.
async fn measured(world: &mut World, id: &ServerId, mib: u64, files: u64) {
    let at = world.clock.now();
    world.node.instances.get_mut(id).expect("it is there").disk = Some(DiskUse { bytes: mib << 20, files, whole: true, at });
    world.beat().await;
    world.settle().await;
}

async fn subjects(world: &World, admin: &Actor) -> Vec<String> {
    mails::newest(&world.ctx, admin).await.expect("an admin may").into_iter().map(|posted| posted.mail.subject).collect()
}

#[tokio::test]
async fn storage_is_warned_of_in_time_and_what_goes_past_it_is_stopped_with_the_reason() {
    on_both("storage_is_warned_of_in_time_and_what_goes_past_it_is_stopped_with_the_reason", |mut world| async move {
        let admin = world.admin().await;
        let actor = world.player("ada@example.org").await;
        let id = world.create(&actor, "Hoard").await.id;
        world.settle().await;
        for (mib, letters) in [(50, 0), (60, 1), (61, 1), (59, 1)] {
            world.clock.pass(MINUTE);
            measured(&mut world, &id, mib, 10).await;
            let told = subjects(&world, &admin).await.iter().filter(|subject| subject.contains("running out")).count();
            assert_eq!(told, letters, "at {mib} MiB");
        }
        assert_eq!(servers::disk_of(&world.ctx, &actor, &id).await.expect("may see").map(|used| used.bytes), Some(59 << 20));
        assert_eq!(world.server(&id).await.expect("there").life.phase, Phase::Running, "nothing is stopped before the limit");

        world.clock.pass(MINUTE);
        measured(&mut world, &id, 412, 10).await;
        let row = world.server(&id).await.expect("there");
        assert_eq!((row.life.wanted, row.life.phase), (Wanted::Stopped, Phase::Stopped));
        let history = servers::history(&world.ctx, &actor, &id, None).await.expect("may see");
        let why = history.iter().find(|event| event.what == "wanted stopped").expect("told").why.clone();
        assert!(why.contains("412.0 MiB of the 64 MiB") && why.contains("larger plan"), "{why}");
        assert!(subjects(&world, &admin).await.iter().any(|subject| subject == "Hoard was stopped: its storage is full"));

        // Whoever starts it can free some space, for a while.
        world.clock.pass(MINUTE);
        servers::power(&world.ctx, &actor, &id, servers::Power::Start).await.expect("may start");
        world.settle().await;
        world.clock.pass(SECOND);
        measured(&mut world, &id, 400, 10).await;
        assert_eq!(world.server(&id).await.expect("there").life.phase, Phase::Running);
        world.clock.pass(2 * MINUTE);
        measured(&mut world, &id, 400, 10).await;
        assert_eq!(world.server(&id).await.expect("there").life.phase, Phase::Stopped);
        servers::power(&world.ctx, &actor, &id, servers::Power::Start).await.expect("may start");
        world.settle().await;
        measured(&mut world, &id, 20, 10).await;
        world.clock.pass(5 * MINUTE);
        measured(&mut world, &id, 20, 10).await;
        assert_eq!(world.server(&id).await.expect("there").life.phase, Phase::Running);

        // Files count as bytes do.
        world.clock.pass(MINUTE);
        measured(&mut world, &id, 20, 10_001).await;
        assert_eq!(world.server(&id).await.expect("there").life.phase, Phase::Stopped);
        servers::delete(&world.ctx, &actor, &id, Some("Hoard")).await.expect("deleted");
        world.settle().await;
        assert!(world.server(&id).await.is_none());
    })
    .await;
}
