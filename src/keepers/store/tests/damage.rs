//! Files that a disk or somebody's hand has damaged: what is still read of them, and when they are refused.

use std::fs::{self, OpenOptions};

use super::file::Place;
use super::{BOTH, NEITHER, WEEK, found, keys, settle};
use crate::keepers::store::open_error::OpenError;
use crate::keepers::store::wal::REGION_BYTES;
use crate::keepers::store::{ShelfId, Store};
use crate::words::time::Clock;

const PAGE: usize = 4096;

/// A closed store whose log has a record for each of `events` events, and its shelf.
fn logged(events: u64) -> (Place, ShelfId) {
    let place = Place::new();
    let store = place.open().unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    for n in 0..events {
        settle(&store, shelf, keys(n), place.clock.now()).unwrap();
    }
    (place, shelf)
}

fn cut(place: &Place, len: u64) {
    let file = OpenOptions::new().write(true).open(&place.path).unwrap();
    file.set_len(len).unwrap();
}

#[test]
fn a_damaged_record_of_the_log_hides_no_other_and_is_counted() {
    let (place, shelf) = logged(60);
    let mut bytes = fs::read(&place.path).unwrap();
    // The first page is the head's.
    bytes[11 * PAGE + 60] ^= 1;
    fs::write(&place.path, bytes).unwrap();
    for damaged in [1, 0] {
        let store = place.open().unwrap();
        assert_eq!(store.statistics().damaged_rows, damaged);
        for n in 0..60 {
            let expected = if n == 10 { NEITHER } else { BOTH };
            let now = place.clock.now();
            assert_eq!(found(&store, shelf, &keys(n), now), expected, "event {n}");
        }
        // The first transaction takes over what could be read.
        store.shelf("b", WEEK).unwrap();
    }
}

#[test]
fn a_file_of_which_only_the_log_is_left_is_refused_and_left_alone() {
    let (place, _) = logged(3);
    let whole = fs::read(&place.path).unwrap();
    for len in [
        16,
        PAGE as u64,
        REGION_BYTES - 1,
        REGION_BYTES,
        REGION_BYTES + 1,
    ] {
        fs::write(&place.path, &whole).unwrap();
        cut(&place, len);
        let left = fs::read(&place.path).unwrap();
        let refused = place.open().err();
        assert!(
            matches!(&refused, Some(OpenError::Unusable(why)) if why.contains("left as it is")),
            "{len}: {refused:?}"
        );
        assert!(fs::read(&place.path).unwrap() == left, "{len}");
    }
}

#[test]
fn a_store_says_whether_it_was_made_just_now() {
    let place = Place::new();
    assert!(place.open().unwrap().is_new());
    assert!(!place.open().unwrap().is_new());
    // As a crash leaves it that comes before the database's first page.
    cut(&place, REGION_BYTES);
    assert!(place.open().unwrap().is_new());
    assert!(!place.open().unwrap().is_new());
}

#[test]
fn a_file_without_its_end_is_refused() {
    let (place, _) = logged(3);
    let whole = fs::read(&place.path).unwrap();
    let len = whole.len() as u64;
    for cut_off in [1, PAGE as u64, (len - REGION_BYTES) / 2] {
        fs::write(&place.path, &whole).unwrap();
        cut(&place, len - cut_off);
        let refused = place.open().err();
        assert!(
            matches!(refused, Some(OpenError::Unusable(_))),
            "{cut_off}: {refused:?}"
        );
    }
}
