//! The one thread that writes: it commits whatever waits together, and opens the file anew after a fault.
//!
//! A commit takes the settles that wait, the settled keys a fault left unwritten, and one piece of
//! housekeeping; syncs once; makes the keys visible; and only then answers. A lone settle does not wait for
//! company: while one commit syncs, the next gathers by itself.
//!
//! # Why
//! redb's handle is dead after any failed read or write, and a failed commit may be on disk or not. So
//! after any error nothing is taken for granted: the handle is dropped, the settled keys stay in memory as
//! settled, and they are written again once the file opens. One sync per commit is enough, with redb's
//! checksums telling a torn commit from a whole one: the rows are hashes and times, so no stranger can choose
//! bytes that would give a torn commit a valid checksum. `Tuning::two_phase` is there for the day rows
//! carry more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redb::Database;

use super::commit::{Batch, Rows, Session};
use super::journal::Row;
use super::loading::{Loaded, OpenError, open};
use super::medium::Medium;
use super::shelf::Shelf;
use super::tuning::{Commit, OnCommit};
use super::vault::{Op, Vault};
use super::{Done, ShelfId, StoreError};
use crate::words::time::Timestamp;

/// The writing thread's own state.
pub(super) struct Writer {
    vault: Arc<Vault>,
    medium: Arc<dyn Medium>,
    on_commit: Option<OnCommit>,
    session: Option<Session>,
}

impl Writer {
    /// Opens the file for the first time.
    pub(super) fn open(
        vault: Arc<Vault>,
        medium: Arc<dyn Medium>,
        on_commit: Option<OnCommit>,
    ) -> Result<Self, OpenError> {
        let (database, loaded) = open(medium.as_ref(), vault.tuning.cache_bytes)?;
        let mut writer = Self {
            vault,
            medium,
            on_commit,
            session: None,
        };
        writer.adopt(database, loaded);
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
            if !queue.ops.is_empty() || queue.chore.is_some() {
                let bound = vault.tuning.commit_ops_max.min(queue.ops.len());
                let mut batch = Batch::from_ops(queue.ops.drain(..bound));
                batch.chore = queue.chore.take();
                return Some(batch);
            }
            if queue.closing {
                return None;
            }
            queue = vault
                .work
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a batch and answers everybody in it, whatever comes of it.
    fn commit(&mut self, mut batch: Batch) {
        let lost = self.take_unwritten(&mut batch);
        let Some(session) = &mut self.session else {
            self.refuse(batch);
            return;
        };
        if let Some(stale) = batch.chore.take_if(|chore| chore.epoch != session.epoch) {
            let _ = stale.reply.send(false);
        }
        if batch.is_empty() {
            return;
        }
        let rows = session.rows(&batch, &self.vault);
        let began = Instant::now();
        let two_phase = self.vault.tuning.two_phase;
        let written = catch_unwind(AssertUnwindSafe(|| {
            session.write(&rows, batch.chore.as_ref(), two_phase)
        }));
        match written {
            Ok(Ok(())) => {
                let commit = Commit {
                    took: began.elapsed(),
                    settles: batch.settles.len(),
                };
                self.publish(batch, rows, lost);
                if let Some(on_commit) = &self.on_commit {
                    let _ = catch_unwind(AssertUnwindSafe(|| on_commit(commit)));
                }
            }
            Ok(Err(error)) => {
                self.fall(&error.to_string());
                self.refuse(batch);
            }
            Err(_panic) => {
                self.fall("the writer panicked");
                self.refuse(batch);
            }
        }
    }

    /// Adds what an earlier fault left unwritten, and gives back how many such keys were lost so far.
    fn take_unwritten(&self, batch: &mut Batch) -> u64 {
        let shelves = self.vault.shelves();
        batch.unwritten = shelves.unwritten.oldest(self.vault.tuning.commit_ops_max);
        shelves.unwritten.lost()
    }

    /// Makes what was committed visible, then answers.
    fn publish(&self, batch: Batch, rows: Rows, lost: u64) {
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
        self.note_waiting();
        for (_, done) in batch.settles {
            answer(done, Ok(()));
        }
        for ((_, reply), (id, _)) in batch.shelves.into_iter().zip(rows.shelves) {
            let _ = reply.send(Ok(id));
        }
        if let Some(chore) = batch.chore {
            let _ = chore.reply.send(true);
        }
    }

    /// Keeps the keys of a batch in memory as settled and answers that they are not on disk.
    fn refuse(&self, batch: Batch) {
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
        self.note_waiting();
        for (_, done) in batch.settles {
            answer(done, Err(StoreError::Unavailable));
        }
        for (_, reply) in batch.shelves {
            let _ = reply.send(Err(StoreError::Unavailable));
        }
        if let Some(chore) = batch.chore {
            let _ = chore.reply.send(false);
        }
    }

    fn note_waiting(&self) {
        let queue = self.vault.queue();
        let oldest = queue.ops.iter().find_map(|op| match op {
            Op::Settle { queued, .. } => Some(*queued),
            Op::Shelf { .. } => None,
        });
        self.vault.waits_since(oldest);
    }

    /// Gives up the handle after a fault.
    fn fall(&mut self, reason: &str) {
        self.vault.faults.fetch_add(1, Ordering::Relaxed);
        self.drop_handle(reason);
    }

    fn drop_handle(&mut self, reason: &str) {
        let shared = {
            let mut shelves = self.vault.shelves_mut();
            shelves.epoch += 1;
            shelves.down = Some(reason.to_owned());
            shelves.database.take()
        };
        let session = self.session.take();
        // Closing may fail and, after a panic within redb, even panic again; the file is gone either way.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            drop(shared);
            if let Some(database) = session.and_then(|session| Arc::into_inner(session.database)) {
                let _ = database.close();
            }
        }));
    }

    /// Opens the file until it works; false once the store is closing.
    fn reopen(&mut self) -> bool {
        let mut pause = self.vault.tuning.retry_first;
        loop {
            if !self.wait_refusing(pause) {
                return false;
            }
            pause = pause.saturating_mul(2).min(self.vault.tuning.retry_max);
            let medium = Arc::clone(&self.medium);
            let cache_bytes = self.vault.tuning.cache_bytes;
            let opened = catch_unwind(AssertUnwindSafe(|| open(medium.as_ref(), cache_bytes)));
            match opened {
                Ok(Ok((database, loaded))) => {
                    self.adopt(database, loaded);
                    if self.catch_up() {
                        return true;
                    }
                }
                Ok(Err(error)) => self.vault.shelves_mut().down = Some(error.to_string()),
                Err(_panic) => {
                    self.vault.shelves_mut().down = Some("opening the file panicked".to_owned());
                }
            }
        }
    }

    /// Waits, refusing whatever comes meanwhile; false once the store is closing.
    fn wait_refusing(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let vault = Arc::clone(&self.vault);
        loop {
            let mut queue = vault.queue();
            let left = until.saturating_duration_since(Instant::now());
            if queue.ops.is_empty() && queue.chore.is_none() && !queue.closing && !left.is_zero() {
                (queue, _) = vault
                    .work
                    .wait_timeout(queue, left)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            queue.fault = None;
            let mut batch = Batch::from_ops(queue.ops.drain(..));
            batch.chore = queue.chore.take();
            let closing = queue.closing;
            drop(queue);
            self.refuse(batch);
            if closing {
                return false;
            }
            if Instant::now() >= until {
                return true;
            }
        }
    }

    /// Writes what the fault left unwritten and proves that commits go through; only then is the store
    /// ready again.
    fn catch_up(&mut self) -> bool {
        loop {
            let mut batch = Batch::default();
            let lost = self.take_unwritten(&mut batch);
            let Some(session) = &mut self.session else {
                return false;
            };
            let rows = session.rows(&batch, &self.vault);
            let two_phase = self.vault.tuning.two_phase;
            let written = catch_unwind(AssertUnwindSafe(|| session.write(&rows, None, two_phase)));
            match written {
                Ok(Ok(())) => self.publish(batch, rows, lost),
                Ok(Err(error)) => {
                    self.drop_handle(&error.to_string());
                    return false;
                }
                Err(_panic) => {
                    self.drop_handle("the writer panicked");
                    return false;
                }
            }
            let mut shelves = self.vault.shelves_mut();
            if shelves.unwritten.len() == 0 {
                shelves.down = None;
                drop(shelves);
                self.vault.want_tidy();
                return true;
            }
        }
    }

    /// Takes over a file that was just opened and read.
    fn adopt(&mut self, database: Database, loaded: Loaded) {
        let database = Arc::new(database);
        self.vault.count_damaged(loaded.damaged);
        self.vault
            .guard
            .has_seen(Timestamp::from_secs(i64::from(loaded.newest)));
        let mut shelves = self.vault.shelves_mut();
        shelves.epoch += 1;
        shelves.database = Some(Arc::clone(&database));
        shelves.by_id = loaded.by_id;
        shelves.next_run = loaded.next_run;
        shelves.orphans = loaded.orphans;
        self.session = Some(Session {
            database,
            epoch: shelves.epoch,
            next_seq: loaded.next_seq,
            next_shelf: loaded.next_shelf,
        });
    }

    /// The last words: whoever still waits is refused, and the file is closed.
    fn end(mut self) {
        let batch = {
            let mut queue = self.vault.queue();
            queue.ended = true;
            let mut batch = Batch::from_ops(queue.ops.drain(..));
            batch.chore = queue.chore.take();
            batch
        };
        self.refuse(batch);
        self.drop_handle("closed");
    }
}

/// Answers one settle. A callback that panics must not take the others' answers with it.
pub(super) fn answer(done: Done, result: Result<(), StoreError>) {
    let _ = catch_unwind(AssertUnwindSafe(|| done(result)));
}
