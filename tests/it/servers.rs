//! Servers through their life, on both databases, with a node that the test plays.

use rand_like::Dice;
use roost::domain::{Refusal, billing, games, servers};
use roost::model::ids::ServerId;
use roost::model::money::Credits;
use roost::model::servers::{Phase, Seen, Wanted};
use roost::model::time::{Clock, HOUR, MINUTE, Millis, SECOND};
use roost::store::{ledger, usage};
use roost::wire::agent::EventKind;

use crate::fake_node::event;
use crate::world::{World, form, on_both, seeds};

/// Chance that can be repeated by its seed.
mod rand_like {
    pub struct Dice(pub u64);
    impl Dice {
        pub fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }
    }
}

async fn phase(world: &World, id: &ServerId) -> Phase {
    world.server(id).await.expect("it is there").life.phase
}

#[tokio::test]
async fn a_server_is_made_plays_sleeps_is_woken_by_traffic_and_goes() {
    on_both("a_server_is_made_plays_sleeps_is_woken_by_traffic_and_goes", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "Valley of Echoes").await;
        assert_eq!(server.life.phase, Phase::Preparing);
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Running);

        world.clock.pass(48 * MINUTE);
        servers::power(&world.ctx, &actor, &server.id, servers::Power::Hibernate).await.expect("may sleep");
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Sleeping);

        world.clock.pass(MINUTE);
        for told in world.node.knock(&server.id, world.clock.now()) {
            world.tell(told).await;
        }
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Running);
        let history = servers::history(&world.ctx, &actor, &server.id, None).await.expect("readable");
        assert!(history.iter().any(|event| event.who == "a player at 192.0.2.7" && event.what == "wanted running"), "{history:?}");

        world.clock.pass(12 * MINUTE);
        servers::delete(&world.ctx, &actor, &server.id, Some("Valley of Echoes")).await.expect("deleted");
        world.settle().await;
        assert!(world.server(&server.id).await.is_none());
        assert!(world.node.instances.is_empty());

        billing::tick(&world.ctx).await.expect("billed");
        // 60 minutes in two runs at half a credit an hour.
        let sum = ledger::sum_of_user(&world.ctx.db, &actor.user.id).await.expect("summed");
        assert_eq!(sum, Credits::whole(100) - Credits(500_000));
        assert!(ledger::out_of_balance(&world.ctx.db, 10).await.expect("checked").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_sleeping_server_is_prepared_anew_when_its_entry_of_the_catalogue_changes() {
    on_both("a_sleeping_server_is_prepared_anew_when_its_entry_of_the_catalogue_changes", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "Valley of Echoes").await;
        world.settle().await;
        servers::power(&world.ctx, &actor, &server.id, servers::Power::Hibernate).await.expect("may sleep");
        world.settle().await;
        let revision = |world: &World| world.node.instances[&server.id].revision.clone();
        let before = revision(&world);
        servers::reconcile(&world.ctx, true).await.expect("looked at");
        assert!(world.engine.take().is_empty(), "as long as nothing changes a sweep asks for nothing");

        let larger = seeds().into_iter().map(|(file, text)| (file, text.replace("memory_mib = 64", "memory_mib = 128")));
        games::seed(&world.ctx.db, larger).await.expect("the catalogue reads");
        *world.ctx.catalogue.write().expect("whole") = games::Catalogue::load(&world.ctx.db).await.expect("loaded").into();
        servers::reconcile(&world.ctx, true).await.expect("looked at");
        world.settle().await;
        assert_ne!(revision(&world), before, "the node has the new description");
        assert_eq!(phase(&world, &server.id).await, Phase::Sleeping, "and nobody was woken for it");
        servers::reconcile(&world.ctx, true).await.expect("looked at");
        assert!(world.engine.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn every_field_of_the_form_is_checked_and_nothing_is_half_made() {
    on_both("every_field_of_the_form_is_checked_and_nothing_is_half_made", |world| async move {
        let actor = world.player("ada@example.org").await;
        let long = "x".repeat(10_000);
        let table: [(&str, servers::Form); 9] = [
            ("name", servers::Form { name: String::new(), ..form("a") }),
            ("name", servers::Form { name: long.clone(), ..form("a") }),
            ("name", servers::Form { name: "a\0b".to_owned(), ..form("a") }),
            ("game", servers::Form { game: "../demo".to_owned(), ..form("a") }),
            ("plan", servers::Form { plan: "huge".to_owned(), ..form("a") }),
            ("idle_minutes", servers::Form { idle_minutes: Some(-1), ..form("a") }),
            ("idle_minutes", servers::Form { idle_minutes: Some(i64::MAX), ..form("a") }),
            ("env.LD_PRELOAD", servers::Form { env: [("LD_PRELOAD".to_owned(), "/x".to_owned())].into(), ..form("a") }),
            ("env.MOTD", servers::Form { env: [("MOTD".to_owned(), "a\nb".to_owned())].into(), ..form("a") }),
        ];
        for (field, form) in table {
            match servers::create(&world.ctx, &actor, &form).await {
                Err(Refusal::Invalid(fields)) => assert!(fields.at(field).is_some(), "{field}: {fields:?}"),
                other => panic!("{field}: {other:?}"),
            }
        }
        let harmless = "谷 '\"; $(reboot) ${HOME} ../../etc";
        let made = servers::create(&world.ctx, &actor, &form(harmless)).await.expect("any script and sign is a name");
        assert_eq!(made.name, harmless);
        assert_eq!(servers::list(&world.ctx, &actor).await.expect("listed").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn twenty_creations_at_once_share_no_port_and_no_network() {
    on_both("twenty_creations_at_once_share_no_port_and_no_network", |world| async move {
        let actor = world.player("ada@example.org").await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let (ctx, actor) = (world.ctx.clone(), actor.clone());
            tasks.spawn(async move {
                for _ in 0..20 {
                    match servers::create(&ctx, &actor, &form(&format!("server {n}"))).await {
                        Err(Refusal::Conflict(_) | Refusal::Store(_)) => tokio::task::yield_now().await,
                        other => return other.expect("made"),
                    }
                }
                panic!("never made");
            });
        }
        let made = tasks.join_all().await;
        let mut ports: Vec<u16> = made.iter().map(|server| server.ports[0].public).collect();
        let mut subnets: Vec<u32> = made.iter().map(|server| server.subnet).collect();
        ports.sort_unstable();
        ports.dedup();
        subnets.sort_unstable();
        subnets.dedup();
        assert_eq!((ports.len(), subnets.len()), (20, 20));
    })
    .await;
}

#[tokio::test]
async fn a_failing_node_is_tried_again_then_rests_until_somebody_retries() {
    on_both("a_failing_node_is_tried_again_then_rests_until_somebody_retries", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        world.node.failures = 6;
        let server = world.create(&actor, "a").await;
        for _ in 0..10 {
            world.settle().await;
            world.clock.pass(MINUTE);
        }
        let row = world.server(&server.id).await.expect("kept");
        assert_eq!(row.life.phase, Phase::Failed);
        let trouble = row.life.trouble.expect("explained");
        assert_eq!((trouble.what.as_str(), trouble.next_try), ("the disk is full", None));
        servers::retry(&world.ctx, &actor, &server.id).await.expect("tried again");
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Running);
    })
    .await;
}

#[tokio::test]
async fn a_crashing_game_is_started_again_three_times() {
    on_both("a_crashing_game_is_started_again_three_times", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "a").await;
        world.settle().await;
        for n in 1..=4 {
            world.clock.pass(40 * SECOND);
            for told in world.node.crash(&server.id, 3, world.clock.now()) {
                world.tell(told).await;
            }
            assert_eq!(phase(&world, &server.id).await, Phase::Failed, "crash {n}");
            world.clock.pass(40 * SECOND);
            world.settle().await;
            let expected = if n <= 3 { Phase::Running } else { Phase::Failed };
            assert_eq!(phase(&world, &server.id).await, expected, "after crash {n}");
        }
        let what = world.server(&server.id).await.and_then(|row| row.life.trouble).expect("explained").what;
        assert!(what.contains("exit code 3"), "{what}");
    })
    .await;
}

#[tokio::test]
async fn a_game_that_ends_itself_on_purpose_sleeps() {
    on_both("a_game_that_ends_itself_on_purpose_sleeps", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "a").await;
        world.settle().await;
        for told in world.node.crash(&server.id, 0, world.clock.now()) {
            world.tell(told).await;
        }
        world.settle().await;
        let row = world.server(&server.id).await.expect("kept");
        assert_eq!((row.life.phase, row.life.wanted), (Phase::Sleeping, Wanted::Asleep));
    })
    .await;
}

/// Heartbeats every 5 s, with whoever is connected, for a while.
async fn play(world: &World, minutes: i64) {
    for _ in 0..minutes * 12 {
        world.clock.pass(5 * SECOND);
        world.beat().await;
    }
}

#[tokio::test]
async fn a_quiet_server_falls_asleep_and_a_player_or_a_gap_keeps_it_awake() {
    on_both("a_quiet_server_falls_asleep_and_a_player_or_a_gap_keeps_it_awake", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "a").await;
        world.settle().await;
        let set_players = |world: &mut World, players: u32| {
            world.node.instances.get_mut(&server.id).expect("there").players = players;
        };
        set_players(&mut world, 1);
        play(&world, 20).await;
        assert_eq!(servers::auto_sleep(&world.ctx).await.expect("looked"), 0, "somebody plays");

        set_players(&mut world, 0);
        play(&world, 14).await;
        assert_eq!(servers::auto_sleep(&world.ctx).await.expect("looked"), 0, "14 minutes are not 15");
        world.clock.pass(2 * MINUTE);
        world.beat().await;
        assert_eq!(servers::auto_sleep(&world.ctx).await.expect("looked"), 0, "two minutes were not measured");

        play(&world, 16).await;
        set_players(&mut world, 2);
        assert_eq!(servers::auto_sleep(&world.ctx).await.expect("looked"), 1, "quiet as far as the panel knows");
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Running, "the node asked at the moment of stopping");

        set_players(&mut world, 0);
        play(&world, 16).await;
        assert_eq!(servers::auto_sleep(&world.ctx).await.expect("looked"), 1);
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Sleeping);
    })
    .await;
}

#[tokio::test]
async fn at_zero_credits_everything_sleeps_and_nothing_wakes_until_there_are_more() {
    on_both("at_zero_credits_everything_sleeps_and_nothing_wakes_until_there_are_more", |mut world| async move {
        let admin = world.admin().await;
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "a").await;
        let other = world.create(&actor, "b").await;
        world.settle().await;
        servers::power(&world.ctx, &actor, &other.id, servers::Power::Hibernate).await.expect("sleeps");
        world.settle().await;
        for _ in 0..201 {
            world.clock.pass(HOUR);
            world.beat().await;
            billing::tick(&world.ctx).await.expect("billed");
            world.settle().await;
        }
        assert_eq!(phase(&world, &server.id).await, Phase::Sleeping);
        for id in [&server.id, &other.id] {
            for told in world.node.knock(id, world.clock.now()) {
                world.tell(told).await;
            }
            world.settle().await;
            assert_eq!(phase(&world, id).await, Phase::Sleeping, "a wake is refused");
        }
        let refused = servers::power(&world.ctx, &actor, &server.id, servers::Power::Wake).await;
        assert!(matches!(refused, Err(Refusal::Conflict(_))), "{refused:?}");

        billing::grant(&world.ctx, &admin, "ada@example.org", "10", "have fun", "request1").await.expect("granted");
        billing::grant(&world.ctx, &admin, "ada@example.org", "10", "have fun", "request1").await.expect("counted once");
        world.settle().await;
        for told in world.node.knock(&server.id, world.clock.now()) {
            world.tell(told).await;
        }
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Running);
        assert!(ledger::out_of_balance(&world.ctx.db, 10).await.expect("checked").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_command_whose_answer_is_lost_is_sent_again_and_ends_right() {
    on_both("a_command_whose_answer_is_lost_is_sent_again_and_ends_right", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        world.node.lose_answers = 1;
        let server = world.create(&actor, "a").await;
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Preparing);
        world.clock.pass(20 * SECOND);
        assert_eq!(servers::resend(&world.ctx).await.expect("sent"), 1);
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Running);
        assert_eq!(servers::resend(&world.ctx).await.expect("nothing left"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_restart_ends_the_run_and_begins_another() {
    on_both("a_restart_ends_the_run_and_begins_another", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "a").await;
        world.settle().await;
        world.clock.pass(MINUTE);
        servers::power(&world.ctx, &actor, &server.id, servers::Power::Restart).await.expect("restarts");
        world.clock.pass(SECOND);
        world.settle().await;
        let row = world.server(&server.id).await.expect("kept");
        assert_eq!(row.life.phase, Phase::Running);
        assert!(matches!(row.seen, Seen::Running { since } if since > Millis(crate::world::START + MINUTE)), "{:?}", row.seen);
    })
    .await;
}

#[tokio::test]
async fn a_container_that_goes_behind_our_back_comes_again() {
    on_both("a_container_that_goes_behind_our_back_comes_again", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "a").await;
        world.settle().await;
        world.beat().await;
        world.clock.pass(MINUTE);
        world.node.instances.remove(&server.id);
        world.beat().await;
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Running);
        let (accrued, per_hour) = usage::accrued(&world.ctx.db, &actor.user.id, world.clock.now()).await.expect("summed");
        assert_eq!((accrued, per_hour), (Credits::ZERO, Credits(500_000)), "the lost run is paid to its last sign of life");
    })
    .await;
}

#[tokio::test]
async fn a_node_cannot_speak_of_servers_that_are_not_there_and_old_words_change_nothing() {
    on_both("a_node_cannot_speak_of_servers_that_are_not_there_and_old_words_change_nothing", |mut world| async move {
        let nobody: ServerId = "aaaaaaaa-de-bbbbbb".parse().expect("an id");
        world.tell(event(&nobody, None, world.clock.now(), EventKind::Destroyed)).await;
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "a").await;
        world.settle().await;
        let old = world.node.commands[0].id.clone();
        let failed = EventKind::Failed { reason: "late".to_owned(), retryable: false, report: None };
        world.tell(event(&server.id, Some(&old), world.clock.now(), failed)).await;
        world.settle().await;
        assert_eq!(phase(&world, &server.id).await, Phase::Running);
    })
    .await;
}

/// Buttons, knocks, crashes, lost answers, failures, kills and time, in any order. Whatever happened, in the end every server
/// is where it was last wanted, and what was charged is what the node saw running, to the micro-credit.
#[tokio::test]
async fn after_random_lives_all_is_as_wanted_and_every_run_is_paid_once() {
    for seed in [1, 333, 4_444] {
        random_lives(seed).await;
    }
}

async fn random_lives(seed: u64) {
    on_both("after_random_lives_all_is_as_wanted_and_every_run_is_paid_once", |mut world| async move {
        let mut dice = Dice(seed);
        let actor = world.player("ada@example.org").await;
        let mut ids = Vec::new();
        for n in 0..3 {
            ids.push(world.create(&actor, &format!("server {n}")).await.id);
        }
        for _ in 0..200 {
            one_thing(&mut world, &actor, &ids, &mut dice).await;
        }
        world.node.failures = 0;
        world.node.lose_answers = 0;
        for _ in 0..12 {
            world.clock.pass(MINUTE);
            servers::resend(&world.ctx).await.expect("sent");
            world.beat().await;
            world.settle().await;
        }
        for id in &ids {
            assert_at_rest(&world, id).await;
            let _ = servers::delete(&world.ctx, &actor, id, None).await;
        }
        for _ in 0..6 {
            servers::resend(&world.ctx).await.expect("sent");
            world.settle().await;
            world.clock.pass(MINUTE);
        }
        assert!(world.node.instances.is_empty(), "all is gone from the node");
        billing::tick(&world.ctx).await.expect("billed");
        let expected: i64 = world.node.past_runs.iter().map(|(_, run)| run.to.unwrap_or(run.from).since(run.from) * 500_000 / HOUR).sum();
        let sum = ledger::sum_of_user(&world.ctx.db, &actor.user.id).await.expect("summed");
        assert_eq!(Credits::whole(100) - sum, Credits(expected), "seed {seed}");
        assert!(ledger::out_of_balance(&world.ctx.db, 10).await.expect("checked").is_empty());
    })
    .await;
}

async fn one_thing(world: &mut World, actor: &roost::domain::Actor, ids: &[ServerId], dice: &mut Dice) {
    let id = &ids[usize::try_from(dice.below(ids.len() as u64)).expect("small")];
    let now = world.clock.now();
    match dice.below(12) {
        n @ 0..=4 => {
            let button = servers::Power::ALL[usize::try_from(n).expect("small")];
            match servers::power(&world.ctx, actor, id, button).await {
                Ok(_) | Err(Refusal::Conflict(_)) => {}
                Err(error) => panic!("{button:?}: {error:?}"),
            }
        }
        5 => {
            for told in world.node.knock(id, now) {
                if dice.below(4) > 0 {
                    world.tell(told).await;
                }
            }
        }
        6 => {
            for told in world.node.crash(id, i64::try_from(dice.below(3)).expect("small"), now) {
                if dice.below(4) > 0 {
                    world.tell(told).await;
                }
            }
        }
        7 => world.node.lose_answers = u32::try_from(dice.below(2)).expect("small"),
        8 => world.node.failures = u32::try_from(dice.below(2)).expect("small"),
        9 => world.restart().await,
        10 => {
            servers::resend(&world.ctx).await.expect("sent");
            world.beat().await;
            billing::tick(&world.ctx).await.expect("billed");
        }
        _ => world.settle().await,
    }
    world.clock.pass(i64::try_from(dice.below(10 * 60)).expect("small") * SECOND + 7);
}

async fn assert_at_rest(world: &World, id: &ServerId) {
    let row = world.server(id).await.expect("kept");
    let there = world.node.instances.get(id).map(|instance| instance.seen);
    match (row.life.wanted, row.life.phase) {
        (Wanted::Running, Phase::Running) => assert!(matches!(there, Some(Seen::Running { .. })), "{there:?}"),
        (Wanted::Asleep, Phase::Sleeping) => assert!(matches!(there, Some(Seen::Asleep)), "{there:?}"),
        (Wanted::Stopped, Phase::Stopped) => assert!(matches!(there, None | Some(Seen::Absent)), "{there:?}"),
        (_, Phase::Failed) => assert!(row.life.trouble.is_some(), "a failure is explained"),
        other => panic!("{id} does not rest: {other:?}, {:?}, seen {:?}, there {there:?}", row.life, row.seen),
    }
}
