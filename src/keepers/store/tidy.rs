//! Housekeeping: making runs of the journal, merging runs, forgetting what has expired, rebuilding outlines.
//!
//! It reads through short transactions of its own and hands its changes to the writer in small pieces, one
//! for each commit, so that no settle waits for it. It can stop at any point, a crash included: what it has
//! not finished does not count, and is removed after the next start.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use redb::Database;

use super::ShelfId;
use super::jobs::ops::JobChore;
use super::jobs::sweep::Renewal;
use super::merge::{Builder, Merge};
use super::outline::Outline;
use super::queue::Chore;
use super::shelf::{Run, Shelf};
use super::tables::{Change, chunk_places, read_slice};
use super::unwritten::Entry;
use super::vault::Vault;
use crate::words::identity::Key;

/// The housekeeper of one store.
pub(super) struct Tidier {
    pub(super) vault: Arc<Vault>,
    epoch: u64,
    /// Keys of old jobs that are being renewed.
    pub(super) renewal: Option<Renewal>,
    pub(super) merge: Option<Merge>,
    /// Running time when the log's jobs were last asked to be taken over.
    pub(super) took_over: Option<Duration>,
    rubbish: VecDeque<Rubbish>,
}

/// What is on disk and no longer needed.
enum Rubbish {
    Rows(Vec<u64>),
    Run(u64),
}

/// Why a step ended early.
pub(super) enum Halt {
    /// The file failed; it must be opened anew.
    Fault(redb::Error),
    /// The writer did not take the changes, or the file was opened anew meanwhile.
    Stale,
}

impl Tidier {
    pub(super) fn new(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            epoch: 0,
            renewal: None,
            merge: None,
            took_over: None,
            rubbish: VecDeque::new(),
        }
    }

    /// Does one small thing; false when there is nothing to do, or nothing can be done now.
    pub(super) fn step(&mut self) -> bool {
        self.vault.guard.look();
        let database = {
            let mut shelves = self.vault.shelves_mut();
            if shelves.epoch != self.epoch {
                self.epoch = shelves.epoch;
                self.merge = None;
                self.renewal = None;
                let orphans = std::mem::take(&mut shelves.orphans);
                self.rubbish = orphans.into_iter().map(Rubbish::Run).collect();
            }
            shelves.database.clone()
        };
        let Some(database) = database else {
            return false;
        };
        match self.advance(&database) {
            Ok(did) => did,
            Err(Halt::Fault(error)) => {
                // The handle must be gone before the writer opens the file anew.
                drop(database);
                self.vault.report_fault(self.epoch, &error);
                false
            }
            Err(Halt::Stale) => false,
        }
    }

    /// The most urgent thing first: what holds memory, then what costs reads, then what costs space.
    fn advance(&mut self, database: &Database) -> Result<bool, Halt> {
        if let Some(shelf) = self.full_journal() {
            self.flush(shelf)?;
            return Ok(true);
        }
        Ok(self.rebuild_filter(database)?
            || self.expire_rows()
            || self.retire_run()?
            || self.take_over()?
            || self.renew_keys(database)?
            || self.forget_jobs(database)?
            || self.remove_rubbish(database)?
            || self.merge(database)?
            || self.look_for_oldest(database)?)
    }

    /// The shelf whose journal is to become a run.
    fn full_journal(&self) -> Option<ShelfId> {
        let shelves = self.vault.shelves();
        let tuning = &self.vault.tuning;
        let full = shelves.by_id.iter().find(|(_, shelf)| {
            shelf.journal.is_frozen() || shelf.journal.fresh() >= tuning.journal_bound(shelf.keep)
        });
        if let Some((id, _)) = full {
            return Some(*id);
        }
        let all: usize = shelves
            .by_id
            .values()
            .map(|shelf| shelf.journal.len())
            .sum();
        let largest = shelves
            .by_id
            .iter()
            .max_by_key(|(_, shelf)| shelf.journal.len());
        (all > tuning.journal_keys_max.saturating_mul(JOURNALS_FULL_MAX))
            .then(|| largest.map(|(id, _)| *id))
            .flatten()
    }

    /// Makes a run of a shelf's journal.
    fn flush(&mut self, id: ShelfId) -> Result<(), Halt> {
        let now = self.vault.guard.now();
        let (frozen, expiry, run) = {
            let mut shelves = self.vault.shelves_mut();
            let run = shelves.next_run;
            shelves.next_run += 1;
            let shelf = shelves.by_id.get_mut(&id).ok_or(Halt::Stale)?;
            (shelf.journal.freeze(), shelf.expiry(now), run)
        };
        let records = frozen.sorted();
        let mut builder = Builder::new(run, id, records.len() as u64);
        for record in records {
            if !expiry.lives(record.secs) {
                continue;
            }
            builder.push(record);
            if builder.holds(CHUNKS_FLUSHED_PER_COMMIT) {
                self.post(vec![builder.take()])?;
            }
        }
        let rows: Vec<_> = frozen.rows().collect();
        drop(frozen);
        self.finish(id, builder, &[])?;
        self.rubbish.push_back(Rubbish::Rows(rows));
        Ok(())
    }

    /// Commits a run that is complete, in place of the `inputs` it was made of, and publishes it.
    pub(super) fn finish(
        &mut self,
        id: ShelfId,
        builder: Builder,
        inputs: &[u64],
    ) -> Result<(), Halt> {
        let run = builder.run;
        let mut changes: Vec<_> = inputs.iter().map(|run| Change::RemoveRun(*run)).collect();
        let mut new = None;
        if let Some((chunks, manifest, outline)) = builder.finish() {
            changes.push(chunks);
            let row = manifest.encode();
            changes.push(Change::PutRun { run, manifest: row });
            new = Some(Arc::new(Run {
                id: run,
                manifest,
                outline: outline.into(),
            }));
        }
        self.post(changes)?;
        self.publish(id, |shelf| {
            shelf.replace(inputs, new);
            // Freed after the lock is released: there may be many keys.
            if inputs.is_empty() {
                shelf.journal.thaw()
            } else {
                None
            }
        })?;
        self.rubbish
            .extend(inputs.iter().map(|run| Rubbish::Run(*run)));
        Ok(())
    }

    /// Rebuilds the outline, and so the filter, of one run that has none.
    fn rebuild_filter(&self, database: &Database) -> Result<bool, Halt> {
        let missing = {
            let shelves = self.vault.shelves();
            let runs = shelves.by_id.values().flat_map(|shelf| shelf.runs());
            runs.filter(|run| run.outline.get().is_none())
                .max_by_key(|run| run.manifest.newest)
                .cloned()
        };
        let Some(run) = missing else {
            return Ok(false);
        };
        let mut outline = Outline::new(run.manifest.count);
        let mut next = Some(Key::from_bytes([0; Key::LEN]));
        while let Some(from) = next {
            let slice = read_slice(database, run.id, from, CHUNKS_PER_SLICE)?;
            for record in &slice.records {
                outline.add(&record.key);
            }
            for first in slice.firsts {
                outline.begin_chunk(first);
            }
            self.vault.count_damaged(slice.damaged);
            next = slice.next;
            if self.vault.queue().tidy_closing {
                return Ok(false);
            }
        }
        let _ = run.outline.set(outline);
        Ok(true)
    }

    /// Forgets expired rows at the front of the journals.
    fn expire_rows(&mut self) -> bool {
        let Some(now) = self.vault.guard.now() else {
            return false;
        };
        let mut gone = Vec::new();
        for shelf in self.vault.shelves_mut().by_id.values_mut() {
            let expiry = shelf.expiry(Some(now));
            gone.extend(shelf.journal.expire(|secs| !expiry.lives(secs)));
        }
        let did = !gone.is_empty();
        if did {
            self.rubbish.push_back(Rubbish::Rows(gone));
        }
        did
    }

    /// Drops one run that has expired whole, or the oldest of a shelf that holds too much.
    fn retire_run(&mut self) -> Result<bool, Halt> {
        let now = self.vault.guard.now();
        let retired = {
            let shelves = self.vault.shelves();
            shelves.by_id.iter().find_map(|(id, shelf)| {
                let oldest = shelf.runs().iter().min_by_key(|run| run.manifest.newest)?;
                let over = shelf
                    .keep
                    .max_keys
                    .is_some_and(|max| shelf.keys() > max as u64);
                let expired = !shelf.expiry(now).lives(oldest.manifest.newest);
                (over || expired).then_some((*id, oldest.id))
            })
        };
        let Some((id, run)) = retired else {
            return Ok(false);
        };
        if let Some(merge) = self.merge.take_if(|merge| merge.inputs.contains(&run)) {
            self.rubbish.push_back(Rubbish::Run(merge.builder.run));
        }
        self.post(vec![Change::RemoveRun(run)])?;
        self.publish(id, |shelf| shelf.replace(&[run], None))?;
        self.rubbish.push_back(Rubbish::Run(run));
        Ok(true)
    }

    /// Removes a bounded piece of what is no longer needed.
    fn remove_rubbish(&mut self, database: &Database) -> Result<bool, Halt> {
        let Some(first) = self.rubbish.front_mut() else {
            return Ok(false);
        };
        let change = match first {
            Rubbish::Rows(rows) => {
                let rest = rows.len().saturating_sub(ROWS_PER_COMMIT);
                let slice = rows.split_off(rest);
                (!slice.is_empty()).then_some(Change::RemoveRows(slice))
            }
            Rubbish::Run(run) => {
                let firsts = chunk_places(database, *run, CHUNKS_REMOVED_PER_COMMIT)?;
                let run = *run;
                (!firsts.is_empty()).then_some(Change::RemoveChunks { run, firsts })
            }
        };
        match change {
            Some(change) => self.post(vec![change])?,
            None => {
                self.rubbish.pop_front();
            }
        }
        Ok(true)
    }

    /// Hands changes to the writer and waits until they are on disk.
    pub(super) fn post(&self, changes: Vec<Change>) -> Result<(), Halt> {
        self.post_all(changes, Vec::new(), Vec::new())
    }

    /// The same with changes of jobs and with keys to be journalled again.
    pub(super) fn post_all(
        &self,
        changes: Vec<Change>,
        jobs: Vec<JobChore>,
        keys: Vec<Entry>,
    ) -> Result<(), Halt> {
        let (reply, answer) = sync_channel(1);
        {
            let mut queue = self.vault.queue();
            if queue.ended {
                return Err(Halt::Stale);
            }
            queue.chore = Some(Chore {
                epoch: self.epoch,
                changes,
                jobs,
                keys,
                reply,
            });
        }
        self.vault.work.notify_one();
        match answer.recv() {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Halt::Stale),
        }
    }

    /// Changes a shelf in memory, unless the file was opened anew since this step began.
    pub(super) fn publish<T>(
        &self,
        id: ShelfId,
        change: impl FnOnce(&mut Shelf) -> T,
    ) -> Result<T, Halt> {
        let mut shelves = self.vault.shelves_mut();
        if shelves.epoch != self.epoch {
            return Err(Halt::Stale);
        }
        shelves.by_id.get_mut(&id).map(change).ok_or(Halt::Stale)
    }
}

// === impl Halt ===

impl From<redb::Error> for Halt {
    fn from(error: redb::Error) -> Self {
        Self::Fault(error)
    }
}

/// How often the housekeeper looks around when nobody calls.
pub(super) const TICK: Duration = Duration::from_secs(10);
/// Parts of `remember` within which runs are merged: about an eighth of a shelf expires at once.
pub(super) const WINDOWS: u64 = 8;
/// Many quiet shelves together hold no more keys in memory than this many full ones.
const JOURNALS_FULL_MAX: usize = 4;
/// 12,800 keys: more than a commit can settle, so that the journal shrinks under any load.
const CHUNKS_FLUSHED_PER_COMMIT: usize = 64;
const ROWS_PER_COMMIT: usize = 512;
const CHUNKS_REMOVED_PER_COMMIT: usize = 64;
const CHUNKS_PER_SLICE: usize = 64;
