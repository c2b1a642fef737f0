//! The three things that a server is made of on a node: its network, its sidecar and its game, each with a name that follows from
//! the server's id. Making one that is there and right does nothing; one that is wrong is made anew.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::worker::Worker;
use super::{Players, locked};
use crate::model::ids::ServerId;
use crate::model::servers::Seen;
use crate::node::config::Subnet;
use crate::node::console::TTY_WINDOW;
use crate::node::ctx::{Ctx, LABEL_NODE, LABEL_PANEL, LABEL_PART, LABEL_REVISION, LABEL_SERVER};
use crate::node::docker::{ContainerPlan, DockerError, NewMount};
use crate::node::error::StepError;
use crate::node::record;
use crate::wire::door::{CONFIG_FILE, DoorConfig, DoorServer, FOLDER, Route, SOCKET_FILE, STATE_FILE};
use crate::wire::spec::InstanceSpec;

/// What a game may keep. Everything else is dropped, whatever the catalogue says.
const CAPABILITIES_ALLOWED: [&str; 5] = ["CHOWN", "SETUID", "SETGID", "DAC_OVERRIDE", "FOWNER"];
/// Memory of a sidecar.
const DOOR_MEMORY: i64 = 32 << 20;
/// Most threads of a sidecar.
const DOOR_PIDS: i64 = 64;
/// Most processes and threads of a game.
const GAME_PIDS: i64 = 512;
/// Most open files of one process of a game: a world with many mods opens thousands.
const GAME_DESCRIPTORS: i64 = 16_384;
/// A game's log: largest file in bytes, and how many.
const GAME_LOG: (u64, u32) = (10 << 20, 3);
/// Waits for what Docker still does for somebody who has gone.
const UNDER_WAY_MS: [u64; 5] = [50, 100, 200, 400, 800];
/// A sidecar's log.
const DOOR_LOG: (u64, u32) = (1 << 20, 2);
/// Docker's small init, where its package has it.
const INITS: [&str; 4] = ["/usr/bin/docker-init", "/usr/libexec/docker/docker-init", "/usr/local/bin/docker-init", "/usr/sbin/docker-init"];

/// Name of the game's container.
pub fn game_name(server: &ServerId) -> String {
    format!("roost-{server}-game")
}

/// Name of the sidecar's container.
pub fn door_name(server: &ServerId) -> String {
    format!("roost-{server}-door")
}

/// Name of the volume that mounts its data, where they lie on layers.
pub fn volume_name(server: &ServerId) -> String {
    format!("roost-{server}-data")
}

/// Name of the network.
pub fn network_name(server: &ServerId) -> String {
    format!("roost-{server}")
}

fn hash(parts: &impl std::fmt::Debug) -> String {
    hex::encode(&Sha256::digest(format!("{parts:?}"))[..12])
}

/// Refuses what cannot be carried out here, before anything is made.
pub fn check(spec: &InstanceSpec) -> Result<(), StepError> {
    let no = |why: &str| Err(StepError::Spec(why.to_owned()));
    if let Some(odd) = spec.capabilities.iter().find(|name| !CAPABILITIES_ALLOWED.contains(&name.as_str())) {
        return Err(StepError::Spec(format!("the capability {odd} is not allowed to games")));
    }
    if !spec.data_path.starts_with('/') || spec.data_path == "/" || spec.data_path.split('/').any(|part| part == "..") {
        return no("the data folder has to be an absolute path inside the container");
    }
    if spec.ports.is_empty() {
        return no("it has no ports");
    }
    if spec.env.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) || spec.env.values().any(|value| value.contains('\0')) {
        return no("an environment variable has a name or value that cannot be passed on");
    }
    if spec.image.is_empty() || spec.image.starts_with('-') || spec.image.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return no("the image reference is not one");
    }
    if spec.user.as_deref().is_some_and(|user| ids(user).is_none()) {
        return no("the owner of the data folder has to be written as uid:gid");
    }
    if spec.memory_mib == 0 || spec.cpu_millis == 0 {
        return no("its plan gives it no memory or no CPU");
    }
    Ok(())
}

/// Reads `uid:gid`.
pub fn ids(user: &str) -> Option<(u32, u32)> {
    let (uid, gid) = user.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// All of this machine, in thousandths of a core: Docker refuses a container that is promised more.
fn machine_millis() -> i64 {
    std::thread::available_parallelism().ok().and_then(|cores| i64::try_from(cores.get()).ok()).map_or(1_000, |cores| cores * 1_000)
}

impl Worker {
    pub(super) fn spec(&self) -> Result<InstanceSpec, StepError> {
        self.record.spec.clone().ok_or(StepError::NotPrepared)
    }

    pub(super) fn subnet(&self, spec: &InstanceSpec) -> Result<Subnet, StepError> {
        let none =
            || StepError::Spec(format!("network number {} is past the end of the pool {}", spec.subnet, self.ctx.config.subnet_pool));
        self.ctx.pool.subnet(spec.subnet).ok_or_else(none)
    }

    pub(super) fn labels(&self, part: &str, revision: &str) -> HashMap<String, String> {
        let all = [
            (LABEL_PANEL, self.record.panel.as_str()),
            (LABEL_NODE, self.ctx.config.node.as_str()),
            (LABEL_SERVER, self.record.server.as_str()),
            (LABEL_PART, part),
            (LABEL_REVISION, revision),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The game's container as it has to be, with the hash of all that in its label.
    pub(super) fn game_plan(&self, spec: &InstanceSpec) -> Result<(ContainerPlan, String), StepError> {
        let subnet = self.subnet(spec)?;
        let mut plan = ContainerPlan {
            name: game_name(&spec.server),
            image: spec.image.clone(),
            args: spec.args.clone(),
            env: spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            user: None,
            labels: HashMap::new(),
            network: network_name(&spec.server),
            address: subnet.game().to_string(),
            publish: Vec::new(),
            bind_host: String::new(),
            mounts: self.mounts(spec),
            capabilities: spec.capabilities.clone(),
            nano_cpus: Some(i64::from(spec.cpu_millis).min(machine_millis()) * 1_000_000),
            memory: i64::from(spec.memory_mib) << 20,
            pids: GAME_PIDS,
            descriptors: self.ctx.bounds_refused.descriptors().then_some(GAME_DESCRIPTORS),
            disk: self.ctx.disk_bound(),
            read_only: spec.read_only,
            keeps_running: false,
            stdin: true,
            tty: spec.tty.then_some(TTY_WINDOW),
            init: INITS.iter().any(|path| std::path::Path::new(path).exists()),
            log_files: GAME_LOG,
        };
        let revision = hash(&(&plan, self.data_made_of()));
        plan.labels = self.labels("game", &revision);
        Ok((plan, revision))
    }

    fn door_config(&self, spec: &InstanceSpec) -> Result<DoorConfig, StepError> {
        let game = self.subnet(spec)?.game();
        let routes = spec.ports.iter().map(|port| Route {
            listen: format!("0.0.0.0:{}", port.public),
            protocol: port.protocol,
            target: format!("{game}:{}", port.inside),
            door: spec.door.clone(),
        });
        Ok(DoorConfig {
            servers: vec![DoorServer {
                server: spec.server.clone(),
                agent: format!("unix:{FOLDER}/{SOCKET_FILE}"),
                state_file: Some(format!("{FOLDER}/{STATE_FILE}")),
                secret: self.record.secret.clone(),
                hold_secs: self.ctx.config.hold_secs,
                routes: routes.collect(),
            }],
        })
    }

    fn door_plan(&self, spec: &InstanceSpec, image: String) -> Result<ContainerPlan, StepError> {
        let subnet = self.subnet(spec)?;
        Ok(ContainerPlan {
            name: door_name(&spec.server),
            image,
            args: Vec::new(),
            env: Vec::new(),
            user: Some(Ctx::door_user()),
            labels: HashMap::new(),
            network: network_name(&spec.server),
            address: subnet.door().to_string(),
            publish: spec.ports.iter().map(|port| format!("{}/{}", port.public, port.protocol.as_str())).collect(),
            bind_host: self.ctx.config.bind_host.clone(),
            mounts: vec![NewMount {
                source: self.instance.folder.door().to_string_lossy().into_owned(),
                target: FOLDER.to_owned(),
                read_only: true,
                volume: false,
            }],
            capabilities: Vec::new(),
            nano_cpus: None,
            memory: DOOR_MEMORY,
            pids: DOOR_PIDS,
            // It fits itself to what it gets.
            descriptors: None,
            disk: None,
            read_only: true,
            keeps_running: true,
            stdin: false,
            tty: None,
            init: false,
            log_files: DOOR_LOG,
        })
    }

    /// The server's own bridge with its own addresses.
    pub(super) async fn ensure_network(&mut self, spec: &InstanceSpec) -> Result<(), StepError> {
        let (name, subnet) = (network_name(&spec.server), self.subnet(spec)?);
        match self.ctx.engine.network(&name).await? {
            Some(facts) if facts.subnet == subnet.cidr() => return Ok(()),
            Some(_) => {
                // Containers hold on to the old network: they are made anew after it, and nobody's game is cut off in the middle.
                self.end_game(None).await?;
                self.remove_containers().await?;
                self.ctx.engine.remove_network(&name).await?;
            }
            None => {}
        }
        let labels = self.labels("network", &subnet.cidr());
        for wait_ms in UNDER_WAY_MS {
            let gateway = subnet.gateway().to_string();
            match self.ctx.engine.create_network(&name, &subnet.cidr(), &gateway, labels.clone()).await {
                Err(error) if error.words().contains("overlap") => {
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    // Made by Docker for an agent that was killed while it asked.
                    if self.ctx.engine.network(&name).await?.is_some_and(|facts| facts.subnet == subnet.cidr()) {
                        return Ok(());
                    }
                }
                other => return Ok(other?),
            }
        }
        // The panel hears of it with the next heartbeat, and gives this server other addresses.
        self.ctx.note_subnet_taken(spec.subnet);
        Err(StepError::RangeTaken { subnet: subnet.cidr() })
    }

    /// Writes what the sidecar is started with; true: something in it changed.
    pub(super) async fn write_door_folder(&mut self, spec: &InstanceSpec) -> Result<(), StepError> {
        let config = self.door_config(spec)?;
        let text = serde_json::to_vec(&config).map_err(|error| StepError::Spec(error.to_string()))?;
        let (folder, owner) = (self.instance.folder.door(), Ctx::door_owner());
        let write = move || {
            record::make_private(&folder)?;
            if let Some((uid, gid)) = owner {
                std::os::unix::fs::chown(&folder, Some(uid), Some(gid))?;
            }
            let path = folder.join(CONFIG_FILE);
            if std::fs::read(&path).is_ok_and(|old| old == text) {
                return Ok(());
            }
            record::replace(&path, &text, 0o600, owner, true)
        };
        self.ctx.blocking("write the door's folder", write).await
    }

    /// The sidecar, running. One that is out of date is left alone while somebody plays through it.
    pub(super) async fn ensure_door(&mut self, spec: &InstanceSpec) -> Result<(), StepError> {
        let name = door_name(&spec.server);
        let image = self.ctx.door_image().await?;
        self.write_door_folder(spec).await?;
        let mut plan = self.door_plan(spec, image)?;
        let revision = hash(&(&plan, self.door_config(spec)?));
        plan.labels = self.labels("door", &revision);
        if let Some(door) = self.ctx.engine.inspect(&name).await? {
            let right = door.labels.get(LABEL_REVISION) == Some(&revision);
            let game_up = matches!(self.seen, Seen::Running { .. } | Seen::Starting { .. });
            let in_use = door.running && game_up && self.instance.players(self.now()) != Players::Known(0);
            if door.running && (right || in_use) {
                return Ok(());
            }
            if !right {
                self.ctx.engine.remove(&name).await?;
            }
        }
        // Kept when it was right but ended: then making it says that it exists.
        match self.ctx.engine.create(&plan).await {
            Ok(()) | Err(DockerError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match self.ctx.engine.start(&name).await {
            Ok(()) => {
                // Who is told that it is prepared may knock at once.
                if let Some(pid) = self.ctx.engine.inspect(&name).await?.and_then(|door| door.pid) {
                    super::listens::wait(pid, &spec.ports).await;
                }
                Ok(())
            }
            Err(error) => {
                // Docker leaves half-opened ports with a container that did not start.
                let _removed = self.ctx.engine.remove(&name).await;
                Err(port_taken(&error).unwrap_or(StepError::Docker(error)))
            }
        }
    }

    /// The game's container as described, not running unless it was.
    pub(super) async fn ensure_game(&mut self, spec: &InstanceSpec) -> Result<(), StepError> {
        let (plan, revision) = self.game_plan(spec)?;
        let mut made = Err(DockerError::Slow);
        for wait_ms in UNDER_WAY_MS {
            if let Some(game) = self.ctx.engine.inspect(&plan.name).await? {
                let label = game.labels.get(LABEL_REVISION).cloned();
                if game.running || label.as_ref() == Some(&revision) {
                    self.game_made = label;
                    return Ok(());
                }
                self.ctx.engine.remove(&plan.name).await?;
            }
            made = self.ctx.engine.create(&plan).await;
            match made {
                // The name is taken though nobody had it: Docker makes it for an agent that was killed while it asked.
                Err(DockerError::Conflict(_)) => tokio::time::sleep(Duration::from_millis(wait_ms)).await,
                Ok(()) | Err(_) => break,
            }
        }
        made?;
        self.game_made = Some(revision);
        Ok(())
    }

    pub(super) async fn remove_containers(&mut self) -> Result<(), StepError> {
        self.game_made = None;
        self.ctx.engine.remove(&game_name(&self.record.server)).await?;
        self.ctx.engine.remove(&door_name(&self.record.server)).await?;
        *locked(&self.instance.sample) = None;
        Ok(())
    }
}

/// Docker's words about a port that somebody has, read for the number.
fn port_taken(error: &DockerError) -> Option<StepError> {
    let words = error.words();
    if !words.contains("address already in use") && !words.contains("port is already allocated") {
        return None;
    }
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let mut numbers =
        words.split(':').map(|part| digits(part.trim_start())).filter(|number| number.parse::<u16>().is_ok_and(|port| port > 0));
    // `... for 0.0.0.0:25001: bind: ...` and `listen tcp 0.0.0.0:25001: bind: ...`: the number after a colon that ends at one.
    let port = numbers.next_back().unwrap_or_default();
    Some(StepError::PortTaken { port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taken_port_is_named() {
        for words in [
            "driver failed programming external connectivity on endpoint roost-x-door (0a1b): Error starting userland proxy: listen tcp4 0.0.0.0:25001: bind: address already in use",
            "driver failed programming external connectivity on endpoint roost-x-door (0a1b): Bind for 0.0.0.0:25001 failed: port is already allocated",
            "failed to bind host port for 0.0.0.0:25001:10.83.0.2:25001/tcp: address already in use",
        ] {
            let error = DockerError::Refused { status: 500, message: words.to_owned() };
            assert!(matches!(port_taken(&error), Some(StepError::PortTaken { port }) if port == "25001"), "{words}");
        }
        assert!(port_taken(&DockerError::Refused { status: 500, message: "other".to_owned() }).is_none());
    }
}
