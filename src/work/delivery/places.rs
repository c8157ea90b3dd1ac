//! The places of a worker's attempts: as many as the route's `max_in_flight` says now.
//!
//! The number may change while attempts run, and those that run count all the same: the places that are too many
//! are taken out as they come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one worker.
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// How many there are, taken ones included.
    all: usize,
    /// How many there should be.
    wanted: usize,
    /// None was free when one was asked for last.
    is_awaited: Arc<AtomicBool>,
}

/// One place, until it is dropped.
pub(super) struct Place {
    permit: OwnedSemaphorePermit,
    is_awaited: Arc<AtomicBool>,
}

// === impl Places ===

impl Places {
    /// So many places, all of them free.
    pub(super) fn new(wanted: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(wanted)),
            all: wanted,
            wanted,
            is_awaited: Arc::default(),
        }
    }

    /// There should be so many from now on.
    pub(super) fn resize(&mut self, wanted: usize) {
        self.wanted = wanted;
        let more = wanted.saturating_sub(self.all);
        self.free.add_permits(more);
        self.all += more;
    }

    /// Takes a place; `None` if as many are taken as there should be.
    pub(super) fn take(&mut self) -> Option<Place> {
        let too_many = self.all.saturating_sub(self.wanted);
        self.all -= self.free.forget_permits(too_many);
        self.try_take().or_else(|| {
            self.is_awaited.store(true, Ordering::SeqCst);
            // One that came back before that was said has told nobody.
            self.try_take()
        })
    }

    fn try_take(&self) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Place {
            permit,
            is_awaited: Arc::clone(&self.is_awaited),
        })
    }
}

// === impl Place ===

impl Place {
    /// Gives it back; whether somebody waits for one, which is said once.
    pub(super) fn give_back(self) -> bool {
        drop(self.permit);
        self.is_awaited.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_found_none_is_told_of_the_next_one_and_of_no_other() {
        let mut places = Places::new(3);
        let mut taken: Vec<Place> = std::iter::from_fn(|| places.take()).collect();
        assert_eq!(taken.len(), 3);
        let mut give_back = || taken.pop().map(Place::give_back);
        assert_eq!(give_back(), Some(true));
        assert_eq!(give_back(), Some(false));
        let another = places.take().map(Place::give_back);
        assert_eq!(another, Some(false));
    }

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
