//! One shelf in memory: what it keeps, its journal, and its runs with their outlines.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Keep;
use super::codec::Manifest;
use super::jobs::tally::Holdings;
use super::journal::Journal;
use super::outline::Outline;
use crate::words::identity::Key;
use crate::words::time::Timestamp;

/// One shelf.
pub(super) struct Shelf {
    pub(super) name: String,
    pub(super) keep: Keep,
    pub(super) journal: Journal,
    /// What it holds of the queue.
    pub(super) holdings: Holdings,
    runs: Vec<Arc<Run>>,
    /// Counts the changes of `runs`, so that a reader notices that its list is old.
    version: u64,
}

/// An immutable sorted run on disk.
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) manifest: Manifest,
    /// Empty until it was rebuilt after a start.
    pub(super) outline: OnceLock<Outline>,
}

/// Until when keys live. Without a present nothing expires.
#[derive(Clone, Copy)]
pub(super) struct Expiry {
    pub(super) now: Option<Timestamp>,
    pub(super) remember: Duration,
}

/// What memory says of one key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    Settled,
    Absent,
    /// A run may hold it.
    Perhaps,
}

// === impl Shelf ===

impl Shelf {
    pub(super) fn new(name: String, keep: Keep) -> Self {
        Self {
            name,
            keep,
            journal: Journal::default(),
            holdings: Holdings::default(),
            runs: Vec::new(),
            version: 0,
        }
    }

    /// What memory says of `key`.
    pub(super) fn see(&self, key: &Key, now: Option<Timestamp>) -> Sight {
        if self.journal_holds(key, now) {
            return Sight::Settled;
        }
        match self.candidates(key, now).next() {
            Some(_) => Sight::Perhaps,
            None => Sight::Absent,
        }
    }

    /// Whether `key` is settled and not in a run yet.
    pub(super) fn journal_holds(&self, key: &Key, now: Option<Timestamp>) -> bool {
        let secs = self.journal.find(key);
        secs.is_some_and(|secs| self.expiry(now).lives(secs))
    }

    /// The runs that may hold `key`, the newest first.
    pub(super) fn candidates(
        &self,
        key: &Key,
        now: Option<Timestamp>,
    ) -> impl Iterator<Item = &Arc<Run>> {
        let expiry = self.expiry(now);
        self.runs
            .iter()
            .rev()
            .filter(move |run| expiry.lives(run.manifest.newest) && run.may_hold(key))
    }

    pub(super) fn expiry(&self, now: Option<Timestamp>) -> Expiry {
        Expiry {
            now,
            remember: self.keep.remember,
        }
    }

    pub(super) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Takes `gone` out of the runs and puts `new` in, in one step for every reader.
    pub(super) fn replace(&mut self, gone: &[u64], new: Option<Arc<Run>>) {
        self.runs.retain(|run| !gone.contains(&run.id));
        self.runs.extend(new);
        self.version += 1;
    }

    /// Keys held, expired ones included.
    pub(super) fn keys(&self) -> u64 {
        let in_runs: u64 = self.runs.iter().map(|run| run.manifest.count).sum();
        in_runs + self.journal.len() as u64
    }
}

// === impl Run ===

impl Run {
    /// The first key of the chunk that holds `key`; `None` where none does, or it is not known.
    pub(super) fn chunk_of(&self, key: &Key) -> Option<&Key> {
        self.outline.get()?.chunk_of(key)
    }

    fn may_hold(&self, key: &Key) -> bool {
        self.outline
            .get()
            .is_none_or(|outline| outline.may_hold(key))
    }
}

// === impl Expiry ===

impl Expiry {
    /// Whether what was settled in `secs` is still remembered.
    pub(super) fn lives(&self, secs: u32) -> bool {
        self.now
            .is_none_or(|now| now < Timestamp::from_secs(i64::from(secs)).after(self.remember))
    }
}
