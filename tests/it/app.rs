//! The whole site on a loopback port, over a [`World`]: real router, fresh database, a clock that the test moves, a node that
//! the test plays. [`Browser`] is somebody with cookies, [`Program`] somebody with a token.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::cookie::{CookieStore, Jar};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, redirect};
use roost::domain::{Actor, Policy, tokens};
use roost::http::listener::{Bounds, Waits, serve};
use roost::http::{WebSettings, router};
use roost::model::accounts::{Email, Password};
use roost::model::ids::UserId;
use roost::model::money::Credits;
use roost::model::tokens::Scopes;
use roost::model::users::{Role, User};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use crate::world::{Abroad, World, on_both_abroad, on_both_with};

/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery";
/// Longest wait of a test for something that has to come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The site.
pub struct App {
    pub world: World,
    pub url: String,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl App {
    pub async fn start(world: World) -> App {
        App::with(world, WebSettings::default()).await
    }

    pub async fn with(world: World, settings: WebSettings) -> App {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        App::at(world, settings, listener, url)
    }

    /// At a place that is known before, because the panel itself has to know it.
    pub fn at(world: World, settings: WebSettings, listener: TcpListener, url: String) -> App {
        App::held(world, settings, listener, url, Bounds { all: 10_000, of_address: None }, Waits::default())
    }

    /// With bounds of its own for connections.
    pub fn held(world: World, settings: WebSettings, listener: TcpListener, url: String, bounds: Bounds, waits: Waits) -> App {
        let stop = settings.stop.clone();
        let router = router(world.ctx.clone(), settings);
        let mut tasks = JoinSet::new();
        // As `axum::serve` would: the test ends before the site does.
        tasks.spawn(serve(listener, router, bounds, waits, CancellationToken::new()));
        App { world, url, stop, tasks }
    }

    /// Somebody with a fresh browser.
    pub fn browser(&self) -> Browser {
        crate::services::ring();
        let jar = Arc::new(Jar::default());
        let client = reqwest::Client::builder().cookie_provider(jar.clone()).redirect(redirect::Policy::none()).timeout(PATIENCE);
        Browser { client: client.build().expect("a client"), jar, url: self.url.clone() }
    }

    /// Somebody with a fresh account, signed in.
    pub async fn player(&self, email: &str) -> Browser {
        let browser = self.browser();
        let fields = [("email", email), ("password", PASSWORD)];
        let mut answer = browser.post("/auth/register", &fields).await;
        if self.world.ctx.mail.is_some() {
            // The answer goes by letter, and the account is there.
            answer.shows("Look at your letters");
            answer = browser.post("/auth/login", &fields).await;
        }
        assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, "/dashboard"), "{}", answer.text);
        browser
    }

    /// Somebody with an account that is there already.
    pub async fn log_in(&self, email: &str) -> Browser {
        let browser = self.browser();
        let answer = browser.post("/auth/login", &[("email", email), ("password", PASSWORD)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        browser
    }

    /// An account of a role, made past the domain, which makes players and one first admin only.
    pub async fn account(&self, email: &str, role: Role) -> Actor {
        let ctx = &self.world.ctx;
        let hash = ctx.hasher.hash(Password::parse(PASSWORD).expect("long enough")).await;
        let now = ctx.clock.now();
        let id = UserId::from_random(email.as_bytes());
        let user = User {
            id,
            email: email.to_owned(),
            role,
            balance: Credits::ZERO,
            created_at: now,
            sessions_from: now,
            email_verified_at: None,
            suspended: None,
        };
        roost::store::users::insert(&ctx.db, &user, &hash).await.expect("inserted");
        Actor::of(user)
    }

    /// Whoever this is, by a token.
    pub async fn program(&self, actor: &Actor) -> Program {
        let (_, secret) = tokens::create(&self.world.ctx, actor, "a test", 1, Scopes::all()).await.expect("a token");
        self.program_with(secret)
    }

    /// Whoever shows this token.
    pub fn program_with(&self, secret: String) -> Program {
        crate::services::ring();
        Program { client: reqwest::Client::new(), url: self.url.clone(), secret }
    }

    /// The account of an address.
    pub async fn actor(&self, email: &str) -> Actor {
        let email = Email::parse(email).expect("an address");
        let (user, _) = roost::store::users::by_email(&self.world.ctx.db, &email).await.expect("read").expect("there");
        Actor::of(user)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.cancel();
        if !std::thread::panicking() {
            assert!(self.tasks.try_join_next().is_none(), "the site has ended before its test");
        }
    }
}

/// Runs a body on the whole site, on both databases.
pub async fn on_site<F: Future<Output = ()>>(test: &str, body: impl Fn(App) -> F) {
    on_site_with(test, Policy::default(), body).await;
}

/// The same under another policy.
pub async fn on_site_with<F: Future<Output = ()>>(test: &str, policy: Policy, body: impl Fn(App) -> F) {
    on_both_with(test, policy, |world| async { body(App::start(world).await).await }).await;
}

/// The same, with providers and a mail server.
pub async fn on_site_abroad<F: Future<Output = ()>>(test: &str, policy: Policy, abroad: Abroad, body: impl Fn(App) -> F) {
    on_both_abroad(test, policy, abroad, |world| async { body(App::start(world).await).await }).await;
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    async fn of(response: reqwest::Response) -> Answer {
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("a body") }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn location(&self) -> &str {
        self.header("location")
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}: {}", self.status, self.text))
    }

    /// The page does not hold this text.
    #[track_caller]
    pub fn lacks(&self, text: &str) {
        assert!(!self.text.contains(text), "{} with {text:?}: {}", self.status, self.text);
    }

    /// The page holds this text.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        assert!(self.text.contains(text), "{} without {text:?}: {}", self.status, self.text);
    }
}

/// Somebody with cookies.
pub struct Browser {
    pub client: reqwest::Client,
    jar: Arc<Jar>,
    pub url: String,
}

impl Browser {
    /// The same browser at another site.
    pub fn at(&self, url: &str) -> Browser {
        Browser { client: self.client.clone(), jar: self.jar.clone(), url: url.to_owned() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(format!("{}{path}", self.url)).header("accept", "text/html").send().await.expect("answered")).await
    }

    /// Sends a form as a page of this site would.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let request = self.client.post(format!("{}{path}", self.url)).header("origin", &self.url).form(fields);
        Answer::of(request.send().await.expect("answered")).await
    }

    /// Follows a link of a page of this site.
    pub async fn follow(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[("sec-fetch-site", "same-origin"), ("accept", "text/html")], "").await
    }

    /// Sends anything.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await.expect("answered")).await
    }

    pub fn cookies(&self) -> Option<HeaderValue> {
        self.jar.cookies(&self.url.parse().expect("an address"))
    }

    /// Opens a socket; the status where it is refused.
    pub async fn socket(&self, path: &str) -> Result<Socket, u16> {
        let mut headers = vec![("origin", self.url.clone())];
        headers.extend(self.cookies().map(|cookies| ("cookie", cookies.to_str().expect("text").to_owned())));
        Socket::open(&self.url, path, &headers).await
    }
}

/// Somebody with a token.
pub struct Program {
    client: reqwest::Client,
    url: String,
    pub secret: String,
}

impl Program {
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(method, path, body, &[]).await
    }

    pub async fn ask_with(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.secret);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.expect("answered")).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub async fn socket(&self, path: &str) -> Result<Socket, u16> {
        Socket::open(&self.url, path, &[("authorization", format!("Bearer {}", self.secret))]).await
    }
}

/// An open socket.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(url: &str, path: &str, headers: &[(&str, String)]) -> Result<Socket, u16> {
        let mut request = format!("{}{path}", url.replacen("http", "ws", 1)).into_client_request().expect("a request");
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().expect("a name");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(SocketError::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Says something; false when the socket has ended.
    pub async fn try_say(&mut self, text: &str) -> bool {
        self.0.send(Message::text(text.to_owned())).await.is_ok()
    }

    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text.to_owned())).await.expect("sent");
    }

    /// The next text; nothing when the socket has ended.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("something comes in time")?;
            match message {
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Reads on until a text holds this; gives everything that was read.
    pub async fn until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            all.push_str(&self.next().await.unwrap_or_else(|| panic!("the socket ended without {text:?}: {all}")));
        }
        all
    }

    /// Reads on until it ends.
    pub async fn end(mut self) {
        while self.next().await.is_some() {}
    }
}
