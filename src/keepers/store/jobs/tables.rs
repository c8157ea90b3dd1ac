//! The queue's tables.
//!
//! What never changes about an event lies in `CONTENTS` and `BODIES`; its state is a small row beside them,
//! so that an attempt never rewrites a body and a scan reads fifty jobs from a page. Numbers of jobs ascend,
//! so that a push touches the right edge of each tree; only the place of an ordered job lies at random.
//! Rows of the three indexes have no value: all they say is in their key.

use redb::{TableDefinition, WriteTransaction};

/// A shelf, a moment in milliseconds, a job.
pub(in crate::keepers::store) type DueKey = (u32, i64, u64);
/// A shelf, whether dead, the moment it ended in milliseconds, a job.
pub(super) type EndedKey = (u32, bool, i64, u64);
/// A shelf, the hash of a subject, a job.
pub(super) type OrderedKey = (u32, u64, u64);

/// Makes the tables that are not there yet.
pub(in crate::keepers::store) fn make(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(JOBS)?;
    txn.open_table(CONTENTS)?;
    txn.open_table(BODIES)?;
    txn.open_table(ATTEMPTS)?;
    txn.open_table(DUE)?;
    txn.open_table(ENDED)?;
    txn.open_table(ORDERED)?;
    txn.open_table(TALLIES)?;
    txn.open_table(TERMS)?;
    txn.open_table(REPLAYS)?;
    Ok(())
}

/// The state of each job.
pub(in crate::keepers::store) const JOBS: TableDefinition<'static, u64, &[u8]> =
    TableDefinition::new("jobs");
/// The head of each job, with its body if that is small.
pub(in crate::keepers::store) const CONTENTS: TableDefinition<'static, u64, &[u8]> =
    TableDefinition::new("contents");
/// The larger bodies.
pub(in crate::keepers::store) const BODIES: TableDefinition<'static, u64, &[u8]> =
    TableDefinition::new("bodies");
/// Attempts by job and slot; slots beyond the first are used in turn.
pub(super) const ATTEMPTS: TableDefinition<'static, (u64, u8), &[u8]> =
    TableDefinition::new("attempts");
/// Queued jobs that do not wait for another of their subject.
pub(in crate::keepers::store) const DUE: TableDefinition<'static, DueKey, ()> =
    TableDefinition::new("due");
/// Delivered jobs and dead letters, the first to be forgotten first.
pub(super) const ENDED: TableDefinition<'static, EndedKey, ()> = TableDefinition::new("ended");
/// Queued jobs of ordered subjects, the one that is due first.
pub(super) const ORDERED: TableDefinition<'static, OrderedKey, ()> =
    TableDefinition::new("ordered");
/// What each shelf holds, and under [`NEXT`] the number of the next job.
pub(in crate::keepers::store) const TALLIES: TableDefinition<'static, u32, &[u8]> =
    TableDefinition::new("tallies");
/// On what terms each shelf holds jobs.
pub(super) const TERMS: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("terms");
/// What the layer above keeps about replays.
pub(super) const REPLAYS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("replays");

/// The key of the next job's number: no shelf has it, since shelves are numbered from zero one by one.
pub(super) const NEXT: u32 = u32::MAX;
