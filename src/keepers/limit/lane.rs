//! The narrow lane: how a client that used up its quota of failed verifications still gets through.
//!
//! An honest sender may share its address with whoever sends junk, so nobody is shut out. Instead a few
//! requests of such a client are looked at at one time, each with little time for its body: junk becomes
//! slow and cheap, an authentic event still passes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::rules::client::ClientKey;

/// Requests of one such client at one time.
pub const PLACES: usize = 4;

/// How long a request waits for a place.
pub const WAIT: Duration = Duration::from_millis(250);

/// The lanes of all clients that have one right now; as many as there are requests in them, at most.
#[derive(Default)]
pub struct Lanes(Mutex<HashMap<ClientKey, Arc<Semaphore>>>);

/// A place in a client's lane, until it is dropped.
pub struct LanePlace<'a> {
    lanes: &'a Lanes,
    client: ClientKey,
    permit: Option<OwnedSemaphorePermit>,
}

// === impl Lanes ===

impl Lanes {
    /// No lanes.
    pub fn new() -> Self {
        Self::default()
    }

    /// A place in the lane of `client`, if there is one in a moment.
    pub async fn enter(&self, client: ClientKey) -> Option<LanePlace<'_>> {
        let lane = {
            let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let lane = lanes
                .entry(client)
                .or_insert_with(|| Arc::new(Semaphore::new(PLACES)));
            Arc::clone(lane)
        };
        // Made before the wait, so that a lane nobody got into is taken down again too.
        let mut place = LanePlace {
            lanes: self,
            client,
            permit: None,
        };
        let permit = tokio::time::timeout(WAIT, lane.acquire_owned()).await;
        place.permit = Some(permit.ok()?.ok()?);
        Some(place)
    }

    #[cfg(test)]
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Drop for LanePlace<'_> {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut lanes = self.lanes.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unused = lanes
            .get(&self.client)
            // Ours in the map is the only one: nobody is in it or waits for it.
            .is_some_and(|lane| Arc::strong_count(lane) == 1);
        if is_unused {
            lanes.remove(&self.client);
        }
    }
}
