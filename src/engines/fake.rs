//! An engine for tests: keeps what it was given, so that a test can answer in the node's place.

use std::sync::Mutex;

use super::{Engine, Undelivered};
use crate::model::ids::NodeId;
use crate::wire::agent::ToNode;

/// Keeps messages instead of sending them.
#[derive(Default)]
pub struct FakeEngine {
    kept: Mutex<Vec<(NodeId, ToNode)>>,
}

impl FakeEngine {
    /// Takes everything that was delivered since it was last asked.
    pub fn take(&self) -> Vec<(NodeId, ToNode)> {
        self.kept.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default()
    }
}

impl Engine for FakeEngine {
    fn deliver(&self, node: &NodeId, message: ToNode) -> Result<(), Undelivered> {
        self.kept.lock().map_err(|_| Undelivered::Offline)?.push((node.clone(), message));
        Ok(())
    }
}
