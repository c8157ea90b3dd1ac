//! What the threads of a store share: the shelves, the queue of the writer, and the state of the file.
//!
//! Two locks, never held together with I/O under either: the shelves (read by every probe) and the queue.
//! A panic elsewhere must not freeze them, so a poisoned lock is taken as it is: every change made under one
//! is a single step.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

use redb::Database;

use super::clock_guard::ClockGuard;
use super::jobs::fresh::Fresh;
use super::queue::Queue;
use super::shelf::Shelf;
use super::tuning::Tuning;
use super::unwritten::Unwritten;
use super::{Health, Keep, ShelfId};
use crate::words::time::Clock;

/// Everything the threads of one store share.
pub(super) struct Vault {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) guard: ClockGuard,
    pub(super) tuning: Tuning,
    pub(super) damaged_rows: AtomicU64,
    pub(super) faults: AtomicU64,
    /// Pushes are refused because the disk is nearly full.
    pub(super) space_low: AtomicBool,
    shelves: RwLock<Shelves>,
    queue: Mutex<Queue>,
    /// Told when the queue has something for the writer.
    pub(super) work: Condvar,
    /// Told when there is housekeeping to do, or none will be done any more.
    pub(super) chores: Condvar,
    /// When the oldest unanswered settle was queued, in milliseconds of running time plus one; 0 for none.
    oldest_wait: AtomicU64,
    closed: AtomicBool,
}

/// The shelves and the file behind them.
#[derive(Default)]
pub(super) struct Shelves {
    /// Counts the openings of the file: what was read in an earlier one is not published in a later.
    pub(super) epoch: u64,
    /// The open file; `None` while it is down.
    pub(super) database: Option<Arc<Database>>,
    /// Why it is down.
    pub(super) down: Option<String>,
    pub(super) by_id: BTreeMap<ShelfId, Shelf>,
    /// What the log holds of jobs.
    pub(super) fresh: Fresh,
    pub(super) unwritten: Unwritten,
    /// The number of the next run.
    pub(super) next_run: u64,
    /// Runs whose chunks are on disk without counting.
    pub(super) orphans: Vec<u64>,
}

impl Vault {
    pub(super) fn new(clock: Arc<dyn Clock>, tuning: Tuning) -> Self {
        Self {
            guard: ClockGuard::new(Arc::clone(&clock)),
            clock,
            tuning,
            damaged_rows: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            space_low: AtomicBool::new(false),
            shelves: RwLock::default(),
            queue: Mutex::default(),
            work: Condvar::new(),
            chores: Condvar::new(),
            oldest_wait: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn shelves(&self) -> RwLockReadGuard<'_, Shelves> {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shelves_mut(&self) -> RwLockWriteGuard<'_, Shelves> {
        self.shelves.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Running time in whole milliseconds.
    pub(super) fn running_ms(&self) -> u64 {
        in_ms(self.clock.elapsed())
    }

    /// Notes when the oldest settle that still waits was queued.
    pub(super) fn waits_since(&self, queued: Option<u64>) {
        let since = queued.map_or(0, |ms| ms.saturating_add(1));
        self.oldest_wait.store(since, Ordering::Relaxed);
    }

    /// Notes a settle queued now, unless an older one waits.
    pub(super) fn begins_to_wait(&self, queued: u64) {
        let since = queued.saturating_add(1);
        // Losing against another settle leaves the older time in place, as it should be.
        let _ = self
            .oldest_wait
            .compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// For how long a commit has been overdue.
    pub(super) fn stalled(&self) -> Option<Duration> {
        self.stalled_at(self.clock.elapsed())
    }

    /// The same, where it is known how long the clock has been running.
    pub(super) fn stalled_at(&self, running: Duration) -> Option<Duration> {
        let since = self.oldest_wait.load(Ordering::Relaxed).checked_sub(1)?;
        let waited = Duration::from_millis(in_ms(running).saturating_sub(since));
        (waited > STALLED_AFTER).then_some(waited)
    }

    pub(super) fn health(&self) -> Health {
        if self.closed.load(Ordering::Acquire) {
            return Health::Closed;
        }
        if let Some(reason) = &self.shelves().down {
            return Health::Down(reason.clone());
        }
        match self.stalled() {
            Some(waited) => Health::Stalled(waited),
            None => Health::Ready,
        }
    }

    /// Nothing more is written; true the first time.
    pub(super) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// Tells the writer that the handle opened in `epoch` met a fault.
    pub(super) fn report_fault(&self, epoch: u64, error: &redb::Error) {
        self.queue().fault = Some((epoch, error.to_string()));
        self.work.notify_one();
    }

    /// Wakes the housekeeper.
    pub(super) fn want_tidy(&self) {
        self.queue().tidy_wanted = true;
        self.chores.notify_one();
    }

    pub(super) fn count_damaged(&self, rows: u64) {
        self.damaged_rows.fetch_add(rows, Ordering::Relaxed);
    }
}

// === impl Shelves ===

impl Shelves {
    /// The shelf of a route and what it keeps.
    pub(super) fn named(&self, name: &str) -> Option<(ShelfId, Keep)> {
        let mut shelves = self.by_id.iter();
        shelves
            .find(|(_, shelf)| shelf.name == name)
            .map(|(id, shelf)| (*id, shelf.keep))
    }
}

/// A commit that takes longer is a disk that hangs.
const STALLED_AFTER: Duration = Duration::from_secs(3);

/// Whole milliseconds.
fn in_ms(running: Duration) -> u64 {
    u64::try_from(running.as_millis()).unwrap_or(u64::MAX - 1)
}
