//! The letter that little is left: once, before anything falls asleep, and again only when there was enough in between.

use roost::domain::{Policy, billing};
use roost::model::money::Credits;
use roost::model::time::HOUR;
use roost::store::mails;

use super::selling;
use crate::world::World;

async fn hours(world: &mut World, hours: i64) {
    for _ in 0..hours {
        world.clock.pass(HOUR);
        world.beat().await;
        billing::tick(&world.ctx).await.expect("metered");
        world.settle().await;
    }
}

async fn warned(world: &World) -> usize {
    let all = mails::newest(&world.ctx.db, 50).await.expect("read");
    all.into_iter().filter(|posted| posted.mail.subject == "Your credits are running low").count()
}

#[tokio::test]
async fn somebody_is_warned_once_before_their_servers_sleep() {
    let policy = Policy { signup_credits: Credits::whole(14), ..Policy::default() };
    selling("somebody_is_warned_once_before_their_servers_sleep", policy, |mut world, _| async move {
        let (admin, ada) = (world.admin().await, world.player("ada@example.org").await);
        billing::tick(&world.ctx).await.unwrap();
        assert_eq!(warned(&world).await, 0, "nothing runs");
        world.create(&ada, "a").await;
        world.settle().await;
        hours(&mut world, 1).await;
        assert_eq!(warned(&world).await, 0, "13.5 credits last for 27 hours");
        hours(&mut world, 8).await;
        assert_eq!(warned(&world).await, 1, "less than a day, once");
        billing::grant(&world.ctx, &admin, "ada@example.org", "0.5", "", "request-0001").await.unwrap();
        hours(&mut world, 2).await;
        assert_eq!(warned(&world).await, 1, "still little");
        billing::grant(&world.ctx, &admin, "ada@example.org", "20", "", "request-0002").await.unwrap();
        hours(&mut world, 1).await;
        assert_eq!(warned(&world).await, 1);
        hours(&mut world, 40).await;
        assert_eq!(warned(&world).await, 2, "enough in between, and little again");
        world.ctx.clone()
    })
    .await;
}
