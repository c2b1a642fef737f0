//! Logging in at the panel, and beside it, in the same run, bare argon2 with the same parameters: what a login costs beside its hash.
//!
//! `cargo bench --bench login`. Each login is a form with a fresh browser, from an address and to an account of its own, so that no limit
//! is met. Nothing here fails on a time.
#![allow(clippy::print_stdout, missing_docs)]

#[allow(dead_code, reason = "each bench needs a part of it")]
mod site;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use site::{Failure, Panel, median};

const PASSWORD: &str = "correct horse battery";
const ACCOUNTS: usize = 300;
/// As the panel does: so many hashes at the same time.
const AT_ONCE: usize = 2;
/// Browsers at the same time.
const BROWSERS: usize = 8;
const SECONDS: u64 = 3;
const ROUNDS: usize = 7;

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19 * 1024, 2, 1, None).unwrap_or_default())
}

/// Hashes that are checked in a second, and how long one takes.
fn bare() -> Result<(f64, Duration), Failure> {
    let hash = argon2().hash_password(PASSWORD.as_bytes()).map_err(|error| error.to_string())?.to_string();
    let done = AtomicUsize::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let Ok(hash) = PasswordHash::new(&hash) else { return };
                while begin.elapsed().as_secs() < SECONDS {
                    if argon2().verify_password(PASSWORD.as_bytes(), &hash).is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let number = done.load(Ordering::Relaxed);
    let one = begin.elapsed() * u32::try_from(AT_ONCE)? / u32::try_from(number.max(1))?;
    Ok((per_second(number, begin.elapsed()), one))
}

#[allow(clippy::cast_precision_loss, reason = "numbers of a bench are small")]
fn per_second(number: usize, span: Duration) -> f64 {
    number as f64 / span.as_secs_f64()
}

fn address(n: usize) -> String {
    format!("10.{}.{}.{}", n / 65_536 % 256, n / 256 % 256, n % 256)
}

async fn send(client: &reqwest::Client, panel: &str, path: &str, n: usize, account: usize) -> Result<u16, Failure> {
    let email = format!("player-{account}@example.org");
    let form = [("email", email.as_str()), ("password", PASSWORD)];
    let request = client.post(format!("{panel}{path}")).header("Origin", panel).header("X-Forwarded-For", address(n)).form(&form);
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    answer.bytes().await?;
    Ok(status)
}

/// Logins in a second, and how long each took with so many browsers at once.
async fn logins(panel: &str, browsers: usize, used: &Arc<AtomicUsize>) -> Result<(f64, Vec<Duration>), Failure> {
    let took: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..browsers {
        let (panel, took, used) = (panel.to_owned(), took.clone(), used.clone());
        tasks.spawn(async move {
            let client =
                reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().map_err(|error| error.to_string())?;
            while begin.elapsed().as_secs() < SECONDS {
                let n = used.fetch_add(1, Ordering::Relaxed);
                let one = Instant::now();
                let status = send(&client, &panel, "/auth/login", n, n % ACCOUNTS).await.map_err(|error| error.to_string())?;
                if status != 303 {
                    return Err(format!("a login was answered with {status}"));
                }
                took.lock().map_err(|error| error.to_string())?.push(one.elapsed());
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let mut took = std::mem::take(&mut *took.lock().map_err(|error| error.to_string())?);
    took.sort_unstable();
    Ok((per_second(took.len(), begin.elapsed()), took))
}

fn at(took: &[Duration], percent: usize) -> Duration {
    took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let panel = Panel::start(&[("TRUST_FORWARDED_FOR", "true"), ("EMBEDDED_NODE", "false"), ("LOG_LEVEL", "warn")])?;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    for account in 0..ACCOUNTS {
        let status = send(&client, &panel.url, "/auth/register", account, account).await?;
        if status != 303 {
            return Err(format!("an account was not made: {status}").into());
        }
    }
    let used = Arc::new(AtomicUsize::new(0));
    let (mut hashes, mut rates, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    println!("argon2id, 19 MiB, 2 passes, 1 lane, {AT_ONCE} at once; {BROWSERS} browsers, {ACCOUNTS} accounts, SQLite");
    for round in 1..=ROUNDS {
        let (hash_rate, one) = bare()?;
        let (_, alone) = logins(&panel.url, 1, &used).await?;
        let (rate, took) = logins(&panel.url, BROWSERS, &used).await?;
        println!(
            "{round}: bare {hash_rate:.1}/s, {one:.1?} each; logins {rate:.1}/s ({:.0} % of bare), p50 {:.1?}, p99 {:.1?}; one alone: p50 {:.1?}, p99 {:.1?}",
            100.0 * rate / hash_rate,
            at(&took, 50),
            at(&took, 99),
            at(&alone, 50),
            at(&alone, 99)
        );
        hashes.push(hash_rate);
        rates.push(rate);
        shares.push(100.0 * rate / hash_rate);
    }
    println!("median: bare {:.1}/s, logins {:.1}/s, {:.0} %", median(hashes), median(rates), median(shares));
    Ok(())
}
