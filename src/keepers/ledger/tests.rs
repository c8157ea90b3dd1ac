//! The ledger's contract, over every store it can stand on.
//!
//! Time is a clock moved by hand, and whoever waits is waited for by looking at the ledger's own count, so
//! nothing here sleeps to let something happen.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::Barrier;
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;

use super::{Claim, Claimed, Duplicate, Ledger, Patience, READ_TIME, WAITING_MAX};
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::memory::Memory;
use crate::keepers::store::tuning::{Options, Tuning};
use crate::keepers::store::{
    Done, Found, Health, Keep, Probe, ShelfId, Statistics, Store, StoreError,
};
use crate::words::identity::{Identity, Keys, PartsHasher};
use crate::words::time::{Clock, Timestamp};

/// A ledger to try, and what it stands on.
struct Bench {
    name: &'static str,
    clock: Arc<HandClock>,
    ledger: Arc<Ledger>,
    shelf: ShelfId,
    _folder: Option<tempfile::TempDir>,
}

#[derive(Default)]
struct HandClock(AtomicU64);

/// A store whose memory never knows for certain, so that every claim has to read.
struct Doubtful(Memory);

/// A store whose disk hangs on reading for as long as `held` is locked.
struct Hanging {
    memory: Memory,
    held: Arc<Mutex<()>>,
}

const REMEMBER: Duration = Duration::from_secs(7 * 24 * 3600);
const KEEP: Keep = Keep {
    remember: REMEMBER,
    max_keys: None,
};
const HOUR: Duration = Duration::from_secs(3600);

// === impl Bench ===

impl Bench {
    fn over(name: &'static str, store: Arc<dyn Store>, clock: Arc<HandClock>) -> Self {
        let ledger = Ledger::new(store, clock.clone());
        let shelf = ledger.shelf("route", KEEP).unwrap();
        Self {
            name,
            clock,
            ledger,
            shelf,
            _folder: None,
        }
    }

    fn memory() -> Self {
        Self::over("memory", Arc::new(Memory::new()), Arc::default())
    }

    fn doubtful() -> Self {
        Self::over(
            "doubtful",
            Arc::new(Doubtful(Memory::new())),
            Arc::default(),
        )
    }

    /// Small enough that keys leave the journal, so that claims meet filters and reads.
    fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<HandClock> = Arc::default();
        let store = Embedded::open(Options {
            path: folder.path().join("ledger.redb"),
            clock: clock.clone(),
            tuning: Tuning {
                journal_keys_max: 32,
                ..Tuning::default()
            },
            on_commit: None,
        });
        let mut bench = Self::over("embedded", Arc::new(store.unwrap()), clock);
        bench._folder = Some(folder);
        bench
    }

    fn each() -> [Self; 3] {
        [Self::memory(), Self::doubtful(), Self::embedded()]
    }

    async fn claim(&self, keys: Keys, patience: Patience) -> Claimed {
        self.ledger.claim(self.shelf, keys, patience).await
    }

    /// The claim of an event that is free.
    async fn first(&self, keys: Keys) -> Claim {
        match self.claim(keys, patient()).await {
            Claimed::First(claim) => claim,
            other => panic!("{}: {}", self.name, label(&other)),
        }
    }

    async fn settle(&self, claim: Claim) {
        claim.settle(self.clock.now()).synced(HOUR).await.unwrap();
    }

    /// What a claimant without any time to wait is told.
    async fn told(&self, keys: Keys) -> &'static str {
        label(&self.claim(keys, hasty()).await)
    }

    /// A claimant in a task of its own.
    fn claimant(&self, keys: Keys, patience: Patience) -> impl Future<Output = Claimed> + 'static {
        let (ledger, shelf) = (Arc::clone(&self.ledger), self.shelf);
        async move { ledger.claim(shelf, keys, patience).await }
    }

    /// Until everything that was settled so far is written; settles are committed in their order.
    async fn written(&self, place: usize) {
        let other = self.ledger.shelf("other", KEEP).unwrap();
        let content = PartsHasher::new("behind").part(&place.to_le_bytes()).key();
        let (done, told) = tokio::sync::oneshot::channel();
        let done = Box::new(move |result| done.send(result).unwrap());
        let keys = Keys { content, id: None };
        let store = self.ledger.store();
        store.settle(other, keys, self.clock.now(), done);
        told.await.unwrap().unwrap();
    }

    /// Until so many wait for somebody else's claim to end.
    async fn waiting(&self, count: usize) {
        while self.ledger.waiting.load(Ordering::SeqCst) != count {
            yield_now().await;
        }
    }
}

fn label(claimed: &Claimed) -> &'static str {
    match claimed {
        Claimed::First(_) => "first",
        Claimed::Duplicate(kind) => kind.label(),
        Claimed::InFlight => "in_flight",
        Claimed::Unavailable => "unavailable",
    }
}

/// Time to wait and to work.
fn patient() -> Patience {
    Patience {
        until: Instant::now() + HOUR,
        work: Duration::from_secs(1),
    }
}

/// Time to wait, but not to work afterwards.
fn without_time_to_work() -> Patience {
    Patience {
        until: Instant::now() + HOUR,
        work: 2 * HOUR,
    }
}

/// Not even time to wait.
fn hasty() -> Patience {
    Patience {
        until: Instant::now(),
        work: Duration::ZERO,
    }
}

/// The keys of an event that says `facts`, written as `content`, delivered under `id`.
fn keys(content: u8, facts: u8, id: Option<&str>) -> Keys {
    let identity = Identity {
        content: [content; 32],
        delivery_id: id.map(Into::into),
        facts: Some([facts; 32]),
        id_counts: false,
    };
    Keys::new("route", &identity, false)
}

fn plain(n: u8) -> Keys {
    keys(n, n, Some(&format!("d{n}")))
}

// === claims and those who wait ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_claimants_at_once_one_is_first_and_the_others_share_its_end() {
    for bench in Bench::each() {
        let barrier = Arc::new(Barrier::new(64));
        let mut claimants = JoinSet::new();
        for _ in 0..64 {
            let (barrier, claimant) = (Arc::clone(&barrier), bench.claimant(plain(1), patient()));
            claimants.spawn(async move {
                barrier.wait().await;
                claimant.await
            });
        }
        let Some(Ok(Claimed::First(claim))) = claimants.join_next().await else {
            panic!(
                "{}: somebody was answered before the first was done",
                bench.name
            );
        };
        bench.waiting(63).await;
        assert!(claimants.try_join_next().is_none(), "{}", bench.name);
        bench.settle(claim).await;
        while let Some(claimed) = claimants.join_next().await {
            assert_eq!(label(&claimed.unwrap()), "duplicate", "{}", bench.name);
        }
        assert_eq!(bench.ledger.in_flight(), 0, "{}", bench.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_claim_is_taken_over_by_exactly_one_of_those_who_wait() {
    for bench in Bench::each() {
        let mut claim = bench.first(plain(1)).await;
        let mut claimants = JoinSet::new();
        for _ in 0..16 {
            claimants.spawn(bench.claimant(plain(1), patient()));
        }
        for left in (0..16).rev() {
            bench.waiting(left + 1).await;
            drop(claim);
            let taken = claimants.join_next().await.unwrap().unwrap();
            let Claimed::First(taken) = taken else {
                panic!("{}: {}", bench.name, label(&taken));
            };
            claim = taken;
            bench.waiting(left).await;
            assert!(claimants.try_join_next().is_none(), "{}", bench.name);
        }
        drop(claim);
        assert_eq!(bench.ledger.in_flight(), 0, "{}", bench.name);
    }
}

#[tokio::test]
async fn who_waited_and_has_no_time_for_the_work_takes_nothing_over_and_leaves_the_event_free() {
    for bench in Bench::each() {
        let claim = bench.first(plain(1)).await;
        let waiter = tokio::spawn(bench.claimant(plain(1), without_time_to_work()));
        bench.waiting(1).await;
        drop(claim);
        assert_eq!(label(&waiter.await.unwrap()), "in_flight", "{}", bench.name);
        assert_eq!(bench.told(plain(1)).await, "first", "{}", bench.name);
    }
}

#[tokio::test]
async fn who_runs_out_of_time_is_sent_away_and_the_owner_keeps_its_claim() {
    for bench in Bench::each() {
        let claim = bench.first(plain(1)).await;
        assert_eq!(bench.told(plain(1)).await, "in_flight", "{}", bench.name);
        assert_eq!(bench.ledger.waiting.load(Ordering::SeqCst), 0);
        bench.settle(claim).await;
        assert_eq!(bench.told(plain(1)).await, "duplicate", "{}", bench.name);
    }
}

#[tokio::test]
async fn a_panic_of_the_owner_releases_its_claim() {
    for bench in Bench::each() {
        let owner = bench.claimant(plain(1), patient());
        let owner = tokio::spawn(async move {
            let Claimed::First(_claim) = owner.await else {
                return;
            };
            std::panic::resume_unwind(Box::new("the owner's own trouble"));
        });
        assert!(owner.await.unwrap_err().is_panic());
        assert_eq!(bench.told(plain(1)).await, "first", "{}", bench.name);
    }
}

#[tokio::test]
async fn an_aborted_owner_releases_its_claim_to_whoever_waits() {
    for bench in Bench::each() {
        let owner = bench.claimant(plain(1), patient());
        let (owns, owned) = tokio::sync::oneshot::channel();
        let owner = tokio::spawn(async move {
            let _claim = owner.await;
            let _ = owns.send(());
            std::future::pending::<()>().await;
        });
        owned.await.unwrap();
        let waiter = tokio::spawn(bench.claimant(plain(1), patient()));
        bench.waiting(1).await;
        owner.abort();
        assert_eq!(label(&waiter.await.unwrap()), "first", "{}", bench.name);
    }
}

#[tokio::test]
async fn nobody_can_cancel_a_settle() {
    for bench in Bench::each() {
        // Neither who drops it …
        drop(bench.first(plain(1)).await.settle(bench.clock.now()));
        // … nor who is aborted while waiting for it …
        let settling = bench.first(plain(2)).await.settle(bench.clock.now());
        let waiter = tokio::spawn(settling.synced(HOUR));
        waiter.abort();
        let _ = waiter.await;
        // … nor who gives up.
        let settling = bench.first(plain(3)).await.settle(bench.clock.now());
        let _ = settling.synced(Duration::ZERO).await;
        for n in 1..=3 {
            let again = bench.claim(plain(n), patient()).await;
            assert_eq!(label(&again), "duplicate", "{}: {n}", bench.name);
        }
        assert_eq!(bench.ledger.in_flight(), 0, "{}", bench.name);
    }
}

#[tokio::test]
async fn of_those_who_wait_no_more_than_the_bound_are_kept_waiting() {
    let bench = Bench::memory();
    let claim = bench.first(plain(1)).await;
    let mut claimants = JoinSet::new();
    for _ in 0..WAITING_MAX {
        claimants.spawn(bench.claimant(plain(1), patient()));
    }
    bench.waiting(WAITING_MAX).await;
    let beyond = bench.claim(plain(1), patient()).await;
    assert_eq!(label(&beyond), "in_flight");
    // The bound is on waiting: an event that nobody is at needs no place.
    drop(bench.first(plain(2)).await);
    bench.settle(claim).await;
    while let Some(claimed) = claimants.join_next().await {
        assert_eq!(label(&claimed.unwrap()), "duplicate");
    }
    assert_eq!(bench.ledger.waiting.load(Ordering::SeqCst), 0);
}

// === what is the same event ===

#[tokio::test]
async fn the_keys_decide_what_is_the_same_event() {
    use Duplicate::{Content, Retry};
    let known = keys(1, 1, Some("d1"));
    let table = [
        ("the same again", known, Some(Retry)),
        (
            "its content under another id",
            keys(1, 1, Some("d2")),
            Some(Content),
        ),
        ("its content without an id", keys(1, 1, None), Some(Retry)),
        (
            "its id and facts, serialised anew",
            keys(2, 1, Some("d1")),
            Some(Retry),
        ),
        ("its id on another event", keys(3, 3, Some("d1")), None),
        (
            "another event under another id",
            keys(4, 4, Some("d4")),
            None,
        ),
        ("another event without an id", keys(5, 5, None), None),
    ];
    for bench in Bench::each() {
        let claim = bench.first(known).await;
        bench.settle(claim).await;
        for (what, keys, expected) in table {
            let expected = expected.map_or("first", Duplicate::label);
            let context = format!("{}: {what}", bench.name);
            assert_eq!(bench.told(keys).await, expected, "{context}");
        }
    }
}

#[tokio::test]
async fn either_key_of_an_event_in_flight_keeps_others_waiting() {
    for bench in Bench::each() {
        let claim = bench.first(keys(1, 1, Some("d1"))).await;
        for (what, keys) in [
            ("its content under another id", keys(1, 1, Some("d2"))),
            ("its id and facts, serialised anew", keys(2, 1, Some("d1"))),
        ] {
            assert_eq!(
                bench.told(keys).await,
                "in_flight",
                "{}: {what}",
                bench.name
            );
        }
        assert_eq!(
            bench.told(keys(3, 3, Some("d1"))).await,
            "first",
            "{}",
            bench.name
        );
        bench.settle(claim).await;
    }
}

#[tokio::test]
async fn an_event_serialised_anew_is_known_by_its_new_content_too() {
    for bench in Bench::each() {
        let claim = bench.first(keys(1, 1, Some("d1"))).await;
        bench.settle(claim).await;
        assert_eq!(
            bench.told(keys(2, 1, Some("d1"))).await,
            "duplicate",
            "{}",
            bench.name
        );
        bench.written(0).await;
        // Whoever captured that second writing cannot play it under an id of his own.
        let played = bench.told(keys(2, 1, Some("forged"))).await;
        assert_eq!(played, "duplicate_content", "{}", bench.name);
    }
}

#[tokio::test]
async fn shelves_know_nothing_of_each_other() {
    for bench in Bench::each() {
        let claim = bench.first(plain(1)).await;
        let other = bench.ledger.shelf("other", KEEP).unwrap();
        let in_flight_there = bench.ledger.claim(other, plain(1), hasty()).await;
        assert_eq!(label(&in_flight_there), "first", "{}", bench.name);
        drop(in_flight_there);
        bench.settle(claim).await;
        let settled_here = bench.ledger.claim(other, plain(1), hasty()).await;
        assert_eq!(label(&settled_here), "first", "{}", bench.name);
    }
}

#[tokio::test]
async fn an_event_is_forgotten_when_its_time_is_over_and_not_before() {
    for bench in Bench::each() {
        let claim = bench.first(plain(1)).await;
        bench.settle(claim).await;
        bench.clock.advance(REMEMBER - Duration::from_secs(1));
        assert_eq!(bench.told(plain(1)).await, "duplicate", "{}", bench.name);
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.told(plain(1)).await, "first", "{}", bench.name);
    }
}

#[tokio::test]
async fn an_id_that_came_with_other_content_is_told_and_never_decides() {
    let bench = Bench::memory();
    let note = |id: &str, content: u8| {
        let content = keys(content, 0, None).content;
        bench.ledger.is_id_conflict(bench.shelf, id, content)
    };
    let noted = [
        note("a", 1),
        note("a", 1),
        note("a", 2),
        note("a", 2),
        note("b", 1),
    ];
    assert_eq!(noted, [false, false, true, false, false]);
}

// === a store in trouble ===

#[tokio::test]
async fn without_its_store_the_ledger_is_unavailable_and_holds_nothing() {
    for bench in Bench::each() {
        bench.ledger.store().close();
        assert_eq!(bench.told(plain(1)).await, "unavailable", "{}", bench.name);
        assert_eq!(bench.ledger.in_flight(), 0, "{}", bench.name);
    }
}

// The lock is what hangs; nobody else on this thread takes it.
#[allow(clippy::await_holding_lock)]
#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_ends_as_unavailable_and_holds_nothing() {
    let held = Arc::new(Mutex::new(()));
    let store = Hanging {
        memory: Memory::new(),
        held: Arc::clone(&held),
    };
    let bench = Bench::over("hanging", Arc::new(store), Arc::default());
    let disk = held.lock().unwrap();
    let claimant = tokio::spawn(bench.claimant(plain(1), patient()));
    while bench.ledger.in_flight() == 0 {
        yield_now().await;
    }
    tokio::time::advance(READ_TIME + Duration::from_secs(1)).await;
    // Its timer went off; it only has to be run.
    for _ in 0..1_000 {
        yield_now().await;
    }
    assert!(claimant.is_finished());
    drop(disk);
    assert_eq!(label(&claimant.await.unwrap()), "unavailable");
    assert_eq!(bench.ledger.in_flight(), 0);
    drop(bench.first(plain(1)).await);
}

// === everything at once ===

/// However claims, settles and releases of a few events meet, no event is ever worked on twice at a time
/// or again after it was settled. The ledger looks into the store only after nobody holds the event, and
/// an end takes it off the map only once the store shows it; either the other way round fails here.
#[test]
fn under_many_threads_no_event_is_first_twice_at_a_time_or_after_it_was_settled() {
    const EVENTS: usize = 12;
    const THREADS: usize = 8;
    for (bench, rounds) in Bench::each().into_iter().zip([60, 30, 6]) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()
            .unwrap();
        for round in 0..rounds {
            let settled: Arc<[AtomicBool; EVENTS]> = Arc::default();
            let at_work: Arc<[AtomicUsize; EVENTS]> = Arc::default();
            let event_keys = |event: usize| {
                let name = format!("{round}.{event}");
                let identity = Identity {
                    content: PartsHasher::new("stress").part(name.as_bytes()).digest(),
                    delivery_id: Some(name.into()),
                    facts: Some([0; 32]),
                    id_counts: false,
                };
                Keys::new("route", &identity, false)
            };
            let events: [Keys; EVENTS] = std::array::from_fn(event_keys);
            runtime.block_on(async {
                let mut threads = JoinSet::new();
                for thread in 0..THREADS {
                    let (ledger, shelf) = (Arc::clone(&bench.ledger), bench.shelf);
                    let (settled, at_work) = (Arc::clone(&settled), Arc::clone(&at_work));
                    let now = bench.clock.now();
                    threads.spawn(async move {
                        for step in 0..EVENTS * 4 {
                            let event = (step * 5 + thread) % EVENTS;
                            let claimed = ledger.claim(shelf, events[event], patient()).await;
                            let Claimed::First(claim) = claimed else {
                                assert!(
                                    settled[event].load(Ordering::SeqCst),
                                    "a duplicate of nothing"
                                );
                                continue;
                            };
                            assert!(!settled[event].load(Ordering::SeqCst), "first again");
                            assert_eq!(at_work[event].fetch_add(1, Ordering::SeqCst), 0);
                            if step % 3 == 0 {
                                yield_now().await;
                            }
                            at_work[event].fetch_sub(1, Ordering::SeqCst);
                            if fastrand::u8(..) < 100 {
                                settled[event].store(true, Ordering::SeqCst);
                                let settling = claim.settle(now);
                                if fastrand::bool() {
                                    settling.synced(HOUR).await.unwrap();
                                }
                            }
                        }
                    });
                }
                while let Some(done) = threads.join_next().await {
                    done.unwrap();
                }
            });
        }
    }
}

/// A step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody without time to wait asks for this event.
    Claim {
        content: u8,
        facts: u8,
        id: u8,
    },
    /// The owner of the claim at this place ends it.
    Settle(prop::sample::Index),
    Release(prop::sample::Index),
    /// Time passes.
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0u8..4, 0u8..2, 0u8..3).prop_map(|(content, facts, id)| Step::Claim { content, facts, id }),
        3 => any::<prop::sample::Index>().prop_map(Step::Settle),
        1 => any::<prop::sample::Index>().prop_map(Step::Release),
        1 => (1u32..500_000).prop_map(Step::Pass),
    ]
}

/// The plainest ledger: who holds what, and which key was settled when.
#[derive(Default)]
struct Model {
    held: Vec<Keys>,
    settled: std::collections::HashMap<[u8; 16], u64>,
}

impl Model {
    fn claim(&mut self, keys: Keys, now: u64) -> &'static str {
        let taken = |held: &Keys| held.iter().any(|key| keys.iter().any(|other| other == key));
        if self.held.iter().any(taken) {
            return "in_flight";
        }
        let lives = |key: &[u8; 16]| {
            let settled = self.settled.get(key);
            settled.is_some_and(|at| now < at + REMEMBER.as_secs())
        };
        let content = lives(keys.content.as_bytes());
        match (content, keys.id.map(|id| lives(id.as_bytes()))) {
            (false, None | Some(false)) => {
                self.held.push(keys);
                "first"
            }
            (true, Some(false)) => "duplicate_content",
            (true, None | Some(true)) => "duplicate",
            (false, Some(true)) => {
                self.settled.insert(*keys.content.as_bytes(), now);
                "duplicate"
            }
        }
    }

    fn settle(&mut self, place: usize, now: u64) {
        for key in self.held.remove(place).iter() {
            self.settled.insert(*key.as_bytes(), now);
        }
    }
}

/// Lives a history in the ledger and in the model, and holds one against the other at each step.
fn live(bench: &Bench, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut model = Model::default();
    let mut claims: Vec<Claim> = Vec::new();
    runtime.block_on(async {
        for (place, step) in steps.iter().enumerate() {
            let now = u64::try_from(bench.clock.now().as_secs()).unwrap();
            match step {
                Step::Claim { content, facts, id } => {
                    let id = ["a", "b"].get(usize::from(*id)).copied();
                    // The content says the facts, so other facts are other content.
                    let keys = keys(content * 2 + facts, *facts, id);
                    let claimed = bench.claim(keys, hasty()).await;
                    let context = format!("{}: step {place} of {steps:?}", bench.name);
                    assert_eq!(label(&claimed), model.claim(keys, now), "{context}");
                    if let Claimed::First(claim) = claimed {
                        claims.push(claim);
                    } else {
                        bench.written(place).await;
                    }
                }
                Step::Settle(index) if !claims.is_empty() => {
                    let place = index.index(claims.len());
                    bench.settle(claims.remove(place)).await;
                    model.settle(place, now);
                }
                Step::Release(index) if !claims.is_empty() => {
                    let place = index.index(claims.len());
                    drop(claims.remove(place));
                    model.held.remove(place);
                }
                Step::Settle(_) | Step::Release(_) => {}
                Step::Pass(secs) => bench.clock.advance(Duration::from_secs(u64::from(*secs))),
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_history_of_claims_is_as_the_plainest_ledger_says(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        live(&Bench::memory(), &steps);
        live(&Bench::doubtful(), &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_history_over_a_file_is_as_the_plainest_ledger_says(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        live(&Bench::embedded(), &steps);
    }
}

// === the stores and the clock ===

impl HandClock {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_800_000_000).after(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl Store for Doubtful {
    fn shelf(&self, route: &str, keep: Keep) -> Result<ShelfId, StoreError> {
        self.0.shelf(route, keep)
    }

    fn probe(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Probe {
        match self.0.probe(shelf, keys, now) {
            Probe::Known(_) | Probe::Absent | Probe::MustRead => Probe::MustRead,
            Probe::Unavailable => Probe::Unavailable,
        }
    }

    fn look_up(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Result<Found, StoreError> {
        self.0.look_up(shelf, keys, now)
    }

    fn settle(&self, shelf: ShelfId, keys: Keys, at: Timestamp, done: Done) {
        self.0.settle(shelf, keys, at, done);
    }

    fn health(&self) -> Health {
        self.0.health()
    }

    fn statistics(&self) -> Statistics {
        self.0.statistics()
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Store for Hanging {
    fn shelf(&self, route: &str, keep: Keep) -> Result<ShelfId, StoreError> {
        self.memory.shelf(route, keep)
    }

    fn probe(&self, _: ShelfId, _: &Keys, _: Timestamp) -> Probe {
        Probe::MustRead
    }

    fn look_up(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Result<Found, StoreError> {
        drop(self.held.lock());
        self.memory.look_up(shelf, keys, now)
    }

    fn settle(&self, shelf: ShelfId, keys: Keys, at: Timestamp, done: Done) {
        self.memory.settle(shelf, keys, at, done);
    }

    fn health(&self) -> Health {
        self.memory.health()
    }

    fn statistics(&self) -> Statistics {
        self.memory.statistics()
    }

    fn close(&self) {
        self.memory.close();
    }
}

/// A settle that is under way holds nothing but its own claim.
mod under_way {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::time::Instant;

    use crate::keepers::ledger::{Claimed, Ledger, Patience};
    use crate::keepers::store::memory::Memory;
    use crate::keepers::store::{Done, Health, Statistics};
    use crate::keepers::store::{Found, Keep, Probe, ShelfId, Store, StoreError};
    use crate::words::identity::{Key, Keys};
    use crate::words::time::SystemClock;
    use crate::words::time::Timestamp;

    /// A store whose settles stay under way until somebody ends them.
    #[derive(Default)]
    struct Slow {
        memory: Memory,
        under_way: Arc<Mutex<Vec<Done>>>,
    }

    impl Store for Slow {
        fn shelf(&self, route: &str, keep: Keep) -> Result<ShelfId, StoreError> {
            self.memory.shelf(route, keep)
        }
        fn probe(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Probe {
            self.memory.probe(shelf, keys, now)
        }
        fn look_up(
            &self,
            shelf: ShelfId,
            keys: &Keys,
            now: Timestamp,
        ) -> Result<Found, StoreError> {
            self.memory.look_up(shelf, keys, now)
        }
        fn settle(&self, _: ShelfId, _: Keys, _: Timestamp, done: Done) {
            self.under_way.lock().unwrap().push(done);
        }
        fn health(&self) -> Health {
            self.memory.health()
        }
        fn statistics(&self) -> Statistics {
            self.memory.statistics()
        }
        fn close(&self) {
            self.memory.close();
        }
    }

    /// Regression: the writer of a store held the last handle to its store by a settle under way, closed
    /// it, and panicked when it was to join itself.
    #[tokio::test]
    async fn a_settle_that_is_under_way_does_not_keep_its_store() {
        let store = Arc::new(Slow::default());
        let under_way = Arc::clone(&store.under_way);
        let left = Arc::downgrade(&store);
        let ledger = Ledger::new(store, Arc::new(SystemClock::new()));
        let keep = Keep {
            remember: Duration::from_secs(60),
            max_keys: None,
        };
        let shelf = ledger.shelf("r", keep).unwrap();
        let keys = Keys {
            content: Key::from_bytes([1; 16]),
            id: None,
        };
        let patience = Patience {
            until: Instant::now(),
            work: Duration::ZERO,
        };
        let Claimed::First(claim) = ledger.claim(shelf, keys, patience).await else {
            panic!("nobody else is there");
        };
        let settling = claim.settle(Timestamp::from_secs(0));
        drop(ledger);
        assert!(left.upgrade().is_none());
        for done in under_way.lock().unwrap().drain(..) {
            done(Ok(()));
        }
        assert_eq!(settling.synced(Duration::from_secs(1)).await, Ok(()));
    }
}
