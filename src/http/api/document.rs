//! `/api/openapi.json`: the API's description, generated from its handlers.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::shapes::ProblemShape;
use super::{accounts, backups, billing, games, layers, nodes, servers, shares, templates, users};
use crate::http::live::console;
use crate::http::routes::{auth, doors};

#[derive(OpenApi)]
#[openapi(
    info(title = "Roost", description = "Game servers that sleep while nobody plays. Refusals are RFC 9457 problem documents."),
    paths(
        openapi,
        auth::register,
        auth::login,
        accounts::me,
        games::list,
        games::plans,
        servers::list,
        servers::create,
        servers::one,
        servers::change,
        servers::delete,
        servers::start,
        servers::stop,
        servers::restart,
        servers::wake,
        servers::hibernate,
        servers::retry,
        layers::one,
        layers::set,
        layers::back,
        backups::list,
        backups::make,
        backups::delete,
        backups::download,
        backups::restore,
        backups::try_out,
        backups::undo,
        backups::set_schedule,
        backups::end_schedule,
        servers::logs,
        servers::events,
        servers::stats,
        console::open,
        shares::list,
        shares::invite,
        shares::change,
        shares::remove,
        shares::take_back,
        users::list,
        users::one,
        users::change,
        users::revoke,
        users::credits,
        billing::overview,
        billing::transactions,
        templates::list,
        templates::create,
        templates::import,
        templates::one,
        templates::change,
        templates::delete,
        templates::export,
        templates::versions,
        templates::upload,
        templates::version,
        templates::delete_version,
        nodes::list,
        nodes::one,
        nodes::load,
        nodes::dev_mode,
        nodes::purge_cache,
        doors::wake,
        doors::activity,
        nodes::make_token,
        nodes::drain,
        nodes::revoke,
        nodes::remove
    ),
    components(schemas(ProblemShape)),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token from your account's page, or from `POST /auth/login`."));
        openapi.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme.build()));
    }
}

static TEXT: LazyLock<String> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default());

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "document", responses((status = 200)), security(()))]
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
