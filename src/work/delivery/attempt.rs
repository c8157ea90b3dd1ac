//! One attempt on a stored job, and the storing of its result.
//!
//! A result carries the number of the attempt it belongs to, so that a late one changes nothing. Until it is
//! written the job counts as being attempted: through a fault of the store the result is offered again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::keepers::breaker::Pass;
use crate::keepers::event::Event;
use crate::keepers::log::Level;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{
    AttemptRecord, Change, Changed, JobId, JobInfo, JobState, Reason, StoredJob,
};
use crate::keepers::store::pending::Pending;
use crate::rules::clean::Attempt;
use crate::rules::retry::Class;
use crate::words::dead::DeadReason;
use crate::words::record::Record;
use crate::work::delivery::places::Place;
use crate::work::forward::Attempted;
use crate::work::ingest::Gate;
use crate::work::routes::Route;

/// After a store fault a result is offered again after this long; the pause doubles up to [`OFFER_PAUSE_MAX`],
/// since what does not fit on a full disk makes the store fail for everybody.
const OFFER_PAUSE: Duration = Duration::from_millis(250);
const OFFER_PAUSE_MAX: Duration = Duration::from_secs(8);

/// One attempt on a stored job, and the storing of its result.
pub struct Delivery {
    /// Everything it meets.
    pub gate: Arc<Gate>,
    /// The job's route.
    pub route: Arc<Route>,
    /// What the breaker said.
    pub pass: Pass,
}

/// Where an attempt left its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// In the queue, for a later attempt.
    Queued,
    /// Outside of it.
    Ended,
}

// === impl Delivery ===

impl Delivery {
    /// Makes the attempt, and tells where it left the job.
    pub async fn make(self, job: StoredJob, place: Place) -> Left {
        let info = job.info;
        if !matches!(info.state, JobState::Queued { .. }) {
            if self.pass == Pass::Probe {
                self.route.breaker.give_back();
            }
            return Left::Ended;
        }
        let (Ok(record), Some(body)) = (Record::decode(&job.head), job.body) else {
            if self.pass == Pass::Probe {
                self.route.breaker.give_back();
            }
            self.dead(info.id, None, DeadReason::Damaged).await;
            return Left::Ended;
        };
        let event = Event::restored(Arc::clone(&self.route.config), record, body);
        let number = info.attempts.saturating_add(1);
        let since = Instant::now();
        let at = self.gate.clock.now();
        let attempt = Attempt {
            number,
            at,
            is_replay: info.replayed_at.is_some(),
        };
        let forwarder = self.gate.snapshot.load().forwarder.clone();
        let limit = event.route().timeout;
        let attempted = forwarder.attempt(&event, attempt, since, limit).await;
        let took = since.elapsed();
        if place.give_back() {
            self.route.wake.notify_one();
        }
        self.gate.note_attempt(&self.route, &attempted, took);
        let now = self.gate.clock.elapsed();
        self.route
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
                Left::Ended
            }
            Class::Refused => {
                self.dead(info.id, Some(kept), DeadReason::Refused).await;
                Left::Ended
            }
            Class::Retry => self.retry(info, kept, &attempted).await,
        }
    }

    async fn retry(&self, info: JobInfo, attempt: AttemptRecord, attempted: &Attempted) -> Left {
        let now = self.gate.clock.now();
        let since = match self.gate.ledger.store().trusts(now) {
            true => info.since(),
            // By such a clock nobody knows how long it has waited.
            false => now,
        };
        let next = self.route.config.queue.schedule.next(
            since,
            attempt.number,
            now,
            attempted.retry_after(),
            fastrand::u64(..),
        );
        match next {
            Some(due) => {
                self.store(info.id, Change::Retry { attempt, due }).await;
                Left::Queued
            }
            None => {
                self.dead(info.id, Some(attempt), DeadReason::GivenUp).await;
                Left::Ended
            }
        }
    }

    /// Gives the job up.
    pub async fn dead(&self, id: JobId, attempt: Option<AttemptRecord>, reason: DeadReason) {
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
        let mut pause = OFFER_PAUSE;
        loop {
            let (done, stored) = Pending::new();
            self.gate.queue.change(id, change.clone(), Box::new(done));
            match stored.answered().await {
                Ok(Changed::Done { .. } | Changed::Stale | Changed::Gone | Changed::NoRoom)
                | Err(StoreError::Closed) => return,
                Err(
                    StoreError::Full
                    | StoreError::Unavailable
                    | StoreError::ShelfFull
                    | StoreError::NoSpace,
                ) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(OFFER_PAUSE_MAX);
                }
            }
        }
    }
}
