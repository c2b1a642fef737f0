//! Games that do what they can to hurt: they fill the disk, nest folders, make files without end, flood their log, fork, take memory,
//! knock at private addresses and at their own sidecar's socket; all at once, while a neighbour plays undisturbed, the panel answers and
//! its memory stays flat. On a real Docker Engine, by a real program; afterwards nothing is left.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::embedded::children;
use crate::program::{Api, Program, docker, port};

const IMAGE: &str = "roost-test/hostile:1";
/// How long anything may take: the machine has two cores, and ten games that burn them.
const PATIENCE: Duration = Duration::from_mins(3);
/// By how much panel and agent may grow meanwhile, in KiB.
const GROWTH_KIB: u64 = 96 << 10;
/// Longest wait for a page or a neighbour's word, in a debug build on a machine that is under attack.
const ANSWER: Duration = Duration::from_secs(5);
/// Connections that knock at once.
const KNOCKS: usize = 400;

/// What the games do; the one that listens is there in all of them, so that each counts as running.
const SCRIPT: &str = r#"
B=/busybox
$B nc -ll -p 7777 -e $B cat &
cd /data
chunk=d
while [ ${#chunk} -lt 1600 ]; do chunk=$chunk/d; done
case "$ATTACK" in
disk) while :; do $B dd if=/dev/zero of=/data/fill bs=1M count=150 2>/dev/null; done ;;
elsewhere) while :; do $B dd if=/dev/zero of=/home/fill bs=1M count=150 2>/dev/null; done ;;
files) i=0; while [ $i -lt 40 ]; do $B mkdir -p $i; ( cd $i; $B seq 1 300 | $B xargs $B touch ); i=$((i+1)); done ;;
sparse) $B truncate -s 8796093022208 hole ;;
depth) i=0; while [ $i -lt 60 ]; do $B mkdir -p $chunk; cd -P $chunk; i=$((i+1)); done 2>/dev/null ;;
names) $B ln -s / root; $B ln -s /proc/self/root again; $B ln -s loop loop; $B mkfifo pipe; $B touch "$($B printf 'a\nb\033[2J')"
  $B touch "$($B printf '\377\376')"; $B touch -- "-rf"; $B touch "$($B head -c 255 /dev/zero | $B tr '\0' x)" ;;
log) $B yes $chunk | $B head -c 200000000; $B head -c 20000000 /dev/zero | $B tr '\0' a; echo; $B head -c 5000000 /dev/urandom; echo
  $B printf '\033[2J\033]0;title\007\033[999999999C\n' ;;
fork) f() { f | f & }; f 2>/dev/null ;;
memory) while :; do $B tail /dev/zero >/dev/null 2>&1; done ;;
network) for a in $TARGETS; do $B nc -w 2 ${a%:*} ${a#*:} </dev/null >/dev/null 2>&1 && echo "REACHED $a"; done ;;
esac
echo "DONE $ATTACK"
while :; do $B sleep 1; done
"#;

fn image() {
    const PROGRAM: &str = "/bin/busybox";
    assert!(std::path::Path::new(PROGRAM).exists(), "the tests want the package busybox-static");
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8], mode| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, path, bytes).expect("added");
    };
    add("busybox", &std::fs::read(PROGRAM).expect("read"), 0o755);
    add("attack.sh", SCRIPT.as_bytes(), 0o644);
    add("home/keep", b"", 0o644);
    let archive = tar.into_inner().expect("whole");
    let mut import = Command::new("docker").args(["import", "-", IMAGE]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("runs");
    import.stdin.take().expect("open").write_all(&archive).expect("written");
    assert!(import.wait().expect("ended").success());
}

/// The catalogue's entry. Root in the container, as badly written images are.
fn game(targets: &str) -> String {
    format!(
        r#"
id = "hostile"
name = "Hostile"
summary = "A game that means harm."
join_hint = "Join {{address}}."
image = "{IMAGE}"
args = ["/busybox", "sh", "/attack.sh"]
data_path = "/data"
ready_within_secs = 120
ready = {{ by = "tcp_accept", port = 7777 }}
stop = {{ signal = "SIGKILL", wait_secs = 2 }}

[[ports]]
name = "game"
port = 7777
protocol = "tcp"

[[env]]
name = "ATTACK"
label = "Attack"
help = ""
default = "none"
editable = true
rule = {{ kind = "text", max = 20 }}

[[env]]
name = "TARGETS"
label = "Targets"
help = ""
default = "{targets}"
rule = {{ kind = "text", max = 400 }}

[[plans]]
id = "small"
name = "Small"
players = "1"
cpu_millis = 400
memory_mib = 64
storage_mib = 64
month_cents = 100
per_hour = 500000
"#
    )
}

fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

/// The panel's, with its agent's.
fn memory_of_all(panel: u32) -> u64 {
    children(panel).into_iter().chain([panel]).map(memory_kib).sum()
}

/// Two players in the neighbour's room who talk until they are told to stop; gives the longest wait for a word, in milliseconds.
fn neighbours(address: String, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut one = TcpStream::connect(&address).expect("joined");
        let two = TcpStream::connect(&address).expect("joined");
        two.set_read_timeout(Some(ANSWER)).expect("set");
        let mut two = BufReader::new(two);
        let mut longest = 0;
        let mut n = 0;
        while !stop.load(Ordering::SeqCst) {
            n += 1;
            let word = format!("word {n}");
            let said = Instant::now();
            writeln!(one, "{word}").expect("still there");
            let mut line = String::new();
            while !line.contains(&word) {
                line.clear();
                assert!(two.read_line(&mut line).expect("heard in time") > 0, "the neighbour was thrown out");
            }
            longest = longest.max(u64::try_from(said.elapsed().as_millis()).unwrap_or(u64::MAX));
            std::thread::sleep(Duration::from_millis(20));
        }
        longest
    })
}

/// Somebody looks at the panel all the time; the longest wait is kept, in milliseconds.
async fn looks(api: Api, paths: Vec<String>, stop: Arc<AtomicBool>, longest: Arc<AtomicU64>) {
    while !stop.load(Ordering::SeqCst) {
        for path in &paths {
            let asked = Instant::now();
            let answer = api.try_ask(Method::GET, path, None).await;
            assert!(answer.is_some_and(|(status, _)| status < 500), "{path}");
            assert!(asked.elapsed() < ANSWER, "{path} took {:?}", asked.elapsed());
            longest.fetch_max(u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn attack(api: &Api, what: &str) -> String {
    let body = json!({"name": what, "game": "hostile", "plan": "small", "auto_sleep": false, "env": {"ATTACK": what}});
    let (status, made) = api.ask(Method::POST, "/api/servers", Some(body)).await;
    assert_eq!(status, 201, "{what}: {made}");
    made["id"].as_str().expect("an id").to_owned()
}

async fn log(api: &Api, id: &str) -> String {
    let (status, lines) = api.ask(Method::GET, &format!("/api/servers/{id}/logs"), None).await;
    assert_eq!(status, 200, "{lines}");
    lines.to_string()
}

async fn wait_log(api: &Api, id: &str, word: &str) -> String {
    let begin = Instant::now();
    loop {
        let log = log(api, id).await;
        if log.contains(word) {
            return log;
        }
        if begin.elapsed() >= PATIENCE {
            let (_, server) = api.ask(Method::GET, &format!("/api/servers/{id}"), None).await;
            let (_, history) = api.ask(Method::GET, &format!("/api/servers/{id}/events"), None).await;
            panic!("{id} never said {word}: {log}; {server}; {history}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn stopped_for_storage(api: &Api, id: &str, why: &str) {
    api.wait_phase(id, "stopped", PATIENCE).await;
    let (_, history) = api.ask(Method::GET, &format!("/api/servers/{id}/events"), None).await;
    let text = history.to_string();
    assert!(text.contains(why) && text.contains("larger plan"), "the reason is told: {text}");
}

/// Knocks at a public port, and at the sidecar's way to the agent, far more often than anybody plays.
fn flood(public: &str, socket: &std::path::Path) {
    let mut knocks: Vec<TcpStream> = Vec::new();
    for _ in 0..KNOCKS {
        if let Ok(mut knock) = TcpStream::connect(public) {
            let _ = knock.write_all(b"\xfe\x01 nonsense \r\n\r\n");
            knocks.push(knock);
        }
    }
    let mut asked: Vec<UnixStream> = Vec::new();
    for n in 0..KNOCKS {
        if let Ok(mut ask) = UnixStream::connect(socket) {
            let _ = ask.write_all(if n % 2 == 0 { b"POST /wake HTTP/1.1\r\ncontent-length: 999999999\r\n\r\n{" } else { b"\0\xff\0\xff" });
            asked.push(ask);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_games_hurt_nobody_but_themselves() {
    let Some(engine) = crate::services::docker("hostile_games_hurt_nobody_but_themselves") else { return };
    image();
    let games = tempfile::tempdir().expect("a folder");
    // What a game must not reach: cloud metadata, the machine by its bridge, a private network, and later its neighbour.
    let targets = "169.254.169.254:80 172.17.0.1:22 10.0.0.1:80 192.168.0.1:80 127.0.0.53:53";
    std::fs::write(games.path().join("hostile.toml"), game(targets)).expect("written");
    let program = Program::start(&engine, &[("GAMES_DIR", games.path().to_str().expect("text")), ("SIGNUP_CREDITS", "1000")]);
    let api = Api::admin(&program, "ada@example.org").await;

    let neighbour = api.create("Neighbour", "demo", "small").await;
    let seen = api.wait_phase(&neighbour, "running", PATIENCE).await;
    let (stop, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let talk = neighbours(format!("127.0.0.1:{}", port(&seen)), stop.clone());
    let paths = ["/api/servers", "/health", "/auth/login", "/dashboard"].map(str::to_owned).to_vec();
    let mut watch = tokio::task::JoinSet::new();
    watch.spawn(looks(api.clone(), paths, stop.clone(), longest.clone()));
    let before: u64 = memory_of_all(program.pid());

    let mut ids = Vec::new();
    for what in ["disk", "elsewhere", "files", "sparse", "depth", "names", "log", "fork", "memory", "network"] {
        ids.push((what, attack(&api, what).await));
    }
    let id = |what: &str| ids.iter().find(|(known, _)| *known == what).map(|(_, id)| id.as_str()).expect("made");
    for what in ["disk", "elsewhere", "files"] {
        stopped_for_storage(&api, id(what), "of the 64 MiB of its plan").await;
    }
    stopped_for_storage(&api, id("depth"), "deeper in each other, than can be counted").await;
    for what in ["sparse", "names", "network"] {
        wait_log(&api, id(what), &format!("DONE {what}")).await;
    }
    let network = log(&api, id("network")).await;
    assert!(!network.contains("REACHED"), "a private address was reached: {network}");
    wait_log(&api, id("log"), "DONE log").await;
    let begin = Instant::now();
    let used = loop {
        let (_, stats) = api.ask(Method::GET, &format!("/api/servers/{}/stats", id("sparse")), None).await;
        if let Some(bytes) = stats["disk"]["bytes"].as_u64() {
            break bytes;
        }
        assert!(begin.elapsed() < PATIENCE, "never measured: {stats}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(used < 1 << 20, "a hole takes no room: {used}");
    let (status, made) = api.ask(Method::POST, &format!("/api/servers/{}/backup", id("names")), None).await;
    assert!(matches!(status, 201 | 202), "{made}");

    // A sleeping one, knocked at without end, still wakes; and its neighbours do not notice.
    let sleeper = api.create("Sleeper", "demo", "small").await;
    api.wait_phase(&sleeper, "running", PATIENCE).await;
    assert_eq!(api.power(&sleeper, "hibernate").await.0, 202);
    let asleep = api.wait_phase(&sleeper, "sleeping", PATIENCE).await;
    let public = format!("127.0.0.1:{}", port(&asleep));
    let socket = program.folder.path().join("data/instances").join(&sleeper).join("door").join("agent.sock");
    tokio::task::spawn_blocking(move || flood(&public, &socket)).await.expect("knocked");
    api.wait_phase(&sleeper, "running", PATIENCE).await;

    let after: u64 = memory_of_all(program.pid());
    stop.store(true, Ordering::SeqCst);
    watch.join_next().await.expect("it watches").expect("every page answered");
    let word = talk.join().expect("the neighbour played undisturbed");
    println!(
        "longest wait for a page {} ms, for a neighbour's word {word} ms; memory {before} KiB, then {after} KiB",
        longest.load(Ordering::SeqCst)
    );
    assert!(after < before + GROWTH_KIB, "{before} KiB, then {after} KiB");

    for id in ids.iter().map(|(_, id)| id).chain([&sleeper, &neighbour]) {
        assert_eq!(api.ask(Method::DELETE, &format!("/api/servers/{id}"), None).await.0, 202);
    }
    for id in ids.iter().map(|(_, id)| id).chain([&sleeper, &neighbour]) {
        api.wait_gone(id, PATIENCE).await;
        assert!(!program.folder.path().join("data/instances").join(id).exists(), "{id}");
        for left in
            [docker(&["ps", "-aq", "--filter", &format!("name={id}")]), docker(&["network", "ls", "-q", "--filter", &format!("name={id}")])]
        {
            assert_eq!(left.trim(), "", "{id}");
        }
    }
    let doctor = program.run(&["doctor"]);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    assert_eq!(api.ask(Method::GET, "/api/servers", None).await.1["servers"], Value::Array(Vec::new()));
}
