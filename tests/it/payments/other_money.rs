//! What was paid counts: discounts, taxes, the payer's own currency in the shapes of old and new versions, shapes that nobody knows; and
//! what cannot be settled stands on the admin's page and has a next look, for ever.

use roost::domain::payments::{self, Heard};
use roost::domain::{Actor, Policy};
use roost::model::money::Credits;
use roost::model::payments::State;
use roost::model::time::{DAY, HOUR, MINUTE};
use serde_json::{Value, json};

use super::{SIGNUP, balance, begin, hear, look, payment, selling};
use crate::stripe_peer::{Age, Peer};
use crate::world::World;

/// What is changed, how, and what it comes to.
type Change<'a> = (&'a str, Box<dyn Fn(&mut Value)>, i64);

/// A page that asks for 25.00 EUR, changed before it is paid; told in this version's shape.
async fn paid(world: &World, peer: &Peer, who: &Actor, change: impl Fn(&mut Value)) -> (roost::model::ids::PaymentId, Value) {
    let (id, session) = begin(world, peer, who, "25").await;
    peer.reprice(&session, change);
    (id, peer.pay(&session))
}

#[tokio::test]
async fn what_was_paid_in_our_currency_is_what_is_credited() {
    selling("what_was_paid_in_our_currency_is_what_is_credited", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let converted = json!({"amount_subtotal": 2_500, "amount_total": 2_500, "fx_rate": "1.1", "source_currency": "eur"});
        let presented = json!({"presentment_amount": 2_750, "presentment_currency": "usd"});
        let taxed = json!({"amount_discount": 0, "amount_shipping": 0, "amount_tax": 475});
        let discounted = json!({"amount_discount": 500, "amount_shipping": 0, "amount_tax": 0});
        let changes: [Change<'_>; 4] = [
            (
                "the payer's currency, before 2025-03-31",
                Box::new(move |one: &mut Value| {
                    (one["amount_total"], one["currency"], one["currency_conversion"]) = (2_750.into(), "usd".into(), converted.clone());
                }),
                2_500,
            ),
            ("the payer's currency, since", Box::new(move |one: &mut Value| one["presentment_details"] = presented.clone()), 2_500),
            (
                "taxes on top",
                Box::new(move |one: &mut Value| (one["amount_total"], one["total_details"]) = (2_975.into(), taxed.clone())),
                2_500,
            ),
            (
                "a discount",
                Box::new(move |one: &mut Value| (one["amount_total"], one["total_details"]) = (2_000.into(), discounted.clone())),
                2_000,
            ),
        ];
        for (what, change, credited) in changes {
            let before = balance(&world, &ada).await;
            let (id, told) = paid(&world, &peer, &ada, change).await;
            let intent = told["payment_intent"].as_str().expect("a payment").to_owned();
            if what.starts_with("the payer") {
                peer.charged_in(&intent, 2_750, "usd");
            }
            // The payment's own event comes first, in whatever currency that is.
            hear(&world, &peer.tell(Age::Old, "payment_intent.succeeded", peer.thing(&intent))).await;
            assert_eq!(hear(&world, &peer.tell(Age::Old, "checkout.session.completed", told)).await, Heard::Now, "{what}");
            look(&world).await;
            assert_eq!(balance(&world, &ada).await, before + Credits::whole(credited), "{what}");
            // Half of all that was paid goes back: half of the credits.
            let all = peer.thing(&intent)["amount"].as_i64().expect("an amount");
            hear(&world, &peer.tell(Age::New, "charge.refunded", peer.refund(&intent, all / 2))).await;
            look(&world).await;
            let left = balance(&world, &ada).await - before;
            assert!((left.0 - Credits::whole(credited / 2).0).abs() <= Credits::whole(1).0, "{what}: {left}");
            assert_eq!(payment(&world, &id).await.cents, credited, "{what}");
        }
        let admin = world.admin().await;
        let told = payments::differences(&world.ctx, &admin).await.expect("an admin may");
        assert!(told.iter().all(|one| !one.what.contains("by hand")), "all of it is settled: {told:?}");
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_settled_stands_on_the_admins_page_and_is_looked_at_for_ever() {
    selling("what_cannot_be_settled_stands_on_the_admins_page_and_is_looked_at_for_ever", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (id, told) = paid(&world, &peer, &ada, |one| one["currency"] = "usd".into()).await;
        assert_eq!(hear(&world, &peer.tell(Age::New, "checkout.session.completed", told.clone())).await, Heard::Now);
        for _ in 0..60 {
            look(&world).await;
            let row = payment(&world, &id).await;
            assert!(row.due_at.is_some_and(|at| at.since(world.ctx.clock.now()) > HOUR), "a look a day, and not more: {row:?}");
            world.clock.pass(DAY + MINUTE);
        }
        let admin = world.admin().await;
        let differences = payments::differences(&world.ctx, &admin).await.expect("an admin may");
        assert!(differences.iter().any(|one| one.what.contains(id.as_str()) && one.what.contains("by hand")), "{differences:?}");
        assert_eq!(balance(&world, &ada).await, SIGNUP);
        // Somebody puts it right at Stripe.
        peer.reprice(told["id"].as_str().expect("an id"), |one| one["currency"] = "eur".into());
        look(&world).await;
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(2_500));
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn a_session_in_a_shape_that_nobody_knows_is_asked_for_and_one_that_costs_nothing_gives_nothing() {
    let test = "a_session_in_a_shape_that_nobody_knows_is_asked_for_and_one_that_costs_nothing_gives_nothing";
    selling(test, Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (_, mut told) = paid(&world, &peer, &ada, |_| {}).await;
        (told["status"], told["payment_status"]) = ("done".into(), "settled".into());
        assert_eq!(hear(&world, &peer.tell(Age::Old, "checkout.session.completed", told)).await, Heard::Now);
        look(&world).await;
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(2_500), "Stripe itself was asked");

        let (id, told) = paid(&world, &peer, &ada, |one| one["amount_total"] = 0.into()).await;
        let session = told["id"].as_str().expect("an id").to_owned();
        peer.reprice(&session, |one| (one["payment_status"], one["payment_intent"]) = ("no_payment_required".into(), Value::Null));
        hear(&world, &peer.tell(Age::New, "checkout.session.completed", peer.thing(&session))).await;
        look(&world).await;
        let row = payment(&world, &id).await;
        assert_eq!((row.state, row.due_at), (State::Failed, None), "{}", row.why);
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(2_500));
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn a_page_in_other_money_that_nobody_pays_at_is_over_when_stripe_says_so() {
    let test = "a_page_in_other_money_that_nobody_pays_at_is_over_when_stripe_says_so";
    selling(test, Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        for is_told in [true, false] {
            let (id, session) = begin(&world, &peer, &ada, "25").await;
            peer.reprice(&session, |one| one["currency"] = "usd".into());
            let over = peer.expire(&session);
            if is_told {
                assert_eq!(hear(&world, &peer.tell(Age::New, "checkout.session.expired", over)).await, Heard::Now);
            } else {
                world.clock.pass(2 * DAY);
                look(&world).await;
            }
            let row = payment(&world, &id).await;
            assert_eq!((row.state, row.due_at), (State::Expired, None), "told: {is_told}");
        }
        let admin = world.admin().await;
        assert_eq!(payments::differences(&world.ctx, &admin).await.expect("an admin may"), [], "there is nothing to refund");
        assert_eq!(balance(&world, &ada).await, SIGNUP);
        world.ctx.clone()
    })
    .await;
}
