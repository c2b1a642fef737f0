//! Servers by the month: bought, covered to the millisecond, unpaid and back, ended, moved to another plan, deleted with their server; and
//! the same place reached however webhooks come and wherever the panel is killed.

mod plans;
mod web;

use roost::domain::payments::Heard;
use roost::domain::servers::{self, Power};
use roost::domain::{Actor, Policy, billing, payments, reports, subscriptions};
use roost::model::ids::ServerId;
use roost::model::money::Credits;
use roost::model::servers::{Phase, Server, Wanted};
use roost::model::subscriptions::{Status, Subscription};
use roost::model::time::{DAY, HOUR, MINUTE};
use roost::store::{mails, subscriptions as rows};
use serde_json::Value;

use crate::payments::{balance, hear, selling};
use crate::stripe_peer::{Age, Fault, Peer};
use crate::world::{World, form};

const FIRST: Credits = Credits::whole(100);

pub async fn look(world: &World) {
    payments::tick(&world.ctx).await.expect("looked");
    subscriptions::tick(&world.ctx).await.expect("looked");
}

pub async fn row(world: &World, server: &ServerId) -> Subscription {
    rows::of_server(&world.ctx.db, server).await.expect("read").expect("there")
}

pub async fn server(world: &World, id: &ServerId) -> Server {
    world.server(id).await.expect("it is there")
}

/// A server that runs and is paid by the month; gives it and what Stripe calls its subscription.
pub async fn covered(world: &mut World, peer: &Peer, actor: &Actor) -> (ServerId, String) {
    let id = world.create(actor, "a").await.id;
    world.settle().await;
    let sub = buy(world, peer, actor, &id).await;
    assert!(server(world, &id).await.covered);
    (id, sub)
}

/// Buys a month.
pub async fn buy(world: &World, peer: &Peer, actor: &Actor, id: &ServerId) -> String {
    subscriptions::start(&world.ctx, actor, id).await.expect("a page of Stripe's");
    let paid = peer.pay(&peer.last_session());
    assert_eq!(hear(world, &peer.tell(Age::New, "checkout.session.completed", paid.clone())).await, Heard::Now);
    look(world).await;
    paid["subscription"].as_str().expect("a subscription").to_owned()
}

/// A month's payment fails or works, as Stripe tells of it.
async fn invoice(world: &World, peer: &Peer, age: Age, sub: &str, paid: bool, status: &str) {
    let (subscription, invoice) = peer.invoice(sub, paid, status);
    let kind = if paid { "invoice.payment_succeeded" } else { "invoice.payment_failed" };
    // In either order, and doubled: each only says where to look.
    let mut all: Vec<(&str, Value)> = vec![(kind, invoice), ("customer.subscription.updated", subscription)];
    if age == Age::Old {
        all.reverse();
    }
    for (kind, object) in all {
        let told = peer.tell(age, kind, object);
        hear(world, &told).await;
        hear(world, &told).await;
    }
    look(world).await;
}

async fn hours(world: &mut World, hours: i64) {
    for _ in 0..hours {
        world.clock.pass(HOUR);
        world.beat().await;
        billing::tick(&world.ctx).await.expect("metered");
        world.settle().await;
    }
}

async fn letters(world: &World) -> Vec<String> {
    let mut all: Vec<String> = mails::newest(&world.ctx.db, 50).await.unwrap().into_iter().map(|posted| posted.mail.subject).collect();
    all.reverse();
    all
}

#[tokio::test]
async fn covered_time_costs_nothing_and_every_other_minute_does() {
    selling("covered_time_costs_nothing_and_every_other_minute_does", Policy::default(), |mut world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let id = world.create(&ada, "a").await.id;
        world.settle().await;
        // 90 minutes by the hour, of which an hour is posted.
        hours(&mut world, 1).await;
        world.clock.pass(30 * MINUTE);
        world.beat().await;
        let sub = buy(&world, &peer, &ada, &id).await;
        hours(&mut world, 5).await;
        assert_eq!(balance(&world, &ada).await, FIRST - Credits(750_000), "half an hour was still to pay");
        assert_eq!(billing::overview(&world.ctx, &ada).await.unwrap().per_hour, Credits::ZERO);
        // It ends at once, and is let go on by the hour.
        hear(&world, &peer.tell(Age::New, "customer.subscription.deleted", peer.end(&sub))).await;
        look(&world).await;
        world.settle().await;
        assert_eq!(server(&world, &id).await.life.phase, Phase::Expired);
        hours(&mut world, 3).await;
        subscriptions::by_the_hour(&world.ctx, &ada, &id).await.unwrap();
        world.settle().await;
        assert_eq!(server(&world, &id).await.life.phase, Phase::Running);
        hours(&mut world, 2).await;
        assert_eq!(balance(&world, &ada).await, FIRST - Credits(1_750_000));
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn hours_that_were_charged_before_a_payment_was_heard_of_are_given_back() {
    selling("hours_that_were_charged_before_a_payment_was_heard_of_are_given_back", Policy::default(), |mut world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let id = world.create(&ada, "a").await.id;
        world.settle().await;
        hours(&mut world, 1).await;
        subscriptions::start(&world.ctx, &ada, &id).await.unwrap();
        let told = peer.tell(Age::Old, "checkout.session.completed", peer.pay(&peer.last_session()));
        // Nobody hears of it for three hours, which are charged.
        hours(&mut world, 3).await;
        assert!(balance(&world, &ada).await < FIRST - Credits(500_000));
        hear(&world, &told).await;
        look(&world).await;
        hours(&mut world, 2).await;
        assert_eq!(balance(&world, &ada).await, FIRST - Credits(500_000), "one hour, and not a micro-credit more");
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn a_covered_server_runs_without_credits_and_others_sleep() {
    let policy = Policy { signup_credits: Credits::whole(1), ..Policy::default() };
    selling("a_covered_server_runs_without_credits_and_others_sleep", policy, |mut world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (paid, _) = covered(&mut world, &peer, &ada).await;
        let hourly = world.create(&ada, "b").await.id;
        world.settle().await;
        hours(&mut world, 3).await;
        assert!(balance(&world, &ada).await <= Credits::ZERO);
        assert_eq!((server(&world, &paid).await.life.phase, server(&world, &hourly).await.life.phase), (Phase::Running, Phase::Sleeping));
        // It falls asleep and wakes again, by hand and by traffic; the other does not.
        for (id, wakes) in [(&paid, true), (&hourly, false)] {
            if wakes {
                servers::power(&world.ctx, &ada, id, Power::Hibernate).await.unwrap();
                world.settle().await;
            }
            assert_eq!(servers::power(&world.ctx, &ada, id, Power::Wake).await.is_ok(), wakes);
            world.settle().await;
        }
        assert_eq!(server(&world, &paid).await.life.phase, Phase::Running);
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn a_failed_payment_expires_a_server_and_a_paid_one_brings_it_back_to_where_it_was() {
    selling(
        "a_failed_payment_expires_a_server_and_a_paid_one_brings_it_back_to_where_it_was",
        Policy::default(),
        |mut world, peer| async move {
            let ada = world.player("ada@example.org").await;
            for age in [Age::Old, Age::New] {
                for (button, wanted) in
                    [(None, Wanted::Running), (Some(Power::Hibernate), Wanted::Asleep), (Some(Power::Stop), Wanted::Stopped)]
                {
                    let (id, sub) = covered(&mut world, &peer, &ada).await;
                    if let Some(button) = button {
                        servers::power(&world.ctx, &ada, &id, button).await.unwrap();
                        world.settle().await;
                    }
                    invoice(&world, &peer, age, &sub, false, "past_due").await;
                    world.settle().await;
                    let now = server(&world, &id).await;
                    assert_eq!(
                        (now.life.wanted, now.life.phase, now.covered),
                        (Wanted::Expired, Phase::Expired, false),
                        "{age:?} {wanted:?}"
                    );
                    assert_eq!(now.delete_after, Some(world.ctx.clock.now() + 7 * DAY));
                    assert!(row(&world, &id).await.pay_url.is_some(), "there is a page at which it can be paid");
                    for button in Power::ALL {
                        assert!(servers::power(&world.ctx, &ada, &id, button).await.is_err(), "{button:?}");
                    }
                    invoice(&world, &peer, age, &sub, true, "active").await;
                    world.settle().await;
                    let now = server(&world, &id).await;
                    assert_eq!(
                        (now.life.wanted, now.covered, now.delete_after, now.expired_from),
                        (wanted, true, None, None),
                        "{age:?} {wanted:?}"
                    );
                    servers::delete(&world.ctx, &ada, &id, None).await.unwrap();
                    world.settle().await;
                }
            }
            assert_eq!(letters(&world).await.len(), 6, "one letter for each");
            let admin = world.admin().await;
            let report = reports::report(&world.ctx, &admin).await.expect("a report");
            let totals = &report.months[0].1;
            let demo = totals.months_by_game.get(&Some("demo".parse().unwrap())).copied();
            assert_eq!(
                (totals.months, demo),
                (Credits::whole(1_200), Some(Credits::whole(1_200))),
                "two months of each, however often they were told"
            );
            world.ctx.clone()
        },
    )
    .await;
}

#[tokio::test]
async fn a_server_by_the_month_needs_no_credits_runs_when_paid_and_goes_when_not() {
    let policy = Policy { signup_credits: Credits::ZERO, ..Policy::default() };
    selling("a_server_by_the_month_needs_no_credits_runs_when_paid_and_goes_when_not", policy, |mut world, peer| async move {
        let ada = world.player("ada@example.org").await;
        world.be_online().await;
        let by_month = |name: &str| servers::Form { by_month: true, ..form(name) };
        assert!(servers::create(&world.ctx, &ada, &form("a")).await.is_err(), "no credits, no hours");
        let id = servers::create(&world.ctx, &ada, &by_month("a")).await.expect("made").id;
        world.settle().await;
        assert_eq!(server(&world, &id).await.life.phase, Phase::Expired);
        buy(&world, &peer, &ada, &id).await;
        world.settle().await;
        let now = server(&world, &id).await;
        assert_eq!((now.life.phase, now.covered, now.delete_after), (Phase::Running, true, None));
        let left = servers::create(&world.ctx, &ada, &by_month("b")).await.expect("made").id;
        world.clock.pass(7 * DAY + MINUTE);
        world.be_online().await;
        look(&world).await;
        world.settle().await;
        assert!(world.server(&left).await.is_none(), "nobody went to pay");
        assert!(world.server(&id).await.is_some());
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn after_the_grace_the_data_go_and_never_without_a_word_in_time() {
    selling("after_the_grace_the_data_go_and_never_without_a_word_in_time", Policy::default(), |mut world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (id, sub) = covered(&mut world, &peer, &ada).await;
        let (late, late_sub) = covered(&mut world, &peer, &ada).await;
        invoice(&world, &peer, Age::New, &sub, false, "unpaid").await;
        invoice(&world, &peer, Age::New, &late_sub, false, "past_due").await;
        world.settle().await;
        world.clock.pass(4 * DAY);
        look(&world).await;
        assert_eq!(letters(&world).await.len(), 2);
        world.clock.pass(DAY);
        for _ in 0..3 {
            look(&world).await;
        }
        assert_eq!(letters(&world).await.len(), 4, "two days before, once each");
        // One of them is paid on the last day.
        world.clock.pass(2 * DAY - HOUR);
        invoice(&world, &peer, Age::Old, &late_sub, true, "active").await;
        world.settle().await;
        world.clock.pass(HOUR);
        look(&world).await;
        world.settle().await;
        assert!(world.server(&id).await.is_none(), "it is gone");
        assert_eq!(server(&world, &late).await.life.phase, Phase::Running);
        look(&world).await;
        assert_eq!(peer.thing(&sub)["status"], "canceled", "nobody pays for what is gone");
        // The panel was down over the whole grace: the end moves on.
        invoice(&world, &peer, Age::New, &late_sub, false, "past_due").await;
        world.settle().await;
        world.restart().await;
        world.clock.pass(30 * DAY);
        look(&world).await;
        look(&world).await;
        let kept = server(&world, &late).await;
        assert_eq!((kept.life.wanted, kept.delete_after), (Wanted::Expired, Some(world.ctx.clock.now() + 2 * DAY)));
        world.clock.pass(2 * DAY);
        look(&world).await;
        world.settle().await;
        assert!(world.server(&late).await.is_none());
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn ending_with_the_month_can_be_taken_back_and_an_ended_one_bought_again() {
    selling("ending_with_the_month_can_be_taken_back_and_an_ended_one_bought_again", Policy::default(), |mut world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (id, sub) = covered(&mut world, &peer, &ada).await;
        assert!(subscriptions::start(&world.ctx, &ada, &id).await.is_err(), "it has one");
        for end in [true, false, true] {
            subscriptions::cancel(&world.ctx, &ada, &id, end).await.unwrap();
            assert_eq!((peer.thing(&sub)["cancel_at_period_end"].as_bool(), row(&world, &id).await.cancel_at_end), (Some(end), end));
        }
        world.clock.pass(30 * DAY);
        hear(&world, &peer.tell(Age::Old, "customer.subscription.deleted", peer.end(&sub))).await;
        look(&world).await;
        world.settle().await;
        assert_eq!(server(&world, &id).await.life.phase, Phase::Expired);
        let again = buy(&world, &peer, &ada, &id).await;
        world.settle().await;
        let now = server(&world, &id).await;
        assert_eq!((now.life.phase, now.covered, row(&world, &id).await.stripe), (Phase::Running, true, Some(again)));
        // What is late about the first one changes nothing any more.
        hear(&world, &peer.tell(Age::New, "customer.subscription.updated", peer.thing(&sub))).await;
        look(&world).await;
        assert!(server(&world, &id).await.covered);
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn a_deleted_server_ends_its_subscription_however_long_stripe_is_away() {
    selling("a_deleted_server_ends_its_subscription_however_long_stripe_is_away", Policy::default(), |mut world, peer| async move {
        let ada = world.player("ada@example.org").await;
        let (id, sub) = covered(&mut world, &peer, &ada).await;
        servers::delete(&world.ctx, &ada, &id, None).await.unwrap();
        world.settle().await;
        assert!(world.server(&id).await.is_none());
        for _ in 0..9 {
            peer.fail("DELETE /v1/subscriptions/", Fault::Status(503));
        }
        for _ in 0..3 {
            look(&world).await;
            assert_eq!(peer.thing(&sub)["status"], "active");
            world.restart().await;
            world.clock.pass(HOUR);
        }
        look(&world).await;
        assert_eq!(peer.thing(&sub)["status"], "canceled");
        look(&world).await;
        let row = rows::by_stripe(&world.ctx.db, &sub).await.unwrap().unwrap();
        assert_eq!((row.status, row.due_at), (Status::Canceled, None));
        // One whose page is still open is called off.
        let id = world.create(&ada, "b").await.id;
        subscriptions::start(&world.ctx, &ada, &id).await.unwrap();
        let session = peer.last_session();
        servers::delete(&world.ctx, &ada, &id, None).await.unwrap();
        look(&world).await;
        assert_eq!(peer.thing(&session)["status"], "expired");
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn one_page_for_each_server_and_nobody_buys_for_somebody_else() {
    selling("one_page_for_each_server_and_nobody_buys_for_somebody_else", Policy::default(), |world, peer| async move {
        let (ada, eve) = (world.player("ada@example.org").await, world.player("eve@example.org").await);
        let id = world.create(&ada, "a").await.id;
        let first = subscriptions::start(&world.ctx, &ada, &id).await.unwrap();
        let second = subscriptions::start(&world.ctx, &ada, &id).await.unwrap();
        assert_eq!((first == second, peer.sessions().len()), (true, 1), "two tabs, one page");
        assert!(matches!(subscriptions::start(&world.ctx, &eve, &id).await, Err(roost::domain::Refusal::NotFound)));
        let admin = world.admin().await;
        assert!(matches!(subscriptions::start(&world.ctx, &admin, &id).await, Err(roost::domain::Refusal::Forbidden)));
        // The browser is back before any webhook.
        let paid = peer.pay(&peer.last_session());
        let ours = paid["client_reference_id"].as_str().unwrap().parse().unwrap();
        assert!(subscriptions::returned(&world.ctx, &eve, &ours).await.is_err());
        assert_eq!(subscriptions::returned(&world.ctx, &ada, &ours).await.unwrap().status, Status::Active);
        assert!(server(&world, &id).await.covered);
        assert!(subscriptions::start(&world.ctx, &ada, &id).await.is_err());
        // A page that ran out makes room for another one.
        let id = world.create(&ada, "b").await.id;
        subscriptions::start(&world.ctx, &ada, &id).await.unwrap();
        peer.expire(&peer.last_session());
        subscriptions::start(&world.ctx, &ada, &id).await.unwrap();
        assert_eq!(peer.sessions().len(), 3);
        world.ctx.clone()
    })
    .await;
}

#[tokio::test]
async fn the_daily_look_mends_what_was_never_told_and_reports_the_rest() {
    selling("the_daily_look_mends_what_was_never_told_and_reports_the_rest", Policy::default(), |mut world, peer| async move {
        let (admin, ada) = (world.admin().await, world.player("ada@example.org").await);
        let (id, sub) = covered(&mut world, &peer, &ada).await;
        peer.invoice(&sub, false, "past_due");
        world.clock.pass(DAY + HOUR);
        look(&world).await;
        assert_eq!(server(&world, &id).await.life.wanted, Wanted::Expired, "nobody has told, and it was seen");
        peer.invoice(&sub, true, "active");
        world.clock.pass(DAY + HOUR);
        look(&world).await;
        assert!(server(&world, &id).await.covered);
        assert_eq!(payments::differences(&world.ctx, &admin).await.unwrap(), []);
        // A database that was put back does not know what was bought since: it is taken up again.
        forget(&world).await;
        world.clock.pass(DAY + HOUR);
        look(&world).await;
        look(&world).await;
        assert_eq!(row(&world, &id).await.stripe.as_deref(), Some(sub.as_str()));
        // What belongs to nothing here is told to whoever runs it.
        forget(&world).await;
        servers::delete(&world.ctx, &ada, &id, None).await.unwrap();
        world.settle().await;
        world.clock.pass(DAY + HOUR);
        look(&world).await;
        let differences = payments::differences(&world.ctx, &admin).await.unwrap();
        assert!(differences.iter().any(|difference| difference.what.contains(&sub)), "{differences:?}");
        world.ctx.clone()
    })
    .await;
}

/// Loses all rows of subscriptions, as a database from before they were bought has none.
async fn forget(world: &World) {
    use sqlx::{Connection, Executor};
    const FORGET: &str = "DELETE FROM subscriptions";
    if world.url.starts_with("sqlite:") {
        sqlx::SqliteConnection::connect(&world.url).await.expect("it opens").execute(FORGET).await.expect("forgotten");
    } else {
        sqlx::PgConnection::connect(&world.url).await.expect("it opens").execute(FORGET).await.expect("forgotten");
    }
}
