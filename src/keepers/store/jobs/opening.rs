//! What memory must know of the queue when the file is opened: nothing that grows with it.

use std::collections::BTreeMap;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use super::JobId;
use super::codec::{decode_job, decode_next, decode_tally, decode_terms};
use super::desk::Books;
use super::fresh::{End, Known};
use super::logged::JobEntry;
use super::reading::{self, Infos};
use super::tables::{JOBS, NEXT, TALLIES, TERMS};
use super::tally::{Holdings, Tally};
use crate::keepers::store::ShelfId;
use crate::keepers::store::loading::Loaded;

/// Reads the tables, and follows what the log says since, `entries`.
pub(in crate::keepers::store) fn load_jobs(
    database: &Database,
    entries: Vec<JobEntry>,
    loaded: &mut Loaded,
) -> Result<(), redb::Error> {
    let txn = database.begin_read()?;
    let mut books = Books::default();
    let mut damaged = false;
    for entry in txn.open_table(TALLIES)?.iter()? {
        let (id, row) = entry?;
        match (
            id.value(),
            decode_next(row.value()),
            decode_tally(row.value()),
        ) {
            (NEXT, Some(next), _) => books.next_job = next,
            (NEXT, None, _) | (_, _, None) => damaged = true,
            (id, _, Some(tally)) => {
                books.tallies.insert(ShelfId(id), tally);
            }
        }
    }
    let last = txn.open_table(JOBS)?.last()?.map(|(id, _)| id.value());
    let after_last = last.map_or(0, |id| id.saturating_add(1));
    books.next_job = books.next_job.max(after_last);
    if damaged {
        loaded.damaged += 1;
        books.tallies = count_anew(&txn)?;
    }
    loaded.books = books;
    replay(database, entries, loaded)?;
    let (books, ended) = (&mut loaded.books, loaded.fresh.ended());
    for (id, shelf) in &mut loaded.by_id {
        let tally = books.tallies.get(id).copied().unwrap_or_default();
        let next_due = reading::next_due(database, *id, None, &ended)?;
        shelf.holdings = Holdings::new(tally, next_due);
    }
    for entry in txn.open_table(TERMS)?.iter()? {
        let (id, row) = entry?;
        let shelf = loaded.by_id.get_mut(&ShelfId(id.value()));
        match (decode_terms(row.value()), shelf) {
            (Some(terms), Some(shelf)) => {
                shelf.holdings.terms = Some(terms);
                books.terms.insert(ShelfId(id.value()), terms);
            }
            (Some(_), None) | (None, _) => loaded.damaged += 1,
        }
    }
    Ok(())
}

/// Counts every job, where a count cannot be read.
fn count_anew(txn: &ReadTransaction) -> Result<BTreeMap<ShelfId, Tally>, redb::Error> {
    let mut tallies: BTreeMap<ShelfId, Tally> = BTreeMap::new();
    for entry in txn.open_table(JOBS)?.iter()? {
        let (id, row) = entry?;
        if let Some(job) = decode_job(JobId(id.value()), row.value()) {
            tallies.entry(job.shelf).or_default().add(&job);
        }
    }
    Ok(tallies)
}

/// Follows what the log says of jobs, in its order: the tables are as the transaction before its first record left
/// them. An end whose job is nowhere is one of a record that was lost.
fn replay(
    database: &Database,
    entries: Vec<JobEntry>,
    loaded: &mut Loaded,
) -> Result<(), redb::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let infos = Infos::open(database)?;
    for entry in entries {
        let id = match entry {
            JobEntry::Pushed(job) => {
                let id = job.info.id;
                loaded.fresh.push(job);
                id
            }
            JobEntry::Ended(id) => {
                let end = match loaded.fresh.known(id) {
                    Known::Fresh(job) => Some((job.info, false)),
                    Known::Ended => None,
                    Known::Nothing => infos.read(id)?.flatten().map(|info| (info, true)),
                };
                if let Some((info, is_stored)) = end
                    && info.is_queued()
                {
                    loaded.fresh.end(&End { info, is_stored });
                }
                id
            }
        };
        let books = &mut loaded.books;
        books.next_job = books.next_job.max(id.0.saturating_add(1));
    }
    Ok(())
}
