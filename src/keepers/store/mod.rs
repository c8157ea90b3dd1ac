//! The store: which events are settled, and those that are kept, durably.
//!
//! It remembers keys on shelves, one for each route and provider, and forgets them when they are old enough;
//! beside them it keeps jobs ([`jobs::Queue`]), which to it are bytes with a state. It never decides what a
//! duplicate means, hands out no claims and calls no app: those are the layers above. Two stores keep one
//! contract: [`embedded::Embedded`] in a file, [`memory::Memory`] for tests.
//!
//! # Why
//! The request path may ask only [`Store::probe`], which never touches the disk, and [`Store::settle`],
//! which only queues. Everything that can wait for a disk says so and is called elsewhere.

use std::fmt;
use std::time::Duration;

use crate::words::identity::Keys;
use crate::words::time::Timestamp;

pub mod embedded;
pub mod jobs;
pub mod keymap;
pub mod medium;
pub mod memory;
pub mod open_error;
pub mod pending;
pub mod tuning;

mod allocated;
mod beside;
mod clock_guard;
mod codec;
mod commit;
mod direct;
mod epoch;
mod filter;
mod halves;
mod journal;
mod loading;
mod merge;
mod merging;
mod outline;
mod plan;
mod queue;
mod reading;
mod record;
mod recovery;
mod shelf;
mod space;
mod tables;
mod tidy;
mod transaction;
mod unwritten;
mod vault;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

/// What remembers settled events.
pub trait Store: Send + Sync + 'static {
    /// The shelf of this name, made if it is new; called at start, idempotent, and it may wait for the disk.
    fn shelf(&self, name: &str, keep: Keep) -> Result<ShelfId, StoreError>;

    /// What memory alone can say of these keys. Never waits for the disk.
    ///
    /// `now` is the present of the clock the store was opened with: a `now` far from it counts as a clock
    /// that jumped, and then nothing expires.
    fn probe(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Probe;

    /// The exact answer about each of these events. It may wait for the disk, so it is never called from async code.
    fn look_up_all(
        &self,
        events: &[(ShelfId, Keys)],
        now: Timestamp,
    ) -> Vec<Result<Found, StoreError>>;

    /// The exact answer about one event, as [`Store::look_up_all`] gives it.
    fn look_up(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Result<Found, StoreError> {
        let mut answers = self.look_up_all(&[(shelf, *keys)], now);
        answers.pop().unwrap_or(Err(StoreError::Unavailable))
    }

    /// Settles an event with the next commit and calls `done` once the keys can be probed.
    ///
    /// `Ok` means synced to disk. `Unavailable` and `Full` mean that the keys are known for as long as this
    /// process lives, within a bound, and are written as soon as that is possible.
    fn settle(&self, shelf: ShelfId, keys: Keys, at: Timestamp, done: Done);

    /// Whether wall time is believed at the moment. While it is not nothing expires, and nothing should be
    /// given up for its age.
    fn trusts(&self, now: Timestamp) -> bool;

    /// Whether the store can be relied on right now.
    fn health(&self) -> Health;

    /// Figures for metrics and the admin view.
    fn statistics(&self) -> Statistics;

    /// Commits what waits and closes the file cleanly. Calling it again does nothing.
    fn close(&self);
}

/// Called exactly once with how a settle ended. It should be short: others wait behind it on the store's
/// thread. Only a refusal as `Full` or `Closed` comes on the caller's own thread, before `settle` returns.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A part of the store: the keys and jobs of one route and provider.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShelfId(u32);

/// How long and how much a shelf remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// A key settled at `t` lives while the present is before `t` and this.
    pub remember: Duration,
    /// Beyond it the oldest are forgotten first; for routes whose senders prove nothing.
    pub max_keys: Option<usize>,
}

/// Which of an event's keys are settled and unexpired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// The content key is.
    pub content: bool,
    /// There is an id key, and it is.
    pub id: bool,
}

/// What memory can say of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// At least one key is settled.
    Known(Found),
    /// No key is settled.
    Absent,
    /// Only [`Store::look_up_all`] can tell.
    MustRead,
    /// The store is down or stalled, and memory does not know the event.
    Unavailable,
}

/// Whether the store can be relied on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// Commits go through.
    Ready,
    /// The file cannot be used; the store tries again by itself.
    Down(String),
    /// A commit has taken longer than any disk should: for how long now.
    Stalled(Duration),
    /// [`Store::close`] was called.
    Closed,
}

/// Figures of a store; counts begin at zero with the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Keys remembered, some of them perhaps expired and not yet swept.
    pub keys: u64,
    /// Sorted runs on disk.
    pub runs: u64,
    /// Runs whose filter is not yet rebuilt after a start; they cost a read for each probe.
    pub filters_missing: u64,
    /// Settled keys that are known but could not be written yet.
    pub unwritten: u64,
    /// Settled keys that were forgotten because too many could not be written.
    pub unwritten_lost: u64,
    /// Rows that could not be read; their keys count as absent.
    pub damaged_rows: u64,
    /// Times the file was closed after a fault.
    pub faults: u64,
    /// Pushes are refused because the disk is nearly full.
    pub space_low: bool,
    /// The clock is not believed, so nothing expires.
    pub clock_suspect: bool,
}

/// Why the store did not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// Too much waits for the disk already.
    Full,
    /// The shelf holds as many queued jobs and dead letters, or as many bytes of them, as it may.
    ShelfFull,
    /// The disk has hardly any room left; only pushes are refused.
    NoSpace,
    /// The file cannot be used at the moment.
    Unavailable,
    /// The store was closed.
    Closed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too much is waiting for the disk",
            Self::ShelfFull => "the route holds as many events as max_events and max_bytes allow",
            Self::NoSpace => "the disk is nearly full",
            Self::Unavailable => "the store is unavailable",
            Self::Closed => "the store is closed",
        })
    }
}

impl std::error::Error for StoreError {}
