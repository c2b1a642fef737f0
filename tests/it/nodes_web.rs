//! Pages and API of machines: adding one, what is the matter with one, turning one away.

use reqwest::{Method, StatusCode};
use roost::domain::nodes::{self, Heard};
use roost::http::{Machines, WebSettings};
use roost::model::ids::NodeId;
use roost::model::nodes::{Certificate, Net, Profile, Specs};
use roost::model::time::{DAY, HOUR, MINUTE};
use roost::model::users::Role;
use roost::wire::agent::FromNode;
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
