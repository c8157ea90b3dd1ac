//! One attempt on a stored job, and the storing of its result.
//!
//! A result carries the number of the attempt it belongs to, so that a late one changes nothing. Until it is
//! written the job counts as being attempted: through a fault of the store the result is offered again.

use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::keepers::breaker::Pass;
use crate::keepers::event::Event;
use crate::keepers::log::Level;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{
    AttemptRecord, Change, Changed, JobId, JobState, Reason, StoredJob,
};
use crate::rules::clean::Attempt;
use crate::rules::retry::Class;
use crate::words::dead::DeadReason;
use crate::words::record::Record;
use crate::words::time::Timestamp;
use crate::work::forward::Attempted;
use crate::work::ingest::Gate;
use crate::work::routes::Route;

/// After a store fault a result is offered again this often.
const OFFER_AGAIN: Duration = Duration::from_millis(250);

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
    pub async fn make(self, job: StoredJob, place: OwnedSemaphorePermit) -> Left {
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
        self.route
            .report(event.content(), self.pass, &attempted, now);
        let kept = attempted.record(number, at, took);
        let left = match attempted.class() {
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
            Class::Retry => {
                // The time of a replay that failed is over as well if the event's is: an operator who sends it
                // again sees it come back, rather than retries without an end.
                self.retry(info.id, kept, received_at, &attempted).await;
                Left::Queued
            }
        };
        self.route.wake.notify_one();
        left
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
