//! Disks that fail, fill up, panic or hang while the power stays on.

use std::sync::mpsc::channel;
use std::time::Duration;

use fastrand::Rng;
use passgate::keepers::store::tuning::Tuning;
use passgate::keepers::store::{Health, Probe, Store, StoreError};
use passgate::words::time::Clock;

use crate::bench::{BOTH, Bench};
use crate::disk::{Disk, Fault, How, Kind};
use crate::life::{keys, tuning};

/// One fault, and the promises around it.
fn endure(fault: Fault) {
    let context = format!("{fault:?}");
    let bench = Bench::on(Disk::default(), tuning());
    for n in 0..50 {
        bench.settle(n).unwrap();
    }
    bench.disk.fail(fault);
    // Without reading, or growing the file, a settle can be synced all the same.
    let stops_settling = !matches!(fault.kind, Kind::Read | Kind::Length);
    let mut failed = false;
    for n in 50..110 {
        match bench.settle(n) {
            Ok(()) => assert!(
                !(failed && fault.for_ever && stops_settling),
                "acked after {context}"
            ),
            Err(error) => {
                assert_eq!(error, StoreError::Unavailable);
                failed = true;
                // Settled all the same: it must not be forwarded again.
                assert!(
                    matches!(bench.probe(n), Probe::Known(BOTH) | Probe::MustRead),
                    "{context}"
                );
            }
        }
        if n % 20 == 0 {
            bench.store.tidy();
            let _ = bench
                .store
                .look_up(bench.shelf, &keys(n / 2), bench.clock.now());
        }
    }
    let met = bench.disk.fault_met();
    bench.disk.heal();
    bench.until_ready();
    bench.settle(110).unwrap();
    if met && fault.kind != Kind::Read {
        assert!(
            bench.store.statistics().faults > 0,
            "{context} went unnoticed"
        );
    }
    assert_eq!(bench.store.statistics().unwritten, 0, "{context}");
    // Once ready, everything settled is durable, what failed at first included.
    bench.disk.cut();
    drop(bench.store);
    bench.disk.restart(&mut Rng::with_seed(0));
    let bench = Bench::on(bench.disk, tuning());
    for n in 0..=110 {
        let found = bench
            .store
            .look_up(bench.shelf, &keys(n), bench.clock.now());
        assert_eq!(found, Ok(BOTH), "event {n} after {context}");
    }
}

fn endure_each(kinds: &[Kind], how: How, afters: impl Iterator<Item = u64> + Clone) {
    for kind in kinds {
        for after in afters.clone() {
            for for_ever in [false, true] {
                endure(Fault {
                    kind: *kind,
                    after,
                    for_ever,
                    how,
                });
            }
        }
    }
}

#[test]
fn an_error_of_the_disk_loses_nothing_that_was_acked() {
    let kinds = [Kind::Read, Kind::Write, Kind::Sync, Kind::Length];
    endure_each(&kinds, How::Error, (0..8).chain([20, 45, 90, 150]));
}

#[test]
fn a_full_disk_loses_nothing_that_was_acked() {
    endure_each(
        &[Kind::Write, Kind::Length],
        How::Full,
        (0..4).chain([33, 77]),
    );
}

#[test]
fn a_panic_below_the_writer_loses_nothing_that_was_acked() {
    endure_each(&[Kind::Write, Kind::Sync], How::Panic, (0..4).chain([33]));
}

#[test]
fn while_the_disk_is_down_what_is_not_known_is_unavailable() {
    let bench = Bench::on(Disk::default(), tuning());
    bench.settle(1).unwrap();
    bench.disk.fail(Fault {
        kind: Kind::Sync,
        after: 0,
        for_ever: true,
        how: How::Error,
    });
    assert_eq!(bench.settle(2), Err(StoreError::Unavailable));
    assert!(matches!(bench.store.health(), Health::Down(_)));
    for (n, expected) in [
        (1, Probe::Known(BOTH)),
        (2, Probe::Known(BOTH)),
        (3, Probe::Unavailable),
    ] {
        assert_eq!(bench.probe(n), expected);
    }
    let looked_up = bench
        .store
        .look_up(bench.shelf, &keys(3), bench.clock.now());
    assert_eq!(looked_up, Err(StoreError::Unavailable));
}

#[test]
fn a_sync_that_hangs_is_a_stall_and_ends_as_one() {
    let bench = Bench::on(Disk::default(), tuning());
    bench.settle(1).unwrap();
    let (held, reached) = channel();
    bench.disk.hold_syncs(held);
    let (tell, told) = channel();
    let done = move |result| tell.send(result).unwrap();
    bench
        .store
        .settle(bench.shelf, keys(2), bench.clock.now(), Box::new(done));
    reached.recv().unwrap();
    assert_eq!(bench.store.health(), Health::Ready);
    assert_eq!(bench.probe(3), Probe::Absent);
    bench.clock.advance(Duration::from_millis(3_001));
    assert_eq!(
        bench.store.health(),
        Health::Stalled(Duration::from_millis(3_001))
    );
    assert_eq!(bench.probe(1), Probe::Known(BOTH));
    assert_eq!(bench.probe(3), Probe::Unavailable);
    bench.disk.release_syncs();
    told.recv().unwrap().unwrap();
    assert_eq!(bench.store.health(), Health::Ready);
    assert_eq!(bench.probe(2), Probe::Known(BOTH));
}

#[test]
fn beyond_the_queues_bound_settles_are_refused_and_known_and_written_later() {
    let bench = Bench::on(
        Disk::default(),
        Tuning {
            queue_ops_max: 3,
            ..tuning()
        },
    );
    let (held, reached) = channel();
    bench.disk.hold_syncs(held);
    let (tell, told) = channel();
    for n in 0..6 {
        let tell = tell.clone();
        let done = move |result| tell.send((n, result)).unwrap();
        bench
            .store
            .settle(bench.shelf, keys(n), bench.clock.now(), Box::new(done));
        if n == 0 {
            reached.recv().unwrap();
        }
    }
    drop(tell);
    assert_eq!(told.recv().unwrap(), (4, Err(StoreError::Full)));
    assert_eq!(told.recv().unwrap(), (5, Err(StoreError::Full)));
    assert_eq!(bench.probe(5), Probe::Known(BOTH));
    bench.disk.release_syncs();
    let answers: Vec<_> = told.iter().collect();
    assert_eq!(answers, (0..4).map(|n| (n, Ok(()))).collect::<Vec<_>>());
    bench.settle(6).unwrap();
    assert_eq!(bench.store.statistics().unwritten, 0);
    assert_eq!(bench.probe(5), Probe::Known(BOTH));
}
