//! Who reads what is asked, how much at one time, and what a panic or a slow disk does to it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};

use super::{HandClock, KEEP, plain};
use crate::keepers::ledger::reads::{QUESTIONS_MAX, READERS_MAX, Reads, TOGETHER_MAX};
use crate::keepers::store::memory::Memory;
use crate::keepers::store::{
    Done, Found, Health, Keep, Probe, ShelfId, Statistics, Store, StoreError,
};
use crate::words::identity::Keys;
use crate::words::time::{Clock, Timestamp};

/// A store whose reads are seen, and held until they are let go.
struct Watched {
    memory: Memory,
    clock: Arc<HandClock>,
    seen: Mutex<Seen>,
    /// Told with every change of it.
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    /// How many events were read together, from the first read on.
    together: VecDeque<usize>,
    /// Reads that are under way.
    reading: usize,
    is_held: bool,
    /// A read takes so long.
    takes: Duration,
    /// The event that breaks a read.
    breaks: Option<Keys>,
}

struct Bench {
    store: Arc<Watched>,
    reads: Arc<Reads>,
    shelf: ShelfId,
}

type Told = JoinHandle<Result<Found, StoreError>>;

// === impl Bench ===

impl Bench {
    fn new() -> Self {
        let clock = Arc::<HandClock>::default();
        let store = Arc::new(Watched {
            memory: Memory::new(),
            clock: Arc::clone(&clock),
            seen: Mutex::default(),
            changed: Condvar::new(),
        });
        let shelf = store.shelf("route", KEEP).unwrap();
        let reads = Reads::new(store.clone(), clock);
        Self {
            store,
            reads,
            shelf,
        }
    }

    /// Asks about so many events, from `first` on, and is back once all wait or are being read.
    async fn ask(&self, events: impl Iterator<Item = u8>) -> Vec<Told> {
        let ask = |n| {
            let (reads, shelf) = (Arc::clone(&self.reads), self.shelf);
            tokio::spawn(async move { reads.look_up(shelf, plain(n)).await })
        };
        let told: Vec<_> = events.map(ask).collect();
        // Tasks of one thread run in turn.
        for _ in 0..=told.len() {
            yield_now().await;
        }
        told
    }

    async fn settle(&self, n: u8) {
        let (done, told) = tokio::sync::oneshot::channel();
        let done = Box::new(move |result| done.send(result).unwrap());
        self.store
            .settle(self.shelf, plain(n), self.store.clock.now(), done);
        told.await.unwrap().unwrap();
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(
            &mut self
                .store
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.store.changed.notify_all();
    }

    /// Until so many reads are under way; an error if that takes long.
    fn until_reading(&self, count: usize) {
        let seen = self.store.seen.lock().unwrap();
        let not_yet = |seen: &mut Seen| seen.reading != count;
        let waited = self
            .store
            .changed
            .wait_timeout_while(seen, PATIENCE, not_yet);
        let (seen, _) = waited.unwrap();
        assert_eq!(seen.reading, count);
    }

    /// Until nobody reads any more; those who did may look for more just when the last is told.
    async fn until_at_rest(&self) {
        let rest = async {
            while self.reads.readers() > 0 {
                yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, rest).await.expect("rest");
    }

    fn together(&self) -> Vec<usize> {
        self.store.seen.lock().unwrap().together.clone().into()
    }
}

/// A test that fails ends soon, too.
impl Drop for Bench {
    fn drop(&mut self) {
        self.change(|seen| seen.is_held = false);
    }
}

async fn all(told: Vec<Told>) -> Vec<Result<Found, StoreError>> {
    let mut answers = Vec::new();
    for told in told {
        let answer = tokio::time::timeout(PATIENCE, told).await;
        answers.push(answer.expect("an answer").unwrap());
    }
    answers
}

/// What anything takes at most.
const PATIENCE: Duration = Duration::from_secs(5);
const NEITHER: Found = Found {
    content: false,
    id: false,
};
const BOTH: Found = Found {
    content: true,
    id: true,
};

#[tokio::test]
async fn what_is_asked_while_one_reads_is_read_together() {
    let bench = Bench::new();
    bench.settle(3).await;
    bench.change(|seen| seen.is_held = true);
    let first = bench.ask(0..1).await;
    bench.until_reading(1);
    let others = bench.ask(1..9).await;
    assert_eq!(bench.reads.readers(), 1);
    bench.change(|seen| seen.is_held = false);
    assert_eq!(all(first).await, [Ok(NEITHER)]);
    let mut expected = [Ok(NEITHER); 8];
    expected[2] = Ok(BOTH);
    assert_eq!(all(others).await, expected);
    assert_eq!(bench.together(), [1, 8]);
}

#[tokio::test]
async fn each_is_answered_however_often_readers_come_and_go() {
    let bench = Bench::new();
    for n in 0..200 {
        let told = bench.ask(n..n + n % 3).await;
        assert!(all(told).await.iter().all(|answer| *answer == Ok(NEITHER)));
    }
}

#[tokio::test]
async fn a_slow_disk_is_read_by_several_each_of_which_takes_up_little() {
    let bench = Bench::new();
    bench.change(|seen| seen.takes = Duration::from_secs(1));
    for n in 0..8 {
        all(bench.ask(n..n + 1).await).await;
    }
    bench.change(|seen| {
        seen.is_held = true;
        seen.together.clear();
    });
    let told = bench.ask(0..64).await;
    bench.until_reading(READERS_MAX);
    bench.change(|seen| seen.is_held = false);
    assert_eq!(all(told).await, [Ok(NEITHER); 64]);
    assert_eq!(bench.together(), [1; 64]);
    bench.change(|seen| seen.takes = Duration::ZERO);
    for _ in 0..8 {
        bench.until_at_rest().await;
        bench.change(|seen| seen.is_held = true);
        let first = bench.ask(0..1).await;
        bench.until_reading(1);
        let others = bench.ask(1..33).await;
        bench.change(|seen| seen.is_held = false);
        all(first).await;
        all(others).await;
    }
    let last = bench.together().last().copied();
    assert_eq!(last, Some(TOGETHER_MAX), "once it is fast again");
}

#[tokio::test]
async fn an_event_that_breaks_a_read_takes_no_other_with_it() {
    let bench = Bench::new();
    bench.settle(2).await;
    bench.change(|seen| {
        seen.is_held = true;
        seen.breaks = Some(plain(5));
    });
    let first = bench.ask(0..1).await;
    bench.until_reading(1);
    let others = bench.ask(1..9).await;
    bench.change(|seen| seen.is_held = false);
    all(first).await;
    let answers = all(others).await;
    let expected = |n| match n {
        2 => Ok(BOTH),
        5 => Err(StoreError::Unavailable),
        _ => Ok(NEITHER),
    };
    assert_eq!(answers, (1..9).map(expected).collect::<Vec<_>>());
    assert_eq!(all(bench.ask(9..10).await).await, [Ok(NEITHER)]);
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_read() {
    let bench = Bench::new();
    bench.change(|seen| seen.is_held = true);
    let first = bench.ask(0..1).await;
    bench.until_reading(1);
    let others = bench.ask(1..9).await;
    for gone in &others[2..] {
        gone.abort();
    }
    for _ in 0..others.len() {
        yield_now().await;
    }
    bench.change(|seen| seen.is_held = false);
    all(first).await;
    all(others.into_iter().take(2).collect()).await;
    assert_eq!(bench.together(), [1, 2]);
}

#[tokio::test]
async fn more_than_may_wait_are_refused_at_once() {
    let bench = Bench::new();
    bench.change(|seen| seen.is_held = true);
    let mut told = bench.ask(0..1).await;
    bench.until_reading(1);
    // Those that wait, and what all readers hold.
    let most = QUESTIONS_MAX + READERS_MAX * TOGETHER_MAX;
    told.extend(bench.ask((0..=most).map(|n| (n % 250) as u8)).await);
    let refused = told.iter().filter(|told| told.is_finished()).count();
    assert!(
        (1..=READERS_MAX * TOGETHER_MAX + 1).contains(&refused),
        "{refused}"
    );
    bench.change(|seen| seen.is_held = false);
    let answers = all(told).await;
    let full = answers
        .iter()
        .filter(|answer| **answer == Err(StoreError::Full));
    assert_eq!(full.count(), refused);
}

// === impl Watched ===

impl Watched {
    /// As long as it is held and takes.
    fn reads(&self, events: &[(ShelfId, Keys)]) {
        let mut seen = self.seen.lock().unwrap();
        seen.together.push_back(events.len());
        seen.reading += 1;
        self.changed.notify_all();
        let mut seen = self.changed.wait_while(seen, |seen| seen.is_held).unwrap();
        seen.reading -= 1;
        self.clock.advance(seen.takes);
        let breaks = seen.breaks;
        drop(seen);
        assert!(!events.iter().any(|(_, keys)| Some(*keys) == breaks));
    }
}

impl Store for Watched {
    fn shelf(&self, route: &str, keep: Keep) -> Result<ShelfId, StoreError> {
        self.memory.shelf(route, keep)
    }

    fn probe(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Probe {
        self.memory.probe(shelf, keys, now)
    }

    fn look_up_all(
        &self,
        events: &[(ShelfId, Keys)],
        now: Timestamp,
    ) -> Vec<Result<Found, StoreError>> {
        self.reads(events);
        self.memory.look_up_all(events, now)
    }

    fn settle(&self, shelf: ShelfId, keys: Keys, at: Timestamp, done: Done) {
        self.memory.settle(shelf, keys, at, done);
    }

    fn trusts(&self, _: Timestamp) -> bool {
        true
    }

    fn health(&self) -> Health {
        self.memory.health()
    }

    fn statistics(&self) -> Statistics {
        self.memory.statistics()
    }

    fn close(&self) {
        self.memory.close();
    }
}
