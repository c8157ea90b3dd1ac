//! Jobs on disks that fail, fill up or panic while the power stays on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use passgate::keepers::store::jobs::{
    AttemptRecord, Change, Changed, JobId, NewJob, NewState, Queue,
};
use passgate::keepers::store::{Probe, Store, StoreError};
use passgate::words::time::Clock;

use crate::bench::{BOTH, Bench};
use crate::disk::{Disk, Fault, How, Kind};
use crate::life::{keys, tuning};

impl Bench {
    fn job(&self, n: u64) -> NewJob {
        let now = self.clock.now();
        NewJob {
            shelf: self.shelf,
            keys: keys(n),
            head: Bytes::from(n.to_string()),
            body: Bytes::from(vec![n as u8; if n.is_multiple_of(5) { 5_000 } else { 50 }]),
            order: n.is_multiple_of(2).then_some(7),
            at: now,
            state: NewState::Queued { due: now },
            attempts: Vec::new(),
        }
    }

    fn push(&self, job: NewJob) -> Result<JobId, StoreError> {
        let (tell, told) = channel();
        let done = move |pushed| tell.send(pushed).unwrap();
        self.store.push(job, Box::new(done));
        told.recv().unwrap()
    }

    fn deliver(&self, id: JobId) -> Result<Changed, StoreError> {
        let attempt = AttemptRecord {
            number: 1,
            at: self.clock.now(),
            status: Some(200),
            error: None,
            took: Duration::ZERO,
        };
        let (tell, told) = channel();
        let change = Change::Delivered {
            attempt,
            keep: false,
        };
        let done = move |changed| tell.send(changed).unwrap();
        self.store.change(id, change, Box::new(done));
        told.recv().unwrap()
    }

    fn known(&self, n: u64) -> bool {
        let found = self
            .store
            .look_up(self.shelf, &keys(n), self.clock.now())
            .unwrap();
        assert_eq!(found.content, found.id, "event {n} is known by half");
        found.content
    }
}

/// One fault among pushes and deliveries, and what the provider and the worker do about it.
fn endure(fault: Fault) {
    let context = format!("{fault:?}");
    let bench = Bench::on(Disk::default(), tuning());
    let mut stored: Vec<JobId> = (0..20).map(|n| bench.push(bench.job(n)).unwrap()).collect();
    bench.disk.fail(fault);
    let mut delivered = Vec::new();
    let (mut refused, mut unsure) = (Vec::new(), Vec::new());
    for n in 20..60 {
        match bench.push(bench.job(n)) {
            Ok(id) => stored.push(id),
            Err(error) => {
                assert_eq!(error, StoreError::Unavailable);
                refused.push(n);
            }
        }
        if n % 3 == 0 {
            let id = stored.remove(0);
            match bench.deliver(id) {
                Ok(changed) => {
                    assert!(matches!(changed, Changed::Done { .. }), "{context}");
                    delivered.push(id);
                }
                Err(_) => unsure.push(id),
            }
        }
        if n % 10 == 0 {
            let _ = bench.store.due(bench.shelf, None, None, 5);
            let _ = bench.store.load(&stored, true);
        }
    }
    bench.disk.heal();
    bench.until_ready();
    // What was refused is there with its keys or not at all; the provider sends it again.
    for n in refused {
        let found = bench.store.find(None, keys(n).content).unwrap();
        assert_eq!(found.is_some(), bench.known(n), "event {n} after {context}");
        match found {
            Some(id) => stored.push(id),
            None => stored.push(bench.push(bench.job(n)).unwrap()),
        }
    }
    // Whatever came of a failed change, repeating it ends well.
    for id in unsure {
        let changed = bench.deliver(id).unwrap();
        let well = matches!(changed, Changed::Done { .. } | Changed::Gone);
        assert!(well, "{changed:?} after {context}");
        delivered.push(id);
    }
    bench.disk.cut();
    drop(bench.store);
    bench.disk.restart(&mut Rng::with_seed(0));
    let bench = Bench::on(bench.disk, tuning());
    assert!((0..60).all(|n| bench.known(n)), "{context}");
    stored.sort_unstable();
    let numbers = stored.windows(2).all(|pair| pair[0] != pair[1]);
    assert!(numbers, "a number was given away twice: {context}");
    let there = bench.store.load(&stored, true).unwrap();
    assert!(there.iter().all(Option::is_some), "{context}");
    let gone = bench.store.load(&delivered, true).unwrap();
    assert!(gone.iter().all(Option::is_none), "{context}");
    let held = bench.store.counts().remove(0);
    assert_eq!(held.queued.jobs as usize, stored.len(), "{context}");
}

#[test]
fn jobs_endure_errors_full_disks_and_panics() {
    let kinds = [Kind::Read, Kind::Write, Kind::Length, Kind::Sync];
    for kind in kinds {
        for after in (0..6).chain([20, 45, 90]) {
            for for_ever in [false, true] {
                for how in [How::Error, How::Full, How::Panic] {
                    if how != How::Panic || matches!(kind, Kind::Write | Kind::Sync) {
                        endure(Fault {
                            kind,
                            after,
                            for_ever,
                            how,
                        });
                    }
                }
            }
        }
    }
}

/// The log's jobs are to be taken over, and the tables cannot be written for a while.
fn take_over(fault: Fault) {
    let context = format!("{fault:?}");
    let bench = Bench::on(Disk::default(), tuning());
    let plain = |n| NewJob {
        order: None,
        ..bench.job(n)
    };
    let mut stored: Vec<JobId> = (0..30).map(|n| bench.push(plain(n)).unwrap()).collect();
    let mut delivered: Vec<JobId> = stored.drain(..10).collect();
    for id in &delivered {
        bench.deliver(*id).unwrap();
    }
    bench.clock.advance(Duration::from_secs(60));
    bench.disk.fail(fault);
    // The last handle of a database that panicked may panic once more; the housekeeping thread lives with that.
    let _ = catch_unwind(AssertUnwindSafe(|| bench.store.tidy()));
    // The worker and the provider go on, and are refused or served.
    let offered = bench.deliver(stored[0]);
    let pushed = bench.push(plain(30));
    bench.disk.heal();
    bench.until_ready();
    let first = stored.remove(0);
    let settled = match offered {
        Ok(changed) => changed,
        Err(_) => bench.deliver(first).unwrap(),
    };
    assert!(
        matches!(settled, Changed::Done { .. } | Changed::Gone),
        "{settled:?} {context}"
    );
    delivered.push(first);
    match (pushed, bench.store.find(None, keys(30).content).unwrap()) {
        (Ok(id), found) => {
            assert_eq!(found, Some(id), "{context}");
            stored.push(id);
        }
        (Err(_), Some(id)) => stored.push(id),
        (Err(_), None) => stored.push(bench.push(plain(30)).unwrap()),
    }
    let judge = |bench: &Bench| {
        assert!((0..=30).all(|n| bench.known(n)), "{context}");
        let due = bench.store.due(bench.shelf, None, None, 99).unwrap();
        let due: Vec<_> = due.into_iter().map(|due| due.id).collect();
        assert_eq!(due, stored, "{context}");
        let there = bench.store.load(&stored, true).unwrap();
        assert!(there.iter().all(Option::is_some), "{context}");
        let gone = bench.store.load(&delivered, true).unwrap();
        assert!(gone.iter().all(Option::is_none), "{context}");
        let held = bench.store.counts().remove(0);
        assert_eq!(held.queued.jobs as usize, stored.len(), "{context}");
    };
    judge(&bench);
    bench.disk.cut();
    drop(bench.store);
    bench.disk.restart(&mut Rng::with_seed(0));
    judge(&Bench::on(bench.disk, tuning()));
}

#[test]
fn jobs_of_the_log_endure_a_disk_that_does_not_take_them_over() {
    for kind in [Kind::Write, Kind::Length, Kind::Sync, Kind::Read] {
        for after in 0..8 {
            for for_ever in [false, true] {
                for how in [How::Error, How::Full, How::Panic] {
                    if how != How::Panic || matches!(kind, Kind::Write | Kind::Sync) {
                        take_over(Fault {
                            kind,
                            after,
                            for_ever,
                            how,
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn a_push_that_failed_is_not_known_and_a_copy_of_what_was_delivered_is() {
    let bench = Bench::on(Disk::default(), tuning());
    bench.disk.fail(Fault {
        kind: Kind::Write,
        after: 0,
        for_ever: true,
        how: How::Full,
    });
    let probe = |n| bench.store.probe(bench.shelf, &keys(n), bench.clock.now());
    assert_eq!(bench.push(bench.job(1)), Err(StoreError::Unavailable));
    assert_eq!(probe(1), Probe::Unavailable);
    let copy = NewJob {
        state: NewState::Delivered,
        ..bench.job(2)
    };
    assert_eq!(bench.push(copy), Err(StoreError::Unavailable));
    assert_eq!(probe(2), Probe::Known(BOTH));
    bench.disk.heal();
    bench.until_ready();
    assert_eq!((bench.known(1), bench.known(2)), (false, true));
    bench.push(bench.job(1)).unwrap();
}
