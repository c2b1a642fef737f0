//! A game that never answers burns a machine as much as one that does: starting is free for a while each day, and then it counts. On both
//! databases.

use roost::domain::{billing, books, servers};
use roost::model::ids::ServerId;
use roost::model::ledger::STARTING;
use roost::model::money::Credits;
use roost::model::servers::{Run, Seen};
use roost::model::time::{Clock, DAY, HOUR, MINUTE, Millis};
use roost::store::usage;

use crate::world::{World, on_both};

/// The demo's price of an hour.
const PER_HOUR: Credits = Credits(500_000);

/// The node says with its heartbeats, minute by minute, that the game is starting.
async fn starts_for(world: &mut World, id: &ServerId, minutes: i64) {
    let from = world.clock.now();
    let instance = world.node.instances.get_mut(id).expect("it is there");
    instance.seen = Seen::Starting { since: from };
    instance.starts.push(Run { from, to: None });
    for _ in 0..minutes {
        world.beat().await;
        world.clock.pass(MINUTE);
    }
    let to = world.clock.now();
    let instance = world.node.instances.get_mut(id).expect("it is there");
    instance.starts.last_mut().expect("there").to = Some(to);
    instance.seen = Seen::Exited { code: 1, oom: false, at: to };
    world.beat().await;
}

async fn owed(world: &World, user: &roost::model::ids::UserId) -> Credits {
    let now = world.clock.now();
    let (accrued, _) = usage::accrued(&world.ctx.db, user, now).await.expect("readable");
    let balance = roost::store::users::by_id(&world.ctx.db, user).await.expect("readable").expect("there").balance;
    Credits::whole(100) - balance + accrued
}

#[tokio::test]
async fn starting_is_free_for_an_hour_a_day_and_then_counts() {
    on_both("starting_is_free_for_an_hour_a_day_and_then_counts", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let user = actor.user.id.clone();
        let id = world.create(&actor, "Never").await.id;
        world.settle().await;
        // Its first run ends, and nothing but starting is left to be paid for.
        let now = world.clock.now();
        let instance = world.node.instances.get_mut(&id).expect("it is there");
        instance.runs.last_mut().expect("it ran").to = Some(now);
        instance.seen = Seen::Exited { code: 1, oom: false, at: now };
        world.beat().await;
        let before = owed(&world, &user).await;

        starts_for(&mut world, &id, 50).await;
        assert_eq!(owed(&world, &user).await, before, "50 minutes are free");
        world.clock.pass(MINUTE);
        starts_for(&mut world, &id, 40).await;
        let half = Credits(PER_HOUR.0 / 2);
        assert_eq!(owed(&world, &user).await - before, half, "10 of these were free");
        world.clock.pass(MINUTE);
        starts_for(&mut world, &id, 60).await;
        assert_eq!(owed(&world, &user).await - before, half + PER_HOUR, "and none of these");
        // Told again, after the panel forgot what it heard, nothing counts twice.
        world.restart().await;
        world.beat().await;
        billing::tick(&world.ctx).await.expect("charged");
        assert_eq!(owed(&world, &user).await - before, half + PER_HOUR);
        let entries = billing::entries(&world.ctx, &actor, None).await.expect("may see");
        let told: Vec<_> = entries.iter().filter(|entry| entry.note == STARTING).collect();
        assert_eq!(told.iter().map(|entry| entry.amount).sum::<Credits>(), -(half + PER_HOUR), "{entries:?}");
        // Another day, another hour.
        world.clock.pass(DAY + HOUR);
        world.beat().await;
        starts_for(&mut world, &id, 55).await;
        assert_eq!(owed(&world, &user).await - before, half + PER_HOUR);
        let books = books::check(&world.ctx.db, world.clock.now()).await.expect("readable");
        assert!(books.wrong.is_empty(), "{books:?}");
        servers::delete(&world.ctx, &actor, &id, Some("Never")).await.expect("deleted");
        world.settle().await;
    })
    .await;
}

#[tokio::test]
async fn a_start_that_cannot_be_is_not_charged() {
    on_both("a_start_that_cannot_be_is_not_charged", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let id = world.create(&actor, "Honest").await.id;
        world.settle().await;
        let now = world.clock.now().0;
        let before = owed(&world, &actor.user.id).await;
        for (from, to) in [(1, Some(2 * HOUR)), (now - 41 * 365 * DAY, Some(now)), (now - 1, Some(now - 5)), (now + DAY, None)] {
            let instance = world.node.instances.get_mut(&id).expect("it is there");
            instance.starts = vec![Run { from: Millis(from), to: to.map(Millis) }];
            world.beat().await;
        }
        assert_eq!(owed(&world, &actor.user.id).await, before);
    })
    .await;
}
