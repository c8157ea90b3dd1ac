//! What only a queue in a file does: reopening, damage, full disks, space.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redb::{Builder, ReadableDatabase, ReadableTableMetadata, TableHandle};

use super::file::{Place, database, edit};
use super::jobs::{
    DAY, all_due, change, change_all, dead, delivered, job, load, ordered, push, push_all, retry,
    state,
};
use super::{BOTH, NEITHER, WEEK, found, keys, settle, settle_all, small};
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::jobs::desk::Books;
use crate::keepers::store::jobs::fresh::Heirloom;
use crate::keepers::store::jobs::ops::{JobChore, work};
use crate::keepers::store::jobs::tables::{CONTENTS, JOBS, TALLIES};
use crate::keepers::store::jobs::{
    Change, Changed, JobState, NewJob, NewState, Queue, Reason, Terms,
};
use crate::keepers::store::medium::{FileMedium, Medium, Opened};
use crate::keepers::store::open_error::OpenError;
use crate::keepers::store::tuning::Tuning;
use crate::keepers::store::{Keep, Store, StoreError};
use crate::words::time::Clock;

#[test]
fn a_reopened_store_has_its_jobs_their_order_and_its_counts() {
    let place = Place::new();
    let store = place.open().unwrap();
    let now = place.clock.now();
    let shelf = store.shelf("a", WEEK).unwrap();
    store.hold(shelf, DAY).unwrap();
    let first = push(&store, ordered(shelf, 1, 7, now)).unwrap();
    let second = push(&store, ordered(shelf, 2, 7, now)).unwrap();
    let buried = push(&store, job(shelf, 3, now)).unwrap();
    change(&store, buried, dead()).unwrap();
    let last = push(&store, job(shelf, 4, now)).unwrap();
    change(&store, first, retry(1, now, now)).unwrap();
    change(&store, last, delivered(1, now, false)).unwrap();
    let counts = store.counts();
    drop(store);

    let store = place.open().unwrap();
    store.tidy();
    assert_eq!(store.counts(), counts);
    assert_eq!(store.next_due(shelf), Some(now));
    assert_eq!(all_due(&store, shelf), [first]);
    assert_eq!(found(&store, shelf, &keys(4), now), BOTH);
    let next = push(&store, ordered(shelf, 5, 7, now)).unwrap();
    assert!(next > last, "a number is not given away again");
    let Ok(Changed::Done { next: Some(due) }) = change(&store, first, delivered(2, now, false))
    else {
        panic!("the second is due");
    };
    assert_eq!(due.id, second);
}

#[test]
fn a_full_shelf_is_still_full_after_a_restart() {
    let place = Place::new();
    let store = place.open().unwrap();
    let now = place.clock.now();
    let shelf = store.shelf("a", WEEK).unwrap();
    let terms = Terms {
        max_events: 2,
        ..DAY
    };
    store.hold(shelf, terms).unwrap();
    push_all(&store, (0..2).map(|n| job(shelf, n, now)));
    drop(store);
    let store = place.open().unwrap();
    assert_eq!(push(&store, job(shelf, 2, now)), Err(StoreError::ShelfFull));
}

/// Housekeeping looks first and forgets with a later commit; a replay may come between.
#[test]
fn a_job_that_was_queued_again_meanwhile_is_not_forgotten() {
    let place = Place::new();
    let store = place.open().unwrap();
    let now = place.clock.now();
    let shelf = store.shelf("a", WEEK).unwrap();
    let id = push(&store, job(shelf, 1, now)).unwrap();
    change(&store, id, dead()).unwrap();
    change(&store, id, Change::Requeue { due: now }).unwrap();
    drop(store);
    edit(&place.path, |txn| {
        let place = JobChore::Forget((0, true, now.as_millis(), id.number()));
        work(
            txn,
            &[],
            &[place],
            &Heirloom::default(),
            &Books::default(),
            now,
        )
        .unwrap();
    });
    let store = place.open().unwrap();
    assert_eq!(all_due(&store, shelf), [id]);
    assert!(load(&store, id).is_some());
}

#[test]
fn a_file_of_an_earlier_version_gets_a_queue() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    settle_all(&store, shelf, 0..10, place.clock.now());
    drop(store);
    edit(&place.path, |txn| {
        let tables: Vec<_> = txn.list_tables().unwrap().collect();
        for table in tables {
            let known = ["meta", "shelves", "journal", "runs", "chunks"];
            if !known.contains(&table.name()) {
                txn.delete_table(table).unwrap();
            }
        }
    });
    let store = place.open().unwrap();
    assert_eq!(found(&store, shelf, &keys(3), place.clock.now()), BOTH);
    push(&store, job(shelf, 1, place.clock.now())).unwrap();
}

#[test]
fn damaged_jobs_are_passed_over_and_hold_nobody_up() {
    let place = Place::new();
    let store = place.open().unwrap();
    let now = place.clock.now();
    let shelf = store.shelf("a", WEEK).unwrap();
    let ids: Vec<_> = (0..3)
        .map(|n| push(&store, ordered(shelf, n, 7, now)).unwrap())
        .collect();
    let headless = push(&store, job(shelf, 9, now)).unwrap();
    // From the log into the tables.
    store.tidy();
    drop(store);
    edit(&place.path, |txn| {
        let broken = [1u8, 9].as_slice();
        let mut jobs = txn.open_table(JOBS).unwrap();
        jobs.insert(ids[0].number(), broken).unwrap();
        jobs.insert(ids[1].number(), broken).unwrap();
        let mut contents = txn.open_table(CONTENTS).unwrap();
        contents.insert(headless.number(), broken).unwrap();
        let mut tallies = txn.open_table(TALLIES).unwrap();
        tallies.insert(0, broken).unwrap();
    });
    let store = place.open().unwrap();
    assert_eq!(store.statistics().damaged_rows, 1);
    assert_eq!(store.counts()[0].queued.jobs, 2, "counted anew");
    assert_eq!(all_due(&store, shelf), [headless]);
    // The place in the index was mended by then, and the subject goes on.
    push(&store, job(shelf, 10, now)).unwrap();
    assert!(all_due(&store, shelf).contains(&ids[2]));
    assert_eq!(load(&store, ids[0]), None);
    assert_eq!(change(&store, ids[0], dead()), Ok(Changed::Gone));
    // Without its head it cannot be delivered, but it can be buried.
    assert_eq!(load(&store, headless), None);
    let buried = change(&store, headless, dead());
    assert_eq!(buried, Ok(Changed::Done { next: None }));
    assert!(store.statistics().damaged_rows > 3);
}

#[test]
fn keys_outlive_their_event_through_flushes_merges_and_drops() {
    let place = Place::new();
    let store = place.open().unwrap();
    let remember = Duration::from_secs(80);
    let keep = Keep {
        remember,
        max_keys: None,
    };
    let shelf = store.shelf("a", keep).unwrap();
    push_all(&store, (0..100).map(|n| job(shelf, n, place.clock.now())));
    let mut runs = 0;
    for n in 0..60 {
        settle_all(
            &store,
            shelf,
            1000 + n * 50..1050 + n * 50,
            place.clock.now(),
        );
        store.tidy();
        runs = store.statistics().runs.max(runs);
        place.clock.advance(Duration::from_secs(5));
        let now = place.clock.now();
        assert!((0..100).all(|n| found(&store, shelf, &keys(n), now) == BOTH));
    }
    assert!(runs > 2);
    let now = place.clock.now();
    assert_eq!(found(&store, shelf, &keys(1000), now), NEITHER);
    assert!(store.statistics().keys < 3 * 100 * 2 + 20 * 100);
    drop(store);
    let store = place.open().unwrap();
    assert!((0..100).all(|n| found(&store, shelf, &keys(n), now) == BOTH));
    let found = store.find(Some(shelf), keys(42).content).unwrap();
    assert_eq!(
        found.map(|id| id.number()),
        Some(42),
        "long after it was stored"
    );
}

#[test]
fn space_is_used_again_after_a_backlog() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let mut sizes = Vec::new();
    for round in 0..3u64 {
        let large = |n: u64| NewJob {
            body: vec![1; if n.is_multiple_of(10) { 9_000 } else { 600 }].into(),
            ..job(shelf, round * 1_000 + n, now)
        };
        let ids = push_all(&store, (0..1_000).map(large));
        // A transaction, which takes over what the log holds.
        store.shelf(&format!("pushed {round}"), WEEK).unwrap();
        change_all(
            &store,
            ids.into_iter().map(|id| (id, delivered(1, now, false))),
        );
        store.shelf(&format!("gone {round}"), WEEK).unwrap();
        sizes.push(std::fs::metadata(&place.path).unwrap().len());
    }
    assert_eq!(sizes[1], sizes[0]);
    assert_eq!(sizes[2], sizes[0]);
}

#[derive(Debug)]
struct Filling {
    medium: FileMedium,
    free: AtomicU64,
}

impl Medium for Filling {
    fn open(&self, builder: &Builder) -> Result<Opened, OpenError> {
        self.medium.open(builder)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.free.load(Ordering::SeqCst))
    }
}

#[test]
fn on_a_nearly_full_disk_only_pushes_are_refused() {
    let place = Place::new();
    let tuning = small();
    let reserve = tuning.free_bytes_min;
    let medium = Arc::new(Filling {
        medium: FileMedium::new(place.path.clone()),
        free: AtomicU64::new(reserve),
    });
    let store = Embedded::open_on(medium.clone(), place.clock.clone(), tuning, None).unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    store.hold(shelf, DAY).unwrap();
    let now = place.clock.now();
    let ids = push_all(&store, (0..3).map(|n| job(shelf, n, now)));
    let copy = |n| NewJob {
        state: NewState::Delivered,
        ..job(shelf, n, now)
    };
    let copies = push_all(&store, (10..13).map(copy));
    store.tidy();
    assert!(copies.iter().all(|id| load(&store, *id).is_some()));
    medium.free.store(reserve - 1, Ordering::SeqCst);
    push(&store, job(shelf, 3, now)).expect("the disk is not asked at every commit");
    place.clock.advance(Duration::from_secs(1));
    assert_eq!(push(&store, job(shelf, 4, now)), Err(StoreError::NoSpace));
    assert!(store.statistics().space_low);
    assert_eq!(found(&store, shelf, &keys(4), now), NEITHER);
    assert_eq!(push(&store, copy(5)), Err(StoreError::NoSpace));
    assert_eq!(found(&store, shelf, &keys(5), now), BOTH, "the app has it");
    settle(&store, shelf, keys(6), now).unwrap();
    change(&store, ids[0], delivered(1, now, false)).unwrap();
    change(&store, ids[1], dead()).unwrap();
    change(&store, ids[1], Change::Requeue { due: now }).unwrap();
    assert_eq!(store.counts()[0].queued.jobs, 3);
    store.tidy();
    assert!(
        copies.iter().all(|id| load(&store, *id).is_none()),
        "copies make room for what nobody else has"
    );
    medium.free.store(reserve, Ordering::SeqCst);
    place.clock.advance(Duration::from_secs(1));
    push(&store, job(shelf, 4, now)).unwrap();
    assert!(!store.statistics().space_low);
}

/// In the log it would be taken already, and then the tables could not take it over.
#[test]
fn on_a_disk_with_little_room_a_push_goes_into_the_tables_at_once() {
    for (free, in_tables) in [((8 << 20) - 1, 1), (8 << 20, 0)] {
        let place = Place::new();
        let medium = Arc::new(Filling {
            medium: FileMedium::new(place.path.clone()),
            free: AtomicU64::new(free),
        });
        let tuning = Tuning {
            free_bytes_min: 0,
            ..small()
        };
        let store = Embedded::open_on(medium, place.clock.clone(), tuning, None).unwrap();
        let shelf = store.shelf("a", WEEK).unwrap();
        let id = push(&store, job(shelf, 1, place.clock.now())).unwrap();
        assert_eq!(all_due(&store, shelf), [id]);
        drop(store);
        let database = database(&place.path);
        let jobs = database.begin_read().unwrap().open_table(JOBS).unwrap();
        assert_eq!(jobs.len().unwrap(), in_tables);
    }
}

#[test]
fn the_real_disk_tells_its_free_space() {
    let place = Place::new();
    let free = FileMedium::new(place.path.clone()).free_bytes().unwrap();
    assert!((1 << 20..1 << 50).contains(&free), "{free}");
}

#[test]
fn the_writers_queue_is_bounded_in_bytes() {
    let place = Place::new();
    let tuning = Tuning {
        queue_bytes_max: 2_000,
        commit_bytes_max: 1_000,
        ..small()
    };
    let medium = Arc::new(FileMedium::new(place.path.clone()));
    let store = Embedded::open_on(medium, place.clock.clone(), tuning, None).unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let huge = |n| NewJob {
        body: vec![1; 2_000].into(),
        ..job(shelf, n, now)
    };
    assert_eq!(push(&store, huge(1)), Err(StoreError::Full));
    let pushed = (0..200).map(|n| push(&store, job(shelf, n, now)));
    assert!(
        pushed.into_iter().all(|pushed| pushed.is_ok()),
        "room is given back"
    );
}

#[test]
fn a_job_that_is_pushed_as_ended_is_kept_with_its_reason() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let reason = Reason(200);
    let buried = NewJob {
        state: NewState::Dead { reason },
        ..ordered(shelf, 1, 7, now)
    };
    let id = push(&store, buried).unwrap();
    assert_eq!(state(&store, id), Some(JobState::Dead { at: now, reason }));
    let next = push(&store, ordered(shelf, 2, 7, now)).unwrap();
    assert_eq!(all_due(&store, shelf), [next], "the dead hold nobody up");
}
