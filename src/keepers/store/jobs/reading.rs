//! Reading jobs from the tables: what is due, what a job holds, and walks over all of them. Whoever asks knows what the
//! log says beside them.
//!
//! Each read transaction is short, whatever is asked for: a long one would keep every page replaced meanwhile
//! from being used again.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable};

use super::codec::{decode_attempt, decode_bytes, decode_content, decode_job};
use super::tables::{ATTEMPTS, BODIES, CONTENTS, DUE, ENDED, EndedKey, JOBS, REPLAYS};
use super::{
    AttemptRecord, Due, JobId, JobInfo, JobState, JobView, ReplayId, Selection, StoredJob,
};
use crate::keepers::store::ShelfId;
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

/// The states of jobs as the last transaction left them.
pub(super) struct Infos(ReadOnlyTable<u64, &'static [u8]>);

// === impl Infos ===

impl Infos {
    pub(super) fn open(database: &Database) -> Result<Self, redb::Error> {
        Ok(Self(database.begin_read()?.open_table(JOBS)?))
    }

    /// One job's; `Some(None)` if it cannot be read.
    pub(super) fn read(&self, id: JobId) -> Result<Option<Option<JobInfo>>, redb::Error> {
        let row = self.0.get(id.0)?;
        Ok(row.map(|row| decode_job(id, row.value())))
    }
}

/// When the first job of a shelf is due, none before `from`, without those that have `ended`.
pub(super) fn next_due(
    database: &Database,
    shelf: ShelfId,
    from: Option<Timestamp>,
    ended: &BTreeSet<JobId>,
) -> Result<Option<Timestamp>, redb::Error> {
    let places = database.begin_read()?.open_table(DUE)?;
    let from = from.map_or(i64::MIN, Timestamp::as_millis);
    for entry in places.range((shelf.0, from, 0)..=(shelf.0, i64::MAX, u64::MAX))? {
        let (_, at, id) = entry?.0.value();
        if !ended.contains(&JobId(id)) {
            return Ok(Some(Timestamp::from_millis(at)));
        }
    }
    Ok(None)
}

/// The places of a shelf up to `until`, after a place, as many as asked for, without jobs that have `ended`, and so none
/// before `first`.
pub(super) fn due(
    database: &Database,
    shelf: ShelfId,
    until: Option<Timestamp>,
    after: Option<Due>,
    limit: usize,
    first: Timestamp,
    ended: &BTreeSet<JobId>,
) -> Result<DueRead, redb::Error> {
    let txn = database.begin_read()?;
    let (places, jobs) = (txn.open_table(DUE)?, txn.open_table(JOBS)?);
    let from = match after {
        Some(Due { at, id }) if at >= first => Bound::Excluded((shelf.0, at.as_millis(), id.0)),
        Some(_) | None => Bound::Included((shelf.0, first.as_millis(), 0)),
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
        if ended.contains(&id) {
            continue;
        }
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

/// Shows selected jobs downwards from `from`, without those that have `ended`, and gives back where to go on, and
/// whether to.
pub(super) fn show(
    database: &Database,
    from: u64,
    selection: Selection,
    rows_max: usize,
    ended: &BTreeSet<JobId>,
    visit: &mut dyn FnMut(&JobView<'_>) -> ControlFlow<()>,
) -> Result<(Option<u64>, ControlFlow<()>), redb::Error> {
    let txn = database.begin_read()?;
    let (jobs, contents) = (txn.open_table(JOBS)?, txn.open_table(CONTENTS)?);
    let mut taken = 0;
    for entry in jobs.range(..=from)?.rev() {
        let (id, row) = entry?;
        let id = id.value();
        if ended.contains(&JobId(id)) {
            continue;
        }
        if taken == rows_max {
            return Ok((Some(id), ControlFlow::Continue(())));
        }
        taken += 1;
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
