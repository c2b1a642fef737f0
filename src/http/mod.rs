//! What browsers and programs see: pages, the JSON API, live sockets, sessions, guards.
//!
//! Called by `cli`, which mounts [`router`] on a listener. A handler takes its extractors, calls one function of the domain,
//! fills one page struct and renders it; nothing in here decides what may be done or reads the database. Every word that came
//! from a person is escaped on its way out.

pub mod ansi;
mod api;
mod assets;
pub mod charts;
mod cookies;
mod frame;
mod guards;
pub mod link;
pub mod listener;
mod live;
mod notice;
pub mod pages;
mod problem;
mod routes;
mod sessions;
mod steps;
mod telemetry;
mod typed;
mod who;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::domain::Ctx;
use cookies::{Cookie, Cookies};
use guards::rate::Rate;
use live::Sockets;
pub use routes::{Route, list as route_list};
pub use telemetry::Telemetry;

/// What an operator has set, as far as this room asks.
#[derive(Clone)]
pub struct WebSettings {
    /// Cookies travel over TLS only.
    pub secure_cookies: bool,
    /// Host names that are answered; empty: any.
    pub allowed_hosts: Vec<String>,
    /// Beside them, addresses of the network and `localhost` are answered.
    pub any_address: bool,
    /// Most requests of one token or session in a minute; 0: no limit.
    pub requests_per_minute: u32,
    /// Believe the last entry of `X-Forwarded-For`: only behind a proxy of one's own.
    pub trust_forwarded_for: bool,
    /// Largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Most sockets of pages and programs that are open at once.
    pub sockets_max: usize,
    /// Where this panel is reached, such as `https://roost.example.org`.
    pub backend_url: String,
    /// What machines need to join; none: the panel does not listen for any.
    pub machines: Option<Machines>,
    /// Where requests are counted.
    pub telemetry: Telemetry,
    /// Ends open sockets when the panel stops.
    pub stop: CancellationToken,
}

/// What a token for a machine carries beside its secret.
#[derive(Debug, Clone)]
pub struct Machines {
    /// Host and port that machines dial.
    pub address: String,
    /// SHA-256 of the panel's authority, in hexadecimal.
    pub authority: String,
}

impl Default for WebSettings {
    fn default() -> Self {
        WebSettings {
            secure_cookies: false,
            allowed_hosts: Vec::new(),
            any_address: false,
            requests_per_minute: 0,
            trust_forwarded_for: false,
            max_body_bytes: 64 * 1024,
            sockets_max: 1_000,
            backend_url: String::new(),
            machines: None,
            telemetry: Telemetry::default(),
            stop: CancellationToken::new(),
        }
    }
}

/// What every handler is given.
struct WebState {
    ctx: Arc<Ctx>,
    settings: WebSettings,
    sockets: Sockets,
    cookies: Cookies,
    rate: Rate,
    /// Work that goes on when whoever asked for it has left.
    work: TaskTracker,
}

type Web = Arc<WebState>;

/// The whole site. Serve it with [`listener::serve`]: limits go by the client's address, which that tells.
pub fn router(ctx: Arc<Ctx>, settings: WebSettings) -> Router {
    let cookies = Cookies::new(&ctx, settings.secure_cookies);
    let sessions = sessions::layer(&ctx, cookies.name(Cookie::Session), settings.secure_cookies);
    let rate = Rate::new(settings.requests_per_minute);
    let web: Web = Arc::new(WebState { ctx, settings, rate, cookies, sockets: Sockets::default(), work: TaskTracker::new() });
    // From the inside out: the checks, what a panic becomes, what is kept of the session, what a refusal looks like to this visitor, the
    // audit, the session.
    let site = routes::table()
        .router
        .fallback(problem::nothing_here)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(from_fn_with_state(web.clone(), guards::check))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(web.clone(), sessions::settle))
        .layer(from_fn_with_state(web.clone(), problem::dress))
        .layer(from_fn_with_state(web.clone(), guards::audit::keep))
        .layer(sessions)
        .with_state(web.clone());
    // Files, the pulse and signed requests need neither a session nor a host name.
    let plain = routes::plain().router.with_state(web.clone());
    site.merge(plain)
        .layer(from_fn_with_state(web.clone(), guards::headers))
        .layer(CompressionLayer::new().gzip(true))
        .layer(from_fn_with_state(web, telemetry::observe))
}
