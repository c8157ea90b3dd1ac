//! A store in memory in which a test does one thing or another in its own way.

use crate::keepers::store::memory::Memory;
use crate::keepers::store::{
    Done, Found, Health, Keep, Probe, ShelfId, Statistics, Store, StoreError,
};
use crate::words::identity::Keys;
use crate::words::time::Timestamp;

/// What is done in another way than by the memory, which is what does it unless said otherwise.
pub(super) trait Hooks: Send + Sync + 'static {
    fn probe(&self, memory: &Memory, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Probe {
        memory.probe(shelf, keys, now)
    }

    /// Called before each read of so many events.
    fn reads(&self, _events: &[(ShelfId, Keys)]) {}

    fn settle(&self, memory: &Memory, shelf: ShelfId, keys: Keys, at: Timestamp, done: Done) {
        memory.settle(shelf, keys, at, done);
    }
}

/// A store in memory with hooks.
#[derive(Default)]
pub(super) struct Hooked<H> {
    memory: Memory,
    pub(super) hooks: H,
}

// === impl Hooked ===

impl<H> Hooked<H> {
    pub(super) fn new(hooks: H) -> Self {
        Self {
            memory: Memory::new(),
            hooks,
        }
    }
}

impl<H: Hooks> Store for Hooked<H> {
    fn shelf(&self, route: &str, keep: Keep) -> Result<ShelfId, StoreError> {
        self.memory.shelf(route, keep)
    }

    fn probe(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Probe {
        self.hooks.probe(&self.memory, shelf, keys, now)
    }

    fn look_up_all(
        &self,
        events: &[(ShelfId, Keys)],
        now: Timestamp,
    ) -> Vec<Result<Found, StoreError>> {
        self.hooks.reads(events);
        self.memory.look_up_all(events, now)
    }

    fn settle(&self, shelf: ShelfId, keys: Keys, at: Timestamp, done: Done) {
        self.hooks.settle(&self.memory, shelf, keys, at, done);
    }

    fn trusts(&self, now: Timestamp) -> bool {
        self.memory.trusts(now)
    }

    fn health(&self) -> Health {
        self.memory.health()
    }

    fn statistics(&self) -> Statistics {
        self.memory.statistics()
    }

    fn close(&self) {
        self.memory.close();
    }
}
