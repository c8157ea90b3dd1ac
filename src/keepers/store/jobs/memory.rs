//! The queue of the store in memory: every question is answered by looking at all jobs.
//!
//! It has no clock of its own, so its present is the newest time that it was told of.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::codec::bounded;
use super::tally::Tally;
use super::{
    ATTEMPTS_KEPT_LAST, AttemptRecord, Change, ChangeDone, Changed, Due, JobId, JobInfo, JobState,
    JobView, NewJob, NewState, PushDone, Queue, ReplayDone, ReplayId, Selection, ShelfCounts,
    StoredJob, Terms,
};
use crate::keepers::store::memory::{Memory, State};
use crate::keepers::store::{ShelfId, StoreError};
use crate::words::identity::Key;
use crate::words::time::Timestamp;

/// All jobs of a store in memory.
#[derive(Default)]
pub(in crate::keepers::store) struct MemoryQueue {
    jobs: BTreeMap<JobId, Held>,
    terms: BTreeMap<ShelfId, Terms>,
    replays: BTreeMap<ReplayId, Bytes>,
    next: u64,
    now: Option<Timestamp>,
}

struct Held {
    info: JobInfo,
    head: Bytes,
    body: Bytes,
    attempts: Vec<AttemptRecord>,
}

impl Queue for Memory {
    fn hold(&self, shelf: ShelfId, terms: Terms) -> Result<(), StoreError> {
        let mut state = self.open_state()?;
        state.at(shelf).ok_or(StoreError::Unavailable)?;
        state.queue.terms.insert(shelf, terms);
        state.queue.make_room(shelf);
        Ok(())
    }

    fn push(&self, job: NewJob, done: PushDone) {
        let pushed = self.open_state().and_then(|mut state| state.push(job));
        done(pushed);
    }

    fn change(&self, id: JobId, change: Change, done: ChangeDone) {
        let changed = self.open_state();
        done(changed.map(|mut state| state.queue.change(id, change)));
    }

    fn due(
        &self,
        shelf: ShelfId,
        until: Option<Timestamp>,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let mut due = self.open_state()?.queue.all_due(shelf);
        due.retain(|due| until.is_none_or(|until| due.at <= until) && Some(*due) > after);
        due.truncate(limit);
        Ok(due)
    }

    fn next_due(&self, shelf: ShelfId) -> Option<Timestamp> {
        let state = self.open_state().ok()?;
        state.queue.all_due(shelf).first().map(|due| due.at)
    }

    fn is_at_hand(&self, _: ShelfId, _: Option<Timestamp>) -> bool {
        true
    }

    fn load(&self, ids: &[JobId], with_body: bool) -> Result<Vec<Option<StoredJob>>, StoreError> {
        let state = self.open_state()?;
        let stored = |id| {
            let held = state.queue.jobs.get(id)?;
            Some(StoredJob {
                info: held.info,
                head: held.head.clone(),
                body: with_body.then(|| held.body.clone()),
            })
        };
        Ok(ids.iter().map(stored).collect())
    }

    fn attempts(&self, id: JobId) -> Result<Vec<AttemptRecord>, StoreError> {
        let state = self.open_state()?;
        let held = state.queue.jobs.get(&id);
        Ok(held.map_or(Vec::new(), |held| held.attempts.clone()))
    }

    fn find(&self, shelf: Option<ShelfId>, content: Key) -> Result<Option<JobId>, StoreError> {
        let state = self.open_state()?;
        let mut infos = state.queue.jobs.values().map(|held| held.info).rev();
        let found = infos.find(|info| {
            info.keys.content == content && shelf.is_none_or(|shelf| shelf == info.shelf)
        });
        Ok(found.map(|info| info.id))
    }

    fn walk(
        &self,
        from: Option<JobId>,
        selection: Selection,
        scan_max: usize,
        visit: &mut dyn FnMut(&JobView<'_>) -> ControlFlow<()>,
    ) -> Result<Option<JobId>, StoreError> {
        let state = self.open_state()?;
        let from = from.unwrap_or(JobId(u64::MAX));
        for (seen, (id, held)) in state.queue.jobs.range(..=from).rev().enumerate() {
            if seen == scan_max {
                return Ok(Some(*id));
            }
            let (info, head) = (&held.info, &*held.head);
            if selection.takes(info) && visit(&JobView { info, head }).is_break() {
                return Ok(id.0.checked_sub(1).map(JobId));
            }
        }
        Ok(None)
    }

    fn counts(&self) -> Vec<ShelfCounts> {
        let Ok(state) = self.open_state() else {
            return Vec::new();
        };
        let counts = state.names().map(|(shelf, name)| {
            let jobs = || state.queue.of(shelf);
            let mut tally = Tally::default();
            jobs().for_each(|info| tally.add(info));
            let mut queued = jobs().filter(|info| info.is_queued());
            ShelfCounts {
                shelf,
                name: name.to_owned(),
                queued: tally.queued,
                delivered: tally.delivered,
                dead: tally.dead,
                oldest_queued: queued.next().map(|info| info.at),
            }
        });
        counts.collect()
    }

    fn put_replay(&self, id: ReplayId, row: Bytes, done: ReplayDone) {
        let state = self.open_state();
        done(state.map(|mut state| {
            state.queue.replays.insert(id, row);
        }));
    }

    fn remove_replay(&self, id: ReplayId, done: ReplayDone) {
        let state = self.open_state();
        done(state.map(|mut state| {
            state.queue.replays.remove(&id);
        }));
    }

    fn replay(&self, id: ReplayId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.open_state()?.queue.replays.get(&id).cloned())
    }

    fn replays(&self) -> Result<Vec<(ReplayId, Bytes)>, StoreError> {
        let state = self.open_state()?;
        let rows = state.queue.replays.iter();
        Ok(rows.map(|(id, row)| (*id, row.clone())).collect())
    }
}

// === impl State ===

impl State {
    fn push(&mut self, new: NewJob) -> Result<JobId, StoreError> {
        self.at(new.shelf).ok_or(StoreError::Unavailable)?;
        let queue = &mut self.queue;
        if let (Some(bytes), Some(terms)) = (new.room(), queue.terms.get(&new.shelf)) {
            let is_delivered = |info: &JobInfo| matches!(info.state, JobState::Delivered { .. });
            let bounded = || queue.of(new.shelf).filter(|info| !is_delivered(info));
            let held: u64 = bounded().map(|info| u64::from(info.bytes)).sum();
            if bounded().count() as u64 >= terms.max_events || held + bytes > terms.max_bytes {
                return Err(StoreError::ShelfFull);
            }
        }
        self.settle(new.shelf, new.keys, new.at.as_stored_secs())?;
        Ok(self.queue.push(new))
    }
}

// === impl MemoryQueue ===

impl MemoryQueue {
    /// Follows the time, and forgets what ended long enough ago.
    pub(in crate::keepers::store) fn tell(&mut self, now: Timestamp) {
        let now = self.now.map_or(now, |held| held.max(now));
        self.now = Some(now);
        let terms = &self.terms;
        self.jobs.retain(|_, held| {
            let terms = terms.get(&held.info.shelf);
            let until = match (held.info.state, terms) {
                (JobState::Queued { .. }, _) | (_, None) => return true,
                (JobState::Delivered { at }, Some(terms)) => at.after(terms.keep_delivered),
                (JobState::Dead { at, .. }, Some(terms)) => at.after(terms.keep_dead),
            };
            now < until
        });
    }

    /// Whether a stored job has this key.
    pub(in crate::keepers::store) fn holds(&self, shelf: ShelfId, key: &Key) -> bool {
        self.of(shelf)
            .any(|info| info.keys.iter().any(|held| held == *key))
    }

    fn of(&self, shelf: ShelfId) -> impl Iterator<Item = &JobInfo> {
        let infos = self.jobs.values().map(|held| &held.info);
        infos.filter(move |info| info.shelf == shelf)
    }

    fn all_due(&self, shelf: ShelfId) -> Vec<Due> {
        let due = |info: &JobInfo| match info.state {
            JobState::Queued { due, waits: false } => Some(Due {
                at: due,
                id: info.id,
            }),
            JobState::Queued { .. } | JobState::Delivered { .. } | JobState::Dead { .. } => None,
        };
        let mut all: Vec<_> = self.of(shelf).filter_map(due).collect();
        all.sort_unstable();
        all
    }

    fn push(&mut self, new: NewJob) -> JobId {
        self.tell(new.at);
        let id = JobId(self.next);
        self.next += 1;
        let subject = |info: &JobInfo| info.is_queued() && info.order == new.order;
        let waits = new.order.is_some() && self.of(new.shelf).any(subject);
        let info = JobInfo {
            id,
            shelf: new.shelf,
            keys: new.keys,
            at: new.at,
            state: match new.state {
                NewState::Queued { due } => JobState::Queued { due, waits },
                NewState::Delivered => JobState::Delivered { at: new.at },
                NewState::Dead { reason } => JobState::Dead { at: new.at, reason },
            },
            order: new.order,
            attempts: 0,
            replayed_at: None,
            bytes: new.weight(),
        };
        let (head, body) = (new.head, new.body);
        let mut held = Held {
            info,
            head,
            body,
            attempts: Vec::new(),
        };
        new.attempts
            .into_iter()
            .for_each(|attempt| held.record(attempt));
        self.jobs.insert(id, held);
        self.make_room(new.shelf);
        id
    }

    fn tally(&self, shelf: ShelfId) -> Tally {
        let mut tally = Tally::default();
        self.of(shelf).for_each(|info| tally.add(info));
        tally
    }

    /// Forgets the oldest copies of delivered jobs while the shelf holds more than it may.
    fn make_room(&mut self, shelf: ShelfId) {
        let Some(terms) = self.terms.get(&shelf).copied() else {
            return;
        };
        while terms.ask_for_copies_of(&self.tally(shelf)) {
            let copies = self.of(shelf).filter_map(|info| match info.state {
                JobState::Delivered { at } => Some((at, info.id)),
                JobState::Queued { .. } | JobState::Dead { .. } => None,
            });
            match copies.min() {
                Some((_, id)) => self.jobs.remove(&id),
                None => return,
            };
        }
    }

    fn change(&mut self, id: JobId, change: Change) -> Changed {
        let attempt = match &change {
            Change::Retry { attempt, .. } | Change::Delivered { attempt, .. } => Some(attempt),
            Change::Dead { attempt, .. } => attempt.as_ref(),
            Change::Requeue { .. } => None,
        };
        let attempt = attempt.cloned();
        if let Some(attempt) = &attempt {
            self.tell(attempt.at);
        }
        let now = self.now.unwrap_or(Timestamp::from_millis(0));
        let Some(held) = self.jobs.get_mut(&id) else {
            return Changed::Gone;
        };
        let requeues = matches!(change, Change::Requeue { .. });
        let late = attempt
            .as_ref()
            .is_some_and(|attempt| attempt.number != held.info.attempts + 1);
        if late || held.info.is_queued() == requeues {
            return Changed::Stale;
        }
        let (shelf, bytes) = (held.info.shelf, held.info.bytes);
        if requeues && matches!(held.info.state, JobState::Delivered { .. }) {
            let tally = self.tally(shelf);
            let terms = self.terms.get(&shelf);
            if terms.is_some_and(|terms| !terms.let_in_replay(&tally, bytes)) {
                return Changed::NoRoom;
            }
        }
        let Some(held) = self.jobs.get_mut(&id) else {
            return Changed::Gone;
        };
        if let Some(attempt) = attempt {
            held.record(attempt);
        }
        let before = held.info;
        let info = &mut held.info;
        match change {
            Change::Retry { due, .. } => {
                let waits = matches!(before.state, JobState::Queued { waits: true, .. });
                info.state = JobState::Queued { due, waits };
                return Changed::Done { next: None };
            }
            Change::Delivered { keep: true, .. } => info.state = JobState::Delivered { at: now },
            Change::Delivered { keep: false, .. } => {
                self.jobs.remove(&id);
            }
            Change::Dead { reason, .. } => info.state = JobState::Dead { at: now, reason },
            Change::Requeue { due } => {
                info.state = JobState::Queued { due, waits: false };
                info.order = None;
                info.replayed_at = Some(due);
            }
        }
        let next = self.promote(&before, now);
        self.tell(now);
        self.make_room(shelf);
        Changed::Done { next }
    }

    /// Makes the next job of a subject due whose first job left the queue.
    fn promote(&mut self, gone: &JobInfo, now: Timestamp) -> Option<Due> {
        let (JobState::Queued { waits: false, .. }, Some(_)) = (gone.state, gone.order) else {
            return None;
        };
        let mut infos = self.jobs.values_mut().map(|held| &mut held.info);
        let next = infos.find(|info| {
            info.shelf == gone.shelf && info.order == gone.order && info.is_queued()
        })?;
        let JobState::Queued { due, .. } = next.state else {
            return None;
        };
        let at = due.min(now);
        next.state = JobState::Queued {
            due: at,
            waits: false,
        };
        Some(Due { at, id: next.id })
    }
}

// === impl Held ===

impl Held {
    fn record(&mut self, mut attempt: AttemptRecord) {
        attempt.error = attempt.error.map(|error| bounded(&error).to_owned());
        self.info.attempts = self.info.attempts.max(attempt.number);
        self.attempts.push(attempt);
        if self.attempts.len() > ATTEMPTS_KEPT_LAST as usize + 1 {
            self.attempts.remove(1);
        }
    }
}
