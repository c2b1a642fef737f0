//! Whether a game that runs is alive: that its process is there says little. Asked about once a minute, by the game's own rule where that
//! can be asked again, and else by what the kernel knows of connections that nobody takes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::listens::waiting_at;
use super::probe::answers;
use super::worker::Worker;
use crate::model::games::{Protocol, Ready};
use crate::model::servers::Seen;
use crate::model::time::Millis;
use crate::wire::spec::InstanceSpec;

/// A game that does not answer within this is silent for this time.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Between two looks whether a connection has been taken.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// So many questions in a row have to stay without an answer.
const MISSED_MAX: u32 = 2;

/// What became of the questions to a game.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Health {
    asked_at: Option<Millis>,
    missed: u32,
    first_missed: Option<Millis>,
}

impl Health {
    /// Since when it has not answered, once that is sure.
    fn silent_since(self) -> Option<Millis> {
        self.first_missed.filter(|_| self.missed >= MISSED_MAX)
    }
}

/// Does it answer? None: it cannot be asked.
async fn alive(pid: Option<i64>, address: Ipv4Addr, spec: &InstanceSpec) -> Option<bool> {
    match &spec.ready {
        Ready::UdpAnswer { port, send_hex } => {
            let question = hex::decode(send_hex).unwrap_or_default();
            Some(timeout(ANSWER_WAIT, answers(SocketAddr::from((address, *port)), &question)).await.is_ok())
        }
        Ready::TcpAccept { port } => {
            // Closed again at once: for the game it is a look, and no visitor.
            let knocked = matches!(timeout(ANSWER_WAIT, TcpStream::connect(SocketAddr::from((address, *port)))).await, Ok(Ok(_)));
            // The kernel says yes for a game that hangs: what counts is that it takes the connection.
            if knocked { taken(pid?, *port).await } else { Some(false) }
        }
        Ready::LogLine { .. } => {
            let port = spec.ports.iter().find(|port| port.protocol == Protocol::Tcp)?;
            taken(pid?, port.inside).await
        }
    }
}

/// Are connections taken that came to a port? None: the kernel's tables cannot be read, or nobody listens there.
async fn taken(pid: i64, port: u16) -> Option<bool> {
    let end = Instant::now() + ANSWER_WAIT;
    while waiting_at(pid, port)? > 0 {
        if Instant::now() >= end {
            return Some(false);
        }
        sleep(LOOK_EVERY).await;
    }
    Some(true)
}

impl Worker {
    /// Asks a game that runs, where it is time to.
    pub(super) async fn check_health(&mut self) {
        let Seen::Running { .. } = self.seen else {
            self.health = Health::default();
            return self.show_silence(None);
        };
        let now = self.now();
        // A little less than between two looks at every server, which come with a heartbeat.
        let pause = i64::try_from(self.ctx.config.look_every.as_millis()).unwrap_or(i64::MAX) * 5 / 6;
        let recently = self.health.asked_at.is_some_and(|at| now.since(at) < pause);
        let held = self.holds_game();
        let Some(spec) = self.record.spec.clone().filter(|_| !recently && !held) else { return };
        let Ok(subnet) = self.subnet(&spec) else { return };
        self.health.asked_at = Some(now);
        match alive(self.instance.view().pid, subnet.game(), &spec).await {
            Some(true) => self.health = Health { asked_at: Some(now), ..Health::default() },
            Some(false) => {
                self.health.missed += 1;
                self.health.first_missed = self.health.first_missed.or(Some(now));
            }
            None => {}
        }
        self.show_silence(self.health.silent_since());
    }

    fn show_silence(&self, since: Option<Millis>) {
        self.instance.show(|view| view.report.silent_since = since);
    }
}
