//! Pages and API of machines: adding one, what is the matter with one, turning one away.

use reqwest::{Method, StatusCode};
use roost::domain::figures;
use roost::domain::nodes::{self, Heard};
use roost::http::{Machines, WebSettings};
use roost::model::figures::{Back, NodeSample, minute_of};
use roost::model::ids::NodeId;
use roost::model::nodes::{Certificate, Load, Net, Profile, Specs};
use roost::model::time::{DAY, HOUR, MINUTE, Millis};
use roost::model::users::Role;
use roost::store::node_samples;
use roost::wire::agent::{FromNode, VERSION};
use roost::wire::link::JoinToken;
use serde_json::json;

use crate::app::App;
use crate::world::{HOME, on_both};

async fn site(world: crate::world::World) -> App {
    let machines = Machines { address: "panel.example.org:8443".to_owned(), authority: "ab".repeat(32) };
    App::with(world, WebSettings { machines: Some(machines), ..WebSettings::default() }).await
}

/// What stands between two texts.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map_or("", |(inner, _)| inner)
}

#[tokio::test]
async fn an_admin_adds_a_machine_and_copies_one_command() {
    on_both("an_admin_adds_a_machine_and_copies_one_command", |world| async move {
        let app = site(world).await;
        app.account("admin@example.org", Role::Admin).await;
        let browser = app.log_in("admin@example.org").await;
        browser.get("/nodes").await.shows("href=\"/nodes/add\"");
        let refused = browser.post("/nodes/add", &[("name", " "), ("region", &"x".repeat(41))]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        refused.shows("Give the machine a name");
        refused.shows("A region has at most 40 characters");
        let added = browser.post("/nodes/add", &[("name", "Frankfurt 1"), ("region", "eu")]).await;
        assert_eq!(added.status, StatusCode::OK);
        let command = between(&added.text, "data-copy=\"", "\"").replace("&#39;", "'");
        let token = command.strip_prefix("roost node join '").and_then(|rest| rest.strip_suffix('\'')).expect("the command");
        let token: JoinToken = token.parse().expect("a token");
        assert_eq!((token.node.as_str(), token.address.as_str()), ("frankfurt-1", "panel.example.org:8443"));
        nodes::token(&app.world.ctx, &token.secret, HOME).await.expect("it works");
        let page = browser.get("/nodes/add").await;
        assert!(!page.text.contains(&token.secret), "it is shown once");
        browser.get("/nodes").await.shows("Invited");
        // The same name again is another node, and names of pages are nobody's.
        browser.post("/nodes/add", &[("name", "Frankfurt 1"), ("region", "")]).await.shows("/nodes/frankfurt-1-");
        browser.post("/nodes/add", &[("name", "live"), ("region", "")]).await.shows("/nodes/live-");
        let id = between(&page.text, "action=\"/nodes/tokens/", "/revoke");
        assert_eq!(browser.post(&format!("/nodes/tokens/{id}/revoke"), &[]).await.location(), "/nodes/add");
        assert!(nodes::token(&app.world.ctx, &token.secret, HOME).await.is_err());
        assert_eq!(browser.get("/nodes/frankfurt-1").await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn whoever_may_only_look_sees_no_way_to_add_or_revoke() {
    on_both("whoever_may_only_look_sees_no_way_to_add_or_revoke", |world| async move {
        let app = site(world).await;
        let admin = app.account("admin@example.org", Role::Admin).await;
        let invitation = nodes::Invitation { name: "a", ..nodes::Invitation::default() };
        nodes::invite(&app.world.ctx, &admin, &invitation).await.expect("invited");
        app.account("operator@example.org", Role::Operator).await;
        let browser = app.log_in("operator@example.org").await;
        for path in ["/nodes", "/nodes/a"] {
            let page = browser.get(path).await;
            assert_eq!(page.status, StatusCode::OK);
            assert!(!page.text.contains("/nodes/add") && !page.text.contains("/revoke") && !page.text.contains("/token"), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_nodes_page_says_what_is_the_matter_with_it() {
    on_both("a_nodes_page_says_what_is_the_matter_with_it", |world| async move {
        let app = site(world).await;
        let ctx = &app.world.ctx;
        let admin = app.account("admin@example.org", Role::Admin).await;
        let browser = app.log_in("admin@example.org").await;
        let invited = nodes::invite(ctx, &admin, &nodes::Invitation { name: "a", ..nodes::Invitation::default() }).await.expect("invited");
        let id = invited.node.id.clone();
        let until = ctx.clock.now() + 30 * DAY;
        let held = Certificate { fingerprint: "held".to_owned(), until };
        nodes::join(ctx, &invited.token, "key", &held).await.expect("joined");
        let net = |low| Net { ports: Some((low, low + 99)), machine: "same".to_owned(), ..Net::default() };
        let says = |version, low| FromNode::RegisterNode {
            version,
            specs: Specs::default(),
            profile: Profile { net: net(low), agent: "9.9".to_owned(), ..Profile::default() },
        };
        nodes::receive(ctx, &NodeId::local(), says(1, 25_000)).await.expect("taken");
        nodes::receive_linked(ctx, &id, says(7, 25_050), &Heard::default()).await.expect("taken");
        let beat = app.world.node.heartbeat(ctx.clock.now());
        nodes::receive_linked(ctx, &id, beat, &Heard { skew: Some(-90 * MINUTE), from: None }).await.expect("taken");
        let page = browser.get("/nodes/a").await;
        page.shows("speaks version 7 of the messages and this panel version 1. Update the panel.");
        page.shows("Its clock is 90 min behind");
        page.shows("both give out public ports out of 25050-25149");
        app.world.clock.pass(31 * DAY);
        let browser = app.log_in("admin@example.org").await;
        assert!(nodes::admit(ctx, &id, "held").await.is_err());
        let page = browser.get("/nodes/a").await;
        page.shows("Its certificate has ended, because it was away for too long");
        page.shows("It came and was turned away");

        // Turning it away names what happens, and asks for its name.
        page.shows("No server lives there.");
        let wrong = browser.post("/nodes/a/revoke", &[("confirm", "b")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        wrong.shows("This is not the node&#39;s name. Type a.");
        assert_eq!(browser.post("/nodes/a/revoke", &[("confirm", "a")]).await.location(), "/nodes/a");
        browser.get("/nodes/a").await.shows("Revoked");
        let again = browser.post("/nodes/a/token", &[]).await;
        again.shows("roost-join-1/a/");
        assert_eq!(browser.post("/nodes/a/remove", &[("confirm", "a")]).await.location(), "/nodes");
        assert_eq!(browser.get("/nodes/a").await.status, StatusCode::NOT_FOUND);
        assert_eq!(browser.post("/nodes/local/remove", &[("confirm", "local")]).await.status, StatusCode::CONFLICT);
    })
    .await;
}

#[tokio::test]
async fn the_api_gives_tokens_and_revokes() {
    on_both("the_api_gives_tokens_and_revokes", |world| async move {
        let app = site(world).await;
        let admin = app.account("admin@example.org", Role::Admin).await;
        let api = app.program(&admin).await;
        let made = api.post("/api/nodes/tokens", json!({"name": "a", "region": "eu"})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let made = made.json();
        assert_eq!((&made["node"]["id"], &made["node"]["region"]), (&json!("a"), &json!("eu")));
        let token = made["token"].as_str().expect("a token");
        assert_eq!(made["command"], format!("roost node join '{token}'"));
        let again = api.post("/api/nodes/tokens", json!({"node": "a"})).await.json();
        assert_eq!(again["node"]["id"], "a");
        for (body, field) in [(json!({}), "name"), (json!({"node": "A!"}), "node"), (json!({"name": "b", "slots": 1}), "slots")] {
            let refused = api.post("/api/nodes/tokens", body).await;
            assert_eq!((refused.status, refused.json()["errors"][field].is_string()), (StatusCode::UNPROCESSABLE_ENTITY, true), "{field}");
        }
        assert_eq!(api.post("/api/nodes/tokens", json!({"node": "nobody"})).await.status, StatusCode::NOT_FOUND);
        assert_eq!(api.post("/api/nodes/tokens", json!({"node": "local"})).await.status, StatusCode::CONFLICT);
        app.world.clock.pass(2 * HOUR);
        let revoked = api.post("/api/nodes/a/revoke", json!({})).await;
        assert_eq!((revoked.status, revoked.json()["standing"].clone()), (StatusCode::OK, json!("revoked")));
        assert_eq!(api.ask(Method::DELETE, "/api/nodes/a", None).await.status, StatusCode::NO_CONTENT);
        assert_eq!(api.get("/api/nodes/a").await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn nodes_that_never_came_and_tokens_that_ended_are_forgotten() {
    on_both("nodes_that_never_came_and_tokens_that_ended_are_forgotten", |world| async move {
        let app = site(world).await;
        let ctx = &app.world.ctx;
        let admin = app.account("admin@example.org", Role::Admin).await;
        let invited = nodes::invite(ctx, &admin, &nodes::Invitation { name: "a", ..nodes::Invitation::default() }).await.expect("invited");
        app.world.clock.pass(2 * HOUR);
        nodes::sweep(ctx).await.expect("swept");
        let ended = nodes::token(ctx, &invited.secret, HOME).await.expect_err("ended");
        assert!(ended.to_string().contains("has ended"), "it is still known what is wrong with it: {ended}");
        app.world.clock.pass(DAY);
        nodes::sweep(ctx).await.expect("swept");
        let gone = nodes::token(ctx, &invited.secret, HOME).await.expect_err("forgotten");
        assert!(gone.to_string().contains("not known"), "{gone}");
        let left: Vec<String> = nodes::list(ctx, &admin).await.expect("listed").iter().map(|node| node.id.to_string()).collect();
        assert_eq!(left, ["local"]);
    })
    .await;
}

#[tokio::test]
async fn a_minute_keeps_one_sample_of_every_machine_that_is_online() {
    on_both("a_minute_keeps_one_sample_of_every_machine_that_is_online", |world| async move {
        // More than one statement takes, and exactly as many again.
        const MANY: usize = node_samples::BATCH_MAX + 1;
        let ctx = world.ctx.clone();
        let admin = world.admin().await;
        let beat = |load: &Load| FromNode::Heartbeat { at: ctx.clock.now(), load: load.clone(), complete: false, instances: vec![] };
        let specs = Specs { cpu_millis: 8_000, memory_mib: 32_768, disk_mib: 500_000, ..Specs::default() };
        let load = Load { cpu_millis: 2_600, memory_mib: 11_300, disk_free_mib: 41_000, ..Load::default() };
        let local = NodeId::local();
        let says = FromNode::RegisterNode { version: VERSION, specs, profile: Profile::default() };
        nodes::receive(&ctx, &local, says).await.expect("taken");
        nodes::receive(&ctx, &local, beat(&load)).await.expect("taken");
        for n in 0..MANY {
            let id: NodeId = format!("n{n}").parse().expect("an id");
            nodes::introduce(&ctx, &id, "").await.expect("introduced");
            nodes::receive(&ctx, &id, beat(&Load::default())).await.expect("taken");
        }
        nodes::introduce(&ctx, &"silent".parse().expect("an id"), "").await.expect("introduced");

        let mut panels = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let ctx = ctx.clone();
            panels.spawn(async move { figures::note(&ctx).await.expect("noted") });
        }
        assert_eq!(panels.join_all().await.into_iter().filter(|written| *written).count(), 1);
        let of = async |id: &str, back| figures::of_node(&ctx, &admin, &id.parse().expect("an id"), back).await.expect("seen");
        let sample = NodeSample {
            at: minute_of(ctx.clock.now()),
            cpu_millis: 2_600,
            memory_mib: 11_300,
            disk_used_mib: 459_000,
            disk_free_mib: 41_000,
            awake: 0,
        };
        assert_eq!(of("local", Back::Hour).await, [sample]);
        assert_eq!((of("n0", Back::Hour).await.len(), of(&format!("n{}", MANY - 1), Back::Hour).await.len()), (1, 1));
        assert_eq!(of("silent", Back::Hour).await, []);
        let twice = node_samples::insert(&ctx.db, &[(local.clone(), sample)]).await.expect("asked");
        assert_eq!((twice, of("local", Back::Hour).await.len()), (0, 1), "the minute is part of the key");

        // Away: no sample. An hour on it is no longer in the hour, a day on it is forgotten.
        world.clock.pass(MINUTE);
        assert!(figures::note(&ctx).await.expect("noted"));
        assert_eq!(of("local", Back::Hour).await.len(), 1);
        world.clock.pass(HOUR);
        assert_eq!((of("local", Back::Hour).await.len(), of("local", Back::Day).await.len()), (0, 1));
        world.clock.pass(DAY);
        nodes::receive(&ctx, &local, beat(&load)).await.expect("taken");
        assert!(figures::note(&ctx).await.expect("noted"));
        let kept = node_samples::since(&ctx.db, &local, Millis(0), 10).await.expect("read");
        assert_eq!(kept.iter().map(|sample| sample.at).collect::<Vec<_>>(), [minute_of(ctx.clock.now())]);
        // With a node its samples go.
        nodes::receive(&ctx, &"n0".parse().expect("an id"), beat(&load)).await.expect("taken");
        world.clock.pass(MINUTE);
        nodes::receive(&ctx, &"n0".parse().expect("an id"), beat(&load)).await.expect("taken");
        assert!(figures::note(&ctx).await.expect("noted"));
        assert_eq!(of("n0", Back::Hour).await.len(), 1);
        nodes::remove(&ctx, &admin, &"n0".parse().expect("an id"), None).await.expect("removed");
        assert_eq!(node_samples::since(&ctx.db, &"n0".parse().expect("an id"), Millis(0), 10).await.expect("read"), []);
    })
    .await;
}

#[tokio::test]
async fn a_nodes_page_shows_its_load_of_the_hour_and_of_the_day() {
    on_both("a_nodes_page_shows_its_load_of_the_hour_and_of_the_day", |world| async move {
        let mut app = site(world).await;
        let ctx = app.world.ctx.clone();
        let ada = app.world.player("ada@example.org").await;
        app.world.create(&ada, "Valley").await;
        app.world.settle().await;
        let admin = app.account("admin@example.org", Role::Admin).await;
        let specs = Specs { cpu_millis: 4_000, memory_mib: 8_192, disk_mib: 100_000, ..Specs::default() };
        app.world.tell(FromNode::RegisterNode { version: VERSION, specs, profile: Profile::default() }).await;
        let measured = async |cpu_millis, minutes| {
            for _ in 0..minutes {
                let load = Load { cpu_millis, memory_mib: 2_048, disk_free_mib: 75_600, ..Load::default() };
                app.world.tell(FromNode::Heartbeat { at: ctx.clock.now(), load, complete: false, instances: vec![] }).await;
                assert!(figures::note(&ctx).await.expect("noted"));
                app.world.clock.pass(MINUTE);
            }
        };
        let browser = app.log_in("admin@example.org").await;
        browser.get("/nodes/local").await.shows("Nothing was measured in this time.");
        measured(4_000, 2).await;
        app.world.clock.pass(HOUR);
        measured(400, 3).await;
        app.world.clock.pass(5 * MINUTE);
        measured(1_000, 2).await;
        let page = browser.get("/nodes/local").await;
        page.shows("CPU over the last hour: between 10% and 25%, now 25%.");
        page.shows("Memory over the last hour: between 2.0 GiB and 2.0 GiB, now 2.0 GiB.");
        page.shows("of 8.0 GiB");
        page.shows("Disk over the last hour: between 23.8 GiB and 23.8 GiB");
        page.shows("Servers awake over the last hour: between 1 and 1, now 1.");
        page.shows("href=\"/nodes/local?span=day#load\">Last 24 hours");
        let line = between(&page.text, "class=\"line\" d=\"", "\"");
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (2, 3), "the minutes away are a gap: {line}");
        let page = browser.get("/nodes/local?span=day").await;
        page.shows("CPU over the last 24 hours: between 10% and 100%, now 25%.");
        page.shows("24 h ago");

        let api = app.program(&admin).await;
        let hour = api.get("/api/nodes/local/load").await.json();
        assert_eq!((&hour["span"], hour["samples"].as_array().map(Vec::len)), (&json!("hour"), Some(5)));
        let mut first = hour["samples"][0].clone();
        let at = first.as_object_mut().and_then(|sample| sample.remove("at"));
        assert!(at.is_some_and(|at| at.as_str().is_some_and(|at| at.ends_with('Z'))));
        let expected = json!({"cpu_millis": 400, "memory_mib": 2048, "disk_used_mib": 24_400, "disk_free_mib": 75_600, "awake": 1});
        assert_eq!(first, expected);
        let day = api.get("/api/nodes/local/load?span=day").await.json();
        assert_eq!((&day["span"], day["samples"].as_array().map(Vec::len)), (&json!("day"), Some(7)));
        let refused = api.get("/api/nodes/local/load?span=week").await;
        assert_eq!((refused.status, refused.json()["errors"]["span"].is_string()), (StatusCode::UNPROCESSABLE_ENTITY, true));
        assert_eq!(api.get("/api/nodes/nobody/load").await.status, StatusCode::NOT_FOUND);
    })
    .await;
}
