//! Who asks: a browser with a session, or a program with a token.
//!
//! Pages take [`SignedIn`] or [`Visitor`], the API takes [`Caller`]. A request that shows a token is judged by the token alone,
//! so that it needs no origin; every other one is judged by its session.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use tower_sessions::Session;
use tower_sessions::session::Id;

use super::cookies::Cookie;
use super::notice::Said;
use super::pages::layout::{Layout, Notice};
use super::problem::Problem;
use super::telemetry::Met;
use super::{Web, frame, notice, sessions};
use crate::domain::audit::Trail;
use crate::domain::sign_in::Whence;
use crate::domain::{Actor, Refusal, tokens, users};
use crate::model::money::Credits;
use crate::model::time::Millis;

/// Longest path that a login leads back to, in bytes.
const NEXT_MAX: usize = 512;

/// How somebody showed who they are, to be asked again while a socket is open.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// A session: its id, and when it began.
    Session(Id, Millis),
    /// The secret of a token.
    Token(String),
}

/// Somebody known, and how.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub actor: Actor,
    pub proof: Proof,
}

impl Known {
    /// Asks again: who it is by now, if the proof still counts.
    pub async fn again(&self, web: &Web) -> Result<Option<Known>, Refusal> {
        let actor = match &self.proof {
            Proof::Session(id, _) if !sessions::stands(&web.ctx, id).await => None,
            Proof::Session(_, since) => users::of_session(&web.ctx, &self.actor.user.id, *since).await?,
            Proof::Token(secret) => tokens::authenticate(&web.ctx, secret).await?,
        };
        Ok(actor.map(|actor| Known { actor, proof: self.proof.clone() }))
    }
}

/// Whose session this is.
pub(super) async fn of_session(web: &Web, session: &Session) -> Result<Option<Known>, Problem> {
    let Some(held) = sessions::held(&web.ctx, session).await? else { return Ok(None) };
    let Some(id) = session.id() else { return Ok(None) };
    let actor = users::of_session(&web.ctx, &held.user, held.since).await?;
    Ok(actor.map(|actor| Known { actor, proof: Proof::Session(id, held.since) }))
}

async fn of_parts(parts: &Parts, web: &Web) -> Result<Option<Known>, Problem> {
    if shows_token(&parts.headers) {
        return Ok(None);
    }
    let known = match parts.extensions.get::<Session>() {
        Some(session) => of_session(web, session).await?,
        None => None,
    };
    Ok(known.map(|known| noted(parts, known)))
}

/// Whoever acts is known to the audit, and notes there.
fn noted(parts: &Parts, known: Known) -> Known {
    if let Some(met) = parts.extensions.get::<Met>() {
        met.somebody();
    }
    match parts.extensions.get::<Trail>() {
        Some(trail) => Known { actor: known.actor.noting(trail), ..known },
        None => known,
    }
}

/// What a request shows of itself.
enum Shows<'a> {
    Nothing,
    Token(&'a str),
    SomethingElse,
}

fn shown(headers: &HeaderMap) -> Shows<'_> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Shows::Nothing };
    let token = value.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    token.map_or(Shows::SomethingElse, |(_, token)| Shows::Token(token.trim()))
}

/// Is it judged by a token? No browser sends one by itself. The check of origins and every extractor here go by this one answer; any
/// other `Authorization`, such as one meant for a proxy, says nothing.
pub(super) fn shows_token(headers: &HeaderMap) -> bool {
    matches!(shown(headers), Shows::Token(_))
}

/// The secret of the token that a request shows.
pub(super) fn token_of(headers: &HeaderMap) -> Option<&str> {
    match shown(headers) {
        Shows::Token(secret) => Some(secret),
        Shows::Nothing | Shows::SomethingElse => None,
    }
}

/// Somebody signed in, asking for a page.
pub(super) struct SignedIn {
    pub known: Known,
    pub notice: Option<Notice>,
    path: String,
}

impl SignedIn {
    pub fn actor(&self) -> &Actor {
        &self.known.actor
    }

    /// The frame of the page that was asked for.
    pub async fn layout(&self, web: &Web) -> Result<Layout, Refusal> {
        Ok(Layout { notice: self.notice.clone(), ..frame::layout(web, self.actor(), &self.path).await? })
    }

    /// The same, where what runs now is known already.
    pub fn layout_with(&self, web: &Web, per_hour: Credits) -> Layout {
        Layout { notice: self.notice.clone(), ..frame::layout_with(web, self.actor(), &self.path, per_hour) }
    }
}

impl FromRequestParts<Web> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        match of_parts(parts, web).await {
            Ok(Some(known)) => Ok(SignedIn { known, notice: notice::of(web, &parts.headers), path: parts.uri.path().to_owned() }),
            Ok(None) => Err(to_login(parts)),
            Err(problem) => Err(problem.into_response()),
        }
    }
}

/// To the login, and back to what was asked for where that was a page.
fn to_login(parts: &Parts) -> Response {
    if parts.headers.contains_key("hx-request") || parts.headers.contains_key(header::UPGRADE) {
        return Problem::new(StatusCode::UNAUTHORIZED, "").into_response();
    }
    let wanted = parts.uri.path_and_query().map_or("", |path| path.as_str());
    // Whoever pressed a button comes back to the page that it stands on.
    let page = || parts.headers.get(header::REFERER)?.to_str().ok()?.parse::<Uri>().ok()?.into_parts().path_and_query;
    let page = if parts.method == Method::GET { None } else { page() };
    let next = if parts.method == Method::GET { local(wanted) } else { page.as_ref().and_then(|page| local(page.as_str())) };
    let query = next.and_then(|next| serde_urlencoded::to_string([("next", next)]).ok());
    let place = query.map_or_else(|| "/auth/login".to_owned(), |query| format!("/auth/login?{query}"));
    if parts.method == Method::GET { Redirect::to(&place).into_response() } else { notice::go(&place, Said::SessionOver) }
}

/// The text, if it is a path of this site and nothing that a browser could take for another one.
pub(super) fn local(path: &str) -> Option<&str> {
    let second = path.as_bytes().get(1);
    let fits = path.len() <= NEXT_MAX
        && path.starts_with('/')
        && second.is_none_or(|byte| *byte != b'/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    fits.then_some(path)
}

/// Anybody, asking for a page.
pub(super) struct Visitor {
    pub known: Option<Known>,
    pub notice: Option<Notice>,
    path: String,
}

impl Visitor {
    /// The frame for whoever is not signed in.
    pub fn layout(&self, web: &Web) -> Layout {
        Layout { notice: self.notice.clone(), ..frame::visitors(web, &self.path) }
    }
}

impl FromRequestParts<Web> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let known = of_parts(parts, web).await?;
        Ok(Visitor { known, notice: notice::of(web, &parts.headers), path: parts.uri.path().to_owned() })
    }
}

/// Somebody known, asking through the API or for a socket: by token, else by session.
pub(super) struct Caller(pub Known);

impl Caller {
    pub fn actor(&self) -> &Actor {
        &self.0.actor
    }
}

impl FromRequestParts<Web> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let known = match shown(&parts.headers) {
            Shows::Token(secret) => {
                let actor = tokens::authenticate(&web.ctx, secret).await?;
                actor.map(|actor| noted(parts, Known { actor, proof: Proof::Token(secret.to_owned()) }))
            }
            Shows::SomethingElse => None,
            Shows::Nothing => of_parts(parts, web).await?,
        };
        known.map(Caller).ok_or_else(|| {
            Problem::new(StatusCode::UNAUTHORIZED, "Send `Authorization: Bearer <token>`. Make a token on your account's page.")
        })
    }
}

/// The address that a request comes from: the peer, or what a trusted proxy says of it.
pub(super) struct From(pub IpAddr);

impl FromRequestParts<Web> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let said = web.settings.trust_forwarded_for.then(|| forwarded(&parts.headers)).flatten();
        Ok(From(said.or(peer).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

/// The last entry is the one that the own proxy wrote; those before it are whatever the client made up.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").into_iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// Where a try to get in comes from: the address, and what the browser remembers of accounts that were opened with it.
pub(super) struct Comes(pub Whence);

impl FromRequestParts<Web> for Comes {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Self::Rejection> {
        let From(address) = From::from_request_parts(parts, web).await?;
        let words = web.cookies.read(&parts.headers, Cookie::Known).unwrap_or_default().to_owned();
        Ok(Comes(Whence { address, words }))
    }
}

/// An id out of the path; what is not one names nothing.
pub(super) struct Named<T>(pub T);

impl<T: FromStr + Send> FromRequestParts<Web> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let params: Result<RawPathParams, RawPathParamsRejection> = RawPathParams::from_request_parts(parts, web).await;
        let params = params.map_err(|_| Problem::not_found())?;
        let text = params.iter().find(|(name, _)| *name == "id").map(|(_, text)| text);
        text.and_then(|text| text.parse().ok()).map(Named).ok_or_else(Problem::not_found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_back_to_paths_of_this_site_only() {
        for good in ["/", "/dashboard", "/servers/a-b-c?tail=5"] {
            assert_eq!(local(good), Some(good));
        }
        for bad in [
            "",
            "dashboard",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nb",
            "/ü",
            &format!("/{}", "a".repeat(600)),
        ] {
            assert_eq!(local(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_the_last_forwarded_address_counts() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "192.0.2.1, 198.51.100.7".parse().unwrap());
        assert_eq!(forwarded(&headers), Some("198.51.100.7".parse().unwrap()));
        headers.append("x-forwarded-for", "203.0.113.9".parse().unwrap());
        assert_eq!(forwarded(&headers), Some("203.0.113.9".parse().unwrap()));
        headers.append("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(forwarded(&headers), None);
    }
}
