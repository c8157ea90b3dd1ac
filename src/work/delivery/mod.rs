//! The queue's worker: takes what is due to the app, one route at a time, at the route's pace.
//!
//! Every route has a worker of its own, so that a dead app, a poison event or a huge backlog of one route
//! slows no other. A worker holds a few jobs in memory and reads the next ones when it needs them; what waits,
//! waits on disk. Who is being attempted stands here, in memory: after a crash every job that was not ended is
//! simply due again.
//!
//! An attempt takes a place of the worker's own, then asks the same breaker and the same quota as a live one,
//! the quota last. Its result ends with the number of the attempt it belongs to, so that a late one changes
//! nothing.

mod attempt;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{Id, JoinSet};

use crate::keepers::breaker::Pass;
use crate::keepers::log::Level;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{Due, JobId, StoredJob};
use crate::words::dead::DeadReason;
use crate::work::delivery::attempt::{Delivery, Left};
use crate::work::ingest::Gate;
use crate::work::routes::Route;

/// The longest a worker sleeps: the wall clock may jump, and due times are wall time.
const NAP_MAX: Duration = Duration::from_millis(250);

/// The shortest, so that a job that cannot be read yet is not asked for in a loop.
const NAP_MIN: Duration = Duration::from_millis(1);

/// Jobs that were attempted in a hurry and failed; more of them, and the app is not really back.
const HURRIED_MAX: usize = 4096;

/// Delivers the queued events of one route.
pub struct Worker {
    gate: Arc<Gate>,
    route: Arc<Route>,
    places: Arc<Semaphore>,
    tasks: JoinSet<Left>,
    job_of: HashMap<Id, JobId>,
    /// Jobs that were read ahead, in order.
    ready: VecDeque<StoredJob>,
    hurry: Option<Hurry>,
    /// How often the breaker had closed when that was last looked at.
    closings: u64,
}

/// After an outage what waits is due at once: one walk over all that is queued.
struct Hurry {
    after: Option<Due>,
    /// What was attempted on the walk and is queued again, so that the walk does not meet it twice.
    failed: HashSet<JobId>,
}

// === impl Worker ===

impl Worker {
    /// A worker for `route`.
    pub fn new(gate: Arc<Gate>, route: Arc<Route>) -> Self {
        let places = route.config.queue.max_in_flight;
        Self {
            closings: route.breaker.closings(),
            gate,
            route,
            places: Arc::new(Semaphore::new(places)),
            tasks: JoinSet::new(),
            job_of: HashMap::new(),
            ready: VecDeque::new(),
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
        self.notice_return();
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

    /// Whoever's attempt closed the breaker, a live one or another route's: the app is back.
    fn notice_return(&mut self) {
        let closings = self.route.breaker.closings();
        if closings != self.closings {
            self.closings = closings;
            self.ready.clear();
            self.hurry = Some(Hurry {
                after: None,
                failed: HashSet::new(),
            });
        }
    }

    /// A task ended: by itself, or by a panic.
    fn ended(&mut self, ended: Result<(Id, Left), tokio::task::JoinError>) {
        let (task, left) = match ended {
            Ok((task, left)) => (task, left),
            Err(error) => {
                self.gate.log.say(
                    Level::Error,
                    "an attempt panicked; its event stays queued",
                    &[("route", &self.route.config.name)],
                );
                (error.id(), Left::Queued)
            }
        };
        if let Some(id) = self.job_of.remove(&task) {
            self.route.busy.remove(id);
            if let Some(hurry) = &mut self.hurry
                && left == Left::Queued
            {
                hurry.failed.insert(id);
            }
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
            match self.read_ahead().await {
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
        next.is_some_and(|next| self.is_anything_due() || next <= self.gate.clock.now())
    }

    /// After an outage, and while one lasts and a probe needs an event, whatever is queued will do.
    fn is_anything_due(&self) -> bool {
        self.hurry.is_some() || self.route.breaker.is_open()
    }

    /// Reads the next due jobs, without those that are busy; gives back how many places were looked at.
    async fn read_ahead(&mut self) -> Result<usize, StoreError> {
        let until = match self.is_anything_due() {
            true => None,
            false => Some(self.gate.clock.now()),
        };
        let after = self.hurry.as_ref().and_then(|hurry| hurry.after);
        let shelf = self.route.shelf;
        let batch = self.route.config.queue.max_in_flight.max(16);
        let busy = self.route.busy.all();
        // Those that are busy stand at the front until their results are stored.
        let limit = busy.len() + batch;
        let queue = Arc::clone(&self.gate.queue);
        let failed = self.hurry.as_ref().map(|hurry| hurry.failed.clone());
        let read = tokio::task::spawn_blocking(move || {
            let due = queue.due(shelf, until, after, limit)?;
            let mut last = None;
            let mut ids: Vec<JobId> = Vec::with_capacity(batch);
            for place in &due {
                if ids.len() == batch {
                    break;
                }
                last = Some(*place);
                let is_met = failed
                    .as_ref()
                    .is_some_and(|failed| failed.contains(&place.id));
                if !busy.contains(&place.id) && !is_met {
                    ids.push(place.id);
                }
            }
            let jobs = queue.load(&ids, true)?;
            let jobs: Vec<_> = ids.into_iter().zip(jobs).collect();
            Ok((due.len(), last, jobs))
        });
        let (looked_at, last, jobs) = read.await.unwrap_or(Err(StoreError::Unavailable))?;
        for (id, job) in jobs {
            match job {
                Some(job) => self.ready.push_back(job),
                // It can be listed but not read, and would stand at the front for ever.
                None => self.bury_unreadable(id).await,
            }
        }
        if let Some(hurry) = &mut self.hurry {
            hurry.after = last;
            if hurry.failed.len() > HURRIED_MAX {
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
