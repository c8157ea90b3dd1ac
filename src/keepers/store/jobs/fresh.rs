//! What the log holds of jobs, in memory: those that are in no table yet, and which of the tables' have ended.
//!
//! The tables are as the last transaction left them, and this is what happened since. Whoever reads asks here first and
//! the tables afterwards: a job leaves this memory only when a transaction that took it over is on disk, so at no
//! moment it is in neither place. It may be in both for a moment, and then counts as it is here.
//!
//! # Why
//! An event that is delivered in time would be written into seven tables only to be taken out of them again. Numbers
//! ascend, and every transaction takes over all of these jobs but those that are pushed beside it, so they are the newest
//! of all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::logged::FreshJob;
use super::tally::Tally;
use super::{Due, JobId, JobInfo, JobState, Volume};
use crate::keepers::store::ShelfId;
use crate::words::identity::Key;
use crate::words::time::Timestamp;

/// What the log says of jobs. It is bounded by the log's part of the file, and by [`ENDED_MAX`].
#[derive(Default, Debug)]
pub(in crate::keepers::store) struct Fresh {
    jobs: BTreeMap<JobId, Arc<FreshJob>>,
    /// Jobs of the tables that are gone.
    ended: Arc<BTreeSet<JobId>>,
    shelves: BTreeMap<ShelfId, Part>,
}

/// One shelf's part.
#[derive(Default, Debug)]
struct Part {
    due: BTreeSet<Due>,
    numbers: BTreeSet<JobId>,
    pushed: Volume,
    ended: Volume,
}

/// A job that has ended, as it was.
#[derive(Clone, Copy, Debug)]
pub(in crate::keepers::store) struct End {
    pub(in crate::keepers::store) info: JobInfo,
    /// It lies in the tables until the next transaction.
    pub(in crate::keepers::store) is_stored: bool,
}

/// What is known of a job here.
pub(super) enum Known<'a> {
    /// It is in the log alone.
    Fresh(&'a Arc<FreshJob>),
    /// It was in the tables, and has ended.
    Ended,
    /// The tables alone can tell.
    Nothing,
}

/// What a transaction takes over.
#[derive(Default, Debug)]
pub(in crate::keepers::store) struct Heirloom {
    pub(in crate::keepers::store) jobs: Vec<Arc<FreshJob>>,
    pub(in crate::keepers::store) ended: Arc<BTreeSet<JobId>>,
}

// === impl Fresh ===

impl Fresh {
    /// Adds a job that is pushed.
    pub(in crate::keepers::store) fn push(&mut self, job: Arc<FreshJob>) {
        let info = job.info;
        let part = self.shelves.entry(info.shelf).or_default();
        part.due.extend(place(&info));
        part.numbers.insert(info.id);
        part.pushed.add(&info);
        self.jobs.insert(info.id, job);
    }

    /// Notes an end.
    pub(in crate::keepers::store) fn end(&mut self, end: &End) {
        let info = &end.info;
        let part = self.shelves.entry(info.shelf).or_default();
        if end.is_stored {
            part.ended.add(info);
            Arc::make_mut(&mut self.ended).insert(info.id);
        } else if self.jobs.remove(&info.id).is_some() {
            part.pushed.take(info);
            part.numbers.remove(&info.id);
            place(info).map(|place| part.due.remove(&place));
        }
    }

    /// Whether there is nothing that a transaction would take over.
    pub(in crate::keepers::store) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.ended.is_empty()
    }

    /// Takes out what a transaction has taken over: all but the jobs from a number on, which were pushed beside it.
    pub(super) fn take_over(&mut self, beside: JobId) -> Self {
        let later = self.jobs.split_off(&beside);
        let taken = std::mem::take(self);
        for job in later.into_values() {
            self.push(job);
        }
        taken
    }

    /// What the next transaction takes over.
    pub(in crate::keepers::store) fn heirloom(&self) -> Heirloom {
        Heirloom {
            jobs: self.jobs.values().cloned().collect(),
            ended: Arc::clone(&self.ended),
        }
    }

    pub(super) fn known(&self, id: JobId) -> Known<'_> {
        match self.jobs.get(&id) {
            Some(job) => Known::Fresh(job),
            None if self.ended.contains(&id) => Known::Ended,
            None => Known::Nothing,
        }
    }

    /// The tables' jobs that are gone.
    pub(in crate::keepers::store) fn ended(&self) -> Arc<BTreeSet<JobId>> {
        Arc::clone(&self.ended)
    }

    /// Places of a shelf up to `until`, after a place, at most `limit`.
    pub(super) fn due(
        &self,
        shelf: ShelfId,
        until: Option<Timestamp>,
        after: Option<Due>,
        limit: usize,
    ) -> Vec<Due> {
        let Some(part) = self.shelves.get(&shelf) else {
            return Vec::new();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let places = part.due.range((from, Bound::Unbounded)).copied();
        places
            .take_while(|place| until.is_none_or(|until| place.at <= until))
            .take(limit)
            .collect()
    }

    /// When the first job of a shelf is due that is here.
    pub(super) fn next_due(&self, shelf: ShelfId) -> Option<Timestamp> {
        Some(self.shelves.get(&shelf)?.due.first()?.at)
    }

    /// When the first event of a shelf was taken that is here.
    pub(super) fn oldest(&self, shelf: ShelfId) -> Option<Timestamp> {
        let first = self.shelves.get(&shelf)?.numbers.first()?;
        Some(self.jobs.get(first)?.info.at)
    }

    /// What a shelf holds in all whose tables hold `tally`.
    pub(in crate::keepers::store) fn over(&self, shelf: ShelfId, tally: Tally) -> Tally {
        match self.shelves.get(&shelf) {
            Some(part) => tally.shifted(part.pushed, part.ended),
            None => tally,
        }
    }

    /// Whether the tables still have queued jobs of a shelf, of which `tally` counts them all.
    pub(super) fn leaves_queued(&self, shelf: ShelfId, tally: Tally) -> bool {
        let ended = self.shelves.get(&shelf).map_or(0, |part| part.ended.jobs);
        tally.queued.jobs > ended
    }

    /// Jobs from a number downwards, at most `limit`.
    pub(super) fn down_from(&self, from: u64, limit: usize) -> Vec<Arc<FreshJob>> {
        let down = self.jobs.range(..=JobId(from)).rev();
        down.take(limit).map(|(_, job)| Arc::clone(job)).collect()
    }

    /// The newest job with a content key, on one shelf or on any.
    pub(super) fn find(&self, shelf: Option<ShelfId>, content: &Key) -> Option<JobId> {
        let mut infos = self.jobs.values().rev().map(|job| &job.info);
        let is_it = |info: &&JobInfo| {
            info.keys.content == *content && shelf.is_none_or(|shelf| shelf == info.shelf)
        };
        infos.find(is_it).map(|info| info.id)
    }

    /// All jobs, the oldest first.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &FreshJob> {
        self.jobs.values().map(|job| &**job)
    }
}

// === impl Heirloom ===

impl Heirloom {
    pub(in crate::keepers::store) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.ended.is_empty()
    }
}

/// Where a job stands among those that are due, if it is queued.
fn place(info: &JobInfo) -> Option<Due> {
    match info.state {
        JobState::Queued { due, .. } => Some(Due {
            at: due,
            id: info.id,
        }),
        JobState::Delivered { .. } | JobState::Dead { .. } => None,
    }
}

/// Jobs of the tables that may have ended since the last transaction. With one more a transaction takes them out, and what
/// the log holds over: it stays short, and so does what readers pass over. While the app keeps up they are few; with a
/// backlog, 1,024 of them made the slowest of a hundred answers wait for 26 to 32 ms instead of 13, and saved nothing.
pub(super) const ENDED_MAX: usize = 256;
