//! Reading jobs from disk: what is due, what a job holds, and walks over all of them.
//!
//! Each read transaction is short, whatever is asked for: a long one would keep every page replaced meanwhile
//! from being used again.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use super::codec::{
    decode_attempt, decode_bytes, decode_content, decode_job, decode_next, decode_tally,
    decode_terms,
};
use super::desk::Books;
use super::tables::{
    ATTEMPTS, BODIES, CONTENTS, DUE, ENDED, EndedKey, JOBS, NEXT, REPLAYS, TALLIES, TERMS,
};
use super::tally::{Holdings, Tally};
use super::{
    AttemptRecord, Due, JobId, JobInfo, JobState, JobView, ReplayId, Selection, StoredJob,
};
use crate::keepers::store::ShelfId;
use crate::keepers::store::loading::Loaded;
use crate::words::time::Timestamp;

/// Due places, and those among them whose job cannot be read.
pub(super) struct DueRead {
    pub(super) due: Vec<Due>,
    pub(super) broken: Vec<Due>,
}

/// Rows of states, in the order of their numbers.
pub(super) struct JobSlice {
    /// `None` for those that cannot be read.
    pub(super) jobs: Vec<Option<JobInfo>>,
    /// The number behind the last one read; `None` at the end.
    pub(super) next: Option<u64>,
}

/// Reads what memory must know of the queue: nothing that grows with it.
pub(in crate::keepers::store) fn load_jobs(
    database: &Database,
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
    let due = txn.open_table(DUE)?;
    for (id, shelf) in &mut loaded.by_id {
        let tally = books.tallies.get(id).copied().unwrap_or_default();
        let all = (id.0, i64::MIN, 0)..=(id.0, i64::MAX, u64::MAX);
        let first = due.range(all)?.next().transpose()?;
        let next_due = first.map(|(key, _)| Timestamp::from_millis(key.value().1));
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
    loaded.books = books;
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

/// The places of a shelf up to `until`, after a place, as many as asked for.
pub(super) fn due(
    database: &Database,
    shelf: ShelfId,
    until: Option<Timestamp>,
    after: Option<Due>,
    limit: usize,
) -> Result<DueRead, redb::Error> {
    let txn = database.begin_read()?;
    let (places, jobs) = (txn.open_table(DUE)?, txn.open_table(JOBS)?);
    let from = match after {
        None => Bound::Included((shelf.0, i64::MIN, 0)),
        Some(Due { at, id }) => Bound::Excluded((shelf.0, at.as_millis(), id.0)),
    };
    let until = until.map_or(i64::MAX, Timestamp::as_millis);
    let mut read = DueRead {
        due: Vec::new(),
        broken: Vec::new(),
    };
    // A range that ends before it begins is an error to redb and nothing at all to us.
    if after.is_some_and(|after| after.at.as_millis() > until) {
        return Ok(read);
    }
    let upto = Bound::Included((shelf.0, until, u64::MAX));
    for entry in places.range::<(u32, i64, u64)>((from, upto))? {
        if read.due.len() >= limit {
            break;
        }
        let (_, at, id) = entry?.0.value();
        let (at, id) = (Timestamp::from_millis(at), JobId(id));
        let row = jobs.get(id.0)?;
        let job = row.and_then(|row| decode_job(id, row.value()));
        let sound = JobState::Queued {
            due: at,
            waits: false,
        };
        match job.is_some_and(|job| job.state == sound) {
            true => read.due.push(Due { at, id }),
            false => read.broken.push(Due { at, id }),
        }
    }
    Ok(read)
}

/// Some jobs, and how many of them are there but cannot be read.
pub(super) fn load(
    database: &Database,
    ids: &[JobId],
    with_body: bool,
) -> Result<(Vec<Option<StoredJob>>, u64), redb::Error> {
    let txn = database.begin_read()?;
    let jobs = txn.open_table(JOBS)?;
    let contents = txn.open_table(CONTENTS)?;
    let bodies = txn.open_table(BODIES)?;
    let mut damaged = 0;
    let mut loaded = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(row) = jobs.get(id.0)? else {
            loaded.push(None);
            continue;
        };
        let content = contents.get(id.0)?;
        let content = content.as_ref().and_then(|row| decode_content(row.value()));
        let job = decode_job(*id, row.value()).zip(content);
        let job = match job {
            Some((info, content)) if with_body => {
                let apart = match content.body {
                    Some(_) => None,
                    None => bodies.get(id.0)?,
                };
                let apart = apart.as_ref().and_then(|row| decode_bytes(row.value()));
                content.body.or(apart).map(|body| StoredJob {
                    info,
                    head: Bytes::copy_from_slice(content.head),
                    body: Some(Bytes::copy_from_slice(body)),
                })
            }
            Some((info, content)) => Some(StoredJob {
                info,
                head: Bytes::copy_from_slice(content.head),
                body: None,
            }),
            None => None,
        };
        damaged += u64::from(job.is_none());
        loaded.push(job);
    }
    Ok((loaded, damaged))
}

/// The attempts of a job that are kept, by number, and how many could not be read.
pub(super) fn attempts(
    database: &Database,
    id: JobId,
) -> Result<(Vec<AttemptRecord>, u64), redb::Error> {
    let table = database.begin_read()?.open_table(ATTEMPTS)?;
    let (mut read, mut damaged) = (Vec::new(), 0);
    for entry in table.range((id.0, 0)..=(id.0, u8::MAX))? {
        match decode_attempt(entry?.1.value()) {
            Some(attempt) => read.push(attempt),
            None => damaged += 1,
        }
    }
    read.sort_by_key(|attempt| attempt.number);
    Ok((read, damaged))
}

/// States from a number on, at most `rows_max`.
pub(super) fn slice(
    database: &Database,
    from: u64,
    rows_max: usize,
) -> Result<JobSlice, redb::Error> {
    let table = database.begin_read()?.open_table(JOBS)?;
    let mut slice = JobSlice {
        jobs: Vec::new(),
        next: None,
    };
    for (taken, entry) in table.range(from..)?.enumerate() {
        let (id, row) = entry?;
        if taken == rows_max {
            slice.next = Some(id.value());
            break;
        }
        slice.jobs.push(decode_job(JobId(id.value()), row.value()));
    }
    Ok(slice)
}

/// Shows selected jobs downwards from `from` and gives back where to go on, and whether to.
pub(super) fn show(
    database: &Database,
    from: u64,
    selection: Selection,
    rows_max: usize,
    visit: &mut dyn FnMut(&JobView<'_>) -> ControlFlow<()>,
) -> Result<(Option<u64>, ControlFlow<()>), redb::Error> {
    let txn = database.begin_read()?;
    let (jobs, contents) = (txn.open_table(JOBS)?, txn.open_table(CONTENTS)?);
    for (taken, entry) in jobs.range(..=from)?.rev().enumerate() {
        let (id, row) = entry?;
        let id = id.value();
        if taken == rows_max {
            return Ok((Some(id), ControlFlow::Continue(())));
        }
        let Some(info) = decode_job(JobId(id), row.value()) else {
            continue;
        };
        if !selection.takes(&info) {
            continue;
        }
        let content = contents.get(id)?;
        let content = content.as_ref().and_then(|row| decode_content(row.value()));
        // A job whose head is lost is still shown: somebody may want to know, or to bury it.
        let head = content.map_or(&[][..], |content| content.head);
        let info = &info;
        if visit(&JobView { info, head }).is_break() {
            return Ok((id.checked_sub(1), ControlFlow::Break(())));
        }
    }
    Ok((None, ControlFlow::Continue(())))
}

/// The first job that was taken at `at` or later, if jobs were taken in the order of their numbers.
pub(super) fn first_since(database: &Database, at: Timestamp) -> Result<u64, redb::Error> {
    let table = database.begin_read()?.open_table(JOBS)?;
    let end = |entry: Option<(redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>)>| {
        entry.map_or(0, |(id, _)| id.value())
    };
    let (mut low, mut high) = (end(table.first()?), end(table.last()?).saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let first = table.range(middle..high)?.next().transpose()?;
        let job = first.and_then(|(id, row)| decode_job(JobId(id.value()), row.value()));
        match job {
            Some(job) if job.at < at => low = job.id.0.saturating_add(1),
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

/// Jobs of a shelf that ended by `until`, the first of them first.
pub(super) fn ended(
    database: &Database,
    shelf: ShelfId,
    dead: bool,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<EndedKey>, redb::Error> {
    let table = database.begin_read()?.open_table(ENDED)?;
    let upto = (shelf.0, dead, until.as_millis(), u64::MAX);
    table
        .range((shelf.0, dead, i64::MIN, 0)..=upto)?
        .take(limit)
        .map(|entry| Ok(entry?.0.value()))
        .collect()
}

/// All replays' rows, and how many could not be read.
pub(super) fn replays(database: &Database) -> Result<(Vec<(ReplayId, Bytes)>, u64), redb::Error> {
    let table = database.begin_read()?.open_table(REPLAYS)?;
    let (mut read, mut damaged) = (Vec::new(), 0);
    for entry in table.iter()? {
        let (id, row) = entry?;
        match decode_bytes(row.value()) {
            Some(row) => read.push((ReplayId(id.value()), Bytes::copy_from_slice(row))),
            None => damaged += 1,
        }
    }
    Ok((read, damaged))
}

/// One replay's row.
pub(super) fn replay(database: &Database, id: ReplayId) -> Result<Option<Bytes>, redb::Error> {
    let table = database.begin_read()?.open_table(REPLAYS)?;
    let row = table.get(id.0)?;
    Ok(row.and_then(|row| decode_bytes(row.value()).map(Bytes::copy_from_slice)))
}
