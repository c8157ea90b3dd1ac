//! Which jobs of a route are being attempted now.
//!
//! The worker adds and removes; the operator's side only asks. It is as large as the worker's own bound.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::keepers::store::jobs::JobId;

/// Jobs that are being attempted, or whose result is being stored.
#[derive(Debug, Default)]
pub struct Busy(Mutex<HashSet<JobId>>);

// === impl Busy ===

impl Busy {
    /// An attempt begins.
    pub fn add(&self, id: JobId) {
        self.jobs().insert(id);
    }

    /// An attempt ended, and its result is stored.
    pub fn remove(&self, id: JobId) {
        self.jobs().remove(&id);
    }

    /// Nothing is attempted any more.
    pub fn clear(&self) {
        self.jobs().clear();
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.jobs().len()
    }

    /// All of them.
    pub fn all(&self) -> HashSet<JobId> {
        self.jobs().clone()
    }

    fn jobs(&self) -> MutexGuard<'_, HashSet<JobId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
