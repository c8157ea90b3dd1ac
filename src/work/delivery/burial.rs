//! Events that have waited for too long while their app is away become dead letters.
//!
//! No attempts are spent on an app that is away, so no result would ever tell that an event's time is over.
//! While the app is there, an event that is late gets one attempt all the same.
//!
//! # Why
//! Nothing waits for it, and it waits for everything: a step is made beside the worker, a step that the store
//! could not write is given up and made smaller and later, and on a disk without room there are none. Giving up
//! frees nothing, and must not take from those who would.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::keepers::log::Level;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{Change, Changed, Due, JobId, Reason};
use crate::keepers::store::pending::Pending;
use crate::words::dead::DeadReason;
use crate::work::ingest::Gate;
use crate::work::routes::Route;

/// Events that are looked at, and perhaps given up, in one step.
const STEP_MAX: usize = 256;

/// The pause after a step that found nothing to give up.
const PAUSE: Duration = Duration::from_millis(250);

/// The pause after a step that could not be written; it doubles up to [`FAULT_PAUSE_MAX`].
const FAULT_PAUSE: Duration = Duration::from_secs(1);
const FAULT_PAUSE_MAX: Duration = Duration::from_secs(60);

/// A walk over what waits, again and again for as long as the outage lasts.
pub struct Burial {
    after: Option<Due>,
    not_before: Duration,
    step: usize,
    fault_pause: Duration,
    under_way: JoinSet<Ended>,
}

/// How a step ended.
pub enum Ended {
    /// Nothing on it had waited for too long; the walk has come this far.
    Nothing(Option<Due>),
    /// Some did, and are dead letters.
    Buried,
    /// The store could not be read or written.
    Fault,
}

// === impl Burial ===

impl Burial {
    /// Nothing was looked at.
    pub fn new() -> Self {
        Self {
            after: None,
            not_before: Duration::ZERO,
            step: STEP_MAX,
            fault_pause: FAULT_PAUSE,
            under_way: JoinSet::new(),
        }
    }

    /// Begins a step, unless one is under way or there is no need.
    pub fn go_on(&mut self, gate: &Arc<Gate>, route: &Arc<Route>) {
        let is_time = gate.clock.elapsed() >= self.not_before;
        if is_time && self.under_way.is_empty() && may_be_overdue(gate, route) {
            let (gate, route) = (Arc::clone(gate), Arc::clone(route));
            let (after, limit) = (self.after, self.step);
            self.under_way.spawn(step(gate, route, after, limit));
        }
    }

    /// Waits for the end of the step; for ever if none is under way.
    pub async fn ended(&mut self) -> Ended {
        match self.under_way.join_next().await {
            Some(ended) => ended.unwrap_or(Ended::Fault),
            None => std::future::pending().await,
        }
    }

    /// Notes how a step ended.
    pub fn note(&mut self, ended: Ended, now: Duration) {
        match ended {
            Ended::Nothing(last) => {
                self.after = last;
                self.not_before = now + PAUSE;
            }
            // What it gave up is there no more, so the next one begins where it did.
            Ended::Buried => {
                self.step = (self.step * 2).min(STEP_MAX);
                self.fault_pause = FAULT_PAUSE;
            }
            Ended::Fault => {
                self.step = (self.step / 2).max(1);
                self.not_before = now + self.fault_pause;
                self.fault_pause = (self.fault_pause * 2).min(FAULT_PAUSE_MAX);
            }
        }
    }
}

/// From memory: whether the oldest event has waited for too long, and anything should be done about it. Nothing
/// is given up while the clock is not believed.
fn may_be_overdue(gate: &Gate, route: &Route) -> bool {
    let now = gate.clock.now();
    let counts = gate.queue.counts().into_iter();
    let mut of_route = counts.filter(|counts| counts.shelf == route.shelf);
    let oldest = of_route.next().and_then(|counts| counts.oldest_queued);
    let is_over = |oldest| route.config.queue.schedule.is_over(oldest, now);
    let store = gate.ledger.store();
    oldest.is_some_and(is_over) && store.trusts(now) && !store.statistics().space_low
}

async fn step(gate: Arc<Gate>, route: Arc<Route>, after: Option<Due>, limit: usize) -> Ended {
    let Ok((overdue, last)) = find(&gate, &route, after, limit).await else {
        return Ended::Fault;
    };
    let overdue = route.busy.bury(overdue);
    if overdue.is_empty() {
        return Ended::Nothing(last);
    }
    // All of them are with the store before the first is waited for, so that they share a commit.
    let burying: Vec<_> = overdue.into_iter().map(|id| bury(&gate, id)).collect();
    let (mut buried, mut has_failed) = (0, false);
    for pending in burying {
        match pending.answered().await {
            Ok(Changed::Done { .. }) => buried += 1,
            Ok(Changed::Stale | Changed::Gone | Changed::NoRoom) => {}
            Err(_) => has_failed = true,
        }
    }
    route.busy.buried();
    if buried > 0 {
        gate.log.say(
            Level::Warn,
            "events became dead letters while the app is away",
            &[
                ("route", &route.config.name),
                ("reason", &DeadReason::GivenUp.label()),
                ("events", &buried),
            ],
        );
    }
    match has_failed {
        true => Ended::Fault,
        false => Ended::Buried,
    }
}

/// The events of a step that have waited for too long, and where it ended; `None` at the end of the walk.
async fn find(
    gate: &Gate,
    route: &Route,
    after: Option<Due>,
    limit: usize,
) -> Result<(Vec<JobId>, Option<Due>), StoreError> {
    let (queue, shelf) = (Arc::clone(&gate.queue), route.shelf);
    let (schedule, now) = (route.config.queue.schedule, gate.clock.now());
    let found = tokio::task::spawn_blocking(move || {
        let due = queue.due(shelf, None, after, limit)?;
        let ids: Vec<JobId> = due.iter().map(|place| place.id).collect();
        let jobs = queue.load(&ids, false)?.into_iter().flatten();
        let overdue = jobs.filter(|job| schedule.is_over(job.info.since(), now));
        let last = due.last().copied().filter(|_| due.len() == limit);
        Ok((overdue.map(|job| job.info.id).collect(), last))
    });
    found.await.unwrap_or(Err(StoreError::Unavailable))
}

fn bury(gate: &Gate, id: JobId) -> Pending<Changed> {
    let (done, pending) = Pending::new();
    let change = Change::Dead {
        attempt: None,
        reason: Reason(DeadReason::GivenUp.code()),
    };
    gate.queue.change(id, change, Box::new(done));
    pending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_cannot_be_written_is_made_smaller_and_later() {
        let mut burial = Burial::new();
        let now = Duration::from_secs(100);
        for _ in 0..20 {
            burial.note(Ended::Fault, now);
        }
        assert_eq!((burial.step, burial.not_before), (1, now + FAULT_PAUSE_MAX));
        burial.note(Ended::Buried, now);
        burial.note(Ended::Fault, now);
        assert_eq!((burial.step, burial.not_before), (1, now + FAULT_PAUSE));
        for _ in 0..20 {
            burial.note(Ended::Buried, now);
        }
        assert_eq!(burial.step, STEP_MAX);
    }
}
