//! A business in a real browser, with the real program, Docker, a real OpenID provider and a scripted Stripe: somebody gets in by the
//! provider and with a code of an app, tops up, buys a month, fails to pay and is back; an operator and a viewer see what they may.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::app::PASSWORD;
use crate::browser::{SOON, Window};
use crate::paying::{fail_to_pay, pay_after_all, peer, settings, subscribe, top_up};
use crate::program::{Api, Program};
use crate::second_factor::Phone;
use crate::services;
use crate::sign_in_web::{Provider, agree, first_step, is_in, log_out};

/// Longest wait for what a machine does.
const DONE: Duration = Duration::from_mins(1);
const PLAYER: &str = "bea@example.org";

/// Links the provider, gets in by it, and sets up an app as the second factor.
async fn get_in(window: &Window) {
    window.go("/auth/login").await;
    window.fill("input[name=email]", PLAYER).await;
    window.fill("input[name=password]", PASSWORD).await;
    window.click("form[action='/auth/login'] button").await;
    is_in(window, PLAYER).await;
    window.go("/account/security").await;
    window.fill("input[name=current]", PASSWORD).await;
    window.click("form[action='/account/confirm'] button").await;
    window.click("form[action='/account/providers/club/link'] button").await;
    agree(window, "bea").await;
    window.sees(".notice", "Linked. It opens your account from now on.", SOON).await;
    window.click("form[action='/account/app'] button").await;
    window.sees("h1", "Set up an app", SOON).await;
    let phone = Phone::of(&window.client.source().await.expect("the page"));
    window.fill("input[name=code]", &phone.shows_now(0)).await;
    window.click("form[action='/account/app/confirm'] button").await;
    window.sees("h1", "Your recovery codes", SOON).await;
    let recovery = window.text(".codes li").await;
    log_out(window).await;
    // A code works once, so the next one comes from the list where the app still shows the same.
    first_step(window, PLAYER).await;
    window.fill("input[name=code]", &recovery).await;
    window.click("form[action='/auth/second'] button").await;
    is_in(window, PLAYER).await;
    log_out(window).await;
    window.click(".ways a[href='/auth/club']").await;
    agree(window, "bea").await;
    window.sees("h1", "One more step", SOON).await;
    window.fill("input[name=code]", &phone.shows_now(1)).await;
    window.click("form[action='/auth/second'] button").await;
    is_in(window, PLAYER).await;
    window.go("/dashboard").await;
}

/// Makes an account of a role, and a window in which it is logged in.
async fn staff(program: &Program, browser: &services::Browser, admin: &Api, email: &str, role: &str) -> Window {
    let _account = Api::register(program, email).await;
    let (_, found) = admin.ask(Method::GET, &format!("/api/users?q={email}"), None).await;
    let id = found["users"][0]["id"].as_str().expect("found").to_owned();
    let (status, changed) = admin.ask(Method::PATCH, &format!("/api/users/{id}"), Some(json!({"role": role}))).await;
    assert_eq!((status, changed["role"].as_str()), (200, Some(role)), "{changed}");
    let window = Window::open(browser, &program.url, 1280).await;
    window.go("/auth/login").await;
    window.fill("input[name=email]", email).await;
    window.fill("input[name=password]", PASSWORD).await;
    window.click("form[action='/auth/login'] button").await;
    is_in(&window, email).await;
    window
}

/// An operator and a viewer look at somebody's server, and at what is for admins.
async fn staff_see_what_they_may(program: &Program, browser: &services::Browser, admin: &Api, server: &str) {
    let page = format!("/servers/{server}");
    for (email, role, acts) in [("opal@example.org", "operator", true), ("vera@example.org", "viewer", false)] {
        let window = staff(program, browser, admin, email, role).await;
        window.go("/admin/users").await;
        window.sees("main", PLAYER, SOON).await;
        window.go("/admin/audit").await;
        window.sees("main", "POST /auth/login", SOON).await;
        window.go("/admin/reports").await;
        window.sees("h1", "Not for this account", SOON).await;
        window.go(&page).await;
        window.sees("#title", "a", SOON).await;
        let source = window.client.source().await.expect("the page");
        assert_eq!(source.contains(&format!("action=\"{page}/stop\"")), acts, "{role}");
        assert_eq!(source.contains(&format!("action=\"{page}/console\"")), acts, "{role}");
        for owners in ["settings", "delete", "sharing"] {
            assert!(!source.contains(&format!("{page}/{owners}\"")), "{role} and {owners}");
        }
        window.client.clone().close().await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_gets_in_pays_lapses_and_is_back_and_staff_see_what_they_may() {
    let name = "a_player_gets_in_pays_lapses_and_is_back_and_staff_see_what_they_may";
    let (Some(engine), Some(browser), Some(oidc)) = (services::docker(name), services::browser(name), services::oidc(name)) else { return };
    services::ring();
    let (peer, provider) = (peer().await, Provider::start(&oidc));
    let paying = settings(&peer);
    let mut all: Vec<(&str, &str)> = paying.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend([
        ("OIDC_PROVIDERS", "club"),
        ("OIDC_CLUB_NAME", "The club"),
        ("OIDC_CLUB_ISSUER", provider.url.as_str()),
        ("OIDC_CLUB_CLIENT_ID", "roost"),
        ("OIDC_CLUB_CLIENT_SECRET", "a secret of the panel"),
    ]);
    let program = Program::start(&engine, &all);
    peer.tells(&program.url);
    let admin = Api::admin(&program, "admin@example.org").await;
    let api = Api::register(&program, PLAYER).await;
    let window = Window::open(&browser, &program.url, 1280).await;
    get_in(&window).await;
    let server = api.create("a", "demo", "small").await;
    api.wait_phase(&server, "running", DONE).await;

    top_up(&window).await;
    let sub = subscribe(&window, &peer, &server).await;
    fail_to_pay(&window, &program.url, &peer, &sub, &server).await;
    api.wait_phase(&server, "expired", DONE).await;
    pay_after_all(&window, &program.url, &peer, &sub, &server).await;
    api.wait_phase(&server, "running", DONE).await;

    staff_see_what_they_may(&program, &browser, &admin, &server).await;
    let doctor = program.run(&["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("ok    books"), "{said}");
    assert_eq!(api.ask(Method::DELETE, &format!("/api/servers/{server}"), None).await.0, 202);
    api.wait_gone(&server, DONE).await;
    peer.check();
}
