//! What the writer is asked to do with jobs, and how it does it within its commit.

use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use redb::WriteTransaction;

use super::carried::Logged;
use super::codec::{encode_bytes, encode_terms};
use super::desk::{Books, Closing, Desk};
use super::fresh::Heirloom;
use super::logged::push_len;
use super::tables::{EndedKey, REPLAYS, TERMS};
use super::{
    Change, ChangeDone, Changed, Due, JobId, NewJob, NewState, PushDone, ReplayDone, ReplayId,
    Terms,
};
use crate::keepers::store::commit::EVENT_BYTES_MAX;
use crate::keepers::store::{ShelfId, StoreError};
use crate::words::time::Timestamp;

/// One thing to do, and who waits for it.
pub(in crate::keepers::store) enum JobOp {
    Push {
        job: NewJob,
        done: PushDone,
    },
    Change {
        id: JobId,
        change: Change,
        done: ChangeDone,
    },
    Terms {
        shelf: ShelfId,
        terms: Terms,
        reply: SyncSender<Result<(), StoreError>>,
    },
    Replay {
        id: ReplayId,
        /// `None` to forget it.
        row: Option<Bytes>,
        done: ReplayDone,
    },
    /// A place in the index of due jobs has no job that can be read.
    Mend {
        shelf: ShelfId,
        due: Due,
    },
}

/// What housekeeping does with jobs.
pub(in crate::keepers::store) enum JobChore {
    /// Forgets an ended job at this place of the index.
    Forget(EndedKey),
    /// The renewal of a shelf's keys that began in this second is complete.
    Renewed { shelf: ShelfId, secs: u32 },
}

/// What is to be told of an operation once it is committed.
#[derive(Clone, Copy)]
pub(in crate::keepers::store) enum Told {
    Pushed(JobId),
    Changed(Changed),
    Written,
}

/// What came of the operations of one commit, in their order.
#[derive(Default)]
pub(in crate::keepers::store) struct Worked {
    pub(in crate::keepers::store) told: Vec<Told>,
    pub(in crate::keepers::store) outcome: Outcome,
}

/// Where a commit wrote what it did to jobs.
#[derive(Default)]
pub(in crate::keepers::store) enum Outcome {
    /// It did nothing to any.
    #[default]
    Nothing,
    /// Into the tables.
    Closed(Closing),
    /// Into the log alone.
    Logged(Logged),
}

/// Does everything within `txn`, after what it takes over from the log.
pub(in crate::keepers::store) fn work(
    txn: &WriteTransaction,
    ops: &[JobOp],
    chores: &[JobChore],
    heirloom: &Heirloom,
    books: &Books,
    now: Timestamp,
) -> Result<Worked, redb::Error> {
    let mut desk = Desk::open(txn, books.clone(), now)?;
    desk.inherit(heirloom)?;
    let mut told = Vec::with_capacity(ops.len());
    for op in ops {
        told.push(match op {
            JobOp::Push { job, .. } => Told::Pushed(desk.push(job)?),
            JobOp::Change { id, change, .. } => Told::Changed(desk.change(*id, change)?),
            JobOp::Terms { shelf, terms, .. } => {
                let row = encode_terms(terms);
                txn.open_table(TERMS)?.insert(shelf.0, row.as_slice())?;
                desk.hold(*shelf, *terms);
                Told::Written
            }
            JobOp::Replay { id, row, .. } => {
                let mut replays = txn.open_table(REPLAYS)?;
                match row {
                    Some(row) => replays.insert(id.0, encode_bytes(row).as_slice())?,
                    None => replays.remove(id.0)?,
                };
                Told::Written
            }
            JobOp::Mend { shelf, due } => {
                desk.mend(*shelf, *due)?;
                Told::Written
            }
        });
    }
    for chore in chores {
        match chore {
            JobChore::Forget(place) => desk.forget(*place)?,
            JobChore::Renewed { shelf, secs } => desk.renewed(*shelf, *secs),
        }
    }
    let outcome = Outcome::Closed(desk.close(txn)?);
    Ok(Worked { told, outcome })
}

// === impl JobChore ===

impl JobChore {
    /// Whether it moves strangers' bytes, like [`JobOp::touches_bodies`].
    pub(in crate::keepers::store) fn touches_bodies(&self) -> bool {
        match self {
            Self::Forget(_) => true,
            Self::Renewed { .. } => false,
        }
    }
}

// === impl JobOp ===

impl JobOp {
    /// The job it pushes, if it is a push.
    pub(in crate::keepers::store) fn pushed(&self) -> Option<&NewJob> {
        match self {
            Self::Push { job, .. } => Some(job),
            Self::Change { .. } | Self::Terms { .. } | Self::Replay { .. } | Self::Mend { .. } => {
                None
            }
        }
    }

    /// Whether it pushes a job that the log can carry: one that waits for nobody. More than one attempt are for the
    /// tables, which keep some of them.
    pub(in crate::keepers::store) fn is_plain_push(&self) -> bool {
        self.pushed().is_some_and(|job| match job.state {
            NewState::Queued { .. } => job.order.is_none() && job.attempts.len() <= 1,
            NewState::Delivered | NewState::Dead { .. } => false,
        })
    }

    /// Whether it is a plain push that goes ahead of what needs a transaction, and beside it: a small one.
    pub(in crate::keepers::store) fn goes_ahead(&self) -> bool {
        self.is_plain_push() && self.logged_len() <= AHEAD_BYTES_MAX
    }

    /// What a push takes of a record at the most, its keys included.
    pub(in crate::keepers::store) fn logged_len(&self) -> usize {
        self.pushed()
            .map_or(0, |job| push_len(job) + EVENT_BYTES_MAX)
    }

    /// Whether somebody outside waits for it. For what has become of an attempt nobody does, but the next one, and whatever
    /// needs a transaction after it.
    pub(in crate::keepers::store) fn is_awaited(&self) -> bool {
        match self {
            Self::Push { .. } | Self::Terms { .. } | Self::Replay { .. } => true,
            Self::Change { change, .. } => matches!(change, Change::Requeue { .. }),
            Self::Mend { .. } => false,
        }
    }

    /// Bytes that it takes in memory and will take on disk.
    pub(in crate::keepers::store) fn weight(&self) -> usize {
        match self {
            Self::Push { job, .. } => OP_BYTES + job.head.len() + job.body.len(),
            Self::Replay { row, .. } => OP_BYTES + row.as_ref().map_or(0, Bytes::len),
            Self::Change { .. } | Self::Terms { .. } | Self::Mend { .. } => OP_BYTES,
        }
    }

    /// Whether it puts strangers' bytes on disk or moves those that are there.
    pub(in crate::keepers::store) fn touches_bodies(&self) -> bool {
        match self {
            Self::Push { .. } => true,
            Self::Change { change, .. } => match change {
                // A copy that is kept may take the place of others.
                Change::Delivered { .. } => true,
                Change::Retry { .. } | Change::Dead { .. } | Change::Requeue { .. } => false,
            },
            Self::Terms { .. } | Self::Replay { .. } | Self::Mend { .. } => false,
        }
    }

    /// Tells whoever waits that it is on disk.
    pub(in crate::keepers::store) fn answer(self, told: Told) {
        match (self, told) {
            (Self::Push { done, .. }, Told::Pushed(id)) => done(Ok(id)),
            (Self::Change { done, .. }, Told::Changed(changed)) => done(Ok(changed)),
            (Self::Replay { done, .. }, Told::Written) => done(Ok(())),
            (Self::Terms { reply, .. }, Told::Written) => {
                let _ = reply.send(Ok(()));
            }
            (Self::Mend { .. }, Told::Written) => {}
            // Each operation is told what `work` found for it; in any other case nothing may be claimed.
            (op, Told::Pushed(_) | Told::Changed(_) | Told::Written) => {
                op.refuse(StoreError::Unavailable);
            }
        }
    }

    /// Tells whoever waits why it was not done.
    pub(in crate::keepers::store) fn refuse(self, error: StoreError) {
        match self {
            Self::Push { done, .. } => done(Err(error)),
            Self::Change { done, .. } => done(Err(error)),
            Self::Replay { done, .. } => done(Err(error)),
            Self::Terms { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::Mend { .. } => {}
        }
    }
}

// === impl NewJob ===

impl NewJob {
    /// Bytes of head and body.
    pub(super) fn weight(&self) -> u32 {
        u32::try_from(self.head.len() + self.body.len()).unwrap_or(u32::MAX)
    }

    /// The room it takes on its shelf. What the app has is no reason to refuse anything.
    pub(in crate::keepers::store) fn room(&self) -> Option<u64> {
        match self.state {
            NewState::Queued { .. } | NewState::Dead { .. } => Some(self.weight().into()),
            NewState::Delivered => None,
        }
    }

    /// Whether the app has it already, so that its keys are settled whatever becomes of the copy.
    pub(in crate::keepers::store) fn is_with_the_app(&self) -> bool {
        match self.state {
            NewState::Delivered => true,
            NewState::Queued { .. } | NewState::Dead { .. } => false,
        }
    }
}

/// A push that goes ahead takes no more of a record: several of them find room in what the log has left.
const AHEAD_BYTES_MAX: usize = 256 * 1024;
/// What an operation weighs beside its bytes.
const OP_BYTES: usize = 256;
