//! Servers on Docker, by way of node agents. Holds one bounded queue for each linked node.

use std::collections::HashMap;
use std::sync::RwLock;

use tokio::sync::mpsc;

use super::{Engine, Undelivered};
use crate::model::ids::NodeId;
use crate::wire::agent::ToNode;

/// Messages that wait for a node; more are refused, and commands come again from the outbox.
pub const QUEUE: usize = 1_024;

/// The links to all agents.
#[derive(Default)]
pub struct DockerEngine {
    links: RwLock<HashMap<NodeId, mpsc::Sender<ToNode>>>,
}

impl DockerEngine {
    /// Links a node; an older link of the same node ends.
    pub fn connect(&self, node: NodeId) -> mpsc::Receiver<ToNode> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        if let Ok(mut links) = self.links.write() {
            links.insert(node, sender);
        }
        receiver
    }
}

impl Engine for DockerEngine {
    fn deliver(&self, node: &NodeId, message: ToNode) -> Result<(), Undelivered> {
        let links = self.links.read().map_err(|_| Undelivered::Offline)?;
        let link = links.get(node).ok_or(Undelivered::Offline)?;
        link.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Undelivered::Behind,
            mpsc::error::TrySendError::Closed(_) => Undelivered::Offline,
        })
    }
}
