//! Makes sure that an image is on this machine: present, pulled, or made from the static program that the sidecar is.
//!
//! `roost/demo:<version>` and `roost/proxy:<hash>` are never pulled. What goes wrong with a pull is said in words with what to do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::ctx::{Ctx, Proxy};
use super::docker::{DockerError, PullProgress};
use super::error::StepError;
use super::program;
use crate::model::ids::{CommandId, ServerId};
use crate::wire::agent::EventKind;

/// Repository of the built-in game's image.
const DEMO: &str = "roost/demo";
/// Repository of the sidecar's image.
const PROXY: &str = "roost/proxy";
/// Label of our own images: the program they were made from.
const LABEL_PROGRAM: &str = "roost.program";
/// Largest program that is put into an image.
const PROGRAM_BYTES_MAX: u64 = 64 << 20;
/// Time between two words about a pull.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl Ctx {
    /// Reads the program once and remembers what it is.
    pub async fn proxy(&self) -> Result<Proxy, StepError> {
        let read = async {
            let bytes = self.proxy_bytes().await?;
            program::check(&bytes).map_err(|unfit| StepError::Image {
                words: format!("The sidecar's program {} {unfit}", self.config.proxy_binary.display()),
                retryable: true,
            })?;
            Ok::<_, StepError>(Proxy { hash: hex::encode(&Sha256::digest(&bytes)[..6]) })
        };
        self.proxy.get_or_try_init(|| read).await.cloned()
    }

    async fn proxy_bytes(&self) -> Result<Vec<u8>, StepError> {
        let path = &self.config.proxy_binary;
        let read = async {
            let size = tokio::fs::metadata(path).await?.len();
            if size > PROGRAM_BYTES_MAX {
                return Err(std::io::Error::other("it is too large to be the sidecar"));
            }
            tokio::fs::read(path).await
        };
        read.await.map_err(StepError::folder(format!("read the sidecar's program {}", path.display())))
    }

    /// The sidecar's image, made if need be; gives its reference.
    pub async fn door_image(&self) -> Result<String, StepError> {
        let hash = self.proxy().await?.hash;
        let reference = format!("{PROXY}:{hash}");
        self.made(PROXY, &hash, &["/roost-proxy", "--config", "/door/door.json"]).await?;
        Ok(reference)
    }

    /// A game's image.
    pub async fn game_image(&self, server: &ServerId, command: &CommandId, reference: &str) -> Result<(), StepError> {
        if let Some((DEMO, version)) = reference.split_once(':') {
            return self.made(DEMO, version, &["/roost-proxy", "demo"]).await;
        }
        if self.engine.image(reference).await?.is_some() {
            return Ok(());
        }
        let lock = self.image_lock(reference);
        let Ok(_alone) = lock.try_lock() else {
            let text = format!("waiting for {reference}, which is being pulled for another server");
            self.tell(server, Some(command), EventKind::Progress { text, percent: None }).await;
            let _alone = lock.lock().await;
            // The other one may have failed: then this one's own try says why.
            return if self.engine.image(reference).await?.is_some() { Ok(()) } else { self.pull(server, command, reference).await };
        };
        self.pull(server, command, reference).await
    }

    async fn made(&self, repo: &str, tag: &str, command: &[&str]) -> Result<(), StepError> {
        let hash = self.proxy().await?.hash;
        let reference = format!("{repo}:{tag}");
        let lock = self.image_lock(&reference);
        let _alone = lock.lock().await;
        let there = self.engine.image(&reference).await?;
        if there.is_some_and(|image| image.labels.get(LABEL_PROGRAM) == Some(&hash)) {
            return Ok(());
        }
        let program = self.proxy_bytes().await?;
        let archive = archive(&program).map_err(StepError::folder("pack the sidecar's program"))?;
        let words = serde_json::to_string(command).map_err(|error| StepError::Spec(error.to_string()))?;
        let changes = vec![format!("CMD {words}"), format!("LABEL {LABEL_PROGRAM}={hash}")];
        self.engine.import(repo, tag, changes, archive).await?;
        Ok(())
    }

    async fn pull(&self, server: &ServerId, command: &CommandId, reference: &str) -> Result<(), StepError> {
        let latest = Mutex::new(PullProgress::default());
        let pull = self.engine.pull(reference, |progress| *latest.lock().unwrap_or_else(PoisonError::into_inner) = progress);
        let tell = async {
            let mut ticks = tokio::time::interval_at(Instant::now(), TELL_EVERY);
            let mut told = None;
            loop {
                ticks.tick().await;
                let progress = *latest.lock().unwrap_or_else(PoisonError::into_inner);
                if told.replace(progress) != Some(progress) {
                    let (text, percent) = progress_words(reference, progress);
                    self.tell(server, Some(command), EventKind::Progress { text, percent }).await;
                }
            }
        };
        tokio::select! {
            pulled = pull => pulled.map_err(|error| pull_failed(reference, error)),
            never = tell => never,
        }
    }
}

fn archive(program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::with_capacity(program.len() + 4_096));
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "roost-proxy", program)?;
    tar.into_inner()
}

/// Such as `pulling itzg/minecraft-server: 12 of 18 layers, 340 of 512 MB`, and 0 to 100.
fn progress_words(reference: &str, progress: PullProgress) -> (String, Option<u8>) {
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    if progress.layers == 0 {
        return (format!("pulling {reference}"), None);
    }
    let mut text = format!("pulling {reference}: {} of {} layers", progress.layers_done, progress.layers);
    if progress.bytes > 0 {
        text = format!("{text}, {} of {} MB", megabytes(progress.bytes_done), megabytes(progress.bytes));
    }
    let percent = (progress.bytes > 0).then(|| progress.bytes_done * 100 / progress.bytes);
    (text, percent.and_then(|percent| u8::try_from(percent.min(100)).ok()))
}

/// What went wrong with a pull, in words with what to do.
fn pull_failed(reference: &str, error: DockerError) -> StepError {
    let said = error.words().to_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    let (words, retryable) = if has(&["no space left"]) {
        (
            format!(
                "The disk is full: the image {reference} does not fit. Free some space on the node (`docker image ls` shows what is there)"
            ),
            true,
        )
    } else if has(&["pull access denied", "unauthorized", "authentication required", "denied:"]) {
        (
            format!(
                "The image {reference} does not exist, or its registry wants a login. Check its name in the catalogue; for a private one, run `docker login` on the node and pull it there"
            ),
            false,
        )
    } else if has(&["manifest unknown", "not found", "no such image", "invalid reference", "repository name must be"]) {
        (format!("The image {reference} does not exist. Check its name and tag in the catalogue"), false)
    } else if has(&["verification failed", "digest mismatch", "unexpected eof", "corrupt"]) {
        (format!("The image {reference} arrived damaged. It is tried again; if that goes on, ask whoever runs its registry"), true)
    } else if has(&["no matching manifest"]) {
        (format!("The image {reference} is not made for this kind of machine. Choose a node with another processor"), false)
    } else if has(&["toomanyrequests", "too many requests", "rate limit"]) {
        (format!("The registry of {reference} wants us to wait: too many pulls from this address"), true)
    } else if has(&[
        "no such host",
        "dial tcp",
        "timeout",
        "connection refused",
        "network is unreachable",
        "server misbehaving",
        "tls",
        "eof",
        "lookup",
        "proxyconnect",
    ]) {
        (format!("The registry of {reference} cannot be reached from this node. Check its network connection and its name server"), true)
    } else {
        match error {
            DockerError::Away { .. } | DockerError::Slow => return StepError::Docker(error),
            DockerError::NotFound(_) | DockerError::Conflict(_) | DockerError::Refused { .. } | DockerError::Unreadable(_) => {
                (format!("The image {reference} could not be pulled: {}", error.words()), true)
            }
        }
    };
    StepError::Image { words, retryable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_told_in_layers_and_megabytes() {
        let progress = PullProgress { layers_done: 12, layers: 18, bytes_done: 340_000_000, bytes: 512_000_000 };
        let (text, percent) = progress_words("itzg/minecraft-server", progress);
        assert_eq!(text, "pulling itzg/minecraft-server: 12 of 18 layers, 340 of 512 MB");
        assert_eq!(percent, Some(66));
        assert_eq!(progress_words("a", PullProgress::default()), ("pulling a".to_owned(), None));
    }

    #[test]
    fn what_is_wrong_with_a_pull_is_said_and_only_what_can_pass_is_tried_again() {
        let cases = [
            ("pull access denied for x, repository does not exist or may require 'docker login'", "login", false),
            ("manifest for x:9 not found: manifest unknown", "tag", false),
            ("Get \"https://registry/v2/\": dial tcp: lookup registry: no such host", "network", true),
            ("write /var/lib/docker/tmp: no space left on device", "disk is full", true),
            ("toomanyrequests: You have reached your pull rate limit", "wait", true),
            ("filesystem layer verification failed for digest sha256:00", "damaged", true),
            ("something new", "something new", true),
        ];
        for (said, word, again) in cases {
            let error = pull_failed("x", DockerError::Refused { status: 500, message: said.to_owned() });
            assert!(error.to_string().contains(word), "{said}: {error}");
            assert_eq!(error.retryable(), again, "{said}");
        }
    }
}
