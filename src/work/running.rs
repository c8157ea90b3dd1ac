//! The work that runs, so that the end can wait for it.
//!
//! A sender that hangs up leaves its event's work behind, and no connection tells of it any more. If the
//! store were closed under it, an event that the app took would come again after the start.

use std::sync::Arc;

use tokio::sync::watch;

/// How many events are at work.
#[derive(Clone)]
pub struct Running(Arc<watch::Sender<usize>>);

/// One event at work, until it is dropped.
pub struct AtWork(Running);

// === impl Running ===

impl Running {
    /// Nothing runs.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// One more.
    pub fn begin(&self) -> AtWork {
        self.0.send_modify(|count| *count += 1);
        AtWork(self.clone())
    }

    /// Waits until nothing runs.
    pub async fn ended(&self) {
        // The sender is ours, so it cannot be gone.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Default for Running {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
