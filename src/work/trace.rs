//! What a request takes with it on its way through the gate.

use std::mem;
use std::sync::Arc;

use hyper::header::HeaderMap;
use tokio::time::Instant;

use crate::keepers::log::line::EventFields;
use crate::keepers::recent::Passed;
use crate::words::message::Head;
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
    /// The headers as memory for others: of a request that is a clean event or at its end nobody asks for them.
    pub fn take_room(&mut self) -> HeaderMap {
        Arc::get_mut(&mut self.head)
            .map_or_else(HeaderMap::new, |head| mem::take(&mut head.headers))
    }
}
