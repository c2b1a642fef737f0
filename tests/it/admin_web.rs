//! The operators' pages: the overview with its figures, the list of all servers, placements, and the switch that keeps new servers away.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use roost::domain::{Actor, figures, servers};
use roost::model::ids::{NodeId, ServerId};
use roost::model::nodes::{CacheLoad, Load};
use roost::model::servers::Phase;
use roost::model::time::{Clock, DAY, HOUR, MINUTE, SECOND};
use roost::model::users::Role;
use roost::store;
use roost::wire::agent::FromNode;
use serde_json::json;

use crate::app::{App, Browser, on_site, on_site_with};
use crate::world::form;

async fn operator(app: &App) -> (Browser, Actor) {
    let actor = app.account("operator@example.org", Role::Operator).await;
    (app.log_in("operator@example.org").await, actor)
}

/// What stands between two texts, each time.
fn all_between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    text.split(from).skip(1).filter_map(|rest| rest.split_once(to)).map(|(inner, _)| inner).collect()
}

/// Ids of the servers of a page, in its order.
fn rows(text: &str) -> Vec<String> {
    let body = text.split_once("<tbody>").map_or("", |(_, rest)| rest);
    all_between(body, "<td class=\"node\"><a href=\"/servers/", "\"").into_iter().map(str::to_owned).collect()
}

/// Where a link of the pager leads.
fn link(text: &str, rel: &str) -> Option<String> {
    let (before, _) = text.split_once(&format!("\" rel=\"{rel}\""))?;
    before.rsplit_once("href=\"").map(|(_, href)| href.replace("&#38;", "&"))
}

#[tokio::test]
async fn the_overview_says_what_is_wrong_and_leads_to_every_list() {
    on_site("the_overview_says_what_is_wrong_and_leads_to_every_list", |mut app| async move {
        let (browser, _) = operator(&app).await;
        let page = browser.get("/admin").await;
        page.shows("All is well.");
        for href in ["/admin/servers", "/nodes", "/templates"] {
            page.shows(&format!("href=\"{href}\""));
        }
        let ada = app.world.player("ada@example.org").await;
        let server = app.world.create(&ada, "Valley").await;
        app.world.node.failures = 100;
        for _ in 0..20 {
            app.world.settle().await;
            app.world.clock.pass(5 * MINUTE);
        }
        app.world.be_online().await;
        assert_eq!(app.world.server(&server.id).await.expect("there").life.phase, Phase::Failed);
        let page = browser.get("/admin").await;
        page.lacks("All is well.");
        page.shows("1 server is in trouble.");
        page.shows("href=\"/admin/servers?phase=failed\"");
        let listed = browser.get("/admin/servers?phase=failed").await;
        assert_eq!(rows(&listed.text), [server.id.to_string()], "the number leads to exactly these");
        let load = Load { trouble: Some("The disk is full.".to_owned()), ..Load::default() };
        app.world.tell(FromNode::Heartbeat { at: app.world.clock.now(), load, complete: false, instances: vec![] }).await;
        browser.get("/admin").await.shows("local is in trouble: The disk is full. <small>Since");
        app.world.clock.pass(3 * MINUTE);
        let page = browser.get("/admin").await;
        page.shows("local is offline. <small>Last heard of <time");
        page.shows(">3 min ago</time>");
    })
    .await;
}

#[tokio::test]
async fn a_minute_has_one_figure_however_many_write_it_and_a_month_is_kept() {
    on_site("a_minute_has_one_figure_however_many_write_it_and_a_month_is_kept", |mut app| async move {
        let ada = app.world.player("ada@example.org").await;
        app.world.create(&ada, "Valley").await;
        app.world.settle().await;
        let ctx = app.world.ctx.clone();
        let mut panels = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let ctx = ctx.clone();
            panels.spawn(async move { figures::note(&ctx).await.expect("noted") });
        }
        assert_eq!(panels.join_all().await.into_iter().filter(|written| *written).count(), 1, "the minute is the key");
        app.world.clock.pass(30 * SECOND);
        assert!(!figures::note(&ctx).await.expect("noted"), "the same minute");
        app.world.clock.pass(30 * SECOND);
        assert!(figures::note(&ctx).await.expect("noted"));
        let (browser, actor) = operator(&app).await;
        let day = figures::overview(&ctx, &actor).await.expect("seen").day;
        assert_eq!((day.len(), day[0].servers, day[0].awake, day[0].nodes, day[0].online), (2, 1, 1, 1, 1));
        assert_eq!(day[1].at - day[0].at.0, roost::model::time::Millis(MINUTE));
        let page = browser.get("/admin").await;
        page.shows("Servers awake over the last 24 hours: between 1 and 1, now 1.");
        page.shows("Nodes online over the last 24 hours");
        page.lacks("Cache hit rate");
        app.world.clock.pass(MINUTE);
        let cache = CacheLoad { hits: 3, misses: 1, ..CacheLoad::default() };
        let load = Load { cache: Some(cache), ..Load::default() };
        app.world.tell(FromNode::Heartbeat { at: app.world.clock.now(), load, complete: false, instances: vec![] }).await;
        assert!(figures::note(&ctx).await.expect("noted"));
        browser.get("/admin").await.shows("Cache hit rate over the last 24 hours: between 75% and 75%, now 75%.");
        app.world.clock.pass(30 * DAY + MINUTE);
        assert!(figures::note(&ctx).await.expect("noted"));
        let left = store::figures::since(&ctx.db, roost::model::time::Millis(0), 100).await.expect("read");
        assert_eq!(left.len(), 1, "older ones are forgotten: {left:?}");
        assert!(figures::overview(&ctx, &ada).await.is_err(), "not for players");
    })
    .await;
}

/// Puts a server into the list as of another time, on another node; gives its id.
async fn placed(app: &App, owner: &Actor, name: &str, sleeps: bool) -> ServerId {
    app.world.clock.pass(SECOND);
    app.world.be_online().await;
    let id = servers::create(&app.world.ctx, owner, &form(name)).await.expect("created").id;
    if sleeps {
        servers::power(&app.world.ctx, owner, &id, servers::Power::Hibernate).await.expect("asked");
    }
    id
}

#[tokio::test]
async fn every_server_is_met_once_by_turning_the_pages_in_any_order() {
    let policy = roost::domain::Policy { servers_max: 1_000, ..roost::domain::Policy::default() };
    on_site_with("every_server_is_met_once_by_turning_the_pages_in_any_order", policy, |app| async move {
        let (ada, bea) = (app.world.player("ada@example.org").await, app.world.player("bea@example.org").await);
        let mut made = BTreeSet::new();
        for n in 0..120 {
            // Many share their name, so that the id has to break the tie.
            let owner = if n % 3 == 0 { &bea } else { &ada };
            made.insert(placed(&app, owner, &format!("Server {}", n % 7), false).await.to_string());
        }
        let (browser, _) = operator(&app).await;
        for sort in ["name", "owner", "game", "plan", "node", "phase", "since", "made"] {
            for order in ["up", "down"] {
                let mut path = format!("/admin/servers?sort={sort}&order={order}");
                let (mut met, mut pages) = (Vec::new(), Vec::new());
                loop {
                    let page = browser.get(&path).await;
                    assert_eq!(page.status, StatusCode::OK, "{path}");
                    met.extend(rows(&page.text));
                    pages.push((path.clone(), rows(&page.text), link(&page.text, "prev")));
                    let Some(next) = link(&page.text, "next") else { break };
                    path = next;
                }
                assert_eq!((pages.len(), met.len()), (3, 120), "{sort} {order}");
                assert_eq!(met.iter().cloned().collect::<BTreeSet<_>>(), made, "{sort} {order}");
                assert_eq!(pages[0].2, None, "nothing comes before the first");
                for n in [1, 2] {
                    let back = pages[n].2.clone().expect("a way back");
                    assert_eq!(rows(&browser.get(&back).await.text), pages[n - 1].1, "{sort} {order}: back from page {n}");
                }
            }
        }
        let first = browser.get("/admin/servers").await;
        let newest = rows(&first.text);
        assert_eq!(rows(&browser.get("/admin/servers?sort=made&order=down").await.text), newest, "the newest first is the usual order");
        let next = link(&browser.get("/admin/servers?q=bea%40example&sort=name&order=up").await.text, "next");
        assert_eq!(next, None, "forty of hers fit on a page");
        let narrowed = browser.get("/admin/servers?q=ada%40example&node=local&game=demo&sort=name&order=up").await;
        let next = link(&narrowed.text, "next").expect("eighty do not");
        for part in ["q=ada%40example", "node=local", "game=demo", "sort=name", "order=up", "after="] {
            assert!(next.contains(part), "{next} keeps {part}");
        }
        assert_eq!(rows(&browser.get(&next).await.text).len(), 30);
        // Places that nothing leads to are not an error.
        for odd in [
            "after=",
            "after=x",
            "after=a.b",
            "before=zz.9",
            "after=zzzzzzzz-aa-zzzzzz.0",
            "sort=mars&order=9",
            "phase=mars&node=%00&game=%2e",
        ] {
            let page = browser.get(&format!("/admin/servers?{odd}")).await;
            assert_eq!((page.status, rows(&page.text).len()), (StatusCode::OK, 50), "{odd}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_list_is_narrowed_by_state_node_game_and_words_and_says_what_to_do_when_empty() {
    on_site("the_list_is_narrowed_by_state_node_game_and_words_and_says_what_to_do_when_empty", |mut app| async move {
        let (browser, _) = operator(&app).await;
        browser.get("/admin/servers").await.shows("There is no server yet.");
        let (ada, bea) = (app.world.player("ada@example.org").await, app.world.player("bea@example.org").await);
        let valley = placed(&app, &ada, "Ärger 100%_Valley", false).await;
        let hill = placed(&app, &bea, "Hill", true).await;
        app.world.settle().await;
        app.world.clock.pass(2 * HOUR);
        app.world.be_online().await;
        for (query, expected) in [
            ("", vec![&hill, &valley]),
            ("phase=running", vec![&valley]),
            ("phase=sleeping", vec![&hill]),
            ("phase=failed", vec![]),
            ("node=local", vec![&hill, &valley]),
            ("node=nowhere", vec![]),
            ("game=demo&phase=running", vec![&valley]),
            ("game=other", vec![]),
            ("q=vaLLey", vec![&valley]),
            ("q=%C3%84rger", vec![&valley]),
            ("q=100%25_", vec![&valley]),
            ("q=%25", vec![&valley]),
            ("q=_V", vec![&valley]),
            ("q=BEA@", vec![&hill]),
            ("q='", vec![]),
        ] {
            let page = browser.get(&format!("/admin/servers?{query}")).await;
            assert_eq!(rows(&page.text), expected.iter().map(ToString::to_string).collect::<Vec<_>>(), "{query}");
            if expected.is_empty() {
                page.shows("No server matches.");
                page.shows("Show all servers");
            }
        }
        let by_id = browser.get(&format!("/admin/servers?q={}", hill.as_str().to_uppercase())).await;
        assert_eq!(rows(&by_id.text), [hill.to_string()]);
        // The filters are shown as they stand, the unknown ones too.
        browser.get("/admin/servers?phase=running").await.shows("<option value=\"running\" selected>Awake</option>");
        browser.get("/admin/servers?node=nowhere").await.shows("<option value=\"nowhere\" selected>nowhere</option>");
        let page = browser.get("/admin/servers?sort=name&order=up&q=hill").await;
        page.shows("<input type=\"hidden\" name=\"sort\" value=\"name\">");
        page.shows("aria-sort=\"ascending\"><a class=\"by\" href=\"/admin/servers?q=hill&#38;sort=name&#38;order=down\">Server</a>");
        page.shows("bea@example.org");
        let up = browser.get("/admin/servers?phase=running").await;
        assert!(up.text.matches(">2 h</time>").count() >= 2, "for how long, and its uptime: {}", up.text);
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_told_so_takes_no_new_servers_and_shows_what_is_promised() {
    on_site("a_node_that_is_told_so_takes_no_new_servers_and_shows_what_is_promised", |mut app| async move {
        let (browser, actor) = operator(&app).await;
        let ada = app.world.player("ada@example.org").await;
        let valley = placed(&app, &ada, "Valley", false).await;
        app.world.settle().await;
        let page = browser.get("/nodes/local").await;
        page.shows("Promised to servers");
        page.shows("0.25 of 8000 cores");
        page.shows("1 taken, no limit");
        page.shows("Empty this node");
        assert_eq!(browser.post("/nodes/local/drain", &[("on", "maybe")]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        let answer = browser.post("/nodes/local/drain", &[("on", "yes")]).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/nodes/local"));
        let page = browser.get("/nodes/local").await;
        page.shows("No new servers come to this node, and those that live there leave it, each when it next rests.");
        page.shows("Take servers again");
        browser.get("/nodes").await.shows("takes no new servers");
        app.world.clock.pass(SECOND);
        let refused = servers::create(&app.world.ctx, &ada, &form("Hill")).await.expect_err("no node takes it").to_string();
        assert!(refused.contains("local takes no new servers"), "{refused}");
        assert_eq!(app.world.server(&valley).await.expect("there").life.phase, Phase::Running, "who lives there stays");
        // What was chosen and what was not stands on the list of nodes, the last one first.
        let page = browser.get("/nodes").await;
        let placed = page.text.split_once("Last placements").expect("the section").1;
        let (nowhere, there) = placed.split_once("nowhere").expect("Hill found no place");
        assert!(nowhere.contains("Hill") && there.contains("local takes no new servers"), "{placed}");
        assert!(there.contains(&format!("href=\"/servers/{valley}\"")), "{there}");
        let api = app.program(&actor).await;
        for body in [json!({}), json!({"on": "perhaps"}), json!({"on": true, "move": true})] {
            assert_eq!(api.post("/api/nodes/local/drain", body.clone()).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        }
        let taken = api.post("/api/nodes/local/drain", json!({"on": false})).await;
        assert_eq!((taken.status, taken.json()["draining"].clone()), (StatusCode::OK, json!(false)));
        assert_eq!(api.post("/api/nodes/nobody/drain", json!({"on": true})).await.status, StatusCode::NOT_FOUND);
        servers::create(&app.world.ctx, &ada, &form("Hill")).await.expect("it takes servers again");
        let eye = app.account("eye@example.org", Role::Viewer).await;
        let looks = app.log_in("eye@example.org").await.get("/nodes/local").await;
        looks.shows("New servers come here while there is room.");
        looks.lacks("/nodes/local/drain");
        assert!(roost::domain::nodes::drain(&app.world.ctx, &eye, &NodeId::local(), true).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn staff_find_the_operators_pages_in_the_menu_and_players_do_not() {
    on_site("staff_find_the_operators_pages_in_the_menu_and_players_do_not", |app| async move {
        let (browser, _) = operator(&app).await;
        let page = browser.get("/dashboard").await;
        page.shows("<a href=\"/admin\">Admin</a>");
        page.lacks("aria-label=\"Admin\"");
        for path in ["/admin", "/admin/servers", "/nodes", "/templates", "/admin/users", "/admin/audit"] {
            let page = browser.get(path).await;
            page.shows("<a href=\"/admin\" aria-current=\"page\">Admin</a>");
            let below = all_between(&page.text, "<nav class=\"below\" aria-label=\"Admin\">", "</nav>").concat();
            assert_eq!(below.matches("href=").count(), 6, "{path}");
            assert_eq!(below.matches("aria-current").count(), 1, "{path}");
            assert!(below.contains(&format!("<a href=\"{path}\" aria-current=\"page\">")), "{path}: {below}");
        }
        app.account("boss@example.org", Role::Admin).await;
        let boss = app.log_in("boss@example.org").await;
        for path in ["/admin/reports", "/admin/mails"] {
            boss.get(path).await.shows(&format!("<a href=\"{path}\" aria-current=\"page\">"));
        }
        let player = app.player("ada@example.org").await;
        player.get("/dashboard").await.lacks("/admin");
    })
    .await;
}
