//! A transaction: what it takes to make one, apart from the log and from whoever writes it.
//!
//! It takes along what the log holds, so it may be long in the making. All it needs it has with it, so that it can be made
//! on any thread, while the log goes on behind what it takes over.

use std::sync::Arc;

use redb::{Database, WriteTransaction};

use super::ShelfId;
use super::codec::encode_format;
use super::commit::{Batch, Rows};
use super::jobs::desk::Books;
use super::jobs::fresh::Heirloom;
use super::jobs::ops::{JobChore, JobOp, Worked, work};
use super::jobs::tally::Tally;
use super::loading::{EPOCH, FORMAT, FORMAT_NUMBER};
use super::tables::{JOURNAL, META, SHELVES, commit};
use super::tuning::Tuning;
use super::vault::Vault;
use super::wal::Turn;

/// A transaction that is to be made.
pub(super) struct Transaction {
    pub(super) database: Arc<Database>,
    /// What is known of the jobs that are in the tables.
    pub(super) books: Books,
    /// What the log holds of jobs.
    pub(super) heirloom: Heirloom,
    /// What it makes of the log.
    pub(super) turn: Turn,
}

/// How carefully a commit is written.
#[derive(Clone, Copy)]
struct Care {
    /// With a second sync.
    two_phase: bool,
    /// With what the next opening needs to find the free space without walking the whole file.
    quick_repair: bool,
}

// === impl Transaction ===

impl Transaction {
    /// Makes it for a batch and commits it, synced when this returns `Ok`. After an error it is unknown whether it
    /// happened.
    pub(super) fn commit(
        self,
        rows: &Rows,
        batch: &Batch,
        vault: &Vault,
    ) -> Result<(Turn, Worked), redb::Error> {
        let (txn, worked) = self.fill(rows, batch, vault)?;
        commit(&self.database, txn)?;
        Ok((self.turn, worked))
    }

    fn fill(
        &self,
        rows: &Rows,
        batch: &Batch,
        vault: &Vault,
    ) -> Result<(WriteTransaction, Worked), redb::Error> {
        let care = self.care(batch, &vault.tuning);
        let mut txn = self.database.begin_write()?;
        txn.set_two_phase_commit(care.two_phase);
        txn.set_quick_repair(care.quick_repair);
        {
            let mut meta = txn.open_table(META)?;
            meta.insert(EPOCH, self.turn.epoch.encode().as_slice())?;
            // Only now: what this version writes into the log no earlier one may take for its own.
            meta.insert(FORMAT, encode_format(FORMAT_NUMBER).as_slice())?;
        }
        if !rows.journal.is_empty() || !self.turn.rows.is_empty() {
            let mut table = txn.open_table(JOURNAL)?;
            for (seq, row) in self.turn.rows.iter().chain(&rows.journal) {
                table.insert(seq, row.encode().as_slice())?;
            }
        }
        if !rows.shelves.is_empty() {
            let mut table = txn.open_table(SHELVES)?;
            for (ShelfId(id), row) in &rows.shelves {
                table.insert(id, row.encode().as_slice())?;
            }
        }
        for change in batch.chore.iter().flat_map(|chore| &chore.changes) {
            change.apply(&txn)?;
        }
        let chores = batch.chore.as_ref().map_or(&[][..], |chore| &chore.jobs);
        let has_jobs = !batch.jobs.is_empty()
            || !chores.is_empty()
            || !self.heirloom.is_empty()
            || self.turn.has_jobs;
        let worked = match has_jobs {
            true => {
                let now = vault.clock.now();
                work(&txn, &batch.jobs, chores, &self.heirloom, &self.books, now)?
            }
            false => Worked::default(),
        };
        Ok((txn, worked))
    }

    /// How carefully a batch is written.
    ///
    /// # Why
    /// One sync per commit is enough where rows are hashes and times: redb's checksums tell a torn commit
    /// from a whole one. They are fast ones, though, not resistant to whoever chooses the bytes; its
    /// documents advise a second sync where strangers do. An attack would need a crash within the one
    /// sync, a disk that writes just the wrong pages, and two pages with the same checksum, all of it
    /// around an authentic event. But bodies may come from routes whose senders prove nothing, what is at
    /// stake is the whole file, and the price is one more sync for those commits only, shared by
    /// everybody in them: measured with 64 pushes to a commit, 1.1 ms became 1.6 ms and the processor's
    /// share of a push grew by two or three of fifteen microseconds. So commits that write bodies, or
    /// move them to other pages, take two.
    ///
    /// A record of the log needs one alone: its check is a strong one.
    fn care(&self, batch: &Batch, tuning: &Tuning) -> Care {
        let chores = batch.chore.iter().flat_map(|chore| &chore.jobs);
        let bodies = !self.heirloom.is_empty()
            || batch.jobs.iter().any(JobOp::touches_bodies)
            || chores.into_iter().any(JobChore::touches_bodies);
        let held: u64 = self.books.tallies.values().map(Tally::weight).sum();
        Care {
            two_phase: tuning.two_phase || bodies,
            quick_repair: held >= tuning.quick_repair_bytes,
        }
    }
}
