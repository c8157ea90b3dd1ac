//! Delivery ids that came with other content before: worth a look, and nothing more.
//!
//! The memory has a fixed number of slots and forgets whatever another id displaces. It holds no ids, only
//! hashes of them.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use crate::keepers::store::ShelfId;
use crate::keepers::store::keymap::Seeds;
use crate::words::identity::Key;

/// Slots; 16 bytes each.
const SLOTS: usize = 8192;

/// Which content an id came with last.
pub struct Conflicts {
    slots: Mutex<Box<[Slot]>>,
    seeds: Seeds,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    id: u64,
    content: u64,
}

// === impl Conflicts ===

impl Conflicts {
    /// An empty memory.
    pub fn new() -> Self {
        Self {
            slots: Mutex::new(vec![Slot::default(); SLOTS].into_boxed_slice()),
            seeds: Seeds::default(),
        }
    }

    /// Whether this id came with other content before; remembers it with this one.
    pub fn note(&self, shelf: ShelfId, delivery_id: &str, content: Key) -> bool {
        let id = self.seeds.hash_one((shelf, delivery_id));
        let content = content.leading();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(id % SLOTS as u64).unwrap_or(0);
        let Some(slot) = slots.get_mut(place) else {
            return false;
        };
        let is_conflict = slot.id == id && slot.content != content;
        *slot = Slot { id, content };
        is_conflict
    }
}
