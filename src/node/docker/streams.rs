//! What flows: events, standard input, and one-shot statistics. What a game writes is in `flow`.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use bollard::query_parameters::{AttachContainerOptions, EventsOptions, ResizeContainerTTYOptions, StatsOptions};
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWriteExt;

use super::{DockerError, Engine};
use crate::model::time::Millis;

/// Something happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// `die`, `destroy`, `oom`, `start`.
    pub action: String,
    /// Labels of the container and facts of the event, as Docker mixes them.
    pub attributes: HashMap<String, String>,
    /// When, by Docker's clock.
    pub at: Option<Millis>,
}

/// Longest wait for a line to be taken by the game's standard input.
const STDIN_SECS: u64 = 5;
/// Longest wait for one measurement.
const STATS_SECS: u64 = 3;

impl Engine {
    /// Ends and removals of containers with this label, from now on.
    pub async fn events<'a>(&'a self, label: &str) -> Result<Flow<'a, ContainerEvent>, DockerError> {
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![label.to_owned()]),
            ("event".to_owned(), ["die", "destroy", "oom", "start"].map(str::to_owned).to_vec()),
        ]);
        let docker = self.docker().await?;
        let options = EventsOptions { filters: Some(filters), ..EventsOptions::default() };
        let events = docker.events(Some(options)).map(move |event| match event {
            Ok(said) => Ok(ContainerEvent {
                action: said.action.unwrap_or_default(),
                at: said.time_nano.map(|ns| Millis(ns / 1_000_000)),
                attributes: said.actor.and_then(|actor| actor.attributes).unwrap_or_default(),
            }),
            Err(error) => Err(self.told(error)),
        });
        Ok(Box::pin(events))
    }

    /// Writes to the standard input of a running container.
    pub async fn write_stdin(&self, name: &str, bytes: &[u8]) -> Result<(), DockerError> {
        let options = AttachContainerOptions { stdin: true, stream: true, ..AttachContainerOptions::default() };
        let docker = self.docker().await?;
        let write = async {
            let mut attached = docker.attach_container(name, Some(options)).await?;
            attached.input.write_all(bytes).await?;
            attached.input.flush().await?;
            attached.input.shutdown().await?;
            Ok::<(), bollard::errors::Error>(())
        };
        let written = tokio::time::timeout(Duration::from_secs(STDIN_SECS), write).await.map_err(|_| DockerError::Slow)?;
        written.map_err(|error| self.told(error))
    }

    /// Tells the terminal of a running container how large its window is.
    pub async fn resize(&self, name: &str, (columns, rows): (u16, u16)) -> Result<(), DockerError> {
        let options = ResizeContainerTTYOptions { w: i32::from(columns), h: i32::from(rows) };
        self.docker().await?.resize_container_tty(name, options).await.map_err(|error| self.told(error))
    }

    /// Nanoseconds of CPU used since the start, and bytes of memory without caches. None: not measured.
    pub async fn usage(&self, name: &str) -> Result<(Option<u64>, Option<u64>), DockerError> {
        let docker = self.docker().await?;
        let options = StatsOptions { stream: false, one_shot: true };
        let mut stats = Box::pin(docker.stats(name, Some(options)));
        let said = tokio::time::timeout(Duration::from_secs(STATS_SECS), stats.next()).await.map_err(|_| DockerError::Slow)?;
        let said = said.ok_or(DockerError::Slow)?.map_err(|error| self.told(error))?;
        let cpu = said.cpu_stats.and_then(|cpu| cpu.cpu_usage).and_then(|usage| usage.total_usage).filter(|ns| *ns > 0);
        let memory = said.memory_stats.and_then(|memory| {
            let stats = memory.stats.unwrap_or_default();
            let cached = stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")).copied().unwrap_or_default();
            memory.usage.map(|usage| usage.saturating_sub(cached))
        });
        Ok((cpu, memory))
    }
}

/// A stream of Docker's that lives as long as its engine's handle.
pub type Flow<'a, T> = Pin<Box<dyn Stream<Item = Result<T, DockerError>> + Send + 'a>>;
