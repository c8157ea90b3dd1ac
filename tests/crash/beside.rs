//! What settles and is pushed while a transaction is being committed, and a power cut or a fault at any moment of that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::jobs::{
    AttemptRecord, Change, Changed, JobId, NewJob, NewState, Queue, Terms,
};
use passgate::keepers::store::tuning::Tuning;
use passgate::keepers::store::{Health, Probe, ShelfId, Store, StoreError};
use passgate::words::time::Clock;

use crate::bench::{BOTH, Bench};
use crate::disk::{Disk, Fault, Held, How, Kind, niceness};
use crate::life::{KEEP, TestClock, keys, tuning};

impl Disk {
    /// Syncs of the thread that commits beside the writer wait until they are released, and say so.
    fn hold_commits(&self, told: Sender<()>) {
        let only_commits = true;
        self.state().held = Some(Held { told, only_commits });
    }
}

/// How long anything may take; shorter than the disk holds its breath.
const PATIENCE: Duration = Duration::from_secs(20);

type Pushed = Receiver<Result<JobId, StoreError>>;

/// Something of an event that must be there, or may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Settled,
    Stored,
    /// Stored or delivered.
    Known,
    Perhaps,
}

/// Events of one of these need a transaction to be stored.
fn ordered(shelf: ShelfId, clock: &TestClock, n: u64) -> NewJob {
    NewJob {
        shelf,
        keys: keys(n),
        head: Bytes::from(n.to_string()),
        body: Bytes::from(vec![n as u8; 300]),
        order: Some(n % 3),
        at: clock.now(),
        state: NewState::Queued { due: clock.now() },
        attempts: Vec::new(),
    }
}

/// Events of one of these need none.
fn plain(shelf: ShelfId, clock: &TestClock, n: u64) -> NewJob {
    NewJob {
        order: None,
        ..ordered(shelf, clock, n)
    }
}

/// What is told, which is an error where nothing is.
fn heard<T>(told: &Receiver<T>) -> T {
    told.recv_timeout(PATIENCE).expect("it is told")
}

fn push(store: &Embedded, job: NewJob) -> Pushed {
    let (tell, pushed) = channel();
    let done = move |result| tell.send(result).unwrap();
    store.push(job, Box::new(done));
    pushed
}

fn deliver(store: &Embedded, id: JobId, clock: &TestClock) -> Result<Changed, StoreError> {
    let (tell, told) = channel();
    let done = move |result| tell.send(result).unwrap();
    store.change(id, delivered(clock), Box::new(done));
    heard(&told)
}

fn delivered(clock: &TestClock) -> Change {
    Change::Delivered {
        attempt: AttemptRecord {
            number: 1,
            at: clock.now(),
            status: Some(200),
            error: None,
            took: Duration::ZERO,
        },
        keep: false,
    }
}

/// Gives the store a transaction, whose commit is held at its first sync; `None` where the writer commits by itself, and
/// has done so.
fn begin(store: &Embedded, disk: &Disk, job: NewJob) -> (Pushed, bool) {
    let (told, reached) = channel();
    let (tell, pushed) = channel();
    disk.hold_commits(told.clone());
    let done = move |result| {
        tell.send(result).unwrap();
        let _ = told.send(());
    };
    store.push(job, Box::new(done));
    heard(&reached);
    let held = pushed.try_recv();
    let is_held = held.is_err();
    let (again, pushed_already) = channel();
    let Ok(result) = held else {
        return (pushed, is_held);
    };
    again.send(result).unwrap();
    (pushed_already, is_held)
}

/// Lives the life that `seed` stands for; gives back how many events were acked beside a commit, and how many were lost.
pub fn live(seed: u64, disk: &Disk) -> (usize, usize) {
    let clock: Arc<TestClock> = Arc::default();
    let mut rng = Rng::with_seed(seed);
    let mut events: BTreeMap<u64, Event> = BTreeMap::new();
    let (mut beside, mut next) = (0, 0);
    let tuning = Tuning {
        two_phase: seed % 2 == 1,
        ..tuning()
    };
    let open = || {
        let medium = Arc::new(disk.clone());
        Embedded::open_on(medium, clock.clone(), tuning.clone(), None).unwrap()
    };
    for _ in 0..rng.u8(1..4) {
        let store = open();
        let shelf = store.shelf("route", KEEP).unwrap();
        let mut stored: Vec<(u64, JobId)> = Vec::new();
        let settle = |n: u64| {
            let (tell, told) = channel();
            let done = move |result| tell.send(result).unwrap();
            store.settle(shelf, keys(n), clock.now(), Box::new(done));
            told
        };
        for _ in 0..rng.u8(1..12) {
            let mut number = || {
                next += 1;
                next
            };
            let job = number();
            events.insert(job, Event::Perhaps);
            let (pushed, is_held) = begin(&store, disk, ordered(shelf, &clock, job));
            if is_held {
                for _ in 0..rng.u8(0..6) {
                    let n = number();
                    events.insert(n, Event::Perhaps);
                    let acked = match rng.bool() {
                        true => heard(&settle(n)).map(|()| Event::Settled),
                        false => {
                            let pushed = push(&store, plain(shelf, &clock, n));
                            let pushed = heard(&pushed);
                            pushed.map(|id| {
                                stored.push((n, id));
                                Event::Stored
                            })
                        }
                    };
                    if let Ok(event) = acked {
                        events.insert(n, event);
                        beside += 1;
                    }
                }
            }
            match rng.u8(0..6) {
                0 => disk.cut(),
                1 => disk.cut_after(rng.u64(0..12)),
                _ => {}
            }
            disk.release_syncs();
            // So does the end of what was pushed beside it.
            if let Some((n, id)) = stored.pop()
                && rng.bool()
            {
                let is_acked = deliver(&store, id, &clock).is_ok();
                events.insert(
                    n,
                    if is_acked {
                        Event::Settled
                    } else {
                        Event::Known
                    },
                );
            }
            // These race with the end of the commit.
            let racing: Vec<_> = (0..rng.u8(0..4)).map(|_| number()).collect();
            let told: Vec<_> = racing.iter().map(|n| (*n, settle(*n))).collect();
            for (n, told) in told {
                let acked = heard(&told).is_ok();
                events.insert(
                    n,
                    if acked {
                        Event::Settled
                    } else {
                        Event::Perhaps
                    },
                );
            }
            if heard(&pushed).is_ok() {
                events.insert(job, Event::Stored);
            }
            if rng.u8(0..4) == 0 {
                store.tidy();
            }
            if disk.is_cut() {
                break;
            }
        }
        disk.cut();
        drop(store);
        disk.restart(&mut rng);
    }
    let store = open();
    let shelf = store.shelf("route", KEEP).unwrap();
    let is_lost = |(n, event): (&u64, &Event)| {
        let found = store.look_up(shelf, &keys(*n), clock.now()).unwrap();
        assert_eq!(found.content, found.id, "event {n} is known by half");
        let is_stored = store.find(None, keys(*n).content).unwrap().is_some();
        match event {
            Event::Settled => found != BOTH || is_stored,
            Event::Known => found != BOTH,
            Event::Stored => found != BOTH || !is_stored,
            Event::Perhaps => false,
        }
    };
    let lost = events.iter().filter(|event| is_lost(*event)).count();
    assert_eq!(store.statistics().damaged_rows, 0);
    (beside, lost)
}

/// A bench on whose disk a transaction is being committed, twice synced and held at the first, and its push.
fn held(two_phase: bool) -> (Bench, Pushed) {
    let tuning = Tuning {
        two_phase,
        ..tuning()
    };
    let bench = Bench::on(Disk::default(), tuning);
    let ordered = |n| ordered(bench.shelf, &bench.clock, n);
    // The first transaction begins the log.
    let (first, _) = begin(&bench.store, &bench.disk, ordered(1));
    bench.disk.release_syncs();
    heard(&first).unwrap();
    let (pushed, is_held) = begin(&bench.store, &bench.disk, ordered(2));
    assert!(is_held);
    bench.settle(3).unwrap();
    assert_eq!(bench.probe(3), Probe::Known(BOTH));
    (bench, pushed)
}

#[test]
fn what_is_pushed_beside_a_commit_is_there_at_once_and_afterwards() {
    let (bench, pushed) = held(false);
    let beside = push(&bench.store, plain(bench.shelf, &bench.clock, 4));
    let beside = heard(&beside).unwrap();
    assert!(pushed.try_recv().is_err(), "the commit is held");
    let is_there = |store: &Embedded| {
        let due = store.due(bench.shelf, None, None, 10).unwrap();
        let loaded = store.load(&[beside], true).unwrap();
        let body = loaded[0].as_ref().map(|job| job.body.clone());
        due.iter().any(|due| due.id == beside) && body == Some(Some(Bytes::from(vec![4; 300])))
    };
    assert!(is_there(&bench.store));
    let queued = |store: &Embedded| store.counts()[0].queued.jobs;
    assert_eq!(
        queued(&bench.store),
        2,
        "the one that is held is not there yet"
    );
    bench.disk.release_syncs();
    let other = heard(&pushed).unwrap();
    assert!(other < beside, "{other:?} was planned before {beside:?}");
    assert!(is_there(&bench.store));
    assert_eq!(queued(&bench.store), 3);
    // The next transaction takes it over, and one more number goes to each.
    let third = push(&bench.store, ordered(bench.shelf, &bench.clock, 5));
    let third = heard(&third).unwrap();
    assert!(third > beside);
    assert!(is_there(&bench.store));
    let shelf = bench.shelf;
    let later = Bench::reopened(bench);
    assert_eq!(later.shelf, shelf);
    assert_eq!(queued(&later.store), 4);
    assert_eq!(later.store.find(None, keys(4).content), Ok(Some(beside)));
    let gone = deliver(&later.store, beside, &later.clock);
    assert_eq!(gone, Ok(Changed::Done { next: None }));
    assert_eq!(queued(&later.store), 3);
}

#[test]
fn the_number_of_what_was_pushed_beside_a_commit_is_not_given_away_again() {
    let (bench, pushed) = held(false);
    let beside = push(&bench.store, plain(bench.shelf, &bench.clock, 4));
    let beside = heard(&beside).unwrap();
    bench.disk.release_syncs();
    heard(&pushed).unwrap();
    deliver(&bench.store, beside, &bench.clock).unwrap();
    // A transaction that has nothing else to do with jobs empties the log, which alone knew the number.
    bench.store.shelf("another", KEEP).unwrap();
    let later = Bench::reopened(bench);
    let next = push(&later.store, plain(later.shelf, &later.clock, 5));
    assert!(heard(&next).unwrap() > beside);
}

/// The log's room is not for large events alone.
#[test]
fn what_settles_finds_room_beside_large_pushes() {
    let (bench, pushed) = held(false);
    let large = (10..30).map(|n| NewJob {
        body: Bytes::from(vec![7; 200 << 10]),
        ..plain(bench.shelf, &bench.clock, n)
    });
    let told: Vec<_> = large.map(|job| push(&bench.store, job)).collect();
    for n in 100..140 {
        bench.settle(n).unwrap();
    }
    let are_told = told.iter().filter(|told| told.try_recv().is_ok()).count();
    assert!((1..20).contains(&are_told), "{are_told} of them fit");
    bench.disk.release_syncs();
    heard(&pushed).unwrap();
    bench.until(|store| store.counts()[0].queued.jobs == 22);
}

/// What must forget copies to make room needs a transaction, and what is pushed to others does not.
#[test]
fn a_shelf_at_its_bound_holds_back_no_other() {
    let bench = Bench::on(Disk::default(), tuning());
    let other = bench.store.shelf("other", KEEP).unwrap();
    let terms = Terms {
        keep_delivered: Duration::from_secs(60),
        keep_dead: Duration::from_secs(60),
        max_events: 3,
        max_bytes: u64::MAX,
    };
    bench.store.hold(bench.shelf, terms).unwrap();
    for n in 10..14 {
        let copy = NewJob {
            state: NewState::Delivered,
            ..plain(bench.shelf, &bench.clock, n)
        };
        heard(&push(&bench.store, copy)).unwrap();
    }
    let job = ordered(other, &bench.clock, 20);
    let (pushed, is_held) = begin(&bench.store, &bench.disk, job);
    assert!(is_held);
    let at_bound = push(&bench.store, plain(bench.shelf, &bench.clock, 21));
    for n in 22..25 {
        let beside = push(&bench.store, plain(other, &bench.clock, n));
        heard(&beside).unwrap();
    }
    assert!(at_bound.try_recv().is_err());
    bench.disk.release_syncs();
    heard(&pushed).unwrap();
    let id = heard(&at_bound).unwrap();
    assert_eq!(bench.store.find(None, keys(21).content), Ok(Some(id)));
    // Nor where the two wait together.
    let (told, reached) = channel();
    let (tell, pushed) = channel();
    let (tell_other, pushed_other) = channel();
    let settled = together(&bench, 30, || {
        for (shelf, n, tell) in [(bench.shelf, 31, tell), (other, 32, tell_other)] {
            let done = move |result| tell.send(result).unwrap();
            bench
                .store
                .push(plain(shelf, &bench.clock, n), Box::new(done));
        }
        bench.disk.hold_commits(told);
    });
    heard(&settled).unwrap();
    let beside = pushed_other.recv_timeout(PATIENCE);
    assert!(
        matches!(beside, Ok(Ok(_))),
        "while the other's commit is held"
    );
    heard(&reached);
    assert!(pushed.try_recv().is_err(), "its commit is held");
    bench.disk.release_syncs();
    heard(&pushed).unwrap();
    let counts = bench.store.counts();
    let delivered = counts.iter().find(|counts| counts.shelf == bench.shelf);
    assert!(delivered.unwrap().delivered.jobs < 3, "a copy made room");
    assert_eq!(bench.store.statistics().faults, 0);
}

#[test]
fn a_push_goes_ahead_of_what_needs_a_transaction() {
    let (bench, pushed) = held(false);
    bench.disk.release_syncs();
    heard(&pushed).unwrap();
    let (told, reached) = channel();
    let (tell, small) = channel();
    let (tell_other, other) = channel();
    let settled = together(&bench, 10, || {
        let job = plain(bench.shelf, &bench.clock, 11);
        let done = move |result| tell.send(result).unwrap();
        bench.store.push(job, Box::new(done));
        let job = ordered(bench.shelf, &bench.clock, 12);
        let done = move |result| tell_other.send(result).unwrap();
        bench.store.push(job, Box::new(done));
        bench.disk.hold_commits(told);
    });
    heard(&settled).unwrap();
    let small = heard(&small).unwrap();
    heard(&reached);
    assert!(other.try_recv().is_err(), "its commit is held");
    bench.disk.release_syncs();
    assert!(heard(&other).unwrap() > small);
}

#[test]
fn what_nobody_waits_for_is_committed_by_a_thread_that_steps_back() {
    let (bench, pushed) = held(false);
    bench.disk.release_syncs();
    let id = heard(&pushed).unwrap();
    let committed_by = || bench.disk.state().committed_by.clone().unwrap();
    assert_eq!(committed_by(), ("passgate-commit".to_owned(), niceness()));
    deliver(&bench.store, id, &bench.clock).unwrap();
    let steps_back = (niceness() + 5).min(19);
    assert_eq!(committed_by(), ("passgate-ends".to_owned(), steps_back));
}

#[test]
fn what_comes_in_does_not_wait_for_the_results_of_deliveries() {
    let (bench, pushed) = held(false);
    bench.disk.release_syncs();
    let id = heard(&pushed).unwrap();
    let (told, reached) = channel();
    bench.disk.hold_commits(told);
    let (tell, ended) = channel();
    let done = move |result| tell.send(result).unwrap();
    bench
        .store
        .change(id, delivered(&bench.clock), Box::new(done));
    heard(&reached);
    bench.settle(4).unwrap();
    let beside = push(&bench.store, plain(bench.shelf, &bench.clock, 5));
    let beside = heard(&beside).unwrap();
    assert!(ended.try_recv().is_err(), "its commit is held");
    bench.disk.cut();
    bench.disk.release_syncs();
    heard(&ended).unwrap_err();
    bench.disk.restart(&mut Rng::with_seed(1));
    let later = Bench::reopened(bench);
    assert_eq!(later.store.find(None, keys(5).content), Ok(Some(beside)));
    assert_eq!(later.probe(4), Probe::Known(BOTH));
    let queued = later.store.counts()[0].queued.jobs;
    assert_eq!(queued, 3, "it is delivered once more");
}

/// Whoever comes after it would wait for it.
#[test]
fn a_long_transaction_is_not_left_to_a_thread_that_steps_back() {
    let tuning = Tuning {
        commit_ops_max: 1_000,
        ..tuning()
    };
    let bench = Bench::on(Disk::default(), tuning);
    let (tell, told) = channel();
    let ids: Vec<_> = (100..400)
        .map(|n| push(&bench.store, ordered(bench.shelf, &bench.clock, n)))
        .map(|pushed| heard(&pushed).unwrap())
        .collect();
    let settled = together(&bench, 4, || {
        for id in ids {
            let tell = tell.clone();
            let done = move |result: Result<_, _>| tell.send(result).unwrap();
            bench
                .store
                .change(id, delivered(&bench.clock), Box::new(done));
        }
    });
    heard(&settled).unwrap();
    drop(tell);
    assert!(told.iter().all(|ended| ended.is_ok()));
    let committed_by = bench.disk.state().committed_by.clone();
    assert_eq!(
        committed_by,
        Some(("passgate-commit".to_owned(), niceness()))
    );
}

/// In the log it would be taken already, and keep the store down if it cannot be taken over.
#[test]
fn what_the_log_may_not_take_is_pushed_after_the_commit() {
    let (bench, pushed) = held(false);
    bench.disk.state().is_tight = true;
    let later = push(&bench.store, plain(bench.shelf, &bench.clock, 4));
    bench.settle(5).unwrap();
    bench.settle(6).unwrap();
    assert!(later.try_recv().is_err());
    bench.disk.release_syncs();
    heard(&pushed).unwrap();
    let id = heard(&later).unwrap();
    assert_eq!(bench.store.find(None, keys(4).content), Ok(Some(id)));
}

#[test]
fn the_end_of_what_is_pushed_beside_a_commit_comes_after_it() {
    let (bench, pushed) = held(false);
    let beside = push(&bench.store, plain(bench.shelf, &bench.clock, 4));
    let beside = heard(&beside).unwrap();
    let (tell, ended) = channel();
    let done = move |result| tell.send(result).unwrap();
    bench
        .store
        .change(beside, delivered(&bench.clock), Box::new(done));
    bench.settle(5).unwrap();
    assert!(ended.try_recv().is_err());
    bench.disk.release_syncs();
    heard(&pushed).unwrap();
    assert_eq!(heard(&ended), Ok(Changed::Done { next: None }));
    assert_eq!(bench.store.find(None, keys(4).content), Ok(None));
    let later = Bench::reopened(bench);
    assert_eq!(later.store.find(None, keys(4).content), Ok(None));
    assert_eq!(later.probe(4), Probe::Known(BOTH));
}

#[test]
fn what_is_pushed_beside_a_commit_takes_its_place_of_the_shelf() {
    let (bench, pushed) = held(false);
    let push = |n| heard(&push(&bench.store, plain(bench.shelf, &bench.clock, n)));
    let terms = Terms {
        keep_delivered: Duration::ZERO,
        keep_dead: Duration::from_secs(60),
        max_events: 4,
        max_bytes: u64::MAX,
    };
    bench.disk.release_syncs();
    heard(&pushed).unwrap();
    bench.store.hold(bench.shelf, terms).unwrap();
    let (pushed, is_held) = begin(
        &bench.store,
        &bench.disk,
        ordered(bench.shelf, &bench.clock, 4),
    );
    assert!(is_held);
    assert!(push(5).is_ok());
    assert_eq!(push(6), Err(StoreError::ShelfFull));
    bench.disk.release_syncs();
    heard(&pushed).unwrap();
    assert_eq!(push(7), Err(StoreError::ShelfFull), "and not forgotten");
}

#[test]
fn a_log_that_fails_beside_a_commit_takes_nothing_with_it() {
    let (bench, pushed) = held(false);
    bench.disk.fail(Fault {
        kind: Kind::Write,
        after: 0,
        for_ever: false,
        how: How::Error,
    });
    assert_eq!(bench.settle(4), Err(StoreError::Unavailable));
    assert_eq!(bench.probe(4), Probe::Known(BOTH), "the app has it");
    assert_eq!(bench.store.health(), Health::Ready, "until the commit ends");
    bench.disk.release_syncs();
    let id = heard(&pushed).unwrap();
    // Who is answered may be quicker than the fall.
    bench.until(|store| store.statistics().faults == 1);
    bench.until_ready();
    assert_eq!(bench.store.statistics().unwritten, 0);
    let later = Bench::reopened(bench);
    for n in [1, 2, 3, 4] {
        let found = later
            .store
            .look_up(later.shelf, &keys(n), later.clock.now());
        assert_eq!(found, Ok(BOTH), "event {n}");
    }
    assert_eq!(later.store.find(None, keys(2).content), Ok(Some(id)));
}

#[test]
fn a_commit_that_fails_leaves_what_was_written_beside_it() {
    for how in [How::Error, How::Panic] {
        let (bench, pushed) = held(true);
        let beside = push(&bench.store, plain(bench.shelf, &bench.clock, 4));
        let beside = heard(&beside).unwrap();
        bench.disk.fail(Fault {
            kind: Kind::Sync,
            after: 0,
            for_ever: false,
            how,
        });
        bench.disk.release_syncs();
        assert_eq!(heard(&pushed), Err(StoreError::Unavailable));
        bench.until_ready();
        assert_eq!(bench.store.statistics().faults, 1);
        bench.settle(5).unwrap();
        let at = |store: &Embedded| store.find(None, keys(4).content);
        assert_eq!(at(&bench.store), Ok(Some(beside)));
        let later = Bench::reopened(bench);
        assert_eq!(at(&later.store), Ok(Some(beside)));
        for n in [1, 3, 4, 5] {
            let found = later
                .store
                .look_up(later.shelf, &keys(n), later.clock.now());
            assert_eq!(found, Ok(BOTH), "event {n}");
        }
    }
}

#[test]
fn a_store_that_closes_ends_what_it_has_begun() {
    let (bench, pushed) = held(false);
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| bench.store.close());
        bench.disk.release_syncs();
        closing.join().unwrap();
    });
    assert!(heard(&pushed).is_ok());
    let later = Bench::reopened(bench);
    assert_eq!(later.probe(3), Probe::Known(BOTH));
    assert!(matches!(
        later.store.find(None, keys(2).content),
        Ok(Some(_))
    ));
}

/// Gives the store two things that wait together, and hands over what it tells of both.
fn together(bench: &Bench, settled: u64, other: impl FnOnce()) -> Receiver<Result<(), StoreError>> {
    let (go, wait) = channel::<()>();
    let (begun, has_begun) = channel();
    let hold = move |_| {
        begun.send(()).unwrap();
        heard(&wait);
    };
    let (shelf, now) = (bench.shelf, bench.clock.now());
    bench
        .store
        .settle(shelf, keys(1_000 + settled), now, Box::new(hold));
    heard(&has_begun);
    other();
    let (tell, told) = channel();
    let done = move |result| tell.send(result).unwrap();
    bench
        .store
        .settle(shelf, keys(settled), now, Box::new(done));
    go.send(()).unwrap();
    told
}

#[test]
fn what_settles_does_not_wait_for_a_push_that_the_log_has_no_room_for() {
    let bench = Bench::on(Disk::default(), tuning());
    bench.settle(1).unwrap();
    let (held, _reached) = channel();
    bench.disk.hold_commits(held);
    let (tell, pushed) = channel();
    let large = NewJob {
        body: Bytes::from(vec![7; 3 << 20]),
        ..plain(bench.shelf, &bench.clock, 2)
    };
    let done = move |result| tell.send(result).unwrap();
    let settled = together(&bench, 3, || bench.store.push(large, Box::new(done)));
    let settled = settled.recv_timeout(PATIENCE);
    assert_eq!(settled, Ok(Ok(())), "while the commit is held");
    assert!(pushed.try_recv().is_err());
    bench.disk.release_syncs();
    heard(&pushed).unwrap();
}

/// redb panics over a page that cannot be read, here while it is looked whether the log can carry the end of a job.
#[test]
fn a_panic_before_anything_is_written_forgets_nothing() {
    let tuning = Tuning {
        cache_bytes: 0,
        ..tuning()
    };
    let bench = Bench::on(Disk::default(), tuning);
    let id = push(&bench.store, plain(bench.shelf, &bench.clock, 1));
    let id = heard(&id).unwrap();
    bench.store.shelf("a transaction", KEEP).unwrap();
    let change = delivered(&bench.clock);
    let (tell, changed) = channel();
    let settled = together(&bench, 2, || {
        let done = move |result| tell.send(result).unwrap();
        bench.store.change(id, change, Box::new(done));
        bench.disk.fail(Fault {
            kind: Kind::Read,
            after: 0,
            for_ever: false,
            how: How::Panic,
        });
    });
    // They may have been refused.
    let _ = (heard(&settled), heard(&changed));
    assert!(bench.disk.fault_met());
    bench.until_ready();
    assert_eq!(bench.probe(2), Probe::Known(BOTH), "the app has it");
}
