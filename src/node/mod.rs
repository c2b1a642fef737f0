//! The node agent: runs servers on this machine's Docker Engine, as the panel says, and tells what it sees.
//!
//! [`run`] is the whole agent: a future with a pipe in and a pipe out. Inside a panel the pipes are channels; on a machine of its own
//! they end in a connection. What must stay true: the folder and Docker's labels are the only memory, so that a kill at any point
//! loses nothing; the message loop never waits for Docker; what does not carry this panel's label is never touched.
//!
//! | file | what it does |
//! | --- | --- |
//! | `agent` | message loop, heartbeat, orphans |
//! | `instance/` | one server: its jobs one after the other |
//! | `docker/` | the only place that names bollard |
//! | `door` | the sidecars' unix sockets |
//! | `link/` | the way to a panel on another machine |
//! | `console`, `samples`, `disk`, `machine` | logs and input, measurements, what files take, the machine |
//! | `layers/`, `urls` | a server's folder out of templates, their cache, and where they come from |
//! | `backups/`, `download` | archives of a server's data, and what comes out of the object store |
//! | `images`, `program`, `firewall`, `record`, `aside` | images, the sidecar's program, packet filter, the memory on the disk, data that nobody knows |

mod agent;
mod aside;
mod backups;
mod config;
mod console;
mod ctx;
mod disk;
mod docker;
mod door;
mod download;
mod error;
mod firewall;
mod heartbeat;
mod images;
mod instance;
pub mod layers;
pub mod link;
mod machine;
mod program;
mod record;
mod samples;
mod stamps;
mod urls;

pub use agent::{NodeError, run};
pub use config::{BadPool, LOOK_EVERY, NodeConfig};

/// Takes away the packet filter's rules of an agent with this pool: for the end of a node's life, and for tests.
pub async fn remove_firewall(subnet_pool: &str) -> Result<(), String> {
    let pool = config::Pool::parse(subnet_pool).map_err(|error| error.to_string())?;
    firewall::Firewall::new(pool, true).remove().await.map_err(|error| error.to_string())
}
