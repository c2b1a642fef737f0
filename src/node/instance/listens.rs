//! Waits until a sidecar that has just been started listens, without knocking: a knock would wake its game.
//!
//! The kernel's tables of the sidecar's own network are read. Where they cannot be (an agent that is itself in a container), the wait is
//! short and nothing is concluded.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::model::games::Protocol;
use crate::model::servers::PublicPort;

/// Longest wait for a fresh sidecar's ports.
const LISTEN_WAIT: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// State of a listening TCP socket in the kernel's table.
const LISTENING: &str = "0A";

/// True: one of the lines of a kernel table is a socket that waits at this local port.
fn waits_at(table: &str, port: u16, protocol: Protocol) -> bool {
    let end = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&end));
        let state = fields.nth(1);
        local
            && match protocol {
                Protocol::Tcp => state == Some(LISTENING),
                Protocol::Udp => true,
            }
    })
}

fn all_open(pid: i64, ports: &[PublicPort]) -> Option<bool> {
    let tcp = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    let udp = std::fs::read_to_string(format!("/proc/{pid}/net/udp")).ok()?;
    let open = |port: &PublicPort| match port.protocol {
        Protocol::Tcp => waits_at(&tcp, port.public, Protocol::Tcp),
        Protocol::Udp => waits_at(&udp, port.public, Protocol::Udp),
    };
    Some(ports.iter().all(open))
}

/// Connections to a local port that the kernel has made and nobody has taken yet, by the tables of a process's network. None: they cannot
/// be read, or nobody listens there.
pub fn waiting_at(pid: i64, port: u16) -> Option<u64> {
    let tables = ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default());
    tables.iter().find_map(|table| waiting_in(table, port))
}

fn waiting_in(table: &str, port: u16) -> Option<u64> {
    let end = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, queues, ..] = fields[..] else { return None };
        let listens = local.ends_with(&end) && state == LISTENING;
        // Of a socket that listens, the second number is what waits.
        listens.then(|| queues.split_once(':').and_then(|(_, waiting)| u64::from_str_radix(waiting, 16).ok())).flatten()
    })
}

/// Waits for all ports, or for [`LISTEN_WAIT`].
pub async fn wait(pid: i64, ports: &[PublicPort]) {
    let end = Instant::now() + LISTEN_WAIT;
    while Instant::now() < end && all_open(pid, ports) == Some(false) {
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_at_a_port_is_read_of_the_socket_that_listens() {
        let table = "  sl  local_address rem_address   st tx_queue:rx_queue\n   0: 00000000:1E61 00000000:0000 0A 00000000:00000003 00\n   \
            1: 0100007F:1E61 0100007F:61AA 01 00000000:00000009 0\n";
        assert_eq!((waiting_in(table, 7_777), waiting_in(table, 80)), (Some(3), None));
    }

    #[test]
    fn only_a_listening_socket_counts() {
        let table =
            "  sl  local_address rem_address   st\n   0: 00000000:61A9 00000000:0000 0A 0\n   1: 0100007F:0050 0100007F:61AA 01 0\n";
        assert!(waits_at(table, 25_001, Protocol::Tcp));
        assert!(!waits_at(table, 80, Protocol::Tcp), "connected is not listening");
        assert!(!waits_at(table, 25_002, Protocol::Tcp), "the other side's port does not count");
        assert!(waits_at("head\n 0: 00000000:61A9 00000000:0000 07 0\n", 25_001, Protocol::Udp));
    }
}
