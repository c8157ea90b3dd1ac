//! One body of tests over every queue: asking about jobs, and what becomes of them with time.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use super::contract::each_store;
use super::jobs::{DAY, attempt, change, dead, delivered, job, load, push, push_all};
use super::{BOTH, NEITHER, WEEK, found, keys};
use crate::keepers::store::jobs::{
    ATTEMPT_ERROR_BYTES_MAX, ATTEMPTS_KEPT_LAST, Change, Changed, JobId, JobView, ReplayId,
    Selection, Terms, Volume,
};
use crate::keepers::store::{Keep, StoreError};
use crate::words::time::Clock;

const MINUTE: Duration = Duration::from_secs(60);
const DONE: Result<Changed, StoreError> = Ok(Changed::Done { next: None });

#[test]
fn a_walk_shows_the_newest_first_and_goes_on_where_it_stopped() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let other = store.shelf("b", WEEK).unwrap();
        let now = clock.now();
        let ids = push_all(
            store,
            (0..9).map(|n| job([shelf, other][n as usize % 2], n, now)),
        );
        change(store, ids[4], dead()).unwrap();
        let walk = |from, selection, scan_max, stop_after: usize| {
            let mut seen = Vec::new();
            let next = store.walk(from, selection, scan_max, &mut |view: &JobView<'_>| {
                assert_eq!(
                    view.head,
                    format!("head {}", view.info.id.number()).as_bytes()
                );
                seen.push(view.info.id);
                match seen.len() == stop_after {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            (seen, next.unwrap())
        };
        let id = |n: usize| ids[n];
        let down: Vec<_> = (0..9).rev().map(id).collect();
        assert_eq!(walk(None, Selection::ALL, 100, 0), (down.clone(), None));
        assert_eq!(
            walk(None, Selection::ALL, 100, 4),
            (down[..4].to_vec(), Some(id(4)))
        );
        assert_eq!(
            walk(Some(id(4)), Selection::ALL, 3, 0),
            (down[4..7].to_vec(), Some(id(1)))
        );
        let queued_there = Selection {
            shelf: Some(shelf),
            delivered: false,
            dead: false,
            queued: true,
        };
        assert_eq!(walk(None, queued_there, 100, 0).0, [8, 6, 2, 0].map(id));
        let dead_ones = Selection {
            queued: false,
            ..Selection::ALL
        };
        assert_eq!(walk(None, dead_ones, 5, 0), (vec![id(4)], Some(id(3))));
        assert_eq!(
            walk(Some(JobId::from_number(0)), Selection::ALL, 9, 1),
            (vec![id(0)], None)
        );
    });
}

#[test]
fn the_first_and_the_last_attempts_are_kept() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        let id = push(store, job(shelf, 1, now)).unwrap();
        for number in 1..=70 {
            let mut attempt = attempt(number, now);
            attempt.status = None;
            attempt.error = Some("ä".repeat(number as usize * 3));
            assert_eq!(change(store, id, Change::Retry { attempt, due: now }), DONE);
        }
        let kept = store.attempts(id).unwrap();
        let numbers: Vec<_> = kept.iter().map(|attempt| attempt.number).collect();
        let last = 71 - ATTEMPTS_KEPT_LAST..=70;
        assert_eq!(numbers, std::iter::once(1).chain(last).collect::<Vec<_>>());
        let longest = kept
            .iter()
            .filter_map(|attempt| Some(attempt.error.as_ref()?.len()))
            .max();
        assert_eq!(longest, Some(ATTEMPT_ERROR_BYTES_MAX));
        assert_eq!(load(store, id).unwrap().info.attempts, 70);
        assert_eq!(change(store, id, delivered(71, now, false)), DONE);
        assert_eq!(store.attempts(id), Ok(vec![]));
    });
}

#[test]
fn a_job_is_found_by_its_content_key() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let other = store.shelf("b", WEEK).unwrap();
        let mut ids = Vec::new();
        for n in 0..30 {
            clock.advance(MINUTE);
            ids.push(push(store, job(shelf, n, clock.now())).unwrap());
        }
        for n in [0, 17, 29] {
            let key = keys(n).content;
            assert_eq!(store.find(None, key), Ok(Some(ids[n as usize])));
            assert_eq!(store.find(Some(shelf), key), Ok(Some(ids[n as usize])));
            assert_eq!(store.find(Some(other), key), Ok(None));
        }
        assert_eq!(store.find(None, keys(99).content), Ok(None));
        let again = push(store, job(shelf, 17, clock.now())).unwrap();
        assert_eq!(
            store.find(None, keys(17).content),
            Ok(Some(again)),
            "the newest"
        );
    });
}

#[test]
fn what_a_shelf_holds_is_counted_by_state() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        store.shelf("b", WEEK).unwrap();
        store.hold(shelf, DAY).unwrap();
        let first = clock.now();
        let ids: Vec<_> = (0..6)
            .map(|n| {
                clock.advance(MINUTE);
                push(store, job(shelf, n, clock.now())).unwrap()
            })
            .collect();
        let counts = || store.counts();
        assert_eq!(counts()[0].oldest_queued, Some(first.after(MINUTE)));
        let now = clock.now();
        change(store, ids[0], delivered(1, now, true)).unwrap();
        change(store, ids[1], delivered(1, now, false)).unwrap();
        change(store, ids[2], dead()).unwrap();
        change(store, ids[3], dead()).unwrap();
        store.housekeep();
        let volume = |jobs| Volume {
            jobs,
            bytes: jobs * 12,
        };
        let held = &counts()[0];
        assert_eq!((held.shelf, held.name.as_str()), (shelf, "a"));
        assert_eq!(
            (held.queued, held.delivered, held.dead),
            (volume(2), volume(1), volume(2))
        );
        assert_eq!(held.oldest_queued, Some(first.after(MINUTE * 5)));
        change(store, ids[2], Change::Requeue { due: now }).unwrap();
        store.housekeep();
        assert_eq!(counts()[0].oldest_queued, Some(first.after(MINUTE * 3)));
        let nothing = &counts()[1];
        assert_eq!(
            (nothing.name.as_str(), nothing.queued, nothing.oldest_queued),
            ("b", volume(0), None)
        );
    });
}

#[test]
fn rows_about_replays_are_kept() {
    each_store(|store, _| {
        let put = |id, row| {
            let (tell, told) = std::sync::mpsc::channel();
            let done = Box::new(move |put| tell.send(put).unwrap());
            match row {
                Some(row) => store.put_replay(ReplayId(id), Bytes::from_static(row), done),
                None => store.remove_replay(ReplayId(id), done),
            }
            assert_eq!(told.recv().unwrap(), Ok(()));
        };
        put(3, Some(b"three"));
        put(1, Some(b""));
        put(2, Some(b"two"));
        put(3, Some(b"again"));
        put(2, None);
        let row = |row: &'static [u8]| Bytes::from_static(row);
        assert_eq!(
            store.replays(),
            Ok(vec![(ReplayId(1), row(b"")), (ReplayId(3), row(b"again"))])
        );
        assert_eq!(store.replay(ReplayId(3)), Ok(Some(row(b"again"))));
        assert_eq!(store.replay(ReplayId(2)), Ok(None));
    });
}

#[test]
fn ended_jobs_are_forgotten_when_their_time_is_over() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let terms = Terms {
            keep_delivered: MINUTE,
            keep_dead: MINUTE * 3,
            ..DAY
        };
        store.hold(shelf, terms).unwrap();
        let now = clock.now();
        let ids: Vec<_> = push_all(store, (0..4).map(|n| job(shelf, n, now)));
        change(store, ids[0], delivered(1, now, true)).unwrap();
        change(store, ids[1], dead()).unwrap();
        change(store, ids[2], dead()).unwrap();
        let left = |minutes| {
            clock.advance(minutes);
            found(store, shelf, &keys(9), clock.now());
            store.housekeep();
            ids.iter()
                .map(|id| load(store, *id).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(left(MINUTE - Duration::from_millis(1)), [true; 4]);
        assert_eq!(left(Duration::from_millis(1)), [false, true, true, true]);
        change(store, ids[2], Change::Requeue { due: now }).unwrap();
        assert_eq!(left(MINUTE * 2), [false, false, true, true]);
        assert_eq!(
            left(WEEK.remember),
            [false, false, true, true],
            "queued ones stay"
        );
    });
}

#[test]
fn keys_outlive_their_event() {
    each_store(|store, clock| {
        let remember = MINUTE * 8;
        let shelf = store
            .shelf(
                "a",
                Keep {
                    remember,
                    max_keys: None,
                },
            )
            .unwrap();
        store.hold(shelf, DAY).unwrap();
        let ids = push_all(store, (0..50).map(|n| job(shelf, n, clock.now())));
        super::settle(store, shelf, keys(99), clock.now()).unwrap();
        for minutes in 1..40 {
            clock.advance(MINUTE);
            store.housekeep();
            let known = |n| found(store, shelf, &keys(n), clock.now()) == BOTH;
            assert!((0..50).all(known), "after {minutes} minutes");
            assert_eq!(known(99), minutes < 8, "one that is not stored");
        }
        for id in ids {
            change(store, id, delivered(1, clock.now(), false)).unwrap();
        }
        clock.advance(remember);
        store.housekeep();
        assert_eq!(found(store, shelf, &keys(1), clock.now()), NEITHER);
    });
}

#[test]
fn after_close_nothing_is_pushed_or_read() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let id = push(store, job(shelf, 1, clock.now())).unwrap();
        store.close();
        assert_eq!(
            push(store, job(shelf, 2, clock.now())),
            Err(StoreError::Closed)
        );
        assert_eq!(change(store, id, dead()), Err(StoreError::Closed));
        assert_eq!(store.load(&[id], true), Err(StoreError::Closed));
        assert_eq!(store.hold(shelf, DAY), Err(StoreError::Closed));
    });
}
