//! How an agent on a machine of its own reaches its panel: joins once, then keeps one link, for ever.
//!
//! Called by `cli`. [`run`] is the agent of [`super::run`] with its two pipes at this end of the link. The panel may be away for as long
//! as it likes: the agent dials again with growing waits and never ends because of it. What the agent says while there is no link is
//! dropped; the panel asks again for every answer that it misses, and the heartbeat holds the rest.

mod dial;
mod keep;
mod line;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{NodeConfig, NodeError};
use crate::model::ids::NodeId;
use crate::model::time::Clock;
use crate::trust::TrustError;

pub use dial::{Socket, join, link as dial};
pub use keep::{Identity, Keep};
pub use line::Line;

/// Messages that wait on either side of the link.
const QUEUE: usize = 1_024;

/// Why a machine cannot join, or an agent cannot begin or reach its panel.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing is kept.
    #[error("this machine has not joined a panel. Make a token on the panel's page of nodes, then run: roost node join TOKEN")]
    NotJoined,
    /// The folder is somebody else's.
    #[error(
        "{folder} holds servers of {owner}, and this token is for the node {node}. Make a token on that node's own page, or give this agent a DATA_DIR of its own"
    )]
    Occupied {
        /// The data folder.
        folder: String,
        /// Whose servers they are.
        owner: String,
        /// Whom the token is for.
        node: NodeId,
    },
    /// It has joined as another node since the agent began.
    #[error("this machine has joined as the node {0} meanwhile. Start the agent again, so that it becomes that node")]
    Another(NodeId),
    /// What is kept cannot be read or written.
    #[error("the files of the link in {folder} cannot be used")]
    Files {
        /// Where they are.
        folder: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Nobody listens there.
    #[error("the panel does not answer at {address}. Is it running, and is its NODE_LISTEN reachable from here?")]
    Away {
        /// Where it should be.
        address: String,
        /// What the line said.
        #[source]
        source: std::io::Error,
    },
    /// It is not the panel that was meant, or no panel at all.
    #[error("whoever answers at {address} is not the panel that this machine trusts")]
    Stranger {
        /// Where.
        address: String,
        /// What was wrong.
        #[source]
        source: TrustError,
    },
    /// The panel says no.
    #[error("the panel refused: {0}")]
    Refused(String),
    /// An answer that cannot be read.
    #[error("the panel gave an answer that cannot be read; panel and agent may be of very different versions")]
    Unreadable,
    /// A key could not be made.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The agent.
    #[error(transparent)]
    Agent(#[from] NodeError),
}

/// How often things are tried.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// First wait before dialling again.
    pub first: Duration,
    /// Longest wait before dialling again.
    pub most: Duration,
    /// Between two looks at the certificate's age.
    pub look: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { first: Duration::from_millis(500), most: Duration::from_mins(1), look: Duration::from_mins(1) }
    }
}

/// Runs an agent linked to the panel that this machine has joined, until `stop`.
///
/// # Errors
/// [`LinkError::NotJoined`], [`LinkError::Files`] and [`LinkError::Agent`]; nothing that the panel or the line does.
pub async fn run(config: NodeConfig, clock: Arc<dyn Clock>, pace: Pace, stop: CancellationToken) -> Result<(), LinkError> {
    let keep = Keep::new(&config.data_dir);
    keep.current()?.ok_or(LinkError::NotJoined)?;
    let node = config.node.clone();
    let (to_agent, inbox) = mpsc::channel(QUEUE);
    let (outbox, from_agent) = mpsc::channel(QUEUE);
    let end = stop.child_token();
    let agent = async {
        let done = super::run(config, clock.clone(), inbox, outbox, end.clone()).await;
        // Without its agent a link has nothing to say.
        end.cancel();
        done
    };
    let line = line::Line { node, keep, clock: clock.clone(), pace, to_agent, from_agent, stop: end.clone() };
    let (agent, ()) = tokio::join!(agent, line.hold());
    Ok(agent?)
}
