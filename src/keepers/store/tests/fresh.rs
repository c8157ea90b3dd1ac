//! Jobs that are in the log alone, and jobs of the tables that ended in it.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::contract::{Whole, each_store};
use super::file::{Place, database, edit};
use super::jobs::{
    DAY, all_due, attempt, change, change_all, delivered, job, load, push, push_all, retry,
};
use super::{BOTH, NEITHER, WEEK, found, keys, settle};
use crate::keepers::store::jobs::tables::{BODIES, CONTENTS, DUE, JOBS};
use crate::keepers::store::jobs::{Change, Changed, Due, JobId, NewJob, Queue, Selection, Terms};
use crate::keepers::store::tables::META;
use crate::keepers::store::{ShelfId, Store, StoreError};
use crate::words::time::{Clock, Timestamp};

const PAGE: usize = 4096;
const DONE: Result<Changed, StoreError> = Ok(Changed::Done { next: None });
const GONE: Result<Changed, StoreError> = Ok(Changed::Gone);
const STALE: Result<Changed, StoreError> = Ok(Changed::Stale);

/// How many rows the tables of a closed store have of jobs.
fn rows(place: &Place) -> [u64; 4] {
    let database = database(&place.path);
    let txn = database.begin_read().unwrap();
    [
        txn.open_table(JOBS).unwrap().len().unwrap(),
        txn.open_table(CONTENTS).unwrap().len().unwrap(),
        txn.open_table(BODIES).unwrap().len().unwrap(),
        txn.open_table(DUE).unwrap().len().unwrap(),
    ]
}

/// A transaction, which takes over what the log holds.
fn transact(store: &dyn Whole, name: &str) {
    store.shelf(name, WEEK).unwrap();
}

fn large(shelf: ShelfId, n: u64, at: Timestamp) -> NewJob {
    NewJob {
        body: vec![n as u8; 3_000].into(),
        ..job(shelf, n, at)
    }
}

fn walked(store: &dyn Whole) -> Vec<JobId> {
    let mut ids = Vec::new();
    let end = store.walk(None, Selection::ALL, 10_000, &mut |view| {
        ids.push(view.info.id);
        ControlFlow::Continue(())
    });
    assert_eq!(end, Ok(None));
    ids
}

/// That of these events, whose job has the number beside it, those `left` are all there is.
#[track_caller]
fn holds(store: &dyn Whole, shelf: ShelfId, jobs: &[(u64, JobId)], left: &[u64]) {
    let now = Timestamp::from_secs(1_800_000_000);
    let there: Vec<JobId> = {
        let left = jobs.iter().filter(|(n, _)| left.contains(n));
        left.map(|(_, id)| *id).collect()
    };
    assert_eq!(all_due(store, shelf), there);
    assert_eq!(
        walked(store),
        there.iter().rev().copied().collect::<Vec<_>>()
    );
    assert_eq!(store.counts()[0].queued.jobs as usize, there.len());
    assert_eq!(store.next_due(shelf).is_some(), !there.is_empty());
    assert_eq!(store.counts()[0].oldest_queued.is_some(), !there.is_empty());
    for (n, id) in jobs {
        let is_left = left.contains(n);
        assert_eq!(found(store, shelf, &keys(*n), now), BOTH, "event {n}");
        assert_eq!(load(store, *id).is_some(), is_left, "event {n}");
        let by_key = store.find(Some(shelf), keys(*n).content).unwrap();
        assert_eq!(by_key, is_left.then_some(*id), "event {n}");
    }
    assert_eq!(store.statistics().damaged_rows, 0);
}

#[test]
fn what_is_delivered_in_time_is_in_no_table() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let ids = push_all(&store, (0..20).map(|n| large(shelf, n, now)));
    let jobs: Vec<_> = (0..20).zip(ids.clone()).collect();
    holds(&store, shelf, &jobs, &(0..20).collect::<Vec<_>>());
    let stored = load(&store, ids[7]).unwrap();
    assert_eq!(stored.body, Some(vec![7; 3_000].into()));
    change_all(
        &store,
        ids[..19].iter().map(|id| (*id, delivered(1, now, false))),
    );
    holds(&store, shelf, &jobs, &[19]);
    drop(store);
    assert_eq!(rows(&place), [0; 4]);
    let store = place.open().unwrap();
    store.tidy();
    holds(&store, shelf, &jobs, &[19]);
    drop(store);
    assert_eq!(rows(&place), [1, 1, 1, 1], "housekeeping took it over");
}

#[test]
fn the_oldest_that_waits_is_none_that_ended_before_the_log_was_taken_over() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let first = push(&store, job(shelf, 1, now)).unwrap();
    transact(&store, "b");
    assert_eq!(change(&store, first, delivered(1, now, false)), DONE);
    let later = now.after(Duration::from_secs(60));
    push(&store, job(shelf, 2, later)).unwrap();
    assert_eq!(store.counts()[0].oldest_queued, Some(later));
    transact(&store, "c");
    assert_eq!(store.counts()[0].oldest_queued, Some(later));
}

#[test]
fn a_job_of_the_tables_ends_in_the_log() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let ids = push_all(&store, (0..4).map(|n| large(shelf, n, now)));
    let jobs: Vec<_> = (0..4).zip(ids.clone()).collect();
    transact(&store, "b");
    holds(&store, shelf, &jobs, &[0, 1, 2, 3]);
    assert_eq!(change(&store, ids[0], delivered(2, now, false)), STALE);
    assert_eq!(change(&store, ids[0], delivered(1, now, false)), DONE);
    assert_eq!(change(&store, ids[0], delivered(1, now, false)), GONE);
    assert_eq!(change(&store, ids[2], delivered(1, now, false)), DONE);
    let again = (store.attempts(ids[0]), load(&store, ids[0]));
    assert_eq!(again, (Ok(vec![]), None));
    holds(&store, shelf, &jobs, &[1, 3]);
    drop(store);
    assert_eq!(rows(&place), [4; 4], "it is the log that says so");
    let store = place.open().unwrap();
    store.tidy();
    holds(&store, shelf, &jobs, &[1, 3]);
    transact(&store, "c");
    holds(&store, shelf, &jobs, &[1, 3]);
    drop(store);
    assert_eq!(rows(&place), [2; 4]);
}

/// With more ends than the log may hold of the tables' jobs a transaction comes in between.
#[test]
fn a_backlog_is_delivered_from_the_tables_and_leaves_nothing() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let ids = push_all(&store, (0..3_000).map(|n| job(shelf, n, now)));
    transact(&store, "b");
    let mut left = ids.clone();
    while !left.is_empty() {
        assert_eq!(all_due(&store, shelf), left);
        assert_eq!(store.next_due(shelf), Some(now));
        let some: Vec<_> = left.drain(..left.len().min(125)).collect();
        change_all(
            &store,
            some.into_iter().map(|id| (id, delivered(1, now, false))),
        );
        assert_eq!(store.counts()[0].queued.jobs as usize, left.len());
    }
    assert_eq!(store.next_due(shelf), None);
    transact(&store, "c");
    drop(store);
    assert_eq!(rows(&place), [0; 4]);
}

#[test]
fn a_number_is_not_given_away_again_that_was_in_the_log_alone() {
    let place = Place::new();
    let shelf = place.open().unwrap().shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let mut newest = None;
    for round in 0..6 {
        let store = place.open().unwrap();
        // So that they go to the log, which is closed after an opening.
        transact(&store, &format!("begun {round}"));
        let ids = push_all(&store, (0..5).map(|n| job(shelf, round * 5 + n, now)));
        assert!(ids.iter().all(|id| Some(*id) > newest), "round {round}");
        newest = ids.last().copied();
        change_all(
            &store,
            ids.into_iter().map(|id| (id, delivered(1, now, false))),
        );
        if round % 2 == 1 {
            // The log is taken over when no job is left in it.
            transact(&store, &round.to_string());
        }
    }
}

#[test]
fn the_bounds_of_a_shelf_count_what_is_in_the_log() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let terms = Terms {
        max_events: 3,
        ..DAY
    };
    store.hold(shelf, terms).unwrap();
    let mut ids = push_all(&store, (0..3).map(|n| job(shelf, n, now)));
    let full = Err(StoreError::ShelfFull);
    assert_eq!(push(&store, job(shelf, 3, now)), full);
    change(&store, ids[1], delivered(1, now, false)).unwrap();
    ids.push(push(&store, job(shelf, 3, now)).unwrap());
    assert_eq!(push(&store, job(shelf, 4, now)), full);
    for opened in 0..2 {
        transact(&store, &opened.to_string());
        assert_eq!(push(&store, job(shelf, 4, now)), full);
    }
    change(&store, ids[0], delivered(1, now, false)).unwrap();
    drop(store);
    let store = place.open().unwrap();
    ids.push(push(&store, job(shelf, 4, now)).unwrap());
    assert_eq!(push(&store, job(shelf, 5, now)), full);
}

/// Copies of delivered jobs lie in the tables, so what makes them go must be a transaction.
#[test]
fn copies_make_room_for_what_would_fit_the_log() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        let terms = Terms {
            max_events: 3,
            ..DAY
        };
        store.hold(shelf, terms).unwrap();
        let copies = push_all(store, (0..2).map(|n| job(shelf, n, now)));
        change_all(
            store,
            copies.iter().map(|id| (*id, delivered(1, now, true))),
        );
        push(store, job(shelf, 2, now)).unwrap();
        let are_there = || {
            copies
                .iter()
                .map(|id| load(store, *id).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(are_there(), [true, true]);
        push(store, job(shelf, 3, now)).unwrap();
        assert_eq!(are_there(), [false, true]);
        push(store, job(shelf, 4, now)).unwrap();
        assert_eq!(are_there(), [false, false]);
    });
}

#[test]
fn a_job_of_the_log_is_changed_like_any_other() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        store.hold(shelf, DAY).unwrap();
        let now = clock.now();
        let ids = push_all(store, (0..3).map(|n| large(shelf, n, now)));
        let tried = NewJob {
            attempts: vec![attempt(1, now)],
            ..large(shelf, 3, now)
        };
        let tried = push(store, tried).unwrap();
        assert_eq!(store.attempts(tried), Ok(vec![attempt(1, now)]));
        assert_eq!(load(store, tried).unwrap().info.attempts, 1);
        assert_eq!(change(store, tried, delivered(1, now, false)), STALE);
        assert_eq!(change(store, ids[0], delivered(2, now, false)), STALE);
        let later = now.after(Duration::from_secs(60));
        assert_eq!(change(store, ids[1], retry(1, now, later)), DONE);
        assert_eq!(store.attempts(tried).unwrap().len(), 1, "it was taken over");
        assert_eq!(change(store, tried, retry(2, now, now)), DONE);
        assert_eq!(store.attempts(tried).unwrap().len(), 2);
        assert_eq!(all_due(store, shelf), [ids[0], ids[2], tried, ids[1]]);
        assert_eq!(change(store, ids[2], delivered(1, now, true)), DONE);
        assert_eq!(change(store, ids[2], Change::Requeue { due: now }), DONE);
        assert_eq!(change(store, ids[2], delivered(2, now, false)), DONE);
        assert_eq!(change(store, ids[1], delivered(2, now, false)), DONE);
        assert_eq!(all_due(store, shelf), [ids[0], tried]);
    });
}

#[test]
fn only_what_the_log_alone_knows_is_at_hand() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let (soon, late) = (Duration::from_secs(5), Duration::from_secs(9));
    let job_due = |n, pause| NewJob {
        state: crate::keepers::store::jobs::NewState::Queued {
            due: now.after(pause),
        },
        ..job(shelf, n, now)
    };
    assert!(store.is_at_hand(shelf, None));
    push(&store, job_due(1, late)).unwrap();
    assert!(store.is_at_hand(shelf, None));
    transact(&store, "b");
    push(&store, job_due(2, soon)).unwrap();
    assert!(store.is_at_hand(shelf, Some(now.after(soon))));
    assert!(!store.is_at_hand(shelf, Some(now.after(late))));
    assert!(!store.is_at_hand(shelf, None));
}

#[test]
fn jobs_of_the_log_and_of_the_tables_are_due_in_one_order() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        let at = |secs| now.after(Duration::from_secs(secs));
        let due = |n: u64, secs| NewJob {
            state: crate::keepers::store::jobs::NewState::Queued { due: at(secs) },
            ..job(shelf, n, now)
        };
        let stored =
            [(1, 5), (2, 1), (3, 5), (4, 9)].map(|(n, secs)| push(store, due(n, secs)).unwrap());
        transact(store, "b");
        let fresh = [(5, 5), (6, 0), (7, 7)].map(|(n, secs)| push(store, due(n, secs)).unwrap());
        let place_of = |secs, id| Due { at: at(secs), id };
        let all = [
            place_of(0, fresh[1]),
            place_of(1, stored[1]),
            place_of(5, stored[0]),
            place_of(5, stored[2]),
            place_of(5, fresh[0]),
            place_of(7, fresh[2]),
            place_of(9, stored[3]),
        ];
        for from in 0..all.len() {
            let after = from.checked_sub(1).map(|last| all[last]);
            for limit in 0..=all.len() {
                let upto = all.len().min(from + limit);
                assert_eq!(
                    store.due(shelf, None, after, limit),
                    Ok(all[from..upto].to_vec())
                );
            }
            let until = all[from..].iter().filter(|due| due.at <= at(5)).copied();
            assert_eq!(
                store.due(shelf, Some(at(5)), after, 99),
                Ok(until.collect())
            );
        }
        for (ends, first) in [
            (all[0], 1),
            (all[1], 5),
            (all[3], 5),
            (all[2], 5),
            (all[4], 7),
        ] {
            assert_eq!(change(store, ends.id, delivered(1, now, false)), DONE);
            assert_eq!(store.next_due(shelf), Some(at(first)));
        }
        assert_eq!(all_due(store, shelf), [fresh[2], stored[3]]);
        let page = |from, scan_max| {
            let mut seen = Vec::new();
            let next = store.walk(from, Selection::ALL, scan_max, &mut |view| {
                seen.push(view.info.id);
                ControlFlow::Continue(())
            });
            (seen, next.unwrap())
        };
        assert_eq!(page(None, 1), (vec![fresh[2]], Some(stored[3])));
        assert_eq!(page(Some(stored[3]), 1), (vec![stored[3]], None));
    });
}

#[test]
fn a_job_is_in_one_place_at_every_moment() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    // These stay, whatever is taken over around them.
    let mut staying = BTreeSet::new();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ids, known) = std::sync::mpsc::channel::<JobId>();
        let (store, is_over) = (&store, &is_over);
        scope.spawn(move || {
            let mut stay = BTreeSet::new();
            while !is_over.load(Ordering::SeqCst) {
                stay.extend(known.try_iter());
                let all: Vec<_> = stay.iter().copied().collect();
                let due = all_due(store, shelf);
                let listed: BTreeSet<_> = due.iter().copied().collect();
                assert_eq!(listed.len(), due.len(), "one is listed twice");
                assert!(stay.is_subset(&listed), "one is not due");
                let jobs = store.load(&all, true).unwrap();
                assert!(jobs.iter().all(Option::is_some), "one is not there");
                let walked = walked(store);
                assert!(walked.is_sorted_by(|newer, older| newer > older));
                assert!(stay.is_subset(&walked.into_iter().collect()));
                let queued = store.counts()[0].queued.jobs as usize;
                assert!(queued >= all.len() && queued <= 101);
            }
        });
        for n in 0..300 {
            let id = push(store, job(shelf, n, now)).unwrap();
            match n % 3 {
                0 => {
                    staying.insert(id);
                    ids.send(id).unwrap();
                }
                1 => assert_eq!(change(store, id, delivered(1, now, false)), DONE),
                _ => {
                    transact(store, &n.to_string());
                    assert_eq!(change(store, id, delivered(1, now, false)), DONE);
                }
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!(
        all_due(&store, shelf),
        staying.into_iter().collect::<Vec<_>>()
    );
}

/// A store whose log has a record for each of three pushes and then one for each of two ends, and the page of the first.
fn logged() -> (Place, ShelfId, Vec<(u64, JobId)>) {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let jobs: Vec<_> = (0..3)
        .map(|n| (n, push(&store, job(shelf, n, now)).unwrap()))
        .collect();
    for (_, id) in &jobs[..2] {
        assert_eq!(change(&store, *id, delivered(1, now, false)), DONE);
    }
    (place, shelf, jobs)
}

fn spoil(place: &Place, page: usize) {
    let mut bytes = fs::read(&place.path).unwrap();
    bytes[page * PAGE + 45] ^= 1;
    fs::write(&place.path, bytes).unwrap();
}

#[test]
fn a_torn_push_at_the_end_of_the_log_is_not_there_and_no_damage() {
    let (place, shelf, jobs) = logged();
    let store = place.open().unwrap();
    transact(&store, "b");
    let torn = push(&store, job(shelf, 9, place.clock.now())).unwrap();
    drop(store);
    spoil(&place, 1);
    let store = place.open().unwrap();
    store.tidy();
    holds(&store, shelf, &jobs, &[2]);
    assert_eq!(found(&store, shelf, &keys(9), place.clock.now()), NEITHER);
    assert_eq!(store.find(None, keys(9).content), Ok(None));
    let again = push(&store, job(shelf, 9, place.clock.now())).unwrap();
    assert_eq!(
        again, torn,
        "nobody was told of its number, had it been torn"
    );
}

#[test]
fn a_damaged_push_takes_only_its_own_job_with_it() {
    let (place, shelf, jobs) = logged();
    spoil(&place, 1);
    for opened in 0..2 {
        let store = place.open().unwrap();
        assert_eq!(store.statistics().damaged_rows, 1 - opened);
        let now = place.clock.now();
        assert_eq!(found(&store, shelf, &keys(0), now), NEITHER);
        assert_eq!(all_due(&store, shelf), [jobs[2].1]);
        assert_eq!(load(&store, jobs[0].1), None);
        let id = push(&store, job(shelf, 20 + opened, now)).unwrap();
        assert!(id > jobs[2].1);
        change(&store, id, delivered(1, now, false)).unwrap();
        transact(&store, &opened.to_string());
    }
}

#[test]
fn a_damaged_end_brings_its_job_back_and_is_counted() {
    let (place, shelf, jobs) = logged();
    spoil(&place, 4);
    let store = place.open().unwrap();
    assert_eq!(store.statistics().damaged_rows, 1);
    assert_eq!(all_due(&store, shelf), [jobs[0].1, jobs[2].1]);
    let number = attempt(1, place.clock.now());
    let end = Change::Delivered {
        attempt: number,
        keep: false,
    };
    assert_eq!(change(&store, jobs[0].1, end), DONE);
    assert_eq!(store.counts()[0].queued.jobs, 1);
}

/// As a version before the log told of jobs left it: with the number of its format, and with a shorter log.
#[test]
fn a_file_of_an_earlier_format_is_carried_over() {
    let place = Place::new();
    let mut head = vec![0; 1 << 20];
    head[..16].copy_from_slice(b"passgate store 1");
    fs::write(&place.path, head).unwrap();
    let now = place.clock.now();
    let store = place.open().unwrap();
    assert!(store.is_new());
    let shelf = store.shelf("a", WEEK).unwrap();
    let id = push(&store, job(shelf, 1, now)).unwrap();
    transact(&store, "b");
    settle(&store, shelf, keys(2), now).unwrap();
    drop(store);
    let format = || {
        let database = database(&place.path);
        let txn = database.begin_read().unwrap();
        let meta = txn.open_table(META).unwrap();
        let row = meta.get("format").unwrap().unwrap();
        row.value().to_vec()
    };
    assert_eq!(format(), [1, 3, 0, 0, 0]);
    edit(&place.path, |txn| {
        let mut meta = txn.open_table(META).unwrap();
        meta.insert("format", [1u8, 1, 0, 0, 0].as_slice()).unwrap();
    });
    let store = place.open().unwrap();
    assert!(!store.is_new());
    assert_eq!(found(&store, shelf, &keys(2), now), BOTH, "from its log");
    assert_eq!(all_due(&store, shelf), [id]);
    drop(store);
    assert_eq!(format(), [1, 1, 0, 0, 0], "nothing was written yet");
    let store = place.open().unwrap();
    let of_the_log = push(&store, job(shelf, 400, now)).unwrap();
    change(&store, of_the_log, delivered(1, now, false)).unwrap();
    drop(store);
    assert_eq!(format(), [1, 3, 0, 0, 0], "before the log tells of a job");
    let store = place.open().unwrap();
    for n in 3..400 {
        let id = push(&store, large(shelf, n, now)).unwrap();
        if n < 398 {
            change(&store, id, delivered(1, now, false)).unwrap();
        }
    }
    drop(store);
    let bytes = fs::read(&place.path).unwrap();
    assert_eq!(
        &bytes[1 << 20..][..4],
        b"redb",
        "the log is as long as it was"
    );
    let store = place.open().unwrap();
    assert_eq!(all_due(&store, shelf).len(), 3);
    assert_eq!(found(&store, shelf, &keys(2), now), BOTH);
    assert_eq!(store.statistics().damaged_rows, 0);
}

/// As the version before left it, whose epoch's row names no place in the log.
#[test]
fn a_log_that_begins_with_its_epoch_is_carried_over() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    settle(&store, shelf, keys(1), now).unwrap();
    let id = push(&store, job(shelf, 2, now)).unwrap();
    drop(store);
    edit(&place.path, |txn| {
        let mut meta = txn.open_table(META).unwrap();
        meta.insert("format", [1u8, 2, 0, 0, 0].as_slice()).unwrap();
        let epoch = meta.get("log").unwrap().unwrap().value().to_vec();
        assert_eq!((epoch.len(), &epoch[24..]), (32, &[0; 8][..]));
        meta.insert("log", &epoch[..24]).unwrap();
    });
    for n in 3..6 {
        let store = place.open().unwrap();
        assert_eq!(all_due(&store, shelf), [id]);
        assert!((1..n).all(|n| found(&store, shelf, &keys(n), now) == BOTH));
        settle(&store, shelf, keys(n), now).unwrap();
        transact(&store, &n.to_string());
    }
}
