//! The node inside the panel: its agent runs in a process of its own, so that whatever a game makes it meet ends the agent and not
//! the panel.
//!
//! `serve` starts this same program once more as `roost agent` and talks with it over a pair of sockets that nobody else can reach: the
//! messages of a link, each a JSON text behind its length. Where the agent ends by itself it is started again after a growing wait;
//! what runs on the machine plays on meanwhile, as it does while a machine elsewhere has lost its panel. Where the panel goes, however
//! it goes, the sockets close and the agent ends. Its standard output is the handle of the data folder's lock, so that no other panel
//! begins before the last agent of this one is gone.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as Pair;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use super::node::config;
use super::serve::told_to_stop;
use super::system::{SystemClock, raise_descriptors};
use crate::domain::{Ctx, nodes};
use crate::engines::docker::{DockerEngine, QUEUE};
use crate::model::ids::NodeId;
use crate::settings::Settings;
use crate::wire::agent::{FromNode, ToNode};
use crate::wire::link::FRAME_BYTES_MAX;

/// This program, also after its file was replaced by another version's.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// First and longest wait before an agent that ended is started again.
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_mins(1);
/// An agent that ran for this long was a good one: the waits begin anew.
const GOOD_AFTER: Duration = Duration::from_mins(1);
/// Longest wait for the agent to take a message.
const SEND_WAIT: Duration = Duration::from_secs(10);
/// Longest silence of an agent, which sends a heartbeat every few seconds.
const SILENT_WAIT: Duration = Duration::from_mins(1);
/// What an agent that has ended still works on is given so long.
const WORK_WAIT: Duration = Duration::from_secs(1);
/// How long an agent has to end once its panel stops, before it is killed.
const END_WAIT: Duration = Duration::from_secs(8);
/// Where memory runs out the kernel ends the agent before the panel: 0 to 1,000, higher goes first.
const OOM_SCORE: &str = "500";

type From = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;
type To = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

fn framed(stream: Pair) -> std::io::Result<(From, To)> {
    stream.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(stream)?.into_split();
    let codec = || LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec();
    Ok((FramedRead::new(read, codec()), FramedWrite::new(write, codec())))
}

async fn say(to: &mut To, message: &impl Serialize) -> Result<(), String> {
    let bytes = match serde_json::to_vec(message) {
        Ok(bytes) if bytes.len() <= FRAME_BYTES_MAX => bytes,
        Ok(bytes) => {
            tracing::error!(bytes = bytes.len(), most = FRAME_BYTES_MAX, "a message is too large for the agent's socket; it is left out");
            return Ok(());
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a message could not be written; it is left out");
            return Ok(());
        }
    };
    to.send(Bytes::from(bytes)).await.map_err(|error| error.to_string())
}

/// The next message that can be read; none: the other side is gone.
async fn hear<T: DeserializeOwned>(from: &mut From) -> Option<T> {
    loop {
        match serde_json::from_slice(&from.next().await?.ok()?) {
            Ok(message) => return Some(message),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a message cannot be read; it is left out"),
        }
    }
}

/// The panel's side.
pub(super) struct Embedded {
    pub ctx: Arc<Ctx>,
    pub engine: Arc<DockerEngine>,
    /// The file of settings that the panel was started with.
    pub settings: PathBuf,
    /// The lock of the data folder.
    pub alone: File,
    pub stop: CancellationToken,
}

impl Embedded {
    /// Keeps an agent running until the panel stops.
    pub(super) async fn keep(self) {
        let mut wait = WAIT_FIRST;
        loop {
            let began = Instant::now();
            let reason = match self.once().await {
                Err(reason) => format!("{reason:#}"),
                Ok(()) => return,
            };
            if began.elapsed() >= GOOD_AFTER {
                wait = WAIT_FIRST;
            }
            tracing::error!(reason, again_in_ms = wait.as_millis(), "the agent of this machine has ended; what runs here plays on");
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    fn start(&self) -> anyhow::Result<(Child, From, To)> {
        let (ours, theirs) = Pair::pair().context("there is no pair of sockets to be had")?;
        let lock = self.alone.try_clone().context("the lock of the data folder cannot be shared")?;
        let mut command = Command::new(OWN_PROGRAM);
        command.arg0("roost").arg("--settings").arg(&self.settings).arg("agent").stdin(OwnedFd::from(theirs)).stdout(lock);
        let child = command.kill_on_drop(true).spawn().context("the agent's process cannot be started")?;
        let (from, to) = framed(ours).context("the agent's socket cannot be used")?;
        Ok((child, from, to))
    }

    /// One agent from its start to its end; an error where it ended and the panel goes on.
    async fn once(&self) -> anyhow::Result<()> {
        let node = NodeId::local();
        let (mut child, mut from, mut to) = self.start()?;
        let mut inbox = self.engine.connect(node.clone());
        nodes::greet(&self.ctx, &node).await.context("the agent could not be greeted")?;
        let told = async {
            while let Some(message) = inbox.recv().await {
                timeout(SEND_WAIT, say(&mut to, &message)).await.unwrap_or_else(|_| Err("it takes no messages".to_owned()))?;
            }
            Err::<(), String>("something else is linked as the node of this machine".to_owned())
        };
        let heard = async {
            loop {
                let message = match timeout(SILENT_WAIT, hear::<FromNode>(&mut from)).await {
                    Ok(Some(message)) => message,
                    Ok(None) => return "it closed its socket",
                    Err(_) => return "nothing was heard of it for too long",
                };
                if let Err(error) = nodes::receive(&self.ctx, &node, message).await {
                    tracing::warn!(%node, error = &error as &dyn std::error::Error, "a report could not be taken in; the next heartbeat repeats it");
                }
            }
        };
        let lost = tokio::select! {
            () = self.stop.cancelled() => None,
            reason = told => reason.err(),
            reason = heard => Some(reason.to_owned()),
        };
        drop((from, to));
        let ended = timeout(END_WAIT, child.wait()).await;
        match (lost, ended) {
            (None, _) => Ok(()),
            (Some(reason), Ok(Ok(status))) => anyhow::bail!("{reason}; {status}"),
            (Some(reason), _) => {
                child.kill().await.context("the agent cannot be ended")?;
                anyhow::bail!("{reason}, and it did not end by itself: it was killed")
            }
        }
    }
}

/// `roost agent`: the agent's side. Standard input is the socket to the panel that started it.
pub(super) fn run(settings: &Settings) -> anyhow::Result<()> {
    raise_descriptors();
    // Lower is not allowed to everybody, higher is.
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        tracing::debug!(error = &error as &dyn std::error::Error, "the kernel's choice where memory runs out could not be influenced");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime did not start")?;
    let done = runtime.block_on(serve(settings));
    // Removals and walks that go on on threads of their own are taken up again by the next one.
    runtime.shutdown_timeout(WORK_WAIT);
    done
}

async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let panel = Pair::from(std::io::stdin().as_fd().try_clone_to_owned().context("there is no standard input")?);
    panel.peer_addr().context("`roost serve` starts this by itself; on a machine of its own it is `roost node`")?;
    let (mut from, mut to) = framed(panel).context("the panel's socket cannot be used")?;
    let stop = CancellationToken::new();
    let (to_agent, inbox) = mpsc::channel::<ToNode>(QUEUE);
    let (outbox, mut from_agent) = mpsc::channel::<FromNode>(QUEUE);
    let config = config(settings, NodeId::local());
    let agent = crate::node::run(config, Arc::new(SystemClock), inbox, outbox, stop.clone());
    let heard = async {
        while let Some(message) = hear(&mut from).await {
            if to_agent.send(message).await.is_err() {
                break;
            }
        }
    };
    let told = async {
        while let Some(message) = from_agent.recv().await {
            if say(&mut to, &message).await.is_err() {
                break;
            }
        }
    };
    tokio::pin!(agent);
    tokio::select! {
        done = &mut agent => {
            done?;
            anyhow::bail!("the agent ended on its own; its log says why");
        }
        () = heard => {}
        () = told => {}
        () = told_to_stop() => {}
    }
    stop.cancel();
    Ok(agent.await?)
}
