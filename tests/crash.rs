//! The store against power cuts and failing disks.
//!
//! A power cut keeps any part of what was not synced. Whatever the store said was settled must be known
//! afterwards, and it must open. The two controls break what the promise stands on and expect the check to
//! notice: a check that cannot fail proves nothing.
//!
//! `PASSGATE_CRASH_RUNS` sets the number of histories, `PASSGATE_CRASH_SEED` repeats one.

// Clippy knows tests by their attribute and takes their helpers for production code.
#![allow(clippy::unwrap_used)]

/// A store on a disk that fails.
#[path = "crash/bench.rs"]
mod bench;
/// What settles beside a commit.
#[path = "crash/beside.rs"]
mod beside;
/// One history of jobs, and a power cut before each of its operations.
#[path = "crash/cuts.rs"]
mod cuts;
/// The disk that all of this happens on.
#[path = "crash/disk.rs"]
mod disk;
/// Errors, full disks, panics and hangs, with the power on.
#[path = "crash/faults.rs"]
mod faults;
/// Random histories with power cuts.
#[path = "crash/life.rs"]
mod life;
/// When the disk loses its power, and a disk that lies.
#[path = "crash/power.rs"]
mod power;

/// Random histories of jobs with power cuts.
#[path = "crash/queue.rs"]
mod queue;
/// Jobs on disks that fail with the power on.
#[path = "crash/queue_faults.rs"]
mod queue_faults;

use std::panic::catch_unwind;

use disk::Disk;
use life::{Ack, Broken, Lived, live};

#[test]
fn what_was_acked_survives_every_power_cut() {
    let runs = number("PASSGATE_CRASH_RUNS").unwrap_or(200);
    let seeds = match number("PASSGATE_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    };
    let alone = number("PASSGATE_CRASH_SEED").is_some();
    let (mut acked, mut merged) = (0, 0);
    for seed in seeds {
        let two_phase = seed % 4 == 3;
        let lived = catch_unwind(|| live(seed, Disk::default(), Ack::WhenDone, two_phase));
        match lived {
            Ok(Ok(lived)) => {
                acked += lived.acked;
                merged += u64::from(lived.runs > 0);
            }
            Ok(Err(broken)) => panic!("{broken:?}: PASSGATE_CRASH_SEED={seed}"),
            Err(_) => panic!("panicked: PASSGATE_CRASH_SEED={seed}"),
        }
    }
    assert!(
        alone || (acked > 0 && merged > 0),
        "the histories were too short to tell"
    );
}

#[test]
fn every_job_that_was_acked_survives_every_power_cut() {
    let runs = number("PASSGATE_CRASH_RUNS").unwrap_or(200);
    let seeds = match number("PASSGATE_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    };
    let alone = number("PASSGATE_CRASH_SEED").is_some();
    let (mut acked, mut changed) = (0, 0);
    for seed in seeds {
        match catch_unwind(|| queue::live(seed, Disk::default(), Ack::WhenDone)) {
            Ok(Ok(lived)) => {
                acked += lived.acked;
                changed += lived.changed;
            }
            Ok(Err(broken)) => panic!("{broken:?}: PASSGATE_CRASH_SEED={seed}"),
            Err(_) => panic!("panicked: PASSGATE_CRASH_SEED={seed}"),
        }
    }
    assert!(
        alone || (acked > 0 && changed > 0),
        "the histories were too short to tell"
    );
}

#[test]
fn what_settles_beside_a_commit_survives_every_power_cut() {
    let runs = number("PASSGATE_CRASH_RUNS").unwrap_or(200);
    let mut all = 0;
    for seed in 0..runs {
        let (beside, lost) = beside::live(seed, &Disk::default());
        assert_eq!(lost, 0, "seed {seed}");
        all += beside;
    }
    assert!(all > 0, "nothing was settled beside a commit");
    assert!(
        (0..20).any(|seed| {
            let lived = catch_unwind(|| beside::live(seed, &Disk::lying()));
            matches!(lived, Ok((_, 1..)))
        }),
        "a disk that lies goes unnoticed"
    );
}

#[test]
fn jobs_survive_a_power_cut_before_every_operation() {
    // What is left of the unsynced writes differs by the seed.
    cuts::cut_everywhere(0..1 + number("PASSGATE_CRASH_RUNS").unwrap_or(0) / 200);
}

#[test]
fn the_power_cut_test_of_jobs_sees_a_missing_sync_and_an_early_ack() {
    let lost = |lived| matches!(lived, Ok(Err(queue::Broken::Lost(_))));
    for (disk, ack) in [
        (Disk::lying as fn() -> Disk, Ack::WhenDone),
        (Disk::default, Ack::WhenQueued),
    ] {
        assert!((0..20).any(|seed| lost(catch_unwind(|| queue::live(seed, disk(), ack)))));
    }
}

#[test]
fn a_seed_repeats_its_history() {
    for seed in 0..10 {
        let lived = || live(seed, Disk::default(), Ack::WhenDone, false);
        assert_eq!(lived(), lived(), "seed {seed}");
    }
}

#[test]
fn the_power_cut_test_sees_a_missing_sync() {
    let found = |seed| live(seed, Disk::lying(), Ack::WhenDone, false);
    assert!(finds_lost_keys(found));
}

#[test]
fn the_power_cut_test_sees_an_early_ack() {
    let found = |seed| live(seed, Disk::default(), Ack::WhenQueued, false);
    assert!(finds_lost_keys(found));
}

/// Whether a few histories suffice to find a lost key. A disk that lies can also make redb itself panic.
fn finds_lost_keys(
    found: impl Fn(u64) -> Result<Lived, Broken> + std::panic::RefUnwindSafe,
) -> bool {
    (0..20).any(|seed| matches!(catch_unwind(|| found(seed)), Ok(Err(Broken::Lost(_)))))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
