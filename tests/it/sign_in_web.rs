//! Getting in, in a real browser: by a real OpenID provider, linked, with codes of an app, a passkey and a recovery code.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use fantoccini::Locator;
use roost::domain::Policy;
use roost::http::WebSettings;
use roost::identity::{Fresh, Kind, Setup};
use roost::model::secrets::Secret;
use roost::model::time::MINUTE;
use serde_json::json;
use tokio::net::TcpListener;

use crate::app::{App, PASSWORD};
use crate::browser::{SOON, Window};
use crate::second_factor::Phone;
use crate::services;
use crate::world::{Abroad, TestClock, World, folder};

/// The provider as a process.
pub struct Provider {
    child: Child,
    pub url: String,
}

impl Provider {
    pub fn start(program: &Path) -> Provider {
        let port = services::free_port(&services::LISTENERS);
        let person = |sub: &str, email: &str| json!({"sub": sub, "email": email, "email_verified": true}).to_string();
        let child = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--user-claims", &person("ada", "ada@example.org"), "--user-claims", &person("bea", "bea@elsewhere.example")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the provider starts");
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < SOON, "the provider does not answer");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Provider { child, url: format!("http://127.0.0.1:{port}") }
    }

    fn setup(&self) -> Setup {
        Setup {
            key: "club".to_owned(),
            name: "The club".to_owned(),
            client_id: "roost".to_owned(),
            client_secret: Secret::new("a secret of the panel"),
            kind: Kind::OpenId { issuer: self.url.clone(), fresh: Fresh::Login },
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says at the provider who it is, and comes back.
pub async fn agree(window: &Window, sub: &str) {
    window.fill("input[name=sub]", sub).await;
    window.click("form button[type=submit]:not([name])").await;
}

pub async fn log_out(window: &Window) {
    window.click("form[action='/auth/logout'] button").await;
    window.sees("h1", "Log in", SOON).await;
}

/// Takes the first step with the password; stands before the second.
pub async fn first_step(window: &Window, email: &str) {
    window.fill("input[name=email]", email).await;
    window.fill("input[name=password]", PASSWORD).await;
    window.click("form[action='/auth/login'] button").await;
    window.sees("h1", "One more step", SOON).await;
}

pub async fn is_in(window: &Window, email: &str) {
    window.sees(".who .email", email, SOON).await;
    assert_eq!(window.path().await, "/dashboard");
}

async fn agree_to_question(window: &Window, css: &str) {
    window.click(css).await;
    let begin = Instant::now();
    while window.client.accept_alert().await.is_err() {
        assert!(begin.elapsed() < SOON, "{css} never asks");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_gets_in_by_provider_app_passkey_and_recovery_code() {
    let test = "somebody_gets_in_by_provider_app_passkey_and_recovery_code";
    let (Some(browser), Some(oidc)) = (services::browser(test), services::oidc(test)) else { return };
    let provider = Provider::start(&oidc);
    let data = folder();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    // Browsers know passkeys of names only, and of plain HTTP only on this machine.
    let url = format!("http://localhost:{}", listener.local_addr().expect("an address").port());
    let policy = Policy { base_url: url.clone(), ..Policy::default() };
    let abroad = Abroad { setups: vec![provider.setup()], smtp: None, stripe: None };
    let database = format!("sqlite://{}/roost.db", data.path().display());
    let world = World::open_abroad(&database, Arc::new(TestClock::default()), policy, abroad).await;
    let app = App::at(world, WebSettings { backend_url: url.clone(), ..WebSettings::default() }, listener, url.clone());
    let window = Window::open(&browser, &url, 1280).await;
    window.plug_in_a_device().await;

    // Somebody new, by the provider alone.
    window.go("/auth/login").await;
    window.click(".ways a[href='/auth/club']").await;
    agree(&window, "ada").await;
    is_in(&window, "ada@example.org").await;
    log_out(&window).await;

    // Somebody with a password links it. The provider knows them by another address, which opens nothing.
    window.go("/auth/register").await;
    window.fill("input[name=email]", "bea@example.org").await;
    window.fill("input[name=password]", PASSWORD).await;
    window.click("form[action='/auth/register'] button").await;
    is_in(&window, "bea@example.org").await;
    window.go("/account").await;
    window.click("a[href='/account/security']").await;
    window.sees("h1", "Is it you?", SOON).await;
    window.fill("input[name=current]", PASSWORD).await;
    window.click("form[action='/account/confirm'] button").await;
    window.sees("h1", "Security", SOON).await;
    window.click("form[action='/account/providers/club/link'] button").await;
    agree(&window, "bea").await;
    window.sees(".notice", "Linked. It opens your account from now on.", SOON).await;

    // An app, and the codes for the day on which it is lost.
    window.click("form[action='/account/app'] button").await;
    window.sees("h1", "Set up an app", SOON).await;
    let phone = Phone::of(&window.client.source().await.expect("the page"));
    window.fill("input[name=code]", &phone.shows(&app, 0)).await;
    window.click("form[action='/account/app/confirm'] button").await;
    window.sees("h1", "Your recovery codes", SOON).await;
    let recovery = window.text(".codes li").await;
    window.click("a[href='/account/security'].ink").await;

    // A passkey.
    window.fill("#key-name", "The laptop").await;
    window.click("[data-passkey=add]").await;
    window.sees(".lines", "", SOON).await;
    window.client.wait().at_most(SOON).for_element(Locator::Css("[aria-label='Remove The laptop']")).await.expect("it is listed");
    log_out(&window).await;

    // As the second step; then as the whole of it.
    first_step(&window, "bea@example.org").await;
    window.click("[data-passkey=second]").await;
    is_in(&window, "bea@example.org").await;
    log_out(&window).await;
    window.click("[data-passkey=log-in]").await;
    is_in(&window, "bea@example.org").await;
    log_out(&window).await;

    // A code of the app; a wrong one before it.
    app.world.clock.pass(MINUTE);
    first_step(&window, "bea@example.org").await;
    window.fill("input[name=code]", "000000").await;
    window.click("form[action='/auth/second'] button").await;
    window.sees("#code-error", "This code is not right", SOON).await;
    window.fill("input[name=code]", &phone.shows(&app, 0)).await;
    window.click("form[action='/auth/second'] button").await;
    is_in(&window, "bea@example.org").await;
    log_out(&window).await;

    // By the provider, and a recovery code as the second step.
    window.click(".ways a[href='/auth/club']").await;
    agree(&window, "bea").await;
    window.sees("h1", "One more step", SOON).await;
    window.fill("input[name=code]", &recovery).await;
    window.click("form[action='/auth/second'] button").await;
    is_in(&window, "bea@example.org").await;

    // A passkey that is removed opens nothing.
    window.go("/account/security").await;
    window.fill("input[name=current]", PASSWORD).await;
    window.click("form[action='/account/confirm'] button").await;
    agree_to_question(&window, "[aria-label='Remove The laptop']").await;
    window.sees(".notice", "The passkey is removed.", SOON).await;
    log_out(&window).await;
    window.click("[data-passkey=log-in]").await;
    window.sees(".passkey .error", "The passkey was not accepted.", SOON).await;
    assert_eq!(window.path().await, "/auth/login");
    window.client.clone().close().await.expect("closed");
}
