//! A door to test: the sidecar, its agent, and the address of a game that may or may not be there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use roost::model::games::Protocol;
use roost::model::ids::ServerId;
use roost::model::time::{Clock, Millis};
use roost::proxy::log::Log;
use roost::proxy::{Bounds, Proxy};
use roost::wire::door::{
    ACTIVITY_PATH, ActivityReport, DoorConfig, DoorServer, DoorState, GameIs, Route, Verdict, WAKE_PATH, WakeAnswer, WakeRequest, Word,
};
use roost::wire::wake::{self, Disbelief, Nonces, Signed};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Longest wait for anything in these tests.
pub const SOON: Duration = Duration::from_secs(20);

/// The machine's clock.
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Millis {
        #[expect(clippy::disallowed_methods, reason = "signatures are checked against real time here")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Millis(i64::try_from(since.as_millis()).unwrap())
    }
}

/// Waits until `met` gives a value.
pub async fn until<T>(what: &str, mut met: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(value) = met() {
                return value;
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// What the agent has heard and how it answers.
pub struct Mind {
    pub secret: Vec<u8>,
    pub nonces: Nonces,
    pub wakes: Vec<WakeRequest>,
    pub reports: Vec<ActivityReport>,
    pub disbelieved: Vec<Disbelief>,
    /// The last request as it came: time, nonce, signature, body.
    pub last: [String; 4],
    pub state: DoorState,
    /// Answers to wake requests wait until this is true.
    pub answers: bool,
}

type Shared = Arc<Mutex<Mind>>;

pub struct Door {
    pub mind: Shared,
    pub folder: TempDir,
    pub addresses: Vec<SocketAddr>,
    pub game: SocketAddr,
    agent: JoinSet<()>,
    sidecar: JoinSet<()>,
    stop: Option<oneshot::Sender<()>>,
}

/// How a door is made.
pub struct Plan {
    pub protocol: Protocol,
    /// A second route, over UDP.
    pub udp_too: bool,
    pub helper: Option<&'static str>,
    pub hold_secs: u32,
    pub bounds: Bounds,
    pub state_file: bool,
    pub verdict: Verdict,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            protocol: Protocol::Tcp,
            udp_too: false,
            helper: None,
            hold_secs: 20,
            bounds: Bounds::default(),
            state_file: true,
            verdict: Verdict::Allowed,
        }
    }
}

/// An address of its own for each test, so that no two games meet.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let n = NEXT.fetch_add(1, Ordering::SeqCst);
    let pid = std::process::id();
    format!("127.{}.{}.{}:7777", 100 + (pid >> 8) % 100, pid % 250, n % 250).parse().unwrap()
}

impl Door {
    #[allow(clippy::needless_pass_by_value, reason = "a plan is written where it is used, and used once")]
    pub fn open(plan: Plan) -> Door {
        let folder = tempfile::tempdir().unwrap();
        let game = own_address();
        let secret = vec![7; 32];
        let state = DoorState {
            game: GameIs::Down,
            name: "Valley of Echoes".to_owned(),
            wake: plan.verdict.clone(),
            word: Word { agent: 7, number: 0 },
        };
        let mind = Mind {
            secret: secret.clone(),
            nonces: Nonces::default(),
            wakes: Vec::new(),
            reports: Vec::new(),
            disbelieved: Vec::new(),
            last: <[String; 4]>::default(),
            state,
            answers: true,
        };
        let socket = folder.path().join("agent.sock");
        let state_file = plan.state_file.then(|| folder.path().join("state.json").to_string_lossy().into_owned());
        let route =
            |protocol| Route { listen: "127.0.0.1:0".to_owned(), protocol, target: game.to_string(), door: plan.helper.map(str::to_owned) };
        let mut routes = vec![route(plan.protocol)];
        routes.extend(plan.udp_too.then(|| route(Protocol::Udp)));
        let config = DoorConfig {
            servers: vec![DoorServer {
                server: server(),
                agent: format!("unix:{}", socket.display()),
                state_file,
                secret: hex::encode(&secret),
                hold_secs: plan.hold_secs,
                routes,
            }],
        };
        let clock: Arc<dyn Clock> = Arc::new(RealClock);
        let proxy = Proxy::bind(&config, &plan.bounds, &clock, &Log::quiet(Arc::clone(&clock))).unwrap();
        let addresses = proxy.addresses().to_vec();
        let mut sidecar = JoinSet::new();
        let (stop, stopped) = oneshot::channel();
        sidecar.spawn(proxy.run(async { drop(stopped.await) }));
        let mut door = Door { mind: Arc::new(Mutex::new(mind)), folder, addresses, game, agent: JoinSet::new(), sidecar, stop: Some(stop) };
        door.set_game(GameIs::Down);
        door.agent_comes();
        door
    }

    pub fn mind(&self) -> MutexGuard<'_, Mind> {
        self.mind.lock().unwrap()
    }

    /// What the agent knows, and writes down.
    pub fn set_game(&self, game: GameIs) {
        let mut mind = self.mind();
        mind.state.game = game;
        mind.state.word.number += 1;
        write_state(&self.state_path(), &mind.state);
    }

    /// What the agent knows and cannot write down.
    pub fn say_only(&self, game: GameIs) {
        let mut mind = self.mind();
        mind.state.game = game;
        mind.state.word.number += 1;
    }

    fn state_path(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }

    pub fn agent_comes(&mut self) {
        let path = self.folder.path().join("agent.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        let router = axum::Router::new()
            .route(WAKE_PATH, post(wake_asked))
            .route(ACTIVITY_PATH, post(activity))
            .with_state((Arc::clone(&self.mind), self.state_path()));
        self.agent.spawn(async move { axum::serve(listener, router).await.unwrap() });
    }

    pub fn agent_goes(&mut self) {
        self.agent.abort_all();
        let _ = std::fs::remove_file(self.folder.path().join("agent.sock"));
    }

    /// As SIGTERM does.
    pub fn tell_sidecar_to_go(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub async fn sidecar_is_gone(&mut self) {
        timeout(SOON, self.sidecar.join_next()).await.expect("it stays").unwrap().unwrap();
    }

    /// A TCP game that sends back what it gets, in upper case, and closes when the client has closed its half.
    pub async fn start_echo(&self) -> JoinSet<()> {
        let listener = TcpListener::bind(self.game).await.unwrap();
        let mut game = JoinSet::new();
        game.spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                clients.spawn(async move {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                        buffer[..n].make_ascii_uppercase();
                        if stream.write_all(&buffer[..n]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        game
    }

    /// A UDP game that sends back what it gets.
    pub async fn start_udp(&self) -> (JoinSet<()>, Arc<Mutex<Vec<Vec<u8>>>>) {
        let socket = UdpSocket::bind(self.game).await.unwrap();
        let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let kept = Arc::clone(&heard);
        let mut game = JoinSet::new();
        game.spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                if let Ok((n, peer)) = socket.recv_from(&mut buffer).await {
                    kept.lock().unwrap().push(buffer[..n].to_vec());
                    let _ = socket.send_to(&buffer[..n], peer).await;
                }
            }
        });
        (game, heard)
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addresses[0]).await.unwrap()
    }

    pub async fn udp_client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.addresses[0]).await.unwrap();
        socket
    }

    pub async fn wakes(&self, count: usize) {
        until("wake requests", || (self.mind().wakes.len() >= count).then_some(())).await;
    }

    /// Waits for a report that fits.
    pub async fn reported(&self, what: &str, fits: impl Fn(&ActivityReport) -> bool) {
        until(what, || self.mind().reports.last().filter(|report| fits(report)).map(|_| ())).await;
    }
}

pub fn server() -> ServerId {
    "abcdefgh-de-x2y3z4".parse().unwrap()
}

fn write_state(path: &PathBuf, state: &DoorState) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, serde_json::to_vec(state).unwrap()).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

/// Sends `say` and takes as many bytes back.
pub async fn exchange(stream: &mut TcpStream, say: &[u8]) -> Vec<u8> {
    stream.write_all(say).await.unwrap();
    let mut answer = vec![0; say.len()];
    timeout(SOON, stream.read_exact(&mut answer)).await.expect("no answer").unwrap();
    answer
}

/// Everything until the other side closes.
pub async fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest)).await.expect("not closed").unwrap();
    rest
}

fn believe(mind: &mut Mind, headers: &HeaderMap, body: &[u8]) -> Result<(), StatusCode> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(header(wake::SERVER), server().as_str());
    let text = String::from_utf8(body.to_vec()).unwrap();
    mind.last = [header(wake::TIMESTAMP).to_owned(), header(wake::NONCE).to_owned(), header(wake::SIGNATURE).to_owned(), text];
    let (secret, now) = (mind.secret.clone(), RealClock.now());
    let signed = Signed { timestamp: header(wake::TIMESTAMP), nonce: header(wake::NONCE), signature: header(wake::SIGNATURE), body };
    let verdict = mind.nonces.verify(&secret, &signed, now);
    verdict.map_err(|why| {
        mind.disbelieved.push(why);
        StatusCode::UNAUTHORIZED
    })
}

type Asked<A> = Result<Json<A>, StatusCode>;

async fn wake_asked(State((mind, file)): State<(Shared, PathBuf)>, headers: HeaderMap, body: Bytes) -> Asked<WakeAnswer> {
    {
        let mut mind = mind.lock().unwrap();
        believe(&mut mind, &headers, &body)?;
        mind.wakes.push(serde_json::from_slice(&body).unwrap());
    }
    until("the agent to answer", || mind.lock().unwrap().answers.then_some(())).await;
    let mut mind = mind.lock().unwrap();
    let started = mind.state.wake == Verdict::Allowed;
    if started && mind.state.game == GameIs::Down {
        mind.state.game = GameIs::Starting;
        mind.state.word.number += 1;
        write_state(&file, &mind.state);
    }
    Ok(Json(WakeAnswer { started, state: mind.state.clone() }))
}

async fn activity(State((mind, _)): State<(Shared, PathBuf)>, headers: HeaderMap, body: Bytes) -> Asked<DoorState> {
    let mut mind = mind.lock().unwrap();
    believe(&mut mind, &headers, &body)?;
    mind.reports.push(serde_json::from_slice(&body).unwrap());
    Ok(Json(mind.state.clone()))
}
