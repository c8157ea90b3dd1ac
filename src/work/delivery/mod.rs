//! The queue's worker: takes what is due to the app, one route at a time, at the route's pace.
//!
//! Every route has a worker of its own, so that a dead app, a poison event or a huge backlog of one route
//! slows no other. A worker holds a few jobs in memory and reads the next ones when it needs them; what waits,
//! waits on disk. Who is being attempted stands here, in memory: after a crash every job that was not ended is
//! simply due again.
//!
//! An attempt takes a place of the worker's own, then asks the same breaker and the same quota as a live one,
//! the quota last; an app that asked for rest is left alone. Its result ends with the number of the attempt it belongs to, so that a late one changes
//! nothing.

pub mod crew;

mod ahead;
mod attempt;
mod burial;
mod hurry;
mod outage;
mod places;
mod turns;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use crate::keepers::breaker::Pass;
use crate::keepers::log::Level;
use crate::keepers::store::jobs::{JobId, StoredJob};
use crate::work::delivery::ahead::Ahead;
use crate::work::delivery::attempt::{Delivery, Left};
use crate::work::delivery::burial::Burial;
use crate::work::delivery::hurry::Hurry;
use crate::work::delivery::outage::Probes;
use crate::work::delivery::places::{Place, Places};
use crate::work::delivery::turns::{GROUP, Turn, Turns};
use crate::work::ingest::Gate;
use crate::work::routes::Route;

/// The longest a worker sleeps: the wall clock may jump, and due times are wall time.
const NAP_MAX: Duration = Duration::from_millis(250);

/// The shortest, so that a job that cannot be read yet is not asked for in a loop.
const NAP_MIN: Duration = Duration::from_millis(1);

/// Delivers the queued events of one route.
pub struct Worker {
    gate: Arc<Gate>,
    route: Arc<Route>,
    places: Places,
    tasks: JoinSet<Left>,
    started: HashMap<Id, Started>,
    /// Jobs that were read ahead, in order.
    ready: VecDeque<StoredJob>,
    ahead: Ahead,
    hurry: Hurry,
    burial: Burial,
    probes: Probes,
    turns: Turns,
    /// How often the breaker had closed when that was last looked at.
    closings: u64,
}

/// An attempt that runs.
struct Started {
    job: JobId,
    /// The walk that it belongs to.
    walk: Option<u64>,
    turn: Turn,
}

// === impl Worker ===

impl Worker {
    /// A worker for `route`.
    fn new(gate: Arc<Gate>, route: Arc<Route>, turns: Turns) -> Self {
        Self {
            closings: route.breaker.closings(),
            gate,
            places: Places::new(route.config.queue.max_in_flight),
            route,
            tasks: JoinSet::new(),
            started: HashMap::new(),
            ready: VecDeque::new(),
            ahead: Ahead::default(),
            hurry: Hurry::default(),
            burial: Burial::new(),
            probes: Probes::default(),
            turns,
        }
    }

    /// Delivers until told to stop, or until its route is gone; then what is in flight ends, and the rest stays
    /// queued.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let nap = match self.follow_route() {
                true => self.start_what_may().await.clamp(NAP_MIN, NAP_MAX),
                false if self.tasks.is_empty() => break,
                // It may be back before what is in flight has ended.
                false => NAP_MAX,
            };
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(ended),
                ended = self.burial.ended() => self.burial.note(ended, self.gate.clock.elapsed()),
                () = self.route.wake.notified() => {}
                () = tokio::time::sleep(nap) => {}
                _ = stop.changed() => {}
            }
            // What the same commit ended, and who comes in beside it, is looked at together.
            tokio::task::yield_now().await;
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.ended(ended);
            }
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
        // A step of it that the store has is done; nobody waits for its end.
        self.route.busy.buried();
    }

    /// Takes the route as it is configured now; `false` if it is gone.
    fn follow_route(&mut self) -> bool {
        let snapshot = self.gate.snapshot.load();
        let Some(route) = snapshot.routes.of_shelf(self.route.shelf) else {
            return false;
        };
        if Arc::ptr_eq(route, &self.route) {
            return true;
        }
        let before = std::mem::replace(&mut self.route, Arc::clone(route));
        self.places.resize(route.config.queue.max_in_flight);
        if !Arc::ptr_eq(&route.breaker, &before.breaker) {
            // Another app: what the one before was away for may be due at this one.
            self.closings = route.breaker.closings();
            self.forget_ahead();
            self.hurry.begin();
        }
        true
    }

    /// Starts every attempt that may be made now; gives back how long to wait before looking again.
    async fn start_what_may(&mut self) -> Duration {
        self.notice_return();
        self.turns
            .note(&self.gate.running, self.gate.clock.elapsed());
        if self.is_app_away() {
            self.burial.go_on(&self.gate, &self.route);
        }
        let mut begun = 0;
        loop {
            let Some(place) = self.places.take() else {
                return NAP_MAX;
            };
            if self.route.busy.count() >= self.busy_max() {
                return NAP_MAX;
            }
            let now = self.gate.clock.elapsed();
            let rest = self.route.rest.left(now);
            if !rest.is_zero() {
                return rest;
            }
            if self.route.breaker.is_open() {
                return self.probe(place).await;
            }
            if let Some(wait) = self.turns.wait(now) {
                return wait;
            }
            let Some(job) = self.next_job().await else {
                return self.until_due();
            };
            let patience = self.route.probe_patience();
            match self.route.breaker.ask(now, patience, job.info.attempts) {
                Pass::Free => {}
                // It opened meanwhile.
                pass => {
                    self.give_back(pass);
                    self.ready.push_front(job);
                    continue;
                }
            }
            if let Err(wait) = self.take_quota() {
                self.ready.push_front(job);
                return wait;
            }
            self.start(job, Pass::Free, place);
            begun += 1;
            if begun % GROUP == 0 && self.turns.are_taken(now) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Whether no attempts are made for the app's sake.
    fn is_app_away(&self) -> bool {
        let now = self.gate.clock.elapsed();
        self.route.breaker.is_open() || !self.route.rest.left(now).is_zero()
    }

    fn give_back(&self, pass: Pass) {
        if pass == Pass::Probe {
            self.route.breaker.give_back();
        }
    }

    /// The last thing that is taken, so that nothing charged is given back; or how long until there is some.
    fn take_quota(&self) -> Result<(), Duration> {
        match self.route.quota.as_ref().filter(|quota| !quota.take()) {
            Some(quota) => Err(quota.standing().next_in),
            None => Ok(()),
        }
    }

    fn start(&mut self, job: StoredJob, pass: Pass, place: Place) {
        let id = job.info.id;
        self.route.busy.add(id);
        let task = self.tasks.spawn(self.delivery(pass).make(job, place));
        let walk = self.hurry.walk();
        let turn = self.turns.take(self.gate.clock.elapsed());
        let started = Started {
            job: id,
            walk,
            turn,
        };
        self.started.insert(task.id(), started);
    }

    fn delivery(&self, pass: Pass) -> Delivery {
        Delivery {
            gate: Arc::clone(&self.gate),
            route: Arc::clone(&self.route),
            pass,
        }
    }

    /// Whoever's attempt closed the breaker, a live one or another route's: the app is back.
    fn notice_return(&mut self) {
        let closings = self.route.breaker.closings();
        if closings != self.closings {
            self.closings = closings;
            self.forget_ahead();
            self.hurry.begin();
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
        if let Some(Started { job, walk, turn }) = self.started.remove(&task) {
            self.route.busy.remove(job);
            self.turns.end(turn);
            match (left, walk) {
                (Left::Queued, Some(walk)) => self.hurry.failed(job, walk),
                (Left::Queued, None) => {}
                (Left::Ended, _) => self.hurry.ended(job),
            }
        }
    }

    /// Until the next job is due. What is due already was looked for: it is busy, and its end wakes the worker.
    fn until_due(&self) -> Duration {
        let now = self.gate.clock.now();
        let next = self.gate.queue.next_due(self.route.shelf);
        let later = next.filter(|next| *next > now);
        later.map_or(NAP_MAX, |next| next.since(now))
    }

    /// Attempts, and results that wait for their commit; a commit may take as long as several attempts.
    fn busy_max(&self) -> usize {
        self.route.config.queue.max_in_flight * 4 + 64
    }
}
