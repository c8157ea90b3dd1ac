//! What memory knows of a run: which keys it may hold, and where its chunks begin.
//!
//! # Why
//! The tree could lead to a key's chunk by itself, but it is asked for the last chunk that begins before a key: then
//! it reads the chunk behind it as well, a page each. One first key for every 200 keys takes little beside their
//! filter.

use super::codec::CHUNK_RECORDS;
use super::filter::Filter;
use crate::words::identity::Key;

/// The outline of one run, made while its keys go by in their order.
pub(super) struct Outline {
    filter: Filter,
    /// The first key of each chunk, in order.
    firsts: Vec<Key>,
}

impl Outline {
    /// An empty outline for up to `keys` keys.
    pub(super) fn new(keys: u64) -> Self {
        let chunks = usize::try_from(keys).unwrap_or(0).div_ceil(CHUNK_RECORDS);
        Self {
            filter: Filter::new(keys),
            firsts: Vec::with_capacity(chunks),
        }
    }

    /// Adds a key.
    pub(super) fn add(&mut self, key: &Key) {
        self.filter.add(key);
    }

    /// Notes that the next chunk begins with `first`.
    pub(super) fn begin_chunk(&mut self, first: Key) {
        self.firsts.push(first);
    }

    /// False only if the key was never added.
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        self.filter.may_hold(key)
    }

    /// The first key of the chunk that holds `key`, if any does.
    pub(super) fn chunk_of(&self, key: &Key) -> Option<&Key> {
        let after = self.firsts.partition_point(|first| first <= key);
        self.firsts.get(after.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Key {
        Key::from_bytes([n; Key::LEN])
    }

    #[test]
    fn leads_to_the_last_chunk_that_begins_before_a_key_or_with_it() {
        let mut outline = Outline::new(600);
        assert_eq!(outline.chunk_of(&key(5)), None);
        for first in [10, 20, 30] {
            outline.begin_chunk(key(first));
        }
        let led = [9, 10, 19, 20, 30, 255].map(|n| outline.chunk_of(&key(n)).copied());
        let expected = [None, Some(10), Some(10), Some(20), Some(30), Some(30)];
        assert_eq!(led, expected.map(|first| first.map(key)));
    }
}
