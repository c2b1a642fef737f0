//! Accounts in the browser and by JSON: making one, logging in and out, tokens, limits, and what other sites cannot do.

use reqwest::{Method, StatusCode};
use roost::domain::{Policy, users};
use roost::http::WebSettings;
use roost::model::time::{DAY, HOUR, SECOND};
use roost::model::users::Role;
use serde_json::json;

use crate::app::{Answer, App, Browser, PASSWORD, on_site, on_site_with};
use crate::world::{World, on_both};

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn somebody_registers_logs_out_and_logs_in_again() {
    on_site("somebody_registers_logs_out_and_logs_in_again", |app| async move {
        let ada = app.player("ada@example.org").await;
        let page = ada.get("/dashboard").await;
        assert_eq!(page.status, StatusCode::OK);
        page.shows("ada@example.org");
        page.shows("100.00</b> credits");
        let answer = ada.post("/auth/logout", &[]).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/auth/login"));
        let answer = ada.get("/dashboard").await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/auth/login?next=%2Fdashboard"));
        let notice = ada.get("/auth/login?next=/billing").await;
        notice.shows("You are logged out.");
        notice.shows("name=\"next\" value=\"/billing\"");
        assert!(!ada.get("/auth/login").await.text.contains("You are logged out."), "a notice is shown once");
        let wrong = ada.post("/auth/login", &[("email", "ada@example.org"), ("password", "not the password")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        wrong.shows("do not belong together");
        wrong.shows("value=\"ada@example.org\"");
        let fields = [("email", " ADA@example.org "), ("password", PASSWORD), ("next", "/billing")];
        let answer = ada.post("/auth/login", &fields).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/billing"));
        assert_eq!(ada.get("/billing").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn the_session_cookie_is_closed_to_scripts_and_new_at_every_login() {
    on_site("the_session_cookie_is_closed_to_scripts_and_new_at_every_login", |app| async move {
        let ada = app.player("ada@example.org").await;
        let before = ada.cookies();
        let answer = ada.post("/auth/login", &[("email", "ada@example.org"), ("password", PASSWORD)]).await;
        let set = answer.header("set-cookie");
        for part in ["roost_session_", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=1209600"] {
            assert!(set.contains(part), "{set}");
        }
        assert!(!set.contains("Secure"), "{set}");
        assert_ne!(ada.cookies(), before);
        let old = before.as_ref().and_then(|cookies| cookies.to_str().ok()).unwrap();
        let answer = app.browser().send(Method::GET, "/dashboard", &[("cookie", old)], "").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "the old id has ended");
    })
    .await;
}

#[tokio::test]
async fn every_wrong_registration_is_answered_at_its_field() {
    on_site_with("every_wrong_registration_is_answered_at_its_field", Policy::default(), |app| async move {
        app.player("ada@example.org").await;
        let table = [
            ("", PASSWORD, "email", "Enter your e-mail address."),
            ("ada", PASSWORD, "email", "does not look like"),
            ("a\0@example.org", PASSWORD, "email", "does not look like"),
            ("${HOME}@../..", PASSWORD, "email", "does not look like"),
            ("ada@example.org", PASSWORD, "email", "There is an account"),
            ("bea@example.org", "short", "password", "at least 10 characters"),
            ("bea@example.org", "has a \0 in the middle", "password", "NUL"),
        ];
        for (email, password, field, message) in table {
            let answer = app.browser().post("/auth/register", &[("email", email), ("password", password)]).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{email:?}");
            answer.shows(&format!("id=\"{field}-error\""));
            answer.shows(message);
            let answer = app
                .browser()
                .send(
                    Method::POST,
                    "/auth/register",
                    &[("content-type", "application/json")],
                    json!({"email": email, "password": password}).to_string(),
                )
                .await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{email:?}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert!(answer.json()["errors"][field].as_str().unwrap().contains(message), "{}", answer.text);
        }
        let long = format!("{}@example.org", "a".repeat(300));
        app.browser().post("/auth/register", &[("email", &long), ("password", PASSWORD)]).await.shows("at most 254");
    })
    .await;
}

#[tokio::test]
async fn json_gives_a_token_that_works_and_no_session() {
    on_site("json_gives_a_token_that_works_and_no_session", |app| async move {
        let body = json!({"email": "ada@example.org", "password": PASSWORD}).to_string();
        let browser = app.browser();
        let kind = [("content-type", "application/json")];
        let made = browser.send(Method::POST, "/auth/register", &kind, body.clone()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        assert_eq!(made.json()["user"]["role"], "player");
        assert!(browser.cookies().is_none());
        let answer = browser.send(Method::POST, "/auth/login", &kind, body).await;
        assert_eq!(answer.status, StatusCode::OK);
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {token}");
        let me = browser.send(Method::GET, "/api/me", &[("authorization", bearer.as_str())], "").await;
        assert_eq!(me.json()["email"], "ada@example.org");
        app.world.clock.pass(DAY + SECOND);
        let late = browser.send(Method::GET, "/api/me", &[("authorization", bearer.as_str())], "").await;
        assert_eq!((late.status, late.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
        let malformed = browser.send(Method::POST, "/auth/login", &kind, "{\"email\":").await;
        assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
        assert_eq!(malformed.header("content-type"), "application/problem+json");
    })
    .await;
}

#[tokio::test]
async fn the_setup_link_makes_one_admin() {
    on_site("the_setup_link_makes_one_admin", |app| async move {
        let secret = users::setup_secret(&app.world.ctx).await.unwrap().unwrap();
        app.browser().get("/auth/register?setup=guessed").await.shows("has been used or replaced");
        app.browser().get(&format!("/auth/register?setup={secret}")).await.shows("becomes the admin");
        let admin = app.browser();
        let fields = [("email", "root@example.org"), ("password", PASSWORD), ("setup", secret.as_str())];
        assert_eq!(admin.post("/auth/register", &fields).await.status, StatusCode::SEE_OTHER);
        assert_eq!(admin.get("/nodes").await.status, StatusCode::OK);
        let fields = [("email", "late@example.org"), ("password", PASSWORD), ("setup", secret.as_str())];
        let late = app.browser().post("/auth/register", &fields).await;
        assert_eq!(late.status, StatusCode::UNPROCESSABLE_ENTITY);
        late.shows("has been used or replaced");
        assert_eq!(app.actor("root@example.org").await.user.role, Role::Admin);
    })
    .await;
}

#[tokio::test]
async fn strangers_cannot_register_where_that_is_closed() {
    let closed = Policy { open_registration: false, ..Policy::default() };
    on_site_with("strangers_cannot_register_where_that_is_closed", closed, |app| async move {
        let answer = app.browser().post("/auth/register", &[("email", "ada@example.org"), ("password", PASSWORD)]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn logging_out_everywhere_ends_every_session_and_a_new_password_every_token() {
    on_site("logging_out_everywhere_ends_every_session_and_a_new_password_every_token", |app| async move {
        let ada = app.player("ada@example.org").await;
        let elsewhere = app.log_in("ada@example.org").await;
        app.world.clock.pass(SECOND);
        let answer = ada.post("/account/logout-everywhere", &[]).await;
        assert_eq!(answer.location(), "/auth/login");
        for browser in [&ada, &elsewhere] {
            assert_eq!(browser.get("/dashboard").await.status, StatusCode::SEE_OTHER);
        }
        app.world.clock.pass(SECOND);
        let (ada, elsewhere) = (app.log_in("ada@example.org").await, app.log_in("ada@example.org").await);
        let program = app.program(&app.actor("ada@example.org").await).await;
        app.world.clock.pass(SECOND);
        let wrong = ada.post("/account/password", &[("current", "not it at all"), ("new", "another password")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        wrong.shows("id=\"current-error\"");
        let short = ada.post("/account/password", &[("current", PASSWORD), ("new", "short")]).await;
        short.shows("id=\"new-error\"");
        let answer = ada.post("/account/password", &[("current", PASSWORD), ("new", "another password")]).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/account"));
        ada.get("/account").await.shows("The password is changed.");
        assert_eq!(elsewhere.get("/account").await.status, StatusCode::SEE_OTHER);
        assert_eq!(program.get("/api/me").await.status, StatusCode::UNAUTHORIZED);
        let old = app.browser().post("/auth/login", &[("email", "ada@example.org"), ("password", PASSWORD)]).await;
        assert_eq!(old.status, StatusCode::UNPROCESSABLE_ENTITY);
    })
    .await;
}

#[tokio::test]
async fn a_token_is_shown_once_works_and_is_revoked() {
    on_site("a_token_is_shown_once_works_and_is_revoked", |app| async move {
        let ada = app.player("ada@example.org").await;
        for (name, days, field) in
            [("", "30", "name"), (&"x".repeat(61), "30", "name"), ("ci", "0", "days"), ("ci", "many", "days"), ("ci", "-1", "days")]
        {
            let answer = ada.post("/account/tokens", &[("name", name), ("days", days), ("scope.see", "on")]).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name} {days}");
            answer.shows(&format!("id=\"{field}-error\""));
        }
        let page = ada.post("/account/tokens", &[("name", "<i>ci</i>"), ("days", "30"), ("scope.see", "on")]).await;
        assert_eq!(page.status, StatusCode::OK);
        page.shows("&#60;i&#62;ci&#60;/i&#62;");
        let secret = page.text.split("<code>").nth(1).unwrap().split('<').next().unwrap().to_owned();
        assert!(secret.starts_with("roost_"), "{secret}");
        assert!(!ada.get("/account").await.text.contains(&secret));
        let bearer = format!("Bearer {secret}");
        let ask = || async { app.browser().send(Method::GET, "/api/me", &[("authorization", bearer.as_str())], "").await.status };
        assert_eq!(ask().await, StatusCode::OK);
        let page = ada.get("/account").await.text;
        let id = page.split("/account/tokens/").nth(1).unwrap().split('/').next().unwrap().to_owned();
        let eve = app.player("eve@example.org").await;
        assert_eq!(eve.post(&format!("/account/tokens/{id}/revoke"), &[]).await.status, StatusCode::NOT_FOUND);
        assert_eq!(ask().await, StatusCode::OK);
        assert_eq!(ada.post(&format!("/account/tokens/{id}/revoke"), &[]).await.location(), "/account");
        assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn other_sites_change_nothing_and_see_no_socket() {
    on_site("other_sites_change_nothing_and_see_no_socket", |app| async move {
        let ada = app.player("ada@example.org").await;
        let tries: [&[(&str, &str)]; 5] = [
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("referer", "https://evil.example/page")],
            &[("sec-fetch-site", "cross-site")],
            &[],
        ];
        for headers in tries {
            for path in ["/auth/logout", "/auth/login", "/auth/register", "/servers/create", "/account/logout-everywhere", "/api/servers"] {
                let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("content-type", FORM)]).collect();
                assert_eq!(ada.send(Method::POST, path, &headers, "").await.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            }
        }
        assert_eq!(ada.get("/dashboard").await.status, StatusCode::OK);
        let cookies = ada.cookies().unwrap();
        let socket = [
            ("cookie", cookies.to_str().unwrap()),
            ("origin", "https://evil.example"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(app.browser().send(Method::GET, "/dashboard/live", &socket, "").await.status, StatusCode::FORBIDDEN);
    })
    .await;
}

/// Somebody at an address of the network, without cookies.
async fn try_from(app: &App, address: &str, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password}).to_string();
    let headers = [("content-type", "application/json"), ("x-forwarded-for", address)];
    app.browser().send(Method::POST, "/auth/login", &headers, body).await
}

/// The same by a form, with the cookies of a browser.
async fn form_from(app: &App, browser: &Browser, address: &str, path: &str, body: &str) -> Answer {
    let headers = [("origin", app.url.as_str()), ("content-type", FORM), ("x-forwarded-for", address)];
    browser.send(Method::POST, path, &headers, body.to_owned()).await
}

const STRANGER: &str = "198.51.100.1";

#[tokio::test]
async fn whoever_guesses_waits_longer_and_longer_and_nobody_else_does() {
    on_both("whoever_guesses_waits_longer_and_longer_and_nobody_else_does", |world| async move {
        let app = App::with(world, WebSettings { trust_forwarded_for: true, ..WebSettings::default() }).await;
        let ada = app.player("ada@example.org").await;
        app.player("bea@example.org").await;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let answer = try_from(&app, STRANGER, "ada@example.org", "wrong password").await;
            let wait = if answer.status == StatusCode::TOO_MANY_REQUESTS { answer.header("retry-after").parse().unwrap() } else { 0 };
            assert!(wait > 0 || answer.status == StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.status);
            waits.push(wait);
            app.world.clock.pass(wait * SECOND);
        }
        assert!(
            waits[..5].iter().all(|wait| *wait == 0) && waits.windows(2).filter(|pair| pair[0] > 0).all(|pair| pair[1] == 0),
            "{waits:?}"
        );
        let grown: Vec<i64> = waits.into_iter().filter(|wait| *wait > 0).collect();
        assert!(grown.len() >= 3 && grown.windows(2).all(|pair| pair[0] < pair[1]), "{grown:?}");
        try_from(&app, STRANGER, "ada@example.org", "wrong password").await;
        assert_eq!(try_from(&app, STRANGER, "ada@example.org", PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS, "also with luck");
        assert_eq!(try_from(&app, STRANGER, "bea@example.org", PASSWORD).await.status, StatusCode::OK, "another account is not touched");
        // From elsewhere, whatever anybody tries: many strangers at many places among them.
        for n in 0..150 {
            let answer = try_from(&app, &format!("192.0.2.{n}"), "ada@example.org", "wrong password").await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "each has a first try");
        }
        let elsewhere = try_from(&app, "203.0.113.9, 203.0.113.1", "ada@example.org", PASSWORD).await;
        assert_eq!(elsewhere.status, StatusCode::OK, "the owner among them");
        // A browser that the account was opened with is let through even where the stranger sits.
        assert_eq!(form_from(&app, &ada, STRANGER, "/auth/logout", "").await.status, StatusCode::SEE_OTHER);
        let body = format!("email=ada%40example.org&password={}", PASSWORD.replace(' ', "+"));
        let fresh = form_from(&app, &app.browser(), STRANGER, "/auth/login", &body).await;
        assert_eq!(fresh.status, StatusCode::TOO_MANY_REQUESTS, "another browser there is not");
        assert_eq!(form_from(&app, &ada, STRANGER, "/auth/login", &body).await.location(), "/dashboard");
        // And its word is for its own account only.
        for _ in 0..6 {
            try_from(&app, STRANGER, "bea@example.org", "wrong password").await;
        }
        let other = form_from(&app, &ada, STRANGER, "/auth/login", "email=bea%40example.org&password=wrong+password").await;
        assert_eq!(other.status, StatusCode::TOO_MANY_REQUESTS);
    })
    .await;
}

#[tokio::test]
async fn what_strangers_try_at_the_login_keeps_no_owner_from_confirming_or_changing_the_password() {
    on_both("what_strangers_try_at_the_login_keeps_no_owner_from_confirming_or_changing_the_password", |world| async move {
        let app = App::with(world, WebSettings { trust_forwarded_for: true, ..WebSettings::default() }).await;
        let ada = app.player("ada@example.org").await;
        for _ in 0..12 {
            try_from(&app, STRANGER, "ada@example.org", "wrong password").await;
        }
        let current = format!("current={}", PASSWORD.replace(' ', "+"));
        let confirmed = form_from(&app, &ada, STRANGER, "/account/confirm", &current).await;
        assert_eq!((confirmed.status, confirmed.location()), (StatusCode::SEE_OTHER, "/account/security"));
        // Somebody who found the browser open guesses no faster than a stranger.
        let mut met = Vec::new();
        for _ in 0..8 {
            met.push(form_from(&app, &ada, STRANGER, "/account/confirm", "current=wrong+password").await.status);
        }
        assert_eq!(met.iter().filter(|status| **status == StatusCode::UNPROCESSABLE_ENTITY).count(), 5, "{met:?}");
        app.world.clock.pass(HOUR);
        let changed = form_from(&app, &ada, STRANGER, "/account/password", &format!("{current}&new=another+password")).await;
        assert_eq!((changed.status, changed.location()), (StatusCode::SEE_OTHER, "/account"));
    })
    .await;
}

#[tokio::test]
async fn two_panels_on_one_host_keep_their_cookies_apart() {
    on_both("two_panels_on_one_host_keep_their_cookies_apart", |world| async move {
        let folder = crate::world::folder();
        let url = format!("sqlite://{}/roost.db", folder.path().display());
        let other = World::open(&url, world.clock.clone(), Policy::default()).await;
        let (one, two) = (App::start(world).await, App::start(other).await);
        let ada = one.player("ada@example.org").await;
        two.account("ada@example.org", Role::Player).await;
        // Browsers know a host and no port: what one panel sets, the other one is sent.
        let answer = form_from(
            &two,
            &ada.at(&two.url),
            STRANGER,
            "/auth/login",
            &format!("email=ada%40example.org&password={}", PASSWORD.replace(' ', "+")),
        )
        .await;
        assert_eq!(answer.location(), "/dashboard");
        for app in [&one, &two] {
            assert_eq!(ada.at(&app.url).get("/dashboard").await.status, StatusCode::OK);
        }
        assert_eq!(ada.post("/auth/logout", &[]).await.location(), "/auth/login");
        assert_eq!(ada.get("/dashboard").await.status, StatusCode::SEE_OTHER);
        let there = ada.at(&two.url).get("/dashboard").await;
        assert_eq!(there.status, StatusCode::OK);
        there.lacks("You are logged out.");
        drop(two);
    })
    .await;
}

#[tokio::test]
async fn cookies_over_https_are_of_this_host_alone() {
    on_both("cookies_over_https_are_of_this_host_alone", |world| async move {
        let app = App::with(
            world,
            WebSettings { secure_cookies: true, backend_url: "https://roost.example".to_owned(), ..WebSettings::default() },
        )
        .await;
        app.account("ada@example.org", Role::Player).await;
        let headers = [("origin", "https://roost.example"), ("content-type", FORM)];
        let body = format!("email=ada%40example.org&password={}", PASSWORD.replace(' ', "+"));
        let answer = app.browser().send(Method::POST, "/auth/login", &headers, body).await;
        let set: Vec<&str> = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(set.len(), 2, "a session and a browser that is known: {set:?}");
        for cookie in set {
            assert!(cookie.starts_with("__Host-roost_"), "{cookie}");
            assert!(cookie.contains("; Secure") && cookie.contains("; Path=/") && !cookie.contains("Domain"), "{cookie}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_after_two_weeks_without_a_visit_and_each_day_moves_that_on() {
    on_site("a_session_ends_after_two_weeks_without_a_visit_and_each_day_moves_that_on", |app| async move {
        let ada = app.player("ada@example.org").await;
        for _ in 0..3 {
            app.world.clock.pass(10 * DAY);
            assert_eq!(ada.get("/dashboard").await.status, StatusCode::OK);
        }
        app.world.clock.pass(15 * DAY);
        assert_eq!(ada.get("/dashboard").await.status, StatusCode::SEE_OTHER);
    })
    .await;
}

#[tokio::test]
async fn only_names_of_this_panel_are_answered() {
    on_both("only_names_of_this_panel_are_answered", |world| async move {
        let settings = WebSettings { allowed_hosts: vec!["panel.example".to_owned()], ..WebSettings::default() };
        let app = App::with(world, settings).await;
        let browser = app.browser();
        for (host, status) in
            [("panel.example", 200), ("PANEL.example:8000", 200), ("evil.example", 421), ("panel.example.evil.example", 421)]
        {
            assert_eq!(browser.send(Method::GET, "/auth/login", &[("host", host)], "").await.status.as_u16(), status, "{host}");
        }
        assert_eq!(browser.get("/health").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn cookies_stay_on_tls_where_the_operator_says_so() {
    on_both("cookies_stay_on_tls_where_the_operator_says_so", |world| async move {
        let settings = WebSettings { secure_cookies: true, backend_url: "https://roost.example".to_owned(), ..WebSettings::default() };
        let app = App::with(world, settings).await;
        let body = "email=ada@example.org&password=correct+horse+battery";
        let browser = app.browser();
        let plain = browser.send(Method::POST, "/auth/register", &[("origin", &app.url), ("content-type", FORM)], body).await;
        assert_eq!(plain.status, StatusCode::FORBIDDEN, "plain HTTP is not this site");
        let headers = [("origin", "https://roost.example"), ("content-type", FORM)];
        let made = browser.send(Method::POST, "/auth/register", &headers, body).await;
        assert!(made.header("set-cookie").contains("Secure"), "{}", made.header("set-cookie"));
    })
    .await;
}
