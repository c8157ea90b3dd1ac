//! A random life of a queue on a disk that loses its power, and the check of what it promised.
//!
//! The simulated gateway knows of each job what was answered. After a power cut a job may be in the state
//! that was answered last or in the one that was under way, and in no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::jobs::{
    AttemptRecord, Change, Changed, JobId, JobState, NewJob, NewState, Queue, Reason, Terms,
};
use passgate::keepers::store::tuning::Tuning;
use passgate::keepers::store::{ShelfId, Store, StoreError};
use passgate::words::time::Clock;

use crate::disk::Disk;
use crate::life::{Ack, KEEP, TestClock, keys, tuning};

/// What the check found.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    DoesNotOpen(String),
    /// An acked event is nowhere.
    Lost(u64),
    /// Keys without a job, or a job without its keys.
    Half(u64),
    /// A state that nobody asked for.
    Wrong(u64, String),
    /// Of a subject not exactly the first job is due.
    Order(u64),
    /// A number that was given away before.
    Twice(JobId),
    Miscounted,
    Damaged(u64),
}

/// What a history came to, for comparing it with itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Lived {
    pub acked: usize,
    pub changed: usize,
    pub stored: usize,
    pub operations: u64,
}

/// Where a job can be after what was asked of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Absent,
    /// After so many attempts.
    Queued(u32),
    Delivered,
    Dead,
    /// Delivered and not kept.
    Gone,
}

/// What the gateway knows of an event.
#[derive(Clone, Debug)]
struct Event {
    id: Option<JobId>,
    /// What was answered last.
    stage: Stage,
    /// What was asked since and not answered with success.
    perhaps: Vec<Stage>,
}

struct Life {
    disk: Disk,
    clock: Arc<TestClock>,
    rng: Rng,
    ack: Ack,
    /// Nearly every event is delivered in time and not kept, so that most commits are records of the log.
    is_timely: bool,
    events: BTreeMap<u64, Event>,
    numbers: BTreeSet<JobId>,
    next: u64,
    changed: usize,
}

const TERMS: Terms = Terms {
    keep_delivered: Duration::from_secs(1 << 30),
    keep_dead: Duration::from_secs(1 << 30),
    max_events: u64::MAX,
    max_bytes: u64::MAX,
};
const SUBJECTS: u64 = 4;

/// Lives the life that `seed` stands for.
pub fn live(seed: u64, disk: Disk, ack: Ack) -> Result<Lived, Broken> {
    let mut life = Life {
        disk,
        clock: Arc::default(),
        rng: Rng::with_seed(seed),
        ack,
        is_timely: seed % 2 == 1,
        events: BTreeMap::new(),
        numbers: BTreeSet::new(),
        next: 0,
        changed: 0,
    };
    for _ in 0..life.rng.u8(2..5) {
        let most = [60, 500, 2_500][life.rng.usize(0..3)];
        let operations = life.rng.u64(0..most);
        life.disk.cut_after(operations);
        life.session()?;
        life.disk.cut();
        life.disk.restart(&mut life.rng);
        life.judge()?;
    }
    let store = life.open()?;
    Ok(Lived {
        acked: life
            .events
            .values()
            .filter(|event| event.id.is_some())
            .count(),
        changed: life.changed,
        stored: store
            .counts()
            .iter()
            .map(|held| held.queued.jobs as usize)
            .sum(),
        operations: life.disk.operations(),
    })
}

impl Life {
    fn open(&self) -> Result<Embedded, Broken> {
        let disk = Arc::new(self.disk.clone());
        let tuning = Tuning {
            // In some lives the file is opened by what its last commit noted.
            quick_repair_bytes: if self.rng.clone().bool() { 0 } else { u64::MAX },
            ..tuning()
        };
        Embedded::open_on(disk, self.clock.clone(), tuning, None)
            .map_err(|error| Broken::DoesNotOpen(error.to_string()))
    }

    /// From one start to the next power cut.
    fn session(&mut self) -> Result<(), Broken> {
        let store = match self.open() {
            Ok(store) => store,
            // Cut short while opening.
            Err(_) if self.disk.is_cut() => return Ok(()),
            Err(broken) => return Err(broken),
        };
        let Ok(shelf) = store.shelf("route", KEEP) else {
            return Ok(());
        };
        if store.hold(shelf, TERMS).is_err() {
            return Ok(());
        }
        for _ in 0..50 {
            if self.disk.is_cut() {
                break;
            }
            match self.rng.u8(0..10) {
                0..8 => self.together(&store, shelf)?,
                8 => store.tidy(),
                9.. => self
                    .clock
                    .advance(Duration::from_secs(self.rng.u64(0..30_000) / 10)),
            }
        }
        if self.rng.bool() {
            store.close();
        }
        Ok(())
    }

    /// One operation, and others while its commit syncs, so that they share the next commit.
    fn together(&mut self, store: &Embedded, shelf: ShelfId) -> Result<(), Broken> {
        let (tell, told) = channel();
        let (held, reached) = channel();
        self.disk.hold_syncs(held.clone());
        let mut touched = Vec::new();
        for turn in 0..self.rng.u64(1..20) {
            let held = if turn == 0 { held.clone() } else { channel().0 };
            let known: Vec<u64> = self
                .events
                .iter()
                .filter(|(n, event)| event.id.is_some() && !touched.contains(*n))
                .map(|(n, _)| *n)
                .collect();
            let tell = tell.clone();
            if known.is_empty() || self.rng.bool() {
                let n = self.next;
                self.next += 1;
                touched.push(n);
                let (job, stage) = self.new_job(shelf, n);
                let early = self.ack == Ack::WhenQueued;
                let event = Event {
                    id: None,
                    stage: if early { stage } else { Stage::Absent },
                    perhaps: vec![stage],
                };
                self.events.insert(n, event);
                let done = move |pushed: Result<JobId, StoreError>| {
                    let _ = held.send(());
                    tell.send((n, pushed.map(Some), stage)).unwrap();
                };
                store.push(job, Box::new(done));
            } else {
                let n = known[self.rng.usize(0..known.len())];
                touched.push(n);
                let (id, change, stage) = self.new_change(n);
                self.events.get_mut(&n).unwrap().perhaps.push(stage);
                let done = move |changed: Result<Changed, StoreError>| {
                    let _ = held.send(());
                    let told = match changed {
                        Ok(Changed::Done { .. }) => Ok(None),
                        // Stale or gone: an earlier one that failed was on disk after all.
                        Ok(Changed::Stale | Changed::Gone | Changed::NoRoom) => {
                            Err(StoreError::Unavailable)
                        }
                        Err(error) => Err(error),
                    };
                    tell.send((n, told, stage)).unwrap();
                };
                store.change(id, change, Box::new(done));
            }
            if turn == 0 {
                // Either the sync is reached, or the commit failed before it.
                reached.recv().unwrap();
            }
        }
        self.disk.release_syncs();
        drop(tell);
        for (n, result, stage) in told {
            let event = self.events.get_mut(&n).unwrap();
            if let Ok(id) = result {
                event.id = id.or(event.id);
                event.stage = stage;
                event.perhaps.clear();
                self.changed += usize::from(id.is_none());
                if let Some(id) = id
                    && !self.numbers.insert(id)
                {
                    return Err(Broken::Twice(id));
                }
            }
        }
        Ok(())
    }

    fn new_job(&mut self, shelf: ShelfId, n: u64) -> (NewJob, Stage) {
        let now = self.clock.now();
        let is_plain = self.is_timely && self.rng.u8(0..50) > 0;
        let (state, stage) = match self.rng.u8(0..10) {
            0 if !is_plain => (NewState::Dead { reason: Reason(1) }, Stage::Dead),
            _ => (NewState::Queued { due: now }, Stage::Queued(0)),
        };
        let body = vec![n as u8; [10, 600, 5_000][self.rng.usize(0..3)]];
        let job = NewJob {
            shelf,
            keys: keys(n),
            head: Bytes::from(n.to_string()),
            body: Bytes::from(body),
            order: (n.is_multiple_of(2) && !is_plain).then_some(n / 2 % SUBJECTS),
            at: now,
            state,
            attempts: Vec::new(),
        };
        (job, stage)
    }

    fn new_change(&mut self, n: u64) -> (JobId, Change, Stage) {
        let event = &self.events[&n];
        let now = self.clock.now();
        let number = match event.stage {
            Stage::Queued(attempts) => attempts + 1,
            Stage::Absent | Stage::Delivered | Stage::Dead | Stage::Gone => 1,
        };
        let attempt = AttemptRecord {
            number,
            at: now,
            status: None,
            error: Some("reset".to_owned()),
            took: Duration::ZERO,
        };
        let kind = match self.is_timely && self.rng.u8(0..50) > 0 {
            true => 4,
            false => self.rng.u8(0..8),
        };
        let (change, stage) = match kind {
            0..3 => (Change::Retry { attempt, due: now }, Stage::Queued(number)),
            3..5 => (
                Change::Delivered {
                    attempt,
                    keep: false,
                },
                Stage::Gone,
            ),
            5 => (
                Change::Delivered {
                    attempt,
                    keep: true,
                },
                Stage::Delivered,
            ),
            _ => (
                Change::Dead {
                    attempt: Some(attempt),
                    reason: Reason(2),
                },
                Stage::Dead,
            ),
        };
        (event.id.unwrap(), change, stage)
    }

    /// With the power on: every event is where it may be, whole, and of each subject the first is due.
    fn judge(&mut self) -> Result<(), Broken> {
        let store = self.open()?;
        let shelf = store.shelf("route", KEEP).unwrap();
        for _ in ["as opened", "after housekeeping"] {
            let mut subjects: BTreeMap<u64, Vec<(JobId, bool)>> = BTreeMap::new();
            let mut queued = 0;
            for (n, event) in &mut self.events {
                let found = store.look_up(shelf, &keys(*n), self.clock.now()).unwrap();
                if found.content != found.id {
                    return Err(Broken::Half(*n));
                }
                let id = match event.id {
                    Some(id) => Some(id),
                    None => store.find(None, keys(*n).content).unwrap(),
                };
                let stored = id.and_then(|id| store.load(&[id], true).unwrap().pop().unwrap());
                let stage = match stored.as_ref().map(|job| job.info.state) {
                    None if found.content && event.id.is_some() => Stage::Gone,
                    None if found.content => return Err(Broken::Half(*n)),
                    None => Stage::Absent,
                    Some(_) if !found.content => return Err(Broken::Half(*n)),
                    Some(JobState::Queued { .. }) => {
                        Stage::Queued(stored.as_ref().map_or(0, |job| job.info.attempts))
                    }
                    Some(JobState::Delivered { .. }) => Stage::Delivered,
                    Some(JobState::Dead { .. }) => Stage::Dead,
                };
                if stage != event.stage && !event.perhaps.contains(&stage) {
                    return match stage {
                        Stage::Absent => Err(Broken::Lost(*n)),
                        _ => Err(Broken::Wrong(*n, format!("{stage:?} of {event:?}"))),
                    };
                }
                event.id = id;
                self.numbers.extend(id);
                event.stage = stage;
                event.perhaps.clear();
                let Some(job) = stored else { continue };
                let head = n.to_string();
                let body = job.body.unwrap_or_default();
                if *job.head != *head.as_bytes() || body.iter().any(|byte| *byte != *n as u8) {
                    return Err(Broken::Half(*n));
                }
                if let JobState::Queued { waits, .. } = job.info.state {
                    queued += 1;
                    if let Some(order) = job.info.order {
                        subjects
                            .entry(order)
                            .or_default()
                            .push((job.info.id, waits));
                    }
                }
            }
            let due = store.due(shelf, None, None, usize::MAX).unwrap();
            for (order, mut jobs) in subjects {
                jobs.sort_unstable();
                let first_alone = jobs.iter().enumerate().all(|(place, (id, waits))| {
                    let is_due = due.iter().any(|due| due.id == *id);
                    *waits == (place > 0) && is_due == (place == 0)
                });
                if !first_alone {
                    return Err(Broken::Order(order));
                }
            }
            if store
                .counts()
                .first()
                .is_some_and(|held| held.queued.jobs != queued)
            {
                return Err(Broken::Miscounted);
            }
            store.tidy();
        }
        match store.statistics().damaged_rows {
            0 => Ok(()),
            rows => Err(Broken::Damaged(rows)),
        }
    }
}
