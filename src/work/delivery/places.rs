//! The places of a worker's attempts: as many as the route's `max_in_flight` says now.
//!
//! The number may change while attempts run, and those that run count all the same: the places that are too many
//! are taken out as they come back.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one worker.
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// How many there are, taken ones included.
    all: usize,
    /// How many there should be.
    wanted: usize,
}

// === impl Places ===

impl Places {
    /// So many places, all of them free.
    pub(super) fn new(wanted: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(wanted)),
            all: wanted,
            wanted,
        }
    }

    /// There should be so many from now on.
    pub(super) fn resize(&mut self, wanted: usize) {
        self.wanted = wanted;
        let more = wanted.saturating_sub(self.all);
        self.free.add_permits(more);
        self.all += more;
    }

    /// Takes a place until the permit is dropped; `None` if as many are taken as there should be.
    pub(super) fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        let too_many = self.all.saturating_sub(self.wanted);
        self.all -= self.free.forget_permits(too_many);
        Arc::clone(&self.free).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_is_one_taken_beyond_the_number_of_the_moment_and_none_is_lost(
            steps in proptest::collection::vec((0usize..3, 1usize..6), 1..60),
        ) {
            let mut places = Places::new(3);
            let (mut wanted, mut taken) = (3, Vec::new());
            for (what, number) in steps {
                match what {
                    0 => {
                        places.resize(number);
                        wanted = number;
                    }
                    1 => {
                        let is_free = taken.len() < wanted;
                        let place = places.take();
                        prop_assert_eq!(place.is_some(), is_free);
                        taken.extend(place);
                    }
                    _ => drop(taken.pop()),
                }
            }
        }
    }
}
