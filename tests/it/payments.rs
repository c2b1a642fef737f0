//! Top-ups: paid once however often and in whatever order it is told, refunds and disputes, Stripe that fails, cards that are kept.

mod automatic;
mod forged;
mod killed;
mod other_money;
mod runs;
mod warned;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use roost::domain::payments::{self, CheckoutForm, Heard};
use roost::domain::{Actor, Ctx, Policy, billing};
use roost::model::ids::PaymentId;
use roost::model::money::Credits;
use roost::model::payments::{Payment, State};
use roost::model::time::{DAY, HOUR, MINUTE};
use roost::store::{ledger, payments as rows, users};

use crate::stripe_peer::{Age, Fault, Peer, SIGNING, Told, sign};
use crate::world::{World, on_both_with};

/// What a new account gets.
const SIGNUP: Credits = Credits::whole(100);

/// Runs a body on a panel that takes payments, on both databases; every request to Stripe has to be one that Stripe knows.
pub fn selling<'a, F, B>(test: &'a str, policy: Policy, body: B) -> Pin<Box<dyn Future<Output = ()> + 'a>>
where
    F: Future<Output = Arc<Ctx>> + 'a,
    B: Fn(World, Peer) -> F + 'a,
{
    // On the heap: every test holds it.
    Box::pin(async move {
        let body = &body;
        on_both_with(test, policy, |world| async move {
            crate::services::ring();
            let peer = Peer::start(world.clock.clone()).await;
            let world = world.selling(peer.config()).await;
            let ctx = body(world, peer.clone()).await;
            peer.check();
            assert_eq!(ledger::out_of_balance(&ctx.db, 10).await.expect("asked"), [], "each balance is the sum of its entries");
            assert_eq!(ledger::days_out_of_sum(&ctx.db, 10).await.expect("asked"), [], "each day is the sum of its entries");
            ctx.db.close().await;
        })
        .await;
    })
}

pub async fn balance(world: &World, actor: &Actor) -> Credits {
    users::by_id(&world.ctx.db, &actor.user.id).await.expect("read").expect("there").balance
}

/// Begins a payment; gives its row's id and its session.
pub async fn begin(world: &World, peer: &Peer, actor: &Actor, amount: &str) -> (PaymentId, String) {
    let form = CheckoutForm { amount, request: "", keep_card: false };
    payments::start(&world.ctx, actor, &form).await.expect("a page of Stripe's");
    let session = peer.last_session();
    let id = peer.thing(&session)["client_reference_id"].as_str().expect("our id").parse().expect("an id");
    (id, session)
}

/// A webhook as Stripe sends it: signed anew each time.
pub async fn hear(world: &World, told: &Told) -> Heard {
    let signature = sign(&told.body, world.ctx.clock.now().0 / 1_000, SIGNING);
    payments::receive(&world.ctx, &signature, told.body.as_bytes()).await.expect("taken in")
}

pub async fn payment(world: &World, id: &PaymentId) -> Payment {
    rows::by_id(&world.ctx.db, id).await.expect("read").expect("there")
}

async fn look(world: &World) {
    payments::tick(&world.ctx).await.expect("looked");
}

#[tokio::test]
async fn a_payment_counts_once_whoever_tells_of_it_first() {
    selling("a_payment_counts_once_whoever_tells_of_it_first", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        // In every order: the webhook, the same again, another about the same thing, the browser that comes back, the worker.
        for order in [[0, 1, 2, 3, 4], [3, 0, 1, 2, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1], [1, 3, 4, 0, 2]] {
            let before = balance(&world, &ada).await;
            let (id, session) = begin(&world, &peer, &ada, "25").await;
            let paid = peer.pay(&session);
            let first = peer.tell(Age::New, "checkout.session.completed", paid.clone());
            let late = peer.tell(Age::Old, "checkout.session.async_payment_succeeded", paid.clone());
            let intent = peer.tell(Age::New, "payment_intent.succeeded", peer.thing(paid["payment_intent"].as_str().unwrap()));
            for step in order {
                match step {
                    0 => drop(hear(&world, &first).await),
                    1 => drop(hear(&world, &late).await),
                    2 => drop(hear(&world, &intent).await),
                    3 => drop(payments::returned(&world.ctx, &ada, &id).await.unwrap()),
                    _worker => {
                        world.clock.pass(2 * HOUR);
                        look(&world).await;
                    }
                }
                assert_eq!(balance(&world, &ada).await, before + Credits::whole(2_500), "{order:?} at {step}");
            }
            assert_eq!(hear(&world, &first).await, Heard::Before);
            look(&world).await;
            let row = payment(&world, &id).await;
            assert_eq!(
                (row.state, row.receipt_url.as_deref().map(|url| url.starts_with("https://pay.stripe.com/"))),
                (State::Paid, Some(true))
            );
        }
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn two_tabs_pay_twice_and_a_form_that_is_sent_twice_leads_to_one_page() {
    selling("two_tabs_pay_twice_and_a_form_that_is_sent_twice_leads_to_one_page", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let form = |request| CheckoutForm { amount: "12.50", request, keep_card: false };
        let one = payments::start(&world.ctx, &ada, &form("0123456789abcdef")).await.unwrap();
        let again = payments::start(&world.ctx, &ada, &form("0123456789abcdef")).await.unwrap();
        let other = payments::start(&world.ctx, &ada, &form("fedcba9876543210")).await.unwrap();
        assert!(one == again && one != other && peer.sessions().len() == 2);
        assert_eq!(peer.asked("POST /v1/customers"), 1, "one customer");
        let (first, second) = (peer.pay(&peer.sessions()[0]), peer.pay(&peer.sessions()[1]));
        let told = [first, second].map(|paid| peer.tell(Age::New, "checkout.session.completed", paid));
        let (one, two) = tokio::join!(hear(&world, &told[0]), hear(&world, &told[1]));
        assert_eq!((one, two), (Heard::Now, Heard::Now));
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(2_500));
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn amounts_are_bounded_and_said_at_their_field() {
    selling("amounts_are_bounded_and_said_at_their_field", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        for bad in ["", "x", "4.99", "500.01", "-25", "25.001", "1e3", "999999999999"] {
            let refused = payments::start(&world.ctx, &ada, &CheckoutForm { amount: bad, ..CheckoutForm::default() }).await.unwrap_err();
            let roost::domain::Refusal::Invalid(fields) = refused else { panic!("{bad}: {refused}") };
            assert!(fields.at("amount").is_some(), "{bad}");
        }
        assert_eq!(peer.sessions().len(), 0);
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn slow_money_comes_or_does_not_and_pages_run_out() {
    selling("slow_money_comes_or_does_not_and_pages_run_out", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (coming, session) = begin(&world, &peer, &ada, "10").await;
        let slow = peer.pay_slowly(&session);
        hear(&world, &peer.tell(Age::New, "checkout.session.completed", slow.clone())).await;
        assert_eq!(payment(&world, &coming).await.state, State::Coming);
        hear(&world, &peer.tell(Age::New, "checkout.session.async_payment_failed", slow)).await;
        assert_eq!(payment(&world, &coming).await.state, State::Failed);
        // A late word that it has come after all counts, and a late word that it has not does not.
        let (id, session) = begin(&world, &peer, &ada, "10").await;
        let (expired, open) = (peer.thing(&session), peer.thing(&session));
        let told = peer.tell(Age::Old, "checkout.session.expired", {
            let mut expired = expired;
            (expired["status"], expired["url"]) = ("expired".into(), serde_json::Value::Null);
            expired
        });
        assert_eq!(open["status"], "open");
        hear(&world, &told).await;
        assert_eq!(payment(&world, &id).await.state, State::Expired);
        hear(&world, &peer.tell(Age::Old, "checkout.session.completed", peer.pay(&session))).await;
        assert_eq!(payment(&world, &id).await.state, State::Paid);
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(1_000));
        // Nobody tells of a page that ran out: the worker looks.
        let (id, session) = begin(&world, &peer, &ada, "10").await;
        peer.expire(&session);
        world.clock.pass(2 * HOUR);
        look(&world).await;
        assert_eq!(payment(&world, &id).await.state, State::Expired);
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn refunds_and_disputes_take_back_once_and_give_back_what_was_won() {
    selling("refunds_and_disputes_take_back_once_and_give_back_what_was_won", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (id, session) = begin(&world, &peer, &ada, "50").await;
        let paid = peer.pay(&session);
        let intent = paid["payment_intent"].as_str().unwrap().to_owned();
        // The refund is heard of before the payment is.
        let refund = peer.tell(Age::New, "charge.refunded", peer.refund(&intent, 1_000));
        hear(&world, &refund).await;
        hear(&world, &peer.tell(Age::New, "checkout.session.completed", paid)).await;
        look(&world).await;
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(4_000));
        for told in [peer.tell(Age::Old, "charge.refunded", peer.refund(&intent, 500)), refund] {
            hear(&world, &told).await;
            hear(&world, &told).await;
            look(&world).await;
        }
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(3_500));
        let dispute = peer.dispute(&intent);
        let dispute_id = dispute["id"].as_str().unwrap().to_owned();
        for kind in ["charge.dispute.funds_withdrawn", "charge.dispute.created"] {
            hear(&world, &peer.tell(Age::New, kind, dispute.clone())).await;
            look(&world).await;
            assert_eq!(balance(&world, &ada).await, SIGNUP, "{kind}");
        }
        let won = peer.decide(&dispute_id, "won");
        for kind in ["charge.dispute.closed", "charge.dispute.funds_reinstated"] {
            hear(&world, &peer.tell(Age::Old, kind, won.clone())).await;
            look(&world).await;
            assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(3_500), "{kind}");
        }
        let row = payment(&world, &id).await;
        assert_eq!((row.refunded_cents, row.disputed_cents, row.turns), (1_500, 0, 4));
        // Nobody has told of the last refund: it is seen when the payment is looked at now and then.
        peer.refund(&intent, 100);
        world.clock.pass(8 * DAY);
        look(&world).await;
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(3_400));
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn a_balance_below_zero_puts_servers_to_sleep() {
    let policy = Policy { signup_credits: Credits::whole(1), ..Policy::default() };
    selling("a_balance_below_zero_puts_servers_to_sleep", policy, |mut world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (_, session) = begin(&world, &peer, &ada, "5").await;
        let paid = peer.pay(&session);
        hear(&world, &peer.tell(Age::New, "checkout.session.completed", paid.clone())).await;
        let server = world.create(&ada, "a").await;
        world.settle().await;
        world.clock.pass(3 * HOUR);
        world.beat().await;
        billing::tick(&world.ctx).await.unwrap();
        let dispute = peer.dispute(paid["payment_intent"].as_str().unwrap());
        hear(&world, &peer.tell(Age::New, "charge.dispute.created", dispute)).await;
        look(&world).await;
        assert!(balance(&world, &ada).await < Credits::ZERO);
        billing::tick(&world.ctx).await.unwrap();
        world.settle().await;
        let server = world.server(&server.id).await.unwrap();
        assert_eq!(server.life.wanted, roost::model::servers::Wanted::Asleep);
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn a_busy_or_silent_stripe_is_asked_again_with_the_same_key() {
    selling("a_busy_or_silent_stripe_is_asked_again_with_the_same_key", Policy::default(), |world, peer| async move {
        let ada = world.player("ada@example.org").await;
        for fault in [Fault::Status(429), Fault::Status(500), Fault::Status(503), Fault::Silence, Fault::DoneButBroken] {
            let before = peer.sessions().len();
            peer.fail("POST /v1/checkout/sessions", fault);
            begin(&world, &peer, &ada, "10").await;
            assert_eq!(peer.sessions().len(), before + 1, "{fault:?}");
        }
        // Away altogether: a clear word, and the same form later leads on.
        for _ in 0..3 {
            peer.fail("POST /v1/checkout/sessions", Fault::Status(503));
        }
        let form = CheckoutForm { amount: "10", request: "0123456789abcdef", keep_card: false };
        let refused = payments::start(&world.ctx, &ada, &form).await.unwrap_err();
        assert!(matches!(&refused, roost::domain::Refusal::Away(why) if why.contains("Nothing has been charged")), "{refused}");
        let before = peer.sessions().len();
        payments::start(&world.ctx, &ada, &form).await.unwrap();
        assert_eq!(peer.sessions().len(), before + 1);
        // The worker puts a look off, longer each time, and gets there.
        let (id, session) = begin(&world, &peer, &ada, "10").await;
        peer.pay(&session);
        world.clock.pass(2 * HOUR);
        for n in 1..=3 {
            for _ in 0..3 {
                peer.fail("GET /v1/checkout/sessions/", Fault::Status(500));
            }
            // Other pages that ran out are looked at as well; they take no fault that is not theirs.
            let row = payment(&world, &id).await;
            if row.due_at.is_some_and(|at| at <= world.ctx.clock.now()) {
                look(&world).await;
            }
            world.clock.pass(n * 20 * MINUTE);
        }
        for _ in 0..4 {
            world.clock.pass(7 * HOUR);
            look(&world).await;
        }
        assert_eq!(payment(&world, &id).await.state, State::Paid);
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn a_panel_that_was_killed_at_any_step_of_a_payment_gives_its_credits_once() {
    selling("a_panel_that_was_killed_at_any_step_of_a_payment_gives_its_credits_once", Policy::default(), |mut world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (_, session) = begin(&world, &peer, &ada, "10").await;
        world.restart().await;
        let told = peer.tell(Age::New, "checkout.session.completed", peer.pay(&session));
        hear(&world, &told).await;
        world.restart().await;
        hear(&world, &told).await;
        look(&world).await;
        world.restart().await;
        look(&world).await;
        assert_eq!(balance(&world, &ada).await, SIGNUP + Credits::whole(1_000));
        world.ctx.clone()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debits_of_the_last_credit_at_the_same_moment_all_count_once() {
    let policy = Policy { signup_credits: Credits::whole(1), ..Policy::default() };
    selling("debits_of_the_last_credit_at_the_same_moment_all_count_once", policy, |mut world, peer| async move {
        let (admin, ada) = (world.admin().await, world.player("ada@example.org").await);
        let (_, session) = begin(&world, &peer, &ada, "5").await;
        let paid = peer.pay(&session);
        hear(&world, &peer.tell(Age::New, "checkout.session.completed", paid.clone())).await;
        look(&world).await;
        world.create(&ada, "a").await;
        world.settle().await;
        world.clock.pass(HOUR);
        world.beat().await;
        let refund = peer.refund(paid["payment_intent"].as_str().unwrap(), 500);
        hear(&world, &peer.tell(Age::New, "charge.refunded", refund)).await;
        let ctx = &world.ctx;
        let take = |request| billing::grant(ctx, &admin, "ada@example.org", "-0.5", "", request);
        let (one, two, three, four, five) =
            tokio::join!(billing::tick(ctx), billing::tick(ctx), take("request0001"), take("request0001"), payments::tick(ctx));
        assert!(one.is_ok() && two.is_ok() && three.is_ok() && four.is_ok() && five.is_ok());
        look(&world).await;
        assert_eq!(balance(&world, &ada).await, Credits::ZERO, "an hour, half a credit, and all that was paid");
        world.ctx.clone()
    })
    .await;
}
