//! What settles, beside what needs a transaction.

use std::sync::mpsc::channel;

use super::file::Place;
use super::jobs::{all_due, delivered, job, ordered, push};
use super::{BOTH, WEEK, found, keys, settle, small};
use crate::keepers::store::Store;
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::jobs::{JobId, Queue};
use crate::keepers::store::tuning::Options;
use crate::words::time::Clock;

/// What needs a transaction takes several times as long as a record of the log.
#[test]
fn what_is_settled_goes_ahead_of_what_needs_a_transaction() {
    let place = Place::new();
    let (committed, commits) = channel();
    let store = Embedded::open(Options {
        path: place.path.clone(),
        clock: place.clock.clone(),
        tuning: small(),
        on_commit: Some(Box::new(move |commit| committed.send(commit).unwrap())),
    });
    let store = store.unwrap();
    let shelf = store.shelf("a", WEEK).unwrap();
    let now = place.clock.now();
    let ordered = push(&store, ordered(shelf, 1, 7, now)).unwrap();
    let plain = push(&store, job(shelf, 2, now)).unwrap();
    settle(&store, shelf, keys(3), now).unwrap();
    let shared = |ended: JobId, n: u64| {
        // The store's thread is held up within an answer, so that the two that follow wait together.
        let (go, wait) = channel::<()>();
        let (begun, has_begun) = channel();
        let hold = move |_| {
            begun.send(()).unwrap();
            wait.recv().unwrap();
        };
        store.settle(shelf, keys(n), now, Box::new(hold));
        has_begun.recv().unwrap();
        let _ = commits.try_iter().count();
        let (tell, told) = channel();
        let changed = tell.clone();
        store.change(
            ended,
            delivered(1, now, false),
            Box::new(move |result| changed.send(result.map(|_| "changed")).unwrap()),
        );
        store.settle(
            shelf,
            keys(n + 1),
            now,
            Box::new(move |result| tell.send(result.map(|()| "settled")).unwrap()),
        );
        go.send(()).unwrap();
        let order: Vec<_> = told.iter().map(Result::unwrap).collect();
        // The one that held up the thread, and what followed it.
        let mut shares = Vec::new();
        while shares.last().is_none_or(|&(_, jobs)| jobs == 0) {
            let commit = commits.recv().unwrap();
            shares.push((commit.settles, commit.jobs));
        }
        (order, shares)
    };
    let (order, shares) = shared(ordered, 10);
    assert_eq!(order, ["settled", "changed"]);
    assert_eq!(shares, [(1, 0), (1, 0), (0, 1)]);
    let (order, shares) = shared(plain, 20);
    assert_eq!(order, ["settled", "changed"]);
    assert_eq!(shares, [(1, 0), (1, 1)], "one record carries both");
    drop(store);
    let store = place.open().unwrap();
    assert!(
        [10, 11, 20, 21]
            .iter()
            .all(|n| found(&store, shelf, &keys(*n), now) == BOTH)
    );
    assert_eq!(all_due(&store, shelf), []);
}
