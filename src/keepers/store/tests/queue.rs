//! One body of tests over every queue.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use super::contract::each_store;
use super::jobs::{
    DAY, all_due, attempt, change, dead, delivered, job, load, ordered, push, push_all, retry,
    state,
};
use super::{BOTH, NEITHER, WEEK, found, keys};
use crate::keepers::store::jobs::{
    ATTEMPT_ERROR_BYTES_MAX, ATTEMPTS_KEPT_LAST, Change, Changed, Due, JobId, JobState, JobView,
    NewJob, NewState, Reason, ReplayId, Selection, Terms, Volume,
};
use crate::keepers::store::{Keep, StoreError};
use crate::words::time::Clock;

const MINUTE: Duration = Duration::from_secs(60);
const DONE: Result<Changed, StoreError> = Ok(Changed::Done { next: None });
const STALE: Result<Changed, StoreError> = Ok(Changed::Stale);

#[test]
fn a_pushed_job_is_stored_with_its_keys() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        for (n, body_bytes) in [(1, 0), (2, 1024), (3, 1025), (4, 70_000)] {
            let body = Bytes::from(vec![n as u8; body_bytes]);
            let new = NewJob {
                body: body.clone(),
                ..job(shelf, n, now)
            };
            let id = push(store, new.clone()).unwrap();
            assert_eq!(found(store, shelf, &keys(n), now), BOTH);
            let stored = load(store, id).unwrap();
            assert_eq!((stored.head, stored.body), (new.head.clone(), Some(body)));
            let info = stored.info;
            assert_eq!(
                (info.id, info.shelf, info.keys, info.at),
                (id, shelf, keys(n), now)
            );
            assert_eq!((info.attempts, info.replay, info.order), (0, false, None));
            assert_eq!(info.bytes as usize, 6 + body_bytes);
            assert_eq!(
                info.state,
                JobState::Queued {
                    due: now,
                    waits: false
                }
            );
            let without = store.load(&[id, JobId::from_number(99)], false).unwrap();
            assert_eq!(without[0].as_ref().unwrap().body, None);
            assert_eq!(without[1], None);
        }
    });
}

#[test]
fn an_attempt_made_before_the_push_counts() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        let attempts = vec![attempt(1, now)];
        let id = push(
            store,
            NewJob {
                attempts: attempts.clone(),
                ..job(shelf, 1, now)
            },
        )
        .unwrap();
        assert_eq!(store.attempts(id), Ok(attempts));
        assert_eq!(change(store, id, delivered(1, now, true)), STALE);
        assert_eq!(change(store, id, delivered(2, now, true)), DONE);
        assert_eq!(store.attempts(id).unwrap().len(), 2);
    });
}

#[test]
fn due_jobs_come_in_order_of_their_time_and_from_a_place_on() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let other = store.shelf("b", WEEK).unwrap();
        let now = clock.now();
        let at = |minutes: u32| now.after(MINUTE * minutes);
        let due = |n, minutes| NewJob {
            state: NewState::Queued { due: at(minutes) },
            ..job(shelf, n, now)
        };
        assert_eq!(store.next_due(shelf), None);
        let ids: Vec<_> = [(1, 5), (2, 1), (3, 5), (4, 9)]
            .map(|(n, minutes)| push(store, due(n, minutes)).unwrap())
            .to_vec();
        push(store, job(other, 5, now)).unwrap();
        let place = |minutes, n: usize| Due {
            at: at(minutes),
            id: ids[n],
        };
        let all = [place(1, 1), place(5, 0), place(5, 2), place(9, 3)];
        assert_eq!(store.due(shelf, None, None, 9), Ok(all.to_vec()));
        assert_eq!(
            store.due(shelf, Some(at(5)), None, 9),
            Ok(all[..3].to_vec())
        );
        assert_eq!(
            store.due(shelf, Some(at(5)), Some(all[1]), 9),
            Ok(all[2..3].to_vec())
        );
        assert_eq!(store.due(shelf, Some(at(4)), Some(all[1]), 9), Ok(vec![]));
        assert_eq!(store.due(shelf, None, None, 2), Ok(all[..2].to_vec()));
        assert_eq!(store.next_due(shelf), Some(at(1)));
        assert_eq!(change(store, ids[1], retry(1, now, at(20))), DONE);
        assert_eq!(store.next_due(shelf), Some(at(5)));
        assert_eq!(all_due(store, shelf), [ids[0], ids[2], ids[3], ids[1]]);
    });
}

#[test]
fn a_late_result_changes_nothing() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        let later = now.after(MINUTE);
        let id = push(store, job(shelf, 1, now)).unwrap();
        assert_eq!(change(store, id, retry(1, now, later)), DONE);
        for late in [
            retry(1, now, now),
            retry(3, now, now),
            delivered(1, now, false),
            Change::Dead {
                attempt: Some(attempt(1, now)),
                reason: Reason(1),
            },
            Change::Requeue { due: now },
        ] {
            assert_eq!(change(store, id, late), STALE);
        }
        assert_eq!(
            state(store, id),
            Some(JobState::Queued {
                due: later,
                waits: false
            })
        );
        assert_eq!(store.attempts(id).unwrap().len(), 1);
        assert_eq!(change(store, id, delivered(2, now, true)), DONE);
        assert_eq!(change(store, id, delivered(3, now, false)), STALE);
        assert_eq!(change(store, id, dead()), STALE);
        assert_eq!(
            change(store, JobId::from_number(7), dead()),
            Ok(Changed::Gone)
        );
    });
}

#[test]
fn a_delivered_job_goes_unless_it_is_kept() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        store.hold(shelf, DAY).unwrap();
        let now = clock.now();
        let [gone, kept] = [1, 2].map(|n| push(store, job(shelf, n, now)).unwrap());
        change(store, gone, retry(1, now, now)).unwrap();
        assert_eq!(change(store, gone, delivered(2, now, false)), DONE);
        assert_eq!(change(store, kept, delivered(1, now, true)), DONE);
        assert_eq!(
            (load(store, gone), store.attempts(gone)),
            (None, Ok(vec![]))
        );
        assert_eq!(state(store, kept), Some(JobState::Delivered { at: now }));
        assert_eq!(all_due(store, shelf), []);
        assert_eq!(
            found(store, shelf, &keys(1), now),
            BOTH,
            "still a duplicate"
        );
    });
}

#[test]
fn an_ended_job_is_queued_again_as_a_replay() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        store.hold(shelf, DAY).unwrap();
        let now = clock.now();
        let [dead_one, delivered_one] =
            [1, 2].map(|n| push(store, ordered(shelf, n, n, now)).unwrap());
        let reason = Reason(3);
        let ending = Change::Dead {
            attempt: Some(attempt(1, now)),
            reason,
        };
        assert_eq!(change(store, dead_one, ending), DONE);
        assert_eq!(
            state(store, dead_one),
            Some(JobState::Dead { at: now, reason })
        );
        change(store, delivered_one, delivered(1, now, true)).unwrap();
        for id in [dead_one, delivered_one] {
            let due = now.after(MINUTE);
            assert_eq!(change(store, id, Change::Requeue { due }), DONE);
            let info = load(store, id).unwrap().info;
            assert_eq!(info.state, JobState::Queued { due, waits: false });
            assert_eq!((info.replay, info.order, info.attempts), (true, None, 1));
            assert_eq!(change(store, id, delivered(2, now, false)), DONE);
        }
    });
}

#[test]
fn jobs_of_one_subject_are_due_one_after_the_other() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let other = store.shelf("b", WEEK).unwrap();
        store.hold(shelf, DAY).unwrap();
        let now = clock.now();
        let ids: Vec<_> = (0..4)
            .map(|n| push(store, ordered(shelf, n, 7, now)).unwrap())
            .collect();
        let free = push(store, ordered(shelf, 10, 8, now)).unwrap();
        let elsewhere = push(store, ordered(other, 11, 7, now)).unwrap();
        assert_eq!(all_due(store, shelf), [ids[0], free]);
        assert_eq!(all_due(store, other), [elsewhere]);
        // A retry holds the others up.
        change(store, ids[0], retry(1, now, now.after(MINUTE))).unwrap();
        assert_eq!(all_due(store, shelf), [free, ids[0]]);
        assert_eq!(
            state(store, ids[1]),
            Some(JobState::Queued {
                due: now,
                waits: true
            })
        );
        let next = |n: usize| {
            Ok(Changed::Done {
                next: Some(Due {
                    at: now,
                    id: ids[n],
                }),
            })
        };
        assert_eq!(change(store, ids[0], delivered(2, now, false)), next(1));
        assert_eq!(change(store, ids[1], dead()), next(2));
        assert_eq!(all_due(store, shelf), [ids[2], free]);
        // A replay waits for nobody and holds nobody up.
        assert_eq!(change(store, ids[1], Change::Requeue { due: now }), DONE);
        assert_eq!(all_due(store, shelf), [ids[1], ids[2], free]);
        // One that waits can be given up too.
        assert_eq!(change(store, ids[3], dead()), DONE);
        assert_eq!(change(store, ids[2], delivered(1, now, true)), DONE);
        assert_eq!(
            push(store, ordered(shelf, 20, 7, now)).map(|_| all_due(store, shelf).len()),
            Ok(3)
        );
    });
}

#[test]
fn a_job_that_waited_is_due_at_once_even_if_it_was_not_yet() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        let first = push(store, ordered(shelf, 1, 7, now)).unwrap();
        let later = NewState::Queued {
            due: now.after(MINUTE * 9),
        };
        let id = push(
            store,
            NewJob {
                state: later,
                ..ordered(shelf, 2, 7, now)
            },
        )
        .unwrap();
        let next = Some(Due { at: now, id });
        assert_eq!(
            change(store, first, delivered(1, now, false)),
            Ok(Changed::Done { next })
        );
        assert_eq!(store.next_due(shelf), Some(now));
    });
}

#[test]
fn a_full_shelf_refuses_and_has_room_again() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let other = store.shelf("b", WEEK).unwrap();
        let now = clock.now();
        // A job weighs twelve bytes here.
        for terms in [
            Terms {
                max_events: 2,
                ..DAY
            },
            Terms {
                max_bytes: 29,
                ..DAY
            },
        ] {
            store.hold(shelf, terms).unwrap();
            let ids = [1, 2].map(|n| push(store, job(shelf, n, now)).unwrap());
            assert_eq!(push(store, job(shelf, 3, now)), Err(StoreError::ShelfFull));
            assert_eq!(
                found(store, shelf, &keys(3), now),
                NEITHER,
                "it may be sent again"
            );
            push(store, job(other, 4, now)).unwrap();
            let buried = NewState::Dead { reason: Reason(1) };
            push(
                store,
                NewJob {
                    state: buried,
                    ..job(shelf, 5, now)
                },
            )
            .unwrap();
            change(store, ids[0], dead()).unwrap();
            let id = push(store, job(shelf, 6, now)).unwrap();
            assert_eq!(push(store, job(shelf, 7, now)), Err(StoreError::ShelfFull));
            for id in [ids[1], id] {
                change(store, id, delivered(1, now, false)).unwrap();
            }
        }
    });
}

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
