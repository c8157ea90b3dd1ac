//! Settling and pushing beside a transaction that is being made and committed.
//!
//! # Why
//! A transaction writes dozens of pages, is synced up to twice, and takes many times as long as a record of the log. What
//! settles needs none, nor does a job that is pushed and waits for nobody, and their senders wait: so another thread makes
//! and commits the transaction, and records go on meanwhile, behind those that it takes over. There are two such threads.
//! One is as quick as any; the other is for what no sender waits for, what has become of attempts, and steps back where a
//! processor is wanted by others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::commit::{Batch, Rows};
use super::embedded::spawn;
use super::jobs::ops::{JobOp, Worked};
use super::open_error::OpenError;
use super::queue::{Awaited, HeldBack};
use super::transaction::Transaction;
use super::vault::Vault;
use super::wal::Turn;
use super::writer::Writer;

/// A transaction that is to be made and committed for a batch, whose rows these are.
pub(super) struct Planned {
    pub(super) transaction: Transaction,
    pub(super) rows: Rows,
    pub(super) batch: Batch,
}

/// What has become of it: what it did, or why nobody knows whether it happened.
pub(super) struct Ended {
    pub(super) rows: Rows,
    pub(super) batch: Batch,
    pub(super) result: Result<(Turn, Worked), String>,
}

/// The threads that commit. What they are given they end before they end themselves.
pub(super) struct Committers {
    /// For what a sender waits for.
    awaited: Committer,
    /// For what none waits for.
    patient: Committer,
    /// How many transactions they were given: each has a number, so that no end is taken for that of another.
    number: u64,
}

struct Committer {
    begun: Option<SyncSender<(u64, Planned)>>,
    thread: Option<JoinHandle<()>>,
}

/// What a writer waits for that has given a transaction away.
enum Next {
    Records(Box<Batch>),
    Committed(Box<Ended>),
}

// === impl Committers ===

impl Committers {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the system has none to give.
    pub(super) fn start(vault: &Arc<Vault>) -> Result<Self, OpenError> {
        Ok(Self {
            awaited: Committer::start("passgate-commit", vault, || ())?,
            patient: Committer::start("passgate-ends", vault, step_back)?,
            number: 0,
        })
    }

    /// Has a transaction made and committed, and its end told to the queue. Gives it back if nobody does that.
    fn begin(&mut self, planned: Planned, vault: &Vault) -> Option<Planned> {
        self.number += 1;
        let committer = match is_awaited(&planned, vault) {
            true => &self.awaited,
            false => &self.patient,
        };
        let Some(begun) = &committer.begun else {
            return Some(planned);
        };
        let given = begun.send((self.number, planned));
        given.err().map(|unsent| unsent.0.1)
    }
}

// === impl Committer ===

impl Committer {
    fn start(
        name: &str,
        vault: &Arc<Vault>,
        prepare: impl FnOnce() + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (begun, to_commit) = sync_channel(1);
        let vault = Arc::clone(vault);
        let body = move || {
            prepare();
            for (number, planned) in to_commit {
                let ended = Box::new(commit(planned, &vault));
                vault.queue().committed = Some((number, ended));
                vault.work.notify_one();
            }
        };
        Ok(Self {
            begun: Some(begun),
            thread: Some(spawn(name, body)?),
        })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.begun = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Makes and commits a transaction and, where the log goes on, writes what needs none meanwhile.
    pub(super) fn end_transaction(&mut self, planned: Planned) -> Ended {
        if !planned.transaction.turn.goes_on {
            return commit(planned, &self.vault);
        }
        let since = planned.batch.jobs_wait_since;
        if let Some(planned) = self.committers.begin(planned, &self.vault) {
            return commit(planned, &self.vault);
        }
        let outer = self.in_hand;
        self.in_hand = outer.into_iter().chain(since).min();
        let mut held_back = HeldBack::default();
        let ended = loop {
            match self.next_beside(&held_back) {
                Next::Committed(ended) => break *ended,
                // Whatever breaks, the commit is waited for: its end is told once.
                Next::Records(mut batch) => {
                    let written = catch_unwind(AssertUnwindSafe(|| {
                        self.mind_pushes(&mut batch, &mut held_back);
                        self.write_beside(*batch);
                    }));
                    if written.is_err() {
                        self.broken = Some("the writer panicked".to_owned());
                    }
                }
            }
        };
        self.in_hand = outer;
        ended
    }

    /// Waits for the end of the commit, or for what can be written beside it, if there is room.
    fn next_beside(&self, held_back: &HeldBack) -> Next {
        let room = match (&self.session, &self.broken) {
            (Some(session), None) => session.wal.room(),
            (_, Some(_)) | (None, _) => 0,
        };
        let mut queue = self.vault.queue();
        loop {
            if let Some((number, ended)) = queue.committed.take()
                && number == self.committers.number
            {
                return Next::Committed(ended);
            }
            let batch = queue.next_records(&self.vault.tuning, room, held_back);
            if !batch.is_empty() {
                return Next::Records(Box::new(batch));
            }
            queue.awaited = match room {
                0 => Awaited::Nothing,
                _ => Awaited::Records,
            };
            let woken = self.vault.work.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
            queue.awaited = Awaited::Nothing;
        }
    }

    /// Puts pushes back that only a transaction can take, and holds others like them back from now on.
    fn mind_pushes(&mut self, batch: &mut Batch, held_back: &mut HeldBack) {
        let (Some(session), false) = (&self.session, batch.jobs.is_empty()) else {
            return;
        };
        let live = || session.live_bytes(&self.vault);
        self.space
            .mind(batch, self.medium.as_ref(), &self.vault, live);
        if batch.jobs.is_empty() {
            // The disk is nearly full, and they were refused.
            return;
        }
        let more = session.held_back(batch, &self.vault);
        held_back.all |= more.all;
        held_back.shelves.extend(more.shelves);
        let pushes = batch.jobs.extract_if(.., |op| held_back.holds(op));
        let pushes: Vec<JobOp> = pushes.collect();
        if !pushes.is_empty() {
            let since = batch.jobs_wait_since.unwrap_or_default();
            self.vault.queue().put_back(pushes, since);
        }
    }

    /// Writes a record of what needs no transaction. After an error the file is to be opened anew, but not before the
    /// commit has ended.
    fn write_beside(&mut self, batch: Batch) {
        let Some(session) = &mut self.session else {
            return self.refuse(batch);
        };
        if batch.is_empty() {
            return self.note_waiting();
        }
        let rows = session.rows(&batch, &self.vault);
        let began = Instant::now();
        let reason = match self.record(&rows, &batch) {
            Ok(Some(worked)) => {
                let lost = self.vault.shelves().unwritten.lost();
                return self.succeed(began, batch, rows, worked, lost);
            }
            Ok(None) => "the log has less room than it says".to_owned(),
            Err(reason) => reason,
        };
        self.broken = Some(reason);
        self.refuse(batch);
    }
}

/// Makes and commits a transaction here and now.
fn commit(planned: Planned, vault: &Vault) -> Ended {
    let Planned {
        transaction,
        rows,
        batch,
    } = planned;
    let committed = catch_unwind(AssertUnwindSafe(|| {
        transaction.commit(&rows, &batch, vault)
    }));
    let result = match committed {
        Ok(committed) => committed.map_err(|error| error.to_string()),
        Err(_panic) => Err("the commit panicked".to_owned()),
    };
    Ended {
        rows,
        batch,
        result,
    }
}

/// Whether anybody outside waits for a transaction, or for the one that follows it; or would, since it is a long one.
fn is_awaited(planned: &Planned, vault: &Vault) -> bool {
    let jobs = planned.batch.jobs.len() + planned.transaction.heirloom.jobs.len();
    planned.batch.is_awaited() || jobs > PATIENT_JOBS_MAX || vault.queue().awaits_transaction()
}

/// From now on the thread that calls this gives way to the others.
fn step_back() {
    // On Linux it is the thread's own. Where it is forbidden, all are alike.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(STEP);
}

/// Results of a transaction that may take its time, and jobs that it takes over, at the most.
const PATIENT_JOBS_MAX: usize = 256;

/// So much nicer: against one other that could use a processor all the time, a quarter of it is left.
#[cfg(target_os = "linux")]
const STEP: i32 = 5;
