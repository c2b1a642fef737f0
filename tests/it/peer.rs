//! A provider that plays its part by script: it signs real ID tokens with a key of its own, checks what the panel sends, and does wrong
//! where a test says so. GitHub and Discord are played by the same peer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKeyId, PrivateSigningKey};
use reqwest::Url;
use roost::identity::{Fresh, Kind, Setup};
use roost::model::secrets::Secret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::app::{Answer, Browser};
use crate::world::START;

/// What the panel is called there, and how it proves itself.
pub const CLIENT: (&str, &str) = ("roost", "a secret of the panel");

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It never answers.
    Hangs,
    /// It has a fault of its own.
    Fails,
    /// It answers without an end.
    Huge,
    /// It sends no ID token.
    NoToken,
    /// It signs with a key that it does not publish.
    WrongKey,
    /// It does not sign.
    Unsigned,
    /// It refuses the code.
    Refuses,
}

struct Script {
    fault: Fault,
    key: CoreEdDsaPrivateSigningKey,
    key_id: String,
    published: bool,
    grants: HashMap<String, (Value, String)>,
    info: Value,
    last: String,
    asked: u32,
}

/// The provider.
pub struct Peer {
    pub url: String,
    script: Arc<Mutex<Script>>,
    _tasks: JoinSet<()>,
}

fn key(id: &str) -> CoreEdDsaPrivateSigningKey {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pair.serialize_pem(), Some(JsonWebKeyId::new(id.to_owned()))).expect("a key")
}

/// Base 64 as tokens have it.
pub fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let n = group.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            text.push(char::from(SIGNS[(n >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

fn token(script: &Script, claims: &Value) -> String {
    let algorithm = if script.fault == Fault::Unsigned { "none" } else { "EdDSA" };
    let head = json!({"alg": algorithm, "typ": "JWT", "kid": script.key_id});
    let text = format!("{}.{}", base64(head.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    let other = key(&script.key_id);
    let signer = if script.fault == Fault::WrongKey { &other } else { &script.key };
    let signature = match script.fault {
        Fault::Unsigned => Vec::new(),
        _signs => signer.sign(&CoreJwsSigningAlgorithm::EdDsa, text.as_bytes()).expect("signed"),
    };
    format!("{text}.{}", base64(&signature))
}

type Shared = State<(Arc<Mutex<Script>>, String)>;

async fn misbehave(script: &Arc<Mutex<Script>>) -> Option<Response> {
    let fault = script.lock().expect("the script").fault;
    match fault {
        Fault::Hangs => {
            std::future::pending::<()>().await;
            None
        }
        Fault::Fails => Some((StatusCode::INTERNAL_SERVER_ERROR, "oh no").into_response()),
        Fault::Huge => Some(Json(json!({"issuer": "x".repeat(1 << 20)})).into_response()),
        _else => None,
    }
}

async fn discovery(State((script, url)): Shared) -> Response {
    if let Some(wrong) = misbehave(&script).await {
        return wrong;
    }
    script.lock().expect("the script").asked += 1;
    Json(document(&url, &url)).into_response()
}

fn document(issuer: &str, url: &str) -> Value {
    json!({
        "issuer": issuer, "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"), "userinfo_endpoint": format!("{url}/userinfo"), "response_types_supported": ["code"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["EdDSA"]
    })
}

async fn tenants(State((_, url)): Shared) -> Response {
    Json(document(&format!("{url}/{{tenantid}}/v2.0"), &url)).into_response()
}

async fn jwks(State((script, _)): Shared) -> Response {
    let script = script.lock().expect("the script");
    let keys = if script.published { vec![script.key.as_verification_key()] } else { Vec::new() };
    Json(json!({"keys": keys})).into_response()
}

/// Trades a code, for whoever proves to be the panel and to have asked for it.
async fn trade(State((script, _)): Shared, headers: HeaderMap, Form(form): Form<HashMap<String, String>>) -> Response {
    if let Some(wrong) = misbehave(&script).await {
        return wrong;
    }
    let script_ = script.clone();
    let mut script = script_.lock().expect("the script");
    let basic = headers.get("authorization").is_some_and(|value| value.to_str().is_ok_and(|text| text.starts_with("Basic ")));
    let by_form = form.get("client_secret").is_some_and(|secret| secret == CLIENT.1);
    let challenge = base64(&Sha256::digest(form.get("code_verifier").map(String::as_str).unwrap_or_default()));
    let grant = form.get("code").and_then(|code| script.grants.remove(code));
    let Some((claims, _)) = grant.filter(|(_, asked)| *asked == challenge && (basic || by_form) && script.fault != Fault::Refuses) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    };
    let mut answer = json!({"access_token": "an access token", "token_type": "Bearer", "expires_in": 60});
    claims["sub"].as_str().unwrap_or_default().clone_into(&mut script.last);
    if script.fault != Fault::NoToken && claims.is_object() {
        answer["id_token"] = token(&script, &claims).into();
    }
    Json(answer).into_response()
}

async fn info(State((script, _)): Shared, headers: HeaderMap) -> Response {
    if headers.get("authorization").is_none_or(|value| value != "Bearer an access token") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let script = script.lock().expect("the script");
    let mut info = script.info.clone();
    if info.get("sub").is_none() && info.is_object() {
        info["sub"] = script.last.as_str().into();
    }
    Json(info).into_response()
}

async fn emails(State((script, _)): Shared) -> Response {
    Json(script.lock().expect("the script").info["emails"].clone()).into_response()
}

/// What the panel asks a browser to take to the provider.
pub struct Departure {
    pub place: String,
    pub asked: HashMap<String, String>,
}

impl Departure {
    /// Of the address that a browser is sent to.
    pub fn to(address: &str) -> Departure {
        let url = Url::parse(address).unwrap_or_else(|_| panic!("not an address: {address}"));
        Departure {
            place: format!("{}{}", url.origin().ascii_serialization(), url.path()),
            asked: url.query_pairs().into_owned().collect(),
        }
    }
}

impl Peer {
    pub async fn start() -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let script = Script {
            fault: Fault::None,
            key: key("first"),
            key_id: "first".to_owned(),
            published: true,
            grants: HashMap::new(),
            info: json!({}),
            last: String::new(),
            asked: 0,
        };
        let script = Arc::new(Mutex::new(script));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/common/v2.0/.well-known/openid-configuration", get(tenants))
            .route("/jwks", get(jwks))
            .route("/token", post(trade))
            .route("/login/oauth/access_token", post(trade))
            .route("/oauth2/token", post(trade))
            .route("/userinfo", get(info))
            .route("/user", get(info))
            .route("/users/@me", get(info))
            .route("/user/emails", get(emails))
            .with_state((script.clone(), url.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Peer { url, script, _tasks: tasks }
    }

    /// As an issuer of OpenID Connect, under the key `club`.
    pub fn club(&self) -> Setup {
        setup("club", Kind::OpenId { issuer: self.url.clone(), fresh: Fresh::Login })
    }

    pub fn fault(&self, fault: Fault) {
        self.script.lock().expect("the script").fault = fault;
    }

    /// From now on it signs with another key.
    pub fn rotate(&self) {
        let mut script = self.script.lock().expect("the script");
        script.key_id = format!("after {}", script.key_id);
        script.key = key(&script.key_id);
    }

    /// What it says beside the token.
    pub fn says(&self, info: Value) {
        self.script.lock().expect("the script").info = info;
    }

    /// How often its description was read.
    pub fn asked(&self) -> u32 {
        self.script.lock().expect("the script").asked
    }

    /// Agrees to a departure; gives the code. `claims` are put over those that are right.
    pub fn agree(&self, departure: &Departure, claims: Value) -> String {
        let asked = &departure.asked;
        assert_eq!((asked["client_id"].as_str(), asked["response_type"].as_str()), (CLIENT.0, "code"));
        assert_eq!(asked["code_challenge_method"], "S256");
        let now = START / 1_000;
        let mut all = json!({"iss": self.url, "aud": CLIENT.0, "exp": now + 300, "iat": now, "nonce": asked["nonce"], "sub": "ada-1"});
        if let (Some(all), Value::Object(claims)) = (all.as_object_mut(), claims) {
            all.extend(claims);
        }
        let mut script = self.script.lock().expect("the script");
        let code = format!("code-{}-{}", asked["state"].get(..8).unwrap_or_default(), script.grants.len());
        script.grants.insert(code.clone(), (all, asked["code_challenge"].clone()));
        code
    }
}

/// How the panel is set up for a provider.
pub fn setup(key: &str, kind: Kind) -> Setup {
    let name = if key == "club" { "The club" } else { key };
    Setup { key: key.to_owned(), name: name.to_owned(), client_id: CLIENT.0.to_owned(), client_secret: Secret::new(CLIENT.1), kind }
}

/// Leaves for a provider by the button on the login.
pub async fn leave(browser: &Browser, key: &str, next: &str) -> Departure {
    let answer = browser.follow(&format!("/auth/{key}{next}")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER.as_u16(), "{}", answer.text);
    Departure::to(answer.location())
}

/// Comes back with a code.
pub async fn come_back(browser: &Browser, key: &str, departure: &Departure, code: &str) -> Answer {
    let state = &departure.asked["state"];
    // A redirect of another site: browsers say so.
    browser
        .send(
            reqwest::Method::GET,
            &format!("/auth/{key}/callback?state={state}&code={code}"),
            &[("sec-fetch-site", "cross-site"), ("accept", "text/html")],
            "",
        )
        .await
}

/// All of it.
pub async fn sign_in(peer: &Peer, browser: &Browser, claims: Value) -> Answer {
    let departure = leave(browser, "club", "").await;
    let code = peer.agree(&departure, claims);
    come_back(browser, "club", &departure, &code).await
}

/// Where a page sends the browser by itself.
pub fn refreshed(answer: &Answer) -> Departure {
    let header = answer.header("refresh");
    Departure::to(header.strip_prefix("0; url=").unwrap_or_else(|| panic!("{}: no way on: {}", answer.status, answer.text)))
}

/// Longest wait for a provider that never answers, with some room.
pub const SILENCE: Duration = Duration::from_secs(12);
