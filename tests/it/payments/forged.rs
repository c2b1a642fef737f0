//! Webhooks that are forged, stale, replayed, cut off, too large, about another money, or that lie about who gets how much.

use reqwest::StatusCode;
use roost::domain::Policy;
use roost::domain::payments::{self, Heard, Unheard};
use roost::model::money::Credits;
use roost::model::time::{MINUTE, SECOND};
use roost::payments::NotSigned;
use serde_json::{Value, json};

use super::{SIGNUP, balance, begin, hear, selling};
use crate::app::App;
use crate::stripe_peer::{Age, Peer, Told};
use crate::world::World;

async fn refused(world: &World, told: &Told) -> Unheard {
    payments::receive(&world.ctx, &told.signature, told.body.as_bytes()).await.expect_err("not taken in")
}

/// What is not true, and how it is said.
type Lie<'a> = (&'a str, &'a dyn Fn(&mut Value));

/// A true webhook, changed as somebody who knows the secret could change it.
fn changed(peer: &Peer, paid: &Value, change: impl Fn(&mut Value)) -> Told {
    let mut object = paid.clone();
    change(&mut object);
    peer.tell(Age::New, "checkout.session.completed", object)
}

#[tokio::test]
async fn only_what_stripe_signed_in_time_is_heard_and_only_once() {
    selling("only_what_stripe_signed_in_time_is_heard_and_only_once", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (_, session) = begin(&world, &peer, &ada, "25").await;
        let told = peer.tell(Age::New, "checkout.session.completed", peer.pay(&session));
        let forged = Told { body: told.body.replace("2500", "250000"), ..told.clone() };
        assert!(matches!(refused(&world, &forged).await, Unheard::NotBelieved(NotSigned::Wrong)));
        let cut = Told { body: told.body[..told.body.len() / 2].to_owned(), ..told.clone() };
        assert!(matches!(refused(&world, &cut).await, Unheard::NotBelieved(NotSigned::Wrong)));
        for header in ["", "t=1", "v1=00", "nonsense"] {
            let bare = Told { signature: header.to_owned(), ..told.clone() };
            assert!(matches!(refused(&world, &bare).await, Unheard::NotBelieved(NotSigned::NoHeader)), "{header}");
        }
        // Our clock goes wrong in either direction: it is not believed, and Stripe sends it again.
        for skew in [-6 * MINUTE, 12 * MINUTE] {
            world.clock.pass(skew);
            assert!(matches!(refused(&world, &told).await, Unheard::NotBelieved(NotSigned::Stale)), "{skew}");
        }
        world.clock.pass(-6 * MINUTE - SECOND);
        assert_eq!(balance(&world, &ada).await, SIGNUP, "nothing of that has counted");
        assert_eq!(hear(&world, &told).await, Heard::Now);
        for _ in 0..3 {
            assert_eq!(hear(&world, &told).await, Heard::Before);
        }
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(2_500));
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn who_gets_how_much_is_what_our_row_says_and_nothing_else() {
    selling("who_gets_how_much_is_what_our_row_says_and_nothing_else", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let eve = world.player("eve@example.org").await;
        begin(&world, &peer, &eve, "10").await;
        let (mine, session) = begin(&world, &peer, &ada, "25").await;
        let paid = peer.pay(&session);
        let lies: [Lie<'_>; 6] = [
            ("another amount", &|object| object["amount_total"] = 999_900.into()),
            ("another currency", &|object| object["currency"] = "usd".into()),
            ("another customer", &|object| object["customer"] = "cus_999999".into()),
            ("no row of ours", &|object| (object["id"], object["client_reference_id"]) = ("cs_x".into(), "nobody".into())),
            ("another row", &|object| {
                (object["id"], object["client_reference_id"]) = ("cs_x".into(), mine.as_str().into());
            }),
            ("no payment", &|object| object["mode"] = "setup".into()),
        ];
        for (what, lie) in lies {
            hear(&world, &changed(&peer, &paid, lie)).await;
            assert_eq!((balance(&world, &ada).await, balance(&world, &eve).await), (SIGNUP, SIGNUP), "{what}");
        }
        let admin = world.admin().await;
        assert!(!payments::differences(&world.ctx, &admin).await.unwrap().is_empty(), "whoever runs it is told");
        assert!(payments::differences(&world.ctx, &ada).await.is_err());
        hear(&world, &changed(&peer, &paid, |_| {})).await;
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(2_500), "the true one counts still");
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn other_money_and_other_events_are_left_alone() {
    selling("other_money_and_other_events_are_left_alone", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (_, session) = begin(&world, &peer, &ada, "25").await;
        let told = peer.tell(Age::New, "checkout.session.completed", peer.pay(&session));
        let live = told.body.replace("\"livemode\":false", "\"livemode\":true");
        let live =
            Told { signature: crate::stripe_peer::sign(&live, world.ctx.clock.now().0 / 1_000, crate::stripe_peer::SIGNING), body: live };
        assert_eq!(hear(&world, &live).await, Heard::Ignored);
        for kind in
            ["customer.created", "payout.paid", "invoice.created", "charge.refunded", "customer.subscription.updated", "checkout.session.x"]
        {
            let odd =
                peer.tell(Age::Old, kind, json!({"object": "thing", "id": "x_1", "subscription": "sub_999", "payment_intent": "pi_999"}));
            assert_eq!(hear(&world, &odd).await, Heard::Ignored, "{kind}");
        }
        for body in ["", "[]", "{\"id\":5}", "{\"id\":\"evt_1\",\"type\":\"x\",\"livemode\":false}"] {
            let signature = crate::stripe_peer::sign(body, world.ctx.clock.now().0 / 1_000, crate::stripe_peer::SIGNING);
            let nonsense = Told { body: body.to_owned(), signature };
            assert!(matches!(refused(&world, &nonsense).await, Unheard::Nonsense), "{body}");
        }
        assert_eq!(balance(&world, &ada).await, SIGNUP);
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn the_route_answers_as_stripe_expects_and_takes_no_mountains() {
    selling("the_route_answers_as_stripe_expects_and_takes_no_mountains", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (_, session) = begin(&world, &peer, &ada, "25").await;
        let told = peer.tell(Age::New, "checkout.session.completed", peer.pay(&session));
        let app = App::start(world).await;
        let forged = Told { signature: told.signature.replace("v1=", "v1=00"), ..told.clone() };
        assert_eq!(peer.send(&app.url, &forged).await, 400);
        assert_eq!(peer.send(&app.url, &told).await, 200);
        assert_eq!(peer.send(&app.url, &told).await, 200, "heard before is fine as well");
        let huge = vec![b'x'; (1 << 20) + 1];
        let answer = app.browser().send(reqwest::Method::POST, "/webhooks/stripe", &[("stripe-signature", &told.signature)], huge).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(balance(&app.world, &ada).await, SIGNUP + Credits::whole(2_500));
        app.world.ctx.clone()
    })
    .await;
}
