//! What a request takes with it on its way through the gate.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderMap;
use tokio::time::Instant;

use crate::keepers::log::bounded;
use crate::keepers::log::line::EventFields;
use crate::keepers::recent::{Passed, Refused, RefusedEvent};
use crate::rules::framing::BodyLength;
use crate::words::message::Head;
use crate::words::time::Timestamp;
use crate::work::answer::Ending;
use crate::work::head::HeadNote;
use crate::work::routes::Route;
use crate::work::snapshot::Snapshot;

/// What is known of a request for its end.
pub struct Trace {
    /// The configuration that the request began with.
    pub snapshot: Arc<Snapshot>,
    /// The head.
    pub head: Arc<Head>,
    /// The route, if one was found.
    pub route: Option<Arc<Route>>,
    /// What is said of a verified event.
    pub event: Option<EventFields>,
    /// The event, where the app took it and the store keeps no copy.
    pub passed: Option<Passed>,
    /// The answer is due by then.
    pub until: Instant,
    /// When the head was complete.
    pub started: Instant,
    /// Bytes of the body that were read.
    pub body_bytes: usize,
    /// The connection ends with the answer, whatever it is.
    pub closes: bool,
}

// === impl Trace ===

impl Trace {
    /// Of a request whose head has just come, and that is answered within `limit`.
    pub fn begin(
        head: Arc<Head>,
        snapshot: Arc<Snapshot>,
        note: &HeadNote,
        limit: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            route: snapshot.routes.find(&head).cloned(),
            snapshot,
            head,
            until: now + limit,
            started: now,
            body_bytes: 0,
            event: None,
            passed: None,
            // Nothing after a chunked body is looked at by the guard, so nothing may come after it.
            closes: note.length == BodyLength::Chunked || note.flaw.is_some(),
        }
    }

    /// The headers as memory for others: of a request that is a clean event or at its end nobody asks for them.
    pub fn take_room(&mut self) -> HeaderMap {
        Arc::get_mut(&mut self.head)
            .map_or_else(HeaderMap::new, |head| mem::take(&mut head.headers))
    }

    /// What the operator is shown of a refusal.
    pub fn refused(&self, ending: &Ending, at: Timestamp) -> Refused {
        Refused {
            at,
            request_id: self.head.request_id,
            route: self
                .route
                .as_ref()
                .map(|route| Arc::clone(&route.config.name)),
            outcome: ending.outcome,
            reason: ending.reason.clone(),
            client: self.head.client,
            method: bounded(self.head.method.as_str()),
            event: self.event.as_ref().map(|event| RefusedEvent {
                id: event.content.idempotency_key(),
                event_type: event.event_type.clone(),
                delivery_id: event.delivery_id.clone(),
            }),
        }
    }
}
