//! Pulls from a registry that the test plays over HTTP on loopback, which Docker accepts there: an image in three layers that comes as
//! fast as the test lets it, one that does not exist, and one that arrives damaged.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use roost::wire::agent::EventKind;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::site::{Site, docker_is_wanted, prepare, program};

/// Bytes of the layer that is held back in its middle.
const BALLAST: usize = 24 << 20;
/// Its part that is given at once.
const AT_ONCE: usize = BALLAST / 3;

struct Registry {
    address: String,
    /// By the last part of the address: a tag or a digest.
    answers: HashMap<String, (&'static str, Bytes)>,
    /// The digest of the layer that is held back, and the permit for the rest of it.
    held: String,
    release: Semaphore,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A layer with one file and a stamp. Docker fetches a layer once for all pulls that want it, whichever registry they name: without a
/// stamp, two tests would wait for each other's.
fn layer(stamp: &str, name: &str, content: &[u8]) -> Bytes {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in [(name, content), ("stamp", stamp.as_bytes())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, content).unwrap();
    }
    tar.into_inner().unwrap().into()
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

impl Registry {
    /// With the images `good` and `damaged`, both the demo game in three layers.
    async fn open(program: &Path) -> Arc<Registry> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut ballast = vec![0; BALLAST];
        getrandom::fill(&mut ballast).unwrap();
        let stamp = hex::encode(&ballast[..16]);
        let layers = [
            layer(&stamp, "roost-proxy", &std::fs::read(program).unwrap()),
            layer(&stamp, "note", b"a note"),
            layer(&stamp, "ballast", &ballast),
        ];
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/roost-proxy", "demo"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}
        });
        let config = Bytes::from(config.to_string());
        let named = |kind: &str, bytes: &Bytes| json!({"mediaType": kind, "size": bytes.len(), "digest": digest(bytes)});
        let manifest = |layers: Vec<serde_json::Value>| {
            let whole = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": named(CONFIG, &config), "layers": layers});
            Bytes::from(whole.to_string())
        };
        let good = manifest(layers.iter().map(|layer| named(LAYER, layer)).collect());
        let mut answers = HashMap::new();
        // Same length, other bytes than its digest promises.
        let promised = layer(&stamp, "note", b"something else");
        let torn = layer(&stamp, "note", b"something torn");
        let damaged = manifest(vec![named(LAYER, &layers[0]), named(LAYER, &promised)]);
        answers.insert(digest(&promised), (LAYER, torn));
        for (tag, bytes) in [("good", good), ("damaged", damaged)] {
            answers.insert(digest(&bytes), (MANIFEST, bytes.clone()));
            answers.insert(tag.to_owned(), (MANIFEST, bytes));
        }
        answers.insert(digest(&config), (CONFIG, config));
        let held = digest(&layers[2]);
        answers.extend(layers.into_iter().map(|layer| (digest(&layer), (LAYER, layer))));
        let registry = Arc::new(Registry { address, answers, held, release: Semaphore::new(0) });
        let router = Router::new().fallback(answer).with_state(registry.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with its test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        registry
    }

    fn reference(&self, tag: &str) -> String {
        format!("{}/roost-test/pulled:{tag}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        program("docker", &["rmi", "-f", &self.reference("good")]);
    }
}

async fn answer(State(registry): State<Arc<Registry>>, uri: Uri) -> Response {
    if uri.path() == "/v2/" {
        return StatusCode::OK.into_response();
    }
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let Some((kind, bytes)) = registry.answers.get(name).cloned() else {
        let unknown = json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]});
        return (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/json")], unknown.to_string()).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_LENGTH, bytes.len().to_string()),
        (header::HeaderName::from_static("docker-content-digest"), digest(&bytes)),
    ];
    let body = if name == registry.held {
        let (first, rest) = (bytes.slice(..AT_ONCE), bytes.slice(AT_ONCE..));
        let parts = stream::unfold(Some((registry, Some(first), rest)), |state| async move {
            let (registry, first, rest) = state?;
            if let Some(first) = first {
                return Some((Ok::<_, std::io::Error>(first), Some((registry, None, rest))));
            }
            let permit = registry.release.acquire().await.ok()?;
            drop(permit);
            Some((Ok(rest), None))
        });
        Body::from_stream(parts)
    } else {
        Body::from(bytes)
    };
    (headers, body).into_response()
}

#[tokio::test]
async fn a_pull_is_told_layer_by_layer_and_its_game_runs() {
    if !docker_is_wanted("a_pull_is_told_layer_by_layer_and_its_game_runs") {
        return;
    }
    let mut site = Site::open(false).await;
    let registry = Registry::open(&site.config.proxy_binary).await;
    let mut spec = site.demo();
    spec.image = registry.reference("good");
    let id = site.command(&spec.server, prepare(&spec)).await;
    let waiting = site.demo();
    let waiting = roost::wire::spec::InstanceSpec { image: spec.image.clone(), ..waiting };
    // In the middle: the layers are counted, and a part of the bytes is there.
    let halfway = site.event("a part of the image", &spec.server, |event| match &event.kind {
        EventKind::Progress { text, percent: Some(percent @ 1..=99) } if text.contains(" of 3 layers, ") => Some((text.clone(), *percent)),
        _ => None,
    });
    let (text, percent) = halfway.await;
    assert!(text.starts_with(&format!("pulling {}: ", spec.image)) && text.ends_with(" MB"), "{text}");
    assert!(percent < 80, "{text}: {percent}%");
    let second = site.command(&waiting.server, prepare(&waiting)).await;
    let waits = site.event("the other one waits", &waiting.server, |event| match &event.kind {
        EventKind::Progress { text, .. } => Some(text.clone()),
        _ => None,
    });
    assert_eq!(waits.await, format!("waiting for {}, which is being pulled for another server", spec.image));
    registry.release.add_permits(1);
    let answer = site.answer(&id).await;
    assert!(matches!(answer, EventKind::Prepared(_)), "{answer:?}");
    let answer = site.answer(&second).await;
    assert!(matches!(answer, EventKind::Prepared(_)), "{answer:?}");
    let report = site.start(&spec.server).await;
    assert_eq!(report.runs.len(), 1);
}

#[tokio::test]
async fn an_image_that_is_not_there_or_arrives_damaged_is_explained() {
    if !docker_is_wanted("an_image_that_is_not_there_or_arrives_damaged_is_explained") {
        return;
    }
    let mut site = Site::open(false).await;
    let registry = Registry::open(&site.config.proxy_binary).await;
    for (tag, words, again) in [("missing", "Check its name and tag in the catalogue", false), ("damaged", "arrived damaged", true)] {
        let mut spec = site.demo();
        spec.image = registry.reference(tag);
        let answer = site.ask(&spec.server, prepare(&spec)).await;
        let EventKind::Failed { reason, retryable, .. } = answer else { panic!("{tag}: {answer:?}") };
        assert!(reason.contains(words) && retryable == again, "{tag}: {reason}");
    }
}
