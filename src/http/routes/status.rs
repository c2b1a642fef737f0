//! For programs that watch: alive, ready, and in numbers.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::domain::figures::{Figures, figures, pulse};
use crate::http::Web;
use crate::http::problem::Answer;
use crate::http::who::Caller;
use crate::model::nodes::CacheLoad;
use crate::model::time::Millis;

/// `GET /health`: this program runs.
pub(super) async fn health() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /ready`: the database answers. Nodes are told, and do not count: pages work without them.
pub(super) async fn ready(State(web): State<Web>) -> Response {
    match pulse(&web.ctx).await {
        Ok(nodes) => {
            let online = nodes.iter().filter(|(_, online)| *online).count();
            Json(json!({ "status": "ready", "database": "ok", "nodes": { "known": nodes.len(), "online": online } })).into_response()
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable", "database": "no answer" }))).into_response()
        }
    }
}

fn gauges(figures: &Figures, sockets: usize, now: Millis) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, lines: Vec<String>| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for line in lines {
            let _ = writeln!(text, "{name}{line}");
        }
    };
    let servers = figures.servers.iter();
    let servers = servers.map(|(node, phase, number)| format!("{{node=\"{node}\",phase=\"{}\"}} {number}", phase.as_str()));
    family("roost_servers", "Servers by node and phase.", servers.collect());
    let online = figures.nodes.iter().map(|node| format!("{{node=\"{}\"}} {}", node.id, u8::from(node.online(now))));
    family("roost_node_online", "Has the node been heard of lately?", online.collect());
    let trouble = figures.nodes.iter().map(|node| format!("{{node=\"{}\"}} {}", node.id, u8::from(node.load.trouble.is_some())));
    family("roost_node_trouble", "Can the node not start servers?", trouble.collect());
    let cache = |what: fn(&CacheLoad) -> u64| -> Vec<String> {
        let known = figures.nodes.iter().filter_map(|node| Some((node, node.load.cache.as_ref()?)));
        known.map(|(node, cache)| format!("{{node=\"{}\"}} {}", node.id, what(cache))).collect()
    };
    family("roost_node_cache_hits", "Layers that were in the node's cache, since its agent's start.", cache(|cache| cache.hits));
    family("roost_node_cache_misses", "Layers that the node had to fetch, since its agent's start.", cache(|cache| cache.misses));
    family(
        "roost_node_cache_bytes",
        "Bytes of unpacked layers in the node's cache.",
        cache(|cache| cache.layers.iter().map(|layer| layer.bytes).sum()),
    );
    family("roost_live_sockets", "Open sockets of pages and programs.", vec![format!(" {sockets}")]);
    text
}

/// `GET /metrics`: for admins, in the text format of Prometheus.
pub(super) async fn metrics(State(web): State<Web>, caller: Caller) -> Answer {
    let figures = figures(&web.ctx, caller.actor()).await?;
    let mut text = web.settings.telemetry.render();
    text.push_str(&gauges(&figures, web.sockets.open(), web.ctx.clock.now()));
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
