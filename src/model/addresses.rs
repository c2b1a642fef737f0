//! Addresses of the network, as far as limits go by them.

use std::net::{IpAddr, Ipv6Addr};

/// Leading bits of an IPv6 address that one household or one rented machine has to itself.
const HOUSEHOLD_BITS: u32 = 64;

/// Who an address stands for: an IPv4 address counts by itself, an IPv6 address by the /64 that its owner chooses from at will.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => IpAddr::V4(mapped),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << HOUSEHOLD_BITS))),
        },
    }
}

/// A host as it stands before a colon and a port: an IPv6 address gets its brackets.
pub fn before_a_port(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_gets_its_brackets_before_a_port() {
        assert_eq!(["::1", "[::1]", "192.0.2.1", "a.example"].map(before_a_port), ["[::1]", "[::1]", "192.0.2.1", "a.example"]);
    }

    #[test]
    fn ipv6_counts_by_its_household_and_ipv4_by_itself() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
