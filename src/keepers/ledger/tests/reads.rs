//! Who reads what is asked, how much at one time, and what a panic or a disk that hangs does to it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};

use super::hooked::{Hooked, Hooks};
use super::{HandClock, KEEP, plain};
use crate::keepers::ledger::reads::{ALONE_MAX, LATE, QUESTIONS_MAX, Reads, TOGETHER_MAX};
use crate::keepers::store::{Found, ShelfId, Store, StoreError};
use crate::words::identity::Keys;
use crate::words::time::Clock;

/// A store whose reads are seen, and held until they are let go.
struct Watched {
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
    /// Every read waits.
    is_held: bool,
    /// A read of this event waits.
    hangs: Option<Keys>,
    /// A read of this event breaks.
    breaks: Option<Keys>,
}

struct Bench {
    store: Arc<Hooked<Watched>>,
    reads: Arc<Reads>,
    shelf: ShelfId,
}

type Told = JoinHandle<Result<Found, StoreError>>;

// === impl Bench ===

impl Bench {
    fn new() -> Self {
        let clock = Arc::<HandClock>::default();
        let store = Arc::new(Hooked::new(Watched {
            clock: Arc::clone(&clock),
            seen: Mutex::default(),
            changed: Condvar::new(),
        }));
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
            .settle(self.shelf, plain(n), self.store.hooks.clock.now(), done);
        told.await.unwrap().unwrap();
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(
            &mut self
                .store
                .hooks
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.store.hooks.changed.notify_all();
    }

    /// Until so many reads are under way; an error if that takes long.
    fn until_reading(&self, count: usize) {
        let seen = self.store.hooks.seen.lock().unwrap();
        let not_yet = |seen: &mut Seen| seen.reading != count;
        let waited = self
            .store
            .hooks
            .changed
            .wait_timeout_while(seen, PATIENCE, not_yet);
        let (seen, _) = waited.unwrap();
        assert_eq!(seen.reading, count);
    }

    /// Until it is so; an error if that takes long.
    async fn until(&self, is_so: impl Fn(&Seen) -> bool) {
        let wait = async {
            while !is_so(&self.store.hooks.seen.lock().unwrap()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("it is so");
    }

    fn together(&self) -> Vec<usize> {
        self.store
            .hooks
            .seen
            .lock()
            .unwrap()
            .together
            .clone()
            .into()
    }
}

/// A test that fails ends soon, too.
impl Drop for Bench {
    fn drop(&mut self) {
        self.change(|seen| (seen.is_held, seen.hangs) = (false, None));
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

/// What no read that gets on takes.
const LONG: Duration = Duration::from_secs(1);
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
async fn who_waits_behind_a_read_that_hangs_is_answered_without_it() {
    let bench = Bench::new();
    bench.settle(3).await;
    bench.change(|seen| {
        seen.is_held = true;
        seen.hangs = Some(plain(5));
    });
    let first = bench.ask(0..1).await;
    bench.until_reading(1);
    let together = bench.ask(1..9).await;
    bench.change(|seen| seen.is_held = false);
    all(first).await;
    bench.until_reading(1);
    let behind = bench.ask(20..30).await;
    // As long as the reader gets on, by the clock, nobody reads alone.
    tokio::time::sleep(4 * LATE).await;
    assert_eq!(bench.together(), [1, 8]);
    bench.store.hooks.clock.advance(LONG);
    for (n, told) in (1..9).zip(together) {
        let expected = match n {
            5 => continue,
            3 => Ok(BOTH),
            _ => Ok(NEITHER),
        };
        assert_eq!(all(vec![told]).await, [expected], "{n}");
    }
    assert_eq!(all(behind).await, [Ok(NEITHER); 10]);
    let late = bench.ask(30..40).await;
    assert_eq!(all(late).await, [Ok(NEITHER); 10]);
    let itself = bench.ask(5..6).await;
    bench.change(|seen| seen.hangs = None);
    assert_eq!(all(itself).await, [Ok(NEITHER)]);
}

#[tokio::test]
async fn who_waits_for_too_long_is_read_alone_even_where_the_reader_gets_on() {
    let bench = Bench::new();
    bench.change(|seen| seen.hangs = Some(plain(0)));
    let first = bench.ask(0..1).await;
    bench.until_reading(1);
    let waiting = bench.ask(1..3).await;
    bench.store.hooks.clock.advance(LONG);
    // The reader takes up what it hangs over as of now.
    bench.reads.take_up_now();
    assert_eq!(all(waiting).await, [Ok(NEITHER); 2]);
    bench.until_reading(2);
    // And so is the one that hangs, in vain.
    assert_eq!(bench.together(), [1; 4]);
    bench.change(|seen| seen.hangs = None);
    all(first).await;
}

#[tokio::test]
async fn a_disk_that_hangs_is_read_by_so_many_at_most() {
    let bench = Bench::new();
    bench.change(|seen| seen.is_held = true);
    let told = bench.ask(0..250).await;
    let more = bench.ask(0..250).await;
    bench.until_reading(1);
    bench.store.hooks.clock.advance(LONG);
    let most = ALONE_MAX + 1;
    bench.until(|seen| seen.reading == most).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(bench.store.hooks.seen.lock().unwrap().reading, most);
    }
    bench.change(|seen| seen.is_held = false);
    assert_eq!(all(told).await, [Ok(NEITHER); 250]);
    assert_eq!(all(more).await, [Ok(NEITHER); 250]);
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
    let many = |count: usize| (0..count).map(|n| (n % 250) as u8);
    let gone = bench.ask(many(QUESTIONS_MAX)).await;
    for gone in &gone {
        gone.abort();
    }
    told.extend(bench.ask(many(QUESTIONS_MAX)).await);
    assert!(
        !told.iter().any(JoinHandle::is_finished),
        "who is gone does not count"
    );
    let refused = bench.ask(0..1).await;
    assert_eq!(all(refused).await, [Err(StoreError::Full)]);
    bench.change(|seen| seen.is_held = false);
    assert!(all(told).await.iter().all(|answer| *answer == Ok(NEITHER)));
    assert!(
        bench
            .together()
            .iter()
            .all(|together| *together <= TOGETHER_MAX)
    );
}

// === impl Watched ===

impl Hooks for Watched {
    /// As long as it is held.
    fn reads(&self, events: &[(ShelfId, Keys)]) {
        let is_of = |which: Option<Keys>| events.iter().any(|(_, keys)| Some(*keys) == which);
        let mut seen = self.seen.lock().unwrap();
        seen.together.push_back(events.len());
        seen.reading += 1;
        self.changed.notify_all();
        let is_held = |seen: &mut Seen| seen.is_held || is_of(seen.hangs);
        let mut seen = self.changed.wait_while(seen, is_held).unwrap();
        seen.reading -= 1;
        let breaks = seen.breaks;
        drop(seen);
        assert!(!is_of(breaks));
    }
}
