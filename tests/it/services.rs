//! The outside services that some tests need: a Docker Engine, PostgreSQL, a browser, images of real games.
//!
//! Each test asks here by its own name and returns early on `None`; what was left out is then printed by name. `./start.sh test`
//! sets every service up, says so in the environment, and sets `ROOST_TEST_ALL`: from then on a missing service fails its test, so
//! that nothing can be left out unseen. The names of the variables live in this file and in `start.sh` only.

use std::env;
use std::io::Write as _;
use std::path::PathBuf;

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

/// The Docker Engine, or the test is left out.
pub fn docker(test: &str) -> Option<Docker> {
    let docker = Docker { proxy_binary: setting("ROOST_PROXY_BINARY").map(PathBuf::from) };
    switched_on("ROOST_TEST_DOCKER").then_some(docker).or_else(|| leave_out(test, "a Docker Engine"))
}

/// The address of a PostgreSQL cluster in which databases may be made and dropped, or the test is left out.
pub fn postgres(test: &str) -> Option<String> {
    setting("ROOST_TEST_PG").or_else(|| leave_out(test, "PostgreSQL"))
}

/// A browser to drive, or the test is left out.
pub fn browser(test: &str) -> Option<Browser> {
    setting("ROOST_TEST_BROWSER").map(|driver| Browser { driver: driver.into() }).or_else(|| leave_out(test, "a browser"))
}

/// Images of real games, or the test is left out.
pub fn games(test: &str) -> Option<Games> {
    let games = Games { bzflag: "roost-test/bzflag:1", openarena: "roost-test/openarena:1", freeciv: "roost-test/freeciv:1" };
    switched_on("ROOST_TEST_GAMES").then_some(games).or_else(|| leave_out(test, "images of real games"))
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
