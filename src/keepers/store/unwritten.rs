//! Settled keys that could not be written yet.
//!
//! The app has these events, so they must not reach it again: they count as settled from memory until the
//! file takes them. The memory is bounded, and what falls out of it is counted.

use std::collections::{HashMap, VecDeque};

use super::ShelfId;
use super::keymap::{KeyMap, remember};
use crate::words::identity::Key;

/// The keys, oldest first.
#[derive(Default)]
pub(super) struct Unwritten {
    order: VecDeque<Entry>,
    known: HashMap<ShelfId, KeyMap>,
    lost: u64,
}

/// A key that waits to be written.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) shelf: ShelfId,
    pub(super) key: Key,
    pub(super) secs: u32,
}

impl Unwritten {
    /// Adds a key; over the bound the oldest is lost.
    pub(super) fn push(&mut self, entry: Entry, keys_max: usize) {
        remember(
            self.known.entry(entry.shelf).or_default(),
            entry.key,
            entry.secs,
        );
        self.order.push_back(entry);
        while self.order.len() > keys_max {
            if let Some(oldest) = self.order.pop_front() {
                self.forget(&oldest);
                self.lost += 1;
            }
        }
    }

    /// The second `key` was settled in.
    pub(super) fn find(&self, shelf: ShelfId, key: &Key) -> Option<u32> {
        self.known.get(&shelf)?.get(key).copied()
    }

    /// The oldest keys, to be written with the next commit; they stay known.
    pub(super) fn oldest(&self, keys_max: usize) -> Vec<Entry> {
        self.order.iter().take(keys_max).copied().collect()
    }

    /// Drops the oldest `keys`, which are written and published now.
    ///
    /// Between [`Self::oldest`] and this some may have fallen out at the front; dropping as many again
    /// would drop keys that were not written, so only those still there are dropped.
    pub(super) fn written(&mut self, keys: &[Entry], lost_before: u64) {
        let fallen = usize::try_from(self.lost - lost_before).unwrap_or(usize::MAX);
        for entry in keys.iter().skip(fallen) {
            self.order.pop_front();
            self.forget(entry);
        }
        if self.order.is_empty() {
            // Gives the memory back after a long fault.
            self.order = VecDeque::new();
            self.known = HashMap::new();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// A key that was pushed again later stays known by its later second.
    fn forget(&mut self, entry: &Entry) {
        if let Some(known) = self.known.get_mut(&entry.shelf)
            && known
                .get(&entry.key)
                .is_some_and(|secs| *secs <= entry.secs)
        {
            known.remove(&entry.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8, secs: u32) -> Entry {
        Entry {
            shelf: ShelfId(0),
            key: Key::from_bytes([n; Key::LEN]),
            secs,
        }
    }

    #[test]
    fn over_the_bound_the_oldest_is_lost_and_counted() {
        let mut unwritten = Unwritten::default();
        for n in 0..5 {
            unwritten.push(entry(n, 1), 3);
        }
        assert_eq!((unwritten.len(), unwritten.lost()), (3, 2));
        let known = |n| unwritten.find(ShelfId(0), &entry(n, 1).key).is_some();
        assert_eq!([0, 1, 2, 3, 4].map(known), [false, false, true, true, true]);
    }

    #[test]
    fn what_falls_out_during_a_commit_is_not_dropped_twice() {
        let mut unwritten = Unwritten::default();
        for n in 0..3 {
            unwritten.push(entry(n, 1), 3);
        }
        let lost = unwritten.lost();
        let oldest = unwritten.oldest(2);
        unwritten.push(entry(3, 1), 3);
        unwritten.written(&oldest, lost);
        assert_eq!(unwritten.len(), 2);
        assert!(unwritten.find(ShelfId(0), &entry(2, 1).key).is_some());
        assert!(unwritten.find(ShelfId(0), &entry(1, 1).key).is_none());
    }
}
