//! What a node agent is told at its start. Made by `cli` from the settings; nothing here changes while the agent runs.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::ids::NodeId;
use crate::model::nodes::Profile;

/// Settings of one agent.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Who the agent is: the label of everything that it makes.
    pub node: NodeId,
    /// What it says of itself to the panel.
    pub profile: Profile,
    /// The instance folders live below it. Made when it is not there.
    pub data_dir: PathBuf,
    /// Private range that the servers' networks are cut from, such as `10.83.0.0/16`.
    pub subnet_pool: String,
    /// Address that public ports are opened on, such as `0.0.0.0`.
    pub bind_host: String,
    /// The static `roost-proxy` program: the sidecar and the demo game are made from it.
    pub proxy_binary: PathBuf,
    /// Keep games away from private ranges, the host and each other. Off where the site does that itself.
    pub firewall: bool,
    /// Docker's address; none: `DOCKER_HOST`, or else the usual socket.
    pub docker_socket: Option<String>,
    /// Seconds that a sidecar holds a client while the game starts.
    pub hold_secs: u32,
    /// Between two looks at every server, for what a list of containers does not show.
    pub look_every: Duration,
}

/// How often every server is looked at unless told otherwise.
pub const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Where Docker listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The range of the servers' networks: each server has a /29, its own bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    base: u32,
    prefix: u32,
}

/// The pool cannot be read or is too small.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range for server networks; write it like 10.83.0.0/16, with a prefix from 8 to 28")]
pub struct BadPool(String);

/// Addresses of one server's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    base: u32,
}

impl Pool {
    /// Reads `10.83.0.0/16`.
    pub fn parse(text: &str) -> Result<Pool, BadPool> {
        let bad = || BadPool(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let base = u32::from(address.parse::<Ipv4Addr>().map_err(|_| bad())?);
        let prefix: u32 = prefix.parse().map_err(|_| bad())?;
        let aligned = (8..=28).contains(&prefix) && base.trailing_zeros() >= 32 - prefix;
        if aligned { Ok(Pool { base, prefix }) } else { Err(bad()) }
    }

    /// The /29 with this number; none past the end of the pool.
    pub fn subnet(self, number: u32) -> Option<Subnet> {
        let count = 1_u32 << (29 - self.prefix);
        (number < count).then(|| Subnet { base: self.base + number * 8 })
    }

    /// First address in hexadecimal and the prefix: tells the pools of two agents on one machine apart.
    pub fn key(self) -> String {
        format!("{:08x}{}", self.base, self.prefix)
    }

    /// As written in a rule: `10.83.0.0/16`.
    pub fn cidr(self) -> String {
        format!("{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }

    /// Matches the `host`th address of every /29 of the pool: address and mask for a packet filter.
    pub fn each(self, host: u32) -> String {
        let mask = (u32::MAX << (32 - self.prefix)) | 7;
        format!("{}/{}", Ipv4Addr::from(self.base + host), Ipv4Addr::from(mask))
    }
}

impl Subnet {
    /// Such as `10.83.0.8/29`.
    pub fn cidr(self) -> String {
        format!("{}/29", Ipv4Addr::from(self.base))
    }
    /// The bridge, which is the host.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }
    /// The sidecar.
    pub fn door(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + DOOR_HOST)
    }
    /// The game.
    pub fn game(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + GAME_HOST)
    }
}

/// The sidecar's place in its /29.
pub const DOOR_HOST: u32 = 2;
/// The game's place in its /29.
pub const GAME_HOST: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_cut_into_networks_of_eight() {
        let pool = Pool::parse("10.83.0.0/16").unwrap();
        let second = pool.subnet(1).unwrap();
        assert_eq!(second.cidr(), "10.83.0.8/29");
        assert_eq!((second.gateway().to_string(), second.door().to_string()), ("10.83.0.9".into(), "10.83.0.10".into()));
        assert_eq!(pool.subnet(8_191).unwrap().game().to_string(), "10.83.255.251");
        assert_eq!(pool.subnet(8_192), None);
        assert_eq!(pool.each(DOOR_HOST), "10.83.0.2/255.255.0.7");
    }

    #[test]
    fn what_is_not_a_pool_is_refused() {
        for bad in ["", "10.83.0.0", "10.83.0.1/16", "10.83.0.0/29", "10.0.0.0/7", "x/16", "10.83.0.0/16 "] {
            assert!(Pool::parse(bad).is_err(), "{bad}");
        }
    }
}
