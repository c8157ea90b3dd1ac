//! A settle that is under way holds nothing but its own claim.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::hooked::{Hooked, Hooks};
use crate::keepers::ledger::{Ledger, Look};
use crate::keepers::store::memory::Memory;
use crate::keepers::store::{Done, Keep, ShelfId};
use crate::words::identity::{Key, Keys};
use crate::words::time::{SystemClock, Timestamp};

/// A store whose settles stay under way until somebody ends them.
#[derive(Default)]
struct Slow(Arc<Mutex<Vec<Done>>>);

impl Hooks for Slow {
    fn settle(&self, _: &Memory, _: ShelfId, _: Keys, _: Timestamp, done: Done) {
        self.0.lock().unwrap().push(done);
    }
}

/// Regression: the writer of a store held the last handle to its store by a settle under way, closed
/// it, and panicked when it was to join itself.
#[tokio::test]
async fn a_settle_that_is_under_way_does_not_keep_its_store() {
    let store = Arc::new(Hooked::<Slow>::default());
    let under_way = Arc::clone(&store.hooks.0);
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
