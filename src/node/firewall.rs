//! Keeps games away from private ranges, from the host and from each other, while the internet stays reachable.
//!
//! Two chains of our own, named after the pool, hold all rules; they are replaced as a whole and hooked into `FORWARD` (what is passed
//! on) and `INPUT` (what is meant for the host) of the table `mangle`. Not into Docker's `DOCKER-USER`: Docker takes that chain out and puts
//! it back whenever a network is made, and a connection that slips through in between stays. Nobody else writes to `mangle`, and it is asked
//! first. Checked again before every start and from time to time. Programs are called with arguments, never through a shell.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::{DOOR_HOST, GAME_HOST, Pool};

/// The table of our rules.
const TABLE: &str = "mangle";
/// Ranges that a game has no business in.
const FORBIDDEN: [&str; 12] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
];
/// Where the host's own name servers are written.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// Most name servers that are let through.
const NAMESERVERS_MAX: usize = 8;
/// Longest run of one call.
const CALL_SECS: u64 = 15;
/// So long a check counts.
const CHECKED_FOR: Duration = Duration::from_secs(20);

/// Why games cannot be kept in.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// No such program.
    #[error(
        "The program `iptables` is missing, so that games could not be kept away from private networks. Install the package iptables, or turn the node's firewall setting off if your site does this itself"
    )]
    Missing,
    /// It says no.
    #[error(
        "The packet filter cannot be set up ({0}). Run the node agent as root, or turn the node's firewall setting off if your site does this itself"
    )]
    Refused(String),
}

/// The rules of one agent.
#[derive(Debug)]
pub struct Firewall {
    pool: Pool,
    wanted: bool,
    checked: Mutex<Option<(Instant, Vec<Ipv4Addr>)>>,
}

impl Firewall {
    /// For the networks of this pool. Not `wanted`: every call is content.
    pub fn new(pool: Pool, wanted: bool) -> Firewall {
        Firewall { pool, wanted, checked: Mutex::new(None) }
    }

    fn forward_chain(&self) -> String {
        format!("ROOST-F-{}", self.pool.key())
    }

    fn input_chain(&self) -> String {
        format!("ROOST-I-{}", self.pool.key())
    }

    /// Makes sure that the rules stand; cheap when that was checked a moment ago.
    pub async fn ensure(&self) -> Result<(), FirewallError> {
        if !self.wanted {
            return Ok(());
        }
        let nameservers = nameservers();
        let mut checked = self.checked.lock().await;
        let fresh = checked.as_ref().is_some_and(|(at, known)| at.elapsed() < CHECKED_FOR && *known == nameservers);
        if fresh {
            return Ok(());
        }
        *checked = None;
        let rules = rules(self.pool, &self.forward_chain(), &self.input_chain(), &nameservers);
        call("iptables-restore", &["-w", "5", "--noflush"], Some(&rules)).await?;
        for (hook, chain) in [("FORWARD", self.forward_chain()), ("INPUT", self.input_chain())] {
            let rule = ["-s", &self.pool.cidr(), "-j", &chain].map(str::to_owned);
            let with = |verb: &[&str]| verb.iter().map(|word| (*word).to_owned()).chain(rule.iter().cloned()).collect::<Vec<_>>();
            if call("iptables", &refs(&with(&["-w", "5", "-t", TABLE, "-C", hook])), None).await.is_err() {
                call("iptables", &refs(&with(&["-w", "5", "-t", TABLE, "-I", hook, "1"])), None).await?;
            }
        }
        *checked = Some((Instant::now(), nameservers));
        Ok(())
    }

    /// Takes the rules away again: for the end of a node's life and for tests.
    pub async fn remove(&self) -> Result<(), FirewallError> {
        *self.checked.lock().await = None;
        for (hook, chain) in [("FORWARD", self.forward_chain()), ("INPUT", self.input_chain())] {
            let pool = self.pool.cidr();
            while call("iptables", &["-w", "5", "-t", TABLE, "-D", hook, "-s", &pool, "-j", &chain], None).await.is_ok() {}
            call("iptables", &["-w", "5", "-t", TABLE, "-F", &chain], None).await?;
            call("iptables", &["-w", "5", "-t", TABLE, "-X", &chain], None).await?;
        }
        Ok(())
    }
}

fn refs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// All rules, in the form that replaces both chains at once.
fn rules(pool: Pool, forward: &str, input: &str, nameservers: &[Ipv4Addr]) -> String {
    let (doors, games) = (pool.each(DOOR_HOST), pool.each(GAME_HOST));
    let mut lines = vec![format!("*{TABLE}"), format!(":{forward} - [0:0]"), format!(":{input} - [0:0]")];
    for chain in [forward, input] {
        lines.push(format!("-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"));
    }
    // A sidecar speaks to its game (Docker keeps the bridges apart) and otherwise only answers.
    lines.push(format!("-A {forward} -s {doors} -d {games} -j RETURN"));
    for chain in [forward, input] {
        lines.push(format!("-A {chain} -s {doors} -j DROP"));
        for server in nameservers {
            for protocol in ["udp", "tcp"] {
                lines.push(format!("-A {chain} -d {server} -p {protocol} --dport 53 -j RETURN"));
            }
        }
    }
    for range in FORBIDDEN {
        lines.push(format!("-A {forward} -d {range} -j DROP"));
    }
    lines.push(format!("-A {forward} -d {} -j DROP", pool.cidr()));
    lines.push(format!("-A {input} -j DROP"));
    lines.push("COMMIT\n".to_owned());
    lines.join("\n")
}

/// The name servers that Docker's resolver asks for containers. Loopback ones are asked by Docker itself, not from the container.
fn nameservers() -> Vec<Ipv4Addr> {
    let mut found: Vec<Ipv4Addr> = RESOLVERS
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().filter_map(nameserver).collect::<Vec<_>>())
        .filter(|address| !address.is_loopback())
        .collect();
    found.sort();
    found.dedup();
    found.truncate(NAMESERVERS_MAX);
    found
}

fn nameserver(line: &str) -> Option<Ipv4Addr> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
}

async fn call(program: &str, arguments: &[&str], input: Option<&str>) -> Result<(), FirewallError> {
    let refused = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => FirewallError::Missing,
        _ => FirewallError::Refused(error.to_string()),
    };
    let mut command = Command::new(program);
    // Agents are often started with a short path, and Debian keeps the program in a folder for administrators.
    command.args(arguments).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin").kill_on_drop(true);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(refused)?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).await.map_err(refused)?;
    }
    let ended = tokio::time::timeout(Duration::from_secs(CALL_SECS), child.wait_with_output());
    let output = ended.await.map_err(|_| FirewallError::Refused(format!("{program} did not end")))?.map_err(refused)?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let first = words.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
    Err(FirewallError::Refused(format!("{program}: {}", first.chars().take(200).collect::<String>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_let_through_before_their_range_is_closed() {
        let pool = Pool::parse("10.83.0.0/16").unwrap();
        let text = rules(pool, "F", "I", &["10.255.255.53".parse().unwrap()]);
        let place = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} in {text}"));
        assert!(place("-A F -d 10.255.255.53 -p udp --dport 53 -j RETURN") < place("-A F -d 10.0.0.0/8 -j DROP"));
        assert!(place("-A F -s 10.83.0.2/255.255.0.7 -d 10.83.0.3/255.255.0.7 -j RETURN") < place("-A F -s 10.83.0.2/255.255.0.7 -j DROP"));
        assert!(text.ends_with("-A I -j DROP\nCOMMIT\n"));
    }

    #[test]
    fn only_name_server_lines_count() {
        assert_eq!(nameserver("nameserver 192.0.2.1"), Some(Ipv4Addr::new(192, 0, 2, 1)));
        for other in ["# nameserver 192.0.2.1", "search 192.0.2.1", "nameserver ::1", "nameserver", ""] {
            assert_eq!(nameserver(other), None, "{other}");
        }
    }
}
