//! Tests of the stores as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::tuning::Tuning;
use super::{Found, Keep, Probe, ShelfId, Store, StoreError};
use crate::words::identity::{Keys, PartsHasher};
use crate::words::time::{Clock, Timestamp};

/// What settles, beside what needs a transaction.
mod ahead;
/// What every store promises.
mod contract;
/// Files that were damaged or cut.
mod damage;
/// What only a store in a file does: reopening, bounds, locks.
mod file;
/// Jobs that are in the log alone.
mod fresh;
/// What the tests of the queue share.
pub(super) mod jobs;
/// Random histories against the plainest model.
mod model;
/// What every queue promises.
mod queue;
/// What only a queue in a file does: reopening, damage, full disks, space.
mod queue_file;
/// Random histories of jobs against the queue in memory.
mod queue_model;
/// What every queue answers when asked, and what it forgets with time.
mod queue_views;

/// A clock that stands still until it is told to move.
pub(super) struct TestClock {
    wall_ms: AtomicI64,
    running_ms: AtomicU64,
}

impl TestClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            wall_ms: AtomicI64::new(1_800_000_000_000),
            running_ms: AtomicU64::new(1_000),
        })
    }

    /// Time passes.
    pub(super) fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap();
        self.running_ms.fetch_add(by, Ordering::SeqCst);
        self.leap(i64::try_from(by).unwrap());
    }

    /// Wall time alone is set.
    pub(super) fn leap(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.running_ms.load(Ordering::SeqCst))
    }
}

/// An event that differs from every other `n`.
pub(super) fn keys(n: u64) -> Keys {
    Keys {
        content: PartsHasher::new("content").part(&n.to_le_bytes()).key(),
        id: Some(PartsHasher::new("id").part(&n.to_le_bytes()).key()),
    }
}

/// A shelf for a week without a bound.
pub(super) const WEEK: Keep = Keep {
    remember: Duration::from_secs(7 * 24 * 3600),
    max_keys: None,
};

/// Small enough that a test meets flushes, merges and bounds.
pub(super) fn small() -> Tuning {
    Tuning {
        journal_keys_max: 40,
        run_keys_max: 2_000,
        retry_first: Duration::from_millis(1),
        retry_max: Duration::from_millis(10),
        tidies_itself: false,
        ..Tuning::default()
    }
}

/// Settles and waits for the answer.
pub(super) fn settle(
    store: &dyn Store,
    shelf: ShelfId,
    keys: Keys,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (tell, told) = channel();
    store.settle(
        shelf,
        keys,
        at,
        Box::new(move |result| tell.send(result).unwrap()),
    );
    told.recv().unwrap()
}

/// Settles many events at once and waits for all.
pub(super) fn settle_all(
    store: &dyn Store,
    shelf: ShelfId,
    events: impl Iterator<Item = u64>,
    at: Timestamp,
) {
    let (tell, told) = channel();
    for n in events {
        let tell = tell.clone();
        store.settle(
            shelf,
            keys(n),
            at,
            Box::new(move |result| tell.send(result).unwrap()),
        );
    }
    drop(tell);
    for result in told {
        result.unwrap();
    }
}

/// What the store says of an event, by memory or by disk; the two must not contradict each other.
pub(super) fn found(store: &dyn Store, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Found {
    let exact = store.look_up(shelf, keys, now).unwrap();
    match store.probe(shelf, keys, now) {
        Probe::Known(found) => assert_eq!(found, exact),
        Probe::Absent => assert_eq!(Found::default(), exact),
        Probe::MustRead => {}
        Probe::Unavailable => panic!("unavailable"),
    }
    exact
}

/// Found whole.
pub(super) const BOTH: Found = Found {
    content: true,
    id: true,
};
/// Not found at all.
pub(super) const NEITHER: Found = Found {
    content: false,
    id: false,
};
