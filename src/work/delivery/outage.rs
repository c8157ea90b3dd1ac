//! What the worker does while its app is away: it looks for the event that a probe says the most with, and
//! gives up what has waited for too long.
//!
//! No attempts are spent on an app that is away, so no result would ever tell that an event's time is over.
//! While the app is there, an event that is late gets one attempt all the same.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::keepers::breaker::Pass;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{Due, JobId, StoredJob};
use crate::words::dead::DeadReason;
use crate::work::delivery::Worker;

/// Events among which a probe's is chosen.
const PROBE_LOOK: usize = 64;

/// Events that are looked at, and perhaps given up, in one step.
const BURIAL_STEP: usize = 256;

/// The pause between two steps that found nothing to give up.
const BURIAL_PAUSE: Duration = Duration::from_millis(250);

/// A walk over what waits, again and again for as long as the outage lasts.
#[derive(Default)]
pub struct Burial {
    after: Option<Due>,
    not_before: Duration,
}

// === impl Worker ===

impl Worker {
    /// The event for a probe, if one may be made: the one with the fewest attempts, and of several the first
    /// that is due. An event that is poison to the app has been attempted before.
    pub(super) async fn probe_event(&self) -> Result<Option<StoredJob>, StoreError> {
        let busy = self.route.busy.all();
        let shelf = self.route.shelf;
        let chosen = self
            .reading(move |queue| {
                let due = queue.due(shelf, None, None, PROBE_LOOK + busy.len())?;
                let ids = due.iter().map(|place| place.id);
                let ids: Vec<JobId> = ids.filter(|id| !busy.contains(id)).collect();
                let jobs = queue.load(&ids, false)?;
                // What cannot be read is the first to be loaded, and buried then.
                let attempts =
                    |job: &Option<StoredJob>| job.as_ref().map_or(0, |job| job.info.attempts);
                let chosen = ids
                    .iter()
                    .zip(&jobs)
                    .min_by_key(|(_, job)| attempts(job))
                    .map(|(id, _)| *id);
                let Some(id) = chosen else {
                    return Ok(None);
                };
                let job = queue.load(&[id], true)?.pop().flatten();
                Ok(Some((id, job)))
            })
            .await?;
        if let Some((id, None)) = &chosen {
            self.bury_unreadable(*id).await;
        }
        Ok(chosen.and_then(|(_, job)| job))
    }

    /// Gives up events whose time is over. Nothing is given up while the clock is not believed.
    pub(super) async fn bury_overdue(&mut self) {
        let now = self.gate.clock.elapsed();
        if now < self.burial.not_before || !self.is_anything_overdue() {
            return;
        }
        let Ok(places) = self.burial_step().await else {
            return;
        };
        let (looked_at, last, overdue) = places;
        if overdue.is_empty() {
            self.burial.not_before = now + BURIAL_PAUSE;
            self.burial.after = last.filter(|_| looked_at == BURIAL_STEP);
            return;
        }
        // The next step begins where this one did: what it gives up is there no more.
        let mut burying = JoinSet::new();
        for id in overdue {
            let delivery = self.delivery(Pass::Free);
            burying.spawn(async move { delivery.dead(id, None, DeadReason::GivenUp).await });
        }
        while burying.join_next().await.is_some() {}
    }

    /// From memory: whether the oldest event is.
    fn is_anything_overdue(&self) -> bool {
        let now = self.gate.clock.now();
        let counts = self.gate.queue.counts().into_iter();
        let mut of_route = counts.filter(|counts| counts.shelf == self.route.shelf);
        let oldest = of_route.next().and_then(|counts| counts.oldest_queued);
        oldest.is_some_and(|oldest| self.route.config.queue.schedule.is_over(oldest, now))
            && self.gate.ledger.store().trusts(now)
    }

    async fn burial_step(&self) -> Result<(usize, Option<Due>, Vec<JobId>), StoreError> {
        let (shelf, after) = (self.route.shelf, self.burial.after);
        let (busy, now) = (self.route.busy.all(), self.gate.clock.now());
        let schedule = self.route.config.queue.schedule;
        self.reading(move |queue| {
            let due = queue.due(shelf, None, after, BURIAL_STEP)?;
            let ids: Vec<JobId> = due.iter().map(|place| place.id).collect();
            let jobs = queue.load(&ids, false)?.into_iter().flatten();
            let overdue = jobs
                .filter(|job| schedule.is_over(job.info.since(), now))
                .map(|job| job.info.id)
                .filter(|id| !busy.contains(id));
            Ok((due.len(), due.last().copied(), overdue.collect()))
        })
        .await
    }
}
