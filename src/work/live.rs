//! What becomes of an event while the provider waits: it goes to the app, to the queue, or to the dead
//! letters, as the route's `delivery` says.
//!
//! In `spill` and `queue` no authentic event is refused for what the app does or for speed:
//! only a store that has no room or cannot be written says no, and then the provider's retry finds nothing
//! settled.

use std::sync::Arc;

use hyper::StatusCode;

use crate::keepers::breaker::Pass;
use crate::keepers::event::{Buried, Clean, Event, Storable};
use crate::keepers::ledger::Claim;
use crate::keepers::log::Level;
use crate::keepers::recent::Passed;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{AttemptRecord, NewState, Reason};
use crate::keepers::store::pending::Pending;
use crate::rules::clean::Attempt;
use crate::rules::config::Delivery;
use crate::rules::retry::Class;
use crate::words::dead::DeadReason;
use crate::words::outcome::{Malformed, Outcome};
use crate::words::verdict::BuryReason;
use crate::work::answer::Ending;
use crate::work::forward::{AppAnswer, Attempted};
use crate::work::ingest::Gate;
use crate::work::resources::{NotNow, Resources};
use crate::work::routes::Route;
use crate::work::trace::Trace;

impl Gate {
    /// Brings a clean event as far as it goes while its sender waits.
    pub(super) async fn deliver(
        &self,
        trace: &mut Trace,
        route: &Route,
        event: Event<Clean>,
        claim: Claim,
    ) -> Ending {
        match route.config.delivery {
            Delivery::Inline => self.deliver_inline(trace, route, event, claim).await,
            Delivery::Spill => self.deliver_or_spill(trace, route, event, claim).await,
            Delivery::Queue => {
                self.enqueue(route, &event, claim, Outcome::Queued, Vec::new())
                    .await
            }
        }
    }

    /// Sets aside an authentic event that must not go to the app.
    pub(super) async fn bury(&self, route: &Route, event: Event<Buried>, claim: Claim) -> Ending {
        let reason = event.reason();
        match route.config.delivery {
            Delivery::Inline => Ending::of(match reason {
                BuryReason::Stale => Outcome::Stale,
                BuryReason::Unreadable => Outcome::Malformed(Malformed::Request),
            })
            .because(reason.label()),
            Delivery::Spill | Delivery::Queue => {
                self.dead_letter(route, &event, claim, reason.into(), Vec::new())
                    .await
            }
        }
    }

    async fn deliver_inline(
        &self,
        trace: &mut Trace,
        route: &Route,
        event: Event<Clean>,
        claim: Claim,
    ) -> Ending {
        let resources = match self.take_resources(trace, route, Pass::Free) {
            Ok(resources) => resources,
            Err(NotNow::Quota) => {
                let mut ending = Ending::of(Outcome::RateLimited);
                ending.retry_after = route.quota.as_ref().map(|quota| quota.standing().next_in);
                return ending;
            }
            Err(why @ (NotNow::Places | NotNow::Breaker | NotNow::Time)) => {
                return Ending::of(Outcome::Overloaded).because(why.label());
            }
        };
        let (attempted, record) = self.attempt(trace, route, &event, &resources).await;
        drop(resources);
        match attempted {
            Attempted::Answered(answer) if answer.status.is_success() => {
                self.settle(trace, route, event, claim, record).await;
                accepted_by_app(route, answer)
            }
            Attempted::Answered(answer) => refused_by_app(answer),
            Attempted::Broken(reason) => Ending::of(Outcome::UpstreamUnreachable).because(reason),
            Attempted::TimedOut => Ending::of(Outcome::UpstreamTimeout),
        }
    }

    async fn deliver_or_spill(
        &self,
        trace: &mut Trace,
        route: &Route,
        event: Event<Clean>,
        claim: Claim,
    ) -> Ending {
        let pass = route
            .breaker
            .ask(self.clock.elapsed(), route.probe_patience(), 0);
        let resources = match self.take_resources(trace, route, pass) {
            Ok(resources) => resources,
            Err(why) => {
                let ending = self
                    .enqueue(route, &event, claim, Outcome::Queued, Vec::new())
                    .await;
                return ending.because_unless_said(why.label());
            }
        };
        let (attempted, record) = self.attempt(trace, route, &event, &resources).await;
        route.report(
            event.content(),
            resources.pass,
            &attempted,
            self.clock.elapsed(),
        );
        drop(resources);
        match attempted.class() {
            Class::Delivered => {
                self.settle(trace, route, event, claim, record).await;
                match attempted {
                    Attempted::Answered(answer) => accepted_by_app(route, answer),
                    // Only an answer is a delivery.
                    Attempted::Broken(_) | Attempted::TimedOut => Ending::of(Outcome::Overloaded),
                }
            }
            Class::Refused => {
                let reason = attempted.reason();
                self.dead_letter(route, &event, claim, DeadReason::Refused, vec![record])
                    .await
                    .because_unless_said(reason)
            }
            Class::Retry => {
                let reason = attempted.reason();
                self.spill(route, &event, claim, record, &attempted)
                    .await
                    .because_unless_said(reason)
            }
        }
    }

    /// Stores an event whose first attempt failed, to be tried again by the schedule.
    async fn spill(
        &self,
        route: &Route,
        event: &Event<Clean>,
        claim: Claim,
        record: AttemptRecord,
        attempted: &Attempted,
    ) -> Ending {
        let now = self.clock.now();
        let next = route.config.queue.schedule.next(
            event.record().received_at(),
            1,
            now,
            attempted.retry_after(),
            fastrand::u64(..),
        );
        let Some(due) = next else {
            return self
                .dead_letter(route, event, claim, DeadReason::GivenUp, vec![record])
                .await;
        };
        let pushing = event.push(
            claim,
            &*self.queue,
            now,
            NewState::Queued { due },
            vec![record],
        );
        let stored = self.synced(pushing).await;
        route.wake.notify_one();
        stored.map_or_else(not_stored, |_| Ending::of(Outcome::Spilled))
    }

    /// Stores an event that waits for its first attempt.
    async fn enqueue(
        &self,
        route: &Route,
        event: &Event<Clean>,
        claim: Claim,
        outcome: Outcome,
        attempts: Vec<AttemptRecord>,
    ) -> Ending {
        let now = self.clock.now();
        let pushing = event.push(
            claim,
            &*self.queue,
            now,
            NewState::Queued { due: now },
            attempts,
        );
        let stored = self.synced(pushing).await;
        route.wake.notify_one();
        stored.map_or_else(not_stored, |_| Ending::of(outcome))
    }

    async fn dead_letter<S: Storable>(
        &self,
        route: &Route,
        event: &Event<S>,
        claim: Claim,
        reason: DeadReason,
        attempts: Vec<AttemptRecord>,
    ) -> Ending {
        let state = NewState::Dead {
            reason: Reason(reason.code()),
        };
        let pushing = event.push(claim, &*self.queue, self.clock.now(), state, attempts);
        if let Err(error) = self.synced(pushing).await {
            return not_stored(error);
        }
        self.log.say(
            Level::Warn,
            "an event became a dead letter",
            &[
                ("route", &route.config.name),
                ("event_id", &event.record().idempotency_key()),
                ("reason", &reason.label()),
            ],
        );
        Ending::of(Outcome::DeadLettered).because(reason.label())
    }

    /// Settles an event that the app took, with a copy where delivered events are kept.
    async fn settle(
        &self,
        trace: &mut Trace,
        route: &Route,
        event: Event<Clean>,
        claim: Claim,
        record: AttemptRecord,
    ) {
        let now = self.clock.now();
        let settled = match route.config.queue.keep_delivered.is_zero() {
            true => {
                let settled = self.synced(claim.settle(now)).await;
                trace.passed = Some(Passed {
                    route: Arc::clone(&route.config.name),
                    record: event.into_record(),
                    attempt: record,
                });
                settled
            }
            false => {
                let pushing =
                    event.push(claim, &*self.queue, now, NewState::Delivered, vec![record]);
                self.synced(pushing).await.map(|_| ())
            }
        };
        if let Err(error) = settled {
            // The app has it: nothing is lost, but after a crash it may come again.
            self.log.say(
                Level::Error,
                "an event that the app took could not be settled in time",
                &[
                    ("route", &route.config.name),
                    ("request_id", &trace.head.request_id.as_str()),
                    ("error", &error),
                ],
            );
        }
    }

    /// Waits until it is synced to disk, at most as long as storing may take. After that it may still be.
    pub(super) async fn synced<T: Send + 'static>(
        &self,
        pending: Pending<T>,
    ) -> Result<T, StoreError> {
        let answered = self
            .timers
            .within(self.limits.store_time, pending.answered());
        answered.await.unwrap_or(Err(StoreError::Unavailable))
    }

    /// The first attempt, and what is kept of it.
    async fn attempt(
        &self,
        trace: &mut Trace,
        route: &Route,
        event: &Event<Clean>,
        resources: &Resources<'_>,
    ) -> (Attempted, AttemptRecord) {
        let at = self.clock.now();
        let (since, limit) = (resources.since, resources.limit);
        let forwarder = &trace.snapshot.forwarder;
        let attempted = forwarder
            .attempt(event, Attempt::first(at), since, limit)
            .await;
        let took = resources.since.elapsed();
        self.note_attempt(route, &attempted, took);
        if let Some(fields) = &mut trace.event {
            fields.upstream = Some(took);
        }
        let record = attempted.record(1, at, took);
        (attempted, record)
    }
}

fn not_stored(error: StoreError) -> Ending {
    let outcome = match error {
        StoreError::Full | StoreError::ShelfFull | StoreError::NoSpace => Outcome::QueueFull,
        StoreError::Unavailable | StoreError::Closed => Outcome::StoreUnavailable,
    };
    Ending::of(outcome).because(error.to_string())
}

fn accepted_by_app(route: &Route, answer: Box<AppAnswer>) -> Ending {
    let status = route.config.provider.kind().accepted_status;
    let status = status.unwrap_or(answer.status);
    with_app(Outcome::Forwarded(status), answer)
}

/// Senders follow a redirect and unsubscribe on 410, so these two never go back.
fn refused_by_app(answer: Box<AppAnswer>) -> Ending {
    let status = answer.status;
    let reason = format!("the app answered {}", status.as_u16());
    if status.is_redirection() || status == StatusCode::GONE {
        return Ending::of(Outcome::UpstreamStatus(StatusCode::BAD_GATEWAY)).because(reason);
    }
    with_app(Outcome::UpstreamStatus(status), answer).because(reason)
}

fn with_app(outcome: Outcome, answer: Box<AppAnswer>) -> Ending {
    let mut ending = Ending::of(outcome);
    ending.retry_after = answer.retry_after;
    ending.app = Some(answer);
    ending
}
