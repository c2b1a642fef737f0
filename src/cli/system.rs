//! The system's clock and the log, which tests replace, and the limit of open files.

use std::time::UNIX_EPOCH;

use rustix::process::{Resource, Rlimit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::model::time::{Clock, Millis};
use crate::settings;

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
        tracing::warn!(%error, "the limit of open files cannot be raised");
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

/// Opens the log on standard error: JSON lines, or text for people.
pub fn log(settings: &settings::Log) {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if settings.json {
        registry.with(layer.json().flatten_event(true)).init();
    } else {
        registry.with(layer.compact()).init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_becomes_the_highest_that_is_allowed() {
        let most = rustix::process::getrlimit(Resource::Nofile).maximum;
        let lower = Rlimit { current: Some(512), maximum: most };
        rustix::process::setrlimit(Resource::Nofile, lower).unwrap();
        raise_descriptors();
        assert_eq!(rustix::process::getrlimit(Resource::Nofile).current, most);
    }
}
