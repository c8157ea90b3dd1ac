//! The path of trust: an event, and the proof of what was done to it.
//!
//! The stages are [`Received`], [`Verified`], [`Unique`] and [`Clean`]. Each consumes the one before and
//! adds a datum: the verdict, the claim, the idempotency key. Fields are private and this file is the only
//! mint, so an [`Event<Clean>`] is the proof that its bytes were verified, that nobody else processes it,
//! and that it may go to the app. What sends to the app demands one.
//!
//! An event that was only verified cannot be sent:
//!
//! ```compile_fail,E0308
//! # use passgate::keepers::event::{Clean, Event, Verified};
//! fn send(_: &Event<Clean>) {}
//! fn too_early(event: &Event<Verified>) {
//!     send(event);
//! }
//! ```
//!
//! The same with a clean one compiles:
//!
//! ```
//! # use passgate::keepers::event::{Clean, Event};
//! fn send(_: &Event<Clean>) {}
//! fn in_time(event: &Event<Clean>) {
//!     send(event);
//! }
//! ```
//!
//! A stage cannot be made up outside of this file:
//!
//! ```compile_fail,E0451
//! # use passgate::keepers::event::{Event, Verified};
//! # use passgate::words::verdict::Verdict;
//! fn forge(verdict: Verdict) -> Verified {
//!     Verified { verdict }
//! }
//! ```
//!
//! ```
//! # use passgate::keepers::event::{Event, Verified};
//! # use passgate::words::verdict::Verdict;
//! fn look(event: &Event<Verified>) -> &Verdict {
//!     event.verdict()
//! }
//! ```

use std::sync::Arc;

use bytes::Bytes;
use hyper::Request;

use crate::keepers::ledger::{Claim, Claimed, Duplicate, Ledger, Patience, Settling};
use crate::keepers::store::ShelfId;
use crate::rules::clean::{self, Attempt};
use crate::rules::config::Route;
use crate::words::identity::Keys;
use crate::words::message::Message;
use crate::words::time::Timestamp;
use crate::words::verdict::{BuryReason, Fate, Unverified, Verdict};

/// A message on its way to the app, at stage `S`.
#[derive(Debug)]
pub struct Event<S> {
    message: Message,
    route: Arc<Route>,
    stage: S,
}

/// It arrived; nothing is known of it.
#[derive(Debug)]
pub struct Received(());

/// The provider judged it authentic.
#[derive(Debug)]
pub struct Verified {
    verdict: Verdict,
}

/// The ledger does not know it, and it is ours to process.
pub struct Unique {
    verdict: Verdict,
    claim: Claim,
}

/// It may go to the app.
pub struct Clean {
    verdict: Verdict,
    claim: Claim,
    idempotency_key: String,
}

/// Why an event is not ours to process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// It is settled.
    Duplicate(Duplicate),
    /// Somebody else is at it.
    InFlight,
    /// The ledger cannot be asked.
    Unavailable,
}

/// What may become of an event that is ours.
pub enum Cleaned {
    /// It may go to the app.
    Deliver(Event<Clean>),
    /// It must not; the claim is still held.
    Bury(Event<Unique>, BuryReason),
}

// === impl Event<Received> ===

impl Event<Received> {
    /// A message as it arrived on `route`.
    pub fn received(message: Message, route: Arc<Route>) -> Self {
        Self {
            message,
            route,
            stage: Received(()),
        }
    }

    /// Has the route's provider judge the raw bytes.
    ///
    /// # Errors
    /// The true reason, for the log.
    pub fn verify(self, now: Timestamp) -> Result<Event<Verified>, Unverified> {
        let verdict = self.route.provider.verify(&self.message, now)?;
        Ok(self.into_stage(|_| Verified { verdict }))
    }
}

// === impl Event<Verified> ===

impl Event<Verified> {
    /// What the provider found out.
    pub fn verdict(&self) -> &Verdict {
        &self.stage.verdict
    }

    /// What the ledger knows the event by.
    pub fn keys(&self) -> Keys {
        Keys::new(
            &self.route.name,
            &self.stage.verdict.identity,
            self.route.same_content_forwards,
        )
    }

    /// Claims the event.
    ///
    /// # Errors
    /// Why it is not ours.
    pub async fn claim(
        self,
        ledger: &Arc<Ledger>,
        shelf: ShelfId,
        patience: Patience,
    ) -> Result<Event<Unique>, NotOurs> {
        match ledger.claim(shelf, self.keys(), patience).await {
            Claimed::First(claim) => Ok(self.into_stage(|stage| Unique {
                verdict: stage.verdict,
                claim,
            })),
            Claimed::Duplicate(kind) => Err(NotOurs::Duplicate(kind)),
            Claimed::InFlight => Err(NotOurs::InFlight),
            Claimed::Unavailable => Err(NotOurs::Unavailable),
        }
    }
}

// === impl Event<Unique> ===

impl Event<Unique> {
    /// Says whether the event may go to the app. Dropping the answer releases the claim.
    pub fn clean(self) -> Cleaned {
        match self.stage.verdict.fate {
            Fate::Bury(reason) => Cleaned::Bury(self, reason),
            Fate::Deliver => Cleaned::Deliver(self.into_stage(|stage| Clean {
                idempotency_key: stage.claim.keys().idempotency_key(),
                verdict: stage.verdict,
                claim: stage.claim,
            })),
        }
    }
}

// === impl Event<Clean> ===

impl Event<Clean> {
    /// The route it came by.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// What the app knows the event by.
    pub fn idempotency_key(&self) -> &str {
        &self.stage.idempotency_key
    }

    /// The request for one attempt at the app.
    pub fn request(&self, attempt: Attempt) -> Request<Bytes> {
        clean::request(
            &self.route,
            &self.message,
            &self.stage.verdict,
            &self.stage.idempotency_key,
            attempt,
        )
    }

    /// Settles the event: the app has it.
    pub fn settle(self, at: Timestamp) -> Settling {
        self.stage.claim.settle(at)
    }
}

impl<S> Event<S> {
    fn into_stage<T>(self, next: impl FnOnce(S) -> T) -> Event<T> {
        Event {
            message: self.message,
            route: self.route,
            stage: next(self.stage),
        }
    }
}
