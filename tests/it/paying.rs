//! Paying in a real browser, with the real program and a real server: a card that is declined and one that pays, a month of a server, a
//! payment that fails, its grace, and back. Each step is a function of a window, to be told as part of a longer story.

use std::time::{Duration, Instant};

use roost::model::time::{Clock, Millis};

use crate::browser::{SOON, Window};
use crate::program::{Api, Program};
use crate::services;
use crate::stripe_peer::{Age, KEY, Peer, SIGNING};

/// Longest wait for what a machine does.
const DONE: Duration = Duration::from_mins(1);

/// The time of this machine: the program has no other.
struct Now;

impl Clock for Now {
    fn now(&self) -> Millis {
        Millis(i64::try_from(std::time::UNIX_EPOCH.elapsed().expect("later").as_millis()).expect("not that late"))
    }
}

/// Stripe, for a program.
pub async fn peer() -> Peer {
    Peer::start(std::sync::Arc::new(Now)).await
}

/// What a program is given to take payments there.
pub fn settings(peer: &Peer) -> Vec<(&'static str, String)> {
    vec![("STRIPE_SECRET_KEY", KEY.to_owned()), ("STRIPE_WEBHOOK_SECRET", SIGNING.to_owned()), ("STRIPE_API_BASE", peer.url.clone())]
}

/// Loads a page again until it says something: for parts that are not live.
async fn reloads_until(window: &Window, path: &str, css: &str, text: &str) {
    let begin = Instant::now();
    loop {
        window.go(path).await;
        let said = window.text(css).await;
        if said.contains(text) {
            return;
        }
        assert!(begin.elapsed() < DONE, "{css} of {path} never says {text:?}: {said}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Tops up by 25.00: the first card is declined, the next one pays.
pub async fn top_up(window: &Window) {
    window.go("/billing").await;
    window.click("#top-up input[value='25'] + span").await;
    window.click("#top-up button.ink").await;
    // The page on the way leads on by itself.
    window.sees("h1", "Pay 25.00 eur", SOON).await;
    window.click("#decline").await;
    window.sees("#declined", "declined", SOON).await;
    window.client.back().await.expect("it goes back");
    window.click("#pay").await;
    window.sees(".notice, #payment", "redits", SOON).await;
    reloads_until(window, "/billing", "#ledger", "Paid by card").await;
    reloads_until(window, "/billing", "#payments", "Receipt").await;
}

/// Pays a month of a server; gives what Stripe calls the subscription.
pub async fn subscribe(window: &Window, peer: &Peer, server: &str) -> String {
    let page = format!("/servers/{server}");
    window.go(&page).await;
    window.click("#subscribe").await;
    window.sees("h1", "Pay 1.00 eur", SOON).await;
    window.click("#pay").await;
    reloads_until(window, &page, "#month", "a month, and no credits for its hours").await;
    peer.subscriptions().pop().expect("a subscription")["id"].as_str().expect("an id").to_owned()
}

/// A month's payment fails, and the server expires.
pub async fn fail_to_pay(window: &Window, panel: &str, peer: &Peer, sub: &str, server: &str) {
    let (_, invoice) = peer.invoice(sub, false, "past_due");
    assert_eq!(peer.send(panel, &peer.tell(Age::Old, "invoice.payment_failed", invoice)).await, 200);
    let page = format!("/servers/{server}");
    reloads_until(window, &page, "#month", "Its data are kept, and deleted in").await;
    reloads_until(window, &page, "main", "Pay the invoice").await;
}

/// It is paid after all, and the server is back.
pub async fn pay_after_all(window: &Window, panel: &str, peer: &Peer, sub: &str, server: &str) {
    let (_, invoice) = peer.invoice(sub, true, "active");
    assert_eq!(peer.send(panel, &peer.tell(Age::New, "invoice.payment_succeeded", invoice)).await, 200);
    reloads_until(window, &format!("/servers/{server}"), "#month", "a month, and no credits for its hours").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_tops_up_subscribes_fails_to_pay_and_is_back_in_a_browser() {
    let name = "a_player_tops_up_subscribes_fails_to_pay_and_is_back_in_a_browser";
    let (Some(engine), Some(browser)) = (services::docker(name), services::browser(name)) else { return };
    services::ring();
    let peer = peer().await;
    let settings = settings(&peer);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let program = Program::start(&engine, &settings);
    peer.tells(&program.url);
    let window = Window::open(&browser, &program.url, 1280).await;
    let api = Api::register(&program, "ada@example.org").await;
    window.go("/auth/login").await;
    window.fill("input[name=email]", "ada@example.org").await;
    window.fill("input[name=password]", "correct horse battery").await;
    window.click("main form button").await;
    window.sees("h2, h1", "", SOON).await;
    let server = api.create("a", "demo", "small").await;
    api.wait_phase(&server, "running", DONE).await;

    top_up(&window).await;
    let sub = subscribe(&window, &peer, &server).await;
    fail_to_pay(&window, &program.url, &peer, &sub, &server).await;
    api.wait_phase(&server, "expired", DONE).await;
    pay_after_all(&window, &program.url, &peer, &sub, &server).await;
    api.wait_phase(&server, "running", DONE).await;
    assert_eq!(api.ask(reqwest::Method::DELETE, &format!("/api/servers/{server}"), None).await.0, 202);
    api.wait_gone(&server, DONE).await;
    let begin = Instant::now();
    while peer.thing(&sub)["status"] != "canceled" {
        assert!(begin.elapsed() < DONE, "a deleted server ends its subscription");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    peer.check();
}
