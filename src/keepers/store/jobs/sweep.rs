//! Housekeeping for jobs: forgetting those that ended long ago, keeping the keys of the others alive, and
//! following which is the oldest.
//!
//! # Why
//! A key expires, its event may be stored for longer, and an event that is still here must not be taken for
//! a new one. Jobs are numbered in the order of time, so the old ones are at the front: now and then their
//! keys are journalled again, well before they would expire. A key whose job goes meanwhile merely lives
//! on for a while.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redb::Database;

use super::ops::JobChore;
use super::{JobInfo, reading};
use crate::keepers::store::ShelfId;
use crate::keepers::store::tidy::{Halt, TICK, Tidier};
use crate::keepers::store::unwritten::Entry;
use crate::words::time::Timestamp;

/// A walk over the old jobs of one shelf.
pub(in crate::keepers::store) struct Renewal {
    shelf: ShelfId,
    /// The second it began in; keys are renewed as of then.
    began: u32,
    /// Jobs taken until then are old.
    until: Timestamp,
    next: u64,
}

impl Tidier {
    /// Has the log's jobs taken over into the tables, once in a while: what stays for long shall not be left to a log
    /// that nobody writes to, and everything else here looks at the tables.
    pub(in crate::keepers::store) fn take_over(&mut self) -> Result<bool, Halt> {
        let now = self.vault.clock.elapsed();
        let is_early = |last: Duration| now.saturating_sub(last) < TICK;
        if self.took_over.is_some_and(is_early) || self.vault.shelves().fresh.is_empty() {
            return Ok(false);
        }
        self.took_over = Some(now);
        self.post(Vec::new())?;
        Ok(true)
    }

    /// Forgets some of the jobs that ended long enough ago.
    pub(in crate::keepers::store) fn forget_jobs(&self, database: &Database) -> Result<bool, Halt> {
        let Some(now) = self.vault.guard.now() else {
            return Ok(false);
        };
        let mut sweeps = Vec::new();
        for (id, shelf) in &self.vault.shelves().by_id {
            let (tally, Some(terms)) = (shelf.holdings.tally, shelf.holdings.terms) else {
                continue;
            };
            if tally.delivered.jobs > 0 {
                // On a disk that is nearly full copies make room for what nobody else has.
                let keep = match self.vault.space_low.load(Ordering::Relaxed) {
                    true => Duration::ZERO,
                    false => terms.keep_delivered,
                };
                sweeps.push((*id, false, now.before(keep)));
            }
            if tally.dead.jobs > 0 {
                sweeps.push((*id, true, now.before(terms.keep_dead)));
            }
        }
        for (shelf, dead, until) in sweeps {
            let places = reading::ended(database, shelf, dead, until, JOBS_PER_COMMIT)?;
            if !places.is_empty() {
                let chores = places.into_iter().map(JobChore::Forget).collect();
                self.post_all(Vec::new(), chores, Vec::new())?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Journals the keys of some old jobs again.
    pub(in crate::keepers::store) fn renew_keys(
        &mut self,
        database: &Database,
    ) -> Result<bool, Halt> {
        let Some(now) = self.vault.guard.now() else {
            return Ok(false);
        };
        let Some(mut renewal) = self.renewal.take().or_else(|| self.begin_renewal(now)) else {
            return Ok(false);
        };
        let slice = reading::slice(database, renewal.next, ROWS_PER_STEP)?;
        let (mut keys, mut next) = (Vec::new(), slice.next);
        for job in slice.jobs.into_iter().flatten() {
            if job.at > renewal.until.after(DISORDER) {
                next = None;
                break;
            }
            if job.shelf == renewal.shelf && job.at <= renewal.until {
                let (shelf, secs) = (renewal.shelf, renewal.began);
                keys.extend(job.keys.iter().map(|key| Entry { shelf, key, secs }));
            }
        }
        let (shelf, secs) = (renewal.shelf, renewal.began);
        let done = next.is_none().then_some(JobChore::Renewed { shelf, secs });
        if done.is_some() || !keys.is_empty() {
            self.post_all(Vec::new(), done.into_iter().collect(), keys)?;
        }
        if let Some(next) = next {
            renewal.next = next;
            self.renewal = Some(renewal);
        }
        Ok(true)
    }

    /// A shelf whose keys have not been renewed for a quarter of their life. What is half as old as it may
    /// get is renewed, so that between two renewals a quarter is left for the renewal itself.
    fn begin_renewal(&self, now: Timestamp) -> Option<Renewal> {
        let shelves = self.vault.shelves();
        shelves.by_id.iter().find_map(|(id, shelf)| {
            let tally = shelf.holdings.tally;
            let renewed = Timestamp::from_secs(i64::from(tally.renewed));
            let remember = shelf.keep.remember;
            // Renewals are noted by the second.
            let pause = (remember / 4).max(Duration::from_secs(1));
            let due = tally.jobs() > 0 && now >= renewed.after(pause);
            due.then(|| Renewal {
                shelf: *id,
                began: now.as_stored_secs(),
                until: now.before(remember / 2),
                next: 0,
            })
        })
    }

    /// Looks on for the oldest queued job of one shelf; true if there was anything new to see.
    pub(in crate::keepers::store) fn look_for_oldest(
        &self,
        database: &Database,
    ) -> Result<bool, Halt> {
        let mut looks = Vec::new();
        let ended = {
            let shelves = self.vault.shelves();
            for (id, shelf) in &shelves.by_id {
                if shelves.fresh.leaves_queued(*id, shelf.holdings.tally) {
                    looks.push((*id, shelf.holdings.oldest));
                }
            }
            shelves.fresh.ended()
        };
        for (id, held) in looks {
            let slice = reading::slice(database, held.from, ROWS_PER_LOOK)?;
            let mut jobs = slice.jobs.iter().flatten();
            let is_it =
                |job: &&JobInfo| job.shelf == id && job.is_queued() && !ended.contains(&job.id);
            let oldest = jobs.find(is_it);
            let (from, at) = match (oldest, slice.next) {
                (Some(job), _) => (job.id.number(), Some(job.at)),
                (None, Some(next)) => (next, held.at),
                (None, None) => continue,
            };
            if (from, at) != (held.from, held.at) {
                self.publish(id, |shelf| {
                    let oldest = &mut shelf.holdings.oldest;
                    // A job further back may have been queued again meanwhile.
                    if oldest.from == held.from {
                        oldest.from = from;
                        oldest.at = at;
                    }
                })?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Jobs forgotten with one commit: few, since a commit that frees many pages keeps others waiting.
const JOBS_PER_COMMIT: usize = 128;
/// States read for one commit of renewed keys.
const ROWS_PER_STEP: usize = 512;
const ROWS_PER_LOOK: usize = 1024;
/// By how much events may be stored out of the order in which they were taken.
const DISORDER: Duration = Duration::from_secs(60);
