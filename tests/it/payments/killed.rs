//! The real program killed at random moments while webhooks come in, as often as Stripe sends them: every payment counts once.

use std::time::Duration;

use reqwest::redirect;
use sqlx::{Connection, Row, SqliteConnection};

use crate::paying;
use crate::program::Program;
use crate::services;
use crate::stripe_peer::{Age, Peer, Told};

/// Kills of one run.
const ROUNDS: u64 = 15;
/// Payments of one round.
const PAYMENTS: usize = 3;
/// Longest time between the first webhook and the kill, in milliseconds.
const MOMENT_MAX: u64 = 120;

/// Somebody signed in, as a browser is.
async fn browser(url: &str) -> reqwest::Client {
    let client = reqwest::Client::builder().cookie_store(true).redirect(redirect::Policy::none()).build().expect("a client");
    let account = [("email", "ada@example.org"), ("password", "correct horse battery")];
    for path in ["/auth/register", "/auth/login"] {
        let answer = client.post(format!("{url}{path}")).header("origin", url).form(&account).send().await.expect("answered");
        if answer.status() == 303 {
            return client;
        }
    }
    panic!("nobody is let in");
}

/// Sends a webhook until it is heard, as Stripe does.
async fn until_heard(peer: &Peer, url: &str, told: &Told) {
    for _ in 0..200 {
        if peer.send(url, told).await == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a webhook is never heard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_webhooks_come_in_every_payment_counts_once() {
    let name = "killed_while_webhooks_come_in_every_payment_counts_once";
    let Some(engine) = services::docker(name) else { return };
    services::ring();
    let peer = paying::peer().await;
    let settings = paying::settings(&peer);
    let mut settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.push(("EMBEDDED_NODE", "false"));
    let mut program = Program::start(&engine, &settings);
    let client = browser(&program.url).await;
    let mut paid = 0;
    for round in 0..ROUNDS {
        let mut told = Vec::new();
        for _ in 0..PAYMENTS {
            let form = [("amount", "10"), ("request", "")];
            let request = client.post(format!("{}/billing/add-funds", program.url)).header("origin", &program.url).form(&form);
            let answer = request.send().await.expect("answered");
            assert_eq!(answer.status(), 200, "{}", answer.text().await.expect("text"));
            let session = peer.pay(&peer.last_session());
            told.push(peer.tell(Age::New, "checkout.session.completed", session.clone()));
            told.push(peer.tell(Age::Old, "payment_intent.succeeded", peer.thing(session["payment_intent"].as_str().expect("a payment"))));
            paid += 1_000;
        }
        let sent = futures_util::future::join_all(told.iter().map(|told| peer.send(&program.url, told)));
        // The kill comes at its moment, whether they have been answered or not.
        let moment = Duration::from_millis(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % MOMENT_MAX);
        let _ = tokio::time::timeout(moment, sent).await;
        program.kill_and_start();
        for told in &told {
            until_heard(&peer, &program.url, told).await;
        }
    }
    program.kill();
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", program.database().display())).await.expect("the database opens");
    let row = sqlx::query("SELECT balance, (SELECT SUM(amount) FROM transactions) AS sum, (SELECT COUNT(*) FROM transactions WHERE kind = 'payment') AS entries FROM users")
        .fetch_one(&mut db)
        .await
        .expect("read");
    let (balance, sum, entries): (i64, i64, i64) = (row.get("balance"), row.get("sum"), row.get("entries"));
    assert_eq!((balance, sum), ((100 + paid) * 1_000_000, balance));
    assert_eq!(entries, paid / 1_000);
    peer.check();
}
