//! What is known of requests afterwards: an id, one line in the log, counters and durations.
//!
//! [`observe`] is the outermost layer. The line is at level INFO where somebody known asked or something went wrong here, and at DEBUG for
//! strangers and programs that watch, who may ask without end and are counted all the same. Counters are kept in a recorder of this panel's
//! own, so that several panels in one process do not mix.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tracing::Instrument;

use super::Web;
use super::guards::audit::LetIn;

/// Longest id of a request that is taken over from whoever asks.
const ID_MAX: usize = 64;
/// Name of the header that carries it, both ways.
const ID_HEADER: &str = "x-request-id";
/// Upper ends of the durations that are counted, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Route label of requests that lead nowhere.
const UNMATCHED: &str = "unmatched";

const META: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// Names a request in answers and in the log.
#[derive(Debug, Clone)]
pub(super) struct RequestId(HeaderValue);

impl Default for RequestId {
    fn default() -> Self {
        RequestId(HeaderValue::from_static("none"))
    }
}

impl RequestId {
    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("none")
    }

    /// The one that came along, if it is short and plain, else a new one.
    fn of(headers: &HeaderMap) -> RequestId {
        let plain = |value: &&HeaderValue| {
            let bytes = value.as_bytes();
            (1..=ID_MAX).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        headers.get(ID_HEADER).filter(plain).cloned().map_or_else(RequestId::fresh, RequestId)
    }

    fn fresh() -> RequestId {
        let mut bytes = [0_u8; 8];
        if getrandom::fill(&mut bytes).is_err() {
            return RequestId::default();
        }
        HeaderValue::try_from(hex::encode(bytes)).map_or_else(|_| RequestId::default(), RequestId)
    }
}

/// Has somebody known been met in a request? Told by whoever finds out.
#[derive(Debug, Clone, Default)]
pub(super) struct Met(Arc<AtomicBool>);

impl Met {
    /// Yes.
    pub fn somebody(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn anybody(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one route, method and status.
#[derive(Clone)]
struct Seen {
    count: Counter,
    seconds: Histogram,
}

/// By method and status.
type ByAnswer = HashMap<(u8, u16), Seen>;

struct Inner {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// By route, then by method and status: looked up for every request, so nothing is allocated for what is known.
    known: RwLock<HashMap<String, ByAnswer>>,
}

/// Counts requests; cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

impl Default for Telemetry {
    fn default() -> Self {
        // The buckets are a constant list that is not empty, the only thing that this call can refuse.
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).unwrap_or_default();
        let recorder = Arc::new(builder.build_recorder());
        let handle = recorder.handle();
        let describe = |name: &'static str, unit, text: &'static str| recorder.describe_counter(KeyName::from(name), unit, text.into());
        describe("roost_http_requests_total", None, "Requests by route, method and status.");
        recorder.describe_histogram(
            KeyName::from("roost_http_request_duration_seconds"),
            Some(Unit::Seconds),
            "Time until the answer's head was ready, by route.".into(),
        );
        Telemetry(Arc::new(Inner { recorder, handle, known: RwLock::default() }))
    }
}

/// Methods that are told apart; whatever else clients make up counts as one.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];

fn method_number(method: &Method) -> u8 {
    let known = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
    u8::try_from(known).unwrap_or_default()
}

impl Telemetry {
    /// What other rooms count as well (the object store, the layers of the node inside the panel) is shown beside the requests. Once a
    /// process: whoever comes second counts for itself alone.
    #[must_use]
    pub fn for_the_process() -> Telemetry {
        let telemetry = Telemetry::default();
        let _second = metrics::set_global_recorder(telemetry.0.recorder.clone());
        telemetry
    }

    /// Sums up the durations that have come since. Without it each stays in memory until somebody reads them.
    pub fn upkeep(&self) {
        self.0.handle.run_upkeep();
    }

    /// Everything counted here, in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.upkeep();
        self.0.handle.render()
    }

    fn count(&self, route: &str, method: u8, status: u16, seconds: f64) {
        let known = self.0.known.read().ok().and_then(|known| known.get(route)?.get(&(method, status)).cloned());
        let seen = known.unwrap_or_else(|| self.register(route, method, status));
        seen.count.increment(1);
        seen.seconds.record(seconds);
    }

    fn register(&self, route: &str, method: u8, status: u16) -> Seen {
        let by_route = vec![Label::new("route", route.to_owned())];
        let mut labels = by_route.clone();
        labels.push(Label::new("method", METHODS.get(usize::from(method)).copied().unwrap_or("other")));
        labels.push(Label::new("status", status.to_string()));
        let seen = Seen {
            count: self.0.recorder.register_counter(&Key::from_parts("roost_http_requests_total", labels), &META),
            seconds: self.0.recorder.register_histogram(&Key::from_parts("roost_http_request_duration_seconds", by_route), &META),
        };
        if let Ok(mut known) = self.0.known.write() {
            known.entry(route.to_owned()).or_default().insert((method, status), seen.clone());
        }
        seen
    }
}

/// Gives the request its id, and says and counts how it went.
pub(super) async fn observe(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = RequestId::of(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method_number(request.method());
    let span = tracing::info_span!("request", id = id.as_str(), method = %request.method(), path = request.uri().path());
    request.extensions_mut().insert(id.clone());
    let met = Met::default();
    request.extensions_mut().insert(met.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = begun.elapsed();
    let status = response.status().as_u16();
    response.headers_mut().insert(ID_HEADER, id.0);
    web.settings.telemetry.count(route.as_ref().map_or(UNMATCHED, MatchedPath::as_str), method, status, took.as_secs_f64());
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if met.anybody() || response.extensions().get::<LetIn>().is_some() || response.status().is_server_error() {
        tracing::info!(parent: &span, status, micros, "answered");
    } else {
        tracing::debug!(parent: &span, status, micros, "answered");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_others_are_taken_over_only_if_they_are_plain() {
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ID_HEADER, HeaderValue::from_str(text).unwrap());
            RequestId::of(&headers).as_str().to_owned()
        };
        assert_eq!(with("abc-1.2_3"), "abc-1.2_3");
        for bad in ["a b", "<script>", &"x".repeat(65)] {
            assert_ne!(with(bad), bad);
        }
        assert_eq!(RequestId::of(&HeaderMap::new()).as_str().len(), 16);
    }

    #[test]
    fn requests_are_counted_by_route_method_and_status() {
        let telemetry = Telemetry::default();
        telemetry.count("/servers/{id}", method_number(&Method::GET), 200, 0.003);
        telemetry.count("/servers/{id}", method_number(&Method::GET), 200, 0.004);
        let text = telemetry.render();
        assert!(text.contains("roost_http_requests_total{route=\"/servers/{id}\",method=\"GET\",status=\"200\"} 2"), "{text}");
        assert!(text.contains("roost_http_request_duration_seconds_bucket{route=\"/servers/{id}\",le=\"0.005\"} 2"), "{text}");
    }
}
