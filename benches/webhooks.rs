//! A burst of 1,000 webhooks about as many payments, sent to a panel as a process on SQLite, until the last one is applied; then the
//! ledger of an account with 100,000 entries, read anywhere in it.
//!
//! `cargo bench --bench webhooks`; nothing here fails on a time.
#![allow(clippy::print_stdout, missing_docs)]

#[allow(dead_code, reason = "each bench needs a part of it")]
mod site;

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;
use site::{Failure, Panel, median};
use sqlx::{Connection, SqliteConnection};

const PAYMENTS: i64 = 1_000;
const AT_ONCE: usize = 32;
const ROUNDS: usize = 3;
const ENTRIES: i64 = 100_000;
const PAGES: usize = 500;
const HOUR: i64 = 3_600_000;
const SECRET: &str = "whsec_of_this_bench";
/// Nothing listens at the address: what is asked about payments afterwards is not part of the measurement.
const SETTINGS: [(&str, &str); 4] = [
    ("EMBEDDED_NODE", "false"),
    ("STRIPE_SECRET_KEY", "sk_test_of_this_bench"),
    ("STRIPE_WEBHOOK_SECRET", SECRET),
    ("STRIPE_API_BASE", "http://127.0.0.1:9"),
];

fn database(panel: &Panel) -> String {
    format!("sqlite://{}", panel.folder.path().join("data/roost.db").display())
}

fn now() -> Result<i64, Failure> {
    Ok(i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?)
}

fn client() -> Result<reqwest::Client, Failure> {
    let _already = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?)
}

/// An account; gives the cookie of its session and its id.
async fn account(panel: &Panel, db: &mut SqliteConnection) -> Result<(String, String), Failure> {
    let fields = [("email", "ada@example.org"), ("password", "correct horse battery")];
    let answer = client()?.post(format!("{}/auth/register", panel.url)).header("Origin", &panel.url).form(&fields).send().await?;
    let cookie = answer.headers().get_all("set-cookie").iter().find_map(|value| value.to_str().ok()).ok_or("no session")?;
    let (id,): (String,) = sqlx::query_as("SELECT id FROM users").fetch_one(db).await?;
    Ok((cookie.split(';').next().unwrap_or_default().to_owned(), id))
}

/// Payments that somebody has begun.
async fn begun(db: &mut SqliteConnection, user: &str) -> Result<(), Failure> {
    sqlx::query("INSERT INTO customers (user_id, customer, created_at) VALUES ($1, 'cus_1', 0)").bind(user).execute(&mut *db).await?;
    let payments = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
        INSERT INTO payments (id, user_id, kind, cents, currency, keep_card, state, why, session, refunded_cents, disputed_cents, turns, \
            created_at, generation, attempts) \
        SELECT 'payment-' || i, $2, 'checkout', 1000, 'eur', 0, 'open', '', 'cs_' || i, 0, 0, 0, $3, 0, 0 FROM n";
    sqlx::query(payments).bind(PAYMENTS).bind(user).bind(now()?).execute(db).await?;
    Ok(())
}

fn webhook(n: i64) -> Result<(String, String), Failure> {
    let session = json!({"id": format!("cs_{n}"), "object": "checkout.session", "mode": "payment", "status": "complete",
        "payment_status": "paid", "client_reference_id": format!("payment-{n}"), "customer": "cus_1", "amount_total": 1_000,
        "currency": "eur", "payment_intent": format!("pi_{n}"), "metadata": {"payment": format!("payment-{n}")}});
    let body = json!({"id": format!("evt_{n}"), "object": "event", "type": "checkout.session.completed", "livemode": false,
        "data": {"object": session}});
    let (body, at) = (body.to_string(), now()? / 1_000);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    mac.update(format!("{at}.{body}").as_bytes());
    Ok((format!("t={at},v1={}", hex::encode(mac.finalize().into_bytes())), body))
}

/// Seconds until the last webhook of a burst is applied: each is answered when its credits are committed.
async fn burst() -> Result<f64, Failure> {
    let panel = Panel::start(&SETTINGS)?;
    let mut db = SqliteConnection::connect(&database(&panel)).await?;
    let (_, user) = account(&panel, &mut db).await?;
    begun(&mut db, &user).await?;
    let client = Arc::new(client()?);
    let told = (1..=PAYMENTS).map(webhook).collect::<Result<Vec<_>, _>>()?;
    let begin = Instant::now();
    let answers = futures_util::stream::iter(told).map(|(signature, body)| {
        let request = client.post(format!("{}/webhooks/stripe", panel.url)).header("stripe-signature", signature).body(body);
        async move { request.send().await.map(|answer| answer.status().as_u16()) }
    });
    let answers: Vec<_> = answers.buffer_unordered(AT_ONCE).collect().await;
    let took = begin.elapsed().as_secs_f64();
    let heard = answers.iter().filter(|answer| matches!(answer, Ok(200))).count();
    let (paid, credits): (i64, i64) =
        sqlx::query_as("SELECT (SELECT COUNT(*) FROM payments WHERE state = 'paid'), (SELECT balance FROM users)")
            .fetch_one(&mut db)
            .await?;
    let expected = (PAYMENTS, 100_000_000 + PAYMENTS * 1_000_000_000);
    if heard != usize::try_from(PAYMENTS)? || (paid, credits) != expected {
        return Err(format!("{heard} heard, {paid} paid, {credits} micro-credits").into());
    }
    Ok(took)
}

/// 50th and 99th percentile in milliseconds of a page of the ledger, anywhere in it.
async fn pages() -> Result<(f64, f64), Failure> {
    let panel = Panel::start(&SETTINGS)?;
    let mut db = SqliteConnection::connect(&database(&panel)).await?;
    let (cookie, user) = account(&panel, &mut db).await?;
    let now = now()?;
    let entries = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
        INSERT INTO transactions (key, user_id, at, amount, kind, server, server_name, from_ms, to_ms, note) \
        SELECT 'charge:a-de-b:' || ($2 - i * $3), $4, $2 - i * $3, -500000, 'charge', 'a-de-b', 'Valley of Echoes', $2 - i * $3 - $3, $2 - i * $3, '' FROM n";
    sqlx::query(entries).bind(ENTRIES).bind(now).bind(HOUR).bind(&user).execute(&mut db).await?;
    for statement in [
        "DELETE FROM ledger_days",
        "INSERT INTO ledger_days (user_id, day, amount) SELECT user_id, at / 86400000, SUM(amount) FROM transactions GROUP BY user_id, at / 86400000",
        "UPDATE users SET balance = (SELECT SUM(amount) FROM transactions)",
    ] {
        sqlx::query(statement).execute(&mut db).await?;
    }
    let client = client()?;
    let mut times = Vec::new();
    let step = ENTRIES / i64::try_from(PAGES)?;
    for n in 0..i64::try_from(PAGES)? {
        let at = now - (n * step + 1) * HOUR;
        let url = format!("{}/billing?behind={at}.charge:a-de-b:{at}", panel.url);
        let begin = Instant::now();
        let answer = client.get(url).header("Cookie", &cookie).send().await?;
        let page = answer.error_for_status()?.text().await?;
        times.push(begin.elapsed().as_secs_f64() * 1_000.0);
        if !page.contains("Valley of Echoes") {
            return Err("a page without entries".into());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut bursts = Vec::new();
    for _ in 0..ROUNDS {
        bursts.push(runtime.block_on(burst())?);
    }
    println!("{PAYMENTS} webhooks of one burst, {AT_ONCE} at a time, SQLite on disk, median of {ROUNDS}");
    println!("  until all are applied   {:6.2} s   (aim: 5)", median(bursts));
    let (middle, worst) = runtime.block_on(pages())?;
    println!("a page of the ledger of an account with {ENTRIES} entries, {PAGES} of them");
    println!("  p50 {middle:6.1} ms   p99 {worst:6.1} ms   (aim: 20)");
    Ok(())
}
