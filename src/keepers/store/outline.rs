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
    ///
    /// # Why
    /// A search through all of them touches a dozen places of memory that no cache has. Keys are uniform, so where one
    /// lies is known to within a few chunks; where it is not, what is looked through is doubled until it is.
    pub(super) fn chunk_of(&self, key: &Key) -> Option<&Key> {
        let chunks = self.firsts.len();
        let guess = (u128::from(key.rank()) * chunks as u128) >> 64;
        let guess = usize::try_from(guess).unwrap_or(0);
        let begins_after = |place: usize| self.firsts.get(place).is_none_or(|first| first > key);
        let mut reach = NEAR;
        let (from, upto) = loop {
            let (from, upto) = (
                guess.saturating_sub(reach),
                guess.saturating_add(reach).min(chunks),
            );
            let (is_after, is_before) = (from == 0 || !begins_after(from), begins_after(upto));
            if is_after && is_before {
                break (from, upto);
            }
            reach = reach.saturating_mul(2);
        };
        let near = self.firsts.get(from..upto)?;
        let after = from + near.partition_point(|first| first <= key);
        self.firsts.get(after.checked_sub(1)?)
    }
}

/// Chunks on each side of where a key should be that are looked through first.
const NEAR: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> Key {
        Key::from_bytes([n; Key::LEN])
    }

    fn outline(firsts: &[Key]) -> Outline {
        let mut outline = Outline::new(600);
        firsts.iter().for_each(|first| outline.begin_chunk(*first));
        outline
    }

    #[test]
    fn leads_to_the_last_chunk_that_begins_before_a_key_or_with_it() {
        assert_eq!(outline(&[]).chunk_of(&key(5)), None);
        let outline = outline(&[10, 20, 30].map(key));
        let led = [9, 10, 19, 20, 30, 255].map(|n| outline.chunk_of(&key(n)).copied());
        let expected = [None, Some(10), Some(10), Some(20), Some(30), Some(30)];
        assert_eq!(led, expected.map(|first| first.map(key)));
    }

    proptest! {
        #[test]
        fn leads_there_however_keys_are_spread(
            firsts in proptest::collection::btree_set(any::<u128>(), 0..200),
            spread in 0..128u32,
            others in proptest::collection::vec(any::<u128>(), 0..50),
        ) {
            let key = |number: u128| Key::from_bytes((number >> spread).to_be_bytes());
            let firsts: std::collections::BTreeSet<_> = firsts.into_iter().map(key).collect();
            let firsts: Vec<_> = firsts.into_iter().collect();
            let outline = outline(&firsts);
            for key in others.into_iter().map(key).chain(firsts.iter().copied()) {
                let expected = firsts.iter().rfind(|first| **first <= key);
                prop_assert_eq!(outline.chunk_of(&key), expected);
            }
        }
    }
}
