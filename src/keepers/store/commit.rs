//! What one commit takes along, and how it is written: as a record of the log wherever that will do, or else as a
//! transaction.
//!
//! Settles of one shelf within one second share a row, so that a commit writes a few rows at the right edge
//! of the journal whatever it carries. Nothing here waits, answers, or decides what an error means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use redb::Database;

use super::codec::{JournalRow, ShelfRow};
use super::jobs::carried::{Carried, short_of_room};
use super::jobs::desk::Books;
use super::jobs::ops::{JobOp, Outcome, Worked};
use super::jobs::tally::Tally;
use super::queue::{Chore, HeldBack, room_for_pushes};
use super::record::{self, Draft, Numbered};
use super::transaction::Transaction;
use super::unwritten::Entry;
use super::vault::Vault;
use super::wal::{REGION_BYTES, Turn, Wal};
use super::{Done, ShelfId, StoreError};
use crate::words::identity::Keys;

/// The file as one opening of it found it.
pub(super) struct Session {
    pub(super) database: Arc<Database>,
    pub(super) wal: Wal,
    pub(super) epoch: u64,
    pub(super) next_seq: u64,
    pub(super) next_shelf: u32,
    pub(super) books: Books,
}

/// What goes into one commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) settles: Vec<(Entries, Done)>,
    pub(super) shelves: Vec<(ShelfRow, SyncSender<Result<ShelfId, StoreError>>)>,
    pub(super) jobs: Vec<JobOp>,
    pub(super) unwritten: Vec<Entry>,
    pub(super) chore: Option<Chore>,
    /// The disk has room for what they need when they leave the log.
    pub(super) log_takes_pushes: bool,
    /// Running time in milliseconds at which the first of `jobs` was queued.
    pub(super) jobs_wait_since: Option<u64>,
}

/// The keys of one event and when it was settled.
pub(super) struct Entries {
    pub(super) shelf: ShelfId,
    pub(super) keys: Keys,
    pub(super) secs: u32,
}

/// The rows of one commit.
pub(super) struct Rows {
    pub(super) journal: Vec<Numbered>,
    pub(super) shelves: Vec<(ShelfId, ShelfRow)>,
}

// === impl Session ===

impl Session {
    /// Packs a batch into as few rows as its shelves and seconds allow.
    pub(super) fn rows(&mut self, batch: &Batch, vault: &Vault) -> Rows {
        let mut grouped: BTreeMap<(ShelfId, u32), Vec<_>> = BTreeMap::new();
        let settled = batch.settles.iter().flat_map(|(entries, _)| entries.each());
        let pushed = batch.jobs.iter().filter_map(JobOp::pushed);
        let pushed = pushed.flat_map(|job| {
            let (shelf, secs) = (job.shelf, job.at.as_stored_secs());
            job.keys.iter().map(move |key| Entry { shelf, key, secs })
        });
        let renewed = batch.chore.iter().flat_map(|chore| &chore.keys);
        let known = batch.unwritten.iter().chain(renewed).copied();
        for entry in known.chain(settled).chain(pushed) {
            grouped
                .entry((entry.shelf, entry.secs))
                .or_default()
                .push(entry.key);
        }
        let mut journal = Vec::with_capacity(grouped.len());
        for ((ShelfId(shelf), secs), keys) in grouped {
            for keys in keys.chunks(ROW_KEYS_MAX) {
                let keys = keys.to_vec();
                journal.push((self.next_seq, JournalRow { shelf, secs, keys }));
                self.next_seq += 1;
            }
        }
        let mut shelves: Vec<(ShelfId, ShelfRow)> = Vec::new();
        for (row, _) in &batch.shelves {
            let planned = shelves.iter().find(|(_, other)| other.name == row.name);
            let id = match planned {
                Some((id, _)) => Some(*id),
                None => vault.shelves().named(&row.name).map(|(id, _)| id),
            };
            let id = id.unwrap_or_else(|| {
                let id = ShelfId(self.next_shelf);
                self.next_shelf += 1;
                id
            });
            shelves.push((id, row.clone()));
        }
        Rows { journal, shelves }
    }

    /// About what the file holds that is still needed.
    pub(super) fn live_bytes(&self, vault: &Vault) -> u64 {
        let jobs: u64 = self.books.tallies.values().map(Tally::weight).sum();
        let keys: u64 = {
            let shelves = vault.shelves();
            shelves.by_id.values().map(|shelf| shelf.keys()).sum()
        };
        // Pages are not full, and redb keeps some for itself.
        jobs.saturating_add(jobs / 2)
            .saturating_add(keys.saturating_mul(KEY_BYTES))
            .saturating_add(FILE_BYTES)
    }

    /// Which pushes of a batch only a transaction can take.
    pub(super) fn held_back(&self, batch: &Batch, vault: &Vault) -> HeldBack {
        HeldBack {
            all: !batch.log_takes_pushes,
            shelves: short_of_room(&batch.jobs, &self.books, vault),
        }
    }

    /// Takes out of a batch what goes ahead in a record of its own; `None` if nothing does, or the log has no room for what
    /// settles.
    pub(super) fn split(&self, batch: &mut Batch, vault: &Vault) -> Option<Batch> {
        let room = self.wal.room();
        if room < batch.settles.len() * EVENT_BYTES_MAX {
            return None;
        }
        let mut held_back = self.held_back(batch, vault);
        // Without anything that needs a transaction it is the log that had no room for them all.
        held_back.all |= !batch.has_others() && held_back.shelves.is_empty();
        let ahead = batch.split_ahead(room, &held_back);
        (!ahead.is_empty()).then_some(ahead)
    }

    /// Writes a batch as one record of the log, synced when this returns; `None` where it needs a transaction. After an
    /// error it is unknown whether it happened.
    pub(super) fn record(
        &mut self,
        rows: &Rows,
        batch: &Batch,
        vault: &Vault,
    ) -> Result<Option<Worked>, redb::Error> {
        if !batch.is_for_the_log() {
            return Ok(None);
        }
        match Carried::plan(&batch.jobs, &self.books, vault, &self.database)? {
            Some(carried) => self.append(&rows.journal, carried),
            None => Ok(None),
        }
    }

    /// Plans a transaction for a batch, which takes over what the log holds.
    ///
    /// # Errors
    /// Where the system has no random numbers to give.
    pub(super) fn plan(
        &mut self,
        batch: &Batch,
        vault: &Vault,
    ) -> Result<Transaction, redb::Error> {
        let books = self.books.clone();
        // Those that are pushed beside it have the numbers behind its own.
        self.books.next_job += batch.jobs.iter().filter_map(JobOp::pushed).count() as u64;
        Ok(Transaction {
            database: Arc::clone(&self.database),
            books,
            heirloom: vault.shelves().fresh.heirloom(),
            turn: self.wal.turn()?,
        })
    }

    /// A transaction is on disk, and did this.
    pub(super) fn adopt(&mut self, turn: Turn, worked: Worked) -> Worked {
        self.wal.turned(turn);
        if let Outcome::Closed(closing) = &worked.outcome {
            let next_job = self.books.next_job.max(closing.books.next_job);
            self.books = Books {
                next_job,
                ..closing.books.clone()
            };
        }
        worked
    }

    /// Adds a record to the log; `None` if it has no room.
    fn append(
        &mut self,
        rows: &[Numbered],
        carried: Carried<'_>,
    ) -> Result<Option<Worked>, redb::Error> {
        let (jobs, jobs_bytes) = carried.size();
        let len = record::len(rows, jobs, jobs_bytes);
        // What came too late changes nothing, and needs no record to say so.
        let is_idle = rows.is_empty() && carried.is_empty() && carried.tells();
        if !is_idle && !self.wal.has_room(len) {
            return Ok(None);
        }
        let first = rows.first().map_or(self.next_seq, |(number, _)| *number);
        let mut draft = Draft::new(self.wal.epoch(), first, len);
        for (_, row) in rows {
            draft.row(row);
        }
        carried.write(&mut draft);
        let bytes = draft.finish();
        // It was reckoned before, but behind the log lies all that is stored.
        if !is_idle && !self.wal.has_room(bytes.len()) {
            return Ok(None);
        }
        let numbers = carried.numbers();
        // What memory holds of it from now on is what is on disk, byte for byte.
        let Some((told, logged)) = record::parse(&bytes).and_then(|read| carried.logged(read))
        else {
            return Ok(None);
        };
        if !is_idle {
            self.wal.append(&bytes, rows, jobs > 0)?;
        }
        self.books.next_job += numbers;
        let outcome = match jobs {
            0 => Outcome::Nothing,
            _ => Outcome::Logged(logged),
        };
        Ok(Some(Worked { told, outcome }))
    }
}

// === impl Batch ===

impl Batch {
    /// Whether there is nothing but settled keys, and jobs perhaps that the disk has room for.
    fn is_for_the_log(&self) -> bool {
        let mut jobs = self.jobs.iter();
        self.shelves.is_empty()
            && self.chore.is_none()
            && (self.log_takes_pushes || jobs.all(|op| op.pushed().is_none()))
    }

    /// Whether anybody waits for it outside, and not only those who attempt events.
    pub(super) fn is_awaited(&self) -> bool {
        !self.settles.is_empty()
            || !self.shelves.is_empty()
            || self.chore.is_some()
            || self.jobs.iter().any(JobOp::is_awaited)
    }

    /// Whether something of it may go ahead of the rest.
    pub(super) fn is_mixed(&self) -> bool {
        match self.has_others() {
            true => !self.settles.is_empty() || self.jobs.iter().any(JobOp::goes_ahead),
            // Some may be held back.
            false => self.ops() > 1,
        }
    }

    /// Whether there is anything but what settles and pushes that go ahead.
    fn has_others(&self) -> bool {
        !self.jobs.iter().all(JobOp::goes_ahead) || !self.shelves.is_empty() || self.chore.is_some()
    }

    /// Takes out what settles, and the pushes that go ahead, are not held back, and find `room` in the log.
    fn split_ahead(&mut self, room: usize, held_back: &HeldBack) -> Self {
        let mut left = room_for_pushes(room, self.settles.len());
        let goes_ahead = |op: &mut JobOp| {
            let may = op.goes_ahead() && !held_back.holds(op);
            let rest = left.checked_sub(op.logged_len()).filter(|_| may);
            left = rest.unwrap_or(left);
            rest.is_some()
        };
        let ahead = Self {
            settles: std::mem::take(&mut self.settles),
            jobs: self.jobs.extract_if(.., goes_ahead).collect(),
            log_takes_pushes: self.log_takes_pushes,
            jobs_wait_since: self.jobs_wait_since,
            ..Self::default()
        };
        if self.jobs.is_empty() {
            // Nobody waits for those any more once they are answered. Of others it is not known which of them came first.
            self.jobs_wait_since = None;
        }
        ahead
    }

    /// How many settles and operations on jobs it has.
    pub(super) fn ops(&self) -> usize {
        self.settles.len() + self.jobs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.settles.is_empty()
            && self.shelves.is_empty()
            && self.jobs.is_empty()
            && self.unwritten.is_empty()
            && self.chore.is_none()
    }
}

// === impl Entries ===

impl Entries {
    pub(super) fn each(&self) -> impl Iterator<Item = Entry> {
        let (shelf, secs) = (self.shelf, self.secs);
        self.keys.iter().map(move |key| Entry { shelf, key, secs })
    }
}

/// Keys of one row: with more it would need more than one page of 4 KiB.
const ROW_KEYS_MAX: usize = 240;

/// What the keys of an event take of a record at most, two of them in rows of their own. So what settles in one commit
/// always finds room where the log goes on.
pub(super) const EVENT_BYTES_MAX: usize = 128;

/// What a remembered key takes on disk at the most, half-empty pages included.
const KEY_BYTES: u64 = 64;

/// What an empty file takes.
const FILE_BYTES: u64 = 2 * 1024 * 1024 + REGION_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepers::store::record;
    use crate::keepers::store::tests::{jobs, keys};
    use crate::keepers::store::tuning::Tuning;
    use crate::words::time::Timestamp;

    fn push(order: Option<u64>) -> JobOp {
        jobs::pushing(ShelfId(0), order)
    }

    #[test]
    fn what_has_gone_ahead_is_not_overdue_any_more() {
        for (others, waits_since) in [(vec![], None), (vec![push(Some(1))], Some(7))] {
            let mut batch = Batch {
                jobs: others,
                jobs_wait_since: Some(7),
                ..Batch::default()
            };
            batch.jobs.push(push(None));
            let ahead = batch.split_ahead(usize::MAX, &HeldBack::default());
            assert_eq!((ahead.jobs.len(), ahead.jobs_wait_since), (1, Some(7)));
            assert_eq!(batch.jobs_wait_since, waits_since);
        }
    }

    #[test]
    fn as_many_pushes_go_ahead_as_find_room() {
        let mut batch = Batch {
            jobs: (0..5).map(|_| push(None)).collect(),
            ..Batch::default()
        };
        let one = batch.jobs.first().map_or(0, JobOp::logged_len);
        let all = usize::MAX - room_for_pushes(usize::MAX, 0);
        let ahead = batch.split_ahead(all + one * 3 + 1, &HeldBack::default());
        assert_eq!((ahead.jobs.len(), batch.jobs.len()), (3, 2));
    }

    #[test]
    fn the_keys_of_an_event_take_no_more_than_is_reckoned() {
        let at = Timestamp::from_secs(1);
        let row = |key| JournalRow {
            shelf: u32::MAX,
            secs: at.as_stored_secs(),
            keys: vec![key],
        };
        let rows: Vec<Numbered> = keys(1).iter().map(|key| (0, row(key))).collect();
        assert_eq!(rows.len(), 2);
        assert!(record::len(&rows, 0, 0) <= EVENT_BYTES_MAX);
        // The entry of a push beside it has a length too.
        let entry = record::len(&rows, 1, 0);
        assert!(entry <= EVENT_BYTES_MAX, "{entry}");
        let all = Tuning::default().commit_ops_max * EVENT_BYTES_MAX;
        assert!(all as u64 <= REGION_BYTES / 4);
    }
}
