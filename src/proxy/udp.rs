//! A UDP port: one session for each peer, with a socket of its own towards the game, so that answers find their way back.
//!
//! While the game wakes, a peer's datagrams are kept in order, bounded in count and bytes. When the game goes down under a peer
//! that still sends, the peer is muted for a while: a stream that was on its way must not undo the owner's "sleep".

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::activity::Counted;
use super::games::{Helper, Look, Secret};
use super::gate::{Gate, Knock};
use super::opening::{Opened, Opening};
use super::sources::Sources;
use crate::model::games::Protocol;
use crate::wire::door::GameIs;

/// How often idle sessions and the game's state are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Pause after the public socket failed.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// One UDP port.
pub struct UdpRoute {
    gate: Arc<Gate>,
    public: UdpSocket,
    target: SocketAddr,
    port: u16,
    helper: Helper,
    secret: Secret,
    opening: Opening,
    table: Mutex<Table>,
    /// Bytes kept for all peers together.
    waiting_bytes: AtomicUsize,
}

struct Table {
    peers: HashMap<SocketAddr, Session>,
    muted: HashMap<SocketAddr, Instant>,
    answers: Sources,
}

struct Session {
    socket: Arc<UdpSocket>,
    /// Kept until the game is up; then none.
    waiting: Option<Waiting>,
    heard: Instant,
    /// It has sent more than one datagram: one costs a stranger nothing and may carry anybody's name.
    goes_on: bool,
    /// Present once it has sent something other than a look.
    player: Option<Counted>,
    task: Option<AbortHandle>,
}

struct Waiting {
    route: Weak<UdpRoute>,
    datagrams: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(route) = self.route.upgrade() {
            route.waiting_bytes.fetch_sub(self.bytes, Relaxed);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl UdpRoute {
    /// A route from `public` to `target`.
    pub fn new(gate: Arc<Gate>, public: UdpSocket, port: u16, target: SocketAddr, helper: Helper, secret: Secret) -> Arc<Self> {
        let answers = Sources::new(Duration::from_secs(1), gate.bounds.answers_per_second, gate.bounds.sources);
        let table = Mutex::new(Table { peers: HashMap::new(), muted: HashMap::new(), answers });
        Arc::new(Self {
            gate,
            public,
            target,
            port,
            helper,
            secret,
            opening: Opening::default(),
            table,
            waiting_bytes: AtomicUsize::new(0),
        })
    }

    /// Receives for ever.
    pub async fn run(self: Arc<Self>) {
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ready = self.public.readable() => match ready {
                    Ok(()) => self.receive().await,
                    Err(_) => sleep(ERROR_PAUSE).await,
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    /// Takes what is there, some at a time so that the others get their turn.
    async fn receive(self: &Arc<Self>) {
        for _ in 0..32 {
            let mut buffer = self.gate.bench.datagram();
            match self.public.try_recv_from(&mut buffer) {
                Ok((n, peer)) => self.datagram(peer, &buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The error of an earlier datagram to a peer that is gone.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn datagram(self: &Arc<Self>, peer: SocketAddr, data: &[u8]) {
        let game = self.gate.game_lately();
        let mut table = self.table();
        if game == GameIs::Down {
            table.mute_the_connected(&self.gate);
        }
        if let Some(session) = table.peers.get_mut(&peer) {
            self.of_session(session, data);
            return;
        }
        let look = self.helper.look(data);
        match (game, look) {
            (GameIs::Down | GameIs::Starting, Some(look)) => self.answer(&mut table, peer, look),
            (GameIs::Down, None) if table.is_muted(peer) => {}
            (GameIs::Down | GameIs::Starting | GameIs::Up, look) => {
                // Over the limit, or without a socket: to the peer it is a lost datagram.
                let _ = self.welcome(&mut table, peer, data, game == GameIs::Up, look.is_none());
            }
        }
    }

    fn of_session(self: &Arc<Self>, session: &mut Session, data: &[u8]) {
        (session.heard, session.goes_on) = (Instant::now(), true);
        if session.player.is_none() && self.helper.look(data).is_none() {
            session.player = Some(self.gate.traffic.session());
        }
        match &mut session.waiting {
            None => self.pass(&session.socket, data),
            Some(waiting) => self.keep(waiting, data),
        }
    }

    fn pass(&self, socket: &UdpSocket, data: &[u8]) {
        // Straight to the kernel, because the runtime knows nothing yet of a socket that was just made. The first failure may be
        // news of an earlier datagram; a second one means that this one is lost, as datagrams are.
        let sent = || rustix::net::send(socket, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok();
        if sent() || sent() {
            self.gate.traffic.bytes_in.fetch_add(data.len() as u64, Relaxed);
        }
    }

    fn keep(&self, waiting: &mut Waiting, data: &[u8]) {
        let bounds = &self.gate.bounds;
        let fits = waiting.datagrams.len() < bounds.datagrams
            && waiting.bytes + data.len() <= bounds.datagram_bytes
            && self.waiting_bytes.load(Relaxed) + data.len() <= bounds.waiting_bytes;
        if fits {
            waiting.datagrams.push_back(data.to_vec());
            waiting.bytes += data.len();
            self.waiting_bytes.fetch_add(data.len(), Relaxed);
        }
    }

    fn welcome(self: &Arc<Self>, table: &mut Table, peer: SocketAddr, data: &[u8], up: bool, joins: bool) -> io::Result<()> {
        if table.peers.len() >= self.gate.bounds.sessions && !table.make_room() {
            self.gate.log.line(self.gate.server.as_str(), "full", &format!("{peer}: {} sessions", self.gate.bounds.sessions));
            return Ok(());
        }
        let seat = if up {
            None
        } else {
            let knock = Knock { client: peer, port: self.port, protocol: Protocol::Udp };
            Some(self.opening.udp(&self.gate, knock))
        };
        let socket = Arc::new(self.socket()?);
        let waiting = (!up).then(|| Waiting { route: Arc::downgrade(self), datagrams: VecDeque::new(), bytes: 0 });
        let player = joins.then(|| self.gate.traffic.session());
        let mut session = Session { socket: Arc::clone(&socket), waiting, heard: Instant::now(), goes_on: false, player, task: None };
        self.of_session(&mut session, data);
        session.goes_on = false;
        let route = Arc::clone(self);
        session.task = Some(self.gate.tasks.run(async move {
            if let Some(mut seat) = seat {
                let opened = timeout(route.gate.hold, seat.result()).await;
                if !matches!(opened, Ok(Some(Opened::Open(_)))) || !route.flush(peer) {
                    route.forget(peer);
                    return;
                }
            }
            route.answers_for(peer, &socket).await;
        }));
        table.peers.insert(peer, session);
        Ok(())
    }

    fn socket(&self) -> io::Result<UdpSocket> {
        let any: SocketAddr = if self.target.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(self.target)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }

    /// Sends on what was kept, in order; false when the peer is not there any more.
    fn flush(&self, peer: SocketAddr) -> bool {
        let mut table = self.table();
        let Some(session) = table.peers.get_mut(&peer) else { return false };
        if let Some(waiting) = session.waiting.take() {
            for data in &waiting.datagrams {
                self.pass(&session.socket, data);
            }
        }
        true
    }

    fn forget(&self, peer: SocketAddr) {
        self.table().peers.remove(&peer);
    }

    /// Takes the game's answers to one peer, until the session is dropped.
    async fn answers_for(&self, peer: SocketAddr, socket: &UdpSocket) {
        loop {
            if socket.readable().await.is_err() {
                return self.forget(peer);
            }
            for _ in 0..32 {
                let mut buffer = self.gate.bench.datagram();
                match socket.try_recv(&mut buffer) {
                    Ok(n) => {
                        if self.public.try_send_to(&buffer[..n], peer).is_ok() {
                            self.gate.traffic.bytes_out.fetch_add(n as u64, Relaxed);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The game's port is closed for the moment.
                    Err(_) => {}
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Answers a look in the game's place, seldom enough not to be of use to anybody who forges addresses.
    fn answer(&self, table: &mut Table, peer: SocketAddr, look: Look) {
        if !table.answers.admit(peer.ip(), Instant::now()) {
            return;
        }
        let (name, words) = self.gate.sign();
        let reply = look.reply(&name, &words, peer, &self.secret);
        let _ = self.public.try_send_to(&reply, peer);
    }

    fn sweep(&self) {
        let game = self.gate.game();
        let mut table = self.table();
        if game == GameIs::Down {
            table.mute_the_connected(&self.gate);
        }
        let (idle, mute) = (self.gate.bounds.session_idle, self.gate.bounds.mute);
        table.peers.retain(|_, session| session.waiting.is_some() || session.heard.elapsed() < idle);
        table.muted.retain(|_, since| since.elapsed() < mute);
        if table.peers.is_empty() {
            table.peers.shrink_to_fit();
        }
    }
}

impl Table {
    /// Where the table is full, whoever sent a single datagram and was not heard of for longest makes room: strangers who fill it with
    /// names that are not theirs keep nobody out. False: everybody in it goes on.
    fn make_room(&mut self) -> bool {
        let silent = self.peers.iter().filter(|(_, session)| !session.goes_on);
        let oldest = silent.min_by_key(|(_, session)| session.heard).map(|(peer, _)| *peer);
        oldest.is_some_and(|peer| self.peers.remove(&peer).is_some())
    }

    /// The game has gone down: whoever was connected to it is not heard for a while.
    fn mute_the_connected(&mut self, gate: &Gate) {
        let now = Instant::now();
        let muted = &mut self.muted;
        self.peers.retain(|peer, session| {
            let connected = session.waiting.is_none();
            if connected && muted.len() < gate.bounds.sessions {
                muted.insert(*peer, now);
            }
            !connected
        });
        let mute = gate.bounds.mute;
        muted.retain(|_, since| since.elapsed() < mute);
    }

    fn is_muted(&self, peer: SocketAddr) -> bool {
        self.muted.contains_key(&peer)
    }
}
