//! What waits for the writer.
//!
//! What settles, and jobs that are pushed and that the log can carry, wait apart from all the rest: they have nothing to
//! do with it, and can be written beside a transaction.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::SyncSender;

use super::beside::Ended;
use super::codec::ShelfRow;
use super::commit::{Batch, EVENT_BYTES_MAX, Entries};
use super::jobs::ops::{JobChore, JobOp};
use super::jobs::tally::Room;
use super::tables::Change;
use super::tuning::Tuning;
use super::unwritten::Entry;
use super::{Done, Keep, ShelfId, StoreError};

/// What waits for the writer.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) settles: VecDeque<Settling>,
    /// Those that go ahead.
    pub(super) pushes: VecDeque<Waiting>,
    pub(super) ops: VecDeque<Op>,
    /// What the jobs among `pushes` and `ops` weigh.
    pub(super) bytes: usize,
    /// The room that each shelf has for jobs.
    pub(super) rooms: BTreeMap<ShelfId, Room>,
    pub(super) chore: Option<Chore>,
    /// What the writer sleeps for; for anything else nobody need wake it.
    pub(super) awaited: Awaited,
    /// How the commit of that number ended, for which the writer waits.
    pub(super) committed: Option<(u64, Box<Ended>)>,
    /// A reader met a fault in this epoch, so the file must be opened anew.
    pub(super) fault: Option<(u64, String)>,
    /// The writer ends once nothing waits.
    pub(super) closing: bool,
    /// The writer has ended: nobody answers any more.
    pub(super) ended: bool,
    pub(super) tidy_closing: bool,
    pub(super) tidy_wanted: bool,
}

/// An event that settles with the next commit.
pub(super) struct Settling {
    pub(super) entries: Entries,
    /// Running time in milliseconds.
    pub(super) queued: u64,
    pub(super) done: Done,
}

/// An operation on a job that waits.
pub(super) struct Waiting {
    pub(super) op: JobOp,
    /// Running time in milliseconds.
    pub(super) queued: u64,
}

/// What else is written with the next commit.
pub(super) enum Op {
    Job(Waiting),
    Shelf {
        name: String,
        keep: Keep,
        reply: SyncSender<Result<ShelfId, StoreError>>,
    },
}

/// Changes of housekeeping that ride along with a commit.
pub(super) struct Chore {
    pub(super) epoch: u64,
    pub(super) changes: Vec<Change>,
    pub(super) jobs: Vec<JobChore>,
    /// Keys to be journalled again.
    pub(super) keys: Vec<Entry>,
    /// Told whether the changes are on disk.
    pub(super) reply: SyncSender<bool>,
}

/// Pushes that would go beside a transaction, but that only one can take.
#[derive(Default)]
pub(super) struct HeldBack {
    /// The log takes none: the disk has too little room to take them over.
    pub(super) all: bool,
    /// These shelves must forget copies for what is pushed.
    pub(super) shelves: BTreeSet<ShelfId>,
}

/// What a sleeping writer is to be woken for.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Awaited {
    /// It does not sleep, and looks by itself.
    #[default]
    Nothing,
    /// For what can be written beside a transaction.
    Records,
    Anything,
}

// === impl Queue ===

impl Queue {
    /// How many settles and operations wait.
    pub(super) fn waiting(&self) -> usize {
        self.settles.len() + self.pushes.len() + self.ops.len()
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.chore.is_none()
    }

    /// When the one that has waited longest was queued.
    pub(super) fn waits_since(&self) -> Option<u64> {
        let settle = self.settles.front().map(|settling| settling.queued);
        let push = self.pushes.front().map(|waiting| waiting.queued);
        let job = self.ops.iter().find_map(Op::queued);
        settle.into_iter().chain(push).chain(job).min()
    }

    /// What the next commit takes along.
    pub(super) fn next_batch(&mut self, tuning: &Tuning) -> Batch {
        let mut batch = self.next_settles(tuning.commit_ops_max);
        batch.chore = self.chore.take();
        let (mut ops, mut bytes) = (0, 0);
        while ops < tuning.commit_ops_max
            && let Some(weight) = self.next_weight()
            && (ops == 0 || bytes + weight <= tuning.commit_bytes_max)
        {
            self.move_next(&mut batch);
            ops += 1;
            bytes += weight;
        }
        batch
    }

    /// What can be written beside a transaction, into `room` bytes of the log: what settles, and pushes that are not
    /// held back.
    pub(super) fn next_records(
        &mut self,
        tuning: &Tuning,
        room: usize,
        held_back: &HeldBack,
    ) -> Batch {
        let most = tuning.commit_ops_max;
        let mut batch = self.next_settles(most.min(room / EVENT_BYTES_MAX));
        let mut left = room_for_pushes(room, batch.settles.len());
        let mut passed_over = Vec::new();
        let may_go =
            |waiting: &Waiting| waiting.op.logged_len() <= left && !held_back.holds(&waiting.op);
        // Moving them for nothing, whenever one more comes, would take the time of all who settle meanwhile.
        if left == 0 || held_back.all || !self.pushes.iter().take(most).any(may_go) {
            return batch;
        }
        while batch.jobs.len() + passed_over.len() < most
            && let Some(waiting) = self.pushes.pop_front()
        {
            let fitting = left.checked_sub(waiting.op.logged_len());
            match fitting.filter(|_| !held_back.holds(&waiting.op)) {
                Some(rest) => {
                    left = rest;
                    self.add(&mut batch, waiting);
                }
                None => passed_over.push(waiting),
            }
        }
        for waiting in passed_over.into_iter().rev() {
            self.pushes.push_front(waiting);
        }
        batch
    }

    /// Whether somebody outside waits for what only a transaction can do.
    pub(super) fn awaits_transaction(&self) -> bool {
        self.ops.iter().any(|op| match op {
            Op::Job(waiting) => waiting.op.is_awaited(),
            Op::Shelf { .. } => true,
        })
    }

    /// Puts back pushes that were taken, in front of all others.
    pub(super) fn put_back(&mut self, pushes: Vec<JobOp>, queued: u64) {
        for op in pushes.into_iter().rev() {
            self.bytes += op.weight();
            self.pushes.push_front(Waiting { op, queued });
        }
    }

    /// At most so many of those that settle.
    pub(super) fn next_settles(&mut self, most: usize) -> Batch {
        let settles = self.settles.drain(..most.min(self.settles.len()));
        Batch {
            settles: settles
                .map(|settling| (settling.entries, settling.done))
                .collect(),
            ..Batch::default()
        }
    }

    /// All that waits.
    pub(super) fn take_all(&mut self) -> Batch {
        let mut batch = self.next_settles(usize::MAX);
        batch.chore = self.chore.take();
        while self.next_weight().is_some() {
            self.move_next(&mut batch);
        }
        batch
    }

    /// What of pushes and all the rest is next weighs so much.
    fn next_weight(&self) -> Option<usize> {
        match self.is_push_next() {
            true => self.pushes.front().map(|waiting| waiting.op.weight()),
            false => self.ops.front().map(Op::weight),
        }
    }

    /// Whether a push has waited longest of what is neither settles nor housekeeping.
    fn is_push_next(&self) -> bool {
        match (self.pushes.front(), self.ops.front()) {
            (Some(push), Some(op)) => op.queued().is_some_and(|queued| push.queued <= queued),
            (push, _) => push.is_some(),
        }
    }

    fn move_next(&mut self, batch: &mut Batch) {
        if self.is_push_next() {
            return self.move_push(batch);
        }
        match self.ops.pop_front() {
            Some(Op::Job(waiting)) => self.add(batch, waiting),
            Some(Op::Shelf { name, keep, reply }) => {
                batch.shelves.push((ShelfRow { name, keep }, reply));
            }
            None => {}
        }
    }

    fn move_push(&mut self, batch: &mut Batch) {
        if let Some(waiting) = self.pushes.pop_front() {
            self.add(batch, waiting);
        }
    }

    fn add(&mut self, batch: &mut Batch, Waiting { op, queued }: Waiting) {
        self.bytes = self.bytes.saturating_sub(op.weight());
        batch.jobs_wait_since.get_or_insert(queued);
        batch.jobs.push(op);
    }
}

// === impl HeldBack ===

impl HeldBack {
    pub(super) fn holds(&self, op: &JobOp) -> bool {
        let shelf = op.pushed().map(|job| job.shelf);
        self.all || shelf.is_some_and(|shelf| self.shelves.contains(&shelf))
    }
}

// === impl Op ===

impl Op {
    /// Bytes of jobs that it carries.
    fn weight(&self) -> usize {
        match self {
            Self::Job(waiting) => waiting.op.weight(),
            Self::Shelf { .. } => 0,
        }
    }

    /// When it was queued, if it is about a job.
    fn queued(&self) -> Option<u64> {
        match self {
            Self::Job(waiting) => Some(waiting.queued),
            Self::Shelf { .. } => None,
        }
    }
}

// === impl Awaited ===

impl Awaited {
    /// Whether the writer is to be woken for what can be written beside a transaction; then it need not be woken again.
    pub(super) fn take_for_records(&mut self) -> bool {
        std::mem::take(self) != Self::Nothing
    }

    /// Whether the writer is to be woken for anything else; then it need not be woken again.
    pub(super) fn take_for_anything(&mut self) -> bool {
        let is_awaited = *self == Self::Anything;
        if is_awaited {
            *self = Self::Nothing;
        }
        is_awaited
    }
}

/// What pushes may take of `room` bytes of the log beside so many settles: not the last of it. Large events of one route
/// must not keep what settles on others waiting for a transaction.
pub(super) fn room_for_pushes(room: usize, settles: usize) -> usize {
    room.saturating_sub(settles * EVENT_BYTES_MAX)
        .saturating_sub(SETTLES_BYTES)
}

/// So much of the log's room is left to what settles: a page for each of some sixty records.
const SETTLES_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepers::store::tests::jobs::pushing;

    fn push(shelf: u32, order: Option<u64>) -> JobOp {
        pushing(ShelfId(shelf), order)
    }

    /// A queue of pushes to these shelves, queued one after the other.
    fn queue(shelves: &[u32]) -> Queue {
        let mut queue = Queue::default();
        for (queued, shelf) in (0..).zip(shelves) {
            let op = push(*shelf, None);
            queue.bytes += op.weight();
            queue.pushes.push_back(Waiting { op, queued });
        }
        queue
    }

    fn shelves<'a>(ops: impl Iterator<Item = &'a JobOp>) -> Vec<u32> {
        ops.filter_map(|op| Some(op.pushed()?.shelf.0)).collect()
    }

    #[test]
    fn what_is_put_back_stands_where_it_was_and_weighs_what_it_did() {
        let mut queue = queue(&[1, 2, 3, 4]);
        let bytes = queue.bytes;
        let tuning = Tuning {
            commit_ops_max: 3,
            ..Tuning::default()
        };
        let taken = queue.next_records(&tuning, usize::MAX, &HeldBack::default());
        assert_eq!(shelves(taken.jobs.iter()), [1, 2, 3]);
        assert!(queue.bytes < bytes);
        queue.put_back(taken.jobs, 0);
        assert_eq!(queue.bytes, bytes);
        let left = queue.pushes.iter().map(|waiting| &waiting.op);
        assert_eq!(shelves(left), [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_held_back_or_finds_no_room_is_passed_over() {
        let mut queue = queue(&[1, 2, 1, 2, 2]);
        let held_back = HeldBack {
            shelves: BTreeSet::from([ShelfId(1)]),
            ..HeldBack::default()
        };
        let room = SETTLES_BYTES + 2 * push(1, None).logged_len();
        let taken = queue.next_records(&Tuning::default(), room, &held_back);
        assert_eq!(shelves(taken.jobs.iter()), [2, 2]);
        let left = queue.pushes.iter().map(|waiting| &waiting.op);
        assert_eq!(shelves(left), [1, 1, 2]);
        let all = HeldBack {
            all: true,
            ..HeldBack::default()
        };
        let taken = queue.next_records(&Tuning::default(), usize::MAX, &all);
        assert!(taken.is_empty());
    }

    #[test]
    fn pushes_and_the_rest_take_turns_by_their_age() {
        let mut queue = queue(&[1, 2, 3]);
        let op = push(9, Some(1));
        queue.bytes += op.weight();
        queue.ops.push_back(Op::Job(Waiting { op, queued: 1 }));
        assert_eq!(queue.waits_since(), Some(0));
        let tuning = Tuning {
            commit_ops_max: 3,
            ..Tuning::default()
        };
        assert!(queue.awaits_transaction());
        let batch = queue.next_batch(&tuning);
        assert_eq!(shelves(batch.jobs.iter()), [1, 2, 9]);
        assert_eq!(queue.waits_since(), Some(2));
        assert!(!queue.awaits_transaction());
        assert_eq!(shelves(queue.take_all().jobs.iter()), [3]);
        assert_eq!(queue.bytes, 0);
    }
}
