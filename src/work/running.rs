//! The work that runs, so that the end can wait for it, and stored events can let it go first.
//!
//! A sender that hangs up leaves its event's work behind, and no connection tells of it any more. If the
//! store were closed under it, an event that the app took would come again after the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many events are at work.
#[derive(Clone, Default)]
pub struct Running(Arc<Work>);

/// One event at work, until it is dropped.
pub struct AtWork(Running);

#[derive(Default)]
struct Work {
    count: AtomicUsize,
    begun: AtomicU64,
    /// Told whenever there is none left.
    ended: Notify,
}

// === impl Running ===

impl Running {
    /// Nothing runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub fn begin(&self) -> AtWork {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        AtWork(self.clone())
    }

    /// How many events are at work now.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// How many events there were so far.
    pub fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Waits until nothing runs.
    pub async fn ended(&self) {
        loop {
            // It is told of every end from its making on, so none between the look and the wait is missed.
            let ended = self.0.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let work = &*self.0.0;
        if work.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            work.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn the_end_is_waited_for_until_nothing_runs() {
        let running = Running::new();
        running.ended().await;
        let (one, two) = (running.begin(), running.begin());
        assert_eq!((running.count(), running.begun()), (2, 2));
        let mut ended = pin!(running.ended());
        for work in [one, two] {
            let polled = poll_fn(|context| Poll::Ready(ended.as_mut().poll(context))).await;
            assert!(polled.is_pending());
            drop(work);
        }
        ended.await;
        assert_eq!((running.count(), running.begun()), (0, 2));
    }
}
