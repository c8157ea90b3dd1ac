//! Random histories of jobs against the queue in memory, whose every answer is a look at all jobs.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::jobs::{attempt, change, job, push};
use super::{TestClock, found, keys, small};
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::jobs::{
    Change, JobId, NewJob, NewState, Queue, Reason, Selection, Terms,
};
use crate::keepers::store::memory::Memory;
use crate::keepers::store::tuning::Options;
use crate::keepers::store::{Keep, ShelfId, Store};
use crate::words::time::{Clock, Timestamp};

/// One thing that happens to a queue.
#[derive(Clone, Debug)]
enum Step {
    Push {
        shelf: usize,
        n: u64,
        order: Option<u64>,
        state: u8,
        body: usize,
    },
    Change {
        /// Which of the jobs so far.
        pick: prop::sample::Index,
        kind: u8,
        /// How far the attempt's number is off.
        late: bool,
        secs: u64,
    },
    Advance(u64),
    /// What the log holds goes into the tables.
    TakeOver(u8),
    Tidy,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop_oneof![2 => Just(None), 3 => (0..3u64).prop_map(Some)];
    prop_oneof![
        6 => (0..2usize, 0..500u64, order, 0..8u8, prop_oneof![Just(20usize), Just(3_000)])
            .prop_map(|(shelf, n, order, state, body)| Step::Push { shelf, n, order, state, body }),
        8 => (any::<prop::sample::Index>(), 0..6u8, prop::bool::weighted(0.1), 0..50u64)
            .prop_map(|(pick, kind, late, secs)| Step::Change { pick, kind, late, secs }),
        2 => (1..20_000u64).prop_map(Step::Advance),
        1 => any::<u8>().prop_map(Step::TakeOver),
        2 => Just(Step::Tidy),
        1 => Just(Step::Reopen),
    ]
}

const NAMES: [&str; 2] = ["a", "b"];
const KEEP: Keep = Keep {
    remember: Duration::from_secs(60),
    max_keys: None,
};
const TERMS: Terms = Terms {
    keep_delivered: Duration::from_secs(20),
    keep_dead: Duration::from_secs(90),
    max_events: 12,
    max_bytes: 20_000,
};

/// Everything that can be asked of a queue.
fn seen(queue: &dyn Queue, shelves: &[ShelfId], now: Timestamp) -> String {
    let mut ids: Vec<JobId> = Vec::new();
    let next = queue.walk(None, Selection::ALL, 10_000, &mut |view| {
        ids.push(view.info.id);
        ControlFlow::Continue(())
    });
    assert_eq!(next, Ok(None));
    let jobs = queue.load(&ids, true).unwrap();
    let attempts: Vec<_> = ids.iter().map(|id| queue.attempts(*id).unwrap()).collect();
    let due: Vec<_> = shelves
        .iter()
        .map(|shelf| {
            let all = queue.due(*shelf, None, None, 1_000).unwrap();
            let now = queue
                .due(*shelf, Some(now), all.get(1).copied(), 3)
                .unwrap();
            assert_eq!(queue.next_due(*shelf), all.first().map(|due| due.at));
            (all, now)
        })
        .collect();
    format!("{:#?}", (ids, jobs, attempts, due, queue.counts()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_in_a_file_does_what_one_in_memory_does(steps in vec(step(), 1..70)) {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let hold = |store: &dyn super::contract::Whole| NAMES.map(|name| {
            let shelf = store.shelf(name, KEEP).unwrap();
            store.hold(shelf, TERMS).unwrap();
            shelf
        });
        let open = || {
            let store = Embedded::open(Options {
                path: directory.path().join("store"),
                clock: clock.clone(),
                tuning: small(),
                on_commit: None,
            });
            let store = Arc::new(store.unwrap());
            let shelves = hold(&*store);
            (store, shelves)
        };
        let (mut store, shelves) = open();
        let model = Memory::new();
        prop_assert_eq!(hold(&model), shelves);
        let mut ids: Vec<JobId> = Vec::new();
        for step in steps {
            let now = clock.now();
            // Lets the model know the time, and both forget what is old.
            model.look_up(shelves[0], &keys(0), now).unwrap();
            store.tidy();
            match step {
                Step::Push { shelf, n, order, state, body } => {
                    let state = match state {
                        0 => NewState::Delivered,
                        1 => NewState::Dead { reason: Reason(1) },
                        2 => NewState::Queued { due: now.after(Duration::from_secs(30)) },
                        _ => NewState::Queued { due: now },
                    };
                    let is_tried = matches!(state, NewState::Queued { .. }) && n.is_multiple_of(5);
                    let new = NewJob {
                        attempts: is_tried.then(|| attempt(1, now)).into_iter().collect(),
                        order: order.filter(|_| matches!(state, NewState::Queued { .. })),
                        state,
                        body: vec![7; body].into(),
                        ..job(shelves[shelf], n, now)
                    };
                    let pushed = push(&*store, new.clone());
                    prop_assert_eq!(&pushed, &push(&model, new));
                    ids.extend(pushed);
                }
                Step::Change { pick, kind, late, secs } if !ids.is_empty() => {
                    let id = *pick.get(&ids);
                    let attempts = model.load(&[id], false).unwrap().pop().flatten().map_or(0, |job| job.info.attempts);
                    let attempt = attempt(if late { attempts } else { attempts + 1 }, now);
                    let due = now.after(Duration::from_secs(secs));
                    let made = match kind {
                        0 => Change::Retry { attempt, due },
                        1 => Change::Delivered { attempt, keep: false },
                        2 => Change::Delivered { attempt, keep: true },
                        3 => Change::Dead { attempt: Some(attempt), reason: Reason(2) },
                        4 => Change::Dead { attempt: None, reason: Reason(3) },
                        _ => Change::Requeue { due },
                    };
                    prop_assert_eq!(change(&*store, id, made.clone()), change(&model, id, made));
                }
                Step::Change { .. } => {}
                Step::Advance(ms) => clock.advance(Duration::from_millis(ms)),
                // Set anew for its keys alone: a transaction, whatever it is for.
                Step::TakeOver(secs) => {
                    let remember = KEEP.remember + Duration::from_secs(secs.into());
                    store.shelf("other", Keep { remember, ..KEEP }).unwrap();
                    model.shelf("other", Keep { remember, ..KEEP }).unwrap();
                }
                Step::Tidy => store.tidy(),
                Step::Reopen => {
                    store.close();
                    let (again, same) = open();
                    store = again;
                    prop_assert_eq!(same, shelves);
                }
            }
            let now = clock.now();
            model.look_up(shelves[0], &keys(0), now).unwrap();
            store.tidy();
            prop_assert_eq!(seen(&*store, &shelves, now), seen(&model, &shelves, now));
        }
        let now = clock.now();
        for id in ids {
            let Some(stored) = store.load(&[id], false).unwrap().pop().flatten() else { continue };
            let (shelf, keys) = (stored.info.shelf, stored.info.keys);
            prop_assert_eq!(found(&*store, shelf, &keys, now), super::BOTH);
            prop_assert_eq!(store.find(Some(shelf), keys.content), model.find(Some(shelf), keys.content));
        }
    }
}
