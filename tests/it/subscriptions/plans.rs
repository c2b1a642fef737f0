//! Moving a server to another plan: its node's promise, Stripe's price, and both sides at one place whatever fails in between.

use std::collections::BTreeMap;

use roost::domain::{Policy, Refusal, servers, subscriptions};
use roost::model::ids::ServerId;
use roost::model::time::{DAY, HOUR};
use roost::wire::agent::{FromNode, VERSION};

use super::{buy, look, row, server};
use crate::payments::selling;
use crate::stripe_peer::{Fault, Peer};
use crate::world::{World, specs};

async fn game_server(world: &World, actor: &roost::domain::Actor) -> ServerId {
    world.be_online().await;
    let env = BTreeMap::from([("EULA".to_owned(), "TRUE".to_owned())]);
    let form = servers::Form {
        name: "a".to_owned(),
        game: "minecraft-java".to_owned(),
        plan: "starter".to_owned(),
        env,
        ..servers::Form::default()
    };
    servers::create(&world.ctx, actor, &form).await.expect("created").id
}

fn price(peer: &Peer, sub: &str) -> i64 {
    peer.thing(sub)["items"]["data"][0]["price"]["unit_amount"].as_i64().expect("a price")
}

#[tokio::test]
async fn a_plan_is_changed_on_both_sides_or_on_neither() {
    selling("a_plan_is_changed_on_both_sides_or_on_neither", Policy::default(), |mut world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let id = game_server(&world, &ada).await;
        let games = world.ctx.games();
        let game = games.game(&"minecraft-java".parse().unwrap()).unwrap().clone();
        let [small, large] = [&game.plans[0], &game.plans[1]];
        let month = |plan: &roost::model::games::Plan| i64::from(plan.month_cents);
        assert!(subscriptions::change_plan(&world.ctx, &ada, &id, large.id.as_str()).await.is_err(), "it is not paid by the month");
        let sub = buy(&world, &peer, &ada, &id).await;
        assert!(matches!(subscriptions::change_plan(&world.ctx, &ada, &id, "nothing").await, Err(Refusal::Invalid(_))));
        assert!(subscriptions::change_plan(&world.ctx, &ada, &id, large.id.as_str()).await.unwrap());
        let now = server(&world, &id).await;
        assert_eq!((&now.plan, now.per_hour, price(&peer, &sub)), (&large.id, large.per_hour, month(large)));
        // Back again, while Stripe does not answer: the worker goes on, also after a kill, and also where the work was done.
        for (n, fault) in [Fault::Status(503), Fault::Silence, Fault::DoneButBroken].into_iter().enumerate() {
            let (to, plan) = if n % 2 == 0 { (small.id.as_str(), small) } else { (large.id.as_str(), large) };
            for _ in 0..3 {
                peer.fail("POST /v1/subscriptions/", fault);
            }
            assert!(!subscriptions::change_plan(&world.ctx, &ada, &id, to).await.unwrap(), "{fault:?}");
            world.restart().await;
            world.clock.pass(HOUR);
            look(&world).await;
            let (now, row) = (server(&world, &id).await, row(&world, &id).await);
            assert_eq!((&now.plan, &row.plan, row.plan_wanted, price(&peer, &sub)), (&plan.id, &plan.id, None, month(plan)), "{fault:?}");
        }
        // Stripe refuses: everything is as it was.
        let before = server(&world, &id).await.plan;
        peer.fail("POST /v1/subscriptions/", Fault::Status(400));
        let other = if before == small.id { large } else { small };
        assert!(matches!(subscriptions::change_plan(&world.ctx, &ada, &id, other.id.as_str()).await, Err(Refusal::Conflict(_))));
        assert_eq!((server(&world, &id).await.plan, row(&world, &id).await.plan), (before.clone(), before));
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn what_does_not_fit_its_machine_is_refused_and_costs_nothing() {
    selling("what_does_not_fit_its_machine_is_refused_and_costs_nothing", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let id = game_server(&world, &ada).await;
        let sub = buy(&world, &peer, &ada, &id).await;
        let before = price(&peer, &sub);
        let games = world.ctx.games();
        let plans = games.game(&"minecraft-java".parse().unwrap()).unwrap().plans.clone();
        let tight = roost::model::nodes::Specs { memory_mib: plans[0].memory_mib + 1, ..specs() };
        world.tell(FromNode::RegisterNode { version: VERSION, specs: tight, profile: roost::model::nodes::Profile::default() }).await;
        let refused = subscriptions::change_plan(&world.ctx, &ada, &id, plans[1].id.as_str()).await.unwrap_err();
        assert!(matches!(&refused, Refusal::Conflict(why) if why.contains("does not fit")), "{refused}");
        world.clock.pass(2 * DAY);
        look(&world).await;
        assert_eq!(
            (server(&world, &id).await.plan, price(&peer, &sub), row(&world, &id).await.plan_wanted),
            (plans[0].id.clone(), before, None)
        );
        world.ctx.clone()
    })
    .await;
}
