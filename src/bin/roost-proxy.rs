//! The sidecar's program: `roost-proxy --config /door/door.json`, and the built-in game: `roost-proxy demo`.
//!
//! It faces the internet, so it links little and does one thing. One thread serves everything: what it does between two
//! system calls is short, and a second thread would cost more in memory and hand-overs than it brings.

use std::fs::File;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use roost::model::time::{Clock, Millis};
use roost::proxy::bounds::CONFIG_BYTES_MAX;
use roost::proxy::log::Log;
use roost::proxy::{Bounds, Proxy, demo};
use roost::wire::door::MARK;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: roost-proxy --config FILE\n       roost-proxy --version\n       roost-proxy demo [--listen ADDRESS:PORT]";

/// The machine's clock.
struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Millis {
        #[expect(clippy::disallowed_methods, reason = "this is the one clock of this program; everything else is given it")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no runtime: {error}")),
    };
    let ended = match words.as_slice() {
        ["--config", path] => runtime.block_on(serve(path)),
        ["--version"] => {
            let _ = writeln!(std::io::stdout(), "{MARK}");
            Ok(())
        }
        ["demo"] => return runtime.block_on(demo::main(demo::LISTEN)),
        ["demo", "--listen", listen] => return runtime.block_on(demo::main(listen)),
        _anything_else => Err(USAGE.to_owned()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => fail(&words),
    }
}

fn fail(words: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{words}");
    ExitCode::from(2)
}

async fn serve(path: &str) -> Result<(), String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(CONFIG_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| format!("cannot read {path}: {error}"))?;
    let config = serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    let clock: Arc<dyn Clock> = Arc::new(MachineClock);
    let log = Log::new(Arc::clone(&clock));
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let proxy = Proxy::bind(&config, &Bounds::default(), &clock, &log).map_err(|error| error.to_string())?;
    drop((text, config));
    log.line("-", "serving", &format!("{} ports", proxy.addresses().len()));
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    proxy.run(stop).await;
    log.line("-", "stopped", "");
    Ok(())
}
