//! Where servers go: by room, region and tags, evenly, never past what may be promised, and with the reason kept.

use reqwest::{Method, StatusCode};
use roost::domain::{Actor, Ctx, Refusal, nodes, servers};
use roost::model::ids::NodeId;
use roost::model::nodes::{Load, Profile, Specs};
use roost::model::time::{Clock, MINUTE};
use roost::wire::agent::{FromNode, VERSION};
use serde_json::json;

use crate::app::on_site;
use crate::world::{World, form, on_both};

/// A node that has joined, with room for so many demo servers of 64 MiB under the usual promises (three times its memory).
async fn node(ctx: &std::sync::Arc<Ctx>, name: &str, region: &str, tags: &[&str], memory_mib: u32) -> NodeId {
    let id: NodeId = name.parse().unwrap();
    nodes::introduce(ctx, &id, &format!("{name}.example.org")).await.expect("known");
    let specs = Specs { cpu_millis: 64_000, memory_mib, disk_mib: 1_000_000, ..Specs::default() };
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let profile = Profile { region: region.to_owned(), tags, ..Profile::default() };
    nodes::receive(ctx, &id, FromNode::RegisterNode { version: VERSION, specs, profile }).await.expect("registered");
    beat(ctx, &id, None).await;
    id
}

async fn beat(ctx: &std::sync::Arc<Ctx>, id: &NodeId, trouble: Option<&str>) {
    let load = Load { trouble: trouble.map(str::to_owned), ..Load::default() };
    let heartbeat = FromNode::Heartbeat { at: ctx.clock.now(), load, complete: false, instances: Vec::new() };
    nodes::receive(ctx, id, heartbeat).await.expect("heard");
}

/// The node of the panel itself goes out of the way.
async fn without_local(world: &World) {
    let trouble = FromNode::Heartbeat {
        at: world.clock.now(),
        load: Load { trouble: Some("Out of the way.".to_owned()), ..Load::default() },
        complete: false,
        instances: Vec::new(),
    };
    world.tell(trouble).await;
}

/// Where it went, or why nowhere. A millisecond passes, so that the last one is the last one.
async fn made(world: &World, actor: &Actor, form: servers::Form) -> Result<NodeId, String> {
    world.clock.pass(1);
    match servers::create(&world.ctx, actor, &form).await {
        Ok(server) => Ok(server.node),
        Err(Refusal::Conflict(why)) => Err(why),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn servers_spread_over_nodes_and_stop_where_no_more_may_be_promised() {
    on_both("servers_spread_over_nodes_and_stop_where_no_more_may_be_promised", |world| async move {
        without_local(&world).await;
        let ada = world.player("ada@example.org").await;
        // Three times 128 MiB are six servers of 64 MiB each.
        let (first, second) = (node(&world.ctx, "first", "eu", &[], 128).await, node(&world.ctx, "second", "eu", &[], 128).await);
        let mut on = Vec::new();
        for n in 0..12 {
            on.push(made(&world, &ada, form(&format!("server {n}"))).await.expect("there is room"));
        }
        for four in on.chunks(2) {
            assert!(four.contains(&first) && four.contains(&second), "one here, one there: {on:?}");
        }
        let why = made(&world, &ada, form("one too many")).await.expect_err("all is promised");
        assert!(why.contains("first has promised 384 of 384 MiB of memory, and 64 more are needed."), "{why}");
        assert!(why.contains("local is in trouble: Out of the way."), "{why}");

        let admin = world.admin().await;
        let kept = servers::placements(&world.ctx, &admin).await.expect("kept");
        assert_eq!((kept.len(), kept[0].node.clone(), kept[0].why.clone()), (13, None, why), "the last one first, with its reason");
        assert!(kept[1].why.contains("with this server 100% of what it may promise is promised"), "{}", kept[1].why);
        assert!(servers::placements(&world.ctx, &ada).await.is_err(), "not for players");
        assert_eq!(servers::list(&world.ctx, &ada).await.expect("listed").len(), 12, "nothing is half made");
    })
    .await;
}

#[tokio::test]
async fn creations_at_once_never_overfill_a_node() {
    on_both("creations_at_once_never_overfill_a_node", |world| async move {
        without_local(&world).await;
        let ada = world.player("ada@example.org").await;
        for name in ["first", "second", "third"] {
            node(&world.ctx, name, "", &[], 128).await;
        }
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..40 {
            let (ctx, ada) = (world.ctx.clone(), ada.clone());
            tasks.spawn(async move {
                for _ in 0..40 {
                    match servers::create(&ctx, &ada, &form(&format!("server {n}"))).await {
                        Ok(server) => return Some(server.node),
                        Err(Refusal::Conflict(why)) if why.starts_with("No node fits") => return None,
                        Err(Refusal::Conflict(_) | Refusal::Store(_)) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other:?}"),
                    }
                }
                panic!("neither made nor refused");
            });
        }
        let mut on: Vec<NodeId> = tasks.join_all().await.into_iter().flatten().collect();
        on.sort();
        assert_eq!(on.len(), 18, "as many as may be promised, and not one more");
        for six in on.chunks(6) {
            assert!(six.iter().all(|node| *node == six[0]), "{on:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn region_and_tags_are_kept_to_and_nodes_that_are_away_or_emptied_take_nobody() {
    on_both("region_and_tags_are_kept_to_and_nodes_that_are_away_or_emptied_take_nobody", |world| async move {
        let ada = world.player("ada@example.org").await;
        let eu = node(&world.ctx, "frankfurt", "eu-central", &["ssd", "fast"], 4_096).await;
        let us = node(&world.ctx, "ohio", "us-east", &["ssd"], 4_096).await;
        assert_eq!(servers::regions(&world.ctx).await.expect("known"), ["eu-central", "us-east"]);
        let wish = |region: &str, tags: &[&str]| servers::Form {
            region: region.to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..form("Valley")
        };
        assert_eq!(made(&world, &ada, wish("us-east", &[])).await, Ok(us.clone()));
        assert_eq!(made(&world, &ada, wish("", &["fast"])).await, Ok(eu.clone()));
        assert_eq!(made(&world, &ada, wish("eu-central", &["ssd", "fast"])).await, Ok(eu.clone()));
        let why = made(&world, &ada, wish("us-east", &["fast"])).await.expect_err("nothing fits");
        for part in ["frankfurt stands in eu-central, not in us-east.", "ohio lacks the tag fast.", "local has no region, not in us-east."]
        {
            assert!(why.contains(part), "{why}");
        }
        world.clock.pass(3 * MINUTE);
        beat(&world.ctx, &us, None).await;
        let why = made(&world, &ada, wish("eu-central", &[])).await.expect_err("it is away");
        assert!(why.contains("frankfurt is offline, last heard of 3 min ago."), "{why}");
        assert_eq!(servers::regions(&world.ctx).await.expect("known"), ["us-east"]);
        let kept = world.server(&servers::list(&world.ctx, &ada).await.expect("listed")[2].id).await.expect("there");
        assert_eq!((kept.region.as_str(), kept.tags.join(",").as_str()), ("eu-central", "fast,ssd"), "a server keeps its wishes");
    })
    .await;
}

#[tokio::test]
async fn region_and_tags_come_through_form_and_api_and_odd_ones_are_refused_at_their_field() {
    on_site("region_and_tags_come_through_form_and_api_and_odd_ones_are_refused_at_their_field", |app| async move {
        let ada = app.player("ada@example.org").await;
        let program = app.program(&app.actor("ada@example.org").await).await;
        ada.get("/servers/create?game=demo").await.lacks("name=\"region\"");
        node(&app.world.ctx, "frankfurt", "eu-central", &["ssd"], 4_096).await;
        node(&app.world.ctx, "ohio", "us-east", &[], 4_096).await;
        let page = ada.get("/servers/create?game=demo").await;
        page.shows("name=\"region\"");
        page.shows("Wherever there is most room");
        let fields = [("game", "demo"), ("name", "Valley"), ("plan", "small"), ("idle_minutes", "15"), ("region", "us-east")];
        let answer = ada.post("/servers/create", &fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let body = json!({"name": "Hill", "game": "demo", "plan": "small", "region": "eu-central", "tags": ["ssd"]});
        let made = program.ask(Method::POST, "/api/servers", Some(body)).await;
        assert_eq!((made.status, made.json()["node"].as_str()), (StatusCode::CREATED, Some("frankfurt")), "{}", made.text);
        let gone = ada
            .post("/servers/create", &[("game", "demo"), ("name", "Sea"), ("plan", "small"), ("idle_minutes", "15"), ("region", "mars")])
            .await;
        assert_eq!(gone.status, StatusCode::CONFLICT);
        gone.shows("ohio stands in us-east, not in mars.");
        for (field, value) in [
            ("tags", json!("x".repeat(41))),
            ("tags", json!(["a,b"])),
            ("tags", json!([1])),
            ("tags", json!((0..17).map(|n| n.to_string()).collect::<Vec<_>>())),
            ("region", json!("a\nb")),
            ("region", json!(["eu"])),
        ] {
            let mut body = json!({"name": "Hill", "game": "demo", "plan": "small"});
            body[field] = value;
            let answer = program.ask(Method::POST, "/api/servers", Some(body)).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {}", answer.text);
            assert!(answer.text.contains(field), "{}", answer.text);
        }
    })
    .await;
}
