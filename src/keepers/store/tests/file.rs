//! What only a store in a file does.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use tempfile::TempDir;

use super::{BOTH, NEITHER, TestClock, WEEK, found, keys, settle_all, small};
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::medium::{FileMedium, Medium};
use crate::keepers::store::open_error::OpenError;
use crate::keepers::store::tables::{CHUNKS, JOURNAL, META, RUNS, SHELVES};
use crate::keepers::store::tuning::{Options, Tuning};
use crate::keepers::store::wal::REGION_BYTES;
use crate::keepers::store::{Keep, Probe, Store};
use crate::words::time::Clock;

const HOUR: Duration = Duration::from_secs(3600);

pub(super) struct Place {
    _directory: TempDir,
    pub(super) path: PathBuf,
    pub(super) clock: Arc<TestClock>,
}

impl Place {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            path: directory.path().join("store"),
            _directory: directory,
            clock: TestClock::new(),
        }
    }

    pub(super) fn open(&self) -> Result<Embedded, OpenError> {
        Embedded::open(Options {
            path: self.path.clone(),
            clock: self.clock.clone(),
            tuning: small(),
            on_commit: None,
        })
    }
}

pub(super) fn database(path: &Path) -> redb::Database {
    let medium = FileMedium::new(path.to_owned());
    medium.open(&redb::Builder::new()).unwrap().database
}

pub(super) fn edit(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = database(path);
    let txn = database.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
}

fn rows(path: &Path) -> (u64, u64, u64) {
    let database = database(path);
    let txn = database.begin_read().unwrap();
    let journal = txn.open_table(JOURNAL).unwrap().iter().unwrap().count();
    let runs = txn.open_table(RUNS).unwrap().iter().unwrap().count();
    let chunks = txn.open_table(CHUNKS).unwrap().iter().unwrap().count();
    (journal as u64, runs as u64, chunks as u64)
}

#[test]
fn a_reopened_store_remembers_its_journal_and_its_runs() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    settle_all(&store, shelf, 0..300, place.clock.now());
    store.tidy();
    settle_all(&store, shelf, 300..310, place.clock.now());
    drop(store);

    let store = place.open().unwrap();
    assert_eq!(store.shelf("a", WEEK), Ok(shelf));
    let now = place.clock.now();
    assert!(store.statistics().filters_missing > 0);
    assert_eq!(store.probe(shelf, &keys(999), now), Probe::MustRead);
    for tidied in [false, true] {
        if tidied {
            store.tidy();
            assert_eq!(store.statistics().filters_missing, 0);
            assert_eq!(store.probe(shelf, &keys(999), now), Probe::Absent);
        }
        assert!((0..310).all(|n| found(&store, shelf, &keys(n), now) == BOTH));
        assert!((310..600).all(|n| found(&store, shelf, &keys(n), now) == NEITHER));
    }
}

#[test]
fn what_has_expired_leaves_the_disk() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    settle_all(&store, shelf, 0..1000, place.clock.now());
    store.tidy();
    settle_all(&store, shelf, 1000..1010, place.clock.now());
    place.clock.advance(WEEK.remember + HOUR);
    store.tidy();
    assert_eq!(store.statistics().keys, 0);
    drop(store);
    assert_eq!(rows(&place.path), (0, 0, 0));
}

#[test]
fn a_settled_key_is_found_at_every_moment_of_flushes_and_merges() {
    let place = Place::new();
    let tuning = Tuning {
        tidies_itself: true,
        ..small()
    };
    let medium = Arc::new(FileMedium::new(place.path.clone()));
    let store = Embedded::open_on(medium, place.clock.clone(), tuning, None).unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let settled = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (store, settled) = (&store, &settled);
            scope.spawn(move || {
                for n in (reader..).step_by(2) {
                    match settled.load(Ordering::SeqCst) {
                        u64::MAX => break,
                        0 => std::thread::yield_now(),
                        upto => {
                            let events = [n, n + 1, n + 2].map(|n| (shelf, keys(n * 7919 % upto)));
                            for (shelf, event) in &events {
                                assert_ne!(store.probe(*shelf, event, now), Probe::Absent);
                            }
                            assert_eq!(store.look_up_all(&events, now), [Ok(BOTH); 3]);
                        }
                    }
                }
            });
        }
        for n in 0..150 {
            settle_all(&store, shelf, n * 20..n * 20 + 20, now);
            settled.store(n * 20 + 20, Ordering::SeqCst);
        }
        settled.store(u64::MAX, Ordering::SeqCst);
    });
    assert!(store.statistics().runs > 0);
}

#[test]
fn merged_runs_leave_the_disk() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    for n in 0..16 {
        settle_all(&store, shelf, n * 50..n * 50 + 50, place.clock.now());
        store.tidy();
    }
    let runs = store.statistics().runs;
    assert!(runs <= 6, "{runs} runs");
    drop(store);
    // Sixteen hundred keys, two hundred to a chunk, and one chunk more for each run that ends within one.
    let (_, on_disk, chunks) = rows(&place.path);
    assert_eq!(on_disk, runs);
    assert!(chunks <= 8 + runs, "{chunks} chunks");
}

#[test]
fn a_key_settled_again_lives_as_long_as_its_latest_record() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    // The window of the first records is over when the later ones come; then all are merged.
    for _ in 0..3 {
        settle_all(&store, shelf, 0..50, place.clock.now());
        store.tidy();
        settle_all(&store, shelf, 0..50, place.clock.now());
        store.tidy();
        place.clock.advance(HOUR);
    }
    place.clock.advance(20 * HOUR);
    store.tidy();
    assert_eq!(store.statistics().keys, 100, "merged into one record a key");
    place.clock.advance(WEEK.remember - 22 * HOUR);
    assert!((0..50).all(|n| found(&store, shelf, &keys(n), place.clock.now()) == BOTH));
}

#[test]
fn a_shelf_over_its_bound_shrinks_to_it_and_leaves_others_alone() {
    let place = Place::new();
    let store = place.open().unwrap();
    let keep = Keep {
        max_keys: Some(400),
        ..WEEK
    };
    let other = store.shelf("other", WEEK).unwrap();
    let bounded = store.shelf("bounded", keep).unwrap();
    settle_all(&store, other, 0..500, place.clock.now());
    for n in 0..100 {
        place.clock.advance(Duration::from_secs(1));
        settle_all(&store, bounded, n * 10..n * 10 + 10, place.clock.now());
        store.tidy();
        assert!(store.statistics().keys <= 1000 + 400 + 20);
    }
    let now = place.clock.now();
    let kept = (0..1000).filter(|&n| found(&store, bounded, &keys(n), now) == BOTH);
    assert!(kept.count() >= 150);
    assert!((0..500).all(|n| found(&store, other, &keys(n), now) == BOTH));
}

#[test]
fn nothing_expires_while_the_clock_is_suspect() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    settle_all(&store, shelf, 0..100, place.clock.now());
    store.tidy();
    place.clock.leap(365 * 24 * 3_600_000);
    store.tidy();
    assert!(store.statistics().clock_suspect);
    assert_eq!(found(&store, shelf, &keys(1), place.clock.now()), BOTH);
    for _ in 0..=24 {
        store.tidy();
        place.clock.advance(HOUR);
    }
    store.tidy();
    assert!(!store.statistics().clock_suspect);
    assert_eq!(found(&store, shelf, &keys(1), place.clock.now()), NEITHER);
}

#[test]
fn a_clock_behind_the_stored_times_is_suspect_at_open() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    settle_all(&store, shelf, 0..10, place.clock.now());
    drop(store);
    place.clock.leap(-3_600_000);
    let store = place.open().unwrap();
    assert!(store.statistics().clock_suspect);
    assert_eq!(found(&store, shelf, &keys(1), place.clock.now()), BOTH);
}

#[test]
fn a_shelf_no_longer_asked_for_still_expires() {
    let place = Place::new();
    let store = place.open().unwrap();
    let gone = store.shelf("gone", WEEK).unwrap();
    settle_all(&store, gone, 0..100, place.clock.now());
    drop(store);
    let store = place.open().unwrap();
    store.tidy();
    assert_eq!(store.statistics().keys, 200);
    place.clock.advance(WEEK.remember + HOUR);
    store.tidy();
    assert_eq!(store.statistics().keys, 0);
}

#[test]
fn damaged_rows_are_absent_and_counted() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    settle_all(&store, shelf, 0..300, place.clock.now());
    store.tidy();
    settle_all(&store, shelf, 300..301, place.clock.now());
    // The log's rows go into the table with whatever is no settle.
    store.shelf("z", WEEK).unwrap();
    drop(store);
    edit(&place.path, |txn| {
        let mut journal = txn.open_table(JOURNAL).unwrap();
        let seq = journal.last().unwrap().unwrap().0.value();
        journal.insert(seq, [9u8, 9, 9].as_slice()).unwrap();
        txn.open_table(RUNS)
            .unwrap()
            .insert(99, [0u8].as_slice())
            .unwrap();
        txn.open_table(SHELVES)
            .unwrap()
            .insert(7, [].as_slice())
            .unwrap();
        let mut chunks = txn.open_table(CHUNKS).unwrap();
        let (run, first) = {
            let (place, _) = chunks.first().unwrap().unwrap();
            (place.value().0, *place.value().1)
        };
        chunks.insert((run, &first), [1u8; 20].as_slice()).unwrap();
    });
    let store = place.open().unwrap();
    assert_eq!(store.statistics().damaged_rows, 3);
    let now = place.clock.now();
    assert_eq!(found(&store, shelf, &keys(300), now), NEITHER);
    let known = (0..300).filter(|&n| found(&store, shelf, &keys(n), now) != NEITHER);
    assert!((150..300).contains(&known.count()));
    assert!(store.statistics().damaged_rows > 3);
    store.tidy();
    assert!(store.shelf("b", WEEK).unwrap() > shelf);
}

#[test]
fn chunks_of_an_unfinished_run_are_removed_after_the_next_open() {
    let place = Place::new();
    drop(place.open().unwrap());
    edit(&place.path, |txn| {
        let mut chunks = txn.open_table(CHUNKS).unwrap();
        for n in 0..200u8 {
            chunks.insert((7, &[n; 16]), [1u8; 21].as_slice()).unwrap();
        }
    });
    let store = place.open().unwrap();
    store.tidy();
    drop(store);
    assert_eq!(rows(&place.path), (0, 0, 0));
}

#[test]
fn a_second_opening_is_refused() {
    let place = Place::new();
    let store = place.open().unwrap();
    assert_eq!(place.open().err(), Some(OpenError::Locked));
    drop(store);
    assert!(place.open().is_ok());
}

#[test]
fn a_strangers_file_is_refused_and_left_alone() {
    let place = Place::new();
    for contents in [&b"not a store"[..], &[0xff; 8192], b"redb but not really"] {
        std::fs::write(&place.path, contents).unwrap();
        assert_eq!(place.open().err(), Some(OpenError::Foreign));
        assert_eq!(std::fs::read(&place.path).unwrap(), contents);
    }
    std::fs::remove_file(&place.path).unwrap();
    drop(redb::Database::create(&place.path).unwrap());
    let bare = std::fs::read(&place.path).unwrap();
    assert_eq!(place.open().err(), Some(OpenError::Bare));
    assert_eq!(std::fs::read(&place.path).unwrap(), bare);
    std::fs::remove_file(&place.path).unwrap();
    edit(&place.path, |txn| {
        let other: TableDefinition<'_, u64, u64> = TableDefinition::new("other");
        txn.open_table(other).unwrap();
    });
    assert_eq!(place.open().err(), Some(OpenError::Foreign));
}

#[test]
fn a_newer_format_is_refused() {
    let place = Place::new();
    drop(place.open().unwrap());
    edit(&place.path, |txn| {
        let mut meta = txn.open_table(META).unwrap();
        meta.insert("format", [1u8, 4, 0, 0, 0].as_slice()).unwrap();
    });
    assert_eq!(place.open().err(), Some(OpenError::Newer { format: 4 }));
}

#[test]
fn the_file_is_its_owners_alone() {
    let place = Place::new();
    drop(place.open().unwrap());
    let mode = std::fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Regression: redb may panic over a page that was changed behind its back, and took the process with it.
#[test]
fn a_damaged_file_is_refused_or_read_and_never_takes_the_process_with_it() {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    settle_all(&store, shelf, 0..200, place.clock.now());
    store.close();
    drop(store);
    let whole = std::fs::read(&place.path).unwrap();
    let pages = whole.len() / 4096;
    let behind = REGION_BYTES as usize / 4096;
    for page in (0..3).chain(behind..pages.min(behind + 40)) {
        let mut damaged = whole.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0);
        std::fs::write(&place.path, &damaged).unwrap();
        // Either way: it says so, or it works.
        if let Ok(store) = place.open() {
            let _ = store.look_up(shelf, &keys(0), place.clock.now());
        }
    }
}
