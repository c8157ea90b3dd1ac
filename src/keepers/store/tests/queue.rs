//! One body of tests over every queue.

use std::time::Duration;

use bytes::Bytes;

use super::contract::each_store;
use super::jobs::{
    DAY, all_due, attempt, change, dead, delivered, job, load, ordered, push, retry, state,
};
use super::{BOTH, NEITHER, WEEK, found, keys};
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{
    Change, Changed, Due, JobId, JobState, NewJob, NewState, Reason, Terms,
};
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
            assert_eq!(
                (info.attempts, info.replayed_at, info.order),
                (0, None, None)
            );
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
            assert_eq!((info.order, info.attempts), (None, 1));
            assert_eq!((info.replayed_at, info.since()), (Some(due), due));
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
            let ended = |state| NewJob {
                state,
                ..job(shelf, 5, now)
            };
            let buried = ended(NewState::Dead { reason: Reason(1) });
            assert_eq!(push(store, buried), Err(StoreError::ShelfFull));
            // What the app has is no reason to refuse anything.
            push(store, ended(NewState::Delivered)).unwrap();
            // A dead letter takes the room that it had in the queue.
            change(store, ids[0], dead()).unwrap();
            assert_eq!(push(store, job(shelf, 6, now)), Err(StoreError::ShelfFull));
            change(store, ids[0], Change::Requeue { due: now }).unwrap();
            change(store, ids[0], delivered(1, now, false)).unwrap();
            let id = push(store, job(shelf, 6, now)).unwrap();
            assert_eq!(push(store, job(shelf, 7, now)), Err(StoreError::ShelfFull));
            for id in [ids[1], id] {
                change(store, id, delivered(1, now, false)).unwrap();
            }
        }
    });
}

#[test]
fn at_the_bounds_the_oldest_copies_make_room() {
    each_store(|store, clock| {
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        // A job weighs twelve bytes here.
        for terms in [
            Terms {
                max_events: 3,
                ..DAY
            },
            Terms {
                max_bytes: 47,
                ..DAY
            },
        ] {
            store.hold(shelf, terms).unwrap();
            let copy = |n: u64| NewJob {
                state: NewState::Delivered,
                ..job(shelf, n, now.after(Duration::from_secs(n)))
            };
            let copies = [1, 2, 3, 4].map(|n| push(store, copy(n)).unwrap());
            assert_eq!(load(store, copies[0]), None);
            let waits = push(store, job(shelf, 5, now)).unwrap();
            assert_eq!(load(store, copies[1]), None);
            let replay = Change::Requeue { due: now };
            assert_eq!(change(store, copies[3], replay.clone()), DONE);
            // Two of three wait now.
            let no_room = Ok(Changed::NoRoom);
            assert_eq!(change(store, copies[2], replay), no_room);
            let last = push(store, job(shelf, 6, now)).unwrap();
            assert_eq!(load(store, copies[2]), None, "the last copy");
            assert_eq!(push(store, job(shelf, 7, now)), Err(StoreError::ShelfFull));
            for (id, number) in [(waits, 1), (copies[3], 1), (last, 1)] {
                change(store, id, delivered(number, now, true)).unwrap();
            }
            let fewer = Terms {
                max_events: 1,
                ..DAY
            };
            store.hold(shelf, fewer).unwrap();
            let kept = [waits, copies[3], last].map(|id| load(store, id).is_some());
            assert_eq!(kept, [false, false, true]);
            store.hold(shelf, DAY).unwrap();
            change(store, last, Change::Requeue { due: now }).unwrap();
            change(store, last, delivered(2, now, false)).unwrap();
        }
    });
}
