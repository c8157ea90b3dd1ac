//! What memory knows of the queue after a commit: counts, due times, and the room for others.

use std::collections::BTreeMap;

use super::carried::Logged;
use super::desk::Closing;
use super::ops::JobOp;
use super::tally::Tally;
use super::{Change, JobId, NewJob, NewState, Volume};
use crate::keepers::store::ShelfId;
use crate::keepers::store::unwritten::Entry;
use crate::keepers::store::vault::{Shelves, Vault};
use crate::words::time::Timestamp;

impl Vault {
    /// Makes what a transaction did to jobs visible: counts, due times, terms, and the room for others. What the log
    /// held when it was planned is in the tables now, and leaves memory in the same step.
    pub(in crate::keepers::store) fn publish_jobs(&self, ops: &[JobOp], closing: &Closing) {
        self.count_damaged(closing.damaged);
        let (taken_over, held) = {
            let mut shelves = self.shelves_mut();
            let beside = JobId(closing.books.next_job);
            let taken_over = shelves.fresh.take_over(beside);
            for (id, shelf) in &mut shelves.by_id {
                // The one that was the oldest has ended with all that the tables had.
                if !taken_over.leaves_queued(*id, shelf.holdings.tally) {
                    shelf.holdings.oldest.at = None;
                }
            }
            for job in taken_over.jobs() {
                if let Some(shelf) = shelves.by_id.get_mut(&job.info.shelf) {
                    shelf.holdings.oldest.at.get_or_insert(job.info.at);
                }
            }
            for op in ops {
                match op {
                    JobOp::Push { job, .. } => {
                        if let Some(shelf) = shelves.by_id.get_mut(&job.shelf)
                            && matches!(job.state, NewState::Queued { .. })
                        {
                            shelf.holdings.oldest.at.get_or_insert(job.at);
                        }
                    }
                    // Whose job it is stands on disk; looking again from there costs no shelf much.
                    JobOp::Change {
                        id,
                        change: Change::Requeue { .. },
                        ..
                    } => {
                        for shelf in shelves.by_id.values_mut() {
                            let from = &mut shelf.holdings.oldest.from;
                            *from = id.number().min(*from);
                        }
                    }
                    JobOp::Terms { shelf, terms, .. } => {
                        if let Some(shelf) = shelves.by_id.get_mut(shelf) {
                            shelf.holdings.terms = Some(*terms);
                        }
                    }
                    JobOp::Change { .. } | JobOp::Replay { .. } | JobOp::Mend { .. } => {}
                }
            }
            for (id, next_due) in &closing.next_due {
                if let Some(shelf) = shelves.by_id.get_mut(id) {
                    let tally = closing.books.tallies.get(id).copied();
                    shelf.holdings.publish(tally.unwrap_or_default(), *next_due);
                }
            }
            let tallies = closing.books.tallies.iter();
            let held = tallies.map(|(id, tally)| (*id, shelves.fresh.over(*id, *tally).bounded()));
            let held: Vec<(ShelfId, Volume)> = held.collect();
            (taken_over, held)
        };
        // Freed after the lock is released: there may be many jobs.
        drop(taken_over);
        let mut queue = self.queue();
        for (id, volume) in held {
            queue.rooms.entry(id).or_default().stored = volume;
        }
        for op in ops {
            match op {
                JobOp::Push { job, .. } => queue.leave_room(job),
                JobOp::Terms { shelf, terms, .. } => {
                    queue.rooms.entry(*shelf).or_default().terms = Some(*terms);
                }
                JobOp::Change { .. } | JobOp::Replay { .. } | JobOp::Mend { .. } => {}
            }
        }
    }

    /// Makes what a record of the log says of jobs visible.
    pub(in crate::keepers::store) fn publish_logged(&self, ops: &[JobOp], logged: Logged) {
        let mut held: BTreeMap<ShelfId, Volume> = BTreeMap::new();
        {
            let mut shelves = self.shelves_mut();
            for job in logged.pushed {
                held.insert(job.info.shelf, Volume::default());
                shelves.fresh.push(job);
            }
            for end in &logged.ended {
                held.insert(end.info.shelf, Volume::default());
                shelves.fresh.end(end);
            }
            for (id, next_due) in logged.next_due {
                if let Some(shelf) = shelves.by_id.get_mut(&id) {
                    shelf.holdings.next_due = next_due;
                }
            }
            for (id, volume) in &mut held {
                *volume = shelves.tally(*id).bounded();
            }
        }
        let mut queue = self.queue();
        for (id, volume) in held {
            queue.rooms.entry(id).or_default().stored = volume;
        }
        for job in ops.iter().filter_map(JobOp::pushed) {
            queue.leave_room(job);
        }
    }

    /// Gives back the room of jobs that were not stored. What the app has stays settled in memory.
    pub(in crate::keepers::store) fn drop_jobs(&self, ops: &[JobOp]) {
        for job in ops.iter().filter_map(JobOp::pushed) {
            self.queue().leave_room(job);
            self.remember_delivered(job);
        }
    }

    /// Keeps the keys of a job that was pushed as delivered until they can be written.
    pub(in crate::keepers::store) fn remember_delivered(&self, job: &NewJob) {
        if job.is_with_the_app() {
            let (shelf, secs) = (job.shelf, job.at.as_stored_secs());
            let mut shelves = self.shelves_mut();
            for key in job.keys.iter() {
                let entry = Entry { shelf, key, secs };
                shelves
                    .unwritten
                    .push(entry, self.tuning.unwritten_keys_max);
            }
        }
    }
}

// === impl Shelves ===

impl Shelves {
    /// What a shelf holds in all, in the tables and in the log alone.
    pub(super) fn tally(&self, id: ShelfId) -> Tally {
        let stored = self.by_id.get(&id).map(|shelf| shelf.holdings.tally);
        self.fresh.over(id, stored.unwrap_or_default())
    }

    /// When the first job of a shelf is due that lies in the tables, if it is due by `until`.
    pub(super) fn stored_due(&self, id: ShelfId, until: Option<Timestamp>) -> Option<Timestamp> {
        let first = self.by_id.get(&id)?.holdings.next_due?;
        until.is_none_or(|until| first <= until).then_some(first)
    }

    /// When the first job of a shelf is due.
    pub(super) fn next_due(&self, id: ShelfId) -> Option<Timestamp> {
        let stored = self.stored_due(id, None);
        stored.into_iter().chain(self.fresh.next_due(id)).min()
    }

    /// When the oldest queued event of a shelf was taken. Those of the log alone are the newest.
    pub(super) fn oldest_queued(&self, id: ShelfId) -> Option<Timestamp> {
        let holdings = &self.by_id.get(&id)?.holdings;
        match self.fresh.leaves_queued(id, holdings.tally) {
            true => holdings.oldest.at,
            false => self.fresh.oldest(id),
        }
    }
}
