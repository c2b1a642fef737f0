//! Webhooks, signed as Stripe signs them, in the shapes of two API versions; and a tiny page at which a browser pays.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Peer, SIGNING, Shared};

/// The version that an account's webhooks are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// 2022-11-15: an invoice names its subscription at its top, a subscription its period.
    Old,
    /// 2026-09-30: an invoice names it in its parent, the period stands at the items.
    New,
}

/// A webhook that can be sent.
#[derive(Debug, Clone)]
pub struct Told {
    pub body: String,
    pub signature: String,
}

/// Signs a body as at a moment, in seconds.
pub fn sign(body: &str, at: i64, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(format!("{at}.{body}").as_bytes());
    format!("t={at},v1={},v0={}", hex::encode(mac.finalize().into_bytes()), "0".repeat(64))
}

/// As the account's version would show it.
fn shaped(mut object: Value, age: Age) -> Value {
    if age == Age::New {
        return object;
    }
    match object["object"].as_str() {
        Some("invoice") => {
            object["subscription"] = object["parent"]["subscription_details"]["subscription"].clone();
            if let Some(fields) = object.as_object_mut() {
                fields.remove("parent");
            }
        }
        Some("subscription") => {
            let item = &mut object["items"]["data"][0];
            let (from, to) = (item["current_period_start"].take(), item["current_period_end"].take());
            if let Some(fields) = item.as_object_mut() {
                fields.remove("current_period_start");
                fields.remove("current_period_end");
            }
            (object["current_period_start"], object["current_period_end"]) = (from, to);
        }
        _other => {}
    }
    object
}

fn event(id: &str, kind: &str, object: Value, age: Age, now: i64) -> String {
    let version = if age == Age::Old { "2022-11-15" } else { "2026-09-30.endive" };
    json!({"id": id, "object": "event", "api_version": version, "created": now, "data": {"object": shaped(object, age)}, "livemode": false,
        "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null}, "type": kind})
    .to_string()
}

impl Peer {
    /// A webhook about something, signed now.
    pub fn tell(&self, age: Age, kind: &str, object: Value) -> Told {
        let id = self.inner().id("evt");
        let body = event(&id, kind, object, age, self.now());
        Told { signature: sign(&body, self.now(), SIGNING), body }
    }

    /// From now on its own pages tell this panel of what happens there.
    pub fn tells(&self, panel: &str) {
        *self.panel.lock().expect("whole") = Some(panel.to_owned());
    }

    /// Sends a webhook; gives the status.
    pub async fn send(&self, panel: &str, told: &Told) -> u16 {
        send(panel, told).await
    }
}

async fn send(panel: &str, told: &Told) -> u16 {
    crate::services::ring();
    let request = reqwest::Client::new().post(format!("{panel}/webhooks/stripe")).header("stripe-signature", &told.signature);
    request.header("content-type", "application/json").body(told.body.clone()).send().await.map_or(0, |answer| answer.status().as_u16())
}

/// The page at which somebody pays.
pub(super) async fn page(Path(session): Path<String>, State(shared): State<Arc<Shared>>) -> Response {
    let inner = shared.inner.lock().expect("whole");
    let Some(one) = inner.sessions.get(&session).filter(|one| one["status"] == "open") else { return "This page is over.".into_response() };
    let cents = one["amount_total"].as_i64().unwrap_or_default();
    Html(format!(
        "<!doctype html><title>Pay</title><h1>Pay {}.{:02} {}</h1><form method=post><button id=pay name=card value=good>Pay</button> \
         <button id=decline name=card value=bad>Decline</button></form><a id=back href=\"{}\">Back</a>",
        cents / 100,
        cents % 100,
        one["currency"].as_str().unwrap_or_default(),
        one["cancel_url"].as_str().unwrap_or_default()
    ))
    .into_response()
}

/// Somebody has pressed a button there.
pub(super) async fn press(
    Path(session): Path<String>,
    State(shared): State<Arc<Shared>>,
    Form(form): Form<Vec<(String, String)>>,
) -> Response {
    if form.iter().any(|(name, value)| name == "card" && value == "bad") {
        return Html("<!doctype html><title>Pay</title><p id=declined>Your card was declined.</p>").into_response();
    }
    let peer = Peer {
        inner: shared.inner.clone(),
        clock: shared.clock.clone(),
        url: shared.url.clone(),
        panel: shared.panel.clone(),
        _tasks: None,
    };
    let paid = peer.pay(&session);
    let back = paid["success_url"].as_str().unwrap_or_default().to_owned();
    let panel = shared.panel.lock().expect("whole").clone();
    if let Some(panel) = panel {
        let told = peer.tell(Age::New, "checkout.session.completed", paid);
        // Told while the browser is on its way back: either may be first.
        shared.telling.lock().expect("whole").spawn(async move { assert_eq!(send(&panel, &told).await, 200, "the panel hears") });
    }
    Redirect::to(&back).into_response()
}
