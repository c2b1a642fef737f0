//! The JSON API: the same calls of the domain as the pages, with bearer tokens, problem documents and `Idempotency-Key`.
//!
//! [`document`] is generated from the handlers; a test holds it against the router, so that no route goes undescribed.

mod accounts;
mod backups;
mod billing;
mod document;
mod games;
mod layers;
mod nodes;
mod once;
mod servers;
pub(in crate::http) mod shapes;
mod shares;
mod templates;
mod users;

use super::live;
use super::routes::Table;

/// Adds the API's routes.
pub(in crate::http) fn table(table: Table) -> Table {
    table
        .get("/api/openapi.json", document::openapi)
        .get("/api/me", accounts::me)
        .get("/api/games", games::list)
        .get("/api/games/{id}/plans", games::plans)
        .get("/api/servers", servers::list)
        .post("/api/servers", servers::create)
        .get("/api/servers/{id}", servers::one)
        .patch("/api/servers/{id}", servers::change)
        .delete("/api/servers/{id}", servers::delete)
        .post("/api/servers/{id}/start", servers::start)
        .post("/api/servers/{id}/stop", servers::stop)
        .post("/api/servers/{id}/restart", servers::restart)
        .post("/api/servers/{id}/wake", servers::wake)
        .post("/api/servers/{id}/hibernate", servers::hibernate)
        .post("/api/servers/{id}/retry", servers::retry)
        .get("/api/servers/{id}/layers", layers::one)
        .put("/api/servers/{id}/layers", layers::set)
        .post("/api/servers/{id}/layers/back", layers::back)
        .get("/api/servers/{id}/backups", backups::list)
        .post("/api/servers/{id}/backup", backups::make)
        .delete("/api/servers/{id}/backups/{backup}", backups::delete)
        .get("/api/servers/{id}/backups/{backup}/download", backups::download)
        .post("/api/servers/{id}/backups/{backup}/restore", backups::restore)
        .post("/api/servers/{id}/backups/{backup}/try", backups::try_out)
        .post("/api/servers/{id}/undo-restore", backups::undo)
        .put("/api/servers/{id}/schedule", backups::set_schedule)
        .delete("/api/servers/{id}/schedule", backups::end_schedule)
        .get("/api/servers/{id}/logs", servers::logs)
        .get("/api/servers/{id}/events", servers::events)
        .get("/api/servers/{id}/stats", servers::stats)
        .get("/api/servers/{id}/console", live::console::open)
        .get("/api/servers/{id}/shares", shares::list)
        .post("/api/servers/{id}/shares", shares::invite)
        .put("/api/servers/{id}/shares/{guest}", shares::change)
        .delete("/api/servers/{id}/shares/{guest}", shares::remove)
        .delete("/api/servers/{id}/invitations/{invitation}", shares::take_back)
        .get("/api/users", users::list)
        .get("/api/users/{id}", users::one)
        .patch("/api/users/{id}", users::change)
        .post("/api/users/{id}/revoke", users::revoke)
        .post("/api/users/{id}/credits", users::credits)
        .get("/api/billing", billing::overview)
        .get("/api/billing/transactions", billing::transactions)
        .get("/api/templates", templates::list)
        .post("/api/templates", templates::create)
        .post("/api/templates/import", templates::import)
        .get("/api/templates/{id}", templates::one)
        .patch("/api/templates/{id}", templates::change)
        .delete("/api/templates/{id}", templates::delete)
        .get("/api/templates/{id}/export", templates::export)
        .get("/api/templates/{id}/versions", templates::versions)
        .post("/api/templates/{id}/versions", templates::upload)
        .get("/api/templates/{id}/versions/{version}", templates::version)
        .delete("/api/templates/{id}/versions/{version}", templates::delete_version)
        .get("/api/nodes", nodes::list)
        .post("/api/nodes/tokens", nodes::make_token)
        .get("/api/nodes/{id}", nodes::one)
        .get("/api/nodes/{id}/load", nodes::load)
        .post("/api/nodes/{id}/dev-mode", nodes::dev_mode)
        .post("/api/nodes/{id}/purge-cache", nodes::purge_cache)
        .delete("/api/nodes/{id}", nodes::remove)
        .post("/api/nodes/{id}/drain", nodes::drain)
        .post("/api/nodes/{id}/revoke", nodes::revoke)
}
