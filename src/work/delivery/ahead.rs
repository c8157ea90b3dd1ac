//! Reading the next events from the store, a few at a time, where that holds nobody up.

use std::collections::HashSet;
use std::sync::Arc;

use crate::keepers::breaker::Pass;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{Due, JobId, Queue, StoredJob};
use crate::words::dead::DeadReason;
use crate::work::delivery::Worker;

/// Reads that go on where the one before ended; then one begins at the front, whatever stands there. An event that
/// was due earlier than others and came to be so later, behind another one of its subject, waits no longer.
const READS_ON_MAX: usize = 8;

/// Where reading goes on.
#[derive(Default)]
pub(super) struct Ahead {
    /// Behind this place, or at the front.
    after: Option<Due>,
    /// Reads since it began at the front.
    reads: usize,
}

// === impl Ahead ===

impl Ahead {
    /// A read came as far as `last`, or to the end.
    fn goes_on(&mut self, last: Option<Due>) {
        self.after = last.filter(|_| self.reads < READS_ON_MAX);
        self.reads = match self.after {
            Some(_) => self.reads + 1,
            None => 0,
        };
    }
}

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
                // A walk may pass over thousands of events, and what comes in must not wait for its end.
                Ok(true) if self.ready.is_empty() => tokio::task::yield_now().await,
                Ok(true) => {}
                Ok(false) if self.hurry.is_on() => self.hurry.end(),
                Ok(false) | Err(_) => return None,
            }
        }
    }

    /// Whether memory says that the store has something due.
    fn has_due(&self) -> bool {
        let next = self.gate.queue.next_due(self.route.shelf);
        next.is_some_and(|next| self.hurry.is_on() || next <= self.gate.clock.now())
    }

    /// Reads the next due jobs, without those that are busy; gives back whether to go on, with them or with further
    /// ones.
    async fn read_ahead(&mut self) -> Result<bool, StoreError> {
        let is_hurried = self.hurry.is_on();
        let (until, after, passed_over) = match is_hurried {
            true => (None, self.hurry.after(), self.hurry.passed_over()),
            false => (
                Some(self.gate.clock.now()),
                self.ahead.after,
                HashSet::new(),
            ),
        };
        let shelf = self.route.shelf;
        let batch = self.route.config.queue.max_in_flight.max(16);
        let busy = self.route.busy.all();
        let limit = match after {
            Some(_) => batch,
            // Those that are busy stand at the front until their results are stored.
            None => busy.len() + batch,
        };
        let is_at_hand = self.gate.queue.is_at_hand(shelf, until);
        let read = move |queue: &dyn Queue| {
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
            let is_end = due.len() < limit && due.last() == last.as_ref();
            let jobs = queue.load(&ids, true)?;
            let jobs: Vec<_> = ids.into_iter().zip(jobs).collect();
            Ok((last, is_end, jobs))
        };
        // An event that was stored a moment ago goes on at once: a thread of its own would take longer than all of this,
        // which copies no more than the log has room for.
        let (last, is_end, jobs) = match is_at_hand {
            true => read(&*self.gate.queue)?,
            false => self.reading(read).await?,
        };
        for (id, job) in jobs {
            match job {
                Some(job) => self.ready.push_back(job),
                None => self.bury_unreadable(id).await,
            }
        }
        if is_hurried {
            self.hurry.goes_on(last);
            return Ok(last.is_some());
        }
        self.ahead.goes_on(last.filter(|_| !is_end));
        Ok(!self.ready.is_empty() || after.is_some())
    }

    /// Nothing was read ahead, and reading begins at the front.
    pub(super) fn forget_ahead(&mut self) {
        self.ready.clear();
        self.ahead.goes_on(None);
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

#[cfg(test)]
mod tests {
    use crate::words::time::Timestamp;

    use super::*;

    #[test]
    fn reading_goes_on_where_it_ended_and_begins_at_the_front_every_now_and_then() {
        let place = |number| Due {
            at: Timestamp::from_secs(1),
            id: JobId::from_number(number),
        };
        let mut ahead = Ahead::default();
        for _ in 0..3 {
            for number in 0..READS_ON_MAX as u64 {
                ahead.goes_on(Some(place(number)));
                assert_eq!(ahead.after, Some(place(number)));
            }
            ahead.goes_on(Some(place(99)));
            assert_eq!(ahead.after, None);
        }
        ahead.goes_on(Some(place(1)));
        ahead.goes_on(None);
        assert_eq!((ahead.after, ahead.reads), (None, 0));
    }
}
