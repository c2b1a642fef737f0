//! What anybody can make the panel keep or do has a bound: requests in a minute, lines of the audit, lines into a console, credits for new
//! accounts. And what a token does not cover, it is not told.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use roost::domain::{audit, servers, tokens};
use roost::http::WebSettings;
use roost::model::time::HOUR;
use roost::model::tokens::{Scope, Scopes};
use roost::model::users::Role;
use serde_json::json;

use crate::app::{Answer, App, PASSWORD, Program, on_site};
use crate::world::on_both;

async fn me(who: &Program, from: &str) -> Answer {
    who.ask_with(Method::GET, "/api/me", None, &[("x-forwarded-for", from)]).await
}

/// Requests of one token in a minute, in these tests.
const RATE: u32 = 30;

#[tokio::test]
async fn one_token_or_address_asks_so_often_and_others_go_on() {
    on_both("one_token_or_address_asks_so_often_and_others_go_on", |world| async move {
        let settings = WebSettings { requests_per_minute: RATE, trust_forwarded_for: true, ..WebSettings::default() };
        let app = App::with(world, settings).await;
        let (ada, bea) = (app.account("ada@example.org", Role::Player).await, app.account("bea@example.org", Role::Player).await);
        let (ada, bea) = (app.program(&ada).await, app.program(&bea).await);
        let mut refused = 0;
        for _ in 0..RATE + 10 {
            let answer = me(&ada, "198.51.100.1").await;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                refused += 1;
                assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
                assert_eq!(answer.header("content-type"), "application/problem+json");
            }
        }
        assert!((8..=10).contains(&refused), "{refused}");
        assert_eq!(me(&bea, "198.51.100.1").await.status, StatusCode::OK, "another token at the same address");
        // Tokens that are made up, each another one: the address has a bound of its own.
        let mut met = Vec::new();
        for n in 0..6 * RATE {
            let made_up = format!("Bearer roost_{n}");
            let headers = [("authorization", made_up.as_str()), ("x-forwarded-for", "198.51.100.2")];
            met.push(app.browser().send(Method::GET, "/api/me", &headers, "").await.status);
        }
        assert_eq!(met.last(), Some(&StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(met[0], StatusCode::UNAUTHORIZED);
        assert_eq!(me(&bea, "198.51.100.3").await.status, StatusCode::OK, "and elsewhere all is well");
    })
    .await;
}

#[tokio::test]
async fn strangers_and_refusals_fill_no_audit() {
    on_site("strangers_and_refusals_fill_no_audit", |app| async move {
        let eve = app.player("eve@example.org").await;
        let admin = app.account("admin@example.org", Role::Admin).await;
        let before = audit::lines(&app.world.ctx, &admin, &audit::Question::default(), None, 10_000).await.unwrap().len();
        let stranger = app.browser();
        for _ in 0..300 {
            let answer = stranger.post("/auth/register", &[("email", "nobody"), ("password", "x")]).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        }
        for n in 0..200 {
            assert_eq!(eve.post(&format!("/servers/a-b-{n}/wake"), &[]).await.status, StatusCode::NOT_FOUND);
        }
        let kept = audit::lines(&app.world.ctx, &admin, &audit::Question::default(), None, 10_000).await.unwrap().len() - before;
        assert!((80..=92).contains(&kept), "30 of the strangers, 60 of the account: {kept}");
        servers::sweep(&app.world.ctx).await.unwrap();
        let question = audit::Question { what: "further requests".to_owned(), ..audit::Question::default() };
        let folded = audit::lines(&app.world.ctx, &admin, &question, None, 10).await.unwrap();
        assert_eq!(folded.len(), 1);
        let numbers: Vec<usize> = folded[0].details.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert_eq!(numbers.iter().sum::<usize>() + kept, 500, "none is lost without a trace: {folded:?}");
        servers::sweep(&app.world.ctx).await.unwrap();
        assert_eq!(audit::lines(&app.world.ctx, &admin, &question, None, 10).await.unwrap().len(), 1, "said once");
        // What is done has its line, whatever was refused before.
        eve.post("/account/logout-everywhere", &[]).await;
        let question = audit::Question { what: "logout-everywhere".to_owned(), ..audit::Question::default() };
        assert_eq!(audit::lines(&app.world.ctx, &admin, &question, None, 10).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_lines_into_a_console_is_cut_off() {
    on_site("a_flood_of_lines_into_a_console_is_cut_off", |app| async move {
        let ada = app.world.player("ada@example.org").await;
        let server = app.world.create(&ada, "Valley of Echoes").await;
        let program = app.program(&ada).await;
        let mut socket = program.socket(&format!("/api/servers/{}/console", server.id)).await.unwrap();
        let begin = Instant::now();
        let mut said = 0;
        while said < 100_000 && socket.try_say("say hello").await {
            said += 1;
        }
        let mut answers = 0;
        while socket.next().await.is_some() {
            answers += 1;
        }
        assert!(answers <= 700, "{answers} answers to {said} lines");
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
        assert_eq!(program.get("/api/me").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn two_spellings_of_an_address_are_one_account_and_one_gift() {
    on_site("two_spellings_of_an_address_are_one_account_and_one_gift", |app| async move {
        let register = |email: &'static str| {
            let browser = app.browser();
            async move { browser.post("/auth/register", &[("email", email), ("password", PASSWORD)]).await }
        };
        assert_eq!(register("ada@xn--bcher-kva.example").await.location(), "/dashboard");
        assert_eq!(register("ada@bücher.example").await.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(register("ADA@Bücher.example").await.status, StatusCode::UNPROCESSABLE_ENTITY);
        app.log_in("ada@bücher.example").await.get("/account").await.shows("ada@bücher.example");
        // From before both forms were one: the account that is there is found by either.
        app.account("bea@xn--bcher-kva.example", Role::Player).await;
        assert_eq!(register("bea@bücher.example").await.status, StatusCode::UNPROCESSABLE_ENTITY);
        app.log_in("bea@bücher.example").await;
        assert_eq!(app.player("eve@example.org").await.get("/dashboard").await.text.matches("100.00</b> credits").count(), 1);
        let again = app.player("eve+again@example.org").await;
        again.get("/dashboard").await.lacks("100.00</b> credits");
    })
    .await;
}

#[tokio::test]
async fn a_token_without_billing_is_not_told_the_balance() {
    on_site("a_token_without_billing_is_not_told_the_balance", |app| async move {
        app.player("ada@example.org").await;
        let ada = app.actor("ada@example.org").await;
        let all = app.program(&ada).await;
        let (_, secret) =
            tokens::create(&app.world.ctx, &ada, "narrow", 1, [Scope::See, Scope::Create].into_iter().collect::<Scopes>()).await.unwrap();
        let narrow = app.program_with(secret);
        assert_eq!(all.get("/api/me").await.json()["balance"], "100.00");
        let told = narrow.get("/api/me").await.json();
        assert!(told["email"] == "ada@example.org" && told.get("balance").is_none(), "{told}");
        for (program, name, shown) in [(&all, "Valley of Echoes", true), (&narrow, "Hill of Winds", false)] {
            let mut socket = program.socket("/dashboard/live").await.unwrap();
            app.world.create(&ada, name).await;
            let text = socket.until(name).await;
            assert_eq!(text.contains("100.00"), shown, "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn logging_out_everywhere_asks_about_tokens() {
    on_site("logging_out_everywhere_asks_about_tokens", |app| async move {
        app.player("ada@example.org").await;
        let program = app.program(&app.actor("ada@example.org").await).await;
        let ada = app.log_in("ada@example.org").await;
        ada.get("/account").await.shows("Revoke all API tokens too");
        ada.post("/account/logout-everywhere", &[]).await;
        ada.get("/auth/login").await.shows("API tokens go on working");
        assert_eq!(program.get("/api/me").await.status, StatusCode::OK);
        app.world.clock.pass(HOUR);
        let ada = app.log_in("ada@example.org").await;
        ada.post("/account/logout-everywhere", &[("tokens", "on")]).await;
        ada.get("/auth/login").await.shows("every API token is revoked");
        assert_eq!(program.get("/api/me").await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn over_https_browsers_are_told_to_stay_there() {
    on_both("over_https_browsers_are_told_to_stay_there", |world| async move {
        let settings = WebSettings { secure_cookies: true, backend_url: "https://roost.example".to_owned(), ..WebSettings::default() };
        let secure = App::with(world, settings).await;
        for path in ["/auth/login", "/health", "/api/me", "/nowhere"] {
            let answer = secure.browser().get(path).await;
            assert!(answer.header("strict-transport-security").starts_with("max-age="), "{path}");
        }
    })
    .await;
    on_site("over_https_browsers_are_told_to_stay_there", |plain| async move {
        assert_eq!(plain.browser().get("/auth/login").await.header("strict-transport-security"), "");
    })
    .await;
}

#[tokio::test]
async fn json_bodies_are_no_way_around_the_bounds() {
    on_site("json_bodies_are_no_way_around_the_bounds", |app| async move {
        let admin = app.account("admin@example.org", Role::Admin).await;
        for n in 0..100 {
            let body = json!({"email": format!("nobody{n}"), "password": "x"}).to_string();
            app.browser().send(Method::POST, "/auth/register", &[("content-type", "application/json")], body).await;
        }
        let question = audit::Question { what: "/auth/register".to_owned(), ..audit::Question::default() };
        let lines = audit::lines(&app.world.ctx, &admin, &question, None, 1_000).await.unwrap();
        assert!(lines.len() <= 30, "{}", lines.len());
    })
    .await;
}
