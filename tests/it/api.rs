//! The JSON API: shapes, refusals, idempotency, limits, its own description, and what watches the panel.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use roost::domain::{billing, idempotency, users};
use roost::http::{WebSettings, route_list};
use roost::model::time::{HOUR, MINUTE, SECOND};
use roost::wire::agent::{Event, EventKind, FromNode, LogLine};
use serde_json::{Value, json};

use crate::app::{App, on_site};
use crate::world::on_both;

#[tokio::test]
async fn a_server_goes_through_its_life_by_json() {
    on_site("a_server_goes_through_its_life_by_json", |mut app| async move {
        let ada = app.world.player("ada@example.org").await;
        let ada = app.program(&ada).await;
        let made = ada.post("/api/servers", json!({"name": "Valley", "game": "demo", "plan": "small", "idle_minutes": 20})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let server = made.json();
        let id = server["id"].as_str().unwrap().to_owned();
        for (field, value) in [("name", "Valley"), ("game", "demo"), ("plan", "small"), ("wanted", "running"), ("node", "local")] {
            assert_eq!(server[field], value, "{field}");
        }
        assert_eq!(server["address"]["host"], "play.example.org");
        assert_eq!(server["address"]["port"], 25_000);
        assert_eq!(server["auto_sleep"], true);
        assert_eq!(server["created_at"], "2026-01-01T12:00:00Z");
        app.world.settle().await;
        assert_eq!(ada.get(&format!("/api/servers/{id}")).await.json()["phase"], "running");
        assert_eq!(ada.get("/api/servers").await.json()["servers"].as_array().unwrap().len(), 1);
        for (button, phase) in
            [("hibernate", "sleeping"), ("wake", "running"), ("restart", "running"), ("stop", "stopped"), ("start", "running")]
        {
            app.world.clock.pass(SECOND);
            let answer = ada.ask(Method::POST, &format!("/api/servers/{id}/{button}"), None).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{button}: {}", answer.text);
            app.world.settle().await;
            assert_eq!(ada.get(&format!("/api/servers/{id}")).await.json()["phase"], phase, "{button}");
        }
        let again = ada.ask(Method::POST, &format!("/api/servers/{id}/start"), None).await;
        assert_eq!((again.status, again.header("content-type")), (StatusCode::CONFLICT, "application/problem+json"));
        assert_eq!(again.json()["detail"], "It is awake already, or waking.");
        let changed = ada.ask(Method::PATCH, &format!("/api/servers/{id}"), Some(json!({"name": "Hill", "auto_sleep": false}))).await;
        assert_eq!(
            (&changed.json()["name"], &changed.json()["auto_sleep"], &changed.json()["idle_minutes"]),
            (&json!("Hill"), &json!(false), &json!(20))
        );
        let events = ada.get(&format!("/api/servers/{id}/events")).await.json();
        assert!(events["events"].as_array().unwrap().iter().any(|event| event["what"] == "phase sleeping"), "{events}");
        assert_eq!(ada.get(&format!("/api/servers/{id}/stats")).await.json()["samples"], json!([]));
        assert_eq!(ada.ask(Method::DELETE, &format!("/api/servers/{id}"), None).await.status, StatusCode::ACCEPTED);
        app.world.settle().await;
        assert_eq!(ada.get(&format!("/api/servers/{id}")).await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn every_bad_field_of_json_is_named() {
    on_site("every_bad_field_of_json_is_named", |app| async move {
        let ada = app.world.player("ada@example.org").await;
        let ada = app.program(&ada).await;
        let table = [
            (json!({}), &["name", "game"][..]),
            (json!({"name": "", "game": "demo", "plan": "small"}), &["name"]),
            (json!({"name": 7, "game": "demo", "plan": "nope"}), &["plan"]),
            (json!({"name": ["a"], "game": "demo", "plan": "small"}), &["name"]),
            (json!({"name": "a", "game": "demo", "plan": "small", "idle_minutes": -1}), &["idle_minutes"]),
            (json!({"name": "a", "game": "demo", "plan": "small", "idle_minutes": 1e40}), &["idle_minutes"]),
            (json!({"name": "a", "game": "demo", "plan": "small", "auto_sleep": "maybe"}), &["auto_sleep"]),
            (json!({"name": "a", "game": "demo", "plan": "small", "env": {"PATH": "/x"}}), &["env.PATH"]),
            (json!({"name": "a", "game": "demo", "plan": "small", "env": []}), &["env"]),
            (json!({"name": "a", "game": "demo", "plan": "small", "owner": "me"}), &["owner"]),
            (json!({"name": "a\u{0}b", "game": "demo", "plan": "small"}), &["name"]),
        ];
        for (body, fields) in table {
            let answer = ada.post("/api/servers", body.clone()).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
            let problem = answer.json();
            let named: Vec<&str> = problem["errors"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut fields = fields.to_vec();
            fields.sort_unstable();
            assert_eq!(named, fields, "{body}");
        }
        for (body, status) in [("[]", 400), ("{", 400), ("\"x\"", 400)] {
            let answer = ada.ask_with(Method::POST, "/api/servers", None, &[("content-type", "application/json")]).await;
            assert_eq!(answer.status.as_u16(), 422, "an empty body has no fields");
            let kind = [("content-type", "application/json"), ("authorization", &format!("Bearer {}", ada.secret))];
            let answer = app.browser().send(Method::POST, "/api/servers", &kind, body).await;
            assert_eq!(answer.status.as_u16(), status, "{body}");
        }
        let kind = [("content-type", "text/xml"), ("authorization", &format!("Bearer {}", ada.secret))];
        assert_eq!(app.browser().send(Method::POST, "/api/servers", &kind, "<x/>").await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(ada.get("/api/servers").await.json()["servers"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn the_same_key_does_the_work_once() {
    on_site("the_same_key_does_the_work_once", |app| async move {
        let ada = app.world.player("ada@example.org").await;
        let ada = app.program(&ada).await;
        let body = json!({"name": "Valley", "game": "demo", "plan": "small"});
        let key = [("idempotency-key", "create-1")];
        let once = |body: Value| ada.ask_with(Method::POST, "/api/servers", Some(body), &key);
        let (first, again) = (once(body.clone()).await, once(body.clone()).await);
        assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::CREATED));
        assert_eq!((first.text, again.header("idempotency-replayed")), (again.text.clone(), "true"));
        let other = once(json!({"name": "Hill", "game": "demo", "plan": "small"})).await;
        assert_eq!(other.status, StatusCode::CONFLICT);
        let key = [("idempotency-key", "create-2")];
        let bad = ada.ask_with(Method::POST, "/api/servers", Some(json!({"name": ""})), &key).await;
        assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
        let mended = ada.ask_with(Method::POST, "/api/servers", Some(body.clone()), &key).await;
        assert_eq!(mended.status, StatusCode::CREATED, "what was refused leaves the key free");
        assert_eq!(ada.get("/api/servers").await.json()["servers"].as_array().unwrap().len(), 2);
        let eve = app.world.player("eve@example.org").await;
        let eve = app.program(&eve).await;
        let theirs = eve.ask_with(Method::POST, "/api/servers", Some(body.clone()), &key).await;
        assert_eq!((theirs.status, theirs.header("idempotency-replayed")), (StatusCode::CREATED, ""), "keys are each account's own");
        for bad in ["", "a b", &"x".repeat(129)] {
            let answer = ada.ask_with(Method::POST, "/api/servers", Some(body.clone()), &[("idempotency-key", bad)]).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_whose_request_was_cut_off_says_so_and_does_nothing_twice() {
    on_site("a_key_whose_request_was_cut_off_says_so_and_does_nothing_twice", |app| async move {
        let ada = app.world.player("ada@example.org").await;
        let program = app.program(&ada).await;
        let body = json!({"name": "Valley", "game": "demo", "plan": "small"});
        let bytes = serde_json::to_vec(&body).unwrap();
        // What a panel that is killed between the claim and the answer leaves behind.
        idempotency::claim(&app.world.ctx, &ada, "cut", "POST", "/api/servers", &bytes).await.expect("claimed");
        let ask = || program.ask_with(Method::POST, "/api/servers", Some(body.clone()), &[("idempotency-key", "cut")]);
        let early = ask().await;
        assert!(early.status == StatusCode::CONFLICT && early.text.contains("still under way"), "{}", early.text);
        app.world.clock.pass(3 * MINUTE);
        let late = ask().await;
        assert!(late.status == StatusCode::CONFLICT && late.text.contains("not known whether it was carried out"), "{}", late.text);
        assert_eq!(program.get("/api/servers").await.json()["servers"].as_array().unwrap().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn ten_requests_with_one_key_at_once_make_one_server() {
    on_site("ten_requests_with_one_key_at_once_make_one_server", |app| async move {
        let ada = app.world.player("ada@example.org").await;
        let ada = app.program(&ada).await;
        let key = [("idempotency-key", "at-once")];
        let ask = || ada.ask_with(Method::POST, "/api/servers", Some(json!({"name": "Valley", "game": "demo", "plan": "small"})), &key);
        let answers = futures_util::future::join_all((0..10).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| matches!(answer.status, StatusCode::CREATED | StatusCode::CONFLICT)));
        assert_eq!(ada.get("/api/servers").await.json()["servers"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_ledger_is_read_page_by_page_without_a_gap() {
    on_site("the_ledger_is_read_page_by_page_without_a_gap", |app| async move {
        let admin = app.world.admin().await;
        let ada = app.world.player("ada@example.org").await;
        for n in 0..120 {
            // Several in one moment, so that the order has to come from the keys.
            if n % 7 == 0 {
                app.world.clock.pass(1);
            }
            billing::grant(&app.world.ctx, &admin, "ada@example.org", "0.5", "", &format!("request{n:04}")).await.unwrap();
        }
        let program = app.program(&ada).await;
        let (mut keys, mut next) = (Vec::new(), Some(String::new()));
        while let Some(behind) = next {
            let query = if behind.is_empty() { String::new() } else { format!("?behind={behind}") };
            let page = program.get(&format!("/api/billing/transactions{query}")).await.json();
            keys.extend(page["transactions"].as_array().unwrap().iter().map(|entry| entry["key"].as_str().unwrap().to_owned()));
            next = page["next"].as_str().map(str::to_owned);
        }
        assert_eq!(keys.len(), 121);
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 121);
        assert_eq!(program.get("/api/billing").await.json()["balance"], "160.00");
        for bad in ["x", "1.%00", "1.", "99999999999999999999.k"] {
            assert_eq!(program.get(&format!("/api/billing/transactions?behind={bad}")).await.status, StatusCode::OK, "{bad}");
        }
        let browser = app.log_in("ada@example.org").await;
        let first = browser.get("/billing").await;
        first.shows(">160.00</td>");
        let older = first.text.split("/billing?behind=").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let second = browser.get(&format!("/billing?behind={older}")).await;
        // 50 entries of half a credit lie between the newest one and the first of this page.
        second.shows(">135.00</td>");
    })
    .await;
}

#[tokio::test]
async fn the_log_comes_by_number() {
    on_site("the_log_comes_by_number", |app| async move {
        let ada = app.world.player("ada@example.org").await;
        let id = app.world.create(&ada, "Valley").await.id;
        let lines = (1..=150).map(|seq| LogLine { seq: 1_700_000_000_000_000_000 + seq, text: format!("line {seq}") }).collect();
        let event = Event {
            server: id.clone(),
            at: roost::model::time::Millis(0),
            command: None,
            kind: EventKind::Log { lines, gap: false, open: None },
        };
        app.world.tell(FromNode::Event(event)).await;
        let program = app.program(&ada).await;
        for (query, count) in [("", 100), ("?tail=5", 5), ("?tail=0", 1), ("?tail=-3", 100), ("?tail=100000", 150), ("?tail=x", 100)] {
            let lines = program.get(&format!("/api/servers/{id}/logs{query}")).await.json();
            let lines = lines["lines"].as_array().unwrap();
            assert_eq!(lines.len(), count, "{query}");
            assert_eq!(lines.last().unwrap(), &json!({"seq": "1700000000000000150", "text": "line 150"}));
        }
        let mut socket = program.socket(&format!("/api/servers/{id}/console?after=1700000000000000149")).await.unwrap();
        assert_eq!(socket.next().await.unwrap(), "{\"seq\":\"1700000000000000150\",\"text\":\"line 150\"}\n");
    })
    .await;
}

#[tokio::test]
async fn a_token_alone_counts_where_one_is_shown() {
    on_site("a_token_alone_counts_where_one_is_shown", |app| async move {
        let ada = app.player("ada@example.org").await;
        assert_eq!(ada.get("/api/servers").await.status, StatusCode::OK, "pages of this site may ask too");
        for header in ["Bearer roost_0000", "Bearer ", "Basic YTpi", "Bearer", "roost_0000"] {
            let answer = ada.send(Method::GET, "/api/servers", &[("authorization", header)], "").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{header}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
        assert_eq!(app.browser().get("/api/servers").await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    on_both("bodies_over_the_limit_are_refused", |world| async move {
        let app = App::with(world, WebSettings { max_body_bytes: 1_000, ..WebSettings::default() }).await;
        let ada = app.world.player("ada@example.org").await;
        let program = app.program(&ada).await;
        let answer = program.post("/api/servers", json!({"name": "x".repeat(2_000)})).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::PAYLOAD_TOO_LARGE, "application/problem+json"));
        let pieces = (0..100).map(|_| Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes::Bytes::from("x".repeat(100)))));
        let stream = http_body_util::StreamBody::new(futures_util::stream::iter(pieces));
        let headers = [("authorization", &*format!("Bearer {}", program.secret)), ("content-type", "application/json")];
        let undeclared = app.browser().send(Method::POST, "/api/servers", &headers, reqwest::Body::wrap(stream)).await;
        assert_eq!(undeclared.status, StatusCode::PAYLOAD_TOO_LARGE);
        let page = app.browser().post("/auth/login", &[("email", &"x".repeat(2_000))]).await;
        assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
        page.shows("Too much at once");
    })
    .await;
}

#[tokio::test]
async fn what_leads_nowhere_is_answered_in_the_readers_form() {
    on_site("what_leads_nowhere_is_answered_in_the_readers_form", |app| async move {
        let ada = app.player("ada@example.org").await;
        for path in [
            "/nowhere",
            "/servers/%00",
            "/servers/..%2f..%2fetc",
            "/servers/UPPER",
            "/servers/%ff",
            "/api/servers/x'--",
            "/api/nowhere",
            "/static/../Cargo.toml",
            "/static/nope.js",
        ] {
            let answer = ada.get(path).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
            let kind = answer.header("content-type");
            assert_eq!(kind.starts_with("application/problem+json"), path.starts_with("/api/"), "{path}: {kind}");
        }
        ada.get("/nowhere").await.shows("ada@example.org");
        let wrong = ada.send(Method::DELETE, "/dashboard", &[("origin", &app.url)], "").await;
        assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(!wrong.header("allow").is_empty());
    })
    .await;
}

#[tokio::test]
async fn every_answer_tells_browsers_what_this_site_never_does() {
    on_site("every_answer_tells_browsers_what_this_site_never_does", |app| async move {
        let browser = app.browser();
        for path in ["/", "/auth/login", "/nowhere", "/api/games", "/health", "/static/roost.css?v=1"] {
            let answer = browser.get(path).await;
            assert!(answer.header("content-security-policy").contains("default-src 'self'"), "{path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("x-request-id").len(), 16, "{path}");
            let kept = answer.header("cache-control").contains("immutable");
            assert_eq!(kept, path.starts_with("/static/"), "{path}");
            assert!(kept || answer.header("cache-control") == "no-store", "{path}");
        }
        let etag = browser.get("/static/roost.css").await.header("etag").to_owned();
        let same = browser.send(Method::GET, "/static/roost.css", &[("if-none-match", &etag)], "").await;
        assert_eq!((same.status, same.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
        let named = browser.send(Method::GET, "/health", &[("x-request-id", "abc-123")], "").await;
        assert_eq!(named.header("x-request-id"), "abc-123");
    })
    .await;
}

#[tokio::test]
async fn the_description_names_every_route_of_the_api_and_no_other() {
    on_site("the_description_names_every_route_of_the_api_and_no_other", |app| async move {
        let document = app.browser().get("/api/openapi.json").await.json();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
        let json = ["/auth/login", "/auth/register"];
        let routes: BTreeSet<(String, String)> = route_list()
            .into_iter()
            .filter(|route| route.path.starts_with("/api/") || (route.method == "POST" && json.contains(&route.path)))
            .map(|route| (route.method.to_owned(), route.path.to_owned()))
            .collect();
        assert_eq!(described, routes);
    })
    .await;
}

#[tokio::test]
async fn the_catalogue_is_for_everybody() {
    on_site("the_catalogue_is_for_everybody", |app| async move {
        let browser = app.browser();
        let games = browser.get("/api/games").await.json();
        assert_eq!(games["games"][0]["id"], "demo");
        let plans = browser.get("/api/games/demo/plans").await.json();
        assert_eq!(plans["plans"][0]["id"], "small");
        assert_eq!(browser.get("/api/games/chess/plans").await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn whoever_watches_gets_numbers_and_others_do_not() {
    on_site("whoever_watches_gets_numbers_and_others_do_not", |mut app| async move {
        let secret = users::setup_secret(&app.world.ctx).await.unwrap();
        assert!(secret.is_some());
        let admin = app.world.admin().await;
        let ada = app.world.player("ada@example.org").await;
        app.world.create(&ada, "Valley").await;
        app.world.settle().await;
        app.world.beat().await;
        let (admin, ada) = (app.program(&admin).await, app.program(&ada).await);
        assert_eq!(ada.get("/metrics").await.status, StatusCode::FORBIDDEN);
        assert_eq!(app.browser().get("/metrics").await.status, StatusCode::UNAUTHORIZED);
        ada.get("/api/servers").await;
        let text = admin.get("/metrics").await.text;
        for line in [
            "roost_servers{node=\"local\",phase=\"running\"} 1",
            "roost_node_online{node=\"local\"} 1",
            "roost_http_requests_total{route=\"/api/servers\",method=\"GET\",status=\"200\"} 1",
            "roost_live_sockets 0",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        app.world.clock.pass(HOUR);
        assert!(admin.get("/metrics").await.text.contains("roost_node_online{node=\"local\"} 0"));
        let ready = app.browser().get("/ready").await.json();
        assert_eq!((&ready["status"], &ready["nodes"]["online"]), (&json!("ready"), &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn pages_are_packed_only_for_those_who_ask() {
    on_site("pages_are_packed_only_for_those_who_ask", |app| async move {
        let browser = app.browser();
        let plain = browser.get("/auth/login").await;
        assert_eq!(plain.header("content-encoding"), "");
        let packed = browser.client.get(format!("{}/auth/login", app.url)).header("accept-encoding", "gzip").send().await.unwrap();
        assert_eq!(packed.headers()["content-encoding"], "gzip");
        assert!(packed.bytes().await.unwrap().len() < plain.text.len());
    })
    .await;
}
