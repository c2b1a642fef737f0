//! The system's clock and the log: the two things that tests replace.

use std::time::UNIX_EPOCH;

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
