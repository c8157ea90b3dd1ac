//! A store in memory: for tests, and as the plainest statement of what a store does.
//!
//! It forgets everything with the process, is never down, and trusts every clock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::jobs::memory::MemoryQueue;
use super::shelf::Expiry;
use super::{Done, Found, Health, Keep, Probe, ShelfId, Statistics, Store, StoreError};
use crate::words::identity::{Key, Keys};
use crate::words::time::Timestamp;

/// A store in memory.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    shelves: Vec<MemoryShelf>,
    pub(super) queue: MemoryQueue,
    closed: bool,
}

pub(super) struct MemoryShelf {
    name: String,
    keep: Keep,
    keys: HashMap<Key, u32>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state, unless the store is closed.
    pub(super) fn open_state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state();
        match state.closed {
            true => Err(StoreError::Closed),
            false => Ok(state),
        }
    }

    fn find(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Result<Found, StoreError> {
        let mut state = self.open_state()?;
        state.queue.tell(now);
        let held = state.at(shelf).ok_or(StoreError::Unavailable)?;
        let expiry = Expiry {
            now: Some(now),
            remember: held.keep.remember,
        };
        let settled = |key: &Key| {
            let lives = held.keys.get(key).is_some_and(|secs| expiry.lives(*secs));
            lives || state.queue.holds(shelf, key)
        };
        Ok(Found {
            content: settled(&keys.content),
            id: keys.id.as_ref().is_some_and(settled),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn shelf(&self, name: &str, keep: Keep) -> Result<ShelfId, StoreError> {
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Closed);
        }
        let place = state.shelves.iter().position(|shelf| shelf.name == name);
        let place = place.unwrap_or_else(|| {
            state.shelves.push(MemoryShelf {
                name: name.to_owned(),
                keep,
                keys: HashMap::new(),
            });
            state.shelves.len() - 1
        });
        if let Some(shelf) = state.shelves.get_mut(place) {
            shelf.keep = keep;
        }
        Ok(ShelfId(u32::try_from(place).unwrap_or(u32::MAX)))
    }

    fn probe(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Probe {
        match self.find(shelf, keys, now) {
            Ok(found) if found == Found::default() => Probe::Absent,
            Ok(found) => Probe::Known(found),
            Err(_) => Probe::Unavailable,
        }
    }

    fn look_up_all(
        &self,
        events: &[(ShelfId, Keys)],
        now: Timestamp,
    ) -> Vec<Result<Found, StoreError>> {
        let look_up = |(shelf, keys): &(ShelfId, Keys)| self.find(*shelf, keys, now);
        events.iter().map(look_up).collect()
    }

    fn settle(&self, shelf: ShelfId, keys: Keys, at: Timestamp, done: Done) {
        let result = self.open_state().and_then(|mut state| {
            state.queue.tell(at);
            state.settle(shelf, keys, at.as_stored_secs())
        });
        done(result);
    }

    fn trusts(&self, _: Timestamp) -> bool {
        true
    }

    fn health(&self) -> Health {
        if self.state().closed {
            Health::Closed
        } else {
            Health::Ready
        }
    }

    fn statistics(&self) -> Statistics {
        let state = self.state();
        let keys = state.shelves.iter().map(|shelf| shelf.keys.len() as u64);
        Statistics {
            keys: keys.sum(),
            ..Statistics::default()
        }
    }

    fn close(&self) {
        self.state().closed = true;
    }
}

impl State {
    pub(super) fn names(&self) -> impl Iterator<Item = (ShelfId, &str)> {
        let names = self.shelves.iter().map(|shelf| shelf.name.as_str());
        (0..).map(ShelfId).zip(names)
    }

    pub(super) fn at(&self, ShelfId(id): ShelfId) -> Option<&MemoryShelf> {
        self.shelves.get(usize::try_from(id).ok()?)
    }

    pub(super) fn settle(
        &mut self,
        ShelfId(id): ShelfId,
        keys: Keys,
        secs: u32,
    ) -> Result<(), StoreError> {
        let place = usize::try_from(id).map_err(|_| StoreError::Unavailable)?;
        let shelf = self.shelves.get_mut(place).ok_or(StoreError::Unavailable)?;
        for key in keys.iter() {
            let held = shelf.keys.entry(key).or_insert(secs);
            *held = secs.max(*held);
        }
        while shelf
            .keep
            .max_keys
            .is_some_and(|max| shelf.keys.len() > max)
        {
            let oldest = shelf.keys.iter().min_by_key(|(key, secs)| (**secs, **key));
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                break;
            };
            shelf.keys.remove(&oldest);
        }
        Ok(())
    }
}
