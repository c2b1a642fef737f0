//! Machines join by a token, prove themselves by a certificate, and are turned away: real TLS on loopback, both databases.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use roost::domain::nodes::{self, Denied};
use roost::domain::{Refusal, servers};
use roost::model::nodes::{Certificate, SKEW_MAX, Standing};
use roost::model::servers::{Phase, Seen, Wanted};
use roost::model::time::{Clock, DAY, HOUR, Millis, SECOND};
use roost::node::link::{Identity, LinkError, dial, join};
use roost::wire::agent::{EventKind, ToNode};
use roost::wire::link::FRAME_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::app::PATIENCE;
use crate::fake_node::{event, report};
use crate::linked::{Machine, Panel, until};
use crate::world::{HOME, World, on_both};

/// A clock that is another one's, and so much ahead.
struct Ahead(Arc<dyn Clock>, i64);

impl Clock for Ahead {
    fn now(&self) -> Millis {
        self.0.now() + self.1
    }
}

fn refused(error: &LinkError, words: &str) {
    assert!(matches!(error, LinkError::Refused(why) if why.contains(words)), "{error:?}");
}

#[tokio::test]
async fn a_machine_joins_by_its_token_and_says_who_it_is() {
    on_both("a_machine_joins_by_its_token_and_says_who_it_is", |world| async move {
        let panel = Panel::start(&world).await;
        let machine = panel.machine(&world, "Frankfurt 1").await;
        let node = panel.node(&machine.id).await;
        assert_eq!((machine.id.as_str(), node.called(), node.standing), ("frankfurt-1", "Frankfurt 1", Standing::Joined));
        assert_eq!((node.region.as_str(), node.tags.join(","), node.slots), ("eu", "ssd".to_owned(), Some(4)));
        assert_eq!((node.agent.as_str(), node.public_host.as_str(), node.skew), ("1.2.3", "127.0.0.1", Some(0)));
        assert_eq!(node.certificate.expect("it has one").until, world.clock.now() + panel.lives);
        let welcomed = machine
            .heard
            .lock()
            .expect("whole")
            .iter()
            .any(|message| matches!(message, ToNode::Welcome { panel: id, .. } if *id == panel.ctx.panel));
        assert!(welcomed);
    })
    .await;
}

#[tokio::test]
async fn a_token_works_once_for_an_hour_and_can_be_taken_back() {
    on_both("a_token_works_once_for_an_hour_and_can_be_taken_back", |world| async move {
        let panel = Panel::start(&world).await;
        let machine = |id| Machine::new(id, world.clock.clone());
        let (id, token) = panel.invite("a").await;
        let (first, second) = (machine(id.clone()), machine(id));
        join(first.folder.path(), &token, &*first.clock).await.expect("the first one joins");
        let error = join(second.folder.path(), &token, &*second.clock).await.expect_err("used");
        refused(&error, "has been used");
        assert!(second.keep().current().expect("read").is_none());
        refused(&join(first.folder.path(), &token, &*first.clock).await.expect_err("used by itself"), "has been used");

        let (id, token) = panel.invite("b").await;
        world.clock.pass(HOUR);
        let late = machine(id);
        refused(&join(late.folder.path(), &token, &*late.clock).await.expect_err("ended"), "has ended");

        let (id, token) = panel.invite("c").await;
        let open = nodes::open_tokens(&panel.ctx, &panel.admin).await.expect("listed");
        assert_eq!(open.len(), 1, "used and ended ones do not wait");
        nodes::revoke_token(&panel.ctx, &panel.admin, &open[0].id).await.expect("taken back");
        let gone = machine(id.clone());
        refused(&join(gone.folder.path(), &token, &*gone.clock).await.expect_err("taken back"), "is not known here");
        let row = roost::store::nodes::by_id(&panel.ctx.db, &id).await.expect("read");
        assert!(row.is_none(), "a node that never came goes with its last token");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_got_lost_is_given_again_to_the_same_key_only() {
    on_both("an_answer_that_got_lost_is_given_again_to_the_same_key_only", |world| async move {
        let panel = Panel::start(&world).await;
        let (id, token) = panel.invite("a").await;
        let held = nodes::token(&panel.ctx, &token.secret, HOME).await.expect("it works");
        let certificate = |name: &str| Certificate { fingerprint: name.to_owned(), until: world.clock.now() + DAY };
        nodes::join(&panel.ctx, &held, "key", &certificate("first")).await.expect("joined");
        nodes::join(&panel.ctx, &held, "key", &certificate("second")).await.expect("asked again");
        let other = nodes::join(&panel.ctx, &held, "another", &certificate("third")).await;
        assert!(matches!(other, Err(Denied::UsedToken)), "{other:?}");
        assert_eq!(panel.node(&id).await.certificate.expect("one").fingerprint, "second");
    })
    .await;
}

#[tokio::test]
async fn one_address_cannot_try_tokens_for_ever() {
    on_both("one_address_cannot_try_tokens_for_ever", |world| async move {
        let panel = Panel::start(&world).await;
        let (id, mut token) = panel.invite("a").await;
        token.secret = "00".repeat(24);
        let machine = Machine::new(id, world.clock.clone());
        let mut slowed = false;
        for _ in 0..40 {
            let error = join(machine.folder.path(), &token, &*machine.clock).await.expect_err("not a token");
            slowed = matches!(&error, LinkError::Refused(why) if why.contains("Too many tries"));
            if slowed {
                break;
            }
            refused(&error, "is not known here");
        }
        assert!(slowed);
    })
    .await;
}

#[tokio::test]
async fn another_authority_is_noticed_once_machines_have_joined() {
    on_both("another_authority_is_noticed_once_machines_have_joined", |world| async move {
        let panel = Panel::start(&world).await;
        assert!(!nodes::note_authority(&panel.ctx, "first").await.expect("noted"));
        assert!(!nodes::note_authority(&panel.ctx, "second").await.expect("noted"), "nobody has joined");
        let _machine = panel.machine(&world, "a").await;
        assert!(!nodes::note_authority(&panel.ctx, "second").await.expect("noted"), "it is the same one");
        assert!(nodes::note_authority(&panel.ctx, "third").await.expect("noted"));
    })
    .await;
}

#[tokio::test]
async fn a_folder_with_servers_stays_the_same_nodes() {
    on_both("a_folder_with_servers_stays_the_same_nodes", |world| async move {
        let panel = Panel::start(&world).await;
        let mut machine = panel.machine(&world, "a").await;
        std::fs::create_dir_all(machine.folder.path().join("instances/own-de-abc")).expect("a folder");
        let (other, token) = panel.invite("b").await;
        let error = join(machine.folder.path(), &token, &*machine.clock).await.expect_err("somebody else's servers");
        assert!(matches!(&error, LinkError::Occupied { node, .. } if *node == other), "{error:?}");
        let fresh = Machine::new(other.clone(), world.clock.clone());
        join(fresh.folder.path(), &token, &*fresh.clock).await.expect("the token still works");
        let again = panel.invite_again(&machine.id).await;
        join(machine.folder.path(), &again, &*machine.clock).await.expect("the same node may join again");

        // Without servers it may become another one, but not while its agent runs as the one before.
        std::fs::remove_dir(machine.folder.path().join("instances/own-de-abc")).expect("removed");
        let (third, token) = panel.invite("c").await;
        join(machine.folder.path(), &token, &*machine.clock).await.expect("joined");
        panel.wire.cut();
        panel.wire.mend();
        world.clock.pass(SECOND);
        machine.kill().await;
        assert_eq!(panel.node(&third).await.seen_at, None);
        machine.id = third.clone();
        machine.switch_on();
        panel.linked(&third).await;
    })
    .await;
}

#[tokio::test]
async fn a_next_certificate_that_the_panel_does_not_know_is_dropped_for_the_one_before() {
    on_both("a_next_certificate_that_the_panel_does_not_know_is_dropped_for_the_one_before", |world| async move {
        let panel = Panel::start(&world).await;
        let mut machine = panel.machine(&world, "a").await;
        machine.kill().await;
        // As after a restore of the panel from a backup: signed by it, and in no row.
        let identity = machine.keep().current().expect("read").expect("joined");
        let key = roost::trust::Key::make().expect("a key");
        let now = world.clock.now().0 / 1_000;
        let leaf = panel.authority.sign("a", &key.request().expect("a request"), now, now + 86_400).expect("signed");
        let next = Identity { certificate: leaf.pem, key: key.pem(), ..identity.clone() };
        machine.keep().set_next(&next).expect("kept");
        world.clock.pass(SECOND);
        machine.switch_on();
        panel.linked(&machine.id).await;
        assert_eq!(machine.keep().next().expect("read").map(|next| next.certificate), None);
        assert_eq!(machine.keep().current().expect("read").expect("there"), identity);
    })
    .await;
}

#[tokio::test]
async fn a_machine_trusts_exactly_the_panel_of_its_token() {
    on_both("a_machine_trusts_exactly_the_panel_of_its_token", |world| async move {
        let panel = Panel::start(&world).await;
        let (id, token) = panel.invite("a").await;
        let machine = Machine::new(id, world.clock.clone());
        let mut other = token.clone();
        other.authority = "00".repeat(32);
        let error = join(machine.folder.path(), &other, &*machine.clock).await.expect_err("another authority");
        assert!(matches!(error, LinkError::Stranger { .. }), "{error:?}");
        let mut nobody = token.clone();
        nobody.address = "127.0.0.1:1".to_owned();
        let error = join(machine.folder.path(), &nobody, &*machine.clock).await.expect_err("nobody there");
        assert!(matches!(error, LinkError::Away { .. }), "{error:?}");
        join(machine.folder.path(), &token, &*machine.clock).await.expect("the token still works");
    })
    .await;
}

#[tokio::test]
async fn a_certificate_renews_itself_and_the_old_one_is_good_until_the_new_one_was_used() {
    on_both("a_certificate_renews_itself_and_the_old_one_is_good_until_the_new_one_was_used", |world| async move {
        let panel = Panel::start(&world).await;
        let machine = panel.machine(&world, "a").await;
        let old = machine.keep().current().expect("read").expect("joined");
        let old_print = panel.node(&machine.id).await.certificate.expect("one").fingerprint;
        world.clock.pass(21 * DAY);
        let fresh = until("a new certificate is used", || async {
            let node = panel.node(&machine.id).await;
            node.certificate.filter(|held| held.fingerprint != old_print && node.next_certificate.is_none())
        })
        .await;
        assert_eq!(fresh.until, world.clock.now() + panel.lives);
        panel.linked(&machine.id).await;
        until("the machine keeps it", || async {
            machine.keep().current().expect("read").filter(|kept| kept.certificate != old.certificate)
        })
        .await;
        assert!(matches!(nodes::admit(&panel.ctx, &machine.id, &old_print).await, Err(Denied::Replaced)));

        // The row by itself: given out and not used, the one before still counts.
        let next = Certificate { fingerprint: "next".to_owned(), until: fresh.until };
        nodes::renew(&panel.ctx, &machine.id, &fresh.fingerprint, &next).await.expect("renewed");
        nodes::admit(&panel.ctx, &machine.id, &fresh.fingerprint).await.expect("the old one is good");
        nodes::admit(&panel.ctx, &machine.id, "next").await.expect("the new one is good");
        let after = nodes::admit(&panel.ctx, &machine.id, &fresh.fingerprint).await;
        assert!(matches!(after, Err(Denied::Replaced)), "{after:?}");
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused_with_the_reason_until_the_machine_joins_again() {
    on_both("a_certificate_that_has_ended_is_refused_with_the_reason_until_the_machine_joins_again", |world| async move {
        let panel = Panel::start(&world).await;
        let mut machine = panel.machine(&world, "a").await;
        machine.kill().await;
        world.clock.pass(31 * DAY);
        machine.switch_on();
        panel.turned_away(&machine.id, "certificate has ended").await;
        // The agent runs on; joining beside it is enough.
        let token = panel.invite_again(&machine.id).await;
        join(machine.folder.path(), &token, &*machine.clock).await.expect("joined again");
        let node = panel.linked(&machine.id).await;
        assert_eq!(node.refused, None);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_node_is_cut_off_at_once_and_nobody_else_is() {
    on_both("a_revoked_node_is_cut_off_at_once_and_nobody_else_is", |world| async move {
        let panel = Panel::start(&world).await;
        let (machine, other) = (panel.machine(&world, "a").await, panel.machine(&world, "b").await);
        let identity = machine.keep().current().expect("read").expect("joined");
        let wrong = nodes::revoke(&panel.ctx, &panel.admin, &machine.id, Some("b")).await;
        assert!(matches!(wrong, Err(Refusal::Invalid(_))), "{wrong:?}");
        // A link of its own, to see its end. It takes the agent's place, which dials again.
        let mut socket = dial(&identity, &*machine.clock).await.expect("linked");
        let node = nodes::revoke(&panel.ctx, &panel.admin, &machine.id, Some("a")).await.expect("revoked");
        assert_eq!(node.standing, Standing::Revoked);
        let closed = tokio::time::timeout(PATIENCE, async { while let Some(Ok(_)) = socket.next().await {} }).await;
        closed.expect("it ends");
        panel.turned_away(&machine.id, "revoked").await;
        refused(&dial(&identity, &*machine.clock).await.expect_err("turned away"), "revoked");
        world.clock.pass(SECOND);
        panel.linked(&other.id).await;
        assert_ne!(panel.node(&machine.id).await.seen_at, Some(world.clock.now()));
        let twice = nodes::revoke(&panel.ctx, &panel.admin, &machine.id, None).await;
        assert!(matches!(twice, Err(Refusal::Conflict(_))), "{twice:?}");
        let inside = nodes::revoke(&panel.ctx, &panel.admin, &roost::model::ids::NodeId::local(), None).await;
        assert!(matches!(inside, Err(Refusal::Conflict(_))), "{inside:?}");
    })
    .await;
}

#[tokio::test]
async fn a_node_goes_for_good_only_when_no_server_lives_there() {
    on_both("a_node_goes_for_good_only_when_no_server_lives_there", |world| async move {
        let panel = Panel::start(&world).await;
        let (full, empty) = (panel.machine(&world, "a").await, panel.machine(&world, "b").await);
        panel.server_on(&world, &full.id).await;
        let kept = nodes::remove(&panel.ctx, &panel.admin, &full.id, None).await;
        assert!(matches!(kept, Err(Refusal::Conflict(_))), "{kept:?}");
        nodes::remove(&panel.ctx, &panel.admin, &empty.id, Some("b")).await.expect("removed");
        let identity = empty.keep().current().expect("read").expect("joined");
        refused(&dial(&identity, &*empty.clock).await.expect_err("forgotten"), "does not know this node");
    })
    .await;
}

#[tokio::test]
async fn a_newer_link_takes_the_place_of_an_older_one() {
    on_both("a_newer_link_takes_the_place_of_an_older_one", |world| async move {
        let panel = Panel::start(&world).await;
        let mut machine = panel.machine(&world, "a").await;
        machine.kill().await;
        let identity = machine.keep().current().expect("read").expect("joined");
        let mut first = dial(&identity, &*machine.clock).await.expect("linked");
        let mut second = dial(&identity, &*machine.clock).await.expect("linked");
        let end = tokio::time::timeout(PATIENCE, async {
            loop {
                match first.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.expect("a reason").reason.to_string(),
                    Some(Ok(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        assert!(end.await.expect("it ends").contains("taken this one's place"));
        let beat = machine.node.lock().expect("whole").heartbeat(world.clock.now());
        second.send(Message::text(serde_json::to_string(&beat).expect("JSON"))).await.expect("the newer one stands");
        panel.linked(&machine.id).await;
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_told() {
    on_both("a_clock_that_is_off_is_told", |world| async move {
        let panel = Panel::start(&world).await;
        let (id, token) = panel.invite("a").await;
        let mut machine = Machine::new(id, Arc::new(Ahead(world.clock.clone(), 7_350)));
        join(machine.folder.path(), &token, &*machine.clock).await.expect("joined");
        machine.switch_on();
        let node = panel.linked(&machine.id).await;
        assert_eq!((node.skew, node.clock_off()), (Some(7_400), Some(7_400)));
        assert!(node.skew.expect("read") > SKEW_MAX);
    })
    .await;
}

#[tokio::test]
async fn a_node_cannot_speak_of_anothers_server() {
    on_both("a_node_cannot_speak_of_anothers_server", |world| async move {
        let panel = Panel::start(&world).await;
        let (mut own, liar) = (panel.machine(&world, "a").await, panel.machine(&world, "b").await);
        let server = panel.server_on(&world, &own.id).await;
        let measured = |server: &roost::model::servers::Server| server.life.phase == Phase::Running && server.players == Some(0);
        let before = until("it runs and was measured", || async { Some(panel.server(&server).await).filter(measured) }).await;
        let mut lie = own.node.lock().expect("whole").instances[&server].clone();
        lie.seen = Seen::Exited { code: 1, oom: false, at: world.clock.now() };
        let now = world.clock.now();
        liar.tell(event(&server, None, now, EventKind::Exited(report(&server, &lie, now)))).await;
        liar.tell(event(&server, None, now, EventKind::Destroyed)).await;
        liar.node.lock().expect("whole").instances.insert(server.clone(), lie);
        // What comes after the lies has been taken in: so have the lies.
        world.clock.pass(SECOND);
        panel.linked(&liar.id).await;
        let after = panel.server(&server).await;
        assert_eq!((after.seen, after.life.phase, after.node), (before.seen, Phase::Running, own.id.clone()));

        // The same words as the other one's, with measurements of its own making.
        let mut copy = own.node.lock().expect("whole").instances[&server].clone();
        copy.players = 99;
        own.kill().await;
        liar.node.lock().expect("whole").instances.insert(server.clone(), copy);
        // A beat of before may still be on its way: the third one holds the copy.
        for _ in 0..3 {
            world.clock.pass(20 * SECOND);
            panel.linked(&liar.id).await;
        }
        assert_eq!(panel.server(&server).await.players, Some(0));
    })
    .await;
}

/// Is this server at rest where it should be, with nothing left to be answered?
async fn at_rest(panel: &Panel, server: &roost::model::ids::ServerId, phase: Phase) -> Option<()> {
    let row = panel.server(server).await;
    let open = roost::store::commands::unanswered(&panel.ctx.db, Some(&row.node), Millis(i64::MAX), 10).await.expect("read");
    (row.life.phase == phase && row.life.doing.is_none() && open.is_empty()).then_some(())
}

#[tokio::test]
async fn a_command_is_carried_out_once_whatever_breaks_in_the_middle_of_it() {
    on_both("a_command_is_carried_out_once_whatever_breaks_in_the_middle_of_it", |world| async move {
        let mut panel = Panel::start(&world).await;
        let mut machine = panel.machine(&world, "a").await;
        let server = panel.server_on(&world, &machine.id).await;
        until("it runs", || at_rest(&panel, &server, Phase::Running)).await;
        let owner = roost::store::users::by_id(&panel.ctx.db, &panel.server(&server).await.owner).await.expect("read").expect("there");
        let owner = roost::domain::Actor::of(owner);
        let stops = |machine: &Machine| {
            let node = machine.node.lock().expect("whole");
            let ids = node.commands.iter().filter(|command| matches!(command.action, roost::wire::agent::Action::StopInstance { .. }));
            ids.map(|command| command.id.clone()).collect::<Vec<_>>()
        };
        for broken in ["the line", "the agent", "the panel"] {
            // The answer gets lost, and then the thing breaks.
            machine.node.lock().expect("whole").lose_answers = 1;
            let before = stops(&machine).len();
            servers::power(&panel.ctx, &owner, &server, servers::Power::Hibernate).await.expect("asked");
            until("it has been told to stop", || async { (stops(&machine).len() > before).then_some(()) }).await;
            match broken {
                "the line" => {
                    panel.wire.cut();
                    world.clock.pass(SECOND);
                    panel.wire.mend();
                }
                "the agent" => {
                    machine.kill().await;
                    world.clock.pass(SECOND);
                    machine.switch_on();
                }
                _panel => {
                    world.clock.pass(SECOND);
                    panel.kill_and_start(&world).await;
                }
            }
            until(&format!("it sleeps though {broken} broke"), || at_rest(&panel, &server, Phase::Sleeping)).await;
            let told = stops(&machine);
            assert_eq!(told[before..].iter().collect::<std::collections::BTreeSet<_>>().len(), 1, "{broken}: one command, sent again");
            servers::power(&panel.ctx, &owner, &server, servers::Power::Wake).await.expect("asked");
            until("it runs again", || at_rest(&panel, &server, Phase::Running)).await;
            assert_eq!(panel.server(&server).await.life.wanted, Wanted::Running);
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_that_was_away_comes_back_without_a_restart() {
    on_both("a_node_that_was_away_comes_back_without_a_restart", |world| async move {
        let panel = Panel::start(&world).await;
        let machine = panel.machine(&world, "a").await;
        panel.wire.cut();
        world.clock.pass(21 * SECOND);
        assert!(!panel.node(&machine.id).await.online(world.clock.now()));
        panel.wire.mend();
        assert!(panel.linked(&machine.id).await.online(world.clock.now()));
    })
    .await;
}

/// Strangers that open a line and say nothing, or nonsense.
async fn crowd(panel: &Panel, strangers: usize, said: &AtomicU64) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for n in 0..strangers {
        let mut stream = TcpStream::connect(panel.address).await.expect("a line");
        match n % 3 {
            0 => {}
            1 => drop(stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await),
            _ => drop(stream.write_all(&[0x16, 3, 1, 0x40]).await),
        }
        said.fetch_add(1, Ordering::Relaxed);
        open.push(stream);
    }
    open
}

async fn flood(panel: &Panel, world: &World, name: &str) {
    let (id, token) = panel.invite(name).await;
    let machine = Machine::new(id, world.clock.clone());
    let identity = join(machine.folder.path(), &token, &*machine.clock).await.expect("joined");
    // Ten thousand that cannot be read: each link is ended after some, and another one is opened.
    let mut sent = 0_u32;
    while sent < 10_000 {
        let mut socket = dial(&identity, &*machine.clock).await.expect("linked");
        loop {
            let message = match sent % 4 {
                0 => Message::text("{\"type\":\"heartbeat\",\"at\":\"soon\"}"),
                1 => Message::text("\u{0}"),
                2 => Message::binary(vec![0xff; 64]),
                _ => Message::text("[".repeat(2_000)),
            };
            if sent >= 10_000 || socket.send(message).await.is_err() {
                break;
            }
            sent += 1;
        }
    }
    // One that is too large ends its link as well.
    let mut socket = dial(&identity, &*machine.clock).await.expect("linked");
    let _broken_off = socket.send(Message::text("x".repeat(FRAME_BYTES_MAX + 1))).await;
    let ended = tokio::time::timeout(PATIENCE, async { while let Some(Ok(_)) = socket.next().await {} }).await;
    ended.expect("a frame that is too large ends the link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_and_stalled_lines_disturb_nobody_else() {
    on_both("nonsense_and_stalled_lines_disturb_nobody_else", |world| async move {
        let panel = Panel::start(&world).await;
        let honest = panel.machine(&world, "honest").await;
        let welcomes =
            |machine: &Machine| machine.heard.lock().expect("whole").iter().filter(|m| matches!(m, ToNode::Welcome { .. })).count();
        let said = AtomicU64::new(0);
        let strangers = crowd(&panel, 400, &said).await;
        flood(&panel, &world, "rude").await;
        // Someone new comes through although more lines are stalled than there is room for.
        let newcomer = panel.machine(&world, "new").await;
        world.clock.pass(SECOND);
        panel.linked(&honest.id).await;
        panel.linked(&newcomer.id).await;
        assert_eq!((welcomes(&honest), said.load(Ordering::Relaxed)), (1, 400), "its link never broke");
        drop(strangers);
    })
    .await;
}

#[tokio::test]
async fn without_a_certificate_there_is_no_link() {
    on_both("without_a_certificate_there_is_no_link", |world| async move {
        let panel = Panel::start(&world).await;
        let now = world.clock.now().0 / 1_000;
        for (request, status) in [
            ("GET /link HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "401"),
            ("POST /join HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}", "400"),
            ("POST /join HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n{}", "413"),
            ("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
        ] {
            let line = TcpStream::connect(panel.address).await.expect("a line");
            let mut stream = roost::trust::dial_pinned(&panel.authority.fingerprint(), now, line).await.expect("TLS");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = vec![0; 512];
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer)).await.expect("in time").expect("read");
            let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        }
    })
    .await;
}
