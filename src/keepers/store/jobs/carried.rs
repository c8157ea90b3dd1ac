//! What a record of the log can carry of a batch, so that no table is touched.
//!
//! That is pushes of jobs that wait for nobody, and their delivery without a copy, be the job in the log alone or in the
//! tables. A batch with anything else goes by a transaction, but for what goes ahead of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redb::Database;

use super::desk::Books;
use super::fresh::{ENDED_MAX, End, Known};
use super::logged::{END_BYTES, FreshJob, JobEntry, push_len};
use super::ops::{JobOp, Told};
use super::tally::Tally;
use super::{
    AttemptRecord, Change, Changed, JobId, JobInfo, JobState, NewJob, NewState, Volume, reading,
};
use crate::keepers::store::ShelfId;
use crate::keepers::store::record::{Draft, Record};
use crate::keepers::store::vault::Vault;
use crate::words::time::Timestamp;

/// The jobs' part of a record, before it is written.
#[derive(Default)]
pub(in crate::keepers::store) struct Carried<'a> {
    pushed: Vec<(JobInfo, &'a NewJob)>,
    ended: Vec<End>,
    next_due: BTreeMap<ShelfId, Option<Timestamp>>,
    told: Vec<Told>,
}

/// What a record that is on disk says of jobs.
#[derive(Default)]
pub(in crate::keepers::store) struct Logged {
    pub(in crate::keepers::store) pushed: Vec<Arc<FreshJob>>,
    pub(in crate::keepers::store) ended: Vec<End>,
    /// When the first job of the tables is due, of shelves where one of them has ended.
    pub(in crate::keepers::store) next_due: BTreeMap<ShelfId, Option<Timestamp>>,
}

/// One operation that a record may carry.
enum Light<'a> {
    Push(&'a NewJob),
    End(JobId, &'a AttemptRecord),
}

/// Where the job of an end is.
#[derive(Clone, Copy)]
enum Place {
    Log(JobInfo),
    Tables(JobInfo),
    Gone,
    /// In the tables, if anywhere.
    Unknown,
}

// === impl Carried ===

impl<'a> Carried<'a> {
    /// Sorts a batch's operations, in their order; `None` where a transaction is needed.
    ///
    /// # Errors
    /// What the disk says while it is asked for jobs that are in the tables.
    pub(in crate::keepers::store) fn plan(
        ops: &'a [JobOp],
        books: &Books,
        vault: &Vault,
        database: &Database,
    ) -> Result<Option<Self>, redb::Error> {
        let light: Option<Vec<Light<'_>>> = ops.iter().map(Light::of).collect();
        let Some(light) = light.filter(|_| short_of_room(ops, books, vault).is_empty()) else {
            return Ok(None);
        };
        let Some(places) = places(&light, vault, database)? else {
            return Ok(None);
        };
        let mut carried = Self::default();
        let mut gone = BTreeSet::new();
        let mut next = books.next_job;
        for (op, place) in light.iter().zip(places) {
            let told = match op {
                Light::Push(new) => {
                    let Some(info) = info(JobId(next), new) else {
                        return Ok(None);
                    };
                    next += 1;
                    carried.pushed.push((info, *new));
                    Told::Pushed(info.id)
                }
                Light::End(id, attempt) => {
                    let (info, is_stored) = match place {
                        Place::Log(info) => (info, false),
                        Place::Tables(info) => (info, true),
                        Place::Gone | Place::Unknown => {
                            carried.told.push(Told::Changed(Changed::Gone));
                            continue;
                        }
                    };
                    if gone.contains(id) {
                        Told::Changed(Changed::Gone)
                    } else if attempt.number != info.attempts.wrapping_add(1) {
                        Told::Changed(Changed::Stale)
                    } else {
                        gone.insert(*id);
                        carried.ended.push(End { info, is_stored });
                        Told::Changed(Changed::Done { next: None })
                    }
                }
            };
            carried.told.push(told);
        }
        let fits = carried.look_ahead(vault, database)?;
        Ok(fits.then_some(carried))
    }

    /// Finds out what is due next in the tables without those that end now; false if too many have ended.
    fn look_ahead(&mut self, vault: &Vault, database: &Database) -> Result<bool, redb::Error> {
        let stored: Vec<JobInfo> = {
            let stored = self.ended.iter().filter(|end| end.is_stored);
            stored.map(|end| end.info).collect()
        };
        if stored.is_empty() {
            return Ok(true);
        }
        let mut ended = vault.shelves().fresh.ended();
        if ended.len() + stored.len() > ENDED_MAX {
            return Ok(false);
        }
        Arc::make_mut(&mut ended).extend(stored.iter().map(|info| info.id));
        for info in &stored {
            let JobState::Queued { due, .. } = info.state else {
                continue;
            };
            let first = {
                let shelves = vault.shelves();
                let shelf = shelves.by_id.get(&info.shelf);
                shelf.and_then(|shelf| shelf.holdings.next_due)
            };
            if first.is_some_and(|first| due <= first) && !self.next_due.contains_key(&info.shelf) {
                let next = reading::next_due(database, info.shelf, first, &ended)?;
                self.next_due.insert(info.shelf, next);
            }
        }
        Ok(true)
    }

    /// How many entries it has, and about what they take; no less.
    pub(in crate::keepers::store) fn size(&self) -> (usize, usize) {
        let pushed: usize = self.pushed.iter().map(|(_, new)| push_len(new)).sum();
        let entries = self.pushed.len() + self.ended.len();
        (entries, pushed + self.ended.len() * END_BYTES)
    }

    /// Whether there is nothing to be written.
    pub(in crate::keepers::store) fn is_empty(&self) -> bool {
        self.pushed.is_empty() && self.ended.is_empty()
    }

    /// Whether anybody is to be told of anything.
    pub(in crate::keepers::store) fn tells(&self) -> bool {
        !self.told.is_empty()
    }

    /// How many numbers it gives away.
    pub(in crate::keepers::store) fn numbers(&self) -> u64 {
        self.pushed.len() as u64
    }

    /// Writes it behind the rows of a record.
    pub(in crate::keepers::store) fn write(&self, draft: &mut Draft<'_>) {
        for (info, new) in &self.pushed {
            draft.push(info, new);
        }
        for end in &self.ended {
            draft.end(end.info.id);
        }
    }

    /// What is to be told and published once `record` is on disk: the jobs as a later opening would read them. `None`
    /// if it would not read them all.
    pub(in crate::keepers::store) fn logged(self, record: Record) -> Option<(Vec<Told>, Logged)> {
        let pushed: Vec<_> = record
            .jobs
            .into_iter()
            .filter_map(|entry| match entry {
                JobEntry::Pushed(job) => Some(job),
                JobEntry::Ended(_) => None,
            })
            .collect();
        let are_whole = pushed.len() == self.pushed.len()
            && pushed
                .iter()
                .zip(&self.pushed)
                .all(|(read, (info, _))| read.info == *info);
        let logged = Logged {
            pushed,
            ended: self.ended,
            next_due: self.next_due,
        };
        are_whole.then_some((self.told, logged))
    }
}

// === impl Light ===

impl<'a> Light<'a> {
    fn of(op: &'a JobOp) -> Option<Self> {
        match op {
            JobOp::Push { job, .. } => op.is_plain_push().then_some(Self::Push(job)),
            JobOp::Change { id, change, .. } => match change {
                Change::Delivered {
                    attempt,
                    keep: false,
                } => Some(Self::End(*id, attempt)),
                Change::Delivered { keep: true, .. }
                | Change::Retry { .. }
                | Change::Dead { .. }
                | Change::Requeue { .. } => None,
            },
            JobOp::Terms { .. } | JobOp::Replay { .. } | JobOp::Mend { .. } => None,
        }
    }
}

/// The shelves that must forget copies of delivered jobs for the plain pushes among these.
pub(in crate::keepers::store) fn short_of_room(
    ops: &[JobOp],
    books: &Books,
    vault: &Vault,
) -> BTreeSet<ShelfId> {
    let mut pushed: BTreeMap<ShelfId, Volume> = BTreeMap::new();
    for op in ops.iter().filter(|op| op.is_plain_push()) {
        if let Some(new) = op.pushed() {
            let volume = pushed.entry(new.shelf).or_default();
            volume.jobs += 1;
            volume.bytes += u64::from(new.weight());
        }
    }
    let shelves = vault.shelves();
    let is_short = |(shelf, more): (ShelfId, Volume)| {
        let stored: Tally = books.tallies.get(&shelf).copied().unwrap_or_default();
        let tally = shelves
            .fresh
            .over(shelf, stored)
            .shifted(more, Volume::default());
        let terms = books.terms.get(&shelf)?;
        terms.ask_for_copies_of(&tally).then_some(shelf)
    };
    pushed.into_iter().filter_map(is_short).collect()
}

/// Where the job of each end is; `None` if one is in the tables and cannot be ended from here.
fn places(
    light: &[Light<'_>],
    vault: &Vault,
    database: &Database,
) -> Result<Option<Vec<Place>>, redb::Error> {
    let mut places: Vec<Place> = {
        let shelves = vault.shelves();
        let place = |op: &Light<'_>| match op {
            Light::Push(_) => Place::Gone,
            Light::End(id, _) => match shelves.fresh.known(*id) {
                Known::Fresh(job) => Place::Log(job.info),
                Known::Ended => Place::Gone,
                Known::Nothing => Place::Unknown,
            },
        };
        light.iter().map(place).collect()
    };
    let mut infos = None;
    for (op, place) in light.iter().zip(&mut places) {
        let (Light::End(id, _), Place::Unknown) = (op, &place) else {
            continue;
        };
        let opened = match infos.take() {
            Some(opened) => opened,
            None => reading::Infos::open(database)?,
        };
        *place = match infos.insert(opened).read(*id)? {
            None => Place::Gone,
            Some(Some(info)) if info.is_queued() && info.order.is_none() => Place::Tables(info),
            Some(_) => return Ok(None),
        };
    }
    Ok(Some(places))
}

/// A job as it begins. The log carries none but queued ones.
fn info(id: JobId, new: &NewJob) -> Option<JobInfo> {
    let NewState::Queued { due } = new.state else {
        return None;
    };
    Some(JobInfo {
        id,
        shelf: new.shelf,
        keys: new.keys,
        at: new.at,
        state: JobState::Queued { due, waits: false },
        order: None,
        attempts: new.attempts.first().map_or(0, |attempt| attempt.number),
        replayed_at: None,
        bytes: new.weight(),
    })
}
