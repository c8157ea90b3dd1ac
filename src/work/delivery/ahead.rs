//! Reading the next events from the store, a few at a time, where that holds nobody up.

use std::collections::HashSet;
use std::sync::Arc;

use crate::keepers::breaker::Pass;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{JobId, Queue, StoredJob};
use crate::words::dead::DeadReason;
use crate::work::delivery::Worker;

// === impl Worker ===

impl Worker {
    /// The next job to attempt, read from the store if none was read ahead.
    pub(super) async fn next_job(&mut self) -> Option<StoredJob> {
        loop {
            if let Some(job) = self.ready.pop_front() {
                return Some(job);
            }
            if !self.has_due() {
                return None;
            }
            match self.read_ahead().await {
                Ok(0) if self.hurry.is_on() => self.hurry.end(),
                Ok(0) => return None,
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Whether memory says that the store has something due.
    fn has_due(&self) -> bool {
        let next = self.gate.queue.next_due(self.route.shelf);
        next.is_some_and(|next| self.hurry.is_on() || next <= self.gate.clock.now())
    }

    /// Reads the next due jobs, without those that are busy; gives back how many places were looked at.
    async fn read_ahead(&mut self) -> Result<usize, StoreError> {
        let is_hurried = self.hurry.is_on();
        let (until, after, passed_over) = match is_hurried {
            true => (None, self.hurry.after(), self.hurry.passed_over()),
            false => (Some(self.gate.clock.now()), None, HashSet::new()),
        };
        let shelf = self.route.shelf;
        let batch = self.route.config.queue.max_in_flight.max(16);
        let busy = self.route.busy.all();
        // Those that are busy stand at the front until their results are stored.
        let limit = busy.len() + batch;
        let read = self.reading(move |queue| {
            let due = queue.due(shelf, until, after, limit)?;
            let mut last = None;
            let mut ids: Vec<JobId> = Vec::with_capacity(batch);
            for place in &due {
                if ids.len() == batch {
                    break;
                }
                last = Some(*place);
                if !busy.contains(&place.id) && !passed_over.contains(&place.id) {
                    ids.push(place.id);
                }
            }
            let jobs = queue.load(&ids, true)?;
            let jobs: Vec<_> = ids.into_iter().zip(jobs).collect();
            Ok((due.len(), last, jobs))
        });
        let (looked_at, last, jobs) = read.await?;
        for (id, job) in jobs {
            match job {
                Some(job) => self.ready.push_back(job),
                None => self.bury_unreadable(id).await,
            }
        }
        if is_hurried {
            self.hurry.goes_on(last);
            return Ok(looked_at);
        }
        Ok(self.ready.len())
    }

    /// Asks the store where it holds nobody up.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Queue) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let queue = Arc::clone(&self.gate.queue);
        let read = tokio::task::spawn_blocking(move || read(&*queue)).await;
        read.unwrap_or(Err(StoreError::Unavailable))
    }

    /// A job that can be listed but not read would stand at the front for ever.
    pub(super) async fn bury_unreadable(&self, id: JobId) {
        let delivery = self.delivery(Pass::Free);
        delivery.dead(id, None, DeadReason::Damaged).await;
    }
}
