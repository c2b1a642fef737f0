//! The second factor: codes of an app and recovery codes, each once; who is asked for them, and what one needs to change them.

use reqwest::{Method, StatusCode};
use roost::domain::second_factor::remove_all;
use roost::domain::{Policy, Refusal};
use roost::http::WebSettings;
use roost::model::time::{MINUTE, SECOND};
use roost::model::users::Role;
use roost::store::{mails, totp};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use totp_rs::{Builder, Secret, Totp};

use crate::app::{Answer, App, Browser, PASSWORD, on_site, on_site_with};
use crate::world::on_both;

const ADA: &str = "ada@example.org";

/// Runs one statement on whichever database this is.
pub async fn run(app: &App, statement: String) {
    let url = &app.world.url;
    if url.starts_with("sqlite:") {
        SqliteConnection::connect(url).await.expect("opened").execute(AssertSqlSafe(statement)).await.expect("done");
    } else {
        PgConnection::connect(url).await.expect("opened").execute(AssertSqlSafe(statement)).await.expect("done");
    }
}

/// Shuts an account out, as an admin does.
pub async fn suspend(app: &App, email: &str, why: &str) {
    run(app, format!("UPDATE users SET suspended_at = 1, suspended_why = '{why}' WHERE email = '{email}'")).await;
}

/// Shows the password once more.
pub async fn confirm(browser: &Browser) {
    let answer = browser.post("/account/confirm", &[("current", PASSWORD)]).await;
    assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/account/security"), "{}", answer.text);
}

/// An app on a phone.
pub struct Phone(Totp);

impl Phone {
    /// Types in the secret that a page shows.
    pub fn of(page: &str) -> Phone {
        let shown = page.split("<code id=\"secret\">").nth(1).expect("a secret").split('<').next().expect("a secret");
        let secret = Secret::try_from_base32(shown.replace(' ', "")).expect("base 32");
        Phone(Builder::new().with_secret(secret).build().expect("an app"))
    }

    /// What it shows so many steps from now, by the clock of a test.
    pub fn shows(&self, app: &App, steps: i64) -> String {
        self.at(app.world.ctx.clock.now().0 / SECOND + 30 * steps)
    }

    /// The same by the clock of this machine.
    pub fn shows_now(&self, steps: i64) -> String {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        self.at(i64::try_from(now).expect("not that late") + 30 * steps)
    }

    fn at(&self, now: i64) -> String {
        self.0.generate(u64::try_from(now).expect("after 1970")).to_string()
    }
}

fn codes(page: &Answer) -> Vec<String> {
    page.text.split("<li><code>").skip(1).map(|rest| rest.split('<').next().expect("a code").to_owned()).collect()
}

/// Sets an app up; gives it and the recovery codes.
pub async fn set_up(app: &App, browser: &Browser) -> (Phone, Vec<String>) {
    confirm(browser).await;
    assert_eq!(browser.post("/account/app", &[]).await.location(), "/account/app");
    let phone = Phone::of(&browser.get("/account/app").await.text);
    let page = browser.post("/account/app/confirm", &[("code", &phone.shows(app, 0))]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let codes = codes(&page);
    assert_eq!(codes.len(), 10);
    (phone, codes)
}

/// Takes the first step; the browser stands before the second.
async fn first_step(app: &App) -> Browser {
    let browser = app.browser();
    let answer = browser.post("/auth/login", &[("email", ADA), ("password", PASSWORD), ("next", "/billing")]).await;
    assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/auth/second"), "{}", answer.text);
    browser
}

async fn try_code(browser: &Browser, code: &str) -> Answer {
    browser.post("/auth/second", &[("code", code)]).await
}

async fn api(app: &App, code: Option<&str>) -> Answer {
    let mut body = json!({"email": ADA, "password": PASSWORD});
    if let Some(code) = code {
        body["code"] = code.into();
    }
    app.browser().send(Method::POST, "/auth/login", &[("content-type", "application/json")], body.to_string()).await
}

#[tokio::test]
async fn a_code_of_the_app_lets_in_once_and_none_from_before_it() {
    on_site("a_code_of_the_app_lets_in_once_and_none_from_before_it", |app| async move {
        let ada = app.player(ADA).await;
        let (phone, _) = set_up(&app, &ada).await;
        app.world.clock.pass(MINUTE);
        let browser = first_step(&app).await;
        browser.get("/auth/second").await.shows("Enter the code that your app shows now");
        assert_eq!(browser.get("/dashboard").await.location(), "/auth/login?next=%2Fdashboard", "half is not in");
        for wrong in ["", "000000", &phone.shows(&app, 5)] {
            let answer = try_code(&browser, wrong).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
            answer.shows("id=\"code-error\"");
        }
        let code = phone.shows(&app, 0);
        let spaced = format!(" {} {} ", &code[..3], &code[3..]);
        let answer = try_code(&browser, &spaced).await;
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/billing"), "{}", answer.text);
        assert_eq!(browser.get("/billing").await.status, StatusCode::OK);
        assert_eq!(browser.get("/auth/second").await.location(), "/auth/login", "the step is taken");
        // The same code, and the one before it, are over: also for somebody who looked over a shoulder.
        let other = first_step(&app).await;
        for old in [0, -1] {
            assert_eq!(try_code(&other, &phone.shows(&app, old)).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        }
        // A clock that is a step ahead is forgiven; when this panel's clock goes back, nothing works twice.
        assert_eq!(try_code(&other, &phone.shows(&app, 1)).await.status, StatusCode::SEE_OTHER);
        app.world.clock.pass(-MINUTE);
        let back = first_step(&app).await;
        assert_eq!(try_code(&back, &phone.shows(&app, 0)).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    })
    .await;
}

#[tokio::test]
async fn two_browsers_with_the_same_code_are_not_both_let_in() {
    on_site("two_browsers_with_the_same_code_are_not_both_let_in", |app| async move {
        let ada = app.player(ADA).await;
        let (phone, recovery) = set_up(&app, &ada).await;
        app.world.clock.pass(MINUTE);
        for code in [phone.shows(&app, 0), recovery[0].clone()] {
            let (one, two, three) = (first_step(&app).await, first_step(&app).await, first_step(&app).await);
            let (a, b, c) = tokio::join!(try_code(&one, &code), try_code(&two, &code), try_code(&three, &code));
            let let_in = [&a, &b, &c].iter().filter(|answer| answer.status == StatusCode::SEE_OTHER).count();
            assert_eq!(let_in, 1, "{} {} {}", a.status, b.status, c.status);
        }
    })
    .await;
}

#[tokio::test]
async fn a_recovery_code_works_once_and_its_owner_is_told() {
    on_site("a_recovery_code_works_once_and_its_owner_is_told", |app| async move {
        let ada = app.player(ADA).await;
        let (_, recovery) = set_up(&app, &ada).await;
        let browser = first_step(&app).await;
        assert_eq!(try_code(&browser, &recovery[3].to_uppercase()).await.location(), "/billing");
        let again = first_step(&app).await;
        assert_eq!(try_code(&again, &recovery[3]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        let told = mails::newest(&app.world.ctx.db, 20).await.unwrap();
        assert!(told.iter().any(|posted| posted.mail.text.contains("9 are left")), "{told:?}");
        // Somebody else's are not theirs.
        let bea = app.player("bea@example.org").await;
        let (_, others) = set_up(&app, &bea).await;
        assert_eq!(try_code(&again, &others[0]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        // New ones end the old ones.
        confirm(&browser).await;
        let fresh = codes(&browser.post("/account/codes", &[]).await);
        assert_eq!(try_code(&again, &recovery[4]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(try_code(&again, &fresh[0]).await.location(), "/billing");
    })
    .await;
}

#[tokio::test]
async fn a_program_sends_its_code_along() {
    on_site("a_program_sends_its_code_along", |app| async move {
        let ada = app.player(ADA).await;
        let (phone, recovery) = set_up(&app, &ada).await;
        app.world.clock.pass(MINUTE);
        let without = api(&app, None).await;
        assert_eq!(without.status, StatusCode::FORBIDDEN);
        assert_eq!(without.header("content-type"), "application/problem+json");
        assert!(without.json()["errors"]["code"].as_str().unwrap().contains("second factor"), "{}", without.text);
        assert!(without.json().get("token").is_none());
        assert_eq!(api(&app, Some("000000")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        let with = api(&app, Some(&phone.shows(&app, 0))).await;
        assert_eq!(with.status, StatusCode::OK, "{}", with.text);
        assert!(with.json()["token"].as_str().unwrap().starts_with("roost_"));
        assert_eq!(api(&app, Some(&phone.shows(&app, 0))).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(api(&app, Some(&recovery[0])).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn half_a_log_in_ends_by_itself_and_with_the_password() {
    on_site("half_a_log_in_ends_by_itself_and_with_the_password", |app| async move {
        let ada = app.player(ADA).await;
        let (phone, _) = set_up(&app, &ada).await;
        app.world.clock.pass(MINUTE);
        let slow = first_step(&app).await;
        app.world.clock.pass(10 * MINUTE);
        assert_eq!(try_code(&slow, &phone.shows(&app, 0)).await.location(), "/auth/login");
        let half = first_step(&app).await;
        app.world.clock.pass(SECOND);
        let answer = ada.post("/account/password", &[("current", PASSWORD), ("new", "another password")]).await;
        assert_eq!(answer.location(), "/account", "{}", answer.text);
        assert_eq!(try_code(&half, &phone.shows(&app, 0)).await.location(), "/auth/login", "it was the old password's");
        // Nobody is halfway in who has not taken the first step.
        assert_eq!(app.browser().post("/auth/second", &[("code", &phone.shows(&app, 0))]).await.location(), "/auth/login");
    })
    .await;
}

#[tokio::test]
async fn changing_the_factors_asks_for_the_password_again_and_ends_what_was_opened_without() {
    on_site("changing_the_factors_asks_for_the_password_again_and_ends_what_was_opened_without", |app| async move {
        let ada = app.player(ADA).await;
        let elsewhere = app.log_in(ADA).await;
        let asks = async |method: Method, path: &str| {
            let answer = ada.send(method, path, &[("origin", ada.url.as_str())], "").await;
            assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/account/confirm"), "{path}");
        };
        for path in ["/account/app", "/account/app/confirm", "/account/app/remove", "/account/codes", "/account/security/password"] {
            asks(Method::POST, path).await;
        }
        asks(Method::GET, "/account/app").await;
        assert_eq!(ada.post("/account/confirm", &[("current", "not my password")]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        asks(Method::GET, "/account/security").await;
        app.world.clock.pass(SECOND);
        let (phone, _) = set_up(&app, &ada).await;
        assert_eq!(ada.get("/account/security").await.status, StatusCode::OK, "this browser stays in");
        assert_eq!(elsewhere.get("/account").await.status, StatusCode::SEE_OTHER, "the other one was opened without");
        assert_eq!(ada.post("/account/app", &[]).await.status, StatusCode::CONFLICT, "one at a time");
        // The proof ends; so does the app, with its codes.
        app.world.clock.pass(10 * MINUTE);
        asks(Method::POST, "/account/app/remove").await;
        confirm(&ada).await;
        assert_eq!(ada.post("/account/app/remove", &[]).await.location(), "/account/security");
        assert_eq!(ada.post("/account/app/remove", &[]).await.status, StatusCode::NOT_FOUND);
        assert_eq!(ada.post("/account/codes", &[]).await.status, StatusCode::CONFLICT, "nothing for them to stand in for");
        app.log_in(ADA).await;
        let told = mails::newest(&app.world.ctx.db, 20).await.unwrap();
        let subjects: Vec<&str> = told.iter().map(|posted| posted.mail.subject.as_str()).collect();
        assert!(subjects.contains(&"Codes of an app are asked for now") && subjects.contains(&"Codes of an app are no longer asked for"));
        drop(phone);
    })
    .await;
}

#[tokio::test]
async fn an_app_counts_only_once_its_first_code_was_right() {
    on_site("an_app_counts_only_once_its_first_code_was_right", |app| async move {
        let ada = app.player(ADA).await;
        confirm(&ada).await;
        assert_eq!(ada.get("/account/app").await.location(), "/account/security", "none is being set up");
        ada.post("/account/app", &[]).await;
        let first = Phone::of(&ada.get("/account/app").await.text);
        ada.post("/account/app", &[]).await;
        let page = ada.get("/account/app").await;
        page.shows("role=\"img\" aria-label=\"Code to scan with the app\"");
        let second = Phone::of(&page.text);
        for wrong in ["", "000000", &first.shows(&app, 0)] {
            let answer = ada.post("/account/app/confirm", &[("code", wrong)]).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
            answer.shows("id=\"code-error\"");
        }
        app.log_in(ADA).await;
        assert_eq!(ada.post("/account/app/confirm", &[("code", &second.shows(&app, 0))]).await.status, StatusCode::OK);
        first_step(&app).await;
        // At rest the secret is not readable, and it is nobody else's.
        let user = app.actor(ADA).await.user.id;
        let kept = totp::of_user(&app.world.ctx.db, &user).await.unwrap().unwrap();
        assert!(kept.sealed.len() > 2 * (20 + 24) && kept.sealed.bytes().all(|b| b.is_ascii_hexdigit()));
        let bea = app.player("bea@example.org").await;
        confirm(&bea).await;
        bea.post("/account/app", &[]).await;
        run(&app, format!("UPDATE totp SET sealed = '{}' WHERE confirmed_at IS NULL", kept.sealed)).await;
        assert_eq!(bea.get("/account/app").await.status, StatusCode::INTERNAL_SERVER_ERROR, "it opens for its owner only");
    })
    .await;
}

#[tokio::test]
async fn tries_are_limited_by_account_and_by_address_and_nobody_else_suffers() {
    on_both("tries_are_limited_by_account_and_by_address_and_nobody_else_suffers", |world| async move {
        let app = App::with(world, WebSettings { trust_forwarded_for: true, ..WebSettings::default() }).await;
        let (ada, bea) = (app.player(ADA).await, app.player("bea@example.org").await);
        let (_phone, own) = set_up(&app, &ada).await;
        let (_, others) = set_up(&app, &bea).await;
        let browser = first_step(&app).await;
        let mut met = Vec::new();
        for n in 0..14 {
            let from = format!("198.51.100.{n}");
            let headers =
                [("origin", app.url.as_str()), ("content-type", "application/x-www-form-urlencoded"), ("x-forwarded-for", from.as_str())];
            met.push(browser.send(Method::POST, "/auth/second", &headers, "code=000000").await.status);
        }
        let let_through = met.iter().filter(|status| **status == StatusCode::UNPROCESSABLE_ENTITY).count();
        assert!((8..=10).contains(&let_through), "{met:?}");
        assert_eq!(met.last(), Some(&StatusCode::TOO_MANY_REQUESTS), "from wherever");
        // Somebody who has the password keeps its owner from nothing, in a browser that the account was opened with.
        ada.post("/auth/logout", &[]).await;
        ada.post("/auth/login", &[("email", ADA), ("password", PASSWORD)]).await;
        assert_eq!(try_code(&ada, &own[0]).await.location(), "/dashboard");
        let other = app.browser();
        let answer = other.post("/auth/login", &[("email", "bea@example.org"), ("password", PASSWORD)]).await;
        assert_eq!(answer.location(), "/auth/second");
        assert_eq!(try_code(&other, &others[0]).await.status, StatusCode::SEE_OTHER, "another account is not touched");
    })
    .await;
}

#[tokio::test]
async fn who_is_suspended_between_the_steps_does_not_get_in() {
    on_site_with("who_is_suspended_between_the_steps_does_not_get_in", Policy::default(), |app| async move {
        let ada = app.player(ADA).await;
        let (_, recovery) = set_up(&app, &ada).await;
        let browser = first_step(&app).await;
        suspend(&app, ADA, "").await;
        assert_eq!(try_code(&browser, &recovery[0]).await.location(), "/auth/login");
        assert_ne!(browser.get("/account").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn an_admin_removes_the_factors_of_somebody_who_lost_them_all() {
    on_site("an_admin_removes_the_factors_of_somebody_who_lost_them_all", |app| async move {
        let ada = app.player(ADA).await;
        set_up(&app, &ada).await;
        let user = app.actor(ADA).await.user.id;
        let ctx = &app.world.ctx;
        let operator = app.account("op@example.org", Role::Operator).await;
        assert!(matches!(remove_all(ctx, &operator, &user).await, Err(Refusal::Forbidden)));
        let admin = app.account("root@example.org", Role::Admin).await;
        app.world.clock.pass(SECOND);
        remove_all(ctx, &admin, &user).await.unwrap();
        assert!(matches!(remove_all(ctx, &admin, &user).await, Err(Refusal::NotFound)));
        assert_eq!(ada.get("/account").await.status, StatusCode::SEE_OTHER, "whoever was in is out");
        app.world.clock.pass(SECOND);
        app.log_in(ADA).await.get("/account").await.shows("<b>Second factor</b><bdi>off</bdi>");
        assert_eq!(mails::newest(&ctx.db, 1).await.unwrap()[0].mail.subject, "Your second factor was removed");
    })
    .await;
}

#[tokio::test]
async fn questions_to_passkeys_are_answered_once_by_the_browser_that_asked() {
    on_site("questions_to_passkeys_are_answered_once_by_the_browser_that_asked", |app| async move {
        let kind = [("content-type", "application/json"), ("origin", app.url.as_str())];
        let browser = app.browser();
        let asked = browser.send(Method::POST, "/auth/passkey/begin", &kind, json!({"step": "log-in"}).to_string()).await;
        assert_eq!(asked.status, StatusCode::OK, "{}", asked.text);
        let asked = asked.json();
        assert_eq!(asked["options"]["publicKey"]["rpId"], "localhost");
        assert_eq!(asked["options"]["publicKey"]["userVerification"], "required");
        let made_up = json!({
            "id": "AAAA", "rawId": "AAAA", "type": "public-key", "extensions": {},
            "response": {"authenticatorData": "AAAA", "clientDataJSON": "AAAA", "signature": "AAAA", "userHandle": "AAAA"}
        });
        let answer = json!({"step": "log-in", "id": asked["id"], "credential": made_up}).to_string();
        let foreign = app.browser().send(Method::POST, "/auth/passkey", &kind, answer.clone()).await;
        foreign.shows("answered before");
        let refused = browser.send(Method::POST, "/auth/passkey", &kind, answer.clone()).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        refused.shows("The passkey was not accepted.");
        browser.send(Method::POST, "/auth/passkey", &kind, answer).await.shows("answered before");
        for body in ["", "{", "[]", r#"{"step":"log-in","id":"x","credential":7}"#] {
            let status = browser.send(Method::POST, "/auth/passkey", &kind, body).await.status;
            assert!(status.is_client_error(), "{body}: {status}");
        }
        let second = browser.send(Method::POST, "/auth/passkey/begin", &kind, json!({"step": "second"}).to_string()).await;
        assert_eq!(second.status, StatusCode::CONFLICT, "nobody is halfway in here");
        let foreign = [("content-type", "application/json"), ("origin", "https://evil.example")];
        assert_eq!(browser.send(Method::POST, "/auth/passkey/begin", &foreign, "{}").await.status, StatusCode::FORBIDDEN);
    })
    .await;
}
