//! After an outage what waits is due at once: one walk over all that is queued, at the route's pace.
//!
//! # Why
//! While an app is away only probes are spent on it, but what failed before it was known to be away may have a
//! long pause to sit out. An event that is poison to the app fails on the walk as well, and several of them
//! open the breaker again; so what failed on two walks waits for its own time from then on, or they would be
//! called up with every return that their own failures brought about.

use std::collections::{HashMap, HashSet};

use crate::keepers::store::jobs::{Due, JobId};

/// Walks that take an event along which failed on each of them.
const WALKS_MAX: u8 = 2;

/// Events that failed on walks and are remembered; more of them, and the app is not really back.
const FAILED_MAX: usize = 4096;

/// The walks of one route.
#[derive(Default)]
pub struct Hurry {
    walk: Option<Walk>,
    failed: HashMap<JobId, Failed>,
    walks: u64,
}

struct Walk {
    after: Option<Due>,
}

struct Failed {
    /// On so many walks.
    walks: u8,
    /// The last of them.
    last: u64,
}

// === impl Hurry ===

impl Hurry {
    /// Begins a walk, in place of one that is not at its end.
    pub fn begin(&mut self) {
        self.walks += 1;
        self.walk = Some(Walk { after: None });
    }

    /// Whether a walk is under way.
    pub fn is_on(&self) -> bool {
        self.walk.is_some()
    }

    /// The number of the walk that is under way.
    pub fn walk(&self) -> Option<u64> {
        self.walk.as_ref().map(|_| self.walks)
    }

    /// Ends the walk.
    pub fn end(&mut self) {
        self.walk = None;
    }

    /// Where the walk goes on.
    pub fn after(&self) -> Option<Due> {
        self.walk.as_ref()?.after
    }

    /// The walk has come this far.
    pub fn goes_on(&mut self, after: Option<Due>) {
        if let Some(walk) = &mut self.walk {
            walk.after = after;
        }
    }

    /// What the walk leaves alone: what it attempted already, and what two others did in vain.
    pub fn passed_over(&self) -> HashSet<JobId> {
        let failed = self.failed.iter();
        let passed_over =
            failed.filter(|(_, failed)| failed.last == self.walks || failed.walks >= WALKS_MAX);
        passed_over.map(|(id, _)| *id).collect()
    }

    /// An attempt failed that began on this walk, and its event is queued again.
    pub fn failed(&mut self, id: JobId, walk: u64) {
        let failed = self
            .failed
            .entry(id)
            .or_insert(Failed { walks: 0, last: 0 });
        if failed.last != walk {
            failed.walks = failed.walks.saturating_add(1);
            failed.last = walk;
        }
        if self.failed.len() > FAILED_MAX {
            self.failed.clear();
            self.walk = None;
        }
    }

    /// An event left the queue.
    pub fn ended(&mut self, id: JobId) {
        self.failed.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn job(number: u64) -> JobId {
        JobId::from_number(number)
    }

    #[test]
    fn what_failed_on_a_walk_is_not_met_again_by_it_but_by_the_next_one() {
        let mut hurry = Hurry::default();
        hurry.begin();
        hurry.failed(job(1), 1);
        hurry.failed(job(1), 1);
        assert_eq!(hurry.passed_over(), HashSet::from([job(1)]));
        hurry.begin();
        assert!(hurry.passed_over().is_empty());
        hurry.failed(job(1), 2);
        hurry.failed(job(2), 2);
        hurry.begin();
        assert_eq!(hurry.passed_over(), HashSet::from([job(1)]));
        hurry.ended(job(1));
        assert!(hurry.passed_over().is_empty());
    }

    #[test]
    fn when_too_much_fails_the_walk_ends() {
        let mut hurry = Hurry::default();
        hurry.begin();
        for number in 0..=FAILED_MAX as u64 {
            assert!(hurry.is_on());
            hurry.failed(job(number), 1);
        }
        assert!(!hurry.is_on());
        assert!(hurry.failed.is_empty());
    }
}
