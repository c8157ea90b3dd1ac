//! The ledger answers one question, "may I process this?", and hands out a claim as the answer.
//!
//! What is settled stands in a [`Store`]; what is being processed stands here, in memory, since a claim
//! that outlives its process would block every retry. The ledger never sees a body and never decides what
//! becomes of a duplicate.
//!
//! # Why a claim is a value
//! Only a [`Ledger`] makes one, and it ends in exactly one of three ways: it is settled, or pushed (which stores the
//! event and settles in one commit), and either moves it into the store's writer where no waiter can cancel it; or it
//! is dropped, which releases the event for whoever waits. So a failure, a timeout, a cancelled task and a panic all
//! release, and none of them can leave an event marked as seen that the app never got.

mod conflicts;
mod flights;
mod reads;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::keepers::ledger::conflicts::Conflicts;
use crate::keepers::ledger::flights::{Flight, Flights};
use crate::keepers::ledger::reads::Reads;
use crate::keepers::store::jobs::{JobId, NewJob, Queue};
use crate::keepers::store::pending::Pending;
use crate::keepers::store::{Found, Keep, Probe, ShelfId, Store, StoreError};
use crate::words::identity::{Key, Keys};
use crate::words::time::{Clock, Timestamp};

/// Claims in memory over a durable store of settled events.
pub struct Ledger {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    in_flight: Arc<Flights>,
    waiting: AtomicUsize,
    conflicts: Conflicts,
    reads: Arc<Reads>,
}

/// The right to process one event. Dropping it releases the event.
#[must_use = "a claim that is dropped is released"]
pub struct Claim {
    ledger: Arc<Ledger>,
    shelf: ShelfId,
    keys: Keys,
    is_held: bool,
}

/// What a first look says to "may I process this?".
#[must_use]
pub enum Look {
    /// This.
    Answered(Claimed),
    /// Somebody or something must be waited for, with [`Ledger::claim`].
    Open(Open),
}

/// A question that a look left open. Dropped, it was never asked.
#[must_use]
pub struct Open {
    shelf: ShelfId,
    keys: Keys,
    wait: Wait,
}

/// What a claimant waits for.
enum Wait {
    /// The disk; meanwhile nobody else can claim the event.
    Disk(Claim),
    /// The end of somebody's claim.
    Other(watch::Receiver<()>),
}

/// The answer to "may I process this?": the event is yours, or it is not.
pub type Claimed = Result<Claim, NotOurs>;

/// Why an event is not yours to process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// It is settled.
    Duplicate(Duplicate),
    /// Somebody else is at it, and was not done in time.
    InFlight,
    /// The ledger cannot be asked.
    Unavailable,
}

/// In what way a settled event came again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicate {
    /// Under its own id, or where ids play no part: a retry.
    Retry,
    /// Its content came under another id: a replay attack, or two subscriptions of one endpoint.
    Content,
}

/// How long a claimant may wait for another.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// When an answer must be there.
    pub until: Instant,
    /// What processing takes at the most; with less time left an event is not taken over.
    pub work: Duration,
}

/// Claimants that wait for others at one time; each holds a request. Beyond it they are not made to wait.
pub const WAITING_MAX: usize = 4096;

/// A disk that takes longer for a few pages cannot be relied on; the sender is told to come again.
pub const READ_TIME: Duration = Duration::from_secs(3);

// === impl Ledger ===

impl Ledger {
    /// A ledger over `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            reads: Reads::new(Arc::clone(&store), Arc::clone(&clock)),
            store,
            clock,
            in_flight: Arc::default(),
            waiting: AtomicUsize::new(0),
            conflicts: Conflicts::new(),
        })
    }

    /// The shelf of this name, made if it is new. It may wait for the disk: for the start only.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub fn shelf(&self, name: &str, keep: Keep) -> Result<ShelfId, StoreError> {
        self.store.shelf(name, keep)
    }

    /// The store below, for its health and its figures.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Asks for the right to process the event with these keys, at present, without waiting for anything.
    pub fn look(self: &Arc<Self>, shelf: ShelfId, keys: Keys, now: Timestamp) -> Look {
        let wait = match self.see(shelf, keys, now) {
            Seen::Mine(claim) => return Look::Answered(Ok(claim)),
            Seen::Settled(found) => return Look::Answered(Err(self.duplicate(shelf, keys, found))),
            Seen::Unavailable => return Look::Answered(Err(NotOurs::Unavailable)),
            Seen::Unsure(claim) => Wait::Disk(claim),
            Seen::Taken(end) => Wait::Other(end),
        };
        Look::Open(Open { shelf, keys, wait })
    }

    /// Asks on, where a first look found no answer.
    ///
    /// Whoever is not first waits for the one who is, without holding anything that others need: if that
    /// one settles, this is a duplicate; if it fails, one of those who wait takes over, provided that there
    /// is time for the work.
    pub async fn claim(self: &Arc<Self>, open: Open, patience: Patience) -> Claimed {
        let Open {
            shelf,
            keys,
            mut wait,
        } = open;
        let mut has_waited = false;
        let claimed = loop {
            let end = match wait {
                Wait::Disk(claim) => break self.read(shelf, keys, claim).await,
                Wait::Other(end) => end,
            };
            if !self.wait(end, patience.until).await {
                return Err(NotOurs::InFlight);
            }
            has_waited = true;
            match self.look(shelf, keys, self.clock.now()) {
                Look::Answered(claimed) => break claimed,
                Look::Open(open) => wait = open.wait,
            }
        };
        match claimed {
            Ok(_) if has_waited && !patience.is_enough() => Err(NotOurs::InFlight),
            claimed => claimed,
        }
    }

    /// Whether this delivery id was seen with other content lately; remembers it with this content.
    ///
    /// Best effort, from a memory of fixed size: it is for the operator's eyes and decides nothing.
    pub fn is_id_conflict(&self, shelf: ShelfId, delivery_id: &str, content: Key) -> bool {
        self.conflicts.note(shelf, delivery_id, content)
    }

    /// Events that are being processed right now, by key.
    pub fn in_flight(&self) -> usize {
        self.in_flight.lock().len()
    }

    /// One look under the lock: the store shows a settled key before its flight is taken off the map, so
    /// between the two no event is neither settled nor in flight.
    fn see(self: &Arc<Self>, shelf: ShelfId, keys: Keys, now: Timestamp) -> Seen {
        let mut flights = self.in_flight.lock();
        for key in keys.iter() {
            if let Some(flight) = flights.get_mut(&(shelf, key)) {
                return Seen::Taken(flight.subscribe());
            }
        }
        let probe = self.store.probe(shelf, &keys, now);
        match probe {
            Probe::Known(found) => return Seen::Settled(found),
            Probe::Unavailable => return Seen::Unavailable,
            Probe::Absent | Probe::MustRead => {}
        }
        for key in keys.iter() {
            flights.insert((shelf, key), Flight::default());
        }
        let claim = Claim {
            ledger: Arc::clone(self),
            shelf,
            keys,
            is_held: true,
        };
        match probe {
            Probe::MustRead => Seen::Unsure(claim),
            Probe::Absent | Probe::Known(_) | Probe::Unavailable => Seen::Mine(claim),
        }
    }

    /// The exact answer, from the disk.
    async fn read(&self, shelf: ShelfId, keys: Keys, claim: Claim) -> Claimed {
        let reading = self.reads.look_up(shelf, keys);
        let read = tokio::time::timeout(READ_TIME, reading).await;
        let read = read.unwrap_or(Err(StoreError::Unavailable));
        match read {
            Ok(found) if found.content || found.id => {
                drop(claim);
                Err(self.duplicate(shelf, keys, found))
            }
            Ok(_) => Ok(claim),
            Err(_) => Err(NotOurs::Unavailable),
        }
    }

    /// A duplicate in other words is remembered by them too. Otherwise whoever captured them could have
    /// them delivered once more, under an id of his own.
    fn duplicate(&self, shelf: ShelfId, keys: Keys, found: Found) -> NotOurs {
        if !found.content {
            let words = Keys { id: None, ..keys };
            // Nobody waits for it: the event itself is safe.
            self.store
                .settle(shelf, words, self.clock.now(), Box::new(|_| ()));
        }
        NotOurs::Duplicate(Duplicate::of(keys, found))
    }

    /// Waits for the end of somebody's claim; `false` if it did not come in time or too many wait.
    async fn wait(&self, mut end: watch::Receiver<()>, until: Instant) -> bool {
        struct Place<'a>(&'a AtomicUsize);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let others = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _place = Place(&self.waiting);
        // An error is the sender's end, which is what is waited for; nothing is ever sent.
        others < WAITING_MAX && tokio::time::timeout_at(until, end.changed()).await.is_ok()
    }
}

// === impl Claim ===

impl Claim {
    /// The keys of the claimed event.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Settles the event as of `at`: from here on it is the store's writer that ends the claim, whatever
    /// becomes of the caller.
    pub fn settle(mut self, at: Timestamp) -> Pending<()> {
        self.is_held = false;
        let (done, settling) = Pending::new();
        // Not the ledger: the store would be its own owner, and be closed on the very thread it then joins.
        let flights = Arc::clone(&self.ledger.in_flight);
        let (shelf, keys) = (self.shelf, self.keys);
        self.ledger.store.settle(
            shelf,
            keys,
            at,
            Box::new(move |result| {
                flights.end(shelf, &keys);
                done(result);
            }),
        );
        settling
    }

    /// Stores the event and settles it in one commit; `job` is made for these keys on this shelf. If that
    /// fails the event is neither, and released.
    pub fn push(
        mut self,
        queue: &dyn Queue,
        job: impl FnOnce(ShelfId, Keys) -> NewJob,
    ) -> Pending<JobId> {
        self.is_held = false;
        let (done, pushing) = Pending::new();
        // Not the ledger, as with settling.
        let flights = Arc::clone(&self.ledger.in_flight);
        let (shelf, keys) = (self.shelf, self.keys);
        queue.push(
            job(shelf, keys),
            Box::new(move |result| {
                flights.end(shelf, &keys);
                done(result);
            }),
        );
        pushing
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_held {
            self.ledger.in_flight.end(self.shelf, &self.keys);
        }
    }
}

// === impl Duplicate ===

impl Duplicate {
    /// The value of the metric's `kind` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Retry => "duplicate",
            Self::Content => "duplicate_content",
        }
    }

    fn of(keys: Keys, found: Found) -> Self {
        match found.content && keys.id.is_some() && !found.id {
            true => Self::Content,
            false => Self::Retry,
        }
    }
}

// === impl Patience ===

impl Patience {
    fn is_enough(&self) -> bool {
        Instant::now() + self.work <= self.until
    }
}

/// What one look under the lock saw.
enum Seen {
    Mine(Claim),
    Unsure(Claim),
    Settled(Found),
    Taken(watch::Receiver<()>),
    Unavailable,
}
