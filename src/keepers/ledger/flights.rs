//! The claims of the moment, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::keepers::store::ShelfId;
use crate::keepers::store::keymap::Seeds;
use crate::words::identity::{Key, Keys};

/// The claims of the moment, by key.
#[derive(Default)]
pub struct Flights(Mutex<FlightMap>);

pub type FlightMap = HashMap<(ShelfId, Key), Flight, Seeds>;

/// Somebody's claim: whoever waits for its end holds a receiver of this sender, which is dropped with it.
#[derive(Default)]
pub struct Flight(Option<watch::Sender<()>>);

// === impl Flights ===

impl Flights {
    /// Ends the claim of these keys; whoever waits for it is told.
    pub fn end(&self, shelf: ShelfId, keys: &Keys) {
        let mut flights = self.lock();
        for key in keys.iter() {
            flights.remove(&(shelf, key));
        }
    }

    /// The claims. The map holds no invariant that a panic could break half-way, so a poisoned lock is taken all the same.
    pub fn lock(&self) -> MutexGuard<'_, FlightMap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Flight ===

impl Flight {
    /// Something that ends with the claim.
    pub fn subscribe(&mut self) -> watch::Receiver<()> {
        self.0
            .get_or_insert_with(|| watch::channel(()).0)
            .subscribe()
    }
}
