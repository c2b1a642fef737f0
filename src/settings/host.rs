//! The host of an address that an operator has set, read as browsers read it: ports, paths, brackets and all.

use url::{Host, Url};

/// Hosts that requests may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// Their names; none: any.
    pub names: Vec<String>,
    /// This machine may also be named by an address, which no name of a stranger can stand for.
    pub addresses: bool,
}

impl Hosts {
    /// As they are set, with commas between them: where nothing is, the own host and addresses; `*` stands for any.
    pub(super) fn read(set: &str, own: &str) -> Hosts {
        let names: Vec<String> = set.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_lowercase).collect();
        match names.as_slice() {
            [] => Hosts { names: vec![own.to_owned()], addresses: true },
            [any] if any == "*" => Hosts { names: Vec::new(), addresses: false },
            _some => Hosts { names, addresses: false },
        }
    }
}

/// The host of an HTTP address; an IPv6 address stands in brackets, as it does wherever a port follows. None: it is no such address.
pub fn host(address: &str) -> Option<String> {
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    url.host_str().filter(|host| !host.is_empty()).map(str::to_owned)
}

/// A host as it stands behind the `@` of a sender. An address of the network has no mailbox names of its own.
pub fn of_a_sender(host: &str) -> &str {
    match Host::parse(host) {
        Ok(Host::Domain(_) | Host::Ipv4(_)) => host,
        Ok(Host::Ipv6(_)) | Err(_) => "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_whole() {
        for (address, expected) in [
            ("http://localhost:8000", Some("localhost")),
            ("https://panel.example.org/", Some("panel.example.org")),
            ("https://panel.example.org?x", Some("panel.example.org")),
            ("https://user:secret@panel.example.org:444/a:b", Some("panel.example.org")),
            ("http://[::1]:8101", Some("[::1]")),
            ("http://192.0.2.1:8000", Some("192.0.2.1")),
            ("ftp://panel.example.org", None),
            ("http://", None),
            ("panel.example.org", None),
        ] {
            assert_eq!(host(address).as_deref(), expected, "{address}");
        }
        for (set, names, addresses) in
            [("", ["panel.example"].as_slice(), true), ("*", &[], false), (" A.example, b.example", &["a.example", "b.example"], false)]
        {
            let hosts = Hosts::read(set, "panel.example");
            assert_eq!((hosts.names.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), hosts.addresses), (names, addresses));
        }
        assert_eq!(["[::1]", "192.0.2.1", "a.example"].map(of_a_sender), ["localhost", "192.0.2.1", "a.example"]);
    }
}
