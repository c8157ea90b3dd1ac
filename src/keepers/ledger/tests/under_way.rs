//! A settle that is under way holds nothing but its own claim.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::keepers::ledger::{Ledger, Look};
use crate::keepers::store::memory::Memory;
use crate::keepers::store::{Done, Health, Statistics};
use crate::keepers::store::{Found, Keep, Probe, ShelfId, Store, StoreError};
use crate::words::identity::{Key, Keys};
use crate::words::time::SystemClock;
use crate::words::time::Timestamp;

/// A store whose settles stay under way until somebody ends them.
#[derive(Default)]
struct Slow {
    memory: Memory,
    under_way: Arc<Mutex<Vec<Done>>>,
}

impl Store for Slow {
    fn shelf(&self, route: &str, keep: Keep) -> Result<ShelfId, StoreError> {
        self.memory.shelf(route, keep)
    }
    fn probe(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Probe {
        self.memory.probe(shelf, keys, now)
    }
    fn look_up_all(
        &self,
        events: &[(ShelfId, Keys)],
        now: Timestamp,
    ) -> Vec<Result<Found, StoreError>> {
        self.memory.look_up_all(events, now)
    }
    fn settle(&self, _: ShelfId, _: Keys, _: Timestamp, done: Done) {
        self.under_way.lock().unwrap().push(done);
    }
    fn trusts(&self, _: Timestamp) -> bool {
        true
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

/// Regression: the writer of a store held the last handle to its store by a settle under way, closed
/// it, and panicked when it was to join itself.
#[tokio::test]
async fn a_settle_that_is_under_way_does_not_keep_its_store() {
    let store = Arc::new(Slow::default());
    let under_way = Arc::clone(&store.under_way);
    let left = Arc::downgrade(&store);
    let ledger = Ledger::new(store, Arc::new(SystemClock::new()));
    let keep = Keep {
        remember: Duration::from_secs(60),
        max_keys: None,
    };
    let shelf = ledger.shelf("r", keep).unwrap();
    let keys = Keys {
        content: Key::from_bytes([1; 16]),
        id: None,
    };
    let Look::Answered(Ok(claim)) = ledger.look(shelf, keys, ledger.clock.now()) else {
        panic!("nobody else is there");
    };
    let settling = claim.settle(Timestamp::from_secs(0));
    drop(ledger);
    assert!(left.upgrade().is_none());
    for done in under_way.lock().unwrap().drain(..) {
        done(Ok(()));
    }
    assert_eq!(settling.answered().await, Ok(()));
}
