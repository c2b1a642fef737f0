//! `roost node join TOKEN`: this machine joins a panel. `roost node`: its agent, linked to that panel.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::serve::told_to_stop;
use super::system::{SystemClock, raise_descriptors};
use crate::model::ids::NodeId;
use crate::model::nodes::{Net, Profile};
use crate::model::time::Clock;
use crate::node::link::{self, Keep, LinkError, Pace};
use crate::node::{LOOK_EVERY, NodeConfig};
use crate::settings::Settings;
use crate::settings::link::{read_region, read_tags};
use crate::wire::link::{JoinToken, NotAToken};

/// How long the last agent of a killed panel has to be gone, and how often it is looked whether it is.
const ALONE_WAIT: Duration = Duration::from_secs(10);
const ALONE_EVERY: Duration = Duration::from_millis(20);

/// What may be said on the command line; it wins over the settings.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Where this machine stands, such as eu-central (`NODE_REGION`).
    #[arg(long)]
    region: Option<String>,
    /// Words that a server may ask for, with commas between them (`NODE_TAGS`).
    #[arg(long)]
    tags: Option<String>,
    /// Most servers at once (`NODE_SLOTS`).
    #[arg(long)]
    slots: Option<u32>,
    /// Host name or address that players use (`PUBLIC_HOST`).
    #[arg(long)]
    public_host: Option<String>,
}

#[derive(Subcommand)]
enum Action {
    /// Joins the panel that made this token, once.
    Join {
        /// From the panel's page of nodes.
        token: String,
    },
}

/// Joins, or runs the agent until it is told to stop.
pub fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<()> {
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime did not start")?;
    match &arguments.action {
        Some(Action::Join { token }) => {
            let token = token.parse::<JoinToken>().map_err(|NotAToken| NotAToken)?;
            runtime.block_on(join(&settings, &token))
        }
        None => runtime.block_on(serve(said(settings, arguments)?)),
    }
}

/// The settings with what the command line says.
fn said(mut settings: Settings, arguments: Arguments) -> anyhow::Result<Settings> {
    if let Some(region) = &arguments.region {
        settings.link.region = read_region(region).context("--region is a word of at most 40 characters")?;
    }
    if let Some(tags) = &arguments.tags {
        settings.link.tags = read_tags(tags).context("--tags are at most 16 words of at most 40 characters, with commas")?;
    }
    settings.link.slots = arguments.slots.or(settings.link.slots);
    if let Some(host) = arguments.public_host {
        (settings.node.public_host, settings.node.public_host_is_set) = (host, true);
    }
    Ok(settings)
}

async fn join(settings: &Settings, token: &JoinToken) -> anyhow::Result<()> {
    let dir = &settings.data.dir;
    make_folder(dir)?;
    let before = Keep::new(dir).current().ok().flatten();
    let identity = match link::join(dir, token, &SystemClock).await {
        Ok(identity) => identity,
        Err(error) => return Err(explained(error)),
    };
    let mut words = format!("This machine has joined the panel at {} as the node {}.\n", identity.address, identity.node);
    if before.is_some_and(|before| before.node != identity.node) {
        words += "It was another node before; what that one ran stays on this machine and is not touched.\n";
    }
    words +=
        "Start its agent now, and at every start of the machine:\n  roost node\nAn agent that runs here already notices within a minute. ";
    words += "deploy/roost-node.service does that with systemd.\n";
    let _ = std::io::stdout().write_all(words.as_bytes());
    Ok(())
}

/// With the one thing that is easily forgotten.
fn explained(error: LinkError) -> anyhow::Error {
    let is_stranger = matches!(error, LinkError::Stranger { .. });
    let error = anyhow::Error::from(error);
    if is_stranger {
        error.context("nothing was sent, and the token still works; check the clock of this machine, and the address")
    } else {
        error
    }
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let dir = &settings.data.dir;
    let identity = Keep::new(dir).current()?.ok_or(LinkError::NotJoined)?;
    let _alone = alone(dir)?;
    let stop = CancellationToken::new();
    let config = config(&settings, identity.node);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // Where systemd started the program it learns that the agent is up; elsewhere this does nothing.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let agent = link::run(config, clock, Pace::default(), stop.clone());
    tokio::pin!(agent);
    tokio::select! {
        done = &mut agent => {
            done?;
            anyhow::bail!("the agent ended on its own; its log says why");
        }
        () = told_to_stop() => stop.cancel(),
    }
    Ok(agent.await?)
}

/// The agent's settings, as this node.
pub(super) fn config(settings: &Settings, node: NodeId) -> NodeConfig {
    let public_host =
        if node == NodeId::local() || settings.node.public_host_is_set { settings.node.public_host.clone() } else { String::new() };
    NodeConfig {
        node,
        profile: Profile {
            public_host,
            region: settings.link.region.clone(),
            tags: settings.link.tags.clone(),
            slots: settings.link.slots,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            net: Net {
                ports: Some(settings.node.ports),
                pool: settings.node.subnet_pool.clone(),
                subnets: settings.node.subnets,
                machine: String::new(),
            },
        },
        data_dir: settings.data.dir.clone(),
        subnet_pool: settings.node.subnet_pool.clone(),
        bind_host: settings.node.bind_host.clone(),
        proxy_binary: settings.node.proxy_binary.clone(),
        firewall: settings.node.firewall,
        docker_socket: None,
        hold_secs: settings.node.hold_secs,
        look_every: LOOK_EVERY,
    }
}

fn make_folder(dir: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("the data folder {} cannot be made", dir.display()))
}

/// One agent a data folder: held until it is dropped, and by nobody after a kill.
pub(super) fn alone(dir: &Path) -> anyhow::Result<File> {
    make_folder(dir)?;
    let path = dir.join("agent.lock");
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
    let held = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    held.with_context(|| format!("another agent runs in {}: give each its own DATA_DIR", dir.display()))?;
    Ok(file)
}

/// The same, after a wait for the agent of a panel that was killed a moment ago.
pub(super) async fn alone_soon(dir: &Path) -> anyhow::Result<File> {
    let begin = Instant::now();
    loop {
        match alone(dir) {
            Err(_) if begin.elapsed() < ALONE_WAIT => tokio::time::sleep(ALONE_EVERY).await,
            done => return done,
        }
    }
}
