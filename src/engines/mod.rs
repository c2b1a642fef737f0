//! Where servers run, behind one trait: something that takes messages for a node and never makes its caller wait.
//!
//! What comes back from a node goes to `domain::nodes::receive`, whichever engine it came through.

pub mod docker;
pub mod fake;

use crate::model::ids::NodeId;
use crate::wire::agent::ToNode;

/// The message was not handed on. Commands stay in the outbox and go out later; anything else is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The node has no link.
    #[error("the node is not connected")]
    Offline,
    /// Its queue is full.
    #[error("the node is behind with its work")]
    Behind,
}

/// Takes messages for nodes.
pub trait Engine: Send + Sync + 'static {
    /// Hands a message on, at once or not at all.
    fn deliver(&self, node: &NodeId, message: ToNode) -> Result<(), Undelivered>;
}
