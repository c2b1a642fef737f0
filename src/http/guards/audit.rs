//! Keeps one line of every request that changes something, or tried to: who, from where, which route, which object, how it ended.
//!
//! Stands around the handler and its refusals, inside the session. Bodies are never looked at. What nobody signed in sends elsewhere
//! than to the doors of the site is left out, so that strangers cannot fill the list.

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tower_sessions::Session;

use crate::domain::audit::{self, Trail};
use crate::domain::users;
use crate::http::who::From;
use crate::http::{Web, sessions};
use crate::model::users::User;

/// Parts of a path that name an object; all others, secrets of links among them, are not written down.
const NAMES: [&str; 7] = ["id", "backup", "version", "guest", "invitation", "passkey", "provider"];
/// Longest name of an object that is written down, in bytes.
const OBJECT_MAX: usize = 160;

/// What a path is about: everything up to its last name, without the part that says that it is the API.
fn object(route: &str, path: &str) -> String {
    let mut named = 0;
    let mut parts = Vec::new();
    for (pattern, text) in route.split('/').zip(path.split('/')).skip(1) {
        match pattern.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if NAMES.contains(&name) => {
                parts.push(text);
                named = parts.len();
            }
            Some(_) => break,
            None if parts.is_empty() && pattern == "api" => {}
            None => parts.push(text),
        }
    }
    parts.truncate(named);
    let object = parts.join("/");
    if object.len() <= OBJECT_MAX && object.bytes().all(|byte| byte.is_ascii_graphic()) { object } else { String::new() }
}

/// Reads by its method, and signs somebody in all the same.
const ARRIVAL: &str = "/auth/{provider}/callback";

/// Put into an answer that lets somebody in without a session: who it is.
#[derive(Debug, Clone)]
pub(in crate::http) struct LetIn(pub User);

/// Keeps the line.
pub(in crate::http) async fn keep(State(web): State<Web>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let reads = reads && route.as_deref() != Some(ARRIVAL);
    let (false, Some(route)) = (reads, route) else { return next.run(request).await };
    let (mut parts, body) = request.into_parts();
    let Ok(From(from)) = From::from_request_parts(&mut parts, &web).await;
    let what = format!("{} {route}", parts.method);
    let object = object(&route, parts.uri.path());
    let session = parts.extensions.get::<Session>().cloned();
    let trail = Trail::default();
    parts.extensions.insert(trail.clone());
    let response = next.run(Request::from_parts(parts, body)).await;
    let status = response.status();
    if let Some(LetIn(user)) = response.extensions().get() {
        trail.is(&user.id, &user.email, "password");
    }
    if !trail.is_known()
        && status.is_redirection()
        && let Some(session) = session
    {
        signed_in(&web, &session, &trail).await;
    }
    let door = route.starts_with("/auth/");
    if (trail.is_known() || door) && status != StatusCode::TOO_MANY_REQUESTS {
        // Kept even if whoever asked has left meanwhile.
        let web = web.clone();
        let line = audit::Request { from, what, object, status: status.as_u16() };
        let kept = web.work.clone().spawn(async move {
            if let Err(error) = audit::keep(&web.ctx, &trail, line).await {
                tracing::error!(error = &error as &dyn std::error::Error, "a line of the audit could not be kept");
            }
        });
        let _ = kept.await;
    }
    response
}

/// Whoever has just signed in.
async fn signed_in(web: &Web, session: &Session, trail: &Trail) {
    let Ok(Some(held)) = sessions::peek(session).await else { return };
    if let Ok(Some(actor)) = users::of_session(&web.ctx, &held.user, held.since).await {
        trail.is(&actor.user.id, &actor.user.email, "session");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_by_its_path_and_secrets_are_left_out() {
        for (route, path, expected) in [
            ("/servers/{id}/wake", "/servers/a-b-c/wake", "servers/a-b-c"),
            ("/api/servers/{id}/start", "/api/servers/a-b-c/start", "servers/a-b-c"),
            ("/servers/{id}/backups/{backup}/restore", "/servers/a/backups/b/restore", "servers/a/backups/b"),
            ("/account/password", "/account/password", ""),
            ("/invitations/{secret}", "/invitations/0123456789", ""),
            ("/auth/reset/{secret}", "/auth/reset/0123456789", ""),
        ] {
            assert_eq!(object(route, path), expected, "{path}");
        }
    }
}
