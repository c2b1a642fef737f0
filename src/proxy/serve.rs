//! Puts the sidecar together: checks the configuration, binds every port, runs until told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::time::{Instant, sleep};

use super::activity;
use super::agent::{Agent, Place};
use super::bounds::{BACKLOG, Bounds, FAREWELL_WITHIN};
use super::games::{Helper, Secret};
use super::gate::{Gate, Parts};
use super::log::Log;
use super::pipes::Workbench;
use super::tasks::Tasks;
use super::tcp::TcpRoute;
use super::udp::UdpRoute;
use crate::model::games::Protocol;
use crate::model::time::Clock;
use crate::wire::door::{DoorConfig, DoorServer};

/// Longest hold that a configuration may ask for, in seconds.
const HOLD_SECS_MAX: u32 = 3_600;
/// Bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Descriptors left for everything but connections.
const DESCRIPTORS_SPARE: u64 = 256;
/// Silence on a connection before the kernel asks whether the other side is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);

/// Why the sidecar cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Nothing to serve.
    #[error("no server in the configuration")]
    Nothing,
    /// A value of the configuration is not what it should be.
    #[error("{server}: bad {what}")]
    Config {
        /// Whose.
        server: String,
        /// Which value.
        what: &'static str,
    },
    /// A port cannot be bound.
    #[error("cannot listen on {listen}: {source}")]
    Bind {
        /// Which.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No random bytes.
    #[error("no random bytes")]
    Chance,
}

enum Bound {
    Tcp(Arc<TcpRoute>, TcpListener),
    Udp(Arc<UdpRoute>),
}

/// The sidecar with all its ports bound, not yet serving.
pub struct Proxy {
    gates: Vec<Arc<Gate>>,
    routes: Vec<Bound>,
    addresses: Vec<SocketAddr>,
    tasks: Tasks,
}

impl Proxy {
    /// Checks everything and binds every port.
    ///
    /// # Errors
    /// Names the value or the port.
    pub fn bind(config: &DoorConfig, bounds: &Bounds, clock: &Arc<dyn Clock>, log: &Log) -> Result<Proxy, ProxyError> {
        if config.servers.is_empty() {
            return Err(ProxyError::Nothing);
        }
        let bounds = fit_to_descriptors(bounds);
        let bench = Arc::new(Workbench::new(bounds.pipes));
        let mut proxy = Proxy { gates: Vec::new(), routes: Vec::new(), addresses: Vec::new(), tasks: Tasks::default() };
        for server in &config.servers {
            let parts = parts(server, bounds.clone(), clock, log, &bench, &proxy.tasks)?;
            let gate = Gate::new(parts);
            proxy.bind_routes(server, &gate)?;
            proxy.gates.push(gate);
        }
        Ok(proxy)
    }

    /// What was bound, in the order of the configuration: tells a chosen port where it said 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop`; then takes nobody new and gives open connections a moment to end.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let ports = Tasks::default();
        for route in self.routes {
            match route {
                Bound::Tcp(route, listener) => ports.run(route.run(listener)),
                Bound::Udp(route) => ports.run(route.run()),
            };
        }
        for gate in &self.gates {
            self.tasks.run(activity::report(Arc::clone(gate)));
        }
        stop.await;
        ports.end();
        let deadline = Instant::now() + FAREWELL_WITHIN;
        while Instant::now() < deadline && self.gates.iter().any(|gate| gate.traffic.connections() > 0) {
            sleep(Duration::from_millis(20)).await;
        }
        self.tasks.end();
    }

    fn bind_routes(&mut self, server: &DoorServer, gate: &Arc<Gate>) -> Result<(), ProxyError> {
        let bad = |what| ProxyError::Config { server: server.server.as_str().to_owned(), what };
        if server.routes.is_empty() {
            return Err(bad("routes: there are none"));
        }
        for route in &server.routes {
            let listen: SocketAddr = route.listen.parse().map_err(|_| bad("listen address"))?;
            let target: SocketAddr = route.target.parse().map_err(|_| bad("target address"))?;
            let helper = Helper::named(route.door.as_deref(), route.protocol).unwrap_or_else(|| {
                gate.log.line(server.server.as_str(), "unknown door", "any traffic wakes");
                Helper::Any
            });
            let failed = |source| ProxyError::Bind { listen, source };
            match route.protocol {
                Protocol::Tcp => {
                    let listener = listen_tcp(listen).map_err(failed)?;
                    let bound = listener.local_addr().map_err(failed)?;
                    self.addresses.push(bound);
                    self.routes.push(Bound::Tcp(TcpRoute::new(Arc::clone(gate), bound.port(), target, helper), listener));
                }
                Protocol::Udp => {
                    let socket = listen_udp(listen).map_err(failed)?;
                    let bound = socket.local_addr().map_err(failed)?;
                    let secret = Secret::random().ok_or(ProxyError::Chance)?;
                    self.addresses.push(bound);
                    self.routes.push(Bound::Udp(UdpRoute::new(Arc::clone(gate), socket, bound.port(), target, helper, secret)));
                }
            }
        }
        Ok(())
    }
}

fn parts(
    server: &DoorServer,
    bounds: Bounds,
    clock: &Arc<dyn Clock>,
    log: &Log,
    bench: &Arc<Workbench>,
    tasks: &Tasks,
) -> Result<Parts, ProxyError> {
    let bad = |what| ProxyError::Config { server: server.server.as_str().to_owned(), what };
    let place = Place::parse(&server.agent).ok_or_else(|| bad("agent address"))?;
    let secret = hex::decode(&server.secret).ok().filter(|bytes| bytes.len() == SECRET_BYTES).ok_or_else(|| bad("secret"))?;
    if server.hold_secs == 0 || server.hold_secs > HOLD_SECS_MAX {
        return Err(bad("hold_secs"));
    }
    Ok(Parts {
        server: server.server.clone(),
        agent: Agent::new(place, server.server.clone(), secret, Arc::clone(clock)),
        state_file: server.state_file.as_ref().map(Into::into),
        hold: Duration::from_secs(server.hold_secs.into()),
        bounds,
        log: log.clone(),
        tasks: tasks.clone(),
        bench: Arc::clone(bench),
    })
}

/// Options of a listener are inherited by what it accepts: nothing is left to do for each connection.
fn listen_tcp(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

fn listen_udp(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(listen)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Raises the limit of open files as far as allowed; where that is not enough for all connections, carries fewer.
fn fit_to_descriptors(bounds: &Bounds) -> Bounds {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_ok();
    let files = if raised { limit.maximum } else { limit.current }.unwrap_or(u64::MAX);
    let others = DESCRIPTORS_SPARE + bounds.sessions as u64 + 2 * bounds.pipes as u64;
    let most = (files.saturating_sub(others) / 2).max(16);
    Bounds { connections: bounds.connections.min(u32::try_from(most).unwrap_or(u32::MAX)), ..bounds.clone() }
}
