//! Managing accounts, what tokens may do, and the audit of it all.

use reqwest::{Method, StatusCode};
use roost::domain::tokens;
use roost::model::servers::Wanted;
use roost::model::time::{DAY, SECOND};
use roost::model::tokens::{Scope, Scopes};
use roost::model::users::Role;
use serde_json::json;

use crate::app::{App, PASSWORD, Program, on_site};

async fn id_of(app: &App, email: &str) -> String {
    app.actor(email).await.user.id.to_string()
}

#[tokio::test]
async fn an_admin_finds_an_account_and_changes_its_role() {
    on_site("an_admin_finds_an_account_and_changes_its_role", |app| async move {
        app.world.admin().await;
        let (admin, ada) = (app.log_in("admin@example.org").await, app.player("ada@example.org").await);
        let list = admin.get("/admin/users?q=ADA").await;
        list.shows("ada@example.org");
        list.lacks("<bdi>admin@example.org</bdi></a>");
        admin.get("/admin/users?q=%25").await.shows("No account matches");
        let page = format!("/admin/users/{}", id_of(&app, "ada@example.org").await);
        assert_eq!(ada.get("/admin/servers").await.status, StatusCode::NOT_FOUND);
        let answer = admin.post(&format!("{page}/role"), &[("role", "emperor")]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        let answer = admin.post(&format!("{page}/role"), &[("role", "viewer")]).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, page.as_str()));
        assert_eq!(ada.get("/admin/servers").await.status, StatusCode::OK, "it counts from the next request");
        let link = admin.post(&format!("{page}/reset-link"), &[]).await;
        link.shows("A link to set a new password");
        let url = link.text.split("<code>").nth(1).expect("a link").split('<').next().expect("whole").replace("&#38;", "&");
        let path = url.strip_prefix("http://").map_or(url.as_str(), |rest| &rest[rest.find('/').unwrap_or(0)..]).to_owned();
        assert_eq!(app.browser().get(&path).await.status, StatusCode::OK, "{url}");
        assert!(!admin.get(&page).await.text.contains(&path), "it is shown once");
        ada.get(&page).await.lacks("Change role");
        let answer = ada.post(&format!("{page}/role"), &[("role", "admin")]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn nobody_changes_their_own_role_so_that_an_admin_remains() {
    on_site("nobody_changes_their_own_role_so_that_an_admin_remains", |app| async move {
        let first = app.world.admin().await;
        let second = app.account("bea@example.org", Role::Admin).await;
        let admin = app.log_in("admin@example.org").await;
        let own = format!("/admin/users/{}", first.user.id);
        assert_eq!(admin.post(&format!("{own}/role"), &[("role", "player")]).await.status, StatusCode::CONFLICT);
        assert_eq!(admin.post(&format!("{own}/suspend"), &[("why", "tired")]).await.status, StatusCode::CONFLICT);
        // Each takes the other's role away at the same moment: whoever comes second is no admin any more.
        let ctx = &app.world.ctx;
        let (one, other) = tokio::join!(
            roost::domain::accounts::set_role(ctx, &first, &second.user.id, "player"),
            roost::domain::accounts::set_role(ctx, &second, &first.user.id, "player"),
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        assert!(roost::store::users::any_with_role(&ctx.db, Role::Admin).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_suspended_account_is_out_everywhere_at_once_and_its_servers_rest() {
    on_site("a_suspended_account_is_out_everywhere_at_once_and_its_servers_rest", |app| async move {
        app.world.admin().await;
        let (admin, ada) = (app.log_in("admin@example.org").await, app.player("ada@example.org").await);
        let actor = app.actor("ada@example.org").await;
        let server = app.world.create(&actor, "Valley").await.id;
        let program = app.program(&actor).await;
        let socket = ada.socket(&format!("/servers/{server}/live")).await.expect("it opens");
        let page = format!("/admin/users/{}", actor.user.id);
        let answer = admin.post(&format!("{page}/suspend"), &[("why", "")]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        answer.shows("Say why");
        let answer = admin.post(&format!("{page}/suspend"), &[("why", "Card of somebody else.")]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        socket.end().await;
        assert!(ada.get("/dashboard").await.location().starts_with("/auth/login"));
        assert_eq!(program.get("/api/me").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(app.world.server(&server).await.unwrap().life.wanted, Wanted::Stopped);
        let refused = app.browser().post("/auth/login", &[("email", "ada@example.org"), ("password", PASSWORD)]).await;
        assert_ne!(refused.status, StatusCode::SEE_OTHER);
        refused.shows("Card of somebody else.");
        let answer = admin.post(&format!("/servers/{server}/start"), &[]).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "nobody starts it, whoever they are");
        assert_eq!(admin.post(&format!("{page}/lift"), &[]).await.status, StatusCode::SEE_OTHER);
        app.world.clock.pass(SECOND);
        let ada = app.log_in("ada@example.org").await;
        assert_eq!(ada.post(&format!("/servers/{server}/start"), &[]).await.status, StatusCode::SEE_OTHER);
    })
    .await;
}

#[tokio::test]
async fn sessions_and_tokens_end_at_once_and_credits_come_with_a_reason() {
    on_site("sessions_and_tokens_end_at_once_and_credits_come_with_a_reason", |app| async move {
        let admin = app.world.admin().await;
        let boss = app.program(&admin).await;
        let ada = app.player("ada@example.org").await;
        let actor = app.actor("ada@example.org").await;
        let program = app.program(&actor).await;
        let path = format!("/api/users/{}", actor.user.id);
        let gift =
            boss.post(&format!("{path}/credits"), json!({"amount": "12.50", "note": "for the tournament", "request": "0123456789"})).await;
        assert_eq!(gift.status, StatusCode::OK, "{}", gift.text);
        assert_eq!(gift.json()["balance"], "112.50");
        let again = boss.post(&format!("{path}/credits"), json!({"amount": "12.50", "request": "0123456789"})).await;
        assert_eq!(again.json()["balance"], "112.50", "the same request counts once");
        ada.get("/billing").await.shows("for the tournament");
        assert_eq!(boss.post(&format!("{path}/revoke"), json!({})).await.status, StatusCode::NO_CONTENT);
        assert!(ada.get("/dashboard").await.location().starts_with("/auth/login"));
        assert_eq!(program.get("/api/me").await.status, StatusCode::UNAUTHORIZED);
        let changed = boss.ask(Method::PATCH, &path, Some(json!({"role": "operator", "suspended": true, "why": "a test"}))).await;
        assert_eq!((changed.json()["role"].as_str(), changed.json()["suspended_why"].as_str()), (Some("operator"), Some("a test")));
        let wrong = boss.ask(Method::PATCH, &path, Some(json!({"role": "operator", "balance": "1"}))).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    })
    .await;
}

async fn with_scopes(app: &App, actor: &roost::domain::Actor, scopes: Scopes) -> Program {
    let (_, secret) = tokens::create(&app.world.ctx, actor, "narrow", 1, scopes).await.expect("a token");
    let mut program = app.program(actor).await;
    program.secret = secret;
    program
}

#[tokio::test]
async fn a_token_does_what_it_was_made_for_and_nothing_else() {
    on_site("a_token_does_what_it_was_made_for_and_nothing_else", |app| async move {
        let operator = app.account("opal@example.org", Role::Operator).await;
        let admin = app.world.admin().await;
        roost::domain::billing::grant(&app.world.ctx, &admin, "opal@example.org", "100", "", "").await.expect("given");
        let server = app.world.create(&operator, "Valley").await.id;
        let of = |path: &str| path.replace("{id}", server.as_str());
        let table = [
            ("GET", "/api/servers", Scope::See),
            ("GET", "/api/servers/{id}", Scope::See),
            ("GET", "/api/servers/{id}/logs", Scope::See),
            ("POST", "/api/servers/{id}/stop", Scope::Power),
            ("PATCH", "/api/servers/{id}", Scope::Settings),
            ("GET", "/api/servers/{id}/shares", Scope::Settings),
            ("POST", "/api/servers/{id}/backup", Scope::Files),
            ("POST", "/api/servers", Scope::Create),
            ("GET", "/api/billing", Scope::Billing),
            ("GET", "/api/billing/transactions", Scope::Billing),
            ("GET", "/api/nodes", Scope::Panel),
            ("GET", "/api/templates", Scope::Panel),
            ("GET", "/api/users", Scope::Panel),
        ];
        for chosen in Scope::ALL {
            let program = with_scopes(&app, &operator, Scopes::NONE.with(*chosen)).await;
            for (method, path, asks) in table {
                let answer = program.ask(method.parse().unwrap(), &of(path), None).await;
                let refused = matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
                assert_eq!(refused, *chosen != asks, "{method} {path} with {chosen:?}: {} {}", answer.status, answer.text);
            }
        }
        let wrong = tokens::create(&app.world.ctx, &operator, "nothing", 1, Scopes::NONE).await;
        assert!(wrong.is_err());
    })
    .await;
}

#[tokio::test]
async fn whatever_changes_something_leaves_a_line_and_no_secret() {
    on_site("whatever_changes_something_leaves_a_line_and_no_secret", |app| async move {
        app.world.admin().await;
        let admin = app.log_in("admin@example.org").await;
        let ada = app.player("ada@example.org").await;
        let actor = app.actor("ada@example.org").await;
        let server = app.world.create(&actor, "Valley").await.id;
        ada.post(&format!("/servers/{server}/stop"), &[]).await;
        ada.post("/account/password", &[("current", PASSWORD), ("new", "another battery horse")]).await;
        ada.post("/account/tokens", &[("name", "bot"), ("days", "7"), ("scope.see", "on")]).await;
        let eve = app.player("eve@example.org").await;
        eve.post(&format!("/servers/{server}/delete"), &[("confirm", "Valley")]).await;
        app.browser().post("/auth/login", &[("email", "ada@example.org"), ("password", "guessed it, surely")]).await;
        let program = app.program(&app.actor("ada@example.org").await).await;
        program.post(&format!("/api/servers/{server}/start"), json!({})).await;
        let body = json!({"email": "eve@example.org", "password": PASSWORD}).to_string();
        app.browser().send(Method::POST, "/auth/login", &[("content-type", "application/json")], body).await;
        ada.post(&format!("/servers/{server}/sharing"), &[("email", "eve@example.org"), ("grant.power", "on")]).await;
        app.world.clock.pass(SECOND);
        admin.post(&format!("/admin/users/{}/role", actor.user.id), &[("role", "operator")]).await;

        let csv = admin.get("/admin/audit.csv").await;
        assert!(csv.header("content-type").starts_with("text/csv") && csv.header("content-disposition").contains("audit.csv"));
        for line in [
            format!(",303,ada@example.org,{},session,127.0.0.1,POST /servers/{{id}}/stop,servers/{server},", actor.user.id),
            "POST /account/password,,".to_owned(),
            ",404,eve@example.org,".to_owned(),
            ",422,,,,127.0.0.1,POST /auth/login,,".to_owned(),
            format!("token a test,127.0.0.1,POST /api/servers/{{id}}/start,servers/{server},"),
            ",200,eve@example.org,".to_owned(),
            "invited eve@example.org to: see,power".to_owned(),
            "ada@example.org: from player to operator".to_owned(),
        ] {
            assert!(csv.text.contains(&line), "{line}\nis not in\n{}", csv.text);
        }
        for secret in [PASSWORD, "another battery horse", "guessed it", program.secret.as_str(), "roost_"] {
            csv.lacks(secret);
        }
        assert!(!csv.text.contains("GET "), "what only reads leaves none");
        let page = admin.get(&format!("/admin/audit?object=servers/{server}&outcome=refused")).await;
        page.shows("eve@example.org");
        page.lacks("POST /servers/{id}/stop");
        admin.get("/admin/audit?who=ada&what=password").await.shows("POST /account/password");
        admin.get("/admin/audit?from=2031-01-01").await.shows("No line matches");
        app.world.clock.pass(401 * DAY);
        roost::domain::servers::sweep(&app.world.ctx).await.expect("swept");
        app.log_in("admin@example.org").await.get("/admin/audit?who=ada").await.shows("No line matches");
    })
    .await;
}
