//! Containers: made from a plan, started, looked at, ended, removed. Every call may be made twice.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerSummaryStateEnum, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig,
    Mount, MountType, MountVolumeOptions, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
    ThrottleDevice,
};
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, ListContainersOptions, RemoveContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;

use super::{DockerError, Engine};
use crate::model::time::Millis;
use crate::node::stamps;

/// Tries to let a container go on, and the wait between two of them.
const UNPAUSE_TRIES: u32 = 20;
const UNPAUSE_WAIT: Duration = Duration::from_millis(50);

/// Most bytes in the `/tmp` of a container whose root is read-only. They count as its memory.
const TMP_BYTES: u64 = 64 << 20;

/// A folder of the host or a volume, mounted into a container.
#[derive(Debug, Clone)]
pub struct NewMount {
    /// On the host, absolute.
    pub source: String,
    /// In the container, absolute.
    pub target: String,
    /// The container may only read.
    pub read_only: bool,
    /// The source is the name of a volume.
    pub volume: bool,
}

/// How fast a container may read and write on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskBound {
    /// Its device, such as `/dev/sda`.
    pub device: String,
    /// Bytes in a second.
    pub read: i64,
    /// Bytes in a second.
    pub write: i64,
}

impl DiskBound {
    fn rate(&self, bytes: i64) -> ThrottleDevice {
        ThrottleDevice { path: Some(self.device.clone()), rate: Some(bytes) }
    }
}

fn ulimit(name: &str, most: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(most), hard: Some(most) }
}

/// A container to be made. All limits are given: nothing is left to Docker's defaults.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is one of Docker's own switches")]
pub struct ContainerPlan {
    /// Its name.
    pub name: String,
    /// Image reference, present on this machine.
    pub image: String,
    /// Arguments; empty: the image's own.
    pub args: Vec<String>,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
    /// `uid:gid`; none: the image's own.
    pub user: Option<String>,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Name of its network.
    pub network: String,
    /// Its address there.
    pub address: String,
    /// Public ports, `25001/tcp`, opened on the host under the same number.
    pub publish: Vec<String>,
    /// Address of the host for them.
    pub bind_host: String,
    /// Mounts.
    pub mounts: Vec<NewMount>,
    /// Capabilities left to it.
    pub capabilities: Vec<String>,
    /// Billionths of a core; none: no limit.
    pub nano_cpus: Option<i64>,
    /// Bytes of memory; swap is not given on top.
    pub memory: i64,
    /// Most processes and threads.
    pub pids: i64,
    /// Most open files of one process; none: the engine's own.
    pub descriptors: Option<i64>,
    /// Disk on which it may read and write so many bytes in a second; none: no limit.
    pub disk: Option<DiskBound>,
    /// Read-only root, with a `/tmp` in memory.
    pub read_only: bool,
    /// Docker brings it back after a restart of the machine, unless it was ended.
    pub keeps_running: bool,
    /// Standard input stays open.
    pub stdin: bool,
    /// Columns and rows of its terminal's window; none: it has no terminal.
    pub tty: Option<(u16, u16)>,
    /// A small init reaps children and passes signals on.
    pub init: bool,
    /// What was agreed on the log: largest file, in bytes, and how many.
    pub log_files: (u64, u32),
}

/// What Docker says of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one of Docker's own words")]
pub struct Container {
    /// Docker's id.
    pub id: String,
    /// Its process runs, or is held still.
    pub running: bool,
    /// Its process is held still.
    pub paused: bool,
    /// Its process on the host, while it runs.
    pub pid: Option<i64>,
    /// Last start as Docker writes it; the same text is the same start.
    pub started: String,
    /// Last start; none: never.
    pub started_at: Option<Millis>,
    /// Last end; none: never.
    pub finished_at: Option<Millis>,
    /// Of the last end.
    pub exit_code: i64,
    /// The engine could not start it the last time: what it says of an end is not the game's.
    pub unstarted: bool,
    /// The kernel killed it, or a part of it, for its memory.
    pub oom: bool,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// It has a terminal.
    pub tty: bool,
    /// Names of the networks that it is connected to.
    pub networks: Vec<String>,
}

/// A line of the list of containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Docker's id.
    pub id: String,
    /// Its process runs.
    pub running: bool,
    /// Labels.
    pub labels: HashMap<String, String>,
}

fn host_config(plan: &ContainerPlan) -> HostConfig {
    let bindings = plan.publish.iter().map(|port| {
        let number = port.split('/').next().unwrap_or_default().to_owned();
        (port.clone(), Some(vec![PortBinding { host_ip: Some(plan.bind_host.clone()), host_port: Some(number) }]))
    });
    let mounts = plan.mounts.iter().map(|mount| Mount {
        target: Some(mount.target.clone()),
        source: Some(mount.source.clone()),
        typ: Some(if mount.volume { MountType::VOLUME } else { MountType::BIND }),
        read_only: Some(mount.read_only),
        // What the image has at that place stays in the image.
        volume_options: mount.volume.then(|| MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    });
    let (log_bytes, log_count) = plan.log_files;
    let log = HashMap::from([("max-size".to_owned(), log_bytes.to_string()), ("max-file".to_owned(), log_count.to_string())]);
    let restart = if plan.keeps_running { RestartPolicyNameEnum::UNLESS_STOPPED } else { RestartPolicyNameEnum::NO };
    HostConfig {
        privileged: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(plan.capabilities.clone()),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        nano_cpus: plan.nano_cpus,
        memory: Some(plan.memory),
        memory_swap: Some(plan.memory),
        pids_limit: Some(plan.pids),
        // No memory dumps either: they would fill the data folder.
        ulimits: Some(plan.descriptors.map(|most| ulimit("nofile", most)).into_iter().chain([ulimit("core", 0)]).collect()),
        blkio_device_read_bps: plan.disk.as_ref().map(|disk| vec![disk.rate(disk.read)]),
        blkio_device_write_bps: plan.disk.as_ref().map(|disk| vec![disk.rate(disk.write)]),
        readonly_rootfs: Some(plan.read_only),
        tmpfs: plan.read_only.then(|| HashMap::from([("/tmp".to_owned(), format!("rw,nosuid,nodev,size={TMP_BYTES}"))])),
        init: plan.init.then_some(true),
        mounts: Some(mounts.collect()),
        port_bindings: Some(bindings.collect()),
        network_mode: Some(plan.network.clone()),
        restart_policy: Some(RestartPolicy { name: Some(restart), maximum_retry_count: None }),
        // Engines of before API 1.42 do not know it yet: they are told when it runs.
        console_size: plan.tty.map(|(columns, rows)| vec![usize::from(rows), usize::from(columns)]),
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(log) }),
        ..HostConfig::default()
    }
}

fn body(plan: &ContainerPlan) -> ContainerCreateBody {
    let place = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig { ipv4_address: Some(plan.address.clone()), ..EndpointIpamConfig::default() }),
        ..EndpointSettings::default()
    };
    ContainerCreateBody {
        image: Some(plan.image.clone()),
        cmd: (!plan.args.is_empty()).then(|| plan.args.clone()),
        env: Some(plan.env.clone()),
        user: plan.user.clone(),
        labels: Some(plan.labels.clone()),
        exposed_ports: Some(plan.publish.clone()),
        open_stdin: Some(plan.stdin),
        tty: Some(plan.tty.is_some()),
        // Whether a game can be played is asked through its players' way, and nobody reads what an image would run every few seconds.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(host_config(plan)),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(plan.network.clone(), place)])) }),
        ..ContainerCreateBody::default()
    }
}

impl Engine {
    /// Makes a container; it does not run yet.
    pub async fn create(&self, plan: &ContainerPlan) -> Result<(), DockerError> {
        let options = CreateContainerOptions { name: Some(plan.name.clone()), platform: String::new() };
        self.docker().await?.create_container(Some(options), body(plan)).await.map_err(|error| self.told(error))?;
        Ok(())
    }

    /// Starts a container; one that runs already stays as it is.
    pub async fn start(&self, name: &str) -> Result<(), DockerError> {
        self.docker().await?.start_container(name, None).await.map_err(|error| self.told(error))
    }

    /// Sends a signal; a container that does not run is none's business any more.
    pub async fn kill(&self, name: &str, signal: &str) -> Result<(), DockerError> {
        let options = KillContainerOptions { signal: signal.to_owned() };
        match self.docker().await?.kill_container(name, Some(options)).await.map_err(|error| self.told(error)) {
            Err(DockerError::NotFound(_) | DockerError::Conflict(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Holds all processes of a container still. False: it does not run, or is held already.
    pub async fn pause(&self, name: &str) -> Result<bool, DockerError> {
        match self.docker().await?.pause_container(name).await.map_err(|error| self.told(error)) {
            Ok(()) => Ok(true),
            Err(DockerError::NotFound(_) | DockerError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets a container go on that was held still; one that is not stays as it is.
    pub async fn unpause(&self, name: &str) -> Result<(), DockerError> {
        let mut told = Err(DockerError::Slow);
        for _ in 0..UNPAUSE_TRIES {
            told = self.docker().await?.unpause_container(name).await.map_err(|error| self.told(error));
            if told.is_ok() || !self.inspect(name).await?.is_some_and(|container| container.paused) {
                return Ok(());
            }
            // Right after a pause, Docker may not find it paused yet.
            tokio::time::sleep(UNPAUSE_WAIT).await;
        }
        told
    }

    /// Waits until a container does not run, at most so long. True: it does not.
    pub async fn wait_end(&self, name: &str, at_most: Duration) -> Result<bool, DockerError> {
        let docker = self.docker().await?;
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut ends = Box::pin(docker.wait_container(name, Some(options)));
        // The answer's content is an exit code, which bollard turns into an error when it is not 0: the look below tells.
        let _end = tokio::time::timeout(at_most, ends.next()).await;
        Ok(self.inspect(name).await?.is_none_or(|container| !container.running))
    }

    /// Removes a container, running or not.
    pub async fn remove(&self, name: &str) -> Result<(), DockerError> {
        let options = RemoveContainerOptions { force: true, v: true, link: false };
        match self.docker().await?.remove_container(name, Some(options)).await.map_err(|error| self.told(error)) {
            Err(DockerError::NotFound(_)) | Ok(()) => Ok(()),
            // Docker says 409 while another request removes it: wait for that one.
            Err(DockerError::Conflict(words)) if words.contains("already in progress") => self.wait_gone(name).await,
            Err(error) => Err(error),
        }
    }

    async fn wait_gone(&self, name: &str) -> Result<(), DockerError> {
        for wait_ms in [20_u64, 50, 100, 200, 500, 1_000, 2_000] {
            if self.inspect(name).await?.is_none() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        Err(DockerError::Slow)
    }

    /// Looks at one container; none: it does not exist.
    pub async fn inspect(&self, name: &str) -> Result<Option<Container>, DockerError> {
        let said = match self.docker().await?.inspect_container(name, None).await.map_err(|error| self.told(error)) {
            Err(DockerError::NotFound(_)) => return Ok(None),
            other => other?,
        };
        let (state, config) = (said.state.unwrap_or_default(), said.config.unwrap_or_default());
        let started = state.started_at.unwrap_or_default();
        Ok(Some(Container {
            id: said.id.unwrap_or_default(),
            running: state.running.unwrap_or_default(),
            paused: state.paused.unwrap_or_default(),
            pid: state.pid.filter(|pid| *pid > 0),
            started_at: stamps::millis(&started),
            started,
            finished_at: state.finished_at.as_deref().and_then(stamps::millis),
            exit_code: state.exit_code.unwrap_or_default(),
            unstarted: state.error.is_some_and(|words| !words.is_empty()),
            oom: state.oom_killed.unwrap_or_default(),
            tty: config.tty.unwrap_or_default(),
            labels: config.labels.unwrap_or_default(),
            networks: said.network_settings.and_then(|net| net.networks).unwrap_or_default().into_keys().collect(),
        }))
    }

    /// Where on this machine lies what a container has written beside its mounts; none: it may not write there, or Docker does not say.
    pub async fn written_folder(&self, name: &str) -> Result<Option<PathBuf>, DockerError> {
        let said = match self.docker().await?.inspect_container(name, None).await.map_err(|error| self.told(error)) {
            Err(DockerError::NotFound(_)) => return Ok(None),
            other => other?,
        };
        let read_only = said.host_config.and_then(|config| config.readonly_rootfs).unwrap_or_default();
        let folder = said.graph_driver.and_then(|mut driver| driver.data.remove("UpperDir"));
        Ok(folder.filter(|_| !read_only).map(PathBuf::from))
    }

    /// All containers with this label.
    pub async fn list(&self, label: &str) -> Result<Vec<Listed>, DockerError> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        let said = self.docker().await?.list_containers(Some(options)).await.map_err(|error| self.told(error))?;
        let listed = said.into_iter().map(|container| Listed {
            id: container.id.unwrap_or_default(),
            running: matches!(container.state, Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)),
            labels: container.labels.unwrap_or_default(),
        });
        Ok(listed.collect())
    }
}
