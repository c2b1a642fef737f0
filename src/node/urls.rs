//! Where layers are fetched from: the panel is asked for each one when it is needed, and gives an address for a short time.
//!
//! A node holds no key to the object store. The panel answers for layers of servers that stand on this node, and no others; a question
//! to a panel that is away fails, and comes again with the command.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::layers::LayerUrls;
use crate::model::layers::LayerRef;
use crate::wire::agent::{FromNode, UrlFor};

/// Longest wait for the panel's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Questions that wait for their answer.
pub struct PanelUrls {
    outbox: mpsc::Sender<FromNode>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<String, String>>>>,
}

impl PanelUrls {
    /// Asks through this pipe.
    pub fn new(outbox: mpsc::Sender<FromNode>) -> PanelUrls {
        PanelUrls { outbox, next: AtomicU64::new(1), waiting: Mutex::default() }
    }

    /// The panel answers.
    pub fn answered(&self, ask: u64, url: Result<String, String>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&ask);
        if waiting.is_none_or(|waiting| waiting.send(url).is_err()) {
            tracing::debug!(ask, "an address came for nobody");
        }
    }
}

#[async_trait::async_trait]
impl LayerUrls for PanelUrls {
    async fn url(&self, layer: &LayerRef) -> Result<String, String> {
        self.ask(UrlFor::Layer { layer: layer.clone() }).await
    }
}

impl PanelUrls {
    /// Asks for an address; or says why there is none, in words.
    pub async fn ask(&self, of: UrlFor) -> Result<String, String> {
        let ask = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(ask, sender);
        let question = FromNode::WantUrl { ask, of };
        let asked = async {
            self.outbox.send(question).await.map_err(|_| "the agent is ending".to_owned())?;
            answer.await.map_err(|_| "the agent is ending".to_owned())?
        };
        let answered = tokio::time::timeout(ANSWER_WITHIN, asked).await;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&ask);
        answered.unwrap_or_else(|_| Err("the panel does not answer; it is tried again when it does".to_owned()))
    }
}
