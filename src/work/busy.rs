//! Which jobs of a route are being attempted or given up now.
//!
//! The worker adds and removes; the operator's side only asks. It is as large as the worker's own bounds.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::keepers::store::jobs::JobId;

/// Jobs that nobody else may begin anything with.
#[derive(Debug, Default)]
pub struct Busy(Mutex<Jobs>);

#[derive(Debug, Default)]
struct Jobs {
    attempted: HashSet<JobId>,
    buried: HashSet<JobId>,
}

// === impl Busy ===

impl Busy {
    /// An attempt begins.
    pub fn add(&self, id: JobId) {
        self.jobs().attempted.insert(id);
    }

    /// An attempt ended, and its result is stored.
    pub fn remove(&self, id: JobId) {
        self.jobs().attempted.remove(&id);
    }

    /// Those of `ids` that are not busy are from now on: they are being given up.
    pub fn bury(&self, ids: Vec<JobId>) -> Vec<JobId> {
        let mut jobs = self.jobs();
        let free = ids.into_iter().filter(|id| !jobs.attempted.contains(id));
        let free: Vec<JobId> = free.collect();
        jobs.buried.extend(&free);
        free
    }

    /// What was being given up is stored, or was not given up.
    pub fn buried(&self) {
        self.jobs().buried.clear();
    }

    /// Nothing is done any more.
    pub fn clear(&self) {
        *self.jobs() = Jobs::default();
    }

    /// How many attempts there are.
    pub fn count(&self) -> usize {
        self.jobs().attempted.len()
    }

    /// All that are busy.
    pub fn all(&self) -> HashSet<JobId> {
        let jobs = self.jobs();
        jobs.attempted.union(&jobs.buried).copied().collect()
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
