//! The queue's worker: takes what is due to the app, one route at a time, at the route's pace.
//!
//! Every route has a worker of its own, so that a dead app, a poison event or a huge backlog of one route
//! slows no other. A worker holds a few jobs in memory and reads the next ones when it needs them; what waits,
//! waits on disk. Who is being attempted stands here, in memory: after a crash every job that was not ended is
//! simply due again.
//!
//! An attempt is made with the same resources as a live one (breaker, place, quota last), and its result ends
//! with the number of the attempt it belongs to, so that a late one changes nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::{Id, JoinSet};

use crate::keepers::breaker::Pass;
use crate::keepers::event::Event;
use crate::keepers::log::Level;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{
    AttemptRecord, Change, Changed, Due, JobId, JobState, Reason, StoredJob,
};
use crate::rules::clean::Attempt;
use crate::rules::retry::Class;
use crate::words::dead::DeadReason;
use crate::words::record::Record;
use crate::words::time::Timestamp;
use crate::work::forward::Attempted;
use crate::work::ingest::Gate;
use crate::work::routes::Route;

/// The longest a worker sleeps: the wall clock may jump, and due times are wall time.
const NAP_MAX: Duration = Duration::from_millis(250);

/// The shortest, so that a job that cannot be read yet is not asked for in a loop.
const NAP_MIN: Duration = Duration::from_millis(1);

/// After a store fault a result is offered again this often.
const OFFER_AGAIN: Duration = Duration::from_millis(250);

/// Jobs that were attempted in a hurry and failed; more of them, and the app is not really back.
const HURRIED_MAX: usize = 4096;

/// Delivers the queued events of one route.
pub struct Worker {
    gate: Arc<Gate>,
    route: Arc<Route>,
    places: Arc<Semaphore>,
    tasks: JoinSet<bool>,
    job_of: HashMap<Id, JobId>,
    /// Jobs that were read ahead, in order.
    ready: VecDeque<StoredJob>,
    /// Jobs of another provider that the route once had.
    parked: HashSet<JobId>,
    hurry: Option<Hurry>,
}

/// After an outage what waits is due at once: one walk over all that is queued.
struct Hurry {
    after: Option<Due>,
    attempted: HashSet<JobId>,
}

// === impl Worker ===

impl Worker {
    /// A worker for `route`.
    pub fn new(gate: Arc<Gate>, route: Arc<Route>) -> Self {
        let places = route.config.queue.max_in_flight;
        Self {
            gate,
            route,
            places: Arc::new(Semaphore::new(places)),
            tasks: JoinSet::new(),
            job_of: HashMap::new(),
            ready: VecDeque::new(),
            parked: HashSet::new(),
            hurry: None,
        }
    }

    /// Delivers until told to stop; then what is in flight ends, and the rest stays queued.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let nap = self.start_what_may().await.clamp(NAP_MIN, NAP_MAX);
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(ended),
                () = self.route.wake.notified() => {}
                () = tokio::time::sleep(nap) => {}
                _ = stop.changed() => {}
            }
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }

    /// Starts every attempt that may be made now; gives back how long to wait before looking again.
    async fn start_what_may(&mut self) -> Duration {
        loop {
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                return NAP_MAX;
            };
            if self.route.busy.count() >= self.busy_max() {
                return NAP_MAX;
            }
            let Some(job) = self.next_job().await else {
                return self.until_due();
            };
            let route = &self.route;
            let pass = route
                .breaker
                .ask(self.gate.clock.elapsed(), route.probe_patience());
            if let Pass::Not(wait) = pass {
                self.ready.push_front(job);
                return wait;
            }
            if let Some(quota) = route.quota.as_ref().filter(|quota| !quota.take()) {
                if pass == Pass::Probe {
                    route.breaker.give_back();
                }
                let wait = quota.standing().next_in;
                self.ready.push_front(job);
                return wait;
            }
            self.start(job, pass, place);
        }
    }

    fn start(&mut self, job: StoredJob, pass: Pass, place: OwnedSemaphorePermit) {
        let id = job.info.id;
        self.route.busy.add(id);
        let delivery = Delivery {
            gate: Arc::clone(&self.gate),
            route: Arc::clone(&self.route),
            pass,
        };
        let task = self.tasks.spawn(delivery.make(job, place));
        self.job_of.insert(task.id(), id);
    }

    /// A task ended: by itself, telling whether the app is back after it was away, or by a panic.
    fn ended(&mut self, ended: Result<(Id, bool), tokio::task::JoinError>) {
        let (task, is_back) = match ended {
            Ok((task, is_back)) => (task, is_back),
            Err(error) => {
                self.gate.log.say(
                    Level::Error,
                    "an attempt panicked; its event stays queued",
                    &[("route", &self.route.config.name)],
                );
                (error.id(), false)
            }
        };
        if let Some(id) = self.job_of.remove(&task) {
            self.route.busy.remove(id);
            if let Some(hurry) = &mut self.hurry {
                hurry.attempted.insert(id);
            }
        }
        if is_back {
            self.ready.clear();
            self.hurry = Some(Hurry {
                after: None,
                attempted: HashSet::new(),
            });
        }
    }

    /// The next job to attempt, read from the store if none was read ahead.
    async fn next_job(&mut self) -> Option<StoredJob> {
        loop {
            if let Some(job) = self.ready.pop_front() {
                return Some(job);
            }
            if !self.has_due() {
                return None;
            }
            let read = self.read_ahead().await;
            match read {
                Ok(0) if self.hurry.take().is_some() => {}
                Ok(0) => return None,
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Whether memory says that the store has something due.
    fn has_due(&self) -> bool {
        let next = self.gate.queue.next_due(self.route.shelf);
        next.is_some_and(|next| self.hurry.is_some() || next <= self.gate.clock.now())
    }

    /// Reads the next due jobs, without those that are busy; gives back how many places were looked at.
    async fn read_ahead(&mut self) -> Result<usize, StoreError> {
        let (until, after) = match &self.hurry {
            Some(hurry) => (None, hurry.after),
            None => (Some(self.gate.clock.now()), None),
        };
        let (shelf, batch) = (
            self.route.shelf,
            self.route.config.queue.max_in_flight.max(16),
        );
        let mut busy = self.route.busy.all();
        busy.extend(&self.parked);
        // Those that are busy stand at the front until their results are stored, parked ones for longer.
        let limit = busy.len() + batch;
        let queue = Arc::clone(&self.gate.queue);
        let hurried = self.hurry.as_ref().map(|hurry| hurry.attempted.clone());
        let read = tokio::task::spawn_blocking(move || {
            let due = queue.due(shelf, until, after, limit)?;
            let last = due.last().copied();
            let ids: Vec<JobId> = due
                .iter()
                .map(|due| due.id)
                .filter(|id| !busy.contains(id))
                .filter(|id| hurried.as_ref().is_none_or(|hurried| !hurried.contains(id)))
                .take(batch)
                .collect();
            let jobs = queue.load(&ids, true)?;
            let jobs: Vec<_> = ids.into_iter().zip(jobs).collect();
            Ok((due.len(), last, jobs))
        });
        let (looked_at, last, jobs) = read.await.unwrap_or(Err(StoreError::Unavailable))?;
        for (id, job) in jobs {
            match job {
                Some(job) if self.is_of_this_provider(&job) => self.ready.push_back(job),
                Some(_) => {
                    self.parked.insert(id);
                }
                // It can be listed but not read, and would stand at the front for ever.
                None => self.bury_unreadable(id).await,
            }
        }
        if let Some(hurry) = &mut self.hurry {
            hurry.after = last;
            if hurry.attempted.len() > HURRIED_MAX {
                self.hurry = None;
            }
            return Ok(looked_at);
        }
        Ok(self.ready.len())
    }

    /// Until the next job is due. What is due already was looked for: it is busy, and its end wakes the worker.
    fn until_due(&self) -> Duration {
        let now = self.gate.clock.now();
        let next = self.gate.queue.next_due(self.route.shelf);
        let later = next.filter(|next| *next > now);
        later.map_or(NAP_MAX, |next| next.since(now))
    }

    /// A route that was given another provider keeps the events of the one before, until it is back.
    fn is_of_this_provider(&self, job: &StoredJob) -> bool {
        let kind = self.route.config.provider.kind();
        // What cannot be read is no other provider's; the attempt finds out.
        Record::decode(&job.head).map_or(true, |record| record.provider == kind.name)
    }

    async fn bury_unreadable(&self, id: JobId) {
        let delivery = Delivery {
            gate: Arc::clone(&self.gate),
            route: Arc::clone(&self.route),
            pass: Pass::Free,
        };
        delivery.dead(id, None, DeadReason::Damaged).await;
    }

    /// Attempts, and results that wait for their commit; a commit may take as long as several attempts.
    fn busy_max(&self) -> usize {
        self.route.config.queue.max_in_flight * 4 + 64
    }
}

/// One attempt on a stored job, and the storing of its result.
struct Delivery {
    gate: Arc<Gate>,
    route: Arc<Route>,
    pass: Pass,
}

impl Delivery {
    /// Makes the attempt; gives back whether the app is back after it was away.
    async fn make(self, job: StoredJob, place: OwnedSemaphorePermit) -> bool {
        let info = job.info;
        if !matches!(info.state, JobState::Queued { .. }) {
            return false;
        }
        let (Ok(record), Some(body)) = (Record::decode(&job.head), job.body) else {
            if self.pass == Pass::Probe {
                self.route.breaker.give_back();
            }
            self.dead(info.id, None, DeadReason::Damaged).await;
            return false;
        };
        let received_at = record.received_at();
        let event = Event::restored(Arc::clone(&self.route.config), record, body);
        let number = info.attempts.saturating_add(1);
        let started = StdInstant::now();
        let at = self.gate.clock.now();
        let attempt = Attempt {
            number,
            at,
            is_replay: info.replay,
        };
        let attempted = self.gate.forwarder.attempt(&event, attempt).await;
        let took = started.elapsed();
        drop(place);
        self.route.wake.notify_one();
        self.gate.note_attempt(&self.route, &attempted, took);
        let now = self.gate.clock.elapsed();
        let is_back = self
            .route
            .report(event.content(), self.pass, &attempted, now);
        let kept = attempted.record(number, at, took);
        match attempted.class() {
            Class::Delivered => {
                let keep = !self.route.config.queue.keep_delivered.is_zero();
                let change = Change::Delivered {
                    attempt: kept,
                    keep,
                };
                self.store(info.id, change).await;
            }
            Class::Refused => self.dead(info.id, Some(kept), DeadReason::Refused).await,
            Class::Retry => {
                // The time of a replay that failed is over as well if the event's is: an operator who sends it
                // again sees it come back, rather than retries without an end.
                self.retry(info.id, kept, received_at, &attempted).await;
            }
        }
        self.route.wake.notify_one();
        is_back
    }

    async fn retry(
        &self,
        id: JobId,
        attempt: AttemptRecord,
        received_at: Timestamp,
        attempted: &Attempted,
    ) {
        let next = self.route.config.queue.schedule.next(
            received_at,
            attempt.number,
            self.gate.clock.now(),
            attempted.retry_after(),
            fastrand::u64(..),
        );
        match next {
            Some(due) => self.store(id, Change::Retry { attempt, due }).await,
            None => self.dead(id, Some(attempt), DeadReason::GivenUp).await,
        }
    }

    async fn dead(&self, id: JobId, attempt: Option<AttemptRecord>, reason: DeadReason) {
        self.gate.log.say(
            Level::Warn,
            "an event became a dead letter",
            &[
                ("route", &self.route.config.name),
                ("reason", &reason.label()),
            ],
        );
        let reason = Reason(reason.code());
        self.store(id, Change::Dead { attempt, reason }).await;
    }

    /// Stores a result, again and again through a fault of the store: until it is written the job is not
    /// attempted again by this process.
    async fn store(&self, id: JobId, change: Change) {
        loop {
            let (done, stored) = oneshot::channel();
            self.gate.queue.change(
                id,
                change.clone(),
                Box::new(move |result| {
                    // The waiter may be gone with the runtime; the result is stored all the same.
                    let _ = done.send(result);
                }),
            );
            match stored.await {
                Ok(Ok(Changed::Done { .. } | Changed::Stale | Changed::Gone)) => return,
                Ok(Err(StoreError::Closed)) | Err(_) => return,
                Ok(Err(
                    StoreError::Full
                    | StoreError::Unavailable
                    | StoreError::ShelfFull
                    | StoreError::NoSpace,
                )) => tokio::time::sleep(OFFER_AGAIN).await,
            }
        }
    }
}
