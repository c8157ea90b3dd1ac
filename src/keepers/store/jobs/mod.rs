//! The queue's side of the store: events that are kept, with their state, attempts and due times.
//!
//! It shares file, writer and commits with the ledger's side, so that an event and its keys are on disk together or not
//! at all. It never reads the clock to decide when to deliver, never calls the app, and knows heads and bodies only as
//! bytes: leases, schedules and breakers are the layer above.
//!
//! # Why
//! Nothing in memory grows with the number of jobs but by what the log has room for. So whatever lists jobs reads the
//! disk, blocks, and is bounded by its caller; what only adds or changes is queued, and answered by a callback.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use super::{ShelfId, StoreError};
use crate::words::identity::{Key, Keys};
use crate::words::time::Timestamp;

pub(super) mod carried;
mod codec;
pub(super) mod desk;
mod embedded;
mod find;
pub(super) mod fresh;
pub(super) mod logged;
pub(super) mod memory;
pub(super) mod opening;
pub(super) mod ops;
mod publishing;
mod reading;
pub(super) mod sweep;
pub(super) mod tables;
pub(super) mod tally;

/// What keeps events until the app has them, and afterwards for as long as somebody may ask.
pub trait Queue: Send + Sync + 'static {
    /// Sets on what terms a shelf holds jobs; called at start, idempotent, and it may wait for the disk. A shelf without
    /// terms refuses nothing and forgets no ended job.
    ///
    /// At the terms' bounds the copies of delivered jobs make room for others, the oldest first, with the same commit;
    /// what is queued or dead never does.
    fn hold(&self, shelf: ShelfId, terms: Terms) -> Result<(), StoreError>;

    /// Settles an event's keys and stores the job in one commit; calls `done` once both are on disk.
    ///
    /// After an error neither can be relied on: a refused job has left nothing, and one whose commit failed is on disk
    /// whole, keys included, or not at all. The keys are not known before the file says so, since the app does not have
    /// the event and the provider must be able to send it again. Only a job that is pushed as delivered is different: the
    /// app has it, so its keys are known whatever becomes of the job, as with [`super::Store::settle`].
    fn push(&self, job: NewJob, done: PushDone);

    /// Ends an attempt or changes a job with the next commit.
    ///
    /// After an error it may be on disk or not. Repeating it is safe: what has happened already is stale.
    fn change(&self, id: JobId, change: Change, done: ChangeDone);

    /// The jobs of a shelf that are due by `until`, or all that are queued, in order of their due time and after a place
    /// in that order. Of an ordered subject only the first job is among them. Blocking, unless [`Queue::is_at_hand`].
    fn due(
        &self,
        shelf: ShelfId,
        until: Option<Timestamp>,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError>;

    /// When the first job of a shelf is due, from memory; jobs that are being attempted count too.
    fn next_due(&self, shelf: ShelfId) -> Option<Timestamp>;

    /// Whether memory alone holds what is due by `until`, and those jobs. A commit in the next moment may change that.
    fn is_at_hand(&self, shelf: ShelfId, until: Option<Timestamp>) -> bool;

    /// Some jobs in the order asked for; `None` for those that are gone or cannot be read. Blocking.
    fn load(&self, ids: &[JobId], with_body: bool) -> Result<Vec<Option<StoredJob>>, StoreError>;

    /// The attempts of a job by number: the first and the last [`ATTEMPTS_KEPT_LAST`]. Blocking.
    fn attempts(&self, id: JobId) -> Result<Vec<AttemptRecord>, StoreError>;

    /// The newest stored job with this content key, on one shelf or on any. Blocking.
    fn find(&self, shelf: Option<ShelfId>, content: Key) -> Result<Option<JobId>, StoreError>;

    /// Shows jobs of a selection to `visit`, the newest first and beginning with `from`, until it breaks or `scan_max`
    /// jobs were looked at, shown or not. Gives back where to go on; `None` at the end. Blocking.
    fn walk(
        &self,
        from: Option<JobId>,
        selection: Selection,
        scan_max: usize,
        visit: &mut dyn FnMut(&JobView<'_>) -> ControlFlow<()>,
    ) -> Result<Option<JobId>, StoreError>;

    /// What each shelf holds, from memory; shelves of routes that are no longer configured are among them.
    fn counts(&self) -> Vec<ShelfCounts>;

    /// Keeps a row about a replay, in place of an earlier one of that id.
    fn put_replay(&self, id: ReplayId, row: Bytes, done: ReplayDone);

    /// Forgets a replay's row.
    fn remove_replay(&self, id: ReplayId, done: ReplayDone);

    /// One replay's row. Blocking.
    fn replay(&self, id: ReplayId) -> Result<Option<Bytes>, StoreError>;

    /// All replays' rows by id. Blocking.
    fn replays(&self) -> Result<Vec<(ReplayId, Bytes)>, StoreError>;
}

/// Called once with how a push ended, on the store's thread or, where it is refused at once, the caller's. Be short.
pub type PushDone = Box<dyn FnOnce(Result<JobId, StoreError>) + Send>;
/// Called exactly once with how a change ended, like [`PushDone`].
pub type ChangeDone = Box<dyn FnOnce(Result<Changed, StoreError>) + Send>;
/// Called exactly once with how a replay's row was written, like [`PushDone`].
pub type ReplayDone = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A job's number: it ascends in the order in which jobs were taken up to be written, and is never given away twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(u64);

/// The number of a replay, chosen by the layer above.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReplayId(pub u64);

/// Why a job is a dead letter: a code that only the layer above reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reason(pub u8);

/// On what terms a shelf holds jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// How long delivered jobs are kept.
    pub keep_delivered: Duration,
    /// How long dead letters are kept.
    pub keep_dead: Duration,
    /// Jobs at most. Queued jobs and dead letters beyond it are refused.
    pub max_events: u64,
    /// Bytes of their heads and bodies at most, as with `max_events`.
    pub max_bytes: u64,
}

/// A job to be stored.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The shelf of its route.
    pub shelf: ShelfId,
    /// The keys settled with it.
    pub keys: Keys,
    /// What the layer above must know of the event besides its body.
    pub head: Bytes,
    /// The body as it came.
    pub body: Bytes,
    /// A hash of the subject within which jobs are delivered one after the other; only for queued jobs.
    pub order: Option<u64>,
    /// When the event was taken; the keys are settled in this second.
    pub at: Timestamp,
    /// What becomes of it.
    pub state: NewState,
    /// Attempts made before it was stored.
    pub attempts: Vec<AttemptRecord>,
}

/// What a new job begins as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewState {
    /// It waits for its delivery.
    Queued {
        /// When to try first.
        due: Timestamp,
    },
    /// The app has it; only a copy is kept.
    Delivered,
    /// It is a dead letter from the start, tried once or not at all.
    Dead {
        /// Why.
        reason: Reason,
    },
}

/// One try at the app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptRecord {
    /// From 1, counting on through replays.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// The app's status, if it answered.
    pub status: Option<u16>,
    /// What went wrong otherwise; only the first [`ATTEMPT_ERROR_BYTES_MAX`] bytes are kept.
    pub error: Option<String>,
    /// How long it took; whole milliseconds are kept.
    pub took: Duration,
}

/// What happens to a job.
///
/// An attempt whose number is not the next one of the job came too late: then nothing changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The attempt failed; there will be another.
    Retry {
        /// The attempt.
        attempt: AttemptRecord,
        /// When to try next.
        due: Timestamp,
    },
    /// The app has it.
    Delivered {
        /// The attempt.
        attempt: AttemptRecord,
        /// Whether a copy is kept; otherwise the job is removed in the same commit.
        keep: bool,
    },
    /// It is given up and becomes a dead letter.
    Dead {
        /// The last attempt, if one was made.
        attempt: Option<AttemptRecord>,
        /// Why.
        reason: Reason,
    },
    /// A delivered job or a dead letter is queued again, marked as a replay and outside of any order.
    ///
    /// A delivered job finds room only within the shelf's bounds, and while less than half of them is queued:
    /// what is sent again must not keep out what is new.
    Requeue {
        /// When to try; it counts as queued from then.
        due: Timestamp,
    },
}

/// How a change ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changed {
    /// It is on disk.
    Done {
        /// The job of the same subject that is due now because this one left the queue.
        next: Option<Due>,
    },
    /// The job is in another state or at another attempt; nothing changed.
    Stale,
    /// There is no such job, or its row cannot be read.
    Gone,
    /// The shelf has no room for a replay at the moment; nothing changed.
    NoRoom,
}

/// A job's place in the order of due times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Due {
    /// When it is due.
    pub at: Timestamp,
    /// Which it is.
    pub id: JobId,
}

/// What has become of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobState {
    /// It waits for its delivery or for its next attempt.
    Queued {
        /// When to try.
        due: Timestamp,
        /// An earlier job of its subject comes first.
        waits: bool,
    },
    /// The app has it.
    Delivered {
        /// Since when.
        at: Timestamp,
    },
    /// It was given up.
    Dead {
        /// Since when.
        at: Timestamp,
        /// Why.
        reason: Reason,
    },
}

/// What the store itself knows of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobInfo {
    /// Its number.
    pub id: JobId,
    /// The shelf of its route.
    pub shelf: ShelfId,
    /// The keys settled with it.
    pub keys: Keys,
    /// When the event was taken.
    pub at: Timestamp,
    /// What has become of it.
    pub state: JobState,
    /// The hash of its subject, if it is delivered in order.
    pub order: Option<u64>,
    /// Attempts made so far; the next one has this number and one.
    pub attempts: u32,
    /// When an operator queued it again, the last time.
    pub replayed_at: Option<Timestamp>,
    /// Bytes of head and body.
    pub bytes: u32,
}

/// A job as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredJob {
    /// What the store knows of it.
    pub info: JobInfo,
    /// The head as it was pushed.
    pub head: Bytes,
    /// The body as it was pushed, where it was asked for.
    pub body: Option<Bytes>,
}

/// A job that is shown on a walk.
#[derive(Clone, Copy, Debug)]
pub struct JobView<'a> {
    /// What the store knows of it.
    pub info: &'a JobInfo,
    /// The head as it was pushed.
    pub head: &'a [u8],
}

/// Which jobs a walk shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Only those of one shelf.
    pub shelf: Option<ShelfId>,
    /// Queued ones.
    pub queued: bool,
    /// Delivered ones.
    pub delivered: bool,
    /// Dead letters.
    pub dead: bool,
}

/// What a shelf holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShelfCounts {
    /// The shelf.
    pub shelf: ShelfId,
    /// Its name.
    pub name: String,
    /// Queued jobs.
    pub queued: Volume,
    /// Delivered jobs.
    pub delivered: Volume,
    /// Dead letters.
    pub dead: Volume,
    /// When the oldest queued event was taken; it may lag by the few seconds between two looks.
    pub oldest_queued: Option<Timestamp>,
}

/// A number of jobs and what they weigh.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Volume {
    /// How many.
    pub jobs: u64,
    /// Bytes of their heads and bodies.
    pub bytes: u64,
}

// === impl JobId ===

impl JobId {
    /// A job's number from a cursor or a row of the layer above.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number, to be kept in a cursor or a row.
    pub const fn number(self) -> u64 {
        self.0
    }
}

// === impl Selection ===

impl Selection {
    /// All jobs of all shelves.
    pub const ALL: Self = Self {
        shelf: None,
        queued: true,
        delivered: true,
        dead: true,
    };

    /// Whether a job is shown.
    pub fn takes(&self, info: &JobInfo) -> bool {
        self.shelf.is_none_or(|shelf| shelf == info.shelf)
            && match info.state {
                JobState::Queued { .. } => self.queued,
                JobState::Delivered { .. } => self.delivered,
                JobState::Dead { .. } => self.dead,
            }
    }
}

/// Attempts kept besides the first.
pub const ATTEMPTS_KEPT_LAST: u32 = 31;
/// Bytes of an attempt's error that are kept.
pub const ATTEMPT_ERROR_BYTES_MAX: usize = 256;
