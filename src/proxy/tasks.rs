//! The one owner of the sidecar's tasks. Nothing runs that is not in here, and all of it ends when the owner says so.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{AbortHandle, JoinSet};

/// A set of running tasks. Cheap to clone: all clones are the same set.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Runs `task` until it ends or the set does.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are let go here, so the set stays as small as what runs.
        while set.try_join_next().is_some() {}
        set.spawn(task)
    }

    /// Lets go of those that have ended, for times when nothing new is run.
    pub fn tidy(&self) {
        while self.0.lock().unwrap_or_else(PoisonError::into_inner).try_join_next().is_some() {}
    }

    /// Ends all of them where they stand.
    pub fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}
