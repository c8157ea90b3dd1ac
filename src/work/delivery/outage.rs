//! What the worker does while its app is away: one event at a time asks whether it is back.
//!
//! # Why
//! The event is the one with the fewest attempts: what is poison to the app has been attempted before. Poison
//! that was not comes in blocks, though, so of several the first and the last are taken in turn.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::keepers::breaker::Pass;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{JobId, JobState, Selection, StoredJob};
use crate::work::delivery::places::Place;
use crate::work::delivery::{NAP_MAX, NAP_MIN, Worker};

/// Events from each end of what waits, among which a probe's is chosen.
const LOOK: usize = 32;

/// The pause between two looks for one.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// The course of the probes.
#[derive(Default)]
pub struct Probes {
    not_before: Duration,
    made: u64,
}

// === impl Worker ===

impl Worker {
    /// Makes a probe, if it is time for one and there is an event; gives back how long to wait before looking
    /// again.
    pub(super) async fn probe(&mut self, place: Place) -> Duration {
        self.hurry.end();
        // What was read ahead may be the probe's event.
        self.forget_ahead();
        if self.gate.queue.next_due(self.route.shelf).is_none() {
            return NAP_MAX;
        }
        let (now, patience) = (self.gate.clock.elapsed(), self.route.probe_patience());
        let wait = self.route.breaker.wait(now, patience);
        let wait = wait.max(self.probes.not_before.saturating_sub(now));
        if !wait.is_zero() {
            return wait;
        }
        // Every event that comes in wakes the worker.
        self.probes.not_before = now + LOOK_PAUSE;
        let Ok(Some(job)) = self.probe_event().await else {
            return NAP_MAX;
        };
        match self.route.breaker.ask(now, patience, job.info.attempts) {
            Pass::Not(wait) => wait.max(NAP_MIN),
            pass => match self.take_quota() {
                Ok(()) => {
                    self.probes.made += 1;
                    self.start(job, pass, place);
                    NAP_MAX
                }
                Err(wait) => {
                    self.give_back(pass);
                    wait
                }
            },
        }
    }

    async fn probe_event(&self) -> Result<Option<StoredJob>, StoreError> {
        let busy = self.route.busy.all();
        let shelf = self.route.shelf;
        let is_lasts_turn = self.probes.made % 2 == 1;
        let chosen = self.reading(move |queue| {
            let due = queue.due(shelf, None, None, LOOK + busy.len())?;
            let mut ids: Vec<JobId> = due.iter().map(|place| place.id).collect();
            let queued = Selection {
                shelf: Some(shelf),
                delivered: false,
                dead: false,
                ..Selection::ALL
            };
            let mut newest = Vec::new();
            queue.walk(None, queued, LOOK, &mut |view| {
                if matches!(view.info.state, JobState::Queued { waits: false, .. }) {
                    newest.push(view.info.id);
                }
                ControlFlow::Continue(())
            })?;
            ids.extend(newest.into_iter().rev());
            ids.retain(|id| !busy.contains(id));
            let jobs = queue.load(&ids, false)?;
            // What cannot be read is the first to be loaded, and buried then.
            let attempts = jobs
                .iter()
                .map(|job| job.as_ref().map_or(0, |job| job.info.attempts));
            let fewest = attempts.clone().min();
            let mut candidates = ids.iter().zip(attempts);
            let mut fits = |(_, attempts): &(&JobId, u32)| Some(*attempts) == fewest;
            let chosen = match is_lasts_turn {
                true => candidates.filter(fits).last(),
                false => candidates.find(&mut fits),
            };
            let Some(id) = chosen.map(|(id, _)| *id) else {
                return Ok(None);
            };
            let job = queue.load(&[id], true)?.pop().flatten();
            Ok(Some((id, job)))
        });
        let chosen = chosen.await?;
        if let Some((id, None)) = &chosen {
            self.bury_unreadable(*id).await;
        }
        Ok(chosen.and_then(|(_, job)| job))
    }
}
