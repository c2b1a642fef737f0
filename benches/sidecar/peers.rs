//! Starts the sidecar, `HAProxy` and nginx before the same games, and ends them.

use std::fmt::Write;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::game::{ADDRESS, BASE, KINDS};

/// Something that stands before the games.
pub struct Peer {
    /// For the table.
    pub name: &'static str,
    /// Its first port.
    pub base: u16,
    /// We must be as good as it.
    pub rival: bool,
    process: Option<Child>,
}

impl Peer {
    /// Proportional memory of the process and its children, in KiB.
    pub fn pss_kib(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| pss_kib(process.id()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Asked to end, so that nginx ends its workers too.
            let _ = Command::new("kill").arg(process.id().to_string()).status();
            let _ = process.wait();
        }
    }
}

/// Proportional memory of a process and its children, in KiB.
pub fn pss_kib(pid: u32) -> u64 {
    let own = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let own: u64 =
        own.lines().find_map(|line| line.strip_prefix("Pss:")).and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    own + children.split_whitespace().filter_map(|child| child.parse().ok()).map(pss_kib).sum::<u64>()
}

fn found(names: &[&str]) -> Option<PathBuf> {
    names.iter().map(PathBuf::from).find(|path| path.exists())
}

fn start(name: &'static str, base: u16, rival: bool, command: &mut Command) -> Peer {
    let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let process = process.unwrap_or_else(|error| panic!("{name}: {error}"));
    wait_for(base + KINDS - 1, name);
    Peer { name, base, rival, process: Some(process) }
}

/// Waits until something listens.
pub fn wait_for(port: u16, name: &str) {
    let start = Instant::now();
    while TcpStream::connect((ADDRESS, port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "{name} does not listen on {port}");
        thread::sleep(Duration::from_millis(10));
    }
    // What greeted us must be gone before memory is read.
    thread::sleep(Duration::from_millis(300));
}

/// Everything that is there, ours first.
pub fn start_all(proxy: &Path, folder: &Path) -> Vec<Peer> {
    let mut peers = vec![Peer { name: "direct", base: BASE, rival: false, process: None }];
    peers.push(start("roost-proxy", BASE + 10, false, Command::new(proxy).arg("--config").arg(door(folder, BASE + 10))));
    match found(&["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"]) {
        Some(program) => {
            for (name, base, options) in [("haproxy", BASE + 20, ""), ("haproxy+splice", BASE + 30, "  option splice-auto\n")] {
                let config = haproxy(folder, base, options);
                peers.push(start(name, base, true, Command::new(&program).arg("-db").arg("-f").arg(config)));
            }
        }
        None => println!("left out: haproxy is not installed"),
    }
    match (found(&["/usr/sbin/nginx"]), found(&["/usr/lib/nginx/modules/ngx_stream_module.so"])) {
        (Some(program), Some(module)) => {
            let config = nginx(folder, BASE + 40, &module);
            let mut command = Command::new(program);
            command.arg("-c").arg(config).arg("-p").arg(folder).args(["-g", "daemon off;"]);
            peers.push(start("nginx stream", BASE + 40, true, &mut command));
        }
        _missing => println!("left out: nginx with its stream module is not installed"),
    }
    peers
}

fn door(folder: &Path, base: u16) -> PathBuf {
    let state = folder.join("state.json");
    fs::write(&state, r#"{"game":"up","name":"bench","wake":{"verdict":"allowed"}}"#).expect("state");
    let routes: Vec<String> = (0..KINDS)
        .map(|kind| format!(r#"{{"listen":"{ADDRESS}:{}","protocol":"tcp","target":"{ADDRESS}:{}"}}"#, base + kind, BASE + kind))
        .collect();
    config(folder, "door.json", &state, &routes, 60)
}

/// Writes a configuration for the sidecar.
pub fn config(folder: &Path, name: &str, state: &Path, routes: &[String], hold_secs: u32) -> PathBuf {
    let path = folder.join(name);
    let text = format!(
        r#"{{"servers":[{{"server":"benchaaa-de-aaaaaa","agent":"unix:{}","state_file":"{}","secret":"{}","hold_secs":{hold_secs},"routes":[{}]}}]}}"#,
        folder.join("agent.sock").display(),
        state.display(),
        "07".repeat(32),
        routes.join(",")
    );
    fs::write(&path, text).expect("configuration");
    path
}

fn haproxy(folder: &Path, base: u16, options: &str) -> PathBuf {
    let path = folder.join(format!("haproxy-{base}.cfg"));
    let mut text = format!(
        "global\n  maxconn 6000\ndefaults\n  mode tcp\n{options}  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
    );
    for kind in 0..KINDS {
        let _ = writeln!(text, "listen l{kind}\n  bind {ADDRESS}:{}\n  server s{kind} {ADDRESS}:{}", base + kind, BASE + kind);
    }
    fs::write(&path, text).expect("configuration");
    path
}

fn nginx(folder: &Path, base: u16, module: &Path) -> PathBuf {
    let path = folder.join("nginx.conf");
    let at = folder.display();
    let mut text = format!(
        "load_module {};\nworker_processes auto;\npid {at}/nginx.pid;\nerror_log {at}/nginx.log;\nevents {{ worker_connections 6000; }}\nstream {{\n",
        module.display()
    );
    for kind in 0..KINDS {
        let _ = writeln!(text, "  server {{ listen {ADDRESS}:{}; proxy_pass {ADDRESS}:{}; }}", base + kind, BASE + kind);
    }
    text += "}\n";
    fs::write(&path, text).expect("configuration");
    path
}
