//! The keys of a shelf that are not in a run yet, in memory.
//!
//! On disk they are rows of the journal in the order they were settled. When there are enough of them they
//! are *frozen*: a run is made of them while new keys gather beside them, and once the run is published
//! they are dropped in one step, so that at no moment a key is in neither place.

use std::collections::VecDeque;
use std::sync::Arc;

use super::codec::Record;
use super::keymap::{KeyMap, remember};
use crate::words::identity::Key;

/// Keys in the journal of one shelf.
#[derive(Default)]
pub(super) struct Journal {
    keys: KeyMap,
    rows: VecDeque<Row>,
    frozen: Option<Arc<Frozen>>,
}

/// Keys on their way into a run.
pub(super) struct Frozen {
    keys: KeyMap,
    rows: Vec<Row>,
}

/// A row on disk.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) secs: u32,
}

// === impl Journal ===

impl Journal {
    /// Adds the keys of a row that is on disk.
    pub(super) fn add(&mut self, row: Row, keys: &[Key]) {
        for key in keys {
            remember(&mut self.keys, *key, row.secs);
        }
        self.rows.push_back(row);
    }

    /// The latest second `key` was settled in.
    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.keys.get(key));
        self.keys.get(key).max(frozen).copied()
    }

    /// Keys held, counting twice what was settled again meanwhile.
    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.frozen.as_ref().map_or(0, |frozen| frozen.keys.len())
    }

    /// Keys that are not frozen.
    pub(super) fn fresh(&self) -> usize {
        self.keys.len()
    }

    /// The keys to make a run of: those frozen before and never published, or else all there are.
    pub(super) fn freeze(&mut self) -> Arc<Frozen> {
        let frozen = self.frozen.take().unwrap_or_else(|| {
            Arc::new(Frozen {
                keys: std::mem::take(&mut self.keys),
                rows: std::mem::take(&mut self.rows).into(),
            })
        });
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// Whether a run is being made, or was begun and given up.
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Drops the frozen keys, which are in a published run by now.
    pub(super) fn thaw(&mut self) -> Option<Arc<Frozen>> {
        self.frozen.take()
    }

    /// Forgets the keys of rows at the front that `has_expired`, and gives back those rows.
    pub(super) fn expire(&mut self, has_expired: impl Fn(u32) -> bool) -> Vec<u64> {
        let mut gone = Vec::new();
        while let Some(row) = self.rows.front().copied() {
            if !has_expired(row.secs) {
                break;
            }
            gone.push(row.seq);
            self.rows.pop_front();
        }
        if !gone.is_empty() {
            self.keys.retain(|_, secs| !has_expired(*secs));
        }
        gone
    }
}

// === impl Frozen ===

impl Frozen {
    /// The records in order of their keys.
    pub(super) fn sorted(&self) -> Vec<Record> {
        let mut records: Vec<_> = self
            .keys
            .iter()
            .map(|(&key, &secs)| Record { key, secs })
            .collect();
        records.sort_unstable();
        records
    }

    /// The rows that the run replaces.
    pub(super) fn rows(&self) -> impl Iterator<Item = u64> {
        self.rows.iter().map(|row| row.seq)
    }
}
