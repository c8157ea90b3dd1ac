//! What waits for the writer.
//!
//! What settles waits apart from all the rest: it has nothing to do with it, and can be written beside a transaction.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::SyncSender;

use super::beside::Ended;
use super::codec::ShelfRow;
use super::commit::{Batch, Entries};
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
    pub(super) ops: VecDeque<Op>,
    /// What the jobs among `ops` weigh.
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

/// What else is written with the next commit.
pub(super) enum Op {
    Job {
        op: JobOp,
        /// Running time in milliseconds.
        queued: u64,
    },
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

/// What a sleeping writer is to be woken for.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Awaited {
    /// It does not sleep, and looks by itself.
    #[default]
    Nothing,
    /// For what settles.
    Settles,
    Anything,
}

// === impl Queue ===

impl Queue {
    /// How many settles and operations wait.
    pub(super) fn waiting(&self) -> usize {
        self.settles.len() + self.ops.len()
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.chore.is_none()
    }

    /// When the one that has waited longest was queued.
    pub(super) fn waits_since(&self) -> Option<u64> {
        let settle = self.settles.front().map(|settling| settling.queued);
        let job = self.ops.iter().find_map(|op| match op {
            Op::Job { queued, .. } => Some(*queued),
            Op::Shelf { .. } => None,
        });
        settle.into_iter().chain(job).min()
    }

    /// What the next commit takes along.
    pub(super) fn next_batch(&mut self, tuning: &Tuning) -> Batch {
        let mut batch = self.next_settles(tuning.commit_ops_max);
        let bound = self.next_commit(tuning);
        self.move_into(&mut batch, bound);
        batch
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
        self.bytes = 0;
        let mut batch = self.next_settles(usize::MAX);
        self.move_into(&mut batch, self.ops.len());
        batch
    }

    fn move_into(&mut self, batch: &mut Batch, ops: usize) {
        batch.chore = self.chore.take();
        for op in self.ops.drain(..ops) {
            match op {
                Op::Job { op, queued } => {
                    batch.jobs_wait_since.get_or_insert(queued);
                    batch.jobs.push(op);
                }
                Op::Shelf { name, keep, reply } => {
                    batch.shelves.push((ShelfRow { name, keep }, reply));
                }
            }
        }
    }
}

// === impl Op ===

impl Op {
    /// Bytes of jobs that it carries.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Job { op, .. } => op.weight(),
            Self::Shelf { .. } => 0,
        }
    }
}

// === impl Awaited ===

impl Awaited {
    /// Whether the writer is to be woken for what settles; then it need not be woken again.
    pub(super) fn take_for_settles(&mut self) -> bool {
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
