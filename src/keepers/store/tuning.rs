//! How a store in a file is opened: where, with which clock, and with which bounds.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Keep;
use super::tidy::WINDOWS;
use crate::words::time::Clock;

/// How a store is opened.
pub struct Options {
    /// The file; its directory must exist.
    pub path: PathBuf,
    /// The clock whose present the callers pass as `now`.
    pub clock: Arc<dyn Clock>,
    /// Bounds and sizes.
    pub tuning: Tuning,
    /// Told of every commit, on the store's thread and after everybody in it was answered.
    pub on_commit: Option<OnCommit>,
}

/// Is told of commits.
pub type OnCommit = Box<dyn Fn(Commit) + Send>;

/// One commit that is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commit {
    /// From the beginning of the transaction to the end of its sync.
    pub took: Duration,
    /// Settles that shared it.
    pub settles: usize,
    /// Operations on jobs that shared it.
    pub jobs: usize,
}

/// The threads that events come from, as far as the store must know of them: whether one has nothing to do.
#[derive(Debug, Default)]
pub struct Workers {
    idle: AtomicUsize,
    /// Somebody waits for one to rest.
    is_awaited: AtomicBool,
    waiting: Mutex<()>,
    rested: Condvar,
}

/// Bounds and sizes of a store. The defaults are meant for production.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Memory for pages of the file.
    pub cache_bytes: usize,
    /// Settles and operations on jobs that may wait; beyond it they are refused as `Full`.
    pub queue_ops_max: usize,
    /// Bytes of jobs that may wait; beyond it they are refused as `Full`.
    pub queue_bytes_max: usize,
    /// Settles in one commit, and as many operations on jobs.
    pub commit_ops_max: usize,
    /// After a batch of several ops the next one may fill for so long, while all of `workers` are at work.
    pub gather: Duration,
    /// The threads that events come from; without them a batch is never waited for.
    pub workers: Option<Arc<Workers>>,
    /// Bytes of jobs in one commit; a larger job has one of its own.
    pub commit_bytes_max: usize,
    /// With less room on the disk pushes are refused, while settling, changing and deleting go on.
    pub free_bytes_min: u64,
    /// Keys of one shelf in the journal before they become a run.
    pub journal_keys_max: usize,
    /// Keys in one run at most.
    pub run_keys_max: u64,
    /// Settled keys remembered in memory while they cannot be written.
    pub unwritten_keys_max: usize,
    /// Pause before the file is opened anew after a fault; it doubles up to `retry_max`.
    pub retry_first: Duration,
    /// The longest such pause.
    pub retry_max: Duration,
    /// Two syncs for every transaction, and not only where strangers' bytes are written.
    pub two_phase: bool,
    /// Bytes that stored jobs take, from which on every commit notes what is free in the file, so that an opening
    /// after a crash need not walk through it.
    pub quick_repair_bytes: u64,
    /// Whether a thread does the housekeeping; without it only `Embedded::tidy` does.
    pub tidies_itself: bool,
}

// === impl Tuning ===

impl Tuning {
    /// Keys in a shelf's journal before they become a run. A bounded shelf is forgotten run by run, so its
    /// runs must be small against its bound.
    pub(super) fn journal_bound(&self, keep: Keep) -> usize {
        let eighth = keep
            .max_keys
            .map(|max| max / usize::try_from(WINDOWS).unwrap_or(1));
        eighth
            .map_or(self.journal_keys_max, |eighth| {
                eighth.min(self.journal_keys_max)
            })
            .max(1)
    }
}

// === impl Workers ===

impl Workers {
    /// One has nothing to do from now on.
    pub fn rests(&self) {
        self.idle.fetch_add(1, Ordering::SeqCst);
        if self.is_awaited.load(Ordering::SeqCst) {
            // Whoever waits holds it between his look and his sleep.
            drop(self.waiting());
            self.rested.notify_all();
        }
    }

    /// One that had nothing to do is at work again.
    pub fn works(&self) {
        self.idle.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until one has nothing to do, but no longer than `limit`.
    pub(super) fn wait_for_rest(&self, limit: Duration) {
        let waiting = self.waiting();
        self.is_awaited.store(true, Ordering::SeqCst);
        let are_busy = |_: &mut ()| self.idle.load(Ordering::SeqCst) == 0;
        // In both cases the wait is over.
        let _ = self.rested.wait_timeout_while(waiting, limit, are_busy);
        self.is_awaited.store(false, Ordering::SeqCst);
    }

    fn waiting(&self) -> MutexGuard<'_, ()> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            cache_bytes: 8 * 1024 * 1024,
            queue_ops_max: 65_536,
            queue_bytes_max: 64 * 1024 * 1024,
            commit_ops_max: 4_096,
            gather: Duration::from_millis(2),
            workers: None,
            commit_bytes_max: 8 * 1024 * 1024,
            free_bytes_min: 64 * 1024 * 1024,
            journal_keys_max: 32_768,
            run_keys_max: 4_000_000,
            unwritten_keys_max: 131_072,
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            two_phase: false,
            quick_repair_bytes: 256 * 1024 * 1024,
            tidies_itself: true,
        }
    }
}
