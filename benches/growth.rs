//! Does the file grow with time, once as many events expire as come?
//!
//! `growth` alone answers it with 20,000 events in the window that is remembered, `growth turns N` with N: it lets
//! the window pass ten times with a clock of its own, and prints what an event takes on disk after each.
//! `growth fill PATH N` makes a store for the scripts in `compare/`: N events, as a route `walletwerk` would
//! remember them, come one after the other over the last six days.
//!
//! It is no statistic but one history, so it does without criterion.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::tuning::{Options, Tuning};
use passgate::keepers::store::{Keep, ShelfId, Store};
use passgate::words::identity::{Key, Keys};
use passgate::words::shelf::ShelfName;
use passgate::words::time::{Clock, SystemClock, Timestamp};

const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
const TURNS: u64 = 10;
/// How often in a turn the clock moves on and the sweep runs.
const STEPS: u32 = 20;
const EVENTS: u64 = 20_000;
/// So many are settled before their answers are waited for.
const BATCH: u64 = 16_000;
/// Keys of a run when a store is filled.
const FILL_KEYS: usize = 2_000_000;
const KEEP: Keep = Keep {
    remember: WINDOW,
    max_keys: None,
};
const ROUTE: ShelfName<'_> = ShelfName {
    route: "walletwerk",
    provider: "walletwerk",
};

/// A clock that stands still until it is told to move.
#[derive(Default)]
struct TestClock(AtomicU64);

impl TestClock {
    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(0);
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Self::START.after(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

fn open(path: &Path, clock: Arc<dyn Clock>, tuning: Tuning) -> (Embedded, ShelfId) {
    let store = Embedded::open(Options {
        path: path.to_owned(),
        clock,
        tuning: Tuning {
            tidies_itself: false,
            ..tuning
        },
        on_commit: None,
    });
    let store = store.expect("a new file opens");
    let shelf = store.shelf(&ROUTE.to_string(), KEEP);
    (store, shelf.expect("the store is ready"))
}

/// Uniform keys for each number, of content and id: what hashes would give, without their cost.
fn keys(n: u64) -> Keys {
    let mut random = fastrand::Rng::with_seed(n);
    let mut key = || Key::from_bytes(random.u128(..).to_le_bytes());
    Keys {
        content: key(),
        id: Some(key()),
    }
}

fn settle(store: &Embedded, shelf: ShelfId, numbers: std::ops::Range<u64>, at: Timestamp) {
    let (tell, told) = channel();
    for n in numbers {
        let tell = tell.clone();
        let done = move |result: Result<(), _>| tell.send(result).expect("somebody waits");
        store.settle(shelf, keys(n), at, Box::new(done));
    }
    drop(tell);
    for result in told {
        result.expect("the disk takes it");
    }
}

/// Bytes that the file really takes.
fn on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).expect("the file is there");
    metadata.blocks() * 512
}

/// Ten turns of the window with `events` in each; a line of JSON after each turn.
fn turns(path: &Path, events: u64) {
    let clock = Arc::new(TestClock::default());
    let (store, shelf) = open(path, clock.clone(), Tuning::default());
    let each = (events / u64::from(STEPS)).max(1);
    let mut next = 0;
    for turn in 1..=TURNS {
        for _ in 0..STEPS {
            clock.advance(WINDOW / STEPS);
            settle(&store, shelf, next..next + each, clock.now());
            next += each;
            store.tidy();
        }
        let live = each * u64::from(STEPS);
        println!(
            "{{\"turn\":{turn},\"events\":{live},\"bytes_per_event\":{:.1},\"keys\":{}}}",
            on_disk(path) as f64 / live as f64,
            store.statistics().keys
        );
    }
    store.close();
}

/// A store that remembers `events`.
fn fill(path: &Path, events: u64) {
    let clock = Arc::new(SystemClock::new());
    // Long runs from the start: merging short ones again and again would take most of the time.
    let tuning = Tuning {
        journal_keys_max: FILL_KEYS,
        ..Tuning::default()
    };
    let (store, shelf) = open(path, clock.clone(), tuning);
    let first = clock.now().before(Duration::from_secs(6 * 24 * 3600));
    let step = Duration::from_secs(6 * 24 * 3600).div_f64(events.max(1) as f64);
    for from in (0..events).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        let at = first.after(step.mul_f64(from as f64));
        settle(&store, shelf, from..(from + BATCH).min(events), at);
        store.tidy();
    }
    store.close();
    println!(
        "{{\"keys\":{},\"bytes\":{}}}",
        store.statistics().keys,
        on_disk(path)
    );
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number of events");
    let directory = tempfile::tempdir().expect("there is a disk");
    let path = directory.path().join("store");
    match given[..] {
        ["fill", path, events] => fill(Path::new(path), number(events)),
        ["turns", events] => turns(&path, number(events)),
        // `cargo bench` adds words of its own.
        _ => turns(&path, EVENTS),
    }
}
