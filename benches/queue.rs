//! What it costs to store an event, to deliver it, and to look for what is due, and whether that grows with
//! the backlog.
//!
//! A batch is queued while the commit before it syncs, as under load, so that it shares one commit.

use std::hint::black_box;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::jobs::{
    AttemptRecord, Change, Due, JobId, NewJob, NewState, Queue, Terms,
};
use passgate::keepers::store::tuning::{Options, Tuning};
use passgate::keepers::store::{Keep, ShelfId, Store};
use passgate::words::identity::{Key, Keys};
use passgate::words::time::{Clock, SystemClock};

/// How many jobs are stored while it is measured.
const HELD: [u64; 2] = [0, 100_000];
const BATCH: u64 = 64;
const BODY_BYTES: usize = 600;
const HEAD_BYTES: usize = 200;
const KEEP: Keep = Keep {
    remember: Duration::from_secs(7 * 24 * 3600),
    max_keys: None,
};
const TERMS: Terms = Terms {
    keep_delivered: Duration::ZERO,
    keep_dead: Duration::from_secs(30 * 24 * 3600),
    max_events: u64::MAX,
    max_bytes: u64::MAX,
};

struct Bench {
    store: Embedded,
    clock: Arc<SystemClock>,
    shelf: ShelfId,
    next: u64,
}

impl Bench {
    fn open(path: &Path, route: &str) -> Self {
        let clock = Arc::new(SystemClock::new());
        let store = Embedded::open(Options {
            path: path.to_owned(),
            clock: clock.clone(),
            tuning: Tuning::default(),
            on_commit: None,
        });
        let store = store.expect("a new file opens");
        let shelf = store.shelf(route, KEEP).expect("the store is ready");
        store.hold(shelf, TERMS).expect("the store is ready");
        Self {
            store,
            clock,
            shelf,
            next: 0,
        }
    }

    fn job(&self, n: u64) -> NewJob {
        let at = self.clock.now();
        NewJob {
            shelf: self.shelf,
            keys: Keys {
                content: Key::from_bytes(fastrand::Rng::with_seed(n).u128(..).to_le_bytes()),
                id: None,
            },
            head: Bytes::from_static(&[b'h'; HEAD_BYTES]),
            body: Bytes::from_static(&[b'b'; BODY_BYTES]),
            order: None,
            at,
            state: NewState::Queued { due: at },
            attempts: Vec::new(),
        }
    }

    fn push(&mut self, count: u64) -> Vec<JobId> {
        let numbers: Range<u64> = self.next..self.next + count;
        self.next += count;
        let (tell, told) = channel();
        for n in numbers {
            let tell = tell.clone();
            let done = move |pushed| tell.send(pushed).expect("somebody waits");
            self.store.push(self.job(n), Box::new(done));
        }
        drop(tell);
        told.iter()
            .map(|pushed| pushed.expect("the disk takes it"))
            .collect()
    }

    fn deliver(&self, ids: &[JobId]) {
        let (tell, told) = channel();
        for id in ids {
            let tell = tell.clone();
            let attempt = AttemptRecord {
                number: 1,
                at: self.clock.now(),
                status: Some(200),
                error: None,
                took: Duration::from_millis(5),
            };
            let change = Change::Delivered {
                attempt,
                keep: false,
            };
            let done = move |changed| tell.send(changed).expect("somebody waits");
            self.store.change(*id, change, Box::new(done));
        }
        drop(tell);
        for changed in told {
            changed.expect("the disk takes it");
        }
    }

    fn next_due(&self, after: Option<Due>) -> Vec<Due> {
        self.store
            .due(self.shelf, None, after, BATCH as usize)
            .expect("the disk gives it")
    }
}

fn queue(criterion: &mut Criterion) {
    for held in HELD {
        let directory = tempfile::tempdir().expect("there is a disk");
        let mut bench = Bench::open(&directory.path().join("store"), "route");
        for _ in 0..held / 4_000 {
            bench.push(4_000);
        }
        criterion.bench_function(
            &format!("push, deliver and delete {BATCH} with {held} held"),
            |bencher| {
                bencher.iter(|| {
                    let ids = bench.push(BATCH);
                    bench.deliver(&ids);
                });
            },
        );
        if held > 0 {
            let mut after = None;
            criterion.bench_function(
                &format!("find {BATCH} due jobs and load them with {held} held"),
                |bencher| {
                    bencher.iter(|| {
                        let due = bench.next_due(after);
                        after = due.last().copied();
                        let ids: Vec<_> = due.iter().map(|due| due.id).collect();
                        black_box(bench.store.load(&ids, true).expect("the disk gives it"))
                    });
                },
            );
        }
        criterion.bench_function(&format!("push {BATCH} with {held} held"), |bencher| {
            bencher.iter(|| bench.push(BATCH));
        });
    }
}

criterion_group!(benches, queue);
criterion_main!(benches);
