//! Work that many wait for and that is done once: a wake request, the opening of a game's port.
//!
//! The first who asks starts it, the others join it while it is under way. It is dropped when nobody waits any more, and the
//! next one who asks starts it anew.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

use super::tasks::Tasks;

/// At most one piece of work under way.
pub struct Flight<T> {
    slot: Mutex<Weak<watch::Sender<Option<T>>>>,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Self { slot: Mutex::new(Weak::new()) }
    }
}

/// A seat in it.
pub struct Seat<T>(watch::Receiver<Option<T>>);

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// Joins what is under way, or starts `work` as a task.
    pub fn board<F: Future<Output = T> + Send + 'static>(&self, tasks: &Tasks, work: impl FnOnce() -> F) -> Seat<T> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = slot.upgrade() {
            return Seat(sender.subscribe());
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        *slot = Arc::downgrade(&sender);
        drop(slot);
        let work = work();
        tasks.run(async move {
            tokio::select! {
                result = work => drop(sender.send_replace(Some(result))),
                () = sender.closed() => {}
            }
        });
        Seat(receiver)
    }

    /// Is anything under way?
    pub fn is_idle(&self) -> bool {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).strong_count() == 0
    }
}

impl<T: Clone> Seat<T> {
    /// The result; none when the work was given up, in which case one may ask again.
    pub async fn result(&mut self) -> Option<T> {
        match self.0.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_who_wait_share_one_piece_of_work() {
        let (flight, tasks, runs) = (Flight::<u32>::default(), Tasks::default(), Arc::new(AtomicU32::new(0)));
        let (go, gate) = watch::channel(false);
        let mut seats = Vec::new();
        for _ in 0..100 {
            let (runs, mut gate) = (Arc::clone(&runs), gate.clone());
            seats.push(flight.board(&tasks, || async move {
                let _ = gate.wait_for(|open| *open).await;
                runs.fetch_add(1, Ordering::SeqCst) + 1
            }));
        }
        go.send_replace(true);
        for seat in &mut seats {
            assert_eq!(seat.result().await, Some(1));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_dropped_and_can_be_started_again() {
        let (flight, tasks) = (Flight::<u32>::default(), Tasks::default());
        drop(flight.board(&tasks, std::future::pending));
        tokio::time::timeout(std::time::Duration::from_secs(5), async {
            while !flight.is_idle() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert_eq!(flight.board(&tasks, || async { 7 }).result().await, Some(7));
    }
}
