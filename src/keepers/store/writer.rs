//! The thread that writes: it commits whatever waits together, and opens the file anew after a fault.
//!
//! A commit takes the settles that wait, the settled keys a fault left unwritten, and one piece of
//! housekeeping; syncs once; makes the keys visible; and only then answers. A lone settle does not wait for
//! company: while one commit syncs, the next gathers by itself. Only after a batch of several the next one is
//! given a moment to fill, while those who send have other work: a commit costs as much as many events do.
//! Where some of it needs a transaction, what settles and what is pushed goes ahead, and while that is committed goes on
//! beside it.
//!
//! # Why
//! redb's handle is dead after any failed read or write, and a failed commit may be on disk or not. So
//! after any error nothing is taken for granted: the handle is dropped, the settled keys stay in memory as
//! settled, and they are written again once the file opens.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use super::beside::{Committers, Ended, Planned};
use super::commit::{Batch, Rows, Session};
use super::jobs::ops::{Outcome, Worked};
use super::journal::Row;
use super::loading::open;
use super::medium::Medium;
use super::open_error::OpenError;
use super::queue::{Awaited, Queue};
use super::shelf::Shelf;
use super::space::Space;
use super::tuning::{Commit, OnCommit};
use super::vault::Vault;
use super::{Done, ShelfId, StoreError};

/// The writing thread's own state.
pub(super) struct Writer {
    pub(super) vault: Arc<Vault>,
    pub(super) medium: Arc<dyn Medium>,
    on_commit: Option<OnCommit>,
    pub(super) session: Option<Session>,
    pub(super) space: Space,
    pub(super) committers: Committers,
    /// Running time in milliseconds since which something has waited that was taken out of the queue, and for which other
    /// commits are not the end.
    pub(super) in_hand: Option<u64>,
    /// Why the file is to be opened anew once the commit that is under way has ended.
    pub(super) broken: Option<String>,
    /// The last batch was large enough for the next one to be worth waiting for.
    pub(super) is_loaded: bool,
    /// The first opening made the store.
    pub(super) is_new: bool,
}

impl Writer {
    /// Opens the file for the first time.
    pub(super) fn open(
        vault: Arc<Vault>,
        medium: Arc<dyn Medium>,
        on_commit: Option<OnCommit>,
    ) -> Result<Self, OpenError> {
        // redb may panic over a file that was damaged behind its back.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            open(medium.as_ref(), vault.tuning.cache_bytes)
        }));
        let (database, wal, loaded) = opened
            .unwrap_or_else(|_panic| Err(OpenError::Unusable("the file is damaged".to_owned())))?;
        let committers = Committers::start(&vault)?;
        let mut writer = Self {
            vault,
            medium,
            on_commit,
            session: None,
            committers,
            in_hand: None,
            broken: None,
            space: Space::default(),
            is_loaded: false,
            is_new: loaded.is_new,
        };
        writer.adopt(database, wal, loaded);
        Ok(writer)
    }

    /// Commits until the store is closed.
    pub(super) fn run(mut self) {
        loop {
            if self.session.is_none() && !self.reopen() {
                break;
            }
            let Some(batch) = self.next_batch() else {
                break;
            };
            // Answers and writes have nets of their own; this one keeps the thread alive whatever else breaks.
            if catch_unwind(AssertUnwindSafe(|| self.commit(batch))).is_err() {
                (self.in_hand, self.broken) = (None, None);
                self.fall("the writer panicked");
            }
        }
        self.end();
    }

    /// Waits for work; `None` once the store is closing and nothing waits.
    fn next_batch(&mut self) -> Option<Batch> {
        let epoch = self.session.as_ref().map(|session| session.epoch);
        let vault = Arc::clone(&self.vault);
        let mut queue = vault.queue();
        loop {
            if let Some((met_in, reason)) = queue.fault.take()
                && Some(met_in) == epoch
            {
                drop(queue);
                self.fall(&reason);
                return Some(Batch::default());
            }
            if !queue.is_empty() {
                if std::mem::take(&mut self.is_loaded) {
                    queue = gathered(&vault, queue);
                }
                let batch = queue.next_batch(&vault.tuning);
                self.is_loaded = batch.ops() >= LOADED_OPS;
                return Some(batch);
            }
            if queue.closing {
                return None;
            }
            queue.awaited = Awaited::Anything;
            queue = vault
                .work
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a batch and answers everybody in it, whatever comes of it.
    fn commit(&mut self, mut batch: Batch) {
        if let Some(session) = &self.session {
            if let Some(stale) = batch.chore.take_if(|chore| chore.epoch != session.epoch) {
                let _ = stale.reply.send(false);
            }
            let live = || session.live_bytes(&self.vault);
            self.space
                .mind(&mut batch, self.medium.as_ref(), &self.vault, live);
        }
        self.commit_together(batch, true);
    }

    /// Writes a batch in one piece, unless a record of the log cannot carry it and something of it `may_go_ahead`.
    fn commit_together(&mut self, mut batch: Batch, may_go_ahead: bool) {
        let lost = self.take_unwritten(&mut batch);
        let Some(session) = &mut self.session else {
            self.refuse(batch);
            return;
        };
        if batch.is_empty() {
            self.note_waiting();
            return;
        }
        let rows = session.rows(&batch, &self.vault);
        let began = Instant::now();
        let recorded = self.record(&rows, &batch);
        if may_go_ahead && batch.is_mixed() && matches!(recorded, Ok(None)) {
            return self.commit_apart(batch);
        }
        let (rows, batch, written) = self.finish(recorded, rows, batch);
        let broken = self.broken.take();
        match written {
            Ok(worked) => {
                self.succeed(began, batch, rows, worked, lost);
                if let Some(reason) = broken {
                    self.fall(&reason);
                }
            }
            Err(reason) => {
                self.fall(&reason);
                self.refuse(batch);
            }
        }
    }

    /// Writes what goes ahead of a batch, and then the rest.
    ///
    /// # Why
    /// A transaction takes several times as long as a record. What is settled has nothing to do with what needs one, nor
    /// have jobs that are pushed and wait for nobody, and their senders wait: they go ahead in a record of their own.
    fn commit_apart(&mut self, mut batch: Batch) {
        batch.unwritten.clear();
        if let Some(session) = &self.session
            && let Some(ahead) = session.split(&mut batch, &self.vault)
        {
            self.in_hand = batch.jobs_wait_since;
            self.commit_together(ahead, false);
            self.in_hand = None;
        }
        self.commit_together(batch, false);
    }

    /// Writes a batch that no record carries by a transaction, synced when it gives back `Ok`. After an error it is unknown
    /// whether it happened.
    pub(super) fn finish(
        &mut self,
        recorded: Result<Option<Worked>, String>,
        rows: Rows,
        batch: Batch,
    ) -> (Rows, Batch, Result<Worked, String>) {
        match recorded {
            Ok(None) => self.transact(rows, batch),
            Ok(Some(worked)) => (rows, batch, Ok(worked)),
            Err(reason) => (rows, batch, Err(reason)),
        }
    }

    /// Writes a batch as one record of the log; `None` where it needs a transaction.
    pub(super) fn record(&mut self, rows: &Rows, batch: &Batch) -> Result<Option<Worked>, String> {
        self.at_session(|session, vault| session.record(rows, batch, vault))
    }

    /// What the open file does, or why it did not.
    fn at_session<T>(
        &mut self,
        work: impl FnOnce(&mut Session, &Vault) -> Result<T, redb::Error>,
    ) -> Result<T, String> {
        let (Some(session), vault) = (&mut self.session, &self.vault) else {
            return Err("the file is closed".to_owned());
        };
        let done = catch_unwind(AssertUnwindSafe(|| work(session, vault)));
        let done = done.map_err(|_panic| "the writer panicked".to_owned())?;
        done.map_err(|error| error.to_string())
    }

    /// Writes a batch by a transaction.
    fn transact(&mut self, rows: Rows, batch: Batch) -> (Rows, Batch, Result<Worked, String>) {
        let planned = self.at_session(|session, vault| session.plan(&batch, vault));
        let transaction = match planned {
            Ok(transaction) => transaction,
            Err(reason) => return (rows, batch, Err(reason)),
        };
        let Ended {
            rows,
            batch,
            result,
        } = self.end_transaction(Planned {
            transaction,
            rows,
            batch,
        });
        let worked = match (result, &mut self.session) {
            (Ok((turn, worked)), Some(session)) => Ok(session.adopt(turn, worked)),
            (Ok(_), None) => Err("the file is closed".to_owned()),
            (Err(reason), _) => Err(reason),
        };
        (rows, batch, worked)
    }

    /// Makes visible what was committed, answers, and tells whoever asked of commits.
    pub(super) fn succeed(
        &self,
        began: Instant,
        batch: Batch,
        rows: Rows,
        worked: Worked,
        lost: u64,
    ) {
        let commit = Commit {
            took: began.elapsed(),
            settles: batch.settles.len(),
            jobs: batch.jobs.len(),
        };
        self.publish(batch, rows, worked, lost);
        if let Some(on_commit) = &self.on_commit {
            let _ = catch_unwind(AssertUnwindSafe(|| on_commit(commit)));
        }
    }

    /// Adds what an earlier fault left unwritten, and gives back how many such keys were lost so far.
    pub(super) fn take_unwritten(&self, batch: &mut Batch) -> u64 {
        let shelves = self.vault.shelves();
        batch.unwritten = shelves.unwritten.oldest(self.vault.tuning.commit_ops_max);
        shelves.unwritten.lost()
    }

    /// Makes what was committed visible, then answers.
    pub(super) fn publish(&self, batch: Batch, rows: Rows, worked: Worked, lost: u64) {
        let mut tidy = false;
        {
            let mut shelves = self.vault.shelves_mut();
            for (id, row) in &rows.shelves {
                match shelves.by_id.get_mut(id) {
                    Some(shelf) => shelf.keep = row.keep,
                    None => {
                        let shelf = Shelf::new(row.name.clone(), row.keep);
                        shelves.by_id.insert(*id, shelf);
                    }
                }
            }
            for (seq, row) in &rows.journal {
                if let Some(shelf) = shelves.by_id.get_mut(&ShelfId(row.shelf)) {
                    let (seq, secs) = (*seq, row.secs);
                    shelf.journal.add(Row { seq, secs }, &row.keys);
                    tidy |= shelf.journal.fresh() >= self.vault.tuning.journal_bound(shelf.keep);
                }
            }
            shelves.unwritten.written(&batch.unwritten, lost);
        }
        if tidy {
            self.vault.want_tidy();
        }
        match worked.outcome {
            Outcome::Nothing => {}
            Outcome::Closed(closing) => self.vault.publish_jobs(&batch.jobs, &closing),
            Outcome::Logged(logged) => self.vault.publish_logged(&batch.jobs, logged),
        }
        self.note_waiting();
        for (_, done) in batch.settles {
            answer(done, Ok(()));
        }
        for (op, told) in batch.jobs.into_iter().zip(worked.told) {
            guarded(|| op.answer(told));
        }
        for ((_, reply), (id, _)) in batch.shelves.into_iter().zip(rows.shelves) {
            let _ = reply.send(Ok(id));
        }
        if let Some(chore) = batch.chore {
            let _ = chore.reply.send(true);
        }
    }

    /// Keeps the keys of a batch in memory as settled and answers that they are not on disk.
    pub(super) fn refuse(&self, batch: Batch) {
        {
            let mut shelves = self.vault.shelves_mut();
            for (entries, _) in &batch.settles {
                for entry in entries.each() {
                    shelves
                        .unwritten
                        .push(entry, self.vault.tuning.unwritten_keys_max);
                }
            }
        }
        self.vault.drop_jobs(&batch.jobs);
        self.note_waiting();
        for (_, done) in batch.settles {
            answer(done, Err(StoreError::Unavailable));
        }
        for op in batch.jobs {
            guarded(|| op.refuse(StoreError::Unavailable));
        }
        for (_, reply) in batch.shelves {
            let _ = reply.send(Err(StoreError::Unavailable));
        }
        if let Some(chore) = batch.chore {
            let _ = chore.reply.send(false);
        }
    }

    pub(super) fn note_waiting(&self) {
        let queue = self.vault.queue();
        let oldest = self.in_hand.into_iter().chain(queue.waits_since()).min();
        self.vault.waits_since(oldest);
    }

    /// The last words: whoever still waits is refused, and the file is closed.
    fn end(mut self) {
        let batch = {
            let mut queue = self.vault.queue();
            queue.ended = true;
            queue.take_all()
        };
        self.refuse(batch);
        self.drop_handle("closed");
    }
}

/// Lets a batch fill while whoever sends events has other work, within a bound.
///
/// # Why
/// A commit costs as much as the way of several events, so under load each should carry many. What has nothing to do
/// but wait for this one sends nothing more, and then waiting costs time and gains nothing.
fn gathered<'a>(vault: &'a Vault, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
    let tuning = &vault.tuning;
    match &tuning.workers {
        Some(workers) if queue.waiting() < tuning.commit_ops_max && !queue.closing => {
            drop(queue);
            workers.wait_for_rest(tuning.gather);
            vault.queue()
        }
        Some(_) | None => queue,
    }
}

/// Answers one settle. A callback that panics must not take the others' answers with it.
pub(super) fn answer(done: Done, result: Result<(), StoreError>) {
    guarded(|| done(result));
}

/// Calls back somebody whose panic is his own.
pub(super) fn guarded(call: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(call));
}

/// Ops of a batch that tells of load.
const LOADED_OPS: usize = 3;
