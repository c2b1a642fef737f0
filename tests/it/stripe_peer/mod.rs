//! A scripted Stripe: an HTTP server on loopback that holds every request against Stripe's published shapes (method, path, key, version,
//! idempotency, known and required parameters), keeps state, returns whole objects, fails when it is told to, and tells the panel by
//! signed webhooks of either of two API versions. A request that Stripe would not know is remembered, and [`Peer::check`] fails the test.

mod act;
mod deliver;
mod objects;
mod rules;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use roost::model::secrets::Secret;
use roost::model::time::Clock;
use roost::payments::StripeConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use deliver::{Age, Told, sign};

/// The key that the panel is given.
pub const KEY: &str = "sk_test_0123456789abcdef";
/// What webhooks are signed with.
pub const SIGNING: &str = "whsec_0123456789abcdef";

/// Something that goes wrong with the next request to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An answer of this status instead of doing anything.
    Status(u16),
    /// The work is done, and the answer never comes.
    Silence,
    /// The work is done, and the answer is a 500.
    DoneButBroken,
}

/// What a card does when it is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Card {
    /// It pays.
    Good,
    /// It is declined.
    Declined,
    /// Its owner has to confirm.
    AsksOwner,
}

#[derive(Debug, Clone)]
struct Answered {
    asked: String,
    status: u16,
    body: Value,
}

/// Everything that Stripe would know.
#[derive(Default)]
pub(super) struct Inner {
    count: u64,
    customers: BTreeMap<String, Value>,
    products: BTreeMap<String, Value>,
    sessions: BTreeMap<String, Value>,
    intents: BTreeMap<String, Value>,
    charges: BTreeMap<String, Value>,
    disputes: BTreeMap<String, Value>,
    subscriptions: BTreeMap<String, Value>,
    invoices: BTreeMap<String, Value>,
    answered: BTreeMap<String, Answered>,
    faults: VecDeque<(String, Fault)>,
    wrong: Vec<String>,
    asked: Vec<String>,
    cards: BTreeMap<String, Card>,
    refunds: BTreeMap<String, Vec<Value>>,
}

/// The peer.
#[derive(Clone)]
pub struct Peer {
    inner: Arc<Mutex<Inner>>,
    clock: Arc<dyn Clock>,
    pub url: String,
    /// Where its own pages tell of what happened there.
    panel: Arc<Mutex<Option<String>>>,
    /// Ends with the last of its handles.
    _tasks: Option<Arc<JoinSet<()>>>,
}

impl Peer {
    pub async fn start(clock: Arc<dyn Clock>) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (inner, panel) = (Arc::new(Mutex::new(Inner::default())), Arc::new(Mutex::new(None)));
        let served =
            Shared { inner: inner.clone(), clock: clock.clone(), url: url.clone(), panel: panel.clone(), telling: Mutex::default() };
        let router = Router::new()
            .route("/pay/{session}", axum::routing::get(deliver::page).post(deliver::press))
            .route("/favicon.ico", axum::routing::get(|| async { StatusCode::NO_CONTENT }))
            .route("/portal", axum::routing::get(|| async { "The portal" }))
            .fallback(answer)
            .with_state(Arc::new(served));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Peer { inner, clock, url, panel, _tasks: Some(Arc::new(tasks)) }
    }

    /// How the panel reaches it.
    pub fn config(&self) -> StripeConfig {
        StripeConfig {
            key: Secret::new(KEY),
            webhook_secrets: vec![Secret::new(SIGNING)],
            base: Some(self.url.clone()),
            patience: Duration::from_millis(400),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("whole")
    }

    fn now(&self) -> i64 {
        self.clock.now().0 / 1_000
    }

    /// The next request whose path begins so goes wrong.
    pub fn fail(&self, path: &str, fault: Fault) {
        self.inner().faults.push_back((path.to_owned(), fault));
    }

    /// What a saved card does from now on.
    pub fn card(&self, method: &str, card: Card) {
        self.inner().cards.insert(method.to_owned(), card);
    }

    /// How often a path was asked for, such as `POST /v1/payment_intents`.
    pub fn asked(&self, what: &str) -> usize {
        self.inner().asked.iter().filter(|asked| asked.as_str() == what).count()
    }

    /// Every request so far was one that Stripe knows.
    #[track_caller]
    pub fn check(&self) {
        let inner = self.inner();
        assert!(inner.wrong.is_empty(), "Stripe would not know this:\n  {}", inner.wrong.join("\n  "));
    }

    /// A thing as it is, by its id.
    pub fn thing(&self, id: &str) -> Value {
        let inner = self.inner();
        let all =
            [&inner.sessions, &inner.intents, &inner.subscriptions, &inner.charges, &inner.disputes, &inner.invoices, &inner.customers];
        all.iter().find_map(|things| things.get(id).cloned()).unwrap_or_else(|| panic!("no {id}"))
    }

    /// Ids of all Checkout sessions, oldest first.
    pub fn sessions(&self) -> Vec<String> {
        self.inner().sessions.keys().cloned().collect()
    }

    /// The newest session.
    pub fn last_session(&self) -> String {
        self.sessions().pop().expect("a session")
    }

    /// All subscriptions, oldest first.
    pub fn subscriptions(&self) -> Vec<Value> {
        self.inner().subscriptions.values().cloned().collect()
    }

    /// All payments, oldest first.
    pub fn intents(&self) -> Vec<Value> {
        self.inner().intents.values().cloned().collect()
    }
}

pub(super) struct Shared {
    inner: Arc<Mutex<Inner>>,
    clock: Arc<dyn Clock>,
    url: String,
    panel: Arc<Mutex<Option<String>>>,
    /// Webhooks on their way.
    telling: Mutex<JoinSet<()>>,
}

impl Inner {
    fn id(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}_{:06}", self.count)
    }
}

fn refusal(status: u16, kind: &str, code: &str) -> (u16, Value) {
    (status, json!({"error": {"type": kind, "code": code, "message": "In words.", "param": null}}))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let (method, path) = (parts.method.as_str().to_owned(), parts.uri.path().to_owned());
    let form = if method == "GET" { parts.uri.query().unwrap_or_default().to_owned() } else { String::from_utf8_lossy(&body).into_owned() };
    let fields: Vec<(String, String)> = serde_urlencoded::from_str(&form).unwrap_or_default();
    let asked = format!("{method} {path}");
    let fault = {
        let mut inner = shared.inner.lock().expect("whole");
        inner.asked.push(asked.clone());
        let wrong = rules::check(&method, &path, &parts.headers, &fields, shared.clock.now().0 / 1_000);
        inner.wrong.extend(wrong.into_iter().map(|why| format!("{asked}: {why}")));
        let at = inner.faults.iter().position(|(begin, _)| asked.starts_with(begin.as_str()));
        at.and_then(|at| inner.faults.remove(at)).map(|(_, fault)| fault)
    };
    if let Some(Fault::Status(status)) = fault {
        let (status, body) = refusal(status, "api_error", "rate_limit");
        return respond(status, body);
    }
    let (status, body) = once(&shared, &asked, &path, &parts.headers, &fields, &form);
    match fault {
        Some(Fault::Silence) => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            respond(status, body)
        }
        Some(Fault::DoneButBroken) => respond(500, json!({"error": {"type": "api_error", "message": "In words."}})),
        Some(Fault::Status(_)) | None => respond(status, body),
    }
}

/// Does it, or gives the answer that was given to the same key before.
fn once(shared: &Shared, asked: &str, path: &str, headers: &HeaderMap, fields: &[(String, String)], form: &str) -> (u16, Value) {
    let key = text(headers, "idempotency-key").to_owned();
    let mut inner = shared.inner.lock().expect("whole");
    let whole = format!("{asked}?{form}");
    if let Some(before) = inner.answered.get(&key).filter(|_| !key.is_empty()).cloned() {
        if before.asked != whole {
            inner.wrong.push(format!("{asked}: the key {key} was used for something else: {} is not {whole}", before.asked));
            return refusal(400, "idempotency_error", "idempotency_key_in_use");
        }
        return (before.status, before.body);
    }
    let (status, body) = inner.carry_out(asked, path, fields, shared);
    if !key.is_empty() && asked.starts_with("POST") {
        inner.answered.insert(key, Answered { asked: whole, status, body: body.clone() });
    }
    (status, body)
}

fn respond(status: u16, body: Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/json")], Json(body)).into_response()
}
