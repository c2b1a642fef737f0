//! Servers in the browser: creating, buttons, settings, deleting, the log, live sockets, hostile words, and what a plain look writes.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use roost::domain::servers;
use roost::model::ids::{NodeId, ServerId};
use roost::model::servers::{Phase, Wanted};
use roost::model::time::{MINUTE, Millis, SECOND};
use roost::wire::agent::{Event, EventKind, FromNode, LogLine, ToNode};

use crate::app::{App, Browser, PATIENCE, on_site};

/// What is in a name or a log that wants to be more than words.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> ${HOME} ../../x {{7*7}} hx-get=/x";

async fn make(app: &mut App, browser: &Browser, name: &str) -> ServerId {
    let answer = browser
        .post("/servers/create", &[("game", "demo"), ("plan", "small"), ("name", name), ("auto_sleep", "on"), ("idle_minutes", "15")])
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let id = answer.location().trim_start_matches("/servers/").parse().expect("an id");
    app.world.settle().await;
    id
}

async fn log(app: &App, id: &ServerId, lines: &[(u64, &str)]) {
    let lines = lines.iter().map(|(seq, text)| LogLine { seq: *seq, text: (*text).to_owned() }).collect();
    let event = Event { server: id.clone(), at: Millis(0), command: None, kind: EventKind::Log { lines, gap: false, open: None } };
    app.world.tell(FromNode::Event(event)).await;
}

/// Waits until the node has been asked for something.
async fn asked(app: &App, what: impl Fn(&ToNode) -> bool) -> ToNode {
    let begin = tokio::time::Instant::now();
    loop {
        if let Some((_, message)) = app.world.engine.take().into_iter().find(|(_, message)| what(message)) {
            return message;
        }
        assert!(begin.elapsed() < PATIENCE, "the node is never asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_server_is_made_put_to_sleep_woken_and_deleted_with_plain_forms() {
    on_site("a_server_is_made_put_to_sleep_woken_and_deleted_with_plain_forms", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        ada.get("/dashboard").await.shows("Make your first server");
        ada.get("/servers/create").await.shows("/servers/create?game=demo#form");
        ada.get("/servers/create?game=demo").await.shows("name=\"plan\" value=\"small\"");
        let id = make(&mut app, &ada, "Valley of Echoes").await;
        let page = ada.get(&format!("/servers/{id}")).await;
        assert_eq!(page.status, StatusCode::OK);
        page.shows("Valley of Echoes");
        page.shows("<b>Awake</b>");
        page.shows("play.example.org:25000");
        ada.get("/dashboard").await.shows("1 awake,");
        for (button, phase, notice) in [
            ("hibernate", Phase::Sleeping, "It is falling asleep."),
            ("wake", Phase::Running, "It is waking up."),
            ("restart", Phase::Running, "It is restarting."),
            ("stop", Phase::Stopped, "It is stopping."),
            ("start", Phase::Running, "It is starting."),
        ] {
            app.world.clock.pass(SECOND);
            let answer = ada.post(&format!("/servers/{id}/{button}"), &[]).await;
            assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, format!("/servers/{id}").as_str()), "{button}");
            app.world.settle().await;
            assert_eq!(app.world.server(&id).await.unwrap().life.phase, phase, "{button}");
            ada.get(&format!("/servers/{id}")).await.shows(notice);
        }
        let wrong = ada.post(&format!("/servers/{id}/delete"), &[("confirm", "valley")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        wrong.shows("id=\"confirm-error\"");
        wrong.shows("value=\"valley\"");
        let answer = ada.post(&format!("/servers/{id}/delete"), &[("confirm", "Valley of Echoes")]).await;
        assert_eq!(answer.location(), "/dashboard");
        app.world.settle().await;
        assert_eq!(ada.get(&format!("/servers/{id}")).await.status, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_button_on_the_dashboard_leads_back_there() {
    on_site("a_button_on_the_dashboard_leads_back_there", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "a").await;
        let from = format!("{}/dashboard", app.url);
        let headers = [("referer", from.as_str()), ("origin", app.url.as_str())];
        let answer = ada.send(Method::POST, &format!("/servers/{id}/hibernate"), &headers, "").await;
        assert_eq!(answer.location(), "/dashboard");
    })
    .await;
}

#[tokio::test]
async fn what_makes_no_sense_is_answered_with_the_reason() {
    on_site("what_makes_no_sense_is_answered_with_the_reason", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "a").await;
        for (button, why) in [("wake", "It is awake already"), ("start", "It is awake already"), ("retry", "Nothing has failed")] {
            let answer = ada.post(&format!("/servers/{id}/{button}"), &[]).await;
            assert_eq!(answer.status, StatusCode::CONFLICT, "{button}");
            answer.shows(why);
            answer.shows("id=\"head\"");
        }
        let answer = ada.send(Method::POST, &format!("/servers/{id}/wake"), &[("origin", &app.url), ("hx-request", "true")], "").await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
    })
    .await;
}

#[tokio::test]
async fn every_bad_field_gets_its_message_and_nothing_is_made() {
    on_site("every_bad_field_gets_its_message_and_nothing_is_made", |app| async move {
        let ada = app.player("ada@example.org").await;
        let good = [("game", "demo"), ("plan", "small"), ("name", "a"), ("idle_minutes", "15")];
        let long = "x".repeat(61);
        let table: [(&str, &str, &str); 16] = [
            ("name", "", "Give the server a name."),
            ("name", "   ", "Give the server a name."),
            ("name", &long, "at most 60"),
            ("name", "a\0b", "control characters"),
            ("name", "a\nb", "line breaks"),
            ("name", "a\u{202e}b", "direction marks"),
            ("plan", "", "Choose one of the plans"),
            ("plan", "../small", "Choose one of the plans"),
            ("plan", "huge", "Choose one of the plans"),
            ("idle_minutes", "0", "Between 1 and 1440"),
            ("idle_minutes", "-5", "Between 1 and 1440"),
            ("idle_minutes", "1441", "Between 1 and 1440"),
            ("idle_minutes", "99999999999999999999", "Enter a whole number."),
            ("idle_minutes", "fifteen", "Enter a whole number."),
            ("env.NOT_THERE", "x", "whole form"),
            ("env.${x}", "x", "whole form"),
        ];
        for (field, value, message) in table {
            let mut fields: Vec<(&str, &str)> = good.iter().copied().filter(|(name, _)| *name != field).collect();
            fields.push((field, value));
            let answer = ada.post("/servers/create", &fields).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}={value:?}");
            if message == "whole form" {
                answer.shows("One field needs another look");
            } else {
                answer.shows(message);
                answer.shows(&format!("{field}-error"));
            }
        }
        let unknown = ada.post("/servers/create", &[("game", "chess"), ("plan", "small"), ("name", "a")]).await;
        assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(servers::list(&app.world.ctx, &app.actor("ada@example.org").await).await.unwrap().is_empty());
        assert!(app.world.engine.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_was_typed_comes_back_with_a_refused_form() {
    on_site("what_was_typed_comes_back_with_a_refused_form", |app| async move {
        let ada = app.player("ada@example.org").await;
        let fields = [("game", "demo"), ("plan", "small"), ("name", HOSTILE), ("idle_minutes", "7777")];
        let answer = ada.post("/servers/create", &fields).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        answer.shows("value=\"7777\"");
        answer.shows("value=\"&#60;script&#62;");
        assert!(!answer.text.contains("name=\"auto_sleep\" value=\"on\" checked"), "it was not ticked");
    })
    .await;
}

#[tokio::test]
async fn hostile_names_and_lines_are_words_and_nothing_else() {
    on_site("hostile_names_and_lines_are_words_and_nothing_else", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let name = "<script>alert(1)</script>\"'><img src=x> ${HOME} ../x";
        let id = make(&mut app, &ada, name).await;
        log(&app, &id, &[(1, HOSTILE), (2, "\u{1b}[31m<b>red</b>\u{1b}[0m\u{1b}]8;;javascript:alert(1)\u{7}link")]).await;
        let mut socket = ada.socket(&format!("/servers/{id}/live")).await.unwrap();
        // The lines of the log and the page's parts come in one text, or in two.
        let mut live = socket.until("link").await;
        if !live.contains("id=\"events\"") {
            live += &socket.until("id=\"events\"").await;
        }
        let mut pages = vec![("socket", live)];
        for path in [format!("/servers/{id}"), format!("/servers/{id}/logs"), "/dashboard".to_owned()] {
            pages.push(("page", ada.get(&path).await.text));
        }
        for (what, text) in pages {
            for bad in ["<script>alert", "<img src=x", "<b>red", "href=\"javascript"] {
                assert!(!text.contains(bad), "{what} holds {bad}: {text}");
            }
        }
        app.world.clock.pass(SECOND);
        let answer = ada.post(&format!("/servers/{id}/delete"), &[("confirm", name)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    })
    .await;
}

#[tokio::test]
async fn settings_are_changed_checked_and_kept() {
    on_site("settings_are_changed_checked_and_kept", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "before").await;
        let path = format!("/servers/{id}/settings");
        let answer = ada.post(&path, &[("name", "after"), ("idle_minutes", "30")]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let server = app.world.server(&id).await.unwrap();
        assert_eq!((server.name.as_str(), server.auto_sleep, server.idle_minutes), ("after", false, 30));
        let answer = ada.post(&path, &[("name", ""), ("idle_minutes", "0"), ("auto_sleep", "on")]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        answer.shows("id=\"name-error\"");
        answer.shows("id=\"idle_minutes-error\"");
        assert_eq!(app.world.server(&id).await.unwrap().name, "after");
    })
    .await;
}

#[tokio::test]
async fn without_credits_the_page_says_why_nothing_wakes() {
    on_site("without_credits_the_page_says_why_nothing_wakes", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "a").await;
        ada.post(&format!("/servers/{id}/hibernate"), &[]).await;
        app.world.settle().await;
        let admin = app.world.admin().await;
        roost::domain::billing::grant(&app.world.ctx, &admin, "ada@example.org", "-100", "taken back", "request00").await.unwrap();
        ada.get(&format!("/servers/{id}")).await.shows("You are out of credits");
        let answer = ada.post(&format!("/servers/{id}/wake"), &[]).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        answer.shows("No credits are left.");
        ada.get("/billing").await.shows("Removed by an admin: taken back");
        let answer = ada.post("/servers/create", &[("game", "demo"), ("plan", "small"), ("name", "b")]).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        answer.shows("You have no credits left");
    })
    .await;
}

#[tokio::test]
async fn a_socket_replays_the_log_behind_a_line_and_doubles_none() {
    on_site("a_socket_replays_the_log_behind_a_line_and_doubles_none", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "a").await;
        log(&app, &id, &[(10, "line ten"), (20, "line twenty"), (30, "line thirty")]).await;
        let mut socket = ada.socket(&format!("/servers/{id}/live?after=10")).await.unwrap();
        let mut all = socket.until("line thirty").await;
        log(&app, &id, &[(30, "line thirty"), (40, "line forty")]).await;
        all += &socket.until("line forty").await;
        for (text, times) in [("line ten", 0), ("line twenty", 1), ("line thirty", 1), ("line forty", 1), ("class=\"gap\"", 0)] {
            assert_eq!(all.matches(text).count(), times, "{text} in {all}");
        }
        drop(socket);
        log(&app, &id, &[(50, "line fifty")]).await;
        let mut again = ada.socket(&format!("/servers/{id}/live?after=40")).await.unwrap();
        let all = again.until("line fifty").await;
        assert!(!all.contains("line forty"), "{all}");
        let lost = ada.socket(&format!("/servers/{id}/live?after=5")).await.unwrap().until("line ten").await;
        assert!(lost.contains("class=\"gap\""), "what lay between 5 and 10 is not known: {lost}");
    })
    .await;
}

#[tokio::test]
async fn a_change_of_phase_arrives_without_asking() {
    on_site("a_change_of_phase_arrives_without_asking", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "a").await;
        let mut page = ada.socket(&format!("/servers/{id}/live")).await.unwrap();
        let mut dashboard = ada.socket("/dashboard/live").await.unwrap();
        page.until("data-say=\"a is now: Awake\"").await;
        dashboard.until("1 awake").await;
        ada.post(&format!("/servers/{id}/hibernate"), &[]).await;
        app.world.settle().await;
        let update = page.until("data-say=\"a is now: Asleep\"").await;
        assert!(update.contains("id=\"events\"") && update.contains("id=\"stats\""), "{update}");
        dashboard.until("0 awake,</span> <span class=\"c-night\">1 asleep").await;
        ada.post(&format!("/servers/{id}/delete"), &[("confirm", "a")]).await;
        app.world.settle().await;
        page.until("This server has been deleted.").await;
        dashboard.until("No server is left.").await;
    })
    .await;
}

#[tokio::test]
async fn sockets_end_with_the_rights_of_whoever_opened_them() {
    on_site("sockets_end_with_the_rights_of_whoever_opened_them", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "a").await;
        let paths = [format!("/servers/{id}/live"), format!("/servers/{id}/console"), "/dashboard/live".to_owned()];
        for end in ["/auth/logout", "/account/logout-everywhere"] {
            let here = app.log_in("ada@example.org").await;
            let mut open = Vec::new();
            for path in &paths {
                open.push(here.socket(path).await.unwrap());
            }
            app.world.clock.pass(SECOND);
            assert_eq!(here.post(end, &[]).await.status, StatusCode::SEE_OTHER);
            for socket in open {
                socket.end().await;
            }
            app.world.clock.pass(SECOND);
        }
    })
    .await;
}

#[tokio::test]
async fn an_account_holds_so_many_sockets_and_no_more() {
    on_site("an_account_holds_so_many_sockets_and_no_more", |app| async move {
        let ada = app.player("ada@example.org").await;
        let mut open = Vec::new();
        for _ in 0..32 {
            open.push(ada.socket("/dashboard/live").await.unwrap());
        }
        assert_eq!(ada.socket("/dashboard/live").await.err(), Some(429));
        let bea = app.player("bea@example.org").await;
        assert!(bea.socket("/dashboard/live").await.is_ok(), "others have their own");
    })
    .await;
}

#[tokio::test]
async fn a_line_reaches_the_game_and_what_is_no_line_does_not() {
    on_site("a_line_reaches_the_game_and_what_is_no_line_does_not", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "a").await;
        let path = format!("/servers/{id}/console");
        assert_eq!(ada.post(&path, &[("line", "say ${HOME} \"hi\"")]).await.status, StatusCode::SEE_OTHER);
        let sent = asked(&app, |message| matches!(message, ToNode::ConsoleInput { .. })).await;
        assert_eq!(sent, ToNode::ConsoleInput { server: id.clone(), line: "say ${HOME} \"hi\"".to_owned() });
        let mut socket = ada.socket(&path).await.unwrap();
        socket.say("list\n").await;
        let sent = asked(&app, |message| matches!(message, ToNode::ConsoleInput { .. })).await;
        assert_eq!(sent, ToNode::ConsoleInput { server: id.clone(), line: "list".to_owned() });
        socket.say("two\nlines").await;
        socket.until("One line at a time").await;
        log(&app, &id, &[(7, "players: none")]).await;
        assert_eq!(socket.until("players").await, "{\"seq\":\"7\",\"text\":\"players: none\"}\n");
        let fragment = ada
            .send(
                Method::POST,
                &path,
                &[("origin", &app.url), ("hx-request", "true"), ("content-type", "application/x-www-form-urlencoded")],
                "line=%00",
            )
            .await;
        assert_eq!(fragment.status, StatusCode::UNPROCESSABLE_ENTITY);
        fragment.shows("hx-swap-oob");
        ada.post(&format!("/servers/{id}/hibernate"), &[]).await;
        app.world.settle().await;
        let asleep = ada.post(&path, &[("line", "list")]).await;
        assert_eq!(asleep.status, StatusCode::CONFLICT);
        asleep.shows("The game does not run");
    })
    .await;
}

#[tokio::test]
async fn a_silent_node_is_said_and_nothing_waits_for_it() {
    on_site("a_silent_node_is_said_and_nothing_waits_for_it", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "a").await;
        app.world.beat().await;
        assert!(!ada.get(&format!("/servers/{id}")).await.text.contains("last heard of"));
        app.world.clock.pass(MINUTE);
        ada.get(&format!("/servers/{id}")).await.shows("last heard of");
        ada.get("/dashboard").await.shows("last seen");
    })
    .await;
}

#[tokio::test]
async fn looking_writes_nothing() {
    on_site("looking_writes_nothing", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "a").await;
        ada.get("/dashboard").await;
        // With the one writing place taken, a page that writes anything waits in vain.
        let held = app.world.ctx.db.begin().await.unwrap();
        let paths =
            ["/dashboard", "/servers/create?game=demo", "/billing", "/account", &format!("/servers/{id}"), &format!("/servers/{id}/logs")];
        for path in paths {
            let page = tokio::time::timeout(Duration::from_secs(3), ada.get(path)).await.expect("it does not wait");
            assert_eq!(page.status, StatusCode::OK, "{path}");
        }
        drop(held);
        assert_eq!(app.world.server(&id).await.unwrap().life.wanted, Wanted::Running);
    })
    .await;
}

#[tokio::test]
async fn a_busy_database_is_explained_and_a_broken_one_gives_nothing_away() {
    on_site("a_busy_database_is_explained_and_a_broken_one_gives_nothing_away", |app| async move {
        let ada = app.player("ada@example.org").await;
        app.world.ctx.db.close().await;
        let answer = ada.get("/dashboard").await;
        assert!(answer.status.is_server_error());
        for bad in ["sqlx", "SELECT", "pool", "sqlite", "postgres", "database refused"] {
            assert!(!answer.text.contains(bad), "{bad}: {}", answer.text);
        }
        answer.shows(answer.header("x-request-id"));
        assert_eq!(app.browser().get("/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(app.browser().get("/health").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn nodes_show_who_lives_where_and_keep_themselves_fresh() {
    on_site("nodes_show_who_lives_where_and_keep_themselves_fresh", |mut app| async move {
        let ada = app.player("ada@example.org").await;
        let id = make(&mut app, &ada, "Valley").await;
        app.world.beat().await;
        app.account("eye@example.org", roost::model::users::Role::Viewer).await;
        let eye = app.log_in("eye@example.org").await;
        eye.get("/nodes").await.shows("play.example.org");
        let page = eye.get(&format!("/nodes/{}", NodeId::local())).await;
        page.shows(id.as_str());
        page.shows("Valley");
        assert_eq!(eye.get("/nodes/elsewhere").await.status, StatusCode::NOT_FOUND);
        let rows = eye.socket("/nodes/live").await.unwrap().until("</tbody>").await;
        assert!(rows.starts_with("<tbody id=\"nodes\">"), "{rows}");
    })
    .await;
}
