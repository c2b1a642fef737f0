//! The outside services that some tests need: a Docker Engine, PostgreSQL, an S3 server, a browser, images of real games.
//!
//! Each test asks here by its own name and returns early on `None`; what was left out is then printed by name. `./start.sh test`
//! sets every service up, says so in the environment, and sets `ROOST_TEST_ALL`: from then on a missing service fails its test, so
//! that nothing can be left out unseen. The names of the variables live in this file and in `start.sh` only.

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Docker Engine that answers at its usual place.
#[derive(Debug)]
pub struct Docker {
    proxy_binary: Option<PathBuf>,
}

impl Docker {
    /// The static `roost-proxy`, which becomes the sidecar's image.
    ///
    /// # Panics
    /// Where `ROOST_PROXY_BINARY` does not name a file: `./start.sh test` builds one and says so.
    pub fn proxy_binary(&self) -> PathBuf {
        let path = self.proxy_binary.clone().expect("ROOST_PROXY_BINARY names the static roost-proxy");
        assert!(path.is_file(), "ROOST_PROXY_BINARY names {}, which is not a file", path.display());
        path
    }
}

/// A chromedriver to start; the browser that it drives is found by itself.
#[derive(Debug)]
pub struct Browser {
    /// Path of the program.
    pub driver: PathBuf,
}

/// Images of real games, made by `tests/games/make` out of Debian packages, and their own query programs on this machine.
#[derive(Debug)]
pub struct Games {
    /// TCP and UDP 5154; `bzfquery` asks it.
    pub bzflag: &'static str,
    /// UDP 27960; `quakestat -q3s` asks it.
    pub openarena: &'static str,
    /// TCP 5556; its log says `Now accepting` when it is ready, and its console reads standard input.
    pub freeciv: &'static str,
}

/// A disk of its own, in memory, that a test can fill.
#[derive(Debug)]
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes until nothing more fits.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).expect("a file");
        let block = vec![b'x'; 4_096];
        while file.write_all(&block).is_ok() {}
    }

    /// Takes what filled it away again.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

/// A disk of so many MiB, or the test is left out: mounting takes root.
pub fn small_disk(test: &str, mib: u32) -> Option<SmallDisk> {
    let folder = tempfile::tempdir().expect("a folder");
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(folder.path()).output();
    let mounted = mount.is_ok_and(|done| done.status.success());
    mounted.then_some(SmallDisk { folder }).or_else(|| leave_out(test, "the right to mount a disk in memory"))
}

/// The Docker Engine, or the test is left out.
pub fn docker(test: &str) -> Option<Docker> {
    let docker = Docker { proxy_binary: setting("ROOST_PROXY_BINARY").map(PathBuf::from) };
    switched_on("ROOST_TEST_DOCKER").then_some(docker).or_else(|| leave_out(test, "a Docker Engine"))
}

/// The address of a PostgreSQL cluster in which databases may be made and dropped, or the test is left out.
pub fn postgres(test: &str) -> Option<String> {
    setting("ROOST_TEST_PG").or_else(|| leave_out(test, "PostgreSQL"))
}

/// The program of an S3 server to start, or the test is left out.
pub fn s3(test: &str) -> Option<PathBuf> {
    setting("ROOST_TEST_S3").map(PathBuf::from).or_else(|| leave_out(test, "an S3 server"))
}

/// A browser to drive, or the test is left out.
pub fn browser(test: &str) -> Option<Browser> {
    setting("ROOST_TEST_BROWSER").map(|driver| Browser { driver: driver.into() }).or_else(|| leave_out(test, "a browser"))
}

/// The program of an OpenID provider to start, or the test is left out.
pub fn oidc(test: &str) -> Option<PathBuf> {
    setting("ROOST_TEST_OIDC").map(PathBuf::from).or_else(|| leave_out(test, "an OpenID provider"))
}

/// The program of a mail server to start, or the test is left out.
pub fn smtp(test: &str) -> Option<PathBuf> {
    setting("ROOST_TEST_SMTP").map(PathBuf::from).or_else(|| leave_out(test, "a mail server"))
}

/// Images of real games, or the test is left out.
pub fn games(test: &str) -> Option<Games> {
    let games = Games { bzflag: "roost-test/bzflag:1", openarena: "roost-test/openarena:1", freeciv: "roost-test/freeciv:1" };
    switched_on("ROOST_TEST_GAMES").then_some(games).or_else(|| leave_out(test, "images of real games"))
}

/// How this process makes TLS connections; asked for before any client is built.
pub fn ring() {
    let _already = rustls::crypto::ring::default_provider().install_default();
}

fn setting(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn switched_on(name: &str) -> bool {
    setting(name).is_some_and(|value| value == "1")
}

/// Written to standard error itself, because the test runner keeps what `println!` says to itself while a test passes.
fn leave_out<T>(test: &str, service: &str) -> Option<T> {
    assert!(!switched_on("ROOST_TEST_ALL"), "{test}: needs {service}, and ROOST_TEST_ALL says that nothing may be left out");
    let line = format!("left out: {test}: needs {service}; run ./start.sh test\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
    None
}

/// Ports for programs of tests, below those that the kernel gives out by itself: one that was let go for a moment, because its program
/// was killed and comes again, is nobody else's meanwhile.
pub const LISTENERS: std::ops::Range<u16> = 11_000..20_000;
/// Public ports of nodes that a test makes for itself; programs of tests have theirs above.
pub const DOORS: std::ops::Range<u16> = 25_000..27_000;

/// A port for TCP and UDP at which nothing listens, and that no other test of this process gets before it has gone round.
pub fn free_port(range: &std::ops::Range<u16>) -> u16 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let length = u32::from(range.end - range.start);
    for _ in 0..length {
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst).wrapping_add(std::process::id().wrapping_mul(97));
        let port = range.start + u16::try_from(n % length).expect("within the range");
        let free = std::net::TcpListener::bind(("0.0.0.0", port)).is_ok() && std::net::UdpSocket::bind(("0.0.0.0", port)).is_ok();
        if free {
            return port;
        }
    }
    panic!("every port of {range:?} is taken");
}
