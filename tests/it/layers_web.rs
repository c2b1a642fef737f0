//! Choosing what a server is laid out of: in the form of a new one, on its own page, by the API; looked at first, taken, gone back from.

use fantoccini::Locator;
use reqwest::{Method, StatusCode};
use roost::domain::templates::{self, Choice};
use roost::domain::{Actor, Refusal, servers};
use roost::model::ids::{NodeId, ServerId};
use roost::model::layers::{LAYERS_MAX, LayerRef};
use roost::model::templates::Template;
use roost::model::time::SECOND;
use roost::wire::agent::{Action, FromNode, ToNode, UrlFor};
use roost::wire::spec::InstanceSpec;
use serde_json::{Value, json};

use crate::app::{Answer, App, Browser, PASSWORD, on_site};
use crate::browser::{SOON, Window};
use crate::services;
use crate::templates::{made, upload};

/// Somebody who makes templates, and two of them: `base` 1 and 2, `map` 7.
async fn shelf(app: &App) -> (Actor, Template, Template) {
    let admin = app.world.admin().await;
    let (base, map) = (made(&app.world, &admin, "Base").await, made(&app.world, &admin, "Map").await);
    upload(&app.world, &admin, &base, "1", &[("motd", "one"), ("old", "x")]).await;
    upload(&app.world, &admin, &map, "7", &[("world/level", "seven")]).await;
    (admin, base, map)
}

async fn second(app: &App, admin: &Actor, base: &Template) {
    upload(&app.world, admin, base, "2", &[("motd", "two"), ("new", "x")]).await;
}

const MAKE: [(&str, &str); 5] = [("game", "demo"), ("plan", "small"), ("name", "Valley"), ("auto_sleep", "on"), ("idle_minutes", "15")];

fn making<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    MAKE.into_iter().chain(more.iter().copied()).collect()
}

async fn create(app: &mut App, browser: &Browser, more: &[(&str, &str)]) -> ServerId {
    let answer = browser.post("/servers/create", &making(more)).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let id = answer.location().trim_start_matches("/servers/").parse().expect("an id");
    app.world.settle().await;
    id
}

async fn layers(app: &App, id: &ServerId) -> Vec<String> {
    let server = app.world.server(id).await.expect("there");
    server.layers.iter().map(|layer| format!("{}@{}", layer.template, layer.version)).collect()
}

/// What the node was last told to lay out.
fn prepared(app: &App) -> InstanceSpec {
    let last = app.world.node.commands.iter().rev().find_map(|command| match &command.action {
        Action::PrepareInstance { spec } => Some(spec),
        _other => None,
    });
    *last.expect("it was prepared").clone()
}

fn selects(page: &Answer) -> usize {
    page.text.matches("<select id=\"layer-").count()
}

/// The hidden fields of the form whose text holds this.
fn hidden(page: &Answer, holds: &str) -> Vec<(String, String)> {
    let form = page.text.split("<form").find(|form| form.split("</form>").next().is_some_and(|form| form.contains(holds)));
    let form = form.unwrap_or_else(|| panic!("no form with {holds:?}: {}", page.text)).split("</form>").next().unwrap_or_default();
    let part =
        |field: &str, before: &str| field.split_once(before).and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default().to_owned();
    let fields = form.split("<input type=\"hidden\" ").skip(1);
    fields.map(|field| (part(field, "name=\""), part(field, "value=\""))).collect()
}

async fn send(browser: &Browser, path: &str, fields: &[(String, String)], more: &[(&str, &str)]) -> Answer {
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(more.iter().copied()).collect();
    browser.post(path, &fields).await
}

#[tokio::test]
async fn a_new_server_is_laid_out_of_what_was_chosen_in_the_rows() {
    on_site("a_new_server_is_laid_out_of_what_was_chosen_in_the_rows", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        ada.get("/servers/create?game=demo").await.lacks("What is it laid out of?");
        let (admin, base, _) = shelf(&app).await;
        second(&app, &admin, &base).await;
        let page = ada.get("/servers/create?game=demo").await;
        page.shows("What is it laid out of?");
        page.shows("<option value=\"base@2\">Base 2 (newest)</option><option value=\"base@1\">Base 1</option>");
        assert_eq!(selects(&page), 3, "empty rows to begin with");

        let wrong =
            [("layer.0", "map@7"), ("layer.1", "nothing@1"), ("layer.4", "base@1"), ("variable.0.name", "PORT"), ("variable.0.value", "1")];
        let refused = ada.post("/servers/create", &making(&wrong)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        refused.shows("There is no template nothing.");
        refused.shows("PORT is given by the panel and cannot be set.");
        refused.shows("<option value=\"base@1\" selected>Base 1</option>");
        refused.shows("<option value=\"nothing@1\" selected>nothing 1</option>");
        assert_eq!(selects(&refused), 5, "two empty ones behind the last");
        let many: Vec<(String, String)> = (0..=LAYERS_MAX).map(|n| (format!("layer.{n}"), "base".to_owned())).collect();
        let refused = send(&ada, "/servers/create", &many, &MAKE).await;
        refused.shows(&format!("A server has at most {LAYERS_MAX} layers."));
        assert_eq!(selects(&refused), LAYERS_MAX + 1, "nothing that was chosen is lost");

        let fields = [
            ("layer.1", "map@7"),
            ("layer.0", ""),
            ("layer.10", "base@1"),
            ("layer.2", ""),
            ("variables.SEED", "4711"),
            ("variables.LOCALE", ""),
            ("variable.1.name", "MOTD"),
            ("variable.1.value", "<b>kind</b>"),
        ];
        let id = create(&mut app, &ada, &fields).await;
        assert_eq!(layers(&app, &id).await, ["map@7", "base@1"]);
        let server = app.world.server(&id).await.expect("there");
        let variables: Vec<_> = server.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(variables, [("MOTD", "<b>kind</b>"), ("SEED", "4711")]);
        let page = ada.get(&format!("/servers/{id}")).await;
        page.shows("<span class=\"tag\">newer: 2</span>");
        page.shows(&format!("/servers/{id}/layers"));
        let page = ada.get(&format!("/servers/{id}/layers")).await;
        page.lacks("<b>kind</b>");
        page.shows("There are newer versions.");
        assert_eq!(selects(&page), 4);
    })
    .await;
}

#[tokio::test]
async fn other_layers_are_looked_at_taken_and_gone_back_from() {
    on_site("other_layers_are_looked_at_taken_and_gone_back_from", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let (admin, base, map) = shelf(&app).await;
        let id = create(&mut app, &ada, &[("layer.0", "base@1"), ("variables.SEED", "7")]).await;
        let path = format!("/servers/{id}/layers");
        ada.get(&path).await.lacks("There are newer versions.");
        second(&app, &admin, &base).await;

        // What the newest versions would change: looking changes nothing.
        let page = ada.get(&path).await;
        let looked = send(&ada, &path, &hidden(&page, "Look at the newest versions"), &[("preview", "1")]).await;
        assert_eq!(looked.status, StatusCode::OK, "{}", looked.text);
        looked.shows("<b>1</b> added · <b>1</b> replaced · <b>1</b> removed");
        for (what, path) in [("replaced", "motd"), ("added", "new"), ("removed", "old")] {
            assert!(
                looked.text.split("<li class=\"").any(|row| row.starts_with(what) && row.contains(&format!("<code>{path}</code>"))),
                "{path}"
            );
        }
        looked.shows("base 1 → 2");
        looked.lacks("<b>Variables:</b>");
        assert_eq!(layers(&app, &id).await, ["base@1"]);

        // One's own choice, taken out of what was looked at.
        let fields = [("layer.0", "base"), ("layer.2", "map@7"), ("variables.SEED", ""), ("variable.0.name", "MOTD"), ("preview", "1")];
        let looked = ada.post(&path, &fields).await;
        looked.shows("<code>MOTD</code>, <code>SEED</code>");
        app.world.clock.pass(SECOND);
        let taken = send(&ada, &path, &hidden(&looked, "Take these layers"), &[]).await;
        assert_eq!((taken.status, taken.location()), (StatusCode::SEE_OTHER, path.as_str()), "{}", taken.text);
        assert_eq!(layers(&app, &id).await, ["base@2", "map@7"]);
        let server = app.world.server(&id).await.expect("there");
        assert_eq!(server.variables, [("MOTD".to_owned(), String::new())].into());
        let page = ada.get(&path).await;
        page.shows("It counts from the server’s next start.");
        page.shows("It still runs with what it had before the change");
        page.shows("Restart it now");
        page.lacks("Look at the newest versions");
        ada.get(&format!("/servers/{id}")).await.shows("Layers: base 1 → 2, map 7 added.");

        // The version before the change stays as long as there is a way back to it.
        let one = "1".parse().expect("a version");
        let kept = templates::delete_version(&app.world.ctx, &admin, &base.id, &one).await;
        assert!(matches!(kept, Err(Refusal::Conflict(_))), "{kept:?}");

        // A restart takes it over; until then its node was told nothing.
        app.world.settle().await;
        assert_eq!(prepared(&app).layers.len(), 1);
        app.world.clock.pass(SECOND);
        assert_eq!(ada.post(&format!("/servers/{id}/restart"), &[]).await.status, StatusCode::SEE_OTHER);
        app.world.settle().await;
        ada.get(&path).await.lacks("It still runs with what it had before");
        let spec = prepared(&app);
        assert_eq!(spec.layers, server.layers);
        assert_eq!(spec.variables["MOTD"], "");

        let looked = send(&ada, &path, &hidden(&page, "Look at going back"), &[("preview", "1")]).await;
        looked.shows("base 2 → 1, map removed");
        let back = send(&ada, &path, &hidden(&looked, "Take these layers"), &[]).await;
        assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.text);
        assert_eq!(layers(&app, &id).await, ["base@1"]);
        ada.get(&path).await.shows("Gone back.");
        let server = app.world.server(&id).await.expect("there");
        assert_eq!(server.layers_before.len(), 2, "the way leads forth again");
        let kept = templates::delete(&app.world.ctx, &admin, &map.id).await;
        assert!(matches!(kept, Err(Refusal::Conflict(_))), "{kept:?}");
    })
    .await;
}

#[tokio::test]
async fn a_choice_that_changes_nothing_or_cannot_be_is_refused_with_what_was_typed() {
    on_site("a_choice_that_changes_nothing_or_cannot_be_is_refused_with_what_was_typed", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        shelf(&app).await;
        let id = create(&mut app, &ada, &[("layer.0", "base@1")]).await;
        let path = format!("/servers/{id}/layers");
        let before = app.world.server(&id).await.expect("there");
        let same = ada.post(&path, &[("layer.0", "base@1")]).await;
        assert_eq!(same.status, StatusCode::CONFLICT);
        same.shows("It has these layers and variables already; nothing has been changed.");
        let same = ada.post(&path, &[("layer.0", "base@1"), ("preview", "1")]).await;
        same.shows("Nothing: it has these layers and variables already.");
        same.lacks("Take these layers");
        for look in [&[][..], &[("preview", "1")]] {
            let fields = [&[("layer.0", "map@7"), ("layer.1", "map@7"), ("variable.0.value", "<i>x</i>")], look].concat();
            let refused = ada.post(&path, &fields).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
            refused.shows("A value without a name: say which variable it is for.");
            refused.shows("value=\"&#60;i&#62;x&#60;/i&#62;\"");
            let refused = ada.post(&path, &[&[("layer.0", "map@7"), ("layer.1", "map@7")], look].concat()).await;
            refused.shows("map stands in the list twice.");
            assert_eq!(selects(&refused), 4);
            let back = ada.post(&path, &[&[("back", "1")], look].concat()).await;
            assert_eq!(back.status, StatusCode::CONFLICT);
            back.shows("there is nothing to go back to");
        }
        let after = app.world.server(&id).await.expect("there");
        assert_eq!((after.layers, after.layers_before, after.variables), (before.layers, before.layers_before, before.variables));
        assert_eq!(after.life.generation, before.life.generation, "what is refused writes nothing");
    })
    .await;
}

#[tokio::test]
async fn what_layers_require_and_no_layer_brings_is_named_before() {
    on_site("what_layers_require_and_no_layer_brings_is_named_before", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let (admin, base, _) = shelf(&app).await;
        let id = create(&mut app, &ada, &[]).await;
        upload(&app.world, &admin, &base, "3", &[("roost.toml", "required = [\"server.jar\"]"), ("a", "b")]).await;
        let many: Vec<(String, String)> = (0..230).map(|n| (format!("world/{n:03}"), n.to_string())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
        let large = made(&app.world, &admin, "Large").await;
        upload(&app.world, &admin, &large, "1", &many).await;
        let looked = ada.post(&format!("/servers/{id}/layers"), &[("layer.0", "base"), ("layer.1", "large"), ("preview", "1")]).await;
        looked.shows("<code>server.jar</code>, for base 3");
        // 230 files, the folder above them, and a file of the base: 200 are named.
        looked.shows("And 32 more.");
        assert_eq!(looked.text.matches("<li class=\"added\">").count(), 200);
        looked.lacks("The server itself has written these files");
    })
    .await;
}

#[tokio::test]
async fn layers_are_read_compared_changed_and_changed_back_by_json() {
    on_site("layers_are_read_compared_changed_and_changed_back_by_json", |mut app| async move {
        let (admin, base, _) = shelf(&app).await;
        let actor = app.world.player("ada@example.org").await;
        let ada = app.program(&actor).await;
        let body = json!({"name": "a", "game": "demo", "plan": "small", "layers": [{"template": "base"}], "variables": {"SEED": "7"}});
        let server = ada.post("/api/servers", body).await.json();
        assert_eq!((&server["layers"], &server["region"]), (&json!([{"template": "base", "version": "1"}]), &json!("")));
        assert_eq!(server["tags"], json!([]));
        app.world.settle().await;
        second(&app, &admin, &base).await;
        let path = format!("/api/servers/{}/layers", server["id"].as_str().unwrap());
        let put = async |body: Value| ada.ask(Method::PUT, &path, Some(body)).await;
        let read = ada.get(&path).await.json();
        assert_eq!(read["layers"], json!([{"template": "base", "name": "Base", "version": "1", "newer": "2"}]));
        assert_eq!((&read["before"], &read["variables"], &read["preview"]), (&json!([]), &json!({"SEED": "7"}), &Value::Null));

        let looked = put(json!({"layers": [{"template": "base"}, {"template": "map"}], "preview": true})).await;
        assert_eq!(looked.status, StatusCode::OK, "{}", looked.text);
        let preview = &looked.json()["preview"];
        assert_eq!(preview["layers"], json!([{"template": "base", "version": "2"}, {"template": "map", "version": "7"}]));
        assert_eq!(preview["changes"][0], json!({"path": "motd", "what": "replaced"}));
        assert_eq!((&preview["more"], &preview["missing"], &preview["own_files"]), (&json!(0), &json!([]), &Value::Null));
        assert_eq!(ada.get(&path).await.json(), read, "looking changes nothing");

        let taken = put(json!({"layers": [{"template": "map"}, {"template": "base", "version": "1"}]})).await.json();
        assert_eq!((&taken["layers"][0]["template"], &taken["variables"]), (&json!("map"), &json!({"SEED": "7"})));
        assert_eq!(taken["before"], json!([{"template": "base", "version": "1"}]));
        assert_eq!(
            put(json!({"layers": [{"template": "map"}, {"template": "base", "version": "1"}], "variables": {}})).await.json()["variables"],
            json!({})
        );
        let events = ada.get(&path.replace("/layers", "/events")).await.json();
        let said: Vec<&str> = events["events"].as_array().unwrap().iter().filter_map(|event| event["what"].as_str()).collect();
        assert!(said.contains(&"layers map 7 added") && said.contains(&"variables SEED"), "{said:?}");

        let back = ada.ask(Method::POST, &format!("{path}/back"), None).await;
        assert_eq!((back.status, &back.json()["layers"][0]["template"]), (StatusCode::OK, &json!("base")));
        let forth = ada.ask(Method::POST, &format!("{path}/back"), None).await.json();
        assert_eq!(forth["layers"].as_array().unwrap().len(), 2);

        for (body, field) in [
            (json!({}), "layers"),
            (json!({"layers": "base"}), "layers"),
            (json!({"layers": [{"template": "nothing"}]}), "layers"),
            (json!({"layers": [], "variables": {"port": "1"}}), "variables"),
            (json!({"layers": [], "variables": []}), "variables"),
            (json!({"layers": [], "preview": "maybe"}), "preview"),
            (json!({"layers": [], "back": true}), "back"),
        ] {
            let refused = put(body.clone()).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", refused.text);
            assert!(refused.json()["errors"][field].is_string(), "{body}: {}", refused.text);
        }
        assert_eq!(put(json!({"layers": []})).await.json()["layers"], json!([]));
        assert_eq!(put(json!({"layers": []})).await.status, StatusCode::CONFLICT);
    })
    .await;
}

#[tokio::test]
async fn a_template_of_another_game_is_neither_offered_nor_taken() {
    on_site("a_template_of_another_game_is_neither_offered_nor_taken", |mut app| async move {
        let admin = app.world.admin().await;
        let details = templates::Details { game: "valheim".to_owned(), ..crate::templates::details("Vikings") };
        let vikings = templates::create(&app.world.ctx, &admin, &details).await.expect("made");
        upload(&app.world, &admin, &vikings, "1", &[("a", "b")]).await;
        let ada = app.player("ada@example.org").await;
        ada.get("/servers/create?game=demo").await.lacks("What is it laid out of?");
        ada.get("/servers/create?game=valheim").await.shows("Vikings 1 (newest)");
        let refused = ada.post("/servers/create", &making(&[("layer.0", "vikings@1")])).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        refused.shows("Vikings is not for this game.");
        let id = create(&mut app, &ada, &[]).await;
        ada.get(&format!("/servers/{id}")).await.lacks("id=\"layers\"");
        let actor = app.actor("ada@example.org").await;
        let choice = Choice { template: "vikings".to_owned(), version: String::new() };
        let refused = servers::preview(&app.world.ctx, &actor, &id, &[choice], None).await;
        assert!(matches!(refused, Err(Refusal::Invalid(fields)) if fields.at("layers").is_some()));
    })
    .await;
}

/// The words of the element that has the focus.
async fn focused(window: &Window) -> String {
    let words = "const at = document.activeElement; return at.getAttribute('aria-label') || document.querySelector(`label[for=${at.id}]`)?.textContent || '';";
    window.client.execute(words, vec![]).await.expect("asked").as_str().unwrap_or_default().to_owned()
}

async fn press(window: &Window, css: &str) {
    let button = window.client.find(Locator::Css(css)).await.unwrap_or_else(|_| panic!("no button {css}"));
    button.send_keys("\u{e007}").await.expect("pressed");
}

async fn choose(window: &Window, place: usize, value: &str) {
    let select = window.client.find(Locator::Css(&format!("#layer-{place}"))).await.expect("a row");
    select.select_by_value(value).await.expect("offered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_move_go_and_come_by_keyboard_and_say_so() {
    let name = "rows_move_go_and_come_by_keyboard_and_say_so";
    let Some(browser) = services::browser(name) else { return };
    let browser = &browser;
    on_site(name, |mut app| async move {
        let (admin, base, _) = shelf(&app).await;
        second(&app, &admin, &base).await;
        app.player("ada@example.org").await;
        let window = Window::open(browser, &app.url, 1280).await;
        window.go("/auth/login?next=/servers/create").await;
        window.fill("input[name=email]", "ada@example.org").await;
        window.fill("input[name=password]", PASSWORD).await;
        window.click("form[action^='/auth/login'] button").await;
        window.sees("h1", "", SOON).await;
        window.go("/servers/create?game=demo").await;
        window.fill("input[name=name]", "Valley").await;
        choose(&window, 0, "base@1").await;
        choose(&window, 1, "map@7").await;
        press(&window, "[data-layers] li:nth-child(2) [data-move=up]").await;
        window.sees("[data-layers] [data-said]", "Map 7 (newest) is now layer 1 of 3.", SOON).await;
        assert_eq!(focused(&window).await, "Move layer 1 down", "the focus stays with the row");
        press(&window, "[data-layers] > p [data-move=add]").await;
        window.sees("[data-layers] [data-said]", "Layer 4 is added.", SOON).await;
        assert_eq!(focused(&window).await, "Layer 4");
        choose(&window, 2, "base@2").await;
        press(&window, "[data-layers] li:nth-child(3) [data-move=up]").await;
        assert_eq!(focused(&window).await, "Move layer 2 up");
        press(&window, "[data-layers] li:nth-child(3) [data-move=out]").await;
        window.sees("[data-layers] [data-said]", "Base 1 is removed.", SOON).await;
        assert_eq!(focused(&window).await, "Layer 3");
        window.click("form#form button.warm").await;
        window.sees("#title", "Valley", SOON).await;
        let id: ServerId = window.path().await.trim_start_matches("/servers/").parse().expect("an id");
        assert_eq!(layers(&app, &id).await, ["map@7", "base@2"]);
        app.world.settle().await;

        // The same on its own page: look, take, told.
        window.click("#layers a.more").await;
        window.sees("h1", "Layers", SOON).await;
        press(&window, "[data-layers] li:nth-child(1) [data-move=down]").await;
        window.click("#choose button[name=preview]").await;
        window.sees("#preview", "in another order", SOON).await;
        window.click("#take button").await;
        window.sees(".notice", "It counts from the server’s next start.", SOON).await;
        assert_eq!(layers(&app, &id).await, ["base@2", "map@7"]);
    })
    .await;
}

#[tokio::test]
async fn own_files_that_would_give_way_are_asked_of_the_node_before_anything_is_done() {
    on_site("own_files_that_would_give_way_are_asked_of_the_node_before_anything_is_done", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let (admin, base, map) = shelf(&app).await;
        let id = create(&mut app, &ada, &[("layer.0", "base@1")]).await;
        second(&app, &admin, &base).await;
        app.world.node.own_files = vec!["motd".to_owned(), "<b>\u{7}world".to_owned()];
        let path = format!("/servers/{id}/layers");
        let look = [("layer.0", "base@2"), ("preview", "1")];
        let before = ada.post(&path, &look).await;
        before.shows("Its node is being asked.");
        before.shows("hx-trigger=\"load delay:1s\"");

        let local = NodeId::local();
        let asked = app.world.engine.take();
        assert!(asked.iter().any(|(_, message)| matches!(message, ToNode::LookAtLayers { .. })), "{asked:?}");
        let Some(ToNode::LookAtLayers { ask, layers, .. }) =
            asked.into_iter().map(|(_, message)| message).find(|message| matches!(message, ToNode::LookAtLayers { .. }))
        else {
            panic!("not asked");
        };
        assert_eq!(layers[0].version.to_string(), "2");
        // While it looks, the node may fetch the layer that none of its servers stands on yet, and no other.
        let layer = layers[0].clone();
        let other = LayerRef { template: map.id.clone(), version: "7".parse().unwrap(), ..layer.clone() };
        assert!(app.world.url(&local, UrlFor::Layer { layer: layer.clone() }).await.is_ok());
        assert!(app.world.url(&local, UrlFor::Layer { layer: other }).await.is_err());
        let files = app.world.node.own_files.clone();
        app.world.tell_from(&"other".parse().unwrap(), FromNode::LayersLook { ask, own_files: Ok(Vec::new()) }).await;
        ada.post(&path, &look).await.shows("Its node is being asked.");
        app.world.tell(FromNode::LayersLook { ask, own_files: Ok(files) }).await;
        let known = ada.post(&path, &look).await;
        known.shows("The server itself has written these files");
        known.shows("<code>&#60;b&#62;world</code>");
        assert!(app.world.url(&local, UrlFor::Layer { layer }).await.is_err(), "it has looked");

        let program = app.program(&app.actor("ada@example.org").await).await;
        let body = json!({"layers": [{"template": "map"}], "preview": true});
        let api = format!("/api/servers/{id}/layers");
        let asked = program.ask(Method::PUT, &api, Some(body.clone())).await.json();
        assert_eq!(asked["preview"]["own_files"], Value::Null);
        assert!(asked["preview"]["own_files_unknown"].as_str().unwrap().contains("Ask again"));
        app.world.settle().await;
        let told = program.ask(Method::PUT, &api, Some(body)).await.json();
        assert_eq!(told["preview"]["own_files"], json!(["motd", "<b>world"]));
    })
    .await;
}
