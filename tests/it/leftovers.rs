//! Nothing is left of a server that goes, whenever it goes; and no node's word is charged that cannot be true. On both databases.

use roost::domain::{Refusal, books, servers};
use roost::model::ids::ServerId;
use roost::model::nodes::Load;
use roost::model::servers::{Phase, Run, Seen, Wanted};
use roost::model::time::{Clock, HOUR, MINUTE, Millis, SECOND};
use roost::store::commands;
use roost::wire::agent::{Action, Command, EventKind, FromNode, InstanceReport, ToNode};

use crate::fake_node::event;
use crate::world::{World, form, on_both};

async fn unanswered(world: &World) -> Vec<commands::Stored> {
    commands::unanswered(&world.ctx.db, None, Millis(i64::MAX), 100).await.expect("readable")
}

async fn nothing_is_left(world: &World, id: &ServerId) {
    assert!(world.server(id).await.is_none(), "the row goes");
    assert!(world.node.instances.is_empty(), "the node has nothing");
    assert!(unanswered(world).await.is_empty(), "the outbox ends with its row: {:?}", unanswered(world).await);
    let books = books::check(&world.ctx.db, world.clock.now()).await.expect("readable");
    assert!(books.wrong.is_empty(), "{books:?}");
}

#[tokio::test]
async fn a_server_that_is_deleted_while_it_is_first_prepared_leaves_nothing() {
    on_both("a_server_that_is_deleted_while_it_is_first_prepared_leaves_nothing", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "Brief").await;
        servers::delete(&world.ctx, &actor, &server.id, Some("Brief")).await.expect("deleted");
        let row = world.server(&server.id).await.expect("the row stays until its node has answered");
        assert_eq!(row.life.wanted, Wanted::Deleted);
        world.settle().await;
        nothing_is_left(&world, &server.id).await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_stopped_while_it_is_first_prepared_leaves_no_container() {
    on_both("a_server_that_is_stopped_while_it_is_first_prepared_leaves_no_container", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "Brief").await;
        servers::power(&world.ctx, &actor, &server.id, servers::Power::Stop).await.expect("may stop");
        assert_ne!(world.server(&server.id).await.expect("there").life.phase, Phase::Stopped, "nothing is known yet");
        world.settle().await;
        let row = world.server(&server.id).await.expect("there");
        assert_eq!((row.life.phase, row.seen), (Phase::Stopped, Seen::Absent));
        assert!(unanswered(&world).await.is_empty());
    })
    .await;
}

fn report(id: &ServerId, seen: Seen, runs: &[(i64, Option<i64>)]) -> InstanceReport {
    let runs = runs.iter().map(|(from, to)| Run { from: Millis(*from), to: to.map(Millis) }).collect();
    InstanceReport { runs, ..InstanceReport::bare(id.clone(), seen) }
}

#[tokio::test]
async fn a_report_of_nothing_left_is_no_answer_to_a_removal() {
    on_both("a_report_of_nothing_left_is_no_answer_to_a_removal", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "Brief").await;
        servers::delete(&world.ctx, &actor, &server.id, Some("Brief")).await.expect("deleted");
        // It crossed with the commands on its way here.
        let crossed = EventKind::Exited(report(&server.id, Seen::Gone, &[]));
        world.tell(event(&server.id, None, world.clock.now(), crossed)).await;
        assert!(world.server(&server.id).await.is_some());
        world.settle().await;
        nothing_is_left(&world, &server.id).await;
    })
    .await;
}

#[tokio::test]
async fn a_removal_that_fails_keeps_the_row_says_why_and_is_tried_again() {
    on_both("a_removal_that_fails_keeps_the_row_says_why_and_is_tried_again", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "Sticky").await;
        world.settle().await;
        servers::delete(&world.ctx, &actor, &server.id, Some("Sticky")).await.expect("deleted");
        for _ in 0..10 {
            let row = world.server(&server.id).await.expect("it stays until it is gone");
            if let Some(doing) = row.life.doing {
                let kind = EventKind::Failed {
                    reason: "The node cannot remove the server's data: busy".to_owned(),
                    retryable: false,
                    report: Some(report(&server.id, Seen::Gone, &[])),
                };
                world.tell(event(&server.id, Some(&doing.command), world.clock.now(), kind)).await;
                let row = world.server(&server.id).await.expect("it stays until it is gone");
                let trouble = row.life.trouble.expect("said");
                assert!(trouble.what.contains("cannot remove") && trouble.next_try.is_some(), "{trouble:?}");
            }
            world.clock.pass(6 * MINUTE);
            servers::reconcile(&world.ctx, true).await.expect("looked");
        }
        world.settle().await;
        assert!(world.server(&server.id).await.is_none(), "the next answer is that it is gone");
    })
    .await;
}

#[tokio::test]
async fn a_node_that_still_has_a_removed_server_is_asked_to_remove_it_once() {
    on_both("a_node_that_still_has_a_removed_server_is_asked_to_remove_it_once", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "Brief").await;
        world.settle().await;
        servers::delete(&world.ctx, &actor, &server.id, Some("Brief")).await.expect("deleted");
        world.settle().await;
        nothing_is_left(&world, &server.id).await;
        let _before = world.engine.take();
        for _ in 0..3 {
            let still = FromBeat::of(&world, report(&server.id, Seen::Absent, &[]));
            world.tell(still).await;
        }
        let sent: Vec<ToNode> = world.engine.take().into_iter().map(|(_, message)| message).collect();
        let [ToNode::Command(Command { id, action: Action::DestroyInstance, .. })] = sent.as_slice() else { panic!("{sent:?}") };
        world.tell(event(&server.id, Some(id), world.clock.now(), EventKind::Destroyed)).await;
        assert!(unanswered(&world).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn addresses_that_somebody_else_has_are_passed_over() {
    on_both("addresses_that_somebody_else_has_are_passed_over", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "Elsewhere").await;
        assert_eq!(server.subnet, 0);
        let doing = server.life.doing.expect("it is being prepared");
        let _first = world.engine.take();
        let nothing = report(&server.id, Seen::Absent, &[]);
        let kind = EventKind::Failed { reason: "The address range is used".to_owned(), retryable: true, report: Some(nothing.clone()) };
        world.tell(event(&server.id, Some(&doing.command), world.clock.now(), kind)).await;
        let beat = |at| FromNode::Heartbeat {
            at,
            load: Load { subnets_taken: vec![0, 1], ..Load::default() },
            complete: true,
            instances: vec![nothing.clone()],
        };
        world.tell(beat(world.clock.now())).await;
        world.clock.pass(MINUTE);
        servers::reconcile(&world.ctx, true).await.expect("looked");
        let row = world.server(&server.id).await.expect("there");
        assert_eq!(row.subnet, 2);
        world.tell(beat(world.clock.now())).await;
        let next = servers::create(&world.ctx, &actor, &form("Beside")).await.expect("made");
        assert_eq!(next.subnet, 3, "nor is a new server put there");
        world.settle().await;
        assert_eq!(world.server(&server.id).await.expect("there").life.phase, Phase::Running);
    })
    .await;
}

struct FromBeat;

impl FromBeat {
    fn of(world: &World, report: InstanceReport) -> FromNode {
        let load = Load::default();
        FromNode::Heartbeat { at: world.clock.now(), load, complete: true, instances: vec![report] }
    }
}

#[tokio::test]
async fn runs_that_cannot_be_are_not_charged() {
    on_both("runs_that_cannot_be_are_not_charged", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "Honest").await;
        world.settle().await;
        let now = world.clock.now().0;
        let before = roost::store::usage::accrued(&world.ctx.db, &actor.user.id, Millis(now)).await.expect("readable").0;
        let odd =
            [(1, Some(2_000)), (now - 41 * 365 * 24 * HOUR, Some(now)), (now - SECOND, Some(now - 2 * SECOND)), (now + 24 * HOUR, None)];
        for run in odd {
            world.tell(FromBeat::of(&world, report(&server.id, Seen::Running { since: Millis(now) }, &[run]))).await;
        }
        // Its own run is forgotten by these reports, and ends; nothing else is there.
        let after = roost::store::usage::accrued(&world.ctx.db, &actor.user.id, Millis(now + 48 * HOUR)).await.expect("readable").0;
        assert_eq!(after, before, "nothing that cannot be is charged");
        let again = servers::delete(&world.ctx, &actor, &server.id, Some("Honest")).await;
        assert!(!matches!(again, Err(Refusal::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn time_is_charged_once_whatever_spans_a_node_reports_across_each_other() {
    on_both("time_is_charged_once_whatever_spans_a_node_reports_across_each_other", |mut world| async move {
        let actor = world.player("ada@example.org").await;
        let server = world.create(&actor, "Twice").await;
        world.settle().await;
        let seen = world.server(&server.id).await.expect("there").seen;
        let Seen::Running { since } = seen else { panic!("{seen:?}") };
        world.clock.pass(MINUTE);
        let from = since.0;
        for runs in [
            vec![(from, None), (from + 1, Some(from + 30 * SECOND)), (from + 2, None)],
            vec![(from + 3, Some(from + 40 * SECOND)), (from, None)],
        ] {
            world.tell(FromBeat::of(&world, report(&server.id, seen, &runs))).await;
        }
        let now = Millis(from + MINUTE);
        let minute = roost::store::usage::accrued(&world.ctx.db, &actor.user.id, now).await.expect("readable").0;
        assert_eq!(minute.0, server.per_hour.0 / 60, "one minute, once");
        let books = books::check(&world.ctx.db, now).await.expect("readable");
        assert!(books.wrong.is_empty(), "{books:?}");
    })
    .await;
}
