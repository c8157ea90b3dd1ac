//! The queue of a store in a file: it asks the writer for changes, and reads memory and the disk itself.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use redb::Database;

use super::fresh::Known;
use super::ops::JobOp;
use super::{
    AttemptRecord, Change, ChangeDone, Due, JobId, JobView, NewJob, PushDone, Queue, ReplayDone,
    ReplayId, Selection, ShelfCounts, StoredJob, Terms, reading,
};
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::queue::{Op, Waiting};
use crate::keepers::store::vault::{Shelves, Vault};
use crate::keepers::store::{ShelfId, StoreError};
use crate::words::identity::Key;
use crate::words::time::Timestamp;

/// Where a job that is asked for is.
enum Found {
    /// In memory, or nowhere.
    Here(Option<StoredJob>),
    InTables(JobId),
}

impl Queue for Embedded {
    fn hold(&self, shelf: ShelfId, terms: Terms) -> Result<(), StoreError> {
        let held = self
            .vault
            .shelves()
            .by_id
            .get(&shelf)
            .map(|shelf| shelf.holdings.terms);
        match held {
            None => return Err(StoreError::Unavailable),
            Some(held) if held == Some(terms) => return Ok(()),
            Some(_) => {}
        }
        let (reply, answer) = sync_channel(1);
        self.vault.submit(JobOp::Terms {
            shelf,
            terms,
            reply,
        });
        answer.recv().unwrap_or(Err(StoreError::Closed))
    }

    fn push(&self, job: NewJob, done: PushDone) {
        self.vault.submit(JobOp::Push { job, done });
    }

    fn change(&self, id: JobId, change: Change, done: ChangeDone) {
        self.vault.submit(JobOp::Change { id, change, done });
    }

    fn due(
        &self,
        shelf: ShelfId,
        until: Option<Timestamp>,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let (fresh, ended, stored) = self.vault.asking(|shelves| {
            let fresh = shelves.fresh.due(shelf, until, after, limit);
            let stored = shelves.stored_due(shelf, until);
            (fresh, shelves.fresh.ended(), stored)
        })?;
        // Where all that is queued is in the log, as it is while the app keeps up, no table is read.
        let Some(first) = stored else {
            return Ok(fresh);
        };
        let read = self.vault.reading(|database| {
            reading::due(database, shelf, until, after, limit, first, &ended)
        })?;
        for due in read.broken {
            self.vault.count_damaged(1);
            self.vault.submit(JobOp::Mend { shelf, due });
        }
        Ok(merged(fresh, read.due, limit))
    }

    fn next_due(&self, shelf: ShelfId) -> Option<Timestamp> {
        self.vault.shelves().next_due(shelf)
    }

    fn is_at_hand(&self, shelf: ShelfId, until: Option<Timestamp>) -> bool {
        self.vault.shelves().stored_due(shelf, until).is_none()
    }

    fn load(&self, ids: &[JobId], with_body: bool) -> Result<Vec<Option<StoredJob>>, StoreError> {
        let mut found = self.vault.asking(|shelves| {
            let found = ids.iter().map(|id| match shelves.fresh.known(*id) {
                Known::Fresh(job) => Found::Here(Some(job.stored(with_body))),
                Known::Ended => Found::Here(None),
                Known::Nothing => Found::InTables(*id),
            });
            found.collect::<Vec<_>>()
        })?;
        let rest: Vec<JobId> = found.iter().filter_map(Found::rest).collect();
        let mut read = Vec::new();
        if !rest.is_empty() {
            read = self.counting(|database| reading::load(database, &rest, with_body))?;
        }
        let mut read = read.into_iter();
        let job = |found: Found| match found {
            Found::Here(job) => job,
            Found::InTables(_) => read.next().flatten(),
        };
        Ok(found.drain(..).map(job).collect())
    }

    fn attempts(&self, id: JobId) -> Result<Vec<AttemptRecord>, StoreError> {
        let here = self.vault.asking(|shelves| match shelves.fresh.known(id) {
            Known::Fresh(job) => Some(job.attempt.iter().cloned().collect()),
            Known::Ended => Some(Vec::new()),
            Known::Nothing => None,
        })?;
        match here {
            Some(attempts) => Ok(attempts),
            None => self.counting(|database| reading::attempts(database, id)),
        }
    }

    fn find(&self, shelf: Option<ShelfId>, content: Key) -> Result<Option<JobId>, StoreError> {
        self.vault.find_job(shelf, content)
    }

    fn walk(
        &self,
        from: Option<JobId>,
        selection: Selection,
        scan_max: usize,
        visit: &mut dyn FnMut(&JobView<'_>) -> ControlFlow<()>,
    ) -> Result<Option<JobId>, StoreError> {
        let from = from.map_or(u64::MAX, JobId::number);
        let (fresh, ended) = self.vault.asking(|shelves| {
            let fresh = shelves.fresh.down_from(from, scan_max.saturating_add(1));
            (fresh, shelves.fresh.ended())
        })?;
        let (mut next, mut left) = (Some(from), scan_max);
        // They are the newest: all that was taken over has lower numbers.
        for job in fresh {
            let info = &job.info;
            if left == 0 {
                return Ok(Some(info.id));
            }
            left -= 1;
            next = info.id.0.checked_sub(1);
            let head = &job.head;
            if selection.takes(info) && visit(&JobView { info, head }).is_break() {
                return Ok(next.map(JobId));
            }
        }
        while let Some(from) = next {
            let rows = left.min(ROWS_PER_READ);
            let (after, go_on) = self.vault.reading(|database| {
                reading::show(database, from, selection, rows, &ended, visit)
            })?;
            next = after;
            left -= rows;
            if left == 0 || go_on.is_break() {
                break;
            }
        }
        Ok(next.map(JobId))
    }

    fn counts(&self) -> Vec<ShelfCounts> {
        let shelves = self.vault.shelves();
        let counts = shelves.by_id.iter().map(|(id, shelf)| {
            let tally = shelves.tally(*id);
            ShelfCounts {
                shelf: *id,
                name: shelf.name.clone(),
                queued: tally.queued,
                delivered: tally.delivered,
                dead: tally.dead,
                oldest_queued: shelves.oldest_queued(*id),
            }
        });
        counts.collect()
    }

    fn put_replay(&self, id: ReplayId, row: Bytes, done: ReplayDone) {
        let row = Some(row);
        self.vault.submit(JobOp::Replay { id, row, done });
    }

    fn remove_replay(&self, id: ReplayId, done: ReplayDone) {
        let row = None;
        self.vault.submit(JobOp::Replay { id, row, done });
    }

    fn replay(&self, id: ReplayId) -> Result<Option<Bytes>, StoreError> {
        self.vault.reading(|database| reading::replay(database, id))
    }

    fn replays(&self) -> Result<Vec<(ReplayId, Bytes)>, StoreError> {
        self.counting(reading::replays)
    }
}

impl Embedded {
    /// Reads, and counts what could not be read.
    fn counting<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<(T, u64), redb::Error>,
    ) -> Result<T, StoreError> {
        let (found, damaged) = self.vault.reading(read)?;
        self.vault.count_damaged(damaged);
        Ok(found)
    }
}

// === impl Vault ===

impl Vault {
    /// Queues an operation for the writer, or refuses it on the spot.
    fn submit(&self, op: JobOp) {
        let known = op
            .pushed()
            .is_none_or(|job| self.shelves().by_id.contains_key(&job.shelf));
        let goes_ahead = op.goes_ahead();
        let refused = {
            let mut queue = self.queue();
            let full = queue.waiting() >= self.tuning.queue_ops_max
                || queue.bytes.saturating_add(op.weight()) > self.tuning.queue_bytes_max;
            if queue.closing {
                StoreError::Closed
            } else if !known {
                StoreError::Unavailable
            } else if full {
                StoreError::Full
            } else if !queue.finds_room(&op) {
                StoreError::ShelfFull
            } else {
                let queued = self.running_ms();
                self.begins_to_wait(queued);
                queue.bytes += op.weight();
                let waiting = Waiting { op, queued };
                let is_awaited = match goes_ahead {
                    true => {
                        queue.pushes.push_back(waiting);
                        queue.awaited.take_for_records()
                    }
                    false => {
                        queue.ops.push_back(Op::Job(waiting));
                        queue.awaited.take_for_anything()
                    }
                };
                drop(queue);
                // Waking costs a system call, and a writer at work looks by itself.
                if is_awaited {
                    self.work.notify_one();
                }
                return;
            }
        };
        if let Some(job) = op.pushed()
            && known
        {
            self.remember_delivered(job);
        }
        op.refuse(refused);
    }

    /// Asks memory what the log says, on the terms on which the tables are read.
    pub(super) fn asking<T>(&self, ask: impl FnOnce(&Shelves) -> T) -> Result<T, StoreError> {
        if self.queue().closing {
            return Err(StoreError::Closed);
        }
        let shelves = self.shelves();
        match shelves.database {
            Some(_) => Ok(ask(&shelves)),
            None => Err(StoreError::Unavailable),
        }
    }

    /// Reads the file as it is now; a fault on the way closes it.
    pub(super) fn reading<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        if self.queue().closing {
            return Err(StoreError::Closed);
        }
        let (database, epoch) = {
            let shelves = self.shelves();
            let database = shelves.database.clone().ok_or(StoreError::Unavailable)?;
            (database, shelves.epoch)
        };
        let found = read(&database);
        // The handle must be gone before the writer opens the file anew.
        drop(database);
        found.map_err(|error| {
            self.report_fault(epoch, &error);
            StoreError::Unavailable
        })
    }
}

// === impl Found ===

impl Found {
    fn rest(&self) -> Option<JobId> {
        match self {
            Self::Here(_) => None,
            Self::InTables(id) => Some(*id),
        }
    }
}

/// Both in one order, and a job that was taken over meanwhile once, as it was asked for first.
fn merged(fresh: Vec<Due>, stored: Vec<Due>, limit: usize) -> Vec<Due> {
    let known: HashSet<JobId> = fresh.iter().map(|due| due.id).collect();
    let mut all = fresh;
    all.extend(stored.into_iter().filter(|due| !known.contains(&due.id)));
    all.sort_unstable();
    all.truncate(limit);
    all
}

/// Rows looked at within one read transaction.
pub(super) const ROWS_PER_READ: usize = 1024;
