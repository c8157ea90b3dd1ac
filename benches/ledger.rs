//! What a settle and a look-up cost, and whether that grows with what is remembered.
//!
//! A batch is queued while the commit before it syncs, as under load, so that it shares one commit.
//!
//! Beside the look-ups stands what a store that reads its file by pages cannot do without: to read one page, which the
//! system has in memory, and to search in it. With few keys the store's own cache holds all pages and only the search is
//! left; with many, a look-up of a known event has all of it.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::tuning::{Options, Tuning};
use passgate::keepers::store::{Keep, Probe, ShelfId, Store};
use passgate::words::identity::{Key, Keys};
use passgate::words::time::{Clock, SystemClock};

/// How many keys are remembered while it is measured; LEDGER_HELD=100000,10000000 says otherwise.
const HELD: [u64; 2] = [10_000, 1_000_000];
const BATCHES: [u64; 2] = [1, 64];
/// Bytes of a page, and how many keys the store has in one; it takes 20 bytes for each.
const PAGE: usize = 4096;
const KEYS_PER_PAGE: usize = 200;
const KEEP: Keep = Keep {
    remember: Duration::from_secs(7 * 24 * 3600),
    max_keys: None,
};

/// A uniform key for each number: what a hash would give, without its cost.
fn keys(n: u64) -> Keys {
    let bytes = fastrand::Rng::with_seed(n).u128(..).to_le_bytes();
    Keys {
        content: Key::from_bytes(bytes),
        id: None,
    }
}

fn open(path: &Path, clock: &Arc<SystemClock>) -> (Embedded, ShelfId) {
    let store = Embedded::open(Options {
        path: path.to_owned(),
        clock: clock.clone(),
        tuning: Tuning::default(),
        on_commit: None,
    });
    let store = store.expect("a new file opens");
    let shelf = store.shelf("route", KEEP).expect("the store is ready");
    (store, shelf)
}

fn settle(store: &Embedded, shelf: ShelfId, clock: &SystemClock, numbers: std::ops::Range<u64>) {
    let (tell, told) = channel();
    for n in numbers {
        let tell = tell.clone();
        let done = move |result: Result<(), _>| tell.send(result).expect("somebody waits");
        store.settle(shelf, keys(n), clock.now(), Box::new(done));
    }
    drop(tell);
    for result in told {
        result.expect("the disk takes it");
    }
}

/// A file of so many keys, sorted in each page.
fn paged(path: &Path, held: u64) -> File {
    let mut bytes = Vec::new();
    for from in (0..held).step_by(KEYS_PER_PAGE) {
        let mut page: Vec<_> = (from..).take(KEYS_PER_PAGE).map(keys).collect();
        page.sort_unstable_by_key(|keys| keys.content);
        bytes.extend(page.iter().flat_map(|keys| *keys.content.as_bytes()));
        bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    }
    std::fs::write(path, bytes).expect("the disk takes it");
    File::open(path).expect("it was written just now")
}

fn pages(criterion: &mut Criterion) {
    for held in held() {
        let directory = tempfile::tempdir().expect("there is a disk");
        let file = paged(&directory.path().join("pages"), held);
        let mut n = 0;
        criterion.bench_function(
            &format!("read and search one page with {held} held"),
            |bencher| {
                bencher.iter(|| {
                    n += 1;
                    let key = keys(n).content;
                    let mut bytes = [0; PAGE];
                    let at = key.leading() % held.div_ceil(KEYS_PER_PAGE as u64) * PAGE as u64;
                    file.read_exact_at(&mut bytes, at).expect("it is there");
                    let (keys, _) = bytes.as_chunks::<{ Key::LEN }>();
                    keys[..KEYS_PER_PAGE].partition_point(|other| other <= key.as_bytes())
                });
            },
        );
    }
}

fn held() -> Vec<u64> {
    let Ok(given) = std::env::var("LEDGER_HELD") else {
        return HELD.to_vec();
    };
    let numbers = given.split(',').map(|number| number.parse());
    numbers.collect::<Result<_, _>>().expect("numbers")
}

fn ledger(criterion: &mut Criterion) {
    for held in held() {
        let directory = tempfile::tempdir().expect("there is a disk");
        let clock = Arc::new(SystemClock::new());
        let (store, shelf) = open(&directory.path().join("store"), &clock);
        for from in (0..held).step_by(4_000) {
            settle(&store, shelf, &clock, from..(from + 4_000).min(held));
        }
        store.tidy();
        let mut next = held;
        for batch in BATCHES {
            criterion.bench_function(
                &format!("settle a batch of {batch} with {held} held"),
                |bencher| {
                    bencher.iter(|| {
                        settle(&store, shelf, &clock, next..next + batch);
                        next += batch;
                    });
                },
            );
        }
        store.tidy();
        let mut n = 0;
        criterion.bench_function(&format!("probe a new event with {held} held"), |bencher| {
            bencher.iter(|| {
                n += 1;
                black_box(store.probe(shelf, &keys(u64::MAX - n), clock.now()) == Probe::Absent)
            });
        });
        criterion.bench_function(
            &format!("look up a known event with {held} held"),
            |bencher| {
                bencher.iter(|| {
                    n += 1;
                    black_box(store.look_up(shelf, &keys(n * 7919 % held), clock.now()))
                });
            },
        );
        criterion.bench_function(
            &format!("look up a new event with {held} held"),
            |bencher| {
                bencher.iter(|| {
                    n += 1;
                    black_box(store.look_up(shelf, &keys(u64::MAX - n), clock.now()))
                });
            },
        );
    }
}

criterion_group!(benches, ledger, pages);
criterion_main!(benches);
