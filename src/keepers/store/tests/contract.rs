//! One body of tests over every store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{BOTH, NEITHER, TestClock, WEEK, found, keys, settle, settle_all, small};
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::jobs::Queue;
use crate::keepers::store::memory::Memory;
use crate::keepers::store::tuning::Options;
use crate::keepers::store::{Found, Health, Keep, Probe, ShelfId, Store, StoreError};
use crate::words::identity::Keys;
use crate::words::time::Clock;

/// A store of keys and jobs.
pub(super) trait Whole: Store + Queue {
    /// Does the housekeeping that is due, where there is any.
    fn housekeep(&self);
}

impl Whole for Memory {
    fn housekeep(&self) {}
}

impl Whole for Embedded {
    fn housekeep(&self) {
        self.tidy();
    }
}

/// Runs a test over each store, each with a clock of its own.
pub(super) fn each_store(test: impl Fn(&dyn Whole, &TestClock)) {
    test(&Memory::new(), &TestClock::new());
    for tidies_itself in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let options = Options {
            path: directory.path().join("store"),
            clock: clock.clone(),
            tuning: super::Tuning {
                tidies_itself,
                ..small()
            },
            on_commit: None,
        };
        test(&Embedded::open(options).unwrap(), &clock);
    }
}

/// Runs a test over each store, each with a clock of its own.
fn each(test: impl Fn(&Arc<dyn Store>, &TestClock)) {
    let memory: Arc<dyn Store> = Arc::new(Memory::new());
    test(&memory, &TestClock::new());

    for tidies_itself in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let options = Options {
            path: directory.path().join("store"),
            clock: clock.clone(),
            tuning: super::Tuning {
                tidies_itself,
                ..small()
            },
            on_commit: None,
        };
        let embedded: Arc<dyn Store> = Arc::new(Embedded::open(options).unwrap());
        test(&embedded, &clock);
    }
}

#[test]
fn what_is_settled_is_known_and_nothing_else() {
    each(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        assert_eq!(store.probe(shelf, &keys(1), now), Probe::Absent);
        settle(&**store, shelf, keys(1), now).unwrap();
        assert_eq!(found(&**store, shelf, &keys(1), now), BOTH);
        assert_eq!(found(&**store, shelf, &keys(2), now), NEITHER);
        assert_eq!(store.health(), Health::Ready);
    });
}

#[test]
fn either_key_is_found_by_itself() {
    each(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        settle(&**store, shelf, keys(1), now).unwrap();
        let content = Keys {
            id: keys(2).id,
            ..keys(1)
        };
        let id = Keys {
            content: keys(2).content,
            ..keys(1)
        };
        let only = |content, id| Found { content, id };
        assert_eq!(found(&**store, shelf, &content, now), only(true, false));
        assert_eq!(found(&**store, shelf, &id, now), only(false, true));
        let without = Keys {
            id: None,
            ..keys(1)
        };
        assert_eq!(found(&**store, shelf, &without, now), only(true, false));
    });
}

#[test]
fn events_that_are_looked_up_together_are_each_answered_in_their_place() {
    each(|store, clock| {
        let a = store.shelf("a", WEEK).unwrap();
        let b = store.shelf("b", WEEK).unwrap();
        let now = clock.now();
        settle_all(&**store, a, (0..200).map(|n| 2 * n), now);
        settle_all(&**store, b, (0..200).map(|n| 3 * n), now);
        let unknown = ShelfId(99);
        let events: Vec<_> = (0..600)
            .map(|n| match n % 5 {
                0 => (unknown, keys(n)),
                1 | 2 => (a, keys(n)),
                _ => (b, keys(n)),
            })
            .collect();
        let expected: Vec<_> = (0..600)
            .map(|n| match n % 5 {
                0 => Err(StoreError::Unavailable),
                1 | 2 if n % 2 == 0 && n < 400 => Ok(BOTH),
                3 | 4 if n % 3 == 0 => Ok(BOTH),
                _ => Ok(NEITHER),
            })
            .collect();
        assert_eq!(store.look_up_all(&events, now), expected);
        assert_eq!(store.look_up_all(&[], now), []);
        store.close();
        let closed = [Err(StoreError::Closed); 2];
        assert_eq!(store.look_up_all(&events[1..3], now), closed);
    });
}

#[test]
fn shelves_are_independent_and_keep_their_number() {
    each(|store, clock| {
        let a = store.shelf("a", WEEK).unwrap();
        let b = store.shelf("b", WEEK).unwrap();
        assert_ne!(a, b);
        assert_eq!(store.shelf("a", WEEK), Ok(a));
        settle(&**store, a, keys(1), clock.now()).unwrap();
        assert_eq!(found(&**store, b, &keys(1), clock.now()), NEITHER);
    });
}

#[test]
fn a_key_expires_exactly_at_its_bound() {
    each(|store, clock| {
        let remember = Duration::from_secs(60);
        let keep = Keep {
            remember,
            max_keys: None,
        };
        let shelf = store.shelf("a", keep).unwrap();
        settle(&**store, shelf, keys(1), clock.now()).unwrap();
        clock.advance(remember - Duration::from_millis(1));
        assert_eq!(found(&**store, shelf, &keys(1), clock.now()), BOTH);
        clock.advance(Duration::from_millis(1));
        assert_eq!(found(&**store, shelf, &keys(1), clock.now()), NEITHER);
    });
}

#[test]
fn settling_again_renews_a_key() {
    each(|store, clock| {
        let remember = Duration::from_secs(60);
        let keep = Keep {
            remember,
            max_keys: None,
        };
        let shelf = store.shelf("a", keep).unwrap();
        settle(&**store, shelf, keys(1), clock.now()).unwrap();
        clock.advance(remember / 2);
        settle(&**store, shelf, keys(1), clock.now()).unwrap();
        clock.advance(remember / 2);
        assert_eq!(found(&**store, shelf, &keys(1), clock.now()), BOTH);
    });
}

#[test]
fn an_event_can_be_probed_before_done_is_called() {
    each(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        let (tell, told) = std::sync::mpsc::channel();
        let probing = Arc::clone(store);
        let done = move |result: Result<(), StoreError>| {
            let seen = probing.probe(shelf, &keys(1), now);
            tell.send((result, seen)).unwrap();
        };
        store.settle(shelf, keys(1), now, Box::new(done));
        assert_eq!(told.recv().unwrap(), (Ok(()), Probe::Known(BOTH)));
    });
}

#[test]
fn many_threads_settle_and_each_is_answered_once() {
    each(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        let answers = Arc::new(AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let answers = &answers;
                scope.spawn(move || {
                    for n in 0..100 {
                        let answers = Arc::clone(answers);
                        let done = move |result: Result<(), StoreError>| {
                            result.unwrap();
                            answers.fetch_add(1, Ordering::SeqCst);
                        };
                        store.settle(shelf, keys(thread * 100 + n), now, Box::new(done));
                    }
                });
            }
        });
        store.close();
        assert_eq!(answers.load(Ordering::SeqCst), 800);
    });
}

#[test]
fn over_its_bound_a_shelf_forgets_the_oldest_first() {
    each(|store, clock| {
        let keep = Keep {
            max_keys: Some(400),
            ..WEEK
        };
        let bounded = store.shelf("bounded", keep).unwrap();
        let other = store.shelf("other", WEEK).unwrap();
        settle_all(&**store, other, 0..100, clock.now());
        for n in 0..1000 {
            clock.advance(Duration::from_secs(1));
            settle_all(&**store, bounded, n..n + 1, clock.now());
        }
        let known = |n| found(&**store, bounded, &keys(n), clock.now()) == BOTH;
        assert!((900..1000).all(known), "the newest are kept");
        assert!((0..100).all(|n| found(&**store, other, &keys(n), clock.now()) == BOTH));
    });
}

#[test]
fn after_close_nothing_is_settled() {
    each(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        store.close();
        store.close();
        assert_eq!(
            settle(&**store, shelf, keys(1), clock.now()),
            Err(StoreError::Closed)
        );
        assert_eq!(store.health(), Health::Closed);
        assert_eq!(store.shelf("b", WEEK), Err(StoreError::Closed));
    });
}
