//! What the tests of the queue share.

use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;

use super::keys;
use crate::keepers::store::jobs::ops::JobOp;
use crate::keepers::store::jobs::{
    AttemptRecord, Change, Changed, Due, JobId, JobState, NewJob, NewState, Queue, Reason,
    StoredJob, Terms,
};
use crate::keepers::store::{ShelfId, StoreError};
use crate::words::time::Timestamp;

/// Terms without bounds, under which nothing ended is forgotten for a day.
pub(super) const DAY: Terms = Terms {
    keep_delivered: Duration::from_secs(24 * 3600),
    keep_dead: Duration::from_secs(24 * 3600),
    max_events: u64::MAX,
    max_bytes: u64::MAX,
};

/// A job that is due when it is stored; it differs from every other `n`.
pub(super) fn job(shelf: ShelfId, n: u64, at: Timestamp) -> NewJob {
    NewJob {
        shelf,
        keys: keys(n),
        head: Bytes::from(format!("head {n}")),
        body: Bytes::from(format!("body {n}")),
        order: None,
        at,
        state: NewState::Queued { due: at },
        attempts: Vec::new(),
    }
}

pub(super) fn ordered(shelf: ShelfId, n: u64, order: u64, at: Timestamp) -> NewJob {
    NewJob {
        order: Some(order),
        ..job(shelf, n, at)
    }
}

/// The pushing of a small job, of which nobody is told.
pub(in crate::keepers::store) fn pushing(shelf: ShelfId, order: Option<u64>) -> JobOp {
    let job = NewJob {
        order,
        ..job(shelf, 1, Timestamp::from_secs(1))
    };
    let done = Box::new(|_| ());
    JobOp::Push { job, done }
}

pub(super) fn attempt(number: u32, at: Timestamp) -> AttemptRecord {
    AttemptRecord {
        number,
        at,
        status: Some(503),
        error: None,
        took: Duration::from_millis(7),
    }
}

pub(super) fn retry(number: u32, at: Timestamp, due: Timestamp) -> Change {
    let attempt = attempt(number, at);
    Change::Retry { attempt, due }
}

pub(super) fn delivered(number: u32, at: Timestamp, keep: bool) -> Change {
    let attempt = attempt(number, at);
    Change::Delivered { attempt, keep }
}

pub(super) fn dead() -> Change {
    Change::Dead {
        attempt: None,
        reason: Reason(9),
    }
}

pub(super) fn push(store: &dyn Queue, job: NewJob) -> Result<JobId, StoreError> {
    let (tell, told) = channel();
    store.push(job, Box::new(move |pushed| tell.send(pushed).unwrap()));
    told.recv().unwrap()
}

pub(super) fn push_all(store: &dyn Queue, jobs: impl Iterator<Item = NewJob>) -> Vec<JobId> {
    let (tell, told) = channel();
    for job in jobs {
        let tell = tell.clone();
        store.push(job, Box::new(move |pushed| tell.send(pushed).unwrap()));
    }
    drop(tell);
    told.iter().map(Result::unwrap).collect()
}

pub(super) fn change(store: &dyn Queue, id: JobId, change: Change) -> Result<Changed, StoreError> {
    let (tell, told) = channel();
    let done = move |changed| tell.send(changed).unwrap();
    store.change(id, change, Box::new(done));
    told.recv().unwrap()
}

pub(super) fn change_all(store: &dyn Queue, changes: impl Iterator<Item = (JobId, Change)>) {
    let (tell, told) = channel();
    for (id, change) in changes {
        let tell = tell.clone();
        let done = move |changed: Result<Changed, _>| tell.send(changed).unwrap();
        store.change(id, change, Box::new(done));
    }
    drop(tell);
    for changed in told {
        assert_eq!(changed, Ok(Changed::Done { next: None }));
    }
}

pub(super) fn load(store: &dyn Queue, id: JobId) -> Option<StoredJob> {
    store.load(&[id], true).unwrap().pop().unwrap()
}

pub(super) fn state(store: &dyn Queue, id: JobId) -> Option<JobState> {
    Some(load(store, id)?.info.state)
}

/// The numbers of all queued jobs that are due at some time.
pub(super) fn all_due(store: &dyn Queue, shelf: ShelfId) -> Vec<JobId> {
    let due = store.due(shelf, None, None, usize::MAX).unwrap();
    due.iter().map(|due: &Due| due.id).collect()
}
