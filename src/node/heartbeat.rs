//! The heartbeat: every few seconds how the machine does and what every server is seen to be, with a fresh measurement of each
//! running game. On the way it finds what nobody told: containers that went or came behind our back, and orphans.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::agent::Agent;
use super::ctx::{LABEL_PART, LABEL_SERVER};
use super::docker::{DockerError, Listed};
use super::machine::Meter;
use super::samples::Meters;
use crate::model::ids::ServerId;
use crate::model::nodes::{CACHED_MAX, CacheLoad, CachedLayer};
use crate::model::servers::Seen;
use crate::wire::agent::{FromNode, HEARTBEAT_SECS};

/// Longest wait for Docker's list.
const LIST_WAIT: Duration = Duration::from_secs(4);
/// Longest wait for the packet filter.
const FIREWALL_WAIT: Duration = Duration::from_secs(3);
/// Longest time for all measurements together.
const MEASURE_WAIT: Duration = Duration::from_secs(2);
/// Between two looks for networks that nobody knows.
const NETWORKS_EVERY: Duration = Duration::from_mins(1);
/// Between two looks at what is in the cache of templates.
const CACHE_EVERY: Duration = Duration::from_secs(15);

/// What a list shows of one server.
#[derive(Debug, Default, Clone, Copy)]
struct Parts {
    game: bool,
    game_runs: bool,
    door_runs: bool,
}

struct Heart {
    agent: Arc<Agent>,
    meter: Meter,
    meters: Meters,
    networks_at: Option<Instant>,
    looked_at: Option<Instant>,
    away: bool,
    cache_looked: Option<Instant>,
    cached: Vec<CachedLayer>,
}

/// Beats until the agent ends.
pub async fn beat(agent: Arc<Agent>) {
    let stop = agent.ctx.stop.clone();
    let mut heart = Heart {
        agent,
        meter: Meter::default(),
        meters: Meters::default(),
        networks_at: None,
        looked_at: None,
        away: false,
        cache_looked: None,
        cached: Vec::new(),
    };
    let beats = async {
        heart.agent.register().await;
        let mut ticks = interval(Duration::from_secs(HEARTBEAT_SECS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = heart.agent.hurry.notified() => {}
            }
            heart.once().await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = beats => {}
    }
}

impl Heart {
    async fn once(&mut self) {
        let agent = Arc::clone(&self.agent);
        let ctx = &agent.ctx;
        let listed = self.list().await;
        // Without a panel's word it is not known which servers are meant.
        let complete = listed.is_ok() && ctx.panel().is_some();
        if let Ok(listed) = &listed {
            self.compare(listed);
            self.networks().await;
        }
        agent.servers.sweep();
        let data_dir = ctx.config.data_dir.clone();
        let (mut load, disk) = self.meter.load(&data_dir);
        load.trouble = match &listed {
            Err(error) => Some(error.to_string()),
            Ok(_) => self.trouble().await.or(disk),
        };
        load.cache = self.cache().await;
        load.aside = *ctx.aside.lock().unwrap_or_else(PoisonError::into_inner);
        load.subnets_taken = ctx.subnets_taken();
        let measured_by = Instant::now() + MEASURE_WAIT;
        let mut instances = Vec::new();
        for instance in agent.servers.list() {
            let view = instance.view();
            // An engine that dawdles costs samples, not the heartbeat.
            let measure = timeout_at(measured_by, self.meters.measure(ctx, &instance, &view));
            let sample = if complete { measure.await.unwrap_or_default() } else { None };
            *instance.sample.lock().unwrap_or_else(PoisonError::into_inner) = sample;
            instances.push(instance.report());
        }
        let known: HashSet<ServerId> = instances.iter().map(|report| report.server.clone()).collect();
        self.meters.keep(|server| known.contains(server));
        let beat = FromNode::Heartbeat { at: ctx.clock.now(), load, complete, instances };
        // A panel that does not listen gets the next one.
        let _taken = ctx.outbox.send_timeout(beat, Duration::from_secs(HEARTBEAT_SECS)).await;
    }

    /// The cache of templates. What is in it is looked at now and then: it lies on the disk.
    async fn cache(&mut self) -> Option<CacheLoad> {
        let ctx = &self.agent.ctx;
        let layers = ctx.layers.get()?;
        let counts = layers.counts();
        if self.cache_looked.is_none_or(|at| at.elapsed() >= CACHE_EVERY) {
            self.cache_looked = Some(Instant::now());
            if let Ok(cached) = layers.cached().await {
                let cached = cached.into_iter().take(CACHED_MAX);
                self.cached = cached
                    .map(|cached| CachedLayer {
                        template: cached.layer.template,
                        version: cached.layer.version,
                        bytes: cached.bytes,
                        in_use: cached.in_use,
                    })
                    .collect();
            }
        }
        let purged = ctx.purged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(CacheLoad {
            way: layers.way().to_string(),
            dev_mode: layers.dev_mode(),
            hits: counts.hits,
            misses: counts.misses,
            layers: self.cached.clone(),
            purged,
        })
    }

    /// What keeps servers from being prepared here, beside Docker and the disk.
    async fn trouble(&self) -> Option<String> {
        let ctx = &self.agent.ctx;
        if let Err(error) = ctx.proxy().await {
            return Some(error.to_string());
        }
        match timeout(FIREWALL_WAIT, ctx.firewall.ensure()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("The packet filter takes very long to answer; see how busy the machine is".to_owned()),
        }
    }

    async fn list(&mut self) -> Result<Vec<Listed>, DockerError> {
        let ctx = &self.agent.ctx;
        let ask = async {
            match ctx.panel_label() {
                Some(label) => ctx.engine.list(&label).await,
                None => ctx.engine.version().await.map(|_| Vec::new()),
            }
        };
        let listed = timeout(LIST_WAIT, ask).await.unwrap_or(Err(DockerError::Slow));
        // What another agent of this panel runs on the same engine is not ours to judge.
        let listed = listed.map(|listed| listed.into_iter().filter(|container| ctx.owns(&container.labels)).collect::<Vec<_>>());
        if listed.is_err() {
            ctx.engine.forget();
        }
        if listed.is_ok() && std::mem::replace(&mut self.away, listed.is_err()) {
            self.looked_at = None;
            // It is another engine now, perhaps: say anew what this machine has.
            let agent = Arc::clone(&self.agent);
            self.agent.ctx.tasks.spawn(async move {
                tokio::select! {
                    () = agent.ctx.stop.cancelled() => {}
                    () = agent.register() => {}
                }
            });
        }
        self.away = listed.is_err();
        listed
    }

    /// Where the list differs from what is known, the server's worker looks.
    fn compare(&mut self, listed: &[Listed]) {
        let mut parts: HashMap<ServerId, Parts> = HashMap::new();
        for container in listed {
            let Some(server) = container.labels.get(LABEL_SERVER).and_then(|text| text.parse::<ServerId>().ok()) else { continue };
            let parts = parts.entry(server).or_default();
            match container.labels.get(LABEL_PART).map(String::as_str) {
                Some("game") => (parts.game, parts.game_runs) = (true, container.running),
                Some("door") => parts.door_runs = container.running,
                Some(_) | None => {}
            }
        }
        for server in parts.keys() {
            self.agent.remove_orphan(server);
        }
        let everyone = self.looked_at.is_none_or(|at| at.elapsed() >= self.agent.ctx.config.look_every);
        if everyone {
            self.looked_at = Some(Instant::now());
        }
        let now = self.agent.ctx.clock.now();
        for instance in self.agent.servers.list() {
            let seen = parts.get(&instance.server).copied().unwrap_or_default();
            if seen.game_runs {
                instance.show(|view| view.alive_at = Some(now));
            }
            let view = instance.view();
            let as_known = match view.report.seen {
                Seen::Running { .. } | Seen::Starting { .. } => seen.game_runs && seen.door_runs,
                Seen::Asleep => seen.game && !seen.game_runs && seen.door_runs,
                Seen::Exited { .. } => seen.game && !seen.game_runs,
                Seen::Absent => !seen.game_runs,
                Seen::Gone => true,
                Seen::Unknown => false,
            };
            if !as_known || (everyone && !view.gone) {
                instance.look_soon();
            }
        }
    }

    /// Networks of servers that nobody knows: what a removal that was broken off has left.
    async fn networks(&mut self) {
        if self.networks_at.is_some_and(|at| at.elapsed() < NETWORKS_EVERY) {
            return;
        }
        self.networks_at = Some(Instant::now());
        let Some(label) = self.agent.ctx.panel_label() else { return };
        let Ok(networks) = self.agent.ctx.engine.networks(&label).await else { return };
        for (_, labels) in networks.into_iter().filter(|(_, labels)| self.agent.ctx.owns(labels)) {
            if let Some(server) = labels.get(LABEL_SERVER).and_then(|text| text.parse::<ServerId>().ok()) {
                self.agent.remove_orphan(&server);
            }
        }
    }
}
