//! Every address of the site in one table, and the handlers of the pages behind them.
//!
//! The table is kept beside the router, so that tests can hold every route against the rights and against the API's document.

mod account;
mod admin;
mod audit;
pub(in crate::http) mod auth;
pub(in crate::http) mod backups;
pub(in crate::http) mod billing;
pub(in crate::http) mod create;
pub(in crate::http) mod dashboard;
pub(in crate::http) mod doors;
mod history;
pub(in crate::http) mod layers;
pub(in crate::http) mod nodes;
mod payments;
mod power;
mod providers;
mod recovery;
mod reports;
mod second;
mod security;
pub(in crate::http) mod servers;
pub(in crate::http) mod sharing;
mod status;
mod subscriptions;
pub(in crate::http) mod templates;
pub(in crate::http) mod users;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};

use super::{Web, api, assets, live};

/// A method and a path, as the router holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// `GET`, `POST`, `PUT`, `DELETE`, `PATCH`.
    pub method: &'static str,
    /// With its parameters in braces.
    pub path: &'static str,
}

/// Routes, and the router made of them.
pub(in crate::http) struct Table {
    pub router: Router<Web>,
    pub list: Vec<Route>,
}

impl Table {
    fn new() -> Table {
        Table { router: Router::new(), list: Vec::new() }
    }

    fn add(mut self, method: &'static str, path: &'static str, handler: MethodRouter<Web>) -> Table {
        // Each handler that takes a body has a bound of its own.
        self.router = self.router.route(path, handler.layer(DefaultBodyLimit::disable()));
        self.list.push(Route { method, path });
        self
    }

    /// Answers GET.
    pub fn get<H: Handler<T, Web>, T: 'static>(self, path: &'static str, handler: H) -> Table {
        self.add("GET", path, routing::get(handler))
    }

    /// Answers POST.
    pub fn post<H: Handler<T, Web>, T: 'static>(self, path: &'static str, handler: H) -> Table {
        self.add("POST", path, routing::post(handler))
    }

    /// Answers PUT.
    pub fn put<H: Handler<T, Web>, T: 'static>(self, path: &'static str, handler: H) -> Table {
        self.add("PUT", path, routing::put(handler))
    }

    /// Answers PATCH.
    pub fn patch<H: Handler<T, Web>, T: 'static>(self, path: &'static str, handler: H) -> Table {
        self.add("PATCH", path, routing::patch(handler))
    }

    /// Answers DELETE.
    pub fn delete<H: Handler<T, Web>, T: 'static>(self, path: &'static str, handler: H) -> Table {
        self.add("DELETE", path, routing::delete(handler))
    }
}

/// Who somebody is: getting in and out, and the account itself.
fn doors(table: Table) -> Table {
    table
        .get("/auth/login", auth::login_page)
        .post("/auth/login", auth::login)
        .get("/auth/register", auth::register_page)
        .post("/auth/register", auth::register)
        .post("/auth/logout", auth::logout)
        .get("/auth/forgot", recovery::forgot_page)
        .post("/auth/forgot", recovery::ask)
        .get("/auth/reset", recovery::reset_page)
        .post("/auth/reset", recovery::reset)
        .get("/auth/verify", recovery::verify_page)
        .post("/auth/verify", recovery::verify)
        .get("/auth/second", second::page)
        .post("/auth/second", second::code)
        .post("/auth/passkey/begin", second::begin)
        .post("/auth/passkey", second::answer)
        .get("/auth/newcomer", providers::newcomer_page)
        .post("/auth/newcomer", providers::newcomer)
        .get("/auth/{provider}", providers::begin)
        .get("/auth/{provider}/callback", providers::callback)
        .get("/account", account::page)
        .post("/account/verify", recovery::send_again)
        .get("/account/confirm", security::confirm_page)
        .post("/account/confirm", security::confirm)
        .post("/account/confirm/{provider}", security::confirm_there)
        .get("/account/security", security::page)
        .post("/account/security/password", security::password)
        .post("/account/providers/{provider}/link", security::link)
        .post("/account/providers/{provider}/unlink", security::unlink)
        .post("/account/app", security::begin_app)
        .get("/account/app", security::app_page)
        .post("/account/app/confirm", security::confirm_app)
        .post("/account/app/remove", security::remove_app)
        .post("/account/codes", security::codes)
        .post("/account/passkeys/begin", security::begin_passkey)
        .post("/account/passkeys", security::add_passkey)
        .post("/account/passkeys/{id}/remove", security::remove_passkey)
        .post("/account/password", account::password)
        .post("/account/tokens", account::make_token)
        .post("/account/tokens/{id}/revoke", account::revoke_token)
        .post("/account/logout-everywhere", account::logout_everywhere)
}

/// Everything behind sessions and checks.
pub(in crate::http) fn table() -> Table {
    let pages = doors(Table::new())
        .get("/", auth::landing)
        .get("/dashboard", dashboard::page)
        .get("/servers/create", create::page)
        .post("/servers/create", create::create)
        .get("/servers/{id}", servers::page)
        .post("/servers/{id}/wake", power::wake)
        .post("/servers/{id}/hibernate", power::hibernate)
        .post("/servers/{id}/start", power::start)
        .post("/servers/{id}/stop", power::stop)
        .post("/servers/{id}/restart", power::restart)
        .post("/servers/{id}/retry", power::retry)
        .post("/servers/{id}/delete", power::delete)
        .post("/servers/{id}/settings", servers::settings)
        .post("/servers/{id}/console", servers::console_line)
        .get("/servers/{id}/logs", servers::logs)
        .get("/servers/{id}/layers", layers::page)
        .post("/servers/{id}/layers", layers::take)
        .get("/servers/{id}/backups", backups::page)
        .post("/servers/{id}/backup", backups::make)
        .get("/servers/{id}/backups/{backup}/download", backups::download)
        .post("/servers/{id}/backups/{backup}/restore", backups::restore)
        .post("/servers/{id}/backups/{backup}/try", backups::try_out)
        .post("/servers/{id}/backups/{backup}/delete", backups::delete)
        .post("/servers/{id}/undo-restore", backups::undo)
        .post("/servers/{id}/schedule", backups::schedule)
        .get("/servers/{id}/sharing", sharing::page)
        .post("/servers/{id}/sharing", sharing::invite)
        .post("/servers/{id}/sharing/guests/{guest}", sharing::change)
        .post("/servers/{id}/sharing/guests/{guest}/remove", sharing::remove)
        .post("/servers/{id}/sharing/invitations/{invitation}/revoke", sharing::take_back)
        .get("/invitation", sharing::invitation)
        .post("/invitation", sharing::accept)
        .get("/billing", billing::page)
        .post("/billing/add-funds", billing::add_funds)
        .post("/billing/grant", billing::grant)
        .get("/billing/return", payments::returned)
        .post("/billing/portal", payments::portal)
        .post("/billing/auto", payments::auto)
        .post("/billing/auto/off", payments::auto_off)
        .post("/servers/{id}/subscribe", subscriptions::subscribe)
        .post("/servers/{id}/subscription/end", subscriptions::end)
        .post("/servers/{id}/subscription/keep", subscriptions::keep)
        .post("/servers/{id}/plan", subscriptions::plan)
        .post("/servers/{id}/by-the-hour", subscriptions::by_the_hour)
        .get("/admin", admin::page)
        .get("/admin/servers", admin::all_servers)
        .get("/admin/users", users::list)
        .get("/admin/users/{id}", users::page)
        .post("/admin/users/{id}/role", users::role)
        .post("/admin/users/{id}/suspend", users::suspend)
        .post("/admin/users/{id}/lift", users::lift)
        .post("/admin/users/{id}/revoke", users::revoke)
        .post("/admin/users/{id}/credits", users::credits)
        .post("/admin/users/{id}/reset-link", users::reset_link)
        .post("/admin/users/{id}/remove-factors", users::remove_factors)
        .get("/admin/audit", audit::page)
        .get("/admin/audit.csv", audit::export)
        .get("/admin/reports", reports::page)
        .get("/admin/reports.csv", reports::export)
        .get("/admin/mails", reports::letters)
        .get("/nodes", nodes::list)
        .get("/nodes/add", nodes::add_page)
        .post("/nodes/add", nodes::add)
        .post("/nodes/tokens/{id}/revoke", nodes::revoke_token)
        .get("/nodes/{id}", nodes::page)
        .get("/templates", templates::list)
        .post("/templates", templates::create)
        .post("/templates/import", templates::import)
        .get("/templates/{id}", templates::page)
        .post("/templates/{id}", templates::change)
        .post("/templates/{id}/delete", templates::delete)
        .get("/templates/{id}/export", templates::export)
        .post("/templates/{id}/versions", templates::upload)
        .get("/templates/{id}/versions/{version}", templates::version)
        .post("/templates/{id}/versions/{version}/delete", templates::delete_version)
        .post("/nodes/{id}/drain", nodes::drain)
        .post("/nodes/{id}/dev-mode", nodes::dev_mode)
        .post("/nodes/{id}/purge-cache", nodes::purge_cache)
        .post("/nodes/{id}/token", nodes::token)
        .post("/nodes/{id}/revoke", nodes::revoke)
        .post("/nodes/{id}/remove", nodes::remove)
        .get("/metrics", status::metrics);
    let sockets = pages
        .get("/servers/{id}/backups/live", live::backups::open)
        .get("/billing/live", live::billing::open)
        .get("/dashboard/live", live::dashboard::open)
        .get("/nodes/live", live::nodes::open)
        .get("/servers/{id}/live", live::server::open)
        .get("/servers/{id}/console", live::console::open);
    api::table(sockets)
}

/// Files, the pulse, and what is proved by a signature: no session, no checks.
pub(in crate::http) fn plain() -> Table {
    Table::new()
        .get("/static/{*path}", assets::file)
        .get("/health", status::health)
        .get("/ready", status::ready)
        .post("/api/webhook/wake", doors::wake)
        .post("/api/webhook/activity", doors::activity)
        .post("/webhooks/stripe", payments::webhook)
}

/// Every route of the site.
pub fn list() -> Vec<Route> {
    let mut all = table().list;
    all.extend(plain().list);
    all
}
