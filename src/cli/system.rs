//! The system's clock, which tests replace, and the limit of open files: how many there are, and how many of them strangers get.

use std::time::UNIX_EPOCH;

use rustix::process::{Resource, Rlimit};

use crate::http::link;
use crate::model::time::{Clock, Millis};

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// With fewer descriptors than this, many servers, players and backups at once run out of them.
pub const DESCRIPTORS_WANTED: u64 = 16_384;

/// Takes as many descriptors as the system lets this process have, and says so in the log where that is few.
pub fn raise_descriptors() {
    let most = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: most.maximum, maximum: most.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the limit of open files cannot be raised");
    }
    // None: there is no limit.
    let now = rustix::process::getrlimit(Resource::Nofile).current;
    if let Some(limit) = now.filter(|limit| *limit < DESCRIPTORS_WANTED) {
        tracing::warn!(
            limit,
            wanted = DESCRIPTORS_WANTED,
            "few files may be open at once: raise the hard limit (LimitNOFILE= in the unit, ulimit -Hn in a shell)"
        );
    }
}

/// Descriptors that strangers never get, whatever they do: links of nodes, sockets of sidecars, the database, files and the engine go on
/// with these. A quarter of the limit where that is more.
pub const DESCRIPTORS_RESERVED: u64 = 384;
/// Most connections of the web listener, however many descriptors there are: each takes memory.
const CONNECTIONS_MAX: u64 = 16_384;

/// How many connections strangers may hold open, by listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strangers {
    /// Of the web listener, sockets of pages among them.
    pub web: usize,
    /// Of the listener for nodes, links not counted.
    pub nodes: usize,
}

impl Strangers {
    /// With this limit of descriptors; none: there is no limit.
    fn within(limit: Option<u64>) -> Strangers {
        let limit = limit.unwrap_or(u64::MAX);
        let left = limit.saturating_sub(DESCRIPTORS_RESERVED.max(limit / 4));
        let nodes = (link::STRANGERS_MAX as u64).min(left / 4);
        let web = (left - nodes).min(CONNECTIONS_MAX);
        let at_least_one = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
        Strangers { web: at_least_one(web), nodes: at_least_one(nodes) }
    }

    /// With the limit that holds now.
    pub fn now() -> Strangers {
        Strangers::within(rustix::process::getrlimit(Resource::Nofile).current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_leave_descriptors_for_what_must_go_on() {
        for limit in [512, 1_024, 4_096, 16_384, 1 << 20] {
            let strangers = Strangers::within(Some(limit));
            assert!((strangers.web + strangers.nodes) as u64 + DESCRIPTORS_RESERVED <= limit, "{limit}: {strangers:?}");
        }
        assert_eq!(Strangers::within(Some(1_024)), Strangers { web: 480, nodes: 160 });
        assert_eq!(Strangers::within(None), Strangers { web: 16_384, nodes: 384 });
    }

    #[test]
    fn the_limit_of_open_files_becomes_the_highest_that_is_allowed() {
        let most = rustix::process::getrlimit(Resource::Nofile).maximum;
        let lower = Rlimit { current: Some(512), maximum: most };
        rustix::process::setrlimit(Resource::Nofile, lower).unwrap();
        raise_descriptors();
        assert_eq!(rustix::process::getrlimit(Resource::Nofile).current, most);
    }
}
