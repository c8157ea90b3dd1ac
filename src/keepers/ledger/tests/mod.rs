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

use super::{Claim, Claimed, Duplicate, Ledger, Look, NotOurs, Patience, READ_TIME, WAITING_MAX};
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::memory::Memory;
use crate::keepers::store::tuning::{Options, Tuning};
use crate::keepers::store::{Keep, Probe, ShelfId, Store};
use crate::words::identity::{Identity, Keys, PartsHasher};
use crate::words::time::{Clock, Timestamp};

use hooked::{Hooked, Hooks};

/// What a claimant is told, and what becomes of claims and of those who wait.
mod claims;
mod hooked;
/// Many at once, and any history held against the plainest ledger.
mod model;
/// Who reads what is asked, how much at one time, and what a panic or a slow disk does to it.
mod reads;
/// A settle that is under way holds nothing but its own claim.
mod under_way;

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
struct Doubtful;

/// A store whose disk hangs on reading for as long as this is locked.
struct Hanging(Arc<Mutex<()>>);

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
        Self::over("doubtful", Arc::new(Hooked::new(Doubtful)), Arc::default())
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
        ask(&self.ledger, self.shelf, keys, patience).await
    }

    /// The claim of an event that is free.
    async fn first(&self, keys: Keys) -> Claim {
        match self.claim(keys, patient()).await {
            Ok(claim) => claim,
            other => panic!("{}: {}", self.name, label(&other)),
        }
    }

    async fn settle(&self, claim: Claim) {
        claim.settle(self.clock.now()).answered().await.unwrap();
    }

    /// What a claimant without any time to wait is told.
    async fn told(&self, keys: Keys) -> &'static str {
        label(&self.claim(keys, hasty()).await)
    }

    /// A claimant in a task of its own.
    fn claimant(&self, keys: Keys, patience: Patience) -> impl Future<Output = Claimed> + 'static {
        let (ledger, shelf) = (Arc::clone(&self.ledger), self.shelf);
        async move { ask(&ledger, shelf, keys, patience).await }
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

/// The answer, be it waited for or not.
async fn ask(ledger: &Arc<Ledger>, shelf: ShelfId, keys: Keys, patience: Patience) -> Claimed {
    match ledger.look(shelf, keys, ledger.clock.now()) {
        Look::Answered(claimed) => claimed,
        Look::Open(open) => ledger.claim(open, patience).await,
    }
}

fn label(claimed: &Claimed) -> &'static str {
    match claimed {
        Ok(_) => "first",
        Err(NotOurs::Duplicate(kind)) => kind.label(),
        Err(NotOurs::InFlight) => "in_flight",
        Err(NotOurs::Unavailable) => "unavailable",
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

impl Hooks for Doubtful {
    fn probe(&self, memory: &Memory, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Probe {
        match memory.probe(shelf, keys, now) {
            Probe::Known(_) | Probe::Absent | Probe::MustRead => Probe::MustRead,
            Probe::Unavailable => Probe::Unavailable,
        }
    }
}

impl Hooks for Hanging {
    fn probe(&self, _: &Memory, _: ShelfId, _: &Keys, _: Timestamp) -> Probe {
        Probe::MustRead
    }

    fn reads(&self, _: &[(ShelfId, Keys)]) {
        drop(self.0.lock());
    }
}
