//! A random life of a store on a disk that loses its power, and the check of what it promised.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use fastrand::Rng;
use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::tuning::Tuning;
use passgate::keepers::store::{Keep, ShelfId, Store};
use passgate::words::identity::{Keys, PartsHasher};
use passgate::words::time::{Clock, Timestamp};

use crate::disk::Disk;

/// A clock that stands still until it is moved.
#[derive(Default)]
pub struct TestClock(AtomicU64);

/// When the simulated gateway takes an event for settled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    WhenDone,
    /// Wrong: the control.
    WhenQueued,
}

/// What the check found.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    DoesNotOpen(String),
    Lost(u64),
    Half(u64),
    Damaged(u64),
}

/// What a history came to, for comparing it with itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Lived {
    pub acked: usize,
    pub operations: u64,
    pub runs: u64,
}

/// One simulated history.
struct Life {
    disk: Disk,
    clock: Arc<TestClock>,
    rng: Rng,
    ack: Ack,
    /// Events and whether they were acked.
    events: BTreeMap<u64, bool>,
    next: u64,
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_800_000_000).after(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

pub fn keys(n: u64) -> Keys {
    Keys {
        content: PartsHasher::new("content").part(&n.to_le_bytes()).key(),
        id: Some(PartsHasher::new("id").part(&n.to_le_bytes()).key()),
    }
}

/// Small, so that a short life meets flushes and merges, and a small cache, so that it meets reads.
pub fn tuning() -> Tuning {
    Tuning {
        cache_bytes: 64 * 1024,
        commit_ops_max: 16,
        journal_keys_max: 60,
        run_keys_max: 2_000,
        retry_first: Duration::from_millis(1),
        retry_max: Duration::from_millis(4),
        tidies_itself: false,
        ..Tuning::default()
    }
}

pub const KEEP: Keep = Keep {
    remember: Duration::from_secs(7 * 24 * 3600),
    max_keys: None,
};

/// Lives the life that `seed` stands for.
pub fn live(seed: u64, disk: Disk, ack: Ack, two_phase: bool) -> Result<Lived, Broken> {
    let mut life = Life {
        disk,
        clock: Arc::default(),
        rng: Rng::with_seed(seed),
        ack,
        events: BTreeMap::new(),
        next: 0,
    };
    for _ in 0..life.rng.u8(2..5) {
        let operations = life
            .rng
            .u64(0..[40, 400, 2_000][life.rng.clone().usize(0..3)]);
        life.disk.cut_after(operations);
        life.session(two_phase)?;
        life.disk.cut();
        life.disk.restart(&mut life.rng);
    }
    life.judge(two_phase)
}

impl Life {
    fn open(&self, two_phase: bool) -> Result<Embedded, Broken> {
        let disk = Arc::new(self.disk.clone());
        let tuning = Tuning {
            two_phase,
            ..tuning()
        };
        Embedded::open_on(disk, self.clock.clone(), tuning, None)
            .map_err(|error| Broken::DoesNotOpen(error.to_string()))
    }

    /// From one start to the next power cut.
    fn session(&mut self, two_phase: bool) -> Result<(), Broken> {
        let store = match self.open(two_phase) {
            Ok(store) => store,
            // Cut short while opening.
            Err(_) if self.disk.is_cut() => return Ok(()),
            Err(broken) => return Err(broken),
        };
        let Ok(shelf) = store.shelf("route", KEEP) else {
            return Ok(());
        };
        for _ in 0..60 {
            if self.disk.is_cut() {
                break;
            }
            match self.rng.u8(0..10) {
                0..5 => self.settle(&store, shelf, 1),
                5..8 => {
                    let events = self.rng.u64(2..40);
                    self.settle(&store, shelf, events);
                }
                8 => store.tidy(),
                9.. => self
                    .clock
                    .advance(Duration::from_secs(self.rng.u64(0..30_000) / 10)),
            }
        }
        if self.rng.bool() {
            store.close();
        }
        Ok(())
    }

    /// One event, and the others while its commit syncs, so that they share the next commit.
    fn settle(&mut self, store: &Embedded, shelf: ShelfId, events: u64) {
        let (tell, told) = channel();
        let (held, reached) = channel();
        self.disk.hold_syncs(held.clone());
        self.enqueue(store, shelf, &tell, held);
        // Either the sync is reached, or the commit failed before it.
        reached.recv().unwrap();
        for _ in 1..events {
            self.enqueue(store, shelf, &tell, channel().0);
        }
        self.disk.release_syncs();
        drop(tell);
        for (n, settled) in told {
            if settled {
                self.events.insert(n, true);
            }
        }
    }

    fn enqueue(
        &mut self,
        store: &Embedded,
        shelf: ShelfId,
        tell: &Sender<(u64, bool)>,
        held: Sender<()>,
    ) {
        let n = self.next;
        self.next += 1;
        self.events.insert(n, self.ack == Ack::WhenQueued);
        let tell = tell.clone();
        let done = move |result: Result<(), _>| {
            let _ = held.send(());
            tell.send((n, result.is_ok())).unwrap();
        };
        store.settle(shelf, keys(n), self.clock.now(), Box::new(done));
    }

    /// With the power on: it opens, every acked event is known, every other is known whole or not at all.
    fn judge(&self, two_phase: bool) -> Result<Lived, Broken> {
        let store = self.open(two_phase)?;
        let shelf = store.shelf("route", KEEP).unwrap();
        for _ in ["as opened", "after housekeeping"] {
            for (n, acked) in &self.events {
                let found = store.look_up(shelf, &keys(*n), self.clock.now()).unwrap();
                if *acked && !(found.content && found.id) {
                    return Err(Broken::Lost(*n));
                }
                if found.content != found.id {
                    return Err(Broken::Half(*n));
                }
            }
            store.tidy();
        }
        match store.statistics().damaged_rows {
            0 => Ok(Lived {
                acked: self.events.values().filter(|acked| **acked).count(),
                operations: self.disk.operations(),
                runs: store.statistics().runs,
            }),
            rows => Err(Broken::Damaged(rows)),
        }
    }
}
