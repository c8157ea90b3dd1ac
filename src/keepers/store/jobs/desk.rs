//! What happens to jobs within one transaction.
//!
//! The writer is alone, so each operation reads what the ones before it left, decides, and changes the rows
//! and indexes together. Nothing here waits or answers; what is to be told is handed back, and is true only
//! once the transaction is committed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use redb::{ReadableTable, Table, WriteTransaction};

use super::codec::{
    decode_job, encode_attempt, encode_bytes, encode_content, encode_job, encode_next,
    encode_tally, is_inline,
};
use super::tables::{
    ATTEMPTS, BODIES, CONTENTS, DUE, DueKey, ENDED, EndedKey, JOBS, NEXT, ORDERED, OrderedKey,
    TALLIES,
};
use super::tally::Tally;
use super::{
    ATTEMPTS_KEPT_LAST, AttemptRecord, Change, Changed, Due, JobId, JobInfo, JobState, NewJob,
    NewState, Terms,
};
use crate::keepers::store::ShelfId;
use crate::words::time::Timestamp;

mod heirloom;
mod room;

/// What the writer must know of the jobs on disk.
#[derive(Clone, Default, Debug)]
pub(in crate::keepers::store) struct Books {
    pub(in crate::keepers::store) next_job: u64,
    pub(in crate::keepers::store) tallies: BTreeMap<ShelfId, Tally>,
    pub(in crate::keepers::store) terms: BTreeMap<ShelfId, Terms>,
}

/// The tables of jobs, open for one transaction.
pub(super) struct Desk<'txn> {
    jobs: Table<'txn, u64, &'static [u8]>,
    contents: Table<'txn, u64, &'static [u8]>,
    bodies: Table<'txn, u64, &'static [u8]>,
    attempts: Table<'txn, (u64, u8), &'static [u8]>,
    due: Table<'txn, DueKey, ()>,
    ended: Table<'txn, EndedKey, ()>,
    ordered: Table<'txn, OrderedKey, ()>,
    books: Books,
    touched: BTreeSet<ShelfId>,
    damaged: u64,
    now: Timestamp,
}

/// The books after a transaction, and what else it found out.
#[derive(Default, Debug)]
pub(in crate::keepers::store) struct Closing {
    pub(in crate::keepers::store) books: Books,
    /// The shelves that changed, with the first due time of each.
    pub(in crate::keepers::store) next_due: BTreeMap<ShelfId, Option<Timestamp>>,
    pub(in crate::keepers::store) damaged: u64,
}

// === impl Desk ===

impl<'txn> Desk<'txn> {
    pub(super) fn open(
        txn: &'txn WriteTransaction,
        books: Books,
        now: Timestamp,
    ) -> Result<Self, redb::Error> {
        Ok(Self {
            jobs: txn.open_table(JOBS)?,
            contents: txn.open_table(CONTENTS)?,
            bodies: txn.open_table(BODIES)?,
            attempts: txn.open_table(ATTEMPTS)?,
            due: txn.open_table(DUE)?,
            ended: txn.open_table(ENDED)?,
            ordered: txn.open_table(ORDERED)?,
            books,
            touched: BTreeSet::new(),
            damaged: 0,
            now,
        })
    }

    /// Writes the books and closes the tables.
    pub(super) fn close(mut self, txn: &WriteTransaction) -> Result<Closing, redb::Error> {
        for shelf in self.touched.clone() {
            self.make_room(shelf)?;
        }
        let mut tallies = txn.open_table(TALLIES)?;
        let mut next_due = BTreeMap::new();
        for shelf in self.touched {
            if let Some(tally) = self.books.tallies.get(&shelf) {
                tallies.insert(shelf.0, encode_tally(tally).as_slice())?;
            }
            let all = (shelf.0, i64::MIN, 0)..=(shelf.0, i64::MAX, u64::MAX);
            let first = self.due.range(all)?.next().transpose()?;
            let at = first.map(|(key, _)| Timestamp::from_millis(key.value().1));
            next_due.insert(shelf, at);
        }
        tallies.insert(NEXT, encode_next(self.books.next_job).as_slice())?;
        Ok(Closing {
            books: self.books,
            next_due,
            damaged: self.damaged,
        })
    }

    pub(super) fn push(&mut self, new: &NewJob) -> Result<JobId, redb::Error> {
        let id = JobId(self.books.next_job);
        self.books.next_job += 1;
        let mut job = JobInfo {
            id,
            shelf: new.shelf,
            keys: new.keys,
            at: new.at,
            state: match new.state {
                NewState::Queued { due } => JobState::Queued { due, waits: false },
                NewState::Delivered => JobState::Delivered { at: new.at },
                NewState::Dead { reason } => JobState::Dead { at: new.at, reason },
            },
            order: new.order,
            attempts: 0,
            replayed_at: None,
            bytes: new.weight(),
        };
        for attempt in &new.attempts {
            self.record(&mut job, attempt)?;
        }
        if let JobState::Queued { due, .. } = job.state
            && let Some(order) = job.order
        {
            let waits = self.first_of(job.shelf, order)?.is_some();
            job.state = JobState::Queued { due, waits };
            self.ordered.insert((job.shelf.0, order, id.0), ())?;
        }
        self.put_content(id, &new.head, &new.body)?;
        self.put(&job)?;
        Ok(id)
    }

    pub(super) fn change(&mut self, id: JobId, change: &Change) -> Result<Changed, redb::Error> {
        let Some(mut job) = self.job(id)? else {
            return Ok(Changed::Gone);
        };
        let ended = !matches!(job.state, JobState::Queued { .. });
        let attempt = match change {
            Change::Retry { attempt, .. } | Change::Delivered { attempt, .. } => Some(attempt),
            Change::Dead { attempt, .. } => attempt.as_ref(),
            Change::Requeue { .. } => None,
        };
        let late = attempt.is_some_and(|attempt| attempt.number != job.attempts.wrapping_add(1));
        if late || ended != matches!(change, Change::Requeue { .. }) {
            return Ok(Changed::Stale);
        }
        if matches!(change, Change::Requeue { .. })
            && matches!(job.state, JobState::Delivered { .. })
            && !self.has_room_for_replay(&job)
        {
            return Ok(Changed::NoRoom);
        }
        self.take(&job)?;
        if let Some(attempt) = attempt
            && !matches!(change, Change::Delivered { keep: false, .. })
        {
            self.record(&mut job, attempt)?;
        }
        let before = job;
        match change {
            Change::Retry { due, .. } => {
                let waits = matches!(before.state, JobState::Queued { waits: true, .. });
                job.state = JobState::Queued { due: *due, waits };
                self.put(&job)?;
                return Ok(Changed::Done { next: None });
            }
            Change::Delivered { keep: true, .. } => {
                job.state = JobState::Delivered { at: self.now };
                self.put(&job)?;
            }
            Change::Delivered { keep: false, .. } => self.remove(&job)?,
            Change::Dead { reason, .. } => {
                let (at, reason) = (self.now, *reason);
                job.state = JobState::Dead { at, reason };
                self.put(&job)?;
            }
            Change::Requeue { due } => {
                job.state = JobState::Queued {
                    due: *due,
                    waits: false,
                };
                job.order = None;
                job.replayed_at = Some(*due);
                self.put(&job)?;
            }
        }
        let next = self.leave_order(&before)?;
        Ok(Changed::Done { next })
    }

    /// Forgets an ended job, unless it was queued again meanwhile.
    pub(super) fn forget(&mut self, key: EndedKey) -> Result<(), redb::Error> {
        let (shelf, dead, at, id) = key;
        if self.ended.get(key)?.is_none() {
            return Ok(());
        }
        match self.job(JobId(id))? {
            Some(job) => {
                self.take(&job)?;
                self.remove(&job)
            }
            // Of a row that cannot be read nothing is known but its place in the index.
            None => {
                self.ended.remove((shelf, dead, at, id))?;
                self.remove_rows(id, u32::MAX)
            }
        }
    }

    /// Removes a job whose row cannot be read from the indexes of what is due.
    pub(super) fn mend(&mut self, shelf: ShelfId, due: Due) -> Result<(), redb::Error> {
        let job = self.job(due.id)?;
        let sound = JobState::Queued {
            due: due.at,
            waits: false,
        };
        if job.is_some_and(|job| job.state == sound) {
            return Ok(());
        }
        self.touched.insert(shelf);
        self.due.remove((shelf.0, due.at.as_millis(), due.id.0))?;
        if job.is_some() {
            return Ok(());
        }
        let all = (shelf.0, 0, 0)..=(shelf.0, u64::MAX, u64::MAX);
        let place = self.ordered.range(all)?.find_map(|entry| {
            let key = entry.ok()?.0.value();
            (key.2 == due.id.0).then_some(key)
        });
        if let Some(place) = place {
            self.ordered.remove(place)?;
            self.promote(shelf, place.1)?;
        }
        Ok(())
    }

    /// Sets the terms of a shelf.
    pub(super) fn hold(&mut self, shelf: ShelfId, terms: Terms) {
        self.books.terms.insert(shelf, terms);
        self.touched.insert(shelf);
    }

    /// Notes when the renewal of a shelf's keys began that is complete now.
    pub(super) fn renewed(&mut self, shelf: ShelfId, secs: u32) {
        self.tally(shelf).renewed = secs;
    }

    fn job(&mut self, id: JobId) -> Result<Option<JobInfo>, redb::Error> {
        let Some(row) = self.jobs.get(id.0)? else {
            return Ok(None);
        };
        let job = decode_job(id, row.value());
        self.damaged += u64::from(job.is_none());
        Ok(job)
    }

    fn tally(&mut self, shelf: ShelfId) -> &mut Tally {
        self.touched.insert(shelf);
        self.books.tallies.entry(shelf).or_default()
    }

    fn put_content(&mut self, id: JobId, head: &Bytes, body: &Bytes) -> Result<(), redb::Error> {
        let (content, inline) = encode_content(head, body);
        self.contents.insert(id.0, content.as_slice())?;
        if !inline {
            self.bodies.insert(id.0, encode_bytes(body).as_slice())?;
        }
        Ok(())
    }

    /// Writes a job's row, its place in the index of its state, and counts it.
    fn put(&mut self, job: &JobInfo) -> Result<(), redb::Error> {
        self.tally(job.shelf).add(job);
        let (shelf, id) = (job.shelf.0, job.id.0);
        match job.state {
            JobState::Queued { waits: true, .. } => {}
            JobState::Queued { due, waits: false } => {
                self.due.insert((shelf, due.as_millis(), id), ())?;
            }
            JobState::Delivered { at } => {
                self.ended.insert((shelf, false, at.as_millis(), id), ())?;
            }
            JobState::Dead { at, .. } => {
                self.ended.insert((shelf, true, at.as_millis(), id), ())?;
            }
        }
        self.jobs.insert(id, encode_job(job).as_slice())?;
        Ok(())
    }

    /// Takes a job out of the index of its state and of the count; its rows stay.
    fn take(&mut self, job: &JobInfo) -> Result<(), redb::Error> {
        self.tally(job.shelf).take(job);
        let (shelf, id) = (job.shelf.0, job.id.0);
        match job.state {
            JobState::Queued { waits: true, .. } => {}
            JobState::Queued { due, waits: false } => {
                self.due.remove((shelf, due.as_millis(), id))?;
            }
            JobState::Delivered { at } => {
                self.ended.remove((shelf, false, at.as_millis(), id))?;
            }
            JobState::Dead { at, .. } => {
                self.ended.remove((shelf, true, at.as_millis(), id))?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, job: &JobInfo) -> Result<(), redb::Error> {
        self.remove_rows(job.id.0, job.attempts)
    }

    fn remove_rows(&mut self, id: u64, attempts: u32) -> Result<(), redb::Error> {
        self.jobs.remove(id)?;
        let content = self.contents.remove(id)?;
        let inline = content.is_some_and(|row| is_inline(row.value()));
        if !inline {
            self.bodies.remove(id)?;
        }
        for number in 1..=attempts.min(ATTEMPTS_KEPT_LAST + 1) {
            self.attempts.remove((id, slot(number)))?;
        }
        Ok(())
    }

    fn record(&mut self, job: &mut JobInfo, attempt: &AttemptRecord) -> Result<(), redb::Error> {
        job.attempts = job.attempts.max(attempt.number);
        let key = (job.id.0, slot(attempt.number));
        self.attempts
            .insert(key, encode_attempt(attempt).as_slice())?;
        Ok(())
    }

    /// Takes a job that left the queue out of its subject's order and makes the next one due.
    fn leave_order(&mut self, job: &JobInfo) -> Result<Option<Due>, redb::Error> {
        let (JobState::Queued { waits, .. }, Some(order)) = (job.state, job.order) else {
            return Ok(None);
        };
        self.ordered.remove((job.shelf.0, order, job.id.0))?;
        match waits {
            true => Ok(None),
            false => self.promote(job.shelf, order),
        }
    }

    /// Makes the first job of a subject due at once.
    fn promote(&mut self, shelf: ShelfId, order: u64) -> Result<Option<Due>, redb::Error> {
        while let Some(id) = self.first_of(shelf, order)? {
            if let Some(mut job) = self.job(id)?
                && let JobState::Queued { due, .. } = job.state
            {
                let at = due.min(self.now);
                self.take(&job)?;
                job.state = JobState::Queued {
                    due: at,
                    waits: false,
                };
                self.put(&job)?;
                return Ok(Some(Due { at, id }));
            }
            // It cannot be read, so it cannot be delivered; its subject goes on without it.
            self.ordered.remove((shelf.0, order, id.0))?;
        }
        Ok(None)
    }

    fn first_of(&self, shelf: ShelfId, order: u64) -> Result<Option<JobId>, redb::Error> {
        let all = (shelf.0, order, 0)..=(shelf.0, order, u64::MAX);
        let first = self.ordered.range(all)?.next().transpose()?;
        Ok(first.map(|(key, _)| JobId(key.value().2)))
    }
}

/// Where an attempt is kept: the first for good, the others in turn.
fn slot(number: u32) -> u8 {
    match number {
        0 | 1 => 0,
        // Below 32.
        later => 1 + u8::try_from((later - 2) % ATTEMPTS_KEPT_LAST).unwrap_or(0),
    }
}
