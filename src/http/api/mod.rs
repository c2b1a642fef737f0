//! The JSON API: the same calls of the domain as the pages, with bearer tokens, problem documents and `Idempotency-Key`.
//!
//! [`document`] is generated from the handlers; a test holds it against the router, so that no route goes undescribed.

mod accounts;
mod billing;
mod document;
mod games;
mod nodes;
mod once;
mod servers;
pub(in crate::http) mod shapes;

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
        .get("/api/servers/{id}/logs", servers::logs)
        .get("/api/servers/{id}/events", servers::events)
        .get("/api/servers/{id}/stats", servers::stats)
        .get("/api/servers/{id}/console", live::console::open)
        .get("/api/billing", billing::overview)
        .get("/api/billing/transactions", billing::transactions)
        .get("/api/nodes", nodes::list)
        .get("/api/nodes/{id}", nodes::one)
}
