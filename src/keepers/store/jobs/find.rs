//! Finding a stored job by its content key.
//!
//! # Why
//! An index of random keys would cost every push a page of its own, for a question that only an operator
//! asks. The ledger remembers in which second a key was settled, and numbers ascend with time, so a short
//! scan around that second finds the job; only where that fails all states are read, which are small.

use std::sync::Arc;
use std::time::Duration;

use super::embedded::ROWS_PER_READ;
use super::{JobId, JobInfo, reading};
use crate::keepers::store::shelf::Run;
use crate::keepers::store::tables::Chunks;
use crate::keepers::store::vault::Vault;
use crate::keepers::store::{ShelfId, StoreError};
use crate::words::identity::Key;
use crate::words::time::Timestamp;

impl Vault {
    /// The newest job with a content key, on one shelf or on any. Those of the log alone are the newest of all.
    pub(super) fn find_job(
        &self,
        shelf: Option<ShelfId>,
        content: Key,
    ) -> Result<Option<JobId>, StoreError> {
        let (found, ended) =
            self.asking(|shelves| (shelves.fresh.find(shelf, &content), shelves.fresh.ended()))?;
        if found.is_some() {
            return Ok(found);
        }
        let is_it = |job: &JobInfo| {
            job.keys.content == content
                && shelf.is_none_or(|shelf| shelf == job.shelf)
                && !ended.contains(&job.id)
        };
        let mut seconds = self.seconds_of(shelf, &content)?;
        seconds.sort_unstable();
        seconds.dedup();
        for secs in seconds.into_iter().rev() {
            let at = Timestamp::from_secs(i64::from(secs));
            let (from, until) = (at.before(DISORDER), at.after(DISORDER));
            let from = self.reading(|database| reading::first_since(database, from))?;
            if let Some(id) = self.scan(&is_it, from, Some(until), ROWS_NEAR_MAX)? {
                return Ok(Some(id));
            }
        }
        self.scan(&is_it, 0, None, ROWS_MAX)
    }

    /// The newest match among the states from a number on.
    fn scan(
        &self,
        is_it: &dyn Fn(&JobInfo) -> bool,
        from: u64,
        until: Option<Timestamp>,
        rows_max: usize,
    ) -> Result<Option<JobId>, StoreError> {
        let (mut next, mut found, mut left) = (Some(from), None, rows_max);
        while let Some(from) = next
            && left > 0
        {
            let slice = self.reading(|database| reading::slice(database, from, ROWS_PER_READ))?;
            left = left.saturating_sub(slice.jobs.len());
            next = slice.next;
            for job in slice.jobs.into_iter().flatten() {
                if until.is_some_and(|until| job.at > until) {
                    return Ok(found);
                }
                if is_it(&job) {
                    found = Some(job.id);
                }
            }
        }
        Ok(found)
    }

    /// Every second that any record of a key names.
    fn seconds_of(&self, shelf: Option<ShelfId>, key: &Key) -> Result<Vec<u32>, StoreError> {
        let mut seconds = Vec::new();
        let mut runs: Vec<Arc<Run>> = Vec::new();
        {
            let shelves = self.shelves();
            for (id, held) in &shelves.by_id {
                if shelf.is_none_or(|shelf| shelf == *id) {
                    seconds.extend(held.journal.find(key));
                    runs.extend(held.candidates(key, None).cloned());
                }
            }
        }
        for run in runs {
            let (secs, damaged) = self
                .reading(|database| Chunks::open(database)?.find(run.id, key, run.chunk_of(key)))?;
            self.count_damaged(u64::from(damaged));
            seconds.extend(secs);
        }
        Ok(seconds)
    }
}

/// By how much events may be stored out of the order in which they were taken: an attempt comes first.
const DISORDER: Duration = Duration::from_secs(60);
/// States looked at around one second.
const ROWS_NEAR_MAX: usize = 1_000_000;
/// States looked at in all.
const ROWS_MAX: usize = 4_000_000;
