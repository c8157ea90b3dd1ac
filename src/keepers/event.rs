//! The path of trust: an event, and the proof of what was done to it.
//!
//! The stages are [`Received`], [`Verified`], [`Asked`], [`Unique`] and then [`Clean`] or [`Buried`]. Each consumes the
//! one before and adds a datum: the verdict, the claim, the record. Fields are private and this file is the
//! only mint, so an [`Event<Clean>`] is the proof that its bytes were verified and claimed, and that it may go
//! to the app. What sends to the app demands one; what stores a job demands one of the last two.
//!
//! There is a second mint, [`Event::restored`]: what is read back from our own store was clean when it was
//! written there.
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
//! A stage can neither be made up outside of this file nor be taken apart:
//!
//! ```compile_fail,E0451
//! # use bytes::Bytes;
//! # use passgate::keepers::event::Clean;
//! # use passgate::words::record::Record;
//! fn forge(record: Box<Record>, body: Bytes) -> Clean {
//!     Clean { record, body }
//! }
//! ```
//!
//! ```compile_fail,E0451
//! # use passgate::keepers::event::Verified;
//! fn take_apart(verified: Verified) {
//!     let Verified { known } = verified;
//! }
//! ```
//!
//! ```
//! # use passgate::keepers::event::{Clean, Storable};
//! # use passgate::words::record::Record;
//! fn look(stage: &Clean) -> &Record {
//!     stage.record()
//! }
//! ```

use std::sync::Arc;

use bytes::Bytes;

use crate::keepers::ledger::{Claim, Ledger, Look, NotOurs, Open, Patience};
use crate::keepers::store::ShelfId;
use crate::keepers::store::jobs::{AttemptRecord, JobId, NewJob, NewState, Queue};
use crate::keepers::store::pending::Pending;
use crate::rules::clean::{self, Attempt};
use crate::rules::config::Route;
use crate::rules::provider::Screened;
use crate::rules::subject;
use crate::words::identity::{Key, Keys};
use crate::words::message::Message;
use crate::words::record::Record;
use crate::words::time::Timestamp;
use crate::words::verdict::{BuryReason, Fate, Unverified, Verdict};

/// A message on its way to the app, at stage `S`.
#[derive(Debug)]
pub struct Event<S> {
    route: Arc<Route>,
    stage: S,
}

/// It arrived; nothing is known of it.
#[derive(Debug)]
pub struct Received {
    message: Message,
}

/// The provider judged it authentic.
#[derive(Debug)]
pub struct Verified {
    known: Box<Known>,
}

/// What is known of an event from then on; apart, since it is large, and the event is handed on over and over.
#[derive(Debug)]
struct Known {
    message: Message,
    verdict: Verdict,
    keys: Keys,
    /// The present when it was judged.
    at: Timestamp,
}

/// The ledger was asked whether it may be processed, and has not said no.
pub struct Asked {
    known: Box<Known>,
    asked: Asking,
}

/// What the ledger said so far.
enum Asking {
    Ours(Claim),
    Open(Open),
}

/// The ledger does not know it, and it is ours to process.
pub struct Unique {
    known: Box<Known>,
    claim: Claim,
}

/// It may go to the app.
#[derive(Debug)]
pub struct Clean {
    /// Apart, since an event is handed on over and over.
    record: Box<Record>,
    body: Bytes,
}

/// It must not go to the app, nor be lost.
#[derive(Debug)]
pub struct Buried {
    record: Box<Record>,
    body: Bytes,
    reason: BuryReason,
}

/// A stage in which an event can be stored.
pub trait Storable {
    /// What is kept beside the body.
    fn record(&self) -> &Record;

    /// The body.
    fn body(&self) -> &Bytes;
}

/// What may become of an event that is ours; the claim on it is to be settled, pushed or dropped.
pub enum Cleaned {
    /// It may go to the app.
    Deliver(Event<Clean>, Claim),
    /// It must not.
    Bury(Event<Buried>, Claim),
}

// === impl Event<Received> ===

impl Event<Received> {
    /// A message as it arrived on `route`.
    pub fn received(message: Message, route: Arc<Route>) -> Self {
        Self {
            route,
            stage: Received { message },
        }
    }

    /// Has the route's provider judge the raw bytes. `screened` is what it said of the head.
    ///
    /// # Errors
    /// The true reason, for the log.
    pub fn verify(self, screened: Screened, now: Timestamp) -> Result<Event<Verified>, Unverified> {
        let Received { message } = &self.stage;
        let verdict = self.route.provider.verify(message, screened, now)?;
        // Digests of what the event says: made once, for they cost as much as a small body's signature.
        let keys = Keys::new(
            &self.route.name,
            &verdict.identity,
            self.route.same_content_forwards,
        );
        Ok(self.into_stage(|Received { message }| Verified {
            known: Box::new(Known {
                message,
                verdict,
                keys,
                at: now,
            }),
        }))
    }
}

// === impl Event<Verified> ===

impl Event<Verified> {
    /// What the provider found out.
    pub fn verdict(&self) -> &Verdict {
        &self.stage.known.verdict
    }

    /// What the ledger knows the event by.
    pub fn keys(&self) -> Keys {
        self.stage.known.keys
    }

    /// Asks for the event, which was verified just now, without waiting for anything: most duplicates are known at
    /// once.
    ///
    /// # Errors
    /// Why it is not ours.
    pub fn ask(self, ledger: &Arc<Ledger>, shelf: ShelfId) -> Result<Event<Asked>, NotOurs> {
        let asked = match ledger.look(shelf, self.keys(), self.stage.known.at) {
            Look::Answered(claimed) => Asking::Ours(claimed?),
            Look::Open(open) => Asking::Open(open),
        };
        Ok(self.into_stage(|Verified { known }| Asked { known, asked }))
    }
}

// === impl Event<Asked> ===

impl Event<Asked> {
    /// Claims the event. `patience` is asked for where somebody or something must be waited for.
    ///
    /// # Errors
    /// Why it is not ours.
    pub async fn claim(
        self,
        ledger: &Arc<Ledger>,
        patience: impl FnOnce() -> Patience,
    ) -> Result<Event<Unique>, NotOurs> {
        let Asked { known, asked } = self.stage;
        let claim = match asked {
            Asking::Ours(claim) => claim,
            Asking::Open(open) => ledger.claim(open, patience()).await?,
        };
        Ok(Event {
            route: self.route,
            stage: Unique { known, claim },
        })
    }
}

// === impl Event<Unique> ===

impl Event<Unique> {
    /// What the provider found out.
    pub fn verdict(&self) -> &Verdict {
        &self.stage.known.verdict
    }

    /// Says whether the event may go to the app. Dropping the answer releases the claim.
    pub fn clean(self) -> Cleaned {
        let Self { route, stage } = self;
        let Unique { known, claim } = stage;
        let Known {
            message, verdict, ..
        } = *known;
        let fate = verdict.fate;
        let content = claim.keys().content;
        let record = Box::new(clean::record(&route, &message, verdict, content));
        let body = message.body;
        match fate {
            Fate::Deliver => {
                let stage = Clean { record, body };
                Cleaned::Deliver(Event { route, stage }, claim)
            }
            Fate::Bury(reason) => {
                let stage = Buried {
                    record,
                    body,
                    reason,
                };
                Cleaned::Bury(Event { route, stage }, claim)
            }
        }
    }
}

// === impl Cleaned ===

impl Cleaned {
    /// What is kept of the event, wherever it goes.
    pub fn record(&self) -> &Record {
        match self {
            Self::Deliver(event, _) => event.record(),
            Self::Bury(event, _) => event.record(),
        }
    }
}

// === impl Event<Clean> ===

impl Event<Clean> {
    /// The second mint: an event read back from our own store, which took it as a clean one, or one that an
    /// operator sends again.
    pub fn restored(route: Arc<Route>, record: Record, body: Bytes) -> Self {
        Self {
            route,
            stage: Clean {
                record: Box::new(record),
                body,
            },
        }
    }

    /// What is kept of it, once it is with the app.
    pub fn into_record(self) -> Box<Record> {
        self.stage.record
    }

    /// The route it goes by.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Appends the head of the request for one attempt at the app, after which comes the body.
    pub fn write_head(&self, attempt: Attempt, into: &mut Vec<u8>) {
        let Clean { record, body } = &self.stage;
        clean::write_head(&self.route, record, body, attempt, into);
    }
}

// === impl Event<Buried> ===

impl Event<Buried> {
    /// Why it must not go to the app.
    pub fn reason(&self) -> BuryReason {
        self.stage.reason
    }
}

impl<S: Storable> Event<S> {
    /// What is kept of it beside the body.
    pub fn record(&self) -> &Record {
        self.stage.record()
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        self.stage.body()
    }

    /// What the ledger knows it by.
    pub fn content(&self) -> Key {
        self.record().content()
    }

    /// Stores the event in the queue and settles its claim in one commit.
    pub fn push(
        &self,
        claim: Claim,
        queue: &dyn Queue,
        at: Timestamp,
        state: NewState,
        attempts: Vec<AttemptRecord>,
    ) -> Pending<JobId> {
        let pointer = self.route.order_by.as_deref();
        claim.push(queue, |shelf, keys| NewJob {
            shelf,
            keys,
            head: self.record().encode().into(),
            body: self.body().clone(),
            order: pointer.and_then(|pointer| subject::of(self.body(), pointer)),
            at,
            state,
            attempts,
        })
    }
}

impl<S> Event<S> {
    fn into_stage<T>(self, next: impl FnOnce(S) -> T) -> Event<T> {
        Event {
            route: self.route,
            stage: next(self.stage),
        }
    }
}

impl Storable for Clean {
    fn record(&self) -> &Record {
        &self.record
    }

    fn body(&self) -> &Bytes {
        &self.body
    }
}

impl Storable for Buried {
    fn record(&self) -> &Record {
        &self.record
    }

    fn body(&self) -> &Bytes {
        &self.body
    }
}
