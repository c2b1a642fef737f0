//! Random runs of payments, charges, refunds, disputes, duplicates, other orders and kills: the balance is the sum of the ledger at every
//! moment, and when all is still it is what Stripe and the meter say, to the last micro-credit.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use roost::domain::{Policy, billing};
use roost::model::money::Credits;
use roost::model::time::{HOUR, MINUTE};
use roost::store::ledger;
use sqlx::{Connection, Executor, Row};

use super::{SIGNUP, balance, begin, hear, look, selling};
use crate::stripe_peer::{Age, Fault, Peer, Told};
use crate::world::World;

/// Runs on each database.
const RUNS: u32 = 12;

#[derive(Debug, Clone, Copy)]
enum Step {
    Pay(u8),
    Refund(u8, u16),
    Dispute(u8),
    Decide(u8, bool),
    /// A webhook that has not been delivered yet is, wherever it stands in the line.
    Deliver(u8),
    /// One that was delivered is again.
    Again(u8),
    Look,
    Minute,
    Kill,
    Fault(u8),
}

fn step() -> impl Strategy<Value = Step> {
    use Step::{Again, Decide, Deliver, Dispute, Fault, Kill, Look, Minute, Pay, Refund};
    prop_oneof![
        3 => any::<u8>().prop_map(Pay),
        3 => (any::<u8>(), any::<u16>()).prop_map(|(which, cents)| Refund(which, cents)),
        2 => any::<u8>().prop_map(Dispute),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(which, won)| Decide(which, won)),
        6 => any::<u8>().prop_map(Deliver),
        3 => any::<u8>().prop_map(Again),
        3 => Just(Look),
        2 => Just(Minute),
        1 => Just(Kill),
        2 => any::<u8>().prop_map(Fault),
    ]
}

fn pick<T: Clone>(from: &[T], which: u8) -> Option<T> {
    (!from.is_empty()).then(|| from[usize::from(which) % from.len()].clone())
}

/// What is known of a run beside the panel.
#[derive(Default)]
struct Outside {
    waiting: Vec<Told>,
    delivered: Vec<Told>,
    intents: Vec<String>,
    disputes: Vec<String>,
}

impl Outside {
    fn tell(&mut self, peer: &Peer, which: u8, kind: &str, object: serde_json::Value) {
        let age = if which.is_multiple_of(2) { Age::Old } else { Age::New };
        self.waiting.push(peer.tell(age, kind, object));
    }
}

async fn one(world: &mut World, peer: &Peer, actor: &roost::domain::Actor, outside: &mut Outside, step: Step) {
    match step {
        Step::Pay(which) => {
            let (_, session) = begin(world, peer, actor, "10").await;
            let paid = peer.pay(&session);
            outside.intents.push(paid["payment_intent"].as_str().expect("a payment").to_owned());
            outside.tell(peer, which, "checkout.session.completed", paid.clone());
            outside.tell(peer, which, "payment_intent.succeeded", peer.thing(paid["payment_intent"].as_str().expect("a payment")));
        }
        Step::Refund(which, cents) => {
            let Some(intent) = pick(&outside.intents, which) else { return };
            let charge = peer.thing(peer.thing(&intent)["latest_charge"].as_str().expect("a charge"));
            let left = 1_000 - charge["amount_refunded"].as_i64().expect("a number");
            if left > 0 && charge["disputed"] == false {
                let charge = peer.refund(&intent, i64::from(cents) % left + 1);
                outside.tell(peer, which, "charge.refunded", charge);
            }
        }
        Step::Dispute(which) => {
            let Some(intent) = pick(&outside.intents, which) else { return };
            let charge = peer.thing(peer.thing(&intent)["latest_charge"].as_str().expect("a charge"));
            if charge["disputed"] == false && charge["refunded"] == false {
                let dispute = peer.dispute(&intent);
                outside.disputes.push(dispute["id"].as_str().expect("an id").to_owned());
                outside.tell(peer, which, "charge.dispute.created", dispute.clone());
                outside.tell(peer, which, "charge.dispute.funds_withdrawn", dispute);
            }
        }
        Step::Decide(which, won) => {
            let Some(dispute) = pick(&outside.disputes, which) else { return };
            let decided = peer.decide(&dispute, if won { "won" } else { "lost" });
            outside.tell(peer, which, "charge.dispute.closed", decided);
        }
        Step::Deliver(which) => {
            if !outside.waiting.is_empty() {
                let told = outside.waiting.remove(usize::from(which) % outside.waiting.len());
                hear(world, &told).await;
                outside.delivered.push(told);
            }
        }
        Step::Again(which) => {
            if let Some(told) = pick(&outside.delivered, which) {
                hear(world, &told).await;
            }
        }
        Step::Look => look(world).await,
        Step::Minute => {
            world.clock.pass(MINUTE);
            world.settle().await;
            world.beat().await;
            billing::tick(&world.ctx).await.expect("metered");
        }
        Step::Kill => world.restart().await,
        Step::Fault(which) => {
            let fault = [Fault::Status(429), Fault::Status(500), Fault::DoneButBroken][usize::from(which) % 3];
            peer.fail(if which > 127 { "GET /v1/payment_intents/" } else { "GET /v1/disputes" }, fault);
        }
    }
}

/// What Stripe has kept for us, in credits.
fn at_stripe(peer: &Peer, outside: &Outside) -> Credits {
    let kept = outside.intents.iter().map(|intent| {
        let charge = peer.thing(peer.thing(intent)["latest_charge"].as_str().expect("a charge"));
        1_000 - charge["amount_refunded"].as_i64().expect("a number")
    });
    let held = outside.disputes.iter().map(|id| peer.thing(id)).filter(|dispute| dispute["status"] != "won");
    Credits::whole(kept.sum::<i64>() - held.map(|dispute| dispute["amount"].as_i64().expect("a number")).sum::<i64>())
}

async fn run(mut world: World, peer: &Peer, name: &str, steps: &[Step]) -> World {
    let actor = world.player(name).await;
    world.create(&actor, "a").await;
    world.settle().await;
    let mut outside = Outside::default();
    for step in steps {
        one(&mut world, peer, &actor, &mut outside, *step).await;
        assert_eq!(
            ledger::sum_of_user(&world.ctx.db, &actor.user.id).await.expect("summed"),
            balance(&world, &actor).await,
            "after {step:?}"
        );
    }
    // Whatever is still under way comes in, late and twice.
    for told in outside.waiting.iter().chain(&outside.delivered) {
        hear(&world, told).await;
    }
    for _ in 0..4 {
        world.clock.pass(7 * HOUR);
        world.beat().await;
        look(&world).await;
        billing::tick(&world.ctx).await.expect("metered");
    }
    let (accrued, _) = roost::store::usage::accrued(&world.ctx.db, &actor.user.id, world.ctx.clock.now()).await.expect("read");
    let charged = charged(&world, actor.user.id.as_str()).await;
    let expected = SIGNUP + at_stripe(peer, &outside) - charged;
    assert_eq!(balance(&world, &actor).await, expected, "{accrued} has run up");
    world
}

/// What the meter has posted.
async fn charged(world: &World, user: &str) -> Credits {
    const SUM: &str = "SELECT CAST(COALESCE(-SUM(amount), 0) AS BIGINT) AS total FROM transactions WHERE kind = 'charge' AND user_id = $1";
    if world.url.starts_with("sqlite:") {
        let mut connection = sqlx::SqliteConnection::connect(&world.url).await.expect("it opens");
        let row = connection.fetch_one(sqlx::query(SUM).bind(user)).await.expect("summed");
        Credits(row.get("total"))
    } else {
        let mut connection = sqlx::PgConnection::connect(&world.url).await.expect("it opens");
        let row = connection.fetch_one(sqlx::query(SUM).bind(user)).await.expect("summed");
        Credits(row.get("total"))
    }
}

#[tokio::test]
async fn random_runs_end_at_what_stripe_and_the_meter_say() {
    let runs = {
        let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
        let strategy = prop::collection::vec(step(), 5..40);
        (0..RUNS).map(|_| strategy.new_tree(&mut runner).expect("a run").current()).collect::<Vec<_>>()
    };
    let policy = Policy { servers_max: 1_000, ..Policy::default() };
    selling("random_runs_end_at_what_stripe_and_the_meter_say", policy, |mut world, peer| {
        let runs = runs.clone();
        async move {
            for (n, steps) in runs.iter().enumerate() {
                world = run(world, &peer, &format!("player{n}@example.org"), steps).await;
            }
            world.ctx.clone()
        }
    })
    .await;
}
