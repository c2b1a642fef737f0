//! Every route of the site, asked by everybody: nobody, another player, the owner, a viewer, an operator, an admin. A route that is
//! not in the table fails the test, so that none is added without a thought for who may use it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::{Method, StatusCode};
use roost::domain::templates::Choice;
use roost::domain::{Actor, Policy, backups, nodes, servers, shares, tokens, users};
use roost::http::route_list;
use roost::model::ids::ServerId;
use roost::model::servers::{Seen, Wanted};
use roost::model::shares::Grants;
use roost::model::time::SECOND;
use roost::model::tokens::Scopes;
use roost::model::users::{Role, User};
use roost::wire::agent::{Event, EventKind, FromNode, InstanceReport};

use crate::app::{Answer, App, Browser, Program, on_site_with};
use crate::world::form;

/// What somebody meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meets {
    /// It is done, or refused for what was asked and not for who asked.
    Open,
    /// To the login.
    Login,
    /// 401
    Unknown,
    /// 403
    Forbidden,
    /// 404
    Nothing,
}
use Meets::{Forbidden as F, Login as L, Nothing as N, Open as O, Unknown as U};

/// Method, path, and what nobody, another player, the owner, a viewer, an operator and an admin meet.
const TABLE: &[(&str, &str, [Meets; 6])] = &[
    ("GET", "/", [O; 6]),
    ("GET", "/health", [O; 6]),
    ("GET", "/ready", [O; 6]),
    // For whoever holds a server's key; roles do not count.
    ("POST", "/api/webhook/wake", [U; 6]),
    ("POST", "/api/webhook/activity", [U; 6]),
    // For whoever signs as Stripe does; without payments there is nobody to believe.
    ("POST", "/webhooks/stripe", [N; 6]),
    ("GET", "/static/{*path}", [O; 6]),
    ("GET", "/auth/login", [O; 6]),
    ("POST", "/auth/login", [O; 6]),
    ("GET", "/auth/register", [O; 6]),
    ("POST", "/auth/register", [O; 6]),
    ("GET", "/auth/forgot", [O; 6]),
    ("POST", "/auth/forgot", [O; 6]),
    ("GET", "/auth/reset", [O; 6]),
    ("POST", "/auth/reset", [O; 6]),
    ("GET", "/auth/verify", [L, O, O, O, O, O]),
    ("POST", "/auth/verify", [L, O, O, O, O, O]),
    // For whoever has taken the first step or comes from a provider; nobody here has.
    ("GET", "/auth/second", [L; 6]),
    ("POST", "/auth/second", [L; 6]),
    ("GET", "/auth/newcomer", [L; 6]),
    ("POST", "/auth/newcomer", [L; 6]),
    ("POST", "/auth/passkey/begin", [O; 6]),
    ("POST", "/auth/passkey", [O; 6]),
    // No provider is set up.
    ("GET", "/auth/{provider}", [N; 6]),
    ("GET", "/auth/{provider}/callback", [N; 6]),
    ("GET", "/dashboard", [L, O, O, O, O, O]),
    ("GET", "/dashboard/live", [U, O, O, O, O, O]),
    ("GET", "/servers/create", [L, O, O, O, O, O]),
    ("POST", "/servers/create", [L, O, O, O, O, O]),
    ("GET", "/servers/{id}", [L, N, O, O, O, O]),
    ("GET", "/servers/{id}/live", [U, N, O, O, O, O]),
    ("GET", "/servers/{id}/logs", [L, N, O, O, O, O]),
    ("GET", "/servers/{id}/layers", [L, N, O, O, O, O]),
    ("POST", "/servers/{id}/layers", [L, N, O, F, F, O]),
    ("GET", "/servers/{id}/console", [U, N, O, O, O, O]),
    ("POST", "/servers/{id}/console", [L, N, O, F, O, O]),
    ("POST", "/servers/{id}/wake", [L, N, O, F, O, O]),
    ("POST", "/servers/{id}/hibernate", [L, N, O, F, O, O]),
    ("POST", "/servers/{id}/start", [L, N, O, F, O, O]),
    ("POST", "/servers/{id}/stop", [L, N, O, F, O, O]),
    ("POST", "/servers/{id}/restart", [L, N, O, F, O, O]),
    ("POST", "/servers/{id}/retry", [L, N, O, F, O, O]),
    ("POST", "/servers/{id}/settings", [L, N, O, F, F, O]),
    ("POST", "/servers/{id}/delete", [L, N, O, F, F, O]),
    ("GET", "/servers/{id}/backups", [L, N, O, O, O, O]),
    ("GET", "/servers/{id}/backups/live", [U, N, O, O, O, O]),
    ("POST", "/servers/{id}/backup", [L, N, O, F, O, O]),
    ("GET", "/servers/{id}/backups/{backup}/download", [L, N, O, F, F, O]),
    ("POST", "/servers/{id}/backups/{backup}/restore", [L, N, O, F, F, O]),
    ("POST", "/servers/{id}/backups/{backup}/try", [L, N, O, F, O, O]),
    ("POST", "/servers/{id}/backups/{backup}/delete", [L, N, O, F, F, O]),
    ("POST", "/servers/{id}/undo-restore", [L, N, O, F, F, O]),
    ("POST", "/servers/{id}/schedule", [L, N, O, F, F, O]),
    ("GET", "/servers/{id}/sharing", [L, N, O, F, F, O]),
    ("POST", "/servers/{id}/sharing", [L, N, O, F, F, O]),
    ("POST", "/servers/{id}/sharing/guests/{guest}", [L, N, O, F, F, O]),
    ("POST", "/servers/{id}/sharing/guests/{guest}/remove", [L, N, O, F, F, O]),
    ("POST", "/servers/{id}/sharing/invitations/{invitation}/revoke", [L, N, O, F, F, O]),
    ("GET", "/api/servers/{id}/shares", [U, N, O, F, F, O]),
    ("POST", "/api/servers/{id}/shares", [U, N, O, F, F, O]),
    ("PUT", "/api/servers/{id}/shares/{guest}", [U, N, O, F, F, O]),
    ("DELETE", "/api/servers/{id}/shares/{guest}", [U, N, O, F, F, O]),
    ("DELETE", "/api/servers/{id}/invitations/{invitation}", [U, N, O, F, F, O]),
    // There is no invitation of no secret, whoever asks.
    ("GET", "/invitation", [L, N, N, N, N, N]),
    ("POST", "/invitation", [L, N, N, N, N, N]),
    ("GET", "/billing", [L, O, O, O, O, O]),
    ("GET", "/billing/live", [U, O, O, O, O, O]),
    ("POST", "/billing/add-funds", [L, O, O, O, O, O]),
    ("POST", "/billing/grant", [L, F, F, F, F, O]),
    ("GET", "/billing/return", [L, O, O, O, O, O]),
    ("POST", "/billing/portal", [L, O, O, O, O, O]),
    ("POST", "/billing/auto", [L, O, O, O, O, O]),
    ("POST", "/billing/auto/off", [L, O, O, O, O, O]),
    // Whoever pays is asked for nobody else.
    ("POST", "/servers/{id}/subscribe", [L, N, O, F, F, F]),
    ("POST", "/servers/{id}/subscription/end", [L, N, O, F, F, F]),
    ("POST", "/servers/{id}/subscription/keep", [L, N, O, F, F, F]),
    ("POST", "/servers/{id}/plan", [L, N, O, F, F, F]),
    ("POST", "/servers/{id}/by-the-hour", [L, N, O, F, F, F]),
    ("GET", "/account", [L, O, O, O, O, O]),
    ("POST", "/account/password", [L, O, O, O, O, O]),
    ("POST", "/account/verify", [L, O, O, O, O, O]),
    ("GET", "/account/confirm", [L, O, O, O, O, O]),
    ("POST", "/account/confirm", [L, O, O, O, O, O]),
    ("POST", "/account/confirm/{provider}", [L, N, N, N, N, N]),
    // Each of these asks for the password first, and leads to whoever asks alone.
    ("GET", "/account/security", [L, O, O, O, O, O]),
    ("POST", "/account/security/password", [L, O, O, O, O, O]),
    ("POST", "/account/providers/{provider}/link", [L, O, O, O, O, O]),
    ("POST", "/account/providers/{provider}/unlink", [L, O, O, O, O, O]),
    ("POST", "/account/app", [L, O, O, O, O, O]),
    ("GET", "/account/app", [L, O, O, O, O, O]),
    ("POST", "/account/app/confirm", [L, O, O, O, O, O]),
    ("POST", "/account/app/remove", [L, O, O, O, O, O]),
    ("POST", "/account/codes", [L, O, O, O, O, O]),
    ("POST", "/account/passkeys/begin", [L, O, O, O, O, O]),
    ("POST", "/account/passkeys", [L, O, O, O, O, O]),
    ("POST", "/account/passkeys/{id}/remove", [L, O, O, O, O, O]),
    ("POST", "/account/tokens", [L, O, O, O, O, O]),
    ("POST", "/account/tokens/{id}/revoke", [L, N, O, N, N, N]),
    ("GET", "/admin", [L, N, N, O, O, O]),
    ("GET", "/admin/servers", [L, N, N, O, O, O]),
    ("GET", "/admin/users", [L, N, N, O, O, O]),
    ("GET", "/admin/users/{id}", [L, N, N, O, O, O]),
    // Without a body each is refused for that, so that the account stays as it is.
    ("POST", "/admin/users/{id}/role", [L, N, N, F, F, O]),
    ("POST", "/admin/users/{id}/suspend", [L, N, N, F, F, O]),
    ("POST", "/admin/users/{id}/lift", [L, N, N, F, F, O]),
    ("POST", "/admin/users/{id}/credits", [L, N, N, F, F, O]),
    ("POST", "/admin/users/{id}/reset-link", [L, N, N, F, F, O]),
    ("POST", "/admin/users/{id}/remove-factors", [L, N, N, F, F, O]),
    ("POST", "/admin/users/{id}/revoke", [L, N, N, F, F, O]),
    ("GET", "/admin/audit", [L, N, N, O, O, O]),
    ("GET", "/admin/audit.csv", [L, N, N, O, O, O]),
    ("GET", "/admin/reports", [L, N, N, F, F, O]),
    ("GET", "/admin/reports.csv", [L, N, N, F, F, O]),
    ("GET", "/admin/mails", [L, N, N, F, F, O]),
    ("GET", "/api/users", [U, N, N, O, O, O]),
    ("GET", "/api/users/{id}", [U, N, N, O, O, O]),
    ("PATCH", "/api/users/{id}", [U, N, N, F, F, O]),
    ("POST", "/api/users/{id}/credits", [U, N, N, F, F, O]),
    ("POST", "/api/users/{id}/revoke", [U, N, N, F, F, O]),
    ("GET", "/nodes", [L, N, N, O, O, O]),
    ("GET", "/nodes/live", [U, N, N, O, O, O]),
    ("GET", "/nodes/add", [L, N, N, F, F, O]),
    ("POST", "/nodes/add", [L, N, N, F, F, O]),
    ("POST", "/nodes/tokens/{id}/revoke", [L, N, N, F, F, O]),
    ("GET", "/nodes/{id}", [L, N, N, O, O, O]),
    ("GET", "/templates", [L, N, N, O, O, O]),
    ("POST", "/templates", [L, N, N, F, O, O]),
    ("POST", "/templates/import", [L, N, N, F, O, O]),
    ("GET", "/templates/{id}", [L, N, N, O, O, O]),
    ("POST", "/templates/{id}", [L, N, N, F, O, O]),
    ("GET", "/templates/{id}/export", [L, N, N, O, O, O]),
    ("POST", "/templates/{id}/versions", [L, N, N, F, O, O]),
    ("GET", "/templates/{id}/versions/{version}", [L, N, N, O, O, O]),
    ("GET", "/api/templates", [U, N, N, O, O, O]),
    ("POST", "/api/templates", [U, N, N, F, O, O]),
    ("POST", "/api/templates/import", [U, N, N, F, O, O]),
    ("GET", "/api/templates/{id}", [U, N, N, O, O, O]),
    ("PATCH", "/api/templates/{id}", [U, N, N, F, O, O]),
    ("GET", "/api/templates/{id}/export", [U, N, N, O, O, O]),
    ("GET", "/api/templates/{id}/versions", [U, N, N, O, O, O]),
    ("POST", "/api/templates/{id}/versions", [U, N, N, F, O, O]),
    ("GET", "/api/templates/{id}/versions/{version}", [U, N, N, O, O, O]),
    // A server stands on it, so that it is refused for that, and stays for the next row.
    ("POST", "/templates/{id}/versions/{version}/delete", [L, N, N, F, O, O]),
    ("DELETE", "/api/templates/{id}/versions/{version}", [U, N, N, F, O, O]),
    ("POST", "/templates/{id}/delete", [L, N, N, F, O, O]),
    ("DELETE", "/api/templates/{id}", [U, N, N, F, O, O]),
    // Without a body it is refused for that, so that the node goes on taking servers.
    ("POST", "/nodes/{id}/drain", [L, N, N, F, O, O]),
    ("POST", "/nodes/{id}/dev-mode", [L, N, N, F, O, O]),
    ("POST", "/nodes/{id}/purge-cache", [L, N, N, F, O, O]),
    ("POST", "/api/nodes/{id}/dev-mode", [U, N, N, F, O, O]),
    ("POST", "/api/nodes/{id}/purge-cache", [U, N, N, F, O, O]),
    ("POST", "/nodes/{id}/token", [L, N, N, F, F, O]),
    ("POST", "/nodes/{id}/revoke", [L, N, N, F, F, O]),
    ("POST", "/nodes/{id}/remove", [L, N, N, F, F, O]),
    ("GET", "/metrics", [U, F, F, F, F, O]),
    ("GET", "/api/openapi.json", [O; 6]),
    ("GET", "/api/games", [O; 6]),
    ("GET", "/api/games/{id}/plans", [O; 6]),
    ("GET", "/api/me", [U, O, O, O, O, O]),
    ("GET", "/api/servers", [U, O, O, O, O, O]),
    ("POST", "/api/servers", [U, O, O, O, O, O]),
    ("GET", "/api/servers/{id}", [U, N, O, O, O, O]),
    ("PATCH", "/api/servers/{id}", [U, N, O, F, F, O]),
    ("DELETE", "/api/servers/{id}", [U, N, O, F, F, O]),
    ("POST", "/api/servers/{id}/start", [U, N, O, F, O, O]),
    ("POST", "/api/servers/{id}/stop", [U, N, O, F, O, O]),
    ("POST", "/api/servers/{id}/restart", [U, N, O, F, O, O]),
    ("POST", "/api/servers/{id}/wake", [U, N, O, F, O, O]),
    ("POST", "/api/servers/{id}/hibernate", [U, N, O, F, O, O]),
    ("POST", "/api/servers/{id}/retry", [U, N, O, F, O, O]),
    ("GET", "/api/servers/{id}/layers", [U, N, O, O, O, O]),
    ("PUT", "/api/servers/{id}/layers", [U, N, O, F, F, O]),
    ("POST", "/api/servers/{id}/layers/back", [U, N, O, F, F, O]),
    ("GET", "/api/servers/{id}/backups", [U, N, O, O, O, O]),
    ("POST", "/api/servers/{id}/backup", [U, N, O, F, O, O]),
    ("DELETE", "/api/servers/{id}/backups/{backup}", [U, N, O, F, F, O]),
    ("GET", "/api/servers/{id}/backups/{backup}/download", [U, N, O, F, F, O]),
    ("POST", "/api/servers/{id}/backups/{backup}/restore", [U, N, O, F, F, O]),
    ("POST", "/api/servers/{id}/backups/{backup}/try", [U, N, O, F, O, O]),
    ("POST", "/api/servers/{id}/undo-restore", [U, N, O, F, F, O]),
    ("PUT", "/api/servers/{id}/schedule", [U, N, O, F, F, O]),
    ("DELETE", "/api/servers/{id}/schedule", [U, N, O, F, F, O]),
    ("GET", "/api/servers/{id}/logs", [U, N, O, O, O, O]),
    ("GET", "/api/servers/{id}/events", [U, N, O, O, O, O]),
    ("GET", "/api/servers/{id}/stats", [U, N, O, O, O, O]),
    ("GET", "/api/servers/{id}/console", [U, N, O, O, O, O]),
    ("GET", "/api/billing", [U, O, O, O, O, O]),
    ("GET", "/api/billing/transactions", [U, O, O, O, O, O]),
    ("GET", "/api/nodes", [U, N, N, O, O, O]),
    ("POST", "/api/nodes/tokens", [U, N, N, F, F, O]),
    ("GET", "/api/nodes/{id}", [U, N, N, O, O, O]),
    ("GET", "/api/nodes/{id}/load", [U, N, N, O, O, O]),
    ("DELETE", "/api/nodes/{id}", [U, N, N, F, F, O]),
    ("POST", "/api/nodes/{id}/drain", [U, N, N, F, O, O]),
    ("POST", "/api/nodes/{id}/revoke", [U, N, N, F, F, O]),
    // Last, because whoever asks these has to log in again.
    ("POST", "/auth/logout", [L, O, O, O, O, O]),
    ("POST", "/account/logout-everywhere", [L, O, O, O, O, O]),
];

const WHO: [(&str, Option<Role>); 6] = [
    ("nobody", None),
    ("other", Some(Role::Player)),
    ("owner", Some(Role::Player)),
    ("viewer", Some(Role::Viewer)),
    ("operator", Some(Role::Operator)),
    ("admin", Some(Role::Admin)),
];

/// Somebody, by session and by token.
struct Person {
    browser: Browser,
    program: Option<Program>,
}

fn met(status: u16, location: &str) -> Meets {
    match status {
        303 if location.starts_with("/auth/login") => Meets::Login,
        401 => Meets::Unknown,
        403 => Meets::Forbidden,
        404 => Meets::Nothing,
        _ => Meets::Open,
    }
}

fn met_answer(answer: &Answer) -> Meets {
    assert!(!answer.status.is_server_error(), "{}", answer.text);
    met(answer.status.as_u16(), answer.location())
}

async fn socket(person: &Person, by_token: bool, path: &str) -> Meets {
    let opened = match &person.program {
        Some(program) if by_token => program.socket(path).await,
        Some(_) | None => person.browser.socket(path).await,
    };
    opened.map_or_else(|status| met(status, ""), |_| Meets::Open)
}

async fn ask(person: &Person, method: &str, path: &str, by_token: bool) -> Meets {
    if path.ends_with("/live") || (method == "GET" && path.ends_with("/console")) {
        return socket(person, by_token, path).await;
    }
    let verb: Method = method.parse().expect("a method");
    let answer = match &person.program {
        Some(program) if by_token => program.ask(verb, path, None).await,
        Some(_) | None => person.browser.send(verb, path, &[("origin", &person.browser.url)], "").await,
    };
    // Logging out leads to the login as well, with a word about it that is not the one for a session that had ended before.
    let word = |cookie: &reqwest::header::HeaderValue| !cookie.to_str().unwrap_or_default().contains("=over");
    if matches!(path, "/auth/logout" | "/account/logout-everywhere") && answer.headers.get_all("set-cookie").iter().any(word) {
        return Meets::Open;
    }
    met_answer(&answer)
}

/// Makes everybody, signed in.
async fn people(app: &App) -> (Vec<Person>, Vec<Option<Actor>>) {
    let (mut people, mut actors) = (Vec::new(), Vec::new());
    for (name, role) in WHO {
        let email = format!("{name}@example.org");
        let actor = match role {
            None => None,
            Some(Role::Player) => Some(app.world.player(&email).await),
            Some(role) => Some(app.account(&email, role).await),
        };
        let person = match &actor {
            None => Person { browser: app.browser(), program: None },
            Some(actor) => Person { browser: app.log_in(&email).await, program: Some(app.program(actor).await) },
        };
        people.push(person);
        actors.push(actor);
    }
    (people, actors)
}

/// A template with a version that a server stands on.
async fn template(app: &App, owner: &Actor, admin: &Actor) -> String {
    let made = crate::templates::made(&app.world, admin, "a").await;
    crate::templates::upload(&app.world, admin, &made, "1", &[("a", "b")]).await;
    let layers = vec![Choice { template: made.id.to_string(), version: String::new() }];
    servers::create(&app.world.ctx, owner, &servers::Form { layers, ..form("a") }).await.expect("created");
    made.id.to_string()
}

/// A backup of a server that is being made.
async fn backup(app: &App, owner: &Actor, server: &str) -> String {
    let server: ServerId = server.parse().expect("an id");
    let row = app.world.server(&server).await.expect("there");
    let seen = InstanceReport {
        server: server.clone(),
        seen: Seen::Asleep,
        revision: String::new(),
        runs: Vec::new(),
        woken_at: None,
        starts: Vec::new(),
        sample: None,
        silent_since: None,
        disk: None,
    };
    let event = Event { server: server.clone(), at: row.created_at, command: None, kind: EventKind::Exited(seen) };
    app.world.tell(FromNode::Event(event)).await;
    backups::make(&app.world.ctx, owner, &server).await.expect("begun").id.to_string()
}

/// A fresh account.
async fn player(app: &App) -> Actor {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    app.account(&format!("p{}@example.org", NEXT.fetch_add(1, Ordering::SeqCst)), Role::Player).await
}

/// A fresh account that may do everything with a server.
async fn guest(app: &App, server: &ServerId) -> String {
    let guest = player(app).await.user.id;
    let (db, now) = (&app.world.ctx.db, app.world.ctx.clock.now());
    roost::store::shares::put(db, server, &guest, Grants::all(), now).await.expect("shared");
    guest.to_string()
}

async fn concrete(app: &App, path: &str, owner: &Actor, admin: &Actor) -> String {
    let id = if path.contains("/templates/{id}") {
        template(app, owner, admin).await
    } else if path.contains("/servers/{id}") {
        servers::create(&app.world.ctx, owner, &form("a")).await.expect("created").id.to_string()
    } else if path.contains("/users/{id}") {
        player(app).await.user.id.to_string()
    } else if path.contains("/nodes/tokens/{id}") {
        let admin = Actor::of(User { role: Role::Admin, ..owner.user.clone() });
        let invitation = nodes::Invitation { name: "a", ..nodes::Invitation::default() };
        nodes::invite(&app.world.ctx, &admin, &invitation).await.expect("invited").token.id.to_string()
    } else if path.contains("/tokens/{id}") {
        tokens::create(&app.world.ctx, owner, "a", 1, Scopes::all()).await.expect("created").0.id.to_string()
    } else if path.contains("/nodes/{id}") {
        "local".to_owned()
    } else {
        "demo".to_owned()
    };
    let backup = if path.contains("{backup}") { backup(app, owner, &id).await } else { String::new() };
    let server = || id.parse::<ServerId>().expect("an id");
    let guest = if path.contains("{guest}") { guest(app, &server()).await } else { String::new() };
    let invitation = if path.contains("{invitation}") {
        let invited = shares::invite(&app.world.ctx, owner, &server(), "friend@example.org", Grants::all(), "").await;
        invited.expect("invited").0.id.to_string()
    } else {
        String::new()
    };
    let path = path.replace("{provider}", "club").replace("{guest}", &guest).replace("{invitation}", &invitation);
    path.replace("{backup}", &backup).replace("{id}", &id).replace("{version}", "1").replace("{*path}", "roost.css")
}

#[tokio::test]
async fn every_route_meets_everybody_as_the_table_says() {
    let policy = Policy { servers_max: 10_000, ..Policy::default() };
    on_site_with("every_route_meets_everybody_as_the_table_says", policy, |app| async move {
        let expected: BTreeMap<(&str, &str), [Meets; 6]> = TABLE.iter().map(|(method, path, row)| ((*method, *path), *row)).collect();
        let mut wrong = String::new();
        let routes = route_list();
        for route in &routes {
            if !expected.contains_key(&(route.method, route.path)) {
                let _ = writeln!(wrong, "{} {} is not in the table", route.method, route.path);
            }
        }
        assert_eq!(routes.len(), TABLE.len(), "the table names routes that are not there, or one twice: {wrong}");
        let (mut people, actors) = people(&app).await;
        let owner = actors[2].clone().expect("the owner");
        let admin = actors[5].clone().expect("the admin");
        for (method, path, row) in TABLE {
            for (n, expected) in row.iter().enumerate() {
                // Pages are for sessions, the API is for both.
                for by_token in [false, true] {
                    let api = path.starts_with("/api/") || *path == "/metrics" || path.ends_with("/live");
                    if by_token && (!api || n == 0) {
                        continue;
                    }
                    let path = concrete(&app, path, &owner, &admin).await;
                    let met = ask(&people[n], method, &path, by_token).await;
                    if met != *expected {
                        let _ = writeln!(wrong, "{method} {path} by {} (token: {by_token}): {met:?} instead of {expected:?}", WHO[n].0);
                    }
                }
                if *path == "/auth/logout" && n > 0 {
                    people[n].browser = app.log_in(&format!("{}@example.org", WHO[n].0)).await;
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_has_changed_nothing() {
    on_site_with("what_is_refused_has_changed_nothing", Policy::default(), |app| async move {
        let (people, actors) = people(&app).await;
        let owner = actors[2].clone().expect("the owner");
        let id = servers::create(&app.world.ctx, &owner, &form("zanzibar")).await.expect("created").id;
        let before = app.world.server(&id).await.expect("there");
        for person in [&people[0], &people[1], &people[3]] {
            for action in ["wake", "hibernate", "start", "stop", "restart", "retry", "delete", "settings", "console"] {
                let fields = [("confirm", "zanzibar"), ("name", "theirs"), ("line", "stop"), ("idle_minutes", "1")];
                let answer = person.browser.post(&format!("/servers/{id}/{action}"), &fields).await;
                assert_ne!(met_answer(&answer), Meets::Open, "{action}");
                assert!(!answer.text.contains("zanzibar"), "{action} tells its name");
            }
        }
        let after = app.world.server(&id).await.expect("there");
        assert_eq!((after.name.as_str(), after.life.wanted), ("zanzibar", Wanted::Running));
        assert_eq!(after.life.generation, before.life.generation);
    })
    .await;
}

#[tokio::test]
async fn a_role_that_is_taken_away_counts_from_the_next_request() {
    on_site_with("a_role_that_is_taken_away_counts_from_the_next_request", Policy::default(), |app| async move {
        let eye = app.account("eye@example.org", Role::Viewer).await;
        let browser = app.log_in("eye@example.org").await;
        assert_eq!(browser.get("/nodes").await.status, StatusCode::OK);
        app.world.clock.pass(SECOND);
        users::log_out_everywhere(&app.world.ctx, &eye, false).await.expect("ended");
        assert_eq!(met_answer(&browser.get("/nodes").await), Meets::Login);
    })
    .await;
}
