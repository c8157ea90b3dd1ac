//! What one commit takes along, and how it is written.
//!
//! Settles of one shelf within one second share a row, so that a commit writes a few rows at the right edge
//! of the journal whatever it carries. Nothing here waits, answers, or decides what an error means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use redb::Database;

use super::codec::{JournalRow, ShelfRow};
use super::tables::{JOURNAL, SHELVES};
use super::unwritten::Entry;
use super::vault::{Chore, Op, Vault};
use super::{Done, ShelfId, StoreError};
use crate::words::identity::Keys;

/// The file as one opening of it found it.
pub(super) struct Session {
    pub(super) database: Arc<Database>,
    pub(super) epoch: u64,
    pub(super) next_seq: u64,
    pub(super) next_shelf: u32,
}

/// What goes into one commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) settles: Vec<(Entries, Done)>,
    pub(super) shelves: Vec<(ShelfRow, SyncSender<Result<ShelfId, StoreError>>)>,
    pub(super) unwritten: Vec<Entry>,
    pub(super) chore: Option<Chore>,
}

/// The keys of one event and when it was settled.
pub(super) struct Entries {
    pub(super) shelf: ShelfId,
    pub(super) keys: Keys,
    pub(super) secs: u32,
}

/// The rows of one commit.
pub(super) struct Rows {
    pub(super) journal: Vec<(u64, JournalRow)>,
    pub(super) shelves: Vec<(ShelfId, ShelfRow)>,
}

// === impl Session ===

impl Session {
    /// Packs a batch into as few rows as its shelves and seconds allow.
    pub(super) fn rows(&mut self, batch: &Batch, vault: &Vault) -> Rows {
        let mut grouped: BTreeMap<(ShelfId, u32), Vec<_>> = BTreeMap::new();
        let settled = batch.settles.iter().flat_map(|(entries, _)| entries.each());
        for entry in batch.unwritten.iter().copied().chain(settled) {
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

    /// One transaction, synced when this returns `Ok`. After an error it is unknown whether it happened.
    pub(super) fn write(
        &self,
        rows: &Rows,
        chore: Option<&Chore>,
        two_phase: bool,
    ) -> Result<(), redb::Error> {
        let mut txn = self.database.begin_write()?;
        txn.set_two_phase_commit(two_phase);
        if !rows.journal.is_empty() {
            let mut table = txn.open_table(JOURNAL)?;
            for (seq, row) in &rows.journal {
                table.insert(seq, row.encode().as_slice())?;
            }
        }
        if !rows.shelves.is_empty() {
            let mut table = txn.open_table(SHELVES)?;
            for (ShelfId(id), row) in &rows.shelves {
                table.insert(id, row.encode().as_slice())?;
            }
        }
        for change in chore.iter().flat_map(|chore| &chore.changes) {
            change.apply(&txn)?;
        }
        txn.commit()?;
        Ok(())
    }
}

// === impl Batch ===

impl Batch {
    pub(super) fn from_ops(ops: impl Iterator<Item = Op>) -> Self {
        let mut batch = Self::default();
        for op in ops {
            match op {
                Op::Settle {
                    shelf,
                    keys,
                    secs,
                    queued: _,
                    done,
                } => batch.settles.push((Entries { shelf, keys, secs }, done)),
                Op::Shelf { name, keep, reply } => {
                    batch.shelves.push((ShelfRow { name, keep }, reply));
                }
            }
        }
        batch
    }

    pub(super) fn is_empty(&self) -> bool {
        self.settles.is_empty()
            && self.shelves.is_empty()
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
