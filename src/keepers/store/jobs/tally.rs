//! How much a shelf holds, on disk and on its way there.

use super::ops::JobOp;
use super::{JobInfo, JobState, NewJob, Terms, Volume};
use crate::keepers::store::ShelfId;
use crate::keepers::store::queue::Queue;
use crate::words::time::Timestamp;

/// What a shelf holds on disk. It is written with every commit that changes it, so that opening counts
/// nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::keepers::store) struct Tally {
    pub(super) queued: Volume,
    pub(super) delivered: Volume,
    pub(super) dead: Volume,
    /// When the keys of old jobs were last begun to be renewed, in seconds.
    pub(super) renewed: u32,
}

/// Whether a shelf has room, counting what still waits for its commit.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::keepers::store) struct Room {
    pub(in crate::keepers::store) terms: Option<Terms>,
    /// Queued or dead on disk.
    pub(in crate::keepers::store) stored: Volume,
    /// Pushed as one of them and not yet answered.
    pub(in crate::keepers::store) waiting: Volume,
}

/// What memory knows of the jobs of one shelf that are in the tables.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::keepers::store) struct Holdings {
    pub(super) tally: Tally,
    pub(super) terms: Option<Terms>,
    /// The first that has not ended in the log.
    pub(super) next_due: Option<Timestamp>,
    pub(super) oldest: Oldest,
}

/// The oldest queued job of a shelf, as far as it was looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Oldest {
    /// No job with a lower number is queued.
    pub(super) from: u64,
    pub(super) at: Option<Timestamp>,
}

// === impl JobInfo ===

impl JobInfo {
    /// When it was queued, first or again: how long it may wait counts from then.
    pub fn since(&self) -> Timestamp {
        self.replayed_at.unwrap_or(self.at)
    }

    /// Whether it waits for its delivery.
    pub fn is_queued(&self) -> bool {
        match self.state {
            JobState::Queued { .. } => true,
            JobState::Delivered { .. } | JobState::Dead { .. } => false,
        }
    }
}

// === impl Volume ===

impl Volume {
    /// Counts a job.
    pub(super) fn add(&mut self, job: &JobInfo) {
        self.jobs += 1;
        self.bytes += u64::from(job.bytes);
    }

    /// Counts a job out.
    pub(super) fn take(&mut self, job: &JobInfo) {
        // A damaged row was perhaps never counted.
        self.jobs = self.jobs.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(job.bytes));
    }
}

// === impl Tally ===

impl Tally {
    /// Counts a job that is in its state now.
    pub(super) fn add(&mut self, job: &JobInfo) {
        self.of(job.state).add(job);
    }

    /// Counts a job out that is in its state no more.
    pub(super) fn take(&mut self, job: &JobInfo) {
        self.of(job.state).take(job);
    }

    /// With other queued jobs: some `more`, and some `fewer`.
    pub(super) fn shifted(mut self, more: Volume, fewer: Volume) -> Self {
        let queued = &mut self.queued;
        queued.jobs = (queued.jobs + more.jobs).saturating_sub(fewer.jobs);
        queued.bytes = (queued.bytes + more.bytes).saturating_sub(fewer.bytes);
        self
    }

    /// Jobs in any state.
    pub(super) fn jobs(&self) -> u64 {
        self.queued.jobs + self.delivered.jobs + self.dead.jobs
    }

    /// What counts against the shelf's bounds: queued events and dead letters. The latter are there for
    /// weeks, and whoever can make an app refuse could fill the disk with them.
    pub(in crate::keepers::store) fn bounded(&self) -> Volume {
        Volume {
            jobs: self.queued.jobs + self.dead.jobs,
            bytes: self.queued.bytes + self.dead.bytes,
        }
    }

    /// All that the shelf holds.
    fn all(&self) -> Volume {
        Volume {
            jobs: self.jobs(),
            bytes: self.queued.bytes + self.delivered.bytes + self.dead.bytes,
        }
    }

    /// About what the jobs take on disk.
    pub(in crate::keepers::store) fn weight(&self) -> u64 {
        let Volume { bytes, .. } = self.all();
        bytes.saturating_add(self.jobs().saturating_mul(ROWS_BYTES))
    }

    fn of(&mut self, state: JobState) -> &mut Volume {
        match state {
            JobState::Queued { .. } => &mut self.queued,
            JobState::Delivered { .. } => &mut self.delivered,
            JobState::Dead { .. } => &mut self.dead,
        }
    }
}

// === impl Terms ===

impl Terms {
    /// Whether copies of delivered jobs must go.
    pub(super) fn ask_for_copies_of(&self, tally: &Tally) -> bool {
        let all = tally.all();
        tally.delivered.jobs > 0 && (all.jobs > self.max_events || all.bytes > self.max_bytes)
    }

    /// Whether a delivered job may be queued again.
    pub(super) fn let_in_replay(&self, tally: &Tally, bytes: u32) -> bool {
        let (queued, all) = (tally.queued, tally.bounded());
        let is_half_free = queued.jobs.saturating_mul(2) < self.max_events
            && queued.bytes.saturating_mul(2) < self.max_bytes;
        is_half_free
            && all.jobs < self.max_events
            && all.bytes.saturating_add(bytes.into()) <= self.max_bytes
    }
}

// === impl Room ===

impl Room {
    /// Takes room for a job; false if there is none.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let jobs = self.stored.jobs + self.waiting.jobs + 1;
        let all = self.stored.bytes + self.waiting.bytes + bytes;
        let fits = self
            .terms
            .is_none_or(|terms| jobs <= terms.max_events && all <= terms.max_bytes);
        if fits {
            self.waiting.jobs += 1;
            self.waiting.bytes += bytes;
        }
        fits
    }

    /// Gives back the room of a push that was answered.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.waiting.jobs = self.waiting.jobs.saturating_sub(1);
        self.waiting.bytes = self.waiting.bytes.saturating_sub(bytes);
    }
}

// === impl Holdings ===

impl Holdings {
    /// What a shelf read from disk holds.
    pub(super) fn new(tally: Tally, next_due: Option<Timestamp>) -> Self {
        Self {
            tally,
            next_due,
            ..Self::default()
        }
    }

    pub(in crate::keepers::store) fn terms(&self) -> Option<Terms> {
        self.terms
    }

    pub(in crate::keepers::store) fn tally(&self) -> Tally {
        self.tally
    }

    /// Follows a transaction.
    pub(super) fn publish(&mut self, tally: Tally, next_due: Option<Timestamp>) {
        self.tally = tally;
        self.next_due = next_due;
        if tally.queued.jobs == 0 {
            self.oldest.at = None;
        }
    }
}

// === impl Queue ===

impl Queue {
    /// Takes room for what is pushed, if there is any.
    pub(super) fn finds_room(&mut self, op: &JobOp) -> bool {
        match op.pushed().and_then(|job| Some((job.shelf, job.room()?))) {
            Some((shelf, bytes)) => self.rooms.entry(shelf).or_default().take(bytes),
            None => true,
        }
    }

    /// Begins with what an opening of the file found.
    pub(in crate::keepers::store) fn fit_rooms(
        &mut self,
        rooms: Vec<(ShelfId, Volume, Option<Terms>)>,
    ) {
        for (shelf, stored, terms) in rooms {
            let room = self.rooms.entry(shelf).or_default();
            room.stored = stored;
            room.terms = terms;
        }
    }

    /// Gives back the room of a push that was answered.
    pub(super) fn leave_room(&mut self, job: &NewJob) {
        if let (Some(bytes), Some(room)) = (job.room(), self.rooms.get_mut(&job.shelf)) {
            room.give_back(bytes);
        }
    }
}

/// What a job's rows take beside its head and body.
const ROWS_BYTES: u64 = 256;
