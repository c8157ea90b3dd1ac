//! One short history of pushes, ends and transactions, and the power cut before each of its operations in turn.
//!
//! The history has what the log and the tables do to each other: jobs that end in the log, jobs that a transaction takes
//! over and that end in the log or in the tables, transactions of all kinds between them, and a second opening.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::jobs::{
    AttemptRecord, Change, Changed, JobId, NewJob, NewState, Queue, Selection,
};
use passgate::keepers::store::{ShelfId, Store, StoreError};
use passgate::words::time::Clock;

use crate::disk::Disk;
use crate::life::{KEEP, TestClock, keys, tuning};

/// What happens next. Only one of them is under way when the power goes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u64),
    /// After an attempt that was made before.
    Spill(u64),
    Deliver(u64),
    Retry(u64),
    Settle(u64),
    /// The log is taken over by housekeeping.
    Tidy,
    Reopen,
}

use Step::{Deliver, Push, Reopen, Retry, Settle, Spill, Tidy};

const HISTORY: [Step; 33] = [
    Push(1),
    Push(2),
    Spill(3),
    Deliver(1),
    Push(4),
    Settle(5),
    Retry(2),
    Push(6),
    Deliver(3),
    Deliver(6),
    Push(7),
    Deliver(4),
    Tidy,
    Push(8),
    Deliver(7),
    Spill(9),
    Reopen,
    Deliver(8),
    Push(10),
    Deliver(10),
    Settle(11),
    Push(12),
    Deliver(2),
    Reopen,
    Push(13),
    Retry(13),
    Retry(12),
    Push(14),
    Tidy,
    Deliver(14),
    Deliver(13),
    Push(15),
    Deliver(9),
];

/// What is known of a job: its number, and the attempts so far, if it is queued still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    id: Option<JobId>,
    queued: Option<u32>,
}

struct History {
    disk: Disk,
    clock: Arc<TestClock>,
    /// What was answered.
    jobs: BTreeMap<u64, Known>,
    settled: BTreeSet<u64>,
    /// What was under way when the power went.
    last: Option<Step>,
}

impl History {
    fn open(&self) -> Option<(Embedded, ShelfId)> {
        let medium = Arc::new(self.disk.clone());
        let store = Embedded::open_on(medium, self.clock.clone(), tuning(), None).ok()?;
        let shelf = store.shelf("route", KEEP).ok()?;
        Some((store, shelf))
    }

    /// Lives until the power goes.
    fn live(&mut self) {
        let Some((mut store, shelf)) = self.open() else {
            return;
        };
        for step in HISTORY {
            self.last = Some(step);
            let lived = match step {
                Push(n) => self.push(&store, shelf, n, 0).map(|id| self.note(n, id, 0)),
                Spill(n) => self.push(&store, shelf, n, 1).map(|id| self.note(n, id, 1)),
                Deliver(n) => self.change(&store, n, false),
                Retry(n) => self.change(&store, n, true),
                Settle(n) => self.settle(&store, shelf, n),
                Tidy => {
                    self.clock.advance(Duration::from_secs(60));
                    store.tidy();
                    Ok(())
                }
                Reopen => {
                    store.close();
                    match self.open() {
                        Some((again, _)) => store = again,
                        None => return,
                    }
                    Ok(())
                }
            };
            if lived.is_err() || self.disk.is_cut() {
                return;
            }
            self.last = None;
        }
    }

    fn note(&mut self, n: u64, id: JobId, attempts: u32) {
        let known = Known {
            id: Some(id),
            queued: Some(attempts),
        };
        assert!(self.jobs.values().all(|known| known.id != Some(id)));
        self.jobs.insert(n, known);
    }

    fn attempt(&self, number: u32) -> AttemptRecord {
        AttemptRecord {
            number,
            at: self.clock.now(),
            status: Some(503),
            error: None,
            took: Duration::ZERO,
        }
    }

    fn push(
        &self,
        store: &Embedded,
        shelf: ShelfId,
        n: u64,
        attempts: u32,
    ) -> Result<JobId, StoreError> {
        let (tell, told) = channel();
        let now = self.clock.now();
        let job = NewJob {
            shelf,
            keys: keys(n),
            head: Bytes::from(n.to_string()),
            body: body(n),
            order: None,
            at: now,
            state: NewState::Queued { due: now },
            attempts: (1..=attempts).map(|number| self.attempt(number)).collect(),
        };
        store.push(job, Box::new(move |pushed| tell.send(pushed).unwrap()));
        told.recv().unwrap()
    }

    fn change(&mut self, store: &Embedded, n: u64, again: bool) -> Result<(), StoreError> {
        let known = self.jobs[&n];
        let number = known.queued.unwrap() + 1;
        let attempt = self.attempt(number);
        let due = self.clock.now();
        let change = match again {
            true => Change::Retry { attempt, due },
            false => Change::Delivered {
                attempt,
                keep: false,
            },
        };
        let (tell, told) = channel();
        let done = move |changed| tell.send(changed).unwrap();
        store.change(known.id.unwrap(), change, Box::new(done));
        assert_eq!(told.recv().unwrap()?, Changed::Done { next: None });
        self.jobs.get_mut(&n).unwrap().queued = again.then_some(number);
        Ok(())
    }

    fn settle(&mut self, store: &Embedded, shelf: ShelfId, n: u64) -> Result<(), StoreError> {
        let (tell, told) = channel();
        let done = move |settled| tell.send(settled).unwrap();
        store.settle(shelf, keys(n), self.clock.now(), Box::new(done));
        told.recv().unwrap()?;
        self.settled.insert(n);
        Ok(())
    }

    /// With the power on: everything is as it was answered, or as the step makes it that was under way.
    fn judge(&mut self) {
        let (store, shelf) = self.open().expect("it opens");
        let now = self.clock.now();
        let is_known = |n| {
            let found = store.look_up(shelf, &keys(n), now).unwrap();
            assert_eq!(found.content, found.id, "event {n} is known by half");
            found.content
        };
        assert!(self.settled.iter().all(|n| is_known(*n)));
        match self.last {
            Some(Push(n)) if is_known(n) => self.find(&store, n, 0),
            Some(Spill(n)) if is_known(n) => self.find(&store, n, 1),
            Some(Push(n) | Spill(n)) => {
                assert_eq!(store.find(None, keys(n).content), Ok(None), "event {n}");
            }
            Some(Deliver(n)) => self.follow(&store, n, None),
            Some(Retry(n)) => {
                let number = self.jobs[&n].queued.unwrap() + 1;
                self.follow(&store, n, Some(number));
            }
            Some(Settle(_) | Tidy | Reopen) | None => {}
        }
        let (mut queued, mut newest) = (BTreeSet::new(), None);
        for (n, known) in &self.jobs {
            assert!(is_known(*n), "event {n}");
            let id = known.id.unwrap();
            newest = newest.max(Some(id));
            let job = store.load(&[id], true).unwrap().pop().unwrap();
            let attempts = job.as_ref().map(|job| job.info.attempts);
            assert_eq!(attempts, known.queued, "event {n}");
            let kept = store.attempts(id).unwrap();
            assert_eq!(kept.len(), known.queued.unwrap_or(0) as usize, "event {n}");
            let found = store.find(None, keys(*n).content).unwrap();
            assert_eq!(found, known.queued.map(|_| id), "event {n}");
            if let Some(job) = job {
                assert_eq!(job.head, n.to_string().as_bytes());
                assert_eq!(job.body, Some(body(*n)), "event {n}");
                queued.insert(id);
            }
        }
        let due = store.due(shelf, None, None, 100).unwrap();
        assert_eq!(due.len(), queued.len());
        assert_eq!(
            due.iter().map(|due| due.id).collect::<BTreeSet<_>>(),
            queued
        );
        assert_eq!(store.next_due(shelf), due.first().map(|due| due.at));
        let mut walked = Vec::new();
        let end = store.walk(None, Selection::ALL, 100, &mut |view| {
            walked.push(view.info.id);
            ControlFlow::Continue(())
        });
        assert_eq!(end, Ok(None));
        assert_eq!(walked, queued.iter().rev().copied().collect::<Vec<_>>());
        assert_eq!(store.counts()[0].queued.jobs as usize, queued.len());
        assert_eq!(store.statistics().damaged_rows, 0);
        let next = self.push(&store, shelf, 99, 0).unwrap();
        assert!(Some(next) > newest, "numbers ascend");
        self.note(99, next, 0);
    }

    /// The push that was under way is on disk.
    fn find(&mut self, store: &Embedded, n: u64, attempts: u32) {
        let id = store.find(None, keys(n).content).unwrap();
        self.note(n, id.expect("its keys are there"), attempts);
    }

    /// The change that was under way may be on disk.
    fn follow(&mut self, store: &Embedded, n: u64, queued: Option<u32>) {
        let known = self.jobs.get_mut(&n).unwrap();
        let job = store.load(&[known.id.unwrap()], false).unwrap().pop();
        let is = job.unwrap().map(|job| job.info.attempts);
        if is == queued {
            known.queued = queued;
        }
    }

    /// All that is left is delivered, and then nothing is left.
    fn finish(&mut self) {
        let (store, shelf) = self.open().expect("it opens again");
        let left: Vec<u64> = self
            .jobs
            .iter()
            .filter(|(_, known)| known.queued.is_some())
            .map(|(n, _)| *n)
            .collect();
        for n in left {
            self.change(&store, n, false).unwrap();
        }
        for _ in ["in the log", "in the tables"] {
            assert_eq!(store.due(shelf, None, None, 100), Ok(vec![]));
            assert_eq!(store.counts()[0].queued.jobs, 0);
            self.clock.advance(Duration::from_secs(60));
            store.tidy();
        }
    }
}

/// A small body, and some that no row of a head takes.
fn body(n: u64) -> Bytes {
    vec![n as u8; if n.is_multiple_of(3) { 5_000 } else { 40 }].into()
}

/// Lives the history with a cut before its operation of this number, and checks what is left of it, twice cut: the
/// second time while it was opened. Gives back whether there was such an operation.
fn cut_before(operation: u64, seed: u64) -> bool {
    let mut rng = Rng::with_seed(seed ^ operation << 8);
    let mut history = History {
        disk: Disk::default(),
        clock: Arc::default(),
        jobs: BTreeMap::new(),
        settled: BTreeSet::new(),
        last: None,
    };
    history.disk.cut_after(operation);
    history.live();
    let was_cut = history.disk.is_cut();
    history.disk.cut();
    history.disk.restart(&mut rng);
    if rng.bool() {
        history.disk.cut_after(rng.u64(0..60));
        drop(history.open());
        history.disk.cut();
        history.disk.restart(&mut rng);
    }
    history.judge();
    history.disk.cut();
    history.disk.restart(&mut rng);
    history.last = None;
    history.finish();
    was_cut
}

/// Cuts before every operation.
pub fn cut_everywhere(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut operation = 0;
        while cut_before(operation, seed) {
            operation += 1;
        }
        assert!(operation > 150, "the history has {operation} operations");
    }
}
