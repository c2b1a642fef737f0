//! Backups: made, put together, tried again, given up, scheduled, restored, undone; layers that wait for one, and servers that move
//! with one. The node is played; its archives go through the panel's own addresses into a real folder of objects.

use roost::domain::backups::{self, Plan};
use roost::domain::{Actor, Refusal, nodes, servers};
use roost::model::backups::{Backup, KEPT_MAX, Reason, RestoreState, State, UNDO_KEPT};
use roost::model::ids::{NodeId, ServerId};
use roost::model::nodes::{Profile, Specs};
use roost::model::servers::{Pending, Phase, Seen, Wanted};
use roost::model::time::{DAY, HOUR, MINUTE, SECOND};
use roost::objects::Prefix;
use roost::store::commands;
use roost::wire::agent::{Action, FromNode, UrlFor, VERSION};

use crate::templates::{made, upload};
use crate::world::{World, form, on_both};

/// A server that has been prepared and runs.
async fn server(world: &mut World, actor: &Actor, name: &str) -> ServerId {
    let id = world.create(actor, name).await.id;
    world.settle().await;
    id
}

async fn list(world: &World, actor: &Actor, id: &ServerId) -> Vec<Backup> {
    backups::shelf(&world.ctx, actor, id).await.expect("a shelf").backups
}

async fn objects(world: &World) -> Vec<String> {
    let page = world.ctx.objects.list(&Prefix::default(), None, 100).await.expect("listed");
    page.objects.into_iter().map(|object| object.key.to_string()).collect()
}

fn why<T: std::fmt::Debug>(refused: Result<T, Refusal>) -> String {
    match refused {
        Err(Refusal::Conflict(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Time passes while everything stays online.
async fn pass(world: &mut World, ms: i64) {
    world.clock.pass(ms);
    world.be_online().await;
    for node in world.others.keys().cloned().collect::<Vec<_>>() {
        beat(world, &node).await;
    }
    world.settle().await;
}

async fn beat(world: &World, node: &NodeId) {
    let heartbeat = FromNode::Heartbeat {
        at: roost::model::time::Clock::now(&*world.clock),
        load: roost::model::nodes::Load::default(),
        complete: false,
        instances: Vec::new(),
    };
    world.tell_from(node, heartbeat).await;
}

#[tokio::test]
async fn a_backup_is_made_put_together_downloaded_and_deleted_with_its_object() {
    on_both("a_backup_is_made_put_together_downloaded_and_deleted_with_its_object", |mut world| async move {
        let ada = world.player("ada@example.org").await;
        let fresh = world.create(&ada, "fresh").await.id;
        assert!(why(backups::make(&world.ctx, &ada, &fresh).await).contains("It has no data yet"));
        let id = server(&mut world, &ada, "valley").await;
        world.node.data.insert(id.clone(), "a castle".to_owned());
        let made = backups::make(&world.ctx, &ada, &id).await.expect("begun");
        assert!(why(backups::make(&world.ctx, &ada, &id).await).contains("being made already"));
        world.settle().await;
        let all = list(&world, &ada, &id).await;
        assert_eq!((all.len(), all[0].state, all[0].reason), (1, State::Done, Reason::Hand), "{all:?}");
        let archived = all[0].archived.clone().expect("archived");
        assert_eq!((archived.bytes, archived.parts.len()), (8, 0), "what was stored is known, its parts no longer matter");
        let address = backups::download(&world.ctx, &ada, &id, &made.id).await.expect("an address");
        assert_eq!(world.fetch(&address).await, "a castle");
        let history = servers::history(&world.ctx, &ada, &id, None).await.expect("told");
        assert!(history.iter().any(|event| event.what == "backup made" && event.who == "ada@example.org"), "{history:?}");

        let eve = world.player("eve@example.org").await;
        assert!(matches!(backups::download(&world.ctx, &eve, &id, &made.id).await, Err(Refusal::NotFound)));
        assert!(matches!(backups::remove(&world.ctx, &eve, &id, &made.id).await, Err(Refusal::NotFound)));
        let hers = server(&mut world, &eve, "hers").await;
        assert!(matches!(backups::download(&world.ctx, &eve, &hers, &made.id).await, Err(Refusal::NotFound)), "by another server's name");

        assert_eq!(objects(&world).await.len(), 1);
        backups::remove(&world.ctx, &ada, &id, &made.id).await.expect("removed");
        world.settle().await;
        assert_eq!((list(&world, &ada, &id).await.len(), objects(&world).await.len()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_by_hand_has_a_bound_and_goes_with_its_server() {
    on_both("what_is_kept_by_hand_has_a_bound_and_goes_with_its_server", |mut world| async move {
        let ada = world.player("ada@example.org").await;
        let id = server(&mut world, &ada, "valley").await;
        for _ in 0..KEPT_MAX {
            pass(&mut world, SECOND).await;
            backups::make(&world.ctx, &ada, &id).await.expect("begun");
            world.settle().await;
        }
        assert!(why(backups::make(&world.ctx, &ada, &id).await).contains("It has 30 backups"));
        assert_eq!(objects(&world).await.len(), KEPT_MAX as usize);
        servers::delete(&world.ctx, &ada, &id, None).await.expect("deleted");
        pass(&mut world, SECOND).await;
        assert!(world.server(&id).await.is_none());
        world.settle().await;
        assert_eq!(objects(&world).await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_backup_that_fails_is_tried_again_and_at_last_given_up() {
    on_both("a_backup_that_fails_is_tried_again_and_at_last_given_up", |mut world| async move {
        let ada = world.player("ada@example.org").await;
        let id = server(&mut world, &ada, "valley").await;
        world.node.archive_failures = vec![("The server was woken".to_owned(), true); 2];
        backups::make(&world.ctx, &ada, &id).await.expect("begun");
        world.settle().await;
        let first = list(&world, &ada, &id).await.remove(0);
        assert_eq!((first.state, first.attempts, first.message.as_str()), (State::Waiting, 1, "The server was woken"));
        for _ in 0..3 {
            pass(&mut world, MINUTE).await;
        }
        assert_eq!(list(&world, &ada, &id).await[0].state, State::Done, "the third try worked");

        world.node.archive_failures = vec![("There is no data folder".to_owned(), false)];
        backups::make(&world.ctx, &ada, &id).await.expect("begun");
        world.settle().await;
        let all = list(&world, &ada, &id).await;
        assert_eq!((all[0].state, all[0].message.as_str()), (State::Failed, "There is no data folder"));
        assert!(why(backups::restore(&world.ctx, &ada, &id, &all[0].id, false).await).contains("is not done"));

        world.node.archive_failures = vec![("The disk is full".to_owned(), true); 9];
        pass(&mut world, SECOND).await;
        backups::make(&world.ctx, &ada, &id).await.expect("begun");
        for _ in 0..40 {
            pass(&mut world, 10 * MINUTE).await;
        }
        assert_eq!((list(&world, &ada, &id).await[0].state, world.node.archive_failures.len()), (State::Failed, 3), "six tries");
        assert_eq!(objects(&world).await.len(), 1, "nothing of the failed ones stays");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_lost_where_answers_are_or_the_panel_is_killed() {
    on_both("nothing_is_lost_where_answers_are_or_the_panel_is_killed", |mut world| async move {
        let ada = world.player("ada@example.org").await;
        let id = server(&mut world, &ada, "valley").await;
        world.node.lose_answers = 1;
        backups::make(&world.ctx, &ada, &id).await.expect("begun");
        world.settle().await;
        assert_eq!(list(&world, &ada, &id).await[0].state, State::Running);
        world.restart().await;
        // Another step of its life comes in between, and does not outdate it.
        servers::power(&world.ctx, &ada, &id, servers::Power::Hibernate).await.expect("asked");
        world.settle().await;
        world.clock.pass(20 * SECOND);
        world.be_online().await;
        servers::resend(&world.ctx).await.expect("sent again");
        world.settle().await;
        let all = list(&world, &ada, &id).await;
        assert_eq!((all.len(), all[0].state, objects(&world).await.len()), (1, State::Done, 1));

        // A node that is silent for half an hour has begun anew.
        world.node.lose_answers = 1;
        pass(&mut world, SECOND).await;
        backups::make(&world.ctx, &ada, &id).await.expect("begun");
        world.settle().await;
        pass(&mut world, 31 * MINUTE).await;
        assert_eq!(list(&world, &ada, &id).await[0].message, "It made no progress for 30 minutes.");
        pass(&mut world, MINUTE).await;
        assert_eq!(list(&world, &ada, &id).await[0].state, State::Done);
    })
    .await;
}

#[tokio::test]
async fn a_backup_waits_for_a_node_that_is_away() {
    on_both("a_backup_waits_for_a_node_that_is_away", |mut world| async move {
        let ada = world.player("ada@example.org").await;
        let id = server(&mut world, &ada, "valley").await;
        world.clock.pass(MINUTE);
        backups::make(&world.ctx, &ada, &id).await.expect("begun");
        world.settle().await;
        let waits = list(&world, &ada, &id).await.remove(0);
        assert_eq!((waits.state, waits.message.as_str(), waits.attempts), (State::Waiting, "It waits for its node, which is offline.", 0));
        pass(&mut world, MINUTE).await;
        assert_eq!(list(&world, &ada, &id).await[0].state, State::Done);
    })
    .await;
}

#[tokio::test]
async fn a_schedule_makes_backups_and_only_its_last_ones_stay() {
    on_both("a_schedule_makes_backups_and_only_its_last_ones_stay", |mut world| async move {
        let ada = world.player("ada@example.org").await;
        let id = server(&mut world, &ada, "valley").await;
        let plan = Plan { cron: "0 4 * * *".to_owned(), zone: "Europe/Berlin".to_owned(), keep: Some(3) };
        let schedule = backups::set_schedule(&world.ctx, &ada, &id, &plan).await.expect("planned");
        // The world begins on 1 January, at noon; four o'clock in Berlin is three o'clock UTC.
        assert_eq!(schedule.next_at.0, crate::world::START + 15 * HOUR);
        backups::make(&world.ctx, &ada, &id).await.expect("by hand");
        world.settle().await;
        for _ in 0..5 * 24 {
            pass(&mut world, HOUR).await;
        }
        let all = list(&world, &ada, &id).await;
        let scheduled: Vec<_> = all.iter().filter(|backup| backup.reason == Reason::Schedule).collect();
        assert_eq!((scheduled.len(), all.len()), (3, 4), "the last three, and the one by hand");
        assert_eq!(scheduled[0].created_at.since(scheduled[1].created_at), DAY);
        assert_eq!(objects(&world).await.len(), 4);

        // The panel was down for a week: made up for once.
        pass(&mut world, 7 * DAY).await;
        pass(&mut world, SECOND).await;
        let after = list(&world, &ada, &id).await;
        assert_eq!(after.iter().filter(|backup| backup.created_at > all[0].created_at).count(), 1);
        backups::remove_schedule(&world.ctx, &ada, &id).await.expect("ended");
        pass(&mut world, 3 * DAY).await;
        assert_eq!(list(&world, &ada, &id).await.len(), 4);

        let wrong = Plan { cron: "* * * * *".to_owned(), zone: "Mars".to_owned(), keep: Some(99) };
        let Err(Refusal::Invalid(fields)) = backups::set_schedule(&world.ctx, &ada, &id, &wrong).await else { panic!("taken") };
        assert!(["zone", "keep"].iter().all(|field| fields.at(field).is_some()), "{fields:?}");
    })
    .await;
}

#[tokio::test]
async fn a_backup_is_tried_restored_and_the_way_back_is_open_for_a_week() {
    on_both("a_backup_is_tried_restored_and_the_way_back_is_open_for_a_week", |mut world| async move {
        let ada = world.player("ada@example.org").await;
        let id = server(&mut world, &ada, "valley").await;
        world.node.data.insert(id.clone(), "a castle".to_owned());
        let backup = backups::make(&world.ctx, &ada, &id).await.expect("begun").id;
        world.settle().await;
        world.node.data.insert(id.clone(), "a ruin".to_owned());
        assert!(why(backups::undo(&world.ctx, &ada, &id).await).contains("no restore to undo"));

        backups::restore(&world.ctx, &ada, &id, &backup, true).await.expect("tried");
        assert!(why(backups::restore(&world.ctx, &ada, &id, &backup, false).await).contains("under way already"));
        assert!(why(backups::remove(&world.ctx, &ada, &id, &backup).await).contains("being restored from this backup"));
        world.settle().await;
        let shelf = backups::shelf(&world.ctx, &ada, &id).await.expect("there");
        assert!(shelf.backups[0].verified_at.is_some() && shelf.undo.is_none());
        assert_eq!(world.node.data[&id], "a ruin", "only tried");

        world.clock.pass(SECOND);
        backups::restore(&world.ctx, &ada, &id, &backup, false).await.expect("begun");
        world.settle().await;
        assert_eq!(world.node.data[&id], "a castle");
        world.clock.pass(SECOND);
        backups::undo(&world.ctx, &ada, &id).await.expect("undone");
        world.settle().await;
        assert_eq!(world.node.data[&id], "a ruin");
        world.clock.pass(SECOND);
        backups::undo(&world.ctx, &ada, &id).await.expect("undone again");
        world.settle().await;
        assert_eq!(world.node.data[&id], "a castle");

        world.clock.pass(SECOND);
        world.node.archive_failures = vec![("The archive is damaged".to_owned(), false)];
        backups::restore(&world.ctx, &ada, &id, &backup, false).await.expect("begun");
        world.settle().await;
        let last = backups::shelf(&world.ctx, &ada, &id).await.expect("there").last.expect("the last one");
        assert_eq!((last.state, last.message.as_str()), (RestoreState::Failed, "The archive is damaged"));
        pass(&mut world, UNDO_KEPT).await;
        assert!(backups::shelf(&world.ctx, &ada, &id).await.expect("there").undo.is_none());
    })
    .await;
}

#[tokio::test]
async fn addresses_are_given_to_the_right_node_for_what_it_was_told_and_no_longer() {
    on_both("addresses_are_given_to_the_right_node_for_what_it_was_told_and_no_longer", |mut world| async move {
        let ada = world.player("ada@example.org").await;
        let id = server(&mut world, &ada, "valley").await;
        let other = second_node(&mut world, "second").await;
        let backup = backups::make(&world.ctx, &ada, &id).await.expect("begun").id;
        let part = |number| UrlFor::BackupPart { server: id.clone(), backup: backup.clone(), number };
        let whole = || UrlFor::Backup { server: id.clone(), backup: backup.clone() };
        let local = NodeId::local();
        assert!(world.url(&local, part(1)).await.is_err(), "nobody has told it yet");
        world.settle().await;
        assert!(world.url(&local, whole()).await.is_ok());
        assert!(world.url(&local, part(1)).await.is_err(), "it is done");
        assert!(world.url(&other, whole()).await.is_err(), "another node's server");
        let hers = server(&mut world, &ada, "hers").await;
        assert!(world.url(&local, UrlFor::Backup { server: hers, backup: backup.clone() }).await.is_err(), "another server's backup");
    })
    .await;
}

#[tokio::test]
async fn layers_change_only_once_the_data_are_written_down() {
    on_both("layers_change_only_once_the_data_are_written_down", |mut world| async move {
        let (admin, ada) = (world.admin().await, world.player("ada@example.org").await);
        let base = made(&world, &admin, "Base").await;
        upload(&world, &admin, &base, "1", &[("a", "1")]).await;
        let choice = |version: &str| vec![servers_choice(&base.id.to_string(), version)];
        let created = servers::create(&world.ctx, &ada, &servers::Form { layers: choice("1"), ..form("valley") }).await;
        let id = created.expect("created").id;
        world.settle().await;
        upload(&world, &admin, &base, "2", &[("a", "2")]).await;
        let told = |world: &World| -> String {
            let last = world.node.commands.iter().rev().find_map(|command| match &command.action {
                Action::PrepareInstance { spec } if command.server == id => Some(spec.layers[0].version.to_string()),
                _other => None,
            });
            last.expect("prepared")
        };
        servers::power(&world.ctx, &ada, &id, servers::Power::Hibernate).await.expect("asleep");
        world.settle().await;

        world.node.archive_failures = vec![("The server was woken".to_owned(), true)];
        servers::set_layers(&world.ctx, &ada, &id, &choice("2"), None).await.expect("taken");
        servers::layers_back(&world.ctx, &ada, &id).await.expect("called off");
        assert_eq!(world.server(&id).await.expect("there").pending, None);
        servers::set_layers(&world.ctx, &ada, &id, &choice("2"), None).await.expect("and taken once more");
        world.settle().await;
        let row = world.server(&id).await.expect("there");
        assert!(matches!(row.pending, Some(Pending::Layers { .. })) && row.layers[0].version.to_string() == "2");
        assert_eq!(told(&world), "1", "not before the backup");
        servers::power(&world.ctx, &ada, &id, servers::Power::Wake).await.expect("it wakes all the same");
        world.settle().await;
        assert_eq!(told(&world), "1");
        servers::power(&world.ctx, &ada, &id, servers::Power::Hibernate).await.expect("asleep");
        pass(&mut world, MINUTE).await;
        pass(&mut world, MINUTE).await;
        assert_eq!((told(&world).as_str(), list(&world, &ada, &id).await[0].reason), ("2", Reason::Layers));
        assert_eq!(world.server(&id).await.expect("there").pending, None);

        world.node.archive_failures = vec![("There is no data folder".to_owned(), false)];
        pass(&mut world, SECOND).await;
        servers::layers_back(&world.ctx, &ada, &id).await.expect("taken");
        world.settle().await;
        let row = world.server(&id).await.expect("there");
        assert_eq!((row.pending, row.layers[0].version.to_string()), (None, "2".to_owned()), "nothing is changed without the backup");
        let history = servers::history(&world.ctx, &ada, &id, None).await.expect("told");
        assert!(history.iter().any(|event| event.why.contains("The backup before it failed")), "{history:?}");
    })
    .await;
}

fn servers_choice(template: &str, version: &str) -> roost::domain::templates::Choice {
    roost::domain::templates::Choice { template: template.to_owned(), version: version.to_owned() }
}

/// A node that has joined, with room for everybody.
async fn second_node(world: &mut World, name: &str) -> NodeId {
    let id: NodeId = name.parse().expect("an id");
    nodes::introduce(&world.ctx, &id, &format!("{name}.example.org")).await.expect("known");
    let specs = Specs { cpu_millis: 1_000_000, memory_mib: 4_000_000, disk_mib: 400_000_000, ..Specs::default() };
    world.tell_from(&id, FromNode::RegisterNode { version: VERSION, specs, profile: Profile::default() }).await;
    beat(world, &id).await;
    world.fake(&id);
    id
}

#[tokio::test]
async fn servers_leave_a_node_that_is_emptied_when_they_rest_with_all_they_have() {
    on_both("servers_leave_a_node_that_is_emptied_when_they_rest_with_all_they_have", |mut world| async move {
        let (admin, ada) = (world.admin().await, world.player("ada@example.org").await);
        let mut ids = Vec::new();
        for name in ["awake", "asleep", "stopped"] {
            ids.push(server(&mut world, &ada, name).await);
            world.node.data.insert(ids[ids.len() - 1].clone(), format!("castle of {name}"));
        }
        servers::power(&world.ctx, &ada, &ids[1], servers::Power::Hibernate).await.expect("asked");
        servers::power(&world.ctx, &ada, &ids[2], servers::Power::Stop).await.expect("asked");
        world.settle().await;
        let local = NodeId::local();
        nodes::drain(&world.ctx, &admin, &local, true).await.expect("emptied");
        world.settle().await;
        let (node, here) = nodes::find(&world.ctx, &admin, &local).await.expect("there");
        let told = nodes::emptying(&world.ctx, &node, &here).await.expect("told").expect("it is being emptied");
        assert_eq!((told.left, told.awake, told.stuck.as_ref().map(|stuck| stuck.0)), (3, 1, Some(2)), "{told:?}");

        let second = second_node(&mut world, "second").await;
        pass(&mut world, SECOND).await;
        for id in &ids[1..] {
            assert_eq!(world.server(id).await.expect("there").node, second, "{id}");
        }
        let asleep = world.server(&ids[1]).await.expect("there");
        assert_eq!((asleep.pending.clone(), asleep.life.phase, asleep.seen), (None, Phase::Sleeping, Seen::Asleep), "{asleep:?}");
        assert!(!world.node.instances.contains_key(&ids[1]), "the node before has removed its own");
        let spec = world.fake(&second).commands.iter().find_map(|command| match &command.action {
            Action::PrepareInstance { spec } if command.server == ids[1] => Some(spec.clone()),
            _other => None,
        });
        let origin = spec.expect("prepared").origin.expect("with its data");
        let url = world.url(&second, UrlFor::Backup { server: ids[1].clone(), backup: origin.id }).await.expect("an address");
        assert_eq!(world.fetch(&url).await, "castle of asleep");
        let stopped = world.server(&ids[2]).await.expect("there");
        assert!(matches!(stopped.pending, Some(Pending::Arriving { .. })), "its data come when it is next prepared: {stopped:?}");
        let history = servers::history(&world.ctx, &ada, &ids[1], None).await.expect("told");
        assert!(history.iter().any(|event| event.what == "moved to second" && event.why.contains("second.example.org:")), "{history:?}");

        // Who plays stays until it sleeps.
        assert_eq!(world.server(&ids[0]).await.expect("there").node, local);
        servers::power(&world.ctx, &ada, &ids[0], servers::Power::Hibernate).await.expect("asked");
        pass(&mut world, SECOND).await;
        assert_eq!(world.server(&ids[0]).await.expect("there").node, second);
        servers::power(&world.ctx, &ada, &ids[2], servers::Power::Start).await.expect("asked");
        pass(&mut world, SECOND).await;
        let started = world.server(&ids[2]).await.expect("there");
        assert_eq!((started.life.phase, started.pending), (Phase::Running, None));
        assert!(world.node.instances.is_empty(), "nothing is left on the node that is emptied");

        // And back again; a machine that is removed before it has said farewell is told nothing more.
        nodes::drain(&world.ctx, &admin, &local, false).await.expect("kept");
        nodes::drain(&world.ctx, &admin, &second, true).await.expect("emptied");
        servers::power(&world.ctx, &ada, &ids[2], servers::Power::Hibernate).await.expect("asked");
        pass(&mut world, SECOND).await;
        pass(&mut world, MINUTE).await;
        for id in &ids {
            assert_eq!(world.server(id).await.expect("there").node, local, "{id}");
        }
        let told = || commands::unanswered(&world.ctx.db, Some(&second), roost::model::time::Millis(i64::MAX), 10);
        let farewell = commands::Stored {
            id: "late".parse().expect("an id"),
            node: second.clone(),
            generation: commands::BESIDE,
            body: String::new(),
        };
        commands::insert_beside(&world.ctx.db, &farewell, &ids[0], roost::model::time::Millis(0)).await.expect("kept");
        assert_eq!(told().await.expect("read").len(), 1);
        nodes::remove(&world.ctx, &admin, &second, None).await.expect("removed");
        assert_eq!(told().await.expect("read").len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_move_is_called_off_by_its_owner_by_a_failure_or_by_the_operator() {
    on_both("a_move_is_called_off_by_its_owner_by_a_failure_or_by_the_operator", |mut world| async move {
        let (admin, ada) = (world.admin().await, world.player("ada@example.org").await);
        let id = server(&mut world, &ada, "valley").await;
        servers::power(&world.ctx, &ada, &id, servers::Power::Hibernate).await.expect("asked");
        world.settle().await;
        let second = second_node(&mut world, "second").await;
        let local = NodeId::local();
        world.node.archive_failures = vec![("The server was woken".to_owned(), true)];
        nodes::drain(&world.ctx, &admin, &local, true).await.expect("emptied");
        world.settle().await;
        let leaving = world.server(&id).await.expect("there");
        assert!(matches!(leaving.pending, Some(Pending::Leaving { backup: Some(_), .. })), "{leaving:?}");
        let refused = &world.node.instances[&id].wake;
        assert!(format!("{refused:?}").contains("moving to another machine"), "traffic writes nothing behind the backup's back");
        let now = world.clock.as_ref();
        let knock = world.node.knock(&id, roost::model::time::Clock::now(now));
        for message in knock {
            world.tell(message).await;
        }
        assert_eq!(world.server(&id).await.expect("there").life.wanted, Wanted::Asleep);

        servers::power(&world.ctx, &ada, &id, servers::Power::Wake).await.expect("its owner may");
        world.settle().await;
        let awake = world.server(&id).await.expect("there");
        assert_eq!((awake.node.clone(), awake.pending, awake.life.phase), (local.clone(), None, Phase::Running));
        pass(&mut world, MINUTE).await;

        world.node.archive_failures = vec![("There is no data folder".to_owned(), false)];
        servers::power(&world.ctx, &ada, &id, servers::Power::Hibernate).await.expect("asked");
        pass(&mut world, MINUTE).await;
        let stays = world.server(&id).await.expect("there");
        assert_eq!((stays.node.clone(), stays.pending), (local.clone(), None), "not tried again at once");
        assert_eq!(format!("{:?}", world.node.instances[&id].wake), "Allowed");

        nodes::drain(&world.ctx, &admin, &local, false).await.expect("kept");
        pass(&mut world, 11 * MINUTE).await;
        assert_eq!(world.server(&id).await.expect("there").node, local);
        nodes::drain(&world.ctx, &admin, &local, true).await.expect("emptied");
        world.node.lose_answers = 1;
        pass(&mut world, SECOND).await;
        nodes::drain(&world.ctx, &admin, &local, false).await.expect("kept");
        pass(&mut world, SECOND).await;
        let stays = world.server(&id).await.expect("there");
        assert_eq!((stays.node.clone(), stays.pending), (local, None), "{second} has nothing of it");
    })
    .await;
}
