//! Automatic top-ups: with the saved card, within the month, once for each attempt, and off when they do not work.

use roost::domain::payments::{self, AutoForm, CheckoutForm};
use roost::domain::{Actor, Policy, Refusal};
use roost::model::money::Credits;
use roost::model::payments::{AutoState, AutoTopUp};
use roost::model::time::{DAY, HOUR};
use roost::store::{mails, stripe, top_ups};

use super::{SIGNUP, balance, hear, look, selling};
use crate::stripe_peer::{Age, Card, Fault, Peer};
use crate::world::World;

const CHARGE: &str = "POST /v1/payment_intents";

async fn auto(world: &World, actor: &Actor) -> AutoTopUp {
    top_ups::of_user(&world.ctx.db, &actor.user.id).await.unwrap().unwrap()
}

async fn letters(world: &World) -> Vec<String> {
    mails::newest(&world.ctx.db, 50).await.unwrap().into_iter().map(|posted| posted.mail.subject).collect()
}

/// Chooses below 200 credits, 10.00 at a time and 25.00 a month, and pays once so that the card is kept; gives the card.
async fn set_up(world: &World, peer: &Peer, actor: &Actor) -> String {
    let form = AutoForm { below: "200", amount: "10", most: "25" };
    assert!(!payments::choose_auto(&world.ctx, actor, &form).await.unwrap(), "no card is there yet");
    assert_eq!(auto(world, actor).await.state, AutoState::Waiting);
    let form = CheckoutForm { amount: "5", request: "", keep_card: true };
    payments::start(&world.ctx, actor, &form).await.unwrap();
    hear(world, &peer.tell(Age::New, "checkout.session.completed", peer.pay(&peer.last_session()))).await;
    look(world).await;
    assert_eq!(auto(world, actor).await.state, AutoState::On);
    stripe::customer(&world.ctx.db, &actor.user.id).await.unwrap().unwrap().method.expect("a card")
}

/// An admin takes so many credits that this many are left.
async fn leave(world: &World, admin: &Actor, actor: &Actor, credits: i64, request: &str) {
    let take = Credits::whole(credits) - balance(world, actor).await;
    if take != Credits::ZERO {
        roost::domain::billing::grant(&world.ctx, admin, &actor.user.email, &take.to_string(), "", request).await.unwrap();
    }
}

#[tokio::test]
async fn little_is_topped_up_once_and_never_beyond_the_month() {
    selling("little_is_topped_up_once_and_never_beyond_the_month", Policy::default(), |world, peer| async move {
        let (admin, ada) = (world.admin().await, world.player("ada@example.org").await);
        set_up(&world, &peer, &ada).await;
        look(&world).await;
        assert_eq!((balance(&world, &ada).await, peer.asked(CHARGE)), (SIGNUP + Credits::whole(500), 0), "there is enough");
        leave(&world, &admin, &ada, 150, "request-0001").await;
        for _ in 0..3 {
            look(&world).await;
        }
        assert_eq!((balance(&world, &ada).await, peer.asked(CHARGE)), (Credits::whole(1_150), 1));
        leave(&world, &admin, &ada, 50, "request-0002").await;
        look(&world).await;
        look(&world).await;
        assert_eq!(balance(&world, &ada).await, Credits::whole(1_050));
        leave(&world, &admin, &ada, 50, "request-0003").await;
        for _ in 0..3 {
            look(&world).await;
        }
        assert_eq!((balance(&world, &ada).await, peer.asked(CHARGE)), (Credits::whole(50), 2), "a third would exceed the month");
        assert_eq!(letters(&world).await, ["No more automatic top-ups this month"]);
        world.clock.pass(31 * DAY);
        look(&world).await;
        look(&world).await;
        assert_eq!(balance(&world, &ada).await, Credits::whole(1_050), "another month");
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn an_attempt_charges_once_whatever_stripe_answers_and_whoever_is_killed() {
    selling("an_attempt_charges_once_whatever_stripe_answers_and_whoever_is_killed", Policy::default(), |mut world, peer| async move {
        let (admin, ada) = (world.admin().await, world.player("ada@example.org").await);
        set_up(&world, &peer, &ada).await;
        for (n, fault) in [Fault::Silence, Fault::DoneButBroken].into_iter().enumerate() {
            leave(&world, &admin, &ada, 10, &format!("request-{n:04}")).await;
            let before = peer.intents().len();
            for _ in 0..3 {
                peer.fail(CHARGE, fault);
            }
            look(&world).await;
            look(&world).await;
            assert_eq!(balance(&world, &ada).await, Credits::whole(10), "{fault:?}: nothing is known yet");
            world.restart().await;
            world.clock.pass(HOUR);
            look(&world).await;
            assert_eq!((balance(&world, &ada).await, peer.intents().len()), (Credits::whole(1_010), before + 1), "{fault:?}");
        }
        // Stripe is silent for longer than it remembers keys: the payment is looked for instead of being asked for again.
        world.clock.pass(31 * DAY);
        leave(&world, &admin, &ada, 10, "request-0009").await;
        for _ in 0..3 {
            peer.fail(CHARGE, Fault::Silence);
        }
        look(&world).await;
        look(&world).await;
        let before = (peer.intents().len(), peer.asked(CHARGE));
        world.clock.pass(2 * DAY);
        look(&world).await;
        assert_eq!((balance(&world, &ada).await, (peer.intents().len(), peer.asked(CHARGE))), (Credits::whole(1_010), before));
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn a_card_that_does_not_work_switches_it_off_and_its_owner_is_told() {
    selling("a_card_that_does_not_work_switches_it_off_and_its_owner_is_told", Policy::default(), |world, peer| async move {
        let (admin, ada) = (world.admin().await, world.player("ada@example.org").await);
        let card = set_up(&world, &peer, &ada).await;
        for (n, (how, why)) in [(Card::Declined, "not enough"), (Card::AsksOwner, "confirm the payment")].into_iter().enumerate() {
            peer.card(&card, how);
            assert!(payments::choose_auto(&world.ctx, &ada, &AutoForm { below: "200", amount: "10", most: "25" }).await.unwrap());
            leave(&world, &admin, &ada, 10, &format!("request-{n:04}")).await;
            for _ in 0..3 {
                look(&world).await;
            }
            let auto = auto(&world, &ada).await;
            assert_eq!((auto.state, auto.payment.is_none(), peer.asked(CHARGE)), (AutoState::Off, true, n + 1));
            assert!(auto.why.contains(why), "{}", auto.why);
            assert_eq!(letters(&world).await.len(), n + 1);
        }
        assert_eq!(balance(&world, &ada).await, Credits::whole(10));
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn a_choice_is_checked_at_its_fields() {
    selling("a_choice_is_checked_at_its_fields", Policy::default(), |world, _| async move {
        let ada = world.player("ada@example.org").await;
        for (below, amount, most, field) in [
            ("0", "10", "25", "below"),
            ("x", "10", "25", "below"),
            ("5", "1", "25", "auto-amount"),
            ("5", "10", "9", "most"),
            ("5", "10", "", "most"),
        ] {
            let refused = payments::choose_auto(&world.ctx, &ada, &AutoForm { below, amount, most }).await.unwrap_err();
            assert!(matches!(&refused, Refusal::Invalid(fields) if fields.at(field).is_some()), "{below} {amount} {most}: {refused:?}");
        }
        payments::choose_auto(&world.ctx, &ada, &AutoForm { below: "5", amount: "10", most: "25" }).await.unwrap();
        payments::auto_off(&world.ctx, &ada).await.unwrap();
        assert_eq!(auto(&world, &ada).await.state, AutoState::Off);
        world.ctx.clone()
    })
    .await;
}
